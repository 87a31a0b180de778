//! One simulated unit: what its points put into its tables, and nothing else. An address that no point has is refused
//! with exception 02, as a real device does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gateway_modbus::Table;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::value::Words;

/// The tables of one unit.
#[derive(Debug, Default)]
pub(super) struct Memory {
    cells: Mutex<Cells>,
    /// Whether addresses between points are 0 instead of refused.
    filled: bool,
}

/// By table and address: a register, or a bit as 0 or 1.
#[derive(Debug, Default)]
struct Cells {
    words: BTreeMap<(Table, u16), Cell>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    word: u16,
    /// Whether a point that may be written has it.
    writable: bool,
}

impl Memory {
    pub(super) fn new(filled: bool) -> Self {
        Self { cells: Mutex::default(), filled }
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes addresses exist.
    pub(super) fn define(&self, table: Table, address: u16, count: u16, writable: bool) {
        let mut cells = self.cells();
        for n in 0..count {
            let cell = cells.words.entry((table, address.saturating_add(n))).or_default();
            cell.writable |= writable;
        }
    }

    /// Puts a value where it exists.
    pub(super) fn put(&self, table: Table, address: u16, words: &Words) {
        let mut cells = self.cells();
        match words {
            Words::Registers(words) => {
                for (n, word) in (0u16..).zip(words) {
                    if let Some(cell) = cells.words.get_mut(&(table, address.saturating_add(n))) {
                        cell.word = *word;
                    }
                }
            }
            Words::Mask { and, or } => {
                if let Some(cell) = cells.words.get_mut(&(table, address)) {
                    cell.word = Words::masked(cell.word, *and, *or);
                }
            }
        }
    }

    /// What stands there, as bytes of registers.
    pub(super) fn bytes(&self, table: Table, address: u16, count: u16) -> Vec<u8> {
        let cells = self.cells();
        let word = |n| cells.words.get(&(table, address.saturating_add(n))).map_or(0, |c: &Cell| c.word);
        (0..count).flat_map(|n| word(n).to_be_bytes()).collect()
    }

    /// Does as a request asks.
    pub(super) fn answer(&self, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Exception> {
        let mut cells = self.cells();
        let (address, count) = (request.address(), request.count());
        if u32::from(address) + u32::from(count) > 65_536 {
            return Err(Exception::ILLEGAL_ADDRESS);
        }
        match *request {
            Request::Read { table, .. } => self.read(&cells, table, address, count, data),
            Request::WriteCoil { value, .. } => {
                cells.write(Table::Coil, address, [u16::from(value)].into_iter())
            }
            Request::WriteRegister { value, .. } => cells.write(Table::Holding, address, [value].into_iter()),
            Request::WriteCoils { bits, .. } => {
                let bit = |n: u16| bits.get(usize::from(n / 8)).map_or(0, |b| u16::from(b >> (n % 8) & 1));
                cells.write(Table::Coil, address, (0..count).map(bit))
            }
            Request::WriteRegisters { data, .. } => {
                let words = data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                cells.write(Table::Holding, address, words)
            }
            Request::MaskWrite { and, or, .. } => {
                let now = cells.words.get(&(Table::Holding, address)).map_or(0, |c| c.word);
                cells.write(Table::Holding, address, [Words::masked(now, and, or)].into_iter())
            }
        }
    }

    fn read(
        &self,
        cells: &Cells,
        table: Table,
        address: u16,
        count: u16,
        data: &mut Vec<u8>,
    ) -> Result<(), Exception> {
        let found = cells.words.range((table, address)..=(table, address.saturating_add(count - 1)));
        let mut next = 0;
        if table.is_bits() {
            data.resize(usize::from(count).div_ceil(8), 0);
        } else {
            data.resize(usize::from(count) * 2, 0);
        }
        for ((_, at), cell) in found {
            let offset = usize::from(at - address);
            if offset != next && !self.filled {
                return Err(Exception::ILLEGAL_ADDRESS);
            }
            next = offset + 1;
            if table.is_bits() {
                data[offset / 8] |= u8::from(cell.word != 0) << (offset % 8);
            } else {
                data[offset * 2..offset * 2 + 2].copy_from_slice(&cell.word.to_be_bytes());
            }
        }
        if next == usize::from(count) || (self.filled && next > 0) {
            Ok(())
        } else {
            Err(Exception::ILLEGAL_ADDRESS)
        }
    }
}

impl Cells {
    /// All of it or nothing.
    fn write(
        &mut self,
        table: Table,
        address: u16,
        words: impl Iterator<Item = u16> + Clone,
    ) -> Result<(), Exception> {
        let places = || (address..=u16::MAX).zip(words.clone());
        if !places().all(|(at, _)| self.words.get(&(table, at)).is_some_and(|c| c.writable)) {
            return Err(Exception::ILLEGAL_ADDRESS);
        }
        for (at, word) in places() {
            if let Some(cell) = self.words.get_mut(&(table, at)) {
                cell.word = word;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_points_have_can_be_read_and_only_what_may_be_written_is() {
        let memory = Memory::new(false);
        memory.define(Table::Holding, 10, 2, false);
        memory.define(Table::Holding, 12, 1, true);
        memory.define(Table::Holding, 14, 1, true);
        memory.put(Table::Holding, 10, &Words::Registers(vec![1, 2]));
        let read = |m: &Memory, address, count| {
            let mut data = Vec::new();
            m.answer(&Request::Read { table: Table::Holding, address, count }, &mut data).map(|()| data)
        };
        assert_eq!(read(&memory, 10, 3), Ok(vec![0, 1, 0, 2, 0, 0]));
        for (address, count) in [(9, 1), (9, 2), (12, 2), (12, 3), (15, 1), (65_535, 1)] {
            assert_eq!(read(&memory, address, count), Err(Exception::ILLEGAL_ADDRESS), "{address} {count}");
        }
        let mut none = Vec::new();
        let mut write = |address, value| memory.answer(&Request::WriteRegister { address, value }, &mut none);
        assert_eq!(
            (write(12, 7), write(11, 7), write(13, 7)),
            (Ok(()), Err(Exception::ILLEGAL_ADDRESS), Err(Exception::ILLEGAL_ADDRESS))
        );
        let mask = Request::MaskWrite { address: 12, and: 0xFFFE, or: 0 };
        assert_eq!(memory.answer(&mask, &mut Vec::new()), Ok(()));
        assert_eq!(memory.bytes(Table::Holding, 12, 1), [0, 6]);
        let filled = Memory::new(true);
        filled.define(Table::Holding, 10, 1, false);
        filled.define(Table::Holding, 13, 1, false);
        assert_eq!(read(&filled, 10, 4), Ok(vec![0; 8]));
        assert_eq!(read(&filled, 100, 4), Err(Exception::ILLEGAL_ADDRESS));
    }

    #[test]
    fn bits_are_packed_as_the_standard_has_it() {
        let memory = Memory::new(false);
        memory.define(Table::Coil, 3, 10, true);
        let bits = Request::WriteCoils { address: 3, count: 10, bits: &[0b0000_0101, 0b10] };
        assert_eq!(memory.answer(&bits, &mut Vec::new()), Ok(()));
        let mut data = Vec::new();
        let read = Request::Read { table: Table::Coil, address: 3, count: 10 };
        memory.answer(&read, &mut data).unwrap();
        assert_eq!(data, [0b0000_0101, 0b10]);
    }
}

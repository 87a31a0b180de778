//! A point as the line sees it: where it is, how its bytes are a value, and how a value is written. There may be a
//! hundred thousand, and few ways in which values lie in registers: those are shared.

use std::collections::HashMap;
use std::sync::Arc;

use common::names::Code;
use common::{Access, PointId, Value};
use gateway_modbus::Table;
use gateway_modbus::plan::{Item, Slot, Write};
use gateway_modbus::value::{Decoder, Format, Words};

use crate::modbus::PointConfig;
use crate::modbus::settings::DeviceConfig;

/// One point.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) id: PointId,
    pub(super) access: Access,
    pub(super) table: Table,
    /// On the line: with the device's offset.
    pub(super) address: u16,
    pub(super) count: u16,
    writable: bool,
    period_ms: u64,
    coding: Arc<Coding>,
}

/// How a value lies in registers, and what reads it there.
#[derive(Debug)]
struct Coding {
    format: Format,
    decoder: Decoder,
}

/// The codings of a line that were made.
#[derive(Debug, Default)]
pub(super) struct Codings(HashMap<Format, Arc<Coding>>);

impl Codings {
    fn of(&mut self, format: Format) -> Arc<Coding> {
        let made = || Arc::new(Coding { format, decoder: format.decoder() });
        self.0.entry(format).or_insert_with(made).clone()
    }
}

impl Spec {
    /// From its configuration, which was checked.
    ///
    /// # Errors
    /// When the device's offset moves it beyond what there is.
    pub(super) fn new(
        id: PointId,
        config: &PointConfig,
        access: Access,
        device: &DeviceConfig,
        codings: &mut Codings,
    ) -> Result<Self, String> {
        let (table, count) = (config.table, config.count());
        let offset = if table.is_bits() { device.bit_offset } else { device.register_offset };
        let moved = i64::from(config.address) + i64::from(offset);
        let address = u16::try_from(moved).ok().filter(|a| u32::from(*a) + u32::from(count) <= 65_536);
        let address =
            address.ok_or_else(|| format!("address {moved} with the device's offset does not exist"))?;
        let coding = codings.of(config.format);
        let (writable, period_ms) = (config.is_writable(), config.period_ms);
        Ok(Self { id, access, table, address, count, writable, period_ms, coding })
    }

    /// What is to be planned of it.
    pub(super) fn item(&self) -> Item {
        // A point that is never read takes no place in the plan.
        let count = if self.access == Access::Write { 0 } else { self.count };
        let period = std::time::Duration::from_millis(self.period_ms);
        Item { table: self.table, address: self.address, count, period }
    }

    /// Whether it may be written.
    pub(super) fn is_writable(&self) -> bool {
        self.access.is_writable() && self.writable
    }

    /// The value in the data of a read, as it is on the line; none if the bytes are none.
    pub(super) fn value(&self, slot: Slot, data: &[u8]) -> Option<Value> {
        let at = usize::from(slot.offset);
        if self.table.is_bits() {
            return data.get(at / 8).map(|byte| Value::Bool(byte >> (at % 8) & 1 == 1));
        }
        let own = data.get(2 * at..2 * (at + usize::from(slot.count)))?;
        self.coding.decoder.decode(own).ok()
    }

    /// The value in the data of a read of this point alone.
    pub(super) fn own_value(&self, data: &[u8]) -> Option<Value> {
        self.value(Slot { item: 0, offset: 0, count: self.count, every: 1 }, data)
    }

    /// What is written for a value.
    ///
    /// # Errors
    /// Why the point cannot hold it.
    pub(super) fn encode(&self, value: &Value) -> Result<Write, (Code, String)> {
        if self.table.is_bits() {
            let Value::Bool(bit) = value else {
                return Err((Code::TypeMismatch, format!("`{value}` is no bit")));
            };
            return Ok(Write::Coils { address: self.address, bits: vec![*bit] });
        }
        match self.coding.format.encode(value).map_err(|e| (Code::OutOfRawLimits, e.to_string()))? {
            Words::Registers(words) => Ok(Write::Registers { address: self.address, words }),
            Words::Mask { and, or } => Ok(Write::Mask { address: self.address, and, or }),
        }
    }
}

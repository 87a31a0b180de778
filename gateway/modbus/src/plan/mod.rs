//! What to read together. Points of one table and period share a request as long as no gap between them is wider than
//! reading it is worth, a slower point rides with a faster one where that is cheaper, and no request covers what the
//! device is known to refuse. Pure; when to read is the line's matter.

mod cover;
mod holes;
mod ride;
mod search;
mod write;

use std::cmp::Reverse;
use std::time::Duration;

pub use holes::{Book, Hole, HolesError};
pub use search::{Found, Search};
pub use write::{Merged, Write, WriteLimits, merge_writes};

use crate::Table;

/// Most registers of one read (Modbus application protocol V1.1b3, 6.3 and 6.4).
pub const MAX_REGISTERS: u16 = 125;
/// Most bits of one read (6.1 and 6.2).
pub const MAX_BITS: u16 = 2000;

/// What is to be read: one point, as far as planning is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits, at least 1; never read in two pieces.
    pub count: u16,
    /// How often.
    pub period: Duration,
}

/// How far one request reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Widest gap that is read along, because that costs less than another request. The same number weighs a
    /// request against registers where a slow point could ride with a fast one.
    pub gap: u16,
    /// Most registers or bits of one request.
    pub length: u16,
}

/// How far requests reach, for registers and bits apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of registers.
    pub words: Limit,
    /// Of coils and discrete inputs.
    pub bits: Limit,
    /// One point a request, for devices that can do no more; points at the same address still share one.
    pub single: bool,
}

impl Default for Limits {
    /// For a network: a request costs a round trip, registers next to nothing.
    fn default() -> Self {
        let words = Limit { gap: 32, length: MAX_REGISTERS };
        Self { words, bits: Limit { gap: 256, length: MAX_BITS }, single: false }
    }
}

impl Limits {
    /// For a serial line: a request costs about 20 bytes and two silences, a register two bytes.
    pub fn serial() -> Self {
        let words = Limit { gap: 10, length: MAX_REGISTERS };
        Self { words, bits: Limit { gap: 160, length: MAX_BITS }, single: false }
    }

    /// Those of a table.
    pub fn of(&self, table: Table) -> Limit {
        if table.is_bits() { self.bits } else { self.words }
    }
}

/// One point in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Which item, as an index into what was planned.
    pub item: usize,
    /// Where it begins in the block, in registers or bits.
    pub offset: u16,
    /// How many registers or bits it takes.
    pub count: u16,
    /// At every how many reads of the block it is due; more than 1 for a slow point that rides along.
    pub every: u32,
}

/// One read request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// How often.
    pub period: Duration,
    /// Its points, by offset. Never empty.
    pub slots: Vec<Slot>,
}

impl Block {
    fn start(&self) -> u32 {
        self.address.into()
    }

    fn end(&self) -> u32 {
        self.start() + u32::from(self.count)
    }

    /// Registers or bits that are read though no point needs them.
    pub fn spare(&self) -> u32 {
        let (mut spare, mut reached) = (0, 0);
        for slot in &self.slots {
            let (from, to) = (u32::from(slot.offset), u32::from(slot.offset) + u32::from(slot.count));
            spare += from.saturating_sub(reached);
            reached = reached.max(to);
        }
        spare
    }

    /// A block of these slots, whose offsets count from `base`.
    fn of(table: Table, base: u32, period: Duration, mut slots: Vec<Slot>) -> Self {
        slots.sort_by_key(|s| (s.offset, s.count, s.item));
        let first = slots.first().map_or(0, |s| s.offset);
        let mut end = 0;
        for slot in &mut slots {
            slot.offset -= first;
            end = end.max(slot.offset.saturating_add(slot.count));
        }
        let address = u16::try_from(base + u32::from(first)).unwrap_or(u16::MAX);
        Self { table, address, count: end, period, slots }
    }
}

/// What is read, and what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// By table, period and address.
    pub blocks: Vec<Block>,
    /// Items that the device is known to refuse when they are read alone. They are in no block.
    pub unreadable: Vec<usize>,
}

impl Plan {
    /// Requests a second.
    pub fn requests_per_s(&self) -> f64 {
        self.blocks.iter().map(|b| b.period.as_secs_f64()).filter(|p| *p > 0.0).map(|p| 1.0 / p).sum()
    }

    /// Registers or bits in all blocks that no point needs.
    pub fn spare(&self) -> u64 {
        self.blocks.iter().map(|b| u64::from(b.spare())).sum()
    }
}

/// The blocks that read `items`, the fewest for each table and period, with `holes` of the same device kept out: a
/// hole is covered by no block, except by a point that spans it and was not yet found to be unreadable itself.
pub fn plan<'a>(items: &[Item], limits: &Limits, holes: impl IntoIterator<Item = &'a Hole>) -> Plan {
    let mut by_table: [Vec<Hole>; 4] = Default::default();
    for hole in holes {
        by_table[slot_of(hole.table)].push(*hole);
    }
    let mut groups: [Vec<usize>; 4] = Default::default();
    for (index, item) in items.iter().enumerate().filter(|(_, item)| item.count > 0) {
        groups[slot_of(item.table)].push(index);
    }
    let mut plan = Plan::default();
    for (table, (mut group, holes)) in Table::ALL.into_iter().zip(groups.into_iter().zip(by_table)) {
        let barriers = cover::Barriers::new(holes);
        group.retain(|index| {
            let readable = barriers.is_readable(&items[*index]);
            if !readable {
                plan.unreadable.push(*index);
            }
            readable
        });
        group.sort_unstable_by_key(|i| (items[*i].period, items[*i].address, Reverse(items[*i].count), *i));
        let cover = cover::Cover { items, table, limit: limits.of(table), single: limits.single, barriers };
        plan.blocks.append(&mut ride::plan_table(&cover, &group));
    }
    plan.unreadable.sort_unstable();
    plan
}

fn slot_of(table: Table) -> usize {
    Table::ALL.iter().position(|t| *t == table).unwrap_or(0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

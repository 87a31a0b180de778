//! Slow points that are read along with fast ones of the same table, where that costs less than requests of their own.
//! A point rides only if its period is a multiple of the block's, so that its own period holds.

use std::time::Duration;

use super::cover::Cover;
use super::{Block, Slot};

/// The blocks of one table; `group` is sorted by period and address.
pub(super) fn plan_table(cover: &Cover<'_>, group: &[usize]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for same in group.chunk_by(|a, b| cover.items[*a].period == cover.items[*b].period) {
        let period = same.first().map_or(Duration::ZERO, |i| cover.items[*i].period);
        let mut fast = Fast::new(blocks, period);
        let slow = with_riders(cover, &mut fast, same, period);
        blocks = fast.blocks;
        blocks.extend(slow);
    }
    blocks.sort_by_key(|b| (b.period, b.address, b.count));
    blocks
}

/// Faster blocks, sorted by address, and how a slow point finds those it may ride with.
struct Fast {
    blocks: Vec<Block>,
    longest: u32,
    period: Duration,
}

impl Fast {
    fn new(mut blocks: Vec<Block>, period: Duration) -> Self {
        blocks.sort_by_key(|b| b.address);
        let longest = blocks.iter().map(|b| u32::from(b.count)).max().unwrap_or(0);
        Self { blocks, longest, period }
    }

    /// How often the block is read while the slow point is due once; none if that is no whole number.
    fn every(&self, block: &Block) -> Option<u32> {
        let (slow, fast) = (self.period.as_micros(), block.period.as_micros());
        if fast == 0 || slow % fast != 0 {
            return None;
        }
        u32::try_from(slow / fast).ok()
    }

    /// The first block, by address, that begins at or after `address`.
    fn at(&self, address: u32) -> usize {
        self.blocks.partition_point(|b| b.start() < address)
    }

    /// The slowest block that reads a range anyway: it costs the least work.
    fn covering(&self, start: u32, end: u32) -> Option<usize> {
        let from = self.at(start.saturating_sub(self.longest));
        let to = self.at(start + 1);
        (from..to)
            .filter(|b| self.blocks[*b].end() >= end && self.every(&self.blocks[*b]).is_some())
            .max_by_key(|b| self.blocks[*b].period)
    }

    fn add(&mut self, at: usize, item: usize, start: u32, count: u16) {
        let Some(every) = self.blocks.get(at).and_then(|b| self.every(b)) else { return };
        let block = &mut self.blocks[at];
        let offset = u16::try_from(start - block.start()).unwrap_or(u16::MAX);
        let slot = Slot { item, offset, count, every };
        let place = block.slots.partition_point(|s| (s.offset, s.count, s.item) < (offset, count, item));
        block.slots.insert(place, slot);
    }
}

/// The blocks that the slow points still need, after those that ride have been given to fast blocks.
fn with_riders(cover: &Cover<'_>, fast: &mut Fast, slow: &[usize], period: Duration) -> Vec<Block> {
    if fast.blocks.is_empty() || cover.single {
        return cover.blocks(slow, period);
    }
    let free = |index: &usize| {
        let (start, end) = cover.range(*index);
        fast.covering(start, end)
    };
    let (riders, rest): (Vec<_>, Vec<_>) = slow.iter().partition(|i| free(i).is_some());
    let (without, mut blocks) = (cover.blocks(&rest, period), cover.blocks(slow, period));
    // A rider may have been what held two others together: then it stays with them.
    if without.len() <= blocks.len() {
        blocks = without;
        for index in riders {
            let (start, end) = cover.range(index);
            if let Some(at) = fast.covering(start, end) {
                fast.add(at, index, start, cover.items[index].count);
            }
        }
    }
    blocks.retain(|block| !extend(cover, fast, block));
    blocks
}

/// Gives a whole slow block to a fast one that is made longer for it, if that is cheaper; whether it was.
fn extend(cover: &Cover<'_>, fast: &mut Fast, slow: &Block) -> bool {
    let gap = u32::from(cover.limit.gap);
    let from = fast.at(slow.start().saturating_sub(fast.longest + gap));
    let to = fast.at(slow.end() + gap + 1);
    let request = f64::from(cover.limit.gap) + f64::from(slow.count);
    let own = request / slow.period.as_secs_f64();
    let mut best: Option<(f64, usize)> = None;
    for at in from..to {
        let Some(block) = fast.blocks.get(at).filter(|b| fast.every(b).is_some()) else { continue };
        let (start, end) = (block.start().min(slow.start()), block.end().max(slow.end()));
        let near = slow.start() <= block.end() + gap && block.start() <= slow.end() + gap;
        if !near || end - start > cover.limit.length.into() || !cover.barriers.allows(start, end) {
            continue;
        }
        let more = f64::from(end - start) - f64::from(block.count);
        let ride = more / block.period.as_secs_f64();
        if ride < own && best.is_none_or(|(least, _)| ride < least) {
            best = Some((ride, at));
        }
    }
    let Some((_, at)) = best else { return false };
    let block = &mut fast.blocks[at];
    let start = block.start().min(slow.start());
    let shift = u16::try_from(block.start() - start).unwrap_or(0);
    let end = block.end().max(slow.end());
    for slot in &mut block.slots {
        slot.offset += shift;
    }
    block.address = u16::try_from(start).unwrap_or(block.address);
    block.count = u16::try_from(end - start).unwrap_or(block.count);
    fast.longest = fast.longest.max(end - start);
    for slot in &slow.slots {
        fast.add(at, slot.item, slow.start() + u32::from(slot.offset), slot.count);
    }
    // Its start may have moved before its neighbour's.
    fast.blocks.sort_by_key(|b| b.address);
    true
}

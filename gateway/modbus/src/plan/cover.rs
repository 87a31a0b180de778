//! The fewest requests for points of one table and period.
//!
//! Why taking as much as possible from the left is the optimum: some request begins at the leftmost point. Of all
//! requests that could begin there, one contains all the others (two that are allowed make an allowed one together,
//! since both begin at the same address, and neither has a gap that is too wide). What is left after it is a part of
//! what is left after any other, and needs no more requests, because a point that was taken never joins two that were
//! not: those that are left reach further than it. The property test compares with all ways there are.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Block, Hole, Item, Limit, Slot};
use crate::Table;

/// What no request may cover, of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Barriers {
    /// Start, and the smallest end of this and all that start later.
    by_start: Vec<(u32, u32)>,
    /// Ranges that were refused when read alone.
    alone: Vec<(u32, u32)>,
}

impl Barriers {
    pub(super) fn new(mut holes: Vec<Hole>) -> Self {
        holes.retain(|h| h.count > 0);
        holes.sort_unstable_by_key(|h| (h.address, h.count));
        let range = |h: &Hole| (u32::from(h.address), u32::from(h.address) + u32::from(h.count));
        let alone = holes.iter().filter(|h| h.alone).map(range).collect();
        let mut by_start: Vec<_> = holes.iter().map(range).collect();
        let mut least = u32::MAX;
        for (_, end) in by_start.iter_mut().rev() {
            least = least.min(*end);
            *end = least;
        }
        Self { by_start, alone }
    }

    /// The end of the longest range from `start` on that covers no hole.
    fn end_from(&self, start: u32) -> u32 {
        let at = self.by_start.partition_point(|(s, _)| *s < start);
        self.by_start.get(at).map_or(u32::MAX, |(_, end)| end - 1)
    }

    pub(super) fn allows(&self, start: u32, end: u32) -> bool {
        end <= self.end_from(start)
    }

    pub(super) fn is_readable(&self, item: &Item) -> bool {
        let (start, end) = (u32::from(item.address), u32::from(item.address) + u32::from(item.count));
        let from = self.alone.partition_point(|(s, _)| *s < start);
        let inside = self.alone.get(from..).unwrap_or_default();
        !inside.iter().take_while(|(s, _)| *s < end).any(|(_, e)| *e <= end)
    }
}

/// What is the same for all points of a table.
pub(super) struct Cover<'a> {
    pub(super) items: &'a [Item],
    pub(super) table: Table,
    pub(super) limit: Limit,
    pub(super) single: bool,
    pub(super) barriers: Barriers,
}

impl Cover<'_> {
    pub(super) fn range(&self, index: usize) -> (u32, u32) {
        let item = &self.items[index];
        (item.address.into(), u32::from(item.address) + u32::from(item.count))
    }

    /// Order of points: by address, and of those that begin together the longest first, because a point that spans
    /// a hole is read alone but for those within it.
    fn key(&self, index: usize) -> (u32, Reverse<u32>) {
        let (start, end) = self.range(index);
        (start, Reverse(end))
    }

    /// The fewest blocks for points sorted so.
    pub(super) fn blocks(&self, sorted: &[usize], period: Duration) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut waiting: Vec<usize> = Vec::new();
        let mut next = 0;
        while next < sorted.len() || !waiting.is_empty() {
            let mut deferred = Vec::new();
            let mut taken = Vec::new();
            let mut queue = std::mem::take(&mut waiting).into_iter().peekable();
            let mut reach: Option<Reach> = None;
            loop {
                // What an earlier block could not take stands before or among the rest.
                let fresh = sorted.get(next).copied();
                let from_queue = match (queue.peek(), fresh) {
                    (Some(old), Some(new)) => self.key(*old) <= self.key(new),
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                let Some(index) = (if from_queue { queue.peek().copied() } else { fresh }) else { break };
                let (start, end) = self.range(index);
                let joins = match &mut reach {
                    None => {
                        reach = Some(self.begin(start, end));
                        true
                    }
                    Some(reach) if start > reach.last_start => break,
                    Some(reach) => reach.join(start, end),
                };
                if joins {
                    taken.push(index)
                } else {
                    deferred.push(index)
                }
                if from_queue {
                    queue.next();
                } else {
                    next += 1;
                }
            }
            deferred.extend(queue);
            waiting = deferred;
            blocks.push(self.block(&taken, period));
        }
        blocks
    }

    fn begin(&self, start: u32, end: u32) -> Reach {
        if self.single {
            return Reach { end, most: end, gap: 0, last_start: start, only: Some((start, end)) };
        }
        // A point that is longer than the limit is read all the same, alone: it is never split.
        let most = (start + u32::from(self.limit.length)).min(self.barriers.end_from(start)).max(end);
        Reach { end, most, gap: self.limit.gap.into(), last_start: most, only: None }
    }

    fn block(&self, taken: &[usize], period: Duration) -> Block {
        let base = taken.iter().map(|i| self.range(*i).0).min().unwrap_or_default();
        let slot = |index: &usize| {
            let (start, _) = self.range(*index);
            let offset = u16::try_from(start - base).unwrap_or(u16::MAX);
            Slot { item: *index, offset, count: self.items[*index].count, every: 1 }
        };
        Block::of(self.table, base, period, taken.iter().map(slot).collect())
    }
}

/// How far the block reaches that is being filled, and could.
struct Reach {
    end: u32,
    most: u32,
    gap: u32,
    /// No point that starts later can join.
    last_start: u32,
    /// With one point a request: the only range that may join.
    only: Option<(u32, u32)>,
}

impl Reach {
    fn join(&mut self, start: u32, end: u32) -> bool {
        if let Some(only) = self.only {
            return only == (start, end);
        }
        if start > self.end + self.gap {
            // The points are sorted: none that follows is nearer.
            self.last_start = 0;
            return false;
        }
        let joins = end <= self.most;
        if joins {
            self.end = self.end.max(end);
        }
        joins
    }
}

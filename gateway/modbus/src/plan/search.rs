//! When a device refuses a block with an exception that speaks of addresses: halving it, never through a point, until
//! what it refuses is known. What is good is read on the way.

use super::{Block, Slot};
use crate::Table;

/// A range that the device refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// Whether it is what one point needs and was refused when read alone: that point cannot be read. Otherwise
    /// both sides were read and only a request over it is refused.
    pub alone: bool,
}

impl Block {
    /// The same block in two, of about as many points each, at a place where no point is split; none if all its
    /// points lie in the same registers.
    pub fn split(&self) -> Option<(Block, Block)> {
        let range = |s: &Slot| (s.offset, s.count);
        let first = self.slots.first()?;
        if self.slots.iter().all(|s| range(s) == range(first)) {
            return None;
        }
        // Every place between two points of different ranges; best is one where nothing laps over, then the middle.
        let (mut reached, middle) = (0, self.slots.len() / 2);
        let mut best = None;
        for (at, pair) in self.slots.windows(2).enumerate() {
            reached = reached.max(pair[0].offset.saturating_add(pair[0].count));
            if range(&pair[0]) == range(&pair[1]) {
                continue;
            }
            let cost = (reached > pair[1].offset, (at + 1).abs_diff(middle), at + 1);
            if best.is_none_or(|b| cost < b) {
                best = Some(cost);
            }
        }
        let (left, right) = self.slots.split_at(best?.2);
        let half = |slots: &[Slot]| Block::of(self.table, self.start(), self.period, slots.to_vec());
        Some((half(left), half(right)))
    }

    fn found(&self, start: u32, end: u32, alone: bool) -> Found {
        let address = u16::try_from(start).unwrap_or(u16::MAX);
        let count = u16::try_from(end.saturating_sub(start)).unwrap_or(u16::MAX);
        Found { table: self.table, address, count, alone }
    }
}

#[derive(Debug, Clone)]
struct Node {
    block: Block,
    /// Its other half, and whether that could be read.
    parent: Option<usize>,
    good: [Option<bool>; 2],
    side: usize,
}

/// The search through one block that was refused. Ask for `next`, read it, tell the `answer`, until there is no next
/// one. It may be given up at any time; what was found so far is true.
#[derive(Debug, Clone)]
pub struct Search {
    nodes: Vec<Node>,
    pending: Vec<usize>,
    found: Vec<Found>,
}

impl Search {
    /// Through a block that was refused.
    pub fn new(block: Block) -> Self {
        let root = Node { block, parent: None, good: [None; 2], side: 0 };
        let mut search = Self { nodes: vec![root], pending: Vec::new(), found: Vec::new() };
        search.open(0);
        search
    }

    /// What to read now; none when the search is over.
    pub fn next(&self) -> Option<&Block> {
        self.pending.last().map(|at| &self.nodes[*at].block)
    }

    /// Whether `next` was read, or refused again.
    pub fn answer(&mut self, good: bool) {
        let Some(at) = self.pending.pop() else { return };
        if !good {
            self.open(at);
        }
        let Some(parent) = self.nodes[at].parent else { return };
        let side = self.nodes[at].side;
        self.nodes[parent].good[side] = Some(good);
        if self.nodes[parent].good == [Some(true); 2] {
            self.between(parent, at);
        }
    }

    /// What was found so far.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Halves a block that was refused, or tells that it is refused as a whole.
    fn open(&mut self, at: usize) {
        let block = &self.nodes[at].block;
        match block.split() {
            None => self.found.push(block.found(block.start(), block.end(), true)),
            Some((left, right)) => {
                for (side, block) in [(1, right), (0, left)] {
                    self.pending.push(self.nodes.len());
                    self.nodes.push(Node { block, parent: Some(at), good: [None; 2], side });
                }
            }
        }
    }

    /// Both halves can be read and the whole cannot: it is what lies between them, or that they are read together.
    fn between(&mut self, parent: usize, right: usize) {
        let whole = &self.nodes[parent].block;
        let start_of_right = self.nodes[right].block.start();
        let left = self.nodes.iter().find(|n| n.parent == Some(parent) && n.side == 0);
        let end_of_left = left.map_or(whole.start(), |n| n.block.end());
        let found = if end_of_left < start_of_right {
            whole.found(end_of_left, start_of_right, false)
        } else if end_of_left == start_of_right {
            // A border: the last of one side and the first of the other.
            whole.found(end_of_left.saturating_sub(1), start_of_right + 1, false)
        } else {
            whole.found(whole.start(), whole.end(), false)
        };
        self.found.push(found);
    }
}

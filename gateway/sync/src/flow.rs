//! What to send next: live before what must be sent again before backlog, each within its window of frames
//! without an ack. Pure: no socket, no file, time is given.
//!
//! What the cloud has is what it said in this session, not what the log remembers of earlier ones: a cloud
//! that was restored from a backup gets again what it lacks.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::wire::{Known, StreamRange};
use common::{Incarnation, IntervalSet};
use gateway_core::FrameId;
use tokio::time::Instant;

/// How often a frame is sent in one session. One that the cloud refuses so often waits for the next.
const TRIES: u32 = 5;

/// Why a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Live,
    Backlog,
}

/// Limits of each lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) live: usize,
    pub(crate) backlog: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    lane: Lane,
    bytes: usize,
    at: Instant,
}

/// What to read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) lane: Lane,
    pub(crate) incarnation: Incarnation,
    pub(crate) from: u64,
    /// Not beyond this.
    pub(crate) last: u64,
}

/// One session's sending.
#[derive(Debug)]
pub(crate) struct Flow {
    window: Window,
    current: Incarnation,
    /// The next live frame.
    live: u64,
    head: u64,
    known: HashMap<Incarnation, IntervalSet>,
    /// What may be missing in the cloud, in the order to send it; `first` moves on.
    backlog: VecDeque<StreamRange>,
    again: VecDeque<FrameId>,
    inflight: HashMap<FrameId, Sent>,
    tries: HashMap<FrameId, u32>,
    used: [(usize, usize); 2],
}

impl Flow {
    /// A session in which the cloud has `known`, the log holds `ranges`, and frames after `snapshot` are
    /// live.
    pub(crate) fn new(
        window: Window,
        current: Incarnation,
        snapshot: u64,
        known: &[Known],
        ranges: Vec<StreamRange>,
    ) -> Self {
        let mut all: HashMap<Incarnation, IntervalSet> = HashMap::new();
        for k in known {
            all.entry(k.incarnation).or_default().extend(&k.seqs);
        }
        let mut backlog: VecDeque<StreamRange> = ranges.into();
        for range in backlog.iter_mut().filter(|r| r.incarnation == current) {
            range.last = range.last.min(snapshot);
        }
        Self {
            window,
            current,
            live: snapshot + 1,
            head: snapshot,
            known: all,
            backlog,
            again: VecDeque::new(),
            inflight: HashMap::new(),
            tries: HashMap::new(),
            used: [(0, 0); 2],
        }
    }

    /// The log's head moved.
    pub(crate) fn set_head(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// How many live frames wait.
    pub(crate) fn lag(&self) -> u64 {
        (self.head + 1).saturating_sub(self.live)
    }

    /// Whether the lane's window has room.
    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        let (frames, bytes) = self.used[lane as usize];
        let limit = if lane == Lane::Live { self.window.live } else { self.window.backlog };
        frames < limit && bytes < self.window.bytes
    }

    /// What the cloud has of an incarnation.
    pub(crate) fn known(&self, incarnation: Incarnation) -> IntervalSet {
        self.known.get(&incarnation).cloned().unwrap_or_default()
    }

    fn is_known(&self, frame: FrameId) -> bool {
        self.known.get(&frame.incarnation).is_some_and(|set| set.contains(frame.seq))
    }

    /// What to read for the live lane.
    pub(crate) fn want_live(&self) -> Option<Want> {
        (self.live <= self.head && self.has_room(Lane::Live)).then_some(Want {
            lane: Lane::Live,
            incarnation: self.current,
            from: self.live,
            last: self.head,
        })
    }

    /// What to read for the backlog lane: only while live has nothing to send.
    pub(crate) fn want_backlog(&mut self) -> Option<Want> {
        if self.live <= self.head || !self.has_room(Lane::Backlog) {
            return None;
        }
        let lane = Lane::Backlog;
        while let Some(frame) = self.again.front().copied() {
            if !self.is_known(frame) {
                return Some(Want { lane, incarnation: frame.incarnation, from: frame.seq, last: frame.seq });
            }
            self.again.pop_front();
        }
        while let Some(range) = self.backlog.front_mut() {
            let known = self.known.get(&range.incarnation);
            let next = known.map_or(Some(range.first), |k| k.first_missing(range.first));
            match next.filter(|n| *n <= range.last) {
                Some(next) => {
                    range.first = next;
                    let (incarnation, last) = (range.incarnation, range.last);
                    return Some(Want { lane, incarnation, from: next, last });
                }
                None => drop(self.backlog.pop_front()),
            }
        }
        None
    }

    /// The log was read for `want` and gave the frames up to `to` (none: it has none there). Returns which
    /// of them to send.
    pub(crate) fn read(&mut self, want: Want, seqs: &[u64]) -> Vec<bool> {
        let reached = seqs.iter().copied().filter(|s| *s <= want.last).max();
        // Nothing there: retention was faster, or it is damaged; a gap tells of it.
        let next = reached.map_or(want.last.saturating_add(1), |r| r + 1);
        match want.lane {
            Lane::Live => self.live = self.live.max(next),
            Lane::Backlog
                if self.again.front().is_some_and(|f| {
                    f.seq == want.from && want.from == want.last && f.incarnation == want.incarnation
                }) =>
            {
                self.again.pop_front();
            }
            Lane::Backlog => {
                let same = |r: &&mut StreamRange| r.incarnation == want.incarnation;
                if let Some(range) = self.backlog.front_mut().filter(same) {
                    range.first = range.first.max(next);
                    if range.first > range.last {
                        self.backlog.pop_front();
                    }
                }
            }
        }
        let id = |seq: &u64| FrameId { incarnation: want.incarnation, seq: *seq };
        seqs.iter()
            .map(|s| *s <= want.last && !self.is_known(id(s)) && !self.inflight.contains_key(&id(s)))
            .collect()
    }

    /// Whether a frame that was read still needs to be sent.
    pub(crate) fn is_needed(&self, frame: FrameId) -> bool {
        !self.is_known(frame) && !self.inflight.contains_key(&frame)
    }

    /// A frame was handed to the client.
    pub(crate) fn sent(&mut self, frame: FrameId, lane: Lane, bytes: usize, at: Instant) {
        let used = &mut self.used[lane as usize];
        used.0 += 1;
        used.1 += bytes;
        self.inflight.insert(frame, Sent { lane, bytes, at });
    }

    /// The cloud has these; returns how many of them were sent and without an ack.
    pub(crate) fn acked(&mut self, known: &[Known]) -> u64 {
        for k in known {
            self.known.entry(k.incarnation).or_default().extend(&k.seqs);
        }
        let done: Vec<FrameId> = self.inflight.keys().filter(|f| self.is_known(**f)).copied().collect();
        for frame in &done {
            self.free(*frame);
            self.tries.remove(frame);
        }
        done.len() as u64
    }

    fn free(&mut self, frame: FrameId) {
        if let Some(sent) = self.inflight.remove(&frame) {
            let used = &mut self.used[sent.lane as usize];
            used.0 -= 1;
            used.1 -= sent.bytes;
        }
    }

    /// The backlog that was sent together goes again one by one, and with it what was read and not sent.
    pub(crate) fn apart(&mut self, read: impl IntoIterator<Item = FrameId>) {
        let of_backlog = |(frame, sent): (&FrameId, &Sent)| (sent.lane == Lane::Backlog).then_some(*frame);
        let mut frames: Vec<FrameId> = self.inflight.iter().filter_map(of_backlog).collect();
        frames.sort_unstable();
        for frame in frames {
            self.free(frame);
            self.again.push_back(frame);
        }
        self.again.extend(read);
    }

    /// Frames that wait too long for an ack are sent again, a few times. Returns those given up.
    pub(crate) fn expire(&mut self, now: Instant, after: Duration) -> Vec<FrameId> {
        let late = |s: &Sent| now.saturating_duration_since(s.at) >= after;
        let mut late: Vec<FrameId> = self.inflight.iter().filter(|(_, s)| late(s)).map(|(f, _)| *f).collect();
        late.sort_unstable();
        let mut given_up = Vec::new();
        for frame in late {
            self.free(frame);
            let tries = self.tries.entry(frame).or_insert(1);
            if *tries >= TRIES {
                given_up.push(frame);
            } else {
                *tries += 1;
                self.again.push_back(frame);
            }
        }
        given_up
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;

//! What to send next: live before what must be sent again before backlog, each within its window of frames
//! without an ack. Frames of samples may be kept back: then what is urgent goes as it comes, the backlog is searched for
//! what of it is urgent before its samples go, and those of live frames go together once they are released. Pure: no
//! socket, no file, time is given.
//!
//! What the cloud has is what it said in this session, not what the log remembers of earlier ones: a cloud
//! that was restored from a backup gets again what it lacks.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::wire::{Known, StreamRange};
use common::{Class, Incarnation, IntervalSet};
use gateway_core::FrameId;
use tokio::time::Instant;

use crate::pace::Acked;

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
    /// Most bytes of live frames.
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
    /// Frames of samples of this class and lesser ones are to be kept back, the others to be sent; none: all are.
    pub(crate) keeps: Option<Class>,
    /// Which queue of the backlog it is from.
    place: Place,
}

impl Want {
    /// Of frames of samples, those of this class alone are wanted; none: any. The others have a turn of their own.
    pub(crate) fn class(&self) -> Option<Class> {
        match self.place {
            Place::Released(class) | Place::Later(class) => Some(class),
            Place::Live | Place::Again | Place::Backlog => None,
        }
    }
}

/// Classes whose samples may be kept back, in the order of their turns.
const TURNS: [Class; 2] = [Class::Normal, Class::Trend];

/// Place of a class in lists by turn.
fn turn(class: Class) -> usize {
    usize::from(class == Class::Trend)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Live,
    Again,
    Released(Class),
    Later(Class),
    Backlog,
}

/// What becomes of frames of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Samples {
    /// They leave as they come.
    AtOnce,
    /// They wait for others and go together.
    Together,
    /// They stay in the buffer, also those of the backlog.
    Held,
}

/// Frames of the backlog whose turn comes later, in the order to send them.
#[derive(Debug, Default)]
struct Later {
    ranges: VecDeque<StreamRange>,
    frames: u64,
}

impl Later {
    /// Puts a frame at the end. What lies between it and the last one is passed over: it has been sent, or is of another class.
    fn push(&mut self, incarnation: Incarnation, seq: u64) {
        self.frames += 1;
        match self.ranges.back_mut().filter(|r| r.incarnation == incarnation && r.last < seq) {
            Some(range) => range.last = seq,
            None => self.ranges.push_back(StreamRange { incarnation, first: seq, last: seq }),
        }
    }
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
    /// Live frames of samples that were kept back and go together now, as far as their class may; by turn.
    released: [VecDeque<StreamRange>; 2],
    /// As `backlog`, by turn: what is urgent between them has been sent.
    later: [Later; 2],
    again: VecDeque<FrameId>,
    inflight: HashMap<FrameId, Sent>,
    tries: HashMap<FrameId, u32>,
    used: [(usize, usize); 2],
    /// Most bytes of backlog on their way.
    backlog_bytes: usize,
    samples: Samples,
    /// Whether trends stay in the buffer whatever other samples do.
    holds_trends: bool,
    kept: Kept,
}

/// Frames of samples that are kept back.
#[derive(Debug, Default)]
struct Kept {
    /// By turn.
    later: [Later; 2],
    bytes: usize,
    since: Option<Instant>,
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
            released: Default::default(),
            later: Default::default(),
            again: VecDeque::new(),
            inflight: HashMap::new(),
            tries: HashMap::new(),
            used: [(0, 0); 2],
            backlog_bytes: window.bytes,
            samples: Samples::AtOnce,
            holds_trends: false,
            kept: Kept::default(),
        }
    }

    /// How much backlog may be on its way from now on.
    pub(crate) fn set_backlog_bytes(&mut self, bytes: usize) {
        self.backlog_bytes = bytes;
    }

    /// What becomes of frames of samples from now on, and whether those of trends are held in any case. Critical ones go as
    /// they come.
    pub(crate) fn set_samples(&mut self, samples: Samples, holds_trends: bool) {
        self.samples = samples;
        self.holds_trends = holds_trends;
    }

    /// The most important class that does not go as it comes.
    fn keeps(&self) -> Option<Class> {
        match self.samples {
            Samples::AtOnce => self.holds_trends.then_some(Class::Trend),
            Samples::Together | Samples::Held => Some(Class::Normal),
        }
    }

    /// The same of what has waited already.
    fn holds(&self) -> Option<Class> {
        if self.samples == Samples::Held {
            Some(Class::Normal)
        } else {
            self.holds_trends.then_some(Class::Trend)
        }
    }

    /// A frame of samples that was read for `want` is not to go yet.
    pub(crate) fn keep(&mut self, want: Want, (seq, class): (u64, Class), bytes: usize, at: Instant) {
        let incarnation = want.incarnation;
        if !self.is_needed(FrameId { incarnation, seq }) {
            return;
        }
        let is_live = want.lane == Lane::Live;
        if is_live {
            self.kept.bytes += bytes;
            self.kept.since.get_or_insert(at);
        }
        let later = if is_live { &mut self.kept.later } else { &mut self.later };
        later[turn(class)].push(incarnation, seq);
    }

    /// Live frames that are kept back: how many bytes in the log, and since when there are any.
    pub(crate) fn kept(&self) -> Option<(usize, Instant)> {
        self.kept.since.map(|since| (self.kept.bytes, since))
    }

    /// How many frames are kept back in all.
    pub(crate) fn kept_frames(&self) -> u64 {
        self.kept.later.iter().chain(&self.later).map(|later| later.frames).sum()
    }

    /// Live frames that were kept back go next, before older backlog.
    pub(crate) fn release(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        for ((of_kept, later), released) in
            kept.later.into_iter().zip(&mut self.later).zip(&mut self.released)
        {
            later.frames += of_kept.frames;
            released.extend(of_kept.ranges);
        }
    }

    /// For how long the oldest frame has been on its way.
    pub(crate) fn oldest(&self, now: Instant) -> Duration {
        self.inflight.values().map(|s| now.saturating_duration_since(s.at)).max().unwrap_or_default()
    }

    /// Whether nothing of the backlog is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.used[Lane::Backlog as usize].0 == 0
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
        match lane {
            Lane::Live => frames < self.window.live && bytes < self.window.bytes,
            Lane::Backlog => frames < self.window.backlog && bytes < self.backlog_bytes,
        }
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
            keeps: self.keeps(),
            place: Place::Live,
        })
    }

    /// What to read for the backlog lane: only while live has nothing to send.
    pub(crate) fn want_backlog(&mut self) -> Option<Want> {
        if self.live <= self.head {
            return None;
        }
        let (lane, keeps, holds) = (Lane::Backlog, self.keeps(), self.holds());
        let has_room = self.has_room(lane);
        let may_go = |class: Class| has_room && holds.is_none_or(|held| class < held);
        let want =
            |(incarnation, from, last), keeps, place| Want { lane, incarnation, from, last, keeps, place };
        // However long the search takes: it goes on while these are on their way.
        for class in TURNS.into_iter().filter(|class| may_go(*class)) {
            if let Some(found) = next(&self.known, &mut self.released[turn(class)]) {
                return Some(want(found, None, Place::Released(class)));
            }
        }
        // What is urgent is little, and waits for no credit.
        let (frames, bytes) = self.used[lane as usize];
        let is_bounded = frames < self.window.backlog && bytes < self.window.bytes;
        if keeps.is_some()
            && (has_room || (keeps == Some(Class::Normal) && is_bounded))
            && let Some(found) = next(&self.known, &mut self.backlog)
        {
            return Some(want(found, keeps, Place::Backlog));
        }
        // What is sent again may be urgent, and so goes on while samples are held; those among it are kept back when read.
        let is_held = self.samples == Samples::Held;
        while (is_held && is_bounded || has_room)
            && let Some(FrameId { incarnation, seq }) = self.again.front().copied()
        {
            if !self.is_known(FrameId { incarnation, seq }) {
                return Some(want((incarnation, seq, seq), holds, Place::Again));
            }
            self.again.pop_front();
        }
        for class in TURNS {
            if !may_go(class) {
                return None;
            }
            let later = &mut self.later[turn(class)];
            if let Some(found) = next(&self.known, &mut later.ranges) {
                return Some(want(found, None, Place::Later(class)));
            }
            later.frames = 0;
        }
        next(&self.known, &mut self.backlog).map(|found| want(found, None, Place::Backlog))
    }

    /// The log was read for `want` and gave the frames up to `to` (none: it has none there).
    pub(crate) fn read(&mut self, want: Want, seqs: &[u64]) {
        let reached = seqs.iter().copied().filter(|s| *s <= want.last).max();
        // Nothing there: retention was faster, or it is damaged; a gap tells of it.
        let next = reached.map_or(want.last.saturating_add(1), |r| r + 1);
        match want.place {
            Place::Live => self.live = self.live.max(next),
            Place::Again => {
                let read = FrameId { incarnation: want.incarnation, seq: want.from };
                if self.again.front() == Some(&read) {
                    self.again.pop_front();
                }
            }
            Place::Released(class) | Place::Later(class) => {
                let later = &mut self.later[turn(class)];
                later.frames = later.frames.saturating_sub(seqs.len() as u64);
                let is_released = want.place == Place::Released(class);
                let of = if is_released { &mut self.released[turn(class)] } else { &mut later.ranges };
                passed(of, want, next);
            }
            Place::Backlog => passed(&mut self.backlog, want, next),
        }
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

    /// The cloud has these; what that says of those that were sent and without an ack.
    pub(crate) fn acked(&mut self, known: &[Known], now: Instant) -> Acked {
        for k in known {
            self.known.entry(k.incarnation).or_default().extend(&k.seqs);
        }
        let done: Vec<FrameId> = self.inflight.keys().filter(|f| self.is_known(**f)).copied().collect();
        let mut acked = Acked { frames: done.len() as u64, ..Acked::default() };
        let mut took: [Option<Duration>; 2] = [None; 2];
        for frame in &done {
            if let Some(sent) = self.free(*frame) {
                acked.bytes += sent.bytes;
                let took = &mut took[sent.lane as usize];
                let this = now.saturating_duration_since(sent.at);
                *took = Some(took.map_or(this, |t| t.min(this)));
            }
            // Which time of sending the ack answers is not known.
            if self.tries.remove(frame).is_some() {
                took = [None; 2];
            }
        }
        acked.backlog_took = took[Lane::Backlog as usize];
        acked.took = took[Lane::Live as usize].or(acked.backlog_took);
        acked
    }

    fn free(&mut self, frame: FrameId) -> Option<Sent> {
        let sent = self.inflight.remove(&frame)?;
        let used = &mut self.used[sent.lane as usize];
        used.0 -= 1;
        used.1 -= sent.bytes;
        Some(sent)
    }

    /// The backlog that was sent together goes again one by one, and with it what was read and not sent.
    pub(crate) fn apart(&mut self, read: impl IntoIterator<Item = FrameId>) {
        let of_backlog = |(frame, sent): (&FrameId, &Sent)| (sent.lane == Lane::Backlog).then_some(*frame);
        let mut frames: Vec<FrameId> = self.inflight.iter().filter_map(of_backlog).collect();
        frames.sort_unstable();
        for frame in frames {
            self.free(frame);
            *self.tries.entry(frame).or_insert(1) += 1;
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

/// Where the cloud lacks something next; what it has is left behind.
fn next(
    known: &HashMap<Incarnation, IntervalSet>,
    ranges: &mut VecDeque<StreamRange>,
) -> Option<(Incarnation, u64, u64)> {
    while let Some(range) = ranges.front_mut() {
        let known = known.get(&range.incarnation);
        let next = known.map_or(Some(range.first), |k| k.first_missing(range.first));
        match next.filter(|n| *n <= range.last) {
            Some(next) => {
                range.first = next;
                return Some((range.incarnation, next, range.last));
            }
            None => drop(ranges.pop_front()),
        }
    }
    None
}

/// What was wanted has been read up to `next`. Others may stand before it by now.
fn passed(ranges: &mut VecDeque<StreamRange>, want: Want, next: u64) {
    let is_read =
        |r: &StreamRange| r.incarnation == want.incarnation && (r.first..=r.last).contains(&want.from);
    if let Some(at) = ranges.iter().position(is_read)
        && let Some(range) = ranges.get_mut(at)
    {
        range.first = range.first.max(next);
        if range.first > range.last {
            ranges.remove(at);
        }
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;

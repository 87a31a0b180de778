//! What is to be read next. Every entry has its own period and phase and no drift: its times are a grid that stands
//! still. Of what is due, the nearest deadline goes first, so a fast entry waits for one request at most and a slow
//! one never for ever. An entry whose time passed more than once is done once: nothing queues up. Pure: it is told
//! the time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// An entry. It means nothing once the entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    slot: usize,
    stamp: u64,
}

struct Entry<T> {
    stamp: u64,
    unit: usize,
    period: Duration,
    /// A time of its grid; all others are whole periods away.
    grid: Instant,
    due: Instant,
    /// Outside of the grid, such as right after connecting.
    first: bool,
    work: T,
}

/// Phases of entries whose period is a multiple of this are whole steps, the same for all lines of a box. So what many
/// lines ask goes out together, and the processor wakes forty times a second for it, not a thousand times.
const STEP_MS: u64 = 25;
/// A period of fewer steps has too few phases: too much of it would be due at once.
const FEWEST_STEPS: u64 = 4;

type Heap = BinaryHeap<Reverse<(Instant, Id)>>;

/// What a line reads, and when.
pub(super) struct Schedule<T> {
    entries: Vec<Option<Entry<T>>>,
    free: Vec<usize>,
    stamp: u64,
    /// By the time at which it is due, or may be tried again.
    waiting: Heap,
    /// Due, by deadline: the time at which it is due next.
    ready: Heap,
    /// Due, of units that took more than their share while the line had too little time.
    lagging: Heap,
}

impl<T> Schedule<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            stamp: 0,
            waiting: Heap::new(),
            ready: Heap::new(),
            lagging: Heap::new(),
        }
    }

    /// Adds an entry that is due at `first`, and from then on at the times of its grid: `epoch`, its own phase
    /// after that, and whole periods. The phase depends on `number` alone, so a restart changes nothing.
    pub(super) fn add(
        &mut self,
        unit: usize,
        period: Duration,
        epoch: Instant,
        number: u64,
        first: Instant,
        work: T,
    ) -> Id {
        let period = period.max(Duration::from_millis(1));
        let grid = epoch + phase(number, period);
        self.stamp += 1;
        let entry = Entry { stamp: self.stamp, unit, period, grid, due: first, first: true, work };
        let slot = self.free.pop().unwrap_or(self.entries.len());
        if slot == self.entries.len() {
            self.entries.push(Some(entry));
        } else if let Some(place) = self.entries.get_mut(slot) {
            *place = Some(entry);
        }
        let id = Id { slot, stamp: self.stamp };
        self.waiting.push(Reverse((first, id)));
        id
    }

    fn get(&self, id: Id) -> Option<&Entry<T>> {
        self.entries.get(id.slot)?.as_ref().filter(|e| e.stamp == id.stamp)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Entry<T>> {
        self.entries.get_mut(id.slot)?.as_mut().filter(|e| e.stamp == id.stamp)
    }

    /// An entry's work.
    pub(super) fn work(&mut self, id: Id) -> Option<&mut T> {
        self.get_mut(id).map(|e| &mut e.work)
    }

    /// Whose it is.
    pub(super) fn unit(&self, id: Id) -> Option<usize> {
        self.get(id).map(|e| e.unit)
    }

    /// Forgets all entries of a unit.
    pub(super) fn remove_unit(&mut self, unit: usize) {
        for (slot, entry) in self.entries.iter_mut().enumerate() {
            if entry.as_ref().is_some_and(|e| e.unit == unit) {
                *entry = None;
                self.free.push(slot);
            }
        }
    }

    /// Lets every entry be due now, outside of its grid, if its unit is wanted.
    pub(super) fn all_due(&mut self, now: Instant, wanted: impl Fn(usize) -> bool) {
        let (mut waiting, mut kept) = (std::mem::take(&mut self.waiting), Vec::new());
        for Reverse((at, id)) in waiting.drain() {
            let Some(entry) = self.get_mut(id) else { continue };
            if wanted(entry.unit) && at > now {
                (entry.due, entry.first) = (now, true);
                kept.push(Reverse((now, id)));
            } else {
                kept.push(Reverse((at, id)));
            }
        }
        self.waiting = kept.into();
    }

    /// The entry to do now. While the line has too little time (`short`), those of units that took more than
    /// their share (`greedy`) come after all others.
    pub(super) fn pick(&mut self, now: Instant, short: bool, greedy: impl Fn(usize) -> bool) -> Option<Id> {
        while let Some(Reverse((at, id))) = self.waiting.peek().copied() {
            if at > now {
                break;
            }
            self.waiting.pop();
            if let Some(entry) = self.get(id) {
                let deadline = entry.due + entry.period;
                self.ready.push(Reverse((deadline, id)));
            }
        }
        while let Some(Reverse((deadline, id))) = self.lagging.peek().copied() {
            let unit = self.unit(id);
            if short && unit.is_some_and(&greedy) {
                break;
            }
            self.lagging.pop();
            if unit.is_some() {
                self.ready.push(Reverse((deadline, id)));
            }
        }
        while let Some(Reverse((deadline, id))) = self.ready.pop() {
            match self.unit(id) {
                None => {}
                Some(unit) if short && greedy(unit) => self.lagging.push(Reverse((deadline, id))),
                Some(_) => return Some(id),
            }
        }
        while let Some(Reverse((_, id))) = self.lagging.pop() {
            if self.unit(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// The picked entry was done, well or not. Its next time is the next of its grid; how many were missed.
    pub(super) fn done(&mut self, id: Id, now: Instant) -> u64 {
        let Some(entry) = self.get_mut(id) else { return 0 };
        let mut missed = 0;
        if entry.first {
            // Onto the grid, the first time of it that lies ahead.
            let since = now.saturating_duration_since(entry.grid);
            entry.due = entry.grid + periods(since, entry.period, 1);
            entry.first = false;
        } else {
            entry.due += entry.period;
            // One that is due already is done late; those before it never are.
            let late = now.saturating_duration_since(entry.due);
            missed = (late.as_nanos() / entry.period.as_nanos().max(1)).try_into().unwrap_or(u64::MAX);
            if missed > 0 {
                entry.due += periods(late, entry.period, 0);
            }
        }
        let due = entry.due;
        self.waiting.push(Reverse((due, id)));
        missed
    }

    /// The picked entry could not be done and stays due: it is tried again at `at`.
    pub(super) fn put_off(&mut self, id: Id, at: Instant) {
        self.waiting.push(Reverse((at, id)));
    }

    /// A done entry is not wanted before `at`: what lies between is passed over and not missed.
    pub(super) fn skip_to(&mut self, id: Id, at: Instant) {
        let Some(entry) = self.get_mut(id) else { return };
        if entry.due < at {
            entry.due += periods(at.saturating_duration_since(entry.due), entry.period, 1);
        }
    }

    /// When something is due next; now if it is already.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() || !self.lagging.is_empty() {
            return Some(now);
        }
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }
}

/// Whole periods in `span`, and `more`.
fn periods(span: Duration, period: Duration, more: u32) -> Duration {
    let count = span.as_nanos() / period.as_nanos().max(1);
    period.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX).saturating_add(more))
}

/// A time of the grid that all lines of the box share, not after `now`; `since_us` is how long the box's clock has run.
pub(super) fn epoch(now: Instant, since_us: u64) -> Instant {
    let past = Duration::from_micros(since_us % (STEP_MS * 1000));
    now.checked_sub(past).unwrap_or(now)
}

/// A part of the period: numbers that follow each other lie as far apart as they can, however many there are (the
/// multiples of the golden ratio).
fn phase(number: u64, period: Duration) -> Duration {
    let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    let is_stepped = ms.is_multiple_of(STEP_MS) && ms >= FEWEST_STEPS * STEP_MS;
    // The timer's own grid is 1 ms: a finer phase would only be rounded.
    let step = if is_stepped { STEP_MS } else { 1 };
    let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let slot = (u128::from(part) * u128::from(ms / step)) >> 64;
    Duration::from_millis(u64::try_from(slot).unwrap_or(0) * step)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

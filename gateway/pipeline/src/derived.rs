//! Virtual points: values calculated from other points, in the order in which they depend on each other. Pure: time
//! comes in with every call. What comes out are raw samples, which go through the same pipeline as any other.

use std::collections::{HashMap, HashSet};

use common::{PointId, Quality, Sample};
use gateway_core::Changes;
use gateway_core::expr::{Counter, Formula, Input, State};

/// How often inputs are looked at for having grown stale.
const STALE_EVERY_US: u64 = 250_000;
const NOT_WATCHED: u32 = u32::MAX;

/// One virtual point.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its number.
    pub point: PointId,
    /// How it is calculated.
    pub formula: Formula,
    /// How often; none: whenever an input comes or grows stale.
    pub period_us: Option<u64>,
}

/// A point that depends on itself: the way round, with the first again at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("points depend on each other in a circle")]
pub struct Cycle(pub Vec<PointId>);

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// UTC us.
    pub utc_us: i64,
    /// Monotonic us.
    pub mono_us: u64,
}

struct Entry {
    definition: Definition,
    state: State,
    due_us: u64,
    /// Of the newest input since the last evaluation; none if there was none.
    dirty: Option<Stamp>,
}

/// Source time of an input, and whether it is that of its receipt: what is made of it then is as well.
type Stamp = (i64, bool);

fn stamp(sample: &Sample) -> Stamp {
    (sample.source_us, sample.is_stamped_on_receipt())
}

/// A point that formulas look at.
struct Watched {
    sample: Option<Sample>,
    came_us: u64,
    stale_us: u64,
    told_stale: bool,
    /// Who follows it, as places in `entries`.
    users: Vec<usize>,
}

impl Watched {
    fn is_stale(&self, mono_us: u64) -> bool {
        mono_us.saturating_sub(self.came_us) > self.stale_us
    }

    fn input(&self, mono_us: u64) -> Input {
        let Some(sample) = &self.sample else {
            return Input { value: None, quality: Quality::BAD_NO_DATA, age_us: None };
        };
        let stale = self.is_stale(mono_us) && !sample.quality.is_bad();
        let quality = if stale { Quality::BAD_STALE } else { sample.quality };
        let age_us = Some(mono_us.saturating_sub(self.came_us));
        Input { value: sample.value.clone(), quality, age_us }
    }
}

/// All virtual points of a registry.
pub struct Virtual {
    /// In the order of evaluation.
    entries: Vec<Entry>,
    watched: Vec<Watched>,
    /// By point number: its place in `watched`.
    places: Vec<u32>,
    stale_check_us: u64,
    dirty: bool,
}

impl Virtual {
    /// Orders them. `stale_ms` says for how long a point's value counts as current.
    ///
    /// # Errors
    /// When some depend on each other in a circle.
    pub fn new(definitions: Vec<Definition>, stale_ms: &dyn Fn(PointId) -> u64) -> Result<Self, Cycle> {
        let order = order(&definitions)?;
        let mut definitions: Vec<Option<Definition>> = definitions.into_iter().map(Some).collect();
        let hold_us = |p: PointId| stale_ms(p).saturating_mul(1000);
        let mut made = Self {
            entries: Vec::with_capacity(order.len()),
            watched: Vec::new(),
            places: Vec::new(),
            stale_check_us: 0,
            dirty: false,
        };
        for definition in order.into_iter().filter_map(|at| definitions.get_mut(at)?.take()) {
            let user = made.entries.len();
            for &input in definition.formula.inputs() {
                let place = made.watch(input, hold_us(input));
                made.watched[place].users.push(user);
            }
            let state = State::new(&definition.formula, &hold_us);
            made.entries.push(Entry { definition, state, due_us: 0, dirty: None });
        }
        Ok(made)
    }

    fn watch(&mut self, point: PointId, stale_us: u64) -> usize {
        if self.places.len() <= point.index() {
            self.places.resize(point.index() + 1, NOT_WATCHED);
        }
        let slot = &mut self.places[point.index()];
        if *slot == NOT_WATCHED {
            *slot = u32::try_from(self.watched.len()).unwrap_or(NOT_WATCHED);
            let users = Vec::new();
            self.watched.push(Watched { sample: None, came_us: 0, stale_us, told_stale: true, users });
        }
        *slot as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn place(&self, point: PointId) -> Option<usize> {
        let place = *self.places.get(point.index())?;
        (place != NOT_WATCHED).then_some(place as usize)
    }

    /// A judged sample of any point, before a deadband holds it back.
    pub fn feed(&mut self, sample: &Sample, now: Now) {
        let Some(place) = self.place(sample.point) else { return };
        let Some(watched) = self.watched.get_mut(place) else { return };
        watched.sample = Some(sample.clone());
        watched.came_us = now.mono_us;
        watched.told_stale = false;
        for &user in &watched.users {
            let Some(entry) = self.entries.get_mut(user) else { continue };
            entry.state.feed(&entry.definition.formula, sample, now.mono_us);
            entry.dirty = entry.dirty.max(Some(stamp(sample)));
        }
        self.dirty = true;
    }

    /// Evaluates what is due. Each result goes to `judge`, and what that gives back is what the point is now.
    pub fn run(&mut self, now: Now, judge: &mut dyn FnMut(Sample) -> Option<Sample>) {
        if now.mono_us >= self.stale_check_us {
            self.stale_check_us = now.mono_us.saturating_add(STALE_EVERY_US);
            self.grow_stale(now);
        }
        for at in 0..self.entries.len() {
            let Some(raw) = self.evaluate(at, now) else { continue };
            if let Some(judged) = judge(raw) {
                // Those that follow it stand later.
                self.feed(&judged, now);
            }
        }
        self.dirty = false;
    }

    fn evaluate(&mut self, at: usize, now: Now) -> Option<Sample> {
        let entry = self.entries.get_mut(at)?;
        let (source_us, on_receipt) = match entry.definition.period_us {
            None => entry.dirty?,
            Some(_) if now.mono_us < entry.due_us => return None,
            Some(period) => {
                // A period that was missed is left out, not caught up.
                let next = entry.due_us.saturating_add(period);
                entry.due_us = if next > now.mono_us { next } else { now.mono_us.saturating_add(period) };
                (now.utc_us, true)
            }
        };
        entry.dirty = None;
        let entry = self.entries.get(at)?;
        let input = |point: PointId| match self.place(point).and_then(|p| self.watched.get(p)) {
            Some(watched) => watched.input(now.mono_us),
            None => Input { value: None, quality: Quality::BAD_NO_DATA, age_us: None },
        };
        let got = entry.definition.formula.evaluate(&entry.state, now.mono_us, &input);
        let point = entry.definition.point;
        let received_us = if on_receipt { source_us } else { now.utc_us };
        Some(Sample { point, value: got.value, quality: got.quality, source_us, received_us })
    }

    fn grow_stale(&mut self, now: Now) {
        for watched in &mut self.watched {
            if watched.told_stale || !watched.is_stale(now.mono_us) {
                continue;
            }
            watched.told_stale = true;
            for &user in &watched.users {
                if let Some(entry) = self.entries.get_mut(user) {
                    entry.dirty = Some((now.utc_us, true));
                }
            }
            self.dirty = true;
        }
    }

    /// When `run` must be called next at the latest, monotonic us; none if there is nothing to run.
    pub fn next_due_us(&self) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        if self.dirty {
            return Some(0);
        }
        let periodic = self.entries.iter().filter(|e| e.definition.period_us.is_some()).map(|e| e.due_us);
        periodic.chain([self.stale_check_us]).min()
    }

    /// The counters of each point that has some, with the text of its formula.
    pub fn counters(&self) -> impl Iterator<Item = (PointId, &str, Vec<Counter>)> {
        self.entries.iter().filter_map(|e| {
            let counters = e.state.counters();
            (!counters.is_empty()).then(|| (e.definition.point, e.definition.formula.text(), counters))
        })
    }

    /// Goes over to other definitions, of a later generation of the registry. A formula that is as it was goes on
    /// with its windows and counters; the others begin with what is known of their inputs.
    ///
    /// # Errors
    /// When some depend on each other in a circle; then nothing has changed.
    pub fn succeed(
        &mut self,
        definitions: Vec<Definition>,
        stale_ms: &dyn Fn(PointId) -> u64,
        changes: &Changes,
    ) -> Result<(), Cycle> {
        let mut next = Self::new(definitions, stale_ms)?;
        let moved: HashMap<PointId, PointId> = changes.moved.iter().copied().collect();
        let now = |id: PointId| moved.get(&id).copied().or_else(|| (!changes.voids(id)).then_some(id));
        let mut same_age = HashSet::new();
        for (n, place) in (0..).zip(&self.places) {
            let Some(old) = self.watched.get_mut(*place as usize) else { continue };
            let Some((id, place)) = now(PointId(n)).and_then(|id| Some((id, next.place(id)?))) else {
                continue;
            };
            let Some(new) = next.watched.get_mut(place) else { continue };
            new.sample = old.sample.take().map(|s| Sample { point: id, ..s });
            (new.came_us, new.told_stale) = (old.came_us, old.told_stale);
            if new.stale_us == old.stale_us {
                same_age.insert(id);
            }
        }
        let mut old: HashMap<PointId, Entry> = std::mem::take(&mut self.entries)
            .into_iter()
            .filter_map(|e| Some((now(e.definition.point)?, e)))
            .collect();
        let Self { entries, watched, places, .. } = &mut next;
        for entry in entries {
            let inputs = entry.definition.formula.inputs();
            let goes_on = |was: &Entry| {
                was.definition.formula.text() == entry.definition.formula.text()
                    && was
                        .definition
                        .formula
                        .inputs()
                        .iter()
                        .map(|i| now(*i))
                        .eq(inputs.iter().map(|i| Some(*i)))
                    && inputs.iter().all(|i| same_age.contains(i))
            };
            if let Some(was) = old.remove(&entry.definition.point).filter(goes_on) {
                (entry.state, entry.due_us, entry.dirty) = (was.state, was.due_us, was.dirty);
                continue;
            }
            for input in inputs {
                let place = places.get(input.index()).map(|p| *p as usize);
                let Some(known) = place.and_then(|p| watched.get(p)) else { continue };
                let Some(sample) = &known.sample else { continue };
                entry.state.feed(&entry.definition.formula, sample, known.came_us);
                entry.dirty = entry.dirty.max(Some(stamp(sample)));
            }
        }
        next.dirty = true;
        *self = next;
        Ok(())
    }

    /// Gives the counters of a point back what they were.
    pub fn restore(&mut self, point: PointId, counters: &[Counter]) {
        for entry in self.entries.iter_mut().filter(|e| e.definition.point == point) {
            entry.state.restore(counters);
        }
    }
}

/// Places of the definitions such that each stands after those that it follows.
///
/// # Errors
/// When some depend on each other in a circle.
pub fn order(definitions: &[Definition]) -> Result<Vec<usize>, Cycle> {
    let places: HashMap<PointId, usize> = definitions.iter().enumerate().map(|(i, d)| (d.point, i)).collect();
    let mut order = Vec::with_capacity(definitions.len());
    // 0: not seen, 1: on the way, 2: done.
    let mut seen = vec![0u8; definitions.len()];
    for start in 0..definitions.len() {
        if seen[start] != 0 {
            continue;
        }
        // Depth first without recursion: a chain may be as long as there are points.
        let mut way = vec![(start, 0usize)];
        seen[start] = 1;
        while let Some((at, next)) = way.last_mut() {
            let at = *at;
            let Some(input) = definitions[at].formula.inputs().get(*next) else {
                seen[at] = 2;
                order.push(at);
                way.pop();
                continue;
            };
            *next += 1;
            let Some(&to) = places.get(input) else { continue };
            match seen[to] {
                0 => {
                    seen[to] = 1;
                    way.push((to, 0));
                }
                1 => {
                    let from = way.iter().position(|(n, _)| *n == to).unwrap_or(0);
                    let mut circle: Vec<PointId> =
                        way[from..].iter().map(|(n, _)| definitions[*n].point).collect();
                    circle.push(definitions[to].point);
                    return Err(Cycle(circle));
                }
                _ => {}
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
#[path = "derived_tests.rs"]
mod tests;

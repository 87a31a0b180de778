//! Raw samples become processed ones: scale, type, engineering range, deadband. Pure: no clock, no I/O, and
//! nothing here waits. Limits on writes are not here, they are in `gateway-control`.

mod alarms;
mod derived;
mod door;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use common::{PointId, Quality, Sample, Value};
use gateway_core::{Deadband, Point, Registry};

pub use alarms::{ActError, AlarmDefinition, Alarms, LONGEST_DELAY_MS, Rule};
pub use derived::{Cycle, Definition, Now, Virtual, order};

/// The state of one registry's points: what was passed on last.
#[derive(Debug)]
pub struct Pipeline {
    registry: Arc<Registry>,
    /// By point; only of points with a deadband: the others pass every sample, and need no memory of it.
    passed: HashMap<PointId, Sample>,
    /// Of points with a swinging door.
    doors: HashMap<PointId, door::Door>,
    /// What doors have passed on, in order.
    corners: Vec<Sample>,
}

impl Pipeline {
    /// One for all points of a registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        let doors = registry.points().filter_map(|p| Some((p.id, door(p)?))).collect();
        Self { registry, passed: HashMap::new(), doors, corners: Vec::new() }
    }

    /// Goes over to a later generation. A point that means something else now passes its next sample on; one
    /// that is as it was goes on as if nothing had happened.
    pub fn renew(&mut self, registry: Arc<Registry>) {
        let changes = registry.changes_since(&self.registry);
        let moved: Vec<(PointId, Sample)> =
            changes.moved.iter().filter_map(|(from, to)| Some((*to, self.passed.remove(from)?))).collect();
        self.passed.retain(|id, _| !changes.voids(*id));
        self.passed.extend(moved);
        let mut old = std::mem::take(&mut self.doors);
        let stays = |p: &Point| is_same_door(&self.registry, &registry, p.id);
        let door = |p: &Point| Some((p.id, old.remove(&p.id).filter(|_| stays(p)).or_else(|| door(p))?));
        self.doors = registry.points().filter_map(door).collect();
        self.registry = registry;
    }

    /// Before `renew`: swinging doors that do not go on pass on what they hold back.
    pub fn release_doors(&mut self, next: &Registry) {
        for (id, door) in &mut self.doors {
            if !is_same_door(&self.registry, next, *id) {
                door.flush(&mut self.corners);
            }
        }
    }

    /// The generation that samples are judged by.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The processed sample, or none if the deadband holds it back. A change of quality always passes, and
    /// so does a sample that comes `max_interval_ms` after the last one that passed. A sample of a point
    /// that is not in the registry has no meaning and is dropped.
    pub fn process(&mut self, raw: Sample) -> Option<Sample> {
        let sample = self.judge(raw)?;
        self.passes(&sample).then_some(sample)
    }

    /// The processed sample, whatever the deadband: what the point is now.
    pub fn judge(&self, mut raw: Sample) -> Option<Sample> {
        judge_in_place(self.registry.point(raw.point)?, &mut raw);
        Some(raw)
    }

    /// The same for a batch in its place; samples of points that are not in the registry go.
    pub fn judge_all(&self, batch: &mut Vec<Sample>) {
        batch.retain_mut(|sample| match self.registry.point(sample.point) {
            Some(point) => {
                judge_in_place(point, sample);
                true
            }
            None => false,
        });
    }

    /// Whether a processed sample is passed on, as `process` says. Never so behind a swinging door: what that
    /// passes on is fetched with `take_corners`.
    pub fn passes(&mut self, sample: &Sample) -> bool {
        self.pass(sample).is_some()
    }

    fn pass(&mut self, sample: &Sample) -> Option<()> {
        let point = self.registry.point(sample.point)?;
        if let Some(Deadband::Door(_)) = point.deadband {
            self.doors.get_mut(&sample.point)?.offer(sample, &mut self.corners);
            return None;
        }
        if point.deadband.is_none() {
            return Some(());
        }
        match self.passed.entry(sample.point) {
            Entry::Occupied(last) if is_held_back(point, last.get(), sample) => None,
            Entry::Occupied(mut last) => {
                last.insert(sample.clone());
                Some(())
            }
            Entry::Vacant(first) => {
                first.insert(sample.clone());
                Some(())
            }
        }
    }

    /// Whether any point has a swinging door.
    pub fn has_doors(&self) -> bool {
        !self.doors.is_empty()
    }

    /// Adds what swinging doors have passed on since the last call, in order.
    pub fn take_corners(&mut self, out: &mut Vec<Sample>) {
        out.append(&mut self.corners);
    }

    /// Lets doors pass on what they have held back for `max_interval_ms`; with `all` whatever they hold back.
    pub fn flush_doors(&mut self, now_us: i64, all: bool) {
        for door in self.doors.values_mut() {
            if all {
                door.flush(&mut self.corners);
            } else {
                door.flush_due(now_us, &mut self.corners);
            }
        }
    }

    /// Lets the next sample of every point pass, as its first one did. What doors hold back is passed on.
    pub fn begin_again(&mut self) {
        self.passed.clear();
        for door in self.doors.values_mut() {
            door.begin_again(&mut self.corners);
        }
    }

    /// What passed last for a point with a deadband that is no swinging door.
    pub fn last(&self, point: PointId) -> Option<&Sample> {
        self.passed.get(&point)
    }
}

/// Whether a point's door goes on over a new generation.
fn is_same_door(old: &Registry, new: &Registry, id: PointId) -> bool {
    let Some((was, is)) = old.point(id).zip(new.point(id)) else { return false };
    let changes = new.changes_since(old);
    was.deadband == is.deadband
        && was.deadband_width() == is.deadband_width()
        && was.max_interval_ms == is.max_interval_ms
        && !changes.voids(id)
}

fn door(point: &Point) -> Option<door::Door> {
    let Some(Deadband::Door(settings)) = point.deadband else { return None };
    let deviation = point.deadband_width().unwrap_or(0.0);
    Some(door::Door::new(deviation, settings.min_interval_ms, point.max_interval_ms))
}

/// Scales, converts and checks the range. A bad sample has no value afterwards.
fn judge_in_place(point: &Point, sample: &mut Sample) {
    if sample.quality.is_bad() {
        sample.value = None;
        return;
    }
    let Some(raw) = sample.value.take() else {
        sample.quality = Quality::BAD_NO_DATA;
        return;
    };
    // Most values are what they are to be: those are not taken apart.
    let as_it_is = point.scale.is_identity() && raw.value_type() == point.value_type;
    let value = if as_it_is { Some(raw) } else { point.to_engineering(&raw) };
    sample.value = value.filter(is_representable);
    match &sample.value {
        None => sample.quality = Quality::BAD_RANGE,
        Some(value) if sample.quality.is_good() && !is_in_range(point, value) => {
            sample.quality = Quality::UNCERTAIN_RANGE;
        }
        Some(_) => {}
    }
}

/// NaN and infinities are no measurement.
fn is_representable(value: &Value) -> bool {
    !matches!(value, Value::F64(x) if !x.is_finite())
}

fn is_in_range(point: &Point, value: &Value) -> bool {
    if point.range_min.is_none() && point.range_max.is_none() {
        return true;
    }
    let Some(x) = value.as_f64() else { return true };
    point.range_min.is_none_or(|min| x >= min) && point.range_max.is_none_or(|max| x <= max)
}

fn is_held_back(point: &Point, last: &Sample, new: &Sample) -> bool {
    let Some(band) = point.deadband_width() else { return false };
    if last.quality != new.quality || is_due(point, last, new) {
        return false;
    }
    match (&last.value, &new.value) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            // Values that are finite may still be further apart than a double can say: inf > band.
            (Some(x), Some(y)) => a == b || (!is_bool(a) && (y - x).abs() <= band),
            _ => a == b,
        },
        (None, None) => true,
        _ => false,
    }
}

/// A boolean's change is never held back, whatever the width.
fn is_bool(value: &Value) -> bool {
    matches!(value, Value::Bool(_))
}

/// Whether so much time has passed since `last` that `new` goes on whatever it is. A clock that was set
/// back must not silence a point, so a negative age counts as well.
fn is_due(point: &Point, last: &Sample, new: &Sample) -> bool {
    let age_us = new.received_us.saturating_sub(last.received_us);
    let limit_us = i64::try_from(point.max_interval_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    age_us < 0 || (point.max_interval_ms > 0 && age_us >= limit_us)
}

#[cfg(test)]
mod tests;

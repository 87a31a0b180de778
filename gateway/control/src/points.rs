//! What control remembers of each writable point: who owns it, what was last written, whether somebody else
//! changed it since, and which desired value it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::command::{DesiredState, DesiredUpdate, Origin};
use common::{Drain, PointId, Sample, Value};
use gateway_core::{Point, Registry};
use serde::{Deserialize, Serialize};

use crate::shared::Shared;
use crate::value::same;

/// How often current values are looked at for changes that did not come from here.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Points(Mutex<HashMap<PointId, State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    owner: Option<Owner>,
    /// The last value written or seen.
    last: Option<Value>,
    /// When we last wrote, UTC us: samples taken before tell nothing.
    written_us: i64,
    /// When somebody who is no desired value last changed it, UTC us.
    changed_us: Option<i64>,
    pub(crate) wish: Option<Wish>,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    rank: Rank,
    origin: Origin,
    until_us: u64,
}

/// The last desired value of a point and what became of it. Kept as a note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) version: u64,
    pub(crate) set_us: i64,
    /// What the point shows when it is applied; none before it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
    /// None while it waits.
    pub(crate) outcome: Option<DesiredUpdate>,
}

/// Higher is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Desired,
    Loop,
    Remote,
    Local,
}

fn rank(origin: Origin) -> Rank {
    match origin {
        Origin::Local => Rank::Local,
        Origin::Cloud | Origin::Opcua => Rank::Remote,
        Origin::Loop => Rank::Loop,
        Origin::Desired => Rank::Desired,
    }
}

/// The door's name for people.
pub(crate) fn door(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Cloud => "cloud",
        Origin::Opcua => "opcua",
        Origin::Loop => "loop",
        Origin::Desired => "desired",
    }
}

impl Points {
    fn all(&self) -> MutexGuard<'_, HashMap<PointId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with<T>(&self, point: PointId, f: impl FnOnce(&mut State) -> T) -> T {
        f(self.all().entry(point).or_default())
    }

    pub(crate) fn is_known(&self, point: PointId) -> bool {
        self.all().contains_key(&point)
    }

    /// Goes over to a later generation. What is known of a point goes with it. If its values mean something else
    /// now, it counts as changed: a wish for what it was before is not written.
    pub(crate) fn renew(&self, old: &Registry, new: &Registry, now_us: i64) {
        let changes = new.changes_since(old);
        let moved: HashMap<PointId, PointId> = changes.moved.iter().copied().collect();
        let mut all = self.all();
        for (id, mut state) in std::mem::take(&mut *all) {
            if !changes.voids(id) {
                all.insert(id, state);
            } else if let Some(to) = moved.get(&id) {
                all.insert(*to, state);
            } else if let Some(point) = renamed(old, id, new) {
                state.last = None;
                // What was applied cannot be compared with what is shown now.
                if let Some(wish) = &mut state.wish {
                    wish.value = None;
                }
                state.changed_us = Some(now_us);
                all.insert(point.id, state);
            }
        }
    }

    /// The stronger owner that holds the point now, and for how many more us.
    pub(crate) fn stronger(&self, point: PointId, origin: Origin, now_us: u64) -> Option<(Origin, u64)> {
        let owner = self.all().get(&point)?.owner?;
        (owner.rank > rank(origin) && now_us < owner.until_us)
            .then(|| (owner.origin, owner.until_us - now_us))
    }

    /// The writer becomes owner.
    pub(crate) fn own(&self, point: PointId, origin: Origin, until_us: u64) {
        self.with(point, |s| s.owner = Some(Owner { rank: rank(origin), origin, until_us }));
    }

    /// A write happened, or may have: the point now shows `value`, as far as known.
    pub(crate) fn wrote(&self, point: PointId, origin: Origin, value: Option<Value>, at_us: i64) {
        self.with(point, |s| {
            s.written_us = at_us;
            s.last = value;
            if origin != Origin::Desired {
                s.changed_us = Some(s.changed_us.map_or(at_us, |t| t.max(at_us)));
            }
        });
    }

    /// Takes note of what the point shows at `now_us`.
    pub(crate) fn seen(&self, point: &Point, sample: &Sample, now_us: i64) {
        let Some(value) = sample.value.as_ref().filter(|_| sample.quality.is_good()) else { return };
        self.with(point.id, |s| {
            // The clock was set back: samples of now are not from before the write.
            s.written_us = s.written_us.min(now_us);
            if sample.source_us <= s.written_us {
                return;
            }
            match &s.last {
                Some(last) if same(point, last, value) || wanders(point, last, value) => {}
                Some(_) => {
                    s.changed_us = Some(sample.source_us);
                    s.last = Some(value.clone());
                }
                None => s.last = Some(value.clone()),
            }
        });
    }

    /// The wish that was applied, if the point now shows something else.
    pub(crate) fn left(&self, point: &Point, sample: &Sample) -> Option<Wish> {
        let value = sample.value.as_ref().filter(|_| sample.quality.is_good())?;
        let all = self.all();
        let state = all.get(&point.id)?;
        let wish = state.wish.as_ref()?;
        let applied = wish.outcome.as_ref().is_some_and(|o| o.state == DesiredState::Applied);
        let wanted = wish.value.as_ref().filter(|_| applied && sample.source_us > state.written_us)?;
        (!same(point, wanted, value) && !wanders(point, wanted, value)).then(|| wish.clone())
    }

    /// When somebody changed the point after `since_us`.
    pub(crate) fn changed_since(&self, point: PointId, since_us: i64) -> Option<i64> {
        self.with(point, |s| s.changed_us.filter(|t| *t > since_us))
    }
}

/// The point of the same name, whatever its values mean.
fn renamed<'r>(old: &Registry, id: PointId, new: &'r Registry) -> Option<&'r Point> {
    let was = old.point(id)?;
    new.find(&old.device(was.device)?.name, &was.schema.name)
}

/// Whether a value has moved no further than the point's deadband lets it: nobody changed it.
fn wanders(point: &Point, last: &Value, value: &Value) -> bool {
    let number = |v: &Value| v.as_f64().filter(|_| !matches!(v, Value::Bool(_)));
    match (point.deadband_width(), number(last), number(value)) {
        (Some(width), Some(a), Some(b)) => (a - b).abs() <= width,
        _ => false,
    }
}

/// Looks at every writable point until drained.
pub(crate) async fn observe(shared: Arc<Shared>, drain: Drain) {
    let mut tick = tokio::time::interval(OBSERVE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Few of many points are writable: they are looked for once a generation.
    let mut writable: Option<(u64, Vec<PointId>)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = drain.started() => return,
        }
        let registry = shared.registry();
        if writable.as_ref().is_none_or(|(generation, _)| *generation != registry.generation()) {
            let of_now = registry.points().filter(|p| p.schema.access.is_writable()).map(|p| p.id);
            writable = Some((registry.generation(), of_now.collect()));
        }
        let ids = writable.iter().flat_map(|(_, ids)| ids);
        ids.filter_map(|id| registry.point(*id)).for_each(|point| shared.observe(point));
    }
}

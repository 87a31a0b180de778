//! From one configuration to the next while the gateway runs: a point keeps its number as long as its device has
//! the same points, so that what is on its way keeps its meaning; and what every part does with the state that it
//! keeps by number. Not here: starting and stopping drivers.
//!
//! A schema names the first number of each device, and its points follow each other. So a device whose list of
//! points changed gets a new block of numbers as a whole, and its points are told as moved. Numbers that were
//! given up in a reload are not given out in the same one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use common::{DeviceSchema, PointId};
use tokio::sync::watch;

use crate::point::Point;
use crate::registry::{Device, Registry};

/// What became of numbers from one generation to another. What is not named here is as it was, or new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Numbers whose state is void: the point is gone, or its value means something else now. Sorted.
    pub reset: Vec<PointId>,
    /// The same points under other numbers; the old ones are in `reset` as well.
    pub moved: Vec<(PointId, PointId)>,
}

impl Changes {
    /// Brings a table by number from the one generation to the other, which has `slots` numbers.
    pub fn carry<T: Default>(&self, table: &mut Vec<T>, slots: usize) {
        let moved: Vec<(PointId, T)> = self
            .moved
            .iter()
            .filter_map(|(from, to)| Some((*to, std::mem::take(table.get_mut(from.index())?))))
            .collect();
        for slot in &self.reset {
            if let Some(slot) = table.get_mut(slot.index()) {
                *slot = T::default();
            }
        }
        table.resize_with(slots.max(table.len()), T::default);
        for (to, state) in moved {
            if let Some(slot) = table.get_mut(to.index()) {
                *slot = state;
            }
        }
    }

    /// Whether the state behind a number is void.
    pub fn voids(&self, id: PointId) -> bool {
        self.reset.binary_search(&id).is_ok()
    }

    /// From any generation to any later one.
    fn between(old: &Registry, new: &Registry) -> Self {
        let mut changes = Self::default();
        for (_, device) in old.devices() {
            let next = new.device_named(&device.name).and_then(|i| new.device(i));
            let stays = next.is_some_and(|n| n.points == device.points);
            let by_name: HashMap<&str, &Point> = match next {
                Some(next) if !stays => new.points_of(next).map(|p| (&*p.schema.name, p)).collect(),
                _ => HashMap::new(),
            };
            for point in old.points_of(device) {
                let name = &*point.schema.name;
                let now = if stays {
                    new.point(point.id).filter(|p| *p.schema.name == *name)
                } else {
                    by_name.get(name).copied()
                };
                match now.filter(|now| means_the_same(old, point, new, now)) {
                    Some(now) if now.id == point.id => {}
                    Some(now) => {
                        changes.reset.push(point.id);
                        changes.moved.push((point.id, now.id));
                    }
                    None => changes.reset.push(point.id),
                }
            }
        }
        changes.reset.sort_unstable();
        changes
    }
}

/// Whether a value of the one is a value of the other.
fn means_the_same(old: &Registry, was: &Point, new: &Registry, is: &Point) -> bool {
    was.schema.value_type == is.schema.value_type
        && was.schema.unit == is.schema.unit
        && was.scale == is.scale
        && was.raw.value_type == is.raw.value_type
        && old.device_schema(was).twin == new.device_schema(is).twin
}

impl Registry {
    /// What changed since `old`, an earlier generation.
    pub fn changes_since(&self, old: &Self) -> Arc<Changes> {
        if old.generation == self.generation {
            return Arc::default();
        }
        if old.generation + 1 == self.generation {
            return self.changes.clone();
        }
        Arc::new(Changes::between(old, self))
    }

    /// The generation after this one, with the devices and points of `fresh`, which was made from a new
    /// configuration and is numbered from 0. Devices keep their indices, and points their numbers where the
    /// device has the same points in the same order.
    #[must_use]
    pub fn succeed(&self, fresh: &Self) -> Self {
        let mut numbers = Numbers::of(self);
        let mut devices: Vec<Option<Device>> = vec![None; self.devices.len()];
        let mut free_indices: Vec<usize> =
            (0..self.devices.len()).rev().filter(|i| self.devices[*i].is_none()).collect();
        let mut points: Vec<Option<Point>> = vec![None; self.points.len()];
        let mut told: Vec<(usize, DeviceSchema)> = Vec::with_capacity(fresh.device_count());
        for (fresh_index, device) in fresh.devices() {
            let index = self.device_named(&device.name).or_else(|| free_indices.pop());
            let index = index.unwrap_or(devices.len());
            let block = match self.device(index).filter(|old| self.same_points(old, fresh, device)) {
                Some(old) => old.points.clone(),
                None => numbers.take(device.points.len()),
            };
            if points.len() < block.end as usize {
                points.resize(block.end as usize, None);
            }
            for (number, point) in block.clone().zip(fresh.points_of(device)) {
                if let Some(slot) = points.get_mut(number as usize) {
                    *slot = Some(Point { id: PointId(number), device: index, ..point.clone() });
                }
            }
            if let Some(schema) = fresh.told(fresh_index) {
                told.push((index, DeviceSchema { first_point: block.start, ..schema.clone() }));
            }
            if devices.len() <= index {
                devices.resize(index + 1, None);
            }
            devices[index] = Some(Device { points: block, ..device.clone() });
        }
        // A number is looked up by the last device that begins at or before it: one without points comes first.
        told.sort_by_key(|(_, d)| (d.first_point, d.points.len()));
        let mut places = vec![usize::MAX; devices.len()];
        for (place, (index, _)) in told.iter().enumerate() {
            places[*index] = place;
        }
        let schema = common::Schema {
            devices: told.into_iter().map(|(_, schema)| schema).collect(),
            ..fresh.schema.clone()
        };
        let named = |(index, d): (usize, &Option<Device>)| Some((d.as_ref()?.name.clone(), index));
        let mut next = Self {
            hash: schema.hash(),
            schema,
            told: places,
            names: devices.iter().enumerate().filter_map(named).collect(),
            count: fresh.count,
            devices,
            points,
            generation: self.generation + 1,
            changes: Arc::default(),
        };
        next.changes = Arc::new(Changes::between(self, &next));
        next
    }

    /// Whether it says the same as another generation.
    pub fn is_like(&self, other: &Self) -> bool {
        self.schema == other.schema && self.devices == other.devices && self.points == other.points
    }

    fn same_points(&self, old: &Device, fresh: &Self, new: &Device) -> bool {
        let names = |r: &Point| r.schema.name.clone();
        old.name == new.name
            && old.points.len() == new.points.len()
            && self.points_of(old).map(names).eq(fresh.points_of(new).map(names))
    }
}

/// Which numbers are free.
struct Numbers {
    holes: Vec<Range<u32>>,
    end: u32,
}

impl Numbers {
    fn of(registry: &Registry) -> Self {
        let mut taken: Vec<Range<u32>> = registry.devices().map(|(_, d)| d.points.clone()).collect();
        taken.retain(|r| !r.is_empty());
        taken.sort_by_key(|r| r.start);
        let mut at = 0;
        let mut holes = Vec::new();
        for block in taken {
            if at < block.start {
                holes.push(at..block.start);
            }
            at = block.end;
        }
        let end = u32::try_from(registry.points.len()).unwrap_or(u32::MAX);
        if at < end {
            holes.push(at..end);
        }
        Self { holes, end }
    }

    /// The smallest hole that is large enough, else the end.
    fn take(&mut self, count: usize) -> Range<u32> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count == 0 {
            return 0..0;
        }
        let size = |r: &Range<u32>| r.end - r.start;
        let fit = self.holes.iter_mut().filter(|r| size(r) >= count).min_by_key(|r| size(r));
        match fit {
            Some(hole) => {
                let first = hole.start;
                hole.start += count;
                first..first + count
            }
            None => {
                let first = self.end;
                self.end = first.saturating_add(count);
                first..self.end
            }
        }
    }
}

/// The registry of now, for parts that outlive a generation. Cheap to clone; all clones are one. Ask once for each
/// batch or request, not for each sample.
#[derive(Debug, Clone)]
pub struct Points(Arc<watch::Sender<Arc<Registry>>>);

impl From<Arc<Registry>> for Points {
    fn from(registry: Arc<Registry>) -> Self {
        Self(Arc::new(watch::Sender::new(registry)))
    }
}

impl Points {
    /// The generation of now.
    pub fn now(&self) -> Arc<Registry> {
        self.0.borrow().clone()
    }

    /// Puts the next generation in its place.
    pub fn set(&self, registry: Arc<Registry>) {
        self.0.send_replace(registry);
    }

    /// Waits until a generation is in its place.
    pub async fn reached(&self, generation: u64) {
        // Ends early only when nobody can set one any more.
        let _ = self.0.subscribe().wait_for(|r| r.generation() >= generation).await;
    }

    /// A point of now.
    pub fn point(&self, id: PointId) -> Option<Point> {
        self.0.borrow().point(id).cloned()
    }

    /// `device/point` of now, for people.
    pub fn path(&self, id: PointId) -> String {
        self.0.borrow().path(id)
    }
}

#[cfg(test)]
#[path = "generation_tests.rs"]
mod tests;

//! What clients watch: monitored items by node, and what each was told last. The crate below decides with a source time
//! when a value is due, bends it where an interval is asked for, and without a filter tells no change of the quality
//! alone; what is handed to it here is arranged so that clients get every change, with a true source time or none.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Quality, Sample, Value};
use gateway_opcua::{status, value};
use opcua::server::MonitoredItemHandle;
use opcua::server::notify::{SubscriptionDataNotifier, SubscriptionDataNotifierBatch};
use opcua::types::{AttributeId, DataValue, DateTime, NodeId, StatusCode, StatusCodeInfoType, Variant};

use crate::space::{self, Node, Space};

/// How an item is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    /// It has no filter: the crate looks at the value alone.
    pub(crate) plain: bool,
    /// It asked for no sampling interval: source times go out. With one the crate would bend them.
    pub(crate) stamped: bool,
}

/// One of which nothing is known.
const WHOLE: Item = Item { plain: true, stamped: true };

/// An item of a point.
#[derive(Debug)]
struct Watcher {
    item: Item,
    /// When its first value was received: what came no later is in that.
    since_us: i64,
    /// What came while the crate below did not know the item yet; none once it does.
    early: Option<Vec<Sample>>,
}

/// One watched point.
#[derive(Debug)]
struct Watch {
    id: NodeId,
    items: HashMap<MonitoredItemHandle, Watcher>,
    told: Option<Sample>,
    /// A value that is none is told in one of two ways, in turn, so that a change of its reason is one.
    flip: bool,
    /// Looks in which the value is told again: an item that was just changed or switched on may have missed one.
    fresh: u8,
    /// When what was current at the last look was received.
    current_us: i64,
    /// Samples may have been lost before the next that is told.
    missed: bool,
}

/// A watched node that is no point: its value is compared.
#[derive(Debug)]
struct Other {
    items: HashMap<MonitoredItemHandle, Item>,
    told: Option<Option<Variant>>,
    fresh: u8,
}

#[derive(Debug, Default)]
struct Table {
    points: HashMap<u32, Watch>,
    others: HashMap<NodeId, Other>,
    count: usize,
}

/// All that is watched.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Table>);

const FRESH: u8 = 3;
/// Values that wait for an item that is being made. One that never comes to be is removed by the crate.
const MOST_EARLY: usize = 256;

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    /// An item of a point. `first` gives its first value, which nothing comes between and what is told from now on;
    /// `enabled`, whether it is told anything yet.
    pub(crate) fn add_point(
        &self,
        (number, id): (u32, &NodeId),
        handle: MonitoredItemHandle,
        item: Item,
        enabled: bool,
        first: impl FnOnce() -> Option<Sample>,
    ) -> Option<Sample> {
        let mut table = self.lock();
        let first = first();
        let since_us = first.as_ref().map_or(0, |s| s.received_us);
        table.count += 1;
        let watch = table.points.entry(number).or_insert_with(|| Watch {
            id: id.clone(),
            items: HashMap::new(),
            told: first.clone(),
            flip: false,
            fresh: 0,
            current_us: 0,
            missed: false,
        });
        watch.items.insert(handle, Watcher { item, since_us, early: enabled.then(Vec::new) });
        first
    }

    /// An item of what is no point.
    pub(crate) fn add_other(&self, id: &NodeId, handle: MonitoredItemHandle, item: Item) {
        let mut table = self.lock();
        table.count += 1;
        let other = table.others.entry(id.clone()).or_insert_with(|| Other {
            items: HashMap::new(),
            told: None,
            fresh: 0,
        });
        other.items.insert(handle, item);
        other.fresh = FRESH;
    }

    /// An item was changed, or switched on or off.
    pub(crate) fn change(&self, space: &Space, id: &NodeId, handle: MonitoredItemHandle, item: Option<Item>) {
        let mut table = self.lock();
        let watch = match space.find(id) {
            Some(Node::Point(number)) => table.points.get_mut(&number),
            _ => None,
        };
        if let Some(watch) = watch.filter(|w| w.items.contains_key(&handle)) {
            watch.fresh = FRESH;
            if let Some((item, watcher)) = item.zip(watch.items.get_mut(&handle)) {
                watcher.item = item;
            }
        } else if let Some(other) = table.others.get_mut(id) {
            other.fresh = FRESH;
        }
    }

    pub(crate) fn remove(&self, space: &Space, id: &NodeId, handle: MonitoredItemHandle) {
        let table = &mut *self.lock();
        let number = match space.find(id) {
            Some(Node::Point(number)) => Some(number),
            _ => None,
        };
        if let Some(number) = number
            && let Some(watch) = table.points.get_mut(&number)
        {
            if watch.items.remove(&handle).is_some() {
                table.count -= 1;
            }
            if watch.items.is_empty() {
                table.points.remove(&number);
            }
        }
        if let Some(other) = table.others.get_mut(id) {
            if other.items.remove(&handle).is_some() {
                table.count -= 1;
            }
            if other.items.is_empty() {
                table.others.remove(id);
            }
        }
    }

    /// Samples from the bus.
    pub(crate) fn tell(&self, samples: &[Sample], notifier: &mut SubscriptionDataNotifier<'_>) {
        let mut table = self.lock();
        if table.points.is_empty() {
            return;
        }
        for sample in samples {
            if let Some(watch) = table.points.get_mut(&sample.point.0) {
                watch.tell(sample, notifier, true);
            }
        }
    }

    /// Samples were lost, of whichever points: what is told of each next says so.
    pub(crate) fn missed(&self) {
        self.lock().points.values_mut().for_each(|w| w.missed = true);
    }

    /// Looks at what no sample tells: values that have grown stale, and values that are no points.
    pub(crate) fn look(
        &self,
        judge: impl Fn(u32) -> Option<Sample>,
        value: impl Fn(&NodeId) -> Option<Option<Variant>>,
        at: DateTime,
        notifier: &mut SubscriptionDataNotifier<'_>,
    ) {
        let mut table = self.lock();
        for (number, watch) in &mut table.points {
            let Some(now) = judge(*number) else { continue };
            if watch.fresh > 0 || watch.lacks(&now) {
                watch.fresh = watch.fresh.saturating_sub(1);
                watch.tell(&now, notifier, false);
            }
            watch.current_us = now.received_us;
        }
        for (id, other) in &mut table.others {
            let now = value(id);
            if other.fresh > 0 || other.told != now {
                other.fresh = other.fresh.saturating_sub(1);
                let data = match &now {
                    Some(value) => DataValue { value: value.clone(), ..DataValue::null() },
                    None => gone(at),
                };
                other.told = now;
                if let Some(mut batch) = notifier.notify_for(id, AttributeId::Value) {
                    batch.data_value(DataValue { server_timestamp: Some(at), ..data });
                }
            }
        }
    }

    /// Goes over to another space: nodes that are gone are told so, and wait for their return.
    pub(crate) fn renew(&self, space: &Space, at: DateTime, notifier: &mut SubscriptionDataNotifier<'_>) {
        let mut table = self.lock();
        let points = std::mem::take(&mut table.points);
        let others = std::mem::take(&mut table.others);
        let plain = |items: HashMap<MonitoredItemHandle, Watcher>| {
            items.into_iter().map(|(handle, w)| (handle, w.item)).collect::<HashMap<_, _>>()
        };
        let old = points.into_values().map(|w| (w.id, plain(w.items)));
        for (id, items) in old.chain(others.into_iter().map(|(id, o)| (id, o.items))) {
            match space.find(&id) {
                Some(Node::Point(number)) => {
                    let watcher = |item| Watcher { item, since_us: 0, early: None };
                    let items = items.into_iter().map(|(handle, item)| (handle, watcher(item))).collect();
                    let watch = Watch {
                        id,
                        items,
                        told: None,
                        flip: false,
                        fresh: FRESH,
                        current_us: 0,
                        missed: false,
                    };
                    table.points.insert(number, watch);
                }
                found => {
                    if found.is_none()
                        && let Some(mut batch) = notifier.notify_for(&id, AttributeId::Value)
                    {
                        batch.data_value(gone(at));
                    }
                    table.others.insert(id, Other { items, told: None, fresh: FRESH });
                }
            }
        }
    }
}

/// A node that is not there any more.
fn gone(at: DateTime) -> DataValue {
    DataValue { status: Some(StatusCode::BadNodeIdUnknown), server_timestamp: Some(at), ..DataValue::null() }
}

impl Watch {
    /// Whether what is current has to be told by a look: it has aged, or the bus lost it. What is new waits for the
    /// next look, since the bus must not be overtaken, and may be held back by a deadband.
    fn lacks(&self, now: &Sample) -> bool {
        let Some(told) = &self.told else { return true };
        let is_settled = now.received_us == self.current_us;
        is_settled && (told.quality != now.quality || self.missed && told.value != now.value)
    }

    fn tell(&mut self, sample: &Sample, notifier: &mut SubscriptionDataNotifier<'_>, from_bus: bool) {
        let value = if sample.quality.is_bad() { None } else { sample.value.clone() };
        let was = self.told.as_ref();
        let changed_alone = was.is_some_and(|t| t.quality != sample.quality && t.value == value);
        if value.is_none() && changed_alone {
            self.flip = !self.flip;
        }
        // Back in time: the crate would hold it back, perhaps for ever.
        let back = was.is_some_and(|t| t.source_us > sample.source_us);
        self.told = Some(Sample { value: value.clone(), ..sample.clone() });
        let mut data = data_value(sample, value.as_ref(), self.flip);
        if std::mem::take(&mut self.missed) {
            data.status = Some(lossy(data.status.unwrap_or(StatusCode::Good)));
        }
        let Some(mut batch) = notifier.notify_for(&self.id, AttributeId::Value) else {
            self.items.values_mut().for_each(|w| w.hold(sample));
            return;
        };
        let known: Vec<_> = batch.entries().map(|(handle, _)| *handle).collect();
        for handle in &known {
            let watcher = self.items.get_mut(handle);
            let (item, since_us, early) =
                watcher.map_or((WHOLE, 0, None), |w| (w.item, w.since_us, w.early.take()));
            for early in early.into_iter().flatten() {
                let value = early.value.as_ref().filter(|_| !early.quality.is_bad());
                let mut own = data_value(&early, value, false);
                if !item.stamped {
                    own.source_timestamp = None;
                }
                batch.data_value_to_item(own, handle);
            }
            if from_bus && sample.received_us <= since_us {
                continue;
            }
            let mut own = data.clone();
            if !item.stamped || back {
                own.source_timestamp = None;
            }
            if item.plain && changed_alone && value.is_some() {
                wake(&mut batch, &own, *handle);
            }
            batch.data_value_to_item(own, handle);
        }
        if known.len() < self.items.len() {
            let known: HashSet<_> = known.into_iter().collect();
            let unknown = self.items.iter_mut().filter(|(handle, _)| !known.contains(*handle));
            unknown.for_each(|(_, watcher)| watcher.hold(sample));
        }
    }
}

impl Watcher {
    fn hold(&mut self, sample: &Sample) {
        if let Some(early) = self.early.as_mut().filter(|e| e.len() < MOST_EARLY)
            && sample.received_us > self.since_us
        {
            early.push(sample.clone());
        }
    }
}

/// The status of a value before which others were lost (part 4, 7.39.1: the info type and its bit `Overflow`).
fn lossy(status: StatusCode) -> StatusCode {
    status.set_info_type(StatusCodeInfoType::DataValue).set_overflow(true)
}

/// What makes an item without filter tell a quality that changed without its value.
fn wake(batch: &mut SubscriptionDataNotifierBatch<'_>, data: &DataValue, handle: MonitoredItemHandle) {
    batch.data_value_to_item(DataValue { value: Some(Variant::Empty), ..data.clone() }, &handle);
}

/// A sample as it is told; what is bad has no value.
pub(crate) fn data_value(sample: &Sample, value: Option<&Value>, flip: bool) -> DataValue {
    let told = value.map(space::variant);
    DataValue {
        value: told.or_else(|| flip.then_some(Variant::Empty)),
        status: (sample.quality != Quality::GOOD).then(|| status::status(sample.quality)),
        source_timestamp: (sample.source_us != 0).then(|| value::time(sample.source_us)),
        source_picoseconds: None,
        server_timestamp: (sample.received_us != 0).then(|| value::time(sample.received_us)),
        server_picoseconds: None,
    }
}

#[cfg(test)]
mod tests {
    use common::PointId;

    use super::*;

    fn sample(value: u64, received_us: i64, quality: Quality) -> Sample {
        Sample {
            point: PointId(0),
            value: Some(Value::U64(value)),
            quality,
            source_us: received_us,
            received_us,
        }
    }

    fn watch(told: Option<Sample>) -> Watch {
        let (id, items) = (NodeId::null(), HashMap::new());
        Watch { id, items, told, flip: false, fresh: 0, current_us: 0, missed: false }
    }

    #[test]
    fn a_look_does_not_overtake_the_bus_and_tells_what_has_aged() {
        let (one, two) = (sample(1, 10, Quality::GOOD), sample(2, 20, Quality::GOOD));
        let mut watch = watch(Some(one.clone()));
        assert!(!watch.lacks(&two), "the bus brings it");
        watch.current_us = 20;
        assert!(!watch.lacks(&two), "a deadband holds it back");
        watch.missed = true;
        assert!(watch.lacks(&two), "the bus lost it");
        watch.missed = false;
        let aged = Sample { quality: Quality::BAD, ..one };
        assert!(!watch.lacks(&aged));
        watch.current_us = 10;
        assert!(watch.lacks(&aged));
    }

    #[test]
    fn what_comes_while_an_item_is_made_is_held_for_it_in_order() {
        let item = Item { plain: true, stamped: true };
        let mut watcher = Watcher { item, since_us: 10, early: Some(Vec::new()) };
        for (value, at) in [(1, 9), (2, 10), (3, 11), (4, 12)] {
            watcher.hold(&sample(value, at, Quality::GOOD));
        }
        let held: Vec<_> = watcher.early.take().unwrap().into_iter().map(|s| s.received_us).collect();
        assert_eq!(held, [11, 12], "what its first value has in it is not told again");
        watcher.hold(&sample(5, 13, Quality::GOOD));
        assert!(watcher.early.is_none(), "from then on it is told directly");
    }

    #[test]
    fn a_loss_is_a_good_value_with_the_overflow_bit() {
        let status = lossy(StatusCode::Good);
        assert_eq!((status.is_good(), status.overflow(), status.bits()), (true, true, 0x0480));
    }
}

//! What clients watch: monitored items by node, and what each was told last. The crate below decides with a source time
//! when a value is due, bends it where an interval is asked for, and without a filter tells no change of the quality
//! alone; what is handed to it here is arranged so that clients get every change, with a true source time or none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Quality, Sample, Value};
use gateway_opcua::{status, value};
use opcua::server::MonitoredItemHandle;
use opcua::server::notify::{SubscriptionDataNotifier, SubscriptionDataNotifierBatch};
use opcua::types::{AttributeId, DataValue, DateTime, NodeId, Variant};

use crate::space::{self, Node, Space};

/// How an item is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    /// It has no filter: the crate looks at the value alone.
    pub(crate) plain: bool,
    /// It asked for no sampling interval: source times go out. With one the crate would bend them.
    pub(crate) stamped: bool,
}

/// One watched node.
#[derive(Debug)]
struct Watch {
    id: NodeId,
    items: HashMap<MonitoredItemHandle, Item>,
    told: Option<Sample>,
    /// A value that is none is told in one of two ways, in turn, so that a change of its reason is one.
    flip: bool,
    /// Looks in which the value is told again: an item that is just being made may have missed one.
    fresh: u8,
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

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    pub(crate) fn add(&self, node: &Node, id: &NodeId, handle: MonitoredItemHandle, item: Item) {
        let mut table = self.lock();
        table.count += 1;
        match node {
            Node::Point(number) => {
                let watch = table.points.entry(*number).or_insert_with(|| Watch {
                    id: id.clone(),
                    items: HashMap::new(),
                    told: None,
                    flip: false,
                    fresh: 0,
                });
                watch.items.insert(handle, item);
                watch.fresh = FRESH;
            }
            _ => {
                let other = table.others.entry(id.clone()).or_insert_with(|| Other {
                    items: HashMap::new(),
                    told: None,
                    fresh: 0,
                });
                other.items.insert(handle, item);
                other.fresh = FRESH;
            }
        }
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
            if let Some(item) = item {
                watch.items.insert(handle, item);
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
                watch.tell(sample, notifier);
            }
        }
    }

    /// Looks at what no sample tells: values that have grown stale, and values that are no points.
    pub(crate) fn look(
        &self,
        judge: impl Fn(u32) -> Option<Sample>,
        value: impl Fn(&NodeId) -> Option<Option<Variant>>,
        notifier: &mut SubscriptionDataNotifier<'_>,
    ) {
        let mut table = self.lock();
        for (number, watch) in &mut table.points {
            let Some(now) = judge(*number) else { continue };
            let same = watch.told.as_ref().is_some_and(|t| t.quality == now.quality && t.value == now.value);
            if watch.fresh > 0 || !same {
                watch.fresh = watch.fresh.saturating_sub(1);
                watch.tell(&now, notifier);
            }
        }
        for (id, other) in &mut table.others {
            let now = value(id);
            if other.fresh > 0 || other.told != now {
                other.fresh = other.fresh.saturating_sub(1);
                let data = match &now {
                    Some(value) => DataValue { value: value.clone(), ..DataValue::null() },
                    None => gone(),
                };
                other.told = now;
                if let Some(mut batch) = notifier.notify_for(id, AttributeId::Value) {
                    batch.data_value(DataValue { server_timestamp: Some(DateTime::now()), ..data });
                }
            }
        }
    }

    /// Goes over to another space: nodes that are gone are told so, and wait for their return.
    pub(crate) fn renew(&self, space: &Space, notifier: &mut SubscriptionDataNotifier<'_>) {
        let mut table = self.lock();
        let points = std::mem::take(&mut table.points);
        let others = std::mem::take(&mut table.others);
        let old = points.into_values().map(|w| (w.id, w.items));
        for (id, items) in old.chain(others.into_iter().map(|(id, o)| (id, o.items))) {
            match space.find(&id) {
                Some(Node::Point(number)) => {
                    let watch = Watch { id, items, told: None, flip: false, fresh: FRESH };
                    table.points.insert(number, watch);
                }
                found => {
                    if found.is_none()
                        && let Some(mut batch) = notifier.notify_for(&id, AttributeId::Value)
                    {
                        batch.data_value(gone());
                    }
                    table.others.insert(id, Other { items, told: None, fresh: FRESH });
                }
            }
        }
    }
}

/// A node that is not there any more.
fn gone() -> DataValue {
    DataValue {
        status: Some(opcua::types::StatusCode::BadNodeIdUnknown),
        server_timestamp: Some(DateTime::now()),
        ..DataValue::null()
    }
}

impl Watch {
    fn tell(&mut self, sample: &Sample, notifier: &mut SubscriptionDataNotifier<'_>) {
        let value = if sample.quality.is_bad() { None } else { sample.value.clone() };
        let was = self.told.as_ref();
        let changed_alone = was.is_some_and(|t| t.quality != sample.quality && t.value == value);
        if value.is_none() && changed_alone {
            self.flip = !self.flip;
        }
        // Back in time: the crate would hold it back, perhaps for ever.
        let back = was.is_some_and(|t| t.source_us > sample.source_us);
        self.told = Some(Sample { value: value.clone(), ..sample.clone() });
        let data = data_value(sample, value.as_ref(), self.flip);
        let Some(mut batch) = notifier.notify_for(&self.id, AttributeId::Value) else { return };
        let entries: Vec<_> = batch.entries().map(|(handle, _)| *handle).collect();
        for handle in entries {
            let item = self.items.get(&handle).copied().unwrap_or(Item { plain: true, stamped: true });
            let mut own = data.clone();
            if !item.stamped || back {
                own.source_timestamp = None;
            }
            if item.plain && changed_alone && value.is_some() {
                wake(&mut batch, &own, handle);
            }
            batch.data_value_to_item(own, &handle);
        }
    }
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

//! Publishes processed samples on the broker, so that programs on the box can read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::names::topic;
use common::{Drain, PointId, Sample};
use gateway_core::{Item, Reader, Registry};
use tokio::time::{MissedTickBehavior, interval};

use crate::handle::Handle;

/// A point is published at most this often, with its last value.
const EVERY: Duration = Duration::from_millis(100);

/// Publishes the last sample of every point that changed, retained, on `names::topic::local_point`, as
/// `{"value": 21.5, "quality": "good", "source_us": 1795000000000000, "unit": "Cel"}`. Ends when the bus ends
/// or drain starts; what is held then is published first.
pub async fn publish_points(mut reader: Reader, mut registry: Arc<Registry>, handle: Handle, drain: Drain) {
    let mut changed: BTreeMap<PointId, Sample> = BTreeMap::new();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            item = reader.next() => match item {
                Some(Item::Batch(batch)) => changed.extend(batch.iter().map(|s| (s.point, s.clone()))),
                Some(Item::Registry(next)) => {
                    flush(&mut changed, &registry, &handle);
                    forget(&registry, &next, &handle);
                    registry = next;
                }
                None => break,
            },
            _ = tick.tick(), if !changed.is_empty() => flush(&mut changed, &registry, &handle),
            () = drain.started() => break,
        }
    }
    flush(&mut changed, &registry, &handle);
}

/// What the broker keeps of points that are gone would look like their value for ever.
fn forget(old: &Registry, new: &Registry, handle: &Handle) {
    for point in old.points() {
        let device = &old.device_schema(point).name;
        if new.find(device, &point.schema.name).is_none() {
            handle.publish(&topic::local_point(device, &point.schema.name), String::new(), true);
        }
    }
}

fn flush(changed: &mut BTreeMap<PointId, Sample>, registry: &Registry, handle: &Handle) {
    for (id, sample) in std::mem::take(changed) {
        let Some(point) = registry.point(id) else { continue };
        let device = registry.device_schema(point);
        let json = serde_json::json!({
            "value": sample.value,
            "quality": sample.quality,
            "source_us": sample.source_us,
            "unit": point.schema.unit,
        });
        handle.publish(&topic::local_point(&device.name, &point.schema.name), json.to_string(), true);
    }
}

//! Publishes processed samples by device: one message for what was read together. At 100,000 values a second that is a
//! thousand messages, not a hundred thousand. Not here: points one by one (`points`), templates of topics.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use common::names::topic;
use common::{Drain, PointId, Sample};
use gateway_core::{Item, Reader, Registry};

use crate::Handle;
use crate::core::Message;

/// Messages that are published together, about.
const BURST: usize = 64;

/// Numbers, text and values of ours into memory: this cannot fail.
macro_rules! put_json {
    ($out:expr, $value:expr) => {
        let _ = serde_json::to_writer($out, $value);
    };
}

/// Publishes what was read together of a device on `names::topic::local_device`, at once and not retained, as
/// `{"ts":1795000000000000,"values":{"flow":21.5,"level":null},"quality":{"level":"bad_timeout"}}`: `ts` is the
/// source time (UTC us) of all its values, and `quality` names only those that are not good. Ends when the bus ends or
/// drain starts; what waits then is published first.
pub async fn publish_devices(mut reader: Reader, registry: Arc<Registry>, handle: Handle, drain: Drain) {
    let mut writer = Writer::new(registry);
    let mut burst = Vec::with_capacity(BURST);
    let mut stop = pin!(drain.started());
    loop {
        let mut next = tokio::select! {
            biased;
            item = reader.next() => item,
            () = &mut stop => break,
        };
        if next.is_none() {
            return;
        }
        // What came with it goes with it: one lock, and whoever listens is woken once.
        while let Some(item) = next {
            writer.take(&item, &mut |topic, json| burst.push(own(topic, json)));
            next = if burst.len() < BURST { reader.try_next() } else { None };
        }
        handle.publish_all(&mut burst);
    }
    while let Some(item) = reader.try_next() {
        writer.take(&item, &mut |topic, json| burst.push(own(topic, json)));
        handle.publish_all(&mut burst);
    }
}

fn own(topic: &str, json: &[u8]) -> Message {
    Message::own(topic, Bytes::copy_from_slice(json), false)
}

/// The names of points as keys of JSON: each with its quotes, and a comma before it. Beside each other, because a
/// registry has each where it was made, and going there costs more than all else that is done for a value.
struct Keys {
    text: Vec<u8>,
    /// Where the key of each number ends; one of no point is empty.
    ends: Vec<u32>,
}

impl Keys {
    fn of(registry: &Registry) -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(registry.slots()));
        let slots = u32::try_from(registry.slots()).unwrap_or(u32::MAX);
        for point in (0..slots).map(PointId) {
            if let Some(point) = registry.point(point) {
                text.push(b',');
                put_json!(&mut text, &point.schema.name);
                text.push(b':');
            }
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        text.shrink_to_fit();
        Self { text, ends }
    }

    /// Where a point's key stands in `text`; none for a number of no point.
    fn place(&self, point: PointId) -> Option<Range<usize>> {
        let at = point.index();
        let first = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        let place = first as usize..*self.ends.get(at)? as usize;
        (!place.is_empty()).then_some(place)
    }
}

/// Makes messages of batches; what it needs again and again is kept.
struct Writer {
    registry: Arc<Registry>,
    keys: Keys,
    /// The device of the last point, and the numbers of all of its points.
    device: usize,
    own: Range<u32>,
    /// The device that `topic` is of.
    topic_of: Option<usize>,
    topic: String,
    json: Vec<u8>,
    quality: Vec<u8>,
    /// By point: the number of the last message that it stands in.
    written: Vec<u32>,
    message: u32,
}

impl Writer {
    fn new(registry: Arc<Registry>) -> Self {
        Self {
            keys: Keys::of(&registry),
            written: vec![0; registry.slots()],
            registry,
            device: 0,
            own: 0..0,
            topic_of: None,
            topic: String::new(),
            json: Vec::new(),
            quality: Vec::new(),
            message: 0,
        }
    }

    fn take(&mut self, item: &Item, put: &mut impl FnMut(&str, &[u8])) {
        match item {
            Item::Batch(batch) => self.batch(batch, put),
            Item::Registry(next) => *self = Self::new(next.clone()),
        }
    }

    /// A message is of one device and one source time, and holds no point twice.
    fn batch(&mut self, batch: &[Sample], put: &mut impl FnMut(&str, &[u8])) {
        let mut open: Option<(usize, i64)> = None;
        for sample in batch {
            let Some((device, key)) = self.device_of(sample.point) else { continue };
            let Some(written) = self.written.get(sample.point.index()).copied() else { continue };
            let of = (device, sample.source_us);
            if open != Some(of) || written == self.message {
                if open.is_some() {
                    self.end(put);
                }
                open = Some(of);
                self.begin(device, sample.source_us);
            }
            self.written[sample.point.index()] = self.message;
            self.value(key, sample);
        }
        if open.is_some() {
            self.end(put);
        }
    }

    /// The device of a point, and where its key stands; none of a number of no point.
    fn device_of(&mut self, point: PointId) -> Option<(usize, Range<usize>)> {
        let key = self.keys.place(point)?;
        if !self.own.contains(&point.0) {
            let device = self.registry.point(point)?.device;
            self.own = self.registry.device(device)?.points.clone();
            self.device = device;
        }
        Some((self.device, key))
    }

    fn begin(&mut self, device: usize, source_us: i64) {
        self.message = self.message.wrapping_add(1).max(1);
        if self.topic_of != Some(device) {
            self.topic_of = Some(device);
            let name = self.registry.device(device).map_or("", |d| d.name.as_str());
            self.topic = topic::local_device(name);
        }
        self.json.clear();
        self.quality.clear();
        self.json.extend_from_slice(b"{\"ts\":");
        put_json!(&mut self.json, &source_us);
        self.json.extend_from_slice(b",\"values\":{");
    }

    fn value(&mut self, key: Range<usize>, sample: &Sample) {
        let Some(key) = self.keys.text.get(key) else { return };
        put_key(&mut self.json, key);
        put_json!(&mut self.json, &sample.value);
        if !sample.quality.is_good() {
            put_key(&mut self.quality, key);
            put_json!(&mut self.quality, &sample.quality);
        }
    }

    fn end(&mut self, put: &mut impl FnMut(&str, &[u8])) {
        self.json.push(b'}');
        if !self.quality.is_empty() {
            self.json.extend_from_slice(b",\"quality\":{");
            self.json.append(&mut self.quality);
            self.json.push(b'}');
        }
        self.json.push(b'}');
        put(&self.topic, &self.json);
    }
}

/// A key of an object, without its comma if it is the first.
fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    let is_first = matches!(out.last(), None | Some(b'{'));
    out.extend_from_slice(key.get(usize::from(is_first)..).unwrap_or_default());
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;

//! Publishes processed samples by device: one message for what was read together. At 100,000 values a second that is a
//! thousand messages, not a hundred thousand. Not here: points one by one (`points`), templates of topics.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use common::names::topic;
use common::{Drain, Sample};
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

/// Makes messages of batches; what it needs again and again is kept.
struct Writer {
    registry: Arc<Registry>,
    /// Of the device that `topic` is of.
    device: Option<usize>,
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
            written: vec![0; registry.slots()],
            registry,
            device: None,
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
        let registry = self.registry.clone();
        let mut open: Option<(usize, i64)> = None;
        for sample in batch {
            let Some(point) = registry.point(sample.point) else { continue };
            let Some(written) = self.written.get(sample.point.index()).copied() else { continue };
            let key = (point.device, sample.source_us);
            if open != Some(key) || written == self.message {
                if open.is_some() {
                    self.end(put);
                }
                open = Some(key);
                self.begin(point.device, sample.source_us);
            }
            self.written[sample.point.index()] = self.message;
            self.value(&point.schema.name, sample);
        }
        if open.is_some() {
            self.end(put);
        }
    }

    fn begin(&mut self, device: usize, source_us: i64) {
        self.message = self.message.wrapping_add(1).max(1);
        if self.device != Some(device) {
            self.device = Some(device);
            let name = self.registry.device(device).map_or("", |d| d.name.as_str());
            self.topic = topic::local_device(name);
        }
        self.json.clear();
        self.quality.clear();
        self.json.extend_from_slice(b"{\"ts\":");
        put_json!(&mut self.json, &source_us);
        self.json.extend_from_slice(b",\"values\":{");
    }

    fn value(&mut self, name: &str, sample: &Sample) {
        put_key(&mut self.json, name);
        put_json!(&mut self.json, &sample.value);
        if !sample.quality.is_good() {
            put_key(&mut self.quality, name);
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

/// A key of an object; a comma before it unless it is the first.
fn put_key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
        // As nearly all names are: nothing to be escaped.
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    } else {
        put_json!(&mut *out, name);
    }
    out.push(b':');
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;

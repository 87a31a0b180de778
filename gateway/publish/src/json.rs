//! Samples as JSON messages. Pure.

use std::collections::HashSet;

use common::{Sample, Schema};
use serde_json::{Map, Value as Json, json};

use crate::options::{self, Options, Per};

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// The messages of the samples of one frame, in their order. Of a device's samples a point stands once in a message.
pub(crate) fn messages(
    options: &Options,
    json: &options::Json,
    schema: &Schema,
    samples: &[Sample],
) -> Vec<Message> {
    let mut out = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for sample in samples {
        let Some((device, point)) = schema.point(sample.point) else { continue };
        if !options.takes(&device.name) {
            continue;
        }
        let topic = || json.topic.topic(&options.tenant, &options.gateway, device, &point.name);
        if json.per == Per::Point {
            let mut object = object(sample);
            if !point.unit.is_empty() {
                object.insert("unit".to_owned(), point.unit.clone().into());
            }
            out.push(Message { topic: topic(), payload: Json::Object(object).to_string() });
            continue;
        }
        let at = open.iter().position(|o| o.device == device.first_point);
        let at = match at {
            Some(at) if open[at].names.contains(&sample.point.0) => {
                out.push(open[at].close());
                at
            }
            Some(at) => at,
            None => {
                open.push(Open::new(device.first_point, topic(), &device.name));
                open.len() - 1
            }
        };
        open[at].names.insert(sample.point.0);
        open[at].source_us = open[at].source_us.max(sample.source_us);
        open[at].values.insert(point.name.to_string(), Json::Object(object(sample)));
    }
    out.extend(open.iter_mut().map(Open::close));
    out
}

/// A device's message that is being made.
struct Open {
    device: u32,
    name: String,
    topic: String,
    names: HashSet<u32>,
    source_us: i64,
    values: Map<String, Json>,
}

impl Open {
    fn new(device: u32, topic: String, name: &str) -> Self {
        let (names, values) = (HashSet::new(), Map::new());
        Self { device, name: name.to_owned(), topic, names, source_us: i64::MIN, values }
    }

    fn close(&mut self) -> Message {
        let values = std::mem::take(&mut self.values);
        let source_us = std::mem::replace(&mut self.source_us, i64::MIN);
        self.names.clear();
        let payload = json!({ "device": self.name, "source_us": source_us, "values": values });
        Message { topic: self.topic.clone(), payload: payload.to_string() }
    }
}

fn object(sample: &Sample) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("value".to_owned(), serde_json::to_value(&sample.value).unwrap_or(Json::Null));
    object.insert("quality".to_owned(), sample.quality.name().into());
    object.insert("source_us".to_owned(), sample.source_us.into());
    object
}

//! Our edge node for hosts of others: which births, data and deaths the gateway's points make, and what a host's
//! commands mean. No connection here.

use std::collections::HashMap;

use common::{Sample, Schema, SchemaHash, TwinId, Value};
use gateway_core::Current;
use gateway_sparkplug::{Command, DataType, Edge, Kind, Metric, NODE_ALIASES, Payload, Topic, check_id};

use crate::options::{Options, Sparkplug};

/// A message that is to be sent.
pub(crate) type Out = (String, Vec<u8>);

/// What a host asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// New births.
    Births,
    /// A write to a point.
    Write { twin: TwinId, point: String, value: Value },
    /// Something that cannot be: told in the log.
    Nonsense(String),
}

/// One session of the node.
pub(crate) struct Node<'a> {
    options: &'a Options,
    sparkplug: &'a Sparkplug,
    edge: Edge,
    /// Schema of the last births, and its metrics by device and name.
    born: Option<(SchemaHash, Schema)>,
    /// Alias and type of the metrics in the births.
    metrics: HashMap<(TwinId, String), (u64, DataType)>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(options: &'a Options, sparkplug: &'a Sparkplug, bd_seq: u8) -> Self {
        Self { options, sparkplug, edge: Edge::new(bd_seq), born: None, metrics: HashMap::new() }
    }

    pub(crate) fn topic(&self, kind: Kind, device: Option<&str>) -> String {
        let Sparkplug { group, node, .. } = self.sparkplug;
        Topic { group, kind, node, device }.to_string()
    }

    /// What a host may say to the node.
    pub(crate) fn filters(&self) -> Vec<String> {
        let devices = format!("{}/+", self.topic(Kind::DCmd, None));
        let state = self.sparkplug.primary_host.as_deref().map(gateway_sparkplug::state_topic);
        [self.topic(Kind::NCmd, None), devices].into_iter().chain(state).collect()
    }

    /// The death of the node.
    pub(crate) fn death(&self, now_ms: u64) -> Out {
        (self.topic(Kind::NDeath, None), self.edge.death(now_ms).encode())
    }

    /// Schema of the last births.
    pub(crate) fn born(&self) -> Option<SchemaHash> {
        self.born.as_ref().map(|(hash, _)| *hash)
    }

    /// Births of the node and its devices, with the values of now.
    pub(crate) fn births(&mut self, schema: &Schema, current: &Current, now_ms: u64) -> Vec<Out> {
        self.metrics.clear();
        let birth = self.edge.birth(now_ms, vec![]);
        let mut out = vec![(self.topic(Kind::NBirth, None), birth.encode())];
        for device in schema.devices.iter().filter(|d| self.options.takes(&d.name)) {
            if check_id(&device.name).is_err() {
                continue;
            }
            let mut metrics = Vec::with_capacity(device.points.len());
            for (number, point) in (device.first_point..).zip(&device.points) {
                let kind = DataType::of(point.value_type);
                let alias = NODE_ALIASES + u64::from(number);
                self.metrics.insert((device.twin, point.name.to_string()), (alias, kind));
                let sample = current.get(common::PointId(number));
                let metric = match &sample {
                    Some(sample) => self.metric(sample, alias, kind, false),
                    None => Metric { timestamp_ms: Some(now_ms), ..Metric::of(kind, None) },
                };
                metrics.push(Metric {
                    name: Some(point.name.to_string()),
                    alias: Some(alias),
                    datatype: Some(kind.code()),
                    ..metric
                });
            }
            let birth = self.edge.message(now_ms, metrics);
            out.push((self.topic(Kind::DBirth, Some(&device.name)), birth.encode()));
        }
        self.born = Some((schema.hash(), schema.clone()));
        out
    }

    fn metric(&self, sample: &Sample, alias: u64, kind: DataType, historical: bool) -> Metric {
        // A value that is bad is none: hosts look at it before they look at its quality.
        let value = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
        Metric {
            alias: Some(alias),
            timestamp_ms: u64::try_from(sample.source_us / 1000).ok(),
            datatype: Some(kind.code()),
            historical,
            quality: (!sample.quality.is_good()).then_some(sample.quality),
            ..Metric::of(kind, value)
        }
    }

    /// Data messages of a frame's samples, one a device, and how many samples are of points that no birth has.
    pub(crate) fn data(
        &mut self,
        schema: &Schema,
        samples: &[Sample],
        historical: bool,
        now_ms: u64,
    ) -> (Vec<Out>, u64) {
        let mut by_device: Vec<(&str, Vec<Metric>)> = Vec::new();
        let mut unknown = 0;
        for sample in samples {
            let Some((device, point)) = schema.point(sample.point) else {
                unknown += 1;
                continue;
            };
            if !self.options.takes(&device.name) {
                continue;
            }
            let known = self.metrics.get(&(device.twin, point.name.to_string()));
            let Some((alias, kind)) =
                known.copied().filter(|(_, kind)| *kind == DataType::of(point.value_type))
            else {
                unknown += 1;
                continue;
            };
            let Some(name) = self.name_of(device.twin) else { continue };
            let metric = self.metric(sample, alias, kind, historical);
            match by_device.iter().position(|(d, _)| *d == name) {
                Some(at) => by_device[at].1.push(metric),
                None => by_device.push((name, vec![metric])),
            }
        }
        let by_device: Vec<(String, Vec<Metric>)> = by_device
            .into_iter()
            .map(|(name, metrics)| (self.topic(Kind::DData, Some(name)), metrics))
            .collect();
        let out = by_device
            .into_iter()
            .map(|(topic, metrics)| (topic, self.edge.message(now_ms, metrics).encode()))
            .collect();
        (out, unknown)
    }

    /// What a twin's device is called in the births.
    fn name_of(&self, twin: TwinId) -> Option<&str> {
        let (_, schema) = self.born.as_ref()?;
        schema.devices.iter().find(|d| d.twin == twin).map(|d| d.name.as_str())
    }

    /// What a command asks for.
    pub(crate) fn asks(&self, topic: &str, payload: &[u8]) -> Vec<Ask> {
        let Ok(topic) = Topic::parse(topic) else { return vec![] };
        let payload = match Payload::decode(payload) {
            Ok(payload) => payload,
            Err(error) => return vec![Ask::Nonsense(error.to_string())],
        };
        let asks = Edge::commands(payload).into_iter();
        asks.map(|command| match (command, topic.kind, topic.device) {
            (Command::Rebirth, Kind::NCmd, _) => Ask::Births,
            (Command::Write(metric), Kind::DCmd, Some(device)) => {
                self.write(device, &metric).unwrap_or_else(Ask::Nonsense)
            }
            (command, ..) => Ask::Nonsense(format!("{command:?} is not for the node")),
        })
        .collect()
    }

    fn write(&self, device: &str, metric: &Metric) -> Result<Ask, String> {
        let (_, schema) = self.born.as_ref().ok_or("a command before the births")?;
        let device = schema
            .devices
            .iter()
            .find(|d| d.name == device && self.options.takes(&d.name))
            .ok_or_else(|| format!("there is no device `{device}`"))?;
        let by_alias = |name: &str| {
            let known = self.metrics.get(&(device.twin, name.to_owned()));
            known.is_some_and(|(alias, _)| metric.name.is_none() && Some(*alias) == metric.alias)
        };
        let point = device
            .points
            .iter()
            .find(|p| metric.name.as_deref() == Some(&*p.name) || by_alias(&p.name))
            .ok_or_else(|| format!("device `{}` has no such metric", device.name))?;
        let kind = DataType::of(point.value_type).code();
        let value = metric.read(Some(kind)).map_err(|e| format!("metric `{}`: {e}", point.name))?;
        let value = value.ok_or_else(|| format!("metric `{}` has no value to write", point.name))?;
        let value = value
            .convert(point.value_type)
            .ok_or_else(|| format!("the value of metric `{}` does not fit its type", point.name))?;
        Ok(Ask::Write { twin: device.twin, point: point.name.to_string(), value })
    }
}

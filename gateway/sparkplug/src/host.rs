//! An edge node as a host sees it: what its births say, in which order its messages come, and when nothing of it
//! may be believed. A number that is missing, an alias that no birth named, data before a birth: each asks for
//! new births, and until they come everything of the node is stale.

use std::collections::HashMap;
use std::sync::Arc;

use common::{Quality, Value};

use crate::BD_SEQ;
use crate::payload::{Metric, Payload};
use crate::topic::Kind;
use crate::value::{DataType, Unreadable};

/// Most metrics of a node and its devices that are remembered.
const MAX_METRICS: usize = 200_000;
/// Most devices of a node.
const MAX_DEVICES: usize = 10_000;

/// Why new births are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebirthReason {
    /// The number of a message is not the next one.
    #[error("message {got} came where {expected} was next")]
    Gap {
        /// The next one.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// A message came without a number.
    #[error("a message came without a number")]
    NoNumber,
    /// Something came before the birth of its node.
    #[error("data came before the birth of the node")]
    NodeUnborn,
    /// Something came before the birth of its device.
    #[error("data came before the birth of device `{device}`")]
    DeviceUnborn {
        /// Which.
        device: String,
    },
    /// An alias or name that no birth has.
    #[error("{metric} is in no birth")]
    Unknown {
        /// Alias or name.
        metric: String,
    },
    /// More metrics or devices than are remembered.
    #[error("the birth has too many metrics or devices")]
    TooMany,
}

/// What follows from a message, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A node (none) or device was born: the values of its birth follow.
    Born {
        /// Which device.
        device: Option<Arc<str>>,
    },
    /// A metric's value.
    Value {
        /// Device; none: the node itself.
        device: Option<Arc<str>>,
        /// The metric's name.
        metric: Arc<str>,
        /// The value; none: the source says that it has none.
        value: Result<Option<Value>, Unreadable>,
        /// Quality, if the source tells one.
        quality: Option<Quality>,
        /// When the value was taken, UTC ms.
        timestamp_ms: Option<u64>,
        /// Whether it is old and only for history.
        historical: bool,
    },
    /// Nothing of a device may be believed any more; without a device nothing of the whole node.
    Dead {
        /// Which device.
        device: Option<Arc<str>>,
    },
    /// New births are needed.
    Rebirth(RebirthReason),
}

/// How a command names and types a metric: exactly as its birth did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The alias of the birth, which then stands instead of the name.
    pub alias: Option<u64>,
    /// The type of the birth.
    pub datatype: DataType,
}

/// Why a metric cannot be commanded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The node is dead, or its births are not known.
    #[error("the node is not born")]
    NodeUnborn,
    /// The device is dead, or its birth is not known.
    #[error("the device is not born")]
    DeviceUnborn,
    /// The birth does not have it.
    #[error("the birth has no such metric")]
    Missing,
    /// The birth gives no type, or one that is not written.
    #[error("the birth gives it type {code}, which is not written")]
    Type {
        /// The type's number; 0: none.
        code: u32,
    },
    /// Its alias stands for another metric as well: the node could write that one.
    #[error("its alias {alias} stands for another metric as well")]
    Ambiguous {
        /// The alias.
        alias: u64,
    },
}

#[derive(Debug, Default)]
struct Metrics {
    /// The birth's metrics by name.
    by_name: HashMap<Arc<str>, Entry>,
}

/// What a birth says of a metric.
#[derive(Debug, Clone, Copy)]
struct Entry {
    datatype: Option<u32>,
    alias: Option<u64>,
}

/// What an alias stands for.
#[derive(Debug, Clone)]
struct Named {
    device: Option<Arc<str>>,
    metric: Arc<str>,
    /// Another metric had it before.
    twice: bool,
}

/// The state of one edge node.
#[derive(Debug, Default)]
pub struct Host {
    born: bool,
    bd_seq: Option<u64>,
    /// Number of the last message.
    seq: u64,
    node: Metrics,
    devices: HashMap<Arc<str>, Metrics>,
    aliases: HashMap<u64, Named>,
}

impl Host {
    /// A node of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the node has been born and all its messages came since.
    pub fn is_born(&self) -> bool {
        self.born
    }

    /// How a metric of the node or of a device is commanded, if its birth is known.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn address(&self, device: Option<&str>, metric: &str) -> Result<Address, Unreachable> {
        if !self.born {
            return Err(Unreachable::NodeUnborn);
        }
        let metrics = match device {
            None => &self.node,
            Some(device) => self.devices.get(device).ok_or(Unreachable::DeviceUnborn)?,
        };
        let entry = metrics.by_name.get(metric).ok_or(Unreachable::Missing)?;
        let code = entry.datatype.unwrap_or(0);
        let datatype = DataType::from_code(code).ok_or(Unreachable::Type { code })?;
        if let Some(alias) = entry.alias {
            let own = |n: &&Named| n.device.as_deref() == device && &*n.metric == metric && !n.twice;
            self.aliases.get(&alias).filter(own).ok_or(Unreachable::Ambiguous { alias })?;
        }
        Ok(Address { alias: entry.alias, datatype })
    }

    /// Takes a message of the node. Commands are not for hosts and change nothing.
    pub fn receive(&mut self, kind: Kind, device: Option<&str>, payload: &Payload) -> Vec<Step> {
        let mut steps = Vec::new();
        let done = match (kind, device) {
            (Kind::NBirth, _) => self.node_birth(payload, &mut steps),
            (Kind::NDeath, _) => {
                self.node_death(payload, &mut steps);
                Ok(())
            }
            (Kind::NData, _) => self.data(None, payload, &mut steps),
            (Kind::DBirth, Some(device)) => self.device_birth(device, payload, &mut steps),
            (Kind::DData, Some(device)) => self.data(Some(device), payload, &mut steps),
            (Kind::DDeath, Some(device)) => self.device_death(device, payload, &mut steps),
            (Kind::NCmd | Kind::DCmd | Kind::DBirth | Kind::DData | Kind::DDeath, _) => Ok(()),
        };
        if let Err(reason) = done {
            self.lose(&mut steps);
            steps.push(Step::Rebirth(reason));
        }
        steps
    }

    /// The connection to the broker was lost, or messages of the node were: nothing is believed until it is
    /// born again.
    pub fn interrupted(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.lose(&mut steps);
        steps
    }

    fn lose(&mut self, steps: &mut Vec<Step>) {
        if self.born {
            steps.push(Step::Dead { device: None });
        }
        *self = Self::default();
    }

    fn node_birth(&mut self, payload: &Payload, steps: &mut Vec<Step>) -> Result<(), RebirthReason> {
        // Devices of an earlier birth are dead until each is born again.
        let mut devices: Vec<Arc<str>> = self.devices.keys().cloned().collect();
        devices.sort_unstable();
        steps.extend(devices.into_iter().map(|device| Step::Dead { device: Some(device) }));
        *self = Self::default();
        self.bd_seq = bd_seq(payload);
        self.seq = payload.seq.ok_or(RebirthReason::NoNumber)? & 0xff;
        self.born = true;
        steps.push(Step::Born { device: None });
        self.birth(None, payload, steps)
    }

    fn device_birth(
        &mut self,
        device: &str,
        payload: &Payload,
        steps: &mut Vec<Step>,
    ) -> Result<(), RebirthReason> {
        self.advance(payload)?;
        let device: Arc<str> = device.into();
        self.forget(&device);
        if self.devices.len() >= MAX_DEVICES {
            return Err(RebirthReason::TooMany);
        }
        self.devices.insert(device.clone(), Metrics::default());
        steps.push(Step::Born { device: Some(device.clone()) });
        self.birth(Some(device), payload, steps)
    }

    fn birth(
        &mut self,
        device: Option<Arc<str>>,
        payload: &Payload,
        steps: &mut Vec<Step>,
    ) -> Result<(), RebirthReason> {
        let mut known: usize = self.devices.values().map(|m| m.by_name.len()).sum();
        for metric in &payload.metrics {
            let Some(name) = metric.name.as_deref().filter(|n| !n.is_empty()) else { continue };
            let name: Arc<str> = name.into();
            if known.max(self.aliases.len()) + self.node.by_name.len() >= MAX_METRICS {
                return Err(RebirthReason::TooMany);
            }
            if let Some(alias) = metric.alias {
                let before = self.aliases.get(&alias);
                let twice = before.is_some_and(|n| n.twice || n.device != device || n.metric != name);
                let named = Named { device: device.clone(), metric: name.clone(), twice };
                self.aliases.insert(alias, named);
            }
            let metrics = match &device {
                None => &mut self.node,
                Some(device) => self.devices.entry(device.clone()).or_default(),
            };
            let entry = Entry { datatype: metric.datatype, alias: metric.alias };
            let is_new = metrics.by_name.insert(name.clone(), entry).is_none();
            known += usize::from(is_new && device.is_some());
            if device.is_some() || &*name != BD_SEQ {
                steps.push(value(device.clone(), name, metric, None, payload));
            }
        }
        Ok(())
    }

    fn data(
        &mut self,
        device: Option<&str>,
        payload: &Payload,
        steps: &mut Vec<Step>,
    ) -> Result<(), RebirthReason> {
        self.advance(payload)?;
        let device = match device {
            None => None,
            Some(name) => {
                let unborn = || RebirthReason::DeviceUnborn { device: name.to_owned() };
                Some(self.devices.get_key_value(name).map(|(name, _)| name.clone()).ok_or_else(unborn)?)
            }
        };
        for metric in &payload.metrics {
            let (name, datatype) = self.find(device.as_ref(), metric)?;
            steps.push(value(device.clone(), name, metric, datatype, payload));
        }
        Ok(())
    }

    /// Name and type of a metric as the birth has them.
    fn find(
        &self,
        device: Option<&Arc<str>>,
        metric: &Metric,
    ) -> Result<(Arc<str>, Option<u32>), RebirthReason> {
        let unknown = |metric: String| RebirthReason::Unknown { metric };
        let metrics = match device {
            None => &self.node,
            Some(device) => self.devices.get(device).unwrap_or(&self.node),
        };
        let name = match (&metric.name, metric.alias) {
            (Some(name), _) if !name.is_empty() => {
                let known = metrics.by_name.get_key_value(name.as_str());
                return known
                    .map(|(name, entry)| (name.clone(), entry.datatype))
                    .ok_or_else(|| unknown(format!("metric `{name}`")));
            }
            (_, Some(alias)) => {
                let named = self.aliases.get(&alias).filter(|n| n.device.as_ref() == device);
                named.map(|n| n.metric.clone()).ok_or_else(|| unknown(format!("alias {alias}")))?
            }
            (_, None) => return Err(unknown("a metric without name and alias".to_owned())),
        };
        let datatype = metrics.by_name.get(&name).and_then(|entry| entry.datatype);
        Ok((name, datatype))
    }

    fn device_death(
        &mut self,
        device: &str,
        payload: &Payload,
        steps: &mut Vec<Step>,
    ) -> Result<(), RebirthReason> {
        self.advance(payload)?;
        let device: Arc<str> = device.into();
        self.forget(&device);
        steps.push(Step::Dead { device: Some(device) });
        Ok(())
    }

    fn node_death(&mut self, payload: &Payload, steps: &mut Vec<Step>) {
        // The will of an earlier connection may come after the birth of the next. A later number than the birth's is
        // believed: there are nodes that say goodbye with the number of their next connection, and a node that is
        // taken for alive when it is not does more harm than the other way round.
        let own = match (self.bd_seq, bd_seq(payload)) {
            (Some(born), Some(died)) => !(1..128).contains(&(born.wrapping_sub(died) & 0xff)),
            _ => true,
        };
        if own {
            self.lose(steps);
        }
    }

    fn forget(&mut self, device: &Arc<str>) {
        if self.devices.remove(device).is_some() {
            self.aliases.retain(|_, named| named.device.as_ref() != Some(device));
        }
    }

    /// Takes the number of a message that is no birth of the node.
    fn advance(&mut self, payload: &Payload) -> Result<(), RebirthReason> {
        if !self.born {
            return Err(RebirthReason::NodeUnborn);
        }
        let expected = (self.seq + 1) & 0xff;
        match payload.seq {
            Some(got) if got == expected => {
                self.seq = got;
                Ok(())
            }
            Some(got) => Err(RebirthReason::Gap { expected, got }),
            None => Err(RebirthReason::NoNumber),
        }
    }
}

fn bd_seq(payload: &Payload) -> Option<u64> {
    match payload.metric(BD_SEQ)?.read(None) {
        Ok(Some(Value::U64(n))) => Some(n),
        Ok(Some(Value::I64(n))) => u64::try_from(n).ok(),
        _ => None,
    }
}

fn value(
    device: Option<Arc<str>>,
    name: Arc<str>,
    metric: &Metric,
    datatype: Option<u32>,
    payload: &Payload,
) -> Step {
    Step::Value {
        device,
        metric: name,
        value: metric.read(datatype),
        quality: metric.quality,
        timestamp_ms: metric.timestamp_ms.or(payload.timestamp_ms),
        historical: metric.historical,
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;

//! Sparkplug B (specification 3.0.0, Eclipse Foundation): payloads, topics, the state of an edge node as a host
//! sees it, and the state of an edge node of our own. Pure: no socket and no clock.
//!
//! Not here: which metric is which point (`gateway-adapters`, `gateway-publish`), and connections to brokers.

#[cfg(feature = "payload")]
mod edge;
#[cfg(feature = "payload")]
mod host;
#[cfg(feature = "payload")]
mod payload;
#[cfg(feature = "payload")]
mod proto;
mod topic;
#[cfg(feature = "payload")]
mod value;

#[cfg(feature = "payload")]
pub use edge::{Command, Edge, NODE_ALIASES};
#[cfg(feature = "payload")]
pub use host::{Address, Host, RebirthReason, Step, Unreachable};
#[cfg(feature = "payload")]
pub use payload::{DecodeError, Metric, Payload, rebirth_request, write_request};
pub use topic::{HostState, Kind, Topic, TopicError, check_id, state_topic};
#[cfg(feature = "payload")]
pub use value::{DataType, Raw, Unreadable};

/// Node metric that asks for new births.
pub const REBIRTH: &str = "Node Control/Rebirth";
/// Metric that joins a birth and its death.
pub const BD_SEQ: &str = "bdSeq";
/// First level of every topic.
pub const NAMESPACE: &str = "spBv1.0";

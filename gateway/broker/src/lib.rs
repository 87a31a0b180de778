//! The embedded MQTT broker: rumqttd's router behind a front of ours. The front owns sockets, sessions'
//! identities, inbound QoS, retained messages and last wills; the router owns queues and outbound QoS.
//! Not here: topics of points (`gateway-adapters`), access rights (this version listens on loopback only).
//!
//! rumqttd's own listener is not used, because one silent or wrong client can stop it; each module says
//! which of its traps it keeps away.

mod broker;
mod client;
mod hub;
mod options;
mod packets;
mod points;
mod retained;
mod router;
mod session;

pub use broker::Broker;
pub use hub::Handle;
pub use options::{Error, Options};
pub use points::publish_points;

//! The embedded MQTT broker, 3.1.1 and 5: `codec` (bytes), `core` (sessions, subscriptions, retained messages,
//! queues; no sockets), `journal` (what survives a restart), `net` (listeners and connections), and who may do what
//! (`auth`, `access`). Not here: what topics mean to points (`gateway-adapters`).
//!
//! Why it is our own: `docs/adr/0001-broker.md`.

mod access;
mod auth;
mod broker;
mod codec;
mod core;
mod handle;
mod journal;
mod net;
mod options;
mod points;

pub use access::Rule;
pub use auth::Users;
pub use broker::Broker;
pub use handle::{ClientStatus, Handle, Status};
pub use options::{Error, Limits, Listener, Options, Tls};
pub use points::publish_points;

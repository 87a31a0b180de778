//! The way in for gateways: an MQTT 3.1.1 ingress of our own. It is no broker: a session may publish to its
//! own topic and hear its own, nothing else; nothing is retained, queued for later or passed on; and a frame
//! is acknowledged only after it is durable.

mod aside;
mod boxes;
mod committer;
mod configuration;
mod credit;
mod handle;
mod ingress;
mod metrics;
mod mqtt;
mod options;
mod outbox;
mod renewal;
mod restored;
mod schemas;
mod session;
mod sink;
mod talk;
mod tls;
mod unpack;
mod update;

pub use handle::Handle;
pub use ingress::Ingress;
pub use metrics::Metrics;
pub use options::{Error, Options, Parts, Tls};
pub use sink::Sink;

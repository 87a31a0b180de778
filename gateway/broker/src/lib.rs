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
mod devices;
mod handle;
mod journal;
mod listeners;
mod net;
mod options;
mod points;

/// Executions of a property test: `TWINWAY_FUZZ_CASES` for long runs.
#[cfg(test)]
fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("TWINWAY_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}

pub use access::Rule;
pub use auth::{Auth, Users};
pub use broker::Broker;
pub use devices::publish_devices;
pub use handle::{ClientStatus, Handle, Renewal, Status};
pub use options::{Error, Limits, Listener, Options, Tls};
pub use points::publish_points;

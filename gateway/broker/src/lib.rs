//! The embedded MQTT broker, 3.1.1 and 5: `codec` (bytes), `core` (sessions, subscriptions, retained messages,
//! queues; no sockets), `journal` (what survives a restart), `net` (listeners and connections), and who may do what
//! (`auth`, `access`). Not here: what topics mean to points (`gateway-adapters`).
//!
//! Why it is our own: `docs/adr/0001-broker.md`.

#![cfg_attr(not(feature = "server"), allow(dead_code))]

mod access;
mod auth;
#[cfg(feature = "server")]
mod broker;
#[cfg(feature = "server")]
mod codec;
#[cfg(feature = "server")]
mod core;
#[cfg(feature = "server")]
mod devices;
#[cfg(feature = "server")]
mod handle;
#[cfg(feature = "server")]
mod journal;
#[cfg(feature = "server")]
mod listeners;
#[cfg(feature = "server")]
mod net;
mod options;
#[cfg(feature = "server")]
mod points;

/// A lock that a panicking holder does not take with it.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

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
#[cfg(feature = "server")]
pub use broker::Broker;
#[cfg(feature = "server")]
pub use devices::publish_devices;
#[cfg(feature = "server")]
pub use handle::{ClientStatus, Handle, Renewal, Status};
pub use options::{Error, Limits, Listener, Options, Tls};
#[cfg(feature = "server")]
pub use points::publish_points;

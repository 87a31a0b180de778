//! The cloud's HTTP API: accounts and roles, twins, history, commands and desired values, the live
//! WebSocket, the page's files, metrics, and its own description (OpenAPI 3.1). It speaks to storage,
//! gateways and live clients only through the traits of `cloud-core` and the handle of `cloud-live`; it
//! opens no socket itself.

pub mod accounts;
mod alarms;
mod audit;
mod auth;
pub mod commands;
mod configuration;
mod context;
mod enrol;
mod error;
mod gateways;
mod grants;
mod guard;
mod history;
mod keys;
mod live;
mod metrics;
pub mod openapi;
mod paced;
mod probes;
mod releases;
mod request;
mod rollout;
mod router;
mod session;
mod sets;
pub mod table;
mod twins;
mod ui;
mod users;
mod waveforms;

pub use context::{Context, Options, Readiness, Ui, UiAsset};
pub use error::ApiError;
pub use metrics::Metrics;
pub use router::router;

//! The gateway daemon as a library: configuration, wiring of the parts, and the local API. No protocol and no
//! rule of control here.

mod alarms;
mod api;
mod build_info;
mod changes;
pub mod config;
mod derived;
mod drivers;
mod field_thread;
mod gateway;
mod last_good;
mod lines;
mod notes;
mod opcua;
mod parts;
mod publishing;
mod recorder;
mod reload;
pub mod simulate;
mod stages;
mod standing;
mod starts;
pub mod systemd;
mod unknown;
pub mod versions;
mod vitals;
mod wiring;

pub use api::routes;
pub use build_info::{Build, CONFIG_SCHEMA, VERSION};
pub use config::Config;
pub use gateway::{Gateway, Handle, StartError};
pub use last_good::load_last_good;
pub use reload::ReloadError;
pub use starts::start_or_last_good;

//! The gateway daemon as a library: configuration, wiring of the parts, and the local API. No protocol and no
//! rule of control here.

// What only a part that is left out would use is no mistake.
#![cfg_attr(
    not(all(
        feature = "modbus",
        feature = "mqtt",
        feature = "opcua-client",
        feature = "opcua-server",
        feature = "publish",
        feature = "sparkplug",
        feature = "spreadsheet"
    )),
    allow(dead_code, unused_imports, unused_variables, unreachable_code)
)]

mod alarms;
mod api;
mod broker;
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
#[cfg_attr(not(feature = "opcua-server"), path = "no_opcua.rs")]
mod opcua;
mod options;
mod parts;
#[cfg(feature = "publish")]
mod publishing;
mod pushed;
mod recorder;
mod reload;
#[cfg(feature = "modbus")]
pub mod simulate;
mod stages;
mod standing;
mod starting;
mod starts;
pub mod systemd;
mod unknown;
mod updates;
pub mod versions;
mod vitals;
mod wiring;

pub use api::routes;
pub use build_info::{Build, CONFIG_SCHEMA, VERSION};
pub use config::Config;
pub use gateway::{Gateway, Handle, StartError};
pub use last_good::load_last_good;
pub use pushed::{Pushes, count_start};
pub use reload::ReloadError;
pub use starting::Starting;
pub use starts::start_or_last_good;
pub use updates::Takes;

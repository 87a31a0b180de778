//! The gateway daemon as a library: configuration, wiring of the parts, and the local API. No protocol and no
//! rule of control here.

mod alarms;
mod api;
pub mod config;
mod derived;
mod gateway;
mod lines;
mod notes;
mod parts;
mod publishing;
mod recorder;
pub mod simulate;
mod stages;
mod unknown;
mod vitals;
mod wiring;

pub use api::routes;
pub use config::Config;
pub use gateway::{Gateway, Handle, StartError, VERSION};

//! The gateway daemon as a library: configuration, wiring of the parts, and the local API. No protocol and no
//! rule of control here.

mod api;
pub mod config;
mod gateway;
mod parts;
mod recorder;

pub use api::routes;
pub use config::Config;
pub use gateway::{Gateway, Handle, StartError, VERSION};

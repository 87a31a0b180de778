//! The gateway daemon as a library: configuration, wiring of the parts, and the local API. No protocol and no
//! rule of control here.

pub mod config;

pub use config::Config;

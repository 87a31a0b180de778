//! Processed points for programs of others: as JSON under topics made from a template, or as a Sparkplug B edge node,
//! on the gateway's own broker or on another. Each publisher reads the buffer with its own cursor, so that what a
//! broker missed comes later; no publisher frees a frame that the cloud lacks.
//!
//! Not here: `twinway/points/...` on the own broker (`gateway-broker`), and the uplink (`gateway-sync`). Writes that a
//! Sparkplug host asks for go to control like any other.

#![cfg_attr(not(feature = "publisher"), allow(dead_code))]

#[cfg(feature = "publisher")]
mod commands;
#[cfg(feature = "publisher")]
mod cursor;
#[cfg(feature = "publisher")]
mod edge;
#[cfg(feature = "publisher")]
mod json;
#[cfg(feature = "publisher")]
mod link;
#[cfg(feature = "publisher")]
mod names;
mod options;
#[cfg(feature = "publisher")]
mod publisher;
mod template;

#[cfg(feature = "publisher")]
pub use cursor::release;
pub use options::{Error, External, Format, Json, Options, Per, Sparkplug, Target, Url};
#[cfg(feature = "publisher")]
pub use publisher::{Parts, Publisher, Status};
pub use template::{Template, TemplateError};

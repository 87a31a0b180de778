//! Processed points for programs of others: as JSON under topics made from a template, or as a Sparkplug B edge node,
//! on the gateway's own broker or on another. Each publisher reads the buffer with its own cursor, so that what a
//! broker missed comes later; no publisher frees a frame that the cloud lacks.
//!
//! Not here: `twinway/points/...` on the own broker (`gateway-broker`), and the uplink (`gateway-sync`). Writes that a
//! Sparkplug host asks for go to control like any other.

mod commands;
mod cursor;
mod edge;
mod json;
mod link;
mod names;
mod options;
mod publisher;
mod template;

pub use cursor::release;
pub use options::{Error, External, Format, Json, Options, Per, Sparkplug, Target, Url};
pub use publisher::{Parts, Publisher, Status};
pub use template::{Template, TemplateError};

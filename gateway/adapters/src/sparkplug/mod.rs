//! Sparkplug B devices that publish to the gateway's own broker: births, aliases, deaths, and the request for new
//! births; and commands to their metrics. What goes out is `Node Control/Rebirth`, what control asks to write, and, if
//! asked for, the host's own STATE. Not here: the state of a node and the payload (`gateway-sparkplug`).

mod adapter;
mod config;
mod nodes;
mod write;

pub use adapter::{Adapter, Ends, Error};
pub use config::{DeviceConfig, PointConfig};
pub use nodes::Nodes;

//! Sparkplug B devices that publish to the gateway's own broker: births, aliases, deaths, and the request for new
//! births; and commands to their metrics. What goes out is `Node Control/Rebirth`, what control asks to write, and, if
//! asked for, the host's own STATE. Not here: the state of a node and the payload (`gateway-sparkplug`).

#[cfg(feature = "sparkplug")]
mod adapter;
mod config;
mod ends;
mod nodes;
#[cfg(feature = "sparkplug")]
mod write;

#[cfg(feature = "sparkplug")]
pub use adapter::{Adapter, Error};
pub use config::{DeviceConfig, PointConfig};
pub use ends::Ends;
pub use nodes::Nodes;

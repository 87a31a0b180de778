//! Sparkplug B devices that publish to the gateway's own broker: births, aliases, deaths, and the request for new
//! births. The only message that goes out is `Node Control/Rebirth` (and, if asked for, the host's own STATE); no
//! metric is written. Not here: the state of a node and the payload (`gateway-sparkplug`).

mod adapter;
mod config;
mod nodes;

pub use adapter::{Adapter, Ends, Error};
pub use config::{DeviceConfig, PointConfig};
pub use nodes::Nodes;

//! MQTT: messages on the gateway's own broker become samples. Points are read only. Not here: the broker
//! (`gateway-broker`), and what values mean (`gateway-pipeline`).

mod adapter;
mod codec;
mod config;
mod routes;

pub use adapter::{Adapter, Error};
pub use config::{DeviceConfig, Missing, PointConfig, TimestampUnit};

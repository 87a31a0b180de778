//! MQTT: messages on the gateway's own broker become samples. Points are read only. Not here: the broker
//! (`gateway-broker`), and what values mean (`gateway-pipeline`).

mod adapter;
mod binary;
mod codec;
mod config;
mod csv;
mod pattern;
mod routes;
mod time;
mod unknown;
mod waveform;

pub(crate) use time::believed;

pub use adapter::{Adapter, Error};
pub use config::{
    BinaryType, Binding, ByteOrder, Column, DeviceConfig, Format, Missing, PointConfig, TimestampUnit,
};
pub use unknown::Unknown;

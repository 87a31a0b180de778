//! Drivers of field protocols, one folder each, and the table of them. A driver reads its device and reports;
//! it writes only when control asks. What samples mean is not decided here but in `gateway-pipeline`.

// What only a driver that is left out would use is no mistake.
#![cfg_attr(
    not(all(feature = "opcua", feature = "serial", feature = "sparkplug")),
    allow(dead_code, unused_imports)
)]

pub mod context;
mod limit;
pub mod modbus;
pub mod mqtt;
pub mod opcua;
pub mod sparkplug;
pub mod table;
mod waiting;

pub use context::{Context, EventSink};

//! Drivers of field protocols, one folder each, and the table of them. A driver reads its device and reports;
//! it writes only when control asks. What samples mean is not decided here but in `gateway-pipeline`.

pub mod context;
mod limit;
pub mod modbus;
pub mod mqtt;
pub mod opcua;
pub mod sparkplug;
pub mod table;
mod waiting;

pub use context::{Context, EventSink};

//! Modbus TCP: reads points at their periods over one connection, and writes when control asks. Not here:
//! Modbus RTU, and what values mean (`gateway-pipeline`).

mod adapter;
mod config;
mod jobs;
mod plan;
mod point;
mod runner;
mod session;

pub use adapter::{Adapter, Error};
pub use config::DeviceConfig;
pub use gateway_modbus::Table;
pub use gateway_modbus::value::{Order, RawType};
pub use plan::{Block, MAX_BITS, MAX_REGISTERS, plan};
pub use point::PointConfig;

//! Modbus: lines and their devices over TCP, serial ports and modems that dial in; read at their periods, written when
//! control asks. What is on the line and how values lie in registers is `gateway-modbus`; what values mean is
//! `gateway-pipeline`.

mod build;
mod line;
mod point;
mod settings;
mod transport;

pub use build::{Group, group};
pub use gateway_modbus::Table;
pub use gateway_modbus::value::{Order, RawType};
pub use line::{Adapter, DeviceSpec, Error};
pub use point::PointConfig;
pub use settings::{BitWrite, DeviceConfig, DtuFraming, LineConfig, Parity, Rs485, Transport};
pub use transport::dtu::Modems;
#[cfg(feature = "serial")]
pub use transport::open_serial;

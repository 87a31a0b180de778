//! What tools must know before they touch a Modbus device: which connections a gateway has for itself.

use serde::{Deserialize, Serialize};

/// A Modbus line of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModbusEndpoint {
    /// Its name in the configuration, or host and port.
    pub line: String,
    /// Where it is: `host:port`, a serial port, or the address that modems dial in to. The backup's as well.
    pub at: Vec<String>,
    /// Names of its devices.
    pub devices: Vec<String>,
}

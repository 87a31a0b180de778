//! Keys of a Modbus TCP device. Each default stands beside its key.

use serde::Deserialize;

/// `[device.modbus]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name or address of the device.
    pub host: String,
    /// TCP port. Default 502.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Unit identifier (slave address) behind that port. Default 1.
    #[serde(default = "default_unit")]
    pub unit: u8,
    /// Longest wait for one answer, ms. After it the connection is closed and opened anew, so that a late
    /// answer is never taken for another. Default 1000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Longest wait for a connection, ms. Default 2000.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Longest pause between two attempts to connect, ms; the first is 100 ms. Default 10000.
    #[serde(default = "default_reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// Whether one register or coil is written with function 06 or 05; else with 10 or 0F (hex), for
    /// devices that know only these. Default true.
    #[serde(default = "default_true")]
    pub single_writes: bool,
}

fn default_port() -> u16 {
    502
}
fn default_unit() -> u8 {
    1
}
fn default_timeout_ms() -> u64 {
    1000
}
fn default_connect_timeout_ms() -> u64 {
    2000
}
fn default_reconnect_max_ms() -> u64 {
    10_000
}
fn default_true() -> bool {
    true
}

impl DeviceConfig {
    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.host.trim().is_empty() {
            return Err(("host", "expected a name or an address".to_owned()));
        }
        if self.port == 0 {
            return Err(("port", "0 is not a port: expected 1 to 65535".to_owned()));
        }
        for (key, ms) in [
            ("timeout_ms", self.timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("reconnect_max_ms", self.reconnect_max_ms),
        ] {
            if !(1..=600_000).contains(&ms) {
                return Err((key, format!("{ms} is not a time: expected 1 to 600000")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        let d: DeviceConfig = toml::from_str("host = \"plc\"").unwrap();
        assert_eq!((d.port, d.unit, d.timeout_ms, d.single_writes), (502, 1, 1000, true));
        assert_eq!((d.connect_timeout_ms, d.reconnect_max_ms), (2000, 10_000));
        let d: DeviceConfig = toml::from_str("host = \"plc\"\ntimeout_ms = 0").unwrap();
        assert_eq!(d.check().unwrap_err().0, "timeout_ms");
    }
}

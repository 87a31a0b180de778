//! Keys of a Modbus TCP device and its points. Each default stands beside its key.

use gateway_core::RawRange;
use gateway_modbus::Table;
use serde::Deserialize;

use super::codec;

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

/// What the registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawType {
    /// one register or bit; not 0 is true, true is written as 1
    Bool,
    /// one register
    U16,
    /// one register, two's complement
    I16,
    /// two registers
    U32,
    /// two registers, two's complement
    I32,
    /// four registers
    U64,
    /// four registers, two's complement
    I64,
    /// two registers, IEEE 754
    F32,
    /// four registers, IEEE 754
    F64,
    /// `length` bytes of UTF-8, two a register, ended by a 0 byte if shorter
    String,
}

/// Order of the bytes A (highest) to D (lowest) of 32 bits in two registers; for 64 bits accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// big-endian, as the standard has it
    #[default]
    Abcd,
    /// registers swapped
    Cdab,
    /// bytes swapped in each register
    Badc,
    /// both: little-endian
    Dcba,
}

impl Order {
    /// Whether the lowest register comes first.
    pub fn swaps_registers(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    /// Whether the low byte of each register comes first.
    pub fn swaps_bytes(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }
}

/// `modbus = { ... }` of a point.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointConfig {
    /// `holding`, `input`, `coil` or `discrete`.
    pub table: Table,
    /// Protocol address from 0: what manuals number 40001 is `holding` 0.
    pub address: u16,
    /// `u16 i16 u32 i32 u64 i64 f32 f64 bool string`. Default `bool` for bits and `u16` for registers.
    #[serde(default, rename = "type")]
    pub raw_type: Option<RawType>,
    /// `abcd cdab badc dcba`. Default `abcd`.
    #[serde(default)]
    pub order: Order,
    /// Bytes of a string. Needed for `string`, refused for other types.
    #[serde(default)]
    pub length: Option<u16>,
    /// How often it is read, ms. Default 1000.
    #[serde(default = "default_period_ms")]
    pub period_ms: u64,
}

fn default_period_ms() -> u64 {
    1000
}

/// Most bytes of a string: what one write request can carry.
const MAX_STRING_BYTES: u16 = 246;

impl PointConfig {
    /// What the registers hold.
    pub fn raw_type(&self) -> RawType {
        self.raw_type.unwrap_or(if self.table.is_bits() { RawType::Bool } else { RawType::U16 })
    }

    /// How many registers or bits it takes.
    pub fn count(&self) -> u16 {
        match self.raw_type() {
            RawType::Bool | RawType::U16 | RawType::I16 => 1,
            RawType::U32 | RawType::I32 | RawType::F32 => 2,
            RawType::U64 | RawType::I64 | RawType::F64 => 4,
            RawType::String => self.length.unwrap_or(1).div_ceil(2).max(1),
        }
    }

    /// What the registers can hold.
    pub fn raw_range(&self) -> RawRange {
        codec::raw_range(self.raw_type())
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let raw_type = self.raw_type();
        if self.table.is_bits() && raw_type != RawType::Bool {
            return Err(("type", format!("table `{}` holds bits: leave it out, or use `bool`", self.table)));
        }
        match (raw_type, self.length) {
            (RawType::String, None) => {
                return Err(("length", "a string needs its length in bytes".to_owned()));
            }
            (RawType::String, Some(n)) if n == 0 || n > MAX_STRING_BYTES => {
                return Err((
                    "length",
                    format!("{n} is not a length: expected 1 to {MAX_STRING_BYTES} bytes"),
                ));
            }
            (RawType::String, Some(_)) if self.order.swaps_registers() => {
                return Err(("order", "a string is `abcd`, or `badc` with its bytes swapped".to_owned()));
            }
            (RawType::String, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(("length", "only a string has a length".to_owned())),
        }
        if u32::from(self.address) + u32::from(self.count()) > 65_536 {
            return Err((
                "address",
                format!("{} registers from {} on go beyond 65535", self.count(), self.address),
            ));
        }
        if !(10..=86_400_000).contains(&self.period_ms) {
            return Err((
                "period_ms",
                format!("{} is not a period: expected 10 to 86400000", self.period_ms),
            ));
        }
        Ok(())
    }

    /// Whether the device lets the point be written.
    pub fn is_writable(&self) -> bool {
        self.table.is_writable()
    }
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

    fn point(text: &str) -> PointConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_are_as_documented() {
        let d: DeviceConfig = toml::from_str("host = \"plc\"").unwrap();
        assert_eq!((d.port, d.unit, d.timeout_ms, d.single_writes), (502, 1, 1000, true));
        assert_eq!((d.connect_timeout_ms, d.reconnect_max_ms), (2000, 10_000));
        let p = point("table = \"coil\"\naddress = 1");
        assert_eq!((p.raw_type(), p.order, p.period_ms, p.count()), (RawType::Bool, Order::Abcd, 1000, 1));
        assert_eq!(point("table = \"input\"\naddress = 1").raw_type(), RawType::U16);
    }

    #[test]
    fn keys_that_do_not_fit_each_other_are_refused_by_name() {
        for (text, key) in [
            ("table = \"coil\"\naddress = 1\ntype = \"u16\"", "type"),
            ("table = \"holding\"\naddress = 1\ntype = \"string\"", "length"),
            ("table = \"holding\"\naddress = 1\ntype = \"string\"\nlength = 300", "length"),
            ("table = \"holding\"\naddress = 1\ntype = \"string\"\nlength = 3\norder = \"cdab\"", "order"),
            ("table = \"holding\"\naddress = 1\nlength = 2", "length"),
            ("table = \"holding\"\naddress = 65535\ntype = \"u32\"", "address"),
            ("table = \"holding\"\naddress = 1\nperiod_ms = 1", "period_ms"),
        ] {
            assert_eq!(point(text).check().unwrap_err().0, key, "{text}");
        }
        assert_eq!(point("table = \"holding\"\naddress = 65534\ntype = \"u32\"").check(), Ok(()));
        assert!(toml::from_str::<PointConfig>("table = \"holding\"\nadress = 1").is_err());
        let d: DeviceConfig = toml::from_str("host = \"plc\"\ntimeout_ms = 0").unwrap();
        assert_eq!(d.check().unwrap_err().0, "timeout_ms");
    }

    #[test]
    fn the_sample_fits_the_keys() {
        let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
        let device = file["device"].as_array().unwrap()[0].as_table().unwrap();
        let d: DeviceConfig = device["modbus"].clone().try_into().unwrap();
        assert_eq!(d.check(), Ok(()));
        for point in device["point"].as_array().unwrap() {
            let p: PointConfig = point["modbus"].clone().try_into().unwrap();
            assert_eq!(p.check(), Ok(()));
        }
        assert_eq!(
            common::ValueType::F64,
            point("table = \"holding\"\naddress = 1\ntype = \"f32\"").raw_range().value_type
        );
    }
}

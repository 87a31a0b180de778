//! `[device.modbus]`: which line and unit, and the device's own ways.

use gateway_modbus::pdu::{MAX_READ_BITS, MAX_READ_REGISTERS, MAX_WRITE_BITS, MAX_WRITE_REGISTERS};
use serde::Deserialize;

use super::{Faults, Wrong, time};

/// `[device.modbus]`: `line` and `unit`, or for Modbus TCP in short `host`, `port` and `unit`. Devices with the
/// same host and port share one connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name of the `[[line]]` that it hangs on. Default: none, then `host` is needed.
    #[serde(default)]
    pub line: Option<String>,
    /// Name or address of a Modbus TCP device, instead of `line`.
    #[serde(default)]
    pub host: String,
    /// TCP port, with `host`. Default 502.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Unit identifier (slave address) on the line or behind that port. Default 1.
    #[serde(default = "default_unit")]
    pub unit: u8,
    /// Longest wait for one answer, ms. Default 1000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Longest wait for a connection, with `host`, ms. Default 2000.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Longest pause between two attempts to connect, with `host`, ms; the first is 100 ms. Default 10000.
    #[serde(default = "default_reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// How often a read that got no answer is tried again before its points are bad. Never a write. Default 0; 1 on
    /// serial lines.
    #[serde(default)]
    pub retries: Option<u8>,
    /// After so many reads without an answer the device is parked: it is only probed, ever more rarely, until it
    /// answers again. Default 3.
    #[serde(default = "default_park_after")]
    pub park_after: u32,
    /// Longest pause between two probes of a parked device, ms. Default 30000.
    #[serde(default = "default_probe_max_ms")]
    pub probe_max_ms: u64,
    /// Whether one register or coil is written with function 06 or 05; else with 10 or 0F (hex), for
    /// devices that know only these. Default true.
    #[serde(default = "default_true")]
    pub single_writes: bool,
    /// How one bit of a register is written: `mask`, with function 16 (hex), which changes nothing else; for devices
    /// without it `read_modify_write`, the register read and written as a whole, which undoes what the device or another
    /// master changed meanwhile; or `auto`, the second where the device refuses the first as unknown. Default `mask`.
    #[serde(default)]
    pub bit_write: BitWrite,
    /// Most registers of one read. Default 125.
    #[serde(default = "default_registers")]
    pub max_registers: u16,
    /// Most coils or inputs of one read. Default 2000.
    #[serde(default = "default_bits")]
    pub max_bits: u16,
    /// Most registers of one write. Default 123.
    #[serde(default = "default_write_registers")]
    pub max_write_registers: u16,
    /// Most coils of one write. Default 1968.
    #[serde(default = "default_write_bits")]
    pub max_write_bits: u16,
    /// Widest gap of registers between two points that one request reads along. Default 32; 10 on serial lines.
    #[serde(default)]
    pub register_gap: Option<u16>,
    /// Widest gap of coils or inputs that one request reads along. Default 256; 160 on serial lines.
    #[serde(default)]
    pub bit_gap: Option<u16>,
    /// One point a request, for devices that can do no more. Default false.
    #[serde(default)]
    pub one_point_requests: bool,
    /// Added to every address of a register on the line, for devices that count their own way. Default 0.
    #[serde(default)]
    pub register_offset: i32,
    /// Added to every address of a coil or input on the line: -1 where the manual's coil 1 is 0. Default 0.
    #[serde(default)]
    pub bit_offset: i32,
    /// Whether it answers under another unit than was asked (Modbus TCP only). Default false.
    #[serde(default)]
    pub any_unit: bool,
}

/// How one bit of a register is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BitWrite {
    /// with the device's mask write, or not at all
    #[default]
    Mask,
    /// with the whole register where the device says that it has no mask write
    Auto,
    /// with the whole register
    ReadModifyWrite,
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
fn default_park_after() -> u32 {
    3
}
fn default_probe_max_ms() -> u64 {
    30_000
}
fn default_true() -> bool {
    true
}
fn default_registers() -> u16 {
    MAX_READ_REGISTERS
}
fn default_bits() -> u16 {
    MAX_READ_BITS
}
fn default_write_registers() -> u16 {
    MAX_WRITE_REGISTERS
}
fn default_write_bits() -> u16 {
    MAX_WRITE_BITS
}

impl DeviceConfig {
    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected: the first of `faults`.
    pub fn check(&self) -> Result<(), Wrong> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with the keys together: key, and what is wrong and expected.
    pub fn faults(&self) -> Vec<Wrong> {
        let mut found = Faults::default();
        match &self.line {
            Some(name) => {
                found.when(name.trim().is_empty(), "line", "expected the name of a [[line]]");
                let both = "the line says where to connect: leave it out, or leave `line` out";
                found.when(!self.host.is_empty(), "host", both);
            }
            None => {
                let none = "expected a name or an address, or the `line` that it hangs on";
                found.when(self.host.trim().is_empty(), "host", none);
            }
        }
        found.when(self.port == 0, "port", "0 is not a port: expected 1 to 65535");
        found.add(time("timeout_ms", self.timeout_ms, 1, 600_000));
        found.add(time("connect_timeout_ms", self.connect_timeout_ms, 1, 600_000));
        found.add(time("reconnect_max_ms", self.reconnect_max_ms, 1, 600_000));
        found.add(time("probe_max_ms", self.probe_max_ms, 100, 3_600_000));
        found.when(self.retries.is_some_and(|n| n > 10), "retries", "expected 0 to 10");
        found.when(self.park_after == 0, "park_after", "expected 1 or more");
        for (key, given, most) in [
            ("max_registers", self.max_registers, MAX_READ_REGISTERS),
            ("max_bits", self.max_bits, MAX_READ_BITS),
            ("max_write_registers", self.max_write_registers, MAX_WRITE_REGISTERS),
            ("max_write_bits", self.max_write_bits, MAX_WRITE_BITS),
        ] {
            if !(1..=most).contains(&given) {
                found.add(Err((key, format!("{given} is not a quantity: expected 1 to {most}"))));
            }
        }
        for (key, offset) in [("register_offset", self.register_offset), ("bit_offset", self.bit_offset)] {
            if !(-65_535..=65_535).contains(&offset) {
                found.add(Err((key, format!("{offset} is not an offset: expected -65535 to 65535"))));
            }
        }
        found.0
    }
}

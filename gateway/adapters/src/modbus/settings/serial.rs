//! How a serial port is set.

use serde::Deserialize;

/// The parity bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// none
    None,
    /// even, as the standard has it
    #[default]
    Even,
    /// odd
    Odd,
}

/// `rs485 = { ... }`: the kernel's driver switches the direction of a two-wire port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rs485 {
    /// Whether RTS is low while sending. Default false.
    pub invert_rts: bool,
    /// Whether the port hears what it sends; then `echo` is needed on the line. Default false.
    pub full_duplex: bool,
    /// Whether the port's terminating resistor is on, where it has a switch. Default false.
    pub termination: bool,
    /// Pause between switching to sending and the first bit, ms. Default 0.
    pub delay_before_ms: u64,
    /// Pause between the last bit and switching back, ms. Default 0.
    pub delay_after_ms: u64,
}

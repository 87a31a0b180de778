//! What a device says when it refuses.

use std::fmt;

/// The code of an exception answer (clause 7). Any byte is one; the standard names nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exception(pub u8);

impl Exception {
    /// The device does not know the function.
    pub const ILLEGAL_FUNCTION: Self = Self(0x01);
    /// An address of the range does not exist.
    pub const ILLEGAL_ADDRESS: Self = Self(0x02);
    /// A value or quantity is not allowed.
    pub const ILLEGAL_VALUE: Self = Self(0x03);
    /// It failed while acting.
    pub const DEVICE_FAILURE: Self = Self(0x04);
    /// It has begun and will take long.
    pub const ACKNOWLEDGE: Self = Self(0x05);
    /// It is busy.
    pub const BUSY: Self = Self(0x06);
    /// Its memory has a parity error.
    pub const MEMORY_PARITY: Self = Self(0x08);
    /// A gateway has no path to the unit.
    pub const GATEWAY_PATH: Self = Self(0x0a);
    /// A gateway got no answer from the unit.
    pub const GATEWAY_TARGET: Self = Self(0x0b);

    /// Whether it says that the range or quantity is not one the device has, so that less of it may work.
    pub fn is_range(self) -> bool {
        matches!(self, Self::ILLEGAL_ADDRESS | Self::ILLEGAL_VALUE)
    }

    /// Whether it comes from a gateway that could not reach the unit: for the unit, this is silence.
    pub fn is_gateway(self) -> bool {
        matches!(self, Self::GATEWAY_PATH | Self::GATEWAY_TARGET)
    }

    /// What it means.
    pub fn text(self) -> &'static str {
        match self {
            Self::ILLEGAL_FUNCTION => "illegal function",
            Self::ILLEGAL_ADDRESS => "illegal data address",
            Self::ILLEGAL_VALUE => "illegal data value",
            Self::DEVICE_FAILURE => "server device failure",
            Self::ACKNOWLEDGE => "acknowledge",
            Self::BUSY => "server device busy",
            Self::MEMORY_PARITY => "memory parity error",
            Self::GATEWAY_PATH => "gateway path unavailable",
            Self::GATEWAY_TARGET => "gateway target device failed to respond",
            Self(_) => "of the device's own",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exception {:02x}: {}", self.0, self.text())
    }
}

//! The order in which a device sends the bytes of a number. Three swaps, each its own inverse, make all of them: so
//! reading and writing are the same function.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Order of the bytes A (highest) and following. The four of 32 bits mean for 64 bits what they say: `cdab` has the
/// registers the other way round, `badc` the bytes of each register, `dcba` both. The eight-letter names are for 64
/// bits alone; four of them say the same as a short one, four have the two halves mixed otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Order(u8);

const BYTES: u8 = 1;
const WORDS: u8 = 2;
const HALVES: u8 = 4;

impl Order {
    /// big-endian, as the standard has it
    pub const ABCD: Self = Self(0);
    /// registers the other way round
    pub const CDAB: Self = Self(WORDS | HALVES);
    /// bytes swapped in each register
    pub const BADC: Self = Self(BYTES);
    /// both: little-endian
    pub const DCBA: Self = Self(BYTES | WORDS | HALVES);
    /// 64 bits: registers swapped in each half
    pub const CDABGHEF: Self = Self(WORDS);
    /// 64 bits: bytes the other way round in each half
    pub const DCBAHGFE: Self = Self(WORDS | BYTES);
    /// 64 bits: halves swapped
    pub const EFGHABCD: Self = Self(HALVES);
    /// 64 bits: halves swapped, and the bytes of each register
    pub const FEHGBADC: Self = Self(HALVES | BYTES);

    /// Every order; the first four are those of 32 bits.
    pub const ALL: [Self; 8] = [
        Self::ABCD,
        Self::CDAB,
        Self::BADC,
        Self::DCBA,
        Self::CDABGHEF,
        Self::DCBAHGFE,
        Self::EFGHABCD,
        Self::FEHGBADC,
    ];

    /// Whether the low byte of each register comes first.
    pub fn swaps_bytes(self) -> bool {
        self.0 & BYTES != 0
    }

    /// Whether registers are in another order than the standard's.
    pub fn swaps_registers(self) -> bool {
        self.0 & (WORDS | HALVES) != 0
    }

    /// Whether it has a meaning for 64 bits only.
    pub fn is_of_64_bits(self) -> bool {
        (self.0 & WORDS != 0) != (self.0 & HALVES != 0)
    }

    /// From the device's order to the standard's, or back.
    pub(super) fn of16(self, x: u16) -> u16 {
        if self.0 & BYTES == 0 { x } else { x.swap_bytes() }
    }

    /// The same for two registers.
    pub(super) fn of32(self, x: u32) -> u32 {
        let x = if self.0 & WORDS == 0 { x } else { x.rotate_left(16) };
        if self.0 & BYTES == 0 { x } else { (x & 0xff00_ff00) >> 8 | (x & 0x00ff_00ff) << 8 }
    }

    /// The same for four registers.
    pub(super) fn of64(self, x: u64) -> u64 {
        const EVEN_WORDS: u64 = 0x0000_ffff_0000_ffff;
        const EVEN_BYTES: u64 = 0x00ff_00ff_00ff_00ff;
        let x = if self.0 & HALVES == 0 { x } else { x.rotate_left(32) };
        let x = if self.0 & WORDS == 0 { x } else { (x & EVEN_WORDS) << 16 | (x >> 16) & EVEN_WORDS };
        if self.0 & BYTES == 0 { x } else { (x & EVEN_BYTES) << 8 | (x >> 8) & EVEN_BYTES }
    }

    /// Its name, the short one if there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::ABCD => "abcd",
            Self::CDAB => "cdab",
            Self::BADC => "badc",
            Self::DCBA => "dcba",
            Self::CDABGHEF => "cdabghef",
            Self::DCBAHGFE => "dcbahgfe",
            Self::EFGHABCD => "efghabcd",
            _ => "fehgbadc",
        }
    }
}

/// The names that are told where another one stands.
const EXPECTED: &str = "abcd, cdab, badc, dcba, or for 64 bits abcdefgh, ghefcdab, badcfehg, hgfedcba, cdabghef, \
                        dcbahgfe, efghabcd, fehgbadc";

/// What is wrong with the name of an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not an order: expected {EXPECTED}")]
pub struct OrderError {
    name: String,
}

impl FromStr for Order {
    type Err = OrderError;

    fn from_str(s: &str) -> Result<Self, OrderError> {
        Ok(match s.to_ascii_lowercase().as_str() {
            "ab" | "abcd" | "abcdefgh" => Self::ABCD,
            "cdab" | "ghefcdab" => Self::CDAB,
            "ba" | "badc" | "badcfehg" => Self::BADC,
            "dcba" | "hgfedcba" => Self::DCBA,
            "cdabghef" => Self::CDABGHEF,
            "dcbahgfe" => Self::DCBAHGFE,
            "efghabcd" => Self::EFGHABCD,
            "fehgbadc" => Self::FEHGBADC,
            _ => return Err(OrderError { name: s.to_owned() }),
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that a device sends of 0x0A0B..., read from the order's own name.
    fn sent(name: &str) -> Vec<u8> {
        name.bytes().map(|letter| letter - b'a' + 0x0a).collect()
    }

    #[test]
    fn every_name_is_the_order_in_which_the_bytes_come() {
        for name in ["ab", "ba"] {
            let order: Order = name.parse().unwrap();
            let raw = u16::from_be_bytes(sent(name).try_into().unwrap());
            assert_eq!(order.of16(raw), 0x0a0b, "{name}");
        }
        for name in ["abcd", "cdab", "badc", "dcba"] {
            let order: Order = name.parse().unwrap();
            let raw = u32::from_be_bytes(sent(name).try_into().unwrap());
            assert_eq!(order.of32(raw), 0x0a0b_0c0d, "{name}");
            assert_eq!(order.of32(order.of32(raw)), raw, "{name} is its own inverse");
            assert_eq!((order.name(), order.is_of_64_bits()), (name, false));
        }
        for name in
            ["abcdefgh", "ghefcdab", "badcfehg", "hgfedcba", "cdabghef", "dcbahgfe", "efghabcd", "fehgbadc"]
        {
            let order: Order = name.parse().unwrap();
            let raw = u64::from_be_bytes(sent(name).try_into().unwrap());
            assert_eq!(order.of64(raw), 0x0a0b_0c0d_0e0f_1011, "{name}");
            assert_eq!(order.of64(order.of64(raw)), raw, "{name} is its own inverse");
            assert_eq!(order.name().parse(), Ok(order));
        }
        assert_eq!(Order::ALL.iter().filter(|o| o.is_of_64_bits()).count(), 4);
        assert!("acbd".parse::<Order>().unwrap_err().to_string().contains("expected abcd, cdab"));
    }
}

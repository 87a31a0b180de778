//! A value at a place of a binary payload. Pure and total.

use std::sync::Arc;

use common::Value;
use serde::Deserialize;

/// Type of a value in a binary payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BinaryType {
    /// one byte, or one bit of it
    Bool,
    /// unsigned, 1 byte
    U8,
    /// signed, 1 byte
    I8,
    /// unsigned, 2 bytes
    U16,
    /// signed, 2 bytes
    I16,
    /// unsigned, 4 bytes
    U32,
    /// signed, 4 bytes
    I32,
    /// unsigned, 8 bytes
    U64,
    /// signed, 8 bytes
    I64,
    /// IEEE 754, 4 bytes
    F32,
    /// IEEE 754, 8 bytes
    F64,
    /// text of `length` bytes, up to the first zero byte, without blanks at its end
    String,
    /// `length` bytes
    Bytes,
}

/// Order of a number's bytes, `a` the most significant, as for Modbus. Of 8 bytes `badc` swaps the bytes of each
/// pair, `cdab` the pairs, `dcba` all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// big endian
    #[default]
    Abcd,
    /// big endian pairs, bytes of each swapped
    Badc,
    /// little endian pairs, each big endian
    Cdab,
    /// little endian
    Dcba,
}

impl BinaryType {
    /// Bytes of a value; none for those that have a `length`.
    pub(super) fn size(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String | Self::Bytes => return None,
        })
    }
}

/// Where and how a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: BinaryType,
    pub(super) order: ByteOrder,
    pub(super) offset: usize,
    /// Bytes of a string or of bytes; 0: all that follow.
    pub(super) length: usize,
    /// Bit of a bool, 0 the lowest; none: the byte is not 0.
    pub(super) bit: Option<u8>,
}

impl Field {
    /// The value.
    ///
    /// # Errors
    /// What is wrong with the payload.
    pub(super) fn read(&self, payload: &[u8]) -> Result<Value, &'static str> {
        const SHORT: &str = "the payload is too short";
        let from = payload.get(self.offset..).ok_or(SHORT)?;
        let Some(size) = self.kind.size() else {
            let bytes = if self.length == 0 { from } else { from.get(..self.length).ok_or(SHORT)? };
            return match self.kind {
                BinaryType::String => text(bytes).ok_or("the text is not UTF-8"),
                _ => Ok(Value::Bytes(bytes.into())),
            };
        };
        let bytes = from.get(..size).ok_or(SHORT)?;
        let n = self.order.number(bytes);
        Ok(number(self.kind, n, self.bit))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // the number has only so many bits
fn number(kind: BinaryType, n: u64, bit: Option<u8>) -> Value {
    match kind {
        BinaryType::Bool => Value::Bool(bit.map_or(n, |bit| n >> bit.min(7) & 1) != 0),
        BinaryType::I8 => Value::I64(i64::from(n as u8 as i8)),
        BinaryType::I16 => Value::I64(i64::from(n as u16 as i16)),
        BinaryType::I32 => Value::I64(i64::from(n as u32 as i32)),
        BinaryType::I64 => Value::I64(n as i64),
        BinaryType::F32 => Value::F64(f64::from(f32::from_bits(n as u32))),
        BinaryType::F64 => Value::F64(f64::from_bits(n)),
        _ => Value::U64(n),
    }
}

impl ByteOrder {
    /// The number that at most 8 bytes make.
    fn number(self, bytes: &[u8]) -> u64 {
        let n = bytes.len();
        let at = |i: usize| match self {
            Self::Abcd => i,
            Self::Dcba => n - 1 - i,
            _ if n == 1 => i,
            Self::Badc => i ^ 1,
            // The pairs from behind, each as it is.
            Self::Cdab => (n - 2 - (i & !1)) | (i & 1),
        };
        (0..n).filter_map(|i| bytes.get(at(i))).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn text(bytes: &[u8]) -> Option<Value> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    Some(Value::Text(Arc::from(text.trim_end())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Badc, ByteOrder::Cdab, ByteOrder::Dcba];
    const KINDS: [BinaryType; 13] = [
        BinaryType::Bool,
        BinaryType::U8,
        BinaryType::I8,
        BinaryType::U16,
        BinaryType::I16,
        BinaryType::U32,
        BinaryType::I32,
        BinaryType::U64,
        BinaryType::I64,
        BinaryType::F32,
        BinaryType::F64,
        BinaryType::String,
        BinaryType::Bytes,
    ];

    fn read(kind: BinaryType, order: ByteOrder, offset: usize, bytes: &[u8]) -> Result<Value, &'static str> {
        Field { kind, order, offset, length: 0, bit: None }.read(bytes)
    }

    #[test]
    fn every_order_gives_the_same_number_from_its_bytes() {
        for (order, two, four, eight) in [
            (ByteOrder::Abcd, [1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8]),
            (ByteOrder::Badc, [2, 1], [2, 1, 4, 3], [2, 1, 4, 3, 6, 5, 8, 7]),
            (ByteOrder::Cdab, [1, 2], [3, 4, 1, 2], [7, 8, 5, 6, 3, 4, 1, 2]),
            (ByteOrder::Dcba, [2, 1], [4, 3, 2, 1], [8, 7, 6, 5, 4, 3, 2, 1]),
        ] {
            assert_eq!(read(BinaryType::U16, order, 0, &two), Ok(Value::U64(0x0102)), "{order:?}");
            assert_eq!(read(BinaryType::U32, order, 0, &four), Ok(Value::U64(0x0102_0304)), "{order:?}");
            let eight = read(BinaryType::U64, order, 0, &eight);
            assert_eq!(eight, Ok(Value::U64(0x0102_0304_0506_0708)), "{order:?}");
            assert_eq!(read(BinaryType::I8, order, 1, &[0, 0xfe]), Ok(Value::I64(-2)), "{order:?}");
        }
    }

    #[test]
    fn values_are_read_at_their_place() {
        let bytes = [0xff, 0xfe, 0x41, 0xac, 0, 0, b'o', b'k', b' ', 0, b'x'];
        assert_eq!(read(BinaryType::I16, ByteOrder::Abcd, 0, &bytes), Ok(Value::I64(-2)));
        assert_eq!(read(BinaryType::F32, ByteOrder::Abcd, 2, &bytes), Ok(Value::F64(21.5)));
        assert_eq!(read(BinaryType::String, ByteOrder::Abcd, 6, &bytes), Ok(Value::from("ok")));
        let bit = |bit| Field { kind: BinaryType::Bool, order: ByteOrder::Abcd, offset: 1, length: 0, bit };
        assert_eq!(bit(Some(0)).read(&bytes), Ok(Value::Bool(false)));
        assert_eq!(bit(Some(1)).read(&bytes), Ok(Value::Bool(true)));
        assert_eq!(bit(None).read(&bytes), Ok(Value::Bool(true)));
        assert!(read(BinaryType::U32, ByteOrder::Abcd, 8, &bytes).is_err());
        assert!(read(BinaryType::U8, ByteOrder::Abcd, usize::MAX, &bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn no_payload_makes_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..24),
            offset in 0usize..30, length in 0usize..30, bit in any::<Option<u8>>(),
        ) {
            for kind in KINDS {
                for order in ORDERS {
                    let read = Field { kind, order, offset, length, bit }.read(&bytes);
                    let size = kind.size().unwrap_or(length);
                    prop_assert!(read.is_err() || offset + size <= bytes.len());
                }
            }
        }
    }
}

//! Registers to values and back. Pure and total: any registers and any value give a result or none, never a
//! panic. Bits need no codec.

use common::{Value, ValueType};
use gateway_core::RawRange;

use super::config::{Order, RawType};

/// The value of a point's registers, which are as many as `PointConfig::count` says; none if they are no
/// value of the type, such as text that is not UTF-8.
pub fn decode(raw_type: RawType, order: Order, registers: &[u16]) -> Option<Value> {
    let bytes = to_bytes(order, registers);
    Some(match raw_type {
        RawType::Bool => Value::Bool(u16::from_be_bytes(exact(&bytes)?) != 0),
        RawType::U16 => Value::U64(u16::from_be_bytes(exact(&bytes)?).into()),
        RawType::I16 => Value::I64(i16::from_be_bytes(exact(&bytes)?).into()),
        RawType::U32 => Value::U64(u32::from_be_bytes(exact(&bytes)?).into()),
        RawType::I32 => Value::I64(i32::from_be_bytes(exact(&bytes)?).into()),
        RawType::U64 => Value::U64(u64::from_be_bytes(exact(&bytes)?)),
        RawType::I64 => Value::I64(i64::from_be_bytes(exact(&bytes)?)),
        RawType::F32 => Value::F64(f32::from_be_bytes(exact(&bytes)?).into()),
        RawType::F64 => Value::F64(f64::from_be_bytes(exact(&bytes)?)),
        RawType::String => {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            Value::from(std::str::from_utf8(&bytes[..end]).ok()?)
        }
    })
}

/// The `count` registers that hold a value; none if they cannot: another type, out of range, not finite,
/// too long, or text with a 0 byte.
#[allow(clippy::cast_possible_truncation)] // to f32: the nearest one is what the register holds
pub fn encode(raw_type: RawType, order: Order, count: u16, value: &Value) -> Option<Vec<u16>> {
    let bytes = match (raw_type, value) {
        (RawType::Bool, Value::Bool(b)) => u16::from(*b).to_be_bytes().to_vec(),
        (RawType::U16, Value::U64(n)) => u16::try_from(*n).ok()?.to_be_bytes().to_vec(),
        (RawType::I16, Value::I64(n)) => i16::try_from(*n).ok()?.to_be_bytes().to_vec(),
        (RawType::U32, Value::U64(n)) => u32::try_from(*n).ok()?.to_be_bytes().to_vec(),
        (RawType::I32, Value::I64(n)) => i32::try_from(*n).ok()?.to_be_bytes().to_vec(),
        (RawType::U64, Value::U64(n)) => n.to_be_bytes().to_vec(),
        (RawType::I64, Value::I64(n)) => n.to_be_bytes().to_vec(),
        (RawType::F32, Value::F64(x)) => {
            let single = *x as f32;
            if !single.is_finite() {
                return None;
            }
            single.to_be_bytes().to_vec()
        }
        (RawType::F64, Value::F64(x)) if x.is_finite() => x.to_be_bytes().to_vec(),
        (RawType::String, Value::Text(t)) if !t.contains('\0') => {
            let mut bytes = t.as_bytes().to_vec();
            let room = usize::from(count) * 2;
            if bytes.len() > room {
                return None;
            }
            bytes.resize(room, 0);
            bytes
        }
        _ => return None,
    };
    Some(from_bytes(order, &bytes))
}

/// What the registers can hold.
pub fn raw_range(raw_type: RawType) -> RawRange {
    #[allow(clippy::cast_precision_loss)] // the ends of 64 bits as doubles
    let (value_type, min, max) = match raw_type {
        RawType::Bool => (ValueType::Bool, 0.0, 1.0),
        RawType::U16 => (ValueType::U64, 0.0, f64::from(u16::MAX)),
        RawType::I16 => (ValueType::I64, f64::from(i16::MIN), f64::from(i16::MAX)),
        RawType::U32 => (ValueType::U64, 0.0, f64::from(u32::MAX)),
        RawType::I32 => (ValueType::I64, f64::from(i32::MIN), f64::from(i32::MAX)),
        RawType::U64 => (ValueType::U64, 0.0, u64::MAX as f64),
        RawType::I64 => (ValueType::I64, i64::MIN as f64, i64::MAX as f64),
        RawType::F32 => (ValueType::F64, f64::from(f32::MIN), f64::from(f32::MAX)),
        RawType::F64 => (ValueType::F64, f64::MIN, f64::MAX),
        RawType::String => (ValueType::Text, 0.0, 0.0),
    };
    RawRange { value_type, min, max }
}

fn exact<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Big-endian bytes of registers in the device's order.
fn to_bytes(order: Order, registers: &[u16]) -> Vec<u8> {
    let bytes = |r: &u16| if order.swaps_bytes() { r.to_le_bytes() } else { r.to_be_bytes() };
    if order.swaps_registers() {
        registers.iter().rev().flat_map(bytes).collect()
    } else {
        registers.iter().flat_map(bytes).collect()
    }
}

/// Registers in the device's order of big-endian bytes.
fn from_bytes(order: Order, bytes: &[u8]) -> Vec<u16> {
    let register = |pair: &[u8]| match *pair {
        [a, b] if order.swaps_bytes() => u16::from_le_bytes([a, b]),
        [a, b] => u16::from_be_bytes([a, b]),
        _ => 0,
    };
    let mut registers: Vec<u16> = bytes.chunks(2).map(register).collect();
    if order.swaps_registers() {
        registers.reverse();
    }
    registers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];
    const NUMBERS: [(RawType, u16); 9] = [
        (RawType::Bool, 1),
        (RawType::U16, 1),
        (RawType::I16, 1),
        (RawType::U32, 2),
        (RawType::I32, 2),
        (RawType::F32, 2),
        (RawType::U64, 4),
        (RawType::I64, 4),
        (RawType::F64, 4),
    ];

    #[test]
    fn the_four_orders_place_bytes_as_their_names_say() {
        let value = Value::U64(0x0A0B_0C0D);
        for (order, registers) in [
            (Order::Abcd, [0x0A0B, 0x0C0D]),
            (Order::Cdab, [0x0C0D, 0x0A0B]),
            (Order::Badc, [0x0B0A, 0x0D0C]),
            (Order::Dcba, [0x0D0C, 0x0B0A]),
        ] {
            assert_eq!(decode(RawType::U32, order, &registers), Some(value.clone()));
            assert_eq!(encode(RawType::U32, order, 2, &value).unwrap(), registers);
        }
        let value = Value::U64(0x0102_0304_0506_0708);
        for (order, registers) in [
            (Order::Abcd, [0x0102, 0x0304, 0x0506, 0x0708]),
            (Order::Cdab, [0x0708, 0x0506, 0x0304, 0x0102]),
            (Order::Badc, [0x0201, 0x0403, 0x0605, 0x0807]),
            (Order::Dcba, [0x0807, 0x0605, 0x0403, 0x0201]),
        ] {
            assert_eq!(decode(RawType::U64, order, &registers), Some(value.clone()));
            assert_eq!(encode(RawType::U64, order, 4, &value).unwrap(), registers);
        }
    }

    #[test]
    fn known_floats_and_texts() {
        assert_eq!(decode(RawType::F32, Order::Cdab, &[0x0000, 0x4291]), Some(Value::F64(72.5)));
        assert_eq!(decode(RawType::String, Order::Abcd, &[0x4869, 0x2100]), Some(Value::from("Hi!")));
        assert_eq!(decode(RawType::String, Order::Badc, &[0x6948, 0x0021]), Some(Value::from("Hi!")));
        assert_eq!(decode(RawType::String, Order::Abcd, &[0xFFFE]), None);
        assert_eq!(encode(RawType::String, Order::Abcd, 1, &Value::from("abc")), None);
        assert_eq!(encode(RawType::String, Order::Abcd, 2, &Value::from("a\0")), None);
    }

    #[test]
    fn what_the_registers_cannot_hold_is_not_encoded() {
        for (t, v) in [
            (RawType::U16, Value::U64(65_536)),
            (RawType::I16, Value::I64(-32_769)),
            (RawType::U32, Value::U64(1 << 32)),
            (RawType::U16, Value::I64(1)),
            (RawType::F32, Value::F64(1e39)),
            (RawType::F32, Value::F64(f64::NAN)),
            (RawType::F64, Value::F64(f64::INFINITY)),
            (RawType::Bool, Value::U64(1)),
        ] {
            assert_eq!(encode(t, Order::Abcd, 4, &v), None, "{t:?} {v:?}");
        }
    }

    proptest! {
        #[test]
        fn registers_survive_decode_and_encode(
            words in prop::array::uniform4(any::<u16>()), at in 0..NUMBERS.len(), order in 0usize..4,
        ) {
            let ((t, count), order) = (NUMBERS[at], ORDERS[order]);
            let words = &words[..count.into()];
            let value = decode(t, order, words).unwrap();
            prop_assert_eq!(value.value_type(), raw_range(t).value_type);
            match (t, encode(t, order, count, &value)) {
                (RawType::Bool, Some(back)) => {
                    prop_assert_eq!(decode(t, order, &back), Some(value));
                }
                (_, Some(back)) => prop_assert_eq!(back, words),
                (_, None) => prop_assert!(!value.as_f64().unwrap().is_finite()),
            }
        }

        #[test]
        fn text_survives_encode_and_decode(text in "[^\0]{0,20}", swapped in any::<bool>()) {
            let order = if swapped { Order::Badc } else { Order::Abcd };
            match encode(RawType::String, order, 10, &Value::from(text.as_str())) {
                Some(words) => {
                    prop_assert_eq!(words.len(), 10);
                    prop_assert_eq!(decode(RawType::String, order, &words), Some(Value::from(text.as_str())));
                }
                None => prop_assert!(text.len() > 20),
            }
        }

        #[test]
        fn no_registers_make_decode_panic(
            words in prop::collection::vec(any::<u16>(), 0..130), at in 0usize..10, order in 0usize..4,
        ) {
            let t = NUMBERS.get(at).map_or(RawType::String, |n| n.0);
            let _ = decode(t, ORDERS[order], &words);
        }

        #[test]
        fn no_value_makes_encode_panic(bits in any::<u64>(), at in 0..NUMBERS.len(), count in 0u16..5) {
            for v in [Value::F64(f64::from_bits(bits)), Value::U64(bits), Value::I64(bits.cast_signed())] {
                if let Some(words) = encode(NUMBERS[at].0, Order::Dcba, count, &v) {
                    prop_assert_eq!(words.len(), usize::from(NUMBERS[at].1));
                }
            }
        }
    }
}

//! Tests of types and orders.

use common::Value;
use proptest::prelude::*;

use super::*;

fn format(t: RawType, order: Order) -> Format {
    Format { order, length: (t == RawType::String).then_some(8), ..t.into() }
}

fn bytes(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn decode(f: Format, words: &[u16]) -> Result<Value, Flaw> {
    f.decoder().decode(&bytes(words))
}

fn registers(f: Format, value: impl Into<Value>) -> Vec<u16> {
    match f.encode(&value.into()).unwrap() {
        Words::Registers(words) => words,
        Words::Mask { .. } => panic!("a mask"),
    }
}

#[test]
fn the_orders_place_bytes_as_their_names_say_both_ways() {
    for (order, words) in [
        (Order::ABCD, [0x0A0B, 0x0C0D]),
        (Order::CDAB, [0x0C0D, 0x0A0B]),
        (Order::BADC, [0x0B0A, 0x0D0C]),
        (Order::DCBA, [0x0D0C, 0x0B0A]),
    ] {
        let f = format(RawType::U32, order);
        assert_eq!(decode(f, &words), Ok(Value::U64(0x0A0B_0C0D)));
        assert_eq!(registers(f, 0x0A0B_0C0Du64), words);
    }
    for (order, words) in [
        (Order::ABCD, [0x0102, 0x0304, 0x0506, 0x0708]),
        (Order::CDAB, [0x0708, 0x0506, 0x0304, 0x0102]),
        (Order::BADC, [0x0201, 0x0403, 0x0605, 0x0807]),
        (Order::DCBA, [0x0807, 0x0605, 0x0403, 0x0201]),
        (Order::CDABGHEF, [0x0304, 0x0102, 0x0708, 0x0506]),
        (Order::DCBAHGFE, [0x0403, 0x0201, 0x0807, 0x0605]),
        (Order::EFGHABCD, [0x0506, 0x0708, 0x0102, 0x0304]),
        (Order::FEHGBADC, [0x0605, 0x0807, 0x0201, 0x0403]),
    ] {
        let f = format(RawType::U64, order);
        assert_eq!(decode(f, &words), Ok(Value::U64(0x0102_0304_0506_0708)), "{order}");
        assert_eq!(registers(f, 0x0102_0304_0506_0708u64), words, "{order}");
    }
}

#[test]
fn known_values_of_every_type() {
    for (t, words, value) in [
        (RawType::Bool, vec![2], Value::Bool(true)),
        (RawType::U16, vec![0xFFFE], Value::U64(65_534)),
        (RawType::I16, vec![0xFFFE], Value::I64(-2)),
        (RawType::I32, vec![0xFFFF, 0xFFFE], Value::I64(-2)),
        (RawType::I64, vec![0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], Value::I64(-2)),
        (RawType::F32, vec![0x4291, 0x0000], Value::F64(72.5)),
        (RawType::F64, vec![0x4052, 0x2000, 0, 0], Value::F64(72.5)),
        (RawType::Bcd16, vec![0x1234], Value::U64(1234)),
        (RawType::Bcd32, vec![0x0001, 0x2345], Value::U64(12_345)),
        (RawType::String, vec![0x4869, 0x2100, 0, 0], Value::from("Hi!")),
    ] {
        assert_eq!(decode(format(t, Order::ABCD), &words), Ok(value), "{t:?}");
    }
    assert_eq!(decode(format(RawType::Bcd32, Order::CDAB), &[0x2345, 0x0001]), Ok(Value::U64(12_345)));
    assert_eq!(decode(format(RawType::Bcd16, Order::ABCD), &[0x12A4]), Err(Flaw::Digits));
}

#[test]
fn a_bit_of_a_register_is_read_alone_and_written_with_a_mask() {
    let f = Format { bit: Some(9), ..RawType::Bool.into() };
    assert_eq!(decode(f, &[0x0200]), Ok(Value::Bool(true)));
    assert_eq!(decode(f, &[0xFDFF]), Ok(Value::Bool(false)));
    for (on, current, after) in [(true, 0x0001, 0x0201), (false, 0xFFFF, 0xFDFF), (true, 0x0200, 0x0200)] {
        let Words::Mask { and, or } = f.encode(&Value::Bool(on)).unwrap() else { panic!("no mask") };
        assert_eq!(Words::masked(current, and, or), after);
    }
    // Bits are counted in the value, not on the line.
    let swapped = Format { order: Order::BADC, ..f };
    assert_eq!(decode(swapped, &[0x0002]), Ok(Value::Bool(true)));
    assert_eq!(swapped.encode(&Value::Bool(true)), Ok(Words::Mask { and: 0xFFFD, or: 0x0002 }));
}

#[test]
fn a_scaled_pair_is_read_from_both_sides_and_written_only_in_one_piece() {
    let after = Format { exponent: Some(1), ..RawType::I16.into() };
    assert_eq!(decode(after, &[725, 0xFFFF]), Ok(Value::F64(72.5)));
    assert_eq!(registers(after, 72.5), [725, 0xFFFF]);
    let before = Format { exponent: Some(-1), order: Order::CDAB, ..RawType::U32.into() };
    assert_eq!((before.registers(), before.lead()), (3, 1));
    assert_eq!(decode(before, &[2, 0x0001, 0x0000]), Ok(Value::F64(100.0)));
    assert_eq!(registers(before, 100.0), [2, 0x0001, 0x0000]);
    let apart = Format { exponent: Some(5), ..RawType::I16.into() };
    assert_eq!((apart.registers(), apart.is_writable()), (6, false));
    assert_eq!(decode(apart, &[7, 9, 9, 9, 9, 2]), Ok(Value::F64(700.0)));
    assert_eq!(apart.encode(&Value::F64(1.0)), Err(Misfit::Apart));
    assert_eq!(decode(after, &[1, 0x8000]), Err(Flaw::Exponent));
}

#[test]
fn what_the_device_marks_as_no_value_is_none_and_is_not_written() {
    let f = Format { invalid: Some(-32_768), ..RawType::I16.into() };
    assert_eq!(decode(f, &[0x8000]), Err(Flaw::Marked));
    assert_eq!(f.encode(&Value::I64(-32_768)), Err(Misfit::Marked { value: "-32768".to_owned() }));
    let f = Format { invalid: Some(65_535), ..RawType::U16.into() };
    assert_eq!(decode(f, &[0xFFFF]), Err(Flaw::Marked));
    assert_eq!(decode(f, &[0xFFFE]), Ok(Value::U64(65_534)));
}

#[test]
fn what_the_registers_cannot_hold_is_not_encoded() {
    for (t, v) in [
        (RawType::U16, Value::U64(65_536)),
        (RawType::U16, Value::I64(-1)),
        (RawType::I16, Value::I64(-32_769)),
        (RawType::I16, Value::F64(0.5)),
        (RawType::U32, Value::U64(1 << 32)),
        (RawType::Bcd16, Value::U64(10_000)),
        (RawType::Bcd32, Value::U64(100_000_000)),
        (RawType::F32, Value::F64(1e39)),
        (RawType::F32, Value::F64(f64::NAN)),
        (RawType::F64, Value::F64(f64::INFINITY)),
        (RawType::Bool, Value::U64(2)),
        (RawType::String, Value::U64(1)),
        (RawType::String, Value::from("123456789")),
    ] {
        assert!(format(t, Order::ABCD).encode(&v).is_err(), "{t:?} {v:?}");
    }
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused_by_key() {
    let string = Format { length: Some(4), ..RawType::String.into() };
    for (f, key) in [
        (RawType::String.into(), "length"),
        (Format { length: Some(247), ..string }, "length"),
        (Format { length: Some(124), chars: Chars::Low, ..string }, "length"),
        (Format { order: Order::CDAB, ..string }, "order"),
        (Format { length: Some(2), ..RawType::U16.into() }, "length"),
        (Format { order: Order::EFGHABCD, ..RawType::U32.into() }, "order"),
        (Format { trim: Trim::Both, ..RawType::U16.into() }, "trim"),
        (Format { bit: Some(1), ..RawType::U16.into() }, "bit"),
        (Format { bit: Some(16), ..RawType::Bool.into() }, "bit"),
        (Format { invalid: Some(1), ..RawType::F32.into() }, "invalid"),
        (Format { exponent: Some(2), ..RawType::F32.into() }, "exponent"),
        (Format { exponent: Some(1), ..RawType::U32.into() }, "exponent"),
        (Format { exponent: Some(125), ..RawType::U16.into() }, "exponent"),
        (Format { exponent: Some(i32::MIN), ..RawType::U16.into() }, "exponent"),
    ] {
        assert_eq!(f.check().unwrap_err().0, key, "{f:?}");
    }
    for f in [string, Format { exponent: Some(124), ..RawType::U16.into() }] {
        assert_eq!(f.check(), Ok(()));
    }
    assert_eq!(RawType::ALL.map(|t| RawType::from_name(t.name())), RawType::ALL.map(Some));
}

fn any_format() -> impl Strategy<Value = Format> {
    let keys = (0..RawType::ALL.len(), 0..Order::ALL.len(), prop::option::of(0u8..20), 0u16..300);
    let more = (
        0u8..4,
        any::<bool>(),
        0u8..3,
        prop::option::weighted(0.3, -140i32..140),
        prop::option::weighted(0.2, any::<i64>()),
    );
    (keys, more).prop_map(|((t, order, bit, length), (trim, latin1, chars, exponent, invalid))| Format {
        raw_type: RawType::ALL[t],
        order: Order::ALL[if t < 9 { order } else { order % 4 }],
        bit: bit.filter(|_| t == 0),
        length: (RawType::ALL[t] == RawType::String).then_some(length),
        trim: [Trim::Zeros, Trim::Spaces, Trim::Both, Trim::None][usize::from(trim) * usize::from(t > 10)],
        encoding: if latin1 && t > 10 { Encoding::Latin1 } else { Encoding::Utf8 },
        chars: [Chars::Both, Chars::Low, Chars::High][usize::from(chars) * usize::from(t > 10)],
        exponent,
        invalid,
    })
}

proptest! {
    #![proptest_config(crate::cases(512))]

    #[test]
    fn registers_survive_decode_and_encode(
        words in prop::array::uniform4(any::<u16>()), t in 0usize..11, order in 0usize..8,
    ) {
        let f = format(RawType::ALL[t], Order::ALL[order]);
        let f = if f.check().is_ok() { f } else { Format { order: Order::DCBA, ..f } };
        let words = &words[..f.registers().into()];
        if let Ok(value) = decode(f, words) {
            prop_assert_eq!(value.value_type(), f.range().value_type);
            match (f.raw_type, f.encode(&value)) {
                (RawType::Bool, Ok(Words::Registers(back))) => prop_assert_eq!(decode(f, &back), Ok(value)),
                (_, Ok(Words::Registers(back))) => prop_assert_eq!(back, words),
                (_, other) => prop_assert!(!value.as_f64().unwrap().is_finite(), "{:?}", other),
            }
        } else {
            prop_assert!(matches!(f.raw_type, RawType::Bcd16 | RawType::Bcd32));
        }
    }

    #[test]
    fn text_survives_encode_and_decode(text in "[^\0]{0,20}", f in any_format()) {
        let f = Format { exponent: None, invalid: None, bit: None, length: Some(20), ..f };
        let f = Format { raw_type: RawType::String, ..f };
        if let Ok(Words::Registers(words)) = f.encode(&Value::from(text.as_str())) {
            prop_assert_eq!(words.len(), usize::from(f.registers()));
            let back = decode(f, &words).unwrap().to_string();
            let filled = if f.trim == Trim::None { back.trim_end_matches('\0') } else { &back };
            prop_assert_eq!(filled, text);
        }
    }

    #[test]
    fn a_pair_written_is_read_back_within_the_mantissas_digits(x in -1e20f64..1e20, t in 1usize..7) {
        let f = Format { exponent: Some(i32::from(RawType::ALL[t].registers())), ..RawType::ALL[t].into() };
        match f.encode(&Value::F64(x)) {
            Ok(Words::Registers(words)) => {
                let back = decode(f, &words).unwrap().as_f64().unwrap();
                prop_assert!((back - x).abs() <= x.abs() / 3000.0, "{x} {back} {words:?}");
            }
            other => prop_assert!(x < 0.0 || x.abs() < 1e-25, "{x} {other:?}"),
        }
    }

    #[test]
    fn no_bytes_make_decode_panic(
        raw in prop::collection::vec(any::<u8>(), 0..260), f in any_format(),
    ) {
        let _ = f.decoder().decode(&raw);
        if f.check().is_ok() {
            prop_assert!(f.registers() <= 125 && f.lead() < f.registers());
            let enough = raw.len() >= usize::from(f.registers()) * 2;
            prop_assert!(enough || f.decoder().decode(&raw) == Err(Flaw::Length) || f.exponent.is_some()
                || f.raw_type == RawType::String);
        }
    }

    #[test]
    fn what_encodes_takes_the_points_registers_and_decodes_to_the_same(
        bits in any::<u64>(), f in any_format(), kind in 0u8..4,
    ) {
        let value = match kind {
            0 => Value::F64(f64::from_bits(bits)),
            1 => Value::U64(bits >> (bits % 64)),
            2 => Value::I64(bits.cast_signed() >> (bits % 64)),
            _ => Value::Bool(bits & 1 == 1),
        };
        let encoded = f.encode(&value);
        if let (Ok(()), Ok(Words::Registers(words))) = (f.check(), encoded) {
            prop_assert_eq!(words.len(), usize::from(f.registers()));
            let back = decode(f, &words).unwrap().as_f64().unwrap();
            let asked = value.as_f64().unwrap();
            let near = f.raw_type == RawType::F32 || f.exponent.is_some();
            let slack = if near { asked.abs() / 3000.0 + 1e-40 } else { 0.0 };
            prop_assert!((back - asked).abs() <= slack, "{} {}", back, asked);
        }
    }
}

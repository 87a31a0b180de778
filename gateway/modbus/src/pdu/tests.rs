//! Tests of requests and answers, on any bytes.

use proptest::prelude::*;

use super::*;
use crate::Table;

const BITS: [u8; 2] = [0xcd, 0x01];

/// The examples of the standard's clause 6: request and answer, as they are on the line.
fn examples() -> Vec<(Request<'static>, &'static [u8], Answer<'static>, &'static [u8])> {
    let read = |table, address, count| Request::Read { table, address, count };
    vec![
        (
            read(Table::Coil, 0x13, 0x13),
            &[1, 0, 0x13, 0, 0x13],
            Answer::Read { table: Table::Coil, data: &[0xcd, 0x6b, 0x05] },
            &[1, 3, 0xcd, 0x6b, 0x05],
        ),
        (
            read(Table::Discrete, 0xc4, 0x16),
            &[2, 0, 0xc4, 0, 0x16],
            Answer::Read { table: Table::Discrete, data: &[0xac, 0xdb, 0x35] },
            &[2, 3, 0xac, 0xdb, 0x35],
        ),
        (
            read(Table::Holding, 0x6b, 3),
            &[3, 0, 0x6b, 0, 3],
            Answer::Read { table: Table::Holding, data: &[2, 0x2b, 0, 0, 0, 0x64] },
            &[3, 6, 2, 0x2b, 0, 0, 0, 0x64],
        ),
        (
            read(Table::Input, 8, 1),
            &[4, 0, 8, 0, 1],
            Answer::Read { table: Table::Input, data: &[0, 0x0a] },
            &[4, 2, 0, 0x0a],
        ),
        (
            Request::WriteCoil { address: 0xac, value: true },
            &[5, 0, 0xac, 0xff, 0],
            Answer::WriteCoil { address: 0xac, value: true },
            &[5, 0, 0xac, 0xff, 0],
        ),
        (
            Request::WriteRegister { address: 1, value: 3 },
            &[6, 0, 1, 0, 3],
            Answer::WriteRegister { address: 1, value: 3 },
            &[6, 0, 1, 0, 3],
        ),
        (
            Request::WriteCoils { address: 0x13, count: 10, bits: &BITS },
            &[0x0f, 0, 0x13, 0, 0x0a, 2, 0xcd, 1],
            Answer::WriteCoils { address: 0x13, count: 10 },
            &[0x0f, 0, 0x13, 0, 0x0a],
        ),
        (
            Request::WriteRegisters { address: 1, data: &[0, 0x0a, 1, 2] },
            &[0x10, 0, 1, 0, 2, 4, 0, 0x0a, 1, 2],
            Answer::WriteRegisters { address: 1, count: 2 },
            &[0x10, 0, 1, 0, 2],
        ),
        (
            Request::MaskWrite { address: 4, and: 0xf2, or: 0x25 },
            &[0x16, 0, 4, 0, 0xf2, 0, 0x25],
            Answer::MaskWrite { address: 4, and: 0xf2, or: 0x25 },
            &[0x16, 0, 4, 0, 0xf2, 0, 0x25],
        ),
    ]
}

#[test]
fn the_standards_examples_are_coded_as_it_prints_them() {
    for (request, request_bytes, answer, answer_bytes) in examples() {
        let mut out = Vec::new();
        request.encode(&mut out).unwrap();
        assert_eq!(out, request_bytes);
        assert_eq!(Request::decode(request_bytes), Ok(request));
        assert_eq!(request_length(request_bytes), Length::Known(request_bytes.len()));
        out.clear();
        answer.encode(&mut out).unwrap();
        assert_eq!(out, answer_bytes);
        assert_eq!(Answer::decode(answer_bytes), Ok(answer));
        assert_eq!(answer_length(answer_bytes), Length::Known(answer_bytes.len()));
        assert_eq!(answer.fits(&request), Ok(()), "{request:?}");
    }
}

#[test]
fn an_answer_fits_only_its_own_request() {
    let all = examples();
    for (i, (request, ..)) in all.iter().enumerate() {
        for (j, (_, _, answer, _)) in all.iter().enumerate() {
            assert_eq!(answer.fits(request).is_ok(), i == j, "{request:?} {answer:?}");
        }
        let refused = Answer::Refused { function: request.function(), exception: Exception(2) };
        assert_eq!(refused.fits(request), Ok(()));
        let other = Answer::Refused { function: 0x2b, exception: Exception(2) };
        assert_eq!(other.fits(request), Err(Misfit::Function { asked: request.function(), got: 0x2b }));
    }
    let asked = Request::Read { table: Table::Holding, address: 0, count: 2 };
    for (got, data) in [(2, &[1u8, 2][..]), (6, &[1, 2, 3, 4, 5, 6])] {
        let answer = Answer::Read { table: Table::Holding, data };
        assert_eq!(answer.fits(&asked), Err(Misfit::Bytes { asked: 4, got }));
    }
    let echo = Answer::WriteRegister { address: 1, value: 4 };
    let asked = Request::WriteRegister { address: 1, value: 3 };
    assert_eq!(echo.fits(&asked), Err(Misfit::Echo { function: 6 }));
}

#[test]
fn what_no_request_can_carry_is_not_encoded() {
    let data = vec![0; 300];
    let zero = Request::Read { table: Table::Holding, address: 0, count: 0 };
    let many = Request::Read { table: Table::Coil, address: 0, count: 2001 };
    let beyond = Request::Read { table: Table::Input, address: 65_535, count: 2 };
    let long = Request::WriteRegisters { address: 0, data: &data };
    let odd = Request::WriteRegisters { address: 0, data: &data[..3] };
    let short = Request::WriteCoils { address: 0, count: 9, bits: &data[..1] };
    for request in [zero, many, beyond, long, odd, short] {
        let mut out = vec![7];
        assert!(request.encode(&mut out).is_err(), "{request:?}");
        assert_eq!(out, [7], "{request:?}");
    }
    let last = Request::Read { table: Table::Holding, address: 65_535, count: 1 };
    assert_eq!(last.check(), Ok(()));
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for (_, request, _, answer) in examples() {
        for n in 0..request.len() {
            assert!(Request::decode(&request[..n]).is_err(), "{request:?} {n}");
        }
        for n in 0..answer.len() {
            assert!(Answer::decode(&answer[..n]).is_err(), "{answer:?} {n}");
        }
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        assert!(Request::decode(&longer(request)).is_err());
        assert!(Answer::decode(&longer(answer)).is_err());
    }
    assert_eq!(Answer::decode(&[0x83, 2]).unwrap().function(), 3);
    assert!(Answer::decode(&[0x83]).is_err() && Answer::decode(&[0x83, 2, 0]).is_err());
}

proptest! {
    #![proptest_config(crate::cases(256))]

    /// What decodes as something encodes as the same bytes: nothing is read into them.
    #[test]
    fn any_bytes_decode_to_what_encodes_to_them_or_to_an_error(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (prop::sample::select(vec![1u8, 2, 3, 4, 5, 6, 15, 16, 22, 0x81, 0x83]),
             prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), 0u8..12, any::<u8>()], 0..12))
                .prop_map(|(f, rest)| [vec![f], rest].concat()),
        ]
    ) {
        let mut out = Vec::new();
        if let Ok(request) = Request::decode(&bytes) {
            if request.encode(&mut out).is_ok() {
                prop_assert_eq!(&out, &bytes);
            }
            prop_assert_eq!(request_length(&bytes), Length::Known(bytes.len()));
        }
        out.clear();
        if let Ok(answer) = Answer::decode(&bytes) {
            if answer.encode(&mut out).is_ok() {
                prop_assert_eq!(&out, &bytes);
            }
            prop_assert_eq!(answer_length(&bytes), Length::Known(bytes.len()));
        }
        let _ = (request_length(&bytes), answer_length(&bytes));
    }

    #[test]
    fn reads_and_writes_survive_both_codecs(
        table in 0usize..4, address in any::<u16>(), count in 0u16..2100, data in prop::collection::vec(any::<u8>(), 0..260),
    ) {
        let requests = [
            Request::Read { table: Table::ALL[table], address, count },
            Request::WriteCoils { address, count, bits: data.get(..bit_bytes(count)).unwrap_or(&data) },
            Request::WriteRegisters { address, data: &data },
            Request::MaskWrite { address, and: count, or: !count },
        ];
        for request in requests {
            let mut out = Vec::new();
            match request.encode(&mut out) {
                Ok(()) => {
                    prop_assert!(out.len() <= MAX_PDU);
                    prop_assert_eq!(Request::decode(&out), Ok(request));
                }
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }
}

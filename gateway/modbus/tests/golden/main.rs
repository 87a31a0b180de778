//! The golden matrix: every type and order, read and written, over every framing, against pymodbus and libmodbus, with
//! registers that Python's struct packed. See `golden.py` and `libmodbus.c`.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod libmodbus;
mod python;

use std::time::Duration;

use common::Value;
use gateway_modbus::Table;
use gateway_modbus::client::{Client, Options};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Answer, Request};
use gateway_modbus::plan::{Item, Limits, Write, merge_writes, plan};
use gateway_modbus::value::{Format, Words};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use python::{Case, Python};

const LIMIT: Duration = Duration::from_secs(20);
const UNIT: u8 = 17;
/// As in `golden.py`.
const WRITES: u16 = 20_000;

/// What the client talks over.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn read<S: Stream>(client: &mut Client<S>, table: Table, address: u16, count: u16) -> Vec<u8> {
    let request = Request::Read { table, address, count };
    match client.call(UNIT, &request, LIMIT).await.unwrap() {
        Answer::Read { data, .. } => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

async fn write<S: Stream>(client: &mut Client<S>, write: &Write) {
    let data: Vec<u8>;
    let request = match write {
        Write::Registers { address, words } => {
            data = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            match *words.as_slice() {
                [value] => Request::WriteRegister { address: *address, value },
                _ => Request::WriteRegisters { address: *address, data: &data },
            }
        }
        Write::Mask { address, and, or } => Request::MaskWrite { address: *address, and: *and, or: *or },
        Write::Coils { address, bits } => {
            let mut packed = vec![0; bits.len().div_ceil(8)];
            for (n, bit) in bits.iter().enumerate() {
                packed[n / 8] |= u8::from(*bit) << (n % 8);
            }
            data = packed;
            match *bits.as_slice() {
                [value] => Request::WriteCoil { address: *address, value },
                _ => Request::WriteCoils { address: *address, count: bits.len() as u16, bits: &data },
            }
        }
    };
    client.call(UNIT, &request, LIMIT).await.unwrap();
}

/// The same number; a whole one may come as a float and the other way round.
fn same(format: Format, a: &Value, b: &Value) -> bool {
    let typed = |v: &Value| v.convert(format.range().value_type);
    typed(a).is_some() && typed(a) == typed(b)
}

/// The write of a case's value, where the other side looks.
fn write_of(case: &Case) -> Write {
    let address = case.address + WRITES;
    match case.keys.format().encode(&case.value).unwrap() {
        Words::Registers(words) => Write::Registers { address, words },
        Words::Mask { and, or } => Write::Mask { address, and, or },
    }
}

/// Reads as a line reads: in the fewest requests, decoded out of them.
async fn read_all<S: Stream>(client: &mut Client<S>, cases: &[Case]) {
    let item = |c: &Case| {
        assert_eq!(c.keys.format().check(), Ok(()));
        assert_eq!(c.keys.format().registers(), c.count, "{:?}", c.keys);
        let (address, count) = (c.address, c.count);
        Item { table: Table::Holding, address, count, period: Duration::from_secs(1) }
    };
    let items: Vec<_> = cases.iter().map(item).collect();
    let blocks = plan(&items, &Limits::default(), []).blocks;
    let span = items.last().unwrap().address / 125 + 1;
    assert!(blocks.len() <= usize::from(span) + 1, "{} requests", blocks.len());
    let mut seen = 0;
    for block in blocks {
        let data = read(client, block.table, block.address, block.count).await;
        for slot in block.slots {
            let case = &cases[slot.item];
            let own = &data[usize::from(slot.offset) * 2..][..usize::from(slot.count) * 2];
            let value = case.keys.format().decoder().decode(own).unwrap();
            let format = case.keys.format();
            assert!(same(format, &value, &case.value), "{:?}: {value:?}", case.keys);
            seen += 1;
        }
    }
    assert_eq!(seen, cases.len());
}

#[tokio::test]
async fn every_type_and_order_is_read_and_written_over_every_framing() {
    let (mut python, told) = Python::start();
    assert!(told.cases.len() > 120, "{}", told.cases.len());
    let ports =
        [(Framing::Mbap, told.ports.tcp), (Framing::Rtu, told.ports.rtu), (Framing::Ascii, told.ports.ascii)];
    for (framing, port) in ports {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client::new(stream, Options::new(framing));

        read_all(&mut client, &told.cases).await;

        // Written one by one where the other side looks.
        for (n, case) in told.cases.iter().enumerate() {
            write(&mut client, &write_of(case)).await;
            let stands = python.written(n);
            assert!(
                same(case.keys.format(), &stands, &case.value),
                "{framing:?} {:?}: {stands:?}",
                case.keys
            );
        }
    }
}

#[tokio::test]
async fn bits_and_input_registers_are_read_and_neighbours_written_in_one_request() {
    let (_python, told) = Python::start();
    for (framing, port) in
        [(Framing::Mbap, told.ports.tcp), (Framing::Rtu, told.ports.rtu), (Framing::Ascii, told.ports.ascii)]
    {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut client = Client::new(stream, Options::new(framing));
        let bit = |data: &[u8], n: usize| data[n / 8] >> (n % 8) & 1 == 1;
        let coils = read(&mut client, Table::Coil, 60, 100).await;
        let discrete = read(&mut client, Table::Discrete, 60, 100).await;
        for n in 0..100 {
            assert_eq!(bit(&coils, n), n % 3 == 0, "{framing:?} coil {n}");
            assert_eq!(bit(&discrete, n), n % 3 != 0, "{framing:?} input {n}");
        }
        assert_eq!(read(&mut client, Table::Input, 7, 2).await, [0x03, 0xEF, 0x03, 0xF0]);
        let coil = |address, on| Write::Coils { address, bits: vec![on] };
        let word = |address, word| Write::Registers { address, words: vec![word] };
        let writes = [
            coil(10, true),
            coil(11, true),
            coil(12, false),
            coil(20, true),
            word(39_000, 5),
            word(39_001, 6),
        ];
        let merged = merge_writes(writes, gateway_modbus::plan::WriteLimits::default());
        assert_eq!(merged.len(), 3);
        for one in &merged {
            write(&mut client, &one.write).await;
        }
        let coils = read(&mut client, Table::Coil, 10, 11).await;
        assert_eq!([0, 1, 2, 10].map(|n| bit(&coils, n)), [true, true, false, true]);
        assert_eq!(read(&mut client, Table::Holding, 39_000, 2).await, [0, 5, 0, 6]);
        // As it was, for the next framing.
        write(&mut client, &Write::Coils { address: 10, bits: vec![false, false, true] }).await;
    }
}

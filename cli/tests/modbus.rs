//! `modbus` without a gateway, against a device of our own server half: what is found, read, guessed and written, and
//! that a connection which a gateway has for itself is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use common::api::{ModbusEndpoint, Page};
use gateway_modbus::Table;
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::server::{Device, serve};
use rig::{Done, binary, finish};
use tokio::net::{TcpListener, UnixListener};

/// Holding registers of unit 5; nothing else is there.
#[derive(Default)]
struct Plc {
    registers: Mutex<BTreeMap<u16, u16>>,
    requests: Mutex<u64>,
}

impl Device for Plc {
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        *self.requests.lock().unwrap() += 1;
        if unit != 5 {
            return Err(None);
        }
        let mut registers = self.registers.lock().unwrap();
        let from = request.address();
        let places: Vec<u16> = (from..from + request.count()).collect();
        if places.iter().any(|p| !registers.contains_key(p)) {
            return Err(Some(Exception::ILLEGAL_ADDRESS));
        }
        match *request {
            Request::Read { table: Table::Holding, .. } => {
                data.extend(places.iter().flat_map(|p| registers[p].to_be_bytes()));
            }
            Request::WriteRegister { address, value } => {
                registers.insert(address, value);
            }
            Request::WriteRegisters { data, .. } => {
                for (place, word) in places.iter().zip(data.chunks(2)) {
                    registers.insert(*place, u16::from_be_bytes([word[0], word[1]]));
                }
            }
            _ => return Err(Some(Exception::ILLEGAL_FUNCTION)),
        }
        Ok(())
    }
}

struct Bench {
    plc: Arc<Plc>,
    at: String,
    home: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let plc = Arc::new(Plc::default());
        // 72.5 with the registers the other way round, then whole numbers.
        plc.registers.lock().unwrap().extend([(0, 0x0000), (1, 0x4291), (2, 7), (3, 8), (40, 1), (41, 2)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let device = plc.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let device = device.clone();
                tokio::spawn(async move { serve(stream, Framing::Mbap, &*device).await });
            }
        });
        Self { plc, at, home: tempfile::tempdir().unwrap() }
    }

    fn requests(&self) -> u64 {
        *self.plc.requests.lock().unwrap()
    }

    async fn run(&self, socket: &str, args: &[&str]) -> Done {
        finish(binary(self.home.path()).args(["--socket", socket]).args(args), b"").await
    }
}

/// No gateway listens there.
const NOBODY: &str = "/nonexistent/gateway.sock";

#[tokio::test]
async fn units_and_their_ranges_are_found() {
    let bench = Bench::start().await;
    let args = ["modbus", "scan", &bench.at, "--units", "4-6", "--addresses", "0-63", "--rate", "1000"];
    let done = bench.run(NOBODY, &args).await.code(0);
    let lines: Vec<_> = done.out.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("unit 5: holding 0 can be read"), "{done:?}");
    assert_eq!(lines[1..], ["holding 0 to 3", "holding 40 to 41"], "{done:?}");
    assert!(bench.requests() <= 3 + 2 * 2 * 64, "{} requests", bench.requests());
    let args = ["modbus", "scan", &bench.at, "--units", "9", "--rate", "1000"];
    bench.run(NOBODY, &args).await.code(3);
    bench.run(NOBODY, &["modbus", "scan", &bench.at, "--addresses", "0-9999"]).await.code(2);
}

#[tokio::test]
async fn registers_are_read_written_and_guessed() {
    let bench = Bench::start().await;
    let direct = |verb: &'static str, what: &'static str| {
        vec![
            "modbus".to_owned(),
            verb.into(),
            what.into(),
            "--direct".into(),
            bench.at.clone(),
            "--unit".into(),
            "5".into(),
        ]
    };
    let run = async |args: Vec<String>, more: &[&str]| {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        bench.run(NOBODY, &args).await
    };
    run(direct("read", "40001"), &["--type", "f32", "--order", "cdab"]).await.code(0).has(&["40001", "72.5"]);
    run(direct("read", "holding:2"), &["--count", "2"]).await.code(0).has(&["40003)  7", "40004)  8"]);
    run(direct("write", "40001=-1.25"), &["--type", "f32", "--order", "cdab"]).await.code(0).has(&["-1.25"]);
    let written = |at: u16| bench.plc.registers.lock().unwrap()[&at];
    assert_eq!([written(0), written(1)], [0x0000, 0xBFA0]);
    // The device has no mask write: the other bits of the register stay.
    run(direct("write", "40003=true"), &["--bit", "4"]).await.code(0).has(&["40003)  true"]);
    assert_eq!(written(2), 7 | 1 << 4);
    run(direct("write", "40001=70000"), &[]).await.code(2);
    run(direct("write", "30001=1"), &[]).await.code(2);
    run(direct("read", "40011"), &[]).await.code(1);
    let probe = ["modbus", "probe", &bench.at, "40001", "--unit", "5", "--samples", "2", "--every", "1ms"];
    let found =
        bench.run(NOBODY, &[&["-o", "json"], &probe[..], &["--expect", "-1.25"]].concat()).await.code(0);
    assert_eq!((&found.json()[0]["type"], &found.json()[0]["order"]), (&"f32".into(), &"cdab".into()));
}

#[tokio::test]
async fn what_a_gateway_has_for_itself_is_left_alone() {
    let bench = Bench::start().await;
    let socket = bench.home.path().join("gateway.sock");
    let port = bench.at.rsplit(':').next().unwrap();
    let endpoint = ModbusEndpoint {
        line: "rs485".to_owned(),
        // Another name for the same place.
        at: vec![format!("localhost:{port}")],
        devices: vec!["oven".to_owned()],
    };
    let page = Page { items: vec![endpoint], next_cursor: None };
    let routes = Router::new().route("/api/v1/modbus/endpoints", get(|| async move { Json(page) }));
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let socket = socket.to_str().unwrap();
    for args in [
        vec!["modbus", "scan", &bench.at],
        vec!["modbus", "probe", &bench.at, "40001"],
        vec!["modbus", "read", "40001", "--direct", &bench.at],
        vec!["modbus", "write", "40001=1", "--direct", &bench.at],
    ] {
        let done = bench.run(socket, &args).await.code(6);
        assert!(done.err.contains("line rs485, devices oven"), "{done:?}");
    }
    assert_eq!(bench.requests(), 0, "nothing was sent to it");
}

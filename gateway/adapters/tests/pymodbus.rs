//! The Modbus driver against devices and clients that we did not write: pymodbus as the device, mbpoll as
//! another master beside us.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::process::Stdio;
use std::sync::Arc;

use ::common::{Access, Drain, PointId, Value};
use common::{LIMIT, context, registry};
use gateway_adapters::modbus::{Adapter, PointConfig};
use gateway_core::Adapter as _;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

async fn device() -> (Child, u16) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plc.py");
    let mut child = Command::new("/usr/bin/python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap().parse().unwrap();
    (child, port)
}

async fn mbpoll(port: u16, args: &[&str]) -> String {
    let run = Command::new("mbpoll")
        .args(["-m", "tcp", "-p", &port.to_string(), "-a", "1", "-0", "-1", "-q"])
        .args(args)
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, run).await.unwrap().unwrap();
    assert!(output.status.success(), "{args:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn every_table_type_and_order_is_read_and_written_with_pymodbus() {
    let (_plc, port) = device().await;
    let mut texts = vec![
        ("table = \"input\"\naddress = 7".to_owned(), Access::Read),
        ("table = \"discrete\"\naddress = 3".to_owned(), Access::Read),
        ("table = \"coil\"\naddress = 5".to_owned(), Access::ReadWrite),
        ("table = \"holding\"\naddress = 100\ntype = \"string\"\nlength = 12".to_owned(), Access::ReadWrite),
    ];
    let types = ["u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64"];
    let values: [Value; 8] = [
        40_000u64.into(),
        (-2i64).into(),
        4_000_000_000u64.into(),
        (-2_000_000_000i64).into(),
        (-0.5).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        1e-300.into(),
    ];
    for (n, order) in ["abcd", "cdab", "badc", "dcba"].into_iter().enumerate() {
        for (m, t) in types.into_iter().enumerate() {
            // Some neighbours, some with gaps.
            let address = 10 + if n % 2 == 0 { m * 4 } else { m * 5 } + n * 40;
            if address + 4 > 100 {
                continue;
            }
            let text =
                format!("table = \"holding\"\naddress = {address}\ntype = \"{t}\"\norder = \"{order}\"");
            texts.push((text, Access::ReadWrite));
        }
    }
    let points: Vec<(PointConfig, Access)> = texts
        .iter()
        .map(|(text, a)| (toml::from_str(&format!("{text}\nperiod_ms = 50")).unwrap(), *a))
        .collect();
    let rows: Vec<_> = points.iter().map(|(p, a)| (p.raw_range().value_type, p.raw_range(), *a)).collect();
    let (context, mut ends) = context(registry(&rows));
    let kinds: Vec<_> = points.iter().map(|(p, _)| p.raw_type()).collect();
    let points = points.into_iter().enumerate().map(|(i, (p, a))| (PointId(i as u32), p, a)).collect();
    let config = toml::from_str(&format!("host = \"localhost\"\nport = {port}")).unwrap();
    let adapter = Arc::new(Adapter::new(0, config, points, context).unwrap());
    let (drain, writer) = (Drain::new(), adapter.writer().unwrap());
    let stop = drain.clone();
    let run = tokio::spawn(async move { adapter.run(stop).await.unwrap() });

    ends.value(0, 1007u64).await;
    ends.value(1, true).await;
    let write = |point: u32, value: Value| {
        let writer = writer.clone();
        async move { writer.write(PointId(point), value, Instant::now() + LIMIT, allowed()).await.unwrap().raw }
    };
    assert_eq!(write(2, true.into()).await, Some(true.into()));
    assert_eq!(write(3, "LFP-280".into()).await, Some("LFP-280".into()));
    for (i, kind) in kinds.iter().enumerate().skip(4) {
        let name = format!("{kind:?}").to_lowercase();
        let value = values[types.iter().position(|t| *t == name).unwrap()].clone();
        assert_eq!(write(i as u32, value.clone()).await, Some(value.clone()), "{i} {kind:?}");
        ends.value(i as u32, value).await;
    }

    // Another master sees what we wrote, and we see what it writes.
    let seen = mbpoll(port, &["-t", "4:hex", "-r", "18", "-c", "2", "127.0.0.1"]).await;
    assert!(seen.contains("0xEE6B") && seen.contains("0x2800"), "{seen}");
    let coils = mbpoll(port, &["-t", "0", "-r", "5", "127.0.0.1"]).await;
    assert!(coils.contains("[5]: \t1"), "{coils}");
    mbpoll(port, &["-t", "4", "-r", "10", "127.0.0.1", "--", "12345"]).await;
    ends.value(4, 12_345u64).await;
    mbpoll(port, &["-t", "0", "-r", "5", "127.0.0.1", "--", "0"]).await;
    ends.value(2, false).await;

    drain.start();
    timeout(LIMIT, run).await.unwrap().unwrap();
}

fn allowed() -> gateway_core::Permit {
    std::sync::Arc::new(|| Ok(()))
}

//! Payloads against protobuf's own compiler: what we write it reads, and what it writes we read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{Quality, Value};
use gateway_sparkplug::{DataType, Metric, Payload};

fn protoc(verb: &str, input: &[u8]) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let mut child = Command::new("protoc")
        .args([&format!("--{verb}=Payload"), &format!("--proto_path={dir}"), &format!("{dir}/payload.proto")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("protoc of protobuf-compiler; see tests/setup.sh");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    out.stdout
}

#[test]
fn protobuf_reads_what_we_write() {
    let historical = Metric {
        alias: Some(17),
        timestamp_ms: Some(1_790_000_000_000),
        historical: true,
        quality: Some(Quality::BAD_STALE),
        ..Metric::new("Process/Force", &Value::F64(1.5))
    };
    let metrics = vec![
        historical,
        Metric::of(DataType::String, None),
        Metric::new("i", &Value::I64(-2)),
        Metric::new("b", &Value::Bytes([0, 255].as_slice().into())),
        Metric::new("t", &Value::from("é")),
        Metric::new("on", &Value::Bool(false)),
    ];
    let payload = Payload { timestamp_ms: Some(5), seq: Some(255), metrics };
    let text = String::from_utf8(protoc("decode", &payload.encode())).unwrap();
    let expected = r#"timestamp: 5
metrics {
  name: "Process/Force"
  alias: 17
  timestamp: 1790000000000
  datatype: 10
  is_historical: true
  properties {
    keys: "Quality"
    values {
      type: 3
      int_value: 500
    }
  }
  double_value: 1.5
}
metrics {
  datatype: 12
  is_null: true
}
metrics {
  name: "i"
  datatype: 4
  long_value: 18446744073709551614
}
metrics {
  name: "b"
  datatype: 17
  bytes_value: "\000\377"
}
metrics {
  name: "t"
  datatype: 12
  string_value: "\303\251"
}
metrics {
  name: "on"
  datatype: 11
  boolean_value: false
}
seq: 255
"#;
    assert_eq!(text, expected);
}

#[test]
fn we_read_what_protobuf_writes() {
    let text = r#"timestamp: 7 seq: 0
metrics { name: "n" alias: 1 datatype: 3 int_value: 4294967295 }
metrics { alias: 2 timestamp: 9 float_value: 0.5 is_historical: true }
metrics { name: "s" datatype: 12 string_value: "" }
metrics { name: "z" datatype: 10 is_null: true }"#;
    let payload = Payload::decode(&protoc("encode", text.as_bytes())).unwrap();
    assert_eq!((payload.timestamp_ms, payload.seq, payload.metrics.len()), (Some(7), Some(0), 4));
    let read: Vec<_> = payload.metrics.iter().map(|m| m.read(None).unwrap()).collect();
    assert_eq!(read, [Some(Value::I64(-1)), Some(Value::F64(0.5)), Some(Value::from("")), None]);
    assert!(payload.metrics[1].historical && payload.metrics[1].timestamp_ms == Some(9));
}

//! Writes and calls, as control asks for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::names::Code;
use common::{PointId, Value, ValueType};
use gateway_core::{Permit, Reading, WriteError};
use tokio::time::Instant;

use crate::rig::{Rig, Server};

fn device(server: &Server) -> String {
    format!("url = \"{}\"\nsecurity = \"none\"\npublishing_ms = 100", server.url())
}

async fn write(rig: &Rig, point: u32, value: impl Into<Value>) -> Result<Reading, WriteError> {
    let yes: Permit = Arc::new(|| Ok(()));
    rig.writer().write(PointId(point), value.into(), Instant::now() + Duration::from_secs(10), yes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_of_the_nodes_type_and_read_back() {
    let mut server = Server::start(&[]);
    let mut rig = Rig::new(
        &device(&server),
        &[
            (ValueType::I64, "w node = \"ns=2;s=Speed\""),
            (ValueType::F64, "w node = \"ns=2;s=Level\""),
            (ValueType::I64, "w node = \"ns=2;s=Locked\""),
            (ValueType::F64, "w node = \"ns=2;s=Zones\", index = 2"),
            (ValueType::F64, "node = \"ns=2;s=Temp\""),
        ],
    );
    rig.ends.value(4, 20.5).await;
    assert_eq!(write(&rig, 0, 42i64).await, Ok(Reading { raw: Some(42i64.into()) }));
    assert_eq!(server.get("Speed"), "42");
    rig.ends.value(0, 42i64).await;
    let Ok(Reading { raw: Some(Value::F64(level)) }) = write(&rig, 1, 0.1).await else { panic!("no float") };
    assert!((level - 0.1).abs() < 1e-7);
    // Beyond 16 bits: nothing is sent.
    let refused = write(&rig, 0, 40_000i64).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::OutOfRawLimits, .. })), "{refused:?}");
    assert_eq!(server.get("Speed"), "42");
    let refused = write(&rig, 2, 5i64).await;
    assert!(matches!(&refused, Err(WriteError::Refused { .. })), "{refused:?}");
    // This server knows no ranges: it would take one element for the whole array.
    let refused = write(&rig, 3, 5.0).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::NotSupported, .. })), "{refused:?}");
    assert_eq!(server.get("Zones"), "[1.0, 2.0, 3.0, 4.0, 5.0]");
    let refused = write(&rig, 4, 5.0).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::NotWritable, .. })), "{refused:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permit_time_or_connection_nothing_is_sent() {
    let mut server = Server::start(&[]);
    let mut rig = Rig::new(&device(&server), &[(ValueType::I64, "w node = \"ns=2;s=Speed\"")]);
    rig.ends.value(0, 10i64).await;
    let no: Permit = Arc::new(|| Err((Code::LocalMode, "local".to_owned())));
    let later = Instant::now() + Duration::from_secs(10);
    let refused = rig.writer().write(PointId(0), 1i64.into(), later, no).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::LocalMode, .. })), "{refused:?}");
    let yes: Permit = Arc::new(|| Ok(()));
    let refused = rig.writer().write(PointId(0), 1i64.into(), Instant::now(), yes).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::Expired, .. })), "{refused:?}");
    assert_eq!(server.get("Speed"), "10");
    server.kill();
    rig.ends.until("gone", |s| s.quality.is_bad()).await;
    let refused = write(&rig, 0, 1i64).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::NotConnected, .. })), "{refused:?}");
    rig.stop().await;
}

/// The server starts anew, with its nodes under other ids, when all is ready for the write.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_node_of_an_earlier_connection() {
    let server = Server::start(&[]);
    let node = "w node = \"nsu=http://twinway.test/plant;s=Speed\"";
    let keys = format!("{}\nreconnect_max_ms = 500", device(&server));
    let mut rig = Rig::new(&keys, &[(ValueType::I64, node)]);
    rig.ends.value(0, 10i64).await;
    let writer = rig.writer();
    let both = Arc::new(Mutex::new((rig, server)));
    let (held, runtime) = (both.clone(), tokio::runtime::Handle::current());
    let permit: Permit = Arc::new(move || {
        let (rig, server) = &mut *held.lock().unwrap();
        server.kill();
        *server = Server::start(&[&format!("port={}", server.port), "shift=1"]);
        tokio::task::block_in_place(|| runtime.block_on(rig.ends.value(0, 10i64)));
        Ok(())
    });
    let later = Instant::now() + Duration::from_secs(60);
    let refused = writer.write(PointId(0), 1i64.into(), later, permit.clone()).await;
    assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::NotConnected, .. })), "{refused:?}");
    drop(permit);
    let (rig, mut server) = Arc::into_inner(both).unwrap().into_inner().unwrap();
    assert_eq!(server.get("Speed"), "10");
    assert_eq!(write(&rig, 0, 42i64).await, Ok(Reading { raw: Some(42i64.into()) }));
    rig.stop().await;
}

/// Whether a node can be written is not known as long as its server is not heard: that says nothing of its type.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_the_server_does_not_tell_is_no_wrong_type() {
    let mut server = Server::start(&[]);
    let points = [
        (ValueType::I64, "w node = \"ns=2;s=Speed\""),
        (ValueType::I64, "w node = \"ns=2;s=Missing\""),
        (ValueType::Bool, "call node = \"ns=2;s=Plant\", method = \"ns=2;s=Missing\""),
        (ValueType::Bool, "call node = \"ns=2;s=Plant\", method = \"ns=2;s=Reset\""),
    ];
    let mut rig = Rig::new(&format!("{}\ntimeout_ms = 500", device(&server)), &points);
    rig.ends.value(0, 10i64).await;
    let code = |done: Result<Reading, WriteError>| match done {
        Err(WriteError::NotSent { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(write(&rig, 1, 1i64).await), Code::DeviceRefused);
    assert_eq!(code(write(&rig, 2, true).await), Code::DeviceRefused);
    server.begin("hang 2");
    let both = tokio::join!(write(&rig, 0, 1i64), write(&rig, 3, true));
    assert_eq!((code(both.0), code(both.1)), (Code::NotConnected, Code::NotConnected));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_called_with_the_types_that_it_declares() {
    let mut server = Server::start(&[]);
    let start =
        "call node = \"ns=2;s=Plant\", method = \"ns=2;s=Start\"\narguments = [\"$value\",10,\"auto\"]";
    let mut rig = Rig::new(
        &device(&server),
        &[
            (ValueType::F64, start),
            (ValueType::Bool, "call node = \"ns=2;s=Plant\", method = \"ns=2;s=Reset\""),
            (ValueType::F64, "call node = \"ns=2;s=Plant\", method = \"ns=2;s=Start\""),
            (ValueType::F64, "node = \"ns=2;s=Temp\""),
        ],
    );
    rig.ends.value(3, 20.5).await;
    assert_eq!(write(&rig, 0, 30.0).await, Ok(Reading { raw: None }));
    assert_eq!(server.get("Started"), "'Double=30.0 UInt16=10 auto'");
    let refused = write(&rig, 0, 60.0).await;
    assert!(
        matches!(&refused, Err(WriteError::Refused { detail }) if detail.contains("OutOfRange")),
        "{refused:?}"
    );
    assert_eq!(write(&rig, 1, true).await, Ok(Reading { raw: None }));
    assert_eq!(server.get("Resets"), "1");
    for (point, value) in [(1, Value::Bool(false)), (2, Value::F64(1.0))] {
        let refused = write(&rig, point, value).await;
        assert!(matches!(&refused, Err(WriteError::NotSent { code: Code::TypeMismatch, .. })), "{refused:?}");
    }
    assert_eq!(server.get("Resets"), "1");
    rig.stop().await;
}

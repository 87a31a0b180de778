//! Each status that the server answers with, where no other test asks for it: reads, writes, calls, items, history, limits.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Plc, until};
use crate::ua::{Ua, gateway, id, remote, trust_all};

fn write(point: &str, kind: &str, value: impl Into<Value>) -> Value {
    json!({ "do": "write", "node": id(point), "type": kind, "value": value.into() })
}

/// A device behind an address, with a point that may be written.
fn device(name: &str, port: u16) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/coating/line1/{name}\"\n[device.modbus]\nhost = \"127.0.0.1\"\nport = {port}\n\
         timeout_ms = 300\nreconnect_max_ms = 300\n[[device.point]]\nname = \"value\"\ntype = \"i64\"\naccess = \"read_write\"\n\
         write_min = 0\nwrite_max = 1000\nmodbus = {{ table = \"holding\", address = 5, period_ms = 100 }}\n\
         [[device.point]]\nname = \"start\"\ntype = \"i64\"\naccess = \"write\"\nwrite_min = 0\nwrite_max = 10\n\
         modbus = {{ table = \"holding\", address = 6 }}\n\
         [[device.point]]\nname = \"gone\"\ntype = \"i64\"\naccess = \"write\"\nwrite_min = 0\nwrite_max = 10\n\
         modbus = {{ table = \"holding\", address = 40 }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_items_of_what_is_not_there_or_cannot_be_read() {
    let mut plc = Plc::start();
    let rig = gateway(&plc, "", &device("two", plc.addr.port())).await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let part = |node: &str, more: Value| {
        let mut question = json!({ "do": "read_part", "node": id(node) });
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    for (question, status) in [
        (part("plc/nothing", json!({})), "BadNodeIdUnknown"),
        (part("nothing", json!({ "attribute": "BrowseName" })), "BadNodeIdUnknown"),
        (part("plc", json!({})), "BadAttributeIdInvalid"),
        (part("plc/door", json!({ "attribute": "EventNotifier" })), "BadAttributeIdInvalid"),
        (part("two/start", json!({})), "BadNotReadable"),
        (part("plc/door", json!({ "range": "0:1" })), "BadIndexRangeDataMismatch"),
        (part("plc/door", json!({ "encoding": "Default XML" })), "BadDataEncodingInvalid"),
    ] {
        assert_eq!(ua.ok(question.clone()).await["status"], status, "{question}");
    }
    let monitor =
        |node: &str, attribute: &str| json!({ "do": "monitor", "node": id(node), "attribute": attribute });
    for (question, status) in [
        (monitor("plc/nothing", "Value"), "BadNodeIdUnknown"),
        (monitor("plc", "Value"), "BadAttributeIdInvalid"),
        (monitor("two/start", "Value"), "BadNotReadable"),
        (monitor("plc/door", "Executable"), "BadAttributeIdInvalid"),
    ] {
        assert_eq!(ua.status(question.clone()).await, status, "{question}");
    }
    plc.kill();
    until("gone", || async { rig.point("door").await.0.is_none().then_some(()) }).await;
    let away = ua.ok(json!({ "do": "read", "node": id("plc/door") })).await;
    assert!(away["value"].is_null(), "{away}");
    assert!(
        ["BadNoCommunication", "BadCommunicationError", "BadNotConnected"]
            .contains(&away["status"].as_str().unwrap()),
        "{away}"
    );
    rig.stop().await;
}

/// The device behind another address, where it hears reads and no writes.
async fn no_writes(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(device) = TcpStream::connect(to).await else { return };
                let ((mut from, mut back), (mut answers, mut on)) =
                    (client.into_split(), device.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                // One request at a time is on its way; 6 writes a register.
                let mut head = [0; 8];
                while from.read_exact(&mut head).await.is_ok() {
                    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 2];
                    from.read_exact(&mut rest).await.unwrap();
                    if head[7] != 6 && on.write_all(&[&head[..], &rest].concat()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_cannot_be_or_do_not_arrive() {
    let mut plc = Plc::start();
    let (mute, slow) = (no_writes(plc.addr).await, no_writes(plc.addr).await);
    let more = device("two", plc.addr.port())
        + &device("mute", mute.port())
        + &device("slow", slow.port()).replace("timeout_ms = 300", "timeout_ms = 6000");
    let rig = gateway(&plc, "", &more).await;
    remote(&rig).await;
    until("both are read", || async {
        let twins = rig.get("/api/v1/gateways").await["items"][0]["health"]["devices"].clone();
        twins.as_array()?.iter().all(|d| d["connected"] == true).then_some(())
    })
    .await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let with = |mut question: Value, key: &str, value: Value| {
        question[key] = value;
        question
    };
    for (question, status) in [
        (write("two/value", "i64", 70_000), "BadOutOfRange"),
        (write("two/value", "i64", -1), "BadOutOfRange"),
        (with(write("two/value", "i64", 1), "range", json!("0")), "BadWriteNotSupported"),
        (with(write("two/value", "text", "x"), "attribute", json!("Description")), "BadNotWritable"),
        (write("two", "i64", 1), "BadNotWritable"),
        // Nobody can say what became of it.
        (write("mute/value", "i64", 1), "BadCommunicationError"),
        // The device has no such register.
        (write("two/gone", "i64", 1), "BadDeviceFailure"),
    ] {
        assert_eq!(ua.status(question.clone()).await, status, "{question}");
    }
    // A person at the box has it now.
    let local = rig.send("k1", "free", 5).await;
    assert_eq!(local.state, common::CommandState::Succeeded, "{local:?}");
    assert_eq!(ua.status(write("plc/free", "i64", 6)).await, "BadLocked");
    // The second waits for its device until its time is over.
    let both = json!({ "do": "write_all", "nodes": [id("slow/value"), id("slow/start")], "type": "i64", "value": 1 });
    assert_eq!(ua.ok(both).await, json!(["BadCommunicationError", "BadTimeout"]));
    ua.ok(write("two/start", "i64", 3)).await;
    assert_eq!(plc.get(6), 3);
    plc.kill();
    until("gone", || async { rig.point("door").await.0.is_none().then_some(()) }).await;
    assert_eq!(ua.status(write("two/value", "i64", 5)).await, "BadNotConnected");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_wrong() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    remote(&rig).await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let text = |t: &str| json!({ "type": "text", "value": t });
    let nine = json!({ "type": "i64", "value": 9 });
    let call = |object: &str, method: &str, arguments: Value| json!({ "do": "call", "node": id(object), "method": id(method), "arguments": arguments });
    for (question, status) in [
        (call("nothing", "plc:Command", json!([])), "BadNodeIdUnknown"),
        (call("plc", "plc/door", json!([])), "BadMethodInvalid"),
        (call("plc/door", "plc:Command", json!([])), "BadMethodInvalid"),
        (call("plc", "plc:Command", json!([text("free")])), "BadArgumentsMissing"),
        (call("plc", "plc:Command", json!([text("free"), nine, text(""), nine])), "BadTooManyArguments"),
        (call("plc", "plc:Command", json!([nine, nine, text("")])), "BadInvalidArgument"),
        (call("plc", "plc:Command", json!([text("nothing"), nine, text("")])), "BadInvalidArgument"),
        (call("plc", "plc:Command", json!([text("free"), text("nine"), text("")])), "BadTypeMismatch"),
        (call("plc", "plc:Command", json!([text("free"), nine, text("a\u{7}b")])), "BadInvalidArgument"),
    ] {
        assert_eq!(ua.status(question.clone()).await, status, "{question}");
    }
    assert_eq!(plc.get(3), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_not_there() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    let history = |node: &str, more: Value| {
        let mut question = json!({ "do": "history_status", "node": id(node) });
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    let long_ago = json!({ "from": 1_000_000, "to": 2_000_000 });
    for (question, status) in [
        (history("plc/door", long_ago.clone()), "GoodNoData"),
        (history("plc/nothing", long_ago.clone()), "BadNodeIdUnknown"),
        (history("plc:Health/Connected", long_ago.clone()), "BadHistoryOperationUnsupported"),
        (
            history("plc/door", json!({ "from": 1, "to": 2, "continue": "0011" })),
            "BadContinuationPointInvalid",
        ),
    ] {
        assert_eq!(ua.ok(question.clone()).await, status, "{question}");
    }
    // Of the whole request.
    for (question, status) in [
        (history("plc/door", json!({ "from": 1_000_000 })), "BadHistoryOperationInvalid"),
        (
            history("plc/door", json!({ "from": 1, "to": 2, "modified": true })),
            "BadHistoryOperationUnsupported",
        ),
    ] {
        let answer = ua.ask(question.clone()).await;
        assert!(answer["ok"] == status || answer["status"] == status, "{question}: {answer}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_messages_have_their_limits() {
    let plc = Plc::start();
    let rig = gateway(&plc, "max_sessions = 1\nmax_message_kb = 64\n", "").await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let mut other = Ua::start();
    let _ = other.ask(other.login(&rig, "viewer", "Basic256Sha256")).await;
    trust_all(&rig).await;
    assert_eq!(other.status(other.login(&rig, "viewer", "Basic256Sha256")).await, "BadTooManySessions");
    // An answer of some 100 KB, then a request.
    let many = json!({ "do": "read_part", "node": id("plc:Command/InputArguments"), "times": 500 });
    assert_eq!(ua.status(many).await, "BadResponseTooLarge");
    assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
    let long = ua.ask(write("plc/free", "text", "x".repeat(200_000))).await;
    assert!(long.get("ok").is_none(), "{long}");
    // Whose client it was must connect again; others are served.
    rig.get("/api/v1/gateways").await;
    let mut next = Ua::start();
    assert_eq!(
        next.ok(json!({ "do": "endpoints", "url": crate::ua::url(&rig) })).await.as_array().unwrap().len(),
        6
    );
    rig.stop().await;
}

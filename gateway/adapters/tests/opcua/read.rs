//! Values, times, status and what a bad node does.

use common::{PointId, Quality, Value, ValueType};
use opcua::types::StatusCode;

use crate::rig::{Rig, Server};

fn device(server: &Server, keys: &str) -> String {
    format!("url = \"{}\"\nsecurity = \"none\"\npublishing_ms = 100\n{keys}", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_kind_come_with_their_types_times_and_status() {
    let mut server = Server::start(&["structure=1"]);
    let uri = "nsu=http://twinway.test/plant";
    let mut rig = Rig::new(
        &device(&server, ""),
        &[
            (ValueType::F64, "node = \"ns=2;s=Temp\""),
            (ValueType::U64, &format!("node = \"{uri};s=Count\"")),
            (ValueType::Text, &format!("node = \"{uri};s=Name\"")),
            (ValueType::Bool, &format!("node = \"{uri};s=Running\"")),
            (ValueType::F64, &format!("node = \"{uri};s=Zones\", index = 3")),
            (ValueType::U64, &format!("node = \"{uri};s=Wide\"")),
            (ValueType::Text, &format!("node = \"{uri};s=At\"")),
            (ValueType::I64, &format!("node = \"{uri};s=At\"")),
            (ValueType::I64, &format!("node = \"{uri};s=Recipe\", field = \"number\"")),
            (ValueType::I64, &format!("node = \"{uri};s=Locked\", poll_ms = 50")),
        ],
    );
    let mut known = std::collections::HashMap::new();
    while known.len() < 10 {
        let sample = rig.ends.next().await;
        assert!(sample.quality.is_good(), "{sample:?}");
        known.insert(sample.point.0, sample.value.unwrap());
    }
    let expected: [Value; 10] = [
        20.5.into(),
        0u64.into(),
        "press".into(),
        true.into(),
        4.0.into(),
        ((1u64 << 63) + 1).into(),
        "2026-11-27T01:02:03.004+00:00".into(),
        1_795_741_323_004_000i64.into(),
        42i64.into(),
        1i64.into(),
    ];
    for (at, value) in expected.iter().enumerate() {
        assert_eq!(known.get(&(at as u32)), Some(value), "point {at}");
    }
    server.say("set Temp 31.25");
    let changed = rig.ends.value(0, 31.25).await;
    let now_us = common::Clock::system().now_us();
    assert!(changed.source_us <= now_us && changed.source_us > now_us - 20_000_000, "the server's own time");
    server.say("set Locked 7");
    rig.ends.value(9, 7i64).await;
    for (code, quality) in [
        (0x808d_0000u32, Quality::BAD_DISABLED),
        (0x8089_0000, Quality::BAD_CONFIG),
        (0x808b_0000, Quality::BAD_DEVICE),
        (0x808c_0000, Quality::BAD_SENSOR),
        (0x408f_0000, Quality::UNCERTAIN_LAST_USABLE),
        (0x4091_0000, Quality::UNCERTAIN_SUBSTITUTE),
        (0x0096_0000, Quality::GOOD_OVERRIDE),
    ] {
        let status = StatusCode::from(code);
        server.say(&format!("bad Temp {code:#x}"));
        let told =
            rig.ends.until(&format!("{status}"), |s| s.point == PointId(0) && s.quality == quality).await;
        assert_eq!(told.value.is_some(), !quality.is_bad(), "{told:?}");
        assert_eq!(rig.adapter.status(PointId(0)), Some(status), "every bit of it is kept");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_node_disables_itself_and_is_taken_when_it_comes() {
    let mut server = Server::start(&[]);
    let mut rig = Rig::new(
        &device(&server, ""),
        &[
            (ValueType::F64, "node = \"ns=2;s=Temp\""),
            (ValueType::F64, "node = \"ns=2;s=Missing\""),
            (ValueType::F64, "node = \"nsu=http://nobody.test;s=Temp\""),
            (ValueType::I64, "node = \"ns=2;s=Zones\""),
        ],
    );
    let unknown =
        |n: u32| move |s: &common::Sample| s.point == PointId(n) && s.quality == Quality::BAD_UNKNOWN;
    let mut seen = [false; 4];
    while !seen.iter().all(|s| *s) {
        let sample = rig.ends.next().await;
        seen[0] |= sample.point == PointId(0) && sample.quality.is_good();
        seen[1] |= unknown(1)(&sample);
        seen[2] |= unknown(2)(&sample);
        seen[3] |= sample.point == PointId(3) && sample.quality == Quality::BAD_DECODE;
    }
    server.say("set Temp 5.0");
    rig.ends.value(0, 5.0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_lacks_values_leaves_no_point_as_it_was() {
    let mut server = Server::start(&[]);
    let points = [
        (ValueType::F64, "node = \"ns=2;s=Temp\", poll_ms = 50"),
        (ValueType::I64, "node = \"ns=2;s=Locked\", poll_ms = 50"),
    ];
    let mut rig = Rig::new(&device(&server, ""), &points);
    rig.ends.value(0, 20.5).await;
    rig.ends.value(1, 1i64).await;
    server.say("short 1");
    rig.ends.until("not answered", |s| s.point == PointId(1) && s.quality.is_bad()).await;
    assert_eq!(rig.adapter.status(PointId(1)), Some(StatusCode::BadUnexpectedError));
    server.say("short 0");
    rig.ends.value(1, 1i64).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_server_are_entries_of_the_log() {
    let mut server = Server::start(&[]);
    let mut rig =
        Rig::new(&device(&server, "events = [\"i=2253\"]"), &[(ValueType::F64, "node = \"ns=2;s=Temp\"")]);
    rig.ends.value(0, 20.5).await;
    assert_eq!(rig.ends.event().await, "device.online");
    server.say("event too hot");
    let entry = tokio::time::timeout(crate::common::LIMIT, rig.ends.events.recv()).await.unwrap().unwrap();
    assert_eq!((entry.action.as_str(), entry.detail.as_str()), ("opcua.event", "too hot"));
    assert_eq!(entry.severity, common::command::Severity::Alarm);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_of_50_ms_skips_nothing() {
    let mut server = Server::start(&[]);
    let point = (ValueType::U64, "node = \"ns=2;s=Count\", sampling_ms = 0, queue = 100");
    let mut rig = Rig::new(&device(&server, ""), &[point]);
    rig.ends.value(0, 0u64).await;
    server.say("count 50");
    for wanted in 1..=60u64 {
        let sample = rig.ends.next().await;
        assert_eq!((sample.value, sample.quality), (Some(wanted.into()), Quality::GOOD));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadband_that_the_server_refuses_is_done_without() {
    let mut server = Server::start(&[]);
    let points = [
        (ValueType::F64, "node = \"ns=2;s=Temp\", deadband = 5.0"),
        // The node has no EURange, so that a percentage of it means nothing.
        (ValueType::I64, "node = \"ns=2;s=Locked\", deadband_percent = 10.0"),
        (ValueType::Text, "node = \"ns=2;s=Name\", deadband = 1.0"),
    ];
    let mut rig = Rig::new(&device(&server, ""), &points);
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 3 {
        let sample = rig.ends.next().await;
        assert!(sample.quality.is_good(), "{sample:?}");
        seen.insert(sample.point.0);
    }
    server.say("set Locked 2");
    rig.ends.value(1, 2i64).await;
    server.say("set Temp 30.0");
    rig.ends.value(0, 30.0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_points_are_split_by_the_limits() {
    let mut server = Server::start(&["many=700"]);
    let nodes: Vec<String> = (0..700).map(|n| format!("node = \"ns=2;s=Many{n}\"")).collect();
    let points: Vec<_> = nodes.iter().map(|n| (ValueType::F64, n.as_str())).collect();
    let keys = "profile = \"s7-1200\"\nmax_items_per_subscription = 300";
    let mut rig = Rig::new(&device(&server, keys), &points);
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 700 {
        let sample = rig.ends.next().await;
        assert_eq!(sample.value, Some(f64::from(sample.point.0).into()));
        seen.insert(sample.point.0);
    }
    server.say("set Many699 -1.0");
    rig.ends.value(699, -1.0).await;
    rig.stop().await;
}

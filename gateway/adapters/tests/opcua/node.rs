//! node-opcua's server, by Sign&Encrypt: it keeps sessions and subscriptions without their connection, as asyncua's does
//! not, and has limits, alarms and history of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::command::LogEntry;
use common::{PointId, Quality, Sample, Value, ValueType};
use gateway_adapters::opcua::Bounds;
use gateway_core::{Permit, Reading, WriteError};
use opcua::types::VariantScalarTypeId;
use tokio::time::Instant;

use crate::common::LIMIT;
use crate::rig::{Cable, Given, Rig, Server, folder};

const NS: &str = "nsu=http://twinway.test/node";

struct Plant {
    place: PathBuf,
    server: Server,
    _keep: tempfile::TempDir,
}

impl Plant {
    fn start(options: &[&str]) -> Self {
        let (keep, place) = folder();
        let server = Server::node(&place, options);
        Self { place, server, _keep: keep }
    }

    /// At its port, with what it had.
    fn restart(&mut self, options: &[&str]) {
        self.server.kill();
        let port = format!("port={}", self.server.port);
        let options: Vec<&str> = options.iter().copied().chain([port.as_str()]).collect();
        self.server = Server::node(&self.place, &options);
    }

    fn rig(&self, url: &str, keys: &str, points: &[Given<'_>]) -> Rig {
        let device = format!("url = \"{url}\"\npublishing_ms = 100\nreconnect_max_ms = 500\n{keys}");
        Rig::trusting(&self.place.join("pki/own/certs/certificate.pem"), &device, points)
    }

    fn near(&self, keys: &str, points: &[Given<'_>]) -> Rig {
        self.rig(&self.server.url(), keys, points)
    }

    /// Waits until its counter stands at a number.
    async fn grown(&mut self, to: u64) {
        let grown = async {
            while self.server.get("Count").parse::<u64>().unwrap() < to {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, grown).await.unwrap();
    }
}

fn point(name: &str, keys: &str) -> String {
    format!("node = \"{NS};s={name}\"{keys}")
}

async fn write(rig: &Rig, point: u32, value: impl Into<Value>) -> Result<Reading, WriteError> {
    let yes: Permit = Arc::new(|| Ok(()));
    rig.writer().write(PointId(point), value.into(), Instant::now() + Duration::from_secs(10), yes).await
}

/// Numbers that a point had until one of at least `last`.
async fn numbers(rig: &mut Rig, last: u64) -> BTreeSet<u64> {
    let mut known = BTreeSet::new();
    let all = async {
        while known.last().is_none_or(|n| *n < last) {
            if let Some(Value::U64(n)) = rig.ends.next().await.value {
                known.insert(n);
            }
        }
    };
    tokio::time::timeout(LIMIT * 2, all).await.expect("numbers come");
    known
}

fn dropped(rig: &Rig, what: &str) -> u64 {
    rig.ends.drops.list().iter().find(|(name, _)| name == what).map_or(0, |(_, n)| *n)
}

fn assert_none_is_missing(known: &BTreeSet<u64>) {
    let (first, last) = (*known.first().unwrap(), *known.last().unwrap());
    let missing: Vec<u64> = (first..=last).filter(|n| !known.contains(n)).collect();
    assert_eq!(missing, [0; 0], "of {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_subscribed_written_called_and_found_again_after_a_restart() {
    let mut plant = Plant::start(&[]);
    let call = format!("call node = \"{NS};s=Plant\", method = \"{NS};s=Reset\", arguments = [\"$value\"]");
    let points = [
        (ValueType::F64, point("Temp", "")),
        (ValueType::I64, format!("w {}", point("Speed", ""))),
        (ValueType::I64, call),
    ];
    let points: Vec<Given<'_>> = points.iter().map(|(t, k)| (*t, k.as_str())).collect();
    let mut rig = plant.near("", &points);
    rig.ends.value(0, 20.5).await;
    plant.server.say("set Temp 31.25");
    rig.ends.value(0, 31.25).await;
    assert_eq!(write(&rig, 1, 42i64).await, Ok(Reading { raw: Some(42i64.into()) }));
    assert_eq!(plant.server.get("Speed"), "42");
    rig.ends.value(1, 42i64).await;
    write(&rig, 2, 7i64).await.unwrap();
    assert_eq!(plant.server.get("Resets"), "7");
    let refused = write(&rig, 2, -7i64).await;
    assert!(matches!(&refused, Err(WriteError::Refused { .. })), "{refused:?}");
    assert_eq!(plant.server.get("Resets"), "7");

    plant.restart(&["shift=2"]);
    let up = Instant::now();
    rig.ends.until("gone", |s| s.point == PointId(0) && s.quality == Quality::BAD_NOT_CONNECTED).await;
    rig.ends.value(0, 20.5).await;
    assert!(up.elapsed() < Duration::from_secs(5), "{:?}", up.elapsed());
    plant.server.say("set Temp 1.5");
    rig.ends.value(0, 1.5).await;
    assert_eq!(write(&rig, 1, 43i64).await, Ok(Reading { raw: Some(43i64.into()) }));
    rig.stop().await;
}

/// What was sent into the void is asked for again once the connection is back, within the same session.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_lost_on_the_way_are_asked_for_again() {
    let mut plant = Plant::start(&[]);
    let cable = Cable::new(plant.server.port).await;
    let counter = point("Count", ", sampling_ms = 0, queue = 1000");
    let url = format!("opc.tcp://127.0.0.1:{}", cable.port);
    let mut rig = plant.rig(&url, "", &[(ValueType::U64, &counter)]);
    rig.ends.value(0, 0u64).await;
    plant.server.say("count 20");
    rig.ends.value(0, 10u64).await;
    cable.swallow();
    plant.grown(40).await;
    cable.cut();
    cable.mend();
    let known = numbers(&mut rig, 120).await;
    assert_none_is_missing(&known);
    assert_eq!(dropped(&rig, "opcua:missed"), 0);
    rig.stop().await;
}

/// One of two subscriptions ends in a message that is asked for again; the numbers of the other are not taken for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ended_in_a_lost_message_is_made_anew_and_the_other_goes_on() {
    let mut plant = Plant::start(&[]);
    let cable = Cable::new(plant.server.port).await;
    let url = format!("opc.tcp://127.0.0.1:{}", cable.port);
    let (first, second) = (point("Many1", ""), point("Many2", ""));
    let points: [Given<'_>; 2] = [(ValueType::F64, &first), (ValueType::F64, &second)];
    let mut rig = plant.rig(&url, "max_items_per_subscription = 1", &points);
    rig.ends.value(0, 1.0).await;
    plant.server.say("set Many2 2.5");
    rig.ends.value(1, 2.5).await;
    // The first one's numbers run ahead of the second one's.
    for n in 0..10 {
        plant.server.say(&format!("set Many1 {n}.5"));
        rig.ends.value(0, f64::from(n) + 0.5).await;
    }
    cable.swallow();
    plant.server.say("expire");
    plant.server.say("set Many1 50.0");
    // Until that is sent.
    plant.server.say("count 20");
    plant.grown(20).await;
    cable.cut();
    rig.ends.until("cut", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    cable.mend();
    rig.ends.value(0, 50.0).await;
    plant.server.say("set Many1 -1.0");
    rig.ends.value(0, -1.0).await;
    for n in 0..3 {
        plant.server.say(&format!("set Many2 -{n}.5"));
        rig.ends.value(1, -(f64::from(n) + 0.5)).await;
    }
    rig.stop().await;
}

/// Nothing arrives, and nothing says so: it is noticed, and the new session takes the old one's subscriptions over.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_into_the_void_is_found_and_its_subscriptions_are_taken_over() {
    let mut plant = Plant::start(&[]);
    let cable = Cable::new(plant.server.port).await;
    let counter = point("Count", ", sampling_ms = 0, queue = 1000");
    let url = format!("opc.tcp://127.0.0.1:{}", cable.port);
    let keys = "silence_ms = 1000\ntimeout_ms = 500";
    let mut rig = plant.rig(&url, keys, &[(ValueType::U64, &counter)]);
    rig.ends.value(0, 0u64).await;
    plant.server.say("count 50");
    rig.ends.value(0, 5u64).await;
    cable.swallow();
    rig.ends.until("noticed", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    cable.mend();
    let known = numbers(&mut rig, 200).await;
    let gap: Vec<u64> = (*known.first().unwrap()..200).filter(|n| !known.contains(n)).collect();
    assert_eq!(gap, [0; 0], "{known:?}");
    // What came before the cut was told before; the first after it follows.
    assert!(*known.first().unwrap() < 60, "{known:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_the_server_forgot_are_made_anew() {
    let mut plant = Plant::start(&[]);
    let mut rig = plant.near("silence_ms = 1000", &[(ValueType::F64, &point("Temp", ""))]);
    rig.ends.value(0, 20.5).await;
    plant.server.say("forget");
    plant.server.say("set Temp 1.0");
    rig.ends.value(0, 1.0).await;
    plant.server.say("set Temp 2.0");
    rig.ends.value(0, 2.0).await;
    rig.stop().await;
}

/// Each point has a subscription of its own, and the connection breaks between the first and the second.
#[tokio::test(flavor = "multi_thread")]
async fn points_whose_subscription_broke_off_are_subscribed_later() {
    let mut plant = Plant::start(&[]);
    plant.server.say("break 2");
    let points: Vec<String> = (1..4).map(|n| point(&format!("Many{n}"), "")).collect();
    let points: Vec<Given<'_>> = points.iter().map(|p| (ValueType::F64, p.as_str())).collect();
    let mut rig = plant.near("max_items_per_subscription = 1", &points);
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let sample = rig.ends.next().await;
        if sample.quality.is_good() {
            seen.insert(sample.point.0);
        }
    }
    for n in 1..4 {
        plant.server.say(&format!("set Many{n} -1.0"));
        rig.ends.value(n - 1, -1.0).await;
    }
    rig.stop().await;
}

/// Two points of a server, the second of which it does not have, behind a cable.
async fn with_one_refused(plant: &mut Plant) -> (Rig, Cable) {
    plant.server.say("delete Many3");
    let cable = Cable::new(plant.server.port).await;
    let url = format!("opc.tcp://127.0.0.1:{}", cable.port);
    let (temp, many) = (point("Temp", ""), point("Many3", ""));
    let points: [Given<'_>; 2] = [(ValueType::F64, &temp), (ValueType::F64, &many)];
    let mut rig = plant.rig(&url, "silence_ms = 1000\ntimeout_ms = 500", &points);
    let refused = |s: &Sample| s.point == PointId(1) && s.quality == Quality::BAD_UNKNOWN;
    rig.ends.until("refused", refused).await;
    (rig, cable)
}

fn gone(sample: &Sample) -> bool {
    sample.point == PointId(1) && sample.quality == Quality::BAD_NOT_CONNECTED
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_tried_again_once_another_session_has_its_subscription() {
    let mut plant = Plant::start(&[]);
    let (mut rig, cable) = with_one_refused(&mut plant).await;
    cable.swallow();
    rig.ends.until("gone", gone).await;
    plant.server.say("add Many3");
    cable.mend();
    rig.ends.value(1, 3.0).await;
    assert_eq!(plant.server.get_number("items"), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_was_subscribed_anew_is_not_tried_again() {
    let mut plant = Plant::start(&[]);
    let (mut rig, cable) = with_one_refused(&mut plant).await;
    plant.restart(&[]);
    rig.ends.value(1, 3.0).await;
    cable.swallow();
    rig.ends.until("gone", gone).await;
    cable.mend();
    rig.ends.value(1, 3.0).await;
    // Long enough for another try.
    for n in 0..10 {
        plant.server.say(&format!("set Temp {n}.0"));
        rig.ends.value(0, f64::from(n)).await;
    }
    assert_eq!(plant.server.get_number("items"), 2);
    rig.stop().await;
}

/// A queue of one keeps nothing of the time without a cable; the server's history does.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_queue_does_not_keep_comes_from_the_history() {
    let mut plant = Plant::start(&[]);
    let cable = Cable::new(plant.server.port).await;
    let counter = point("Logged", ", sampling_ms = 0, queue = 1, history = true");
    let url = format!("opc.tcp://127.0.0.1:{}", cable.port);
    let mut rig = plant.rig(&url, "", &[(ValueType::U64, &counter)]);
    rig.ends.value(0, 0u64).await;
    plant.server.say("count 50");
    let before = rig.ends.until("it counts", |s| matches!(s.value, Some(Value::U64(6..)))).await;
    cable.cut();
    plant.grown(60).await;
    cable.mend();
    let gap = async {
        let Some(Value::U64(mut last)) = before.value else { panic!("no number: {before:?}") };
        let mut told: Vec<Sample> = Vec::new();
        while last < 60 {
            let sample = rig.ends.next().await;
            if let Some(Value::U64(n)) = sample.value {
                last = n;
                told.push(sample);
            }
        }
        told
    };
    let told = tokio::time::timeout(LIMIT, gap).await.expect("numbers come");
    let known: BTreeSet<u64> =
        told.iter().filter_map(|s| if let Some(Value::U64(n)) = s.value { Some(n) } else { None }).collect();
    let missing: Vec<u64> = (15..60).filter(|n| !known.contains(n)).collect();
    assert_eq!(missing, [0; 0], "{known:?}");
    let mut once = BTreeSet::new();
    for sample in told.iter().filter(|s| s.quality.is_good()) {
        assert!(once.insert(sample.source_us), "told twice: {sample:?}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_is_bad_and_the_others_run() {
    let mut plant = Plant::start(&[]);
    let (temp, many) = (point("Temp", ""), point("Many3", ""));
    let polled = point("Many4", ", poll_ms = 50");
    let points: [Given<'_>; 3] =
        [(ValueType::F64, &temp), (ValueType::F64, &many), (ValueType::F64, &polled)];
    let mut rig = plant.near("", &points);
    rig.ends.value(1, 3.0).await;
    plant.server.say("delete Many3");
    rig.ends.until("subscribed: bad", |s| s.point == PointId(1) && s.quality.is_bad()).await;
    plant.server.say("delete Many4");
    let unknown = |s: &Sample| s.point == PointId(2) && s.quality == Quality::BAD_UNKNOWN;
    rig.ends.until("polled: bad", unknown).await;
    plant.server.say("set Temp 5.0");
    rig.ends.value(0, 5.0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_lower_after_a_restart_are_kept() {
    let mut plant = Plant::start(&["per_call=10", "per_subscription=12"]);
    let points: Vec<String> = (0..30).map(|n| point(&format!("Many{n}"), "")).collect();
    let points: Vec<Given<'_>> = points.iter().map(|p| (ValueType::F64, p.as_str())).collect();
    let mut rig = plant.near("", &points);
    for limits in [["per_call=3", "per_subscription=4"], ["per_call=1", "per_subscription=1000"]] {
        let mut seen = BTreeSet::new();
        while seen.len() < 30 {
            let sample = rig.ends.next().await;
            if sample.quality.is_good() {
                seen.insert(sample.point.0);
            }
        }
        plant.server.say("set Many29 -1.0");
        rig.ends.value(29, -1.0).await;
        plant.restart(&limits);
        rig.ends.until("gone", |s| s.point == PointId(29) && s.quality == Quality::BAD_NOT_CONNECTED).await;
    }
    rig.ends.value(29, 29.0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_servers_queue_lost_is_flagged_and_counted() {
    let mut plant = Plant::start(&[]);
    let counter = point("Count", ", sampling_ms = 0, queue = 2");
    let mut rig = plant.near("", &[(ValueType::U64, &counter)]);
    rig.ends.value(0, 0u64).await;
    plant.server.say("count 10");
    let flagged = rig.ends.until("an overflow", |s| s.quality == Quality::GOOD_OVERFLOW).await;
    assert!(flagged.value.is_some(), "{flagged:?}");
    assert!(dropped(&rig, "opcua:overflow") > 0);
    rig.stop().await;
}

/// The next event of the alarm that says a state.
async fn alarm(rig: &mut Rig, state: &str) -> LogEntry {
    let mut told = Vec::new();
    let found = async {
        loop {
            let entry = rig.ends.events.recv().await.unwrap();
            told.push(entry.detail.clone());
            let is_alarm = entry.action == "opcua.event" && entry.detail.contains("TempAlarm");
            if is_alarm && entry.detail.contains(state) {
                return entry;
            }
        }
    };
    let found = tokio::time::timeout(LIMIT, found).await;
    found.unwrap_or_else(|_| panic!("no `{state}` in {told:?}"))
}

/// A device without points whose namespaces moved: its events are those of the same node.
#[tokio::test(flavor = "multi_thread")]
async fn events_alone_follow_their_node_when_namespaces_move() {
    let mut plant = Plant::start(&[]);
    let mut rig = plant.near(&format!("events = [\"{NS};s=Plant\"]"), &[]);
    for shift in ["shift=1", "shift=2"] {
        assert_eq!(rig.ends.event().await, "device.online");
        plant.server.say("alarm 90");
        alarm(&mut rig, " active").await;
        plant.restart(&[shift]);
        while rig.ends.event().await != "device.offline" {}
    }
    assert_eq!(rig.ends.event().await, "device.online");
    plant.server.say("alarm 90");
    alarm(&mut rig, " active").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_come_as_events_when_they_go_and_come() {
    let mut plant = Plant::start(&[]);
    let mut rig = plant.near("events = [\"i=2253\"]", &[(ValueType::F64, &point("Temp", ""))]);
    rig.ends.value(0, 20.5).await;
    for (temperature, state) in [(90.0, " active"), (20.0, " no longer active")] {
        plant.server.say(&format!("alarm {temperature}"));
        let entry = alarm(&mut rig, state).await;
        assert!(entry.target.starts_with("plc"), "{entry:?}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsing_tells_what_the_numbers_of_enumerations_mean() {
    let plant = Plant::start(&[]);
    let rig = plant.near("", &[(ValueType::F64, &point("Temp", ""))]);
    let kit = rig.kit();
    let tool = kit.tool(&kit.device("plc").unwrap()).await.unwrap();
    let bounds = Bounds { depth: 3, nodes: 10_000, time: Duration::from_secs(30) };
    let found = tool.browse(tool.node(&format!("{NS};s=Plant").parse().unwrap()).unwrap(), &bounds).await;
    let found = found.unwrap().nodes;
    let labels = |path: &str| {
        let node = found.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("no {path}"));
        node.labels.iter().map(|l| (l.value, l.text.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(labels("Mode"), [(0, "Off"), (1, "Manual"), (2, "Auto")]);
    assert_eq!(labels("Level"), [(10, "Low"), (20, "High")]);
    assert_eq!(labels("Count"), []);
    tool.close().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_one_read_a_call_is_written_and_browsed() {
    let mut plant = Plant::start(&["per_call=1"]);
    let speed = format!("w {}", point("Speed", ""));
    let mut rig = plant.near("", &[(ValueType::I64, &speed)]);
    rig.ends.value(0, 10i64).await;
    assert_eq!(write(&rig, 0, 42i64).await, Ok(Reading { raw: Some(42i64.into()) }));
    assert_eq!(plant.server.get("Speed"), "42");
    let kit = rig.kit();
    let tool = kit.tool(&kit.device("plc").unwrap()).await.unwrap();
    let bounds = Bounds { depth: 3, nodes: 10_000, time: Duration::from_secs(30) };
    let found = tool.browse(tool.node(&format!("{NS};s=Plant").parse().unwrap()).unwrap(), &bounds).await;
    let found = found.unwrap();
    let node =
        |path: &str| found.nodes.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("no {path}"));
    assert_eq!(
        (node("Speed").scalar, node("Speed").access),
        (Some(VariantScalarTypeId::Int16), (true, true))
    );
    assert_eq!(node("Mode").labels.len(), 3);
    assert_eq!(found.cut, None);
    tool.close().await;
    rig.stop().await;
}

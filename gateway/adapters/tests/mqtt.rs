//! The MQTT driver with a source of messages in place of the broker: what it subscribes to, what becomes of
//! each message, and how it keeps up.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::{Access, Drain, PointId, Quality, Value, ValueType};
use bytes::Bytes;
use common::{Ends, context, registry};
use gateway_adapters::mqtt::{Adapter, DeviceConfig, Error, PointConfig};
use gateway_core::{Adapter as _, Message, Messages, RawRange};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

#[derive(Default)]
struct Source(Mutex<Option<(Vec<String>, mpsc::Sender<Message>)>>);

impl Messages for Source {
    fn subscribe(&self, filters: Vec<String>) -> mpsc::Receiver<Message> {
        let (to, from) = mpsc::channel(100_000);
        *self.0.lock().unwrap() = Some((filters, to));
        from
    }
}

struct Rig {
    ends: Ends,
    source: Arc<Source>,
    drain: Drain,
    run: JoinHandle<Result<(), String>>,
}

fn build(
    silence_ms: u64,
    points: &[(&str, ValueType, Access)],
) -> (Result<Adapter, Error>, Ends, Arc<Source>) {
    let range = |t| RawRange { value_type: t, min: f64::MIN, max: f64::MAX };
    let rows: Vec<_> = points.iter().map(|(_, t, a)| (*t, range(*t), *a)).collect();
    let (context, ends) = context(registry(&rows));
    let configs = points
        .iter()
        .enumerate()
        .map(|(i, (text, _, a))| (PointId(i as u32), toml::from_str::<PointConfig>(text).unwrap(), *a))
        .collect();
    let source = Arc::new(Source::default());
    let adapter = Adapter::new(
        0,
        DeviceConfig { silence_ms, ..DeviceConfig::default() },
        configs,
        context,
        source.clone(),
    );
    (adapter, ends, source)
}

impl Rig {
    async fn start(silence_ms: u64, points: &[(&str, ValueType)]) -> Self {
        let points: Vec<_> = points.iter().map(|(p, t)| (*p, *t, Access::Read)).collect();
        let (adapter, ends, source) = build(silence_ms, &points);
        let (adapter, drain) = (adapter.unwrap(), Drain::new());
        let stop = drain.clone();
        let run = tokio::spawn(async move { adapter.run(stop).await.map_err(|e| e.to_string()) });
        while source.0.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        Self { ends, source, drain, run }
    }

    fn send(&self, topic: &str, payload: impl Into<Bytes>) {
        self.give(topic, payload, false);
    }

    fn give(&self, topic: &str, payload: impl Into<Bytes>, retained: bool) {
        let message = Message { topic: topic.to_owned(), payload: payload.into(), retained };
        self.source.0.lock().unwrap().as_ref().unwrap().1.try_send(message).unwrap();
    }

    async fn stop(self) {
        self.drain.start();
        assert_eq!(self.run.await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn one_message_with_timed_values_gives_a_sample_each_in_their_order() {
    let point = r#"topic = "v"
items = ""
pointer = "/v"
timestamp = "/t""#;
    let mut rig = Rig::start(0, &[(point, ValueType::F64)]).await;
    rig.send("v", r#"[{"t":1790000000200,"v":2},{"t":1790000000100,"v":1},{"t":1790000000300}]"#);
    let batch = rig.ends.samples.recv().await.unwrap();
    let told: Vec<_> = batch.iter().map(|s| (s.source_us, s.value.clone(), s.quality)).collect();
    assert_eq!(
        told,
        [
            (1_790_000_000_100_000, Some(Value::I64(1)), Quality::GOOD),
            (1_790_000_000_200_000, Some(Value::I64(2)), Quality::GOOD),
            (1_790_000_000_300_000, None, Quality::BAD_DECODE),
        ]
    );
    rig.stop().await;
}

#[tokio::test]
async fn messages_become_samples_of_every_point_that_their_topic_feeds() {
    let mut rig = Rig::start(
        0,
        &[
            ("topic = \"line/oven\"\npointer = \"/t\"", ValueType::F64),
            ("topic = \"line/oven\"\npointer = \"/on\"\nmissing = \"ignore\"", ValueType::Bool),
            ("topic = \"line/+\"", ValueType::Text),
            ("topic = \"raw/#\"", ValueType::Bytes),
        ],
    )
    .await;
    let mut filters = rig.source.0.lock().unwrap().as_ref().unwrap().0.clone();
    filters.sort();
    assert_eq!(filters, ["line/+", "line/oven", "raw/#"]);
    rig.send("line/oven", r#"{"t": 81.5, "on": true}"#);
    rig.send("line/oven", r#"{"t": 82}"#);
    rig.send("raw/a/b", vec![0, 255]);
    rig.ends.value(0, 81.5).await;
    rig.ends.value(1, true).await;
    rig.ends.value(2, r#"{"t": 81.5, "on": true}"#).await;
    rig.ends.value(0, 82i64).await;
    rig.ends.value(2, r#"{"t": 82}"#).await;
    rig.ends.value(3, Value::Bytes([0, 255].as_slice().into())).await;
    assert_eq!(rig.ends.event().await, "device.online");
    rig.stop().await;
}

#[tokio::test]
async fn what_the_broker_kept_is_not_taken_for_new() {
    let mut rig = Rig::start(0, &[("topic = \"a\"", ValueType::F64)]).await;
    rig.give("a", "1", true);
    assert_eq!(rig.ends.next().await.quality, Quality::UNCERTAIN_LAST_USABLE);
    rig.send("a", "1");
    assert_eq!(rig.ends.next().await.quality, Quality::GOOD);
    rig.stop().await;
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_a_bad_sample_and_a_fault_of_the_device() {
    let mut rig = Rig::start(0, &[("topic = \"a\"\npointer = \"/v\"", ValueType::F64)]).await;
    rig.send("a", "{");
    let bad = rig.ends.next().await;
    assert_eq!((bad.quality, bad.value), (Quality::BAD_DECODE, None));
    rig.send("a", r#"{"v": 1}"#);
    rig.ends.value(0, 1i64).await;
    let health = rig.ends.health.list().remove(0);
    assert_eq!((health.connected, health.good, health.bad), (true, 1, 1));
    let error = health.last_error.unwrap();
    assert!(error.contains("plc/p0") && error.contains("`a`"), "{error}");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_is_offline_until_it_speaks() {
    let mut rig = Rig::start(5000, &[("topic = \"a\"", ValueType::F64)]).await;
    rig.send("a", "1");
    assert_eq!(rig.ends.event().await, "device.online");
    let began = Instant::now();
    assert_eq!(rig.ends.event().await, "device.offline");
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(!rig.ends.health.list()[0].connected);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(rig.ends.events.try_recv().is_err(), "told once");
    rig.send("a", "2");
    assert_eq!(rig.ends.event().await, "device.online");
    rig.stop().await;
}

/// The broker has acknowledged them: nobody says them again.
#[tokio::test]
async fn what_came_before_the_run_and_before_its_end_is_passed_on() {
    let (adapter, mut ends, source) = build(0, &[("topic = \"a\"", ValueType::I64, Access::Read)]);
    let (adapter, drain) = (adapter.unwrap(), Drain::new());
    let give = |value: i64| {
        let message = Message { topic: "a".into(), payload: value.to_string().into(), retained: false };
        source.0.lock().unwrap().as_ref().unwrap().1.try_send(message).unwrap();
    };
    adapter.listen();
    (0..1000).for_each(give);
    drain.start();
    adapter.run(drain).await.unwrap();
    let mut values = Vec::new();
    while let Ok(batch) = ends.samples.try_recv() {
        values.extend(batch.into_iter().filter_map(|s| s.value));
    }
    assert_eq!(values, (0..1000).map(Value::I64).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_end_of_the_source_is_a_fault_of_the_part() {
    let rig = Rig::start(0, &[("topic = \"a\"", ValueType::F64)]).await;
    rig.source.0.lock().unwrap().take();
    assert!(rig.run.await.unwrap().unwrap_err().contains("no more messages"));
}

#[tokio::test]
async fn a_writable_point_is_refused() {
    let (adapter, ..) = build(0, &[("topic = \"a\"", ValueType::F64, Access::ReadWrite)]);
    let error = adapter.err().unwrap();
    assert_eq!(error, Error::NotWritable { point: "plc/p0".to_owned() });
}

#[tokio::test]
async fn five_thousand_messages_a_second_are_no_load() {
    const POINTS: usize = 500;
    const COUNT: usize = 20_000;
    let texts: Vec<_> = (0..POINTS).map(|n| format!("topic = \"s/{n}\"\npointer = \"/v\"")).collect();
    let points: Vec<_> = texts.iter().map(|t| (t.as_str(), ValueType::F64)).collect();
    let mut rig = Rig::start(0, &points).await;
    let began = Instant::now();
    for n in 0..COUNT {
        rig.send(&format!("s/{}", n % POINTS), format!("{{\"v\":{n}.5}}"));
    }
    for n in 0..COUNT {
        assert_eq!(rig.ends.next().await.value, Some(Value::F64(n as f64 + 0.5)));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{COUNT} messages took {took:?}");
    assert!(rig.ends.drops.list().iter().all(|(_, n)| *n == 0));
    rig.stop().await;
}

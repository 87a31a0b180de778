//! The Sparkplug driver with a source of messages in place of the broker: births, data, gaps, deaths, what it asks for
//! and what it writes.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::names::Code;
use ::common::{Access, Drain, PointId, Quality, Value, ValueType};
use bytes::Bytes;
use common::{Ends, LIMIT, context, registry};
use gateway_adapters::sparkplug::{self, Adapter, DeviceConfig, Nodes, PointConfig};
use gateway_core::{
    Adapter as _, DeviceWriter, Message, Messages, Permit, Publish, RawRange, Reading, WriteError,
};
use gateway_sparkplug::{DataType, Edge, Metric, Payload, Raw};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Both ways: what the driver reads, and what it publishes.
#[derive(Default)]
struct Broker {
    to: Mutex<Option<mpsc::Sender<Message>>>,
    published: Mutex<Vec<(String, Bytes, bool)>>,
    /// What was published for those who are there now.
    commands: Mutex<Vec<(String, Payload)>>,
    /// Nobody is there.
    deaf: AtomicBool,
}

impl Messages for Broker {
    fn subscribe(&self, filters: Vec<String>) -> mpsc::Receiver<Message> {
        assert_eq!(filters, ["spBv1.0/g/+/n/+", "spBv1.0/g/+/n"]);
        let (to, from) = mpsc::channel(1000);
        *self.to.lock().unwrap() = Some(to);
        from
    }
}

impl Publish for Broker {
    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        self.published.lock().unwrap().push((topic.to_owned(), payload, retain));
        true
    }

    fn publish_now(&self, topic: &str, payload: Bytes, within: Duration) -> bool {
        assert!(!within.is_zero());
        if self.deaf.load(Ordering::Relaxed) {
            return false;
        }
        self.commands.lock().unwrap().push((topic.to_owned(), Payload::decode(&payload).unwrap()));
        true
    }
}

struct Rig {
    ends: Ends,
    broker: Arc<Broker>,
    writer: Arc<dyn DeviceWriter>,
    drain: Drain,
    run: JoinHandle<()>,
}

/// Point 0 is metric `t`, which may be written, point 1 metric `p1`, of device `d`.
fn adapter(broker: &Arc<Broker>) -> (Adapter, Ends) {
    let range = RawRange { value_type: ValueType::F64, min: f64::MIN, max: f64::MAX };
    let row = |access| (ValueType::F64, range, access);
    let (context, ends) = context(registry(&[row(Access::ReadWrite), row(Access::Read)]));
    let config = "group = \"g\"\nnode = \"n\"\ndevice = \"d\"\nhost = \"h\"\nanswer_ms = 3000";
    let points = vec![
        (PointId(0), PointConfig { metric: Some("t".into()) }, Access::ReadWrite),
        (PointId(1), PointConfig::default(), Access::Read),
    ];
    let both = sparkplug::Ends { source: broker.clone(), publish: broker.clone(), nodes: Nodes::default() };
    let config = toml::from_str::<DeviceConfig>(config).unwrap();
    (Adapter::new(0, config, points, context, both).unwrap(), ends)
}

impl Rig {
    async fn start() -> Self {
        let broker = Arc::new(Broker::default());
        let (adapter, ends) = adapter(&broker);
        let writer = adapter.writer().unwrap();
        let drain = Drain::new();
        let stop = drain.clone();
        let run = tokio::spawn(async move { adapter.run(stop).await.unwrap() });
        let rig = Self { ends, broker, writer, drain, run };
        rig.requests(1).await;
        rig
    }

    /// Begins a write with a deadline.
    fn write(&self, value: f64, within: Duration) -> Written {
        let writer = self.writer.clone();
        let deadline = Instant::now() + within;
        tokio::spawn(async move { writer.write(PointId(0), Value::F64(value), deadline, allowed()).await })
    }

    /// Waits for so many commands in all; the last.
    async fn command(&self, count: usize) -> (String, Payload) {
        let wait = async {
            loop {
                let commands = self.broker.commands.lock().unwrap().clone();
                if commands.len() >= count {
                    assert_eq!(commands.len(), count);
                    return commands.last().unwrap().clone();
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, wait).await.expect("a command")
    }

    fn send(&self, topic: &str, payload: &Payload) {
        self.give(topic, payload.encode(), false);
    }

    fn give(&self, topic: &str, payload: Vec<u8>, retained: bool) {
        let message = Message { topic: format!("spBv1.0/g/{topic}"), payload: payload.into(), retained };
        self.broker.to.lock().unwrap().as_ref().unwrap().try_send(message).unwrap();
    }

    /// Waits for so many requests for births in all.
    async fn requests(&self, count: usize) {
        let wait = async {
            loop {
                let published = self.broker.published.lock().unwrap().clone();
                let requests: Vec<_> = published.iter().filter(|p| p.0 == "spBv1.0/g/NCMD/n").collect();
                assert!(published.iter().all(|p| p.0 == "spBv1.0/g/NCMD/n" || p.0 == "spBv1.0/STATE/h"));
                if requests.len() >= count {
                    let payload = Payload::decode(&requests[0].1).unwrap();
                    assert_eq!(Edge::commands(payload), [gateway_sparkplug::Command::Rebirth]);
                    assert!(!requests[0].2);
                    return assert_eq!(requests.len(), count);
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, wait).await.expect("a request for births");
    }

    fn born(&mut self) -> Edge {
        let mut edge = Edge::new(7);
        let metrics = vec![metric("t", 20, 1.0), metric("p1", 21, 2.0)];
        self.send("NBIRTH/n", &edge.birth(1, vec![]));
        self.send("DBIRTH/n/d", &edge.message(1, metrics));
        edge
    }

    async fn bad(&mut self, point: u32, quality: Quality) {
        let what = format!("point {point} {quality}");
        self.ends.until(&what, |s| s.point.0 == point && s.quality == quality && s.value.is_none()).await;
    }
}

type Written = JoinHandle<Result<Reading, WriteError>>;

const LONG: Duration = Duration::from_secs(10);

fn allowed() -> Permit {
    Arc::new(|| Ok(()))
}

fn read_back(value: f64) -> Result<Reading, WriteError> {
    Ok(Reading { raw: Some(Value::F64(value)) })
}

fn metric(name: &str, alias: u64, value: f64) -> Metric {
    Metric {
        alias: Some(alias),
        timestamp_ms: Some(1_790_000_000_000),
        ..Metric::new(name, &Value::F64(value))
    }
}

fn by_alias(alias: u64, value: f64) -> Metric {
    Metric { name: None, datatype: None, ..metric("", alias, value) }
}

#[tokio::test(start_paused = true)]
async fn births_give_values_data_is_read_by_alias_and_a_death_ends_them_all() {
    let mut rig = Rig::start().await;
    let mut edge = rig.born();
    let sample = rig.ends.value(0, 1.0).await;
    assert_eq!((sample.quality, sample.source_us), (Quality::GOOD, 1_790_000_000_000_000));
    rig.ends.value(1, 2.0).await;
    rig.send("DDATA/n/d", &edge.message(2, vec![by_alias(20, 3.0)]));
    rig.ends.value(0, 3.0).await;
    let told = rig.ends.health.list().remove(0);
    assert_eq!((told.connected, told.good, told.bad), (true, 2, 0), "a birth and a message of data");
    // An old word that the broker kept changes nothing.
    rig.give("DDATA/n/d", edge.clone().message(2, vec![by_alias(20, 9.0)]).encode(), true);
    rig.send("NDEATH/n", &edge.death(3));
    rig.bad(0, Quality::BAD_NOT_CONNECTED).await;
    rig.bad(1, Quality::BAD_NOT_CONNECTED).await;
    assert!(!rig.ends.health.list()[0].connected);
    rig.drain.start();
    rig.run.await.unwrap();
    let published = rig.broker.published.lock().unwrap();
    let states: Vec<_> = published.iter().filter(|p| p.0 == "spBv1.0/STATE/h").collect();
    assert!(states.len() == 2 && states.iter().all(|s| s.2));
    assert!(states[0].1.starts_with(b"{\"online\":true") && states[1].1.starts_with(b"{\"online\":false"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_message_makes_all_stale_and_asks_once_for_births() {
    let mut rig = Rig::start().await;
    let mut edge = rig.born();
    rig.ends.value(1, 2.0).await;
    edge.message(2, vec![]);
    for _ in 0..5 {
        rig.send("DDATA/n/d", &edge.message(2, vec![by_alias(20, 3.0)]));
    }
    rig.bad(0, Quality::BAD_STALE).await;
    rig.bad(1, Quality::BAD_STALE).await;
    // Not more often than every ten seconds, which paused time runs through.
    rig.requests(2).await;
    rig.born();
    rig.ends.value(0, 1.0).await;
    rig.requests(2).await;
    // Nonsense is as bad as a gap.
    rig.give("DDATA/n/d", vec![0xff; 9], false);
    rig.bad(0, Quality::BAD_STALE).await;
    rig.requests(3).await;
}

#[tokio::test(start_paused = true)]
async fn history_does_not_stay_as_the_current_value() {
    let mut rig = Rig::start().await;
    let mut edge = rig.born();
    rig.ends.value(1, 2.0).await;
    let old =
        |value| Metric { historical: true, timestamp_ms: Some(1_780_000_000_000), ..by_alias(20, value) };
    rig.send("DDATA/n/d", &edge.message(2, vec![old(7.0), old(8.0)]));
    assert_eq!(rig.ends.value(0, 8.0).await.source_us, 1_780_000_000_000_000);
    assert_eq!(rig.ends.next().await.value, Some(Value::F64(1.0)), "the live one comes again");
}

#[tokio::test(start_paused = true)]
async fn what_the_birth_lacks_and_what_has_no_value_is_told() {
    let mut rig = Rig::start().await;
    let mut edge = Edge::new(7);
    let null = Metric { null: true, ..metric("t", 20, 0.0) };
    rig.send("NBIRTH/n", &edge.birth(1, vec![]));
    rig.send("DBIRTH/n/d", &edge.message(1, vec![null]));
    rig.bad(0, Quality::BAD_SOURCE).await;
    rig.bad(1, Quality::BAD_CONFIG).await;
    assert!(rig.ends.health.list()[0].last_error.as_ref().unwrap().contains("no metric `p1`"));
    let stale = Metric { quality: Some(Quality::BAD_STALE), ..by_alias(20, 5.0) };
    rig.send("DDATA/n/d", &edge.message(1, vec![stale]));
    assert_eq!(rig.ends.value(0, 5.0).await.quality, Quality::BAD_STALE);
}

#[tokio::test(start_paused = true)]
async fn a_write_has_alias_and_type_of_the_birth_and_is_read_back_from_what_the_device_tells() {
    let mut rig = Rig::start().await;
    let mut edge = rig.born();
    rig.ends.value(1, 2.0).await;
    let written = rig.write(5.0, LONG);
    let (topic, payload) = rig.command(1).await;
    assert_eq!((topic.as_str(), payload.seq), ("spBv1.0/g/DCMD/n/d", None));
    let [sent] = &payload.metrics[..] else { panic!("{payload:?}") };
    assert_eq!((&sent.name, sent.alias, sent.datatype), (&None, Some(20), Some(DataType::Double.code())));
    assert_eq!(sent.value, Some(Raw::Float(5.0)));
    // What was on its way before is no answer, and neither is history.
    rig.send("DDATA/n/d", &edge.message(2, vec![by_alias(20, 1.0)]));
    rig.send("DDATA/n/d", &edge.message(2, vec![Metric { historical: true, ..by_alias(20, 5.0) }]));
    rig.ends.value(0, 5.0).await;
    assert!(!written.is_finished());
    rig.send("DDATA/n/d", &edge.message(3, vec![by_alias(20, 5.0)]));
    assert_eq!(written.await.unwrap(), read_back(5.0));

    // A metric without an alias goes by its name, in the type of the newest birth; what does not fit it is not sent.
    let int = Metric { alias: None, ..Metric::of(DataType::Int8, Some(&Value::I64(-1))) };
    let int = Metric { name: Some("t".to_owned()), ..int };
    rig.send("DBIRTH/n/d", &edge.message(4, vec![int.clone(), metric("p1", 21, 2.0)]));
    rig.ends.until("born again", |s| s.point.0 == 0 && s.value == Some(Value::I64(-1))).await;
    for misfit in [200.0, 0.5] {
        let refused = rig.write(misfit, LONG).await.unwrap();
        assert!(
            matches!(&refused, Err(WriteError::NotSent { code: Code::OutOfRawLimits, .. })),
            "{refused:?}"
        );
    }
    let written = rig.write(-128.0, LONG);
    let (_, payload) = rig.command(2).await;
    let sent = &payload.metrics[0];
    assert_eq!((sent.name.as_deref(), sent.alias, sent.datatype), (Some("t"), None, Some(1)));
    assert_eq!(sent.read(None), Ok(Some(Value::I64(-128))));
    let answer = Metric { value: Some(Raw::Integer(0x80)), ..int };
    rig.send("DDATA/n/d", &edge.message(5, vec![answer]));
    assert_eq!(written.await.unwrap(), Ok(Reading { raw: Some(Value::I64(-128)) }));
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_in_time_the_outcome_is_not_known_and_another_value_is_told() {
    let mut rig = Rig::start().await;
    let mut edge = rig.born();
    rig.ends.value(1, 2.0).await;
    let unsure = |result: &Result<Reading, WriteError>| matches!(result, Err(WriteError::Unsure { .. }));
    // The device's time, and the deadline where that is nearer.
    for (within, expected_ms) in [(LONG, 3000), (Duration::from_millis(500), 500)] {
        let began = Instant::now();
        let result = rig.write(5.0, within).await.unwrap();
        assert!(unsure(&result), "{result:?}");
        let took_ms = began.elapsed().as_millis();
        assert!((expected_ms..expected_ms + 100).contains(&took_ms), "{took_ms}");
    }
    // It made something else of it.
    let written = rig.write(500.0, LONG);
    rig.command(3).await;
    rig.send("DDATA/n/d", &edge.message(2, vec![by_alias(20, 250.0)]));
    assert_eq!(written.await.unwrap(), read_back(250.0));
    // It dies: no need to wait.
    let began = Instant::now();
    let written = rig.write(7.0, LONG);
    rig.command(4).await;
    rig.send("DDEATH/n/d", &edge.message(3, vec![]));
    let result = written.await.unwrap();
    assert!(unsure(&result) && began.elapsed() < Duration::from_secs(1), "{result:?}");
    rig.bad(0, Quality::BAD_NOT_CONNECTED).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_the_dead_the_absent_and_without_permit_or_time() {
    let mut rig = Rig::start().await;
    let code = |result: Result<Reading, WriteError>| match result {
        Err(WriteError::NotSent { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::NotConnected, "no birth yet");
    let mut edge = rig.born();
    rig.ends.value(1, 2.0).await;
    let no: Permit = Arc::new(|| Err((Code::LocalMode, "no".to_owned())));
    let refused = rig.writer.write(PointId(0), Value::F64(1.5), Instant::now() + LONG, no).await;
    assert_eq!(code(refused), Code::LocalMode);
    let late = rig.writer.write(PointId(0), Value::F64(1.5), Instant::now(), allowed()).await;
    assert_eq!(code(late), Code::Expired);
    let read_only = rig.writer.write(PointId(1), Value::F64(1.5), Instant::now() + LONG, allowed()).await;
    assert_eq!(code(read_only), Code::NotWritable);
    // A birth without the metric, and one without its type.
    rig.send("DBIRTH/n/d", &edge.message(2, vec![metric("p1", 21, 2.0)]));
    rig.bad(0, Quality::BAD_CONFIG).await;
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::UnknownPoint);
    let untyped = Metric { datatype: None, ..metric("t", 20, 1.0) };
    rig.send("DBIRTH/n/d", &edge.message(2, vec![untyped, metric("p1", 21, 2.0)]));
    rig.ends.value(1, 2.0).await;
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::NotWritable);
    rig.send("DBIRTH/n/d", &edge.message(2, vec![metric("t", 20, 1.0), metric("p1", 21, 2.0)]));
    rig.ends.value(0, 1.0).await;
    rig.broker.deaf.store(true, Ordering::Relaxed);
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::NotConnected, "nobody takes it");
    rig.broker.deaf.store(false, Ordering::Relaxed);
    rig.send("DDEATH/n/d", &edge.message(3, vec![]));
    rig.bad(0, Quality::BAD_NOT_CONNECTED).await;
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::NotConnected, "the device is dead");
    rig.send("NDEATH/n", &edge.death(3));
    assert_eq!(code(rig.write(1.5, LONG).await.unwrap()), Code::NotConnected, "the node is dead");
    assert!(rig.broker.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_never_sent() {
    let broker = Arc::new(Broker::default());
    let (adapter, mut ends) = adapter(&broker);
    let writer = adapter.writer().unwrap();
    // The driver stands: between two starts, say.
    let deadline = Instant::now() + Duration::from_secs(2);
    let result = writer.write(PointId(0), Value::F64(5.0), deadline, allowed()).await;
    assert!(matches!(&result, Err(WriteError::NotSent { code: Code::Expired, .. })), "{result:?}");
    let dropped = writer.write(PointId(0), Value::F64(6.0), Instant::now() + LONG, allowed());
    assert!(timeout(Duration::from_secs(1), dropped).await.is_err());
    let (drain, stop) = {
        let d = Drain::new();
        (d.clone(), d)
    };
    let run = tokio::spawn(async move { adapter.run(stop).await.unwrap() });
    let mut edge = Edge::new(7);
    let give = |topic: &str, payload: Payload| {
        let message = Message {
            topic: format!("spBv1.0/g/{topic}"),
            payload: payload.encode().into(),
            retained: false,
        };
        broker.to.lock().unwrap().as_ref().unwrap().try_send(message).unwrap();
    };
    timeout(LIMIT, async {
        while broker.to.lock().unwrap().is_none() {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
    give("NBIRTH/n", edge.birth(1, vec![]));
    give("DBIRTH/n/d", edge.message(1, vec![metric("t", 20, 1.0), metric("p1", 21, 2.0)]));
    ends.value(1, 2.0).await;
    sleep(Duration::from_secs(1)).await;
    assert!(broker.commands.lock().unwrap().is_empty());
    drain.start();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_asks_for_births_and_takes_what_they_say() {
    let mut rig = Rig::start().await;
    rig.born();
    rig.ends.value(1, 2.0).await;
    let writer = rig.writer.clone();
    let read = tokio::spawn(async move { writer.read(PointId(0)).await });
    rig.requests(2).await;
    let mut edge = Edge::new(7);
    rig.send("NBIRTH/n", &edge.birth(1, vec![]));
    rig.send("DBIRTH/n/d", &edge.message(1, vec![metric("t", 20, 9.0), metric("p1", 21, 2.0)]));
    assert_eq!(read.await.unwrap(), read_back(9.0));
    let silent = rig.writer.read(PointId(0)).await;
    assert!(matches!(&silent, Err(WriteError::Unsure { .. })), "{silent:?}");
}

//! The Sparkplug driver with a source of messages in place of the broker: births, data, gaps, deaths, and what it
//! asks for.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::{Access, Drain, PointId, Quality, Value, ValueType};
use bytes::Bytes;
use common::{Ends, LIMIT, context, registry};
use gateway_adapters::sparkplug::{self, Adapter, DeviceConfig, Nodes, PointConfig};
use gateway_core::{Adapter as _, Message, Messages, Publish, RawRange};
use gateway_sparkplug::{Edge, Metric, Payload};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Both ways: what the driver reads, and what it publishes.
#[derive(Default)]
struct Broker {
    to: Mutex<Option<mpsc::Sender<Message>>>,
    published: Mutex<Vec<(String, Bytes, bool)>>,
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
}

struct Rig {
    ends: Ends,
    broker: Arc<Broker>,
    drain: Drain,
    run: JoinHandle<()>,
}

impl Rig {
    /// Point 0 is metric `t`, point 1 metric `p1`, of device `d`.
    async fn start() -> Self {
        let range = RawRange { value_type: ValueType::F64, min: f64::MIN, max: f64::MAX };
        let row = (ValueType::F64, range, Access::Read);
        let (context, ends) = context(registry(&[row, row]));
        let config =
            toml::from_str::<DeviceConfig>("group = \"g\"\nnode = \"n\"\ndevice = \"d\"\nhost = \"h\"");
        let points = vec![
            (PointId(0), PointConfig { metric: Some("t".into()) }, Access::Read),
            (PointId(1), PointConfig::default(), Access::Read),
        ];
        let broker = Arc::new(Broker::default());
        let both =
            sparkplug::Ends { source: broker.clone(), publish: broker.clone(), nodes: Nodes::default() };
        let adapter = Adapter::new(0, config.unwrap(), points, context, both).unwrap();
        let drain = Drain::new();
        let stop = drain.clone();
        let run = tokio::spawn(async move { adapter.run(stop).await.unwrap() });
        let rig = Self { ends, broker, drain, run };
        rig.requests(1).await;
        rig
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

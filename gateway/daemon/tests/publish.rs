//! Points for programs of others: a PLC, a gateway, and Mosquitto as the broker of somebody else, with JSON under topics
//! of a template and a Sparkplug host that comes, goes, asks for births and writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::net::SocketAddr;

use common::Value;
use gateway_sparkplug::{Host, HostState, Kind, Metric, Payload, Step, Topic, rebirth_request};
use reqwest::Method;
use rig::mqtt::{Client, Mosquitto};
use rig::{Plc, Rig, until};
use rumqttc::QoS;
use serde_json::json;

/// A Sparkplug host.
struct Scada {
    mqtt: Client,
    host: Host,
    at_ms: u64,
}

#[derive(Debug)]
struct Heard {
    kind: Kind,
    payload: Payload,
    steps: Vec<Step>,
}

impl Scada {
    async fn connect(broker: SocketAddr) -> Self {
        let mqtt = Client::connect(broker, "scada", &["spBv1.0/plant/#"]).await;
        Self { mqtt, host: Host::new(), at_ms: 1_790_000_000_000 }
    }

    async fn state(&mut self, online: bool) {
        self.at_ms += 1;
        let state = HostState { online, timestamp_ms: self.at_ms }.to_json();
        self.mqtt.client.publish("spBv1.0/STATE/scada", QoS::AtLeastOnce, true, state).await.unwrap();
    }

    async fn say(&self, topic: &str, payload: &Payload, retain: bool) {
        self.mqtt.client.publish(topic, QoS::AtLeastOnce, retain, payload.encode()).await.unwrap();
    }

    /// The node's next message. Nothing of it may need a new birth.
    async fn next(&mut self) -> Heard {
        loop {
            let (topic, payload) = self.mqtt.next().await;
            let topic = Topic::parse(&topic).unwrap();
            if matches!(topic.kind, Kind::NCmd | Kind::DCmd) {
                continue;
            }
            assert_eq!(topic.node, "g1");
            let payload = Payload::decode(&payload).unwrap();
            let steps = self.host.receive(topic.kind, topic.device, &payload);
            assert!(!steps.iter().any(|s| matches!(s, Step::Rebirth(_))), "{steps:?}");
            return Heard { kind: topic.kind, payload, steps };
        }
    }

    async fn until(&mut self, kind: Kind) -> Heard {
        loop {
            let heard = self.next().await;
            if heard.kind == kind {
                return heard;
            }
        }
    }

    /// Waits for a value of a metric of the device; whether it came as history.
    async fn value(&mut self, name: &str, wanted: f64) -> bool {
        loop {
            for step in self.next().await.steps {
                if let Step::Value { metric, value: Ok(Some(value)), historical, .. } = step
                    && &*metric == name
                    && value.as_f64() == Some(wanted)
                {
                    return historical;
                }
            }
        }
    }
}

fn bd_seq(heard: &Heard) -> Value {
    heard.payload.metric("bdSeq").unwrap().read(None).unwrap().unwrap()
}

fn more(broker: SocketAddr) -> String {
    format!(
        r#"
[[publish]]
name = "uns"
url = "mqtt://{broker}"
topic = "uns/{{site}}/{{area}}/{{line}}/{{cell}}/{{device}}/{{point}}"
[[publish]]
name = "devices"
topic = "own/{{device}}"
per = "device"
qos = 0
[[publish]]
name = "scada"
url = "mqtt://{broker}"
format = "sparkplug"
group = "plant"
primary_host = "scada"
commands = true
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparkplug_host_is_served_and_what_it_misses_comes_as_history() {
    let (broker, plc) = (Mosquitto::start().await, Plc::start());
    plc.set(0, 200);
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &more(broker.addr)).await;
    until("a first value", || async { (rig.point("temperature").await.0 == Some(20.0)).then_some(()) }).await;
    let mut scada = Scada::connect(broker.addr).await;
    scada.state(true).await;
    let birth = scada.next().await;
    assert_eq!((birth.kind, birth.payload.seq), (Kind::NBirth, Some(0)));
    let first = bd_seq(&birth);
    assert_eq!(scada.next().await.kind, Kind::DBirth);

    // An offline of an older session, late, is not believed: the births asked for below are of the same session.
    let old = HostState { online: false, timestamp_ms: scada.at_ms - 1 }.to_json();
    scada.mqtt.client.publish("spBv1.0/STATE/scada", QoS::AtLeastOnce, false, old).await.unwrap();
    plc.set(0, 215);
    assert!(!scada.value("temperature", 21.5).await, "live data is no history");
    scada.say("spBv1.0/plant/NCMD/g1", &rebirth_request(1), false).await;
    let again = scada.until(Kind::NBirth).await;
    assert_eq!((again.payload.seq, bd_seq(&again)), (Some(0), first.clone()));

    scada.state(false).await;
    let death = scada.until(Kind::NDeath).await;
    assert_eq!(bd_seq(&death), first);
    plc.set(0, 320);
    until("the missed value", || async { (rig.point("temperature").await.0 == Some(32.0)).then_some(()) })
        .await;
    plc.set(0, 250);
    until("a later value", || async { (rig.point("temperature").await.0 == Some(25.0)).then_some(()) }).await;
    scada.state(true).await;
    let birth = scada.until(Kind::NBirth).await;
    assert_ne!(bd_seq(&birth), first);
    let now = scada.until(Kind::DBirth).await;
    let current = now.payload.metric("temperature").unwrap().read(None).unwrap();
    assert_eq!(current, Some(Value::F64(25.0)), "current first");
    assert!(scada.value("temperature", 32.0).await, "what was missed is history");

    // Over a restart of the gateway as well.
    let dir = rig.stop().await;
    scada.until(Kind::NDeath).await;
    let rig = Rig::start_with(dir, &plc, &more(broker.addr)).await;
    scada.until(Kind::DBirth).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_writes_obey_the_command_path() {
    let (broker, plc) = (Mosquitto::start().await, Plc::start());
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &more(broker.addr)).await;
    let mut scada = Scada::connect(broker.addr).await;
    scada.state(true).await;
    scada.until(Kind::DBirth).await;
    let write = |value: i64| Payload {
        timestamp_ms: Some(u64::try_from(value).unwrap()),
        seq: None,
        metrics: vec![Metric::new("free", &Value::I64(value))],
    };
    let state = async |value: f64| {
        let commands = rig.get("/api/v1/commands").await;
        let all = commands["items"].as_array().unwrap().clone();
        all.into_iter().find(|c| c["value"].as_f64() == Some(value)).map(|c| c["state"].clone())
    };
    // The switch stands on local.
    scada.say("spBv1.0/plant/DCMD/g1/plc", &write(41), false).await;
    until("refused", || async { (state(41.0).await? == "rejected").then_some(()) }).await;
    let body = json!({ "position": "remote", "reason": "test" });
    let set = rig.local(Method::PUT, "/api/v1/switch").json(&body).send().await.unwrap();
    assert!(set.status().is_success());
    scada.say("spBv1.0/plant/DCMD/g1/plc", &write(42), false).await;
    until("written", || async { (plc.get(3) == 42).then_some(()) }).await;
    until("told", || async { (state(42.0).await? == "succeeded").then_some(()) }).await;
    // Beyond the limits.
    scada.say("spBv1.0/plant/DCMD/g1/plc", &write(1000), false).await;
    until("refused", || async { (state(1000.0).await? == "rejected").then_some(()) }).await;
    assert_eq!(plc.get(3), 42);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_point_are_listed_with_what_is_in_them() {
    let plc = Plc::start();
    let sensors = r#"
[[publish]]
name = "devices"
topic = "own/{device}"
per = "device"
[[device]]
name = "sensors"
asset = "plant/coating/line1/sensors"
[device.mqtt]
topic = "s/{point}"
[[device.point]]
name = "known"
type = "f64"
"#;
    let sensors = sensors.to_owned() + "mqtt = {}\n";
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &sensors).await;
    let client = Client::connect(rig.handle.broker_addr().unwrap(), "c", &["own/#"]).await.client;
    for (topic, payload) in [("s/known", "1"), ("s/other", "21.5"), ("j", r#"{"a":{"b":true}}"#)] {
        client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }
    let items = until("both are listed", || async {
        let items = rig.get("/api/v1/mqtt/unknown").await["items"].as_array().unwrap().clone();
        (items.len() >= 2).then_some(items)
    })
    .await;
    let told: Vec<_> = items.iter().map(|u| (&u["topic"], &u["format"], &u["values"][0]["place"])).collect();
    assert_eq!(
        told,
        [(&json!("j"), &json!("json"), &json!("/a/b")), (&json!("s/other"), &json!("plain"), &json!(""))]
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_goes_under_topics_of_the_template() {
    let (broker, plc) = (Mosquitto::start().await, Plc::start());
    let mut uns = Client::connect(broker.addr, "uns", &["uns/#"]).await;
    plc.set(0, 215);
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &more(broker.addr)).await;
    let mut own = Client::connect(rig.handle.broker_addr().unwrap(), "own", &["own/#"]).await;
    loop {
        let (topic, payload) = uns.next().await;
        if topic == "uns/plant/coating/line1/plc/temperature" {
            let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!((&json["value"], &json["quality"]), (&json!(21.5), &json!("good")));
            assert_eq!(json["unit"], "Cel");
            assert!(json["source_us"].as_i64().unwrap() > 0);
            break;
        }
    }
    loop {
        let (topic, payload) = own.next().await;
        assert_eq!(topic, "own/plc");
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        if json["values"]["temperature"]["value"] == json!(21.5) {
            assert_eq!(json["device"], "plc");
            break;
        }
    }
    rig.stop().await;
}

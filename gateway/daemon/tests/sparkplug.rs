//! A Sparkplug B edge node on the gateway's own broker, over a real connection: commands to its devices through limits
//! and switch, what they answer and do not answer, and every way to die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use common::CommandState;
use common::api::CommandView;
use common::names::Code;
use gateway_sparkplug::{Command, DataType, Edge, Metric, Payload, Raw};
use reqwest::Method;
use rig::{Plc, Rig, until};
use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Packet, QoS};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const FORCE: u64 = 5;
const SETPOINT: u64 = 6;
const LEVEL: u64 = 7;

const DEVICES: &str = r#"
[[device]]
name = "press"
asset = "plant/forming/line2/press"
[device.sparkplug]
group = "plant"
node = "line2"
device = "press"
answer_ms = 400
[[device.point]]
name = "force"
type = "f64"
sparkplug = { metric = "Process/Force" }
[[device.point]]
name = "setpoint"
type = "f64"
access = "read_write"
write_min = 0
write_max = 250
sparkplug = { metric = "Process/Setpoint" }
[[device]]
name = "tank"
asset = "plant/forming/line2/tank"
[device.sparkplug]
group = "plant"
node = "line2"
device = "tank"
[[device.point]]
name = "level"
type = "i64"
sparkplug = {}
"#;

/// An edge node with the devices `press` and `tank`.
struct Node {
    client: AsyncClient,
    edge: Edge,
    commands: mpsc::Receiver<(String, Payload)>,
    /// Its connection: aborted, it breaks.
    task: JoinHandle<()>,
}

impl Node {
    async fn connect(broker: SocketAddr, bd_seq: u8) -> Self {
        let edge = Edge::new(bd_seq);
        let mut options = MqttOptions::new("line2", broker.ip().to_string(), broker.port());
        let will =
            LastWill::new("spBv1.0/plant/NDEATH/line2", edge.death(1).encode(), QoS::AtLeastOnce, false);
        options.set_last_will(will).set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 100);
        for filter in ["spBv1.0/plant/NCMD/line2", "spBv1.0/plant/DCMD/line2/+"] {
            client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        }
        let (to, commands) = mpsc::channel(100);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut ready, mut taken) = (Some(ready), 0);
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        taken += 1;
                        if taken == 2 {
                            let _ = ready.take().unwrap().send(());
                        }
                    }
                    Event::Incoming(Packet::Publish(p)) => {
                        to.send((p.topic, Payload::decode(&p.payload).unwrap())).await.unwrap();
                    }
                    _ => {}
                }
            }
        });
        timeout(LIMIT, is_ready).await.unwrap().unwrap();
        Self { client, edge, commands, task }
    }

    async fn say(&self, topic: &str, payload: &Payload) {
        let topic = format!("spBv1.0/plant/{topic}");
        self.client.publish(topic, QoS::AtMostOnce, false, payload.encode()).await.unwrap();
    }

    async fn births(&mut self, setpoint: f64) {
        let birth = self.edge.birth(now_ms(), vec![]);
        self.say("NBIRTH/line2", &birth).await;
        self.press_born(setpoint).await;
        let level =
            Metric { alias: Some(LEVEL), ..Metric::of(DataType::Int32, Some(&common::Value::I64(-3))) };
        let level = Metric { name: Some("level".to_owned()), ..level };
        let birth = self.edge.message(now_ms(), vec![level]);
        self.say("DBIRTH/line2/tank", &birth).await;
    }

    async fn press_born(&mut self, setpoint: f64) {
        let named = |name: &str, alias, value| Metric { name: Some(name.to_owned()), ..float(alias, value) };
        let metrics = vec![named("Process/Force", FORCE, 1.0), named("Process/Setpoint", SETPOINT, setpoint)];
        let birth = self.edge.message(now_ms(), metrics);
        self.say("DBIRTH/line2/press", &birth).await;
    }

    async fn data(&mut self, alias: u64, value: f64) {
        let metric = Metric { datatype: None, ..float(alias, value) };
        // A float of 32 bits on the wire, as its type says.
        let metric = Metric { datatype: Some(DataType::Float.code()), ..metric };
        let data = self.edge.message(now_ms(), vec![metric]);
        self.say("DDATA/line2/press", &data).await;
    }

    async fn asked_for_births(&mut self) {
        let asked = async {
            loop {
                let (topic, payload) = self.commands.recv().await.unwrap();
                if topic.ends_with("NCMD/line2") && Edge::commands(payload) == [Command::Rebirth] {
                    break;
                }
            }
        };
        timeout(LIMIT, asked).await.expect("a request for births");
    }

    /// The next command that writes: its topic and only metric.
    async fn command(&mut self) -> (String, Metric) {
        loop {
            let (topic, payload) = timeout(LIMIT, self.commands.recv()).await.expect("a command").unwrap();
            let commands = Edge::commands(payload);
            let [command] = &commands[..] else { panic!("{commands:?}") };
            match command {
                Command::Write(metric) => return (topic, metric.clone()),
                Command::Rebirth => {}
            }
        }
    }
}

fn float(alias: u64, value: f64) -> Metric {
    Metric { alias: Some(alias), ..Metric::of(DataType::Float, Some(&common::Value::F64(value))) }
}

fn now_ms() -> u64 {
    u64::try_from(common::Clock::system().now_us() / 1000).unwrap()
}

async fn point(rig: &Rig, device: &str, name: &str) -> (Option<f64>, String) {
    let twin = rig.get(&format!("/api/v1/twins/{device}")).await;
    let points = twin["points"].as_array().unwrap();
    let point = points.iter().find(|p| p["name"] == name || p["schema"]["name"] == name).unwrap();
    (point["value"].as_f64(), point["quality"].as_str().unwrap().to_owned())
}

async fn reaches(rig: &Rig, device: &str, name: &str, quality: &str) {
    let what = format!("{device}/{name} is {quality}");
    until(&what, || async { (point(rig, device, name).await.1 == quality).then_some(()) }).await;
}

/// Sends a command and gives its key; the result comes later.
async fn order(rig: &Rig, value: f64) -> String {
    let body = json!({ "point": "setpoint", "value": value, "reason": "test" });
    let request = rig.local(Method::POST, "/api/v1/twins/press/commands");
    let answer = request.header("Idempotency-Key", format!("k{value}")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

async fn state(rig: &Rig, order: &str, wanted: CommandState) -> CommandView {
    let what = format!("the command is {wanted:?}");
    until(&what, || async {
        let view: CommandView = serde_json::from_value(rig.get(order).await).unwrap();
        (view.state == wanted).then_some(view)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_through_the_limits_and_its_result_is_what_the_device_answers() {
    let plc = Plc::start();
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, DEVICES).await;
    let early = order(&rig, 1.0).await;
    let view = state(&rig, &early, CommandState::Rejected).await;
    assert_eq!(view.code, Some(Code::NotConnected), "nothing was born: {view:?}");

    let mut node = Node::connect(rig.handle.broker_addr().unwrap(), 1).await;
    node.births(10.0).await;
    reaches(&rig, "press", "setpoint", "good").await;
    let command = order(&rig, 20.1).await;
    let (topic, sent) = node.command().await;
    assert_eq!(topic, "spBv1.0/plant/DCMD/line2/press");
    assert_eq!(
        (&sent.name, sent.alias, sent.datatype),
        (&None, Some(SETPOINT), Some(DataType::Float.code()))
    );
    assert_eq!(sent.value, Some(Raw::Float(f64::from(20.1f32))));
    // First something else, and the old value that was on its way.
    node.data(FORCE, 2.0).await;
    node.data(SETPOINT, 10.0).await;
    node.data(SETPOINT, 20.1).await;
    let view = state(&rig, &command, CommandState::Succeeded).await;
    let read = view.read_back.unwrap().as_f64().unwrap();
    assert!((read - 20.1).abs() < 1e-5, "{read}");

    // Beyond the limits nothing goes out: the next command is the one after it.
    let far = order(&rig, 251.0).await;
    let view = state(&rig, &far, CommandState::Rejected).await;
    assert_eq!(view.code, Some(Code::OutOfLimits));
    // The device makes less of it.
    let clamped = order(&rig, 240.0).await;
    let (_, sent) = node.command().await;
    assert_eq!(sent.value, Some(Raw::Float(240.0)));
    node.data(SETPOINT, 200.0).await;
    let view = state(&rig, &clamped, CommandState::Failed).await;
    assert_eq!((view.code, view.read_back), (Some(Code::ReadbackMismatch), Some(200.0.into())));

    // It does as asked and says nothing: not known, until its births tell.
    let silent = order(&rig, 30.0).await;
    node.command().await;
    let view = state(&rig, &silent, CommandState::Unknown).await;
    assert_eq!(view.code, Some(Code::DeviceTimeout));
    // Control reads what the point shows, which only new births tell: it has them asked for.
    node.asked_for_births().await;
    node.births(30.0).await;
    let view = state(&rig, &silent, CommandState::Succeeded).await;
    assert_eq!(view.read_back, Some(30.0.into()));

    // The connection breaks: what is dead is not commanded, and no command waits for it to come back.
    node.task.abort();
    reaches(&rig, "press", "setpoint", "bad_not_connected").await;
    let dead = order(&rig, 40.0).await;
    let view = state(&rig, &dead, CommandState::Rejected).await;
    assert_eq!(view.code, Some(Code::NotConnected));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_end_at_once_what_they_name_and_nothing_else() {
    let plc = Plc::start();
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, DEVICES).await;
    let broker = rig.handle.broker_addr().unwrap();
    let mut node = Node::connect(broker, 1).await;
    node.births(10.0).await;
    reaches(&rig, "press", "force", "good").await;
    reaches(&rig, "tank", "level", "good").await;
    assert_eq!(point(&rig, "tank", "level").await.0, Some(-3.0));

    // One device, with all of its points, and told with its reason.
    let death = node.edge.message(now_ms(), vec![]);
    node.say("DDEATH/line2/press", &death).await;
    reaches(&rig, "press", "force", "bad_not_connected").await;
    reaches(&rig, "press", "setpoint", "bad_not_connected").await;
    assert_eq!(point(&rig, "tank", "level").await.1, "good");
    let events = until("the event", || async {
        let events = rig.get("/api/v1/audit?limit=100").await["items"].as_array().unwrap().clone();
        events.iter().any(|e| e["action"] == "device.offline" && e["target"] == "press").then_some(events)
    })
    .await;
    let told = events.iter().find(|e| e["action"] == "device.offline").unwrap();
    assert_eq!(told["detail"], "the source said that it ends");
    node.press_born(11.0).await;
    reaches(&rig, "press", "setpoint", "good").await;

    // The connection breaks: the will is the death of the node and of both devices.
    node.task.abort();
    reaches(&rig, "press", "force", "bad_not_connected").await;
    reaches(&rig, "tank", "level", "bad_not_connected").await;

    // It comes back, and the death of the connection before comes late: that is no death.
    let mut node = Node::connect(broker, 2).await;
    node.births(12.0).await;
    reaches(&rig, "tank", "level", "good").await;
    node.say("NDEATH/line2", &Edge::new(1).death(1)).await;
    node.data(FORCE, 3.0).await;
    until("data", || async {
        (point(&rig, "press", "force").await == (Some(3.0), "good".into())).then_some(())
    })
    .await;
    assert_eq!(point(&rig, "tank", "level").await.1, "good");

    // The node is born again, and one device is not: that one is stale, whatever its last birth said.
    let birth = node.edge.birth(now_ms(), vec![]);
    node.say("NBIRTH/line2", &birth).await;
    node.press_born(13.0).await;
    reaches(&rig, "tank", "level", "bad_stale").await;
    reaches(&rig, "press", "force", "good").await;

    // A message is missing: nothing of the node is believed, and it is asked for births.
    node.edge.message(now_ms(), vec![]);
    node.data(FORCE, 4.0).await;
    reaches(&rig, "press", "force", "bad_stale").await;
    node.asked_for_births().await;
    node.births(14.0).await;
    reaches(&rig, "press", "setpoint", "good").await;
    reaches(&rig, "tank", "level", "good").await;
    rig.stop().await;
}

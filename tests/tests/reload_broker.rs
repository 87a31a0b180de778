//! The broker and the publishers under a reload, with real processes: users, rights and listeners change while a sensor
//! publishes, and the sensor notices nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Drain;
use common::api::{ConfigView, Problem, ReloadReport};
use reqwest::Method;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use serde_json::Value;
use tests::field::{SensorCounts, numbered_device, numbered_sensor};
use tests::gateway::{Setup, write_private};
use tests::process::program;
use tests::{Api, Gateway, until};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Lines of a passwords file; each password is its user's name.
fn passwords(path: &Path, users: &[&str]) {
    let mut lines = String::new();
    for user in users {
        let mut child = Command::new(program("twinway-gateway"))
            .args(["broker", "passwd", user])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway's program");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), user.as_bytes())
            .expect("a reader");
        let done = child.wait_with_output().expect("an end");
        assert!(done.status.success(), "{done:?}");
        lines += &String::from_utf8(done.stdout).expect("text");
    }
    write_private(path, &lines);
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address")
}

/// A client with a user, and everything that comes to it.
struct Client {
    mqtt: AsyncClient,
    heard: mpsc::Receiver<Result<Packet, ConnectionError>>,
    task: JoinHandle<()>,
}

impl Client {
    async fn connect(broker: SocketAddr, user: &str) -> Self {
        let mut options = MqttOptions::new(user, broker.ip().to_string(), broker.port());
        options.set_credentials(user, user).set_keep_alive(Duration::from_secs(30));
        let (mqtt, mut events) = AsyncClient::new(options, 100);
        let (to, heard) = mpsc::channel(10_000);
        let task = tokio::spawn(async move {
            loop {
                let said = match events.poll().await {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(error),
                };
                let over = said.is_err();
                if to.send(said).await.is_err() || over {
                    return;
                }
            }
        });
        let mut client = Self { mqtt, heard, task };
        client.until("CONNACK", |p| matches!(p, Packet::ConnAck(_)).then_some(())).await;
        client
    }

    /// Waits for a packet. None: the connection ended before.
    async fn find<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                match self.heard.recv().await {
                    Some(Ok(packet)) => {
                        if let Some(found) = wanted(&packet) {
                            return Some(found);
                        }
                    }
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    async fn until<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        let found = self.find(what, wanted).await;
        found.unwrap_or_else(|| panic!("the connection ended before: {what}"))
    }

    /// What PUBACK says of a message.
    async fn publish(&mut self, topic: &str) -> PubAckReason {
        self.mqtt.publish(topic, QoS::AtLeastOnce, false, "1").await.expect("a connection");
        self.until("PUBACK", |p| if let Packet::PubAck(ack) = p { Some(ack.reason) } else { None }).await
    }

    /// Why the broker ended the connection. The client tells DISCONNECT as an error.
    async fn ended(mut self) -> Option<DisconnectReasonCode> {
        let end = async {
            loop {
                match self.heard.recv().await {
                    Some(Ok(_)) => {}
                    Some(Err(ConnectionError::MqttState(StateError::ServerDisconnect {
                        reason_code,
                        ..
                    }))) => return Some(reason_code),
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(LIMIT, end).await.expect("the end of a connection")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reload(api: &Api) -> Result<ReloadReport, Problem> {
    let answer = api.request(Method::POST, "/api/v1/config/reload").send().await.expect("an answer");
    if answer.status().is_success() {
        return Ok(answer.json().await.expect("a report"));
    }
    Err(answer.json().await.expect("a problem"))
}

/// Since when the sensor is connected, as `twinway mqtt clients` tells it.
fn sensor_since(socket: &Path) -> i64 {
    let done = Command::new(program("twinway"))
        .args(["--output", "json", "--socket"])
        .arg(socket)
        .args(["mqtt", "clients"])
        .output()
        .expect("the command line");
    assert!(done.status.success(), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let clients = told["clients"].as_array().expect("clients");
    let sensor = clients.iter().find(|c| c["client"] == "numbered-sensor").expect("the sensor");
    assert_eq!((&sensor["dropped"], &sensor["denied"]), (&Value::from(0), &Value::from(0)));
    sensor["since_us"].as_i64().expect("it is connected")
}

#[tokio::test(flavor = "multi_thread")]
async fn users_rights_listeners_and_publishers_change_and_no_other_sensor_notices() {
    let dir = tempfile::tempdir().expect("a folder");
    let users = dir.path().join("passwords");
    let setup = |users: &Path, rights: &str, listener: SocketAddr, publish: &str| Setup {
        broker: format!(
            "passwords_file = {users:?}\n[[broker.listener]]\nlisten = \"{listener}\"\nallow_anonymous = false\n\
             open = false\n[[broker.rights]]\nusers = [\"ann\", \"bob\"]\npublish = [\"{rights}\"]\n\
             subscribe = [\"{rights}\", \"uns/#\", \"plant/#\"]\n"
        ),
        extra: format!("[[publish]]\nname = \"uns\"\ntopic = \"{publish}/{{device}}/{{point}}\"\n"),
        devices: numbered_device(5),
        ..Setup::default()
    };
    passwords(&users, &["ann", "bob"]);
    let (first, second) = (free(), free());
    let gateway = Gateway::start(&dir.path().join("box"), &setup(&users, "x/#", first, "uns")).await;
    let (api, socket) = (gateway.api(), gateway.dir().join("api.sock"));

    let (counts, drain) = (Arc::new(SensorCounts::default()), Drain::new());
    #[allow(clippy::cast_precision_loss)]
    let value = |k: u64| k as f64;
    let base_us = common::Clock::system().now_us() - 60_000_000;
    let sensor = numbered_sensor(gateway.broker, 5, 200, base_us, value, counts.clone(), drain.clone());
    let sensor = tokio::spawn(sensor);
    let more = async |n: u64| {
        let goal = counts.acknowledged.load(Ordering::SeqCst) + n;
        let reached = || async { (counts.acknowledged.load(Ordering::SeqCst) >= goal).then_some(()) };
        until("messages of the sensor", LIMIT, reached).await;
    };
    more(100).await;
    let since = sensor_since(&socket);
    let mut ann = Client::connect(first, "ann").await;
    let bob = Client::connect(first, "bob").await;
    assert_eq!(ann.publish("x/1").await, PubAckReason::Success);
    ann.mqtt.subscribe("uns/#", QoS::AtMostOnce).await.expect("a connection");
    let under = |root: &'static str| {
        move |p: &Packet| {
            matches!(p, Packet::Publish(m) if m.topic.starts_with(root.as_bytes())).then_some(())
        }
    };
    ann.until("a published value", under("uns/load/")).await;

    // One user is gone, the other has other rights, and the publisher another topic.
    passwords(&users, &["ann"]);
    gateway.configure(&setup(&users, "y/#", first, "plant"));
    let report = reload(&api).await.expect("taken");
    assert!(report.restart_needed.is_empty() && report.restarted.is_empty(), "{report:?}");
    for setting in ["broker", "broker.passwords_file", "publish"] {
        assert!(report.settings.iter().any(|s| s == setting), "{report:?}");
    }
    assert_eq!(bob.ended().await, Some(DisconnectReasonCode::NotAuthorized));
    assert_eq!(ann.publish("x/1").await, PubAckReason::NotAuthorized);
    assert_eq!(ann.publish("y/1").await, PubAckReason::Success);
    ann.mqtt.subscribe("plant/#", QoS::AtMostOnce).await.expect("a connection");
    ann.until("a value under the new topic", under("plant/load/")).await;
    more(100).await;
    assert_eq!(sensor_since(&socket), since, "the sensor kept its connection");

    // The listener is elsewhere: who came by it comes by the new one.
    gateway.configure(&setup(&users, "y/#", second, "plant"));
    reload(&api).await.expect("taken");
    assert_eq!(ann.ended().await, Some(DisconnectReasonCode::ServerShuttingDown));
    let closed = || async { tokio::net::TcpStream::connect(first).await.is_err().then_some(()) };
    until("the old listener is closed", LIMIT, closed).await;
    let mut ann = Client::connect(second, "ann").await;
    assert_eq!(ann.publish("y/1").await, PubAckReason::Success);

    // One that cannot be had is refused with its reason, and all goes on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_at = taken.local_addr().expect("its address");
    gateway.configure(&setup(&users, "y/#", taken_at, "plant"));
    let problem = reload(&api).await.expect_err("refused");
    assert!(problem.detail.contains(&taken_at.to_string()), "{problem}");
    let view: ConfigView = api.get("/api/v1/config").await;
    assert!(view.last_reload.is_some_and(|r| !r.taken));
    assert_eq!(ann.publish("y/1").await, PubAckReason::Success);

    more(100).await;
    assert_eq!(sensor_since(&socket), since, "the sensor kept its connection");
    drain.start();
    sensor.await.expect("the sensor ends");
}

//! The whole cloud in this process: real storage, real sockets. What was acknowledged survives a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::api::{
    CommandView, GatewayCredential, GatewayView, Page, SessionRequest, SessionResponse, TwinView,
};
use common::command::{CommandUpdate, DesiredState, LogEntry};
use common::names::{action, topic};
use common::wire::{
    Body, Down, Frame, FrameHeader, Heartbeat, Hello, HelloAck, SampleRow, Snapshot, StreamRange, Up,
    split_schema,
};
use common::{
    Access, CommandState, DeviceSchema, Drain, GatewayId, Incarnation, Opening, PointId, PointKind,
    PointSchema, Quality, Sample, Schema, TenantId, TwinId, Value, ValueType,
};
use reqwest::Method;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde::de::DeserializeOwned;
use serde_json::json;
use twinway_cloud::{Cloud, Config, Handle};

const LIMIT: Duration = Duration::from_secs(20);

async fn start(dir: &Path) -> (Drain, Handle) {
    let text = format!(
        "[cloud]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[ingress]\nlisten = \"127.0.0.1:0\"\n[history]\ncompact_ms = 50\n",
        dir.join("data")
    );
    let file = dir.join("cloud.toml");
    std::fs::write(&file, text).unwrap();
    let drain = Drain::new();
    let handle =
        Cloud::start(Config::load(&file).unwrap(), drain.clone(), &Opening::default()).await.unwrap();
    (drain, handle)
}

async fn stop(drain: Drain, handle: Handle) {
    let began = tokio::time::Instant::now();
    drain.start();
    assert!(handle.finished().await.is_empty(), "every part ended by itself");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    async fn sign_in(http: SocketAddr, password: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (base, client) = (format!("http://{http}"), reqwest::Client::new());
        let request = SessionRequest { user: "admin".into(), password: password.into() };
        let answer = client.post(format!("{base}/api/v1/session")).json(&request).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let token = answer.json::<SessionResponse>().await.unwrap().token;
        Self { base, token, client }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn twin(&self) -> TwinView {
        self.get::<Page<TwinView>>("/api/v1/twins").await.items.remove(0)
    }

    async fn secret(&self) -> String {
        let answer =
            self.request(Method::POST, "/api/v1/gateways").json(&json!({ "id": "g1" })).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.json::<GatewayCredential>().await.unwrap().secret
    }

    /// Waits until something that is read holds.
    async fn until<T: DeserializeOwned + std::fmt::Debug>(
        &self,
        path: &str,
        holds: impl Fn(&T) -> bool,
    ) -> T {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let now: T = self.get(path).await;
            if holds(&now) {
                return now;
            }
            assert!(tokio::time::Instant::now() < end, "{path} stays {now:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn key() -> (TenantId, GatewayId) {
    (TenantId::default(), "g1".parse().unwrap())
}

fn point(name: &str, access: Access) -> PointSchema {
    let limit = |x| access.is_writable().then_some(x);
    PointKind {
        unit: "Cel".into(),
        access,
        write_min: limit(0.0),
        write_max: limit(300.0),
        stale_ms: 1000,
        ..PointKind::new(ValueType::F64)
    }
    .named(name)
}

fn schema() -> Schema {
    let (tenant, gateway) = key();
    let device = DeviceSchema {
        name: "oven".into(),
        twin: TwinId::derived(&tenant, &gateway, "oven"),
        asset: "plant/coating/line1/oven".into(),
        description: String::new(),
        first_point: 0,
        points: vec![point("t", Access::Read), point("sp", Access::ReadWrite)],
    };
    Schema { tenant, gateway, devices: vec![device] }
}

fn row(point: u32, value: f64, at_us: i64) -> SampleRow {
    Sample {
        point: PointId(point),
        value: Some(Value::F64(value)),
        quality: Quality::GOOD,
        source_us: at_us,
        received_us: at_us,
    }
}

/// A gateway as the wire sees it.
struct Gateway {
    client: AsyncClient,
    events: EventLoop,
    incarnation: Incarnation,
    seq: u64,
}

impl Gateway {
    async fn connect(ingress: SocketAddr, secret: &str, incarnation: u128, last: u64) -> (Self, HelloAck) {
        let (tenant, id) = key();
        let mut options = MqttOptions::new("g1", "127.0.0.1", ingress.port());
        options.set_credentials(format!("{tenant}/{id}"), secret).set_max_packet_size(300_000, 300_000);
        let (client, events) = AsyncClient::new(options, 64);
        let mut gateway = Self { client, events, incarnation: Incarnation(incarnation), seq: last };
        gateway.client.subscribe(topic::down(&tenant, &id), QoS::AtLeastOnce).await.unwrap();
        let hash = schema().hash();
        let streams = vec![StreamRange { incarnation: gateway.incarnation, first: 1, last }];
        let hello = Hello {
            tenant,
            gateway: id,
            version: "test".into(),
            incarnation: gateway.incarnation,
            streams: if last > 0 { streams } else { vec![] },
            schema: hash,
            schemas: vec![hash],
            session_us: 1_000_000,
            remote: true,
            features: vec![common::wire::FEATURE_ALARMS.to_owned()],
            identity: None,
            heartbeat_ms: None,
        };
        gateway.say(&Up::Hello(Box::new(hello))).await;
        let Down::HelloAck(ack) = gateway.down().await else { panic!("no hello ack") };
        for hash in &ack.want_schemas {
            for part in split_schema(*hash, &schema().to_json()) {
                gateway.say(&Up::Schema(part)).await;
            }
        }
        (gateway, ack)
    }

    async fn say(&self, message: &Up) {
        let (tenant, id) = key();
        self.client
            .publish(topic::up(&tenant, &id), QoS::AtLeastOnce, false, message.encode())
            .await
            .unwrap();
    }

    async fn down(&mut self) -> Down {
        let next = async {
            loop {
                if let Event::Incoming(Packet::Publish(p)) = self.events.poll().await.unwrap() {
                    return Down::decode(&p.payload).unwrap();
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("a message in time")
    }

    /// Sends a frame and waits until the cloud has it on disk.
    async fn store(&mut self, body: Body) {
        self.seq += 1;
        let header = FrameHeader {
            schema: schema().hash(),
            incarnation: self.incarnation,
            seq: self.seq,
            cut_us: 1,
            cut_mono_us: 1,
            synchronised: true,
        };
        self.say(&Up::Frame(Frame { header, body }.encode())).await;
        loop {
            if let Down::Ack(ack) = self.down().await
                && ack.acked.iter().any(|k| k.seqs.contains(self.seq))
            {
                return;
            }
        }
    }
}

fn value(twin: &TwinView, point: &str) -> Option<f64> {
    twin.points.iter().find(|p| *p.schema.name == *point)?.value.as_ref()?.as_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_restart_and_the_password_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let password = handle.first_run_password().expect("a first run").to_owned();
    let api = Api::sign_in(handle.http_addr(), &password).await;
    let secret = api.secret().await;
    let (mut gateway, ack) = Gateway::connect(handle.ingress_addr(), &secret, 7, 0).await;
    assert_eq!(ack.want_schemas, [schema().hash()]);
    let now = common::Clock::system().now_us();
    for i in 0..50 {
        gateway.store(Body::Samples(vec![row(0, i as f64, now - 50 + i), row(1, 200.0, now)])).await;
    }
    let twin = api.twin().await;
    assert_eq!((value(&twin, "t"), value(&twin, "sp"), twin.online), (Some(49.0), Some(200.0), true));
    let views: Vec<GatewayView> = api.get::<Page<GatewayView>>("/api/v1/gateways").await.items;
    assert!(views[0].connected && views[0].twins == 1);
    stop(drain, handle).await;

    let (drain, handle) = start(dir.path()).await;
    assert_eq!(handle.first_run_password(), None);
    let api = Api::sign_in(handle.http_addr(), &password).await;
    let twin = api.twin().await;
    assert_eq!((value(&twin, "t"), value(&twin, "sp"), twin.online), (Some(49.0), Some(200.0), false));
    let path = format!("/api/v1/twins/{}/points/t/history?from={}&to={}", twin.id, now - 1000, now + 1000);
    let history: serde_json::Value = api.get(&path).await;
    assert_eq!(history["points"].as_array().map(Vec::len), Some(50), "{history}");
    // The gateway comes back with what it still holds: nothing is asked for again.
    let (mut gateway, ack) = Gateway::connect(handle.ingress_addr(), &secret, 7, 50).await;
    assert!(ack.want_schemas.is_empty() && ack.known[0].seqs.contains_range(1, 50), "{ack:?}");
    // The snapshot is current at once; a frame that it includes goes to history only.
    let schema = schema().hash();
    let rows = vec![row(0, 77.0, now)];
    gateway.say(&Up::Snapshot(Snapshot { schema, incarnation: Incarnation(7), seq: 60, rows })).await;
    gateway.store(Body::Samples(vec![row(0, 50.0, now + 1)])).await;
    let twin = api.twin().await;
    assert_eq!((value(&twin, "t"), twin.online), (Some(77.0), true));
    let history: serde_json::Value = api.get(&path).await;
    assert_eq!(history["points"].as_array().map(Vec::len), Some(51), "{history}");
    stop(drain, handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_down_a_live_session_and_its_result_comes_up() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let api = Api::sign_in(handle.http_addr(), handle.first_run_password().unwrap()).await;
    let (mut gateway, _) = Gateway::connect(handle.ingress_addr(), &api.secret().await, 7, 0).await;
    gateway.store(Body::Samples(vec![row(1, 200.0, 1)])).await;
    let twin = api.twin().await;
    let body = json!({ "point": "sp", "value": 210.0, "reason": "test" });
    let path = format!("/api/v1/twins/{}/commands", twin.id);
    let answer =
        api.request(Method::POST, &path).header("Idempotency-Key", "k1").json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let accepted: CommandView = answer.json().await.unwrap();
    let order = loop {
        if let Down::Command(order) = gateway.down().await {
            break order;
        }
    };
    assert_eq!((order.id, &order.value), (accepted.id, &Value::F64(210.0)));
    // Ten seconds of life in the gateway's own time, never more.
    assert!(
        (1_000_000..=1_000_000 + 10_500_000 + LIMIT.as_micros() as u64).contains(&order.deadline_session_us)
    );
    for state in [CommandState::Executing, CommandState::Succeeded] {
        gateway
            .store(Body::Command(CommandUpdate {
                id: order.id,
                twin: order.twin,
                point: order.point.clone(),
                value: order.value.clone(),
                requester: order.requester.clone(),
                reason: order.reason.clone(),
                state,
                code: None,
                detail: String::new(),
                read_back: (state == CommandState::Succeeded).then_some(Value::F64(210.0)),
                at_us: common::Clock::system().now_us(),
            }))
            .await;
    }
    let path = format!("/api/v1/commands/{}", order.id);
    let view = api.until::<CommandView>(&path, |c| c.state.is_final()).await;
    assert_eq!((view.state, view.read_back), (CommandState::Succeeded, Some(Value::F64(210.0))));
    stop(drain, handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desired_value_waits_for_the_next_session() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let api = Api::sign_in(handle.http_addr(), handle.first_run_password().unwrap()).await;
    let secret = api.secret().await;
    let (mut gateway, _) = Gateway::connect(handle.ingress_addr(), &secret, 7, 0).await;
    gateway.store(Body::Samples(vec![row(1, 200.0, 1)])).await;
    drop(gateway);
    let twin = api.until::<Page<TwinView>>("/api/v1/twins", |p| !p.items[0].online).await.items.remove(0);
    let body = json!({ "sp": { "value": 150.0, "ttl_ms": 60_000, "reason": "night" } });
    let path = format!("/api/v1/twins/{}/desired", twin.id);
    let request =
        api.request(Method::PATCH, &path).header("If-Match", format!("\"{}\"", twin.desired_version));
    let answer =
        request.header("content-type", "application/merge-patch+json").body(body.to_string()).send().await;
    let answer = answer.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    // Also over a restart.
    let password = handle.reset_admin_password().await.unwrap();
    stop(drain, handle).await;
    let (drain, handle) = start(dir.path()).await;
    let api = Api::sign_in(handle.http_addr(), &password).await;
    let (mut gateway, _) = Gateway::connect(handle.ingress_addr(), &secret, 8, 0).await;
    let orders = loop {
        if let Down::Desired(orders) = gateway.down().await {
            break orders;
        }
    };
    assert_eq!((orders.len(), &orders[0].value), (1, &Some(Value::F64(150.0))));
    assert!(orders[0].deadline_session_us <= 1_000_000 + 60_000_000, "{orders:?}");
    let update = common::command::DesiredUpdate {
        twin: twin.id,
        version: orders[0].version,
        point: "sp".into(),
        state: DesiredState::Applied,
        code: None,
        detail: String::new(),
        at_us: 2,
    };
    gateway.store(Body::Desired(update)).await;
    let is_applied = |p: &Page<TwinView>| {
        p.items[0].points[1].desired.as_ref().is_some_and(|d| d.state == DesiredState::Applied)
    };
    api.until("/api/v1/twins", is_applied).await;
    stop(drain, handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_heartbeats_metrics_and_readiness_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let api = Api::sign_in(handle.http_addr(), handle.first_run_password().unwrap()).await;
    let (mut gateway, _) = Gateway::connect(handle.ingress_addr(), &api.secret().await, 7, 0).await;
    let health = common::api::GatewayHealth {
        left_out: 0,
        uplink_error: None,
        version: "9.9".into(),
        uptime_ms: 1,
        clock_synchronised: true,
        switch: common::api::SwitchPosition::Local,
        uplink: true,
        link: None,
        buffer: Default::default(),
        dropped: Default::default(),
        devices: vec![],
        parts: vec![],
    };
    gateway.say(&Up::Heartbeat(Box::new(Heartbeat { session_us: 2_000_000, health }))).await;
    gateway
        .store(Body::Event(LogEntry {
            at_us: 5,
            actor: "system".into(),
            action: action::DEVICE_OFFLINE.into(),
            target: "oven".into(),
            twin: Some(schema().devices[0].twin),
            severity: common::command::Severity::Warning,
            code: None,
            detail: String::new(),
        }))
        .await;
    let has_health = |p: &Page<GatewayView>| p.items[0].health.as_ref().is_some_and(|h| h.version == "9.9");
    api.until("/api/v1/gateways", has_health).await;
    let has_event = |p: &Page<LogEntry>| p.items.iter().any(|e| e.action == action::DEVICE_OFFLINE);
    api.until("/api/v1/audit", has_event).await;
    assert!(api.request(Method::GET, "/readyz").send().await.unwrap().status().is_success());
    let metrics = api.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    // Those with labels appear with their first event.
    let labelled = ["_refused", "_commands", "_set_aside"];
    let shown = |n: &str| n.starts_with("twinway_cloud_") && !labelled.iter().any(|end| n.ends_with(end));
    for (name, _) in common::names::metric::ALL.iter().filter(|(n, _)| shown(n)) {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    stop(drain, handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cloud_on_the_same_data_is_refused_and_a_busy_port_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let config = Config::load(&dir.path().join("cloud.toml")).unwrap();
    let error = Cloud::start(config.clone(), Drain::new(), &Opening::default()).await.err().expect("refused");
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("in use"));
    let mut busy = config;
    busy.cloud.data_dir = dir.path().join("other");
    busy.http.listen = handle.http_addr();
    let error = Cloud::start(busy.clone(), Drain::new(), &Opening::default()).await.err().expect("refused");
    let text = error.to_string();
    assert!(text.contains(&handle.http_addr().to_string()) && !error.is_config(), "{text}");
    // Nobody was told a password by the start that failed.
    busy.http.listen.set_port(0);
    let again = Drain::new();
    let started = Cloud::start(busy, again.clone(), &Opening::default()).await.unwrap();
    assert!(started.first_run_password().is_some());
    stop(again, started).await;
    stop(drain, handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_listed_and_acknowledged_over_the_live_session() {
    use common::alarm::*;
    let dir = tempfile::tempdir().unwrap();
    let (drain, handle) = start(dir.path()).await;
    let api = Api::sign_in(handle.http_addr(), handle.first_run_password().unwrap()).await;
    let (mut gateway, _) = Gateway::connect(handle.ingress_addr(), &api.secret().await, 7, 0).await;
    let twin = schema().devices[0].twin;
    let mut alarm = AlarmView {
        id: AlarmId::derived(twin, "pv", "hi"),
        twin,
        asset: schema().devices[0].asset.clone(),
        point: "pv".into(),
        name: "hi".into(),
        kind: AlarmKind::Hi,
        priority: Priority::Urgent,
        text: "too hot".into(),
        group: String::new(),
        state: AlarmState::Active,
        change: AlarmChange::Raised,
        raised_us: Some(5),
        at_us: 5,
        shelved_until_us: None,
        shelved_once: false,
        value: Some(Value::F64(99.0)),
        quality: common::Quality::GOOD,
        limit: Some(90.0),
        unit: "Cel".into(),
        actor: "system".into(),
        comment: String::new(),
    };
    gateway.store(Body::Alarm(Box::new(alarm.clone()))).await;
    api.until("/api/v1/alarms", |p: &Page<AlarmView>| p.items.first() == Some(&alarm)).await;
    let path = format!("/api/v1/alarms/{}/acknowledge", alarm.id);
    let body = json!({ "raised_us": 5, "comment": "seen" });
    let answer = api.request(Method::POST, &path).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    let order = loop {
        if let Down::Alarm(order) = gateway.down().await {
            break order;
        }
    };
    assert_eq!((order.id, order.act), (alarm.id, AlarmAct::Acknowledge { raised_us: 5 }));
    alarm.state = AlarmState::Acknowledged;
    alarm.change = AlarmChange::Acknowledged;
    (alarm.actor, alarm.comment) = (order.requester.name.clone(), order.comment.clone());
    gateway.store(Body::Alarm(Box::new(alarm.clone()))).await;
    api.until("/api/v1/alarms", |p: &Page<AlarmView>| p.items.first() == Some(&alarm)).await;
    let has = |p: &Page<LogEntry>| {
        [action::ALARM_RAISED, action::ALARM_ASKED, action::ALARM_ACKNOWLEDGED]
            .iter()
            .all(|a| p.items.iter().any(|e| e.action == *a))
    };
    api.until("/api/v1/audit", has).await;
    drop(gateway);
    api.until::<Page<TwinView>>("/api/v1/twins", |p| !p.items[0].online).await;
    let answer = api.request(Method::POST, &path).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    stop(drain, handle).await;
}

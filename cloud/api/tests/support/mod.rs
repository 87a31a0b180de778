//! A router over storage in memory, a plant of two areas and a downlink that a test steers. Storage here
//! keeps the contract of the traits as far as the API leans on it; SQLite has its own tests.
#![allow(dead_code, unreachable_pub, clippy::type_complexity)] // each test file uses its part

pub mod memory;
pub mod updates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use cloud_api::commands::{Commands, Parts};
use cloud_api::{Context, Metrics, Options, UiAsset};
use cloud_core::enrol::{Authority, Certificate, IssueError, Issued, Peer};
use cloud_core::{Downlink, DownlinkError, GatewayKey, PointState, TwinState, World};
use cloud_live::Live;
use common::alarm::{AlarmChange, AlarmId, AlarmKind, AlarmOrder, AlarmState, AlarmView, Priority};
use common::api::Enrolled;
use common::api::{GatewayView, GrantView, Role};
use common::command::{CommandOrder, DesiredOrder};
use common::{Access, Clock, Drain, PointKind, TenantId, TwinId, ValueType};
use memory::Memory;
use serde_json::Value as Json;
use tower::ServiceExt as _;

pub const NOW_US: i64 = 1_795_000_000_000_000;
pub const OVEN: TwinId = TwinId(uuid::Uuid::from_u128(1));
pub const PRESS: TwinId = TwinId(uuid::Uuid::from_u128(2));

/// A downlink that a test steers.
#[derive(Default)]
pub struct Gateways {
    /// Session time of each gateway that is online.
    pub sessions: Mutex<HashMap<String, u64>>,
    /// Whether the session goes away when an order is handed over.
    pub breaks: std::sync::atomic::AtomicBool,
    pub orders: Mutex<Vec<CommandOrder>>,
    pub desired: Mutex<Vec<DesiredOrder>>,
    pub alarms: Mutex<Vec<AlarmOrder>>,
    /// Boxes that are held back.
    pub held: Mutex<Vec<common::api::HeldBox>>,
    pub accepted: Mutex<Vec<common::command::LogEntry>>,
    /// Gateways whose program knows no alarms.
    pub old: Mutex<Vec<String>>,
    /// Configuration documents that were handed over.
    pub wanted: Mutex<Vec<common::wire::WantedConfiguration>>,
}

#[async_trait]
impl Downlink for Gateways {
    fn session_us(&self, gateway: &GatewayKey) -> Option<u64> {
        self.sessions.lock().unwrap().get(gateway.gateway.as_str()).copied()
    }

    async fn command(&self, gateway: &GatewayKey, order: CommandOrder) -> Result<(), DownlinkError> {
        if self.breaks.load(std::sync::atomic::Ordering::SeqCst) || self.session_us(gateway).is_none() {
            return Err(DownlinkError::Offline { gateway: gateway.gateway.to_string() });
        }
        self.orders.lock().unwrap().push(order);
        Ok(())
    }

    async fn desired(&self, gateway: &GatewayKey, orders: Vec<DesiredOrder>) -> Result<(), DownlinkError> {
        if self.session_us(gateway).is_none() {
            return Err(DownlinkError::Offline { gateway: gateway.gateway.to_string() });
        }
        self.desired.lock().unwrap().extend(orders);
        Ok(())
    }

    async fn alarm(&self, gateway: &GatewayKey, order: AlarmOrder) -> Result<(), DownlinkError> {
        let gateway_name = gateway.gateway.to_string();
        if self.session_us(gateway).is_none() {
            return Err(DownlinkError::Offline { gateway: gateway_name });
        }
        if self.old.lock().unwrap().contains(&gateway_name) {
            return Err(DownlinkError::Unsupported { gateway: gateway_name });
        }
        self.alarms.lock().unwrap().push(order);
        Ok(())
    }

    async fn configuration(&self, _: &GatewayKey, wanted: common::wire::WantedConfiguration) {
        self.wanted.lock().unwrap().push(wanted);
    }

    fn offer(&self, _: &GatewayKey, _: Option<common::api::UpdateOffer>) {}

    async fn credential_changed(&self, gateway: &GatewayKey) -> Result<(), cloud_core::StoreError> {
        self.sessions.lock().unwrap().remove(gateway.gateway.as_str());
        Ok(())
    }

    async fn accept_box(
        &self,
        _: &GatewayKey,
        incarnation: Option<common::Incarnation>,
        audit: common::command::LogEntry,
    ) -> Result<common::api::HeldBox, cloud_core::BoxError> {
        let mut held = self.held.lock().unwrap();
        let fits = |h: &&common::api::HeldBox| incarnation.is_none_or(|i| h.incarnation == i);
        let found: Vec<_> = held.iter().filter(fits).cloned().collect();
        let [found] = &found[..] else { return Err(cloud_core::BoxError::Which { held: held.clone() }) };
        held.retain(|h| h != found);
        self.accepted.lock().unwrap().push(audit);
        Ok(found.clone())
    }

    fn gateways(&self) -> Vec<GatewayView> {
        let view = |id: &str| GatewayView {
            id: id.parse().unwrap(),
            connected: true,
            since_us: NOW_US,
            last_seen_us: NOW_US,
            twins: 1,
            health: None,
            held: self.held.lock().unwrap().clone(),
        };
        vec![view("gw1"), view("gw2")]
    }
}

fn point(name: &str, value_type: ValueType, access: Access, limits: Option<(f64, f64)>) -> PointState {
    PointState::new(
        PointKind {
            unit: "degC".into(),
            access,
            write_min: limits.map(|l| l.0),
            write_max: limits.map(|l| l.1),
            ..PointKind::new(value_type)
        }
        .named(name),
    )
}

fn twin(id: TwinId, asset: &str, gateway: &str) -> TwinState {
    let points = vec![
        point("temperature", ValueType::F64, Access::Read, None),
        point("setpoint", ValueType::F64, Access::ReadWrite, Some((20.0, 180.0))),
        point("mode", ValueType::I64, Access::ReadWrite, Some((0.0, 3.0))),
    ];
    TwinState {
        id,
        asset: asset.into(),
        description: String::new(),
        binding: Some((gateway.parse().unwrap(), "plc1".into())),
        bound_from: 0,
        online: true,
        desired_version: 0,
        index: points.iter().enumerate().map(|(i, p)| (p.schema.name.clone(), i)).collect(),
        points,
    }
}

/// Everything that a test holds.
pub struct Rig {
    pub router: Router,
    pub storage: Arc<Memory>,
    pub world: World,
    pub gateways: Arc<Gateways>,
    pub commands: Commands,
    pub clock: Clock,
    pub drain: Drain,
    pub live: Live,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
    /// Whether the body ended early.
    pub is_cut_off: bool,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!("{e} in {:?}", String::from_utf8_lossy(&self.body));
        })
    }

    /// The code of a problem document, which this must be.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{text}");
        let json = self.json();
        assert_eq!(json["status"], status, "{text}");
        json["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// A request on its way.
pub struct Ask<'a> {
    rig: &'a Rig,
    request: axum::http::request::Builder,
    body: Body,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn json(mut self, body: &Json) -> Self {
        self.body = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }

    pub fn raw(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        let has_host = self.request.headers_ref().is_some_and(|h| h.contains_key(header::HOST));
        let request = if has_host { self.request } else { self.request.header("host", "localhost:8080") };
        let response: Response<Body> =
            self.rig.router.clone().oneshot(request.body(self.body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let is_cut_off = body.is_err();
        let body = body.unwrap_or_default().to_vec();
        Answer { status: parts.status, headers: parts.headers, body, is_cut_off }
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Options { hosts: vec!["twin.example".into()], ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        let clock = Clock::simulated(NOW_US);
        let storage = Arc::new(Memory::default());
        let world = World::default();
        {
            let mut state = world.write();
            state.twins.insert(OVEN, twin(OVEN, "plant/coating/line1/oven", "gw1"));
            state.twins.insert(PRESS, twin(PRESS, "plant/winding/line1/press", "gw2"));
            state.epoch += 1;
        }
        let gateways = Arc::new(Gateways::default());
        gateways
            .sessions
            .lock()
            .unwrap()
            .extend([("gw1".to_owned(), 5_000_000), ("gw2".to_owned(), 7_000_000)]);
        let live = Live::new(world.clone(), clock.clone(), cloud_live::Options::default());
        let metrics = Metrics::new("0.0.0");
        let drain = Drain::new();
        let commands = Commands::new(Parts {
            storage: storage.clone(),
            world: world.clone(),
            downlink: gateways.clone(),
            live: Arc::new(live.clone()),
            clock: clock.clone(),
            tenant: TenantId::default(),
            metrics: metrics.clone(),
        });
        let router = cloud_api::router(Context {
            storage: storage.clone(),
            world: world.clone(),
            live: live.clone(),
            downlink: gateways.clone(),
            authority: Some(Arc::new(Stamp)),
            commands: commands.clone(),
            clock: clock.clone(),
            ui: Arc::new(page),
            metrics,
            options,
            readiness: Arc::new(|| Ok(())),
            drain: drain.clone(),
        });
        Self { router, storage, world, gateways, commands, clock, drain, live }
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        Ask { rig: self, request, body: Body::empty() }
    }

    /// Token of a session with these grants, put straight into storage.
    pub fn token(&self, user: &str, grants: &[(&str, Role)]) -> String {
        let token = format!("token-of-{user}");
        self.storage.put_session(&token, user, &self.grants(grants), i64::MAX);
        token
    }

    pub fn grants(&self, grants: &[(&str, Role)]) -> Vec<GrantView> {
        grants.iter().map(|(path, role)| GrantView { path: (*path).into(), role: *role }).collect()
    }

    pub fn admin(&self) -> String {
        self.token("root", &[("", Role::Admin)])
    }
}

/// An authority that looks at nothing: what it issues is of the key that the request's text says.
struct Stamp;

impl Authority for Stamp {
    fn issues(&self) -> bool {
        true
    }

    fn issue(&self, gateway: &GatewayKey, request: &str, now_us: i64) -> Result<Issued, IssueError> {
        if request.is_empty() {
            return Err(IssueError::Request("empty".into()));
        }
        let key = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(request)).into();
        let certificate = Certificate {
            gateway: gateway.clone(),
            serial: "5f0c".into(),
            key,
            issued_us: now_us,
            not_after_us: now_us + 1,
            revoked_us: None,
        };
        let enrolled = Enrolled {
            tenant: gateway.tenant.clone(),
            gateway: gateway.gateway.clone(),
            url: "mqtts://cloud.example:8883".into(),
            certificate: "certificate".into(),
            trust: None,
        };
        Ok(Issued { certificate, enrolled })
    }

    fn read(&self, _: &[u8]) -> Option<Peer> {
        None
    }

    fn root(&self) -> Vec<u8> {
        vec![]
    }

    fn grace_us(&self) -> i64 {
        0
    }
}

fn page(path: &str) -> Option<UiAsset> {
    match path {
        "index.html" => Some(UiAsset {
            body: "<!doctype html>".into(),
            brotli: None,
            content_type: "text/html; charset=utf-8",
            immutable: false,
        }),
        "assets/a-1234.js" => Some(UiAsset {
            body: "let a".into(),
            brotli: Some("brotli".into()),
            content_type: "text/javascript",
            immutable: true,
        }),
        _ => None,
    }
}

/// Waits until something is the case, at most a while of tokio's time.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !is() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within 10 s: {what}"));
}

/// An alarm of a twin's point `temperature`, active and not acknowledged.
pub fn alarm(twin: TwinId, asset: &str) -> AlarmView {
    AlarmView {
        id: AlarmId::derived(twin, "temperature", "hi"),
        twin,
        asset: asset.into(),
        point: "temperature".into(),
        name: "hi".into(),
        kind: AlarmKind::Hi,
        priority: Priority::High,
        text: "too hot".into(),
        group: String::new(),
        state: AlarmState::Active,
        change: AlarmChange::Raised,
        raised_us: Some(NOW_US),
        at_us: NOW_US,
        shelved_until_us: None,
        shelved_once: false,
        value: Some(common::Value::F64(99.0)),
        quality: common::Quality::GOOD,
        limit: Some(90.0),
        unit: "degC".into(),
        actor: "system".into(),
        comment: String::new(),
    }
}

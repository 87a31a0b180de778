//! A small real server with the shapes of `common::api`, on TCP or a Unix socket, and runs of the real
//! binary against it. It checks what a server must see; it is no model of a gateway or cloud.
#![allow(dead_code)] // each test program uses its part

mod box_buffer;
mod box_lists;

use std::collections::HashMap;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path as Part, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use common::alarm::AlarmView;
use common::api::*;
use common::command::{LogEntry, Origin, Requester, Severity};
use common::names::Code;
use common::schema::Label;
use common::{Access, CommandId, CommandState, PointKind, Quality, TwinId, Value, ValueType};
use futures_util::StreamExt as _;
use tokio::process::{Child, Command};

/// Longest time for one run of the binary.
const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const NOW_US: i64 = 1_795_000_000_000_000;
pub(crate) const TOKEN: &str = "secret-token-1234";

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What the server knows and how it behaves.
pub(crate) struct World {
    pub(crate) twins: Vec<TwinView>,
    pub(crate) commands: Vec<CommandView>,
    pub(crate) alarms: Vec<AlarmView>,
    pub(crate) keys: HashMap<String, (CommandRequest, CommandId)>,
    /// How a command ends, and after how many questions.
    pub(crate) outcome: (CommandState, Option<Code>),
    pub(crate) asks_before_end: u32,
    /// Refusal of every command.
    pub(crate) refuse: Option<Problem>,
    /// Whether requests need the token.
    pub(crate) auth: bool,
    /// A box has a switch and no live channel.
    pub(crate) is_box: bool,
    pub(crate) switch: SwitchRequest,
    pub(crate) rollup: bool,
    /// Grids asked for.
    pub(crate) aligned: Vec<AlignedRequest>,
    pub(crate) seen: Vec<Seen>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) struct Rig {
    pub(crate) world: Shared,
    pub(crate) home: tempfile::TempDir,
    /// `--url` and its value, or `--socket` and its value.
    pub(crate) target: [String; 2],
}

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

pub(crate) fn id(n: u128) -> TwinId {
    TwinId(uuid::Uuid::from_u128(n))
}

fn point(name: &str, value_type: ValueType, unit: &str, value: Option<Value>, writable: bool) -> PointView {
    PointView {
        schema: PointKind {
            unit: unit.into(),
            access: if writable { Access::ReadWrite } else { Access::Read },
            write_min: writable.then_some(0.0),
            write_max: writable.then_some(250.0),
            ..PointKind::new(value_type)
        }
        .named(name),
        quality: if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT },
        value,
        source_us: NOW_US,
        received_us: NOW_US,
        desired: None,
    }
}

fn twin(n: u128, asset: &str, device: &str, points: Vec<PointView>) -> TwinView {
    TwinView {
        id: id(n),
        asset: asset.into(),
        name: asset.rsplit('/').next().unwrap().into(),
        description: String::new(),
        gateway: Some("g1".parse().unwrap()),
        device: Some(device.into()),
        online: true,
        desired_version: 0,
        points,
    }
}

fn device(name: &str, protocol: &str, connected: bool) -> DeviceHealth {
    let last_error = (!connected).then(|| "no route to host".into());
    DeviceHealth {
        name: name.into(),
        protocol: protocol.into(),
        connected,
        since_us: NOW_US,
        good: 7,
        bad: 0,
        last_error,
        poll: None,
    }
}

fn held() -> HeldBox {
    HeldBox {
        box_id: None,
        incarnation: common::Incarnation(7),
        peer: "10.0.0.9:5".into(),
        version: "0.1.0".into(),
        since_us: NOW_US,
        last_us: NOW_US,
        reason: "another box is this gateway".into(),
    }
}

/// Lets the box in that is held back.
async fn accept(Part(id): Part<String>, Json(request): Json<AcceptRequest>) -> Response {
    if id != "g1" || request.incarnation.is_some_and(|i| i != held().incarnation) {
        return Problem::new(Code::Conflict, "no such box").into_response();
    }
    assert_eq!(request.reason, "new box");
    Json(held()).into_response()
}

async fn set_aside() -> Json<SetAsideList> {
    let frame = SetAsideView {
        id: "3".into(),
        incarnation: Some(common::Incarnation(7)),
        seq: Some(41),
        at_us: NOW_US,
        cause: "frame".into(),
        detail: "no table".into(),
        bytes: 2048,
    };
    Json(SetAsideList { items: vec![frame], next_cursor: None, removed_frames: 12, removed_bytes: 4096 })
}

pub(crate) fn gateway() -> GatewayView {
    GatewayView {
        id: "g1".parse().unwrap(),
        connected: true,
        since_us: NOW_US,
        last_seen_us: NOW_US,
        twins: 2,
        held: vec![held()],
        health: Some(GatewayHealth {
            uplink_error: None,
            left_out: 0,
            version: "0.1.0".into(),
            uptime_ms: 3_600_000,
            clock_synchronised: true,
            switch: SwitchPosition::Remote,
            uplink: true,
            link: None,
            buffer: BufferHealth {
                unacked_frames: 12,
                oldest_unacked_ms: 4000,
                disk_bytes: 1 << 20,
                quota_bytes: 1 << 30,
                last_seq: 99,
                durable_seq: 98,
                incarnation: "abc".into(),
                fault: None,
            },
            dropped: [("bus:lagged".to_owned(), 3)].into(),
            devices: vec![device("oven", "modbus", true), device("winder", "mqtt", false)],
            parts: Vec::new(),
        }),
    }
}

fn world() -> World {
    let mut mode = point("mode", ValueType::I64, "", Some(1i64.into()), true);
    mode.schema.labels =
        vec![Label { value: 0, text: "stop".into() }, Label { value: 1, text: "run".into() }];
    let oven = vec![
        point("temp", ValueType::F64, "Cel", Some(179.25.into()), false),
        point("zone1_sp", ValueType::F64, "Cel", Some(180.0.into()), true),
        mode,
        point("door", ValueType::Bool, "", None, false),
        point("recipe", ValueType::Text, "", Some("LFP\x1b[2J".into()), true),
    ];
    let winder = vec![point("speed", ValueType::F64, "m/min", Some(20.0.into()), false)];
    World {
        twins: vec![
            twin(1, "plant/coating/line1/oven", "oven", oven),
            twin(2, "plant/coating/line1/winder", "winder", winder),
        ],
        commands: Vec::new(),
        alarms: box_lists::alarms(),
        keys: HashMap::new(),
        outcome: (CommandState::Succeeded, None),
        asks_before_end: 1,
        refuse: None,
        auth: false,
        is_box: false,
        switch: SwitchRequest { position: SwitchPosition::Local, reason: "start".into() },
        rollup: false,
        aligned: vec![],
        seen: Vec::new(),
    }
}

fn router(world: Shared) -> Router {
    let api = Router::new()
        .route("/session", post(sign_in).delete(async || StatusCode::NO_CONTENT))
        .route("/twins", get(twins))
        .route("/twins/{id}", get(one_twin))
        .route("/twins/{id}/points/{point}/history", get(history).delete(delete_history))
        .route("/history/aligned", post(aligned))
        .route("/history/export", post(export))
        .route("/twins/{id}/commands", post(command))
        .route("/commands", get(commands))
        .route("/commands/{id}", get(one_command))
        .route("/gateways", get(async || Json(Page { items: vec![gateway()], next_cursor: None })))
        .route("/gateways/{id}/accept", post(accept))
        .route("/gateways/{id}/set-aside", get(set_aside))
        .route("/gateways/{id}/set-aside/3", get(async || vec![7u8; 2048]))
        .route("/audit", get(audit))
        .route("/switch", get(switch).put(set_switch))
        .route("/live", get(live))
        .merge(box_buffer::routes())
        .merge(box_lists::routes());
    Router::new()
        .nest("/api/v1", api)
        .fallback(async || Problem::new(Code::NotFound, "no such route").into_response())
        .layer(axum::middleware::from_fn_with_state(world.clone(), note))
        .with_state(world)
}

/// Notes each request, and asks for the token where one is needed.
async fn note(
    State(world): State<Shared>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let refused = {
        let mut w = lock(&world);
        let shown = parts.headers.get("authorization").is_some_and(|t| t == &format!("Bearer {TOKEN}"));
        let (uri, headers) = (parts.uri.to_string(), parts.headers.clone());
        let refused = w.auth && !shown && parts.uri.path() != "/api/v1/session";
        w.seen.push(Seen { method: parts.method.clone(), uri, headers, body: body.to_vec() });
        refused
    };
    if refused {
        return Problem::new(Code::Unauthenticated, "no session").into_response();
    }
    next.run(axum::extract::Request::from_parts(parts, body.into())).await
}

async fn sign_in(Json(r): Json<SessionRequest>) -> Response {
    if (r.user.as_str(), r.password.as_str()) != ("admin", "correct horse") {
        return Problem::new(Code::Unauthenticated, "user or password is wrong").into_response();
    }
    let grants = vec![GrantView { path: String::new(), role: Role::Admin }];
    let expires_us = NOW_US + 3_600_000_000;
    Json(SessionResponse { token: TOKEN.into(), expires_us, user: r.user, grants }).into_response()
}

/// One twin a page, so that paging is walked.
async fn twins(State(w): State<Shared>, Query(q): Query<HashMap<String, String>>) -> Response {
    let at: usize = q.get("cursor").map_or(0, |c| c.parse().unwrap());
    let filter = q.get("filter").cloned().unwrap_or_default();
    let all: Vec<_> = lock(&w).twins.iter().filter(|t| t.asset.contains(&filter)).cloned().collect();
    let next_cursor = (at + 1 < all.len()).then(|| (at + 1).to_string());
    Json(Page { items: all.into_iter().skip(at).take(1).collect(), next_cursor }).into_response()
}

fn find(w: &World, name: &str) -> Option<TwinView> {
    let fits =
        |t: &&TwinView| t.id.to_string() == name || t.asset == name || t.asset.ends_with(&format!("/{name}"));
    w.twins.iter().find(fits).cloned()
}

async fn one_twin(State(w): State<Shared>, Part(name): Part<String>) -> Response {
    match find(&lock(&w), &name) {
        Some(t) => Json(t).into_response(),
        None => Problem::new(Code::NotFound, format!("no twin `{name}`")).into_response(),
    }
}

async fn history(
    State(w): State<Shared>,
    Part((name, point)): Part<(String, String)>,
    Query(q): Query<HashMap<String, String>>,
) -> Response {
    let w = lock(&w);
    let Some(twin) = find(&w, &name) else {
        return Problem::new(Code::NotFound, "no such twin").into_response();
    };
    if !twin.points.iter().any(|p| *p.schema.name == *point) {
        return Problem::new(Code::UnknownPoint, "no such point").into_response();
    }
    let n: u32 = q["max_points"].parse().unwrap();
    let times = q.get("times").map(|_| HistoryTimes {
        good_us: 54_000_000,
        bad_us: 6_000_000,
        states: vec![
            StateTime { value: true.into(), us: 40_500_000 },
            StateTime { value: false.into(), us: 13_500_000 },
        ],
        ..HistoryTimes::default()
    });
    let row = |i: i64| {
        let x = i as f64;
        let part = |x: f64| w.rollup.then_some(x);
        HistoryPoint {
            min: part(x - 1.0),
            max: part(x + 1.0),
            mean: part(x),
            count: if w.rollup { 10 } else { 1 },
            good: if w.rollup { 10 } else { 1 },
            times: times.clone().filter(|_| w.rollup),
            ..HistoryPoint::raw(NOW_US + i * 1_000_000, Some(x.into()), Quality::GOOD)
        }
    };
    let bucket = Resolution::Rollup { bucket_us: 1_000_000 };
    Json(HistoryResponse {
        twin: twin.asset,
        point,
        unit: "Cel".into(),
        from_us: NOW_US,
        to_us: NOW_US + 10_000_000,
        resolution: if w.rollup { bucket } else { Resolution::Raw },
        points: (0..i64::from(n.min(11))).map(row).collect(),
        gaps: vec![HistoryGap {
            count: Some(412),
            ..HistoryGap::new(NOW_US + 20_000_000, NOW_US + 62_000_000, GapReason::Quota)
        }],
        times,
    })
    .into_response()
}

async fn aligned(State(w): State<Shared>, Json(body): Json<AlignedRequest>) -> Json<AlignedResponse> {
    lock(&w).aligned.push(body.clone());
    let column = |p: PointRef| AlignedColumn {
        twin: p.twin,
        point: p.point,
        unit: "Cel".into(),
        values: vec![Some(Value::F64(1.5)), Some(Value::F64(2.5)), None],
        quality: vec![Quality::GOOD, Quality::UNCERTAIN_RANGE, Quality::BAD_TIMEOUT],
    };
    let columns = body.points.into_iter().map(column).collect();
    Json(AlignedResponse { from_us: NOW_US, step_us: 60_000_000, rows: 3, columns })
}

/// Two chunks; of CSV the second never comes.
async fn export(Json(body): Json<ExportRequest>) -> Response {
    let is_cut = body.format == ExportFormat::Csv;
    let end = async move {
        // So that the head and the first chunk go out.
        tokio::task::yield_now().await;
        if is_cut { Err(std::io::Error::other("cut")) } else { Ok("PAR1") }
    };
    let first = futures_util::stream::iter([Ok("PAR1")]);
    Response::new(axum::body::Body::from_stream(first.chain(futures_util::stream::once(end))))
}

async fn delete_history(Query(q): Query<HashMap<String, String>>) -> Json<HistoryDeleted> {
    assert_eq!((q["from"].as_str(), q["to"].as_str(), q["reason"].as_str()), ("-2h", "-1h", "a test"));
    Json(HistoryDeleted { samples: 1 })
}

async fn command(
    State(w): State<Shared>,
    Part(name): Part<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut w = lock(&w);
    let Some(key) = headers.get("idempotency-key").map(|k| k.to_str().unwrap().to_owned()) else {
        return Problem::new(Code::PreconditionRequired, "Idempotency-Key").into_response();
    };
    let request: CommandRequest = match serde_json::from_slice(&body) {
        Ok(r) => r,
        Err(e) => return Problem::new(Code::InvalidRequest, e.to_string()).into_response(),
    };
    if let Some(problem) = &w.refuse {
        return problem.clone().into_response();
    }
    if let Some((first, known)) = w.keys.get(&key) {
        return match *first == request {
            true => {
                let known = w.commands.iter().find(|c| c.id == *known).unwrap();
                (StatusCode::ACCEPTED, Json(known.clone())).into_response()
            }
            false => Problem::new(Code::IdempotencyConflict, "another command has this key").into_response(),
        };
    }
    let twin = find(&w, &name).unwrap();
    let view = CommandView {
        id: CommandId::new(),
        twin: twin.id,
        asset: twin.asset,
        point: request.point.clone(),
        value: request.value.clone(),
        requester: Requester { name: "admin".into(), origin: Origin::Cloud },
        reason: request.reason.clone(),
        state: CommandState::Accepted,
        code: None,
        detail: String::new(),
        read_back: None,
        created_us: NOW_US,
        expires_us: NOW_US + i64::try_from(request.ttl_ms).unwrap() * 1000,
        steps: vec![CommandStep { state: CommandState::Accepted, at_us: NOW_US }],
    };
    w.keys.insert(key, (request, view.id));
    w.commands.insert(0, view.clone());
    (StatusCode::ACCEPTED, [("location", format!("/api/v1/commands/{}", view.id))], Json(view))
        .into_response()
}

async fn commands(State(w): State<Shared>, Query(q): Query<HashMap<String, String>>) -> Response {
    let limit: usize = q["limit"].parse().unwrap();
    Json(Page { items: lock(&w).commands.iter().take(limit).cloned().collect(), next_cursor: None })
        .into_response()
}

async fn one_command(State(w): State<Shared>, Part(name): Part<CommandId>) -> Response {
    let mut w = lock(&w);
    let ((state, code), left) = (w.outcome, w.asks_before_end);
    w.asks_before_end = left.saturating_sub(1);
    let Some(c) = w.commands.iter_mut().find(|c| c.id == name) else {
        return Problem::new(Code::NotFound, "no such command").into_response();
    };
    if left == 0 && !c.state.is_final() {
        c.state = state;
        c.code = code;
        c.detail = code.map(|_| "as the test wants".into()).unwrap_or_default();
        c.read_back = (state == CommandState::Succeeded).then(|| c.value.clone());
        c.steps.push(CommandStep { state, at_us: NOW_US + 1 });
    }
    Json(c.clone()).into_response()
}

async fn audit(Query(q): Query<HashMap<String, String>>) -> Response {
    let entry = |severity, action: &str| LogEntry {
        at_us: NOW_US,
        actor: "admin".into(),
        action: action.into(),
        target: "g1".into(),
        twin: None,
        severity,
        code: None,
        detail: "by hand".into(),
    };
    let all = [entry(Severity::Info, "user.login"), entry(Severity::Warning, "switch.remote")];
    let least =
        q.get("min_severity").map_or(Severity::Info, |s| serde_json::from_value(s.clone().into()).unwrap());
    Json(Page { items: all.into_iter().filter(|e| e.severity >= least).collect(), next_cursor: None })
        .into_response()
}

async fn switch(State(w): State<Shared>) -> Response {
    let w = lock(&w);
    if w.is_box {
        Json(w.switch.clone()).into_response()
    } else {
        Problem::new(Code::NotFound, "no such route").into_response()
    }
}

async fn set_switch(State(w): State<Shared>, Json(to): Json<SwitchRequest>) -> Response {
    let mut w = lock(&w);
    if !w.is_box {
        return Problem::new(Code::NotFound, "no such route").into_response();
    }
    w.switch = to.clone();
    Json(to).into_response()
}

async fn live(State(w): State<Shared>, uri: Uri, upgrade: WebSocketUpgrade) -> Response {
    if lock(&w).is_box {
        return Problem::new(Code::NotFound, uri.to_string()).into_response();
    }
    upgrade.on_upgrade(|socket| async { speak(socket).await.unwrap() })
}

/// One schema, a frame of every row, a text, and a frame of one row; then waits for the client to go.
async fn speak(mut socket: WebSocket) -> Option<()> {
    let Message::Text(hello) = socket.recv().await?.ok()? else { return None };
    let ClientMessage::Subscribe { max_hz } = serde_json::from_str(&hello).ok()?;
    assert_eq!(max_hz, Some(10.0));
    let names = [(1, "temp"), (1, "mode"), (1, "recipe"), (2, "speed"), (1, "door")];
    let rows = names.map(|(n, p)| (id(n), p.to_owned())).into();
    let schema = ServerMessage::Schema { area: 3, path: "plant/coating".into(), epoch: 5, rows };
    let row = |row, value, quality| LiveRow { row, value, quality, source_us: NOW_US };
    let frame = |rows| LiveFrame { area: 3, epoch: 5, tick: 1, base_us: NOW_US, rows }.encode();
    let all = vec![
        row(0, 180.5, Quality::GOOD),
        row(1, 0.0, Quality::GOOD),
        row(2, f64::NAN, Quality::GOOD),
        row(3, 20.5, Quality::UNCERTAIN_RANGE),
        row(4, f64::NAN, Quality::BAD_TIMEOUT),
    ];
    let text = TextValue { row: 2, value: Some("NMC".into()), quality: Quality::GOOD, source_us: NOW_US };
    let texts = ServerMessage::Texts { area: 3, epoch: 5, values: vec![text] };
    let json = |m: &ServerMessage| Message::text(serde_json::to_string(m).unwrap());
    socket.send(json(&schema)).await.ok()?;
    socket.send(Message::binary(frame(all))).await.ok()?;
    socket.send(json(&texts)).await.ok()?;
    socket.send(Message::binary(frame(vec![row(0, 181.0, Quality::GOOD)]))).await.ok()?;
    while let Some(Ok(m)) = socket.recv().await {
        if matches!(m, Message::Close(_)) {
            break;
        }
    }
    Some(())
}

impl Rig {
    /// A cloud on TCP.
    pub(crate) async fn cloud() -> Self {
        let world = Arc::new(Mutex::new(world()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router(world.clone())).into_future());
        Self { world, home: tempfile::tempdir().unwrap(), target: ["--url".into(), url] }
    }

    /// A box on a Unix socket.
    pub(crate) async fn gateway() -> Self {
        let world = Arc::new(Mutex::new(World { is_box: true, ..world() }));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("gateway.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(axum::serve(listener, router(world.clone())).into_future());
        Self { world, home, target: ["--socket".into(), path.to_str().unwrap().into()] }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(crate) fn url(&self) -> &str {
        &self.target[1]
    }

    /// Runs the binary against this server.
    pub(crate) async fn run(&self, args: &[&str]) -> Done {
        let mut command = binary(self.home.path());
        finish(command.args(&self.target).args(args), b"").await
    }

    /// Where the credentials are kept.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.home.path().join("twinway/credentials.toml")
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// Output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts that the output has these parts.
    #[track_caller]
    pub(crate) fn has(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.out.contains(part), "`{part}` is not in {}\n{self:?}", self.out);
        }
        self
    }
}

/// The binary with an environment of its own.
pub(crate) fn binary(home: &Path) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_twinway")), home)
}

/// A program with an environment of its own.
pub(crate) fn clean(mut command: Command, home: &Path) -> Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs to the end, with this on standard input.
pub(crate) async fn finish(command: &mut Command, stdin: &[u8]) -> Done {
    use tokio::io::AsyncWriteExt;
    if !stdin.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let Some(mut to) = child.stdin.take() {
        // One that refuses its arguments has ended without reading it.
        let written = to.write_all(stdin).await;
        assert!(
            written.as_ref().is_ok() || written.is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
        );
    }
    end(child).await
}

/// Waits for the end.
pub(crate) async fn end(child: Child) -> Done {
    let Output { status, stdout, stderr } =
        tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the binary hangs").unwrap();
    let text = |b| String::from_utf8(b).unwrap();
    Done { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// Waits until the world is as wanted.
pub(crate) async fn reached(world: &Shared, is: impl Fn(&World) -> bool) {
    let wait = async {
        while !is(&lock(world)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("the server never saw it");
}

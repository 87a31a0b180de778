//! The local HTTP API: the same shapes as the cloud's twin API, over loopback TCP and a Unix socket. Every route
//! stands once, in `ROUTES`, with the least role that it needs; `auth` is the one place that checks it.

mod alarms;
mod auth;
#[cfg(feature = "mqtt")]
mod broker;
mod buffer;
mod commands;
mod config;
mod enrol;
mod gateway;
mod history;
mod metrics;
mod modbus;
mod mqtt;
#[cfg(feature = "opcua-server")]
mod opcua;
#[cfg(feature = "opcua-client")]
mod opcua_client;
mod serve;
mod twins;
mod watermark;

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use common::Drain;
use common::api::{AcknowledgeRequest, Problem, Role, ShelveRequest, UnshelveRequest};
use common::names::Code;
use gateway_core::{Current, Points};

use crate::broker::Handle;
use crate::config::{Config, Token};
use crate::opcua::OpcuaServer;
use crate::parts::SampleCounts;
use crate::reload::Reload;
use crate::vitals::Vitals;

pub(crate) use modbus::Endpoints;
pub(crate) use serve::{bind, serve};

const MAX_BODY_BYTES: usize = 64 * 1024;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What every handler has. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

pub(crate) struct Inner {
    id: common::GatewayId,
    data_dir: std::path::PathBuf,
    admission: Admission,
    reload: Reload,
    /// The user that the gateway runs as.
    uid: u32,
    points: Points,
    vitals: Arc<Vitals>,
    current: Current,
    counts: Arc<SampleCounts>,
    broker: Option<Handle>,
    endpoints: Endpoints,
    opcua: OpcuaServer,
    #[cfg(feature = "opcua-client")]
    opcua_client: gateway_adapters::opcua::Kit,
    drain: Drain,
}

/// Who may sign in over TCP, and by which names the box may be called. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Admission(Arc<RwLock<Arc<Admitted>>>);

pub(crate) struct Admitted {
    pub(crate) tokens: Vec<Token>,
    pub(crate) hosts: Vec<String>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Self::of(config)))))
    }

    fn of(config: &Config) -> Admitted {
        Admitted { tokens: config.tokens.clone(), hosts: config.api.hosts.clone() }
    }

    pub(crate) fn set(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Self::of(config));
    }

    fn now(&self) -> Arc<Admitted> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the API shows that a reload changes.
pub(crate) struct Shown {
    pub(crate) admission: Admission,
    pub(crate) endpoints: Endpoints,
    pub(crate) opcua: OpcuaServer,
    #[cfg(feature = "opcua-client")]
    pub(crate) opcua_client: gateway_adapters::opcua::Kit,
    pub(crate) reload: Reload,
}

impl Api {
    pub(crate) fn new(
        config: &Config,
        vitals: Arc<Vitals>,
        current: Current,
        counts: Arc<SampleCounts>,
        broker: Option<Handle>,
        shown: Shown,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Inner {
            id: config.id.clone(),
            data_dir: config.data_dir.clone(),
            admission: shown.admission,
            reload: shown.reload,
            uid: auth::own_uid(),
            points: vitals.points.clone(),
            vitals,
            current,
            counts,
            broker,
            endpoints: shown.endpoints,
            opcua: shown.opcua,
            #[cfg(feature = "opcua-client")]
            opcua_client: shown.opcua_client,
            drain,
        }))
    }
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

struct Route {
    method: Method,
    /// As axum writes it.
    path: &'static str,
    /// None: anyone who reaches the address.
    least: Option<Role>,
    handler: fn() -> MethodRouter<Api>,
}

const fn route(
    method: Method,
    path: &'static str,
    least: Option<Role>,
    handler: fn() -> MethodRouter<Api>,
) -> Route {
    Route { method, path, least, handler }
}

/// Every route, with the least role that it needs.
const ROUTES: &[Route] = &[
    route(Method::GET, "/healthz", None, || get(gateway::healthz)),
    route(Method::GET, "/readyz", None, || get(gateway::readyz)),
    route(Method::GET, "/metrics", None, || get(metrics::metrics)),
    route(Method::GET, "/api/v1/session", Some(Role::Viewer), || get(gateway::who_am_i)),
    route(Method::GET, "/api/v1/twins", Some(Role::Viewer), || get(twins::list)),
    route(Method::GET, "/api/v1/twins/{id}", Some(Role::Viewer), || get(twins::one)),
    route(Method::GET, "/api/v1/twins/{id}/points/{point}/history", Some(Role::Viewer), || {
        get(history::history)
    }),
    route(Method::POST, "/api/v1/twins/{id}/commands", Some(Role::Operator), || post(commands::submit)),
    route(Method::GET, "/api/v1/commands", Some(Role::Viewer), || get(commands::list)),
    route(Method::GET, "/api/v1/commands/{id}", Some(Role::Viewer), || get(commands::one)),
    route(Method::GET, "/api/v1/alarms", Some(Role::Viewer), || get(alarms::list)),
    route(Method::POST, "/api/v1/alarms/{id}/acknowledge", Some(Role::Operator), || {
        post(alarms::act::<AcknowledgeRequest>)
    }),
    route(Method::POST, "/api/v1/alarms/{id}/shelve", Some(Role::Operator), || {
        post(alarms::act::<ShelveRequest>)
    }),
    route(Method::POST, "/api/v1/alarms/{id}/unshelve", Some(Role::Operator), || {
        post(alarms::act::<UnshelveRequest>)
    }),
    route(Method::GET, "/api/v1/gateways", Some(Role::Viewer), || get(gateway::list)),
    route(Method::GET, "/api/v1/config", Some(Role::Viewer), || get(config::show)),
    route(Method::POST, "/api/v1/config/reload", Some(Role::Admin), || post(config::reload)),
    route(Method::GET, "/api/v1/identity", Some(Role::Viewer), || get(enrol::show)),
    route(Method::PUT, "/api/v1/identity", Some(Role::Admin), || put(enrol::keep)),
    route(Method::POST, "/api/v1/identity/request", Some(Role::Admin), || post(enrol::request)),
    route(Method::GET, "/api/v1/audit", Some(Role::Viewer), || get(gateway::audit)),
    route(Method::GET, "/api/v1/assets", Some(Role::Viewer), || get(twins::assets)),
    route(Method::GET, "/api/v1/modbus/endpoints", Some(Role::Viewer), || get(modbus::endpoints)),
    route(Method::GET, "/api/v1/mqtt/unknown", Some(Role::Viewer), || get(mqtt::unknown)),
    route(Method::GET, "/api/v1/switch", Some(Role::Viewer), || get(gateway::switch)),
    route(Method::PUT, "/api/v1/switch", Some(Role::Engineer), || put(gateway::set_switch)),
    #[cfg(feature = "mqtt")]
    route(Method::GET, "/api/v1/broker", Some(Role::Viewer), || get(broker::status)),
    route(Method::GET, "/api/v1/buffer", Some(Role::Viewer), || get(buffer::status)),
    route(Method::GET, "/api/v1/buffer/export", Some(Role::Engineer), || get(buffer::export)),
    route(Method::GET, "/api/v1/buffer/verify", Some(Role::Engineer), || get(buffer::verify)),
    route(Method::POST, "/api/v1/buffer/drop", Some(Role::Admin), || post(buffer::drop_samples)),
    #[cfg(feature = "opcua-server")]
    route(Method::GET, "/api/v1/opcua/nodeset", Some(Role::Viewer), || get(opcua::nodeset)),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/endpoints", Some(Role::Engineer), || post(opcua_client::endpoints)),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/browse", Some(Role::Engineer), || post(opcua_client::browse)),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/read", Some(Role::Engineer), || post(opcua_client::read)),
    #[cfg(feature = "opcua-client")]
    route(Method::GET, "/api/v1/opcua/points", Some(Role::Viewer), || get(opcua_client::points)),
    #[cfg(feature = "opcua-client")]
    route(Method::GET, "/api/v1/opcua/certificates", Some(Role::Viewer), || get(opcua_client::certificates)),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/certificates/{fingerprint}/trust", Some(Role::Admin), || {
        post(opcua_client::trust)
    }),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/certificates/{fingerprint}/distrust", Some(Role::Admin), || {
        post(opcua_client::distrust)
    }),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/users/{fingerprint}/trust", Some(Role::Admin), || {
        post(opcua_client::trust_user)
    }),
    #[cfg(feature = "opcua-client")]
    route(Method::POST, "/api/v1/opcua/users/{fingerprint}/distrust", Some(Role::Admin), || {
        post(opcua_client::distrust_user)
    }),
    route(Method::GET, "/api/v1/watermark", Some(Role::Viewer), || get(watermark::stream)),
];

/// Every route as method, path and the least role that it needs.
pub fn routes() -> impl Iterator<Item = (Method, &'static str, Option<Role>)> {
    ROUTES.iter().map(|r| (r.method.clone(), r.path, r.least))
}

/// All routes, each behind the check of its role.
pub(crate) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let guard = from_fn_with_state((api.clone(), route.least), auth::guard);
        router = router.route(route.path, (route.handler)().layer(guard));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), auth::check_host))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("there is no {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri, State(_): State<Api>) -> Response {
    let mut problem = Problem::new(Code::InvalidRequest, format!("{} does not take {method}", uri.path()));
    problem.status = 405;
    problem.into_response()
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

/// `limit` of a list.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(DEFAULT_LIMIT),
        Some(n) if (1..=MAX_LIMIT).contains(&n) => Ok(n),
        Some(n) => Err(invalid(format!("limit = {n} is not within 1 to {MAX_LIMIT}"))),
    }
}

/// The query of a request, or a problem that says what is wrong with it.
fn query<T: serde::de::DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri).map(|q| q.0).map_err(|e| invalid(e.body_text()))
}

/// A JSON body, whatever its exact type is called.
fn json<T: serde::de::DeserializeOwned>(headers: &axum::http::HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let kind =
        headers.get(axum::http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(invalid("expected `Content-Type: application/json`"));
    }
    serde_json::from_slice(body).map_err(|e| invalid(format!("body: {e}")))
}

//! The router: every row of the table with its guard and its handler, and around all of them what every
//! request goes through: a request id, the Host check, metrics, headers, and a lid on panics.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use common::names::Code;
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::auth::origin::check_host;
use crate::context::{Api, Context};
use crate::error::ApiError;
use crate::guard::guard;
use crate::table::{Op, ROUTES, Route};
use crate::{
    alarms, audit, commands, configuration, enrol, gateways, history, keys, live, probes, releases, rollout,
    session, sets, twins, ui, users, waveforms,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The HTTP API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: the limit on signing
/// in goes by the client's address.
pub fn router(context: Context) -> Router {
    let api = Api::new(context);
    let mut router = Router::new();
    for route in ROUTES {
        let guard = from_fn_with_state((api.clone(), route), guard);
        router = router.route(route.path, handler(route).route_layer(guard));
    }
    router
        .method_not_allowed_fallback(not_allowed)
        .fallback(ui::fallback)
        .layer(from_fn_with_state(api.clone(), around))
        .with_state(api)
}

fn handler(route: &Route) -> MethodRouter<Api> {
    let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
    match route.op {
        Op::SignIn => on(filter, session::sign_in),
        Op::WhoAmI => on(filter, session::who_am_i),
        Op::SignOut => on(filter, session::sign_out),
        Op::ListTwins => on(filter, twins::list),
        Op::GetTwin => on(filter, twins::get),
        Op::PatchDesired => on(filter, commands::routes::patch_desired),
        Op::PastPoints => on(filter, history::past),
        Op::History => on(filter, history::get),
        Op::Waveforms => on(filter, waveforms::list),
        Op::Waveform => on(filter, waveforms::get),
        Op::DeleteHistory => on(filter, sets::delete),
        Op::AlignHistory => on(filter, sets::aligned),
        Op::ExportHistory => on(filter, sets::export),
        Op::SendCommand => on(filter, commands::routes::send),
        Op::ListCommands => on(filter, commands::routes::list),
        Op::GetCommand => on(filter, commands::routes::get),
        Op::ListAlarms => on(filter, alarms::list),
        Op::AcknowledgeAlarm => on(filter, alarms::acknowledge),
        Op::ShelveAlarm => on(filter, alarms::shelve),
        Op::UnshelveAlarm => on(filter, alarms::unshelve),
        Op::ListGateways => on(filter, gateways::list),
        Op::EnrolGateway => on(filter, gateways::enrol),
        Op::AcceptBox => on(filter, gateways::accept),
        Op::ListSetAside => on(filter, gateways::set_aside),
        Op::GetSetAside => on(filter, gateways::set_aside_frame),
        Op::CreateEnrolmentCode => on(filter, enrol::create_code),
        Op::Enrol => on(filter, enrol::enrol),
        Op::ListCertificates => on(filter, enrol::certificates),
        Op::RevokeGateway => on(filter, enrol::revoke),
        Op::GetConfiguration => on(filter, configuration::get),
        Op::PutConfiguration => on(filter, configuration::put),
        Op::ListConfigurations => on(filter, configuration::list),
        Op::GetConfigurationDocument => on(filter, configuration::document),
        Op::AddRelease => on(filter, releases::add),
        Op::ListReleases => on(filter, releases::list),
        Op::RemoveRelease => on(filter, releases::remove),
        Op::SetGroup => on(filter, rollout::set_group),
        Op::ListUpdates => on(filter, rollout::updates),
        Op::GetUpdate => on(filter, rollout::update),
        Op::GetRollout => on(filter, rollout::get),
        Op::StartRollout => on(filter, rollout::start),
        Op::HaltRollout => on(filter, rollout::halt),
        Op::ResumeRollout => on(filter, rollout::go_on),
        Op::ListAudit => on(filter, audit::list),
        Op::ListAssets => on(filter, twins::tree),
        Op::ListUsers => on(filter, users::list),
        Op::CreateUser => on(filter, users::create),
        Op::DeleteUser => on(filter, users::delete),
        Op::SetPassword => on(filter, users::set_password),
        Op::ListKeys => on(filter, keys::list),
        Op::CreateKey => on(filter, keys::create),
        Op::DeleteKey => on(filter, keys::delete),
        Op::Live => on(filter, live::connect),
        Op::OpenApi => on(filter, probes::openapi),
        Op::Health => on(filter, probes::health),
        Op::Ready => on(filter, probes::ready),
        Op::Metrics => on(filter, probes::metrics),
    }
}

async fn not_allowed() -> ApiError {
    ApiError::with_status(StatusCode::METHOD_NOT_ALLOWED, "the route does not take this method")
}

/// What every request goes through.
async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let matched = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_owned());
    // Paths that no route takes are many: they share a label.
    let route = matched.unwrap_or_else(|| "other".to_owned());
    let method = method_label(request.method());
    let is_probe = matches!(route.as_str(), "/healthz" | "/readyz");
    let host = check_host(request.headers(), request.uri(), &api.options.hosts);
    let span = tracing::debug_span!("http", %route, method, request = id.to_str().unwrap_or("?"));
    let mut response = match host {
        // Probes come by address, and tell nothing.
        Err(error) if !is_probe => error.into_response(),
        _ => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
            answer.unwrap_or_else(|_| {
                tracing::error!(%route, method, "a handler panicked");
                ApiError::new(Code::Internal, "something went wrong here, it is in the log").into_response()
            })
        }
    };
    let status = response.status().as_u16();
    let took = began.elapsed();
    api.metrics.request(&route, method, status, took);
    span.in_scope(|| tracing::debug!(status, took_us = took.as_micros(), "answered"));
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The client's own request id if it can be repeated safely, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |v: &&HeaderValue| {
        let bytes = v.as_bytes();
        (1..=64).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none"))
    })
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

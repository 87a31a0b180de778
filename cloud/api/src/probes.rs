//! What machines ask about the service itself: alive, ready, metrics, and the API's description.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::names::Code;

use crate::context::Api;
use crate::error::ApiError;
use crate::{metrics, openapi};

pub(crate) async fn health() -> &'static str {
    "ok\n"
}

pub(crate) async fn ready(State(api): State<Api>) -> Result<&'static str, ApiError> {
    if api.drain.is_started() {
        return Err(ApiError::new(Code::Unavailable, "the service is stopping"));
    }
    (api.readiness)().map_err(|why| ApiError::new(Code::Unavailable, why))?;
    Ok("ready\n")
}

pub(crate) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let text =
        api.metrics.text().map_err(|_| ApiError::new(Code::Internal, "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text()).into_response()
}

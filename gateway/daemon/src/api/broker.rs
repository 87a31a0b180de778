//! `GET /api/v1/broker`: who is connected to the embedded broker, what waits for whom, and what was dropped.

use axum::Json;
use axum::extract::State;
use common::api::Problem;
use common::names::Code;

use super::Api;

/// The broker's status, or `not_found` where none runs.
pub(super) async fn status(State(api): State<Api>) -> Result<Json<gateway_broker::Status>, Problem> {
    let broker = api.broker.as_ref();
    broker
        .map(|b| Json(b.status()))
        .ok_or_else(|| Problem::new(Code::NotFound, "this gateway runs no broker"))
}

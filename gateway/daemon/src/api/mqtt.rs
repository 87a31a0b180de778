//! Topics on the broker that no point takes.

use axum::Json;
use axum::extract::State;
use common::api::{Problem, UnknownTopics};
use common::names::Code;

use super::Api;

pub(super) async fn unknown(State(api): State<Api>) -> Result<Json<UnknownTopics>, Problem> {
    let unknown = api.vitals.unknown.get();
    let unknown =
        unknown.ok_or_else(|| Problem::new(Code::Unavailable, "the embedded broker is switched off"))?;
    let (items, beyond) = unknown.list();
    Ok(Json(UnknownTopics { items, beyond }))
}

//! The configuration that runs, and taking a new one.

use axum::Json;
use axum::extract::{Extension, State};
use common::api::{ConfigView, Problem, ReloadReport};

use super::Api;
use super::auth::Caller;

pub(super) async fn show(State(api): State<Api>) -> Json<ConfigView> {
    Json(api.reload.view())
}

/// Answers when it is done: the files' configuration runs, or every mistake is told and the old one runs on.
pub(super) async fn reload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ReloadReport>, Problem> {
    api.reload.ask(&caller.name).await.map(Json).map_err(|error| error.problem())
}

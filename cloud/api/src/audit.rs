//! The audit and event list. Who does not see the whole installation sees entries about twins only.

use axum::Json;
use axum::extract::State;
use cloud_core::Scope;
use common::api::{Page, Role};
use common::command::{LogEntry, Severity};
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::{Caller, find_twin};
use crate::request::{Paging, Params, cursor_error};

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    twin: Option<String>,
    min_severity: Option<Severity>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<LogEntry>>, ApiError> {
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let rows = paging.rows()?;
    let all = caller.access.allows(Role::Admin, &Scope::Whole);
    let twins = match query.twin {
        Some(name) => Some(vec![find_twin(&api, &caller, &name)?.id]),
        None if all => None,
        // Without an admin's grant: entries about twins, never about accounts and keys.
        None => Some(caller.twins(&api).unwrap_or_else(|| api.world.read().twins.keys().copied().collect())),
    };
    let severity = query.min_severity.unwrap_or(Severity::Info);
    let page = api.storage.audit(twins.as_deref(), severity, paging.cursor.as_deref(), rows).await;
    page.map(Json).map_err(cursor_error)
}

//! Alarms at the box: the list, and acknowledging and shelving.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Uri};
use common::alarm::{AlarmAct, AlarmState, AlarmView};
use common::api::{AcknowledgeRequest, Page, Problem, ShelveRequest, UnshelveRequest};
use common::names::Code;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::auth::Caller;
use super::{Api, invalid, json, limit, query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    cursor: Option<usize>,
    limit: Option<usize>,
    #[serde(default)]
    all: bool,
}

/// Those that need somebody, or all.
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Page<AlarmView>>, Problem> {
    let q: ListQuery = query(&uri)?;
    let (start, limit) = (q.cursor.unwrap_or(0), limit(q.limit)?);
    let shown = |a: &AlarmView| q.all || a.state != AlarmState::Normal || a.shelved_until_us.is_some();
    let mut found = api.vitals.alarms.list().into_iter().filter(shown).skip(start);
    let items: Vec<_> = found.by_ref().take(limit).collect();
    let next_cursor = found.next().map(|_| (start + items.len()).to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// What is asked of an alarm, and what is said to it.
pub(super) trait Asked: DeserializeOwned {
    fn parts(self) -> (AlarmAct, String);
}

impl Asked for AcknowledgeRequest {
    fn parts(self) -> (AlarmAct, String) {
        (AlarmAct::Acknowledge { raised_us: self.raised_us }, self.comment)
    }
}

impl Asked for ShelveRequest {
    fn parts(self) -> (AlarmAct, String) {
        (AlarmAct::Shelve { duration_ms: self.duration_ms }, self.comment)
    }
}

impl Asked for UnshelveRequest {
    fn parts(self) -> (AlarmAct, String) {
        (AlarmAct::Unshelve, self.comment)
    }
}

pub(super) async fn act<R: Asked>(
    State(api): State<Api>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<AlarmView>, Problem> {
    let (act, comment) = json::<R>(&headers, &body)?.parts();
    if comment.chars().any(|c| c.is_control() && c != '\n') {
        return Err(invalid("a comment is plain text"));
    }
    let id = id.parse().map_err(|_| Problem::new(Code::NotFound, format!("there is no alarm `{id}`")))?;
    let comment = Some(comment.as_str()).filter(|c| !c.is_empty());
    let done = api.vitals.alarms.act(id, act, &caller.name, comment);
    done.map(Json).map_err(|(code, detail)| Problem::new(code, detail))
}

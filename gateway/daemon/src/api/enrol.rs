//! Enrolment at the box: its signing request, and the certificate that came for it. The key never leaves.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use common::api::{Enrolled, IdentityView, Problem, SigningRequest};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Body as FrameBody;
use gateway_core::FrameLog as _;
use gateway_sync::{EnrolError, Enrolment, EnrolmentFolder};

use super::auth::Caller;
use super::{Api, json};

fn problem(error: &EnrolError) -> Problem {
    let code = match error {
        EnrolError::File { .. } | EnrolError::Damaged { .. } => Code::Internal,
        EnrolError::Wrong(_) => Code::Conflict,
    };
    Problem::new(code, error.to_string())
}

async fn at<T: Send + 'static>(
    api: &Api,
    what: impl FnOnce(EnrolmentFolder) -> Result<T, EnrolError> + Send + 'static,
) -> Result<T, Problem> {
    let folder = EnrolmentFolder::of(&api.data_dir);
    let done = tokio::task::spawn_blocking(move || what(folder)).await;
    done.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.map_err(|e| problem(&e))
}

fn view(enrolment: &Enrolment) -> Result<Json<IdentityView>, Problem> {
    enrolment.view().map(Json).map_err(|e| Problem::new(Code::Internal, e))
}

/// How the box is enrolled.
pub(super) async fn show(State(api): State<Api>) -> Result<Json<IdentityView>, Problem> {
    match at(&api, |folder| folder.read()).await? {
        Some(enrolment) => view(&enrolment),
        None => Err(Problem::new(Code::NotFound, "this box is not enrolled")),
    }
}

/// A signing request for a key that waits for its certificate.
pub(super) async fn request(State(api): State<Api>) -> Result<Json<SigningRequest>, Problem> {
    let gateway = api.id.clone();
    let request = at(&api, move |folder| folder.request(&gateway)).await?;
    Ok(Json(SigningRequest { gateway: api.id.clone(), request }))
}

/// Keeps what the cloud issued, and has the uplink begin with it.
pub(super) async fn keep(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<IdentityView>, Problem> {
    let enrolled: Enrolled = json(&headers, &body)?;
    // Kept all the same, the configuration would be wrong by it, and the gateway not start any more.
    let tenant = api.points.now().schema().tenant.clone();
    if enrolled.gateway != api.id || enrolled.tenant != tenant {
        let detail = format!(
            "the certificate is of `{}/{}` and this box is `{tenant}/{}`: set `[gateway] id` (and `tenant`) to that and restart, or \
             ask for a code for this",
            enrolled.tenant, enrolled.gateway, api.id
        );
        return Err(Problem::new(Code::Conflict, detail));
    }
    let kept = at(&api, move |folder| folder.keep(enrolled)).await?;
    let told = api.vitals.log.append(FrameBody::Audit(LogEntry {
        at_us: api.vitals.clock.now_us(),
        actor: caller.name.clone(),
        action: action::GATEWAY_ENROLLED.to_owned(),
        target: api.id.to_string(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: format!("at {}", kept.enrolled.url),
    }));
    if let Err(error) = told {
        tracing::warn!(%error, "enrolment is not on record");
    }
    // It is kept, whatever the files of the configuration say now.
    api.reload.ask(&caller.name).await.map_err(|error| {
        let mut problem = error.problem();
        problem.detail = format!("enrolled, but the uplink does not begin with it: {}", problem.detail);
        problem
    })?;
    view(&kept)
}

//! Certificates of OPC UA clients, and the model as a file.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::api::{OpcuaCertificate, Page, Problem};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Body;
use gateway_core::FrameLog;
use gateway_opcua::pki::{Certificate, Folder, Listed, Pki, PkiError};

use super::Api;
use super::auth::Caller;

fn view(folder: &str, certificate: &Certificate) -> OpcuaCertificate {
    let (from_us, until_us) = certificate.validity_us();
    OpcuaCertificate {
        fingerprint: certificate.fingerprint(),
        thumbprint: certificate.thumbprint(),
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        application: certificate.application_uri(),
        folder: folder.to_owned(),
        from_us,
        until_us,
    }
}

fn problem(error: &PkiError) -> Problem {
    let code = match error {
        PkiError::NotOne { found: 0, .. } => Code::NotFound,
        PkiError::NotOne { .. } => Code::Conflict,
        PkiError::Fingerprint { .. } => Code::InvalidRequest,
        _ => Code::Internal,
    };
    Problem::new(code, error.to_string())
}

/// Files are read and written away from the runtime.
async fn with_pki<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Pki) -> Result<T, PkiError> + Send + 'static,
) -> Result<T, Problem> {
    let none = || Problem::new(Code::NotFound, "the OPC UA server does not run: add [opcua_server]");
    let pki = api.opcua.handle.as_ref().ok_or_else(none)?.pki().clone();
    let done = tokio::task::spawn_blocking(move || work(&pki)).await;
    done.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.map_err(|e| problem(&e))
}

/// Those that were refused first, because somebody may wait for them.
pub(super) async fn certificates(State(api): State<Api>) -> Result<Json<Page<OpcuaCertificate>>, Problem> {
    let found = with_pki(&api, |pki| {
        let mut all = Vec::new();
        for folder in [Folder::Rejected, Folder::Trusted, Folder::Issuers] {
            all.extend(pki.list(folder)?.iter().map(|l| view(folder.name(), &l.certificate)));
        }
        Ok(all)
    });
    Ok(Json(Page { items: found.await?, next_cursor: None }))
}

pub(super) async fn trust(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    let done = with_pki(&api, move |pki| pki.trust(&fingerprint)).await?;
    Ok(Json(told(&api, &done, &caller, action::CERTIFICATE_TRUSTED)))
}

pub(super) async fn distrust(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    let done = with_pki(&api, move |pki| pki.distrust(&fingerprint)).await?;
    Ok(Json(told(&api, &done, &caller, action::CERTIFICATE_DISTRUSTED)))
}

fn told(api: &Api, done: &Listed, caller: &Caller, action: &str) -> OpcuaCertificate {
    let view = view(done.folder.name(), &done.certificate);
    let entry = LogEntry {
        at_us: api.vitals.clock.now_us(),
        actor: caller.name.clone(),
        action: action.to_owned(),
        target: format!("opcua/{}", view.fingerprint),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: view.subject.clone(),
    };
    if let Err(error) = api.vitals.log.append(Body::Event(entry)) {
        tracing::warn!(%error, "cannot log an event");
    }
    view
}

pub(super) async fn nodeset(State(api): State<Api>) -> Result<Response, Problem> {
    let (registry, templates) = (api.points.now(), api.opcua.templates_now());
    let (gateway, tenant) = (api.id.clone(), registry.schema().tenant.clone());
    let uri = gateway_opcua_server::namespace(&tenant, &gateway);
    let made = move || gateway_opcua_server::nodeset_xml(registry, gateway, &uri, &templates);
    let xml = tokio::task::spawn_blocking(made).await;
    let xml = xml.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/xml")], xml).into_response())
}

//! Configuration documents of gateways: put under a version of their own, and what became of them at the box.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use cloud_core::{GatewayKey, StoreError};
use common::api::{
    ConfigurationDocument, ConfigurationEntry, ConfigurationRequest, ConfigurationView, MAX_DOCUMENT_BYTES,
    Page,
};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use sha2::{Digest as _, Sha256};

use crate::context::Api;
use crate::error::ApiError;
use crate::gateways::known;
use crate::guard::Caller;
use crate::request::{LargeBody, Paging, Params, check_reason, cursor_error, if_match};

/// What is wanted, and what the box told of it, with the newest version as ETag.
async fn view(api: &Api, key: &GatewayKey) -> Result<ConfigurationView, ApiError> {
    let newest = api.storage.configurations(key, None, 1).await?.items.into_iter().next();
    let report = api.storage.configuration_report(key).await?;
    Ok(ConfigurationView::of(key.gateway.clone(), newest, report))
}

fn tagged(view: ConfigurationView) -> Response {
    let version = view.wanted.as_ref().map_or(0, |w| w.version);
    ([(header::ETAG, format!("\"{version}\""))], Json(view)).into_response()
}

pub(crate) async fn get(
    State(api): State<Api>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(tagged(view(&api, &known(&api, &id)?).await?))
}

pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    LargeBody(request): LargeBody<ConfigurationRequest>,
) -> Result<Response, ApiError> {
    check_reason(&request.note)?;
    if request.document.len() > MAX_DOCUMENT_BYTES {
        let detail = format!("a document has at most {MAX_DOCUMENT_BYTES} bytes: use templates");
        return Err(ApiError::new(Code::TooLarge, detail));
    }
    if let Some(at) = request.document.find('\0') {
        return Err(ApiError::invalid(format!("byte {at} of the document is zero: that is no TOML")));
    }
    let key = known(&api, &id)?;
    let before = view(&api, &key).await?;
    let version = before.wanted.as_ref().map_or(0, |w| w.version);
    if !if_match(&headers, version)? {
        return Err(changed());
    }
    // Until a document runs, any files of the box will do.
    let base = before.report.and_then(|r| r.settled);
    let hash = common::text::hex(&Sha256::digest(request.document.as_bytes()));
    let entry = ConfigurationEntry {
        version: version + 1,
        bytes: request.document.len() as u64,
        author: caller.access.name,
        at_us: api.clock.now_us(),
        note: request.note,
        force: request.force,
        base,
        hash,
    };
    let audit = LogEntry {
        at_us: entry.at_us,
        actor: entry.author.clone(),
        action: action::CONFIGURATION_PUT.into(),
        target: key.gateway.to_string(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: told(&entry),
    };
    let document = ConfigurationDocument { entry, document: request.document };
    match api.storage.put_configuration(&key, &document, &audit).await {
        Ok(()) => {}
        Err(StoreError::Conflict { .. }) => return Err(changed()),
        Err(error) => return Err(error.into()),
    }
    // A gateway that is away hears of it when it comes.
    api.downlink.configuration(&key, cloud_core::configuration::wanted(document)).await;
    Ok(tagged(view(&api, &key).await?))
}

fn told(entry: &ConfigurationEntry) -> String {
    let short = entry.hash.get(..12).unwrap_or_default();
    let forced = if entry.force { ", whatever was changed at the box" } else { "" };
    let note = if entry.note.is_empty() { String::new() } else { format!(": {}", entry.note) };
    format!("document {} of {} bytes, {short}{forced}{note}", entry.version, entry.bytes)
}

fn changed() -> ApiError {
    ApiError::new(
        Code::PreconditionFailed,
        "somebody put another document since: read it, and put yours on top of it",
    )
}

pub(crate) async fn list(
    State(api): State<Api>,
    _caller: Caller,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<ConfigurationEntry>>, ApiError> {
    let key = known(&api, &id)?;
    let page = api.storage.configurations(&key, paging.cursor.as_deref(), paging.rows()?).await;
    Ok(Json(page.map_err(cursor_error)?))
}

pub(crate) async fn document(
    State(api): State<Api>,
    _caller: Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<ConfigurationDocument>, ApiError> {
    let version = version.parse::<u32>().ok().filter(|v| *v > 0);
    let version = version.ok_or_else(|| ApiError::invalid("a version is a number from 1"))?;
    let key = known(&api, &id)?;
    let found = api.storage.configuration(&key, Some(version.into())).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("document"))
}

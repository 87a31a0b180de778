//! Signed bundles of the gateway's program: taken as they come, part by part, and kept only if they are whole. Their signatures are
//! for the boxes.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use cloud_core::StoreError;
use cloud_core::update::PART_BYTES;
use common::api::{Page, Release, RolloutState};
use common::bundle::{Head, MOST_BYTES, is_version};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::text::hex;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;

const PRODUCT: &str = "twinway-gateway";
const MEDIA: &str = "application/octet-stream";
/// A client that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);

pub(crate) async fn list(State(api): State<Api>, _caller: Caller) -> Result<Json<Page<Release>>, ApiError> {
    let items = api.storage.releases(&api.options.tenant).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

pub(crate) async fn add(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Release>), ApiError> {
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !media.eq_ignore_ascii_case(MEDIA) {
        let detail = format!("a bundle is sent as {MEDIA}");
        return Err(ApiError::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    // One at a time: what another one left half is taken away first.
    let Ok(_one) = api.uploads.try_lock() else {
        return Err(ApiError::new(
            Code::Conflict,
            "another bundle is being uploaded: try again when it is there",
        ));
    };
    api.storage.drop_uploads().await?;
    let upload = Uuid::from_u128(u128::from_le_bytes(random()?));
    let received = receive(&api, upload, request).await;
    let kept = match received {
        Ok((head, bytes, sha256)) => keep(&api, upload, &caller, head, bytes, sha256).await,
        Err(error) => Err(error),
    };
    if kept.is_err() {
        api.storage.drop_uploads().await?;
    }
    kept.map(|release| (StatusCode::CREATED, Json(release)))
}

fn random() -> Result<[u8; 16], ApiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| ApiError::new(Code::Internal, e.to_string()))?;
    Ok(bytes)
}

/// Keeps what comes, and looks whether it is what its manifest says.
async fn receive(api: &Api, upload: Uuid, request: Request) -> Result<(Head, u64, String), ApiError> {
    let mut body = request.into_body().into_data_stream();
    let (mut whole, mut files) = (Sha256::new(), Sha256::new());
    let mut head: Option<Head> = None;
    // Until the head can be read; then what is not a whole part yet.
    let (mut early, mut part) = (Vec::new(), Vec::with_capacity(PART_BYTES));
    let (mut bytes, mut parts) = (0_u64, 0_u32);
    loop {
        let next = tokio::time::timeout(SILENCE, body.next()).await;
        let late = |_| ApiError::with_status(StatusCode::REQUEST_TIMEOUT, "the bundle did not come in time");
        let Some(chunk) = next.map_err(late)? else { break };
        let chunk = chunk.map_err(|_| ApiError::invalid("the bundle ended early"))?;
        bytes += chunk.len() as u64;
        whole.update(&chunk);
        match &head {
            Some(_) => files.update(&chunk),
            None => {
                early.extend_from_slice(&chunk);
                head = Head::read(&early).map_err(ApiError::invalid)?;
                if let Some(head) = &head {
                    check(api, head).await?;
                    let at = usize::try_from(head.payload_at).unwrap_or(usize::MAX);
                    files.update(early.get(at..).unwrap_or_default());
                    early = Vec::new();
                }
            }
        }
        let most = head.as_ref().map_or(MOST_BYTES, Head::bytes);
        if bytes > most {
            let detail = format!("more than the {most} bytes that it may have");
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        part.extend_from_slice(&chunk);
        while part.len() >= PART_BYTES {
            let rest = part.split_off(PART_BYTES);
            api.storage.put_upload(upload, parts, &part).await?;
            (part, parts) = (rest, parts + 1);
        }
    }
    if !part.is_empty() {
        api.storage.put_upload(upload, parts, &part).await?;
    }
    let Some(head) = head else { return Err(ApiError::invalid("the bundle ends before its manifest does")) };
    if bytes != head.bytes() || hex(&files.finalize()) != head.manifest.payload_sha256 {
        let detail = "its files are not those of its manifest: it was changed, or cut when it was copied";
        return Err(ApiError::invalid(detail));
    }
    Ok((head, bytes, hex(&whole.finalize())))
}

async fn check(api: &Api, head: &Head) -> Result<(), ApiError> {
    let manifest = &head.manifest;
    if manifest.product != PRODUCT {
        return Err(ApiError::invalid(format!(
            "a bundle of {}, expected one of {PRODUCT}",
            manifest.product
        )));
    }
    if head.bytes() > MOST_BYTES {
        return Err(ApiError::new(Code::TooLarge, format!("a bundle has at most {MOST_BYTES} bytes")));
    }
    let kept = api.storage.releases(&api.options.tenant).await?;
    if kept.iter().any(|r| (&r.version, &r.arch) == (&manifest.version, &manifest.arch)) {
        let (version, arch) = (&manifest.version, &manifest.arch);
        let detail =
            format!("there is a bundle of {version} for {arch}: remove it, or give yours another version");
        return Err(ApiError::new(Code::Conflict, detail));
    }
    Ok(())
}

async fn keep(
    api: &Api,
    upload: Uuid,
    caller: &Caller,
    head: Head,
    bytes: u64,
    sha256: String,
) -> Result<Release, ApiError> {
    let Head { keys, manifest, digest, .. } = head;
    let release = Release {
        version: manifest.version,
        arch: manifest.arch,
        sha256,
        bytes,
        digest,
        commit: manifest.commit,
        min_from: manifest.min_from,
        signed_by: keys,
        author: caller.access.name.clone(),
        at_us: api.clock.now_us(),
    };
    let (version, arch, keys) = (&release.version, &release.arch, release.signed_by.join(", "));
    let detail = format!("{version} for {arch}, {bytes} bytes, {}, signed by key {keys}", release.sha256);
    let audit = entry(api, caller, action::RELEASE_ADDED, version.clone(), detail);
    match api.storage.put_release(&api.options.tenant, upload, &release, &audit).await {
        Ok(()) => Ok(release),
        Err(StoreError::Conflict { what }) => Err(ApiError::new(Code::Conflict, what)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn entry(api: &Api, caller: &Caller, action: &str, target: String, detail: String) -> LogEntry {
    LogEntry {
        at_us: api.clock.now_us(),
        actor: caller.access.name.clone(),
        action: action.into(),
        target,
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail,
    }
}

pub(crate) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(version): Path<String>,
) -> Result<StatusCode, ApiError> {
    if !is_version(&version) {
        return Err(ApiError::invalid("a version is of the form 1.2.3"));
    }
    let tenant = &api.options.tenant;
    let rollout = api.storage.rollout(tenant).await?;
    if rollout.is_some_and(|r| r.state == RolloutState::Running && r.version == version) {
        return Err(ApiError::new(Code::Conflict, "a rollout of this version runs: halt it first"));
    }
    let audit = entry(&api, &caller, action::RELEASE_REMOVED, version.clone(), String::new());
    match api.storage.remove_release(tenant, &version, &audit).await? {
        0 => Err(ApiError::not_found("release")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

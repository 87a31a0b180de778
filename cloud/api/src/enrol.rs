//! Enrolment: codes that an admin makes, boxes that come with one, and what revokes their certificates.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Extensions, StatusCode};
use cloud_core::enrol::{IssueError, KeptCode, MAX_FAILURES};
use cloud_core::{Authority, StoreError};
use common::api::{
    CertificateView, EnrolRequest, EnrolResponse, EnrolmentCodeCreated, EnrolmentCodeRequest, Page,
    RevokeRequest, Revoked,
};
use common::command::{LogEntry, Severity};
use common::enrol::{EnrolmentCode, Way};
use common::names::{Code, action};

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::request::{Body, check_reason};
use crate::session::peer_of;

/// Longest life of a code, hours.
const MAX_HOURS: u32 = 168;

/// What issues; or why nothing does.
fn authority(api: &Api) -> Result<&dyn Authority, ApiError> {
    let issues = api.authority.as_deref().filter(|a| a.issues());
    issues.ok_or_else(|| {
        ApiError::new(
            Code::NotSupported,
            "this cloud enrols no boxes: its ingress has no TLS, or listens on all addresses and nobody said where boxes find \
             it. Give `[ingress] names` (or `tls_cert`, `tls_key` and `url`) in its configuration",
        )
    })
}

fn entry(api: &Api, actor: String, what: &str, gateway: &str, detail: String) -> LogEntry {
    LogEntry {
        at_us: api.clock.now_us(),
        actor,
        action: what.into(),
        target: gateway.to_owned(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail,
    }
}

pub(crate) async fn create_code(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<EnrolmentCodeRequest>,
) -> Result<(StatusCode, Json<EnrolmentCodeCreated>), ApiError> {
    authority(&api)?;
    if !(1..=MAX_HOURS).contains(&request.valid_h) {
        return Err(ApiError::invalid(format!("valid_h must be 1 to {MAX_HOURS}")));
    }
    let code = EnrolmentCode::random().map_err(|e| ApiError::new(Code::Internal, e.to_string()))?;
    let now = api.clock.now_us();
    let expires_us = now.saturating_add(i64::from(request.valid_h) * 3_600_000_000);
    let kept = KeptCode {
        id: code.id(),
        key: code.key(),
        gateway: api.gateway_key(request.gateway.clone()),
        expires_us,
        failures: 0,
        used_by: None,
    };
    let detail = format!("code {}-..., good until {}", kept.id, common::clock::format_us(expires_us));
    let name = caller.access.name;
    let audit = entry(&api, name, action::GATEWAY_CODE, request.gateway.as_str(), detail);
    // 32^5 names for a few codes at a time: one that is taken is drawn again by whoever asks again.
    api.storage.create_code(&kept, now, &audit).await?;
    let answer = EnrolmentCodeCreated { gateway: request.gateway, code: code.to_string(), expires_us };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A code that is unknown, expired, used, void or not known to who asks: told apart only in the audit.
fn refused() -> ApiError {
    ApiError::new(
        Code::Forbidden,
        "the code is not good: mistyped, expired, or used up. Ask an administrator of the cloud for a new one",
    )
}

pub(crate) async fn enrol(
    State(api): State<Api>,
    extensions: Extensions,
    Body(request): Body<EnrolRequest>,
) -> Result<Json<EnrolResponse>, ApiError> {
    let authority = authority(&api)?;
    let peer = peer_of(&extensions);
    // By the peer alone: a stranger cannot keep a code from its box.
    let whose = format!("enrol {peer}");
    api.limiter
        .attempt(peer, &whose)
        .map_err(|wait| ApiError::new(Code::RateLimited, "too many attempts to enrol, wait").after(wait))?;
    let now = api.clock.now_us();
    let code = api.storage.code(&request.code).await?.filter(|c| c.expires_us > now);
    let Some(code) = code.filter(|c| c.failures < MAX_FAILURES) else { return Err(refused()) };
    let gateway = code.gateway.gateway.as_str();
    if !code.key.proves(Way::Request, request.request.as_bytes(), &request.proof) {
        api.storage.code_failed(&code.id).await?;
        let detail = format!("from {peer} with code {}-..., whose secret it does not know", code.id);
        let actor = format!("gateway:{gateway}");
        api.audit(&actor, action::GATEWAY_ENROL_FAILED, gateway.into(), Severity::Warning, detail).await?;
        return Err(refused());
    }
    if request.gateway.as_ref().is_some_and(|own| *own != code.gateway.gateway) {
        let detail = format!(
            "the code is for `{gateway}`: set `[gateway] id` of the box to that, or ask for another code"
        );
        return Err(ApiError::new(Code::Conflict, detail));
    }
    let issued = authority.issue(&code.gateway, &request.request, now).map_err(|e| match e {
        IssueError::Request(detail) => ApiError::invalid(detail),
        IssueError::NoTls | IssueError::Authority(_) => ApiError::new(Code::Internal, e.to_string()),
    })?;
    let detail = format!(
        "from {peer} with code {}-...: certificate {}, good until {}",
        code.id,
        issued.certificate.serial,
        common::clock::format_us(issued.certificate.not_after_us)
    );
    let audit = entry(&api, format!("gateway:{gateway}"), action::GATEWAY_ENROLLED, gateway, detail);
    match api.storage.enrol(&code.id, &issued.certificate, &audit).await {
        Ok(()) => {}
        Err(StoreError::Conflict { .. }) => return Err(refused()),
        Err(error) => return Err(error.into()),
    }
    if code.used_by.is_none() {
        // Who signed in with what was good before is out; the box that has the certificate is the one.
        api.downlink.credential_changed(&code.gateway).await?;
        api.limiter.succeeded(peer, &whose);
    }
    let enrolled =
        serde_json::to_string(&issued.enrolled).map_err(|e| ApiError::new(Code::Internal, e.to_string()))?;
    let proof = code.key.prove(Way::Answer, enrolled.as_bytes());
    Ok(Json(EnrolResponse { enrolled, proof }))
}

pub(crate) async fn certificates(
    State(api): State<Api>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Page<CertificateView>>, ApiError> {
    let id = id.parse().map_err(|_| ApiError::not_found("gateway"))?;
    let certificates = api.storage.certificates(&api.gateway_key(id)).await?;
    let items = certificates.iter().map(cloud_core::enrol::Certificate::view).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

pub(crate) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<RevokeRequest>,
) -> Result<Json<Revoked>, ApiError> {
    check_reason(&request.reason)?;
    if request.reason.trim().is_empty() {
        return Err(ApiError::invalid("give a reason: why this gateway is locked out"));
    }
    let id: common::GatewayId = id.parse().map_err(|_| ApiError::not_found("gateway"))?;
    let key = api.gateway_key(id);
    let (name, gateway) = (caller.access.name, key.gateway.as_str());
    let audit = entry(&api, name, action::GATEWAY_REVOKED, gateway, request.reason);
    let certificates = api.storage.revoke(&key, api.clock.now_us(), &audit).await?;
    api.downlink.credential_changed(&key).await?;
    Ok(Json(Revoked { certificates }))
}

//! Errors of the HTTP API: RFC 9457 problem documents with a stable code.

use serde::{Deserialize, Serialize};

use crate::names::Code;

/// A problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:twinway:problem:<code>`
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong in general.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: Code,
    /// What went wrong here, and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem with the code's usual status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let (status, title) = status_of(code);
        Self {
            kind: format!("urn:twinway:problem:{code}"),
            title: title.to_owned(),
            status,
            code,
            detail: detail.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

fn status_of(code: Code) -> (u16, &'static str) {
    match code {
        Code::Unauthenticated => (401, "sign in first"),
        Code::Forbidden => (403, "not allowed"),
        Code::WrongOrigin => (403, "wrong origin"),
        Code::NotFound | Code::UnknownTwin | Code::UnknownPoint => (404, "not found"),
        Code::InvalidRequest | Code::TypeMismatch => (400, "invalid request"),
        Code::PreconditionFailed => (412, "changed meanwhile"),
        Code::PreconditionRequired => (428, "precondition required"),
        Code::TooLarge => (413, "too large"),
        Code::RateLimited | Code::QueueFull => (429, "too many"),
        Code::Unavailable | Code::AuditUnavailable => (503, "not ready"),
        Code::Internal => (500, "our fault"),
        Code::OutOfLimits | Code::OutOfRawLimits | Code::NotWritable => (422, "value refused"),
        Code::Conflict
        | Code::IdempotencyConflict
        | Code::IdentityConflict
        | Code::GatewayOffline
        | Code::Interlocked
        | Code::InterlockInput
        | Code::LocalMode
        | Code::Owned
        | Code::Expired
        | Code::ChangedSince
        | Code::Interrupted
        | Code::NotSupported => (409, "not possible now"),
        Code::NotConnected | Code::DeviceTimeout | Code::DeviceRefused | Code::ReadbackMismatch => {
            (502, "the device did not do it")
        }
    }
}

#[cfg(feature = "http")]
impl axum_core::response::IntoResponse for Problem {
    fn into_response(self) -> axum_core::response::Response {
        let status =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(http::header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

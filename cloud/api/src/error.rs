//! How a handler says no: a problem document, and when to come back. Faults of storage are logged here and
//! told without their details. Not here: which code fits which case.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cloud_core::StoreError;
use common::api::Problem;
use common::names::Code;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{problem}")]
pub struct ApiError {
    /// What the client is told.
    pub problem: Problem,
    /// When it may try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// A refusal with the code's usual status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// A refusal with a status of HTTP's own, such as 405.
    pub(crate) fn with_status(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut problem = Problem::new(Code::InvalidRequest, detail);
        problem.status = status.as_u16();
        status.canonical_reason().unwrap_or("refused").to_ascii_lowercase().clone_into(&mut problem.title);
        problem.into()
    }

    /// The same, to be tried again after a time.
    #[must_use]
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Something that is not there, or not for this caller.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("no such {what}, or none that you may see"))
    }

    /// A request that is not as documented.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after: None }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::not_found(&what),
            StoreError::Conflict { what } | StoreError::Refused { what } => Self::new(Code::Conflict, what),
            StoreError::TooLarge { what } => Self::new(Code::TooLarge, what),
            StoreError::Damaged { what } => {
                tracing::error!(what, "storage is damaged");
                // It does not pass by itself.
                let detail = "a part of what is stored for this is damaged; the cloud's log names it: ask for another range, or \
                              restore a backup";
                Self::new(Code::Internal, detail)
            }
            StoreError::Database { detail } => {
                tracing::error!(detail, "storage refuses");
                Self::new(Code::Unavailable, "storage is not available, try again later")
                    .after(Duration::from_secs(1))
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.problem.status;
        let mut response = self.problem.into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"twinway\""));
        }
        response
    }
}

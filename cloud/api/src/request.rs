//! What is read from a request: JSON bodies, queries and headers. Everything that is not as documented is
//! told with what was expected.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud_core::StoreError;
use common::names::Code;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Most bytes of a body.
pub(crate) const BODY_BYTES: usize = 256 * 1024;
/// Most bytes of a body that carries a document: each of its characters may be escaped.
const LARGE_BODY_BYTES: usize = 3 * common::api::MAX_DOCUMENT_BYTES;
/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(15);
/// Rows of a page if none are asked for.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Most rows of a page.
pub(crate) const MOST_ROWS: usize = 1_000;
/// Most characters of a reason.
const REASON_CHARS: usize = 500;

/// A JSON body of `application/json`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request, &["application/json"], BODY_BYTES).await?;
        parse(&bytes).map(Self)
    }
}

/// The same of one that may be large.
pub(crate) struct LargeBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for LargeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request, &["application/json"], LARGE_BODY_BYTES).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body of `application/merge-patch+json` or `application/json`.
pub(crate) struct MergePatch<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for MergePatch<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let types = ["application/merge-patch+json", "application/json"];
        let bytes = read(request, &types, BODY_BYTES).await?;
        parse(&bytes).map(Self)
    }
}

async fn read(request: Request, types: &[&str], most: usize) -> Result<Bytes, ApiError> {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = given.and_then(|v| v.split(';').next()).map(str::trim).unwrap_or_default();
    if !types.iter().any(|t| t.eq_ignore_ascii_case(essence)) {
        let detail = format!("the body is sent as {}", types.join(" or "));
        return Err(ApiError::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let too_large = || ApiError::new(Code::TooLarge, format!("a body has at most {most} bytes"));
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if length.is_some_and(|n: usize| n > most) {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), most)).await;
    match body {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::invalid("the body ended early")),
        Err(_) => Err(ApiError::with_status(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    // axum says which error it is only through its text: the source's type is not exported.
    std::error::Error::source(error).is_some_and(|e| e.to_string().contains("length limit"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let at = e.path().to_string();
        let error = e.into_inner();
        ApiError::invalid(match at.as_str() {
            "." => format!("the body cannot be read: {error}"),
            _ => format!("the body cannot be read at `{at}`: {error}"),
        })
    })?;
    json.end().map_err(|e| ApiError::invalid(format!("the body goes on after its end: {e}")))?;
    Ok(value)
}

/// The query of a request.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|e| {
            let error: &dyn std::error::Error = &e;
            let detail = error.source().map_or_else(|| e.to_string(), ToString::to_string);
            ApiError::invalid(format!("the query cannot be read: {detail}"))
        })
    }
}

/// Where in a list, and how much of it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Paging {
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<usize>,
}

impl Paging {
    /// Rows of the page.
    pub(crate) fn rows(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            n @ 1..=MOST_ROWS => Ok(n),
            _ => Err(ApiError::invalid(format!("`limit` is 1 to {MOST_ROWS}"))),
        }
    }

    /// What a cursor of ours stands for.
    pub(crate) fn after(&self) -> Result<Option<String>, ApiError> {
        let wrong = || ApiError::invalid("`cursor` is not one that a page gave");
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
        String::from_utf8(bytes).map(Some).map_err(|_| wrong())
    }
}

/// Storage does not know the cursor: the client made it up, or its page is gone.
pub(crate) fn cursor_error(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound { .. } | StoreError::Conflict { .. } => {
            ApiError::invalid("`cursor` is not one that a page gave")
        }
        StoreError::Refused { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Damaged { .. }
        | StoreError::Database { .. } => error.into(),
    }
}

/// A cursor that stands for a text.
pub(crate) fn cursor(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Whether a reason fits the record.
pub(crate) fn check_reason(reason: &str) -> Result<(), ApiError> {
    if reason.chars().count() > REASON_CHARS {
        return Err(ApiError::invalid(format!("a reason has at most {REASON_CHARS} characters")));
    }
    Ok(())
}

/// The idempotency key of a request: 1 to 200 visible ASCII characters.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let needed = "give an Idempotency-Key header, new for each command and the same when trying again";
    let value =
        headers.get("idempotency-key").ok_or_else(|| ApiError::new(Code::PreconditionRequired, needed))?;
    match value.to_str() {
        Ok(key) if (1..=200).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(key.to_owned())
        }
        _ => Err(ApiError::invalid("Idempotency-Key is 1 to 200 visible ASCII characters")),
    }
}

/// Whether `If-Match` names the version: a list of strong tags, or `*`. Weak tags never match (RFC 9110,
/// 13.1.1).
pub(crate) fn if_match(headers: &HeaderMap, version: u64) -> Result<bool, ApiError> {
    let wrong = || ApiError::invalid("If-Match is `*` or a list of tags such as `\"3\"`");
    let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
    if lines.peek().is_none() {
        return Err(ApiError::new(
            Code::PreconditionRequired,
            "give the ETag of what you read as If-Match, so that nobody's change is lost",
        ));
    }
    let mut found = false;
    for line in lines {
        let line = line.to_str().map_err(|_| wrong())?.trim();
        if line == "*" {
            return Ok(true);
        }
        for tag in line.split(',').map(str::trim) {
            let (weak, opaque) = tag.strip_prefix("W/").map_or((false, tag), |t| (true, t));
            let opaque = opaque.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(wrong)?;
            if opaque.contains('"') {
                return Err(wrong());
            }
            found |= !weak && opaque == version.to_string();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(line: &str) -> HeaderMap {
        [(header::IF_MATCH, line.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(if_match(&HeaderMap::new(), 3).unwrap_err().problem.status, 428);
        for good in ["\"3\"", "*", "\"2\", \"3\"", " \"3\" "] {
            assert!(if_match(&tags(good), 3).unwrap(), "{good}");
        }
        for other in ["\"2\"", "W/\"3\"", "\"03\"", "\"\""] {
            assert!(!if_match(&tags(other), 3).unwrap(), "{other}");
        }
        for bad in ["3", "\"3", "\"3\",", "\"3\"x\"", ""] {
            assert_eq!(if_match(&tags(bad), 3).unwrap_err().problem.status, 400, "{bad}");
        }
    }

    #[test]
    fn a_body_says_where_it_is_wrong() {
        let error = parse::<common::api::CommandRequest>(br#"{"point":"a","value":1,"ttl":5}"#).unwrap_err();
        assert!(error.problem.detail.contains("ttl"), "{error}");
        assert!(parse::<Vec<u8>>(b"[1] x").is_err());
    }
}

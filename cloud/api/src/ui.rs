//! The page's files, and the page itself for its own routes. The files come from the service; nothing
//! here knows them.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::context::{Api, UiAsset};
use crate::error::ApiError;

/// What the page may load: itself. Charts set inline styles. Not every browser takes 'self' to mean the
/// WebSocket of the same host, and the host is not known here: those schemes are named.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
    worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const INDEX: &str = "index.html";

/// Answers what no route takes.
pub(crate) async fn fallback(State(api): State<Api>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let none = || ApiError::not_found("route").into_response();
    if path == "api" || path.starts_with("api/") {
        return none();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::with_status(StatusCode::METHOD_NOT_ALLOWED, "files are only read");
        let mut response = error.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let file = if path.is_empty() { INDEX } else { path };
    // A path whose last part has a dot names a file; any other is a place in the page.
    let is_place = !path.rsplit('/').next().unwrap_or(path).contains('.');
    match (api.ui)(file).or_else(|| is_place.then(|| (api.ui)(INDEX)).flatten()) {
        Some(asset) => send(&asset, request.headers()),
        None => none(),
    }
}

fn send(asset: &UiAsset, asked: &HeaderMap) -> Response {
    let brotli = asset.brotli.as_ref().filter(|_| takes_brotli(asked));
    let body = brotli.unwrap_or(&asset.body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..12]));
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let is_known = known.flat_map(|v| v.split(',')).any(|t| t.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(body.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if !is_known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        if brotli.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        }
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn takes_brotli(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|v| v.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("br") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brotli_is_sent_only_to_who_takes_it() {
        let takes =
            |v: &str| takes_brotli(&[(header::ACCEPT_ENCODING, v.parse().unwrap())].into_iter().collect());
        assert!(takes("gzip, br") && takes("br;q=0.5") && takes("BR"));
        assert!(!takes("gzip") && !takes("br;q=0") && !takes("brotli") && !takes(""));
    }
}

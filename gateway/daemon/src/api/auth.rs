//! Who calls, and whether the caller may: the one place where roles are checked. Over the Unix socket a caller is
//! its user, as the kernel tells it; over TCP it is the bearer of a token. Cookies are not used here, so that a
//! page of another origin has nothing to send along.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::api::{Problem, Role};
use common::names::Code;
use sha2::{Digest, Sha256};

use super::Api;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP.
    Tcp,
    /// Over the Unix socket, by user; none if the kernel did not tell.
    Unix(Option<u32>),
}

/// Who calls and what it may do. Handlers of routes with a role find it in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// The user that this process runs as; without one that can be told, nobody on the socket is admin but root.
pub(super) fn own_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(0, |m| m.uid())
}

/// Lets a request through if its caller has the least role of the route.
pub(super) async fn guard(
    State((api, least)): State<(Api, Option<Role>)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(least) = least {
        match caller(&api, &request) {
            Ok(caller) if caller.role >= least => {
                request.extensions_mut().insert(caller);
            }
            Ok(caller) => {
                let detail = format!("{} is {:?}, this needs {least:?}", caller.name, caller.role);
                return Problem::new(Code::Forbidden, detail.to_lowercase()).into_response();
            }
            Err(problem) => return with_challenge(problem),
        }
    }
    next.run(request).await
}

fn with_challenge(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

fn caller(api: &Api, request: &Request) -> Result<Caller, Problem> {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|c| c.0);
    match peer {
        Some(Peer::Unix(Some(uid))) => {
            let role = if uid == 0 || uid == api.uid { Role::Admin } else { Role::Viewer };
            Ok(Caller { name: format!("uid:{uid}"), role })
        }
        Some(Peer::Tcp) => bearer(api, request.headers()),
        Some(Peer::Unix(None)) | None => {
            Err(Problem::new(Code::Unauthenticated, "the caller's user is not known"))
        }
    }
}

fn bearer(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    let expected = || {
        Problem::new(
            Code::Unauthenticated,
            "expected `Authorization: Bearer <token>` with a token of this box",
        )
    };
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).ok_or_else(expected)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(expected)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(expected());
    }
    let hash: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
    // Hashes are compared, not tokens: how long that takes tells nothing about a token.
    let admission = api.admission.now();
    let known = admission.tokens.iter().find(|t| t.hash == hash).ok_or_else(expected)?;
    Ok(Caller { name: known.name.clone(), role: known.role })
}

/// Over TCP, `Host` must name this box as loopback or by a configured name: a page of another site, whose name was
/// made to point here, is refused.
pub(super) async fn check_host(State(api): State<Api>, request: Request, next: Next) -> Response {
    let tcp = request.extensions().get::<ConnectInfo<Peer>>().is_none_or(|c| c.0 == Peer::Tcp);
    if tcp && !is_ours(&api.admission.now().hosts, request.headers(), request.uri()) {
        let detail =
            "the Host header does not name this box: use a loopback address, or add the name to [api] hosts";
        return Problem::new(Code::WrongOrigin, detail).into_response();
    }
    next.run(request).await
}

fn is_ours(hosts: &[String], headers: &HeaderMap, uri: &Uri) -> bool {
    let host =
        headers.get(header::HOST).and_then(|v| v.to_str().ok()).or(uri.authority().map(|a| a.as_str()));
    let Some(host) = host else { return false };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_configured_names_are_ours() {
        let ours = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_ours(&["box.lan".to_owned()], &headers, &Uri::from_static("/"))
        };
        for host in [
            "localhost",
            "localhost:8480",
            "LOCALHOST",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8480",
            "box.lan:80",
        ] {
            assert!(ours(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "", ":80", "box.lan.evil"]
        {
            assert!(!ours(host), "{host}");
        }
        assert!(!is_ours(&[], &HeaderMap::new(), &Uri::from_static("/")));
    }
}

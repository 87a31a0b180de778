//! Where a request comes from: the Host must be one of ours (a page on another name that resolves to this
//! address must not get in), and what a browser writes by cookie must come from our own page.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};
use common::names::Code;

use crate::error::ApiError;

/// Host name and port of `host[:port]`, the name without brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, rest.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_ours(authority: &str, hosts: &[String]) -> bool {
    let (host, _) = split(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || hosts.iter().any(|ours| split(ours).0.eq_ignore_ascii_case(host))
}

/// Refuses a request for a host that is not ours.
pub(crate) fn check_host(headers: &HeaderMap, uri: &Uri, hosts: &[String]) -> Result<(), ApiError> {
    let wrong = |host: &str| {
        ApiError::new(
            Code::WrongOrigin,
            format!("the host `{host}` is not one of this service, add it to `http.hosts`"),
        )
    };
    let mut lines = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (lines.next(), lines.next()) else {
        return Err(ApiError::invalid("a request has one Host header"));
    };
    let host = host.to_str().map_err(|_| wrong("?"))?;
    match uri.authority() {
        Some(authority) if !is_ours(authority.as_str(), hosts) => Err(wrong(authority.as_str())),
        _ if !is_ours(host, hosts) => Err(wrong(host)),
        _ => Ok(()),
    }
}

/// Whether an origin such as `https://plant.example` is that of the host asked.
fn is_same(origin: &str, host: &str) -> bool {
    let (authority, default_port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(authority), _) => (authority, "80"),
        (_, Some(authority)) => (authority, "443"),
        _ => return false,
    };
    let (a, a_port) = split(authority);
    let (b, b_port) = split(host);
    a.eq_ignore_ascii_case(b) && a_port.unwrap_or(default_port) == b_port.unwrap_or(default_port)
}

/// Refuses what a browser sends from another page. `proof`: whether a request that says nothing of its
/// origin is refused as well, as a browser's write by cookie must be.
pub(crate) fn check_origin(headers: &HeaderMap, proof: bool) -> Result<(), ApiError> {
    let wrong = |detail: &str| Err(ApiError::new(Code::WrongOrigin, detail));
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if let Some(origin) = headers.get(header::ORIGIN) {
        return match origin.to_str() {
            Ok(origin) if is_same(origin, host) => Ok(()),
            _ => wrong("the request comes from a page of another origin"),
        };
    }
    match headers.get("sec-fetch-site").map(|v| v.as_bytes()) {
        Some(b"same-origin") => Ok(()),
        Some(_) => wrong("the request comes from a page of another site"),
        None if proof => wrong("a write with the cookie needs an Origin or Sec-Fetch-Site header"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_hosts() {
        let hosts = ["twin.example".to_owned(), "10.1.2.3:8080".to_owned()];
        for good in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:1",
            "twin.example:99",
            "10.1.2.3",
        ] {
            assert!(is_ours(good, &hosts), "{good}");
        }
        for bad in
            ["", "evil.example", "twin.example.evil", "localhost.evil", "10.1.2.4", "[::2]", "127.0.0.1.evil"]
        {
            assert!(!is_ours(bad, &hosts), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_the_same_only_with_name_and_port() {
        assert!(is_same("http://localhost:8080", "localhost:8080"));
        assert!(is_same("https://twin.example", "twin.example"));
        assert!(is_same("https://twin.example", "twin.example:443"));
        assert!(is_same("http://[::1]:8080", "[::1]:8080"));
        for bad in [
            "null",
            "http://localhost:8081",
            "http://evil",
            "ftp://localhost:8080",
            "http://localhost:8080.evil",
        ] {
            assert!(!is_same(bad, "localhost:8080"), "{bad}");
        }
    }

    #[test]
    fn silence_is_enough_only_where_no_proof_is_asked() {
        let mut headers: HeaderMap = [(header::HOST, "localhost:1".parse().unwrap())].into_iter().collect();
        assert!(check_origin(&headers, false).is_ok());
        assert!(check_origin(&headers, true).is_err());
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        assert!(check_origin(&headers, true).is_ok());
        headers.insert("sec-fetch-site", "same-site".parse().unwrap());
        assert!(check_origin(&headers, false).is_err());
        headers.insert(header::ORIGIN, "http://localhost:1".parse().unwrap());
        assert!(check_origin(&headers, true).is_ok());
    }
}

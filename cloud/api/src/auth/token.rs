//! Secrets that machines remember: session tokens, API keys, gateway secrets. 256 random bits each, so a
//! plain SHA-256 keeps them; only the hash is stored.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::names::Code;
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// Name of the page's cookie.
pub(crate) const COOKIE: &str = "twinway_session";
/// How an API key starts, so that people and scanners know one when they see it.
pub(crate) const KEY_PREFIX: &str = "twk_";
/// Longer ones are none of ours.
const LONGEST: usize = 128;

/// A new secret after a prefix, and its hash.
pub(crate) fn random(prefix: &str) -> Result<(String, [u8; 32]), ApiError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "no random source");
        ApiError::new(Code::Internal, "the system has no random source")
    })?;
    let token = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash(&token);
    Ok((token, hash))
}

/// The hash under which a secret is stored.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// How a request shows its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    /// in the `Authorization` header: a program put it there on purpose
    Bearer(&'a str),
    /// in the cookie: a browser sends it by itself
    Cookie(&'a str),
}

/// The secret of a request. A header wins over a cookie.
pub(crate) fn shown(headers: &HeaderMap) -> Option<Shown<'_>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // Whatever else the header says, it was meant to count: a cookie beside it does not.
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && token.len() <= LONGEST)
            .then_some(Shown::Bearer(token));
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty() && value.len() <= LONGEST)
        .map(|(_, value)| Shown::Cookie(value))
}

/// The line that sets the cookie for some seconds, or clears it with 0.
pub(crate) fn set_cookie(token: &str, seconds: u64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(header::HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_header_wins_over_a_cookie_even_when_it_is_wrong() {
        let cookie = (header::COOKIE, "a=b; twinway_session=tok ; c=d");
        assert_eq!(shown(&headers(std::slice::from_ref(&cookie))), Some(Shown::Cookie("tok")));
        let bearer = (header::AUTHORIZATION, "bearer abc");
        assert_eq!(shown(&headers(&[cookie.clone(), bearer])), Some(Shown::Bearer("abc")));
        assert_eq!(shown(&headers(&[cookie, (header::AUTHORIZATION, "Basic eA==")])), None);
        assert_eq!(shown(&headers(&[(header::COOKIE, "xtwinway_session=tok")])), None);
    }

    #[test]
    fn secrets_differ_and_are_kept_as_hashes() {
        let (a, hash_a) = random(KEY_PREFIX).unwrap();
        let (b, _) = random(KEY_PREFIX).unwrap();
        assert_ne!(a, b);
        assert_eq!(a.len(), KEY_PREFIX.len() + 43);
        assert_eq!(hash(&a), hash_a);
    }
}

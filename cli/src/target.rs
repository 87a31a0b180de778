//! Which server the program talks to: flag, environment, last login, or the gateway of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::exit::Exit;

/// Where a gateway on this machine listens.
pub const BOX_SOCKET: &str = "/run/twinway/gateway.sock";

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// a gateway on this machine
    Socket(PathBuf),
    /// a cloud or a gateway
    Url(Url),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Url(url) => url.as_str().trim_end_matches('/').fmt(f),
        }
    }
}

/// What names a server, besides the credentials file.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// `--url`
    pub url: Option<String>,
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `TWINWAY_URL`
    pub env_url: Option<OsString>,
    /// `TWINWAY_SOCKET`
    pub env_socket: Option<OsString>,
}

impl Hints {
    /// Takes the environment along.
    pub fn new(url: Option<String>, socket: Option<PathBuf>) -> Self {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        Self { url, socket, env_url: env("TWINWAY_URL"), env_socket: env("TWINWAY_SOCKET") }
    }

    /// The server that flags or environment name.
    pub fn named(self) -> Result<Option<Target>> {
        match (self.url, self.socket, self.env_url, self.env_socket) {
            (Some(url), ..) => parse_url(&url).map(Some),
            (_, Some(path), ..) => Ok(Some(Target::Socket(path))),
            (_, _, Some(_), Some(_)) => Err(Error::usage("TWINWAY_URL and TWINWAY_SOCKET are both set")
                .remedy("unset one, or use --url or --socket")),
            (_, _, Some(url), _) => parse_url(&url.to_string_lossy()).map(Some),
            (_, _, _, Some(path)) => Ok(Some(Target::Socket(path.into()))),
            _ => Ok(None),
        }
    }

    /// The server to talk to. `credentials` is read only when nothing is named.
    pub fn resolve(
        self,
        credentials: impl FnOnce() -> Result<Credentials>,
        box_socket: &Path,
    ) -> Result<Target> {
        if let Some(target) = self.named()? {
            return Ok(target);
        }
        if let Some(url) = credentials()?.default {
            return parse_url(&url);
        }
        if box_socket.exists() {
            return Ok(Target::Socket(box_socket.into()));
        }
        Err(Error::new(Exit::Usage, "no server is named, you are signed in nowhere, and no gateway runs on this machine")
            .remedy(format!(
                "sign in to a cloud with `twinway login <url>`, or start the gateway of this box ({}) or name one with --socket",
                box_socket.display()
            )))
    }
}

/// A server's address: scheme, host and port, and a path if it is served below one.
pub fn parse_url(text: &str) -> Result<Target> {
    let bad = |why: &str| {
        Error::usage(format!("`{text}` is not a server's address: {why}"))
            .remedy("such as https://twin.example.com")
    };
    let mut url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it must start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not quoted: it holds a password.
        return Err(
            Error::usage("a server's address must not hold a user or password").remedy("use `twinway login`")
        );
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(Target::Url(url))
}

/// The key of a server in the credentials file.
pub fn origin(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether the address is this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|h| {
        let ip = h.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        h == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(s: &str) -> Target {
        Target::Url(Url::parse(s).unwrap())
    }

    fn nowhere() -> Result<Credentials> {
        Ok(Credentials::default())
    }

    #[test]
    fn flags_go_before_environment_and_that_before_the_login() {
        let none = Path::new("/nonexistent/sock");
        let login = || Ok(Credentials { default: Some("http://l".into()), ..Default::default() });
        let mut hints = Hints { env_url: Some("http://e".into()), ..Default::default() };
        assert_eq!(hints.clone().resolve(login, none).unwrap(), url("http://e"));
        hints.socket = Some("/s".into());
        assert_eq!(hints.clone().resolve(login, none).unwrap(), Target::Socket("/s".into()));
        assert_eq!(Hints::default().resolve(login, none).unwrap(), url("http://l"));
    }

    #[test]
    fn the_box_itself_is_last_and_without_it_both_remedies_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Hints::default().resolve(nowhere, dir.path()).unwrap(), Target::Socket(dir.path().into()));
        let e = Hints::default().resolve(nowhere, Path::new("/nonexistent/sock")).unwrap_err();
        let what = e.what_to_do().unwrap();
        assert!(what.contains("twinway login") && what.contains("/nonexistent/sock"), "{what}");
        assert_eq!(e.exit(), Exit::Usage);
    }

    #[test]
    fn two_servers_in_the_environment_are_refused() {
        let hints =
            Hints { env_url: Some("http://e".into()), env_socket: Some("/s".into()), ..Default::default() };
        assert_eq!(hints.named().unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let e = parse_url("http://u:geheim@h/").unwrap_err();
        assert!(!e.to_string().contains("geheim"));
        assert!(parse_url("ftp://h").is_err());
        assert!(parse_url("h:80").is_err());
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (text, is) in [
            ("http://localhost:1", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:8", true),
            ("http://h", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), is, "{text}");
        }
    }
}

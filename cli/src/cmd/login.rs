//! `login` and `logout`.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use common::api::{SessionRequest, SessionResponse};
use reqwest::Method;
use serde_json::json;

use crate::args::Login;
use crate::client::Client;
use crate::credentials::{self, Credential, Credentials};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::{Out, clean};
use crate::secret::{self, LONGEST};
use crate::table::time;
use crate::target::{self, Hints, Target, parse_url};

pub(super) async fn login(args: Login, hints: Hints, ca: Option<PathBuf>, out: Out) -> Result<Exit> {
    let target = match args.server {
        Some(server) => parse_url(&server)?,
        None => hints
            .named()?
            .ok_or_else(|| Error::usage("sign in to which server?").remedy("twinway login <url>"))?,
    };
    let Target::Url(url) = target.clone() else {
        return Err(Error::usage("a gateway's socket needs no login: it knows you by your user id")
            .remedy("use the verb that you want with --socket"));
    };
    if url.scheme() == "http" && !target::is_loopback(&url) && !args.allow_http {
        return Err(Error::usage("http:// would show your password to everybody on the way")
            .remedy("use https://, or --allow-http on a network that you trust"));
    }
    let path = credentials::own_path()?;
    let mut known = Credentials::load(&path)?;
    let client = Client::new(target, None, ca.as_deref())?;

    let user = match args.user {
        Some(user) => user,
        None => {
            need_terminal()?;
            out.note(&format!("Sign in to {url}"));
            ask("User: ", false)?
        }
    };
    let password = if args.password_stdin {
        read_line()?
    } else {
        need_terminal()?;
        ask("Password: ", true)?
    };
    let body = SessionRequest { user, password };
    let session: SessionResponse =
        client.fetch(client.request(Method::POST, &["session"])?.json(&body)).await?;

    let key = target::origin(&url);
    let credential =
        Credential { user: session.user.clone(), token: session.token, expires_us: session.expires_us };
    known.servers.insert(key.clone(), credential);
    known.default = Some(key.clone());
    known.save(&path)?;

    let shown = json!({ "url": key, "user": session.user, "expires_us": session.expires_us, "grants": session.grants });
    out.show(&shown, |_| {
        let mut text =
            format!("signed in to {key} as {} until {}\n", clean(&session.user), time(session.expires_us));
        for grant in &session.grants {
            let place = if grant.path.is_empty() { "everything" } else { &grant.path };
            let role = serde_json::to_value(grant.role).ok();
            let role = role.as_ref().and_then(|r| r.as_str()).unwrap_or_default();
            text.push_str(&format!("  {role} of {}\n", clean(place)));
        }
        text
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn logout(hints: Hints, ca: Option<PathBuf>, out: Out) -> Result<Exit> {
    let path = credentials::own_path()?;
    let mut known = Credentials::load(&path)?;
    let target = match hints.named()? {
        Some(target) => target,
        None => match &known.default {
            Some(url) => parse_url(url)?,
            None => return Err(Error::new(Exit::NotFound, "you are signed in nowhere")),
        },
    };
    let Target::Url(url) = &target else {
        return Err(Error::usage("a gateway's socket needs no login, and so no logout"));
    };
    let key = target::origin(url);
    let Some(credential) = known.servers.remove(&key) else {
        return Err(Error::new(Exit::NotFound, format!("you are not signed in to {key}")));
    };
    // Forgotten here first: that the server cannot be told must not keep the token.
    if known.default.as_ref() == Some(&key) {
        known.default = None;
    }
    known.save(&path)?;
    let client = Client::new(target.clone(), Some(&credential.token), ca.as_deref())?;
    let ended = client.send(client.request(Method::DELETE, &["session"])?).await;
    let ended = match ended {
        Ok(_) => true,
        // An expired session is as good as an ended one.
        Err(e) if e.exit() == Exit::NotAuthorised => true,
        Err(e) => {
            out.note(&format!(
                "twinway: the token is forgotten here, but the server could not be told: {e}; it stays valid there until {}",
                time(credential.expires_us)
            ));
            false
        }
    };
    out.show(&json!({ "url": key, "ended_at_server": ended }), |_| format!("signed out of {key}\n"))?;
    Ok(Exit::Ok)
}

fn need_terminal() -> Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Error::usage("there is no terminal to ask for user and password")
        .remedy("use --user NAME --password-stdin and give the password on standard input"))
}

fn ask(prompt: &str, hidden: bool) -> Result<String> {
    let failed = |e: io::Error| Error::new(Exit::Failed, format!("the terminal cannot be read: {e}"));
    if hidden {
        return secret::ask(prompt).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => {
                Error::new(Exit::Failed, "no password was given")
            }
            _ => failed(e),
        });
    }
    eprint_prompt(prompt);
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

fn eprint_prompt(prompt: &str) {
    use io::Write;
    let mut to = io::stderr().lock();
    let _ = to.write_all(prompt.as_bytes()).and_then(|()| to.flush());
}

fn read_line() -> Result<String> {
    use io::Read;
    let mut line = String::new();
    let mut from = io::stdin().lock().take(LONGEST as u64 + 2);
    io::BufReader::new(&mut from)
        .read_line(&mut line)
        .map_err(|e| Error::usage(format!("standard input holds no password: {e}")))?;
    let password = line.strip_suffix('\n').map_or(line.as_str(), |l| l.strip_suffix('\r').unwrap_or(l));
    match password.len() {
        0 => Err(Error::usage("standard input holds no password")),
        n if n > LONGEST => Err(Error::usage("the password on standard input is too long")),
        _ => Ok(password.to_owned()),
    }
}

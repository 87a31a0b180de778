//! Files that hold secrets: the uplink's password, the tokens of the local API, the buffer's keys. They must be readable by
//! their owner alone.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::api::Role;
use common::config::{Mistake, line_column, read_secret as read};
use gateway_store::{Key, Keys};
use gateway_sync::EnrolmentFolder;
use sha2::{Digest as _, Sha256};

use super::Config;
use super::files::Files;

/// Somebody who may sign in over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Name, for the audit.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

/// Roles by their names in `tokens_file`.
const ROLES: [(&str, Role); 4] = [
    ("viewer", Role::Viewer),
    ("operator", Role::Operator),
    ("engineer", Role::Engineer),
    ("admin", Role::Admin),
];

impl Token {
    /// A token by its text.
    pub fn new(name: &str, role: Role, text: &str) -> Self {
        Self { name: name.to_owned(), role, hash: Sha256::digest(text).into() }
    }

    /// As it stands in `tokens_file`.
    pub fn line(&self) -> String {
        let role = ROLES.iter().find(|(_, role)| *role == self.role).map_or("", |(name, _)| name);
        format!("{}:{role}:{}", self.name, common::text::hex(&self.hash))
    }
}

/// How the box is enrolled.
pub(super) fn enrolment(files: &mut Files<'_>) {
    match EnrolmentFolder::of(&files.merged.gateway.data_dir).read() {
        Ok(found) => files.enrolment = Some(found),
        Err(error) => {
            let message = format!("how this box is enrolled cannot be read: {error}");
            let mistake = files.mistake("gateway", "data_dir", message);
            files.mistakes.push(mistake);
        }
    }
}

pub(super) fn load(files: &Files<'_>, config: &mut Option<Config>, mistakes: &mut Vec<Mistake>) {
    if let Some(section) = &files.merged.uplink
        && let Some(path) = &section.password_file
    {
        match read(path) {
            Ok(text) if text.trim().is_empty() => {
                mistakes.push(files.mistake(
                    "uplink",
                    "password_file",
                    format!("{} is empty", path.display()),
                ));
            }
            Ok(text) => {
                if let Some(uplink) = config.as_mut().and_then(|c| c.uplink.as_mut()) {
                    text.trim().clone_into(&mut uplink.password);
                }
            }
            Err(message) => mistakes.push(files.mistake("uplink", "password_file", message)),
        }
    }
    if let Some(path) = files.merged.uplink.as_ref().and_then(|u| u.ca_file.as_ref())
        && let Err(e) = std::fs::metadata(path)
    {
        mistakes.push(files.mistake("uplink", "ca_file", format!("cannot read {}: {e}", path.display())));
    }
    for (at, section) in files.merged.publish.iter().enumerate() {
        let place = format!("publish[{at}]");
        if let Some(path) = &section.ca_file
            && let Err(e) = std::fs::metadata(path)
        {
            mistakes.push(files.mistake(&place, "ca_file", format!("cannot read {}: {e}", path.display())));
        }
        let Some(path) = &section.password_file else { continue };
        match read(path) {
            Ok(text) => {
                let mut made = config.iter_mut().flat_map(|c| &mut c.publish);
                let own = made.find(|p| p.name == section.name);
                if let Some((_, password)) = own.and_then(|p| p.external.as_mut()?.login.as_mut()) {
                    text.trim().clone_into(password);
                }
            }
            Err(message) => mistakes.push(files.mistake(&place, "password_file", message)),
        }
    }
    broker(files, config, mistakes);
    if let Some(path) = &files.merged.buffer.keys_file {
        match read(path).and_then(|text| keys(path, &text)) {
            Ok(keys) => {
                if let Some(config) = config {
                    config.buffer_keys = keys;
                }
            }
            Err(message) => mistakes.push(files.mistake("buffer", "keys_file", message)),
        }
    }
    if let Some(section) = &files.merged.opcua_server
        && let Some(path) = &section.passwords_file
    {
        let users = users(path, mistakes).map_err(|m| files.mistake("opcua_server", "passwords_file", m));
        match users {
            Ok(users) => {
                let unknown = |o: &String| !users.contains(o) && !section.user_certificates;
                for (n, name) in section.operators.iter().enumerate().filter(|(_, o)| unknown(o)) {
                    let message = format!("`{name}` is no user of {}", path.display());
                    mistakes.push(files.mistake("opcua_server", &format!("operators[{n}]"), message));
                }
                if let Some(config) = config {
                    config.opcua_users = users;
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    servers(files, mistakes);
    if let Some(path) = &files.merged.api.tokens_file {
        match read(path) {
            Ok(text) => {
                let tokens = tokens(path, &text, mistakes);
                if let Some(config) = config {
                    config.tokens = tokens;
                }
            }
            Err(message) => mistakes.push(files.mistake("api", "tokens_file", message)),
        }
    }
}

/// Whether the files with which the gateway signs in at OPC UA servers are there; they are read for each connection.
fn servers(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    for located in &files.devices {
        let Some(server) = &located.device.opcua else { continue };
        for (key, path) in [("password_file", &server.password_file), ("user_key", &server.user_key)] {
            if let Some(Err(message)) = path.as_ref().map(|p| read(p)) {
                mistakes.push(files.device_mistake(located, &format!("opcua.{key}"), message));
            }
        }
        if let Some(path) = &server.user_certificate
            && let Err(e) = std::fs::metadata(path)
        {
            let message = format!("cannot read {}: {e}", path.display());
            mistakes.push(files.device_mistake(located, "opcua.user_certificate", message));
        }
    }
}

/// The broker's users, and whether the files of its listeners are there.
fn broker(files: &Files<'_>, config: &mut Option<Config>, mistakes: &mut Vec<Mistake>) {
    let section = &files.merged.broker;
    if let Some(path) = &section.passwords_file {
        match users(path, mistakes) {
            Ok(users) => {
                if let Some(config) = config {
                    config.broker_users = users;
                }
            }
            Err(message) => mistakes.push(files.mistake("broker", "passwords_file", message)),
        }
    }
    for (n, listener) in section.listener.iter().enumerate() {
        let readable = |key: &str, found: Result<(), String>| {
            found.err().map(|m| files.mistake("broker", &format!("listener[{n}].{key}"), m))
        };
        if let Some(path) = &listener.tls_cert {
            let there = std::fs::metadata(path).map(|_| ());
            let there = there.map_err(|e| format!("cannot read {}: {e}", path.display()));
            mistakes.extend(readable("tls_cert", there));
        }
        if let Some(path) = &listener.tls_key {
            mistakes.extend(readable("tls_key", read(path).map(|_| ())));
        }
    }
}

/// Users and passwords of a file; its wrong lines are told at their places.
fn users(path: &Path, mistakes: &mut Vec<Mistake>) -> Result<gateway_broker::Users, String> {
    match gateway_broker::Users::parse(&read(path)?) {
        Ok(users) => Ok(users),
        Err(wrong_lines) => {
            mistakes.extend(wrong_lines.into_iter().map(|(line, m)| wrong(path, (line, 1), m)));
            Ok(gateway_broker::Users::default())
        }
    }
}

/// One key a line. What stands there is not shown.
fn keys(path: &Path, text: &str) -> Result<Keys, String> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    let key = |(n, line): (usize, &str)| {
        let bytes = BASE64_STANDARD.decode(line).ok().and_then(|b| b.try_into().ok());
        bytes.map(Key::new).ok_or_else(|| {
            let (path, line) = (path.display(), n + 1);
            format!("line {line} of {path} is no key: expected 32 bytes in base64, as of `openssl rand -base64 32`")
        })
    };
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(format!("{} has no key", path.display())) } else { Ok(keys.into()) }
}

fn tokens(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = line_column(text, start);
        start += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match token(line) {
            Ok(token) if tokens.iter().any(|t| t.name == token.name) => {
                mistakes.push(wrong(path, at, format!("`{}` stands twice", token.name)));
            }
            Ok(token) => tokens.push(token),
            Err(message) => mistakes.push(wrong(path, at, message)),
        }
    }
    tokens
}

fn wrong(path: &Path, at: (usize, usize), message: String) -> Mistake {
    Mistake::new(path, Some(at), "", message)
}

/// The line is not repeated in the message: it may hold a token by mistake.
fn token(line: &str) -> Result<Token, String> {
    let expected = || "expected `name:role:<sha256 of the token, 64 hex digits>`".to_owned();
    let mut parts = line.split(':');
    let (Some(name), Some(role), Some(hex), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(expected());
    };
    let role = ROLES.iter().find(|(name, _)| *name == role).map(|(_, role)| *role);
    let role = role.ok_or("expected a role: viewer, operator, engineer or admin")?;
    common::ids::check_name(name).map_err(|e| e.to_string())?;
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(expected());
    }
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let text = std::str::from_utf8(pair).map_err(|_| expected())?;
        *byte = u8::from_str_radix(text, 16).map_err(|_| expected())?;
    }
    Ok(Token { name: name.to_owned(), role, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        for (_, role) in ROLES {
            let made = Token::new("anna", role, "secret");
            assert_eq!(token(&made.line()), Ok(made));
        }
        // By `printf secret | sha256sum`.
        let line = "anna:viewer:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(Token::new("anna", Role::Viewer, "secret").line(), line);
    }
}

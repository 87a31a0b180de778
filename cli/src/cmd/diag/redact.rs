//! A configuration without its secrets, by its structure: values of keys that hold secrets, and whatever stands in a place where a
//! secret may be by mistake. Comments go: people keep old passwords in them. Pure but for looking whether a file is there.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// What stands where a secret stood.
pub(super) const STRUCK: &str = "(struck out)";

/// A configuration file as it may be shown.
#[derive(Debug, Default)]
pub(super) struct Redacted {
    pub(super) text: String,
    /// What was struck out: it may stand elsewhere as well.
    pub(super) secrets: Vec<String>,
    /// Files that hold secrets, by the keys that name them.
    pub(super) files: Vec<PathBuf>,
}

/// Whether a key holds a secret, or names a file that does.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words: Vec<&str> = key.split(['_', '-', '.']).collect();
    // A time or a size is none.
    if words.last().is_some_and(|w| ["ms", "s", "h", "mb", "kb"].contains(w)) {
        return false;
    }
    let whole = ["key", "keys", "pin", "auth", "registration"];
    words.iter().any(|w| whole.contains(w)) || is_secret_name(&key)
}

/// Whether a name in any text says that a secret follows: fewer than keys of a configuration, because texts have keys and codes of
/// their own.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let part = [
        "passw",
        "passphrase",
        "secret",
        "token",
        "credential",
        "private",
        "apikey",
        "api_key",
        "api-key",
        "psk",
        "authorization",
    ];
    part.iter().any(|p| name.contains(p))
}

/// Strikes out what is secret.
pub(super) fn redact(text: &str) -> Redacted {
    let mut redacted = Redacted::default();
    match text.parse::<Table>() {
        Ok(mut table) => {
            table.iter_mut().for_each(|(key, value)| walk(key, value, &mut redacted));
            redacted.text = format!(
                "# Without comments, in the order of the keys; secrets are struck out.\n{}",
                toml::to_string(&table).unwrap_or_default()
            );
        }
        Err(error) => {
            let lines: Vec<String> = text.lines().map(|l| line(l, &mut redacted)).collect();
            let message = error.message();
            redacted.text = format!(
                "# Not TOML ({message}): only sections, keys, and values that are numbers.\n{}\n",
                lines.join("\n")
            );
        }
    }
    redacted
}

fn walk(key: &str, value: &mut Value, redacted: &mut Redacted) {
    match value {
        Value::Table(table) => {
            // A table of a secret's name, such as parameters that somebody calls so.
            let all = is_secret(key);
            for (name, value) in table.iter_mut() {
                walk(if all { key } else { name.as_str() }, value, redacted);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| walk(key, v, redacted)),
        Value::String(text) if is_secret(key) => {
            if is_path(text) {
                redacted.files.push(PathBuf::from(&*text));
            } else if !text.is_empty() {
                // A file that is named from where the gateway runs.
                redacted.files.push(PathBuf::from(&*text));
                redacted.secrets.push(std::mem::replace(text, STRUCK.to_owned()));
            }
        }
        Value::String(text) => {
            if let Some((clean, secret)) = without_login(text) {
                redacted.secrets.push(secret);
                *text = clean;
            }
        }
        other if is_secret(key) && !matches!(other, Value::Boolean(_)) => {
            redacted.secrets.push(other.to_string());
            *other = Value::String(STRUCK.to_owned());
        }
        _ => {}
    }
}

/// Whether it is the path of a file rather than a secret that somebody wrote there: absolute, below a folder of this machine.
fn is_path(text: &str) -> bool {
    let mut parts = Path::new(text).components().skip(1);
    let (first, second) = (parts.next(), parts.next());
    let top = first.map(|f| Path::new("/").join(f));
    Path::new(text).is_file()
        || (text.starts_with('/') && second.is_some() && top.is_some_and(|t| t.is_dir()))
}

/// An address without user and password, and these; none if it has none.
pub(super) fn without_login(text: &str) -> Option<(String, String)> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (login, host) = rest.get(..end)?.rsplit_once('@')?;
    let secret = login.split_once(':').map_or(login, |(_, password)| password);
    Some((format!("{scheme}://{STRUCK}@{host}{}", rest.get(end..)?), secret.to_owned()))
}

/// A line of a file that is not TOML.
fn line(text: &str, redacted: &mut Redacted) -> String {
    let text = text.split('#').next().unwrap_or_default().trim();
    let plain = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "_-.[] ".contains(c));
    let Some((key, value)) = text.split_once('=') else {
        return if text.starts_with('[') && plain(text) || text.is_empty() {
            text.to_owned()
        } else {
            STRUCK.to_owned()
        };
    };
    let (key, value) = (key.trim(), value.trim());
    let is_number = value.parse::<f64>().is_ok() || ["true", "false"].contains(&value);
    if !plain(key) {
        return STRUCK.to_owned();
    }
    if is_number && !is_secret(key) {
        return format!("{key} = {value}");
    }
    let bare = value.trim_matches(['"', '\'']);
    if is_secret(key) {
        redacted.files.push(PathBuf::from(bare));
        if !is_path(bare) {
            redacted.secrets.push(bare.to_owned());
        }
    }
    format!("{key} = {STRUCK}")
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;

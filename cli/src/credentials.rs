//! Tokens of the servers that one is signed in to: `$XDG_CONFIG_HOME/twinway/credentials.toml`, readable
//! by its owner only. A token is never printed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exit::Exit;

/// A server's token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Account.
    pub user: String,
    /// Bearer token.
    pub token: String,
    /// When it ends, UTC us.
    pub expires_us: i64,
}

/// The file.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Server to talk to when none is named: the one signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// By origin, such as `https://twin.example.com`.
    #[serde(default)]
    pub servers: BTreeMap<String, Credential>,
}

/// Where the file is: in `XDG_CONFIG_HOME`, else in `~/.config`.
pub fn path(xdg: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |p: &OsStr| Some(PathBuf::from(p)).filter(|p| p.is_absolute());
    let base = xdg.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".config")))?;
    Some(base.join("twinway").join("credentials.toml"))
}

/// Where the file is for this process.
pub fn own_path() -> Result<PathBuf> {
    let (xdg, home) = (std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
    path(xdg.as_deref(), home.as_deref()).ok_or_else(|| {
        Error::usage("no place for credentials: neither XDG_CONFIG_HOME nor HOME is an absolute path")
    })
}

impl Credentials {
    /// Reads the file; a missing one is empty.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = |e: String| Error::new(Exit::Failed, format!("{} cannot be read: {e}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mode = fs::metadata(path).map_err(|e| failed(e.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(failed(format!("others can read it (mode {:o})", mode & 0o777))
                .remedy(format!("chmod 600 {}", path.display())));
        }
        // The error of the parser would quote the line, and a line may hold a token.
        toml::from_str(&text).map_err(|_| {
            failed("it is not what `twinway login` writes".to_owned()).remedy("remove it and sign in again")
        })
    }

    /// Writes the file: whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| {
            Error::new(Exit::Failed, format!("{} cannot be written: {e}", path.display()))
        };
        let text = toml::to_string(self).map_err(|e| failed(&e))?;
        let dir = path.parent().ok_or_else(|| failed(&"it has no folder"))?;
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let part = dir.join(format!(".credentials.{}", uuid::Uuid::new_v4().simple()));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            done.and_then(|()| fs::rename(&part, path)).inspect_err(|_| drop(fs::remove_file(&part)))
        };
        write().map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_the_environment() {
        let os = OsStr::new;
        assert_eq!(path(Some(os("/c")), Some(os("/h"))), Some("/c/twinway/credentials.toml".into()));
        assert_eq!(path(Some(os("")), Some(os("/h"))), Some("/h/.config/twinway/credentials.toml".into()));
        assert_eq!(path(None, None), None);
    }

    #[test]
    fn a_saved_file_is_its_owners_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/twinway/credentials.toml");
        let mut c = Credentials { default: Some("http://h:1".into()), ..Default::default() };
        let one = Credential { user: "u".into(), token: "t\"\n".into(), expires_us: 5 };
        c.servers.insert("http://h:1".into(), one);
        c.save(&path).unwrap();
        c.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(Credentials::load(&path).unwrap().servers["http://h:1"].token, "t\"\n");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Credentials::load(&path).err().unwrap().to_string().contains("others can read it"));
    }

    #[test]
    fn a_broken_file_is_refused_without_quoting_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.toml");
        fs::write(&path, "token = \"secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!Credentials::load(&path).err().unwrap().to_string().contains("secret"));
    }
}

//! What a bundle says of itself. Read only after its signature is verified, and judged as if it were not.

use std::collections::BTreeSet;
use std::path::{Component, Path};

pub(crate) use common::bundle::{MOST_BYTES, MOST_MANIFEST};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Of the manifest itself: a bundle of another one is for a newer program.
pub(crate) const FORMAT: u32 = 1;
/// Files of a bundle.
const MOST_FILES: usize = 4096;
const LONGEST_PATH: usize = 512;
const LONGEST_VERSION: usize = 64;

/// The program of the gateway in a bundle.
pub(crate) const PROGRAM: &str = "usr/bin/twinway-gateway";

/// What is in a bundle, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// `twinway-gateway`.
    pub product: String,
    /// Of the program.
    pub version: Version,
    /// As the packages call it: `amd64`, `arm64`, `armhf`.
    pub arch: String,
    /// Of the sources; may be empty.
    #[serde(default)]
    pub commit: String,
    /// The oldest version that may be replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_from: Option<Version>,
    /// Of the buffer and its state.
    pub store_format: u32,
    /// Of the configuration's files.
    pub config_schema: u32,
    /// SHA-256 of what follows the manifest, in hexadecimal.
    pub payload_sha256: String,
    /// Its length in bytes.
    pub payload_bytes: u64,
    /// In the order in which they are packed.
    pub files: Vec<File>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// As it lies in a package, from the root on: `usr/bin/twinway-gateway`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Whether it is a program.
    #[serde(default)]
    pub executable: bool,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// What the packages call the machine that this program is for.
pub fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        other => other,
    }
}

/// The format alone: the rest of another one may be anything.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Manifest {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let unsound = |e: serde_json::Error| Error::Refused(format!("manifest: {e}"));
        let head: Head = serde_json::from_slice(bytes).map_err(unsound)?;
        if head.format != FORMAT {
            let (theirs, ours) = (head.format, FORMAT);
            return Error::refused(format!(
                "a bundle of format {theirs}, this program knows {ours}: install the package of a newer version first"
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unsound)?;
        manifest.judge()?;
        Ok(manifest)
    }

    /// Bytes of all files, unpacked.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }

    /// Whether it can be unpacked at all, into its own folder and nowhere else.
    pub(crate) fn judge(&self) -> Result<(), Error> {
        if self.version.to_string().len() > LONGEST_VERSION {
            return Error::refused("manifest: the version is too long");
        }
        if self.files.len() > MOST_FILES {
            return Error::refused(format!("manifest: {} files, at most {MOST_FILES}", self.files.len()));
        }
        let mut all = self.payload_bytes;
        let mut seen = BTreeSet::new();
        for file in &self.files {
            judge_path(&file.path)?;
            if !is_sha256(&file.sha256) {
                return Error::refused(format!("manifest: {}: sha256 is not one", file.path));
            }
            if !seen.insert(file.path.as_str()) {
                return Error::refused(format!("manifest: {} is there twice", file.path));
            }
            all = all.saturating_add(file.size);
        }
        for path in &seen {
            let folders = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
            if let Some(folder) = folders.filter(|f| !f.is_empty()).find(|f| seen.contains(f)) {
                return Error::refused(format!("manifest: {folder} is a file and a folder"));
            }
        }
        if all > MOST_BYTES {
            return Error::refused(format!("manifest: {all} bytes, at most {MOST_BYTES}"));
        }
        if !is_sha256(&self.payload_sha256) {
            return Error::refused("manifest: payload_sha256 is not one");
        }
        if !self.files.iter().any(|f| f.path == PROGRAM && f.executable) {
            return Error::refused(format!("manifest: no program {PROGRAM}"));
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Plain names below the folder, and nothing else.
pub(crate) fn judge_path(path: &str) -> Result<(), Error> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    let known = |b: u8| b.is_ascii_alphanumeric() || b"/._+-@".contains(&b);
    // `components` passes over `a//b` and `a/./b`: the path must be what it becomes.
    let same = || Path::new(path).components().collect::<std::path::PathBuf>().to_str() == Some(path);
    if path.is_empty()
        || path.len() > LONGEST_PATH
        || !path.bytes().all(known)
        || !Path::new(path).components().all(plain)
        || !same()
    {
        return Error::refused(format!(
            "{path:?} is no path of a bundle: plain names below usr/, at most {LONGEST_PATH} letters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Manifest {
        let file =
            |path: &str| File { path: path.to_owned(), size: 3, executable: true, sha256: "0a".repeat(32) };
        Manifest {
            format: FORMAT,
            product: "twinway-gateway".to_owned(),
            version: Version::new(1, 2, 3),
            arch: machine().to_owned(),
            commit: String::new(),
            min_from: None,
            store_format: 1,
            config_schema: 1,
            payload_sha256: "0b".repeat(32),
            payload_bytes: 10,
            files: vec![file(PROGRAM), file("usr/lib/twinway-gateway/twinway")],
        }
    }

    fn judged(change: impl FnOnce(&mut Manifest)) -> Result<Manifest, String> {
        let mut manifest = sound();
        change(&mut manifest);
        Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_sound_one_is_read_as_it_was_written() {
        assert_eq!(judged(|_| {}).unwrap(), sound());
    }

    #[test]
    fn paths_lead_nowhere_else() {
        let cannot = [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "usr/../../x",
            "usr/..",
            ".",
            "./usr/x",
            "usr//x",
            "usr/./x",
            "usr/x/",
            "a\0b",
            "a\nb",
            "usr/\u{e9}",
            "usr\\x",
            "~/x x",
        ];
        for path in cannot {
            let told = judged(|m| m.files[1].path = path.to_owned()).unwrap_err();
            assert!(told.contains("no path of a bundle"), "{path:?}: {told}");
        }
        judged(|m| m.files[1].path = "usr/share/a.b/..c-_+@".to_owned()).unwrap();
        assert!(judged(|m| m.files[1].path = "a/".repeat(300) + "a").is_err());
    }

    #[test]
    fn what_cannot_be_unpacked_is_refused() {
        let told = |change: fn(&mut Manifest)| judged(change).unwrap_err();
        assert!(told(|m| m.files[1].path = PROGRAM.to_owned()).contains("twice"));
        assert!(told(|m| m.files[1].path = "usr/bin".to_owned()).contains("a file and a folder"));
        assert!(told(|m| m.files[1].path = format!("{PROGRAM}/x")).contains("a file and a folder"));
        assert!(told(|m| m.files[1].size = u64::MAX).contains("at most"));
        assert!(told(|m| m.payload_bytes = MOST_BYTES).contains("at most"));
        assert!(told(|m| m.files[1].sha256 = "x".repeat(64)).contains("sha256"));
        assert!(told(|m| m.payload_sha256 = "0A".repeat(32)).contains("sha256"));
        assert!(told(|m| m.files[0].executable = false).contains("no program"));
        assert!(told(|m| m.files = vec![m.files[0].clone(); MOST_FILES + 1]).contains("files"));
        assert!(
            told(|m| m.version.pre = semver::Prerelease::new(&"a".repeat(80)).unwrap()).contains("too long")
        );
        assert!(Manifest::parse(b"{\"format\":1}").is_err());
        assert!(Manifest::parse(b"").is_err());
    }

    #[test]
    fn a_newer_format_says_what_to_do() {
        let told = Manifest::parse(b"{\"format\":2,\"other\":[]}").unwrap_err().to_string();
        assert!(told.contains("format 2") && told.contains("newer version first"), "{told}");
    }
}

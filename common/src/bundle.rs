//! Head of a signed bundle of an update: what can be read of it without a key, and nothing that may be believed. The box reads
//! bundles with `gateway-update`, which verifies; the cloud reads this much, to know what it was given.
//!
//! Its form is written down at `gateway_update::bundle`.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::text::hex;

/// What a bundle begins with.
pub const MAGIC: &[u8; 17] = b"TWINWAY-UPDATE 1\n";
/// Most signatures.
pub const MOST_SIGNATURES: usize = 8;
/// Most bytes of a manifest.
pub const MOST_MANIFEST: usize = 1 << 20;
/// Most bytes of a bundle, and of all its files.
pub const MOST_BYTES: u64 = 512 << 20;
/// A key's name and a signature by it.
const SIGNATURE: usize = 8 + 64;

/// What stands before the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Names of the keys that signed it, so it says.
    pub keys: Vec<String>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// SHA-256 of the manifest: the bundle's name on the box.
    pub digest: String,
    /// Where the files begin.
    pub payload_at: u64,
}

/// Of the manifest, what is needed to offer it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Program.
    pub product: String,
    /// Its version.
    pub version: String,
    /// As the packages call it: `amd64`, `arm64`, `armhf`.
    pub arch: String,
    /// Of the sources; may be empty.
    #[serde(default)]
    pub commit: String,
    /// The oldest version that may be replaced by it.
    #[serde(default)]
    pub min_from: Option<String>,
    /// SHA-256 of the files as they are packed.
    pub payload_sha256: String,
    /// Their bytes.
    pub payload_bytes: u64,
}

impl Head {
    /// Reads the head from the first bytes of a bundle; none while there are too few.
    ///
    /// # Errors
    /// When it is no bundle, or what it says cannot be.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let n = bytes.len().min(MAGIC.len());
        if bytes.get(..n) != MAGIC.get(..n) {
            return Err("not a bundle of an update (`twinway-gateway update sign` makes them)".into());
        }
        let Some(&count) = bytes.get(MAGIC.len()) else { return Ok(None) };
        let count = usize::from(count);
        if !(1..=MOST_SIGNATURES).contains(&count) {
            return Err(format!("{count} signatures, expected 1 to {MOST_SIGNATURES}"));
        }
        let signatures_at = MAGIC.len() + 1;
        let length_at = signatures_at + count * SIGNATURE;
        let manifest_at = length_at + 4;
        let Some(length) = bytes.get(length_at..manifest_at).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MOST_MANIFEST {
            return Err(format!("a manifest of {length} bytes, at most {MOST_MANIFEST}"));
        }
        let Some(text) = bytes.get(manifest_at..manifest_at + length) else { return Ok(None) };
        let manifest: Manifest = serde_json::from_slice(text).map_err(|e| format!("manifest: {e}"))?;
        manifest.judge()?;
        let signatures = bytes.get(signatures_at..length_at).unwrap_or_default();
        let keys = signatures.chunks(SIGNATURE).filter_map(|s| s.get(..8)).map(hex).collect();
        let payload_at = (manifest_at + length) as u64;
        Ok(Some(Self { keys, manifest, digest: hex(&Sha256::digest(text)), payload_at }))
    }

    /// Bytes of the whole bundle.
    pub fn bytes(&self) -> u64 {
        self.payload_at.saturating_add(self.manifest.payload_bytes)
    }
}

impl Manifest {
    fn judge(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("a bundle of format {}, this program knows 1", self.format));
        }
        let is_word = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+._".contains(&b))
        };
        for (what, text) in [("product", &self.product), ("version", &self.version), ("arch", &self.arch)] {
            if !is_word(text) {
                return Err(format!("manifest: {what} is not 1 to 64 letters, digits and `-+._`"));
            }
        }
        if !is_version(&self.version) {
            return Err(format!("manifest: version `{}` is not of the form 1.2.3", self.version));
        }
        if self.min_from.as_ref().is_some_and(|v| !is_version(v)) || self.commit.len() > 64 {
            return Err("manifest: min_from or commit is not one".into());
        }
        if !is_sha256(&self.payload_sha256) {
            return Err("manifest: payload_sha256 is not one".into());
        }
        if self.payload_bytes > MOST_BYTES {
            return Err(format!("a bundle of {} bytes, at most {MOST_BYTES}", self.payload_bytes));
        }
        Ok(())
    }
}

/// Whether it begins as versions do (semver.org); the box reads the rest.
pub fn is_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 64 && numbers.split('.').count() == 3 && numbers.split('.').all(is_number)
}

/// Whether a text is a SHA-256 as we write them.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle(manifest: &str) -> Vec<u8> {
        let length = u32::try_from(manifest.len()).unwrap().to_le_bytes();
        [&MAGIC[..], &[1], &[7; SIGNATURE], &length, manifest.as_bytes()].concat()
    }

    fn manifest(version: &str, bytes: u64) -> String {
        let sha = "ab".repeat(32);
        format!(
            r#"{{"format":1,"product":"twinway-gateway","version":"{version}","arch":"arm64","payload_sha256":"{sha}","payload_bytes":{bytes},"files":[]}}"#
        )
    }

    #[test]
    fn a_head_is_read_once_all_of_it_is_there() {
        let whole = bundle(&manifest("1.2.3", 10));
        for n in 0..whole.len() {
            assert_eq!(Head::read(&whole[..n]), Ok(None), "{n}");
        }
        let head = Head::read(&[&whole[..], b"files"].concat()).unwrap().unwrap();
        assert_eq!((head.manifest.version.as_str(), head.bytes()), ("1.2.3", whole.len() as u64 + 10));
        assert_eq!(head.keys, ["0707070707070707"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (bytes, word) in [
            (b"PK\x03\x04".to_vec(), "not a bundle"),
            ([&MAGIC[..], &[0]].concat(), "0 signatures"),
            ([&MAGIC[..], &[1], &[0; SIGNATURE], &u32::MAX.to_le_bytes()].concat(), "a manifest of"),
            (bundle("{}"), "manifest: missing"),
            (bundle(&manifest("1/2", 1)), "version is not"),
            (bundle(&manifest("1.2", 1)), "of the form 1.2.3"),
            (bundle(&manifest("1.0.0", MOST_BYTES + 1)), "at most"),
        ] {
            let told = Head::read(&bytes).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::read(&rest);
            let _ = Head::read(&[&MAGIC[..], &rest].concat());
        }
    }
}

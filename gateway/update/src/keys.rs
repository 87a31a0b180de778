//! Keys as OpenSSL writes them: Ed25519 in PEM. A key is called by the first eight bytes of the SHA-256 of its public half.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::text::hex;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo.
const PUBLIC_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Of a key's file.
const MOST_BYTES: u64 = 64 << 10;

pub(crate) type KeyId = [u8; 8];

pub(crate) fn id_of(public: &[u8]) -> KeyId {
    let mut id = KeyId::default();
    id.copy_from_slice(&Sha256::digest(public)[..8]);
    id
}

/// The public keys that this box believes.
#[derive(Debug, Default)]
pub struct Trusted {
    keys: Vec<(KeyId, [u8; 32])>,
    /// Where they were looked for.
    folder: String,
}

impl Trusted {
    /// Reads every `*.pub` of a folder. One that is not there has no keys.
    ///
    /// # Errors
    /// When the folder cannot be read or a file is not a public key: half of a list would refuse what should be taken.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut trusted = Self { keys: Vec::new(), folder: folder.display().to_string() };
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(trusted),
            other => other.map_err(Error::disk(folder))?,
        };
        for entry in entries {
            let path = entry.map_err(Error::disk(folder))?.path();
            if path.extension().is_some_and(|e| e == "pub") {
                let public = public(&path)?;
                trusted.keys.push((id_of(&public), public));
            }
        }
        Ok(trusted)
    }

    /// How the keys are called.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|k| hex(&k.0)).collect()
    }

    /// Whether one of the signatures is by a key that is trusted; gives the key's name.
    pub(crate) fn verify(&self, message: &[u8], signatures: &[(KeyId, [u8; 64])]) -> Result<String, Error> {
        let folder = &self.folder;
        if self.keys.is_empty() {
            return Error::refused(format!(
                "no key is trusted: put the public key of whoever signs updates into {folder}/NAME.pub"
            ));
        }
        for (id, signature) in signatures {
            let mut known = self.keys.iter().filter(|k| k.0 == *id);
            if known.any(|k| UnparsedPublicKey::new(&ED25519, k.1).verify(message, signature).is_ok()) {
                return Ok(hex(id));
            }
        }
        if let Some((id, _)) = signatures.iter().find(|s| self.keys.iter().any(|k| k.0 == s.0)) {
            let id = hex(id);
            return Error::refused(format!(
                "the signature of key {id} does not fit: the bundle was changed or damaged"
            ));
        }
        let by = signatures.iter().map(|s| hex(&s.0)).collect::<Vec<_>>().join(", ");
        let known = self.ids().join(", ");
        Error::refused(format!("signed by key {by}, which is not in {folder} (there: {known})"))
    }
}

fn pem(path: &Path, label: &str) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map_err(Error::disk(path))?.len();
    let text = if size > MOST_BYTES {
        String::new()
    } else {
        fs::read_to_string(path).map_err(Error::disk(path))?
    };
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let inner = text.split_once(&begin).and_then(|t| t.1.split_once(&end)).map(|t| t.0);
    let inner: Option<String> = inner.map(|t| t.split_whitespace().collect());
    inner
        .and_then(|t| STANDARD.decode(t).ok())
        .ok_or_else(|| Error::Refused(format!("{}: no PEM of a {label}", path.display())))
}

fn public(path: &Path) -> Result<[u8; 32], Error> {
    let der = pem(path, "PUBLIC KEY")?;
    der.strip_prefix(&PUBLIC_HEAD)
        .and_then(|k| <[u8; 32]>::try_from(k).ok())
        .ok_or_else(|| Error::Refused(format!("{}: not an Ed25519 key", path.display())))
}

/// A private key.
pub(crate) fn private(path: &Path) -> Result<Ed25519KeyPair, Error> {
    let der = pem(path, "PRIVATE KEY")?;
    // OpenSSL leaves the public half out.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
        .map_err(|e| Error::Refused(format!("{}: not an Ed25519 key in PKCS #8: {e}", path.display())))
}

/// Makes a key: the private half at `path`, for its owner alone, and the public one at `path` with `.pub`. Gives its name.
///
/// # Errors
/// When one of the files is there already or cannot be written.
pub fn make_key(path: &Path) -> Result<String, Error> {
    let public_path = path.with_extension("pub");
    for there in [path, &public_path] {
        if there.exists() {
            return Error::refused(format!("{} is there already", there.display()));
        }
    }
    let failed = |_| Error::Refused("the system gives no random bytes".to_owned());
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let key = Ed25519KeyPair::from_pkcs8(made.as_ref())
        .map_err(|e| Error::Refused(format!("the new key cannot be read: {e}")))?;
    let bytes = key.public_key().as_ref();
    let der = [&PUBLIC_HEAD[..], bytes].concat();
    let text = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    let write = |path: &Path, text: String, mode| {
        common::files::replace(path, text.as_bytes(), mode).map_err(Error::disk(path))
    };
    write(path, text("PRIVATE KEY", made.as_ref()), 0o600)?;
    write(&public_path, text("PUBLIC KEY", &der), 0o644)?;
    Ok(hex(&id_of(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
    /// The halves belong together: RFC 8032, test 1.
    const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

    #[test]
    fn keys_of_openssl_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (key, public) = (dir.path().join("a.key"), dir.path().join("a.pub"));
        fs::write(&key, OPENSSL_PRIVATE).unwrap();
        fs::write(&public, OPENSSL_PUBLIC).unwrap();
        let trusted = Trusted::load(dir.path()).unwrap();
        let pair = private(&key).unwrap();
        let id = id_of(pair.public_key().as_ref());
        assert_eq!(trusted.ids(), [hex(&id)]);
        let signature: [u8; 64] = pair.sign(b"m").as_ref().try_into().unwrap();
        assert_eq!(trusted.verify(b"m", &[([0; 8], [0; 64]), (id, signature)]).unwrap(), hex(&id));
        assert!(trusted.verify(b"n", &[(id, signature)]).unwrap_err().to_string().contains("does not fit"));
    }

    #[test]
    fn a_key_that_is_made_is_taken_and_none_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update.key");
        let id = make_key(&path).unwrap();
        assert_eq!(Trusted::load(dir.path()).unwrap().ids(), [id]);
        private(&path).unwrap();
        assert!(make_key(&path).unwrap_err().to_string().contains("already"));
    }

    #[test]
    fn no_keys_and_other_keys_say_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let none = Trusted::load(&dir.path().join("none")).unwrap();
        assert!(none.verify(b"", &[]).unwrap_err().to_string().contains("no key is trusted: put"));
        fs::write(dir.path().join("a.pub"), OPENSSL_PUBLIC).unwrap();
        let other = Trusted::load(dir.path()).unwrap();
        let told = other.verify(b"", &[([9; 8], [0; 64])]).unwrap_err().to_string();
        assert!(told.contains("signed by key 0909090909090909, which is not in"), "{told}");
        for unsound in ["", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"] {
            fs::write(dir.path().join("b.pub"), unsound).unwrap();
            assert!(Trusted::load(dir.path()).unwrap_err().to_string().contains("b.pub"));
        }
    }
}

//! Users and their passwords: argon2id, off the runtime's threads, one at a time. A password that was right is
//! remembered as a keyed hash, so that a plant that comes back after a power cut does not wait for argon2.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::lock;

/// Memory (KiB) and passes: as hard as the usual 19 MiB and 2 passes, in the memory that a small box has.
const MEMORY_KIB: u32 = 7168;
const PASSES: u32 = 5;
/// Verified when the user is not known, so that the time tells nothing.
const NOBODY: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$dHdpbndheS1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Users by name, with their password's hash.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, String>);

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Users {
    /// Reads a passwords file: a line each, `name:$argon2id$...`; empty lines and those with `#` are passed over.
    ///
    /// # Errors
    /// Each line (from 1) that is not as expected. The line is not repeated: it may hold a password by mistake.
    pub fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let (mut users, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(':').filter(|(name, hash)| {
                let parsed = PasswordHash::new(hash);
                !name.is_empty() && parsed.is_ok_and(|p| p.algorithm.as_str().starts_with("argon2"))
            });
            match pair {
                None => mistakes.push((
                    n + 1,
                    "expected `name:$argon2id$...`, as `twinway-gateway broker passwd` makes it".to_owned(),
                )),
                Some((name, hash)) => {
                    if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                        mistakes.push((n + 1, format!("`{name}` stands twice")));
                    }
                }
            }
        }
        if mistakes.is_empty() { Ok(Self(users)) } else { Err(mistakes) }
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a user is known.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A line of the passwords file.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn line(name: &str, password: &[u8]) -> Result<String, String> {
        if name.is_empty() || name.contains([':', '\n', '\r', '\0']) || name.starts_with('#') {
            return Err(
                "a user's name is not empty and has no `:`, no line end, and no `#` at its start".to_owned()
            );
        }
        if password.is_empty() {
            return Err("the password is empty".to_owned());
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
        let salt = SaltString::encode_b64(&salt).map_err(|e| e.to_string())?;
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| e.to_string())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password(password, &salt).map_err(|e| e.to_string())?;
        Ok(format!("{name}:{hash}"))
    }
}

#[derive(Default)]
struct State {
    users: Users,
    /// Hashes of passwords that were right, by user, under a key that is never written.
    known: HashMap<String, [u8; 32]>,
}

/// Checks who signs in.
pub struct Auth {
    state: Mutex<State>,
    key: [u8; 32],
    turn: Arc<Semaphore>,
}

impl Auth {
    /// For these users.
    pub fn new(users: Users) -> Self {
        let mut key = [0; 32];
        if getrandom::fill(&mut key).is_err() {
            tracing::warn!("no random source: passwords are not remembered");
        }
        let state = Mutex::new(State { users, known: HashMap::new() });
        Self { state, key, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Other users from now on. What was remembered of those that stay as they are is kept.
    pub(crate) fn renew(&self, users: Users) {
        let mut state = lock(&self.state);
        let State { users: old, known } = &mut *state;
        known.retain(|user, _| users.0.get(user) == old.0.get(user));
        *old = users;
    }

    /// Whether there is such a user.
    pub(crate) fn has(&self, user: &str) -> bool {
        lock(&self.state).users.0.contains_key(user)
    }

    /// Whether nobody can sign in.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).users.is_empty()
    }

    /// Whether the password is the user's.
    pub async fn check(&self, user: &str, password: &[u8]) -> bool {
        let remembered = self.remember(user, password);
        // Without a random source the key is known, and so would be what is remembered.
        let may_remember = self.key != [0; 32];
        let of_user = {
            let state = lock(&self.state);
            if may_remember && state.known.get(user) == Some(&remembered) {
                return true;
            }
            state.users.0.get(user).cloned()
        };
        let (exists, hash) = (of_user.is_some(), of_user.clone().unwrap_or_else(|| NOBODY.to_owned()));
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return false };
        let password = password.to_vec();
        let verified = tokio::task::spawn_blocking(move || {
            // Held to the end, also when the client is gone before.
            let _turn = turn;
            PasswordHash::new(&hash).is_ok_and(|h| Argon2::default().verify_password(&password, &h).is_ok())
        });
        let right = exists && verified.await.unwrap_or(false);
        let mut state = lock(&self.state);
        // The password may have been another one's by now.
        if !right || state.users.0.get(user) != of_user.as_ref() {
            return false;
        }
        if may_remember {
            state.known.insert(user.to_owned(), remembered);
        }
        true
    }

    fn remember(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((user.len() as u64).to_le_bytes());
        hash.update(user);
        hash.update(password);
        hash.update(self.key);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_made_here_lets_its_user_in_and_nobody_else() {
        let text = format!("# people\n\n{}\n", Users::line("ann", b"secret").unwrap());
        let users = Users::parse(&text).unwrap();
        assert!(!format!("{users:?}").contains("argon2"), "a hash is shown");
        let auth = Auth::new(users);
        for _ in 0..2 {
            assert!(auth.check("ann", b"secret").await);
            assert!(!auth.check("ann", b"Secret").await);
            assert!(!auth.check("bob", b"secret").await);
        }
    }

    #[test]
    fn bad_lines_are_told_without_their_content() {
        let mistakes = Users::parse("ann:secret\n:x\nhello").unwrap_err();
        assert_eq!(mistakes.iter().map(|m| m.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(mistakes.iter().all(|m| !m.1.contains("secret")));
        assert!(Users::line("a:b", b"x").is_err() && Users::line("a", b"").is_err());
    }
}

//! Passwords: argon2id with its recommended cost, off the runtime's threads, a few at a time. An account
//! that does not exist costs the same time as one that does.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use common::names::Code;
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Fewest characters of a password.
pub(crate) const SHORTEST: usize = 10;
/// Most bytes of a password.
const LONGEST: usize = 1024;
/// How many are hashed at a time: each takes 19 MiB and tens of milliseconds of a core.
const AT_A_TIME: usize = 2;
/// How many may wait for their turn.
const WAITING: usize = 32;
/// A hash that no password has, with the cost of real ones.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$dHdpbndheS1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password was not hashed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PasswordError {
    /// No random source.
    #[error("no random source")]
    Random,
    /// argon2 refuses.
    #[error("argon2: {detail}")]
    Hash {
        /// What it said.
        detail: String,
    },
}

/// Whether a password will do.
pub(crate) fn check(password: &str) -> Result<(), ApiError> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(ApiError::invalid(format!(
            "a password has at least {SHORTEST} characters and at most {LONGEST} bytes"
        )));
    }
    Ok(())
}

/// The hash of a password as PHC text. Takes tens of milliseconds: not for a runtime's thread.
pub(crate) fn hash(password: &str) -> Result<String, PasswordError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::Random)?;
    let failed = |e: argon2::password_hash::Error| PasswordError::Hash { detail: e.to_string() };
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

fn verify(password: &str, phc: Option<&str>) -> bool {
    let fits = PasswordHash::new(phc.unwrap_or(NOBODY))
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    fits && phc.is_some()
}

/// Hashes passwords, a few at a time.
pub(crate) struct Hasher {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_A_TIME)), waiting: Semaphore::new(WAITING) }
    }
}

impl Hasher {
    /// The hash of a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        self.run(move || hash(&password)).await?.map_err(|error| {
            tracing::error!(%error, "a password was not hashed");
            ApiError::new(Code::Internal, "the password could not be hashed")
        })
    }

    /// Whether the password fits; without a hash it never does, after the same time.
    pub(crate) async fn verify(&self, password: String, phc: Option<String>) -> Result<bool, ApiError> {
        self.run(move || verify(&password, phc.as_deref())).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let busy =
            |_| ApiError::new(Code::RateLimited, "too many sign in at once").after(Duration::from_secs(2));
        let stopped = || ApiError::new(Code::Unavailable, "the service is stopping");
        let waiting = self.waiting.try_acquire().map_err(busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| stopped())?;
        drop(waiting);
        // The permit goes along: work whose client has gone still counts until it ends.
        let task = tokio::task::spawn_blocking(move || {
            let _running = running;
            work()
        });
        task.await.map_err(|_| stopped())
    }
}

#[cfg(test)]
mod tests {
    use argon2::Params;

    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let phc = hash("correct horse").unwrap();
        assert!(phc.starts_with("$argon2id$"));
        assert!(verify("correct horse", Some(&phc)));
        assert!(!verify("wrong horse", Some(&phc)));
        assert!(!verify("correct horse", None));
        assert!(!verify("correct horse", Some("rubbish")));
    }

    #[test]
    fn nobody_costs_what_a_real_account_costs() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let real = hash("correct horse").unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(Params::try_from(&nobody).unwrap(), Params::try_from(&real).unwrap());
        assert_eq!(nobody.hash.unwrap().len(), real.hash.unwrap().len());
    }
}

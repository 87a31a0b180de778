//! Accounts without HTTP: the admin of the first run, and the way back in for who has lost the password.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud_core::storage::Account;
use cloud_core::{Storage, StoreError};
use common::Clock;
use common::api::{GrantView, Role, UserView};
use common::command::{LogEntry, Severity};
use common::names::action;

use crate::auth::password;
pub use crate::auth::password::PasswordError;

/// Name of the first account.
pub const ADMIN: &str = "admin";

/// Why an account was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Storage refuses.
    #[error("storage")]
    Store(#[from] StoreError),
    /// The password cannot be made or hashed.
    #[error("password")]
    Password(#[from] PasswordError),
    /// The task was cut off.
    #[error("interrupted")]
    Interrupted,
}

/// On the first run (no account at all) makes the account `admin` and returns its password, which is
/// random and kept nowhere in clear. None if there are accounts.
///
/// # Errors
/// When storage refuses or the system has no random source.
pub async fn create_first_admin(
    storage: &dyn Storage,
    clock: &Clock,
) -> Result<Option<String>, AccountError> {
    if !storage.users().await?.is_empty() {
        return Ok(None);
    }
    let (password, password_hash) = random_password().await?;
    let grants = vec![GrantView { path: String::new(), role: Role::Admin }];
    let view = UserView { name: ADMIN.to_owned(), grants, created_us: clock.now_us() };
    storage.append_audit(&entry(clock, action::USER_CREATED, ADMIN, "first run: admin of all")).await?;
    storage.create_user(&Account { view, password_hash }).await?;
    Ok(Some(password))
}

/// Gives an account a new random password and ends its sessions.
///
/// # Errors
/// When there is no such account, storage refuses or the system has no random source.
pub async fn reset_password(
    storage: &dyn Storage,
    clock: &Clock,
    name: &str,
) -> Result<String, AccountError> {
    storage.user(name).await?;
    let (password, hash) = random_password().await?;
    storage.append_audit(&entry(clock, action::USER_PASSWORD, name, "reset on the machine")).await?;
    storage.set_password(name, &hash).await?;
    Ok(password)
}

async fn random_password() -> Result<(String, String), AccountError> {
    let mut bytes = [0; 15];
    getrandom::fill(&mut bytes).map_err(|_| PasswordError::Random)?;
    let password = URL_SAFE_NO_PAD.encode(bytes);
    let task = tokio::task::spawn_blocking(move || password::hash(&password).map(|hash| (password, hash)));
    Ok(task.await.map_err(|_| AccountError::Interrupted)??)
}

fn entry(clock: &Clock, action: &str, target: &str, detail: &str) -> LogEntry {
    LogEntry {
        at_us: clock.now_us(),
        actor: "system".to_owned(),
        action: action.to_owned(),
        target: target.to_owned(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: detail.to_owned(),
    }
}

//! Accounts, sessions, keys and gateway credentials. Secrets are here as hashes only; what a role may do is
//! not decided here.

use cloud_core::storage::Account;
use cloud_core::{GatewayKey, StoreError};
use common::api::{ApiKeyView, GrantView, UserView};

use crate::certificates::revoke_all;
use crate::db::{Result, from_json, to_json};
use crate::frames::gateway_row;
use crate::revocations::Revoked;
use crate::sql::{Conn, Row, Tx, params};

fn no_user(name: &str) -> StoreError {
    StoreError::NotFound { what: format!("user `{name}`") }
}

fn conflict(what: String) -> StoreError {
    StoreError::Conflict { what }
}

fn user_view(row: &Row<'_>) -> Result<UserView> {
    let grants: String = row.get(1)?;
    let grants = from_json("an account's grants", &grants)?;
    Ok(UserView { name: row.get(0)?, grants, created_us: row.get(2)? })
}

pub(crate) fn users(conn: &Conn) -> Result<Vec<UserView>> {
    conn.all("SELECT name, grants, created_us FROM users ORDER BY name", params![], user_view)
}

pub(crate) fn user(conn: &Conn, name: &str) -> Result<Account> {
    let sql = "SELECT name, grants, created_us, password FROM users WHERE name = ?1";
    let account = |r: &Row<'_>| Ok(Account { view: user_view(r)?, password_hash: r.get(3)? });
    conn.first(sql, params![name], account)?.ok_or_else(|| no_user(name))
}

pub(crate) fn create_user(tx: &Tx<'_>, account: &Account) -> Result<()> {
    let view = &account.view;
    let sql = "INSERT INTO users (name, password, grants, created_us) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let values = params![view.name, account.password_hash, to_json(&view.grants)?, view.created_us];
    if tx.execute(sql, values)? == 0 {
        return Err(conflict(format!("user `{}` exists already", view.name)));
    }
    Ok(())
}

pub(crate) fn delete_user(tx: &Tx<'_>, name: &str) -> Result<()> {
    // Its sessions go with it, by the foreign key.
    let gone = tx.execute("DELETE FROM users WHERE name = ?1", params![name])?;
    if gone == 0 { Err(no_user(name)) } else { Ok(()) }
}

pub(crate) fn set_password(tx: &Tx<'_>, name: &str, hash: &str) -> Result<()> {
    let changed = tx.execute("UPDATE users SET password = ?2 WHERE name = ?1", params![name, hash])?;
    if changed == 0 {
        return Err(no_user(name));
    }
    tx.execute("DELETE FROM sessions WHERE \"user\" = ?1", params![name])?;
    Ok(())
}

pub(crate) fn create_session(
    tx: &Tx<'_>,
    token: &[u8; 32],
    user: &str,
    expires_us: i64,
    now: i64,
) -> Result<()> {
    purge_sessions(tx, now)?;
    let is_there = tx.exists("SELECT 1 FROM users WHERE name = ?1", params![user])?;
    if !is_there {
        return Err(no_user(user));
    }
    let sql =
        r#"INSERT INTO sessions (token, "user", expires_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"#;
    if tx.execute(sql, params![token, user, expires_us])? == 0 {
        return Err(conflict("the session exists already".into()));
    }
    Ok(())
}

/// Removes sessions and keys that have ended.
pub(crate) fn purge_sessions(tx: &Tx<'_>, now: i64) -> Result<()> {
    tx.execute("DELETE FROM sessions WHERE expires_us <= ?1", params![now])?;
    Ok(())
}

pub(crate) fn authenticate(
    conn: &Conn,
    token: &[u8; 32],
    now: i64,
) -> Result<Option<(String, Vec<GrantView>)>> {
    let sql = r#"SELECT u.name, u.grants FROM sessions s JOIN users u ON u.name = s."user"
               WHERE s.token = ?1 AND s.expires_us > ?2
               UNION ALL
               SELECT 'key:' || name, grants FROM keys
               WHERE token = ?1 AND (expires_us IS NULL OR expires_us > ?2)
               LIMIT 1"#;
    let found: Option<(String, String)> =
        conn.first(sql, params![token, now], |r| Ok((r.get(0)?, r.get(1)?)))?;
    found.map(|(name, grants)| Ok((name, from_json("grants", &grants)?))).transpose()
}

pub(crate) fn delete_session(tx: &Tx<'_>, token: &[u8; 32]) -> Result<()> {
    tx.execute("DELETE FROM sessions WHERE token = ?1", params![token])?;
    Ok(())
}

pub(crate) fn keys(conn: &Conn) -> Result<Vec<ApiKeyView>> {
    let sql = "SELECT name, grants, created_us, expires_us FROM keys ORDER BY name";
    conn.all(sql, params![], |r| {
        let grants: String = r.get(1)?;
        let grants = from_json("a key's grants", &grants)?;
        Ok(ApiKeyView { name: r.get(0)?, grants, created_us: r.get(2)?, expires_us: r.get(3)? })
    })
}

pub(crate) fn create_key(tx: &Tx<'_>, key: &ApiKeyView, token: &[u8; 32]) -> Result<()> {
    let sql = "INSERT INTO keys (name, token, grants, created_us, expires_us) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO NOTHING";
    let values = params![key.name, token, to_json(&key.grants)?, key.created_us, key.expires_us];
    if tx.execute(sql, values)? == 0 {
        return Err(conflict(format!("key `{}` exists already", key.name)));
    }
    Ok(())
}

pub(crate) fn delete_key(tx: &Tx<'_>, name: &str) -> Result<()> {
    let gone = tx.execute("DELETE FROM keys WHERE name = ?1", params![name])?;
    if gone == 0 { Err(StoreError::NotFound { what: format!("key `{name}`") }) } else { Ok(()) }
}

pub(crate) fn set_gateway_secret(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    secret: &[u8; 32],
    now: i64,
) -> Result<Revoked> {
    let row = gateway_row(tx, gateway)?;
    let revoked = revoke_all(tx, row, gateway, now)?;
    tx.execute("UPDATE gateways SET secret = ?2, secret_us = ?3 WHERE id = ?1", params![row, secret, now])?;
    Ok(revoked)
}

pub(crate) fn gateway_secret(conn: &Conn, gateway: &GatewayKey) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT secret FROM gateways WHERE tenant = ?1 AND gateway = ?2";
    let found: Option<Option<[u8; 32]>> =
        conn.first(sql, params![gateway.tenant.as_str(), gateway.gateway.as_str()], |r| r.get(0))?;
    Ok(found.flatten())
}

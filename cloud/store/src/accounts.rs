//! Accounts, sessions, keys and gateway credentials. Secrets are here as hashes only; what a role may do is
//! not decided here.

use cloud_core::storage::Account;
use cloud_core::{GatewayKey, StoreError};
use common::api::{ApiKeyView, GrantView, UserView};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::db::{Result, db, from_json, to_json};
use crate::frames::gateway_row;

fn no_user(name: &str) -> StoreError {
    StoreError::NotFound { what: format!("user `{name}`") }
}

/// A conflict where a unique column refuses, with what it is about.
fn or_conflict(error: rusqlite::Error, what: impl FnOnce() -> String) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::Conflict { what: what() },
        _ => db(error),
    }
}

fn user_view(row: &Row<'_>) -> rusqlite::Result<(String, String, i64)> {
    Ok((row.get("name")?, row.get("grants")?, row.get("created_us")?))
}

fn to_user((name, grants, created_us): (String, String, i64)) -> Result<UserView> {
    Ok(UserView { name, grants: from_json("an account's grants", &grants)?, created_us })
}

pub(crate) fn users(conn: &Connection) -> Result<Vec<UserView>> {
    let sql = "SELECT name, grants, created_us FROM users ORDER BY name";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let rows = statement.query_map([], user_view).map_err(db)?;
    rows.map(|r| to_user(r.map_err(db)?)).collect()
}

pub(crate) fn user(conn: &Connection, name: &str) -> Result<Account> {
    let sql = "SELECT name, grants, created_us, password FROM users WHERE name = ?1";
    let found = conn
        .prepare_cached(sql)
        .and_then(|mut s| {
            s.query_row([name], |r| Ok((user_view(r)?, r.get::<_, String>("password")?))).optional()
        })
        .map_err(db)?;
    let (view, password_hash) = found.ok_or_else(|| no_user(name))?;
    Ok(Account { view: to_user(view)?, password_hash })
}

pub(crate) fn create_user(tx: &Transaction<'_>, account: &Account) -> Result<()> {
    let view = &account.view;
    let sql = "INSERT INTO users (name, password, grants, created_us) VALUES (?1, ?2, ?3, ?4)";
    let values = params![view.name, account.password_hash, to_json(&view.grants)?, view.created_us];
    tx.prepare_cached(sql)
        .and_then(|mut s| s.execute(values))
        .map_err(|e| or_conflict(e, || format!("user `{}` exists already", view.name)))?;
    Ok(())
}

pub(crate) fn delete_user(tx: &Transaction<'_>, name: &str) -> Result<()> {
    // Its sessions go with it, by the foreign key.
    let gone = tx
        .prepare_cached("DELETE FROM users WHERE name = ?1")
        .and_then(|mut s| s.execute([name]))
        .map_err(db)?;
    if gone == 0 { Err(no_user(name)) } else { Ok(()) }
}

pub(crate) fn set_password(tx: &Transaction<'_>, name: &str, hash: &str) -> Result<()> {
    let changed = tx
        .prepare_cached("UPDATE users SET password = ?2 WHERE name = ?1")
        .and_then(|mut s| s.execute([name, hash]))
        .map_err(db)?;
    if changed == 0 {
        return Err(no_user(name));
    }
    tx.prepare_cached("DELETE FROM sessions WHERE user = ?1")
        .and_then(|mut s| s.execute([name]))
        .map_err(db)?;
    Ok(())
}

pub(crate) fn create_session(
    tx: &Transaction<'_>,
    token: &[u8; 32],
    user: &str,
    expires_us: i64,
    now: i64,
) -> Result<()> {
    purge_sessions(tx, now)?;
    let is_there = tx
        .prepare_cached("SELECT 1 FROM users WHERE name = ?1")
        .and_then(|mut s| s.exists([user]))
        .map_err(db)?;
    if !is_there {
        return Err(no_user(user));
    }
    let sql = "INSERT INTO sessions (token, user, expires_us) VALUES (?1, ?2, ?3)";
    tx.prepare_cached(sql)
        .and_then(|mut s| s.execute(params![token, user, expires_us]))
        .map_err(|e| or_conflict(e, || "the session exists already".into()))?;
    Ok(())
}

/// Removes sessions and keys that have ended.
pub(crate) fn purge_sessions(tx: &Transaction<'_>, now: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM sessions WHERE expires_us <= ?1")
        .and_then(|mut s| s.execute([now]))
        .map_err(db)?;
    Ok(())
}

pub(crate) fn authenticate(
    conn: &Connection,
    token: &[u8; 32],
    now: i64,
) -> Result<Option<(String, Vec<GrantView>)>> {
    let sql = "SELECT u.name, u.grants FROM sessions s JOIN users u ON u.name = s.user
               WHERE s.token = ?1 AND s.expires_us > ?2
               UNION ALL
               SELECT 'key:' || name, grants FROM keys
               WHERE token = ?1 AND (expires_us IS NULL OR expires_us > ?2)
               LIMIT 1";
    let found: Option<(String, String)> = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row(params![token, now], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(db)?;
    found.map(|(name, grants)| Ok((name, from_json("grants", &grants)?))).transpose()
}

pub(crate) fn delete_session(tx: &Transaction<'_>, token: &[u8; 32]) -> Result<()> {
    tx.prepare_cached("DELETE FROM sessions WHERE token = ?1")
        .and_then(|mut s| s.execute([token]))
        .map_err(db)?;
    Ok(())
}

pub(crate) fn keys(conn: &Connection) -> Result<Vec<ApiKeyView>> {
    let sql = "SELECT name, grants, created_us, expires_us FROM keys ORDER BY name";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let rows = statement
        .query_map([], |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?, r.get(3)?)))
        .map_err(db)?;
    rows.map(|row| {
        let (name, grants, created_us, expires_us) = row.map_err(db)?;
        Ok(ApiKeyView { name, grants: from_json("a key's grants", &grants)?, created_us, expires_us })
    })
    .collect()
}

pub(crate) fn create_key(tx: &Transaction<'_>, key: &ApiKeyView, token: &[u8; 32]) -> Result<()> {
    let sql = "INSERT INTO keys (name, token, grants, created_us, expires_us) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![key.name, token, to_json(&key.grants)?, key.created_us, key.expires_us];
    tx.prepare_cached(sql)
        .and_then(|mut s| s.execute(values))
        .map_err(|e| or_conflict(e, || format!("key `{}` exists already", key.name)))?;
    Ok(())
}

pub(crate) fn delete_key(tx: &Transaction<'_>, name: &str) -> Result<()> {
    let gone = tx
        .prepare_cached("DELETE FROM keys WHERE name = ?1")
        .and_then(|mut s| s.execute([name]))
        .map_err(db)?;
    if gone == 0 { Err(StoreError::NotFound { what: format!("key `{name}`") }) } else { Ok(()) }
}

pub(crate) fn set_gateway_secret(
    tx: &Transaction<'_>,
    gateway: &GatewayKey,
    secret: &[u8; 32],
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    tx.prepare_cached("UPDATE gateways SET secret = ?2, secret_us = ?3 WHERE id = ?1")
        .and_then(|mut s| s.execute(params![row, secret, now]))
        .map_err(db)?;
    Ok(())
}

pub(crate) fn gateway_secret(conn: &Connection, gateway: &GatewayKey) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT secret FROM gateways WHERE tenant = ?1 AND gateway = ?2";
    let found: Option<Option<[u8; 32]>> = conn
        .prepare_cached(sql)
        .and_then(|mut s| {
            s.query_row([gateway.tenant.as_str(), gateway.gateway.as_str()], |r| r.get(0)).optional()
        })
        .map_err(db)?;
    Ok(found.flatten())
}

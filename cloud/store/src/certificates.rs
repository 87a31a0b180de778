//! Enrolment codes and the certificates that were issued to boxes.

use async_trait::async_trait;
use cloud_core::enrol::{Certificate, CertificateStorage, FORGOTTEN_DAYS, KeptCode};
use cloud_core::{GatewayKey, StoreError};
use common::command::LogEntry;
use common::enrol::Key;

use crate::Store;
use crate::boxes::row_of;
use crate::db::{Result, from_sql};
use crate::frames::gateway_row;
use crate::log;
use crate::revocations::Revoked;
use crate::sql::{Conn, Row, Tx, params};

const FORGOTTEN_US: i64 = FORGOTTEN_DAYS * 86_400 * 1_000_000;

fn conflict(what: impl Into<String>) -> StoreError {
    StoreError::Conflict { what: what.into() }
}

pub(crate) fn create_code(tx: &Tx<'_>, code: &KeptCode, now: i64, audit: &LogEntry) -> Result<()> {
    tx.execute("DELETE FROM enrolment_codes WHERE expires_us <= ?1", params![now])?;
    let row = gateway_row(tx, &code.gateway)?;
    let sql =
        "INSERT INTO enrolment_codes (id, key, gateway, expires_us, failures) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO NOTHING";
    let failures = i64::from(code.failures);
    if tx.execute(sql, params![code.id, code.key.0, row, code.expires_us, failures])? == 0 {
        return Err(conflict("a code of this name is there"));
    }
    log::append_own(tx, audit, now)
}

pub(crate) fn code(conn: &Conn, id: &str) -> Result<Option<KeptCode>> {
    let sql = "SELECT c.id, c.key, g.tenant, g.gateway, c.expires_us, c.failures, c.used_by
               FROM enrolment_codes c JOIN gateways g ON g.id = c.gateway WHERE c.id = ?1";
    conn.first(sql, params![id], |r| {
        Ok(KeptCode {
            id: r.get(0)?,
            key: Key(r.get(1)?),
            gateway: gateway(r, 2)?,
            expires_us: r.get(4)?,
            failures: u32::try_from(from_sql(r.get(5)?)).unwrap_or(u32::MAX),
            used_by: r.get(6)?,
        })
    })
}

fn gateway(r: &Row<'_>, at: usize) -> Result<GatewayKey> {
    let (tenant, gateway): (String, String) = (r.get(at)?, r.get(at + 1)?);
    let damaged = |e: &dyn std::fmt::Display| crate::db::damaged("a gateway's name", e);
    Ok(GatewayKey {
        tenant: tenant.parse().map_err(|e| damaged(&e))?,
        gateway: gateway.parse().map_err(|e| damaged(&e))?,
    })
}

pub(crate) fn code_failed(tx: &Tx<'_>, id: &str) -> Result<()> {
    tx.execute("UPDATE enrolment_codes SET failures = failures + 1 WHERE id = ?1", params![id])?;
    Ok(())
}

pub(crate) fn enrol(tx: &Tx<'_>, code: &str, certificate: &Certificate, audit: &LogEntry) -> Result<Revoked> {
    let row = gateway_row(tx, &certificate.gateway)?;
    let now = certificate.issued_us;
    let sql = "UPDATE enrolment_codes SET used_by = ?3 WHERE id = ?1 AND gateway = ?2 AND used_by IS NULL";
    let mut revoked = Revoked::default();
    if tx.execute(sql, params![code, row, certificate.key])? > 0 {
        revoked = revoke_all(tx, row, &certificate.gateway, now)?;
    } else {
        let sql = "SELECT 1 FROM enrolment_codes WHERE id = ?1 AND gateway = ?2 AND used_by = ?3";
        if !tx.exists(sql, params![code, row, certificate.key])? || !is_good(tx, row, &certificate.key)? {
            return Err(conflict("the code is used up"));
        }
    }
    insert(tx, row, certificate)?;
    log::append_own(tx, audit, now)?;
    Ok(revoked)
}

pub(crate) fn renew(tx: &Tx<'_>, certificate: &Certificate, audit: &LogEntry) -> Result<()> {
    let row = gateway_row(tx, &certificate.gateway)?;
    if !is_good(tx, row, &certificate.key)? {
        return Err(conflict("no certificate of this key is good"));
    }
    insert(tx, row, certificate)?;
    let now = certificate.issued_us;
    tx.execute(
        "DELETE FROM certificates WHERE gateway = ?1 AND not_after_us < ?2",
        params![row, now.saturating_sub(FORGOTTEN_US)],
    )?;
    log::append_own(tx, audit, now)
}

/// Whether a gateway has a certificate of this key that is not revoked.
fn is_good(tx: &Tx<'_>, row: i64, key: &[u8; 32]) -> Result<bool> {
    let sql = "SELECT 1 FROM certificates WHERE gateway = ?1 AND key = ?2 AND revoked_us IS NULL";
    tx.exists(sql, params![row, key])
}

pub(crate) fn insert(tx: &Tx<'_>, row: i64, c: &Certificate) -> Result<()> {
    let sql = "INSERT INTO certificates (gateway, serial, key, issued_us, not_after_us, revoked_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.execute(sql, params![row, c.serial, c.key, c.issued_us, c.not_after_us, c.revoked_us])?;
    Ok(())
}

/// Certificates and the secret: what they were.
pub(crate) fn revoke_all(tx: &Tx<'_>, row: i64, gateway: &GatewayKey, now: i64) -> Result<Revoked> {
    let sql = "SELECT secret FROM gateways WHERE id = ?1";
    let secret: Option<Option<[u8; 32]>> = tx.first(sql, params![row], |r| r.get(0))?;
    tx.execute("UPDATE gateways SET secret = NULL, secret_us = ?2 WHERE id = ?1", params![row, now])?;
    let good = certificates(tx, gateway)?.into_iter().filter(|c| c.revoked_us.is_none());
    let certificates = good.map(|c| Certificate { revoked_us: Some(now), ..c }).collect();
    let sql = "UPDATE certificates SET revoked_us = ?2 WHERE gateway = ?1 AND revoked_us IS NULL";
    tx.execute(sql, params![row, now])?;
    Ok(Revoked { certificates, secret: secret.flatten().map(|hash| (gateway.clone(), hash)) })
}

/// All certificates that are revoked.
pub(crate) fn revoked(conn: &Conn) -> Result<Vec<Certificate>> {
    let sql = "SELECT c.serial, c.key, c.issued_us, c.not_after_us, c.revoked_us, g.tenant, g.gateway
               FROM certificates c JOIN gateways g ON g.id = c.gateway WHERE c.revoked_us IS NOT NULL";
    conn.all(sql, params![], |r| certificate_of(r, &gateway(r, 5)?))
}

pub(crate) fn revoke(tx: &Tx<'_>, gateway: &GatewayKey, now: i64, audit: &LogEntry) -> Result<Revoked> {
    let row = row_of(tx, gateway)?.ok_or_else(|| StoreError::NotFound { what: "gateway".into() })?;
    let revoked = revoke_all(tx, row, gateway, now)?;
    tx.execute("DELETE FROM enrolment_codes WHERE gateway = ?1", params![row])?;
    log::append_own(tx, audit, now)?;
    Ok(revoked)
}

pub(crate) fn certificates(conn: &Conn, gateway: &GatewayKey) -> Result<Vec<Certificate>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(Vec::new()) };
    let sql = "SELECT serial, key, issued_us, not_after_us, revoked_us FROM certificates
               WHERE gateway = ?1 ORDER BY issued_us DESC, serial";
    conn.all(sql, params![row], |r| certificate_of(r, gateway))
}

impl Store {
    /// How many gateways have a certificate that is not revoked: who signed it must be there.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn enrolled(&self) -> Result<usize> {
        let sql = "SELECT count(DISTINCT gateway) FROM certificates WHERE revoked_us IS NULL";
        let n: i64 = self.read(move |conn| conn.one(sql, params![], |r| r.get(0))).await?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }
}

fn certificate_of(r: &Row<'_>, gateway: &GatewayKey) -> Result<Certificate> {
    Ok(Certificate {
        gateway: gateway.clone(),
        serial: r.get(0)?,
        key: r.get(1)?,
        issued_us: r.get(2)?,
        not_after_us: r.get(3)?,
        revoked_us: r.get(4)?,
    })
}

#[async_trait]
impl CertificateStorage for Store {
    async fn create_code(&self, code: &KeptCode, now_us: i64, audit: &LogEntry) -> Result<()> {
        let (code, audit) = (code.clone(), audit.clone());
        self.write(move |w| w.change(|tx| create_code(tx, &code, now_us, &audit))).await
    }

    async fn code(&self, id: &str) -> Result<Option<KeptCode>> {
        let id = id.to_owned();
        self.read(move |conn| code(conn, &id)).await
    }

    async fn code_failed(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write(move |w| w.change(|tx| code_failed(tx, &id))).await
    }

    async fn enrol(&self, code: &str, certificate: &Certificate, audit: &LogEntry) -> Result<()> {
        let (code, certificate, audit) = (code.to_owned(), certificate.clone(), audit.clone());
        self.write(move |w| w.revoke(|tx| enrol(tx, &code, &certificate, &audit)).map(drop)).await
    }

    async fn renew(&self, certificate: &Certificate, audit: &LogEntry) -> Result<()> {
        let (certificate, audit) = (certificate.clone(), audit.clone());
        self.write(move |w| w.change(|tx| renew(tx, &certificate, &audit))).await
    }

    async fn certificates(&self, gateway: &GatewayKey) -> Result<Vec<Certificate>> {
        let gateway = gateway.clone();
        self.read(move |conn| certificates(conn, &gateway)).await
    }

    async fn revoke(&self, gateway: &GatewayKey, now_us: i64, audit: &LogEntry) -> Result<usize> {
        let (gateway, audit) = (gateway.clone(), audit.clone());
        self.write(move |w| w.revoke(|tx| revoke(tx, &gateway, now_us, &audit)).map(|r| r.certificates.len()))
            .await
    }
}

//! Configuration documents of gateways, and what boxes told of them.

use async_trait::async_trait;
use cloud_core::configuration::{ConfigurationStorage, MOST_DOCUMENTS};
use cloud_core::{GatewayKey, StoreError};
use common::api::{ConfigurationDocument, ConfigurationEntry, ConfigurationReport, Page};
use common::command::LogEntry;

use crate::Store;
use crate::boxes::row_of;
use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::frames::gateway_row;
use crate::log::{self, MAX_PAGE};
use crate::sql::{Conn, Row, Tx, params};

/// What an entry is read from.
const ENTRY: &str = "version, hash, bytes, author, at_us, note, base, forced";

fn put(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    document: &ConfigurationDocument,
    audit: &LogEntry,
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    let sql = "SELECT coalesce(max(version), 0) FROM configurations WHERE gateway = ?1";
    let newest = from_sql(tx.one(sql, params![row], |r| r.get(0))?);
    let e = &document.entry;
    if e.version != newest + 1 {
        return Err(StoreError::Conflict { what: format!("the newest document is {newest}") });
    }
    let sql = "INSERT INTO configurations (gateway, version, hash, bytes, author, at_us, note, base, forced, document)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let (version, bytes, forced) = (to_sql(e.version), to_sql(e.bytes), i64::from(e.force));
    tx.execute(
        sql,
        params![row, version, e.hash, bytes, e.author, e.at_us, e.note, e.base, forced, document.document],
    )?;
    let oldest = to_sql(e.version.saturating_sub(MOST_DOCUMENTS));
    tx.execute("DELETE FROM configurations WHERE gateway = ?1 AND version <= ?2", params![row, oldest])?;
    log::append_own(tx, audit, now)
}

fn entry(r: &Row<'_>) -> Result<ConfigurationEntry> {
    Ok(ConfigurationEntry {
        version: from_sql(r.get(0)?),
        hash: r.get(1)?,
        bytes: from_sql(r.get(2)?),
        author: r.get(3)?,
        at_us: r.get(4)?,
        note: r.get(5)?,
        base: r.get(6)?,
        force: r.get::<i64>(7)? != 0,
    })
}

fn page(
    conn: &Conn,
    gateway: &GatewayKey,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<ConfigurationEntry>> {
    let before = match cursor {
        Some(text) => text.parse().map_err(|_| StoreError::NotFound { what: "cursor".into() })?,
        None => i64::MAX,
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let Some(row) = row_of(conn, gateway)? else { return Ok(Page { items: Vec::new(), next_cursor: None }) };
    let sql = format!(
        "SELECT {ENTRY} FROM configurations WHERE gateway = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3"
    );
    let fetch = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let items = conn.all(&sql, params![row, before, fetch], |r| {
        let entry = entry(r)?;
        Ok((entry.version.to_string(), entry))
    })?;
    Ok(log::cut(items, limit))
}

fn find(conn: &Conn, gateway: &GatewayKey, version: Option<u64>) -> Result<Option<ConfigurationDocument>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(None) };
    let (least, most) = version.map_or((0, i64::MAX), |v| (to_sql(v), to_sql(v)));
    let sql = format!(
        "SELECT {ENTRY}, document FROM configurations WHERE gateway = ?1 AND version BETWEEN ?2 AND ?3
         ORDER BY version DESC LIMIT 1"
    );
    conn.first(&sql, params![row, least, most], |r| {
        Ok(ConfigurationDocument { entry: entry(r)?, document: r.get(8)? })
    })
}

fn report(conn: &Conn, gateway: &GatewayKey) -> Result<Option<ConfigurationReport>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(None) };
    let sql = "SELECT report FROM configuration_reports WHERE gateway = ?1";
    let found: Option<String> = conn.first(sql, params![row], |r| r.get(0))?;
    found.map(|json| from_json("a configuration report", &json)).transpose()
}

fn keep_report(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    report: &ConfigurationReport,
    audit: &[LogEntry],
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    let sql = "INSERT INTO configuration_reports (gateway, report) VALUES (?1, ?2)
               ON CONFLICT (gateway) DO UPDATE SET report = excluded.report";
    tx.execute(sql, params![row, to_json(report)?])?;
    audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))
}

#[async_trait]
impl ConfigurationStorage for Store {
    async fn put_configuration(
        &self,
        gateway: &GatewayKey,
        document: &ConfigurationDocument,
        audit: &LogEntry,
    ) -> Result<()> {
        let (gateway, document, audit) = (gateway.clone(), document.clone(), audit.clone());
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| put(tx, &gateway, &document, &audit, now))
        })
        .await
    }

    async fn configurations(
        &self,
        gateway: &GatewayKey,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ConfigurationEntry>> {
        let (gateway, cursor) = (gateway.clone(), cursor.map(str::to_owned));
        self.read(move |conn| page(conn, &gateway, cursor.as_deref(), limit)).await
    }

    async fn configuration(
        &self,
        gateway: &GatewayKey,
        version: Option<u64>,
    ) -> Result<Option<ConfigurationDocument>> {
        let gateway = gateway.clone();
        self.read(move |conn| find(conn, &gateway, version)).await
    }

    async fn configuration_report(&self, gateway: &GatewayKey) -> Result<Option<ConfigurationReport>> {
        let gateway = gateway.clone();
        self.read(move |conn| report(conn, &gateway)).await
    }

    async fn keep_configuration_report(
        &self,
        gateway: &GatewayKey,
        report: &ConfigurationReport,
        audit: &[LogEntry],
    ) -> Result<()> {
        let (gateway, report, audit) = (gateway.clone(), report.clone(), audit.to_vec());
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| keep_report(tx, &gateway, &report, &audit, now))
        })
        .await
    }
}

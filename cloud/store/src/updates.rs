//! Bundles of updates, groups of gateways, what boxes told of updates, and rollouts.

use async_trait::async_trait;
use cloud_core::update::{MOST_RELEASES, UpdateBox, UpdateStorage};
use cloud_core::{GatewayKey, StoreError};
use common::TenantId;
use common::api::{Release, Rollout, UpdateReport};
use common::command::LogEntry;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Store;
use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::frames::{gateway_key, gateway_row};
use crate::log;
use crate::sql::{Conn, Tx, params};
use crate::writer::Writer;

fn put_release(
    tx: &Tx<'_>,
    tenant: &str,
    upload: Uuid,
    release: &Release,
    audit: &LogEntry,
    now: i64,
) -> Result<()> {
    let (version, arch) = (&release.version, &release.arch);
    let sql = "SELECT 1 FROM releases WHERE tenant = ?1 AND version = ?2 AND arch = ?3";
    if tx.exists(sql, params![tenant, version, arch])? {
        let what = format!("there is a bundle of {version} for {arch} already");
        return Err(StoreError::Conflict { what });
    }
    let count: i64 =
        tx.one("SELECT count(*) FROM releases WHERE tenant = ?1", params![tenant], |r| r.get(0))?;
    if usize::try_from(count).is_ok_and(|n| n >= MOST_RELEASES) {
        let what = format!("{MOST_RELEASES} bundles are kept at most: remove old ones");
        return Err(StoreError::TooLarge { what });
    }
    let sql = "INSERT INTO releases (tenant, version, arch, sha256, upload, release)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let json = to_json(release)?;
    tx.execute(sql, params![tenant, version, arch, release.sha256, upload.to_string(), json])?;
    log::append_own(tx, audit, now)
}

fn remove_release(tx: &Tx<'_>, tenant: &str, version: &str, audit: &LogEntry, now: i64) -> Result<usize> {
    let sql = "DELETE FROM release_parts WHERE upload IN
               (SELECT upload FROM releases WHERE tenant = ?1 AND version = ?2)";
    tx.execute(sql, params![tenant, version])?;
    let sql = "SELECT count(*) FROM releases WHERE tenant = ?1 AND version = ?2";
    let count: i64 = tx.one(sql, params![tenant, version], |r| r.get(0))?;
    if count > 0 {
        tx.execute("DELETE FROM releases WHERE tenant = ?1 AND version = ?2", params![tenant, version])?;
        log::append_own(tx, audit, now)?;
    }
    Ok(usize::try_from(count).unwrap_or_default())
}

fn set_group(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    group: Option<&str>,
    audit: &LogEntry,
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    match group {
        Some(name) => tx.execute(
            "INSERT INTO gateway_groups (gateway, name) VALUES (?1, ?2)
             ON CONFLICT (gateway) DO UPDATE SET name = excluded.name",
            params![row, name],
        )?,
        None => tx.execute("DELETE FROM gateway_groups WHERE gateway = ?1", params![row])?,
    };
    log::append_own(tx, audit, now)
}

fn boxes(conn: &Conn, tenant: &str) -> Result<Vec<UpdateBox>> {
    let sql = "SELECT g.tenant, g.gateway, n.name, u.report FROM gateways g
               LEFT JOIN gateway_groups n ON n.gateway = g.id
               LEFT JOIN update_reports u ON u.gateway = g.id
               WHERE g.tenant = ?1 AND (n.name IS NOT NULL OR u.report IS NOT NULL) ORDER BY g.gateway";
    conn.all(sql, params![tenant], |r| {
        let report: Option<String> = r.get(3)?;
        Ok(UpdateBox {
            key: gateway_key(r.get(0)?, r.get(1)?)?,
            group: r.get(2)?,
            report: report.map(|json| from_json("an update report", &json)).transpose()?,
        })
    })
}

fn put_rollout(tx: &Tx<'_>, tenant: &str, rollout: &Rollout, audit: &[LogEntry], now: i64) -> Result<()> {
    let sql = "SELECT number, revision FROM rollouts WHERE tenant = ?1 ORDER BY number DESC LIMIT 1";
    let newest: Option<(i64, i64)> = tx.first(sql, params![tenant], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (number, revision) = newest.map_or((0, 0), |(n, r)| (from_sql(n), from_sql(r)));
    let is_next = (rollout.id, rollout.revision) == (number + 1, 1)
        || (number > 0 && (rollout.id, rollout.revision) == (number, revision + 1));
    if !is_next {
        let what = format!("the newest rollout is {number}, changed {revision} times");
        return Err(StoreError::Conflict { what });
    }
    let sql = "INSERT INTO rollouts (tenant, number, revision, rollout) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (tenant, number) DO UPDATE SET revision = excluded.revision, rollout = excluded.rollout";
    let (id, revision) = (to_sql(rollout.id), to_sql(rollout.revision));
    tx.execute(sql, params![tenant, id, revision, to_json(rollout)?])?;
    audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))
}

impl Store {
    /// As `write`, and tells of it; also where the caller no longer waits.
    async fn update<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.blocking(move |shared| {
            let done = shared.writer.run(job)?;
            shared.updates.send_replace(());
            Ok(done)
        })
        .await
    }
}

#[async_trait]
impl UpdateStorage for Store {
    fn updates_changed(&self) -> watch::Receiver<()> {
        self.shared.updates.subscribe()
    }

    async fn drop_uploads(&self) -> Result<()> {
        let sql = "DELETE FROM release_parts WHERE upload NOT IN (SELECT upload FROM releases)";
        self.write(move |w| w.change(|tx| tx.execute(sql, params![]).map(drop))).await
    }

    async fn put_upload(&self, upload: Uuid, part: u32, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.to_vec();
        let sql = "INSERT INTO release_parts (upload, part, bytes) VALUES (?1, ?2, ?3)";
        self.write(move |w| {
            w.change(|tx| tx.execute(sql, params![upload.to_string(), part, bytes]).map(drop))
        })
        .await
    }

    async fn put_release(
        &self,
        tenant: &TenantId,
        upload: Uuid,
        release: &Release,
        audit: &LogEntry,
    ) -> Result<()> {
        let (tenant, release, audit) = (tenant.to_string(), release.clone(), audit.clone());
        self.update(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| put_release(tx, &tenant, upload, &release, &audit, now))
        })
        .await
    }

    async fn releases(&self, tenant: &TenantId) -> Result<Vec<Release>> {
        let tenant = tenant.to_string();
        let sql = "SELECT release FROM releases WHERE tenant = ?1 ORDER BY id DESC";
        self.read(move |conn| {
            conn.all(sql, params![tenant], |r| from_json("a release", &r.get::<String>(0)?))
        })
        .await
    }

    async fn release_part(&self, tenant: &TenantId, sha256: &str, part: u32) -> Result<Option<Vec<u8>>> {
        let (tenant, sha256) = (tenant.to_string(), sha256.to_owned());
        let sql = "SELECT p.bytes FROM release_parts p JOIN releases r ON r.upload = p.upload
                   WHERE r.tenant = ?1 AND r.sha256 = ?2 AND p.part = ?3";
        self.read(move |conn| conn.first(sql, params![tenant, sha256, part], |r| r.get(0))).await
    }

    async fn remove_release(&self, tenant: &TenantId, version: &str, audit: &LogEntry) -> Result<usize> {
        let (tenant, version, audit) = (tenant.to_string(), version.to_owned(), audit.clone());
        self.update(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| remove_release(tx, &tenant, &version, &audit, now))
        })
        .await
    }

    async fn set_group(&self, gateway: &GatewayKey, group: Option<&str>, audit: &LogEntry) -> Result<()> {
        let (gateway, group, audit) = (gateway.clone(), group.map(str::to_owned), audit.clone());
        self.update(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| set_group(tx, &gateway, group.as_deref(), &audit, now))
        })
        .await
    }

    async fn update_boxes(&self, tenant: &TenantId) -> Result<Vec<UpdateBox>> {
        let tenant = tenant.to_string();
        self.read(move |conn| boxes(conn, &tenant)).await
    }

    async fn keep_update_report(&self, gateway: &GatewayKey, report: &UpdateReport) -> Result<()> {
        let (gateway, report) = (gateway.clone(), report.clone());
        let sql = "INSERT INTO update_reports (gateway, report) VALUES (?1, ?2)
                   ON CONFLICT (gateway) DO UPDATE SET report = excluded.report";
        self.update(move |w| {
            w.change(|tx| {
                let row = gateway_row(tx, &gateway)?;
                tx.execute(sql, params![row, to_json(&report)?]).map(drop)
            })
        })
        .await
    }

    async fn rollout(&self, tenant: &TenantId) -> Result<Option<Rollout>> {
        let tenant = tenant.to_string();
        let sql = "SELECT rollout FROM rollouts WHERE tenant = ?1 ORDER BY number DESC LIMIT 1";
        self.read(move |conn| {
            let found: Option<String> = conn.first(sql, params![tenant], |r| r.get(0))?;
            found.map(|json| from_json("a rollout", &json)).transpose()
        })
        .await
    }

    async fn put_rollout(&self, tenant: &TenantId, rollout: &Rollout, audit: &[LogEntry]) -> Result<()> {
        let (tenant, rollout, audit) = (tenant.to_string(), rollout.clone(), audit.to_vec());
        self.update(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| put_rollout(tx, &tenant, &rollout, &audit, now))
        })
        .await
    }
}

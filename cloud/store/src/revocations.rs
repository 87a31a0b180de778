//! What gateways cannot sign in with any more, written down once more outside the database, line by line: a database that
//! was restored from a backup does not know it. At each opening the list and the database learn from each other.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cloud_core::GatewayKey;
use cloud_core::enrol::{Certificate, FORGOTTEN_DAYS};
use common::command::{LogEntry, Severity};
use common::names::action;
use common::text::{hex, unhex};
use serde::{Deserialize, Serialize};

use crate::boxes::row_of;
use crate::certificates;
use crate::db::{Result, refused};
use crate::log;
use crate::sql::{Commit, Conn, Tx, params};

/// What was made worthless.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// With the time when it was.
    pub(crate) certificates: Vec<Certificate>,
    /// Of whom, and the hash of it.
    pub(crate) secret: Option<(GatewayKey, [u8; 32])>,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Line {
    tenant: String,
    gateway: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Certificate {
        serial: String,
        key: String,
        issued_us: i64,
        not_after_us: i64,
        revoked_us: i64,
    },
    /// Hash of a secret.
    Secret(String),
}

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct List(PathBuf);

impl List {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Adds what was made worthless. It is so already; a list that cannot be written is told of, and the next opening makes up
    /// for it as far as the database still knows.
    pub(crate) fn add(&self, revoked: &Revoked) {
        if let Err(error) = self.append(&lines_of(revoked)) {
            let path = self.0.display();
            tracing::error!(
                %path, %error,
                "what was revoked is not in the list: a backup of before would let it in again"
            );
        }
    }

    fn append(&self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        // What a cut left of a line stands alone.
        if std::fs::read(&self.0).is_ok_and(|before| before.last().is_some_and(|b| *b != b'\n')) {
            text.push(b'\n');
        }
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let is_new = !self.0.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        file.write_all(&text)?;
        file.sync_all()?;
        if is_new {
            let folder = self.0.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Its lines. One that cannot be read is passed over and told of: it must not lock the cloud's own people out.
    fn read(&self) -> Result<Vec<Line>> {
        let path = self.0.display();
        let text = match std::fs::read(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(|e| refused(format!("{path}: {e}")))?,
        };
        let mut lines = Vec::new();
        for (n, line) in text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => lines.push(line),
                Err(error) => {
                    tracing::error!(%path, line = n + 1, %error, "not a revocation: compare the list with its backup");
                }
            }
        }
        Ok(lines)
    }

    /// The database learns what it lacks of the list, with an entry for the audit, and the list what it lacks of the database.
    pub(crate) fn merge(&self, conn: &Conn, now: i64) -> Result<()> {
        let listed: HashSet<Line> = self.read()?.into_iter().collect();
        let tx = conn.write()?;
        let mut told: BTreeMap<GatewayKey, usize> = BTreeMap::new();
        for line in &listed {
            let Some(gateway) = line.gateway() else { continue };
            // A gateway that the database does not know has nothing to sign in with.
            let Some(row) = row_of(&tx, &gateway)? else { continue };
            if line.apply(&tx, row, &gateway, now)? {
                *told.entry(gateway).or_default() += 1;
            }
        }
        for (gateway, n) in &told {
            tracing::warn!(%gateway, n, "revoked once more: the database is older than the list of revocations");
            log::append_own(&tx, &entry(gateway, *n, now), now)?;
        }
        let known = certificates::revoked(&tx)?;
        if !told.is_empty() {
            match tx.commit()? {
                Commit::Done => {}
                Commit::Unknown(_) => return Err(refused("the database went away while it was opened")),
            }
        }
        let lacking = lines_of(&Revoked { certificates: known, secret: None });
        let lacking: Vec<_> = lacking.into_iter().filter(|line| !listed.contains(line)).collect();
        self.append(&lacking).map_err(|e| refused(format!("{}: {e}", self.0.display())))
    }
}

fn entry(gateway: &GatewayKey, n: usize, now: i64) -> LogEntry {
    LogEntry {
        at_us: now,
        actor: "system".to_owned(),
        action: action::GATEWAY_REVOKED.to_owned(),
        target: gateway.gateway.to_string(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: format!(
            "{n} of its certificates and secrets, which were revoked after the backup that this database was restored from"
        ),
    }
}

fn lines_of(revoked: &Revoked) -> Vec<Line> {
    let line = |gateway: &GatewayKey, what| Line {
        tenant: gateway.tenant.to_string(),
        gateway: gateway.gateway.to_string(),
        what,
    };
    let certificates = revoked.certificates.iter().filter_map(|c| {
        let revoked_us = c.revoked_us?;
        let (serial, key) = (c.serial.clone(), hex(&c.key));
        let (issued_us, not_after_us) = (c.issued_us, c.not_after_us);
        Some(line(&c.gateway, What::Certificate { serial, key, issued_us, not_after_us, revoked_us }))
    });
    let secret = revoked.secret.iter().map(|(gateway, hash)| line(gateway, What::Secret(hex(hash))));
    certificates.chain(secret).collect()
}

impl Line {
    fn gateway(&self) -> Option<GatewayKey> {
        Some(GatewayKey { tenant: self.tenant.parse().ok()?, gateway: self.gateway.parse().ok()? })
    }

    /// Brings it into the database; whether that changed anything.
    fn apply(&self, tx: &Tx<'_>, row: i64, gateway: &GatewayKey, now: i64) -> Result<bool> {
        match &self.what {
            What::Secret(hash) => match hash_of(hash) {
                Some(hash) => {
                    let sql =
                        "UPDATE gateways SET secret = NULL, secret_us = ?3 WHERE id = ?1 AND secret = ?2";
                    Ok(tx.execute(sql, params![row, hash, now])? > 0)
                }
                None => Ok(false),
            },
            What::Certificate { serial, key, issued_us, not_after_us, revoked_us } => {
                let sql = "UPDATE certificates SET revoked_us = ?3
                           WHERE gateway = ?1 AND serial = ?2 AND revoked_us IS NULL";
                if tx.execute(sql, params![row, serial, revoked_us])? > 0 {
                    return Ok(true);
                }
                // One that was issued after the backup: its key may be known from before.
                let is_forgotten = not_after_us.saturating_add(FORGOTTEN_DAYS * 86_400_000_000) < now;
                let is_there = "SELECT 1 FROM certificates WHERE gateway = ?1 AND serial = ?2";
                let Some(key) = hash_of(key).filter(|_| !is_forgotten) else { return Ok(false) };
                if tx.exists(is_there, params![row, serial])? {
                    return Ok(false);
                }
                let certificate = Certificate {
                    gateway: gateway.clone(),
                    serial: serial.clone(),
                    key,
                    issued_us: *issued_us,
                    not_after_us: *not_after_us,
                    revoked_us: Some(*revoked_us),
                };
                certificates::insert(tx, row, &certificate)?;
                Ok(true)
            }
        }
    }
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    unhex(text)?.try_into().ok()
}

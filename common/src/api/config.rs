//! The configuration of a running box: which one it runs with, and what taking a new one did.

use serde::{Deserialize, Serialize};

/// What a box runs with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigView {
    /// Its main file.
    pub file: String,
    /// SHA-256 of all its files, as hex.
    pub digest: String,
    /// When it was taken, UTC us.
    pub taken_us: i64,
    /// How many were taken since the start, the first not counted.
    pub generation: u64,
    /// Devices in it.
    pub devices: u64,
    /// Points in it.
    pub points: u64,
    /// The files were refused at the start, and this is the last good configuration that was kept.
    pub is_last_good: bool,
    /// What differs in the files and holds only after a restart of the process.
    pub restart_needed: Vec<String>,
    /// When a copy of it was kept as the last good one, UTC us; none while it has to prove itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_us: Option<i64>,
    /// The last attempt to take a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<ReloadAttempt>,
}

/// An attempt to take a new configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadAttempt {
    /// When, UTC us.
    pub at_us: i64,
    /// Who asked for it.
    pub by: String,
    /// Whether it was taken.
    pub taken: bool,
    /// Every mistake, if it was refused.
    pub mistakes: Vec<String>,
}

/// What taking a new configuration did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadReport {
    /// New devices.
    pub added: Vec<String>,
    /// Devices that are gone.
    pub removed: Vec<String>,
    /// Devices whose driver was started anew.
    pub restarted: Vec<String>,
    /// Devices of which only what needs no new start changed.
    pub updated: Vec<String>,
    /// Other settings that hold now.
    pub settings: Vec<String>,
    /// What differs in the files and holds only after a restart of the process.
    pub restart_needed: Vec<String>,
    /// How many configurations were taken since the start.
    pub generation: u64,
    /// Devices in all.
    pub devices: u64,
    /// Points in all.
    pub points: u64,
    /// How long it took, reading the files included, ms.
    pub took_ms: u64,
}

impl ReloadReport {
    /// Whether nothing is different from before.
    pub fn is_nothing(&self) -> bool {
        let all = [&self.added, &self.removed, &self.restarted, &self.updated, &self.settings];
        all.iter().all(|list| list.is_empty())
    }

    /// In one line, for people; names are left out beyond a few.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (what, list) in [
            ("added", &self.added),
            ("removed", &self.removed),
            ("restarted", &self.restarted),
            ("updated", &self.updated),
            ("settings", &self.settings),
            ("restart needed for", &self.restart_needed),
        ] {
            if list.is_empty() {
                continue;
            }
            let mut named = list.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            if list.len() > 10 {
                named = format!("{named} and {} more", list.len() - 10);
            }
            parts.push(format!("{what} {named}"));
        }
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") }
    }
}

//! Configuration documents: what a box told of them is kept, and the one that is wanted is handed over once a session.

use cloud_core::GatewayKey;
use common::api::{Accepts, ConfigurationReport, DocumentState};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::text::at_most;
use common::wire::{Down, WantedConfiguration};

use crate::boxes::storage_failed;
use crate::handle::Shared;
use crate::outbox::End;
use crate::talk::{Talk, refuse};

/// Most words of one session on it: each may be a row and an entry of the audit.
const MOST: u32 = 1_000;
/// Characters of a reason that are kept.
const REASON_CHARS: usize = 4_000;

impl Talk {
    /// Takes what the box says of its configuration; if it has not heard of the document that is wanted, that follows.
    pub(crate) async fn configuration(&mut self, mut report: ConfigurationReport) -> Result<(), End> {
        if self.silence().is_none() {
            return refuse("not_ready", Code::Conflict, "a word on the configuration came before the hello");
        }
        self.reports += 1;
        if self.reports > MOST {
            return refuse("configuration", Code::RateLimited, "too many words on it in one session");
        }
        check(&report)?;
        report.reason = at_most(report.reason, REASON_CHARS);
        let parts = &self.shared.parts;
        let failed = |e| storage_failed(&self.key, &e);
        let before = parts.storage.configuration_report(&self.key).await.map_err(failed)?;
        if before.as_ref() != Some(&report) {
            let audit = told(&self.key, before.as_ref(), &report, parts.clock.now_us());
            let kept = parts.storage.keep_configuration_report(&self.key, &report, &audit).await;
            kept.map_err(failed)?;
            audit.iter().for_each(|entry| parts.sink.event(entry));
        }
        let session = self.session();
        self.shared.configures(&self.key, session, report.accepts > Accepts::Off);
        if report.accepts == Accepts::Off {
            return Ok(());
        }
        let wanted = parts.storage.configuration(&self.key, None).await.map_err(failed)?;
        let wanted = wanted.map(cloud_core::configuration::wanted);
        let is_new = |w: &WantedConfiguration| {
            report.judged.as_ref().is_none_or(|j| (j.version, &j.hash) != (w.version, &w.hash))
        };
        if let Some(wanted) = wanted.filter(is_new) {
            self.shared.hand_over(&self.key, &wanted);
        }
        Ok(())
    }
}

/// What a box names as a hash is one.
fn check(report: &ConfigurationReport) -> Result<(), End> {
    let named = [&report.judged, &report.running].into_iter().flatten().map(|d| &d.hash);
    let mut all = named.chain(&report.settled).chain([&report.local]);
    if all.all(|h| h.len() <= 64 && h.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Ok(());
    }
    refuse("configuration", Code::InvalidRequest, "a hash is no hash")
}

/// What people should know of it.
fn told(
    key: &GatewayKey,
    before: Option<&ConfigurationReport>,
    now: &ConfigurationReport,
    at_us: i64,
) -> Vec<LogEntry> {
    let entry = |action: &str, severity, detail| LogEntry {
        at_us,
        actor: format!("gateway:{}", key.gateway),
        action: action.into(),
        target: key.gateway.to_string(),
        twin: None,
        severity,
        code: None,
        detail,
    };
    let mut out = Vec::new();
    let version = now.judged.as_ref().map_or(0, |j| j.version);
    let is_news = before.is_none_or(|b| (&b.judged, b.state) != (&now.judged, now.state));
    match now.state {
        DocumentState::Applied if is_news => {
            out.push(entry(
                action::CONFIGURATION_APPLIED,
                Severity::Info,
                format!("document {version} runs"),
            ));
        }
        DocumentState::Refused if is_news => {
            let detail = format!("document {version} is refused: {}", now.reason);
            out.push(entry(action::CONFIGURATION_REFUSED, Severity::Warning, detail));
        }
        _ => {}
    }
    if now.changed && before.is_none_or(|b| !b.changed) {
        let detail = "somebody changed the configuration at the box, beside the document that runs";
        out.push(entry(action::CONFIGURATION_CHANGED, Severity::Warning, detail.into()));
    }
    out
}

impl Shared {
    /// Hands the wanted document to the gateway's session, if it takes documents and has not got this one.
    pub(crate) fn hand_over(&self, key: &GatewayKey, wanted: &WantedConfiguration) {
        let Some(outbox) = self.to_configure(key, wanted.version) else { return };
        for part in wanted.split() {
            if !outbox.message(&Down::Configuration(part)) {
                // Half a document is none: the next session begins anew.
                return outbox.overrun();
            }
        }
        tracing::info!(gateway = %key, version = wanted.version, "configuration document handed over");
    }
}

//! Configuration documents of the cloud: each is judged, runs on trial beside the box's own files, and stays once the
//! cloud has what the box sent with it. Else what ran before runs again. Off unless the box's own configuration allows it.

mod judge;
mod shelf;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::api::{Accepts, ConfigurationReport, DocumentRef, DocumentState};
use common::command::{LogEntry, Severity};
use common::config::{Mistake, Mistakes, Source};
use common::names::action;
use common::supervise::PartError;
use common::text::at_most;
use common::wire::{Body, WantedConfiguration};
use common::{Clock, Drain};
use gateway_core::{Configurations, FrameId, FrameLog};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Config, digest, read_sources};
use crate::last_good;
use crate::recorder::Recorder;
use crate::reload::{DETAIL_CHARS, Reload, ReloadError};
use crate::starts;
use shelf::{Note, Shelf};

/// Pause between two looks at whether the cloud has what was sent on trial.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Pause between two looks at what somebody may have changed on the disk; after a reload it is looked at once.
const LOOK_AT_FILES: Duration = Duration::from_secs(60);
/// Pause before a reload that failed is asked for once more.
const RELOAD_AGAIN: Duration = Duration::from_secs(5);
/// Name of the part.
const PART: &str = "configuration";

/// What the box's own configuration says of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushes {
    /// What it takes.
    pub accepts: Accepts,
    /// How long a document may be on trial.
    pub trial: Duration,
}

/// The documents of a gateway that runs.
pub(crate) struct Pushed {
    /// The box's main file.
    file: PathBuf,
    shelf: Shelf,
    clock: Clock,
    pushes: Mutex<Pushes>,
    on_trial: watch::Sender<bool>,
    report: watch::Sender<ConfigurationReport>,
    incoming: watch::Sender<Option<WantedConfiguration>>,
}

/// What only a running gateway has.
struct Tools {
    reload: Reload,
    log: Arc<Recorder>,
    drain: Drain,
}

impl std::fmt::Debug for Pushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushed").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Configurations for Pushed {
    fn report(&self) -> watch::Receiver<ConfigurationReport> {
        self.report.subscribe()
    }

    fn wanted(&self, document: WantedConfiguration) {
        self.incoming.send_replace(Some(document));
    }
}

impl Pushed {
    pub(crate) fn new(config: &Config, clock: Clock) -> Arc<Self> {
        let shelf = Shelf::of(&config.data_dir);
        let note = shelf.note().unwrap_or_default();
        let local = read_sources(&config.file).ok().map(|s| digest(&s));
        let is_changed = shelf.is_changed(&note);
        let pushed = Self {
            file: config.file.clone(),
            on_trial: watch::Sender::new(note.trial.is_some()),
            shelf,
            clock,
            pushes: Mutex::new(config.pushes),
            report: watch::Sender::default(),
            incoming: watch::Sender::default(),
        };
        pushed.report.send_replace(pushed.told(&note, &local.unwrap_or_default(), is_changed));
        Arc::new(pushed)
    }

    /// Holds a new configuration from now on.
    pub(crate) fn set(&self, config: &Config) {
        *self.pushes.lock().unwrap_or_else(PoisonError::into_inner) = config.pushes;
        // What was changed on the disk is looked at.
        self.incoming.send_modify(|_| {});
    }

    /// Whether what runs has yet to prove itself.
    pub(crate) fn is_on_trial(&self) -> bool {
        *self.on_trial.borrow()
    }

    /// Somebody ends the gateway: that its document has not proven itself yet is no failure.
    pub(crate) fn forget_starts(&self) {
        if let Err(error) = self.shelf.forget_starts() {
            tracing::warn!(%error, "starts with a document of the cloud stay counted");
        }
    }

    fn pushes(&self) -> Pushes {
        *self.pushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the part.
    pub(crate) fn start(
        self: &Arc<Self>,
        wiring: &mut crate::wiring::Wiring,
        (reload, log): (Reload, Arc<Recorder>),
    ) {
        if self.file.as_os_str().is_empty() {
            return;
        }
        let this = self.clone();
        wiring.stages.supervisor(crate::stages::Stage::Field).spawn(PART, move |drain| {
            let (this, tools) = (this.clone(), Tools { reload: reload.clone(), log: log.clone(), drain });
            async move { this.run(tools).await }
        });
    }

    async fn run(&self, tools: Tools) -> Result<(), PartError> {
        let mut incoming = self.incoming.subscribe();
        let mut seen = self.report.borrow().local.clone();
        self.begin(&tools).await?;
        loop {
            if self.note().await?.trial.is_some() {
                self.prove(&tools).await?;
            }
            self.look(&tools, &mut seen).await?;
            let next = incoming.borrow_and_update().clone();
            // It stays until it has been judged: a part that starts anew finds it.
            if let Some(wanted) = next {
                self.take(&tools, &wanted).await?;
                self.incoming.send_if_modified(|now| now.take_if(|now| *now == wanted).is_some());
                continue;
            }
            tokio::select! {
                () = tools.drain.started() => return Ok(()),
                _ = incoming.changed() => {}
                () = tokio::time::sleep(LOOK_AT_FILES) => {}
            }
        }
    }

    /// Where the program started with the last good configuration, what is on trial has failed: what ran before it is taken.
    /// Without a trial the files on the disk are what failed. Only who asks for a reload takes them again: some faults show
    /// at a start alone, so that a reload would take them and even keep them as the last good ones.
    async fn begin(&self, tools: &Tools) -> Result<(), PartError> {
        let view = tools.reload.view();
        let mut note = self.note().await?;
        if !view.is_last_good || note.trial.is_none() {
            return Ok(());
        }
        let why = view.last_reload.and_then(|r| r.mistakes.into_iter().next()).unwrap_or_default();
        note.fall_back(format!("the box did not start with it: {why}"), self.clock.now_us());
        self.keep(&note).await?;
        self.go_back(tools).await
    }

    async fn note(&self) -> Result<Note, PartError> {
        let shelf = self.shelf.clone();
        off(move || shelf.note()).await
    }

    async fn keep(&self, note: &Note) -> Result<(), PartError> {
        let (shelf, kept) = (self.shelf.clone(), note.clone());
        off(move || shelf.keep(&kept)).await?;
        self.on_trial.send_replace(note.trial.is_some());
        Ok(())
    }

    /// Reads the box's own files, and tells the cloud what has changed.
    async fn look(&self, tools: &Tools, seen: &mut String) -> Result<(), PartError> {
        let note = self.note().await?;
        let (shelf, file, kept) = (self.shelf.clone(), self.file.clone(), note.clone());
        let looked = tokio::task::spawn_blocking(move || {
            (read_sources(&file).ok().map(|s| digest(&s)), shelf.is_changed(&kept))
        });
        // Files that cannot be read now are told by who reads them.
        let (local, is_changed) = looked.await.unwrap_or_default();
        if let Some(local) = local {
            *seen = local;
        }
        let mut report = self.told(&note, seen, is_changed);
        let view = tools.reload.view();
        if view.is_last_good {
            report.running = None;
            if matches!(report.state, DocumentState::Applied | DocumentState::Trial) {
                report.state = DocumentState::Refused;
                let why = view.last_reload.and_then(|r| r.mistakes.into_iter().next()).unwrap_or_default();
                let reason = format!("the last good configuration runs instead: {why}");
                report.reason = at_most(reason, DETAIL_CHARS);
            }
        }
        self.report.send_if_modified(|now| std::mem::replace(now, report.clone()) != report);
        Ok(())
    }

    fn told(&self, note: &Note, local: &str, is_changed: bool) -> ConfigurationReport {
        let accepts = self.pushes().accepts;
        let running = note.running.as_ref().filter(|_| accepts > Accepts::Off);
        let is_other = note.settled.as_ref().is_some_and(|settled| settled != local);
        ConfigurationReport {
            accepts,
            judged: note.judged.clone(),
            state: note.state,
            reason: note.reason.clone(),
            running: running.map(|r| r.name.clone()),
            changed: running.is_some() && (is_other || is_changed),
            settled: note.settled.clone(),
            local: local.to_owned(),
            at_us: note.at_us,
        }
    }

    /// Judges a document, and has it run on trial.
    async fn take(&self, tools: &Tools, wanted: &WantedConfiguration) -> Result<(), PartError> {
        let document = DocumentRef { version: wanted.version, hash: wanted.hash.clone() };
        let mut note = self.note().await?;
        if note.judged.as_ref() == Some(&document) {
            return Ok(());
        }
        self.report.send_modify(|report| {
            (report.judged, report.state) = (Some(document.clone()), DocumentState::Received);
            report.reason.clear();
        });
        let by = format!("cloud:{} (document {})", wanted.author, wanted.version);
        let accepts = self.pushes().accepts;
        let (shelf, file, kept, asked) =
            (self.shelf.clone(), self.file.clone(), note.clone(), wanted.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let local = read_sources(&file).map_err(|m| m.to_string())?;
            judge::judge(&local, &asked, accepts, shelf.is_changed(&kept))?;
            Ok(digest(&local))
        });
        let judged: Result<String, String> = judged.await.unwrap_or_else(|e| Err(e.to_string()));
        let settled = match judged {
            Ok(settled) => settled,
            Err(reason) => return self.refuse(tools, &mut note, document, &by, reason).await,
        };
        let (shelf, text, now_us) = (self.shelf.clone(), wanted.document.clone(), self.clock.now_us());
        let name = document.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let tried = shelf.try_out(&mut note, (name, &text), settled, now_us);
            (note, tried)
        });
        let (mut note, tried) = tried.await?;
        if let Err(error) = tried {
            let reason = format!("the box cannot keep it: {error}");
            return self.refuse(tools, &mut note, document, &by, reason).await;
        }
        self.on_trial.send_replace(true);
        tracing::info!(by, "configuration document is tried");
        match self.reloaded(tools, &by).await {
            // The next start goes on with it, on trial.
            Ok(()) | Err(ReloadError::Stopping) => Ok(()),
            Err(error) => {
                let reason = match error {
                    ReloadError::Refused { mistakes } => mistakes.join("\n"),
                    other => other.to_string(),
                };
                note.fall_back(reason, self.clock.now_us());
                self.keep(&note).await
            }
        }
    }

    /// Asks for a reload, until somebody has time for it.
    async fn reloaded(&self, tools: &Tools, by: &str) -> Result<(), ReloadError> {
        loop {
            match tools.reload.ask(by).await {
                Err(ReloadError::Busy) => tokio::time::sleep(LOOK_AGAIN).await,
                other => return other.map(drop),
            }
        }
    }

    async fn refuse(
        &self,
        tools: &Tools,
        note: &mut Note,
        document: DocumentRef,
        by: &str,
        reason: String,
    ) -> Result<(), PartError> {
        tracing::warn!(by, reason, "configuration document is refused, what ran before goes on");
        self.tell(tools, action::CONFIG_REFUSED, by, Severity::Warning, reason.clone());
        note.refuse(document, reason, self.clock.now_us());
        self.keep(note).await
    }

    /// Waits until the cloud has a frame that was cut with what runs on trial, or the time is over.
    async fn prove(&self, tools: &Tools) -> Result<(), PartError> {
        let mut seen = self.report.borrow().local.clone();
        self.look(tools, &mut seen).await?;
        let limit = self.pushes().trial;
        let until = Instant::now() + limit;
        let mut sent: Option<FrameId> = None;
        loop {
            if sent.is_none() {
                let detail = "a configuration document runs on trial".to_owned();
                sent = self.tell(tools, action::CONFIG_TAKEN, "cloud", Severity::Info, detail);
            }
            let is_there = |frame: FrameId| tools.log.acked(frame.incarnation).contains(frame.seq);
            let mut note = self.note().await?;
            if sent.is_some_and(is_there) {
                note.prove(self.clock.now_us());
                self.keep(&note).await?;
                tracing::info!("configuration document runs, and the cloud is reached with it");
                return Ok(());
            }
            if Instant::now() >= until {
                let seconds = limit.as_secs();
                let reason =
                    format!("the cloud was not reached for {seconds} s with it: what ran before runs again");
                self.tell(tools, action::CONFIG_FELL_BACK, "system", Severity::Alarm, reason.clone());
                tracing::error!(reason, "configuration document falls back");
                note.fall_back(reason, self.clock.now_us());
                self.keep(&note).await?;
                return self.go_back(tools).await;
            }
            tokio::select! {
                () = tools.drain.started() => return Ok(()),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Takes what is on the disk until it runs.
    async fn go_back(&self, tools: &Tools) -> Result<(), PartError> {
        loop {
            match self.reloaded(tools, "system").await {
                Ok(()) | Err(ReloadError::Stopping) => return Ok(()),
                Err(error) if tools.reload.view().is_last_good => {
                    tracing::warn!(%error, "the last good configuration goes on");
                    return Ok(());
                }
                Err(error) => tracing::error!(%error, "what ran before cannot be taken yet"),
            }
            tokio::select! {
                () = tools.drain.started() => return Ok(()),
                () = tokio::time::sleep(RELOAD_AGAIN) => {}
            }
        }
    }

    fn tell(
        &self,
        tools: &Tools,
        action: &str,
        by: &str,
        severity: Severity,
        detail: String,
    ) -> Option<FrameId> {
        let entry = LogEntry {
            at_us: self.clock.now_us(),
            actor: by.to_owned(),
            action: action.to_owned(),
            target: "config".to_owned(),
            twin: None,
            severity,
            code: None,
            detail: at_most(detail, DETAIL_CHARS),
        };
        tools
            .log
            .append(Body::Event(entry))
            .inspect_err(|error| tracing::warn!(%error, "cannot log an event"))
            .ok()
    }
}

/// Work with files, away from the runtime.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PartError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// The document that runs beside the box's own files; none if they do not allow it.
pub(crate) fn source(local: &[Source]) -> Result<Option<Source>, Mistakes> {
    if !allows(local) {
        return Ok(None);
    }
    let shelf = Shelf::of(&last_good::data_dir_of(local));
    let found = shelf.note().and_then(|note| shelf.running(&note));
    found.map_err(|e| {
        let folder = last_good::data_dir_of(local).join("pushed");
        Mistakes(vec![Mistake::new(&folder, None, "", format!("cannot read: {e}"))])
    })
}

/// Whether the box's own files take documents. Where they cannot be read as TOML, they are refused anyway.
fn allows(local: &[Source]) -> bool {
    let said = |source: &Source| {
        // Large files are not parsed a second time for nothing.
        let table = source
            .text
            .contains("accept_configuration")
            .then(|| source.text.parse::<toml::Table>().ok())??;
        Some(table.get("uplink")?.get("accept_configuration")?.as_str()? != "off")
    };
    local.iter().rev().find_map(said).unwrap_or(false)
}

/// Counts a start with a document on trial, before anything is read.
#[allow(clippy::print_stderr)] // logs do not run yet
pub fn count_start(file: &Path) {
    let Ok(local) = read_sources(file) else { return };
    if !allows(&local) {
        return;
    }
    let shelf = Shelf::of(&last_good::data_dir_of(&local));
    if let Err(error) = shelf.count_start(&starts::boot_id(), Clock::system().now_us()) {
        eprintln!("starts with a document of the cloud are not counted: {error}");
    }
}

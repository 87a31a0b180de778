//! Bundles of updates that the cloud offers: received piece by piece into the updater's folder, whole and verified with the box's own
//! keys before the updater may see them; and what the updater did with them, told to the cloud and as events. Off unless the box's own
//! configuration says so. What is installed, and whether it stays, is decided by the updater (`gateway_update`), not here.

mod note;
mod pace;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::Clock;
use common::api::{UpdateOffer, UpdateReport, UpdateState};
use common::command::{LogEntry, Severity};
use common::names::action;
use common::supervise::PartError;
use common::text::unhex;
use common::wire::{Body, Piece, PieceRequest};
use gateway_core::{FrameLog as _, Updates};
use gateway_update::{
    Error, Folder, Log, State, Transfer, What, can_receive, clear, is_begun, is_waiting, machine, take_back,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::recorder::Recorder;
use crate::versions;
use note::Note;
use pace::Pace;

/// Name of the part.
const PART: &str = "updates";
/// Pause between two looks at what the updater did, while it has something to do, and else.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SELDOM: Duration = Duration::from_secs(30);
/// A piece that does not come for so long is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// So often a bundle may come whole and not be what was offered.
const MOST_DAMAGED: u32 = 3;
/// The report tells how much is there in so many steps.
const STEPS: u64 = 10;

/// What the box's own configuration says of bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takes {
    /// Whether it takes any.
    pub accepts: bool,
    /// Folder of versions.
    pub folder: PathBuf,
    /// Folder of the keys that are trusted.
    pub keys: PathBuf,
}

/// The bundles of a gateway that runs.
pub(crate) struct Updater {
    clock: Clock,
    note: PathBuf,
    takes: Mutex<Takes>,
    report: watch::Sender<UpdateReport>,
    /// None until the cloud has said something.
    offers: watch::Sender<Option<Option<UpdateOffer>>>,
    wants: watch::Sender<Option<PieceRequest>>,
    came: Mutex<Option<Piece>>,
    arrived: Notify,
}

/// What the part is at.
struct Work {
    log: Arc<Recorder>,
    note: Note,
    transfer: Option<Transfer>,
    pace: Pace,
    asked: Instant,
    /// When the next piece is asked for; none while one is waited for.
    next: Option<Instant>,
    damaged: u32,
    /// Since when a bundle waits for the updater.
    waits: Instant,
}

impl std::fmt::Debug for Updater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Updater").field("note", &self.note).finish_non_exhaustive()
    }
}

impl Updates for Updater {
    fn report(&self) -> watch::Receiver<UpdateReport> {
        self.report.subscribe()
    }

    fn offered(&self, offer: Option<UpdateOffer>) {
        self.offers.send_replace(Some(offer));
    }

    fn wants(&self) -> watch::Receiver<Option<PieceRequest>> {
        self.wants.subscribe()
    }

    fn piece(&self, piece: Piece) {
        *self.came.lock().unwrap_or_else(PoisonError::into_inner) = Some(piece);
        self.arrived.notify_one();
    }
}

impl Updater {
    pub(crate) fn new(config: &Config, clock: Clock) -> Arc<Self> {
        let report = UpdateReport {
            version: versions::version().to_owned(),
            arch: machine().to_owned(),
            why: "the gateway is starting".to_owned(),
            ..UpdateReport::default()
        };
        Arc::new(Self {
            clock,
            note: Note::path(&config.data_dir),
            takes: Mutex::new(config.updates.clone()),
            report: watch::Sender::new(report),
            offers: watch::Sender::default(),
            wants: watch::Sender::default(),
            came: Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// Holds a new configuration from now on.
    pub(crate) fn set(&self, config: &Config) {
        *self.takes.lock().unwrap_or_else(PoisonError::into_inner) = config.updates.clone();
        // What is offered is looked at again.
        self.offers.send_modify(|_| {});
    }

    fn takes(&self) -> Takes {
        self.takes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the part.
    pub(crate) fn start(self: &Arc<Self>, wiring: &mut crate::wiring::Wiring, log: Arc<Recorder>) {
        let this = self.clone();
        wiring.stages.supervisor(crate::stages::Stage::Field).spawn(PART, move |drain| {
            let (this, log) = (this.clone(), log.clone());
            async move { this.run(log, drain).await }
        });
    }

    async fn run(&self, log: Arc<Recorder>, drain: common::Drain) -> Result<(), PartError> {
        let mut offers = self.offers.subscribe();
        let (path, takes) = (self.note.clone(), self.takes());
        let note = off(move || Ok(Note::load(&path, &state(&takes))?)).await?;
        let mut work = Work {
            log,
            note,
            transfer: None,
            pace: Pace::default(),
            asked: Instant::now(),
            next: None,
            damaged: 0,
            waits: Instant::now(),
        };
        // The power may have gone between the note and the name.
        if work.note.state == UpdateState::Waiting {
            self.place_again(&mut work).await;
        }
        loop {
            self.look(&mut work).await?;
            let next = work.next.unwrap_or_else(|| work.asked + ASK_AGAIN);
            let is_still = !matches!(
                work.note.state,
                UpdateState::Receiving | UpdateState::Waiting | UpdateState::Trial
            );
            let pause = if is_still && !versions::is_on_trial() { LOOK_SELDOM } else { LOOK_EVERY };
            tokio::select! {
                () = drain.started() => return Ok(()),
                _ = offers.changed() => {
                    let offer = offers.borrow_and_update().clone();
                    self.take_offer(&mut work, offer).await?;
                }
                () = self.arrived.notified() => {
                    let piece = self.came.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(piece) = piece {
                        self.take(&mut work, piece).await?;
                    }
                }
                () = tokio::time::sleep_until(next), if work.transfer.is_some() => {
                    if work.next.is_none() {
                        work.pace.late();
                    }
                    self.ask(&mut work);
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at what the updater did, and tells.
    async fn look(&self, work: &mut Work) -> Result<(), PartError> {
        let takes = self.takes();
        let looked = off(move || {
            let ready = can_receive(&Folder::new(&takes.folder)).map_err(|e| e.to_string());
            Ok((state(&takes), is_waiting(&Folder::new(&takes.folder)), takes.accepts, ready))
        });
        let (state, is_there, accepts, ready) = looked.await?;
        let before = work.note.clone();
        if !is_there || work.note.state != UpdateState::Waiting {
            work.waits = Instant::now();
        }
        if work.note.look(&state, is_there, work.waits.elapsed(), self.clock.now_us()) {
            self.take_back(work).await;
        }
        for log in work.note.news(&state) {
            self.tell(work.log.as_ref(), log);
        }
        if work.note != before {
            self.keep(&work.note).await?;
        }
        let why = match (accepts, ready) {
            (false, _) => "`accept_updates` in its `[uplink]` is not true".to_owned(),
            (true, Err(why)) => why,
            (true, Ok(())) => String::new(),
        };
        if !why.is_empty() && work.note.state == UpdateState::Receiving {
            self.drop_transfer(work).await?;
        }
        let (note, received) = (&work.note, work.transfer.as_ref().map_or(0, Transfer::received));
        let size = note.offer.as_ref().map_or(1, |o| o.bytes.max(1));
        let report = UpdateReport {
            accepts: why.is_empty(),
            why,
            version: versions::version().to_owned(),
            arch: machine().to_owned(),
            offer: note.offer.clone(),
            state: note.state,
            received: received * STEPS / size * size / STEPS,
            reason: note.reason.clone(),
            at_us: note.at_us,
        };
        self.report.send_if_modified(|now| std::mem::replace(now, report.clone()) != report);
        Ok(())
    }

    async fn keep(&self, note: &Note) -> Result<(), PartError> {
        let (path, note) = (self.note.clone(), note.clone());
        off(move || Ok(note.keep(&path)?)).await
    }

    /// Takes an offer, or that there is none any more.
    async fn take_offer(&self, work: &mut Work, offer: Option<Option<UpdateOffer>>) -> Result<(), PartError> {
        let Some(offer) = offer else { return Ok(()) };
        let takes = self.takes();
        let Some(offer) = offer.filter(|_| takes.accepts) else {
            return self.drop_transfer(work).await;
        };
        let is_same = work.note.offer.as_ref() == Some(&offer);
        let is_judged = !matches!(work.note.state, UpdateState::None | UpdateState::Receiving);
        if is_same && (is_judged || work.transfer.is_some()) {
            return Ok(());
        }
        work.transfer = None;
        work.damaged = 0;
        work.note.offer = Some(offer.clone());
        work.note.set(UpdateState::Receiving, "", self.clock.now_us());
        if offer.version == versions::version() {
            let state = off(move || Ok(state(&takes))).await?;
            work.note.runs_already(&state, self.clock.now_us());
            return self.keep(&work.note).await;
        }
        if let Err(reason) = judge(&offer) {
            return self.refuse(work, reason).await;
        }
        self.begin(work, offer).await
    }

    async fn begin(&self, work: &mut Work, offer: UpdateOffer) -> Result<(), PartError> {
        let folder = Folder::new(&self.takes().folder);
        let begun = off(move || Ok(Transfer::begin(&folder, &offer.sha256, offer.bytes))).await?;
        match begun {
            Err(error) => self.refuse(work, error.to_string()).await,
            Ok(transfer) => {
                tracing::info!(offer = ?work.note.offer, there = transfer.received(), "bundle is received");
                self.keep(&work.note).await?;
                let is_complete = transfer.is_complete();
                work.transfer = Some(transfer);
                if is_complete {
                    return self.finish(work).await;
                }
                self.ask(work);
                Ok(())
            }
        }
    }

    /// Asks for the next piece.
    fn ask(&self, work: &mut Work) {
        let (Some(transfer), Some(offer)) = (&work.transfer, &work.note.offer) else { return };
        let Some(sha256) = unhex(&offer.sha256).and_then(|b| b.try_into().ok()) else { return };
        let wanted = PieceRequest { sha256, offset: transfer.received(), bytes: work.pace.bytes() };
        (work.asked, work.next) = (Instant::now(), None);
        self.wants.send_replace(Some(wanted));
    }

    async fn take(&self, work: &mut Work, piece: Piece) -> Result<(), PartError> {
        let wanted = *self.wants.borrow();
        let is_it = wanted.is_some_and(|w| {
            (w.sha256, w.offset) == (piece.sha256, piece.offset) && piece.bytes.len() <= w.bytes as usize
        });
        let Some(mut transfer) = work.transfer.take_if(|_| is_it && !piece.bytes.is_empty()) else {
            return Ok(());
        };
        self.wants.send_replace(None);
        let pause = work.pace.came(work.asked.elapsed());
        work.next = Some(Instant::now() + pause);
        let appended = off(move || {
            let done = transfer.append(piece.offset, &piece.bytes);
            Ok((transfer, done))
        });
        let (transfer, done) = appended.await?;
        let is_complete = transfer.is_complete();
        work.transfer = Some(transfer);
        match done {
            Err(error) => self.refuse(work, error.to_string()).await,
            Ok(()) if is_complete => self.finish(work).await,
            Ok(()) => Ok(()),
        }
    }

    /// All bytes are there: whatever they are, the updater sees them only if a trusted key signed them.
    async fn finish(&self, work: &mut Work) -> Result<(), PartError> {
        let (Some(mut transfer), Some(offer)) = (work.transfer.take(), work.note.offer.clone()) else {
            return Ok(());
        };
        let (takes, expected) = (self.takes(), offer.clone());
        let verified = off(move || {
            if !transfer.is_whole()? {
                transfer.discard()?;
                return Ok(None);
            }
            let verified = transfer.verify(&takes.keys).and_then(|(manifest, digest)| {
                let (version, arch) = (manifest.version.to_string(), manifest.arch);
                if (&version, &arch) == (&expected.version, &expected.arch) {
                    return Ok(digest);
                }
                Err(Error::Refused(format!(
                    "it was offered as {} and is {version} for {arch}",
                    expected.version
                )))
            });
            Ok(Some((transfer, state(&takes), verified)))
        });
        match verified.await? {
            None => {
                work.damaged += 1;
                if work.damaged < MOST_DAMAGED {
                    tracing::warn!("bundle came whole and is not what was offered: once more");
                    return Box::pin(self.begin(work, offer)).await;
                }
                self.refuse(work, "it came whole and is not what was offered".to_owned()).await
            }
            Some((transfer, _, Err(error))) => {
                work.transfer = Some(transfer);
                self.refuse(work, error.to_string()).await
            }
            Some((transfer, state, Ok(digest))) => {
                work.note.hand_over(digest, &state, self.clock.now_us());
                self.keep(&work.note).await?;
                tracing::info!(version = offer.version, "bundle is there and verified: the updater takes it");
                off(move || Ok(transfer.place(&offer.version)?)).await
            }
        }
    }

    /// The updater shall not find what it did not take when it was waited for.
    async fn take_back(&self, work: &Work) {
        let folder = Folder::new(&self.takes().folder);
        if let Err(error) = off(move || Ok(take_back(&folder)?)).await {
            tracing::warn!(%error, "a bundle that no updater took stays on the disk");
        }
        let version = work.note.offer.as_ref().map(|o| o.version.clone()).unwrap_or_default();
        let detail = work.note.reason.clone();
        self.tell(&work.log, &Log { at_us: 0, what: What::Refused, version, digest: String::new(), detail });
    }

    /// A bundle that is noted as handed over and has not got its name: it gets it now.
    async fn place_again(&self, work: &mut Work) {
        let (Some(offer), folder) = (work.note.offer.clone(), Folder::new(&self.takes().folder)) else {
            return;
        };
        if !is_begun(&folder, &offer.sha256) {
            return;
        }
        work.note.set(UpdateState::Receiving, "", self.clock.now_us());
        if let Err(error) = self.begin(work, offer).await {
            tracing::warn!(%error, "bundle is not handed over yet");
        }
    }

    /// Nothing is received any more.
    async fn drop_transfer(&self, work: &mut Work) -> Result<(), PartError> {
        work.transfer = None;
        self.wants.send_replace(None);
        if work.note.state != UpdateState::Receiving {
            return Ok(());
        }
        tracing::info!("bundle is no longer received");
        work.note.offer = None;
        work.note.set(UpdateState::None, "", self.clock.now_us());
        let folder = Folder::new(&self.takes().folder);
        if let Err(error) = off(move || Ok(clear(&folder)?)).await {
            tracing::warn!(%error, "what came of a bundle stays on the disk");
        }
        self.keep(&work.note).await
    }

    async fn refuse(&self, work: &mut Work, reason: String) -> Result<(), PartError> {
        work.transfer = None;
        self.wants.send_replace(None);
        let folder = Folder::new(&self.takes().folder);
        if let Err(error) = off(move || Ok(clear(&folder)?)).await {
            tracing::warn!(%error, "what came of a bundle stays on the disk");
        }
        let version = work.note.offer.as_ref().map(|o| o.version.clone()).unwrap_or_default();
        let log =
            Log { at_us: 0, what: What::Refused, version, digest: String::new(), detail: reason.clone() };
        self.tell(&work.log, &log);
        work.note.set(UpdateState::Refused, reason, self.clock.now_us());
        self.keep(&work.note).await
    }

    /// What was done with a version is an event of the box.
    fn tell(&self, to: &Recorder, log: &Log) {
        let (action, severity, what) = match log.what {
            What::Installed => (action::UPDATE_INSTALLED, Severity::Info, "is installed and on trial"),
            What::Proven => (action::UPDATE_PROVEN, Severity::Info, "has proven itself"),
            What::RolledBack => (action::UPDATE_GAVE_WAY, Severity::Alarm, "gave way to the version before"),
            What::Refused => (action::UPDATE_REFUSED, Severity::Warning, "is refused"),
        };
        let version = if log.version.is_empty() { "a bundle" } else { &log.version };
        let why = if log.detail.is_empty() { String::new() } else { format!(": {}", log.detail) };
        let entry = LogEntry {
            at_us: self.clock.now_us(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            target: "gateway".to_owned(),
            twin: None,
            severity,
            code: None,
            detail: format!("{version} {what}{why}"),
        };
        tracing::warn!(action, "{}", entry.detail);
        if let Err(error) = to.append(Body::Event(entry)) {
            tracing::warn!(%error, "cannot log an event");
        }
    }
}

/// What the updater says; what it cannot say now it says later.
fn state(takes: &Takes) -> State {
    State::load(&Folder::new(&takes.folder).state_file()).unwrap_or_default()
}

/// Whether it is worth its bytes: the updater would refuse it all the same.
fn judge(offer: &UpdateOffer) -> Result<(), String> {
    if offer.arch != machine() {
        return Err(format!("a bundle for {}, this machine is {}", offer.arch, machine()));
    }
    let unsound = |e: semver::Error| format!("version {}: {e}", offer.version);
    let new: semver::Version = offer.version.parse().map_err(unsound)?;
    let runs = versions::version();
    match runs.parse::<semver::Version>() {
        Ok(runs) if new <= runs => Err(format!("{new} is not newer than {runs}, which runs")),
        _ => Ok(()),
    }
}

/// Work with files, away from the runtime.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PartError> + Send + 'static,
) -> Result<T, PartError> {
    tokio::task::spawn_blocking(work).await?
}

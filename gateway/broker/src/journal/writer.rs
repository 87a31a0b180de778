//! Brings the journal to disk: groups of records with one `fdatasync`, and a snapshot when the log has grown.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::files::{Log, remove_before, write_snapshot};
use crate::core::{Core, Frozen};
use crate::lock;

/// Changes that nobody waits for are on disk after so long.
const LAZY: Duration = Duration::from_millis(1000);
/// A log smaller than this is not worth a snapshot.
const SMALL: u64 = 8 * 1024 * 1024;
/// After a failed write the disk is tried again so often.
const RETRY: Duration = Duration::from_secs(5);

/// What the writer needs.
pub(crate) struct Writer {
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) dir: PathBuf,
    /// Pause between two groups, which bounds how many `fdatasync` a second there are.
    pub(crate) interval: Duration,
    pub(crate) wake: Arc<Notify>,
    /// How far the disk has come.
    pub(crate) durable: watch::Sender<u64>,
    /// The next generation of files.
    pub(crate) next: u64,
    /// Held as long as the folder is used.
    pub(crate) _lock: Option<std::fs::File>,
    /// Changes that the disk did not take although they were acknowledged.
    pub(crate) not_durable: Arc<AtomicU64>,
}

/// The open log. Behind an option: it is gone while the disk fails.
struct State {
    log: Option<Log>,
    snapshot_bytes: u64,
}

/// Writes until drained, then writes what is left.
pub(crate) async fn run(writer: &mut Writer, drain: &Drain) {
    let mut state = State { log: None, snapshot_bytes: 0 };
    // The first snapshot cleans up after the last run, whatever it left.
    renew(writer, &mut state).await;
    let mut last = Instant::now();
    loop {
        let stopping = drain.is_started();
        let (urgent, empty) = lock(&writer.core).journal_waits();
        if empty && stopping {
            return;
        }
        if !stopping && (empty || !urgent) {
            let lazy = timeout_at(Instant::now() + LAZY, writer.wake.notified());
            let woken = tokio::select! {
                woken = lazy => woken.is_ok(),
                () = drain.started() => true,
            };
            let (urgent, empty) = lock(&writer.core).journal_waits();
            if empty || woken && !urgent && !drain.is_started() {
                continue;
            }
        }
        sleep_until(last + writer.interval).await;
        last = Instant::now();
        flush(writer, &mut state).await;
    }
}

async fn flush(writer: &mut Writer, state: &mut State) {
    let grown = state.log.as_ref().is_none_or(|l| l.bytes > SMALL && l.bytes > 2 * state.snapshot_bytes);
    if grown {
        return renew(writer, state).await;
    }
    let (bytes, seq) = lock(&writer.core).journal_take();
    let Some(mut log) = state.log.take() else { return };
    let written = tokio::task::spawn_blocking(move || {
        log.write(&bytes)?;
        io::Result::Ok(log)
    });
    match flatten(written.await) {
        Ok(log) => {
            state.log = Some(log);
            writer.durable.send_replace(seq);
        }
        Err(error) => failed(writer, seq, &error).await,
    }
}

/// A snapshot of everything and an empty log. What waits in the journal is part of the snapshot.
async fn renew(writer: &mut Writer, state: &mut State) {
    state.log = None;
    let (frozen, seq): (Frozen, u64) = lock(&writer.core).freeze();
    let (dir, n) = (writer.dir.clone(), writer.next);
    let written = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&dir)?;
        let bytes = write_snapshot(&dir, n, frozen.records())?;
        let log = Log::create(&dir, n)?;
        remove_before(&dir, n.saturating_sub(1));
        io::Result::Ok((bytes, log))
    });
    match flatten(written.await) {
        Ok((bytes, log)) => {
            *state = State { log: Some(log), snapshot_bytes: bytes };
            writer.next += 1;
            writer.durable.send_replace(seq);
        }
        Err(error) => failed(writer, seq, &error).await,
    }
}

/// The disk refuses. Clients are answered all the same, or a full disk would stop the plant; that what they said is
/// not on disk is counted and told. The next try begins with a snapshot, because the log has a hole now.
async fn failed(writer: &Writer, seq: u64, error: &io::Error) {
    let before = *writer.durable.borrow();
    let lost = seq.saturating_sub(before);
    writer.not_durable.fetch_add(lost, Ordering::Relaxed);
    tracing::error!(%error, changes = lost, "broker's sessions and retained messages are not on disk");
    writer.durable.send_replace(seq);
    tokio::time::sleep(RETRY.min(writer.interval * 50)).await;
}

fn flatten<T>(joined: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    joined.unwrap_or_else(|e| Err(io::Error::other(e.to_string())))
}

//! What of the stored history cannot be read any more: it is left out where it is met, counted, and told once. Who meets it
//! only notes it; upkeep tells.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::clock::format_us;
use common::command::{LogEntry, Severity};
use common::names::action;

use crate::Shared;
use crate::db::Result;
use crate::log;
use crate::sql::{Conn, params};
use crate::tail::SeriesId;

/// A chunk that cannot be read, or a block of a waveform.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Number of the chunk; below 0 of a block of a waveform.
    pub(crate) chunk: i64,
    pub(crate) series: Option<SeriesId>,
    /// Times of its first and last sample.
    pub(crate) span: (i64, i64),
    pub(crate) why: String,
}

#[derive(Default)]
struct State {
    known: BTreeSet<(i64, i64)>,
    untold: Vec<Found>,
    /// Frames that were found when the database was opened.
    frames: u64,
}

/// All that was found since the database was opened.
#[derive(Default)]
pub(crate) struct Damage(Mutex<State>);

impl Damage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, found: Found) {
        let mut state = self.state();
        if state.known.insert((found.chunk, found.span.0)) {
            tracing::error!(
                chunk = found.chunk,
                series = found.series,
                why = found.why,
                "a part of history is damaged"
            );
            state.untold.push(found);
        }
    }

    pub(crate) fn note_frames(&self, n: usize) {
        self.state().frames += n as u64;
    }

    /// Chunks and frames that were found.
    pub(crate) fn count(&self) -> u64 {
        let state = self.state();
        state.known.len() as u64 + state.frames
    }
}

/// Tells what was found since it was asked last, but for what was told before.
pub(crate) fn tell(shared: &Shared) -> Result<()> {
    let untold = std::mem::take(&mut shared.damage.state().untold);
    if untold.is_empty() {
        return Ok(());
    }
    let all = untold.clone();
    let told = shared.writer.run(move |w| {
        let now = w.clock.now_us();
        w.change(|tx| {
            let mut new = Vec::new();
            for found in &all {
                let sql = "INSERT INTO damaged (chunk, from_us, told_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                if tx.execute(sql, params![found.chunk, found.span.0, now])? > 0 {
                    new.push(found);
                }
            }
            let Some(first) = new.first() else { return Ok(()) };
            let (from, to) = (format_us(first.span.0), format_us(first.span.1));
            let detail = format!(
                "{} parts of history cannot be read and are left out, with gaps in their place; the first is of {} from {from} to \
                 {to}: {}. See to the disk; a backup from before has them",
                new.len(),
                place(tx, first)?,
                first.why
            );
            log::append_own(tx, &entry(detail, now), now)
        })
    });
    if told.is_err() {
        shared.damage.state().untold.extend(untold);
    }
    told
}

fn place(conn: &Conn, found: &Found) -> Result<String> {
    let sql = "SELECT t.asset, s.point FROM series s JOIN twins t ON t.twin = s.twin AND t.tenant = s.tenant
               WHERE s.id = ?1";
    let name = |r: &crate::sql::Row<'_>| Ok(format!("{}/{}", r.get::<String>(0)?, r.get::<String>(1)?));
    Ok(conn.first(sql, params![found.series], name)?.unwrap_or_else(|| "an unknown point".into()))
}

/// An entry that tells of damage.
pub(crate) fn entry(detail: String, now: i64) -> LogEntry {
    LogEntry {
        at_us: now,
        actor: "system".into(),
        action: action::DATA_DAMAGED.into(),
        target: "store".into(),
        twin: None,
        severity: Severity::Alarm,
        code: None,
        detail,
    }
}

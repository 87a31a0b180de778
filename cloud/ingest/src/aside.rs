//! Frames that can be neither read nor stored: kept aside, told to people and to the gateway, and acknowledged, so that
//! what comes after them is not held up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::storage::{AsideRemoved, SetAside};
use cloud_core::{GatewayKey, StoreError};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::{self, Ack, Down, FEATURE_SET_ASIDE, Known};
use common::{Incarnation, IntervalSet};
use tokio::time::Instant;

use crate::handle::Shared;
use crate::outbox::{End, Outbox};

/// People are told of a gateway's frames at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What people are told of a gateway, and when they were last.
#[derive(Default)]
struct OfGateway {
    set_aside: Option<(Instant, u64)>,
    removed: Option<Instant>,
    /// Removed since.
    untold: AsideRemoved,
}

/// When people were told last, by gateway, and how many frames there were since.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashMap<GatewayKey, OfGateway>>);

impl Told {
    fn with<R>(&self, key: &GatewayKey, change: impl FnOnce(&mut OfGateway) -> R) -> R {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default())
    }

    /// The next frame is told of again.
    fn forget(&self, key: &GatewayKey) {
        self.with(key, |of| of.set_aside = None);
    }

    /// How many more there were since the last entry, if another one is due.
    fn due(&self, key: &GatewayKey) -> Option<u64> {
        self.with(key, |of| match &mut of.set_aside {
            Some((at, more)) if at.elapsed() < TELL_EVERY => {
                *more += 1;
                None
            }
            Some((at, more)) => {
                *at = Instant::now();
                Some(std::mem::take(more))
            }
            None => {
                of.set_aside = Some((Instant::now(), 0));
                Some(0)
            }
        })
    }

    /// What was removed since the last entry, this included, if another one is due.
    fn removed(&self, key: &GatewayKey, more: AsideRemoved) -> Option<AsideRemoved> {
        self.with(key, |of| {
            of.untold.frames += more.frames;
            of.untold.bytes += more.bytes;
            if of.untold.frames == 0 || of.removed.is_some_and(|at| at.elapsed() < TELL_EVERY) {
                return None;
            }
            of.removed = Some(Instant::now());
            Some(std::mem::take(&mut of.untold))
        })
    }
}

/// A frame, and what is wrong with it.
pub(crate) struct Poison {
    /// Rank, incarnation and sequence; none if they cannot be read.
    pub(crate) name: Option<(u64, Incarnation, u64)>,
    pub(crate) cause: &'static str,
    pub(crate) detail: String,
    pub(crate) bytes: Arc<[u8]>,
}

impl Shared {
    /// Keeps a frame aside, durably; then it is acknowledged.
    pub(crate) async fn aside(
        &self,
        key: &Arc<GatewayKey>,
        outbox: &Outbox,
        pkid: Option<u16>,
        poison: Poison,
    ) -> Result<(), StoreError> {
        let Poison { name, cause, detail, bytes } = poison;
        let at_us = self.parts.clock.now_us();
        let of = name.map_or_else(
            || "a frame whose name cannot be read".to_owned(),
            |(_, incarnation, seq)| format!("frame {seq} of incarnation {incarnation}"),
        );
        let entry = self.told.due(key).map(|more| {
            let more = if more > 0 { format!(" ({more} more since the last entry)") } else { String::new() };
            let gateway = &key.gateway;
            LogEntry {
                at_us,
                actor: "system".into(),
                action: action::FRAME_SET_ASIDE.into(),
                target: gateway.to_string(),
                twin: None,
                severity: Severity::Alarm,
                code: None,
                detail: format!(
                    "{of} could not be taken and was set aside: {detail}{more}. `twinway gateway set-aside {gateway}` lists them"
                ),
            }
        });
        let frame = SetAside {
            gateway: key.clone(),
            name: name.map(|(rank, _, seq)| (rank, seq)),
            cause,
            detail: detail.clone(),
            bytes,
            at_us,
        };
        let kept = self.parts.storage.set_aside(&[frame], entry.as_slice()).await;
        // Nobody was told.
        let kept = kept.inspect_err(|_| self.told.forget(key))?;
        if kept.new.first() == Some(&true) {
            self.parts.metrics.set_aside(cause);
            tracing::error!(gateway = %key, cause, detail, "{of} was set aside");
        }
        if let Some(entry) = &entry {
            self.parts.sink.event(entry);
        }
        self.tell_removed(key, kept.removed).await;
        let frames = name.map(|(_, incarnation, seq)| {
            let seqs: IntervalSet = vec![(seq, seq)].into();
            Known { incarnation, seqs }
        });
        let frames: Vec<Known> = frames.into_iter().collect();
        let mut sent = outbox.puback(pkid);
        if !frames.is_empty() && self.knows(key, outbox.session, FEATURE_SET_ASIDE) {
            let told = wire::SetAside { frames: frames.clone(), detail, apart: false };
            sent &= outbox.message(&Down::SetAside(told));
        }
        if !frames.is_empty() {
            sent &= outbox.message(&Down::Ack(Ack { acked: frames }));
        }
        if !sent {
            outbox.overrun();
        }
        Ok(())
    }

    /// Tells that frames that were set aside had to go for others. They are counted in storage in any case.
    async fn tell_removed(&self, key: &GatewayKey, removed: AsideRemoved) {
        self.parts.metrics.aside_removed(removed.frames);
        let Some(AsideRemoved { frames, bytes }) = self.told.removed(key, removed) else { return };
        let gateway = &key.gateway;
        let entry = LogEntry {
            at_us: self.parts.clock.now_us(),
            actor: "system".into(),
            action: action::FRAME_ASIDE_REMOVED.into(),
            target: gateway.to_string(),
            twin: None,
            severity: Severity::Alarm,
            code: None,
            detail: format!(
                "{frames} of the oldest frames that were set aside ({bytes} bytes) had to go, because more came than are kept of a \
                 gateway; their gaps stay. `twinway gateway set-aside {gateway}` lists the others, with `--frame` it saves one"
            ),
        };
        match self.parts.storage.append_audit(&entry).await {
            Ok(()) => self.parts.sink.event(&entry),
            Err(error) => {
                tracing::error!(gateway = %key, frames, bytes, %error, "frames set aside had to go, and nobody is told");
                self.told.with(key, |of| {
                    of.removed = None;
                    of.untold.frames += frames;
                    of.untold.bytes += bytes;
                });
            }
        }
    }

    /// The names of frames that came together cannot be told: the gateway sends them one by one.
    pub(crate) fn apart(
        &self,
        key: &GatewayKey,
        outbox: &Outbox,
        detail: String,
        pkid: Option<u16>,
    ) -> Result<(), End> {
        if !self.knows(key, outbox.session, FEATURE_SET_ASIDE) {
            return Err(End::refused("frame", Code::InvalidRequest, detail));
        }
        tracing::warn!(gateway = %key, detail, "frames that came together cannot be read");
        let apart = wire::SetAside { frames: Vec::new(), detail, apart: true };
        if !(outbox.puback(pkid) && outbox.message(&Down::SetAside(apart))) {
            outbox.overrun();
        }
        Ok(())
    }
}

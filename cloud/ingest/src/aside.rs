//! Frames that can be neither read nor stored: kept aside, told to people and to the gateway, and acknowledged, so that
//! what comes after them is not held up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::storage::SetAside;
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

/// When people were told last, by gateway, and how many frames there were since.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashMap<GatewayKey, (Instant, u64)>>);

impl Told {
    /// The next frame is told of again.
    fn forget(&self, key: &GatewayKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// How many more there were since the last entry, if another one is due.
    fn due(&self, key: &GatewayKey) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(key) {
            Some((at, more)) if at.elapsed() < TELL_EVERY => {
                *more += 1;
                None
            }
            Some((at, more)) => {
                *at = Instant::now();
                Some(std::mem::take(more))
            }
            None => {
                told.insert(key.clone(), (Instant::now(), 0));
                Some(0)
            }
        }
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
        let new = kept.inspect_err(|_| self.told.forget(key))?;
        if new.first() == Some(&true) {
            self.parts.metrics.set_aside(cause);
            tracing::error!(gateway = %key, cause, detail, "{of} was set aside");
        }
        if let Some(entry) = &entry {
            self.parts.sink.event(entry);
        }
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

//! Updates: what a box tells of them is kept, offers go to the session, and pieces of what was offered are handed out as they are
//! asked for.

use cloud_core::GatewayKey;
use cloud_core::update::PART_BYTES;
use common::api::{UpdateOffer, UpdateReport};
use common::bundle::is_sha256;
use common::names::Code;
use common::text::{at_most, hex};
use common::wire::{Down, MAX_PIECE_BYTES, Piece, PieceRequest};

use crate::boxes::storage_failed;
use crate::handle::Shared;
use crate::outbox::End;
use crate::talk::{Talk, refuse};

/// Most words of one session on it: each may be a row.
const MOST: u32 = 10_000;
/// Characters of a reason that are kept.
const REASON_CHARS: usize = 2_000;
/// Of a version or an architecture.
const WORD_BYTES: usize = 64;

impl Talk {
    /// Takes what the box says of updates.
    pub(crate) async fn update(&mut self, mut report: UpdateReport) -> Result<(), End> {
        if self.silence().is_none() {
            return refuse("not_ready", Code::Conflict, "a word on updates came before the hello");
        }
        self.update_reports += 1;
        if self.update_reports > MOST {
            return refuse("update", Code::RateLimited, "too many words on updates in one session");
        }
        check(&report)?;
        report.reason = at_most(report.reason, REASON_CHARS);
        report.why = at_most(report.why, REASON_CHARS);
        let kept = self.shared.parts.storage.keep_update_report(&self.key, &report).await;
        kept.map_err(|e| storage_failed(&self.key, &e))?;
        self.shared.updates(&self.key, self.session(), report.accepts);
        Ok(())
    }

    /// Hands out a piece of the bundle that was offered in this session. What cannot be had is not answered: the box asks again,
    /// or is told of another offer.
    pub(crate) async fn piece(&mut self, request: PieceRequest) -> Result<(), End> {
        let sha256 = hex(&request.sha256);
        let Some(offer) = self.shared.offered(&self.key, self.session()).filter(|o| o.sha256 == sha256)
        else {
            tracing::debug!(gateway = %self.key, sha256, "a piece of what is not offered was asked for");
            return Ok(());
        };
        if request.offset >= offer.bytes || !(1..=MAX_PIECE_BYTES).contains(&request.bytes) {
            return refuse("update", Code::InvalidRequest, "no such piece of a bundle");
        }
        let part_bytes = PART_BYTES as u64;
        let part = u32::try_from(request.offset / part_bytes).unwrap_or(u32::MAX);
        let storage = &self.shared.parts.storage;
        let found = storage.release_part(&self.key.tenant, &sha256, part).await;
        let found = found.map_err(|e| storage_failed(&self.key, &e))?.unwrap_or_default();
        let at = usize::try_from(request.offset % part_bytes).unwrap_or_default();
        let end = at.saturating_add(request.bytes as usize).min(found.len());
        match found.get(at..end).filter(|b| !b.is_empty()) {
            Some(bytes) => {
                let piece = Piece { sha256: request.sha256, offset: request.offset, bytes: bytes.to_vec() };
                // Without room for it the box asks again.
                self.answer(&Down::Piece(piece));
            }
            None => tracing::warn!(gateway = %self.key, sha256, "a bundle that is offered is gone"),
        }
        Ok(())
    }
}

fn check(report: &UpdateReport) -> Result<(), End> {
    let offer = report.offer.as_ref();
    let mut words = [&report.version, &report.arch].into_iter().chain(offer.map(|o| &o.version));
    let is_good = words.all(|w| w.len() <= WORD_BYTES)
        && offer.is_none_or(|o| is_sha256(&o.sha256) && o.arch.len() <= WORD_BYTES);
    if is_good {
        Ok(())
    } else {
        refuse("update", Code::InvalidRequest, "a version, architecture or hash is none")
    }
}

impl Shared {
    /// Hands an offer to the gateway's session, if that takes bundles and has not heard so.
    pub(crate) fn hand_offer(&self, key: &GatewayKey, offer: Option<UpdateOffer>) {
        let Some(outbox) = self.to_offer(key, offer.as_ref()) else { return };
        if outbox.message(&Down::Offer(offer.clone())) {
            self.has_offer(key, outbox.session, offer);
        }
    }
}

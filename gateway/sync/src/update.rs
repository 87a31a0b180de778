//! Bundles of updates in a session: what became of them goes up when it changes; the piece that is waited for is asked for once
//! something was offered, and not while the link's bytes are held back.

use std::sync::Arc;

use common::api::{UpdateOffer, UpdateReport};
use common::wire::{FEATURE_UPDATES, HelloAck, Piece, PieceRequest, Up};
use gateway_core::Updates;
use tokio::sync::watch;

use crate::link::Link;
use crate::uplink::Uplink;

/// One session's share in it.
pub(crate) struct Updating {
    to: Arc<dyn Updates>,
    report: watch::Receiver<UpdateReport>,
    wants: watch::Receiver<Option<PieceRequest>>,
    /// There is something that the cloud was not told, or not asked for.
    owes: bool,
    asks: bool,
    /// The cloud has offered something in this session.
    is_offered: bool,
}

impl Updating {
    /// None with a cloud that knows no updates, or where nobody takes them.
    pub(crate) fn new(uplink: &Uplink, ack: &HelloAck) -> Option<Self> {
        let to = uplink.updates.clone()?;
        ack.features.iter().any(|f| f == FEATURE_UPDATES).then(|| {
            let (report, wants) = (to.report(), to.wants());
            Self { to, report, wants, owes: true, asks: true, is_offered: false }
        })
    }

    /// Waits until there is something new to tell or to ask for.
    pub(crate) async fn changed(of: &mut Option<Self>) {
        let Some(this) = of else { return std::future::pending().await };
        let changed = tokio::select! {
            changed = this.report.changed() => changed.map(|()| this.owes = true),
            changed = this.wants.changed() => changed.map(|()| this.asks = true),
        };
        if changed.is_err() {
            // Nobody is left who would say more.
            std::future::pending().await
        }
    }

    /// Tells the cloud what it was not told, and asks for what was not asked for. What the client does not take now goes with the
    /// next life sign.
    pub(crate) fn tell(&mut self, link: &Link, is_held: impl FnOnce() -> bool) {
        if self.owes {
            let report = self.report.borrow_and_update().clone();
            self.owes = !link.publish(Up::Update(Box::new(report)).encode());
        }
        if self.asks && self.is_offered && !is_held() {
            let wanted = *self.wants.borrow_and_update();
            self.asks = wanted.is_some_and(|wanted| !link.publish(Up::Piece(wanted).encode()));
        }
    }

    pub(crate) fn offered(&mut self, offer: Option<UpdateOffer>) {
        self.is_offered = offer.is_some();
        self.asks = true;
        self.to.offered(offer);
    }

    pub(crate) fn take(&self, piece: Piece) {
        self.to.piece(piece);
    }
}

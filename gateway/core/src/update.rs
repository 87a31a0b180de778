//! Where bundles of updates from the cloud go.

use common::api::{UpdateOffer, UpdateReport};
use common::wire::{Piece, PieceRequest};
use tokio::sync::watch;

/// Takes bundles, piece by piece, and tells what became of them. Nothing here blocks.
pub trait Updates: Send + Sync {
    /// What runs, and what became of the last offer, as it changes.
    fn report(&self) -> watch::Receiver<UpdateReport>;

    /// The cloud offers this, or nothing any more. The same one again changes nothing.
    fn offered(&self, offer: Option<UpdateOffer>);

    /// The piece that it waits for; one at a time. It is asked for once in each session.
    fn wants(&self) -> watch::Receiver<Option<PieceRequest>>;

    /// A piece came. One that is not waited for is dropped.
    fn piece(&self, piece: Piece);
}

//! The way to live clients, for those who cause changes.

use common::api::ServerMessage;

use crate::access::Scope;
use crate::state::Applied;

/// Takes changes for the live channel. Never blocks: what a client cannot take is replaced by later
/// values, or counted and told.
pub trait LiveSink: Send + Sync {
    /// Points took new values.
    fn values(&self, applied: &[Applied]);

    /// Something for those who may see `scope`.
    fn message(&self, scope: &Scope, message: ServerMessage);

    /// Twins were added or their points changed: areas and rows are made anew.
    fn twins_changed(&self);
}

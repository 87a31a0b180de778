//! What is done about a line's connection: wait, open, keep an eye on a better one. What goes over it is the engine's
//! matter.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use crate::modbus::transport::{Opened, Opener};

type Opening = Pin<Box<dyn Future<Output = Result<Opened, String>> + Send>>;
type Better = Pin<Box<dyn Future<Output = Opened> + Send>>;

/// The state of a line's connection.
pub(super) enum Link {
    /// none, and none is wanted now
    Idle,
    /// wait until then, then try
    Pause(Instant),
    /// being opened
    Opening(Opening),
    /// open, as far as is known; a better one may turn up
    Open(Better),
}

impl Link {
    /// An open one that is the backup's, or not.
    pub(super) fn open(opener: &Arc<Opener>, backup: bool) -> Self {
        let opener = opener.clone();
        Self::Open(Box::pin(async move { opener.better(backup).await }))
    }

    /// Goes on until something happened: a stream, or why there is none. Safe to be dropped and called again.
    /// `backup` says where the next attempt goes.
    pub(super) async fn advance(&mut self, opener: &Arc<Opener>, backup: bool) -> Result<Opened, String> {
        loop {
            match self {
                Self::Idle => std::future::pending().await,
                Self::Pause(until) => {
                    tokio::time::sleep_until(*until).await;
                    let opener = opener.clone();
                    *self = Self::Opening(Box::pin(async move { opener.open(backup).await }));
                }
                Self::Opening(opening) => return opening.as_mut().await,
                Self::Open(better) => return Ok(better.as_mut().await),
            }
        }
    }
}

//! When each edge node was last asked for new births: all devices of a node want the same, once is enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A node is asked at most so often.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Last requests by group and node. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<Mutex<HashMap<(String, String), Instant>>>);

impl Nodes {
    /// Takes the right to ask a node now.
    ///
    /// # Errors
    /// When it may be asked again.
    pub(super) fn ask(&self, group: &str, node: &str) -> Result<(), Instant> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let key = (group.to_owned(), node.to_owned());
        match asked.get(&key) {
            Some(last) if *last + EVERY > now => Err(*last + EVERY),
            _ => {
                asked.insert(key, now);
                Ok(())
            }
        }
    }
}

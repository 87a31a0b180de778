//! How far a buffer is on its way to being open: a large one on a slow card, or one that a crash left open, takes minutes,
//! and who waits must tell that from one that stands still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::inner::lock;

/// Counts what was got through. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Opening(Arc<Mutex<Step>>);

#[derive(Debug)]
struct Step {
    count: u64,
    at: Instant,
}

impl Default for Opening {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Step { count: 0, at: Instant::now() })))
    }
}

impl Opening {
    /// Something more is got through: a file, or what stands beside the log.
    pub(crate) fn step(&self) {
        let mut step = lock(&self.0);
        step.count += 1;
        step.at = Instant::now();
    }

    /// How many there were.
    pub fn steps(&self) -> u64 {
        lock(&self.0).count
    }

    /// How long ago the last one was, or the beginning.
    pub fn still_for(&self) -> Duration {
        lock(&self.0).at.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_since_its_last_step() {
        let opening = Opening::default();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!((opening.steps(), opening.still_for()), (0, Duration::from_secs(5)));
        opening.clone().step();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((opening.steps(), opening.still_for()), (1, Duration::from_secs(1)));
    }
}

//! How far a store is on its way to being open: a large one on a slow disk, one that a crash left open, or one that is
//! brought to another version takes minutes, and who waits must tell that from one that stands still.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

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
    /// Something more is got through: a file, some rows, some of the work of a statement.
    pub fn step(&self) {
        let mut step = self.lock();
        step.count += 1;
        step.at = Instant::now();
    }

    /// How many there were.
    pub fn steps(&self) -> u64 {
        self.lock().count
    }

    /// How long ago the last one was, or the beginning.
    pub fn still_for(&self) -> Duration {
        self.lock().at.elapsed()
    }

    /// Looks so often, and gives the number of steps where there are more; until it is dropped.
    pub async fn watch(&self, every: Duration, tell: impl Fn(u64)) -> Infallible {
        let mut told = 0;
        loop {
            sleep(every).await;
            let steps = self.steps();
            if std::mem::replace(&mut told, steps) != steps {
                tell(steps);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test(start_paused = true)]
    async fn steps_are_told_while_there_are_more() {
        let (opening, told) = (Opening::default(), Mutex::new(Vec::new()));
        let looks = opening.watch(Duration::from_secs(5), |steps| told.lock().expect("ours").push(steps));
        let works = async {
            for steps in [2, 0, 3] {
                (0..steps).for_each(|_| opening.step());
                sleep(Duration::from_secs(5)).await;
            }
            sleep(Duration::from_secs(60)).await;
        };
        tokio::select! {
            never = looks => match never {},
            () = works => {}
        }
        assert_eq!(*told.lock().expect("ours"), [2, 5]);
    }
}

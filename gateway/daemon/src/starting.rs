//! A start that takes long: as long as it goes on the service manager is asked for more time, an updater that watches is told, and one
//! that somebody ends meanwhile has not failed. One that stands still gets no more time, and counts.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use common::Opening;

use crate::config::Config;
use crate::{starts, systemd, versions};

/// How often it is looked at. A start that is over by then asks for nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is asked for with each step forward: more than a step takes on a slow card.
const MORE_TIME: Duration = Duration::from_secs(120);
/// Without a step for so long a start stands still. Less than any service manager waits.
const STANDS_STILL: Duration = Duration::from_secs(60);

/// A start under way.
#[derive(Debug)]
pub struct Starting {
    data_dir: PathBuf,
    pub(crate) opening: Opening,
}

impl Starting {
    /// Of the gateway of a configuration.
    pub fn new(config: &Config) -> Self {
        Self { data_dir: config.data_dir.clone(), opening: Opening::default() }
    }

    /// Tells the service manager and an updater how it goes, until it is dropped.
    pub async fn report(&self) -> Infallible {
        let tell = |steps| {
            versions::starts_still(steps);
            systemd::starts_still(MORE_TIME, &format!("starts: reads the buffer, step {steps}"));
        };
        self.opening.watch(LOOK_EVERY, tell).await
    }

    /// Somebody ends it.
    pub fn is_wanted_to_end(&self) {
        if self.opening.still_for() < STANDS_STILL {
            starts::forget(&self.data_dir);
        }
    }
}

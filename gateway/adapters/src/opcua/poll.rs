//! Points that are read at a period instead of being subscribed: those of one period together, in calls that the server
//! bears. A period that is missed is left out, not made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opcua::types::{DataValue, Error, ReadValueId, TimestampsToReturn};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::adapter::{Connected, Shared};
use super::items::Ground;
use super::spec::Place;

/// Values by the place of their points, or the points that were not read and why.
pub(super) type Polled = Result<Vec<(Place, DataValue)>, (Vec<Place>, Error)>;

/// Answers that may wait.
const WAITING: usize = 16;

/// The polls of one connection; they end when it is dropped.
pub(super) struct Polling {
    answers: Option<mpsc::Receiver<Polled>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Polling {
    /// Nothing is read.
    pub(super) fn none() -> Self {
        Self { answers: None, tasks: Vec::new() }
    }

    /// Every point of the device that is polled, one task for each period.
    pub(super) fn of(shared: &Arc<Shared>, connected: &Arc<Connected>) -> Self {
        let mut periods: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
        for (at, spec) in shared.specs.iter().filter(|(_, s)| s.is_read()) {
            let Some(period) = spec.poll_ms else { continue };
            if shared.specs.node(spec, &connected.indices).is_some() {
                periods.entry(period).or_default().push(at);
            }
        }
        if periods.is_empty() {
            return Self::none();
        }
        let (tell, answers) = mpsc::channel(WAITING);
        let tasks = periods.into_iter().map(|(period, points)| {
            let (shared, connected, tell) = (shared.clone(), connected.clone(), tell.clone());
            tokio::spawn(read(shared, connected, Duration::from_millis(period), points, tell))
        });
        Self { tasks: tasks.collect(), answers: Some(answers) }
    }

    /// The next answer; never without polls.
    pub(super) async fn next(&mut self) -> Polled {
        let next = match &mut self.answers {
            Some(answers) => answers.recv().await,
            None => None,
        };
        match next {
            Some(polled) => polled,
            None => std::future::pending().await,
        }
    }
}

async fn read(
    shared: Arc<Shared>,
    connected: Arc<Connected>,
    period: Duration,
    points: Vec<Place>,
    tell: mpsc::Sender<Polled>,
) {
    let ground = Ground {
        session: &connected.session,
        config: &shared.config,
        specs: &shared.specs,
        limits: connected.limits,
        indices: &connected.indices,
    };
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        for chunk in points.chunks(connected.limits.read) {
            if tell.send(once(ground, chunk).await).await.is_err() {
                return;
            }
        }
    }
}

/// Reads points once: a value for each of them, or none at all.
pub(super) async fn once(ground: Ground<'_>, points: &[Place]) -> Polled {
    let Ground { session, specs, limits, indices, .. } = ground;
    // One that is not known is asked for all the same: each has its answer, and the server refuses no node.
    let asked: Vec<ReadValueId> =
        points.iter().map(|at| specs.read(*at, indices).unwrap_or_default()).collect();
    match limits.read_with(session, &asked, TimestampsToReturn::Both).await {
        Ok(values) => Ok(points.iter().copied().zip(values).collect()),
        Err(error) => Err((points.to_vec(), error)),
    }
}

//! How a writer waits for the task that drives its device: it queues a job, gives up until the driver has begun, and
//! from then on waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use common::names::Code;
use gateway_core::{Reading, WriteError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Jobs that may wait at the same time, for each device of a driver. Those of a line share their places.
pub(crate) const CAPACITY: usize = 16;

/// Whether a job has begun. Exactly one side leaves `QUEUED`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Claim {
    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The driver begins; false if the caller has given up.
    pub(crate) fn begin(&self) -> bool {
        self.leave(BEGUN)
    }

    /// The caller gives up; false if the driver has begun.
    fn give_up(&self) -> bool {
        self.leave(GIVEN_UP)
    }
}

/// Gives up for a caller that stops waiting, whatever the reason: what it does not wait for must not begin.
struct Waiting(Claim);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Where the driver puts its answer.
pub(crate) type Reply = oneshot::Sender<Result<Reading, WriteError>>;

/// The error of a write of which nothing was sent.
pub(crate) fn not_sent(code: Code, detail: impl Into<String>) -> WriteError {
    WriteError::NotSent { code, detail: detail.into() }
}

/// Queues the job that is made with a claim and a reply, and waits for its answer; until `deadline`, if it has not
/// begun by then.
///
/// # Errors
/// The driver's, or `NotSent` for a job that has not begun, and `Unsure` for one that has and gets no answer.
pub(crate) async fn submit<J>(
    jobs: &mpsc::Sender<J>,
    deadline: Instant,
    job: impl FnOnce(Claim, Reply) -> J,
) -> Result<Reading, WriteError> {
    let claim = Claim::default();
    let _waiting = Waiting(claim.clone());
    let (reply, mut answer) = oneshot::channel();
    match timeout_at(deadline, jobs.send(job(claim.clone(), reply))).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(not_sent(Code::NotConnected, "the adapter has ended")),
        Err(_) => return Err(not_sent(Code::QueueFull, "too many writes wait for the device")),
    }
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        () = sleep_until(deadline) => {
            if claim.give_up() {
                return Err(not_sent(Code::Expired, "the device was busy until the deadline"));
            }
            answer.await
        }
    };
    answered.unwrap_or_else(|_| {
        if claim.give_up() {
            Err(not_sent(Code::NotConnected, "the adapter stopped"))
        } else {
            Err(WriteError::Unsure { detail: "the adapter stopped before the device answered".to_owned() })
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Job = (Claim, Reply);

    fn queue() -> (mpsc::Sender<Job>, mpsc::Receiver<Job>) {
        mpsc::channel(1)
    }

    fn in_a_second() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    fn code(result: Result<Reading, WriteError>) -> Code {
        let Err(WriteError::NotSent { code, .. }) = result else { panic!("{result:?}") };
        code
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_not_begun_by_the_deadline_never_does() {
        let (jobs, mut driver) = queue();
        let wait = || submit(&jobs, in_a_second(), |claim, reply| (claim, reply));
        // One in the queue leaves no room for another.
        let (first, second) = tokio::join!(wait(), wait());
        assert_eq!((code(first), code(second)), (Code::Expired, Code::QueueFull));
        assert!(!driver.recv().await.unwrap().0.begin());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_is_waited_for_beyond_the_deadline() {
        let (jobs, mut driver) = queue();
        let done = Ok(Reading { raw: None });
        let (result, ()) = tokio::join!(submit(&jobs, in_a_second(), |claim, reply| (claim, reply)), async {
            let (claim, reply) = driver.recv().await.unwrap();
            assert!(claim.begin());
            tokio::time::sleep(Duration::from_secs(5)).await;
            reply.send(done.clone()).unwrap();
        });
        assert_eq!(result, done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_ends_leaves_open_only_what_it_has_begun() {
        let (jobs, mut driver) = queue();
        let wait = || submit(&jobs, in_a_second(), |claim, reply| (claim, reply));
        let (result, ()) = tokio::join!(wait(), async { drop(driver.recv().await) });
        assert_eq!(code(result), Code::NotConnected);
        let (result, ()) = tokio::join!(wait(), async { assert!(driver.recv().await.unwrap().0.begin()) });
        assert!(matches!(result, Err(WriteError::Unsure { .. })), "{result:?}");
        drop(driver);
        assert_eq!(code(wait().await), Code::NotConnected);
    }

    #[tokio::test]
    async fn a_caller_that_is_gone_has_given_up() {
        let (jobs, mut driver) = queue();
        let wait = submit(&jobs, in_a_second(), |claim, reply| (claim, reply));
        let waited = tokio::time::timeout(Duration::ZERO, wait).await;
        assert!(waited.is_err());
        assert!(!driver.recv().await.unwrap().0.begin());
    }
}

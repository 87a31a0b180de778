//! Waiting for a condition, with a limit: the only way that tests wait.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Asks again until `probe` gives something; fails with `what` after `limit`.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Starts a program again while it ends and says why, as a service manager would.
///
/// # Panics
/// When it is not up in time, or panicked.
pub async fn up<T, F, Fut>(mut start: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match start().await {
            Ok(up) => return up,
            Err(why) => assert!(Instant::now() < end && !why.contains("panicked"), "{why}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

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

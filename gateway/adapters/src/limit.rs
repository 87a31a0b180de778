//! Keeps a dead device from filling the log.

use std::time::Duration;

use tokio::time::Instant;

/// A repeated message is logged at most this often.
const EVERY: Duration = Duration::from_secs(60);

/// Lets one message through, then one a minute.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// How many messages were held back since the last one, if this one may be logged.
    pub(crate) fn allow(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_a_minute_with_the_count_of_those_held_back() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.allow(), Some(0));
        assert_eq!((limit.allow(), limit.allow()), (None, None));
        tokio::time::advance(EVERY).await;
        assert_eq!(limit.allow(), Some(2));
    }
}

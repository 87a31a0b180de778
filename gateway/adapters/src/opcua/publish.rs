//! What subscriptions send: the requests that fetch it, and the numbers by which a missed message is noticed and asked
//! for again. The crate's own loop goes silent after a reconnect (0.19), takes no notice of a gap, and keeps a map of
//! items a second time; so this is ours, upon its requests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use opcua::client::services::{Publish, Republish};
use opcua::client::{Session, UARequest};
use opcua::types::{Error, NotificationMessage, PublishResponse, StatusCode, SubscriptionAcknowledgement};
use tokio::time::Instant;

/// Requests that wait at a server at the same time, at most.
const MOST: usize = 20;
/// Messages that are asked for again in one go, at most: what is older is lost.
const MOST_MISSED: u32 = 100;
/// Acknowledgements of one request, at most.
const MOST_ACKS: usize = 1000;

/// Pause after a request that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// A request under way, and its answer.
type Waiting = Pin<Box<dyn Future<Output = Result<PublishResponse, Error>> + Send>>;

/// The requests of one session.
pub(super) struct Publisher {
    pub(super) waiting: FuturesUnordered<Waiting>,
    acks: Vec<SubscriptionAcknowledgement>,
    /// How many are to wait.
    target: usize,
    /// How many the server bears.
    most: usize,
    timeout: Duration,
    /// Nothing is sent before.
    free_at: Instant,
}

impl Publisher {
    pub(super) fn new() -> Self {
        let waiting = FuturesUnordered::new();
        let (timeout, free_at) = (Duration::from_secs(60), Instant::now());
        Self { waiting, acks: Vec::new(), target: 0, most: MOST, timeout, free_at }
    }

    /// For so many subscriptions, of which one may be silent for `silence`.
    pub(super) fn set(&mut self, subscriptions: usize, silence: Duration) {
        self.target = (subscriptions * 2).min(self.most);
        // The server answers when there is something to say, at the latest with a sign of life.
        self.timeout = silence.saturating_mul(2);
    }

    /// What was under way is gone with its connection.
    pub(super) fn clear(&mut self) {
        self.waiting = FuturesUnordered::new();
        self.acks.clear();
    }

    /// Sends as many requests as are to wait.
    pub(super) fn fill(&mut self, session: &Arc<Session>) {
        if Instant::now() < self.free_at {
            return;
        }
        while self.waiting.len() < self.target {
            let left = self.acks.split_off(self.acks.len().min(MOST_ACKS));
            let acks = std::mem::replace(&mut self.acks, left);
            let (session, timeout) = (session.clone(), self.timeout);
            self.waiting.push(Box::pin(async move {
                Publish::new(&session).acks(acks).timeout(timeout).send(session.channel()).await
            }));
        }
    }

    /// A request failed: the next one waits, lest requests fail as fast as they can be made.
    pub(super) fn pause(&mut self) {
        self.free_at = Instant::now() + PAUSE;
    }

    /// The server says that fewer may wait.
    pub(super) fn too_many(&mut self) {
        self.pause();
        self.most = self.most.min(self.waiting.len()).max(1);
        self.target = self.target.min(self.most);
    }

    /// A message was taken.
    pub(super) fn acknowledge(&mut self, subscription_id: u32, sequence_number: u32) {
        self.acks.push(SubscriptionAcknowledgement { subscription_id, sequence_number });
    }
}

/// The number after another: 0 is none.
pub(super) fn after(number: u32) -> u32 {
    number.checked_add(1).unwrap_or(1)
}

/// What a message's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// the one that was awaited
    Next,
    /// taken before
    Old,
    /// so many before it did not come
    Missed(u32),
}

/// Where `number` stands when `next` is awaited.
pub(super) fn order(next: u32, number: u32) -> Order {
    match number.wrapping_sub(next) {
        0 => Order::Next,
        ahead if ahead < u32::MAX / 2 => Order::Missed(ahead),
        _ => Order::Old,
    }
}

/// Asks again for messages from `next` on. Returns those that the server still has, in order, and how many it has not.
pub(super) async fn missed(
    session: &Session,
    subscription: u32,
    next: u32,
    count: u32,
) -> Result<(Vec<NotificationMessage>, u32), Error> {
    let (mut found, mut lost) = (Vec::new(), count.saturating_sub(MOST_MISSED));
    let mut number = next.wrapping_add(lost);
    for _ in 0..count.min(MOST_MISSED) {
        let asked = Republish::new(subscription, number, session).send(session.channel()).await;
        match asked {
            Ok(answer) => found.push(answer.notification_message),
            Err(e) if e.status() == StatusCode::BadMessageNotAvailable => lost += 1,
            Err(e) => return Err(e),
        }
        number = after(number);
    }
    Ok((found, lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_an_old_message_and_the_end_of_numbers_are_told_apart() {
        assert_eq!(order(5, 5), Order::Next);
        assert_eq!(order(5, 8), Order::Missed(3));
        assert_eq!(order(5, 4), Order::Old);
        assert_eq!(after(u32::MAX), 1);
        assert_eq!(order(1, u32::MAX), Order::Old);
    }
}

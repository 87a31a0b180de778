//! What a session's subscriptions and polls bring: in order, nothing twice, and what was missed asked for again.

use common::Sample;
use opcua::types::{
    DataChangeNotification, Error, EventNotificationList, NotificationMessage, PublishResponse,
    StatusChangeNotification, StatusCode,
};
use tokio::time::Instant;

use super::publish::{self, Order};
use super::session::{Ended, Live, Step};
use super::spec::Place;
use super::{poll, recover};

impl Live<'_> {
    /// An answer to a publish request.
    pub(super) async fn published(&mut self, answer: Result<PublishResponse, Error>) -> Step {
        match answer {
            Ok(answer) => self.message(answer).await,
            Err(error) => self.not_published(&error).await,
        }
    }

    async fn not_published(&mut self, error: &Error) -> Step {
        self.publisher.pause();
        match error.status() {
            StatusCode::BadTooManyPublishRequests => self.publisher.too_many(),
            StatusCode::BadNoSubscription => {
                self.publisher.clear();
                return recover::renew_all(self).await;
            }
            StatusCode::BadSessionIdInvalid
            | StatusCode::BadSessionClosed
            | StatusCode::BadSessionNotActivated => {
                return Err(Ended::Lost(format!("session lost: {error}")));
            }
            // Nothing was said in time, or the connection broke: the watch over each subscription, and the
            // connection itself, tell which.
            _ => {}
        }
        Ok(())
    }

    async fn message(&mut self, answer: PublishResponse) -> Step {
        let id = answer.subscription_id;
        let Some(subscription) = self.memory.subscription(id) else { return Ok(()) };
        subscription.heard = Instant::now();
        let message = answer.notification_message;
        let number = message.sequence_number;
        let next = subscription.next;
        let has_data = message.notification_data.as_ref().is_some_and(|d| !d.is_empty());
        match publish::order(next, number) {
            Order::Old => return Ok(()),
            Order::Next => {}
            Order::Missed(count) => {
                let missed = publish::missed(&self.session, id, next, count).await;
                let (found, lost) = missed.map_err(|e| Ended::Lost(format!("cannot republish: {e}")))?;
                self.shared.count_missed(lost);
                if lost > 0 {
                    self.reporter.bad(true, &format!("{lost} messages of a subscription are lost"));
                    let filled = self.backfill().await;
                    filled.map_err(|e| Ended::Lost(format!("no history: {e}")))?;
                }
                for message in found {
                    self.publisher.acknowledge(id, message.sequence_number);
                    self.take(id, message).await?;
                }
            }
        }
        if !has_data {
            // A sign of life bears the number of the next message.
            if let Some(subscription) = self.memory.subscription(id) {
                subscription.next = number;
            }
            self.reporter.good();
            return Ok(());
        }
        self.publisher.acknowledge(id, number);
        if let Some(subscription) = self.memory.subscription(id) {
            subscription.next = publish::after(number);
        }
        self.take(id, message).await
    }

    /// What a message says becomes samples.
    pub(super) async fn take(&mut self, id: u32, message: NotificationMessage) -> Step {
        let now_us = self.shared.context.clock.now_us();
        for object in message.notification_data.into_iter().flatten() {
            if let Some(changed) = object.inner_as::<StatusChangeNotification>() {
                let status = changed.status;
                if status.is_bad() {
                    tracing::info!(device = self.shared.name, %status, "the server ended a subscription");
                    return recover::renew(self, id).await;
                }
                continue;
            }
            if let Some(list) = object.inner_as::<EventNotificationList>() {
                for event in list.events.iter().flatten() {
                    self.shared.event(event.event_fields.as_deref().unwrap_or_default(), now_us);
                }
                continue;
            }
            let Some(data) = object.into_inner_as::<DataChangeNotification>() else { continue };
            let items = data.monitored_items.unwrap_or_default();
            let mut samples = Vec::with_capacity(items.len());
            for item in items {
                let spec = Place::of_handle(item.client_handle).and_then(|at| self.shared.specs.get(at));
                let Some(spec) = spec.filter(|s| !s.is_filled(&item.value)) else { continue };
                samples.push(self.shared.sample(spec, item.value, now_us, self.reporter));
            }
            by_time(&mut samples);
            self.shared.context.raw.send(samples);
            self.reporter.good();
        }
        Ok(())
    }

    pub(super) fn polled(&mut self, result: poll::Polled) {
        match result {
            Ok(values) => {
                let now_us = self.shared.context.clock.now_us();
                let mut samples: Vec<Sample> = Vec::with_capacity(values.len());
                for (at, value) in values {
                    let Some(spec) = self.shared.specs.get(at) else { continue };
                    samples.push(self.shared.sample(spec, value, now_us, self.reporter));
                }
                self.shared.context.raw.send(samples);
                self.reporter.good();
            }
            Err((points, error)) => {
                self.reporter.bad(self.connected, &format!("not read: {error}"));
                self.shared.bad(points.into_iter().map(|at| (at, error.status())));
            }
        }
    }
}

/// Puts what changed together beside each other: servers tell item by item, and what follows would make a message, and a
/// time in a frame, of each value. Where the server's clock went back, a point's values stay in the order told.
fn by_time(samples: &mut [Sample]) {
    let is_back = |pair: &[Sample]| matches!(pair, [a, b] if a.point == b.point && b.source_us < a.source_us);
    if !samples.windows(2).any(is_back) {
        samples.sort_by_key(|s| s.source_us);
    }
}

#[cfg(test)]
mod tests {
    use common::{PointId, Quality};

    use super::*;

    fn sorted(times: &[(u32, i64)]) -> Vec<(u32, i64)> {
        let mut samples: Vec<_> =
            times.iter().map(|(point, us)| Sample::bad(PointId(*point), Quality::BAD, *us)).collect();
        by_time(&mut samples);
        samples.iter().map(|s| (s.point.0, s.source_us)).collect()
    }

    #[test]
    fn what_changed_together_stands_together_unless_the_clock_went_back() {
        assert_eq!(sorted(&[(1, 10), (1, 20), (2, 10), (2, 20)]), [(1, 10), (2, 10), (1, 20), (2, 20)]);
        assert_eq!(sorted(&[(1, 20), (1, 10), (2, 5)]), [(1, 20), (1, 10), (2, 5)]);
    }
}

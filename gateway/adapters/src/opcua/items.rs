//! Subscriptions of a session: points split over them by the server's limits, each point asked for as configured, and
//! without its filter from a server that refuses it.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use opcua::client::services::{CreateMonitoredItems, CreateSubscription, DeleteSubscriptions};
use opcua::client::{Session, UARequest};
use opcua::types::{
    DataChangeFilter, DataChangeTrigger, DeadbandType, Error, ExtensionObject, MonitoredItemCreateRequest,
    MonitoringMode, MonitoringParameters, StatusCode, TimestampsToReturn,
};
use tokio::time::Instant;

use super::config::DeviceConfig;
use super::limits::Limits;
use super::point::Trigger;
use super::spec::{Place, Spec, Specs};

/// A subscription that the server has.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: u32,
    pub(super) points: Vec<Place>,
    /// Places of the nodes whose events it sends, in the device's configuration.
    pub(super) events: Vec<usize>,
    /// Number of the next message.
    pub(super) next: u32,
    /// When it was heard last.
    pub(super) heard: Instant,
    /// It is dead if silent for longer than this.
    pub(super) silence: Duration,
    /// How often the server sends.
    pub(super) publishing: Duration,
}

/// What the server said to each point that it did not take.
pub(super) type Refused = Vec<(Place, StatusCode)>;

/// How much of a point's filter is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// all of it
    Full,
    /// the trigger without the deadband
    Trigger,
    /// none
    Plain,
}

impl Filter {
    /// What is tried when the server refuses this.
    fn less(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Trigger),
            Self::Trigger => Some(Self::Plain),
            Self::Plain => None,
        }
    }
}

/// What subscriptions are made with.
#[derive(Clone, Copy)]
pub(super) struct Ground<'g> {
    pub(super) session: &'g Session,
    pub(super) config: &'g DeviceConfig,
    pub(super) specs: &'g Specs,
    pub(super) limits: Limits,
    pub(super) indices: &'g [Option<u16>],
}

/// Creates a subscription without anything in it.
///
/// # Errors
/// When the server takes none, or the connection is lost.
pub(super) async fn create(ground: Ground<'_>) -> Result<Subscription, Error> {
    let Ground { session, config, .. } = ground;
    let keep_alive = config.keep_alive_count();
    let lifetime = config.session_ms.div_ceil(config.publishing_ms.max(1)).clamp(1, 100_000);
    let lifetime = u32::try_from(lifetime).unwrap_or(u32::MAX).max(keep_alive.saturating_mul(4));
    let made = CreateSubscription::new(session)
        .publishing_interval(config.publishing())
        .max_keep_alive_count(keep_alive)
        .max_lifetime_count(lifetime)
        .max_notifications_per_publish(0)
        .publishing_enabled(true)
        .send(session.channel())
        .await?;
    let publishing = Duration::try_from_secs_f64(made.revised_publishing_interval / 1000.0)
        .ok()
        .filter(|p| !p.is_zero() && *p < Duration::from_secs(86_400))
        .unwrap_or_else(|| config.publishing());
    // The server may have chosen a longer interval or count: then it may be silent for longer.
    let silence =
        publishing.saturating_mul(made.revised_max_keep_alive_count.saturating_add(1)) + config.timeout();
    let silence = silence.max(Duration::from_millis(config.silence_ms));
    let (id, heard) = (made.subscription_id, Instant::now());
    let (points, events) = (Vec::new(), Vec::new());
    Ok(Subscription { id, points, events, next: 1, heard, silence, publishing })
}

/// Creates the items of points in a subscription that is there.
///
/// # Errors
/// When the subscription is gone or the connection is lost. A point that is refused is no error.
pub(super) async fn fill(ground: Ground<'_>, subscription: u32, points: &[Place]) -> Result<Refused, Error> {
    let mut refused = Vec::new();
    let mut waiting: Vec<(Filter, Vec<Place>)> = vec![(Filter::Full, points.to_vec())];
    while let Some((filter, points)) = waiting.pop() {
        let mut calls: Vec<BoxFuture<'_, _>> = Vec::new();
        for chunk in points.chunks(ground.limits.monitored) {
            calls.push(call(ground, subscription, chunk, filter).boxed());
        }
        let mut answers = stream::iter(calls).buffered(ground.limits.parallel);
        let mut again = Vec::new();
        let mut at = points.iter();
        while let Some(answer) = answers.next().await {
            for status in answer? {
                let Some(point) = at.next() else { break };
                match (status, filter.less()) {
                    (status, _) if status.is_good() => {}
                    (status, Some(_)) if is_filter(status) => again.push(*point),
                    (status, _) => refused.push((*point, status)),
                }
            }
        }
        if let Some(less) = filter.less().filter(|_| !again.is_empty()) {
            tracing::info!(points = again.len(), ?filter, "the server does not filter so: it sends more");
            waiting.push((less, again));
        }
    }
    Ok(refused)
}

/// One call; what is too much for the server is asked for in halves.
async fn call(
    ground: Ground<'_>,
    subscription: u32,
    points: &[Place],
    filter: Filter,
) -> Result<Vec<StatusCode>, Error> {
    let mut waiting = vec![points];
    let mut done = Vec::with_capacity(points.len());
    while let Some(points) = waiting.pop() {
        let requests = points.iter().map(|p| request(ground, *p, filter)).collect();
        let sent = CreateMonitoredItems::new(subscription, ground.session)
            .timestamps_to_return(TimestampsToReturn::Both)
            .items_to_create(requests)
            .send(ground.session.channel())
            .await;
        match sent {
            Ok(made) => done.extend(made.results.iter().map(|r| r.result.status_code)),
            Err(e) if is_too_much(e.status()) && points.len() > 1 => {
                let (first, second) = points.split_at(points.len() / 2);
                waiting.extend([second, first]);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn is_too_much(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManyOperations
            | StatusCode::BadEncodingLimitsExceeded
            | StatusCode::BadRequestTooLarge
            | StatusCode::BadResponseTooLarge
            | StatusCode::BadTcpMessageTooLarge
    )
}

fn is_filter(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadMonitoredItemFilterUnsupported
            | StatusCode::BadMonitoredItemFilterInvalid
            | StatusCode::BadFilterNotAllowed
            | StatusCode::BadDeadbandFilterInvalid
            | StatusCode::BadNotSupported
            | StatusCode::BadNotImplemented
    )
}

fn request(ground: Ground<'_>, at: Place, filter: Filter) -> MonitoredItemCreateRequest {
    let Ground { specs, indices, .. } = ground;
    // One that is not known is asked for all the same: each request has its answer, and the server refuses no node.
    let (Some(spec), Some(item_to_monitor)) = (specs.get(at), specs.read(at, indices)) else {
        return MonitoredItemCreateRequest::default();
    };
    MonitoredItemCreateRequest {
        item_to_monitor,
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: at.handle(),
            sampling_interval: spec.sampling_ms,
            filter: data_filter(spec, filter),
            queue_size: spec.queue,
            discard_oldest: true,
        },
    }
}

fn data_filter(spec: &Spec, filter: Filter) -> ExtensionObject {
    let (kind, width) = match (spec.deadband, spec.deadband_percent) {
        (Some(width), _) if filter == Filter::Full => (DeadbandType::Absolute, width),
        (_, Some(width)) if filter == Filter::Full => (DeadbandType::Percent, width),
        _ => (DeadbandType::None, 0.0),
    };
    let is_default = spec.trigger == Trigger::StatusValue && matches!(kind, DeadbandType::None);
    if is_default || filter == Filter::Plain {
        return ExtensionObject::null();
    }
    ExtensionObject::from_message(DataChangeFilter {
        trigger: match spec.trigger {
            Trigger::Status => DataChangeTrigger::Status,
            Trigger::StatusValue => DataChangeTrigger::StatusValue,
            Trigger::StatusValueTimestamp => DataChangeTrigger::StatusValueTimestamp,
        },
        deadband_type: kind as u32,
        deadband_value: width,
    })
}

/// Deletes subscriptions that are no longer wanted. That the server has them no more is no fault.
pub(super) async fn delete(session: &Session, ids: Vec<u32>) {
    if ids.is_empty() {
        return;
    }
    let sent = DeleteSubscriptions::new(session).subscription_ids(ids).send(session.channel()).await;
    if let Err(error) = sent {
        tracing::debug!(%error, "subscriptions not deleted");
    }
}

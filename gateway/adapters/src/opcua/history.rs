//! Values of the time without connection, from the server's history (part 11): oldest first, each point up to a bound.

use std::time::Duration;

use gateway_opcua::value;
use opcua::client::{HistoryReadAction, Session};
use opcua::types::{
    ByteString, DataValue, Error, HistoryData, HistoryReadValueId, NodeId, ReadRawModifiedDetails,
    StatusCode, TimestampsToReturn,
};
use tokio::time::Instant;

use super::limits::Limits;
use super::spec::Place;

/// Values of a point that are fetched at most; older ones are left.
const MOST: usize = 100_000;
/// Values of a point in one answer.
const PER_ANSWER: u32 = 10_000;
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Further back than this nothing is fetched, us.
const FURTHEST_US: i64 = 7 * 86_400_000_000;

/// A point with its node, and the time after which values are wanted.
pub(super) type Wanted = (Place, NodeId, i64);

/// What was found of one point, and whether that is all.
pub(super) struct Found {
    pub(super) at: Place,
    pub(super) values: Vec<DataValue>,
    pub(super) whole: bool,
}

/// Fetches what was missed until `now_us`.
///
/// # Errors
/// When the connection is lost, or the server has no history at all.
pub(super) async fn fetch(
    session: &Session,
    limits: Limits,
    wanted: Vec<Wanted>,
    now_us: i64,
) -> Result<Vec<Found>, Error> {
    let until = Instant::now() + LIMIT;
    let mut all = Vec::new();
    // Points that were heard last at nearly the same time are asked together.
    for chunk in wanted.chunks(limits.history) {
        let since_us = chunk.iter().map(|(_, _, since)| *since).min().unwrap_or(now_us);
        let since_us = since_us.max(now_us.saturating_sub(FURTHEST_US));
        let mut open: Vec<(Place, NodeId, ByteString)> =
            chunk.iter().map(|(at, node, _)| (*at, node.clone(), ByteString::null())).collect();
        let mut found: Vec<Found> =
            chunk.iter().map(|(at, ..)| Found { at: *at, values: Vec::new(), whole: false }).collect();
        while !open.is_empty() && Instant::now() < until {
            let details = ReadRawModifiedDetails {
                is_read_modified: false,
                start_time: value::time(since_us.saturating_add(1)),
                end_time: value::time(now_us),
                num_values_per_node: PER_ANSWER,
                return_bounds: false,
            };
            let asked: Vec<HistoryReadValueId> =
                open.iter().map(|(_, node, point)| asked(node, point)).collect();
            let action = HistoryReadAction::ReadRawModifiedDetails(details);
            let results = session.history_read(action, TimestampsToReturn::Both, false, &asked).await?;
            let mut left = Vec::new();
            for ((at, node, _), result) in open.into_iter().zip(results) {
                let Some(own) = found.iter_mut().find(|f| f.at == at) else { continue };
                if result.status_code.is_bad() {
                    tracing::debug!(%node, status = %result.status_code, "no history");
                    continue;
                }
                if let Some(data) = result.history_data.into_inner_as::<HistoryData>() {
                    own.values.extend(data.data_values.unwrap_or_default());
                }
                if result.continuation_point.is_null_or_empty() {
                    own.whole = true;
                } else if own.values.len() < MOST {
                    left.push((at, node, result.continuation_point));
                }
            }
            open = left;
        }
        for (at, _, since) in chunk {
            if let Some(own) = found.iter_mut().find(|f| f.at == *at) {
                own.values.retain(|v| stamp(v).is_some_and(|us| us > *since && us <= now_us));
                own.values.sort_by_key(stamp);
            }
        }
        all.extend(found);
    }
    Ok(all)
}

fn asked(node: &NodeId, point: &ByteString) -> HistoryReadValueId {
    HistoryReadValueId {
        node_id: node.clone(),
        continuation_point: point.clone(),
        ..HistoryReadValueId::default()
    }
}

/// When the source took a value.
pub(super) fn stamp(value: &DataValue) -> Option<i64> {
    value::micros(value.source_timestamp.as_ref()?)
}

/// Whether an error means that the server has no history to give, which is no fault.
pub(super) fn is_none(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadHistoryOperationUnsupported
            | StatusCode::BadHistoryOperationInvalid
            | StatusCode::BadServiceUnsupported
            | StatusCode::BadNotSupported
            | StatusCode::BadNotImplemented
    )
}

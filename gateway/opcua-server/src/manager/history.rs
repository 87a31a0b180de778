//! HistoryRead of raw values from the buffer (part 11, 6.4.3): forwards from a start, or backwards from an end.

use common::{PointId, Sample};
use gateway_core::Keep;
use gateway_opcua::value::{micros, time};
use opcua::server::ContinuationPoint;
use opcua::server::node_manager::HistoryNode;
use opcua::types::{
    DataValue, HistoryData, NumericRange, ReadRawModifiedDetails, StatusCode, TimestampsToReturn,
};

use super::Shared;
use crate::space::{HISTORY_READ, Node, access_level};
use crate::watch::data_value;

/// Values in one answer.
const MOST_VALUES: usize = 10_000;

/// What is still to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from_us: i64,
    to_us: i64,
    forward: bool,
    /// Values at the first time that were given already.
    skip: usize,
    /// All that may still be given; none: any number.
    left: Option<usize>,
}

pub(super) async fn raw(
    shared: &Shared,
    details: &ReadRawModifiedDetails,
    nodes: &mut [&mut HistoryNode],
    timestamps: TimestampsToReturn,
) -> Result<(), StatusCode> {
    if details.is_read_modified {
        return Err(StatusCode::BadHistoryOperationUnsupported);
    }
    if matches!(timestamps, TimestampsToReturn::Neither | TimestampsToReturn::Invalid) {
        return Err(StatusCode::BadTimestampsToReturnInvalid);
    }
    let asked = span(details)?;
    // Bounds would go beyond a number that was asked for.
    let bounds = details.return_bounds && asked.left.is_none();
    let ends = micros(&details.start_time).zip(micros(&details.end_time)).filter(|(start, end)| start != end);
    for node in nodes {
        let space = shared.space();
        let Some(found) = space.find(node.node_id()) else {
            node.set_status(StatusCode::BadNodeIdUnknown);
            continue;
        };
        let number = match found {
            Node::Point(n) if space.schema(n).is_some_and(|s| access_level(s) & HISTORY_READ != 0) => n,
            _ => {
                node.set_status(StatusCode::BadHistoryOperationUnsupported);
                continue;
            }
        };
        if !matches!(node.index_range(), NumericRange::None) {
            node.set_status(StatusCode::BadIndexRangeInvalid);
            continue;
        }
        let span = node.continuation_point().and_then(|c| c.get::<Span>()).copied().unwrap_or(asked);
        let history = shared.parts.history.clone();
        let want = span.left.unwrap_or(MOST_VALUES).min(MOST_VALUES);
        let keep = if span.forward { Keep::Oldest } else { Keep::Newest };
        let read =
            move || history.samples(&[PointId(number)], span.from_us, span.to_us, want + span.skip + 1, keep);
        let Ok(_turn) = shared.readers.acquire().await else { return Err(StatusCode::BadShutdown) };
        let Ok(mut samples) = tokio::task::spawn_blocking(read).await else {
            node.set_status(StatusCode::BadUnexpectedError);
            continue;
        };
        if !span.forward {
            samples.reverse();
        }
        samples.drain(..span.skip.min(samples.len()));
        let next = rest(span, &samples, want);
        samples.truncate(want);
        let none = samples.is_empty();
        let is_first = node.continuation_point().is_none();
        let mut values: Vec<DataValue> = samples.iter().map(|s| told(s, timestamps)).collect();
        if let Some((start, end)) = ends.filter(|_| bounds) {
            // A value at the bound itself is its own bound.
            if is_first && samples.first().is_none_or(|s| s.source_us != start) {
                values.insert(0, bound(shared, number, start, span.forward, timestamps).await?);
            }
            if next.is_none() {
                values.push(bound(shared, number, end, !span.forward, timestamps).await?);
            }
        }
        node.set_result(HistoryData { data_values: Some(values) });
        node.set_next_continuation_point(next.map(|n| ContinuationPoint::new(Box::new(n))));
        node.set_status(if none && !bounds { StatusCode::GoodNoData } else { StatusCode::Good });
    }
    Ok(())
}

/// The value at a bound of the span, or the nearest beyond it (part 11, 6.4.3.2).
async fn bound(
    shared: &Shared,
    number: u32,
    at_us: i64,
    before: bool,
    timestamps: TimestampsToReturn,
) -> Result<DataValue, StatusCode> {
    let history = shared.parts.history.clone();
    let (from_us, to_us, keep) =
        if before { (i64::MIN, at_us, Keep::Newest) } else { (at_us, i64::MAX, Keep::Oldest) };
    let read = move || history.samples(&[PointId(number)], from_us, to_us, 1, keep);
    let found = tokio::task::spawn_blocking(read).await.map_err(|_| StatusCode::BadUnexpectedError)?;
    Ok(match found.first() {
        Some(sample) => told(sample, timestamps),
        None => DataValue {
            status: Some(StatusCode::BadBoundNotFound),
            source_timestamp: Some(time(at_us)),
            ..DataValue::null()
        },
    })
}

fn span(details: &ReadRawModifiedDetails) -> Result<Span, StatusCode> {
    let (start, end) = (micros(&details.start_time), micros(&details.end_time));
    let count = details.num_values_per_node as usize;
    let left = (count > 0).then_some(count);
    let made = |from_us, to_us, forward| Span { from_us, to_us, forward, skip: 0, left };
    // The time at the end is not part of it (part 11, 6.4.3.2); a single time is.
    Ok(match (start, end) {
        (Some(start), Some(end)) if start == end => made(start, end, true),
        (Some(start), Some(end)) if start < end => made(start, end - 1, true),
        (Some(start), Some(end)) => made(end + 1, start, false),
        (Some(start), None) if count > 0 => made(start, i64::MAX, true),
        (None, Some(end)) if count > 0 => made(i64::MIN, end, false),
        _ => return Err(StatusCode::BadHistoryOperationInvalid),
    })
}

/// What comes after `given` of `samples`, which are in the order of reading.
fn rest(span: Span, samples: &[Sample], given: usize) -> Option<Span> {
    let left = span.left.map(|n| n.saturating_sub(given));
    if samples.len() <= given || left == Some(0) {
        return None;
    }
    let next_us = samples.get(given)?.source_us;
    let same = samples.iter().take(given).rev().take_while(|s| s.source_us == next_us).count();
    // All of them have the time that reading began with: what was skipped before counts as well.
    let skip =
        if same == given && samples.first()?.source_us == first_us(span) { same + span.skip } else { same };
    let (from_us, to_us) = if span.forward { (next_us, span.to_us) } else { (span.from_us, next_us) };
    Some(Span { from_us, to_us, skip, left, ..span })
}

fn first_us(span: Span) -> i64 {
    if span.forward { span.from_us } else { span.to_us }
}

fn told(sample: &Sample, timestamps: TimestampsToReturn) -> DataValue {
    let value = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
    let data = data_value(sample, value, false);
    let source = matches!(timestamps, TimestampsToReturn::Source | TimestampsToReturn::Both);
    let server = matches!(timestamps, TimestampsToReturn::Server | TimestampsToReturn::Both);
    DataValue {
        source_timestamp: data.source_timestamp.filter(|_| source),
        server_timestamp: data.server_timestamp.filter(|_| server),
        ..data
    }
}

#[cfg(test)]
mod tests {
    use common::Quality;
    use proptest::prelude::*;

    use super::*;

    fn sample(n: usize, source_us: i64) -> Sample {
        let value = Some(common::Value::U64(n as u64));
        Sample { point: PointId(0), value, quality: Quality::GOOD, source_us, received_us: source_us }
    }

    /// Pages as a client asks for them.
    fn pages(all: &[Sample], mut span: Span, page: usize) -> Vec<Sample> {
        let mut out = Vec::new();
        loop {
            let mut found: Vec<_> =
                all.iter().filter(|s| (span.from_us..=span.to_us).contains(&s.source_us)).cloned().collect();
            if !span.forward {
                found.reverse();
            }
            found.truncate(page + span.skip + 1);
            found.drain(..span.skip.min(found.len()));
            let next = rest(span, &found, page);
            out.extend(found.into_iter().take(page));
            match next {
                Some(next) => span = next,
                None => return out,
            }
        }
    }

    proptest! {
        #[test]
        fn pages_together_are_all_values_once_in_order(
            times in prop::collection::vec(0i64..6, 0..40), page in 1usize..7, forward: bool,
        ) {
            let mut times = times;
            times.sort_unstable();
            let all: Vec<_> = times.iter().enumerate().map(|(n, t)| sample(n, *t)).collect();
            let span = Span { from_us: 0, to_us: 5, forward, skip: 0, left: None };
            let mut expected = all.clone();
            if !forward {
                expected.reverse();
            }
            prop_assert_eq!(pages(&all, span, page), expected);
        }
    }
}

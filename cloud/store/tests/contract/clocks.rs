//! Gateways whose clock is not synchronised at first: what they read finds its time, or is told as it is.

use std::sync::Arc;

use cloud_core::{NewFrame, Storage};
use cloud_store::{Keep, Options, Retention};
use common::api::{GapReason, Resolution};
use common::command::Severity;
use common::wire::Body;
use common::{Clock, Quality, Sample, Value};

use super::Backend;
use super::fixtures::*;

const DAY: i64 = 86_400 * SECOND;

/// A frame that was cut when the gateway had run for so many seconds, by a clock that stood at `clock` when it began. Its
/// sample was stamped a second before, by the gateway.
fn frame(s: &Stream, clock: i64, after: i64, synchronised: bool) -> NewFrame {
    let at = clock + (after - 1) * SECOND;
    let quality = if synchronised { Quality::GOOD } else { Quality::UNCERTAIN_TIME };
    let value = Some(Value::F64(after as f64));
    let own = Sample { value, quality, received_us: at, ..sample(0, at, 0.0) };
    // And one of a device with a clock of its own.
    let device = Sample { received_us: at, ..sample(1, T0 + after, after) };
    let mut new = s.frame(u64::try_from(after).unwrap(), Body::Samples(vec![own, device]));
    let mut frame = (*new.frame).clone();
    frame.header.cut_us = clock + after * SECOND;
    frame.header.cut_mono_us = u64::try_from(after * SECOND).unwrap();
    frame.header.synchronised = synchronised;
    new.bytes = frame.encode().into();
    new.frame = Arc::new(frame);
    new
}

/// Times of the first point's samples, counted from `zero` in seconds, with their qualities.
async fn times(storage: &Arc<dyn Storage>, zero: i64) -> Vec<(i64, Quality)> {
    let page = storage.samples(twin(1), "temp", zero - DAY, zero + DAY, 1000).await.unwrap();
    page.rows.iter().map(|p| ((p.t_us - zero) / SECOND, p.quality)).collect()
}

pub(crate) async fn samples_of_a_clock_that_was_never_set_find_their_time(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let early = |after| frame(&s, 0, after, false);
    // Started at T0; its clock says 1970. Two come as they are read.
    storage.accept(&[early(1), early(2)]).await.unwrap();
    storage.compact(100).await.unwrap();
    let unknown = [(0, Quality::UNCERTAIN_TIME), (1, Quality::UNCERTAIN_TIME)];
    assert_eq!(times(&storage, 0).await, unknown);
    let history = storage.history(twin(1), "temp", 0, 10 * SECOND, 100).await.unwrap();
    assert!(history.gaps.iter().any(|g| g.cause == GapReason::ClockUnsynchronised), "{:?}", history.gaps);
    // The cloud starts anew, the clock is set, and a backlog of before comes after that.
    drop(storage);
    let storage = backend.open();
    storage.accept(&[frame(&s, T0, 5, true), early(3)]).await.unwrap();
    storage.accept(&[early(4), early(2)]).await.unwrap();
    let good: Vec<_> = (0..5).map(|n| (n, Quality::GOOD)).collect();
    assert_eq!(times(&storage, T0).await, good[2..], "what came later, at once");
    compact_all(&storage).await;
    assert_eq!(times(&storage, T0).await, good, "what came earlier, with the next compaction");
    assert_eq!(times(&storage, 0).await, []);
    let device = storage.samples(twin(1), "count", T0, T0 + DAY, 100).await.unwrap().rows;
    let device: Vec<_> = device.iter().map(|p| (p.t_us - T0, p.quality)).collect();
    assert_eq!(device, (1..=5).map(|n| (n, Quality::GOOD)).collect::<Vec<_>>(), "as they were");
    drop(storage);
    let storage = backend.open();
    assert_eq!(times(&storage, T0).await, good);
    assert_eq!(storage.accept(&[early(1), early(4)]).await.unwrap(), [false, false]);
    compact_all(&storage).await;
    assert_eq!(times(&storage, T0).await, good, "each once");
}

pub(crate) async fn what_never_finds_its_time_is_kept_from_its_arrival_on(backend: &impl Backend) {
    let keep = Keep { raw_days: Some(3), rollup_days: Some(3) };
    let days = |after: i64| {
        move |place| {
            let retention = Retention { others: keep, ..Retention::default() };
            (Options { chunk_rows: 4, retention, ..Options::at(place) }, Clock::simulated(T0 + after * DAY))
        }
    };
    let storage = backend.open_with(days(0));
    let s = oven(&storage).await;
    let frames: Vec<_> = (1..=10).map(|after| frame(&s, 0, after, false)).collect();
    storage.accept(&frames).await.unwrap();
    compact_all(&storage).await;
    // They would wait for their time. Who deletes what a device told makes chunks of all of them.
    assert_eq!(storage.uncompacted(None, 100).await.unwrap().len(), 10);
    let audit = entry(T0, "history.delete", None, Severity::Info);
    storage.delete_history(twin(1), "count", T0, T0 + DAY, &audit).await.unwrap();
    assert_eq!(storage.uncompacted(None, 100).await.unwrap().len(), 0);
    let count = async |storage: &Arc<dyn Storage>| {
        let h = storage.history(twin(1), "temp", 0, 20 * SECOND, 1000).await.unwrap();
        let causes: Vec<_> = h.gaps.iter().map(|g| g.cause).collect();
        (h.resolution == Resolution::Raw, h.points.iter().map(|p| p.count).sum::<u64>(), causes)
    };
    drop(storage);
    let storage = backend.open_with(days(2));
    compact_all(&storage).await;
    let (is_raw, n, _) = count(&storage).await;
    assert_eq!((is_raw, n), (true, 10), "they came two days ago");
    drop(storage);
    let storage = backend.open_with(days(4));
    compact_all(&storage).await;
    let (_, n, causes) = count(&storage).await;
    assert_eq!(n, 0, "and go when they came four days ago");
    assert!(causes.contains(&GapReason::Retention), "which is told: {causes:?}");
}

//! History: what fits is raw, what does not is rolled up; nothing twice, nothing missing.

use std::sync::Arc;

use cloud_core::{Storage, StoreError};
use common::api::{GapReason, Resolution};
use common::wire::{Body, Gap, GapCause};
use common::{Quality, Sample, Value};

use super::Backend;
use super::fixtures::*;

pub(crate) async fn what_fits_is_raw_and_what_does_not_is_rolled_up(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    // Ten samples a second for a hundred seconds.
    for seq in 0..100u32 {
        let rows = (0..10u32).map(|i| {
            let n = seq * 10 + i;
            sample(0, T0 + i64::from(n) * 100_000, f64::from(n))
        });
        storage.accept(&[s.samples(u64::from(seq) + 1, rows.collect())]).await.unwrap();
        if seq % 7 == 0 {
            storage.compact(5).await.unwrap();
        }
    }
    let end = T0 + 100 * SECOND;
    let h = storage.history(twin(1), "temp", T0, end, 1000).await.unwrap();
    assert_eq!((h.resolution, h.points.len()), (Resolution::Raw, 1000));
    let h = storage.history(twin(1), "temp", T0, end, 999).await.unwrap();
    assert_eq!(h.resolution, Resolution::Rollup { bucket_us: 200_000 });
    assert_eq!(h.points.len(), 500);
    let h = storage.history(twin(1), "temp", i64::MIN, i64::MAX, 100).await.unwrap();
    assert_eq!(h.resolution, Resolution::Rollup { bucket_us: SECOND });
    let p = &h.points[1];
    assert_eq!((p.t_us, p.count, p.good), (T0 + SECOND, 10, 10));
    assert_eq!(
        (p.min, p.max, p.mean, &p.value),
        (Some(10.0), Some(19.0), Some(14.5), &Some(Value::F64(19.0)))
    );
    let h = storage.history(twin(1), "temp", T0, end, 0).await.unwrap();
    assert_eq!((h.points.len(), h.points[0].count), (1, 1000));
    assert!(storage.history(twin(1), "temp", end, T0, 10).await.unwrap().points.is_empty());
    assert!(storage.history(twin(1), "nothing", T0, end, 10).await.unwrap().points.is_empty());
    let unknown = storage.history(twin(77), "temp", T0, end, 10).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn only_good_numbers_are_in_the_aggregates(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let with = |mut x: Sample, quality| {
        x.quality = quality;
        x
    };
    let rows = vec![
        sample(0, T0, 5.0),
        with(sample(0, T0 + 1, 900.0), Quality::UNCERTAIN_RANGE),
        Sample::bad(common::PointId(0), Quality::BAD_TIMEOUT, T0 + 2),
        sample(0, T0 + 3, f64::NAN),
        sample(0, T0 + 4, 7.0),
        sample(3, T0, "a"),
        sample(3, T0 + 1, "b"),
        sample(2, T0, false),
        sample(2, T0 + 1, true),
    ];
    storage.accept(&[s.samples(1, rows)]).await.unwrap();
    for _ in 0..2 {
        let h = storage.history(twin(1), "temp", T0, T0 + 5, 1).await.unwrap();
        let p = &h.points[0];
        assert_eq!((p.count, p.good, p.quality), (5, 3, Quality::BAD_TIMEOUT));
        assert_eq!((p.min, p.max, p.mean), (Some(5.0), Some(7.0), Some(6.0)));
        assert_eq!(p.value, Some(Value::F64(7.0)));
        let h = storage.history(twin(1), "text", T0, T0 + 5, 1).await.unwrap();
        assert_eq!((h.points[0].min, h.points[0].count), (None, 2));
        assert_eq!(h.points[0].value, Some("b".into()));
        let h = storage.history(twin(1), "on", T0, T0 + 5, 1).await.unwrap();
        assert_eq!((h.points[0].mean, &h.points[0].value), (Some(0.5), &Some(Value::Bool(true))));
        compact_all(&storage).await;
    }
}

pub(crate) async fn a_reader_beside_accepting_and_compacting_sees_each_sample_once(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let frames = 400u32;
    let compacting = {
        let storage: Arc<dyn Storage> = Arc::clone(&storage);
        tokio::spawn(async move {
            let mut done = 0;
            while done < frames as usize {
                done += storage.compact(3).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let reading = {
        let storage: Arc<dyn Storage> = Arc::clone(&storage);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < frames as usize {
                let h = storage.history(twin(1), "temp", T0, T0 + i64::from(frames), 1000).await.unwrap();
                let times: Vec<_> = h.points.iter().map(|p| p.t_us - T0).collect();
                let whole: Vec<_> = (0..).take(times.len()).collect();
                assert_eq!(times, whole, "each once and none missing");
                assert!(times.len() >= seen, "{} after {seen}", times.len());
                seen = times.len();
                let rolled = storage.history(twin(1), "temp", T0, T0 + i64::from(frames), 1).await.unwrap();
                let count = rolled.points.first().map_or(0, |p| p.count);
                assert!(usize::try_from(count).unwrap() >= seen, "{count} after {seen}");
            }
        })
    };
    for n in 0..frames {
        let row = sample(0, T0 + i64::from(n), f64::from(n));
        storage.accept(&[s.samples(u64::from(n) + 1, vec![row])]).await.unwrap();
    }
    let both = async { tokio::try_join!(compacting, reading) };
    tokio::time::timeout(std::time::Duration::from_secs(60), both).await.unwrap().unwrap();
}

fn brief(h: &cloud_core::storage::History) -> Vec<(i64, i64, GapReason, Option<u64>)> {
    let second = |t: i64| (t - T0) / SECOND;
    h.gaps.iter().map(|g| (second(g.from_us), second(g.to_us), g.cause, g.count)).collect()
}

pub(crate) async fn holes_in_a_stream_and_what_gateways_told_are_gaps(backend: &impl Backend) {
    let storage = backend.open();
    let first = oven(&storage).await;
    let at = |s: &Stream, seq, second: i64| {
        let t = T0 + second * SECOND;
        cut(s, seq, t, Body::Samples(vec![sample(0, t, 1.5)]))
    };
    let lost = |s: &Stream, seqs, times_us| Gap {
        incarnation: Some(s.incarnation),
        seqs: Some(seqs),
        times_us,
        samples: 40,
        ..Gap::new(GapCause::Quota)
    };
    let frames: Vec<_> =
        [(1, 0), (2, 10), (6, 50), (9, 80)].iter().map(|(n, t)| at(&first, *n, *t)).collect();
    storage.accept(&frames).await.unwrap();
    let history = async |storage: &Arc<dyn Storage>, point: &str| {
        storage.history(twin(1), point, T0, T0 + 1000 * SECOND, 1000).await.unwrap()
    };
    let h = history(&storage, "temp").await;
    assert_eq!(h.heard_us, Some(T0 + 80 * SECOND));
    assert_eq!(brief(&h), [(10, 50, GapReason::Awaited, None), (50, 80, GapReason::Awaited, None)]);
    // Another boot, which tells what became of one of them; what stands between the boots is missing too.
    let s = Stream { ..Stream::start(&storage, (*first.schema).clone(), 12).await };
    let told = Body::Gap(lost(&first, (3, 5), Some((T0 + 12 * SECOND, T0 + 49 * SECOND - 1))));
    let overrun = Gap { samples: 3, ..Gap::new(GapCause::Overrun) };
    let frames = [
        at(&s, 1, 200),
        cut(&s, 2, T0 + 201 * SECOND, told),
        at(&s, 3, 210),
        cut(&s, 4, T0 + 215 * SECOND, Body::Gap(overrun)),
        // Late, and in the middle: it closes a part of a hole.
        at(&first, 8, 70),
    ];
    assert_eq!(storage.accept(&frames).await.unwrap(), [true; 5]);
    assert_eq!(storage.accept(&frames).await.unwrap(), [false; 5]);
    let expected = [
        (12, 49, GapReason::Quota, Some(40)),
        (50, 70, GapReason::Awaited, None),
        (80, 200, GapReason::GatewayDown, None),
        (210, 215, GapReason::Overrun, Some(3)),
    ];
    for point in ["temp", "nothing"] {
        assert_eq!(brief(&history(&storage, point).await), expected, "{point}");
    }
    compact_all(&storage).await;
    drop(storage);
    let storage = backend.open();
    assert_eq!(brief(&history(&storage, "temp").await), expected, "durable, and after compaction");
    let part = storage.history(twin(1), "temp", T0 + 60 * SECOND, T0 + 90 * SECOND, 10).await.unwrap();
    assert_eq!(brief(&part), [(60, 70, GapReason::Awaited, None), (80, 90, GapReason::GatewayDown, None)]);
    // The rest comes: nothing is missing of that boot but what was told.
    storage.accept(&[at(&first, 7, 60)]).await.unwrap();
    assert_eq!(brief(&history(&storage, "temp").await)[..2], [expected[0], expected[2]]);
    // Another gateway's holes are not this twin's.
    let other = Stream::start(&storage, schema(&key("g2"), &[("press", twin(2))]), 21).await;
    storage.accept(&[at(&other, 1, 0), at(&other, 5, 90)]).await.unwrap();
    assert_eq!(brief(&history(&storage, "temp").await).len(), 3);
    let press = storage.history(twin(2), "temp", T0, T0 + 1000 * SECOND, 1000).await.unwrap();
    assert_eq!(brief(&press), [(0, 90, GapReason::Awaited, None)]);
}

/// A box that goes on and off, with holes within its runs: of a part of the time only a part of the streams is read.
pub(crate) async fn gaps_of_a_part_are_those_of_the_whole(backend: &impl Backend) {
    let storage = backend.open();
    let mut frames = Vec::new();
    for boot in 0..70i64 {
        let s = Stream::start(
            &storage,
            schema(&key("g1"), &[("oven", twin(1))]),
            1_000 + boot.unsigned_abs() as u128,
        )
        .await;
        // Another gateway's incarnations lie between.
        if boot % 3 == 0 {
            let other = schema(&key("g2"), &[("press", twin(2))]);
            Stream::start(&storage, other, 5_000 + boot.unsigned_abs() as u128).await;
        }
        if boot % 10 == 9 {
            continue; // it never sent anything
        }
        for (seq, second) in [(1, 0), (2, 5), (4, 20), (7, 40)] {
            let t = T0 + (boot * 100 + second) * SECOND;
            frames.push(cut(&s, seq, t, Body::Samples(vec![sample(0, t, 1.5)])));
        }
        let times_us =
            (boot % 7 == 3).then_some((T0 + boot * 100 * SECOND, T0 + (boot * 100 + 3) * SECOND - 1));
        let gap = Gap { seqs: Some((5, 6)), times_us, samples: 2, ..Gap::new(GapCause::Quota) };
        if boot % 2 == 0 {
            frames.push(cut(&s, 8, T0 + (boot * 100 + 41) * SECOND, Body::Gap(gap)));
        }
    }
    storage.accept(&frames).await.unwrap();
    let all = (T0 - 1000 * SECOND, T0 + 9000 * SECOND);
    let whole = storage.history(twin(1), "nothing", all.0, all.1, 10).await.unwrap();
    assert!(whole.gaps.len() > 150, "{}", whole.gaps.len());
    assert_eq!(whole.heard_us, Some(T0 + (68 * 100 + 41) * SECOND));
    for (from, to) in [
        (0, 1),
        (-500, -400),
        (18, 22),
        (650, 760),
        (1_000, 5_000),
        (2_005, 2_006),
        (3_395, 3_399),
        (4_342, 4_404),
        (6_870, 6_999),
        (8_000, 8_001),
        (3_310, 3_345),
        (5_855, 6_044),
    ] {
        let (from, to) = (T0 + from * SECOND, T0 + to * SECOND);
        let part = storage.history(twin(1), "nothing", from, to, 10).await.unwrap();
        assert_eq!(part.gaps, common::gaps::merge(whole.gaps.clone(), from, to, 0), "{from} to {to}");
        assert_eq!(part.heard_us, whole.heard_us);
    }
}

pub(crate) async fn bad_samples_are_gaps_until_the_next_one(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let bad = |t: i64| Sample::bad(common::PointId(0), Quality::BAD_TIMEOUT, T0 + t * SECOND);
    let good = |t: i64| sample(0, T0 + t * SECOND, 1.0);
    storage.accept(&[s.samples(1, vec![good(0), bad(10), bad(20), good(30), bad(50)])]).await.unwrap();
    for _ in 0..2 {
        let h = storage.history(twin(1), "temp", T0, T0 + 60 * SECOND, 100).await.unwrap();
        let expected = [(10, 30, GapReason::BadQuality, Some(2)), (50, 60, GapReason::BadQuality, Some(1))];
        assert_eq!(brief(&h), expected);
        assert_eq!(h.gaps[0].quality, Some(Quality::BAD_TIMEOUT));
        // The range begins within one.
        let h = storage.history(twin(1), "temp", T0 + 25 * SECOND, T0 + 60 * SECOND, 100).await.unwrap();
        assert_eq!(brief(&h)[0], (25, 30, GapReason::BadQuality, None));
        compact_all(&storage).await;
    }
}

/// Who reports by exception says once that it is bad, and nothing more until it is good again.
pub(crate) async fn an_outage_that_was_told_once_is_a_gap_in_roll_ups_too(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let good = |second: i64| sample(0, T0 + second * SECOND, 1.0);
    let mut rows: Vec<Sample> = (0..45).map(good).collect();
    rows.push(Sample::bad(common::PointId(0), Quality::BAD_DEVICE, T0 + 45 * SECOND));
    rows.extend((1000..1040).map(good));
    storage.accept(&[s.samples(1, rows)]).await.unwrap();
    for what in ["waiting", "compacted"] {
        for max in [2, 20, 60] {
            let h = storage.history(twin(1), "temp", T0, T0 + 1100 * SECOND, max).await.unwrap();
            let bucket_us = match h.resolution {
                Resolution::Rollup { bucket_us } => bucket_us,
                Resolution::Raw => 0,
            };
            assert!(bucket_us > 0);
            let bad: Vec<_> = h.gaps.iter().filter(|g| g.cause == GapReason::BadQuality).collect();
            // To the resolution of the rows: from the bucket that ends bad to the one that has samples again.
            let at = |t: i64| T0 + (t - T0).div_euclid(bucket_us) * bucket_us;
            let (from, to) = (at(T0 + 45 * SECOND), at(T0 + 1000 * SECOND));
            assert_eq!(bad.first().map(|g| (g.from_us, g.partial)), Some((from, true)), "{what}, {max}");
            if to > from + bucket_us {
                let whole = bad.iter().find(|g| !g.partial).map(|g| (g.from_us, g.to_us, g.quality));
                let expected = (from + bucket_us, to, Some(Quality::BAD_DEVICE));
                assert_eq!(whole, Some(expected), "{what}, {max}: {bad:?}");
            }
        }
        compact_all(&storage).await;
    }
}

/// A text may be 200 KiB: thousands of them are no chunk, and no answer.
pub(crate) async fn large_texts_are_kept_and_answers_of_them_are_bounded(backend: &impl Backend) {
    let storage = backend.open_with(|place| {
        let (options, clock) = super::small(place);
        (cloud_store::Options { chunk_rows: 4096, merge_chunks: 8, ..options }, clock)
    });
    let s = oven(&storage).await;
    let text = |n: i64| {
        // Nothing repeats, or it would be packed.
        let mut x = n.unsigned_abs() + 1;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + u8::try_from((x >> 40) % 90).unwrap())
        };
        (0..150_000).map(|_| next()).collect::<String>()
    };
    let count = 160i64;
    for n in 0..count {
        let row = sample(3, T0 + n * SECOND, text(n).as_str());
        storage.accept(&[s.samples(n.unsigned_abs() + 1, vec![row])]).await.unwrap();
        if n % 20 == 19 {
            compact_all(&storage).await;
        }
    }
    let most = 17 << 20;
    let size = |v: &Option<Value>| match v {
        Some(Value::Text(text)) => text.len(),
        _ => 0,
    };
    let end = T0 + count * SECOND;
    for max in [1, 50, 1000] {
        let h = storage.history(twin(1), "text", T0, end, max).await.unwrap();
        assert!(matches!(h.resolution, Resolution::Rollup { .. }), "as they are they are 24 MB");
        assert_eq!(h.points.iter().map(|p| p.count).sum::<u64>(), count.unsigned_abs());
        let bytes: usize = h.points.iter().map(|p| size(&p.value) + size(&p.first)).sum();
        assert!(bytes < most, "{bytes}");
        assert_eq!(h.points.last().unwrap().value, Some(text(count - 1).as_str().into()));
    }
    let few = storage.history(twin(1), "text", T0 + 3 * SECOND, T0 + 9 * SECOND, 1000).await.unwrap();
    assert_eq!((few.resolution, few.points.len()), (Resolution::Raw, 6));
    let (mut all, mut next, mut pages) = (Vec::new(), Some(T0), 0);
    while let Some(from) = next {
        let page = storage.samples(twin(1), "text", from, end, 10_000).await.unwrap();
        let bytes: usize = page.rows.iter().map(|r| size(&r.value)).sum();
        assert!(bytes < most + (8 << 20), "{bytes}: a page and what one chunk has");
        all.extend(page.rows.into_iter().map(|r| (r.t_us, r.value)));
        (next, pages) = (page.next_us, pages + 1);
    }
    assert!(pages > 1);
    let expected = (0..count).map(|n| (T0 + n * SECOND, Some(text(n).as_str().into())));
    assert!(all.into_iter().eq(expected));
    let points = [cloud_core::history::AlignedPoint { twin: twin(1), point: "text".into(), online: true }];
    let aligned = async |seconds| {
        let grid = cloud_core::align::Grid::within(T0, T0 + seconds * SECOND, SECOND);
        let method = common::api::Interpolation::Previous;
        storage.aligned(&points, grid, method, i64::MAX).await.map(|c| c[0].values.len())
    };
    assert_eq!(aligned(20).await.unwrap(), 20);
    assert!(matches!(aligned(count).await, Err(StoreError::TooLarge { .. })));
}

//! Retention: samples beyond their time go and their roll-ups stay, then these go as well; each class of points has its time.

use cloud_core::history::Spans;
use cloud_store::{Class, Keep, Options, Place, Retention};
use common::Clock;
use common::api::{GapReason, Resolution};

use super::Backend;
use super::fixtures::*;

const DAY: i64 = 86_400 * SECOND;

/// Ten days after the fixtures' time.
fn later(place: Place, chunk_rows: usize, retention: Retention) -> (Options, Clock) {
    (Options { chunk_rows, retention, ..Options::at(place) }, Clock::simulated(T0 + 10 * DAY))
}

pub(crate) async fn samples_beyond_their_time_go_and_their_roll_ups_stay(backend: &impl Backend) {
    let storage = backend.open_with(|place| later(place, 100, Retention::default()));
    let s = oven(&storage).await;
    // Ten days of one sample a minute.
    for hour in 0..240u32 {
        let rows = (0..60i64).map(|m| {
            let t = T0 + i64::from(hour) * 3600 * SECOND + m * 60 * SECOND;
            sample(0, t, f64::from(hour))
        });
        storage.accept(&[s.samples(u64::from(hour) + 1, rows.collect())]).await.unwrap();
        storage.compact(10).await.unwrap();
    }
    let all = 240 * 60;
    let whole = storage.history(twin(1), "temp", T0, T0 + 10 * DAY, 100_000).await.unwrap();
    assert_eq!((whole.resolution, whole.points.len()), (Resolution::Raw, all));
    let before = storage.history(twin(1), "temp", T0, T0 + 10 * DAY, 240).await.unwrap();
    let spans = |starts_us| Spans {
        from_us: T0,
        to_us: T0 + 10 * DAY,
        starts_us,
        width_us: 3600 * SECOND,
        now_us: i64::MAX,
        online: true,
    };
    let hours: Vec<i64> = (0..240).map(|hour| T0 + hour * 3600 * SECOND).collect();
    let times = storage.durations(twin(1), "temp", spans(hours.clone())).await.unwrap();
    assert_eq!((times.total.good_us, times.rows[100].times.good_us), (10 * DAY, 3600 * SECOND));
    drop(storage);

    let others = Keep { raw_days: Some(3), rollup_days: None };
    let storage =
        backend.open_with(move |place| later(place, 100, Retention { others, ..Retention::default() }));
    storage.compact(10).await.unwrap();
    let after = storage.history(twin(1), "temp", T0, T0 + 10 * DAY, 240).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(storage.durations(twin(1), "temp", spans(hours)).await.unwrap(), times);
    // What lies within roll-ups whose samples are gone is not made up.
    let part = Spans { from_us: T0 + 3 * SECOND, to_us: T0 + 30 * 60 * SECOND + 5, ..spans(vec![]) };
    let part = storage.durations(twin(1), "temp", part).await.unwrap().total;
    let known = part.good_us + part.unsettled_us + part.nothing_us;
    assert!(part.unsettled_us > 0 && known == 30 * 60 * SECOND + 5 - 3 * SECOND, "{part:?}");
    let fine = storage.history(twin(1), "temp", T0, T0 + DAY, 100_000).await.unwrap();
    assert!(matches!(fine.resolution, Resolution::Rollup { .. }), "{:?}", fine.resolution);
    assert_eq!(fine.points.iter().map(|p| p.count).sum::<u64>(), 24 * 60);
    let young = storage.history(twin(1), "temp", T0 + 8 * DAY, T0 + 10 * DAY, 100_000).await.unwrap();
    assert_eq!((young.resolution, young.points.len()), (Resolution::Raw, 2 * 24 * 60));
    let (mut left, mut next) = (0, Some(T0));
    while let Some(from) = next {
        let page = storage.samples(twin(1), "temp", from, T0 + 10 * DAY, 1000).await.unwrap();
        left += page.rows.len();
        next = page.next_us;
    }
    assert!((3 * 24 * 60..4 * 24 * 60 + 200).contains(&left), "{left}");
}

pub(crate) async fn each_class_of_points_has_its_own_time(backend: &impl Backend) {
    let storage = backend.open_with(|place| later(place, 50, Retention::default()));
    let s = oven(&storage).await;
    // Ten days of a sample every ten minutes, of two points.
    for hour in 0..240i64 {
        let rows = (0..6i64).flat_map(|n| {
            let t = T0 + hour * 3600 * SECOND + n * 600 * SECOND;
            [sample(0, t, 1.0), sample(1, t, n)]
        });
        storage.accept(&[s.samples(u64::try_from(hour).unwrap() + 1, rows.collect())]).await.unwrap();
        storage.compact(10).await.unwrap();
    }
    drop(storage);
    let keep = |raw, rollup| Keep { raw_days: Some(raw), rollup_days: Some(rollup) };
    let classes = vec![Class { points: vec!["**/oven/temp".into()], keep: keep(2, 5) }];
    let retention = Retention { classes, others: Keep::default() };
    let storage = backend.open_with(|place| later(place, 50, retention));
    storage.compact(10).await.unwrap();
    let count = async |point: &str, from: i64, to: i64, max: usize| {
        let h = storage.history(twin(1), point, T0 + from * DAY, T0 + to * DAY, max).await.unwrap();
        (h.resolution == Resolution::Raw, h.points.iter().map(|p| p.count).sum::<u64>())
    };
    assert_eq!(count("count", 0, 10, 100_000).await, (true, 1440), "of no class: all is kept");
    assert_eq!(count("temp", 9, 10, 100_000).await, (true, 144));
    let (is_raw, n) = count("temp", 6, 7, 100_000).await;
    assert!(!is_raw && (144..200).contains(&n), "its roll-ups are kept: {n}");
    assert_eq!(count("temp", 0, 4, 100_000).await.1, 0, "nothing is kept for ever");
    let gone = storage.history(twin(1), "temp", T0, T0 + 4 * DAY, 100).await.unwrap().gaps;
    let told: Vec<_> = gone.iter().map(|g| (g.from_us, g.to_us, g.cause)).collect();
    assert_eq!(told, [(T0, T0 + 4 * DAY, GapReason::Retention)]);
    assert!(storage.history(twin(1), "count", T0, T0 + 4 * DAY, 100).await.unwrap().gaps.is_empty());
    assert!(
        storage.history(twin(1), "temp", T0 + 9 * DAY, T0 + 10 * DAY, 100).await.unwrap().gaps.is_empty()
    );
    // The same from afar, but for the bucket of a day that the oldest lies in: it goes with the last of its chunk.
    let (fine, coarse) = (count("temp", 4, 10, 100_000).await.1, count("temp", 0, 10, 3).await.1);
    assert!((fine..fine + 144).contains(&coarse), "{fine} and {coarse}");
}

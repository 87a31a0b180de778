//! The oracle: outside both processes, it reads what the gateway says is durable (`/api/v1/watermark`, as it
//! says so) and compares with what the cloud's history holds. Samples are numbered by their source time
//! (see `field::numbered_sensor`), so each can be told from every other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use common::api::Resolution;
use reqwest::Method;
use serde::Deserialize;

use crate::Api;

/// One line of the gateway's watermark.
#[derive(Debug, Clone, Deserialize)]
pub struct WatermarkLine {
    /// Incarnation, as hex.
    pub incarnation: String,
    /// All frames up to this are durable.
    pub seq: u64,
    /// By `device/point`, for points of which more became durable since the line before.
    pub points: BTreeMap<String, DurablePoint>,
}

/// What is durable of a point in this incarnation.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct DurablePoint {
    /// How many samples.
    pub samples: u64,
    /// Source time of the first, UTC us.
    pub first_us: i64,
    /// Source time of the last, UTC us.
    pub last_us: i64,
}

/// What is known to be durable at the gateway.
#[derive(Debug, Clone)]
pub struct Oracle {
    points: u64,
    base_us: i64,
    durable: Arc<Mutex<Durable>>,
}

#[derive(Debug, Default)]
struct Durable {
    /// Numbers by point.
    numbers: BTreeMap<u64, BTreeSet<u64>>,
    /// Last number by incarnation and point.
    upto: BTreeMap<(String, u64), u64>,
}

/// What the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Samples that the gateway said were durable.
    pub durable: u64,
    /// Of these, how many the cloud does not have.
    pub lost: u64,
    /// Samples that the cloud has more than once.
    pub doubled: u64,
    /// Samples that the cloud has with a value that is not theirs.
    pub changed: u64,
    /// Samples that the cloud has in all.
    pub stored: u64,
}

impl Oracle {
    /// For a sensor of `points` points and numbers from `base_us`.
    pub fn new(points: u64, base_us: i64) -> Self {
        Self { points, base_us, durable: Arc::default() }
    }

    /// How many samples are known to be durable.
    pub fn durable(&self) -> u64 {
        let durable = self.durable.lock().expect("no panic holds it");
        durable.numbers.values().map(|n| n.len() as u64).sum()
    }

    /// Reads a gateway's watermark until it ends (with the gateway).
    pub async fn watch(&self, api: Api) {
        let answer = api.request(Method::GET, "/api/v1/watermark").send().await.expect("the watermark");
        assert!(answer.status().is_success(), "{}", answer.status());
        let mut answer = answer;
        let mut pending = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line: WatermarkLine = serde_json::from_slice(&line).expect("a line of the watermark");
                self.take(&line);
            }
        }
    }

    /// Takes note of a line.
    fn take(&self, line: &WatermarkLine) {
        let mut durable = self.durable.lock().expect("no panic holds it");
        for (path, of) in &line.points {
            let Some(point) = path.strip_prefix("load/p").and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            let number = |us: i64| u64::try_from(us - self.base_us).expect("numbers count from the base");
            let (first, last) = (number(of.first_us), number(of.last_us));
            // The sensor sends each point's numbers in order: what the gateway took must be without a hole.
            assert_eq!(
                (last - first) / self.points + 1,
                of.samples,
                "{path}: {of:?} in a line of {}",
                line.seq
            );
            let step = usize::try_from(self.points).expect("few points");
            let known = durable.upto.insert((line.incarnation.clone(), point), last);
            let from = known.map_or(first, |known| known + self.points);
            durable.numbers.entry(point).or_default().extend((from..=last).step_by(step));
        }
    }

    /// Compares with the cloud's history. `value` gives the value of a number.
    pub async fn compare(&self, cloud: &Api, twin: &str, value: impl Fn(u64) -> f64) -> Verdict {
        let mut verdict = Verdict { durable: self.durable(), ..Verdict::default() };
        for point in 0..self.points {
            let mut stored: BTreeMap<u64, u64> = BTreeMap::new();
            for (number, got) in self.stored(cloud, twin, point).await {
                *stored.entry(number).or_default() += 1;
                verdict.stored += 1;
                verdict.changed += u64::from(got != Some(value(number)));
            }
            verdict.doubled += stored.values().map(|n| n - 1).sum::<u64>();
            let durable = self.durable.lock().expect("no panic holds it");
            let numbers = durable.numbers.get(&point).into_iter().flatten();
            verdict.lost += numbers.filter(|n| !stored.contains_key(n)).count() as u64;
        }
        verdict
    }

    /// All samples of a point that the cloud holds, raw, page by page in time.
    async fn stored(&self, cloud: &Api, twin: &str, point: u64) -> Vec<(u64, Option<f64>)> {
        const PAGE: u64 = 8000;
        let mut samples = Vec::new();
        // A number is a microsecond: a window of PAGE x points numbers holds PAGE samples of one point.
        let window_us = i64::try_from(PAGE * self.points).expect("fits");
        let mut from_us = self.base_us;
        let mut empty = 0;
        while empty < 3 {
            let to_us = from_us + window_us;
            let query = format!("from={from_us}&to={to_us}&max_points=10000");
            let page = cloud.history(twin, &format!("p{point}"), &query).await;
            assert_eq!(page.resolution, Resolution::Raw, "{query} gave {} rows", page.points.len());
            empty = if page.points.is_empty() { empty + 1 } else { 0 };
            samples.extend(page.points.iter().map(|p| {
                let number = u64::try_from(p.t_us - self.base_us).expect("numbers count from the base");
                (number, p.value.as_ref().and_then(common::Value::as_f64))
            }));
            from_us = to_us;
        }
        samples
    }
}

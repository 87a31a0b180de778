//! The oracle: outside both processes, it reads what the gateway says is durable (`/api/v1/watermark`, as it
//! says so) and compares with what the cloud's history holds. Samples are numbered by their source time
//! (see `field::numbered_sensor`), so each can be told from every other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use common::api::Resolution;
use reqwest::Method;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::{Api, Gateway};

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

/// By incarnation and point. The sensor sends each point's numbers in order, so what is durable of a point in an
/// incarnation is all that the gateway took of it between two numbers.
type Durable = BTreeMap<(String, u64), Run>;

/// What is durable of a point in one incarnation.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    samples: u64,
}

/// What the cloud holds: by point, in its order, number and value of each sample.
pub type Stored = BTreeMap<u64, Vec<(u64, Option<f64>)>>;

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
    /// Samples that the cloud gives in another order than the sensor.
    pub reordered: u64,
    /// Samples that the cloud has in all.
    pub stored: u64,
    /// Numbers that the gateway never took, between others that it took.
    pub dropped: u64,
}

impl Verdict {
    /// Whether each durable sample is there once, as it was.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        (self.lost, self.doubled, self.changed, self.dropped) == (0, 0, 0, 0)
    }
}

impl Oracle {
    /// For a sensor of `points` points and numbers from `base_us`.
    pub fn new(points: u64, base_us: i64) -> Self {
        Self { points, base_us, durable: Arc::default() }
    }

    /// How many samples are known to be durable.
    pub fn durable(&self) -> u64 {
        self.durable.lock().expect("no panic holds it").values().map(|run| run.samples).sum()
    }

    /// Whether a number lies between two of its point that are durable in one incarnation.
    pub fn is_durable(&self, number: u64) -> bool {
        let durable = self.durable.lock().expect("no panic holds it");
        let mut of_point = durable.iter().filter(|((_, point), _)| *point == number % self.points);
        of_point.any(|(_, run)| (run.first..=run.last).contains(&number))
    }

    /// Incarnations of which something is durable.
    pub fn incarnations(&self) -> BTreeSet<String> {
        let durable = self.durable.lock().expect("no panic holds it");
        durable.keys().map(|(incarnation, _)| incarnation.clone()).collect()
    }

    /// Only these incarnations are still promised: the disk on which the others were is not the box's any more.
    pub fn release_all_but(&self, kept: &BTreeSet<String>) {
        self.durable
            .lock()
            .expect("no panic holds it")
            .retain(|(incarnation, _), _| kept.contains(incarnation));
    }

    /// The same with a memory of its own: what is told to one from here on, the other does not know.
    #[must_use]
    pub fn apart(&self) -> Self {
        let durable = self.durable.lock().expect("no panic holds it").clone();
        Self { points: self.points, base_us: self.base_us, durable: Arc::new(Mutex::new(durable)) }
    }

    /// Follows a gateway's watermark until it ends (with the gateway).
    #[must_use]
    pub fn follow(&self, gateway: &Gateway) -> JoinHandle<()> {
        let (oracle, api) = (self.clone(), gateway.api());
        tokio::spawn(async move { oracle.watch(api).await })
    }

    async fn watch(&self, api: Api) {
        // A gateway that is killed at once says nothing; whoever waits for what is durable sees it.
        let Ok(mut answer) = api.request(Method::GET, "/api/v1/watermark").send().await else { return };
        assert!(answer.status().is_success(), "{}", answer.status());
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
    pub fn take(&self, line: &WatermarkLine) {
        let mut durable = self.durable.lock().expect("no panic holds it");
        for (path, of) in &line.points {
            let Some(point) = path.strip_prefix("load/p").and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            let number = |us: i64| u64::try_from(us - self.base_us).expect("numbers count from the base");
            let run = Run { first: number(of.first_us), last: number(of.last_us), samples: of.samples };
            assert!(
                run.first <= run.last && self.numbers(run) >= run.samples,
                "{path}: {of:?} in a line of {} is more than the sensor has sent",
                line.seq
            );
            durable.insert((line.incarnation.clone(), point), run);
        }
    }

    /// How many numbers of its point a run covers.
    fn numbers(&self, run: Run) -> u64 {
        (run.last - run.first) / self.points + 1
    }

    /// Compares with the cloud's history. `value` gives the value of a number.
    pub async fn compare(&self, cloud: &Api, twin: &str, value: impl Fn(u64) -> f64) -> Verdict {
        self.judge(&self.history(cloud, twin).await, value)
    }

    /// All that the cloud's history holds of the sensor.
    pub async fn history(&self, cloud: &Api, twin: &str) -> Stored {
        let mut stored = Stored::new();
        for point in 0..self.points {
            stored.insert(point, self.stored(cloud, twin, point).await);
        }
        stored
    }

    /// Judges what the cloud holds by what is durable.
    pub fn judge(&self, stored: &Stored, value: impl Fn(u64) -> f64) -> Verdict {
        let durable = self.durable.lock().expect("no panic holds it");
        let mut verdict = Verdict::default();
        let mut there: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (point, samples) in stored {
            let own = there.entry(*point).or_default();
            let mut before = 0;
            for (number, got) in samples {
                verdict.stored += 1;
                verdict.doubled += u64::from(!own.insert(*number));
                verdict.changed += u64::from(*got != Some(value(*number)) || number % self.points != *point);
                verdict.reordered += u64::from(*number < before);
                before = *number;
            }
        }
        for ((_, point), run) in durable.iter() {
            let got = there.get(point).map_or(0, |own| own.range(run.first..=run.last).count() as u64);
            verdict.durable += run.samples;
            verdict.lost += run.samples.saturating_sub(got);
            verdict.dropped += self.numbers(*run) - run.samples;
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

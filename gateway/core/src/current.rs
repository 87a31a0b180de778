//! The last processed sample of every point: for interlocks, the local API and broker. The store keeps its
//! own, which is consistent with its sequence numbers.

use std::sync::{Arc, PoisonError, RwLock};

use common::{PointId, Quality, Sample};
use tokio::time::{Duration, Instant};

use crate::generation::Changes;

/// Last samples by point. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Vec<Option<Held>>>>);

/// A sample, and when it came here: wall clocks may be set.
type Held = (Sample, Instant);

impl Current {
    /// A table for `points` points, all without a value.
    pub fn new(points: usize) -> Self {
        Self(Arc::new(RwLock::new(vec![None; points])))
    }

    /// The last sample of a point.
    pub fn get(&self, point: PointId) -> Option<Sample> {
        self.held(point).map(|(sample, _)| sample)
    }

    fn held(&self, point: PointId) -> Option<Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(point.index()).cloned().flatten()
    }

    /// The last sample of a point, judged by age as well: with no sample it is `BAD_NO_DATA`, and one
    /// received more than `stale_ms` before `now_us` is `BAD_STALE`. So is one that has stood here for longer
    /// than that, whatever the wall clock was set to since.
    pub fn judged(&self, point: PointId, stale_ms: u64, now_us: i64) -> Sample {
        let Some((mut sample, since)) = self.held(point) else {
            return Sample::bad(point, Quality::BAD_NO_DATA, 0);
        };
        let age_us = now_us.saturating_sub(sample.received_us);
        let limit_us = i64::try_from(stale_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        let is_old = age_us > limit_us || since.elapsed() > Duration::from_millis(stale_ms);
        if is_old && !sample.quality.is_bad() {
            sample.quality = Quality::BAD_STALE;
        }
        sample
    }

    /// Goes over to a later generation, which has `slots` numbers: values of points that are gone or mean something
    /// else are forgotten.
    pub fn renew(&self, changes: &Changes, slots: usize) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        changes.carry(&mut table, slots);
        for (_, to) in &changes.moved {
            if let Some(Some((sample, _))) = table.get_mut(to.index()) {
                sample.point = *to;
            }
        }
    }

    /// Takes over the samples of a batch.
    pub fn update(&self, samples: &[Sample]) {
        let now = Instant::now();
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            if let Some(slot) = table.get_mut(sample.point.index()) {
                *slot = Some((sample.clone(), now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::Value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_grows_stale_also_when_the_wall_clock_is_set_back() {
        let current = Current::new(1);
        let (point, at_us) = (PointId(0), 1_000_000_000);
        assert_eq!(current.judged(point, 1000, at_us).quality, Quality::BAD_NO_DATA);
        let (value, quality) = (Some(Value::F64(1.0)), Quality::GOOD);
        current.update(&[Sample { point, value, quality, source_us: at_us, received_us: at_us }]);
        assert_eq!(current.judged(point, 1000, at_us + 1_000_000).quality, Quality::GOOD);
        assert_eq!(current.judged(point, 1000, at_us + 1_000_001).quality, Quality::BAD_STALE);
        tokio::time::advance(Duration::from_millis(1001)).await;
        // An hour back, or to the very time of the sample.
        for now_us in [at_us - 3_600_000_000, at_us] {
            assert_eq!(current.judged(point, 1000, now_us).quality, Quality::BAD_STALE);
        }
    }
}

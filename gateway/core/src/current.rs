//! The last processed sample of every point: for interlocks, the local API and broker. The store keeps its
//! own, which is consistent with its sequence numbers.

use std::sync::{Arc, PoisonError, RwLock};

use common::{PointId, Quality, Sample};

/// Last samples by point. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Vec<Option<Sample>>>>);

impl Current {
    /// A table for `points` points, all without a value.
    pub fn new(points: usize) -> Self {
        Self(Arc::new(RwLock::new(vec![None; points])))
    }

    /// The last sample of a point.
    pub fn get(&self, point: PointId) -> Option<Sample> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(point.index()).cloned().flatten()
    }

    /// The last sample of a point, judged by age as well: with no sample it is `BAD_NO_DATA`, and one
    /// received more than `stale_ms` before `now_us` is `BAD_STALE`.
    pub fn judged(&self, point: PointId, stale_ms: u64, now_us: i64) -> Sample {
        let Some(mut sample) = self.get(point) else {
            return Sample::bad(point, Quality::BAD_NO_DATA, 0);
        };
        let age_us = now_us.saturating_sub(sample.received_us);
        let limit_us = i64::try_from(stale_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        if age_us > limit_us && !sample.quality.is_bad() {
            sample.quality = Quality::BAD_STALE;
        }
        sample
    }

    /// Takes over the samples of a batch.
    pub fn update(&self, samples: &[Sample]) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            if let Some(slot) = table.get_mut(sample.point.index()) {
                *slot = Some(sample.clone());
            }
        }
    }
}

//! The points of a server, and what is known of each over its connections.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use common::{Access, PointId, ValueType};
use opcua::types::{AttributeId, DataValue, NodeId, NumericRange, ReadValueId, StatusCode};

use super::config::DeviceConfig;
use super::history;
use super::point::PointConfig;

/// One point as configured.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) id: PointId,
    pub(super) config: PointConfig,
    pub(super) access: Access,
    pub(super) value_type: ValueType,
    /// The status of its last value, with all of its bits.
    status: AtomicU32,
    /// Source time of its newest value, UTC us; 0: none yet.
    newest_us: AtomicI64,
    /// Up to this source time all values were fetched from the server's history, UTC us; 0: none.
    filled_us: AtomicI64,
}

impl Spec {
    pub(super) fn new(id: PointId, config: PointConfig, access: Access, value_type: ValueType) -> Self {
        let status = AtomicU32::new(StatusCode::BadWaitingForInitialData.bits());
        Self {
            id,
            config,
            access,
            value_type,
            status,
            newest_us: AtomicI64::new(0),
            filled_us: AtomicI64::new(0),
        }
    }

    pub(super) fn told(&self, status: StatusCode) {
        self.status.store(status.bits(), Ordering::Relaxed);
    }

    /// A value of this source time was told.
    pub(super) fn heard(&self, source_us: i64) {
        self.newest_us.fetch_max(source_us, Ordering::Relaxed);
    }

    /// Source time of the newest value that was told; none before the first.
    pub(super) fn newest_us(&self) -> Option<i64> {
        Some(self.newest_us.load(Ordering::Relaxed)).filter(|us| *us != 0)
    }

    /// All values up to a source time were fetched from the history.
    pub(super) fn filled(&self, up_to_us: Option<i64>) {
        self.filled_us.fetch_max(up_to_us.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether nothing was told since the connection was lost.
    pub(super) fn is_left_behind(&self) -> bool {
        self.status() == StatusCode::BadNotConnected
    }

    /// Whether the history had a value already that a subscription sends late.
    pub(super) fn is_filled(&self, value: &DataValue) -> bool {
        let filled = self.filled_us.load(Ordering::Relaxed);
        filled != 0 && !self.is_left_behind() && history::stamp(value).is_some_and(|us| us <= filled)
    }

    /// What its server or its connection said last.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from(self.status.load(Ordering::Relaxed))
    }

    /// Whether its value is read at all.
    pub(super) fn is_read(&self) -> bool {
        self.access != Access::Write && self.config.method.is_none()
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_read() && self.config.poll_ms.is_none()
    }

    /// The part of an array that it is.
    pub(super) fn range(&self) -> NumericRange {
        match self.config.index.as_ref().map(|i| i.as_slice()) {
            None => NumericRange::None,
            Some([one]) => NumericRange::Index(*one),
            Some(many) => {
                NumericRange::MultipleRanges(many.iter().map(|n| NumericRange::Index(*n)).collect())
            }
        }
    }

    /// What is read or monitored for it.
    pub(super) fn read(&self, node: &NodeId) -> ReadValueId {
        ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::Value as u32,
            index_range: self.range(),
            ..ReadValueId::default()
        }
    }

    pub(super) fn sampling_ms(&self, device: &DeviceConfig) -> f64 {
        let ms = u32::try_from(self.config.sampling_of(device)).unwrap_or(u32::MAX);
        f64::from(ms)
    }
}

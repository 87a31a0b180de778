//! One message as the broker keeps it: once, shared by all queues that hold it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What a message costs beside its bytes, roughly.
const OVERHEAD: usize = 96;

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// Properties of MQTT 5 that go with it, encoded.
    pub(crate) props: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// When it is worth nothing any more, us.
    pub(crate) expires: Option<i64>,
    /// From inside of the gateway: its retained state is made anew at each start, so it is not written to disk.
    pub(crate) volatile: bool,
    /// Its number in the journal; 0: not there.
    stored: AtomicU64,
    /// The snapshot since which it stands there.
    generation: AtomicU64,
}

impl Message {
    pub(crate) fn new(topic: &str, payload: Bytes, qos: u8, retain: bool) -> Self {
        Self {
            topic: topic.into(),
            payload,
            props: Bytes::new(),
            qos,
            retain,
            expires: None,
            volatile: false,
            stored: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// One of the gateway itself, for everyone at the QoS that they asked for.
    pub(crate) fn own(topic: &str, payload: Bytes, retain: bool) -> Self {
        Self { volatile: true, ..Self::new(topic, payload, 2, retain) }
    }

    /// Bytes that a queue counts for it.
    pub(crate) fn size(&self) -> usize {
        size_of(&self.topic, self.payload.len()) + self.props.len()
    }

    pub(crate) fn expired(&self, now_us: i64) -> bool {
        self.expires.is_some_and(|at| at <= now_us)
    }

    /// Seconds of life that are left, rounded up.
    pub(crate) fn left(&self, now_us: i64) -> Option<u32> {
        let left = self.expires?.saturating_sub(now_us).max(0);
        Some(u32::try_from(left.saturating_add(999_999) / 1_000_000).unwrap_or(u32::MAX))
    }

    /// Its number in the journal; 0: it has none.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Whether the journal of this generation has it.
    pub(crate) fn is_stored(&self, generation: u64) -> bool {
        self.stored() != 0 && self.generation.load(Ordering::Relaxed) == generation
    }

    pub(crate) fn set_stored(&self, number: u64, generation: u64) {
        self.stored.store(number, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
    }
}

/// What a message of this topic and payload costs.
pub(super) fn size_of(topic: &str, payload: usize) -> usize {
    OVERHEAD + topic.len() + payload
}

//! Payloads: what a message holds. Total both ways: any bytes give a payload or an error.

use common::{Quality, QualityClass, Value};
use prost::Message as _;

use crate::REBIRTH;
use crate::host::Address;
use crate::proto;
use crate::value::{DataType, Raw, Unreadable};

/// Property of a metric that holds its quality.
const QUALITY: &str = "Quality";
/// What hosts agree on as values of that property.
const QUALITY_BAD: u64 = 0;
const QUALITY_GOOD: u64 = 192;
const QUALITY_STALE: u64 = 500;

/// Why bytes are no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sparkplug payload: {detail}")]
pub struct DecodeError {
    detail: String,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metric {
    /// Name; data messages may leave it to the alias.
    pub name: Option<String>,
    /// Alias, unique in its node.
    pub alias: Option<u64>,
    /// When the value was taken, UTC ms.
    pub timestamp_ms: Option<u64>,
    /// Number of its type; data messages may leave it to the birth.
    pub datatype: Option<u32>,
    /// Whether it is old and only for history.
    pub historical: bool,
    /// Whether it has no value on purpose.
    pub null: bool,
    /// Quality, if the sender tells one.
    pub quality: Option<Quality>,
    /// The value as it came.
    pub value: Option<Raw>,
}

impl Metric {
    /// A metric with a name and one of our values.
    pub fn new(name: impl Into<String>, value: &Value) -> Self {
        Self { name: Some(name.into()), ..Self::of(DataType::of(value.value_type()), Some(value)) }
    }

    /// A metric of a type; without a value it is null.
    pub fn of(kind: DataType, value: Option<&Value>) -> Self {
        Self {
            datatype: Some(kind.code()),
            null: value.is_none(),
            value: value.map(Raw::of),
            ..Self::default()
        }
    }

    /// The value; none if the sender says that there is none. `datatype` stands for one that is left out.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self, datatype: Option<u32>) -> Result<Option<Value>, Unreadable> {
        if self.null {
            return Ok(None);
        }
        let code = self.datatype.filter(|code| *code != 0).or(datatype);
        match &self.value {
            Some(raw) => raw.read(code).map(Some),
            // An empty string or bytes may be left out by encoders that write no defaults.
            None => Err(Unreadable::Missing),
        }
    }

    fn from_proto(m: proto::Metric) -> Self {
        Self {
            name: m.name,
            alias: m.alias,
            timestamp_ms: m.timestamp,
            datatype: m.datatype,
            historical: m.is_historical.unwrap_or(false),
            null: m.is_null.unwrap_or(false),
            quality: m.properties.as_ref().and_then(quality),
            value: m.value.map(Raw::from_proto),
        }
    }

    fn to_proto(&self) -> proto::Metric {
        let kind = self.datatype.and_then(DataType::from_code);
        let value = if self.null { None } else { self.value.as_ref().and_then(|v| v.to_proto(kind)) };
        proto::Metric {
            name: self.name.clone(),
            alias: self.alias,
            timestamp: self.timestamp_ms,
            datatype: self.datatype,
            is_historical: self.historical.then_some(true),
            is_transient: None,
            is_null: value.is_none().then_some(true),
            properties: self.quality.map(properties),
            value,
        }
    }
}

fn quality(set: &proto::PropertySet) -> Option<Quality> {
    let at = set.keys.iter().position(|k| k == QUALITY)?;
    let value = set.values.get(at)?;
    match value.int_value.map(u64::from).or(value.long_value)? {
        QUALITY_GOOD => Some(Quality::GOOD),
        QUALITY_STALE => Some(Quality::BAD_STALE),
        // The classes of OPC, which senders use as well.
        64..=127 => Some(Quality::UNCERTAIN_SOURCE),
        193..=255 => Some(Quality::GOOD),
        _ => Some(Quality::BAD_SOURCE),
    }
}

fn properties(quality: Quality) -> proto::PropertySet {
    let code = match quality.class() {
        QualityClass::Good => QUALITY_GOOD,
        QualityClass::Uncertain => 64,
        QualityClass::Bad if quality == Quality::BAD_STALE => QUALITY_STALE,
        QualityClass::Bad => QUALITY_BAD,
    };
    let value = proto::PropertyValue {
        datatype: Some(DataType::Int32.code()),
        int_value: u32::try_from(code).ok(),
        ..proto::PropertyValue::default()
    };
    proto::PropertySet { keys: vec![QUALITY.to_owned()], values: vec![value] }
}

/// A message's content.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Payload {
    /// When it was sent, UTC ms.
    pub timestamp_ms: Option<u64>,
    /// Number of the message in its session, 0 to 255.
    pub seq: Option<u64>,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

impl Payload {
    /// Reads a payload.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let payload = proto::Payload::decode(bytes).map_err(|e| DecodeError { detail: e.to_string() })?;
        Ok(Self {
            timestamp_ms: payload.timestamp,
            seq: payload.seq,
            metrics: payload.metrics.into_iter().map(Metric::from_proto).collect(),
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        proto::Payload {
            timestamp: self.timestamp_ms,
            metrics: self.metrics.iter().map(Metric::to_proto).collect(),
            seq: self.seq,
            uuid: None,
            body: None,
        }
        .encode_to_vec()
    }

    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.name.as_deref() == Some(name))
    }
}

/// A command to a node that asks it for new births; it has no number.
pub fn rebirth_request(now_ms: u64) -> Payload {
    let metric = Metric { timestamp_ms: Some(now_ms), ..Metric::new(REBIRTH, &Value::Bool(true)) };
    Payload { timestamp_ms: Some(now_ms), seq: None, metrics: vec![metric] }
}

/// A command that writes one metric, named and typed as its birth has it; it has no number. None if the value does
/// not fit the type.
pub fn write_request(now_ms: u64, name: &str, address: Address, value: &Value) -> Option<Payload> {
    let metric = Metric {
        name: address.alias.is_none().then(|| name.to_owned()),
        alias: address.alias,
        timestamp_ms: Some(now_ms),
        datatype: Some(address.datatype.code()),
        value: Some(address.datatype.hold(value)?),
        ..Metric::default()
    };
    Some(Payload { timestamp_ms: Some(now_ms), seq: None, metrics: vec![metric] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_message_is_read_byte_for_byte() {
        // timestamp 1, one metric (name "t", alias 2, timestamp 3, Float 1.5), seq 4: written by hand from the
        // specification's numbers.
        let bytes =
            [0x08, 1, 0x12, 14, 0x0a, 1, b't', 0x10, 2, 0x18, 3, 0x20, 9, 0x65, 0, 0, 0xc0, 0x3f, 0x18, 4];
        let payload = Payload::decode(&bytes).unwrap();
        assert_eq!((payload.timestamp_ms, payload.seq), (Some(1), Some(4)));
        let metric = &payload.metrics[0];
        assert_eq!(
            (metric.name.as_deref(), metric.alias, metric.timestamp_ms),
            (Some("t"), Some(2), Some(3))
        );
        assert_eq!(metric.read(None), Ok(Some(Value::F64(1.5))));
        assert_eq!(payload.encode(), bytes);
    }

    #[test]
    fn what_has_no_value_is_null_and_what_is_not_read_says_so() {
        let null = Metric::of(DataType::Double, None);
        let payload = Payload { metrics: vec![null], ..Payload::default() };
        let back = Payload::decode(&payload.encode()).unwrap();
        assert_eq!(back.metrics[0].read(None), Ok(None));
        // A metric with an (empty) template of a birth.
        let template = [0x12, 5, 0x20, 19, 0x92, 0x01, 0];
        let back = Payload::decode(&template).unwrap();
        assert_eq!(back.metrics[0].read(None), Err(Unreadable::Type { code: 19 }));
        assert_eq!(Metric::default().read(Some(10)), Err(Unreadable::Missing));
    }

    /// `TWINWAY_FUZZ_CASES` makes a long run.
    fn cases() -> u32 {
        std::env::var("TWINWAY_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
    }

    fn any_raw() -> impl Strategy<Value = Raw> {
        prop_oneof![
            any::<u64>().prop_map(Raw::Integer),
            any::<f64>().prop_filter("NaN is not itself", |x| !x.is_nan()).prop_map(Raw::Float),
            any::<bool>().prop_map(Raw::Boolean),
            ".{0,8}".prop_map(Raw::Text),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Raw::Bytes),
        ]
    }

    prop_compose! {
        fn any_metric()(
            name in prop::option::of("[a-z/ ]{0,9}"),
            alias in any::<Option<u64>>(),
            timestamp_ms in any::<Option<u64>>(),
            datatype in prop::option::of(prop_oneof![Just(4u32), Just(8), Just(10), Just(99)]),
            historical in any::<bool>(),
            quality in prop::option::of(prop_oneof![Just(Quality::GOOD), Just(Quality::BAD_STALE)]),
            value in any_raw(),
        ) -> Metric {
            Metric { name, alias, timestamp_ms, datatype, historical, null: false, quality, value: Some(value) }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(payload) = Payload::decode(&bytes) {
                for metric in &payload.metrics {
                    let _ = metric.read(Some(u32::from(bytes[0])));
                }
                let again = Payload::decode(&payload.encode()).unwrap();
                prop_assert_eq!(again.metrics.len(), payload.metrics.len());
            }
        }

        #[test]
        fn a_payload_comes_back_and_its_damage_never_panics(
            metrics in prop::collection::vec(any_metric(), 0..5),
            timestamp_ms in any::<Option<u64>>(),
            seq in prop::option::of(0u64..256),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let payload = Payload { timestamp_ms, seq, metrics };
            let mut bytes = payload.encode();
            prop_assert_eq!(Payload::decode(&bytes).unwrap(), payload);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                if let Ok(damaged) = Payload::decode(&bytes) {
                    damaged.metrics.iter().for_each(|m| drop(m.read(None)));
                }
                let _ = Payload::decode(&bytes[..at]);
            }
        }
    }
}

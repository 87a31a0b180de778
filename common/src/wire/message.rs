//! Messages: the payloads of the two MQTT topics between a gateway and the cloud. One byte of version,
//! one of kind, then the content: JSON for what is rare, bytes for what is frequent.
//!
//! A session: the gateway connects and publishes `Hello`; the cloud answers `HelloAck`, from which on
//! frames are accepted, or `Refusal`. The gateway sends the schemas that the cloud lacks, a `Snapshot`,
//! its live tail, and beside it the backlog. When its configuration changes, `Renewed` and the parts of the new
//! schema stand before the first frame of it. The cloud answers frames with `Ack` once they are durable.
//! The backlog may be told in `Batch`es of frames to a cloud that knows them.
//! `Heartbeat` goes up at least every second (seldom over a link that is paid by the byte) and carries the session's
//! time, which deadlines of commands refer to. `Credit` says how much backlog the cloud can take. Every message is at most `MAX_MESSAGE_BYTES`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::configuration::ConfigurationPart;
use super::frame::SampleRow;
use super::identity::{Identity, SetAside};
use super::samples::{decode_samples, encode_samples};
use super::update::{Piece, PieceRequest};
use crate::alarm::AlarmOrder;
use crate::api::{ConfigurationReport, Enrolled, GatewayHealth, UpdateOffer, UpdateReport};
use crate::bytes::{DecodeError, Reader};
use crate::command::{CommandOrder, DesiredOrder};
use crate::ids::{GatewayId, Incarnation, SchemaHash, TenantId};
use crate::interval::IntervalSet;
use crate::names::Code;

const VERSION: u8 = 1;
/// The wire needs no broker that takes more.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Payload bytes of one part of a schema.
const SCHEMA_PART_BYTES: usize = 192 * 1024;

/// What the gateway's store holds of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRange {
    /// Which incarnation.
    pub incarnation: Incarnation,
    /// First sequence that the store still has.
    pub first: u64,
    /// Last sequence that the store has.
    pub last: u64,
}

/// The gateway's first word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Tenant; the same as in the topic.
    pub tenant: TenantId,
    /// Gateway; the same as in the topic.
    pub gateway: GatewayId,
    /// Version of the gateway's program.
    pub version: String,
    /// Incarnation that new frames belong to.
    pub incarnation: Incarnation,
    /// What the store holds, oldest incarnation first.
    pub streams: Vec<StreamRange>,
    /// Hash of the current schema.
    pub schema: SchemaHash,
    /// Hashes of the schemas of all frames in the store.
    pub schemas: Vec<SchemaHash>,
    /// Start of the session's time: us since the gateway's process started.
    pub session_us: u64,
    /// Whether the switch at the box stands on remote.
    pub remote: bool,
    /// What the gateway understands beside the first version of the wire, such as `FEATURE_ALARMS`. Whatever is not
    /// named here is not sent to it. Absent from older programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The longest time between two heartbeats, ms, of a gateway whose link is paid by the byte. A cloud that names
    /// `FEATURE_SELDOM` waits three times as long before it takes the link for lost; others get a heartbeat every second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u32>,
    /// Which box it is. Absent from older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<Identity>>,
}

/// The gateway takes `Down::Alarm`.
pub const FEATURE_ALARMS: &str = "alarms";
/// The gateway takes `Down::Credit`.
pub const FEATURE_CREDIT: &str = "credit";
/// The cloud heeds `Hello::heartbeat_ms`.
pub const FEATURE_SELDOM: &str = "seldom";
/// The cloud takes frames of version 2.
pub const FEATURE_COLUMNS: &str = "columns";
/// The cloud takes `Up::Batch`.
pub const FEATURE_BATCH: &str = "batch";
/// The cloud takes the causes of gaps that came after the first ones, and any that it does not know.
pub const FEATURE_GAP_CAUSES: &str = "gap_causes";
/// The cloud takes frames of waveforms.
pub const FEATURE_WAVEFORMS: &str = "waveforms";
/// The gateway takes `Down::SetAside`.
pub const FEATURE_SET_ASIDE: &str = "set_aside";
/// The cloud takes `Up::Renewal` in a session that began with a certificate, and answers it.
pub const FEATURE_CERTIFICATES: &str = "certificates";
/// The cloud takes `Up::Configuration`; to a gateway that sent one it may send `Down::Configuration`.
pub const FEATURE_CONFIGURATION: &str = "configuration";

/// The cloud takes `Up::Update` and `Up::Piece`; to a gateway that says that it takes bundles it may send `Down::Offer` and
/// `Down::Piece`.
pub const FEATURE_UPDATES: &str = "updates";

/// What the cloud has of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which incarnation.
    pub incarnation: Incarnation,
    /// Sequences that are durable in the cloud.
    pub seqs: IntervalSet,
}

/// The cloud's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloAck {
    /// Number of this session; grows.
    pub session: u64,
    /// What is durable already; the gateway need not send it again.
    pub known: Vec<Known>,
    /// Schemas that the cloud lacks.
    pub want_schemas: Vec<SchemaHash>,
    /// What the cloud understands beside the first version of the wire, such as `FEATURE_COLUMNS`. Whatever is not named
    /// here is not sent to it. Absent from older programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Identity of the cloud's store. Absent from older programs, as what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Uuid>,
    /// The incarnation that this gateway's last hello before this one was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Incarnation>,
    /// Frames of the hello's incarnations that were set aside, `known` as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<Known>,
    /// It is time to renew the certificate that the session began with, by the cloud's clock: the box's may not be set.
    #[serde(default, skip_serializing_if = "is_false")]
    pub renew: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(is: &bool) -> bool {
    !is
}

/// The cloud will not talk, or will not take one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// For people.
    pub detail: String,
}

/// Part of a schema's canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaPart {
    /// Hash of the whole.
    pub hash: SchemaHash,
    /// From 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
    /// This part.
    pub bytes: Vec<u8>,
}

/// Splits a schema's canonical JSON into messages.
pub fn split_schema(hash: SchemaHash, json: &[u8]) -> Vec<SchemaPart> {
    let count = u32::try_from(json.len().div_ceil(SCHEMA_PART_BYTES)).unwrap_or(u32::MAX);
    let part = |(index, bytes): (u32, &[u8])| SchemaPart { hash, index, count, bytes: bytes.to_vec() };
    (0..).zip(json.chunks(SCHEMA_PART_BYTES)).map(part).collect()
}

/// The current value of some points, as of all frames up to `seq`. It brings the twin up to date before
/// the backlog; it is not history.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Schema that the points' numbers refer to.
    pub schema: SchemaHash,
    /// Incarnation that `seq` belongs to.
    pub incarnation: Incarnation,
    /// The last frame that the values include. A frame after it is newer, one up to it is not.
    pub seq: u64,
    /// The values.
    pub rows: Vec<SampleRow>,
}

/// Life sign, and how the box fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Session time: us since the gateway's process started.
    pub session_us: u64,
    /// How the box fares.
    pub health: GatewayHealth,
}

/// Durable in the cloud: the gateway may free these frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// By incarnation.
    pub acked: Vec<Known>,
}

/// How much backlog the cloud can take from this gateway now. It holds until the next one, or the session's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Most bytes of backlog that may be on their way without an ack, counted as they are sent. 0: none. A message that is
    /// begun below it may go beyond it.
    pub backlog_bytes: u64,
}

/// From gateway to cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum Up {
    /// first word of a session
    Hello(Box<Hello>),
    /// part of a schema
    Schema(SchemaPart),
    /// current values
    Snapshot(Snapshot),
    /// one encoded frame, as in `wire::Frame`
    Frame(Vec<u8>),
    /// life sign
    Heartbeat(Box<Heartbeat>),
    /// Many frames of samples, encoded together as in `wire::Batch`; only to a cloud that names `FEATURE_BATCH`.
    Batch(Vec<u8>),
    /// from here on this is the current schema: the gateway took a new configuration. Its parts follow.
    Renewed(SchemaHash),
    /// A signing request, PEM, for the key that the session began with; only to a cloud that names
    /// `FEATURE_CERTIFICATES`.
    Renewal(Vec<u8>),
    /// What became of configuration documents; only to a cloud that names `FEATURE_CONFIGURATION`.
    Configuration(Box<ConfigurationReport>),
    /// What runs, and what became of an offer; only to a cloud that names `FEATURE_UPDATES`.
    Update(Box<UpdateReport>),
    /// Asks for a piece of the bundle that was offered in this session.
    Piece(PieceRequest),
}

/// From cloud to gateway.
#[derive(Debug, Clone, PartialEq)]
pub enum Down {
    /// answer to `Hello`
    HelloAck(HelloAck),
    /// the cloud will not
    Refusal(Refusal),
    /// frames are durable
    Ack(Ack),
    /// do this
    Command(Box<CommandOrder>),
    /// want this
    Desired(Vec<DesiredOrder>),
    /// Do this with an alarm; only to a gateway that names `FEATURE_ALARMS`.
    Alarm(Box<AlarmOrder>),
    /// So much backlog may come; only to a gateway that names `FEATURE_CREDIT`.
    Credit(Credit),
    /// These cannot be taken; only to a gateway that names `FEATURE_SET_ASIDE`.
    SetAside(SetAside),
    /// Answer to `Up::Renewal`.
    Certificate(Box<Enrolled>),
    /// Part of the configuration document that is wanted; only after `Up::Configuration` in this session.
    Configuration(ConfigurationPart),
    /// This bundle is to be installed, or none any more; only after `Up::Update` in this session.
    Offer(Option<UpdateOffer>),
    /// Answer to `Up::Piece`.
    Piece(Piece),
}

fn start(kind: u8) -> Vec<u8> {
    vec![VERSION, kind]
}

fn with_json<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    let mut out = start(kind);
    // Structs of ours with string keys: this cannot fail.
    out.extend(serde_json::to_vec(value).unwrap_or_default());
    out
}

fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::Json(e.to_string()))
}

fn open<'a>(bytes: &'a [u8]) -> Result<(u8, Reader<'a>), DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLarge { what: "message", size: bytes.len(), limit: MAX_MESSAGE_BYTES });
    }
    let mut r = Reader::new(bytes);
    let version = r.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    Ok((r.u8()?, r))
}

impl Up {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => with_json(1, hello),
            Self::Schema(part) => {
                let mut out = start(2);
                out.extend(part.hash.0);
                out.extend(part.index.to_le_bytes());
                out.extend(part.count.to_le_bytes());
                out.extend(&part.bytes);
                out
            }
            Self::Snapshot(s) => {
                let mut out = start(3);
                out.extend(s.schema.0);
                out.extend(s.incarnation.0.to_le_bytes());
                out.extend(s.seq.to_le_bytes());
                out.extend(encode_samples(&s.rows));
                out
            }
            Self::Frame(frame) => Self::encode_frame(frame),
            Self::Heartbeat(beat) => with_json(5, beat),
            Self::Renewed(hash) => {
                let mut out = start(6);
                out.extend(hash.0);
                out
            }
            Self::Batch(batch) => {
                let mut out = start(7);
                out.extend(batch);
                out
            }
            Self::Renewal(request) => {
                let mut out = start(9);
                out.extend(request);
                out
            }
            Self::Configuration(report) => with_json(11, report),
            Self::Update(report) => with_json(12, report),
            Self::Piece(request) => {
                let mut out = start(13);
                out.extend(request.sha256);
                out.extend(request.offset.to_le_bytes());
                out.extend(request.bytes.to_le_bytes());
                out
            }
        }
    }

    /// The message of an encoded frame, without a copy into `Up` first.
    pub fn encode_frame(frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() + 2);
        out.extend([VERSION, 4]);
        out.extend(frame);
        out
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not exactly one message of a known version and kind. Frames are not decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (kind, mut r) = open(bytes)?;
        Ok(match kind {
            1 => Self::Hello(json(r.rest())?),
            2 => Self::Schema(SchemaPart {
                hash: SchemaHash(r.array()?),
                index: r.u32()?,
                count: r.u32()?,
                bytes: r.rest().to_vec(),
            }),
            3 => Self::Snapshot(Snapshot {
                schema: SchemaHash(r.array()?),
                incarnation: Incarnation(r.u128()?),
                seq: r.u64()?,
                rows: decode_samples(r.rest())?,
            }),
            4 => Self::Frame(r.rest().to_vec()),
            5 => Self::Heartbeat(json(r.rest())?),
            6 => Self::Renewed(SchemaHash(r.array()?)),
            7 => Self::Batch(r.rest().to_vec()),
            9 => Self::Renewal(r.rest().to_vec()),
            11 => Self::Configuration(json(r.rest())?),
            12 => Self::Update(json(r.rest())?),
            13 => {
                let request = PieceRequest { sha256: r.array()?, offset: r.u64()?, bytes: r.u32()? };
                r.end()?;
                Self::Piece(request)
            }
            kind => return Err(DecodeError::Kind { what: "message", kind }),
        })
    }
}

impl Down {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::HelloAck(ack) => with_json(1, ack),
            Self::Refusal(refusal) => with_json(2, refusal),
            Self::Ack(ack) => with_json(3, ack),
            Self::Command(order) => with_json(4, order),
            Self::Desired(orders) => with_json(5, orders),
            Self::Alarm(order) => with_json(6, order),
            Self::Credit(credit) => with_json(7, credit),
            Self::SetAside(set_aside) => with_json(8, set_aside),
            Self::Certificate(enrolled) => with_json(10, enrolled),
            Self::Configuration(part) => {
                let mut out = start(11);
                out.extend(part.version.to_le_bytes());
                out.extend(part.index.to_le_bytes());
                out.extend(part.count.to_le_bytes());
                out.extend(&part.bytes);
                out
            }
            Self::Offer(offer) => with_json(12, offer),
            Self::Piece(piece) => {
                let mut out = start(13);
                out.extend(piece.sha256);
                out.extend(piece.offset.to_le_bytes());
                out.extend(&piece.bytes);
                out
            }
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not exactly one message of a known version and kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (kind, mut r) = open(bytes)?;
        Ok(match kind {
            1 => Self::HelloAck(json(r.rest())?),
            2 => Self::Refusal(json(r.rest())?),
            3 => Self::Ack(json(r.rest())?),
            4 => Self::Command(json(r.rest())?),
            5 => Self::Desired(json(r.rest())?),
            6 => Self::Alarm(json(r.rest())?),
            7 => Self::Credit(json(r.rest())?),
            8 => Self::SetAside(json(r.rest())?),
            10 => Self::Certificate(json(r.rest())?),
            11 => Self::Configuration(ConfigurationPart {
                version: r.u64()?,
                index: r.u32()?,
                count: r.u32()?,
                bytes: r.rest().to_vec(),
            }),
            12 => Self::Offer(json(r.rest())?),
            13 => Self::Piece(Piece { sha256: r.array()?, offset: r.u64()?, bytes: r.rest().to_vec() }),
            kind => return Err(DecodeError::Kind { what: "message", kind }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0u8..15, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = vec![VERSION, kind];
            bytes.extend(rest);
            let _ = Up::decode(&bytes);
            let _ = Down::decode(&bytes);
        }
    }

    #[test]
    fn messages_are_read_back() {
        let known = Known { incarnation: Incarnation(u128::MAX), seqs: vec![(1, 5), (9, 9)].into() };
        let ack = Down::Ack(Ack { acked: vec![known] });
        assert_eq!(Down::decode(&ack.encode()).unwrap(), ack);
        let credit = Down::Credit(Credit { backlog_bytes: 1 << 40 });
        assert_eq!(Down::decode(&credit.encode()).unwrap(), credit);
        let snapshot = Up::Snapshot(Snapshot {
            schema: SchemaHash([3; 16]),
            incarnation: Incarnation(4),
            seq: 5,
            rows: vec![],
        });
        assert_eq!(Up::decode(&snapshot.encode()).unwrap(), snapshot);
        let renewed = Up::Renewed(SchemaHash([7; 16]));
        assert_eq!(Up::decode(&renewed.encode()).unwrap(), renewed);
        let batch = Up::Batch(vec![1, 2, 3]);
        assert_eq!(Up::decode(&batch.encode()).unwrap(), batch);
        let renewal = Up::Renewal(vec![0x30, 0]);
        assert_eq!(Up::decode(&renewal.encode()).unwrap(), renewal);
        let enrolled = Down::Certificate(Box::new(Enrolled {
            tenant: TenantId::default(),
            gateway: "g1".parse().unwrap(),
            url: "mqtts://cloud.example:8883".into(),
            certificate: "-----BEGIN CERTIFICATE-----".into(),
            trust: None,
        }));
        assert_eq!(Down::decode(&enrolled.encode()).unwrap(), enrolled);
        let request = Up::Piece(PieceRequest { sha256: [4; 32], offset: 1 << 33, bytes: 4096 });
        assert_eq!(Up::decode(&request.encode()).unwrap(), request);
        assert!(Up::decode(&[&request.encode()[..], b"x"].concat()).is_err());
        for down in [Down::Offer(None), Down::Piece(Piece { sha256: [4; 32], offset: 9, bytes: vec![1, 2] })]
        {
            assert_eq!(Down::decode(&down.encode()).unwrap(), down);
        }
        assert!(matches!(Up::decode(&[1, 77]), Err(DecodeError::Kind { kind: 77, .. })));
        assert!(matches!(Down::decode(&[9, 1]), Err(DecodeError::Version { version: 9 })));
    }

    #[test]
    fn a_cloud_that_names_no_features_has_none() {
        let old = r#"{"session":3,"known":[],"want_schemas":[]}"#;
        let ack: HelloAck = serde_json::from_str(old).unwrap();
        assert!(ack.features.is_empty());
        assert_eq!(serde_json::to_string(&ack).unwrap(), old);
    }

    #[test]
    fn a_large_schema_is_split_to_fit() {
        let json = vec![b'x'; SCHEMA_PART_BYTES * 2 + 1];
        let parts = split_schema(SchemaHash([0; 16]), &json);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|p| Up::Schema(p.clone()).encode().len() <= MAX_MESSAGE_BYTES));
        assert_eq!(parts.iter().flat_map(|p| p.bytes.clone()).collect::<Vec<_>>(), json);
    }
}

//! Bytes to packets and back, with rumqttd's codec for MQTT 3.1.1 kept from panics, and the checks that it
//! lacks. No sockets, no state.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gateway_core::messages::{check_filter, check_topic};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::{Error as CodecError, Packet, Protocol, Publish};

/// Why a client is shown the door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("closed by the client")]
    Closed,
    #[error("no CONNECT in time")]
    Silent,
    #[error("the first packet is no CONNECT")]
    NotConnect,
    #[error("MQTT version {level} is not spoken here, only 3.1.1")]
    Version { level: u8 },
    #[error("malformed packet: {detail}")]
    Malformed { detail: String },
    #[error("packet of {bytes} bytes, more than {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("against the protocol: {detail}")]
    Protocol { detail: String },
    #[error("nothing heard for 1.5 times the keep-alive of {seconds} s")]
    KeepAlive { seconds: u16 },
    #[error("takes nothing")]
    SlowReader,
    #[error("connection lost: {detail}")]
    Io { detail: String },
    #[error("replaced by a new connection of the same client id")]
    Replaced,
    #[error("the router has ended")]
    Router,
    #[error("refused: {detail}")]
    Refused { detail: String },
}

/// A message of a client. rumqttd's own type hides its identifier, so PUBLISH is read and written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) pkid: u16,
    pub(crate) retain: bool,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Publish(Inbound),
    Other(Box<Packet>),
}

const PUBLISH: u8 = 3;

/// Takes the next packet off the front of `bytes`; none if it is not complete yet.
pub(crate) fn decode(bytes: &mut BytesMut, limit: usize) -> Result<Option<Said>, Fault> {
    let Some((header, rest)) = frame(bytes)? else { return Ok(None) };
    if rest > limit {
        return Err(Fault::TooLarge { bytes: rest, limit });
    }
    if bytes.len() < header + rest {
        return Ok(None);
    }
    let mut packet = bytes.split_to(header + rest);
    if packet.first().is_some_and(|b| b >> 4 == PUBLISH) {
        return publish(packet.freeze(), header).map(|p| Some(Said::Publish(p)));
    }
    match catch_unwind(AssertUnwindSafe(|| V4.read_mut(&mut packet, limit))) {
        Err(_) => Err(Fault::Malformed { detail: "not readable".to_owned() }),
        Ok(Ok(packet)) => Ok(Some(Said::Other(Box::new(packet)))),
        Ok(Err(CodecError::InvalidProtocolLevel(level))) => Err(Fault::Version { level }),
        Ok(Err(e)) => Err(Fault::Malformed { detail: e.to_string() }),
    }
}

/// Lengths of the fixed header and of what follows (MQTT 3.1.1, 2.2.3).
fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut rest = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        rest |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 2, rest)));
        }
    }
    if bytes.len() > 4 {
        return Err(Fault::Malformed { detail: "a length has at most 4 bytes".to_owned() });
    }
    Ok(None)
}

fn publish(mut packet: Bytes, header: usize) -> Result<Inbound, Fault> {
    let malformed = |detail: &str| Fault::Malformed { detail: detail.to_owned() };
    let first = packet.first().copied().unwrap_or_default();
    let (qos, retain) = ((first >> 1) & 3, first & 1 == 1);
    packet.advance(header);
    if packet.len() < 2 {
        return Err(malformed("a message without topic"));
    }
    let length = usize::from(packet.get_u16());
    if packet.len() < length {
        return Err(malformed("a topic longer than its packet"));
    }
    let topic = packet.split_to(length);
    let pkid = match qos {
        0 => 0,
        1 | 2 if packet.len() >= 2 => packet.get_u16(),
        1 | 2 => return Err(malformed("a message without its identifier")),
        _ => return Err(malformed("QoS 3")),
    };
    if qos > 0 && pkid == 0 {
        return Err(malformed("identifier 0"));
    }
    Ok(Inbound { topic, payload: packet, qos, pkid, retain })
}

/// Puts a packet at the end of `out`, and gives the identifier if it is a message of QoS 1 or 2.
pub(crate) fn encode(packet: Packet, out: &mut BytesMut) -> Result<Option<u16>, Fault> {
    let start = out.len();
    let written = catch_unwind(AssertUnwindSafe(|| V4.write(packet, out)));
    if !matches!(written, Ok(Ok(_))) {
        out.truncate(start);
        return Err(Fault::Malformed {
            detail: "the router gave a packet that cannot be written".to_owned(),
        });
    }
    let bytes = out.get(start..).unwrap_or_default();
    Ok(identifier(bytes))
}

fn identifier(bytes: &[u8]) -> Option<u16> {
    let first = *bytes.first()?;
    if first >> 4 != PUBLISH || first & 0b110 == 0 {
        return None;
    }
    let (header, _) = frame(bytes).ok()??;
    let u16_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    u16_at(header + 2 + usize::from(u16_at(header)?))
}

/// Puts a retained message at the end of `out`.
pub(crate) fn encode_retained(topic: &str, payload: &[u8], qos: u8, pkid: u16, out: &mut BytesMut) {
    let mut rest = 2 + topic.len() + payload.len() + if qos > 0 { 2 } else { 0 };
    out.put_u8(PUBLISH << 4 | qos << 1 | 1);
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        out.put_u8(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    // Topics were checked when they came: at most 65,535 bytes.
    out.put_u16(u16::try_from(topic.len()).unwrap_or(u16::MAX));
    out.put_slice(topic.as_bytes());
    if qos > 0 {
        out.put_u16(pkid);
    }
    out.put_slice(payload);
}

/// Checks a message of a client and gives its topic.
pub(crate) fn topic_of(topic: &Bytes) -> Result<&str, Fault> {
    let text =
        std::str::from_utf8(topic).map_err(|_| Fault::Protocol { detail: "a topic is UTF-8".to_owned() })?;
    check_topic(text).map_err(|e| Fault::Protocol { detail: e.to_string() })?;
    if text.starts_with('$') {
        return Err(Fault::Protocol { detail: "topics that begin with `$` belong to the broker".to_owned() });
    }
    Ok(text)
}

/// Whether a client may subscribe to a filter. Shared subscriptions (`$share`) are refused: one of a
/// persistent session can end the router.
pub(crate) fn may_subscribe(filter: &str) -> bool {
    check_filter(filter).is_ok() && !filter.starts_with('$')
}

/// A message for the router. The front has done with QoS on the way in, and the message owns its bytes
/// alone: a slice of the read buffer would keep the whole buffer in the router's queues.
pub(crate) fn for_router(topic: &str, payload: &[u8]) -> Packet {
    let mut own = BytesMut::with_capacity(topic.len() + payload.len());
    own.put_slice(topic.as_bytes());
    own.put_slice(payload);
    let payload = own.split_off(topic.len()).freeze();
    Packet::Publish(Publish::new(own.freeze(), payload, false), None)
}

#[cfg(test)]
#[path = "packets_tests.rs"]
mod tests;

//! What the broker sends.

use bytes::{BufMut, BytesMut};

use super::props;
use super::{Reason, Version};

/// A message on its way to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Properties as the publisher sent them, for MQTT 5 only.
    pub(crate) props: &'a [u8],
    /// Seconds that are left of its life, for MQTT 5 only.
    pub(crate) expiry: Option<u32>,
    /// Identifiers of the subscriptions that it matches, for MQTT 5 only.
    pub(crate) ids: &'a [u32],
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) pkid: u16,
}

/// What CONNACK of MQTT 5 tells of the broker, beside its defaults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Granted<'a> {
    pub(crate) assigned_id: Option<&'a str>,
    pub(crate) keep_alive: Option<u16>,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: u32,
    pub(crate) topic_alias_maximum: u16,
}

fn varint_len(n: usize) -> usize {
    match n {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

#[allow(clippy::cast_possible_truncation)] // masked to seven bits
fn put_varint(out: &mut BytesMut, mut n: usize) {
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        out.put_u8(if n > 0 { low | 0x80 } else { low });
        if n == 0 {
            return;
        }
    }
}

/// Text and binary data were at most 65,535 bytes when they came.
fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

fn props_len(message: &Delivery<'_>) -> usize {
    let ids: usize = message.ids.iter().map(|id| 1 + varint_len(*id as usize)).sum();
    message.props.len() + ids + if message.expiry.is_some() { 5 } else { 0 }
}

fn rest_len(version: Version, message: &Delivery<'_>) -> usize {
    let mut rest = 2 + message.topic.len() + message.payload.len();
    if message.qos > 0 {
        rest += 2;
    }
    if version == Version::V5 {
        let props = props_len(message);
        rest += varint_len(props) + props;
    }
    rest
}

/// How many bytes a message takes on the wire.
pub(crate) fn publish_len(version: Version, message: &Delivery<'_>) -> usize {
    let rest = rest_len(version, message);
    1 + varint_len(rest) + rest
}

pub(crate) fn publish(version: Version, message: &Delivery<'_>, out: &mut BytesMut) {
    let rest = rest_len(version, message);
    out.reserve(5 + rest);
    out.put_u8(0x30 | u8::from(message.dup) << 3 | message.qos << 1 | u8::from(message.retain));
    put_varint(out, rest);
    put_binary(out, message.topic.as_bytes());
    if message.qos > 0 {
        out.put_u16(message.pkid);
    }
    if version == Version::V5 {
        put_varint(out, props_len(message));
        out.put_slice(message.props);
        if let Some(seconds) = message.expiry {
            out.put_u8(props::MESSAGE_EXPIRY);
            out.put_u32(seconds);
        }
        for id in message.ids {
            out.put_u8(props::SUBSCRIPTION_ID);
            put_varint(out, *id as usize);
        }
    }
    out.put_slice(message.payload);
}

/// PUBACK (4), PUBREC (5) or PUBCOMP (7). MQTT 3.1.1 has no reason: what was refused is acknowledged there, and
/// counted by the caller.
pub(crate) fn ack(version: Version, kind: u8, pkid: u16, reason: Reason, out: &mut BytesMut) {
    out.put_u8(kind << 4);
    let long = version == Version::V5 && reason != Reason::Success;
    out.put_u8(if long { 3 } else { 2 });
    out.put_u16(pkid);
    if long {
        out.put_u8(reason as u8);
    }
}

pub(crate) fn pubrel(version: Version, pkid: u16, reason: Reason, out: &mut BytesMut) {
    let at = out.len();
    ack(version, 6, pkid, reason, out);
    if let Some(first) = out.get_mut(at) {
        *first |= 2;
    }
}

pub(crate) fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

pub(crate) fn connack(version: Version, present: bool, code: u8, granted: &Granted<'_>, out: &mut BytesMut) {
    if version == Version::V3 {
        out.put_slice(&[0x20, 2, u8::from(present), code]);
        return;
    }
    let mut own = BytesMut::with_capacity(64);
    if code == 0 {
        if let Some(seconds) = granted.session_expiry {
            own.put_u8(props::SESSION_EXPIRY);
            own.put_u32(seconds);
        }
        own.put_u8(props::RECEIVE_MAXIMUM);
        own.put_u16(granted.receive_maximum);
        own.put_u8(props::MAXIMUM_PACKET_SIZE);
        own.put_u32(granted.max_packet);
        if let Some(id) = granted.assigned_id {
            own.put_u8(props::ASSIGNED_CLIENT_ID);
            put_binary(&mut own, id.as_bytes());
        }
        own.put_u8(props::TOPIC_ALIAS_MAXIMUM);
        own.put_u16(granted.topic_alias_maximum);
        if let Some(seconds) = granted.keep_alive {
            own.put_u8(props::SERVER_KEEP_ALIVE);
            own.put_u16(seconds);
        }
        own.put_slice(&[props::SHARED_AVAILABLE, 1]);
    }
    out.put_u8(0x20);
    put_varint(out, 2 + varint_len(own.len()) + own.len());
    out.put_slice(&[u8::from(present), code]);
    put_varint(out, own.len());
    out.put_slice(&own);
}

pub(crate) fn suback(version: Version, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    answer(version, 0x90, pkid, codes, out);
}

/// MQTT 3.1.1 has no codes here.
pub(crate) fn unsuback(version: Version, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    answer(version, 0xb0, pkid, if version == Version::V5 { codes } else { &[] }, out);
}

fn answer(version: Version, first: u8, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    let props = usize::from(version == Version::V5);
    out.put_u8(first);
    put_varint(out, 2 + props + codes.len());
    out.put_u16(pkid);
    if props == 1 {
        out.put_u8(0);
    }
    out.put_slice(codes);
}

/// Servers of MQTT 3.1.1 just close.
pub(crate) fn disconnect(version: Version, reason: Reason, out: &mut BytesMut) {
    if version == Version::V5 {
        out.put_slice(&[0xe0, 2, reason as u8, 0]);
    }
}

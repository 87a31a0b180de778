//! Properties of MQTT 5 [2.2.2]: which may stand where, each at most once but the user's own.

use super::Fault;
use super::reader::{Reader, malformed};

pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_ID: u8 = 0x0b;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
pub(super) const REQUEST_PROBLEM: u8 = 0x17;
pub(super) const WILL_DELAY: u8 = 0x18;
pub(super) const REQUEST_RESPONSE: u8 = 0x19;
pub(super) const SERVER_REFERENCE: u8 = 0x1c;
pub(super) const REASON_STRING: u8 = 0x1f;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
pub(super) const SHARED_AVAILABLE: u8 = 0x2a;

/// One property's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair,
}

impl Value<'_> {
    pub(super) fn number(self) -> u32 {
        if let Self::Number(n) = self { n } else { 0 }
    }
}

/// Reads a section of properties and gives each to `each`, with the bytes it stands in.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    allowed: &[u8],
    mut each: impl FnMut(u8, Value<'a>, &'a [u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let length = reader.varint()? as usize;
    let mut section = Reader(reader.take(length)?);
    let mut seen = 0u64;
    while !section.is_empty() {
        let start = section.0;
        let id = section.u8()?;
        if !allowed.contains(&id) {
            return Err(malformed("a property that its packet does not have"));
        }
        // All identifiers are below 64; the allowed ones only reach here.
        let bit = 1u64 << (id & 63);
        if id != USER_PROPERTY && seen & bit != 0 {
            return Err(Fault::Protocol { detail: "a property that stands twice" });
        }
        seen |= bit;
        let value = match id {
            PAYLOAD_FORMAT | REQUEST_PROBLEM | REQUEST_RESPONSE => match section.u8()? {
                n @ 0..=1 => Value::Number(n.into()),
                _ => return Err(Fault::Protocol { detail: "a property that is neither 0 nor 1" }),
            },
            RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS | SERVER_KEEP_ALIVE => {
                Value::Number(section.u16()?.into())
            }
            MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => {
                Value::Number(section.u32()?)
            }
            SUBSCRIPTION_ID => Value::Number(section.varint()?),
            CORRELATION_DATA | AUTHENTICATION_DATA => Value::Binary(section.binary()?),
            USER_PROPERTY => {
                section.text()?;
                section.text()?;
                Value::Pair
            }
            _ => Value::Text(section.text()?),
        };
        let used = start.len() - section.0.len();
        each(id, value, start.get(..used).unwrap_or_default())?;
    }
    Ok(())
}

/// Reads a section and keeps nothing of it.
pub(super) fn skip(reader: &mut Reader<'_>, allowed: &[u8]) -> Result<(), Fault> {
    read(reader, allowed, |_, _, _| Ok(()))
}

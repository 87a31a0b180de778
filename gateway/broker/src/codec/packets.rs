//! What clients send after CONNECT.

use super::connect::{Connect, connect};
use super::props::{self, Value};
use super::reader::{Reader, malformed};
use super::{Fault, Version};

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    Publish(Publish<'a>),
    PubAck {
        pkid: u16,
    },
    /// With its reason: from 0x80 on the client does not want the message.
    PubRec {
        pkid: u16,
        reason: u8,
    },
    PubRel {
        pkid: u16,
    },
    PubComp {
        pkid: u16,
    },
    Subscribe {
        pkid: u16,
        filters: Vec<Filter<'a>>,
        id: Option<u32>,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<&'a str>,
    },
    Ping,
    /// With its reason and, if it changes, the session's expiry.
    Disconnect {
        reason: u8,
        session_expiry: Option<u32>,
    },
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    /// Empty if only the alias names it.
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) pkid: u16,
    pub(crate) retain: bool,
    pub(crate) alias: Option<u16>,
    pub(crate) expiry: Option<u32>,
    /// Properties that go with the message, as they came: up to `props.len` bytes of each piece.
    pub(crate) props: Passed<'a>,
}

/// Properties to be passed on: the section without those that concern only this hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passed<'a> {
    pieces: Vec<&'a [u8]>,
}

impl Passed<'_> {
    /// All of them in one.
    pub(crate) fn concat(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// A filter and how it is subscribed to [5.0, 3.8.3.1].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    pub(crate) filter: &'a str,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) retain: RetainHandling,
}

/// Which retained messages a subscription wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    IfNew,
    Never,
}

const PUBLISH: &[u8] = &[
    props::PAYLOAD_FORMAT,
    props::MESSAGE_EXPIRY,
    props::TOPIC_ALIAS,
    props::RESPONSE_TOPIC,
    props::CORRELATION_DATA,
    props::USER_PROPERTY,
    props::CONTENT_TYPE,
];
const ACK: &[u8] = &[props::REASON_STRING, props::USER_PROPERTY];
const DISCONNECT: &[u8] =
    &[props::SESSION_EXPIRY, props::REASON_STRING, props::USER_PROPERTY, props::SERVER_REFERENCE];

/// Reads the packet at the front of `bytes` and tells how many of them it takes; none if it is not complete.
/// `limit` is for the whole packet. The version is that of the connection; CONNECT brings its own.
pub(crate) fn decode(
    bytes: &[u8],
    version: Version,
    limit: usize,
) -> Result<Option<(Packet<'_>, usize)>, Fault> {
    let Some((header, rest)) = frame(bytes)? else { return Ok(None) };
    let total = header + rest;
    if total > limit {
        return Err(Fault::TooLarge { bytes: total, limit });
    }
    let Some(body) = bytes.get(header..total) else { return Ok(None) };
    let first = bytes.first().copied().unwrap_or_default();
    let packet = packet(first, Reader(body), version)?;
    Ok(Some((packet, total)))
}

/// Lengths of the fixed header and of what follows [2.2.3].
fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut rest = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        rest |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 2, rest)));
        }
    }
    if bytes.len() > 4 {
        return Err(malformed("a length of more than four bytes"));
    }
    Ok(None)
}

fn packet<'a>(first: u8, mut body: Reader<'a>, version: Version) -> Result<Packet<'a>, Fault> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    let expected = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected {
        return Err(malformed("flags that its packet does not have"));
    }
    let packet = match kind {
        1 => return Ok(Packet::Connect(Box::new(connect(body)?))),
        3 => return publish(flags, body, version).map(Packet::Publish),
        4 => Packet::PubAck { pkid: acknowledged(&mut body, version)?.0 },
        5 => {
            let (pkid, reason) = acknowledged(&mut body, version)?;
            Packet::PubRec { pkid, reason }
        }
        6 => Packet::PubRel { pkid: acknowledged(&mut body, version)?.0 },
        7 => Packet::PubComp { pkid: acknowledged(&mut body, version)?.0 },
        8 => subscribe(&mut body, version)?,
        10 => unsubscribe(&mut body, version)?,
        12 => Packet::Ping,
        14 => leave(&mut body, version)?,
        15 => return Err(Fault::Protocol { detail: "AUTH without a way of signing in" }),
        _ => return Err(Fault::Protocol { detail: "a packet that only servers send" }),
    };
    if body.is_empty() { Ok(packet) } else { Err(malformed("a packet that goes on after its end")) }
}

fn publish(flags: u8, mut body: Reader<'_>, version: Version) -> Result<Publish<'_>, Fault> {
    let (qos, dup) = (flags >> 1 & 3, flags & 8 != 0);
    if qos == 3 || qos == 0 && dup {
        return Err(malformed("a message of QoS 3, or a duplicate of QoS 0"));
    }
    let topic = body.text()?;
    let pkid = if qos > 0 { body.pkid()? } else { 0 };
    let mut publish = Publish {
        topic,
        payload: &[],
        qos,
        pkid,
        retain: flags & 1 != 0,
        alias: None,
        expiry: None,
        props: Passed::default(),
    };
    if version == Version::V5 {
        props::read(&mut body, PUBLISH, |id, value, bytes| {
            match (id, value) {
                (props::TOPIC_ALIAS, Value::Number(n)) => publish.alias = u16::try_from(n).ok(),
                (props::MESSAGE_EXPIRY, Value::Number(n)) => publish.expiry = Some(n),
                (props::RESPONSE_TOPIC, Value::Text(t)) if t.contains(['+', '#']) => {
                    return Err(Fault::Protocol { detail: "a response topic with wildcards" });
                }
                _ => publish.props.pieces.push(bytes),
            }
            Ok(())
        })?;
    }
    publish.payload = body.0;
    Ok(publish)
}

/// Identifier and reason of PUBACK, PUBREC, PUBREL and PUBCOMP [3.4].
fn acknowledged(body: &mut Reader<'_>, version: Version) -> Result<(u16, u8), Fault> {
    let pkid = body.pkid()?;
    let mut reason = 0;
    if version == Version::V5 && !body.is_empty() {
        reason = body.u8()?;
        if !body.is_empty() {
            props::skip(body, ACK)?;
        }
    }
    Ok((pkid, reason))
}

fn subscribe<'a>(body: &mut Reader<'a>, version: Version) -> Result<Packet<'a>, Fault> {
    let pkid = body.pkid()?;
    let mut id = None;
    if version == Version::V5 {
        props::read(body, &[props::SUBSCRIPTION_ID, props::USER_PROPERTY], |kind, value, _| {
            if kind == props::SUBSCRIPTION_ID {
                if value.number() == 0 {
                    return Err(Fault::Protocol { detail: "subscription identifier 0" });
                }
                id = Some(value.number());
            }
            Ok(())
        })?;
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        let (filter, options) = (body.text()?, body.u8()?);
        let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 || options & 3 == 3 {
            return Err(malformed("a subscription with reserved options"));
        }
        let retain = match options >> 4 & 3 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(Fault::Protocol { detail: "a subscription with retain handling 3" }),
        };
        filters.push(Filter {
            filter,
            qos: options & 3,
            no_local: options & 4 != 0,
            as_published: options & 8 != 0,
            retain,
        });
    }
    if filters.is_empty() {
        return Err(Fault::Protocol { detail: "SUBSCRIBE without a filter" });
    }
    Ok(Packet::Subscribe { pkid, filters, id })
}

fn unsubscribe<'a>(body: &mut Reader<'a>, version: Version) -> Result<Packet<'a>, Fault> {
    let pkid = body.pkid()?;
    if version == Version::V5 {
        props::skip(body, &[props::USER_PROPERTY])?;
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.text()?);
    }
    if filters.is_empty() {
        return Err(Fault::Protocol { detail: "UNSUBSCRIBE without a filter" });
    }
    Ok(Packet::Unsubscribe { pkid, filters })
}

fn leave<'a>(body: &mut Reader<'a>, version: Version) -> Result<Packet<'a>, Fault> {
    let (mut reason, mut session_expiry) = (0, None);
    if version == Version::V5 && !body.is_empty() {
        reason = body.u8()?;
        if !body.is_empty() {
            props::read(body, DISCONNECT, |id, value, _| {
                if id == props::SESSION_EXPIRY {
                    session_expiry = Some(value.number());
                }
                Ok(())
            })?;
        }
    }
    Ok(Packet::Disconnect { reason, session_expiry })
}

//! What the journal holds: one record for each change of what must survive a restart. Pure: bytes to records and
//! back, total on any bytes.
//!
//! A record on disk is `length (u32) | CRC-32 of the body (u32) | body`, numbers little-endian.

use bytes::Bytes;

use crate::core::Message;

/// Longest body that is believed: a message and room for its envelope.
const MAX_BODY: usize = 32 * 1024 * 1024;
const HEAD: usize = 8;

/// One change. `sid` names a session, `mid` a message; neither is ever used twice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record<'a> {
    /// A session is there, or was changed.
    Session {
        sid: u64,
        client: &'a str,
        user: Option<&'a str>,
        v5: bool,
        expiry: u32,
    },
    SessionEnd {
        sid: u64,
    },
    Subscribed {
        sid: u64,
        filter: &'a str,
        options: u8,
        id: u32,
    },
    Unsubscribed {
        sid: u64,
        filter: &'a str,
    },
    Message {
        mid: u64,
        message: Body<'a>,
    },
    /// A message waits for a session.
    Queued {
        sid: u64,
        mid: u64,
        qos: u8,
        retain: bool,
        shared: Option<&'a str>,
        ids: Vec<u32>,
    },
    /// It waits no more: acknowledged or dropped.
    Done {
        sid: u64,
        mid: u64,
        qos: u8,
    },
    /// It was sent with QoS 2 under this identifier.
    Sent {
        sid: u64,
        mid: u64,
        pkid: u16,
    },
    /// PUBREC came: only PUBCOMP is missing.
    Released {
        sid: u64,
        pkid: u16,
        mid: u64,
    },
    Completed {
        sid: u64,
        pkid: u16,
    },
    /// A message of QoS 2 came in, and its PUBREL has not.
    Received {
        sid: u64,
        pkid: u16,
    },
    ReceivedEnd {
        sid: u64,
        pkid: u16,
    },
    Retained {
        message: Body<'a>,
    },
    RetainedEnd {
        topic: &'a str,
    },
    /// The last record of a snapshot: it is whole.
    End,
}

/// A message's content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Body<'a> {
    topic: &'a str,
    payload: &'a [u8],
    props: &'a [u8],
    qos: u8,
    retain: bool,
    expires: i64,
}

impl<'a> Body<'a> {
    pub(crate) fn of(message: &'a Message) -> Self {
        Self {
            topic: &message.topic,
            payload: &message.payload,
            props: &message.props,
            qos: message.qos,
            retain: message.retain,
            expires: message.expires.unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn to_message(&self) -> Message {
        let payload = Bytes::copy_from_slice(self.payload);
        let mut message = Message::new(self.topic, payload, self.qos, self.retain);
        message.props = Bytes::copy_from_slice(self.props);
        message.expires = (self.expires != i64::MAX).then_some(self.expires);
        message
    }
}

struct Writer<'o>(&'o mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, n: u8) -> &mut Self {
        self.0.push(n);
        self
    }
    fn u16(&mut self, n: u16) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }
    fn u32(&mut self, n: u32) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }
    fn u64(&mut self, n: u64) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
        self
    }
    fn option(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.u8(0),
            Some(text) => self.u8(1).bytes(text.as_bytes()),
        }
    }
    fn body(&mut self, m: &Body<'_>) {
        self.bytes(m.topic.as_bytes()).bytes(m.payload).bytes(m.props);
        self.u8(m.qos).u8(m.retain.into()).u64(m.expires.cast_unsigned());
    }
}

/// Puts a record at the end of `out`.
pub(crate) fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let mut w = Writer(out);
    match record {
        Record::Session { sid, client, user, v5, expiry } => {
            w.u8(1).u64(*sid).bytes(client.as_bytes()).option(*user).u8((*v5).into()).u32(*expiry);
        }
        Record::SessionEnd { sid } => _ = w.u8(2).u64(*sid),
        Record::Subscribed { sid, filter, options, id } => {
            w.u8(3).u64(*sid).bytes(filter.as_bytes()).u8(*options).u32(*id);
        }
        Record::Unsubscribed { sid, filter } => _ = w.u8(4).u64(*sid).bytes(filter.as_bytes()),
        Record::Message { mid, message } => w.u8(5).u64(*mid).body(message),
        Record::Queued { sid, mid, qos, retain, shared, ids } => {
            w.u8(6).u64(*sid).u64(*mid).u8(*qos).u8((*retain).into()).option(*shared);
            w.u8(u8::try_from(ids.len()).unwrap_or(u8::MAX));
            for id in ids.iter().take(usize::from(u8::MAX)) {
                w.u32(*id);
            }
        }
        Record::Done { sid, mid, qos } => _ = w.u8(7).u64(*sid).u64(*mid).u8(*qos),
        Record::Sent { sid, mid, pkid } => _ = w.u8(8).u64(*sid).u64(*mid).u16(*pkid),
        Record::Released { sid, pkid, mid } => _ = w.u8(9).u64(*sid).u16(*pkid).u64(*mid),
        Record::Completed { sid, pkid } => _ = w.u8(10).u64(*sid).u16(*pkid),
        Record::Received { sid, pkid } => _ = w.u8(11).u64(*sid).u16(*pkid),
        Record::ReceivedEnd { sid, pkid } => _ = w.u8(12).u64(*sid).u16(*pkid),
        Record::Retained { message } => w.u8(13).body(message),
        Record::RetainedEnd { topic } => _ = w.u8(14).bytes(topic.as_bytes()),
        Record::End => _ = w.u8(15),
    }
    let body = out.get(start + HEAD..).unwrap_or_default();
    let (length, crc) = (u32::try_from(body.len()).unwrap_or(u32::MAX), crc32fast::hash(body));
    if let Some(head) = out.get_mut(start..start + HEAD) {
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&crc.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
    fn option(&mut self) -> Option<Option<&'a str>> {
        Some(if self.u8()? == 0 { None } else { Some(self.text()?) })
    }
    fn body(&mut self) -> Option<Body<'a>> {
        let (topic, payload, props) = (self.text()?, self.bytes()?, self.bytes()?);
        let (qos, retain) = (self.u8()?.min(2), self.u8()? != 0);
        Some(Body { topic, payload, props, qos, retain, expires: self.u64()?.cast_signed() })
    }
}

/// What stands at the front of a file.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// A record, and how many bytes it takes.
    Record(Record<'a>, usize),
    /// So many bytes that are no record, but where a next one may follow.
    Damaged(usize),
    /// The file ends here, or nothing after this can be told apart.
    Torn,
}

/// Reads the record at the front of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Found<'_> {
    let mut head = Reader(bytes);
    let (Some(length), Some(crc)) = (head.u32(), head.u32()) else { return Found::Torn };
    let length = length as usize;
    if length == 0 || length > MAX_BODY {
        return Found::Torn;
    }
    let Some(body) = head.take(length) else { return Found::Torn };
    if crc32fast::hash(body) != crc {
        return Found::Damaged(HEAD + length);
    }
    match record(Reader(body)) {
        Some(record) => Found::Record(record, HEAD + length),
        None => Found::Damaged(HEAD + length),
    }
}

fn record(mut r: Reader<'_>) -> Option<Record<'_>> {
    Some(match r.u8()? {
        1 => Record::Session {
            sid: r.u64()?,
            client: r.text()?,
            user: r.option()?,
            v5: r.u8()? != 0,
            expiry: r.u32()?,
        },
        2 => Record::SessionEnd { sid: r.u64()? },
        3 => Record::Subscribed { sid: r.u64()?, filter: r.text()?, options: r.u8()?, id: r.u32()? },
        4 => Record::Unsubscribed { sid: r.u64()?, filter: r.text()? },
        5 => Record::Message { mid: r.u64()?, message: r.body()? },
        6 => Record::Queued {
            sid: r.u64()?,
            mid: r.u64()?,
            qos: r.u8()?.min(2),
            retain: r.u8()? != 0,
            shared: r.option()?,
            ids: {
                let count = r.u8()?;
                (0..count).map(|_| r.u32()).collect::<Option<_>>()?
            },
        },
        7 => Record::Done { sid: r.u64()?, mid: r.u64()?, qos: r.u8()? },
        8 => Record::Sent { sid: r.u64()?, mid: r.u64()?, pkid: r.u16()? },
        9 => Record::Released { sid: r.u64()?, pkid: r.u16()?, mid: r.u64()? },
        10 => Record::Completed { sid: r.u64()?, pkid: r.u16()? },
        11 => Record::Received { sid: r.u64()?, pkid: r.u16()? },
        12 => Record::ReceivedEnd { sid: r.u64()?, pkid: r.u16()? },
        13 => Record::Retained { message: r.body()? },
        14 => Record::RetainedEnd { topic: r.text()? },
        15 => Record::End,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

//! What the packets of a connected client mean. No sockets and no waiting: packets go in, answers come out, and
//! everything that others see happens in the core.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_core::messages::check_topic;
use tokio::time::Instant;

use super::hello::ALIASES;
use crate::codec::{self, Fault, Packet, Publish, Reason, Version};
use crate::core::{Core, Leave, Message, Seat, count};
use crate::handle::Hub;
use crate::options::Limits;

/// An answer that waits for the disk, in the order of the packets that it answers.
struct Answer {
    after: u64,
    what: What,
}

enum What {
    /// PUBACK, PUBREC or PUBCOMP by its number.
    Ack(u8, u16, Reason),
    Subscribed(u16, Vec<u8>),
    Unsubscribed(u16, Vec<u8>),
}

/// One connection's side of the protocol.
pub(super) struct Talk {
    hub: Arc<Hub>,
    pub(super) seat: Seat,
    pub(super) version: Version,
    /// What CONNACK promised: packets of the client on their way, and bytes of one.
    in_flight: usize,
    pub(super) packet: usize,
    pub(super) keep_alive: u16,
    /// Whether CONNECT asked for a session that outlives the connection.
    expiring: bool,
    aliases: HashMap<u16, Box<str>>,
    answers: VecDeque<Answer>,
    /// Messages that may still come in this second.
    allowance: u32,
    allowance_of: Option<Instant>,
}

/// What to do after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Leave(Leave),
}

impl Talk {
    pub(super) fn new(
        hub: &Arc<Hub>,
        seat: Seat,
        version: Version,
        limits: &Limits,
        keep_alive: u16,
        expiring: bool,
    ) -> Self {
        Self {
            hub: hub.clone(),
            seat,
            version,
            in_flight: limits.in_flight,
            packet: limits.packet,
            keep_alive,
            expiring,
            aliases: HashMap::new(),
            answers: VecDeque::new(),
            allowance: 0,
            allowance_of: None,
        }
    }

    /// Whether answers wait for the disk.
    pub(super) fn waits(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether so many answers wait that no more packets should be read.
    pub(super) fn is_full(&self) -> bool {
        self.answers.len() >= self.in_flight
    }

    /// Gives the answers that the disk has come far enough for.
    pub(super) fn answer(&mut self, durable: u64, out: &mut BytesMut) {
        while let Some(front) = self.answers.front() {
            if front.after > durable {
                return;
            }
            match &front.what {
                What::Ack(kind, pkid, reason) => codec::ack(self.version, *kind, *pkid, *reason, out),
                What::Subscribed(pkid, codes) => codec::suback(self.version, *pkid, codes, out),
                What::Unsubscribed(pkid, codes) => codec::unsuback(self.version, *pkid, codes, out),
            }
            self.answers.pop_front();
        }
    }

    fn later(&mut self, core: &mut Core, after: u64, what: What) {
        if after > 0
            && let Some(journal) = &mut core.journal
        {
            journal.hurry();
        }
        self.answers.push_back(Answer { after, what });
    }

    /// A packet of `bytes` bytes.
    pub(super) fn said(
        &mut self,
        core: &mut Core,
        packet: Packet<'_>,
        bytes: usize,
        out: &mut BytesMut,
        now_us: i64,
    ) -> Result<Next, Fault> {
        let seat = self.seat;
        match packet {
            Packet::Publish(publish) => self.publish(core, &publish, bytes, now_us)?,
            Packet::PubAck { pkid } => core.acknowledged(seat, pkid)?,
            Packet::PubRec { pkid, reason } => {
                if let Some(reason) = core.received(seat, pkid, reason >= 0x80)? {
                    codec::pubrel(self.version, pkid, reason, out);
                }
            }
            Packet::PubComp { pkid } => core.completed(seat, pkid)?,
            Packet::PubRel { pkid } => {
                let released = core.released(seat, pkid)?;
                let reason = if released.known { Reason::Success } else { Reason::PacketIdNotFound };
                self.later(core, released.after, What::Ack(7, pkid, reason));
            }
            Packet::Subscribe { pkid, filters, id } => {
                let access = core.access(seat)?;
                let mut codes = Vec::with_capacity(filters.len());
                for filter in &filters {
                    let code = core.subscribe(seat, filter, id, &access)?;
                    codes.push(if self.version == Version::V3 { code.min(0x80) } else { code });
                }
                let after = core.session_seq(seat)?;
                self.later(core, after, What::Subscribed(pkid, codes));
            }
            Packet::Unsubscribe { pkid, filters } => {
                let codes = filters.iter().map(|f| core.unsubscribe(seat, f)).collect::<Result<_, _>>()?;
                let after = core.session_seq(seat)?;
                self.later(core, after, What::Unsubscribed(pkid, codes));
            }
            Packet::Ping => codec::pingresp(out),
            Packet::Disconnect { reason, session_expiry } => {
                if session_expiry.is_some_and(|s| s > 0) && !self.expiring {
                    return Err(Fault::Protocol { detail: "a session expiry that CONNECT had not" });
                }
                // 0x04: with its will.
                return Ok(Next::Leave(match reason {
                    0x04 => Leave::Failed,
                    _ => Leave::Polite { expiry: session_expiry },
                }));
            }
            Packet::Connect(_) => return Err(Fault::Protocol { detail: "a second CONNECT" }),
        }
        Ok(Next::GoOn)
    }

    fn publish(&mut self, core: &mut Core, p: &Publish<'_>, bytes: usize, now_us: i64) -> Result<(), Fault> {
        self.count_rate()?;
        let limit = self.in_flight;
        if self.version == Version::V5 && p.qos > 0 && self.answers.len() >= limit {
            return Err(Fault::InFlight { limit });
        }
        let known;
        let topic = match p.alias {
            None => p.topic,
            Some(alias) if alias == 0 || alias > ALIASES => return Err(Fault::TopicAlias),
            Some(alias) if p.topic.is_empty() => {
                known = self.aliases.get(&alias).cloned().ok_or(Fault::TopicAlias)?;
                &*known
            }
            Some(alias) => {
                self.aliases.insert(alias, p.topic.into());
                p.topic
            }
        };
        if check_topic(topic).is_err() {
            return Err(Fault::Topic { detail: "a topic has text and no wildcards" });
        }
        let (mut reason, mut after) = (Reason::Success, 0);
        let allowed = core.access(self.seat)?.may_publish(topic);
        core.note(self.seat, bytes, !allowed)?;
        if !allowed {
            count(&core.losses.not_authorized);
            reason = Reason::NotAuthorized;
        } else if self.version == Version::V5 && p.qos > 0 && p.retain && !core.may_retain(topic, p) {
            count(&core.losses.retained_full);
            reason = Reason::QuotaExceeded;
        } else {
            let fresh = match p.qos {
                2 => core.accept_once(self.seat, p.pkid)?,
                _ => Some(0),
            };
            // One that comes again before its release was delivered already.
            if let Some(once) = fresh {
                let outcome = core.publish(Some(self.seat.key), message(topic, p, now_us), now_us);
                after = once.max(outcome.after);
            }
        }
        match p.qos {
            0 => {}
            1 => self.later(core, after, What::Ack(4, p.pkid, reason)),
            _ => self.later(core, after, What::Ack(5, p.pkid, reason)),
        }
        Ok(())
    }

    /// A bucket of one second.
    fn count_rate(&mut self) -> Result<(), Fault> {
        let limit = self.hub.rate();
        if limit == 0 {
            return Ok(());
        }
        if self.allowance == 0 {
            let now = Instant::now();
            let since = self.allowance_of.map_or(1.0, |at| (now - at).as_secs_f64().min(1.0));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to limit
            let more = (f64::from(limit) * since) as u32;
            if more == 0 {
                return Err(Fault::Rate { limit });
            }
            (self.allowance, self.allowance_of) = (more, Some(now));
        }
        self.allowance -= 1;
        Ok(())
    }
}

/// The message owns its bytes alone: a slice of the read buffer would keep the whole buffer.
fn message(topic: &str, p: &Publish<'_>, now_us: i64) -> Message {
    let mut message = Message::new(topic, Bytes::copy_from_slice(p.payload), p.qos, p.retain);
    message.props = Bytes::from(p.props.concat());
    message.expires = p.expiry.map(|s| now_us.saturating_add(i64::from(s) * 1_000_000));
    message
}

//! What goes out to a client and what it acknowledges; QoS 2 on the way in.

use bytes::BytesMut;

use super::retained::Step;
use super::session::{InFlight, Queued};
use super::{Core, Seat, count};
use crate::codec::{self, Delivery, Fault, Reason};
use crate::journal::Record;

/// Bytes for a client that are made at a time.
const CHUNK: usize = 64 * 1024;

/// What PUBREL found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) known: bool,
    /// How far the disk must be before it is answered.
    pub(crate) after: u64,
}

impl Core {
    /// Puts what waits for a client at the end of `out`. True if there is more than fitted.
    ///
    /// # Errors
    /// When the connection has to end: another one took its session, or the broker stops.
    pub(crate) fn take(&mut self, seat: Seat, out: &mut BytesMut, now_us: i64) -> Result<bool, Fault> {
        let session = self.seated(seat)?;
        if let Some(fault) = session.conn.as_mut().and_then(|c| c.fault.take()) {
            return Err(fault);
        }
        let before = session.bytes;
        let more = self.fill(seat, out, now_us)?;
        let session = self.seated(seat)?;
        let after = session.bytes;
        if let Some(conn) = &mut session.conn {
            conn.awake = more;
        }
        self.queued_bytes = (self.queued_bytes + after).saturating_sub(before);
        Ok(more)
    }

    fn fill(&mut self, seat: Seat, out: &mut BytesMut, now_us: i64) -> Result<bool, Fault> {
        let start = out.len();
        self.resend(seat, out, now_us)?;
        loop {
            if out.len() - start >= CHUNK {
                return Ok(true);
            }
            let session = self.seated(seat)?;
            let room = session.conn.as_ref().is_some_and(|c| session.in_flight.len() < c.window);
            // Retained messages first: they are older than what waits.
            if let Some(replay) = session.replay.front() {
                if replay.qos > 0 && !room {
                    return Ok(false);
                }
                match self.replay(seat)? {
                    Replayed::Message(queued) => self.send(seat, queued, out, now_us)?,
                    Replayed::Next => {}
                    Replayed::Later => return Ok(true),
                }
                continue;
            }
            let Some(front) = session.queue.front() else { return Ok(false) };
            if front.qos > 0 && !room {
                return Ok(false);
            }
            let Some(queued) = session.queue.pop_front() else { return Ok(false) };
            session.bytes -= queued.message.size();
            self.send(seat, queued, out, now_us)?;
        }
    }

    /// The next retained message of the first subscription that still gets some.
    fn replay(&mut self, seat: Seat) -> Result<Replayed, Fault> {
        let Self { retained, sessions, .. } = self;
        let session = sessions.get_mut(seat.key).and_then(|s| s.as_deref_mut()).ok_or(Fault::Replaced)?;
        let Some(replay) = session.replay.front_mut() else { return Ok(Replayed::Next) };
        Ok(match retained.next(&replay.filter, replay.last.as_deref()) {
            Step::Found(message) => {
                replay.last = Some(message.topic.clone());
                let qos = replay.qos.min(message.qos);
                let ids = replay.id.map(|id| Box::from([id]));
                Replayed::Message(Queued { message, qos, retain: true, ids, shared: None, kept: false })
            }
            Step::Later(at) => {
                replay.last = Some(at);
                Replayed::Later
            }
            Step::End => {
                session.replay.pop_front();
                Replayed::Next
            }
        })
    }

    fn send(&mut self, seat: Seat, queued: Queued, out: &mut BytesMut, now_us: i64) -> Result<(), Fault> {
        let Self { sessions, journal, losses, .. } = self;
        let session = sessions.get_mut(seat.key).and_then(|s| s.as_deref_mut()).ok_or(Fault::Replaced)?;
        let sid = session.sid;
        let max = session.conn.as_ref().map_or(0, |c| c.max_packet);
        let pkid = if queued.qos > 0 { session.next_pkid() } else { 0 };
        let delivery = delivery(&queued, pkid, false, now_us);
        let lost = if queued.message.expired(now_us) {
            Some(&losses.expired)
        } else if max < u32::MAX as usize && codec::publish_len(session.version, &delivery) > max {
            Some(&losses.too_large)
        } else {
            None
        };
        let stored = queued.message.stored();
        if let Some(lost) = lost {
            count(lost);
            if queued.kept
                && let Some(journal) = journal
            {
                journal.append(&Record::Done { sid, mid: stored, qos: queued.qos });
            }
            return Ok(());
        }
        let start = out.len();
        codec::publish(session.version, &delivery, out);
        session.traffic.sent += 1;
        session.traffic.sent_bytes += (out.len() - start) as u64;
        if queued.qos == 0 {
            return Ok(());
        }
        if queued.qos == 2
            && queued.kept
            && let Some(journal) = journal
        {
            journal.append(&Record::Sent { sid, mid: stored, pkid });
        }
        session.bytes += queued.message.size();
        session.in_flight.push_back(InFlight { pkid, queued: Some(queued) });
        Ok(())
    }

    /// Sends again what the connection before left unacknowledged [4.4].
    fn resend(&mut self, seat: Seat, out: &mut BytesMut, now_us: i64) -> Result<(), Fault> {
        let session = self.seated(seat)?;
        let version = session.version;
        let Some(conn) = &mut session.conn else { return Ok(()) };
        while conn.resend < conn.resent && out.len() < CHUNK {
            let Some(flight) = session.in_flight.get(conn.resend) else { break };
            match &flight.queued {
                Some(queued) => codec::publish(version, &delivery(queued, flight.pkid, true, now_us), out),
                None => codec::pubrel(version, flight.pkid, Reason::Success, out),
            }
            conn.resend += 1;
        }
        Ok(())
    }

    /// PUBACK.
    pub(crate) fn acknowledged(&mut self, seat: Seat, pkid: u16) -> Result<(), Fault> {
        let session = self.seated(seat)?;
        let sid = session.sid;
        let taken = session.take_in_flight(pkid, |f| f.queued.as_ref().is_some_and(|q| q.qos == 1));
        if let Some(queued) = taken.and_then(|f| f.queued) {
            self.queued_bytes -= queued.message.size();
            if queued.kept {
                self.done(sid, &queued.message, queued.qos);
            }
        }
        Ok(())
    }

    /// PUBREC. Whether PUBREL is to be sent, and with which reason; none if the client did not want the message.
    pub(crate) fn received(&mut self, seat: Seat, pkid: u16, refused: bool) -> Result<Option<Reason>, Fault> {
        let session = self.seated(seat)?;
        let sid = session.sid;
        let Some(at) = session.in_flight.iter().position(|f| f.pkid == pkid) else {
            return Ok((!refused).then_some(Reason::PacketIdNotFound));
        };
        if refused {
            let taken = session.take_in_flight(pkid, |_| true);
            if let Some(queued) = taken.and_then(|f| f.queued) {
                self.queued_bytes -= queued.message.size();
                if queued.kept {
                    self.done(sid, &queued.message, queued.qos);
                }
            }
            return Ok(None);
        }
        let flight = session.in_flight.get_mut(at);
        let queued =
            flight.filter(|f| f.queued.as_ref().is_some_and(|q| q.qos == 2)).and_then(|f| f.queued.take());
        if let Some(queued) = queued {
            let size = queued.message.size();
            session.bytes -= size;
            self.queued_bytes -= size;
            if sid != 0
                && let Some(journal) = &mut self.journal
            {
                let mid = if queued.kept { queued.message.stored() } else { 0 };
                journal.append(&Record::Released { sid, pkid, mid });
            }
        }
        Ok(Some(Reason::Success))
    }

    /// PUBCOMP.
    pub(crate) fn completed(&mut self, seat: Seat, pkid: u16) -> Result<(), Fault> {
        let session = self.seated(seat)?;
        let sid = session.sid;
        let taken = session.take_in_flight(pkid, |f| f.queued.is_none());
        if taken.is_some()
            && sid != 0
            && let Some(journal) = &mut self.journal
        {
            journal.append(&Record::Completed { sid, pkid });
        }
        Ok(())
    }

    /// A message of QoS 2 came. None if it came before; else how far the disk must be before it is answered.
    pub(crate) fn accept_once(&mut self, seat: Seat, pkid: u16) -> Result<Option<u64>, Fault> {
        let limit = self.limits.in_flight;
        let session = self.seated(seat)?;
        if session.received.contains(&pkid) {
            return Ok(None);
        }
        if session.received.len() >= limit {
            return Err(Fault::InFlight { limit });
        }
        session.received.insert(pkid);
        let sid = session.sid;
        Ok(Some(match &mut self.journal {
            Some(journal) if sid != 0 => journal.append(&Record::Received { sid, pkid }),
            _ => 0,
        }))
    }

    /// PUBREL.
    pub(crate) fn released(&mut self, seat: Seat, pkid: u16) -> Result<Released, Fault> {
        let session = self.seated(seat)?;
        let (known, sid) = (session.received.remove(&pkid), session.sid);
        let after = match &mut self.journal {
            // Not before the disk has it: else a new message could be taken for this one after a restart.
            Some(journal) if known && sid != 0 => journal.append(&Record::ReceivedEnd { sid, pkid }),
            _ => 0,
        };
        Ok(Released { known, after })
    }

    /// Notes what a client sent.
    pub(crate) fn note(&mut self, seat: Seat, bytes: usize, denied: bool) -> Result<(), Fault> {
        let traffic = &mut self.seated(seat)?.traffic;
        traffic.received += 1;
        traffic.received_bytes += bytes as u64;
        traffic.denied += u64::from(denied);
        Ok(())
    }
}

enum Replayed {
    Message(Queued),
    /// The subscription has all of them.
    Next,
    /// Many were passed over: others first.
    Later,
}

fn delivery(queued: &Queued, pkid: u16, dup: bool, now_us: i64) -> Delivery<'_> {
    let message = &queued.message;
    Delivery {
        topic: &message.topic,
        payload: &message.payload,
        props: &message.props,
        expiry: message.left(now_us),
        ids: queued.ids.as_deref().unwrap_or_default(),
        qos: queued.qos,
        dup,
        retain: queued.retain,
        pkid,
    }
}

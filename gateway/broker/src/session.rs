//! The protocol state of one client: what each packet of it means and what it is answered. No sockets, no
//! waiting: packets go in, bytes for the client and packets for the router come out.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use gateway_core::messages::matches;
use rumqttd::Notification;
use rumqttd::protocol::{
    Filter, Packet, PingResp, PubAck, PubAckReason, PubComp, PubCompReason, PubRec, PubRecReason, PubRel,
    PubRelReason, QoS, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe,
};

use crate::hub::{Admitted, Hub};
use crate::packets::{self, Fault, Inbound, Said};

/// Identifiers of retained messages begin here; the router's end at 100.
const OWN_IDS: u16 = 1000;

/// What a persistent session keeps while its client is away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// Filters and their QoS.
    pub(crate) filters: BTreeMap<String, u8>,
    /// Identifiers of messages of QoS 2 that came and are not yet released.
    received: HashSet<u16>,
}

/// Acknowledgements on their way to the router, which wants them in the order of its messages.
type InOrder = VecDeque<(u16, Option<Packet>)>;

/// One client's state.
pub(crate) struct Session {
    hub: Arc<Hub>,
    pub(crate) kept: Kept,
    sent: InOrder,
    released: InOrder,
    next_own: u16,
    /// Subscriptions on their way through the router, oldest first.
    pending: VecDeque<Pending>,
    /// Position of the next message of each filter in the router's queue.
    cursors: HashMap<String, u64>,
    /// Bytes for the client.
    pub(crate) out: BytesMut,
    /// Packets for the router.
    pub(crate) up: Vec<Packet>,
}

struct Pending {
    /// None: asked by the front itself, nobody waits.
    pkid: Option<u16>,
    filters: Vec<(String, u8)>,
    codes: Vec<SubscribeReasonCode>,
}

/// What to do after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    /// The client says goodbye.
    Leave,
}

impl Session {
    /// The session of a client that has just connected. What it had subscribed to before is subscribed to
    /// again if the router does not know it any more.
    pub(crate) fn new(hub: Arc<Hub>, kept: Kept, router_knows: bool) -> Self {
        let mut session = Self {
            hub,
            kept,
            sent: VecDeque::new(),
            released: VecDeque::new(),
            next_own: OWN_IDS,
            pending: VecDeque::new(),
            cursors: HashMap::new(),
            out: BytesMut::with_capacity(16 * 1024),
            up: Vec::new(),
        };
        if !router_knows && !session.kept.filters.is_empty() {
            let filters: Vec<_> = session.kept.filters.iter().map(|(f, q)| (f.clone(), *q)).collect();
            session.subscribe_router(Pending { pkid: None, filters, codes: Vec::new() });
        }
        session
    }

    /// A packet of the client.
    pub(crate) fn said(&mut self, said: Said) -> Result<Next, Fault> {
        match said {
            Said::Publish(message) => self.publish(&message)?,
            Said::Other(packet) => match *packet {
                Packet::PubRel(rel, _) => {
                    self.kept.received.remove(&rel.pkid);
                    let comp = PubComp { pkid: rel.pkid, reason: PubCompReason::Success };
                    self.reply(Packet::PubComp(comp, None))?;
                }
                Packet::PubAck(ack, p) => self.acknowledged(ack.pkid, Packet::PubAck(ack, p)),
                Packet::PubRec(rec, _) if rec.pkid >= OWN_IDS => {
                    let rel = PubRel { pkid: rec.pkid, reason: PubRelReason::Success };
                    self.reply(Packet::PubRel(rel, None))?;
                }
                Packet::PubRec(rec, p) => self.acknowledged(rec.pkid, Packet::PubRec(rec, p)),
                Packet::PubComp(comp, p) => {
                    in_order(&mut self.released, comp.pkid, Packet::PubComp(comp, p), &mut self.up);
                }
                Packet::Subscribe(s, _) => self.subscribe(&s)?,
                Packet::Unsubscribe(u, _) => self.unsubscribe(u)?,
                Packet::PingReq(_) => self.reply(Packet::PingResp(PingResp))?,
                Packet::Disconnect(..) => return Ok(Next::Leave),
                other => {
                    let detail = format!("unexpected packet: {}", name_of(&other));
                    return Err(Fault::Protocol { detail });
                }
            },
        }
        Ok(Next::GoOn)
    }

    fn reply(&mut self, packet: Packet) -> Result<(), Fault> {
        packets::encode(packet, &mut self.out).map(|_| ())
    }

    fn publish(&mut self, message: &Inbound) -> Result<(), Fault> {
        let topic = packets::topic_of(&message.topic)?;
        // A message of QoS 2 that comes again before its release was delivered already.
        if message.qos < 2 || self.kept.received.insert(message.pkid) {
            self.up.push(self.hub.deliver(topic, &message.payload, message.retain));
        }
        let pkid = message.pkid;
        match message.qos {
            1 => self.reply(Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None)),
            2 => self.reply(Packet::PubRec(PubRec { pkid, reason: PubRecReason::Success }, None)),
            _ => Ok(()),
        }
    }

    fn acknowledged(&mut self, pkid: u16, packet: Packet) {
        if pkid < OWN_IDS {
            in_order(&mut self.sent, pkid, packet, &mut self.up);
        }
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), Fault> {
        if subscribe.pkid == 0 {
            return Err(Fault::Protocol { detail: "SUBSCRIBE with identifier 0".to_owned() });
        }
        let mut pending = Pending { pkid: Some(subscribe.pkid), filters: vec![], codes: vec![] };
        for filter in &subscribe.filters {
            let known = self.kept.filters.get(&filter.path).copied();
            let room = known.is_some() || self.kept.filters.len() < self.hub.options.max_filters;
            let qos = filter.qos as u8;
            if !packets::may_subscribe(&filter.path) || !room {
                pending.codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            match self.hub.admit_filter(&filter.path) {
                Admitted::New => _ = self.cursors.insert(filter.path.clone(), 0),
                Admitted::Known => {}
                Admitted::No => {
                    pending.codes.push(SubscribeReasonCode::Failure);
                    continue;
                }
            }
            if known.is_some_and(|old| old != qos) {
                // The router keeps the QoS that a filter came with first.
                self.unsubscribe_router(vec![filter.path.clone()]);
            }
            self.kept.filters.insert(filter.path.clone(), qos);
            pending.codes.push(SubscribeReasonCode::Success(filter.qos));
            pending.filters.push((filter.path.clone(), qos));
        }
        if pending.filters.is_empty() {
            self.subscribed(pending)
        } else {
            self.subscribe_router(pending);
            Ok(())
        }
    }

    fn subscribe_router(&mut self, pending: Pending) {
        let filter = |(path, qos): &(String, u8)| Filter {
            path: path.clone(),
            qos: rumqttd::protocol::qos(*qos).unwrap_or(QoS::AtMostOnce),
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let filters = pending.filters.iter().map(filter).collect();
        self.up.push(Packet::Subscribe(Subscribe { pkid: 1, filters }, None));
        self.pending.push_back(pending);
    }

    /// The router has taken a subscription: what was retained comes after it, so that nothing falls between.
    fn subscribed(&mut self, pending: Pending) -> Result<(), Fault> {
        let Some(pkid) = pending.pkid else { return Ok(()) };
        self.reply(Packet::SubAck(SubAck { pkid, return_codes: pending.codes }, None))?;
        for (filter, qos) in pending.filters {
            for (topic, payload) in self.hub.retained(&filter) {
                let pkid = self.next_own;
                self.next_own = self.next_own.checked_add(1).unwrap_or(OWN_IDS);
                packets::encode_retained(&topic, &payload, qos, pkid, &mut self.out);
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), Fault> {
        let (pkid, mut filters) = (unsubscribe.pkid, unsubscribe.filters);
        if pkid == 0 || filters.is_empty() {
            return Err(Fault::Protocol { detail: "UNSUBSCRIBE without identifier or filter".to_owned() });
        }
        filters.retain(|f| self.kept.filters.remove(f).is_some());
        if !filters.is_empty() {
            self.unsubscribe_router(filters);
        }
        // The router answers once for each filter that it knew; the client wants one answer.
        self.reply(Packet::UnsubAck(UnsubAck { pkid, reasons: vec![] }, None))
    }

    fn unsubscribe_router(&mut self, filters: Vec<String>) {
        for filter in &filters {
            self.cursors.remove(filter);
        }
        self.up.push(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None));
    }

    /// Something from the router. False if the router waits to be told when it is done.
    pub(crate) fn notified(&mut self, notification: Notification) -> Result<bool, Fault> {
        if let Notification::Forward(forward) = notification {
            if let Some((_, at)) = forward.cursor {
                self.count_lost(&forward.publish.topic, at);
            }
            // Properties belong to MQTT 5.
            if let Some(pkid) = packets::encode(Packet::Publish(forward.publish, None), &mut self.out)? {
                self.sent.push_back((pkid, None));
            }
            return Ok(true);
        }
        let packet: Option<Packet> = notification.into();
        match packet {
            None => return Ok(false),
            Some(Packet::SubAck(..)) => {
                if let Some(pending) = self.pending.pop_front() {
                    self.subscribed(pending)?;
                }
            }
            Some(Packet::PubRel(rel, _)) => {
                self.released.push_back((rel.pkid, None));
                self.reply(Packet::PubRel(rel, None))?;
            }
            Some(Packet::Disconnect(..)) => return Err(Fault::Router),
            Some(_) => {}
        }
        Ok(true)
    }

    /// The router drops the oldest messages of a client that is too slow and says nothing; the jump in the
    /// position of its messages does. Only messages that one filter alone matches can be told apart.
    fn count_lost(&mut self, topic: &[u8], at: u64) {
        let Ok(topic) = std::str::from_utf8(topic) else { return };
        let mut matching = self.kept.filters.keys().filter(|f| matches(topic, f));
        let (Some(filter), None) = (matching.next(), matching.next()) else { return };
        if let Some(next) = self.cursors.get_mut(filter) {
            self.hub.lost_slow.fetch_add(at.saturating_sub(*next), Ordering::Relaxed);
            *next = at + 1;
        } else {
            self.cursors.insert(filter.clone(), at + 1);
        }
    }
}

/// Notes that `pkid` is acknowledged by `packet`, and gives the router what is now in order. One that was
/// never sent is left out: it would make the router end the link.
fn in_order(queue: &mut InOrder, pkid: u16, packet: Packet, up: &mut Vec<Packet>) {
    if let Some((_, slot)) = queue.iter_mut().find(|(id, slot)| *id == pkid && slot.is_none()) {
        *slot = Some(packet);
    }
    while let Some((_, Some(_))) = queue.front() {
        up.extend(queue.pop_front().and_then(|(_, packet)| packet));
    }
}

fn name_of(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(..) => "a second CONNECT",
        Packet::ConnAck(..) => "CONNACK",
        Packet::SubAck(..) => "SUBACK",
        Packet::UnsubAck(..) => "UNSUBACK",
        Packet::PingResp(..) => "PINGRESP",
        _ => "one of another version",
    }
}

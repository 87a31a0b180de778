//! One client's session: what it subscribed to, what waits for it, what is on its way. It outlives the connection
//! if the client wants that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::message::Message;
use crate::access::Access;
use crate::codec::{Fault, Filter, Version};

/// A message that waits for a client.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: u8,
    /// The retain flag that the client sees.
    pub(crate) retain: bool,
    /// Identifiers of the subscriptions that it matches; most have none.
    pub(crate) ids: Option<Box<[u32]>>,
    /// The shared subscription that it came by.
    pub(crate) shared: Option<Arc<str>>,
    /// Whether the journal knows that it waits.
    pub(crate) kept: bool,
}

/// A message of QoS 1 or 2 that was sent.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) pkid: u16,
    /// None: PUBREC came, and PUBCOMP is waited for.
    pub(crate) queued: Option<Queued>,
}

/// Retained messages still to be given for a subscription.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) filter: Box<str>,
    pub(crate) qos: u8,
    pub(crate) id: Option<u32>,
    /// The last topic given.
    pub(crate) last: Option<Box<str>>,
}

/// How a filter is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) id: Option<u32>,
}

impl Subscription {
    pub(crate) fn of(filter: &Filter<'_>, id: Option<u32>) -> Self {
        Self { qos: filter.qos, no_local: filter.no_local, as_published: filter.as_published, id }
    }

    /// Options in one byte, as in SUBSCRIBE.
    pub(crate) fn options(self) -> u8 {
        self.qos | u8::from(self.no_local) << 2 | u8::from(self.as_published) << 3
    }

    pub(crate) fn from_options(options: u8, id: u32) -> Self {
        Self {
            qos: (options & 3).min(2),
            no_local: options & 4 != 0,
            as_published: options & 8 != 0,
            id: (id != 0).then_some(id),
        }
    }
}

/// The connection that a session has at the moment.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Tells this connection from later ones of the same session.
    pub(crate) epoch: u64,
    pub(crate) notify: Arc<Notify>,
    /// It was woken and has not looked yet.
    pub(crate) awake: bool,
    /// Most messages on their way to the client.
    pub(crate) window: usize,
    /// Largest packet that the client takes.
    pub(crate) max_packet: usize,
    /// Why it has to end.
    pub(crate) fault: Option<Fault>,
    /// What it may do.
    pub(crate) access: Arc<Access>,
    pub(crate) peer: Box<str>,
    pub(crate) listener: Arc<str>,
    pub(crate) since_us: i64,
    /// In-flight messages from before that were sent again: so many from the front.
    pub(crate) resent: usize,
    pub(crate) resend: usize,
}

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Messages that did not fit into its queue.
    pub(crate) dropped: u64,
    /// Messages that it had no right to send.
    pub(crate) denied: u64,
}

/// A will and when it is due, once the connection has failed.
#[derive(Debug)]
pub(crate) struct Testament {
    pub(crate) message: Message,
    pub(crate) delay_us: i64,
    pub(crate) expiry_us: Option<i64>,
    pub(crate) due: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// Its number in the journal; 0: it does not survive.
    pub(crate) sid: u64,
    pub(crate) client: Box<str>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) version: Version,
    /// Whether its last listener lets a client do everything that no rule names.
    pub(crate) open: bool,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub(crate) expiry: u32,
    pub(crate) filters: BTreeMap<Box<str>, Subscription>,
    pub(crate) filter_bytes: usize,
    pub(crate) conn: Option<Conn>,
    pub(crate) queue: VecDeque<Queued>,
    /// Bytes of queue and in flight.
    pub(crate) bytes: usize,
    pub(crate) in_flight: VecDeque<InFlight>,
    pub(crate) last_pkid: u16,
    /// Identifiers of messages of QoS 2 that came and are not yet released.
    pub(crate) received: BTreeSet<u16>,
    pub(crate) replay: VecDeque<Replay>,
    pub(crate) will: Option<Testament>,
    pub(crate) ends: Option<i64>,
    pub(crate) traffic: Traffic,
}

impl Session {
    pub(crate) fn new(client: &str, user: Option<&str>, version: Version) -> Self {
        Self {
            sid: 0,
            client: client.into(),
            user: user.map(Into::into),
            version,
            // Until a connection says otherwise nothing is taken from it.
            open: true,
            expiry: 0,
            filters: BTreeMap::new(),
            filter_bytes: 0,
            conn: None,
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: VecDeque::new(),
            last_pkid: 0,
            received: BTreeSet::new(),
            replay: VecDeque::new(),
            will: None,
            ends: None,
            traffic: Traffic::default(),
        }
    }

    /// The next identifier that no message on its way has.
    pub(crate) fn next_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            // In order as a rule: the newest is at the back, and few are on their way.
            if !self.in_flight.iter().any(|f| f.pkid == self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    /// Takes a message off those on their way.
    pub(crate) fn take_in_flight(
        &mut self,
        pkid: u16,
        wanted: impl Fn(&InFlight) -> bool,
    ) -> Option<InFlight> {
        let at = self.in_flight.iter().position(|f| f.pkid == pkid && wanted(f))?;
        let taken = self.in_flight.remove(at)?;
        self.bytes -= taken.queued.as_ref().map_or(0, |q| q.message.size());
        if let Some(conn) = &mut self.conn {
            conn.resent -= usize::from(at < conn.resent);
            conn.resend -= usize::from(at < conn.resend);
        }
        Some(taken)
    }

    /// Wakes the connection, if it is not awake already.
    pub(crate) fn wake(&mut self, wakes: &mut Vec<Arc<Notify>>) {
        if let Some(conn) = &mut self.conn
            && !conn.awake
        {
            conn.awake = true;
            wakes.push(conn.notify.clone());
        }
    }
}

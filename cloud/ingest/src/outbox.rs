//! The way to one session from elsewhere: messages to its gateway, and the order to end.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use common::names::Code;
use common::wire::{Down, Refusal};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Packets that may wait for one client.
pub(crate) const QUEUE: usize = 256;

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// the client left
    Closed,
    /// the link is gone; why
    Lost(String),
    /// the gateway signed in again
    TakenOver,
    /// this program stops
    Draining,
    /// the client does what it must not, or cannot be served
    Refused { cause: &'static str, code: Code, detail: String },
}

impl End {
    pub(crate) fn refused(cause: &'static str, code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { cause, code, detail: detail.into() }
    }

    /// What the gateway is told, if anything.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let (code, detail) = match self {
            Self::Refused { code, detail, .. } => (*code, detail.clone()),
            Self::TakenOver => (Code::Conflict, "this gateway signed in again elsewhere".to_owned()),
            Self::Draining => (Code::Unavailable, "the cloud is stopping".to_owned()),
            Self::Closed | Self::Lost(_) => return None,
        };
        Some(Refusal { code, detail })
    }
}

/// The way to one session. The connection closes when all clones of its sender are gone, so that answers to
/// what was accepted still go out.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) session: u64,
    down: String,
    packets: mpsc::Sender<Packet>,
    /// Numbers of packets that came and are not acknowledged, in their order, and whether that is due: MQTT wants the
    /// acknowledgements in this order, while live frames are stored before backlog.
    expected: Mutex<VecDeque<(u16, bool)>>,
    end: Mutex<Option<End>>,
    /// Starts when somebody ends the session.
    pub(crate) ended: CancellationToken,
}

impl Outbox {
    pub(crate) fn new(session: u64, down: String, packets: mpsc::Sender<Packet>) -> Self {
        Self {
            session,
            down,
            packets,
            expected: Mutex::default(),
            end: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Puts a packet in line; false if there is no room, or nobody to write it.
    pub(crate) fn packet(&self, packet: Packet) -> bool {
        self.packets.try_send(packet).is_ok()
    }

    /// Puts a message to the gateway in line. It goes at most once: it is for this session or for none.
    pub(crate) fn message(&self, message: &Down) -> bool {
        self.packet(Packet::Publish(Publish::new(self.down.clone(), QoS::AtMostOnce, message.encode())))
    }

    /// Notes that a packet came which is to be acknowledged.
    pub(crate) fn expect(&self, pkid: Option<u16>) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.extend(pkid.map(|pkid| (pkid, false)));
    }

    /// Acknowledges a packet, once all before it are; false if there is no room, or nobody to write it.
    pub(crate) fn puback(&self, pkid: Option<u16>) -> bool {
        let Some(pkid) = pkid else { return true };
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = expected.iter_mut().find(|(n, due)| *n == pkid && !due) {
            found.1 = true;
        }
        let mut written = true;
        while let Some(&(pkid, true)) = expected.front() {
            expected.pop_front();
            written &= self.packet(Packet::PubAck(PubAck::new(pkid)));
        }
        written
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn end(&self, why: End) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.ended.cancel();
    }

    /// Ends the session because its client does not read what is written to it.
    pub(crate) fn overrun(&self) {
        self.end(End::refused("overrun", Code::QueueFull, "the gateway does not read its messages"));
    }

    pub(crate) fn why(&self) -> End {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(End::Closed)
    }
}

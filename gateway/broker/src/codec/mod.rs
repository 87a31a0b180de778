//! Bytes to packets and back, MQTT 3.1.1 and 5, the server's side. Pure and total: whatever comes gives a packet,
//! a wish for more bytes, or a `Fault`. Packets borrow from the bytes that they were read from. No state here:
//! what a packet means in its session is `core`'s.
//!
//! Sources: OASIS MQTT 3.1.1 (chapters 2 and 3) and MQTT 5.0 (chapters 2 and 3), numbers in brackets are theirs.

mod connect;
mod encode;
mod packets;
mod props;
mod reader;

pub(crate) use connect::{Connect, Will};
pub(crate) use encode::{
    Delivery, Granted, ack, connack, disconnect, pingresp, publish, publish_len, pubrel, suback, unsuback,
};
pub(crate) use packets::{Filter, Packet, Publish, RetainHandling, decode};

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

/// Reason codes [5.0, 2.4] that the broker uses. What MQTT 3.1.1 says instead is at the place that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    Success = 0x00,
    NoSubscriptionExisted = 0x11,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    UnsupportedVersion = 0x84,
    ClientIdNotValid = 0x85,
    BadUserOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    RateTooHigh = 0x96,
    QuotaExceeded = 0x97,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("closed by the client")]
    Closed,
    #[error("no CONNECT in time")]
    Silent,
    #[error("tls handshake failed: {detail}")]
    Tls { detail: String },
    #[error("websocket handshake failed: {detail}")]
    WebSocket { detail: String },
    #[error("the first packet is no CONNECT")]
    NotConnect,
    #[error("protocol level {level} is not spoken here, only 4 (MQTT 3.1.1) and 5")]
    Version { level: u8 },
    #[error("malformed packet: {detail}")]
    Malformed { detail: &'static str },
    #[error("packet of {bytes} bytes, more than {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("against the protocol: {detail}")]
    Protocol { detail: &'static str },
    #[error("topic not valid: {detail}")]
    Topic { detail: &'static str },
    #[error("topic alias not valid")]
    TopicAlias,
    #[error("more than {limit} messages without acknowledgement")]
    InFlight { limit: usize },
    #[error("more than {limit} messages a second")]
    Rate { limit: u32 },
    #[error("nothing heard for 1.5 times the keep-alive of {seconds} s")]
    KeepAlive { seconds: u16 },
    #[error("takes nothing")]
    SlowReader,
    #[error("connection lost: {detail}")]
    Io { detail: String },
    #[error("replaced by a new connection of the same client id")]
    Replaced,
    #[error("the broker stops")]
    Stopping,
    #[error("made room for a newer connection")]
    Crowded,
    #[error("its user is gone")]
    UserGone,
    #[error("refused: {detail}")]
    Refused { detail: &'static str },
}

impl Fault {
    /// What DISCONNECT of MQTT 5 says; none where nobody would read it.
    pub(crate) fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Malformed { .. } => Reason::MalformedPacket,
            Self::Protocol { .. } | Self::NotConnect => Reason::ProtocolError,
            Self::TooLarge { .. } => Reason::PacketTooLarge,
            Self::Topic { .. } => Reason::TopicNameInvalid,
            Self::TopicAlias => Reason::TopicAliasInvalid,
            Self::InFlight { .. } => Reason::ReceiveMaximumExceeded,
            Self::Rate { .. } => Reason::RateTooHigh,
            Self::KeepAlive { .. } => Reason::KeepAliveTimeout,
            Self::Replaced => Reason::SessionTakenOver,
            Self::Stopping => Reason::ServerShuttingDown,
            Self::UserGone => Reason::NotAuthorized,
            _ => return None,
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

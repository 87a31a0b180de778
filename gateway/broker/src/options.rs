//! What the broker can be told, and why it does not start.

use std::net::SocketAddr;
use std::time::Duration;

/// How the broker is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen. Loopback only in this version: there are no topic rights yet.
    pub listen: SocketAddr,
    /// Largest packet of a client, bytes.
    pub max_payload: usize,
    /// Most clients at a time.
    pub max_connections: usize,
    /// A connection that has not said CONNECT by then is closed.
    pub connect_timeout: Duration,
    /// A client that takes nothing for so long is closed.
    pub write_timeout: Duration,
    /// Most filters of one client.
    pub max_filters: usize,
    /// Most different filters of all clients. The router keeps a queue for each and never forgets one.
    pub max_filters_total: usize,
    /// Most persistent sessions (`clean_session` = false).
    pub max_sessions: usize,
    /// Most retained messages, and most bytes of them.
    pub max_retained: (usize, usize),
    /// Bytes of one segment of a filter's queue.
    pub segment_bytes: usize,
    /// Segments of a filter's queue: a client that falls behind more than this loses the oldest.
    pub segment_count: usize,
    /// Messages that wait for a reader inside of the gateway.
    pub inbox: usize,
    /// Messages that wait to be published from inside of the gateway.
    pub outbox: usize,
}

impl Options {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_payload: 256 * 1024,
            max_connections: 256,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            max_filters: 1000,
            max_filters_total: 10_000,
            max_sessions: 256,
            max_retained: (20_000, 32 * 1024 * 1024),
            segment_bytes: 256 * 1024,
            segment_count: 8,
            inbox: 16 * 1024,
            outbox: 16 * 1024,
        }
    }
}

/// Why the broker does not start or has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not on loopback.
    #[error(
        "the broker listens on loopback only, and {listen} is not: it has no topic rights yet, so that whoever reaches it could feign every sensor"
    )]
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The router has ended, most likely by a panic.
    #[error("the router has ended")]
    Router,
    /// The router takes no link.
    #[error("the router takes no link: {detail}")]
    Link {
        /// What it said.
        detail: String,
    },
}

//! What the broker can be told, and why it does not start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::Clock;

use crate::access::Rule;
use crate::auth::Users;

/// How the broker is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where clients connect; at least one. The first is what `Handle::local_addr` tells.
    pub listeners: Vec<Listener>,
    /// What each client may do to the others' memory and time.
    pub limits: Limits,
    /// Who may publish and subscribe to what. Who no rule names has the listener's default.
    pub rights: Vec<Rule>,
    /// Who may sign in.
    pub users: Users,
    /// Folder of sessions and retained messages. None: they end with the process.
    pub dir: Option<PathBuf>,
    /// Pause between two `fdatasync`; at most 100 ms.
    pub sync_interval: Duration,
    /// A connection that has not said CONNECT by then is closed; TLS and WebSocket handshakes included.
    pub connect_timeout: Duration,
    /// A client that takes nothing for so long is closed; zero: never.
    pub stall_timeout: Duration,
    /// Longest keep-alive, seconds: a client that asks for more, or for none, is given this (MQTT 5) or held to
    /// it (3.1.1: only if it asked for one). 0: any.
    pub keep_alive_max: u16,
    /// Messages that wait for a reader inside of the gateway.
    pub inbox: usize,
    /// Where time comes from.
    pub clock: Clock,
}

/// One place where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address; port 0: any.
    pub listen: SocketAddr,
    /// TLS, with certificate and key.
    pub tls: Option<Tls>,
    /// MQTT over WebSocket.
    pub websocket: bool,
    /// Whether clients without user and password may connect.
    pub allow_anonymous: bool,
    /// Whether a client that no rule names may do everything; else nothing.
    pub open: bool,
}

impl Listener {
    /// A plain one: open to everyone on loopback; beyond, users must sign in and have rights.
    pub fn new(listen: SocketAddr) -> Self {
        let local = listen.ip().is_loopback();
        Self { listen, tls: None, websocket: false, allow_anonymous: local, open: local }
    }
}

/// Files of a TLS listener, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Bounds. Each is for one client unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet, bytes.
    pub packet: usize,
    /// Messages a second that a client may publish; 0: any. More closes it.
    pub rate: u32,
    /// Messages on their way without acknowledgement, in each direction.
    pub in_flight: usize,
    /// Subscriptions.
    pub filters: usize,
    /// Bytes of all filters.
    pub filter_bytes: usize,
    /// Messages that wait for a client.
    pub queued: usize,
    /// Bytes that wait for a client.
    pub queued_bytes: usize,
    /// Bytes that wait for all clients together.
    pub queued_total: usize,
    /// Clients at a time.
    pub connections: usize,
    /// Persistent sessions.
    pub sessions: usize,
    /// Longest life of a session without connection, seconds; `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    /// Retained messages of all clients, and bytes of them.
    pub retained: (usize, usize),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet: 256 * 1024,
            rate: 0,
            in_flight: 256,
            filters: 1000,
            filter_bytes: 256 * 1024,
            queued: 10_000,
            queued_bytes: 8 * 1024 * 1024,
            queued_total: 64 * 1024 * 1024,
            connections: 256,
            sessions: 256,
            session_expiry_s: 7 * 24 * 3600,
            retained: (100_000, 64 * 1024 * 1024),
        }
    }
}

impl Options {
    /// The defaults, listening on `listen` without TLS, with nothing on disk.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listeners: vec![Listener::new(listen)],
            limits: Limits::default(),
            rights: Vec::new(),
            users: Users::default(),
            dir: None,
            sync_interval: Duration::from_millis(20),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
            keep_alive_max: 0,
            inbox: 16 * 1024,
            clock: Clock::system(),
        }
    }
}

/// Why the broker does not start or has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anyone in the network could connect.
    #[error(
        "{listen} is not on loopback: clients beyond the box need users (a passwords file), or say `allow_anonymous = true`"
    )]
    Open {
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
    /// Certificate or key cannot be used.
    #[error("tls of {listen}: {detail}")]
    Tls {
        /// The address.
        listen: SocketAddr,
        /// What is wrong.
        detail: String,
    },
    /// Another process has the folder of sessions.
    #[error("the broker's folder {dir} is in use by another process")]
    InUse {
        /// Which.
        dir: PathBuf,
    },
    /// The folder of sessions cannot be made or read.
    #[error("broker's folder {dir}")]
    Folder {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

//! What the ingress needs, and why it may not start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloud_core::{Authority, GatewayKey, Storage, World};
use common::Clock;

use crate::metrics::Metrics;
use crate::sink::Sink;

/// Certificate and key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What may be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Without it the listener speaks plain TCP.
    pub tls: Option<Tls>,
    /// Connections at a time, those that have not signed in yet included.
    pub max_connections: usize,
    /// Time for TLS, CONNECT and the first `Hello`.
    pub connect_timeout: Duration,
    /// A session that says nothing for this long has lost its link.
    pub silence: Duration,
    /// Time for a client to take what is written to it.
    pub write_timeout: Duration,
    /// Most frames in one commit.
    pub commit_frames: usize,
    /// Most bytes of memory for frames that wait for a commit, over all sessions: for live ones, for backlog, and for
    /// batches that are not unpacked yet, each.
    pub waiting_bytes: usize,
    /// Samples that storage may have yet to compact: beyond it no backlog is taken, beyond twice as many nothing.
    pub waiting_samples: usize,
    /// Pause before a failed commit is tried once more.
    pub retry_after: Duration,
    /// When a gateway's box was silent for so long, another one takes its place without a person. Default 24 h.
    pub replace_after: Duration,
}

impl Options {
    /// The defaults, listening there without TLS.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            max_connections: 4096,
            connect_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            commit_frames: 512,
            waiting_bytes: 32 << 20,
            waiting_samples: 16_000_000,
            retry_after: Duration::from_millis(200),
            replace_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// The parts that the ingress works with.
#[derive(Clone)]
pub struct Parts {
    /// Where frames become durable.
    pub storage: Arc<dyn Storage>,
    /// The live state: the ingress reads schemas here.
    pub world: World,
    /// Takes what came.
    pub sink: Arc<dyn Sink>,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// Gateways seen before, with the time of the last word (UTC us).
    pub gateways: Vec<(GatewayKey, i64)>,
    /// Issues and reads certificates of boxes; none: they sign in with secrets alone.
    pub authority: Option<Arc<dyn Authority>>,
}

/// Why the ingress cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A PEM file cannot be read.
    #[error("cannot read {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not do.
    #[error("certificate and key are refused")]
    Tls(#[from] rustls::Error),
}

//! How a listener is entered, and how many may stand in the doorway.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::lock;
use crate::options::{Error, Listener, Tls};

/// How a listener is entered. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) websocket: bool,
    pub(crate) allow_anonymous: bool,
    pub(crate) open: bool,
    /// For the operator: `mqtts 0.0.0.0:8883`.
    pub(crate) name: Arc<str>,
}

impl Door {
    pub(crate) fn new(listener: &Listener) -> Result<Self, Error> {
        let (listen, secure) = (listener.listen, listener.tls.is_some());
        let tls = match &listener.tls {
            None => None,
            Some(tls) => Some(acceptor(tls).map_err(|detail| Error::Tls { listen, detail })?),
        };
        let scheme = match (listener.websocket, secure) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        Ok(Self {
            tls,
            websocket: listener.websocket,
            allow_anonymous: listener.allow_anonymous,
            open: listener.open,
            name: format!("{scheme} {listen}").into(),
        })
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let open = |path: &Path| {
        File::open(path).map(BufReader::new).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    let mut chain = Vec::new();
    for cert in CertificateDer::pem_reader_iter(open(&tls.cert)?) {
        chain.push(cert.map_err(|e| format!("{}: {e}", tls.cert.display()))?);
    }
    if chain.is_empty() {
        return Err(format!("{} holds no certificate", tls.cert.display()));
    }
    let key =
        PrivateKeyDer::from_pem_reader(open(&tls.key)?).map_err(|e| format!("{}: {e}", tls.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| e.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections that have not said CONNECT yet. When there are too many, the oldest has to go: whoever holds
/// connections open in silence keeps nobody else out.
pub(crate) struct Newcomers {
    most: usize,
    waiting: Mutex<VecDeque<(u64, CancellationToken)>>,
    next: std::sync::atomic::AtomicU64,
}

/// A newcomer's place, given up when dropped.
pub(crate) struct Waiting<'a> {
    all: &'a Newcomers,
    number: u64,
    /// Set when it has to make room.
    pub(crate) crowded: CancellationToken,
}

impl Newcomers {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default(), next: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(crate) fn enter(&self) -> Waiting<'_> {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let crowded = CancellationToken::new();
        let mut waiting = lock(&self.waiting);
        waiting.push_back((number, crowded.clone()));
        while waiting.len() > self.most {
            if let Some((_, oldest)) = waiting.pop_front() {
                oldest.cancel();
            }
        }
        drop(waiting);
        Waiting { all: self, number, crowded }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.all.waiting);
        if let Ok(at) = waiting.binary_search_by_key(&self.number, |(n, _)| *n) {
            waiting.remove(at);
        }
    }
}

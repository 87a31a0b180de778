//! The gate before the server: who is not known gets no channel, and nobody gets more connections than there are. The
//! crate's own server knows no CA, keeps what it refuses without end, lets anybody fill its sessions without encryption
//! and counts no connections; so it listens on loopback alone, and what comes through here is passed on to it.

mod frame;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Clock, Drain};
use gateway_core::DropCounts;
use gateway_opcua::pki::{Certificate, Expected, Pki};
use opcua::types::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use frame::{HEADER, Header, Kind, MOST_OPEN, Opens, TYPE_END};

/// A client that has opened no channel so long after it came is closed.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// A chunk whose rest does not come so long is the last of its client.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);
/// Certificates looked at together.
const JUDGES: usize = 4;

/// The gate.
pub(crate) struct Gate {
    pub(crate) pki: Pki,
    /// Where the server behind looks for certificates that it may take.
    pub(crate) admitted: PathBuf,
    pub(crate) anonymous: bool,
    pub(crate) clock: Clock,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) judges: Arc<Semaphore>,
    pub(crate) crowded: Arc<AtomicU64>,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) largest: usize,
}

impl Gate {
    pub(crate) fn new(
        pki: Pki,
        admitted: PathBuf,
        options: &crate::options::Options,
        drops: &DropCounts,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            pki,
            admitted,
            anonymous: options.anonymous,
            clock,
            places: Arc::new(Semaphore::new(options.limits.connections)),
            judges: Arc::new(Semaphore::new(JUDGES)),
            crowded: drops.counter("opcua", "too_many_connections"),
            refused: drops.counter("opcua", "refused"),
            largest: options.limits.message.max(MOST_OPEN),
        })
    }

    /// Lets clients in until drained.
    pub(crate) async fn run(self: &Arc<Self>, listener: &TcpListener, behind: SocketAddr, drain: &Drain) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                () = drain.started() => return,
                Some(_) = clients.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((client, from)) => {
                        let Ok(place) = self.places.clone().try_acquire_owned() else {
                            self.crowded.fetch_add(1, Ordering::Relaxed);
                            continue;
                        };
                        let gate = self.clone();
                        clients.spawn(async move {
                            gate.client(client, from, behind).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection of an OPC UA client");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn client(&self, client: TcpStream, from: SocketAddr, behind: SocketAddr) {
        let _ = client.set_nodelay(true);
        let Ok(server) = TcpStream::connect(behind).await else {
            tracing::warn!("OPC UA server is not there");
            return;
        };
        let _ = server.set_nodelay(true);
        let (mut from_server, to_server) = server.into_split();
        let (from_client, mut to_client) = client.into_split();
        let mut passage = Passage { from: from_client, to: to_server, open: None, plain: None, fresh: true };
        let ended = tokio::select! {
            ended = self.watch(&mut passage, from) => ended,
            _ = tokio::io::copy(&mut from_server, &mut to_client) => Ok(()),
        };
        if let Err(Refused { status, reason }) = ended {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = %from, %status, reason, "an OPC UA client is refused");
            let _ = timeout(OPEN_WITHIN, to_client.write_all(&frame::error(status, &reason))).await;
        }
        let _ = to_client.shutdown().await;
    }

    /// Passes chunks on until the client ends, or is refused.
    async fn watch(&self, passage: &mut Passage, from: SocketAddr) -> Result<(), Refused> {
        loop {
            let header = if passage.open.is_some() {
                passage.header().await?
            } else {
                let slow = |_| Refused::new(StatusCode::BadTimeout, "no channel was opened in time");
                timeout(OPEN_WITHIN, passage.header()).await.map_err(slow)??
            };
            let Some((header, bytes)) = header else { return Ok(()) };
            let largest = if header.kind == Kind::Message { self.largest } else { MOST_OPEN };
            if header.size > largest {
                return Err(Refused::new(StatusCode::BadTcpMessageTooLarge, "a chunk is too large"));
            }
            let slow = |_| Refused::new(StatusCode::BadTimeout, "a chunk did not come in time");
            timeout(CHUNK_WITHIN, self.chunk(passage, header, bytes, from)).await.map_err(slow)??;
        }
    }

    async fn chunk(
        &self,
        passage: &mut Passage,
        header: Header,
        bytes: [u8; HEADER],
        from: SocketAddr,
    ) -> Result<(), Refused> {
        match header.kind {
            Kind::Hello if passage.open.is_none() => passage.rest(&bytes, header.size - HEADER).await,
            Kind::Hello => Err(Refused::new(StatusCode::BadTcpMessageTypeInvalid, "a second hello")),
            Kind::Open => {
                let body = passage.take(header.size - HEADER).await?;
                let plain = self.judge(&body, from).await?;
                if passage.plain.is_some_and(|was| was != plain) {
                    let reason = "a channel is renewed with another security";
                    return Err(Refused::new(StatusCode::BadSecurityChecksFailed, reason));
                }
                (passage.open, passage.plain) = (Some(()), Some(plain));
                passage.put(&bytes).await?;
                passage.put(&body).await
            }
            Kind::Message | Kind::Close if passage.open.is_none() => {
                Err(Refused::new(StatusCode::BadTcpMessageTypeInvalid, "a message before a channel is open"))
            }
            Kind::Message | Kind::Close => {
                let mut first = bytes.to_vec();
                let looked = passage.plain == Some(true) && !self.anonymous && header.kind == Kind::Message;
                if looked && passage.fresh {
                    let more = TYPE_END.min(header.size) - HEADER;
                    first.extend(passage.take(more).await?);
                    if !frame::needs_no_session(&first) {
                        let reason = "sessions need a security policy other than None";
                        return Err(Refused::new(StatusCode::BadSecurityPolicyRejected, reason));
                    }
                }
                passage.fresh = header.last;
                passage.rest(&first, header.size - first.len()).await
            }
        }
    }

    /// Whether the one who opens a channel may; true if nobody says who it is.
    async fn judge(&self, body: &[u8], from: SocketAddr) -> Result<bool, Refused> {
        let invalid = || Refused::new(StatusCode::BadCertificateInvalid, "the certificate cannot be read");
        let der = match frame::opens(body).ok_or_else(invalid)? {
            // Also where no session is allowed: endpoints are asked for so.
            Opens::Plain => return Ok(true),
            Opens::Signed(der) => der.to_vec(),
        };
        let certificate = Certificate::from_der(&der).map_err(|_| invalid())?;
        let (pki, admitted, now_us) = (self.pki.clone(), self.admitted.clone(), self.clock.now_us());
        let Ok(turn) = self.judges.clone().acquire_owned().await else { return Err(invalid()) };
        let judged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            admit(&pki, &admitted, &certificate, now_us)
        });
        let failed = |e: tokio::task::JoinError| Refused::new(StatusCode::BadUnexpectedError, &e.to_string());
        judged.await.map_err(failed)?.map_err(|reason| {
            tracing::warn!(client = %from, reason, "trust it with `twinway opcua trust`, if it is one of yours");
            Refused::new(StatusCode::BadSecurityChecksFailed, "the certificate is not trusted")
        })?;
        Ok(false)
    }
}

/// Puts a certificate where the server behind looks, or takes it away from there.
fn admit(pki: &Pki, admitted: &Path, certificate: &Certificate, now_us: i64) -> Result<(), String> {
    let path = admitted.join("trusted").join(certificate.admitted_name());
    match pki.judge(certificate, Expected::default(), now_us) {
        Ok(()) => {
            if std::fs::read(&path).is_ok_and(|there| there == certificate.der()) {
                return Ok(());
            }
            std::fs::write(&path, certificate.der()).map_err(|e| format!("{}: {e}", path.display()))
        }
        Err(doubts) => {
            let _ = std::fs::remove_file(&path);
            if let Err(error) = pki.reject(certificate) {
                tracing::warn!(%error, "a refused certificate cannot be kept");
            }
            Err(doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
    }
}

struct Refused {
    status: StatusCode,
    reason: String,
}

impl Refused {
    fn new(status: StatusCode, reason: &str) -> Self {
        Self { status, reason: reason.to_owned() }
    }
}

/// The way from a client to the server.
struct Passage {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    open: Option<()>,
    /// Whether the channel has no security; none before one was opened.
    plain: Option<bool>,
    /// Whether the next chunk begins a message.
    fresh: bool,
}

impl Passage {
    /// The next chunk's header; none at the end.
    async fn header(&mut self) -> Result<Option<(Header, [u8; HEADER])>, Refused> {
        let mut bytes = [0; HEADER];
        if self.from.read_exact(&mut bytes).await.is_err() {
            return Ok(None);
        }
        let wrong = || Refused::new(StatusCode::BadTcpMessageTypeInvalid, "this is not OPC UA");
        Header::parse(&bytes).map(|h| Some((h, bytes))).ok_or_else(wrong)
    }

    async fn take(&mut self, len: usize) -> Result<Vec<u8>, Refused> {
        let mut bytes = vec![0; len];
        let read = self.from.read_exact(&mut bytes).await;
        read.map_err(|_| Refused::new(StatusCode::BadConnectionClosed, "the connection broke"))?;
        Ok(bytes)
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let gone = |_| Refused::new(StatusCode::BadConnectionClosed, "the server closed the connection");
        self.to.write_all(bytes).await.map_err(gone)
    }

    /// Passes on what was read, and so many bytes more.
    async fn rest(&mut self, first: &[u8], len: usize) -> Result<(), Refused> {
        self.put(first).await?;
        let wanted = len as u64;
        let passed = tokio::io::copy(&mut (&mut self.from).take(wanted), &mut self.to).await;
        match passed {
            Ok(n) if n == wanted => Ok(()),
            _ => Err(Refused::new(StatusCode::BadConnectionClosed, "the connection broke")),
        }
    }
}

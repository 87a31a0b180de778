//! The server's side of TLS, what a box shows of itself there, and the two kinds of stream as one.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cloud_core::Authority;
use cloud_core::enrol::Peer;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ProtocolVersion, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::options::{Error, Tls};

/// How often the files of the certificate are looked at, when somebody connects.
const LOOK: Duration = Duration::from_secs(10);

/// A connection, whatever it goes over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a connection is, and who showed a certificate of ours on it.
pub(crate) type Opened = (Box<dyn Stream>, Option<Peer>);

/// Takes TLS connections, with the certificate that is in the files then.
pub(crate) struct Acceptor {
    files: Tls,
    authority: Option<Arc<dyn Authority>>,
    now: Mutex<Now>,
}

struct Now {
    acceptor: TlsAcceptor,
    written: [Option<SystemTime>; 2],
    looked: Instant,
}

impl Acceptor {
    pub(crate) fn new(files: Tls, authority: Option<Arc<dyn Authority>>) -> Result<Self, Error> {
        let written = written(&files);
        let acceptor = acceptor(&files, authority.as_ref())?;
        let now = Mutex::new(Now { acceptor, written, looked: Instant::now() });
        Ok(Self { files, authority, now })
    }

    /// A renewed certificate is shown to whoever connects next; one that cannot be read leaves the one before.
    fn current(&self) -> TlsAcceptor {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() >= LOOK {
            now.looked = Instant::now();
            let found = written(&self.files);
            if found != now.written {
                match acceptor(&self.files, self.authority.as_ref()) {
                    Ok(acceptor) => {
                        tracing::info!("the ingress has a new certificate");
                        (now.acceptor, now.written) = (acceptor, found);
                    }
                    Err(error) => tracing::warn!(%error, "the ingress's new certificate is not taken"),
                }
            }
        }
        now.acceptor.clone()
    }

    async fn open(&self, tcp: TcpStream) -> io::Result<Opened> {
        let stream = self.current().accept(tcp).await?;
        let tls = stream.get_ref().1;
        let peer = match (tls.peer_certificates().and_then(<[_]>::first), &self.authority) {
            (Some(der), Some(authority)) => {
                if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
                    return Err(io::Error::other("a certificate over less than TLS 1.3"));
                }
                Some(authority.read(der).ok_or_else(|| io::Error::other("certificate names no gateway"))?)
            }
            _ => None,
        };
        Ok((Box::new(stream), peer))
    }
}

fn written(files: &Tls) -> [Option<SystemTime>; 2] {
    let at = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    [at(&files.cert), at(&files.key)]
}

fn acceptor(files: &Tls, authority: Option<&Arc<dyn Authority>>) -> Result<TlsAcceptor, Error> {
    let pem = |path: &Path, source| Error::Pem { path: path.to_owned(), source };
    let certs = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| pem(&files.cert, e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| pem(&files.key, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.root().into())?;
            let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(Boxes { inner, authority: authority.clone() }))
        }
    };
    Ok(TlsAcceptor::from(Arc::new(builder.with_single_cert(certs, key)?)))
}

pub(crate) async fn open(tls: Option<&Acceptor>, tcp: TcpStream) -> io::Result<Opened> {
    match tls {
        None => Ok((Box::new(tcp), None)),
        Some(acceptor) => acceptor.open(tcp).await,
    }
}

/// Certificates of boxes. One that expired while its box was away is taken for a while yet, so that it is renewed: what
/// makes it worth nothing at once is that it was revoked, and that is asked of storage at each sign-in. So is one that is not
/// good yet: this authority issued it while its clock was ahead, and its box has no other.
struct Boxes {
    inner: Arc<dyn ClientCertVerifier>,
    authority: Arc<dyn Authority>,
}

impl std::fmt::Debug for Boxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Boxes")
    }
}

impl ClientCertVerifier for Boxes {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let (from_us, until_us) =
            self.authority.read(end_entity).map_or((0, i64::MAX), |p| (p.not_before_us, p.not_after_us));
        let seconds = |us: i64| u64::try_from(us / 1_000_000).unwrap_or(0);
        let (until, grace) = (seconds(until_us), seconds(self.authority.grace_us()));
        let at = if now.as_secs() <= until.saturating_add(grace) {
            now.as_secs().min(until).max(seconds(from_us))
        } else {
            now.as_secs()
        };
        self.inner.verify_client_cert(
            end_entity,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(at)),
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

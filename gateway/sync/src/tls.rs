//! The client's side of TLS: whose certificate is believed, when, and what the box shows of itself.

use std::sync::Arc;
use std::time::Duration;

use common::{Clock, authorities};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::enrolment::{Enrolment, not_before_s};
use crate::options::{Error, Tls};

const MAX_AUTHORITIES: usize = 2000;

/// A TLS client on ring. One that is enrolled shows its certificate, speaks TLS 1.3 only, and believes whom the cloud
/// named; another one trusts the file's authorities.
pub(crate) fn client_config(
    tls: &Tls,
    enrolment: Option<&Enrolment>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, Error> {
    let told = enrolment.and_then(|e| e.enrolled.trust.as_deref());
    let (pem, from) = match (&tls.ca_file, told) {
        (None, Some(told)) => (told.as_bytes().to_vec(), "what the cloud named".to_owned()),
        (file, _) => {
            let trusted = authorities::load(file.as_deref());
            let trusted = trusted.map_err(|e| Error::Tls { detail: e.to_string() })?;
            (trusted.pem, trusted.from.display().to_string())
        }
    };
    let fail = |detail: &dyn std::fmt::Display| Error::Tls { detail: format!("{from}: {detail}") };
    let mut roots = RootCertStore::empty();
    // One authority that cannot be read does not spoil the others.
    for certificate in CertificateDer::pem_slice_iter(&pem).take(MAX_AUTHORITIES).flatten() {
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(fail(&"holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| fail(&e))?;
    let verifier = Arc::new(InTime { inner, clock: clock.clone() });
    let versions =
        if enrolment.is_some() { &[&rustls::version::TLS13][..] } else { rustls::DEFAULT_VERSIONS };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| fail(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match enrolment {
        None => builder.with_no_client_auth(),
        Some(enrolment) => {
            let own =
                |e: &dyn std::fmt::Display| Error::Tls { detail: format!("the box's certificate: {e}") };
            let chain = CertificateDer::pem_slice_iter(enrolment.enrolled.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| own(&e))?;
            let key = PrivateKeyDer::from_pem_slice(enrolment.key().as_bytes()).map_err(|e| own(&e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| own(&e))?
        }
    };
    Ok(Arc::new(config))
}

/// Certificates are held against the clock, if it can be believed. A box that has not been told the time yet cannot say
/// that one is not good yet; it can still say that one has expired.
#[derive(Debug)]
struct InTime {
    inner: Arc<WebPkiServerVerifier>,
    clock: Clock,
}

impl ServerCertVerifier for InTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now = if self.clock.is_synchronised() {
            now
        } else {
            let from = not_before_s(end_entity).unwrap_or(0);
            UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(from)))
        };
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
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

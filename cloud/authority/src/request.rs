//! Signing requests of boxes: read, and held against their own signature.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::request::CertReq;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// The public key of a signing request: a point on P-256.
#[derive(Debug)]
pub(crate) struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a request, PEM.
    pub(crate) fn of(pem: &str) -> Result<Self, String> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| format!("no PEM of a signing request: {e}"))?;
        let request = CertReq::from_der(&der).map_err(|e| e.to_string())?;
        let spki = &request.info.public_key;
        let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        if spki.algorithm.oid != EC_PUBLIC_KEY || curve != Some(P256) || request.algorithm.oid != ECDSA_SHA256
        {
            return Err("its key is not of P-256 with SHA-256".into());
        }
        let bits = |b: &x509_cert::der::asn1::BitString| b.as_bytes().map(<[u8]>::to_vec);
        let key = bits(&spki.subject_public_key).ok_or("its key is not whole bytes")?;
        let signature = bits(&request.signature).ok_or("its signature is not whole bytes")?;
        let signed = request.info.to_der().map_err(|e| e.to_string())?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key)
            .verify(&signed, &signature)
            .map_err(|_| "it is not signed by its own key")?;
        Ok(Self(key))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

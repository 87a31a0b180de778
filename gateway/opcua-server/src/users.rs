//! Certificates that users sign in with. The crate tells its authenticator a thumbprint alone, by which nobody could look
//! at a certificate, trust it or find its CA; so the tokens are looked at as they are decoded, and the last ones kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gateway_opcua::pki::{Certificate, Expected, Folder, MOST_BYTES, Pki};
use opcua::crypto::Thumbprint;
use opcua::server::ServerHandle;
use opcua::types::{
    BinaryDecodable, Context, DynEncodable, EncodingResult, NodeId, ObjectId, TypeLoader,
    TypeLoaderCollection, TypeLoaderPriority, X509IdentityToken,
};

/// Certificates that are kept until their signature is checked, which is at once.
const MOST_SEEN: usize = 32;
/// Of a user, bytes.
const LONGEST_NAME: usize = 63;

/// The certificates that came last. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl Seen {
    /// Looks at tokens from now on: before the crate's own loader, which would leave nothing to see.
    pub(crate) fn watch(&self, server: &ServerHandle) {
        let mut loaders = server.info().type_loaders.write();
        let mut all = TypeLoaderCollection::new_empty();
        all.add(Arc::new(self.clone()));
        loaders.iter().for_each(|loader| all.add(loader.clone()));
        *loaders = all;
    }

    fn note(&self, der: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|there| there != der);
        if seen.len() >= MOST_SEEN {
            seen.pop_front();
        }
        seen.push_back(der.to_vec());
    }

    fn find(&self, thumbprint: &str) -> Option<Certificate> {
        let seen: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let mut read = seen.iter().rev().filter_map(|der| Certificate::from_der(der).ok());
        read.find(|c| c.thumbprint() == thumbprint)
    }
}

impl TypeLoader for Seen {
    fn load_from_binary(
        &self,
        node_id: &NodeId,
        stream: &mut dyn std::io::Read,
        ctx: &Context<'_>,
        _: Option<usize>,
    ) -> Option<EncodingResult<Box<dyn DynEncodable>>> {
        if *node_id != ObjectId::X509IdentityToken_Encoding_DefaultBinary {
            return None;
        }
        Some(X509IdentityToken::decode(stream, ctx).map(|token| {
            if let Some(der) = token.certificate_data.value.as_deref().filter(|d| d.len() <= MOST_BYTES) {
                self.note(der);
            }
            Box::new(token) as Box<dyn DynEncodable>
        }))
    }

    fn priority(&self) -> TypeLoaderPriority {
        TypeLoaderPriority::Core
    }
}

/// Whether somebody can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What of a name that somebody gave may stand in a log.
pub(crate) fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

/// Whom a certificate lets in, with its fingerprint.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) fingerprint: String,
}

/// Judges the certificate whose holder has just signed with it. Reads files.
///
/// # Errors
/// Whom it names, as far as that is known, and why it is not taken. It is kept among the rejected.
pub(crate) fn judge(pki: &Pki, seen: &Seen, of: &Thumbprint, now_us: i64) -> Result<User, (String, String)> {
    let thumbprint = of.as_hex_string();
    let unknown = || (String::new(), format!("certificate {thumbprint} cannot be read"));
    let certificate = seen.find(&thumbprint).ok_or_else(unknown)?;
    let name = certificate.common_name().unwrap_or_default();
    let shown = shown(&name);
    let users = pki.users().map_err(|e| (shown.clone(), e.to_string()))?;
    let mut doubts: Vec<String> = match users.judge(&certificate, Expected::default(), now_us) {
        Ok(()) => Vec::new(),
        Err(doubts) => doubts.iter().map(ToString::to_string).collect(),
    };
    if !is_name(&name) {
        doubts.push(format!("its common name is no name of a user (1 to {LONGEST_NAME} bytes)"));
    }
    if doubts.is_empty() {
        return Ok(User { name, fingerprint: certificate.fingerprint() });
    }
    if let Err(error) = users.reject(&certificate) {
        tracing::warn!(%error, folder = Folder::Rejected.name(), "a refused certificate cannot be kept");
    }
    Err((shown, doubts.join("; ")))
}

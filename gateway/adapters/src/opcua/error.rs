//! Why there is no session with a server, and what a person can do about it.

use gateway_opcua::pki::{Doubt, PkiError};
use opcua::types::StatusCode;

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server cannot be reached, or does not answer.
    #[error("cannot reach {url}: {detail}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        detail: String,
    },
    /// The server has no endpoint as configured.
    #[error("the server offers no endpoint as configured ({wanted}); it offers {offered}{remedy}")]
    NoEndpoint {
        /// What the configuration wants.
        wanted: String,
        /// What there is.
        offered: String,
        /// What helps.
        remedy: String,
    },
    /// The server's certificate is not taken.
    #[error("{}{}; {}", earlier(.before.as_deref()), join(.doubts), remedies(.doubts))]
    Certificate {
        /// Why.
        doubts: Vec<Doubt>,
        /// Fingerprint of the one that was taken before, if it was another.
        before: Option<String>,
    },
    /// The password would be readable on the network.
    #[error(
        "the server wants the password in plain text: use an encrypted endpoint, or write `accept = [\"plain_password\"]`"
    )]
    PlainPassword,
    /// A file of the configuration cannot be used.
    #[error("{path}: {detail}")]
    File {
        /// Which.
        path: String,
        /// Why.
        detail: String,
    },
    /// Our own certificate cannot be made or read.
    #[error("own certificate: {0}")]
    Own(#[from] PkiError),
    /// The server refused.
    #[error("the server refused: {status}{}", hint(*.status))]
    Refused {
        /// What it said.
        status: StatusCode,
    },
    /// The adapter's own settings do not make a client.
    #[error("no client: {detail}")]
    Client {
        /// Why.
        detail: String,
    },
}

impl ConnectError {
    /// Whether another attempt soon is of no use, and may do harm: a wrong password locks accounts.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status } if is_refusal(*status))
    }

    /// Whether it was refused on our side: nothing was sent that could do harm, and a person must do something.
    pub(super) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Certificate { .. }
                | Self::PlainPassword
                | Self::File { .. }
                | Self::NoEndpoint { .. }
                | Self::Own(_)
        )
    }
}

/// Whether a status means that who we are, or what we show, is not taken.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadIdentityTokenInvalid
            | StatusCode::BadIdentityTokenRejected
            | StatusCode::BadUserAccessDenied
            | StatusCode::BadUserSignatureInvalid
            | StatusCode::BadSecurityChecksFailed
            | StatusCode::BadSecurityPolicyRejected
            | StatusCode::BadSecurityModeRejected
            | StatusCode::BadCertificateInvalid
            | StatusCode::BadCertificateUntrusted
            | StatusCode::BadCertificateTimeInvalid
            | StatusCode::BadCertificateHostNameInvalid
            | StatusCode::BadCertificateUriInvalid
            | StatusCode::BadCertificateUseNotAllowed
            | StatusCode::BadCertificateRevoked
            | StatusCode::BadCertificateChainIncomplete
            | StatusCode::BadApplicationSignatureInvalid
    )
}

fn earlier(fingerprint: Option<&str>) -> String {
    let short = |f: &str| f.chars().take(16).collect::<String>();
    fingerprint.map_or_else(String::new, |f| {
        format!("the server shows another certificate than before, which was {}: ", short(f))
    })
}

fn join(doubts: &[Doubt]) -> String {
    doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn remedies(doubts: &[Doubt]) -> String {
    let one = |doubt: &Doubt| match doubt {
        Doubt::Untrusted { fingerprint, .. } => {
            let short: String = fingerprint.chars().take(16).collect();
            format!("compare the fingerprint with the server's own, then `twinway opcua trust {short}`")
        }
        Doubt::Expired { .. } => {
            "renew it at the server, or write `accept = [\"expired\"]` until that is done".to_owned()
        }
        Doubt::NotYetValid { .. } => "set the clocks of both sides".to_owned(),
        Doubt::OtherHost { .. } => {
            "call the server by a name that its certificate has, or write `accept = [\"host\"]`".to_owned()
        }
        Doubt::OtherApplication { .. } => {
            "let the server make a certificate of its own, or write `accept = [\"application\"]`".to_owned()
        }
        Doubt::Revoked { .. } | Doubt::Key { .. } => "the server needs another certificate".to_owned(),
    };
    doubts.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BadIdentityTokenRejected | StatusCode::BadUserAccessDenied => {
            " (user, password, or what the user may do)"
        }
        StatusCode::BadIdentityTokenInvalid => " (the kind of sign-in, or the password)",
        StatusCode::BadSecurityChecksFailed | StatusCode::BadCertificateUntrusted => {
            " (the server must trust this gateway's certificate: `twinway opcua trust --own` shows it)"
        }
        StatusCode::BadTooManySessions => " (other clients hold all of its sessions)",
        _ => "",
    }
}

//! Certificates that the box's OPC UA applications know.

use serde::{Deserialize, Serialize};

/// A certificate of another application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpcuaCertificate {
    /// SHA-256, hex: what it is trusted by.
    pub fingerprint: String,
    /// SHA-1, hex: what OPC UA programs show.
    pub thumbprint: String,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The application that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// `trusted`, `rejected` or `issuers`; `own` for the box's.
    pub folder: String,
    /// From when it is valid, UTC us.
    pub from_us: i64,
    /// Until when, UTC us.
    pub until_us: i64,
}

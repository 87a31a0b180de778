//! What people ask a box of OPC UA servers: what they offer and hold, and whose certificates are trusted.

use serde::{Deserialize, Serialize};

use crate::quality::Quality;
use crate::value::{Value, ValueType};

/// Which server: a device of the configuration with its sign-in, or any other one without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpcuaTarget {
    /// Name of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Address of a server, `opc.tcp://host:4840`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether the server at `url` may be talked to without any security.
    #[serde(default)]
    pub insecure: bool,
}

/// Body of `POST /api/v1/opcua/endpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpcuaEndpointsRequest {
    /// Address of a server.
    pub url: String,
}

/// One way to connect to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpcuaEndpoint {
    /// Address as the server says it.
    pub url: String,
    /// Security policy, such as `Basic256Sha256`.
    pub policy: String,
    /// `None`, `Sign` or `SignAndEncrypt`.
    pub mode: String,
    /// How one may sign in.
    pub sign_in: Vec<String>,
    /// SHA-256 of the server's certificate; empty without one.
    pub fingerprint: String,
    /// Why the box would not take the certificate, in words; empty if it would.
    pub doubts: Vec<String>,
}

/// Body of `POST /api/v1/opcua/browse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpcuaBrowseRequest {
    /// Which server.
    pub server: OpcuaTarget,
    /// Where to begin; the Objects folder if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Levels below it.
    pub depth: usize,
    /// Most nodes.
    pub nodes: usize,
    /// Longest time, ms.
    pub time_ms: u64,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpcuaBrowsed {
    /// What was found.
    pub items: Vec<OpcuaNode>,
    /// Why there may be more; none if this is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// A node of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpcuaNode {
    /// Its id, as a configuration has it.
    pub node: String,
    /// Names from where browsing began, `/` between them.
    pub path: String,
    /// `Object`, `Variable` or `Method`.
    pub class: String,
    /// Its type, of a variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// Type that a point of it would have; none if it can be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
    /// Elements, of an array; 0 if their number is not fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<u32>,
    /// What its numbers mean, of an enumeration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<crate::Label>,
    /// Object of a method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Whether it may be read.
    pub readable: bool,
    /// Whether it may be written.
    pub writable: bool,
}

/// Body of `POST /api/v1/opcua/read`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpcuaReadRequest {
    /// Which server.
    pub server: OpcuaTarget,
    /// Which nodes.
    pub nodes: Vec<String>,
}

/// What a node is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpcuaValue {
    /// Which node.
    pub node: String,
    /// Its value, if it is one that a point could have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The same as text, whatever it is.
    pub text: String,
    /// Status as OPC UA names it, with all of its bits.
    pub status: String,
    /// Quality that a point would have.
    pub quality: Quality,
    /// When its source took it, UTC us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_us: Option<i64>,
}

/// A point of a configured server, and what the server last said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpcuaPoint {
    /// Its device.
    pub device: String,
    /// Its name.
    pub point: String,
    /// Its node, as configured.
    pub node: String,
    /// Its last status, with all of its bits.
    pub status: String,
}

/// A certificate that the box knows.
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
    /// `own`, `trusted`, `rejected` or `issuers`; of users of the box's own server `users/trusted` and so on.
    pub folder: String,
    /// From when it is valid, UTC us.
    pub from_us: i64,
    /// Until when, UTC us.
    pub until_us: i64,
}

//! Node ids as people write them: `ns=2;s=Pump.Speed`, `nsu=http://vendor/plant;i=85`, `i=2258` (part 6, 5.3.1.10).
//! An index of a namespace may move whenever a server starts, so a URI is resolved anew with each connection. Pure
//! and total.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
#[cfg(feature = "stack")]
use opcua::types::{self, ByteString, Guid, NodeId, UAString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Longest text of a node id: part 3 allows 4,096 characters of a string.
const LONGEST: usize = 8192;

/// Where a node's name lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// by its place in the server's list, which may change
    Index(u16),
    /// by its URI, which stays
    Uri(String),
}

impl Namespace {
    /// Its place in a server whose namespaces are these; none if the server does not have it.
    pub fn index<S: AsRef<str>>(&self, namespaces: &[S]) -> Option<u16> {
        match self {
            Self::Index(index) => Some(*index),
            Self::Uri(uri) => u16::try_from(namespaces.iter().position(|n| n.as_ref() == uri)?).ok(),
        }
    }
}

/// A node's name in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// a number
    Numeric(u32),
    /// a text
    Text(String),
    /// a GUID
    Guid(Uuid),
    /// bytes
    Bytes(Vec<u8>),
}

#[cfg(feature = "stack")]
impl From<types::Identifier> for Identifier {
    fn from(identifier: types::Identifier) -> Self {
        match identifier {
            types::Identifier::Numeric(n) => Self::Numeric(n),
            types::Identifier::String(s) => Self::Text(s.value().clone().unwrap_or_default()),
            types::Identifier::Guid(g) => Self::Guid(g.into()),
            types::Identifier::ByteString(b) => Self::Bytes(b.value.unwrap_or_default()),
        }
    }
}

#[cfg(feature = "stack")]
impl From<Identifier> for types::Identifier {
    fn from(identifier: Identifier) -> Self {
        match identifier {
            Identifier::Numeric(n) => Self::Numeric(n),
            Identifier::Text(s) => Self::String(UAString::from(s)),
            // In the order of the wire.
            Identifier::Guid(g) => Self::Guid(Guid::from_bytes(g.to_bytes_le())),
            Identifier::Bytes(b) => Self::ByteString(ByteString::from(b)),
        }
    }
}

/// A node id with its namespace as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeRef {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name there.
    pub identifier: Identifier,
}

/// What is wrong with the text of a node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no node id: {expected}")]
pub struct NodeRefError {
    text: String,
    expected: &'static str,
}

#[cfg(feature = "stack")]
impl NodeRef {
    /// The node id in a server whose namespaces are these; none if the server does not have the namespace.
    pub fn resolve<S: AsRef<str>>(&self, namespaces: &[S]) -> Option<NodeId> {
        let namespace = self.namespace.index(namespaces)?;
        Some(NodeId { namespace, identifier: self.identifier.clone().into() })
    }

    /// A node of a server whose namespaces are these: by URI, but for those of the standard and of a namespace that
    /// the server does not list.
    pub fn of<S: AsRef<str>>(node: &NodeId, namespaces: &[S]) -> Self {
        let uri = namespaces.get(usize::from(node.namespace)).filter(|_| node.namespace != 0);
        let namespace = match uri {
            Some(uri) if !uri.as_ref().is_empty() => Namespace::Uri(uri.as_ref().to_owned()),
            _ => Namespace::Index(node.namespace),
        };
        Self { namespace, identifier: node.identifier.clone().into() }
    }
}

#[cfg(feature = "stack")]
impl From<NodeId> for NodeRef {
    fn from(node: NodeId) -> Self {
        Self { namespace: Namespace::Index(node.namespace), identifier: node.identifier.into() }
    }
}

impl FromStr for NodeRef {
    type Err = NodeRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |expected| NodeRefError { text: text.chars().take(200).collect(), expected };
        if text.len() > LONGEST {
            return Err(wrong("it is too long"));
        }
        let (namespace, rest) = if let Some(rest) = text.strip_prefix("ns=") {
            let (index, rest) =
                rest.split_once(';').ok_or_else(|| wrong("expected `;` after the namespace"))?;
            // `parse` takes a sign and leading zeros; a node id has neither.
            let index = number(index).and_then(|n| u16::try_from(n).ok());
            (Namespace::Index(index.ok_or_else(|| wrong("expected ns=0 to ns=65535"))?), rest)
        } else if let Some(rest) = text.strip_prefix("nsu=") {
            let (uri, rest) =
                rest.split_once(';').ok_or_else(|| wrong("expected `;` after the namespace"))?;
            let uri = unescape(uri).ok_or_else(|| wrong("`%` stands only in `%25` and `%3B`"))?;
            if uri.is_empty() {
                return Err(wrong("expected a namespace URI after `nsu=`"));
            }
            (Namespace::Uri(uri), rest)
        } else {
            (Namespace::Index(0), text)
        };
        let expected =
            "expected i=<number>, s=<text>, g=<guid> or b=<base64>, after `ns=<index>;` or `nsu=<uri>;`";
        let (kind, value) = rest.split_once('=').ok_or_else(|| wrong(expected))?;
        let identifier = match kind {
            "i" => number(value).map(Identifier::Numeric),
            "s" if !value.is_empty() => Some(Identifier::Text(value.to_owned())),
            "g" => value.parse().ok().map(Identifier::Guid),
            "b" => BASE64_STANDARD.decode(value).ok().filter(|b| !b.is_empty()).map(Identifier::Bytes),
            _ => None,
        };
        Ok(Self { namespace, identifier: identifier.ok_or_else(|| wrong(expected))? })
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `%3B` is `;` and `%25` is `%`; no other `%` stands in it, so that every text means one URI.
fn unescape(uri: &str) -> Option<String> {
    let mut made = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        made.push_str(before);
        let mut two = after.chars();
        let hex: String = two.by_ref().take(2).collect();
        match hex.to_ascii_uppercase().as_str() {
            "3B" => made.push(';'),
            "25" => made.push('%'),
            _ => return None,
        }
        rest = two.as_str();
    }
    made.push_str(rest);
    Some(made)
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Namespace::Index(0) => {}
            Namespace::Index(index) => write!(f, "ns={index};")?,
            Namespace::Uri(uri) => write!(f, "nsu={};", uri.replace('%', "%25").replace(';', "%3B"))?,
        }
        match &self.identifier {
            Identifier::Numeric(n) => write!(f, "i={n}"),
            Identifier::Text(s) => write!(f, "s={s}"),
            Identifier::Guid(g) => write!(f, "g={g}"),
            Identifier::Bytes(b) => write!(f, "b={}", BASE64_STANDARD.encode(b)),
        }
    }
}

impl<'de> Deserialize<'de> for NodeRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for NodeRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identifiers() -> impl Strategy<Value = Identifier> {
        prop_oneof![
            any::<u32>().prop_map(Identifier::Numeric),
            "[^\u{0}]{1,40}".prop_map(Identifier::Text),
            any::<[u8; 16]>().prop_map(|b| Identifier::Guid(Uuid::from_bytes(b))),
            prop::collection::vec(any::<u8>(), 1..40).prop_map(Identifier::Bytes),
        ]
    }

    fn namespaces() -> impl Strategy<Value = Namespace> {
        prop_oneof![any::<u16>().prop_map(Namespace::Index), ".{1,40}".prop_map(Namespace::Uri)]
    }

    #[test]
    fn what_manuals_write_is_read() {
        let node: NodeRef = "ns=2;s=Pump.Speed;x=1".parse().unwrap();
        assert_eq!(node.resolve::<&str>(&[]), Some(NodeId::new(2, "Pump.Speed;x=1")));
        let node: NodeRef = "nsu=http://a/b;i=7".parse().unwrap();
        assert_eq!(node.resolve(&["http://opcfoundation.org/UA/", "http://a/b"]), Some(NodeId::new(1, 7u32)));
        assert_eq!(node.resolve(&["http://opcfoundation.org/UA/"]), None);
        assert_eq!("i=2258".parse::<NodeRef>().unwrap().to_string(), "i=2258");
        assert_eq!("ns=0;i=5".parse::<NodeRef>().unwrap().to_string(), "i=5");
        let known = NodeRef::of(&NodeId::new(1, 7u32), &["", "http://a;b"]);
        assert_eq!(known.to_string(), "nsu=http://a%3Bb;i=7");
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "s=",
            "i=",
            "i=-1",
            "i=+1",
            "i=4294967296",
            "ns=1",
            "ns=65536;i=1",
            "ns=a;i=1",
            "ns=1;x=1",
            "nsu=;i=1",
            "nsu=a%20;i=1",
            "g=1",
            "b=",
            "b=*",
            "Pump",
            "ns=2;Pump",
        ] {
            assert!(text.parse::<NodeRef>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_protocols_own_are_the_same(identifier in identifiers()) {
            let there = types::Identifier::from(identifier.clone());
            prop_assert_eq!(Identifier::from(there), identifier);
        }

        #[test]
        fn what_is_printed_is_read_back(namespace in namespaces(), identifier in identifiers()) {
            let node = NodeRef { namespace, identifier };
            prop_assert_eq!(node.to_string().parse::<NodeRef>(), Ok(node));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(node) = text.parse::<NodeRef>() {
                prop_assert_eq!(node.to_string().parse::<NodeRef>(), Ok(node));
            }
        }
    }
}

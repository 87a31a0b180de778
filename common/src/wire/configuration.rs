//! A configuration document on its way to a gateway: its JSON in parts, put together with bounds.

use serde::{Deserialize, Serialize};

/// Payload bytes of one part.
const PART_BYTES: usize = 192 * 1024;
/// Most bytes of all parts: a document of the largest size, each of its characters escaped.
const MOST_BYTES: usize = 8 << 20;

/// The document that the cloud wants a gateway to run beside its own files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedConfiguration {
    /// Its version.
    pub version: u64,
    /// SHA-256 of `document`, hexadecimal.
    pub hash: String,
    /// Its text, TOML; empty: nothing beside the gateway's own files.
    pub document: String,
    /// SHA-256 of the gateway's own files that it rests on; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Whether it is taken although the gateway's files are others.
    #[serde(default)]
    pub force: bool,
    /// Who put it there.
    pub author: String,
}

/// Part of a document's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationPart {
    /// Version of the document.
    pub version: u64,
    /// From 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
    /// This part.
    pub bytes: Vec<u8>,
}

impl WantedConfiguration {
    /// The document as messages.
    pub fn split(&self) -> Vec<ConfigurationPart> {
        // A struct of ours with string keys: this cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let count = u32::try_from(json.len().div_ceil(PART_BYTES)).unwrap_or(u32::MAX);
        let part = |(index, bytes): (u32, &[u8])| ConfigurationPart {
            version: self.version,
            index,
            count,
            bytes: bytes.to_vec(),
        };
        (0..).zip(json.chunks(PART_BYTES)).map(part).collect()
    }
}

/// Parts of one document as they come, in their order. One of another document begins anew.
#[derive(Debug, Default)]
pub struct ConfigurationParts {
    version: u64,
    next: u32,
    bytes: Vec<u8>,
}

impl ConfigurationParts {
    /// Takes a part; gives the document with its last one.
    ///
    /// # Errors
    /// When the part is not the next one, or all are too much or no document. What came before is forgotten.
    pub fn put(&mut self, part: &ConfigurationPart) -> Result<Option<WantedConfiguration>, String> {
        let kept = std::mem::take(self);
        let mut bytes = if part.index == 0 { Vec::new() } else { kept.bytes };
        if part.index > 0 && (part.version, part.index) != (kept.version, kept.next) {
            return Err(format!("part {} of document {} came out of order", part.index, part.version));
        }
        if part.index >= part.count || bytes.len() + part.bytes.len() > MOST_BYTES {
            return Err(format!("document {} has more parts than it may", part.version));
        }
        bytes.extend(&part.bytes);
        if part.index + 1 < part.count {
            *self = Self { version: part.version, next: part.index + 1, bytes };
            return Ok(None);
        }
        let document: WantedConfiguration =
            serde_json::from_slice(&bytes).map_err(|e| format!("document {}: {e}", part.version))?;
        if document.version != part.version {
            return Err(format!("document {} came under the number {}", document.version, part.version));
        }
        Ok(Some(document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(bytes: usize) -> WantedConfiguration {
        WantedConfiguration {
            version: 3,
            hash: "00".repeat(32),
            document: "\"\n".repeat(bytes / 2),
            base: Some("ab".repeat(32)),
            force: true,
            author: "anna".into(),
        }
    }

    #[test]
    fn a_document_of_any_size_comes_whole_or_not_at_all() {
        for bytes in [0, 10, 1 << 20] {
            let wanted = wanted(bytes);
            let parts = wanted.split();
            assert!(parts.iter().all(|p| p.bytes.len() <= PART_BYTES));
            let mut got = ConfigurationParts::default();
            for part in &parts[..parts.len() - 1] {
                assert_eq!(got.put(part).expect("a part"), None);
            }
            assert_eq!(got.put(&parts[parts.len() - 1]).expect("the last"), Some(wanted));
        }
        let parts = wanted(1 << 20).split();
        let mut got = ConfigurationParts::default();
        assert!(got.put(&parts[1]).is_err(), "the first is missing");
        assert_eq!(got.put(&parts[0]).expect("a part"), None);
        assert!(got.put(&parts[2]).is_err(), "one is missing");
        assert!(got.put(&parts[1]).is_err(), "it begins anew");
        let other = ConfigurationPart { version: 4, ..parts[1].clone() };
        assert_eq!(got.put(&parts[0]).expect("a part"), None);
        assert!(got.put(&other).is_err(), "of another document");
        assert_eq!(got.put(&parts[0]).expect("a part"), None);
        let endless = ConfigurationPart { index: 0, count: 0, ..parts[0].clone() };
        assert!(got.put(&endless).is_err());
    }
}

//! Topics of Sparkplug B: `spBv1.0/group/TYPE/node[/device]` and `spBv1.0/STATE/host`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::NAMESPACE;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// birth of a node
    NBirth,
    /// death of a node
    NDeath,
    /// data of a node
    NData,
    /// command to a node
    NCmd,
    /// birth of a device
    DBirth,
    /// death of a device
    DDeath,
    /// data of a device
    DData,
    /// command to a device
    DCmd,
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::NBirth, "NBIRTH"),
    (Kind::NDeath, "NDEATH"),
    (Kind::NData, "NDATA"),
    (Kind::NCmd, "NCMD"),
    (Kind::DBirth, "DBIRTH"),
    (Kind::DDeath, "DDEATH"),
    (Kind::DData, "DDATA"),
    (Kind::DCmd, "DCMD"),
];

impl Kind {
    /// Its name in topics.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(k, _)| *k == self).map_or("", |(_, name)| name)
    }

    /// Whether its topic names a device.
    pub fn has_device(self) -> bool {
        matches!(self, Self::DBirth | Self::DDeath | Self::DData | Self::DCmd)
    }
}

/// Why a text is no topic of a node or device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected spBv1.0/group/type/node, or spBv1.0/group/type/node/device for a device")]
pub struct TopicError;

/// Topic of a node or device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic<'a> {
    /// Group id.
    pub group: &'a str,
    /// What the message is.
    pub kind: Kind,
    /// Edge node id.
    pub node: &'a str,
    /// Device id, exactly for the kinds that have one.
    pub device: Option<&'a str>,
}

impl<'a> Topic<'a> {
    /// Reads a topic.
    ///
    /// # Errors
    /// When it is none of a node or device; `STATE` is none.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        let mut levels = text.split('/');
        if levels.next() != Some(NAMESPACE) {
            return Err(TopicError);
        }
        let (Some(group), Some(kind), Some(node)) = (levels.next(), levels.next(), levels.next()) else {
            return Err(TopicError);
        };
        let (kind, _) = *KINDS.iter().find(|(_, name)| *name == kind).ok_or(TopicError)?;
        let device = levels.next();
        let sound = |id: &str| check_id(id).is_ok();
        if levels.next().is_some()
            || device.is_some() != kind.has_device()
            || !sound(group)
            || !sound(node)
            || !device.is_none_or(sound)
        {
            return Err(TopicError);
        }
        Ok(Self { group, kind, node, device })
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAMESPACE}/{}/{}/{}", self.group, self.kind.name(), self.node)?;
        self.device.map_or(Ok(()), |device| write!(f, "/{device}"))
    }
}

/// Whether a text may be the id of a group, node, device or host.
///
/// # Errors
/// What is expected.
pub fn check_id(id: &str) -> Result<(), &'static str> {
    let sound = !id.is_empty() && id.len() <= 255 && !id.contains(['/', '+', '#', '\0']);
    if sound { Ok(()) } else { Err("an id of Sparkplug has 1 to 255 bytes, none of them / + #") }
}

/// Topic of a host application's state.
pub fn state_topic(host: &str) -> String {
    format!("{NAMESPACE}/STATE/{host}")
}

/// What a host application says of itself (3.0: JSON).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Whether it is there.
    pub online: bool,
    /// When it said so, UTC ms: an offline of an older session is not believed.
    #[serde(rename = "timestamp")]
    pub timestamp_ms: u64,
}

impl HostState {
    /// Reads `{"online": true, "timestamp": 1700000000000}`, in any order and with any other keys; none if it is
    /// something else.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        // An array of both would be read as well.
        let is_object = payload.trim_ascii_start().starts_with(b"{");
        is_object.then(|| serde_json::from_slice(payload).ok())?
    }

    /// As JSON.
    pub fn to_json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_read_and_written() {
        for (text, kind, device) in [
            ("spBv1.0/g/NBIRTH/n", Kind::NBirth, None),
            ("spBv1.0/g/DDATA/n/d", Kind::DData, Some("d")),
            ("spBv1.0/g/NCMD/n", Kind::NCmd, None),
        ] {
            let topic = Topic::parse(text).unwrap();
            assert_eq!(topic, Topic { group: "g", kind, node: "n", device });
            assert_eq!(topic.to_string(), text);
        }
        for bad in [
            "",
            "spBv1.0/g/NBIRTH",
            "spBv1.0/g/NBIRTH/n/d",
            "spBv1.0/g/DDATA/n",
            "spBv1.0/g/DDATA/n/d/e",
            "spBv1.0/g/XDATA/n",
            "spAv1.0/g/NDATA/n",
            "spBv1.0//NDATA/n",
            "spBv1.0/STATE/host",
        ] {
            assert_eq!(Topic::parse(bad), Err(TopicError), "{bad}");
        }
    }

    #[test]
    fn states_are_read() {
        let state = |text: &str| HostState::parse(text.as_bytes());
        let online = Some(HostState { online: true, timestamp_ms: 17 });
        assert_eq!(state(r#"{"online":true,"timestamp":17}"#), online);
        assert_eq!(state(" { \"timestamp\" : 17 , \"online\" : true, \"x\": \"y\" }\n"), online);
        assert_eq!(state(r#"{"online":true,"timestamp":17,"x":"a,b","y":{}}"#), online);
        assert_eq!(state(&HostState { online: false, timestamp_ms: 2 }.to_json()).unwrap().timestamp_ms, 2);
        for bad in [
            "ONLINE",
            "OFFLINE",
            "{}",
            "",
            r#"{"online":1,"timestamp":17}"#,
            r#"{"online":true}"#,
            "[true,17]",
        ] {
            assert_eq!(state(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_written_the_same(
            text in "(spBv1\\.0/)?[a-zA-Z0-9/+#]{0,12}/?(NBIRTH|DDATA|NCMD|STATE)?/[a-z/]{0,8}",
            bytes in prop::collection::vec(any::<u8>(), 0..48),
        ) {
            if let Ok(topic) = Topic::parse(&text) {
                prop_assert_eq!(topic.to_string(), text.as_str());
            }
            let _ = HostState::parse(&bytes);
            let _ = HostState::parse(text.as_bytes());
        }
    }
}

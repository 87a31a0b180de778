//! Which box speaks behind a gateway's credentials, and what it remembers of the cloud: so that two boxes with one
//! identity, and a side that was restored from a backup, are told from a box that starts again.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::Known;
use crate::ids::{BoxId, Incarnation};

/// Part of `Hello`; absent from older programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Made at the box's first start, and kept with its state: copies of the state have it as well.
    pub box_id: BoxId,
    /// Hash of what the machine calls itself; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Incarnations of this state before the current one that said hello, oldest first, at most `MAX_LINE`: the cloud
    /// had its last hello from one of them, or it is not this state that said it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<Incarnation>,
    /// The last one, the current included, whose hello was answered by a cloud that tells its store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Incarnation>,
    /// The store of that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Uuid>,
    /// How many hellos this process said before this one.
    pub attempt: u64,
    /// What the box takes for durable in the cloud, also of incarnations that its store holds no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acked: Vec<Known>,
}

/// Incarnations that both sides remember of a box.
pub const MAX_LINE: usize = 64;

/// Frames that the cloud can neither read nor store: they are kept aside there, and count as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Which.
    pub frames: Vec<Known>,
    /// What is wrong with them.
    pub detail: String,
    /// The names of frames that came together cannot be read: send them one by one from here on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

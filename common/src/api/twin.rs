//! Twins, assets and commands over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{CommandId, CommandState, DesiredState, Requester};
use crate::ids::{GatewayId, TwinId};
use crate::names::Code;
use crate::quality::Quality;
use crate::schema::PointSchema;
use crate::value::Value;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Level of a node of the asset tree (ISA-95, part 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AssetKind {
    /// the root
    Enterprise,
    /// a plant
    Site,
    /// a part of a plant; the smallest read grant
    Area,
    /// a line or unit
    Line,
    /// a cell or machine
    Cell,
}

/// A node of the asset tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AssetNode {
    /// Path from the root, parts joined by `/`; empty for the enterprise.
    pub path: String,
    /// Last part of the path.
    pub name: String,
    /// Level.
    pub kind: AssetKind,
    /// Twins that stand right here.
    pub twins: Vec<TwinId>,
}

/// A point of a twin: what it is and what it was last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PointView {
    /// What it is.
    #[serde(flatten)]
    pub schema: PointSchema,
    /// Last value; none if bad or not yet known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Quality of the last value.
    pub quality: Quality,
    /// Source time of the last value, UTC us; 0 if there is none.
    pub source_us: i64,
    /// When the gateway received it, UTC us; 0 if there is none.
    pub received_us: i64,
    /// What is wanted of it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredView>,
}

/// A desired value and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DesiredView {
    /// Value wanted.
    pub value: Value,
    /// Where it stands.
    pub state: DesiredState,
    /// Version of the desired document that it came with.
    pub version: u64,
    /// When it was set, UTC us.
    pub set_us: i64,
    /// When it expires, UTC us.
    pub expires_us: i64,
    /// Who set it.
    pub requester: Requester,
    /// Why.
    pub reason: String,
    /// Why it is not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Value of one key of the merge-patch body of `PATCH /twins/{id}/desired`; `null` withdraws the wish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DesiredEntry {
    /// Value wanted, in the point's unit.
    pub value: Value,
    /// How long it is wanted, ms from now; at most 7 days.
    pub ttl_ms: u64,
    /// Why, for the audit.
    #[serde(default)]
    pub reason: String,
}

/// A twin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TwinView {
    /// Opaque identity.
    pub id: TwinId,
    /// Its place in the asset tree with its own name last, such as `plant/coating/line1/oven`.
    pub asset: String,
    /// Last part of `asset`.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Gateway that feeds it; none for a twin without a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// Device on that gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether its gateway has a live session. On the box: whether the device answers.
    pub online: bool,
    /// Version of the desired document; the ETag is this number in quotes.
    pub desired_version: u64,
    /// Its points.
    pub points: Vec<PointView>,
}

/// Body of `POST /twins/{id}/commands`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// Name of the point.
    pub point: String,
    /// Value to write, in the point's unit.
    pub value: Value,
    /// How long the command may take to reach the device, ms; 1 to 600,000. Default 10,000.
    #[serde(default = "default_ttl")]
    pub ttl_ms: u64,
    /// Why, for the audit.
    #[serde(default)]
    pub reason: String,
}

fn default_ttl() -> u64 {
    10_000
}

/// One step of a command's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandStep {
    /// The state reached.
    pub state: CommandState,
    /// When, UTC us, by the clock of the side that reached it.
    pub at_us: i64,
}

/// A command and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandView {
    /// Identity.
    pub id: CommandId,
    /// Twin.
    pub twin: TwinId,
    /// Place and name of the twin.
    pub asset: String,
    /// Point.
    pub point: String,
    /// Value asked for.
    pub value: Value,
    /// Who asked.
    pub requester: Requester,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: CommandState,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What was read back after the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<Value>,
    /// When it was accepted, UTC us.
    pub created_us: i64,
    /// When it must have reached the device, UTC us.
    pub expires_us: i64,
    /// The states it went through.
    pub steps: Vec<CommandStep>,
}

/// Merge-patch body of `PATCH /twins/{id}/desired`.
pub type DesiredPatch = BTreeMap<String, Option<DesiredEntry>>;

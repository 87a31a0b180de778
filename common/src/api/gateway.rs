//! Gateways over HTTP and in heartbeats: how a box fares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{BoxId, GatewayId, Incarnation};
use crate::supervise::PartStatus;

/// The buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BufferHealth {
    /// Frames that the cloud has not acknowledged.
    pub unacked_frames: u64,
    /// Age of the oldest of them, ms; 0 if none.
    pub oldest_unacked_ms: u64,
    /// Bytes on disk, acknowledged ring included.
    pub disk_bytes: u64,
    /// Most bytes on disk.
    pub quota_bytes: u64,
    /// Last sequence given to a frame.
    pub last_seq: u64,
    /// Last sequence known to be on disk: everything up to it survives a power cut.
    pub durable_seq: u64,
    /// Incarnation that both sequences belong to, as hex.
    pub incarnation: String,
    /// Why the buffer takes nothing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceHealth {
    /// Name in the gateway.
    pub name: String,
    /// Protocol: `modbus`, `mqtt`.
    pub protocol: String,
    /// Whether it answers.
    pub connected: bool,
    /// Since when, UTC us.
    pub since_us: i64,
    /// Good requests or messages so far.
    pub good: u64,
    /// Failed ones so far.
    pub bad: u64,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How it is polled, for protocols that poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollHealth>,
}

/// How a polled device fares on its line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PollHealth {
    /// The line that it hangs on: its name, or host and port.
    pub line: String,
    /// Requests so far, writes and probes included.
    pub requests: u64,
    /// Those without an answer.
    pub timeouts: u64,
    /// Those that it refused.
    pub refused: u64,
    /// Those whose answer was malformed or did not fit.
    pub wrong: u64,
    /// Late, second and foreign answers that were heard and discarded.
    pub late: u64,
    /// Reads that were skipped because those before had not ended.
    pub overruns: u64,
    /// Whether it is parked: it did not answer and is only probed.
    pub parked: bool,
    /// Mean time from request to answer, us.
    pub round_trip_us: u64,
    /// Requests an hour that its points need.
    pub requests_per_hour: u64,
    /// Registers and bits that are read along without being any point's, in one read of everything.
    pub spare: u64,
    /// Ranges that it refuses and that are planned around.
    pub holes: usize,
    /// The first of them, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes_named: Vec<String>,
}

/// Where the local/remote switch stands. It is set only at the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SwitchPosition {
    /// only people at the box command
    Local,
    /// the cloud may command
    Remote,
}

/// Body of `PUT /api/v1/switch` at the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// Where to set it.
    pub position: SwitchPosition,
    /// Why, for the audit.
    pub reason: String,
}

/// Why samples may not go to the cloud now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LinkHold {
    /// the day's bytes are used up
    Day,
    /// the month's bytes are used up
    Month,
    /// it is a quiet hour
    Quiet,
}

/// What the link to the cloud carries. Bytes are those of MQTT in both directions, without TLS, TCP and IP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkUse {
    /// Bytes of this day.
    pub day_bytes: u64,
    /// Bytes of this month.
    pub month_bytes: u64,
    /// What is left of the day's budget, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_left: Option<u64>,
    /// What is left of the month's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_left: Option<u64>,
    /// Why samples are held back in the buffer now. Alarms, events, commands, audit and critical samples go all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<LinkHold>,
    /// Whether trends are held back: what is left of the budget is for other points.
    #[serde(default)]
    pub trends_held: bool,
    /// Since when samples are, UTC us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since_us: Option<i64>,
    /// Until when, unless something changes, UTC us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_us: Option<i64>,
    /// Frames of samples that are kept back now, by a hold or to go together.
    pub held_frames: u64,
    /// Whether samples go together, because the link is metered or thin.
    pub together: bool,
    /// Most bytes of backlog that may be on their way now: by the link, and by the cloud's credit.
    pub backlog_window: u64,
}

/// How a box fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayHealth {
    /// Version of the program.
    pub version: String,
    /// Time since its start, ms.
    pub uptime_ms: u64,
    /// Whether the clock is synchronised.
    pub clock_synchronised: bool,
    /// Where the switch stands.
    pub switch: SwitchPosition,
    /// Whether the session with the cloud lives (as the box sees it).
    pub uplink: bool,
    /// What the link to the cloud carries; none without a cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUse>,
    /// The buffer.
    pub buffer: BufferHealth,
    /// What was dropped so far, by `<queue>:<cause>`.
    pub dropped: BTreeMap<String, u64>,
    /// Devices.
    pub devices: Vec<DeviceHealth>,
    /// Parts of the program.
    pub parts: Vec<PartStatus>,
    /// Devices and parts that are well and stand in no list here, because a heartbeat has only so much room. The
    /// box itself lists all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Why there is no session with the cloud, if there should be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink_error: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A gateway as the cloud sees it. The box serves itself in the same shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayView {
    /// Name.
    pub id: GatewayId,
    /// Whether it has a live session.
    pub connected: bool,
    /// Since when it is (dis)connected, UTC us.
    pub since_us: i64,
    /// Last word from it, UTC us.
    pub last_seen_us: i64,
    /// How many twins it feeds.
    pub twins: u32,
    /// Its last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<GatewayHealth>,
    /// Boxes that speak under its name and are held back. The box itself tells none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldBox>,
}

/// A box that the cloud holds back: another one has the same gateway's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldBox {
    /// The box; none of an older program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub box_id: Option<BoxId>,
    /// Its incarnation, as hex.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub incarnation: Incarnation,
    /// Where it came from last.
    pub peer: String,
    /// Version of its program.
    pub version: String,
    /// Since when it is held, UTC us.
    pub since_us: i64,
    /// When it tried last, UTC us.
    pub last_us: i64,
    /// Why, and what to do.
    pub reason: String,
}

/// Body of `POST /api/v1/gateways/{id}/accept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Incarnation of the box that is held, as hex; none if only one is.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub incarnation: Option<Incarnation>,
    /// Why, for the audit.
    pub reason: String,
}

/// A frame that the cloud could not read or store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetAsideView {
    /// Its name for a download; the gateway does not know it.
    pub id: String,
    /// Its incarnation, as hex; none if that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub incarnation: Option<Incarnation>,
    /// Its sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When, UTC us.
    pub at_us: i64,
    /// `frame`, `batch`, `schema` or `storage`; `damaged` if the cloud took it and could not read it later.
    pub cause: String,
    /// What is wrong with it.
    pub detail: String,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// Frames of a gateway that the cloud set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetAsideList {
    /// Those that are kept, newest first.
    pub items: Vec<SetAsideView>,
    /// Give this as `cursor` for the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Frames that were set aside and had to go, because more were than are kept.
    #[serde(default)]
    pub removed_frames: u64,
    /// Their bytes.
    #[serde(default)]
    pub removed_bytes: u64,
}

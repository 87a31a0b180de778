//! Updates of gateways: bundles that the cloud keeps, what boxes tell of them, and rollouts by group.

use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;

/// A signed bundle that the cloud keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    /// Version of the program in it.
    pub version: String,
    /// As the packages call it: `amd64`, `arm64`, `armhf`.
    pub arch: String,
    /// SHA-256 of the whole bundle, hexadecimal.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its manifest: its name on the box.
    pub digest: String,
    /// Of the sources; may be empty.
    #[serde(default)]
    pub commit: String,
    /// The oldest version that may be replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_from: Option<String>,
    /// Names of the keys that it says it is signed by. Boxes verify it; the cloud does not.
    pub signed_by: Vec<String>,
    /// Who put it there.
    pub author: String,
    /// When, UTC us.
    pub at_us: i64,
}

/// A bundle as it is offered to a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateOffer {
    /// Number of the rollout: what a box judged is judged anew in another one.
    pub rollout: u64,
    /// Version of the program in it.
    pub version: String,
    /// As the packages call it.
    pub arch: String,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
}

/// What became of an offer at the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// none came
    #[default]
    None,
    /// its bytes come
    Receiving,
    /// it is there and verified, and waits for the updater
    Waiting,
    /// it runs on trial
    Trial,
    /// it runs and has proven itself
    Installed,
    /// it did not prove itself: the version before runs again
    GaveWay,
    /// it was not taken, for the reason given
    Refused,
}

impl std::fmt::Display for UpdateState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Receiving => "receiving",
            Self::Waiting => "waiting for the updater",
            Self::Trial => "on trial",
            Self::Installed => "installed",
            Self::GaveWay => "gave way",
            Self::Refused => "refused",
        })
    }
}

/// What a box says of updates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateReport {
    /// Whether it takes bundles from the cloud.
    pub accepts: bool,
    /// Why not, if it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Version that runs.
    pub version: String,
    /// What its packages are for.
    pub arch: String,
    /// The last offer that it looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<UpdateOffer>,
    /// What became of that.
    pub state: UpdateState,
    /// Bytes of it that are there, told from time to time.
    #[serde(default)]
    pub received: u64,
    /// Why it is refused or gave way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When this became so, UTC us.
    pub at_us: i64,
}

/// Body of `PUT /gateways/{id}/group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// Group for rollouts: 1 to 64 letters, digits and `-._`; empty: none.
    pub group: String,
}

/// A gateway, as far as updates go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateView {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its group for rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What its box told last; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<UpdateReport>,
}

/// Body of `POST /rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// Version to install.
    pub version: String,
    /// Groups of gateways, one after the other.
    pub groups: Vec<String>,
    /// For so long all boxes of a group must stay connected with it until the next group begins, s. Default 3600.
    #[serde(default = "default_stay_s")]
    pub stay_s: u64,
    /// What it is for.
    #[serde(default)]
    pub note: String,
}

const fn default_stay_s() -> u64 {
    3600
}

/// Body of `POST /rollout/halt` and `POST /rollout/go-on`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutChange {
    /// Why.
    pub reason: String,
}

/// How a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// boxes are offered the version, group by group
    Running,
    /// nothing is offered until somebody lets it go on
    Halted,
    /// all groups have it, and have fared well
    Done,
}

impl std::fmt::Display for RolloutState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::Done => "done",
        })
    }
}

/// A version on its way to groups of gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Its number, from 1.
    pub id: u64,
    /// Rises with each change.
    pub revision: u64,
    /// The version.
    pub version: String,
    /// Groups in their order.
    pub groups: Vec<String>,
    /// The group that has its turn, from 0.
    pub stage: usize,
    /// How it stands.
    pub state: RolloutState,
    /// Why it is halted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For so long a group must fare well, s.
    pub stay_s: u64,
    /// Since when the whole group fares well, UTC us; none if it does not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since_us: Option<i64>,
    /// Gateways that failed, and that somebody passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<GatewayId>,
    /// Who began it.
    pub author: String,
    /// What it is for.
    pub note: String,
    /// When it began, UTC us.
    pub began_us: i64,
    /// When it changed last, UTC us.
    pub changed_us: i64,
}

/// How a gateway stands in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RolloutBoxState {
    /// its group has not begun
    Later,
    /// it has not heard of it: it is away, or will at once
    Waiting,
    /// it receives or installs it, or has it on trial
    Updating,
    /// it runs the version
    Done,
    /// it refused it, or it gave way
    Failed,
    /// it failed, and somebody passed it over
    PassedOver,
}

impl std::fmt::Display for RolloutBoxState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Later => "later",
            Self::Waiting => "waiting",
            Self::Updating => "updating",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::PassedOver => "passed over",
        })
    }
}

/// A gateway of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutBox {
    /// Which.
    pub gateway: GatewayId,
    /// Its group.
    pub group: String,
    /// How it stands.
    pub state: RolloutBoxState,
    /// The same for people.
    pub reason: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Version that it runs; empty if it never told.
    pub version: String,
}

/// A rollout and its gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutView {
    /// The rollout.
    pub rollout: Rollout,
    /// Its gateways, by group and name.
    pub boxes: Vec<RolloutBox>,
    /// Those of them that failed, were passed over, and stay without the version: another rollout offers it anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<GatewayId>,
}

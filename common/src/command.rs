//! Commands: what is asked, the states it goes through, and how each step is told.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::TwinId;
use crate::names::Code;
use crate::value::Value;

/// A command's identity, made where it is first accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// A new one; later ones sort later.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for CommandId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CommandId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}

/// Where a command stands. `Rejected` means that nothing was written; `Failed` that a write was tried
/// and did not do what was asked; `Unknown` that nobody can say whether the write happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CommandState {
    /// stored by the side that was asked
    Accepted,
    /// given to the gateway's live session
    Sent,
    /// intent is on the gateway's disk, the write is next
    Executing,
    /// written, and read back as asked
    Succeeded,
    /// refused before any write
    Rejected,
    /// tried, and did not do what was asked
    Failed,
    /// its time ran out before the write
    Expired,
    /// the write may or may not have happened; never retried
    Unknown,
}

impl CommandState {
    /// Whether the command has ended. `Unknown` has: a later read-back may still settle it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Accepted | Self::Sent | Self::Executing)
    }

    /// Whether `next` may follow. Late results settle `Unknown` and `Expired` (the cloud's view may expire
    /// while the gateway's result is on its way), and nothing leaves another final state.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Accepted => next != Self::Accepted,
            Self::Sent => !matches!(next, Self::Accepted | Self::Sent),
            Self::Executing => next.is_final(),
            Self::Unknown => matches!(next, Self::Succeeded | Self::Failed),
            Self::Expired => matches!(next, Self::Succeeded | Self::Failed | Self::Rejected | Self::Unknown),
            Self::Succeeded | Self::Rejected | Self::Failed => false,
        }
    }
}

/// Who asks, through which door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Requester {
    /// User, API key or peer, such as `admin`, `key:ci`, `uid:1000`.
    pub name: String,
    /// The door.
    pub origin: Origin,
}

/// The door through which a write is asked for. The order of owners is in the gateway's control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// a person at the box: its socket or its own API
    Local,
    /// a person or program through the cloud
    Cloud,
    /// a client of the box's OPC UA server
    Opcua,
    /// a control loop on the box
    Loop,
    /// a desired value
    Desired,
}

/// What a gateway is asked to do, as the cloud sends it over the live session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandOrder {
    /// Identity; asking again with the same id changes nothing.
    pub id: CommandId,
    /// The twin that the point belongs to.
    pub twin: TwinId,
    /// Name of the point in the twin.
    pub point: String,
    /// Value to write, in engineering units.
    pub value: Value,
    /// Who asks.
    pub requester: Requester,
    /// Why, for the audit.
    pub reason: String,
    /// End of its life in the session's monotonic time of the gateway (see `wire::Hello`), in us.
    pub deadline_session_us: u64,
}

/// One step of a command's life, told by the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandUpdate {
    /// Which command.
    pub id: CommandId,
    /// Its twin.
    pub twin: TwinId,
    /// Name of the point in the twin.
    pub point: String,
    /// The value that was asked for, in engineering units.
    pub value: Value,
    /// Who asked.
    pub requester: Requester,
    /// Why.
    pub reason: String,
    /// Where it stands now.
    pub state: CommandState,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same for people, with values and limits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What was read back after the write, in engineering units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<Value>,
    /// When, in UTC us.
    pub at_us: i64,
}

/// A desired value on its way to a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredOrder {
    /// Which twin.
    pub twin: TwinId,
    /// Version of the twin's desired document that this entry came with.
    pub version: u64,
    /// Name of the point in the twin.
    pub point: String,
    /// Value wanted; none withdraws the wish.
    pub value: Option<Value>,
    /// Who wants it.
    pub requester: Requester,
    /// Why.
    pub reason: String,
    /// When it was set, in UTC us.
    pub set_us: i64,
    /// End of its life in the session's monotonic time of the gateway, in us.
    pub deadline_session_us: u64,
}

/// Where a desired value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// not yet at the gateway, or being written
    Pending,
    /// written and read back
    Applied,
    /// not written; waits for a person
    Diverged,
    /// its time ran out
    Expired,
}

/// What became of a desired value, told by the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredUpdate {
    /// Which twin.
    pub twin: TwinId,
    /// Version of the desired document that the entry came with.
    pub version: u64,
    /// Name of the point in the twin.
    pub point: String,
    /// Where it stands.
    pub state: DesiredState,
    /// Why it is not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When, in UTC us.
    pub at_us: i64,
}

/// How much a log entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// for the record
    Info,
    /// worth a look
    Warning,
    /// act
    Alarm,
}

/// One entry of the audit or event list: who did what, or what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogEntry {
    /// When, in UTC us.
    pub at_us: i64,
    /// Who: a user, key or peer; `system` for what happened by itself.
    pub actor: String,
    /// What, such as `command.rejected`, `switch.remote`, `device.offline`, `user.login`.
    pub action: String,
    /// On what: `<twin>/<point>`, a device, a user.
    pub target: String,
    /// The twin, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinId>,
    /// How much it matters.
    pub severity: Severity,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::CommandState::*;

    #[test]
    fn no_state_goes_back_and_success_is_the_end() {
        let all = [Accepted, Sent, Executing, Succeeded, Rejected, Failed, Expired, Unknown];
        for from in all {
            assert!(!from.may_become(Accepted));
            assert!(!from.may_become(from));
            for to in all {
                if from.is_final() && from.may_become(to) {
                    assert!(to.is_final(), "{from:?} -> {to:?}");
                }
            }
        }
        assert!(!Succeeded.may_become(Failed));
        assert!(Unknown.may_become(Succeeded));
    }
}

//! Alarms: what they are, the states they go through (ANSI/ISA-18.2, 5.3), and how each change is told. They are
//! judged at the edge and nowhere else; the cloud keeps and shows what it is told.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::{LogEntry, Requester, Severity};
use crate::ids::TwinId;
use crate::names::action;
use crate::quality::Quality;
use crate::value::Value;

/// An alarm's identity: the same as long as its twin, point and name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct AlarmId(pub Uuid);

impl AlarmId {
    /// The identity of the alarm `name` at a point.
    pub fn derived(twin: TwinId, point: &str, name: &str) -> Self {
        Self(Uuid::new_v5(&twin.0, format!("alarm:{point}/{name}").as_bytes()))
    }
}

impl std::fmt::Display for AlarmId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for AlarmId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}

/// What an alarm watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AlarmKind {
    /// above the highest limit
    HiHi,
    /// above the high limit
    Hi,
    /// below the low limit
    Lo,
    /// below the lowest limit
    LoLo,
    /// too far from the setpoint
    Deviation,
    /// changes too fast
    Rate,
    /// has a value that it should not have
    Equals,
    /// has no usable value
    Bad,
    /// has had no value for too long
    Stale,
    /// the device does not answer
    Comms,
}

/// How urgent an alarm is (ANSI/ISA-18.2, 8.3). The order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// when there is time
    Low,
    /// soon
    #[default]
    Medium,
    /// at once
    High,
    /// before all others
    Urgent,
}

/// Where an alarm stands. Shelving is told beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// nothing is wrong
    Normal,
    /// active, and nobody has acknowledged it
    Active,
    /// active and acknowledged
    Acknowledged,
    /// no longer active, and nobody has acknowledged that it was
    Returned,
    /// switched off in the configuration
    OutOfService,
}

impl AlarmState {
    /// Whether the condition holds.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Acknowledged)
    }

    /// Whether somebody should acknowledge it.
    pub fn is_unacknowledged(self) -> bool {
        matches!(self, Self::Active | Self::Returned)
    }
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AlarmChange {
    /// its condition came true
    Raised,
    /// its condition is no longer true
    Cleared,
    /// somebody acknowledged it
    Acknowledged,
    /// somebody said something about it
    Commented,
    /// somebody shelved it for a time
    Shelved,
    /// it was taken from the shelf, by somebody or because its time was up
    Unshelved,
    /// the configuration switched it off
    Disabled,
    /// the configuration switched it on again
    Enabled,
    /// the configuration has it no more
    Removed,
}

/// An alarm as it is after a change: what the box tells, what the cloud keeps and what is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlarmView {
    /// Which alarm.
    pub id: AlarmId,
    /// Its twin.
    pub twin: TwinId,
    /// Place of the twin in the asset tree.
    pub asset: String,
    /// Name of the point in the twin.
    pub point: String,
    /// Name of the alarm, unique in its point.
    pub name: String,
    /// What it watches.
    pub kind: AlarmKind,
    /// How urgent it is.
    pub priority: Priority,
    /// What is wrong when it is active, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Group that it is listed under; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Where it stands.
    pub state: AlarmState,
    /// The last change.
    pub change: AlarmChange,
    /// When it was raised last, UTC us: the name of this occurrence, later ones have later times. None if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_us: Option<i64>,
    /// When the last change happened, UTC us.
    pub at_us: i64,
    /// Until when it is shelved, UTC us: it is shown apart, and rings nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shelved_until_us: Option<i64>,
    /// Whether it leaves the shelf before, when it clears.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shelved_once: bool,
    /// The point's value then; none if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The point's quality then.
    pub quality: Quality,
    /// The limit that it is held against, in the point's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The point's unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Who changed it last: a user, key or peer; `system` for what happened by itself.
    pub actor: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What was said of an alarm last. It stays when something else changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remark {
    /// The words; empty if none.
    pub text: String,
    /// Who said it; empty before the first.
    pub actor: String,
}

/// An alarm as it outlives a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptAlarm {
    /// The alarm.
    #[serde(flatten)]
    pub view: AlarmView,
    /// What was said of it last.
    #[serde(default)]
    pub said: Remark,
}

impl AlarmView {
    /// The change as an entry of the event list.
    pub fn entry(&self) -> LogEntry {
        let action = match self.change {
            AlarmChange::Raised => action::ALARM_RAISED,
            AlarmChange::Cleared => action::ALARM_CLEARED,
            AlarmChange::Acknowledged => action::ALARM_ACKNOWLEDGED,
            AlarmChange::Commented => action::ALARM_COMMENTED,
            AlarmChange::Shelved => action::ALARM_SHELVED,
            AlarmChange::Unshelved => action::ALARM_UNSHELVED,
            AlarmChange::Disabled => action::ALARM_DISABLED,
            AlarmChange::Enabled => action::ALARM_ENABLED,
            AlarmChange::Removed => action::ALARM_REMOVED,
        };
        let quiet = self.change != AlarmChange::Raised || self.shelved_until_us.is_some();
        let severity = match self.priority {
            _ if quiet => Severity::Info,
            Priority::High | Priority::Urgent => Severity::Alarm,
            Priority::Medium | Priority::Low => Severity::Warning,
        };
        let mut detail = if self.text.is_empty() { self.name.clone() } else { self.text.clone() };
        if let Some(value) = &self.value {
            detail = format!("{detail}: {value} {}", self.unit).trim_end().to_owned();
        }
        if !self.comment.is_empty() {
            detail = format!("{detail} ({})", self.comment);
        }
        LogEntry {
            at_us: self.at_us,
            actor: self.actor.clone(),
            action: action.to_owned(),
            target: format!("{}/{}", self.asset, self.point),
            twin: Some(self.twin),
            severity,
            code: None,
            detail,
        }
    }
}

/// What somebody wants done with an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub enum AlarmAct {
    /// Acknowledge one occurrence. A later one stays as it is.
    Acknowledge {
        /// The occurrence.
        raised_us: i64,
    },
    /// Say something about it, and change nothing else.
    Comment,
    /// Shelve it from now on, whatever it does.
    Shelve {
        /// For how long.
        duration_ms: u64,
    },
    /// Shelve it until it clears, at most for the longest time.
    #[serde(rename = "shelve_once")]
    ShelveOnce,
    /// Take it from the shelf.
    Unshelve,
}

/// The same on its way to a gateway. Asking again changes nothing more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmOrder {
    /// Which alarm.
    pub id: AlarmId,
    /// Its twin.
    pub twin: TwinId,
    /// What.
    pub act: AlarmAct,
    /// Who asks.
    pub requester: Requester,
    /// What they say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Longest time on the shelf: a week.
pub const LONGEST_SHELF_MS: u64 = 7 * 24 * 3_600_000;

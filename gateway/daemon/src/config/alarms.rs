//! Alarms of the configuration: `[[device.point.alarm]]`, and what their keys must be.

use std::collections::HashSet;

use common::alarm::{AlarmChange, AlarmId, AlarmKind, AlarmState, AlarmView, Priority};
use common::config::Mistake;
use common::ids::check_name;
use common::{Quality, ValueType};
use gateway_core::{Point, Registry};
use gateway_pipeline::{AlarmDefinition, LONGEST_DELAY_MS, Rule};
use serde::Deserialize;

use super::files::Files;

/// Alarms of one gateway: an operator who has more has none.
const MAX_ALARMS: usize = 20_000;
const LONGEST_WINDOW_S: f64 = 86_400.0;

/// `[[device.point.alarm]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmSection {
    /// What it watches: `hihi hi lo lolo deviation rate equals bad stale comms`. No default.
    pub kind: AlarmKind,
    /// Name, unique in its point. Default: the kind.
    #[serde(default)]
    pub name: Option<String>,
    /// Limit in the point's unit: of the value, of its distance from the setpoint, or of its change a second. No
    /// default; `equals`, `bad`, `stale` and `comms` have none.
    #[serde(default)]
    pub limit: Option<f64>,
    /// The value that `equals` watches for; a bool is 0 or 1. No default.
    #[serde(default)]
    pub value: Option<f64>,
    /// Over how many seconds `rate` is taken. Default 10.
    #[serde(default = "ten")]
    pub window_s: f64,
    /// The limit must be left by this much before the alarm clears. Default 0.
    #[serde(default)]
    pub hysteresis: f64,
    /// How long the condition must hold before the alarm is raised, ms. Default 0.
    #[serde(default)]
    pub on_delay_ms: u64,
    /// How long it must be gone before the alarm clears, ms. Default 0.
    #[serde(default)]
    pub off_delay_ms: u64,
    /// `low medium high urgent`. Default `medium`.
    #[serde(default)]
    pub priority: Priority,
    /// What is wrong, for operators. Default: empty.
    #[serde(default)]
    pub text: String,
    /// Group that it is listed under. Default: empty.
    #[serde(default)]
    pub group: String,
    /// `false` takes it out of service: it is shown as that and not judged. Default `true`.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn ten() -> f64 {
    10.0
}
fn yes() -> bool {
    true
}

impl AlarmSection {
    fn name(&self) -> String {
        let of_kind = || serde_json::to_value(self.kind).ok()?.as_str().map(str::to_owned);
        self.name.clone().or_else(of_kind).unwrap_or_default()
    }
}

type Wrong = (&'static str, String);

/// Every alarm. Mistakes in one leave it out.
pub(super) fn definitions(
    files: &Files<'_>,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> Vec<AlarmDefinition> {
    let mut made = Vec::new();
    for located in &files.devices {
        for (at, p) in located.device.point.iter().enumerate() {
            if p.alarm.is_empty() {
                continue;
            }
            let Some(point) = registry.find(&located.device.name, &p.name) else { continue };
            let mut names = HashSet::new();
            for (n, section) in p.alarm.iter().enumerate() {
                let mut wrong = |key: &str, message: String| {
                    let key = format!("point[{at}].alarm[{n}].{key}");
                    mistakes.push(files.device_mistake(located, &key, message));
                };
                let name = section.name();
                if let Err(e) = check_name(&name) {
                    wrong("name", e.to_string());
                } else if !names.insert(name.clone()) {
                    wrong("name", format!("`{name}` stands twice at this point: give one of them a `name`"));
                }
                match definition(section, name, point, registry) {
                    Ok(definition) => made.push(definition),
                    Err((key, message)) => wrong(key, message),
                }
            }
        }
    }
    if made.len() > MAX_ALARMS {
        let message = format!("{} alarms: expected at most {MAX_ALARMS}", made.len());
        mistakes.push(files.mistake("device", "", message));
    }
    made
}

fn definition(
    section: &AlarmSection,
    name: String,
    point: &Point,
    registry: &Registry,
) -> Result<AlarmDefinition, Wrong> {
    let rule = rule(section, point, registry)?;
    if !section.hysteresis.is_finite() || section.hysteresis < 0.0 {
        return Err(("hysteresis", format!("{} is not a width: expected 0 or more", section.hysteresis)));
    }
    for (key, ms) in [("on_delay_ms", section.on_delay_ms), ("off_delay_ms", section.off_delay_ms)] {
        if ms > LONGEST_DELAY_MS {
            return Err((key, format!("{ms} is more than a day ({LONGEST_DELAY_MS})")));
        }
    }
    for (key, text, most) in [("text", &section.text, 200), ("group", &section.group, 63)] {
        if text.chars().count() > most || text.chars().any(char::is_control) {
            return Err((key, format!("expected at most {most} characters in one line")));
        }
    }
    let device = registry.device_schema(point);
    Ok(AlarmDefinition {
        point: point.id,
        rule,
        hysteresis: section.hysteresis,
        on_delay_ms: section.on_delay_ms,
        off_delay_ms: section.off_delay_ms,
        stale_ms: point.schema.stale_ms,
        enabled: section.enabled,
        told: AlarmView {
            id: AlarmId::derived(device.twin, &point.schema.name, &name),
            twin: device.twin,
            asset: device.asset.clone(),
            point: point.schema.name.to_string(),
            name,
            kind: section.kind,
            priority: section.priority,
            text: section.text.clone(),
            group: section.group.clone(),
            state: AlarmState::Normal,
            change: AlarmChange::Enabled,
            raised_us: None,
            at_us: 0,
            shelved_until_us: None,
            shelved_once: false,
            value: None,
            quality: Quality::BAD_NO_DATA,
            limit: section.limit.or(section.value),
            unit: point.schema.unit.clone(),
            actor: "system".to_owned(),
            comment: String::new(),
        },
    })
}

fn rule(section: &AlarmSection, point: &Point, registry: &Registry) -> Result<Rule, Wrong> {
    let number = matches!(point.schema.value_type, ValueType::I64 | ValueType::U64 | ValueType::F64);
    let of_number = |what: &str| {
        if number { Ok(()) } else { Err(("kind", format!("only numbers (i64, u64, f64) have {what}"))) }
    };
    let limit = || {
        let limit = section.limit.ok_or(("limit", "missing: this kind needs a limit".to_owned()))?;
        if limit.is_finite() { Ok(limit) } else { Err(("limit", format!("{limit} is not a limit"))) }
    };
    let positive = || match limit()? {
        limit if limit >= 0.0 => Ok(limit),
        limit => Err(("limit", format!("{limit} is not a distance: expected 0 or more"))),
    };
    let has_limit =
        !matches!(section.kind, AlarmKind::Equals | AlarmKind::Bad | AlarmKind::Stale | AlarmKind::Comms);
    if !has_limit && section.limit.is_some() {
        return Err(("limit", "this kind has no limit: leave it out".to_owned()));
    }
    if section.kind != AlarmKind::Equals && section.value.is_some() {
        return Err(("value", "only `equals` has a value: leave it out".to_owned()));
    }
    match section.kind {
        AlarmKind::HiHi | AlarmKind::Hi => of_number("limits").and_then(|()| limit()).map(Rule::Above),
        AlarmKind::LoLo | AlarmKind::Lo => of_number("limits").and_then(|()| limit()).map(Rule::Below),
        AlarmKind::Deviation => {
            of_number("a deviation")?;
            let own = registry.device(point.device).map_or("", |d| d.name.as_str());
            let setpoint = point.schema.setpoint.as_deref().and_then(|s| registry.find(own, s));
            let missing = || ("kind", "the point has no `setpoint` that it could deviate from".to_owned());
            Ok(Rule::Deviation { setpoint: setpoint.ok_or_else(missing)?.id, limit: positive()? })
        }
        AlarmKind::Rate => {
            of_number("a rate of change")?;
            let seconds = section.window_s;
            if !(0.01..=LONGEST_WINDOW_S).contains(&seconds) {
                return Err(("window_s", format!("{seconds} is not within 0.01 to {LONGEST_WINDOW_S}")));
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the limits
            let span_us = (seconds * 1e6) as u64;
            Ok(Rule::Rate { limit: positive()?, span_us })
        }
        AlarmKind::Equals => {
            if !number && point.schema.value_type != ValueType::Bool {
                return Err(("kind", "only numbers and bools are watched for a value".to_owned()));
            }
            let value = section.value.filter(|v| v.is_finite());
            let missing = "missing: expected the value to watch for; a bool is 0 or 1";
            Ok(Rule::Equals(value.ok_or_else(|| ("value", missing.to_owned()))?))
        }
        AlarmKind::Bad => Ok(Rule::Bad),
        AlarmKind::Stale => Ok(Rule::Stale),
        AlarmKind::Comms => Ok(Rule::Comms),
    }
}

#[cfg(test)]
#[path = "alarms_tests.rs"]
mod tests;

//! A rollout, judged by what boxes tell: who is offered what, when the next group has its turn, and what halts it. Pure.

use common::GatewayId;
use common::api::{
    Release, Rollout, RolloutBox, RolloutBoxState, RolloutRequest, RolloutState, UpdateOffer, UpdateReport,
    UpdateState,
};
use common::command::Severity;
use common::names::action;

use crate::update::UpdateBox;

/// What a rollout has come to: its next form, and what people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rollout from now on.
    pub rollout: Rollout,
    /// Action, severity and words; none where only its clock begins anew, which nobody needs to hear of.
    pub told: Option<(&'static str, Severity, String)>,
}

/// Whether a name can be one of a group.
pub fn is_group(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// A box that is connected for so long and has told nothing of updates never will.
const TELLS_US: i64 = 60_000_000;
/// Boxes that failed, of which the reason for a halt tells.
const MOST_TOLD: usize = 5;

/// How the gateways of a rollout stand, by group in their order, and name. `since`: since when a gateway is connected, if it is.
pub fn boxes(
    rollout: &Rollout,
    releases: &[Release],
    all: &[UpdateBox],
    now_us: i64,
    since: impl Fn(&UpdateBox) -> Option<i64>,
) -> Vec<RolloutBox> {
    let mut out = Vec::new();
    for (stage, group) in rollout.groups.iter().enumerate() {
        for one in all.iter().filter(|b| b.group.as_ref() == Some(group)) {
            let report = one.report.as_ref();
            let since_us = since(one);
            let (mut state, mut reason) = standing(rollout, releases, report);
            if report.is_none() && since_us.is_some_and(|since| now_us - since > TELLS_US) {
                state = RolloutBoxState::Failed;
                reason = "its box is here and tells nothing of updates: its program is too old".into();
            }
            if rollout.passed_over.contains(&one.key.gateway) && state != RolloutBoxState::Done {
                state = RolloutBoxState::PassedOver;
            }
            if stage > rollout.stage && state != RolloutBoxState::Done {
                (state, reason) = (RolloutBoxState::Later, String::new());
            }
            out.push(RolloutBox {
                gateway: one.key.gateway.clone(),
                group: group.clone(),
                state,
                reason,
                connected: since_us.is_some(),
                version: report.map(|r| r.version.clone()).unwrap_or_default(),
            });
        }
    }
    out
}

/// What a box's last word is worth in a rollout. It is of this one only if its offer was.
fn standing(
    rollout: &Rollout,
    releases: &[Release],
    report: Option<&UpdateReport>,
) -> (RolloutBoxState, String) {
    use RolloutBoxState::{Done, Failed, Updating, Waiting};
    let Some(report) = report else {
        return (Waiting, "its box has never told of updates: it was not here".into());
    };
    let offer = report.offer.as_ref().filter(|o| o.rollout == rollout.id);
    let state = offer.map_or(UpdateState::None, |_| report.state);
    if report.version == rollout.version && state != UpdateState::Trial {
        return (Done, String::new());
    }
    match state {
        UpdateState::Refused | UpdateState::GaveWay => {
            return (Failed, format!("{}: {}", report.state, report.reason));
        }
        UpdateState::Receiving => {
            let (there, all) = (report.received, offer.map_or(0, |o| o.bytes));
            return (Updating, format!("{there} of {all} bytes are there"));
        }
        UpdateState::Waiting | UpdateState::Trial | UpdateState::Installed => {
            return (Updating, report.state.to_string());
        }
        UpdateState::None => {}
    }
    if !report.accepts {
        return (Failed, format!("its box takes no updates from the cloud: {}", report.why));
    }
    if !releases.iter().any(|r| is_for(r, rollout, report)) {
        return (Failed, format!("there is no bundle of {} for {}", rollout.version, report.arch));
    }
    (Waiting, "it has not heard of it".into())
}

fn is_for(release: &Release, rollout: &Rollout, report: &UpdateReport) -> bool {
    release.version == rollout.version && release.arch == report.arch
}

/// What a gateway is offered now.
pub fn offer(
    rollout: &Rollout,
    releases: &[Release],
    one: &UpdateBox,
    standing: &RolloutBox,
) -> Option<UpdateOffer> {
    let report = one.report.as_ref().filter(|r| r.accepts)?;
    let wants = matches!(standing.state, RolloutBoxState::Waiting | RolloutBoxState::Updating);
    if rollout.state != RolloutState::Running || !wants {
        return None;
    }
    let release = releases.iter().find(|r| is_for(r, rollout, report))?;
    Some(UpdateOffer {
        rollout: rollout.id,
        version: release.version.clone(),
        arch: release.arch.clone(),
        bytes: release.bytes,
        sha256: release.sha256.clone(),
    })
}

/// Goes on with a running rollout by what its boxes tell; none if nothing has changed.
pub fn step(rollout: &Rollout, boxes: &[RolloutBox], now_us: i64) -> Option<Step> {
    if rollout.state != RolloutState::Running {
        return None;
    }
    let (version, id) = (&rollout.version, rollout.id);
    if let Some(reason) = failures(boxes) {
        let detail = format!("rollout {id} of {version} is halted: {reason}");
        let told = Some((action::ROLLOUT_HALTED, Severity::Alarm, detail));
        return Some(Step { rollout: halt(rollout, reason, now_us), told });
    }
    let group = rollout.groups.get(rollout.stage)?;
    let mut own = boxes.iter().filter(|b| b.group == *group);
    let fares_well = own.all(|b| match b.state {
        RolloutBoxState::PassedOver => true,
        RolloutBoxState::Done => b.connected,
        _ => false,
    });
    let Some(since_us) = rollout.well_since_us.filter(|_| fares_well) else {
        // Begins to fare well, or no longer does.
        let well_since_us = fares_well.then_some(now_us);
        return (well_since_us != rollout.well_since_us)
            .then(|| Step { rollout: Rollout { well_since_us, ..next(rollout, now_us) }, told: None });
    };
    // A clock that was set back begins anew.
    if now_us < since_us {
        let rollout = Rollout { well_since_us: Some(now_us), ..next(rollout, now_us) };
        return Some(Step { rollout, told: None });
    }
    let stay_us = i64::try_from(rollout.stay_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    if now_us - since_us < stay_us {
        return None;
    }
    let stage = rollout.stage + 1;
    let next = next(rollout, now_us);
    let (rollout, action, what) = match rollout.groups.get(stage) {
        Some(group) => {
            (Rollout { stage, ..next }, action::ROLLOUT_STAGE, format!("group {group} has its turn"))
        }
        None => {
            let done = Rollout { state: RolloutState::Done, ..next };
            (done, action::ROLLOUT_DONE, "all groups have it".to_owned())
        }
    };
    let left_out = left_out(boxes);
    let (severity, without) = if left_out.is_empty() {
        (Severity::Info, String::new())
    } else {
        let names: Vec<_> = left_out.iter().map(ToString::to_string).collect();
        (Severity::Warning, format!(", without {}, which failed and were passed over", names.join(", ")))
    };
    let detail = format!("rollout {id} of {}: {what}{without}", rollout.version);
    Some(Step { rollout, told: Some((action, severity, detail)) })
}

/// Boxes that failed, each with its reason; none if none did.
fn failures(boxes: &[RolloutBox]) -> Option<String> {
    let failed: Vec<_> = boxes.iter().filter(|b| b.state == RolloutBoxState::Failed).collect();
    let one = |b: &&RolloutBox| format!("{} (group {}): {}", b.gateway, b.group, b.reason);
    let mut told: Vec<_> = failed.iter().take(MOST_TOLD).map(one).collect();
    if failed.len() > MOST_TOLD {
        told.push(format!("and {} more", failed.len() - MOST_TOLD));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// Who was passed over and does not have the version.
pub fn left_out(boxes: &[RolloutBox]) -> Vec<GatewayId> {
    boxes.iter().filter(|b| b.state == RolloutBoxState::PassedOver).map(|b| b.gateway.clone()).collect()
}

/// When a running rollout is to be looked at again although nobody tells anything: a group has fared well for long enough, or a box
/// has been here too long to say nothing.
pub fn due(
    rollout: &Rollout,
    all: &[UpdateBox],
    now_us: i64,
    since: impl Fn(&UpdateBox) -> Option<i64>,
) -> Option<i64> {
    let stay_us = i64::try_from(rollout.stay_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let well = rollout.well_since_us.map(|since| since.saturating_add(stay_us));
    let silent = all.iter().filter(|b| b.report.is_none()).filter_map(since).map(|at| at + TELLS_US + 1);
    silent.chain(well).filter(|at| *at > now_us).min()
}

/// A rollout that somebody asks for, as the one of this number.
pub fn begin(id: u64, request: RolloutRequest, author: &str, now_us: i64) -> Rollout {
    let RolloutRequest { version, groups, stay_s, note } = request;
    Rollout {
        id,
        revision: 1,
        version,
        groups,
        stage: 0,
        state: RolloutState::Running,
        reason: String::new(),
        stay_s,
        well_since_us: None,
        passed_over: Vec::new(),
        author: author.to_owned(),
        note,
        began_us: now_us,
        changed_us: now_us,
    }
}

/// The next revision, in which nobody has fared well yet.
fn next(rollout: &Rollout, now_us: i64) -> Rollout {
    Rollout { revision: rollout.revision + 1, well_since_us: None, changed_us: now_us, ..rollout.clone() }
}

/// Halts it, for this reason.
pub fn halt(rollout: &Rollout, reason: String, now_us: i64) -> Rollout {
    Rollout { state: RolloutState::Halted, reason, ..next(rollout, now_us) }
}

/// Lets a halted rollout go on: who failed is passed over.
pub fn go_on(rollout: &Rollout, boxes: &[RolloutBox], now_us: i64) -> Rollout {
    let mut passed_over = rollout.passed_over.clone();
    passed_over
        .extend(boxes.iter().filter(|b| b.state == RolloutBoxState::Failed).map(|b| b.gateway.clone()));
    Rollout { state: RolloutState::Running, reason: String::new(), passed_over, ..next(rollout, now_us) }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;

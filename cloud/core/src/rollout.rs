//! A rollout, judged by what boxes tell: who is offered what, when the next group has its turn, and what halts it. Pure.

use common::api::{
    Release, Rollout, RolloutBox, RolloutBoxState, RolloutState, UpdateOffer, UpdateReport, UpdateState,
};
use common::command::Severity;
use common::names::action;

use crate::update::UpdateBox;

/// What a rollout has come to: its next form, and what people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rollout from now on.
    pub rollout: Rollout,
    /// Action, severity and words.
    pub told: (&'static str, Severity, String),
}

/// Whether a name can be one of a group.
pub fn is_group(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// A box that is connected for so long and has told nothing of updates never will.
const TELLS_US: i64 = 60_000_000;

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
    let next = || Rollout { revision: rollout.revision + 1, changed_us: now_us, ..rollout.clone() };
    let (version, id) = (&rollout.version, rollout.id);
    if let Some(failed) = boxes.iter().find(|b| b.state == RolloutBoxState::Failed) {
        let reason = format!("{} (group {}): {}", failed.gateway, failed.group, failed.reason);
        let detail = format!("rollout {id} of {version} is halted: {reason}");
        let rollout = Rollout { state: RolloutState::Halted, reason, well_since_us: None, ..next() };
        return Some(Step { rollout, told: (action::ROLLOUT_HALTED, Severity::Alarm, detail) });
    }
    let group = rollout.groups.get(rollout.stage)?;
    let mut own = boxes.iter().filter(|b| b.group == *group);
    let fares_well = own.all(|b| match b.state {
        RolloutBoxState::PassedOver => true,
        RolloutBoxState::Done => b.connected,
        _ => false,
    });
    let Some(since_us) = rollout.well_since_us.filter(|_| fares_well) else {
        // Begins to fare well, or no longer does: only the clock changes, which nobody needs to hear of.
        let well_since_us = fares_well.then_some(now_us);
        let told = (action::ROLLOUT_STAGE, Severity::Info, String::new());
        return (well_since_us != rollout.well_since_us)
            .then(|| Step { rollout: Rollout { well_since_us, ..next() }, told });
    };
    // A clock that was set back begins anew.
    let stay_us = i64::try_from(rollout.stay_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    if now_us < since_us {
        let told = (action::ROLLOUT_STAGE, Severity::Info, String::new());
        return Some(Step { rollout: Rollout { well_since_us: Some(now_us), ..next() }, told });
    }
    if now_us - since_us < stay_us {
        return None;
    }
    let after = rollout.stage + 1;
    let rollout = Rollout { well_since_us: None, ..next() };
    Some(match rollout.groups.get(after).cloned() {
        Some(group) => {
            let detail = format!("rollout {id} of {version}: group {group} has its turn");
            let rollout = Rollout { stage: after, ..rollout };
            Step { rollout, told: (action::ROLLOUT_STAGE, Severity::Info, detail) }
        }
        None => {
            let detail = format!("rollout {id} of {version}: all groups have it");
            let rollout = Rollout { state: RolloutState::Done, ..rollout };
            Step { rollout, told: (action::ROLLOUT_DONE, Severity::Info, detail) }
        }
    })
}

/// Lets a halted rollout go on: who failed is passed over.
pub fn go_on(rollout: &Rollout, boxes: &[RolloutBox], now_us: i64) -> Rollout {
    let mut passed_over = rollout.passed_over.clone();
    passed_over
        .extend(boxes.iter().filter(|b| b.state == RolloutBoxState::Failed).map(|b| b.gateway.clone()));
    Rollout {
        state: RolloutState::Running,
        reason: String::new(),
        revision: rollout.revision + 1,
        well_since_us: None,
        changed_us: now_us,
        passed_over,
        ..rollout.clone()
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;

//! A rollout by what boxes tell.

use common::TenantId;
use common::api::{
    Release, Rollout, RolloutBox, RolloutBoxState, RolloutRequest, RolloutState, UpdateReport, UpdateState,
};
use common::command::Severity;
use common::names::action;

use super::{MOST_TOLD, Step, begin, boxes, due, go_on, is_group, left_out, offer, step};
use crate::storage::GatewayKey;
use crate::update::UpdateBox;

const S: i64 = 1_000_000;

fn rollout() -> Rollout {
    let groups = vec!["canary".into(), "rest".into()];
    let request = RolloutRequest { version: "1.1.0".into(), groups, stay_s: 10, note: String::new() };
    begin(3, request, "anna", 0)
}

fn release(arch: &str) -> Release {
    Release {
        version: "1.1.0".into(),
        arch: arch.into(),
        sha256: format!("{arch:0>64}"),
        bytes: 7,
        digest: "d".into(),
        commit: String::new(),
        min_from: None,
        signed_by: vec![],
        author: "anna".into(),
        at_us: 0,
    }
}

fn one(name: &str, group: &str) -> UpdateBox {
    let report = UpdateReport {
        accepts: true,
        version: "1.0.0".into(),
        arch: "arm64".into(),
        ..UpdateReport::default()
    };
    let key = GatewayKey { tenant: TenantId::default(), gateway: name.parse().unwrap() };
    UpdateBox { key, group: Some(group.into()), report: Some(report) }
}

/// What a box says of its offer.
fn say(rollout: &Rollout, one: &mut UpdateBox, state: UpdateState, version: &str) {
    let standing = boxes(rollout, &[release("arm64")], std::slice::from_ref(one), S, |_| Some(S));
    let offered = offer(rollout, &[release("arm64")], one, &standing[0]);
    let report = one.report.as_mut().unwrap();
    report.offer = offered.or(report.offer.take());
    (report.state, report.version, report.reason) = (state, version.into(), "so".into());
}

fn action(step: &Step) -> &str {
    step.told.as_ref().unwrap().0
}

fn look(rollout: &Rollout, all: &[UpdateBox]) -> Vec<RolloutBox> {
    boxes(rollout, &[release("arm64"), release("armhf")], all, S, |_| Some(S))
}

#[test]
fn groups_have_their_turn_one_after_the_other_once_the_one_before_has_fared_well() {
    let mut now = rollout();
    let mut all = vec![one("a", "canary"), one("b", "rest"), one("c", "other")];
    let seen = look(&now, &all);
    assert_eq!(seen.len(), 2, "who is in no group of it is left alone");
    assert!(offer(&now, &[release("arm64")], &all[0], &seen[0]).is_some());
    assert_eq!(offer(&now, &[release("arm64")], &all[1], &seen[1]), None);
    assert_eq!(step(&now, &seen, S), None);
    for state in [UpdateState::Receiving, UpdateState::Waiting] {
        say(&now, &mut all[0], state, "1.0.0");
        assert_eq!(step(&now, &look(&now, &all), S), None);
    }
    say(&now, &mut all[0], UpdateState::Trial, "1.1.0");
    assert_eq!(step(&now, &look(&now, &all), S), None, "on trial it has not proven itself");
    say(&now, &mut all[0], UpdateState::Installed, "1.1.0");
    now = step(&now, &look(&now, &all), 2 * S).unwrap().rollout;
    assert_eq!((now.well_since_us, now.stage), (Some(2 * S), 0));
    assert_eq!(step(&now, &look(&now, &all), 11 * S), None);
    // It is away for a moment: the time begins anew.
    let away = boxes(&now, &[release("arm64")], &all, S, |_| None);
    let reset = step(&now, &away, 11 * S).unwrap().rollout;
    assert_eq!(reset.well_since_us, None);
    let next = step(&now, &look(&now, &all), 12 * S).unwrap();
    assert_eq!((next.rollout.stage, action(&next)), (1, action::ROLLOUT_STAGE));
    now = next.rollout;
    // Who runs it already counts as done.
    all[1].report.as_mut().unwrap().version = "1.1.0".into();
    now = step(&now, &look(&now, &all), 13 * S).unwrap().rollout;
    let done = step(&now, &look(&now, &all), 23 * S).unwrap();
    assert_eq!((done.rollout.state, action(&done)), (RolloutState::Done, action::ROLLOUT_DONE));
    assert_eq!(step(&done.rollout, &look(&now, &all), 99 * S), None);
}

#[test]
fn any_failure_halts_it_also_in_a_group_that_had_its_turn() {
    let mut now = rollout();
    now.stage = 1;
    let mut all = vec![one("a", "canary"), one("b", "rest")];
    say(&now, &mut all[0], UpdateState::GaveWay, "1.0.0");
    let halted = step(&now, &look(&now, &all), S).unwrap();
    assert_eq!((halted.rollout.state, action(&halted)), (RolloutState::Halted, action::ROLLOUT_HALTED));
    assert!(halted.rollout.reason.contains("a (group canary): gave way: so"), "{halted:?}");
    let seen = look(&halted.rollout, &all);
    assert_eq!(offer(&halted.rollout, &[release("arm64")], &all[1], &seen[1]), None);
    // Somebody lets it go on: who failed is passed over, and a later failure halts it again.
    let on = go_on(&halted.rollout, &seen, 2 * S);
    let seen = look(&on, &all);
    assert_eq!(seen[0].state, RolloutBoxState::PassedOver);
    assert_eq!(left_out(&seen), [all[0].key.gateway.clone()]);
    assert_eq!(step(&on, &seen, 3 * S), None);
    // Had the other one taken it, the end would say who has not.
    let mut taken = all.clone();
    taken[1].report.as_mut().unwrap().version = "1.1.0".into();
    let well = step(&on, &look(&on, &taken), 4 * S).unwrap().rollout;
    let done = step(&well, &look(&on, &taken), 14 * S).unwrap();
    assert_eq!(done.rollout.state, RolloutState::Done);
    let (_, severity, detail) = done.told.unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(detail.contains("without a, which failed and were passed over"), "{detail}");
    // In another way it came to have it: nobody is left out.
    taken[0].report.as_mut().unwrap().version = "1.1.0".into();
    assert_eq!(left_out(&look(&on, &taken)), []);
    let done = step(&well, &look(&on, &taken), 14 * S).unwrap().told.unwrap();
    assert_eq!((done.1, done.2.contains("without")), (Severity::Info, false));
    say(&on, &mut all[1], UpdateState::Refused, "1.0.0");
    assert_eq!(step(&on, &look(&on, &all), 3 * S).unwrap().rollout.state, RolloutState::Halted);
    // What it said in another rollout is not of this one.
    let again = Rollout { id: 4, ..rollout() };
    assert_eq!(look(&again, &all)[0].state, RolloutBoxState::Waiting);
}

#[test]
fn who_cannot_have_it_is_a_failure_with_its_reason_and_who_is_away_is_waited_for() {
    let now = rollout();
    let mut off = one("a", "canary");
    let report = off.report.as_mut().unwrap();
    (report.accepts, report.why) = (false, "`accept_updates` is off".into());
    let mut other = one("b", "canary");
    other.report.as_mut().unwrap().arch = "riscv".into();
    let mut old = one("c", "canary");
    old.report = None;
    let seen = look(&now, &[off, other, old]);
    let is: Vec<_> = seen.iter().map(|b| b.state).collect();
    assert_eq!(is, [RolloutBoxState::Failed, RolloutBoxState::Failed, RolloutBoxState::Waiting]);
    assert!(seen[0].reason.contains("accept_updates") && seen[1].reason.contains("for riscv"), "{seen:?}");
    assert_eq!(step(&now, &seen[2..], S), None);
    // Who is here for long and says nothing never will.
    let mut old = one("c", "canary");
    old.report = None;
    let later = |now_us| boxes(&now, &[release("arm64")], std::slice::from_ref(&old), now_us, |_| Some(S));
    assert_eq!(later(61 * S)[0].state, RolloutBoxState::Waiting);
    let seen = later(62 * S);
    assert_eq!(seen[0].state, RolloutBoxState::Failed);
    assert!(seen[0].reason.contains("too old"), "{seen:?}");
}

#[test]
fn a_halt_tells_of_all_that_failed_up_to_a_few() {
    let now = rollout();
    let mut all: Vec<_> = (0..MOST_TOLD + 2).map(|n| one(&format!("a{n}"), "canary")).collect();
    for one in &mut all[..2] {
        say(&now, one, UpdateState::Refused, "1.0.0");
    }
    let reason = step(&now, &look(&now, &all), S).unwrap().rollout.reason;
    assert_eq!(reason, "a0 (group canary): refused: so; a1 (group canary): refused: so");
    for one in &mut all[2..] {
        say(&now, one, UpdateState::GaveWay, "1.0.0");
    }
    let reason = step(&now, &look(&now, &all), S).unwrap().rollout.reason;
    assert!(reason.contains("a4 (group canary): gave way: so; and 2 more"), "{reason}");
}

#[test]
fn a_rollout_is_due_when_time_alone_changes_it() {
    let mut now = rollout();
    let mut all = vec![one("a", "canary"), one("b", "rest")];
    let due_at = |now: &Rollout, all: &[UpdateBox], at| due(now, all, at, |_| Some(S));
    assert_eq!(due_at(&now, &all, S), None, "all waits for what boxes tell");
    all[0].report = None;
    assert_eq!(due_at(&now, &all, S), Some(61 * S + 1));
    let seen = |at| boxes(&now, &[release("arm64")], &all, at, |_| Some(S))[0].state;
    assert_eq!((seen(61 * S), seen(61 * S + 1)), (RolloutBoxState::Waiting, RolloutBoxState::Failed));
    assert_eq!(due_at(&now, &all, 62 * S), None, "what has come is not waited for");
    assert_eq!(due(&now, &all, S, |_| None), None, "nor who is away");
    now.well_since_us = Some(5 * S);
    assert_eq!(due_at(&now, &all, 6 * S), Some(15 * S));
}

#[test]
fn names_of_groups_are_words() {
    assert!(is_group("line-1.a_b"));
    for bad in ["", "a b", "a,b", "a/b", &"x".repeat(65)] {
        assert!(!is_group(bad), "{bad}");
    }
}

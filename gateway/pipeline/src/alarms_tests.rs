//! Alarms: limits, delays, acknowledging, shelving, restarts, and that no series makes a change that the states of
//! the standard do not know.

use common::alarm::{AlarmKind, Priority};
use common::{Quality, TwinId, Value};
use proptest::prelude::*;

use super::*;

const P: PointId = PointId(3);

fn define(rule: Rule) -> AlarmDefinition {
    let twin = TwinId::derived(&"t".parse().unwrap(), &"g".parse().unwrap(), "d");
    AlarmDefinition {
        point: P,
        rule,
        hysteresis: 2.0,
        on_delay_ms: 100,
        off_delay_ms: 50,
        stale_ms: 1000,
        enabled: true,
        told: AlarmView {
            id: AlarmId::derived(twin, "p", "hi"),
            twin,
            asset: "p/d".into(),
            point: "p".into(),
            name: "hi".into(),
            kind: AlarmKind::Hi,
            priority: Priority::High,
            text: String::new(),
            group: String::new(),
            state: AlarmState::Normal,
            change: AlarmChange::Enabled,
            raised_us: None,
            at_us: 0,
            shelved_until_us: None,
            shelved_once: false,
            value: None,
            quality: Quality::BAD_NO_DATA,
            limit: None,
            unit: String::new(),
            actor: "system".into(),
            comment: String::new(),
        },
    }
}

fn at(ms: u64) -> Now {
    Now { utc_us: 1_000_000 + i64::try_from(ms).unwrap() * 1000, mono_us: ms * 1000 }
}

fn sample(point: PointId, x: Option<f64>, ms: u64) -> Sample {
    let quality = if x.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
    let us = at(ms).utc_us;
    Sample { point, value: x.map(Value::F64), quality, source_us: us, received_us: us }
}

struct Rig {
    alarms: Alarms,
    id: AlarmId,
}

impl Rig {
    fn new(definition: AlarmDefinition) -> Self {
        Self::with(definition, vec![]).0
    }

    fn with(definition: AlarmDefinition, kept: Vec<KeptAlarm>) -> (Self, Vec<AlarmView>) {
        let id = definition.told.id;
        let mut alarms = Alarms::new(vec![definition], at(0));
        let mut out = Vec::new();
        alarms.restore(kept, at(0), &mut out);
        (Self { alarms, id }, out)
    }

    fn feed(&mut self, x: impl Into<Option<f64>>, ms: u64) -> Vec<(AlarmChange, AlarmState)> {
        let mut out = Vec::new();
        self.alarms.feed(&sample(P, x.into(), ms), at(ms), &mut out);
        out.iter().map(|v| (v.change, v.state)).collect()
    }

    fn tick(&mut self, ms: u64) -> Vec<(AlarmChange, AlarmState)> {
        let mut out = Vec::new();
        self.alarms.tick(at(ms), &mut out);
        out.iter().map(|v| (v.change, v.state)).collect()
    }

    fn act(&mut self, act: AlarmAct, ms: u64) -> usize {
        let mut out = Vec::new();
        self.alarms.act(self.id, act, "anna", Some("seen"), at(ms), &mut out).unwrap();
        out.len()
    }

    fn now(&self) -> &AlarmView {
        self.alarms.get(self.id).unwrap()
    }
}

const RAISED: (AlarmChange, AlarmState) = (AlarmChange::Raised, AlarmState::Active);
const CLEARED: (AlarmChange, AlarmState) = (AlarmChange::Cleared, AlarmState::Returned);

#[test]
fn a_limit_raises_after_its_delay_and_clears_below_its_hysteresis() {
    let mut r = Rig::new(define(Rule::Above(90.0)));
    assert!(r.feed(91.0, 0).is_empty());
    assert!(r.feed(89.0, 50).is_empty(), "not long enough");
    assert!(r.feed(91.0, 60).is_empty());
    assert_eq!(r.alarms.next_due_us(at(60)), Some(160_000));
    assert!(r.tick(159).is_empty());
    assert_eq!(r.tick(160), [RAISED]);
    assert_eq!(r.now().value, Some(Value::F64(91.0)));
    assert!(r.feed(88.5, 200).is_empty(), "within the hysteresis");
    assert!(r.tick(400).is_empty());
    assert!(r.feed(87.9, 400).is_empty());
    assert_eq!(r.tick(450), [CLEARED]);
    assert_eq!(r.act(AlarmAct::Acknowledge { raised_us: r.now().raised_us.unwrap() }, 500), 1);
    assert_eq!(
        (r.now().state, r.now().actor.as_str(), r.now().comment.as_str()),
        (AlarmState::Normal, "anna", "seen")
    );
}

#[test]
fn acknowledging_is_of_one_occurrence_and_asking_again_changes_nothing() {
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Below(10.0)) });
    assert_eq!(r.feed(5.0, 10), [RAISED]);
    let first = r.now().raised_us.unwrap();
    assert_eq!(r.act(AlarmAct::Acknowledge { raised_us: first }, 20), 1);
    assert_eq!(r.act(AlarmAct::Acknowledge { raised_us: first }, 30), 0);
    assert_eq!(r.now().state, AlarmState::Acknowledged);
    assert_eq!(r.feed(20.0, 40), [(AlarmChange::Cleared, AlarmState::Normal)]);
    assert_eq!(r.feed(5.0, 40), [RAISED]);
    assert!(r.now().raised_us.unwrap() > first);
    assert_eq!(r.act(AlarmAct::Acknowledge { raised_us: first }, 50), 0, "that was another one");
    assert_eq!(r.now().state, AlarmState::Active);
    let mut out = Vec::new();
    let unknown = AlarmId::derived(r.now().twin, "p", "other");
    let act = AlarmAct::Unshelve;
    assert_eq!(r.alarms.act(unknown, act, "a", None, at(0), &mut out), Err(ActError::Unknown));
}

#[test]
fn a_shelved_alarm_says_so_until_its_time_is_up() {
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, ..define(Rule::Above(90.0)) });
    assert_eq!(r.act(AlarmAct::Shelve { duration_ms: 5000 }, 0), 1);
    assert_eq!(r.feed(95.0, 100), [RAISED]);
    assert!(r.now().shelved_until_us.is_some());
    assert!(r.tick(4999).is_empty());
    assert_eq!(r.tick(5000), [(AlarmChange::Unshelved, AlarmState::Active)]);
    assert_eq!(r.act(AlarmAct::Unshelve, 5001), 0);
}

#[test]
fn an_alarm_that_is_shelved_once_leaves_the_shelf_when_it_clears() {
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) });
    assert_eq!(r.act(AlarmAct::ShelveOnce, 0), 1);
    assert_eq!(r.feed(95.0, 100), [RAISED]);
    assert!(r.now().shelved_once && r.now().shelved_until_us.is_some());
    // Also over a restart.
    let kept = r.alarms.kept();
    let mut next = Alarms::new(
        vec![AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) }],
        at(150),
    );
    let mut out = Vec::new();
    next.restore(kept, at(150), &mut out);
    assert!(next.get(r.id).unwrap().shelved_once);
    let unshelved = (AlarmChange::Unshelved, AlarmState::Returned);
    assert_eq!(r.feed(5.0, 200), [CLEARED, unshelved]);
    assert!(!r.now().shelved_once && r.now().shelved_until_us.is_none());
    // One that is shelved for a time stays.
    assert_eq!(r.act(AlarmAct::Shelve { duration_ms: 5000 }, 300), 1);
    assert_eq!((r.feed(95.0, 310).len(), r.feed(5.0, 320).len()), (1, 1));
    assert!(r.now().shelved_until_us.is_some());
}

#[test]
fn a_bad_value_changes_no_limit_alarm_and_is_an_alarm_of_its_own() {
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) });
    assert_eq!(r.feed(95.0, 0), [RAISED]);
    assert!(r.feed(None, 10).is_empty());
    assert!(r.tick(5000).is_empty());
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Bad) });
    assert_eq!(r.feed(None, 0), [RAISED]);
    assert_eq!(r.feed(1.0, 10), [CLEARED]);
    assert!(r.tick(1000).is_empty());
    assert_eq!(r.tick(1011), [RAISED], "stale is bad");
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, ..define(Rule::Stale) });
    assert!(r.tick(1000).is_empty());
    assert_eq!(r.tick(1001), [RAISED], "nothing ever came");
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, ..define(Rule::Comms) });
    assert_eq!(r.feed(None, 5), [RAISED]);
}

#[test]
fn deviation_rate_and_state_are_watched() {
    let setpoint = PointId(9);
    let mut r =
        Rig::new(AlarmDefinition { on_delay_ms: 0, ..define(Rule::Deviation { setpoint, limit: 5.0 }) });
    assert!(r.feed(100.0, 0).is_empty(), "no setpoint is known");
    let mut out = Vec::new();
    r.alarms.feed(&sample(setpoint, Some(96.0), 10), at(10), &mut out);
    assert!(out.is_empty());
    r.alarms.feed(&sample(setpoint, Some(94.0), 20), at(20), &mut out);
    assert_eq!(out.len(), 1);
    let rule = Rule::Rate { limit: 10.0, span_us: 1_000_000 };
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, hysteresis: 0.0, ..define(rule) });
    assert!(r.feed(0.0, 0).is_empty());
    assert!(r.feed(0.5, 100).is_empty());
    assert_eq!(r.feed(-9.0, 200), [RAISED], "falling counts as well");
    let mut r = Rig::new(AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Equals(3.0)) });
    assert_eq!(r.feed(3.0, 0), [RAISED]);
    assert_eq!(r.feed(2.0, 10), [CLEARED]);
}

#[test]
fn a_restart_raises_nothing_anew_and_tells_what_the_configuration_changed() {
    let d = || AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) };
    let mut r = Rig::new(d());
    r.feed(95.0, 0);
    let raised_us = r.now().raised_us.unwrap();
    r.act(AlarmAct::Acknowledge { raised_us }, 5);
    let kept: Vec<KeptAlarm> =
        serde_json::from_slice(&serde_json::to_vec(&r.alarms.kept()).unwrap()).unwrap();
    let (mut again, out) = Rig::with(d(), kept.clone());
    assert!(out.is_empty());
    assert!(again.feed(96.0, 10).is_empty());
    assert_eq!((again.now().state, again.now().raised_us), (AlarmState::Acknowledged, Some(raised_us)));
    assert_eq!(again.feed(10.0, 20), [(AlarmChange::Cleared, AlarmState::Normal)]);
    let (off, out) = Rig::with(AlarmDefinition { enabled: false, ..d() }, kept.clone());
    assert_eq!(
        (out.len(), out[0].change, off.now().state),
        (1, AlarmChange::Disabled, AlarmState::OutOfService)
    );
    let (_, out) = Rig::with(AlarmDefinition { enabled: false, ..d() }, off.alarms.kept());
    assert!(out.is_empty(), "told once");
    let (_, out) = Rig::with(d(), off.alarms.kept());
    assert_eq!(out[0].change, AlarmChange::Enabled);
    let mut other = d();
    other.told.id = AlarmId::derived(other.told.twin, "p", "renamed");
    let (_, out) = Rig::with(other, kept);
    assert_eq!((out.len(), out[0].change, out[0].state), (1, AlarmChange::Removed, AlarmState::Normal));
}

#[test]
fn what_was_said_stays_when_something_else_changes() {
    let d = || AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) };
    let mut r = Rig::new(d());
    let said = |r: &Rig| r.alarms.said(r.id).map(|s| (s.text.clone(), s.actor.clone())).unwrap();
    let anna = ("seen".to_owned(), "anna".to_owned());
    r.feed(95.0, 0);
    assert_eq!(said(&r), (String::new(), String::new()));
    r.act(AlarmAct::Comment, 5);
    let act = AlarmAct::Acknowledge { raised_us: r.now().raised_us.unwrap() };
    r.alarms.act(r.id, act, "ben", None, at(10), &mut Vec::new()).unwrap();
    assert_eq!((r.now().actor.as_str(), r.now().comment.as_str()), ("ben", ""), "the change is his alone");
    assert_eq!(said(&r), anna);
    r.feed(10.0, 20);
    assert_eq!((r.now().actor.as_str(), r.now().comment.as_str()), ("system", ""));
    assert_eq!(said(&r), anna);
    let kept = serde_json::to_vec(&r.alarms.kept()).unwrap();
    let (mut again, _) = Rig::with(d(), serde_json::from_slice(&kept).unwrap());
    assert_eq!(said(&again), anna);
    again.alarms.act(again.id, AlarmAct::Comment, "ben", Some(""), at(30), &mut Vec::new()).unwrap();
    assert_eq!(said(&again), (String::new(), "ben".to_owned()));
    // What an earlier version kept has no such words.
    let old = serde_json::to_vec(&[again.now()]).unwrap();
    let (old, _) = Rig::with(d(), serde_json::from_slice(&old).unwrap());
    assert_eq!((old.now().state, said(&old).0.as_str()), (AlarmState::Normal, ""));
}

#[test]
fn a_comment_changes_nothing_else_and_outlives_a_restart() {
    let d = || AlarmDefinition { on_delay_ms: 0, off_delay_ms: 0, ..define(Rule::Above(90.0)) };
    let mut r = Rig::new(d());
    r.feed(95.0, 0);
    let raised_us = r.now().raised_us;
    assert_eq!(r.act(AlarmAct::Comment, 5), 1);
    let now = r.now();
    assert_eq!((now.change, now.state), (AlarmChange::Commented, AlarmState::Active));
    assert_eq!((now.actor.as_str(), now.comment.as_str(), now.raised_us), ("anna", "seen", raised_us));
    assert_eq!(now.entry().action, "alarm.commented");
    let (again, out) = Rig::with(d(), r.alarms.kept());
    assert!(out.is_empty());
    assert_eq!((again.now().actor.as_str(), again.now().comment.as_str()), ("anna", "seen"));
    assert_eq!(r.act(AlarmAct::Acknowledge { raised_us: raised_us.unwrap() }, 10), 1);
    let mut off = Rig::new(AlarmDefinition { enabled: false, ..d() });
    let mut out = Vec::new();
    let refused = off.alarms.act(off.id, AlarmAct::Comment, "anna", Some("seen"), at(5), &mut out);
    assert!(matches!(refused, Err(ActError::OutOfService)) && out.is_empty());
}

#[test]
fn a_sample_that_came_before_the_state_is_known_counts_once_it_is() {
    let mut alarms =
        Alarms::new(vec![AlarmDefinition { on_delay_ms: 0, ..define(Rule::Above(90.0)) }], at(0));
    let mut out = Vec::new();
    alarms.feed(&sample(P, Some(99.0), 5), at(5), &mut out);
    assert!(out.is_empty());
    alarms.restore(vec![], at(10), &mut out);
    assert_eq!(out[0].change, AlarmChange::Raised);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_series_makes_a_change_that_the_standard_does_not_know(
        steps in prop::collection::vec((0u8..7, prop::option::weighted(0.9, 80f64..100.0), 0u64..200), 1..200),
    ) {
        let mut r = Rig::new(define(Rule::Above(90.0)));
        let (mut ms, mut before) = (0, AlarmState::Normal);
        for (what, x, step) in steps {
            ms += step;
            let mut out = Vec::new();
            match what {
                0 => r.alarms.tick(at(ms), &mut out),
                1 => {
                    let raised_us = r.now().raised_us.unwrap_or(0);
                    let _ = r.alarms.act(r.id, AlarmAct::Acknowledge { raised_us }, "a", None, at(ms), &mut out);
                }
                2 => drop(r.alarms.act(r.id, AlarmAct::Shelve { duration_ms: 100 }, "a", None, at(ms), &mut out)),
                3 => drop(r.alarms.act(r.id, AlarmAct::Comment, "a", Some("b"), at(ms), &mut out)),
                _ => r.alarms.feed(&sample(P, x, ms), at(ms), &mut out),
            }
            for view in out {
                let fits = match view.change {
                    AlarmChange::Raised => !before.is_active() && view.state == AlarmState::Active,
                    AlarmChange::Cleared => before.is_active() && !view.state.is_active()
                        && (before == AlarmState::Active) == (view.state == AlarmState::Returned),
                    AlarmChange::Acknowledged => before.is_unacknowledged() && !view.state.is_unacknowledged()
                        && before.is_active() == view.state.is_active(),
                    AlarmChange::Commented | AlarmChange::Shelved | AlarmChange::Unshelved => before == view.state,
                    _ => false,
                };
                prop_assert!(fits, "{:?} -> {:?} by {:?}", before, view.state, view.change);
                before = view.state;
            }
            prop_assert_eq!(r.now().state, before);
        }
    }
}

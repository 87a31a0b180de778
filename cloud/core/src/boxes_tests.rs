//! Tests of verdicts over boxes.
use uuid::Uuid;

use super::*;

const POLICY: Policy = Policy { silent_us: 1_000_000 };

fn id(n: u128) -> BoxId {
    BoxId(Uuid::from_u128(n))
}

/// A box as its program is: it remembers its line.
#[derive(Clone)]
struct Machine {
    box_id: BoxId,
    machine: &'static str,
    line: Vec<Incarnation>,
    current: Incarnation,
    attempt: u64,
}

impl Machine {
    fn new(box_id: u128, machine: &'static str, first: u128) -> Self {
        Self { box_id: id(box_id), machine, line: vec![], current: Incarnation(first), attempt: 0 }
    }

    fn boot(&mut self, incarnation: u128) {
        self.line.push(self.current);
        (self.current, self.attempt) = (Incarnation(incarnation), 0);
    }

    fn says(&mut self, boxes: &mut Boxes, other: Standing, now: i64) -> Verdict {
        let identity = Identity {
            box_id: self.box_id,
            machine: Some(self.machine.to_owned()),
            line: self.line.clone(),
            answered: None,
            store: None,
            attempt: self.attempt,
            acked: vec![],
        };
        self.attempt += 1;
        let said =
            Said { incarnation: self.current, identity: Some(&identity), version: "1", peer: "10.0.0.1:1" };
        boxes.judge(said, other, POLICY, now)
    }
}

fn live(at: i64) -> Standing {
    Standing { live: true, last_us: Some(at) }
}

fn away(at: i64) -> Standing {
    Standing { live: false, last_us: Some(at) }
}

const IN: Verdict = Verdict::Enter(None);

#[test]
fn a_box_starts_again_as_often_as_it_likes() {
    let (mut boxes, mut a) = (Boxes::default(), Machine::new(1, "m", 10));
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    assert_eq!(a.says(&mut boxes, live(0), 1), IN, "a broken link, not noticed yet");
    for n in 11..300 {
        a.boot(n);
        // Some starts never reach the cloud.
        if n % 3 == 0 {
            assert_eq!(a.says(&mut boxes, live(0), 1), IN);
        }
    }
    assert_eq!((boxes.line.len(), boxes.held.len()), (MAX_LINE, 0));
}

#[test]
fn another_box_is_held_until_it_is_accepted_and_then_the_first_is() {
    let mut boxes = Boxes::default();
    let (mut a, mut b) = (Machine::new(1, "m", 10), Machine::new(2, "n", 20));
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    let why = Why::OtherBox;
    assert_eq!(b.says(&mut boxes, live(5), 5), Verdict::Hold { why, new: true });
    b.boot(21);
    for now in 6..20 {
        assert_eq!(
            b.says(&mut boxes, away(5), now),
            Verdict::Hold { why, new: false },
            "also while it is away"
        );
        assert_eq!(a.says(&mut boxes, away(5), now), IN);
    }
    assert_eq!(boxes.held.len(), 1);
    assert_eq!((boxes.held[0].line.len(), boxes.held[0].since_us, boxes.held[0].last_us), (2, 5, 19));
    assert!(boxes.accept(Some(Incarnation(99)), 20).is_none());
    assert_eq!(boxes.accept(None, 20).unwrap().box_id, Some(id(2)));
    assert_eq!(b.says(&mut boxes, Standing::default(), 21), IN);
    a.boot(11);
    assert_eq!(a.says(&mut boxes, away(21), 22), Verdict::Hold { why: Why::Replaced, new: true });
    b.boot(22);
    assert_eq!(b.says(&mut boxes, away(21), 23), IN);
}

#[test]
fn another_box_takes_the_place_of_one_that_is_silent_for_long_or_lost_its_state_or_credential() {
    let told = |v: Verdict| match v {
        Verdict::Enter(Some(News::Replaced { because })) => because,
        other => panic!("{other:?}"),
    };
    for (machine, open, other, want) in [
        ("n", false, away(0), "silent"),
        ("m", false, away(999_999), "same machine"),
        ("n", true, live(1_000_000), "credential"),
    ] {
        let mut boxes = Boxes::default();
        let (mut a, mut b) = (Machine::new(1, "m", 10), Machine::new(2, machine, 20));
        assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
        boxes.open = open;
        assert!(told(b.says(&mut boxes, other, 1_000_000)).contains(want));
        assert!(!boxes.open);
        b.boot(21);
        assert_eq!(b.says(&mut boxes, live(1_000_000), 1_000_001), IN);
        let back = a.says(&mut boxes, live(1_000_001), 1_000_002);
        assert!(matches!(back, Verdict::Hold { .. }), "{want}: {back:?}");
    }
}

#[test]
fn a_copy_of_a_stopped_box_is_held_while_the_original_lives() {
    let mut boxes = Boxes::default();
    let mut a = Machine::new(1, "m", 10);
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    let mut copy = a.clone();
    a.boot(11);
    copy.boot(20);
    assert_eq!(a.says(&mut boxes, away(0), 1), IN);
    assert_eq!(copy.says(&mut boxes, live(1), 1), Verdict::Hold { why: Why::Copy, new: true });
    // The original has spoken since, so both live: it is held also when the original is away.
    assert_eq!(copy.says(&mut boxes, live(2), 3), Verdict::Hold { why: Why::Copy, new: false });
    copy.boot(21);
    assert_eq!(copy.says(&mut boxes, away(4), 5), Verdict::Hold { why: Why::Copy, new: false });
    a.boot(12);
    assert_eq!(a.says(&mut boxes, away(4), 6), IN);
    // The copy shall be it.
    assert!(boxes.accept(Some(Incarnation(21)), 7).is_some());
    assert_eq!(copy.says(&mut boxes, away(7), 8), IN);
    assert_eq!(a.says(&mut boxes, live(8), 9), Verdict::Hold { why: Why::Replaced, new: true });
    copy.boot(22);
    assert_eq!(copy.says(&mut boxes, live(8), 10), IN);
}

#[test]
fn a_copy_of_a_running_box_gets_in_once_and_is_held_when_the_original_speaks_again() {
    let mut boxes = Boxes::default();
    let mut a = Machine::new(1, "m", 10);
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    let mut copy = a.clone();
    copy.boot(20);
    assert_eq!(copy.says(&mut boxes, live(0), 1), IN, "as if the box started again");
    // That word may have been on its way since before; the next one was not.
    assert_eq!(a.says(&mut boxes, live(1), 2), Verdict::Again);
    assert_eq!(a.says(&mut boxes, live(2), 3), Verdict::Enter(Some(News::Duplicate)));
    for now in 4..10 {
        assert_eq!(copy.says(&mut boxes, live(now), now), Verdict::Hold { why: Why::Copy, new: false });
        assert_eq!(a.says(&mut boxes, live(now), now), IN);
    }
    copy.boot(21);
    a.boot(11);
    assert_eq!(a.says(&mut boxes, away(10), 11), IN);
    assert_eq!(copy.says(&mut boxes, live(11), 12), Verdict::Hold { why: Why::Copy, new: false });
}

#[test]
fn a_restored_box_is_let_in_and_told_of() {
    let mut boxes = Boxes::default();
    let mut a = Machine::new(1, "m", 10);
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    let backup = a.clone();
    for n in 11..14 {
        a.boot(n);
        assert_eq!(a.says(&mut boxes, away(0), 1), IN);
    }
    let mut restored = backup;
    restored.boot(20);
    // Its own old session may still seem to live.
    assert_eq!(restored.says(&mut boxes, live(1), 2), Verdict::Hold { why: Why::Copy, new: true });
    assert_eq!(restored.says(&mut boxes, away(1), 3), Verdict::Enter(Some(News::Restored)));
    assert!(boxes.held.is_empty());
    restored.boot(21);
    assert_eq!(restored.says(&mut boxes, away(3), 4), IN);
}

#[test]
fn a_process_that_runs_twice_is_held_once() {
    let mut boxes = Boxes::default();
    let mut a = Machine::new(1, "m", 10);
    assert_eq!(a.says(&mut boxes, Standing::default(), 0), IN);
    let mut copy = a.clone();
    let mut held = 0;
    let mut now = 1;
    // Each is thrown out by the other, and says hello again.
    for _ in 0..10 {
        for machine in [&mut copy, &mut a] {
            now += 1;
            held += u32::from(matches!(machine.says(&mut boxes, live(now), now), Verdict::Hold { .. }));
        }
    }
    assert!(held >= 14, "{held} of 20: it must not go on for ever");
    assert_eq!(boxes.held.len(), 1);
    assert_eq!(a.says(&mut boxes, away(now), now), IN, "the other has gone");
}

#[test]
fn programs_that_tell_nothing_are_told_apart_by_their_incarnations() {
    let mut boxes = Boxes::default();
    let mut says = |incarnation, now| {
        let said = Said { incarnation: Incarnation(incarnation), identity: None, version: "0", peer: "x" };
        boxes.judge(said, live(now), POLICY, now)
    };
    assert_eq!(says(1, 0), IN);
    assert_eq!(says(2, 1), IN);
    assert_eq!(says(1, 2), Verdict::Again);
    assert_eq!(says(1, 3), Verdict::Enter(Some(News::Duplicate)));
    assert_eq!(says(2, 4), Verdict::Hold { why: Why::Copy, new: false });
    assert_eq!(says(1, 5), IN);
}

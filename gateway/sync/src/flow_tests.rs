//! The flow against a cloud that takes, loses and acknowledges as it likes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const OLD: Incarnation = Incarnation(1);
const NOW: Incarnation = Incarnation(2);
const WINDOW: Window = Window { live: 4, backlog: 3, bytes: 1000 };

fn range(incarnation: Incarnation, first: u64, last: u64) -> StreamRange {
    StreamRange { incarnation, first, last }
}

fn known(incarnation: Incarnation, seqs: Vec<(u64, u64)>) -> Known {
    Known { incarnation, seqs: seqs.into() }
}

/// Reads and sends all that the flow wants now; what was sent, in order.
fn pump(flow: &mut Flow, at: Instant) -> Vec<(Lane, FrameId)> {
    let mut out = Vec::new();
    for lane in [Lane::Live, Lane::Backlog] {
        while let Some(want) = if lane == Lane::Live { flow.want_live() } else { flow.want_backlog() } {
            let seqs = [want.from];
            flow.read(want, &seqs);
            let frame = FrameId { incarnation: want.incarnation, seq: want.from };
            if flow.is_needed(frame) {
                flow.sent(frame, lane, 10, at);
                out.push((lane, frame));
            }
        }
    }
    out
}

fn seqs(sent: &[(Lane, FrameId)]) -> Vec<(Lane, u128, u64)> {
    sent.iter().map(|(lane, f)| (*lane, f.incarnation.0, f.seq)).collect()
}

#[test]
fn live_goes_before_backlog_and_each_keeps_its_window() {
    let at = Instant::now();
    let ranges = vec![range(OLD, 1, 9), range(NOW, 1, 20)];
    let mut flow = Flow::new(WINDOW, NOW, 10, &[known(OLD, vec![(1, 2), (4, 9)])], ranges);
    flow.set_head(12);
    use Lane::{Backlog, Live};
    let sent = pump(&mut flow, at);
    assert_eq!(
        seqs(&sent),
        [(Live, 2, 11), (Live, 2, 12), (Backlog, 1, 3), (Backlog, 2, 1), (Backlog, 2, 2)]
    );
    flow.set_head(17);
    // Two more fill the live window; the rest waits, and so does the backlog.
    assert_eq!(seqs(&pump(&mut flow, at)), [(Live, 2, 13), (Live, 2, 14)]);
    assert_eq!(flow.acked(&[known(OLD, vec![(3, 3)])], at).frames, 1);
    assert_eq!(seqs(&pump(&mut flow, at)), []);
    assert_eq!(flow.acked(&[known(NOW, vec![(11, 13)])], at).frames, 3);
    assert_eq!(seqs(&pump(&mut flow, at)), [(Live, 2, 15), (Live, 2, 16), (Live, 2, 17), (Backlog, 2, 3)]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_a_few_times() {
    let (start, after) = (Instant::now(), Duration::from_secs(10));
    let mut flow = Flow::new(WINDOW, NOW, 0, &[], vec![]);
    flow.set_head(1);
    let mut at = start;
    assert_eq!(pump(&mut flow, at).len(), 1);
    assert!(flow.expire(at + after / 2, after).is_empty());
    assert!(pump(&mut flow, at).is_empty());
    for n in 1..=TRIES {
        at += after;
        let given_up = flow.expire(at, after);
        assert_eq!(given_up.len(), usize::from(n == TRIES));
        assert_eq!(pump(&mut flow, at).len(), usize::from(n < TRIES));
    }
    assert!(flow.has_room(Lane::Backlog) && flow.has_room(Lane::Live));
}

#[test]
fn what_is_urgent_is_sent_again_while_samples_are_held() {
    let (at, after) = (Instant::now(), Duration::from_secs(10));
    let mut flow = Flow::new(WINDOW, NOW, 0, &[], vec![]);
    flow.set_head(1);
    assert_eq!(pump(&mut flow, at).len(), 1);
    flow.set_samples(Samples::Held);
    flow.expire(at + after, after);
    let want = flow.want_backlog().expect("it is read again");
    assert!(want.keeps && (want.from, want.last) == (1, 1));
    flow.read(want, &[1]);
    assert!(flow.is_needed(FrameId { incarnation: want.incarnation, seq: 1 }));
}

#[test]
fn what_the_log_no_longer_has_is_passed_over() {
    let mut flow = Flow::new(WINDOW, NOW, 5, &[], vec![range(OLD, 1, 4), range(NOW, 1, 5)]);
    let want = flow.want_backlog().unwrap();
    assert_eq!((want.incarnation, want.from, want.last), (OLD, 1, 4));
    flow.read(want, &[]);
    assert_eq!(flow.want_backlog().unwrap().incarnation, NOW);
}

proptest! {
    #[test]
    fn everything_arrives_whatever_is_lost_and_nothing_known_is_sent(
        snapshot in 0u64..20,
        head in 0u64..20,
        old in 0u64..20,
        had in prop::collection::vec((any::<bool>(), 1u64..20, 0u64..5), 0..4),
        fate in prop::collection::vec(0u8..4, 1..200),
    ) {
        let after = Duration::from_secs(10);
        let had: Vec<Known> = had.iter()
            .map(|(o, a, n)| known(if *o { OLD } else { NOW }, vec![(*a, (a + n).min(if *o { old } else { head.max(snapshot) }))]))
            .collect();
        let mut ranges = vec![range(NOW, 1, snapshot)];
        if old > 0 { ranges.insert(0, range(OLD, 1, old)); }
        let mut cloud: BTreeSet<(u128, u64)> =
            had.iter().flat_map(|k| k.seqs.iter().flat_map(|(a, b)| a..=b).map(|s| (k.incarnation.0, s))).collect();
        let before = cloud.clone();
        let mut flow = Flow::new(WINDOW, NOW, snapshot, &had, ranges);
        flow.set_head(snapshot + head);
        let mut at = Instant::now();
        let mut fate = fate.into_iter().chain(std::iter::repeat(0));
        for _ in 0..200 {
            let sent = pump(&mut flow, at);
            prop_assert!(flow.inflight.len() <= WINDOW.live + WINDOW.backlog);
            for (_, frame) in &sent {
                let key = (frame.incarnation.0, frame.seq);
                prop_assert!(!before.contains(&key), "{key:?} was known");
                // Lost on the way at most three times in four, and acked at once or later by being known.
                if let Some(0 | 1) = fate.next() {
                    cloud.insert(key);
                    flow.acked(&[known(frame.incarnation, vec![(frame.seq, frame.seq)])], at);
                }
            }
            at += after;
            flow.expire(at, after);
        }
        let all = (1..=old).map(|s| (1, s)).chain((1..=snapshot + head).map(|s| (2, s)));
        for key in all {
            let given_up = FrameId { incarnation: Incarnation(key.0), seq: key.1 };
            prop_assert!(cloud.contains(&key) || flow.tries.get(&given_up) == Some(&TRIES), "{key:?} never arrived");
        }
        prop_assert!(flow.inflight.is_empty());
        prop_assert_eq!(flow.used, [(0, 0), (0, 0)]);
    }
}

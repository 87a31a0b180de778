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
    flow.set_samples(Samples::Held, false);
    flow.expire(at + after, after);
    let want = flow.want_backlog().expect("it is read again");
    assert!(want.keeps == Some(Class::Normal) && (want.from, want.last) == (1, 1));
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

/// Class of a made-up frame of the log; none: it holds no samples.
fn class(frame: FrameId) -> Option<Class> {
    match (frame.seq + frame.incarnation.0 as u64) % 5 {
        0 => None,
        1 => Some(Class::Critical),
        2 | 3 => Some(Class::Normal),
        _ => Some(Class::Trend),
    }
}

/// As `pump`, of frames of classes: those that are kept back are not sent.
fn pump_classed(flow: &mut Flow, at: Instant) -> Vec<(Lane, FrameId)> {
    let mut out = Vec::new();
    for lane in [Lane::Live, Lane::Backlog] {
        while let Some(want) = if lane == Lane::Live { flow.want_live() } else { flow.want_backlog() } {
            let read: Vec<u64> = (want.from..=want.last.min(want.from + 2)).collect();
            flow.read(want, &read);
            for seq in read {
                let frame = FrameId { incarnation: want.incarnation, seq };
                if want.class().is_some_and(|wanted| class(frame).is_some_and(|class| class != wanted)) {
                    continue;
                }
                match class(frame).filter(|class| want.keeps.is_some_and(|least| *class >= least)) {
                    Some(class) => flow.keep(want, (seq, class), 10, at),
                    None if flow.is_needed(frame) => {
                        flow.sent(frame, lane, 10, at);
                        out.push((lane, frame));
                    }
                    None => {}
                }
            }
        }
    }
    out
}

#[test]
fn of_a_backlog_that_is_searched_critical_samples_go_first_and_trends_last() {
    let at = Instant::now();
    let wide = Window { live: 100, backlog: 100, bytes: 10_000 };
    let mut flow = Flow::new(wide, NOW, 40, &[], vec![range(OLD, 1, 20), range(NOW, 1, 40)]);
    flow.set_samples(Samples::Together, false);
    let order: Vec<_> = pump_classed(&mut flow, at).into_iter().map(|(_, frame)| class(frame)).collect();
    assert_eq!(order.len(), 60);
    let first = |class| order.iter().position(|c| *c == Some(class)).unwrap();
    let last = |is: &dyn Fn(Option<Class>) -> bool| order.iter().rposition(|c| is(*c)).unwrap();
    assert!(last(&|c| c.is_none_or(|c| c == Class::Critical)) < first(Class::Normal), "{order:?}");
    assert!(last(&|c| c == Some(Class::Normal)) < first(Class::Trend), "{order:?}");
}

#[test]
fn trends_that_are_held_wait_while_other_samples_go() {
    let at = Instant::now();
    let wide = Window { live: 100, backlog: 100, bytes: 10_000 };
    let mut flow = Flow::new(wide, NOW, 20, &[], vec![range(NOW, 1, 20)]);
    flow.set_samples(Samples::AtOnce, true);
    flow.set_head(40);
    let sent = pump_classed(&mut flow, at);
    assert_eq!(sent.len(), 32);
    assert!(sent.iter().all(|(_, frame)| class(*frame) != Some(Class::Trend)));
    assert_eq!(flow.kept_frames(), 8);
    flow.release();
    assert!(pump_classed(&mut flow, at).is_empty(), "they are held still");
    flow.set_samples(Samples::AtOnce, false);
    assert_eq!(pump_classed(&mut flow, at).len(), 8);
    assert!(pump_classed(&mut flow, at).is_empty());
}

proptest! {
    #[test]
    fn whatever_is_held_in_between_all_arrives_once_and_nothing_goes_before_it_may(
        snapshot in 0u64..40,
        old in 0u64..40,
        modes in prop::collection::vec((0u8..3, any::<bool>(), 0u64..10, any::<bool>()), 1..30),
    ) {
        let after = Duration::from_secs(10);
        let mut ranges = vec![range(NOW, 1, snapshot)];
        if old > 0 { ranges.insert(0, range(OLD, 1, old)); }
        let mut flow = Flow::new(WINDOW, NOW, snapshot, &[], ranges);
        let (mut head, mut at) = (snapshot, Instant::now());
        let mut arrived: BTreeSet<(u128, u64)> = BTreeSet::new();
        let end = std::iter::repeat_n((0, false, 0, false), 100);
        for (mode, trends, more, lost) in modes.into_iter().chain(end) {
            let mode = [Samples::AtOnce, Samples::Together, Samples::Held][usize::from(mode)];
            flow.set_samples(mode, trends);
            head += more;
            flow.set_head(head);
            if flow.kept().is_some() && mode != Samples::Held {
                flow.release();
            }
            for (_, frame) in pump_classed(&mut flow, at) {
                let class = class(frame);
                prop_assert!(mode != Samples::Held || class.is_none_or(|c| c == Class::Critical), "{frame:?} is held");
                prop_assert!(!trends || class != Some(Class::Trend), "{frame:?} is a trend");
                if !lost {
                    prop_assert!(arrived.insert((frame.incarnation.0, frame.seq)), "{frame:?} twice");
                    flow.acked(&[known(frame.incarnation, vec![(frame.seq, frame.seq)])], at);
                }
            }
            at += after;
            flow.expire(at, after);
        }
        let all = (1..=old).map(|s| (1, s)).chain((1..=head).map(|s| (2, s)));
        for key in all {
            let frame = FrameId { incarnation: Incarnation(key.0), seq: key.1 };
            prop_assert!(arrived.contains(&key) || flow.tries.get(&frame) == Some(&TRIES), "{key:?} never arrived");
        }
        prop_assert_eq!(flow.used, [(0, 0), (0, 0)]);
        prop_assert!(flow.later.iter().all(|later| later.ranges.is_empty()));
    }
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

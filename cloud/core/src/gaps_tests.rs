//! Tests of gaps in streams.

use super::*;

fn run(rank: u64, first: u64, last: u64, first_us: i64, last_us: i64) -> Run {
    Run { rank, first, last, first_us: Some(first_us), last_us: Some(last_us) }
}

fn told(rank: u64, seqs: Option<(u64, u64)>, cause: GapReason) -> Told {
    Told {
        rank,
        seqs,
        times_us: None,
        samples: 7,
        cause,
        told_us: 900,
        since_us: Some(890),
        class: None,
        lost: None,
    }
}

fn brief(gaps: &[HistoryGap]) -> Vec<(i64, i64, GapReason, Option<u64>)> {
    gaps.iter().map(|g| (g.from_us, g.to_us, g.cause, g.count)).collect()
}

#[test]
fn a_hole_is_awaited_until_the_gateway_says_that_it_is_lost() {
    let runs = [run(1, 1, 5, 10, 50), run(1, 9, 9, 90, 90), run(2, 1, 3, 500, 520)];
    let gaps = of_streams(&runs, &[], Class::Normal);
    assert_eq!(brief(&gaps), [(50, 90, GapReason::Awaited, None), (90, 500, GapReason::GatewayDown, None)]);
    let gaps = of_streams(&runs, &[told(1, Some((6, 7)), GapReason::Quota)], Class::Normal);
    assert!(gaps.iter().any(|g| g.cause == GapReason::Awaited), "8 is still missing: {gaps:?}");
    let gaps = of_streams(&runs[..2], &[told(1, Some((6, 8)), GapReason::Quota)], Class::Normal);
    assert_eq!(brief(&gaps), [(50, 90, GapReason::Quota, Some(7))]);
}

#[test]
fn what_was_told_as_lost_and_came_is_no_gap() {
    let runs = [run(1, 1, 9, 10, 90)];
    assert!(of_streams(&runs, &[told(1, Some((6, 8)), GapReason::Damaged)], Class::Normal).is_empty());
}

#[test]
fn a_loss_without_frames_is_between_the_two_frames_around_its_word() {
    let gaps = of_streams(&[run(1, 1, 9, 10, 900)], &[told(1, None, GapReason::Overrun)], Class::Normal);
    assert_eq!(brief(&gaps), [(890, 901, GapReason::Overrun, Some(7))]);
}

#[test]
fn frames_lost_at_the_end_of_an_incarnation_lie_before_the_next() {
    let runs = [run(1, 1, 5, 10, 50), run(2, 1, 3, 500, 520)];
    let gaps = of_streams(&runs, &[told(1, Some((6, 6)), GapReason::Damaged)], Class::Normal);
    assert!(brief(&gaps).contains(&(50, 500, GapReason::Damaged, Some(7))), "{gaps:?}");
}

#[test]
fn holes_without_known_times_are_not_guessed() {
    let mut old = run(1, 1, 5, 0, 0);
    old.last_us = None;
    assert!(of_streams(&[old, run(1, 9, 9, 90, 90)], &[], Class::Normal).is_empty());
}

/// A box whose buffer was full for weeks: looked at one by one, each hole against each word, this would take minutes.
#[test]
fn thousands_of_holes_and_words_on_them_are_told_apart() {
    let n = 20_000u64;
    let at = |i: u64| i64::try_from(i * 10).unwrap();
    let runs: Vec<Run> = (0..n).map(|i| run(1, i * 10 + 1, i * 10 + 5, at(i), at(i) + 4)).collect();
    // Every second hole is explained.
    let words = (0..n).step_by(2).map(|i| told(1, Some((i * 10 + 6, i * 10 + 10)), GapReason::Quota));
    let gaps = of_streams(&runs, &words.collect::<Vec<_>>(), Class::Normal);
    let count = |cause| gaps.iter().filter(|g| g.cause == cause).count() as u64;
    assert_eq!((count(GapReason::Quota), count(GapReason::Awaited)), (n / 2, n / 2 - 1));
    let quota: Vec<_> = gaps.iter().filter(|g| g.cause == GapReason::Quota).take(2).cloned().collect();
    assert_eq!(brief(&quota), [(4, 10, GapReason::Quota, Some(7)), (24, 30, GapReason::Quota, Some(7))]);
}

#[test]
fn what_trends_lost_is_a_gap_of_theirs_alone() {
    let runs = [run(1, 1, 5, 10, 50), run(1, 9, 9, 90, 90)];
    let lost = Told { class: Some(Class::Trend), ..told(1, Some((6, 8)), GapReason::Quota) };
    let of = |class| brief(&of_streams(&runs, std::slice::from_ref(&lost), class));
    assert_eq!(of(Class::Trend), [(50, 90, GapReason::Quota, Some(7))]);
    assert!(of(Class::Normal).is_empty() && of(Class::Critical).is_empty(), "nor is it awaited");
    let lost = Told { class: Some(Class::Normal), ..lost };
    assert_eq!(brief(&of_streams(&runs, std::slice::from_ref(&lost), Class::Trend)).len(), 1);
    assert!(of_streams(&runs, &[lost], Class::Critical).is_empty());
}

#[test]
fn of_a_range_of_which_some_is_lost_the_rest_is_still_awaited() {
    // 5 to 8 and 10 are not there; 6 and 8 are lost, of trends.
    let runs = [run(1, 1, 4, 10, 40), run(1, 9, 9, 90, 90), run(1, 11, 11, 110, 110)];
    let lost = Told {
        class: Some(Class::Trend),
        lost: Some(vec![(6, 6), (8, 8)].into()),
        times_us: Some((60, 80)),
        ..told(1, Some((6, 8)), GapReason::Quota)
    };
    let gaps = brief(&of_streams(&runs, std::slice::from_ref(&lost), Class::Normal));
    assert_eq!(gaps, [(40, 90, GapReason::Awaited, None), (90, 110, GapReason::Awaited, None)]);
    let gaps = brief(&of_streams(&runs, std::slice::from_ref(&lost), Class::Trend));
    assert!(gaps.contains(&(60, 81, GapReason::Quota, Some(7))), "{gaps:?}");
    // They came all the same.
    let runs = [run(1, 1, 11, 10, 110)];
    assert!(of_streams(&runs, &[lost], Class::Trend).is_empty());
}

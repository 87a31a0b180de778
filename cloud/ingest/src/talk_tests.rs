//! What is left out of an answer that would be too large.

use common::wire::Known;
use common::{Incarnation, IntervalSet};

use super::*;

fn ack(known: Vec<(u128, IntervalSet)>) -> HelloAck {
    let known = known.into_iter().map(|(n, seqs)| Known { incarnation: Incarnation(n), seqs }).collect();
    let json = serde_json::json!({ "session": 1, "known": [], "want_schemas": [] });
    HelloAck { known, ..serde_json::from_value(json).expect("an answer") }
}

fn size(ack: &HelloAck) -> usize {
    Down::HelloAck(ack.clone()).encode().len()
}

#[test]
fn of_too_many_runs_the_longest_stay() {
    let holes = (0..60_000).map(|n| (n * 20, n * 20 + if n % 100 == 0 { 15 } else { 1 })).collect::<Vec<_>>();
    let fits = fitting(ack(vec![(1, vec![(1, 9)].into()), (2, holes.clone().into())]));
    assert!(size(&fits) <= MAX_MESSAGE_BYTES && size(&fits) > MAX_MESSAGE_BYTES / 4, "{}", size(&fits));
    assert_eq!(fits.known[0].seqs, vec![(1, 9)].into(), "the other incarnation is whole");
    let long = holes.iter().filter(|(first, last)| last - first > 1);
    assert!(long.clone().all(|(first, last)| fits.known[1].seqs.contains_range(*first, *last)));
    assert!(long.count() == 600);
}

#[test]
fn of_too_many_incarnations_the_newest_stay() {
    let all = (0..20_000).map(|n| (n, vec![(1, 9)].into())).collect();
    let fits = fitting(ack(all));
    assert!(!fits.known.is_empty() && size(&fits) <= MAX_MESSAGE_BYTES);
    assert_eq!(fits.known.last().expect("some").incarnation, Incarnation(19_999));
}

//! Who has its turn, and what a session proves: over every order of failures that there is.

use common::names::Code;

use super::*;

fn at(url: &str) -> Enrolment {
    let enrolled = serde_json::json!({ "tenant": "default", "gateway": "g1", "url": url, "certificate": "" });
    serde_json::from_value(serde_json::json!({ "key": "", "enrolled": enrolled })).unwrap()
}

fn link() -> Error {
    Error::Link { detail: "refused".into() }
}

fn on_trial() -> Identities {
    let mut identities = Identities::new(at("mqtts://old"), None);
    identities.renew(at("mqtts://new"));
    identities
}

#[test]
fn one_that_connects_takes_the_place_of_the_one_before() {
    for failures in 0..TRIES {
        let mut identities = on_trial();
        for _ in 0..failures {
            assert!(!identities.failed(&link()));
        }
        assert_eq!(identities.began(), Verdict::Proven(at("mqtts://new")));
        assert_eq!(identities.shown(), &at("mqtts://new"));
        assert_eq!(identities.began(), Verdict::None);
    }
}

#[test]
fn one_that_does_not_connect_gives_way_to_the_one_before_and_is_not_asked_for_at_once() {
    let mut identities = on_trial();
    let turns: Vec<_> = (0..TRIES).map(|_| identities.failed(&link())).collect();
    assert_eq!(turns, [false, false, true]);
    assert_eq!(identities.shown(), &at("mqtts://old"));
    assert_eq!(identities.began(), Verdict::Refuted(at("mqtts://new"), link().to_string()));
    assert_eq!(identities.shown(), &at("mqtts://old"));
    assert!(!identities.may_ask());
}

#[test]
fn both_have_their_turn_for_as_long_as_the_cloud_is_away_and_that_refutes_nothing() {
    for failures in 0..40 {
        let mut identities = on_trial();
        for _ in 0..failures {
            identities.failed(&link());
        }
        let is_new = (failures / TRIES).is_multiple_of(2);
        let shown = if is_new { at("mqtts://new") } else { at("mqtts://old") };
        assert_eq!(identities.shown(), &shown, "{failures}");
        match identities.began() {
            Verdict::Proven(_) => assert!(is_new),
            // Only where the one before came through at once.
            Verdict::Refuted(..) => assert_eq!(failures, TRIES),
            Verdict::None => {
                assert!(!is_new && failures > TRIES);
                // It waits for the next session, and the cloud's word of the other one brings no third.
                assert_eq!(identities.shown(), &at("mqtts://new"));
                assert_eq!(identities.due(true, 0), None);
            }
        }
    }
}

#[test]
fn a_cloud_that_answers_with_a_refusal_refutes_nothing() {
    let mut identities = on_trial();
    for _ in 0..TRIES {
        identities.failed(&Error::Refused { code: Code::IdentityConflict, detail: "held back".into() });
    }
    assert_eq!(identities.shown(), &at("mqtts://old"));
    assert_eq!(identities.began(), Verdict::None);
    assert_eq!(identities.shown(), &at("mqtts://new"));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_asked_for_by_the_hour_whatever_clocks_say() {
    let mut identities = Identities::new(at("mqtts://old"), None);
    assert!(!identities.failed(&link()), "there is no other");
    assert!(identities.may_ask());
    assert_eq!(identities.due(true, 0), Some(&at("mqtts://old")));
    identities.asked();
    assert!(!identities.may_ask());
    tokio::time::advance(ASK_AGAIN).await;
    assert!(identities.may_ask());
}

//! Configuration documents in a session: handed to boxes that take them, and to no others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use cloud_core::Downlink as _;
use cloud_core::configuration::ConfigurationStorage as _;
use common::api::{
    Accepts, ConfigurationDocument, ConfigurationEntry, ConfigurationReport, DocumentRef, DocumentState,
};
use common::names::{Code, action};
use common::wire::{ConfigurationParts, Down, FEATURE_CONFIGURATION, Up, WantedConfiguration};
use rig::*;

fn document(version: u64, bytes: usize) -> ConfigurationDocument {
    let entry = ConfigurationEntry {
        version,
        hash: format!("{version:064x}"),
        bytes: bytes as u64,
        author: "anna".into(),
        at_us: 1,
        note: String::new(),
        base: Some("ab".repeat(32)),
        force: false,
    };
    ConfigurationDocument { entry, document: "#".repeat(bytes) }
}

fn report(accepts: Accepts) -> ConfigurationReport {
    ConfigurationReport { accepts, local: "ab".repeat(32), at_us: 5, ..ConfigurationReport::default() }
}

fn judged(version: u64, state: DocumentState, reason: &str) -> ConfigurationReport {
    let judged = Some(DocumentRef { version, hash: format!("{version:064x}") });
    ConfigurationReport { judged, state, reason: reason.into(), ..report(Accepts::Read) }
}

async fn tell(c: &mut Client, report: &ConfigurationReport) {
    c.say(&Up::Configuration(Box::new(report.clone()))).await;
}

/// The next document that comes.
async fn handed(c: &mut Client) -> WantedConfiguration {
    let mut parts = ConfigurationParts::default();
    loop {
        if let Down::Configuration(part) = c.down().await
            && let Some(document) = parts.put(&part).unwrap()
        {
            return document;
        }
    }
}

async fn put(rig: &Rig, document: &ConfigurationDocument) {
    let entry = common::command::LogEntry {
        at_us: 0,
        actor: "anna".into(),
        action: action::CONFIGURATION_PUT.into(),
        target: "g1".into(),
        twin: None,
        severity: common::command::Severity::Info,
        code: None,
        detail: String::new(),
    };
    rig.store.put_configuration(&key("g1"), document, &entry).await.unwrap();
}

#[tokio::test]
async fn a_box_that_has_not_heard_of_the_document_gets_it_whole_and_once() {
    let rig = Rig::new().await;
    put(&rig, &document(1, 500_000)).await;
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello("g1", 1)))).await;
    let Down::HelloAck(ack) = c.down().await else { panic!("an answer") };
    assert!(ack.features.iter().any(|f| f == FEATURE_CONFIGURATION));
    tell(&mut c, &report(Accepts::Read)).await;
    let got = handed(&mut c).await;
    assert_eq!((got.version, got.document.len(), got.author.as_str()), (1, 500_000, "anna"));
    // It is not sent again while the box looks at it; the next one is, at once.
    tell(&mut c, &report(Accepts::Read)).await;
    put(&rig, &document(2, 10)).await;
    rig.handle.configuration(&key("g1"), cloud_core::configuration::wanted(document(2, 10))).await;
    assert_eq!(handed(&mut c).await.version, 2);
    // In another session a box that has judged it does not get it again, and one that has judged another of the
    // same number does.
    let mut c = rig.agreed("g1", 1).await;
    tell(&mut c, &judged(2, DocumentState::Refused, "no such line")).await;
    c.puback().await;
    put(&rig, &ConfigurationDocument { document: "other".into(), ..document(2, 5) }).await;
    rig.store.wanted.lock().unwrap().as_mut().unwrap().entry.hash = "ff".repeat(32);
    tell(&mut c, &judged(2, DocumentState::Refused, "no such line either")).await;
    assert_eq!(handed(&mut c).await.document, "other");
}

#[tokio::test]
async fn what_a_box_told_is_kept_and_news_are_in_the_audit_once() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    for told in [
        judged(1, DocumentState::Received, ""),
        judged(1, DocumentState::Refused, "no such line"),
        judged(1, DocumentState::Refused, "no such line"),
        ConfigurationReport { changed: true, ..judged(2, DocumentState::Applied, "") },
    ] {
        tell(&mut c, &told).await;
        c.puback().await;
    }
    let kept = rig.store.report.lock().unwrap().clone().unwrap();
    assert_eq!((kept.state, kept.changed), (DocumentState::Applied, true));
    let told: Vec<_> = rig.store.audit.lock().unwrap().iter().map(|e| e.action.clone()).collect();
    let of = |what: &str| told.iter().filter(|a| *a == what).count();
    assert_eq!(of(action::CONFIGURATION_REFUSED), 1, "{told:?}");
    assert_eq!(of(action::CONFIGURATION_APPLIED), 1, "{told:?}");
    assert_eq!(of(action::CONFIGURATION_CHANGED), 1, "{told:?}");
}

#[tokio::test]
async fn an_older_gateway_and_one_that_takes_none_get_no_document() {
    let rig = Rig::new().await;
    put(&rig, &document(1, 10)).await;
    // One that never says a word of it, and one that says no.
    let mut old = rig.agreed("g1", 1).await;
    let mut off = rig.agreed("g2", 2).await;
    tell(&mut off, &report(Accepts::Off)).await;
    off.puback().await;
    for name in ["g1", "g2"] {
        rig.handle.configuration(&key(name), cloud_core::configuration::wanted(document(1, 10))).await;
    }
    // The next word to each is the answer to a frame.
    for (c, name, incarnation) in [(&mut old, "g1", 1), (&mut off, "g2", 2)] {
        c.say(&Up::Frame(frame(name, incarnation, 1))).await;
        assert!(matches!(c.down().await, Down::Ack(_)), "{name}");
    }
}

#[tokio::test]
async fn a_word_before_the_hello_and_one_that_is_no_report_end_the_session() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    tell(&mut c, &report(Accepts::Read)).await;
    assert_eq!(c.end().await, Some(Code::Conflict));
    let mut c = rig.agreed("g1", 1).await;
    tell(&mut c, &ConfigurationReport { local: "../../etc".into(), ..report(Accepts::Read) }).await;
    assert_eq!(c.end().await, Some(Code::InvalidRequest));
}

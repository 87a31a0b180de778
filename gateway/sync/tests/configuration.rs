//! Configuration documents in a session with a cloud that knows them, and with one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod rig;

use std::sync::{Arc, Mutex};

use common::api::{Accepts, ConfigurationReport, DocumentState};
use common::wire::{Down, FEATURE_COLUMNS, FEATURE_CONFIGURATION, WantedConfiguration};
use gateway_core::Configurations;
use rig::cloud::{Cloud, Seen};
use rig::*;
use tokio::sync::watch;

struct Taker {
    report: watch::Sender<ConfigurationReport>,
    wanted: Mutex<Vec<WantedConfiguration>>,
}

impl Taker {
    fn new() -> Arc<Self> {
        let report = ConfigurationReport { accepts: Accepts::Read, ..ConfigurationReport::default() };
        Arc::new(Self { report: watch::Sender::new(report), wanted: Mutex::default() })
    }
}

impl Configurations for Taker {
    fn report(&self) -> watch::Receiver<ConfigurationReport> {
        self.report.subscribe()
    }

    fn wanted(&self, document: WantedConfiguration) {
        self.wanted.lock().unwrap().push(document);
    }
}

fn states(cloud: &Cloud) -> Vec<DocumentState> {
    let of = |seen: &Seen| match seen {
        Seen::Configuration(report) => Some(report.state),
        _ => None,
    };
    cloud.with(|s| s.seen.iter().filter_map(of).collect())
}

#[tokio::test]
async fn a_box_tells_of_its_configuration_and_takes_a_document_that_comes_in_parts() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.features = vec![FEATURE_COLUMNS, FEATURE_CONFIGURATION]);
    let (of_box, log) = (Taker::new(), Log::new(1));
    let running = run_with(options(cloud.port), &log, Some(of_box.clone()));
    eventually("told at the start", || states(&cloud) == [DocumentState::None]).await;
    let wanted = WantedConfiguration {
        version: 4,
        hash: "00".repeat(32),
        document: "# a line\n".repeat(60_000),
        base: None,
        force: false,
        author: "anna".into(),
    };
    let parts = wanted.split();
    assert!(parts.len() > 2);
    // The first half comes twice, as when a session breaks in between; one part alone is nothing.
    for part in [&parts[..2], &parts[1..2], &parts[..]].concat() {
        cloud.send(Down::Configuration(part));
    }
    eventually("the document", || !of_box.wanted.lock().unwrap().is_empty()).await;
    assert_eq!(*of_box.wanted.lock().unwrap(), [wanted]);
    of_box.report.send_modify(|report| report.state = DocumentState::Applied);
    eventually("told again", || states(&cloud) == [DocumentState::None, DocumentState::Applied]).await;
    running.end().await;
}

#[tokio::test]
async fn an_older_cloud_hears_no_word_of_it() {
    let cloud = Cloud::start().await;
    let (of_box, log) = (Taker::new(), Log::new(1));
    let running = run_with(options(cloud.port), &log, Some(of_box.clone()));
    of_box.report.send_modify(|report| report.state = DocumentState::Applied);
    eventually("all acked", || log.is_all_acked()).await;
    let beats = || cloud.with(|s| s.seen.iter().filter(|seen| **seen == Seen::Heartbeat).count());
    eventually("signs of life", || beats() >= 2).await;
    assert!(states(&cloud).is_empty());
    running.end().await;
}

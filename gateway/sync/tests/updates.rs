//! Bundles of updates in a session with a cloud that knows them, over a link that is paid by the byte, and with an older cloud.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod rig;

use std::sync::{Arc, Mutex};

use common::api::{UpdateOffer, UpdateReport, UpdateState};
use common::wire::{Down, FEATURE_COLUMNS, FEATURE_UPDATES, Piece, PieceRequest};
use gateway_core::Updates;
use gateway_sync::{Options, Plan};
use rig::cloud::{Cloud, Seen};
use rig::*;
use tokio::sync::watch;

struct Taker {
    report: watch::Sender<UpdateReport>,
    wants: watch::Sender<Option<PieceRequest>>,
    offers: Mutex<Vec<Option<UpdateOffer>>>,
    pieces: Mutex<Vec<Piece>>,
}

impl Taker {
    fn new() -> Arc<Self> {
        let report = UpdateReport { accepts: true, ..UpdateReport::default() };
        Arc::new(Self {
            report: watch::Sender::new(report),
            wants: watch::Sender::new(Some(request(0))),
            offers: Mutex::default(),
            pieces: Mutex::default(),
        })
    }
}

impl Updates for Taker {
    fn report(&self) -> watch::Receiver<UpdateReport> {
        self.report.subscribe()
    }

    fn offered(&self, offer: Option<UpdateOffer>) {
        self.offers.lock().unwrap().push(offer);
    }

    fn wants(&self) -> watch::Receiver<Option<PieceRequest>> {
        self.wants.subscribe()
    }

    fn piece(&self, piece: Piece) {
        self.pieces.lock().unwrap().push(piece);
    }
}

fn request(offset: u64) -> PieceRequest {
    PieceRequest { sha256: [7; 32], offset, bytes: 4096 }
}

fn offer() -> UpdateOffer {
    UpdateOffer {
        rollout: 1,
        version: "1.0.0".into(),
        arch: "arm64".into(),
        bytes: 9000,
        sha256: "07".repeat(32),
    }
}

fn asked(cloud: &Cloud) -> Vec<u64> {
    let of = |seen: &Seen| match seen {
        Seen::Piece(request) => Some(request.offset),
        _ => None,
    };
    cloud.with(|s| s.seen.iter().filter_map(of).collect())
}

fn told(cloud: &Cloud) -> Vec<UpdateState> {
    let of = |seen: &Seen| match seen {
        Seen::Update(report) => Some(report.state),
        _ => None,
    };
    cloud.with(|s| s.seen.iter().filter_map(of).collect())
}

fn beats(cloud: &Cloud) -> usize {
    cloud.with(|s| s.seen.iter().filter(|seen| **seen == Seen::Heartbeat).count())
}

#[tokio::test]
async fn pieces_are_asked_for_one_by_one_once_something_is_offered() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.features = vec![FEATURE_COLUMNS, FEATURE_UPDATES]);
    let (of_box, log) = (Taker::new(), Log::new(1));
    let running = run_updates(options(cloud.port), &log, of_box.clone());
    eventually("told at the start", || told(&cloud) == [UpdateState::None]).await;
    eventually("signs of life", || beats(&cloud) >= 2).await;
    assert!(asked(&cloud).is_empty(), "nothing was offered");
    cloud.send(Down::Offer(Some(offer())));
    eventually("the first piece is asked for", || asked(&cloud) == [0]).await;
    assert_eq!(*of_box.offers.lock().unwrap(), [Some(offer())]);
    let piece = Piece { sha256: [7; 32], offset: 0, bytes: vec![1; 4096] };
    cloud.send(Down::Piece(piece.clone()));
    eventually("the piece", || *of_box.pieces.lock().unwrap() == [piece.clone()]).await;
    of_box.wants.send_replace(Some(request(4096)));
    eventually("the next piece is asked for", || asked(&cloud) == [0, 4096]).await;
    of_box.report.send_modify(|report| report.state = UpdateState::Receiving);
    eventually("told again", || told(&cloud) == [UpdateState::None, UpdateState::Receiving]).await;
    // Withdrawn: what is waited for is not asked for any more.
    cloud.send(Down::Offer(None));
    eventually("withdrawn", || of_box.offers.lock().unwrap().len() == 2).await;
    of_box.wants.send_replace(Some(request(8192)));
    let seen = beats(&cloud);
    eventually("signs of life", || beats(&cloud) >= seen + 2).await;
    assert_eq!(asked(&cloud), [0, 4096]);
    running.end().await;
}

#[tokio::test]
async fn while_the_links_bytes_are_used_up_no_piece_is_asked_for() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.features = vec![FEATURE_COLUMNS, FEATURE_UPDATES]);
    let plan = Plan { day_bytes: Some(1), utc: true, ..Plan::default() };
    let (of_box, log) = (Taker::new(), Log::new(1));
    let running = run_updates(Options { plan, ..options(cloud.port) }, &log, of_box.clone());
    eventually("told", || !told(&cloud).is_empty()).await;
    eventually("held", || running.uplink.status().borrow().link.held.is_some()).await;
    cloud.send(Down::Offer(Some(offer())));
    eventually("offered", || !of_box.offers.lock().unwrap().is_empty()).await;
    let seen = beats(&cloud);
    eventually("signs of life", || beats(&cloud) >= seen + 2).await;
    assert!(asked(&cloud).is_empty());
    running.end().await;
}

#[tokio::test]
async fn an_older_cloud_hears_no_word_of_it() {
    let cloud = Cloud::start().await;
    let (of_box, log) = (Taker::new(), Log::new(1));
    let running = run_updates(options(cloud.port), &log, of_box.clone());
    of_box.report.send_modify(|report| report.state = UpdateState::Receiving);
    eventually("signs of life", || beats(&cloud) >= 2).await;
    assert!(told(&cloud).is_empty() && asked(&cloud).is_empty());
    running.end().await;
}

//! Updates in a session: offers go to boxes that take bundles, and pieces of what was offered are handed out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use cloud_core::Downlink as _;
use common::api::{UpdateOffer, UpdateReport};
use common::names::Code;
use common::wire::{Down, FEATURE_UPDATES, MAX_PIECE_BYTES, PieceRequest, Up};
use rig::*;

const BYTES: usize = 600_000;

fn offer() -> UpdateOffer {
    UpdateOffer {
        rollout: 1,
        version: "1.0.0".into(),
        arch: "arm64".into(),
        bytes: BYTES as u64,
        sha256: "07".repeat(32),
    }
}

fn report(accepts: bool) -> UpdateReport {
    UpdateReport { accepts, version: "0.9.0".into(), arch: "arm64".into(), ..UpdateReport::default() }
}

async fn tell(c: &mut Client, report: UpdateReport) {
    c.say(&Up::Update(Box::new(report))).await;
    c.puback().await;
}

async fn ask(c: &mut Client, offset: u64, bytes: u32) {
    c.say(&Up::Piece(PieceRequest { sha256: [7; 32], offset, bytes })).await;
}

/// The next word on updates.
async fn next(c: &mut Client) -> Down {
    loop {
        let down = c.down().await;
        if matches!(down, Down::Offer(_) | Down::Piece(_) | Down::Refusal(_)) {
            return down;
        }
    }
}

#[tokio::test]
async fn a_box_that_takes_bundles_is_offered_one_once_and_gets_each_piece_that_it_asks_for() {
    let rig = Rig::new().await;
    let bundle: Vec<u8> = (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
    *rig.store.bundle.lock().unwrap() = bundle.clone();
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello("g1", 1)))).await;
    let Down::HelloAck(ack) = c.down().await else { panic!("an answer") };
    assert!(ack.features.iter().any(|f| f == FEATURE_UPDATES));
    // A box that takes none is offered none.
    tell(&mut c, report(false)).await;
    rig.handle.offer(&key("g1"), Some(offer()));
    tell(&mut c, report(true)).await;
    assert_eq!(rig.store.update.lock().unwrap().as_ref(), Some(&report(true)));
    // Nothing was offered yet: nothing is handed out.
    ask(&mut c, 0, 10).await;
    c.puback().await;
    rig.handle.offer(&key("g1"), Some(offer()));
    assert_eq!(next(&mut c).await, Down::Offer(Some(offer())));
    rig.handle.offer(&key("g1"), Some(offer()));
    let mut got: Vec<u8> = Vec::new();
    while got.len() < BYTES {
        ask(&mut c, got.len() as u64, 50_000).await;
        let Down::Piece(piece) = next(&mut c).await else { panic!("a piece") };
        assert_eq!((piece.sha256, piece.offset), ([7; 32], got.len() as u64));
        assert!((1..=50_000).contains(&piece.bytes.len()));
        got.extend(piece.bytes);
    }
    assert!(got == bundle);
    // Another session has heard of nothing yet; and what is withdrawn is handed out no more.
    rig.handle.offer(&key("g1"), None);
    assert_eq!(next(&mut c).await, Down::Offer(None));
    ask(&mut c, 0, 10).await;
    let mut c = rig.agreed("g1", 1).await;
    tell(&mut c, report(true)).await;
    rig.handle.offer(&key("g1"), None);
    assert_eq!(next(&mut c).await, Down::Offer(None));
}

#[tokio::test]
async fn what_no_box_of_ours_says_ends_the_session() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Update(Box::new(report(true)))).await;
    let Down::Refusal(refusal) = next(&mut c).await else { panic!("a refusal") };
    assert_eq!(refusal.code, Code::Conflict);
    for (offset, bytes) in [(BYTES as u64, 1), (0, 0), (0, MAX_PIECE_BYTES + 1)] {
        let mut c = rig.agreed("g1", 1).await;
        tell(&mut c, report(true)).await;
        rig.handle.offer(&key("g1"), Some(offer()));
        next(&mut c).await;
        ask(&mut c, offset, bytes).await;
        let Down::Refusal(refusal) = next(&mut c).await else { panic!("a refusal") };
        assert_eq!(refusal.code, Code::InvalidRequest);
    }
    let mut c = rig.agreed("g1", 1).await;
    let wrong = UpdateOffer { sha256: "no hash".into(), ..offer() };
    c.say(&Up::Update(Box::new(UpdateReport { offer: Some(wrong), ..report(true) }))).await;
    assert!(matches!(next(&mut c).await, Down::Refusal(_)));
}

//! What a box tells of itself, and what it makes of the cloud's answer: held back, restored, set aside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, dead_code)] // tests may

mod rig;

use std::sync::Arc;
use std::time::Duration;

use common::Incarnation;
use common::command::LogEntry;
use common::names::{Code, action};
use common::wire::{FEATURE_BATCH, FEATURE_COLUMNS, Hello, Identity, Known, Refusal};
use gateway_core::FrameLog as _;
use rig::cloud::{Cloud, Seen};
use rig::*;
use uuid::Uuid;

fn hellos(cloud: &Cloud) -> Vec<Hello> {
    let hello = |seen: &Seen| if let Seen::Hello(hello) = seen { Some((**hello).clone()) } else { None };
    cloud.with(|s| s.seen.iter().filter_map(hello).collect())
}

fn identity(cloud: &Cloud) -> Identity {
    *hellos(cloud).pop().expect("a hello").identity.expect("an identity")
}

fn told(log: &Arc<Log>, action: &str) -> Vec<LogEntry> {
    log.told.lock().unwrap().iter().filter(|e| e.action == action).cloned().collect()
}

#[tokio::test]
async fn a_box_tells_who_it_is_and_remembers_who_answered() {
    let cloud = Cloud::start().await;
    let log = Log::new(3);
    let mut o = options(cloud.port);
    o.machine = gateway_sync::machine_hash("0af3\n");
    assert!(o.machine.as_ref().is_some_and(|m| m.len() == 32 && !m.contains("0af3")));
    let store = Uuid::from_u128(5);
    cloud.with(|s| s.script.store = Some(store));
    let running = run(o.clone(), &log);
    eventually("all acked", || log.is_all_acked()).await;
    running.end().await;
    let first = identity(&cloud);
    cloud.with(|s| s.script.seen = Some(NOW));
    assert_eq!((&first.machine, &first.line, first.answered), (&o.machine, &vec![], None));
    let running = run(o, &log);
    eventually("another session", || cloud.with(|s| s.sessions == 2)).await;
    let second = identity(&cloud);
    assert_eq!((second.box_id, second.answered, second.store), (first.box_id, Some(NOW), Some(store)));
    assert!(second.attempt > first.attempt && second.line.is_empty(), "{second:?}");
    running.end().await;
    assert!(log.told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_box_that_is_held_back_says_so_once_and_asks_again_from_time_to_time() {
    let cloud = Cloud::start().await;
    let log = Log::new(3);
    let detail = "another box is this gateway".to_owned();
    cloud.with(|s| s.script.refusal = Some(Refusal { code: Code::IdentityConflict, detail: detail.clone() }));
    let mut o = options(cloud.port);
    o.held_retry = Duration::from_millis(150);
    let began = tokio::time::Instant::now();
    let running = run(o, &log);
    eventually("asked again", || hellos(&cloud).len() >= 4).await;
    assert!(began.elapsed() >= Duration::from_millis(450), "it waits in between");
    let status = running.uplink.status().borrow().clone();
    assert!(!status.connected && status.last_error.is_some_and(|e| e.contains(&detail)));
    let held = told(&log, action::GATEWAY_HELD);
    assert_eq!(held.len(), 1);
    assert!(held[0].detail.contains(&detail) && held[0].at_us > 0);
    cloud.with(|s| s.script.refusal = None);
    eventually("let in", || log.is_all_acked()).await;
    running.end().await;
}

#[tokio::test]
async fn a_restored_box_and_a_restored_cloud_are_told_once() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    cloud.with(|s| s.script.store = Some(Uuid::from_u128(5)));
    let running = run(options(cloud.port), &log);
    log.add(10);
    eventually("all acked", || log.is_all_acked()).await;
    running.end().await;

    // The cloud heard of another state since.
    cloud.with(|s| s.script.seen = Some(Incarnation(99)));
    let running = run(options(cloud.port), &log);
    eventually("told", || told(&log, action::GATEWAY_RESTORED).len() == 1).await;
    running.end().await;
    eventually("all acked", || log.acked(NOW).len() >= 10).await;
    assert!(told(&log, action::CLOUD_RESTORED).is_empty());

    // It has another store, which lacks frames that it had acknowledged: they come again.
    cloud.with(|s| {
        s.script.seen = Some(NOW);
        s.script.store = Some(Uuid::from_u128(6));
        let known = s.known.get_mut(&NOW).unwrap();
        *known = vec![(1, 4)].into();
    });
    let running = run(options(cloud.port), &log);
    eventually("told", || told(&log, action::CLOUD_RESTORED).len() == 1).await;
    eventually("all acked", || log.is_all_acked()).await;
    cloud.with(|s| assert!(s.known[&NOW].contains_range(1, 10)));
    running.end().await;
    let entry = told(&log, action::CLOUD_RESTORED).remove(0);
    assert!(entry.detail.contains("are sent again, 0 are no longer here"), "{}", entry.detail);
    let running = run(options(cloud.port), &log);
    eventually("another session", || cloud.with(|s| s.sessions == 4)).await;
    eventually("all acked", || log.is_all_acked()).await;
    running.end().await;
    assert_eq!(told(&log, action::CLOUD_RESTORED).len(), 1);
    assert_eq!(told(&log, action::GATEWAY_RESTORED).len(), 1);
}

#[tokio::test]
async fn frames_that_were_set_aside_are_told_once_over_restarts() {
    let cloud = Cloud::start().await;
    let log = Log::new(20);
    let aside = |last| vec![Known { incarnation: OLD, seqs: vec![(3, last)].into() }];
    cloud.with(|s| {
        s.script.set_aside = aside(4);
        s.known.insert(OLD, aside(4)[0].seqs.clone());
    });
    for (last, want) in [(4, 1), (4, 1), (5, 2)] {
        cloud.with(|s| s.script.set_aside = aside(last));
        let sessions = cloud.with(|s| s.sessions);
        let running = run(options(cloud.port), &log);
        eventually("a session", || cloud.with(|s| s.sessions > sessions)).await;
        eventually("told", || told(&log, action::FRAME_SET_ASIDE).len() == want).await;
        eventually("all acked", || log.is_all_acked()).await;
        running.end().await;
    }
    let entries = told(&log, action::FRAME_SET_ASIDE);
    assert!(entries[0].detail.contains("2 frames (3 to 4 of"), "{}", entries[0].detail);
    assert!(entries[1].detail.contains("1 frames (5 of"), "{}", entries[1].detail);
}

#[tokio::test]
async fn a_backlog_that_cannot_be_read_together_goes_frame_by_frame() {
    let cloud = Cloud::start().await;
    let log = Log::new(3000);
    cloud.with(|s| {
        s.script.features = vec![FEATURE_COLUMNS, FEATURE_BATCH];
        s.script.apart = true;
    });
    let running = run(options(cloud.port), &log);
    eventually("all acked", || log.is_all_acked()).await;
    cloud.with(|s| assert!(s.stored.values().all(|n| *n == 1) && s.stored.len() == 3000));
    running.end().await;
}

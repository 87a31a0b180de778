//! Sessions over links that are paid by the byte, and with a cloud that asks for less, over real TCP and MQTT.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::time::Duration;

use common::api::LinkHold;
use common::wire::{Credit, Down, FEATURE_BATCH, FEATURE_COLUMNS, FEATURE_CREDIT};
use gateway_core::FrameId;
use gateway_sync::{Options, Plan};
use rig::cloud::{Cloud, Seen};
use rig::*;
use tokio::time::Instant;

fn day(options: Options, bytes: u64) -> Options {
    Options { plan: Plan { day_bytes: Some(bytes), utc: true, ..Plan::default() }, ..options }
}

#[tokio::test]
async fn over_a_metered_link_samples_wait_to_go_together_and_events_do_not() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    cloud.with(|s| s.script.features = vec![FEATURE_COLUMNS, FEATURE_BATCH]);
    let delay = Duration::from_millis(1500);
    let running = run(Options { max_delay: Some(delay), ..options(cloud.port) }, &log);
    // What is there before the gateway has its answer is backlog, and goes.
    eventually("a session", || running.uplink.status().borrow().link.together).await;
    let began = Instant::now();
    for _ in 0..20 {
        log.add(3);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let event = log.event();
    eventually("the event", || cloud.with(|s| s.urgent.contains(&event))).await;
    let samples = || cloud.with(|s| s.stored.keys().filter(|f| !s.urgent.contains(f)).count());
    assert!(began.elapsed() > delay || samples() == 0, "samples came with the event");
    eventually("all acked", || log.is_all_acked()).await;
    assert!(began.elapsed() >= delay);
    cloud.with(|s| {
        let alone = s.seen.iter().filter(|e| matches!(e, Seen::Frame(f) if !s.urgent.contains(f))).count();
        assert_eq!((alone, s.batches.iter().sum::<usize>()), (0, 60), "{:?}", s.batches);
        assert!(s.batches.len() <= 2, "{:?}", s.batches);
        assert!(s.stored.values().all(|n| *n == 1));
        let Seen::Hello(hello) = &s.seen[0] else { panic!("{:?}", s.seen[0]) };
        assert_eq!(hello.heartbeat_ms, Some(30_000));
    });
    let link = running.uplink.status().borrow().link;
    assert!(link.together && link.day_bytes > 500 && link.day_bytes == link.month_bytes, "{link:?}");
    running.end().await;
}

#[tokio::test]
async fn when_the_days_bytes_are_used_up_only_what_is_urgent_goes_also_after_a_restart() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    let held = |running: &Running| running.uplink.status().borrow().link.held;
    let running = run(day(options(cloud.port), 30_000), &log);
    for _ in 0..200 {
        if held(&running).is_some() {
            break;
        }
        log.add(20);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(held(&running), Some(LinkHold::Day));
    eventually("what was on its way", || {
        running.uplink.status().borrow().link.held_frames == 0 || log.events().len() == 1
    })
    .await;
    assert_eq!(log.events(), ["uplink.held"]);
    log.add(50);
    let event = log.event();
    eventually("the event", || cloud.with(|s| s.urgent.contains(&event))).await;
    let newest =
        |cloud: &Cloud| cloud.with(|s| s.stored.keys().filter(|f| !s.urgent.contains(f)).max().copied());
    let last = newest(&cloud).unwrap();
    assert!(last.seq < event.seq - 50, "samples after the hold went up: {last:?}");
    let link = running.uplink.status().borrow().link;
    assert_eq!(link.day_left, Some(0));
    assert!(link.held_since_us.is_some() && link.held_until_us > link.held_since_us);
    running.end().await;

    // Another program, the same day.
    let running = run(day(options(cloud.port), 30_000), &log);
    let again = log.event();
    eventually("the event", || cloud.with(|s| s.urgent.contains(&again))).await;
    assert_eq!(held(&running), Some(LinkHold::Day));
    assert_eq!(newest(&cloud), Some(last));
    eventually("they are counted", || running.uplink.status().borrow().link.held_frames >= 50).await;
    running.end().await;

    // Nothing was lost by it.
    let running = run(day(options(cloud.port), 1 << 30), &log);
    eventually("all acked", || log.is_all_acked()).await;
    assert_eq!(held(&running), None);
    cloud.with(|s| assert!(s.stored.values().all(|n| *n == 1), "{:?}", s.stored));
    running.end().await;
}

#[tokio::test]
async fn in_quiet_hours_the_urgent_frames_of_the_backlog_go_and_its_samples_stay() {
    let cloud = Cloud::start().await;
    let log = Log::new(300);
    let urgent: Vec<FrameId> = (0..3)
        .map(|_| {
            log.add(40);
            log.event()
        })
        .collect();
    // Two parts of the day that are all of it.
    let quiet = ["00:00-12:00", "12:00-00:00"].map(|q| q.parse().unwrap()).to_vec();
    let plan = Plan { quiet, utc: true, ..Plan::default() };
    let running = run(Options { plan, ..options(cloud.port) }, &log);
    eventually("the events", || cloud.with(|s| urgent.iter().all(|f| s.urgent.contains(f)))).await;
    eventually("all looked at", || running.uplink.status().borrow().link.held_frames == 420).await;
    cloud.with(|s| {
        assert_eq!(s.stored.len(), s.urgent.len(), "{:?}", s.stored);
        assert!(!s.seen.iter().any(|e| matches!(e, Seen::Snapshot(_))), "values are samples");
    });
    assert_eq!(running.uplink.status().borrow().link.held, Some(LinkHold::Quiet));
    running.end().await;
}

#[tokio::test]
async fn backlog_waits_for_the_clouds_credit_and_live_frames_do_not() {
    let cloud = Cloud::start().await;
    let log = Log::new(3000);
    cloud.with(|s| s.script.credit = Some(0));
    let running = run(options(cloud.port), &log);
    eventually("a session", || cloud.with(|s| s.beats.len() > 1)).await;
    log.add(30);
    let live = FrameId { incarnation: NOW, seq: 30 };
    eventually("live frames", || cloud.with(|s| s.stored.contains_key(&live))).await;
    cloud.with(|s| {
        let Seen::Hello(hello) = &s.seen[0] else { panic!("{:?}", s.seen[0]) };
        assert!(hello.features.iter().any(|f| f == FEATURE_CREDIT));
        // What was on its way before the word came.
        let backlog = s.stored.keys().filter(|f| f.incarnation == OLD).count();
        assert!(backlog < 1000, "{backlog} frames of backlog without credit");
    });
    let before = cloud.with(|s| s.stored.len());
    log.add(30);
    eventually("live frames", || cloud.with(|s| s.stored.contains_key(&FrameId { seq: 60, ..live }))).await;
    assert_eq!(cloud.with(|s| s.stored.len()), before + 30);
    cloud.send(Down::Credit(Credit { backlog_bytes: 1 << 20 }));
    eventually("all acked", || log.is_all_acked()).await;
    assert!(cloud.with(|s| s.stored.values().all(|n| *n == 1)));
    running.end().await;
}

/// Its acknowledgements come so late that the link is held for thin, and there is always backlog on its way.
#[tokio::test]
async fn live_samples_pass_a_long_backlog_also_when_the_cloud_is_slow() {
    let cloud = Cloud::start().await;
    let log = Log::new(400_000);
    cloud.with(|s| s.script.features = vec![FEATURE_COLUMNS, FEATURE_BATCH]);
    let running = run(options(cloud.port), &log);
    eventually("backlog", || cloud.with(|s| s.batches.len() > 3)).await;
    cloud.with(|s| s.script.late = Some(Duration::from_millis(400)));
    let together = || running.uplink.status().borrow().link.together;
    eventually("a thin link", || {
        log.add(1);
        together()
    })
    .await;
    for _ in 0..3 {
        let behind = || cloud.with(|s| s.stored.keys().filter(|f| f.incarnation == OLD).count());
        log.add(1);
        let live = *log.all().last().unwrap();
        eventually("a live frame", || cloud.with(|s| s.stored.contains_key(&live))).await;
        assert!(behind() < 400_000 && together(), "the backlog was sent before it: {}", behind());
    }
    running.end().await;
}

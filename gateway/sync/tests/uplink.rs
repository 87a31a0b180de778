//! Sessions with a cloud over real TCP and MQTT: what is sent, in which order, and again after every kind of
//! break.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::time::Duration;

use common::command::{CommandOrder, DesiredOrder, Origin, Requester};
use common::names::Code;
use common::wire::{Down, FEATURE_BATCH, FEATURE_COLUMNS, Refusal};
use common::{CommandId, CommandState, IntervalSet, TwinId, Value};
use gateway_core::{FrameId, FrameLog as _};
use rig::cloud::{Cloud, Seen};
use rig::*;

fn requester() -> Requester {
    Requester { name: "a".to_owned(), origin: Origin::Cloud }
}

#[tokio::test]
async fn a_session_says_hello_schema_snapshot_and_then_sends_what_the_cloud_lacks() {
    let cloud = Cloud::start().await;
    let log = Log::new(10);
    log.add(5);
    cloud.with(|s| {
        s.script.want_schema = true;
        let known: IntervalSet = vec![(1, 4), (7, 10)].into();
        s.known.insert(OLD, known);
    });
    let running = run(options(cloud.port), &log);
    eventually("all acked", || log.is_all_acked()).await;
    log.add(3);
    eventually("all acked", || log.is_all_acked()).await;
    let seen: Vec<Seen> = cloud.with(|s| s.seen.iter().filter(|e| **e != Seen::Heartbeat).cloned().collect());
    let Seen::Hello(hello) = &seen[0] else { panic!("{:?}", seen[0]) };
    assert_eq!((hello.incarnation, hello.streams.len(), hello.remote), (NOW, 2, true));
    let sent = |incarnation, seq| Seen::Frame(FrameId { incarnation, seq });
    let mut want = vec![Seen::Schema, Seen::Snapshot(5), sent(OLD, 5), sent(OLD, 6)];
    want.extend((1..=8).map(|seq| sent(NOW, seq)));
    assert_eq!(seen[1..], want);
    let status = running.uplink.status().borrow().clone();
    assert!(status.connected);
    assert_eq!((status.sent_live, status.sent_backlog, status.acked), (3, 7, 10));
    running.end().await;
}

#[tokio::test]
async fn a_backlog_goes_together_to_a_cloud_that_takes_batches_and_live_frames_go_alone() {
    let cloud = Cloud::start().await;
    let log = Log::new(3000);
    cloud.with(|s| {
        s.script.features = vec![FEATURE_COLUMNS, FEATURE_BATCH];
        let known: IntervalSet = vec![(1, 100), (700, 1500)].into();
        s.known.insert(OLD, known);
    });
    let running = run(options(cloud.port), &log);
    eventually("all acked", || log.is_all_acked()).await;
    log.add(5);
    eventually("all acked", || log.is_all_acked()).await;
    cloud.with(|s| {
        assert_eq!(s.batches.iter().sum::<usize>(), 3000 - 100 - 801);
        assert!(s.batches.len() < 20, "{:?}", s.batches);
        assert!(s.stored.values().all(|n| *n == 1), "nothing known is sent");
        assert_eq!(s.seen.iter().filter(|e| matches!(e, Seen::Frame(_))).count(), 5);
    });
    let status = running.uplink.status().borrow().clone();
    assert_eq!((status.sent_live, status.sent_backlog, status.acked), (5, 2099, 2104));
    running.end().await;
}

/// The cloud may not know of a write of which the box knows nothing after a loss of power, nor of an end.
#[tokio::test]
async fn intents_and_ends_go_once_they_are_on_disk_and_nothing_waits_for_them() {
    let cloud = Cloud::start().await;
    let log = Log::new(3);
    let running = run(options(cloud.port), &log);
    eventually("session", || log.is_all_acked()).await;
    let is_there = |frame: FrameId| cloud.with(|s| s.stored.contains_key(&frame));
    for is_live in [true, false] {
        let (sent, intent) = (log.step(CommandState::Sent), log.step(CommandState::Executing));
        let after = log.step(CommandState::Sent);
        if is_live {
            eventually("what came after it", || is_there(sent) && is_there(after)).await;
        } else {
            // In the backlog of the next session it waits as well.
            let session = cloud.with(|s| {
                s.script.break_after = Some(0);
                s.sessions
            });
            eventually("sessions that break", || cloud.with(|s| s.sessions > session + 1)).await;
            cloud.with(|s| s.script.break_after = None);
            eventually("what came after it", || is_there(sent) && is_there(after)).await;
        }
        let later = log.event();
        eventually("what is live", || is_there(later)).await;
        assert!(!is_there(intent), "it is not on disk");
        log.synced(intent);
        eventually("the intent", || is_there(intent)).await;
        eventually("all acked", || log.is_all_acked()).await;
        assert_eq!(cloud.with(|s| s.stored[&intent]), 1);
    }
    // And so does the end: else the cloud could know another one than a box that lost it and asked the device anew.
    let end = log.step(CommandState::Failed);
    let later = log.event();
    eventually("what is live", || is_there(later)).await;
    assert!(!is_there(end), "it is not on disk");
    log.synced(end);
    eventually("the end", || is_there(end)).await;
    // As it is where the disk answers: the steps come in their order. An end that the disk does not take is told all the same.
    let intent = log.step(CommandState::Executing);
    log.synced(intent);
    let result = log.step(CommandState::Succeeded);
    eventually("the result", || is_there(result)).await;
    let at = |frame| cloud.with(|s| s.seen.iter().rposition(|e| *e == Seen::Frame(frame)));
    assert!(at(intent).is_some() && at(intent) < at(result));
    running.end().await;
}

/// The cloud of an older program: its hello says nothing of columns.
#[tokio::test]
async fn a_cloud_that_knows_no_columns_gets_frames_of_the_first_version() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.features = Vec::new());
    let log = Log::new(40);
    let running = run(options(cloud.port), &log);
    eventually("all acked", || log.is_all_acked()).await;
    log.add(5);
    eventually("all acked", || log.is_all_acked()).await;
    cloud.with(|s| {
        assert_eq!((s.stored.len(), s.batches.len()), (45, 0));
        assert!(s.stored.values().all(|n| *n == 1));
    });
    running.end().await;
}

#[tokio::test]
async fn live_frames_do_not_wait_for_a_long_backlog() {
    let cloud = Cloud::start().await;
    let log = Log::new(3000);
    let running = run(options(cloud.port), &log);
    eventually("backlog flows", || cloud.with(|s| s.stored.len() > 50)).await;
    log.add(1);
    let live = FrameId { incarnation: NOW, seq: 1 };
    eventually("live arrived", || cloud.with(|s| s.stored.contains_key(&live))).await;
    let before = cloud.with(|s| s.seen.iter().take_while(|e| **e != Seen::Frame(live)).count());
    assert!(before < 3000, "{before} messages before the live frame");
    eventually("all acked", || log.is_all_acked()).await;
    assert!(cloud.with(|s| s.stored.values().all(|n| *n == 1)));
    running.end().await;
}

#[tokio::test]
async fn heartbeats_carry_a_session_time_that_only_grows() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    let running = run(options(cloud.port), &log);
    eventually("heartbeats", || cloud.with(|s| s.beats.len() >= 4)).await;
    cloud.with(|s| {
        let Seen::Hello(hello) = &s.seen[0] else { panic!("no hello") };
        let mut times = vec![hello.session_us];
        times.extend(s.beats.iter().map(|b| b.session_us));
        assert!(times.windows(2).all(|w| w[0] < w[1] && w[1] - w[0] <= 1_100_000), "{times:?}");
    });
    running.end().await;
}

#[tokio::test]
async fn commands_and_desired_values_are_handed_to_control() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    let running = run(options(cloud.port), &log);
    eventually("session", || running.uplink.status().borrow().connected).await;
    let order = CommandOrder {
        id: CommandId::new(),
        twin: TwinId(uuid::Uuid::nil()),
        point: "p".to_owned(),
        value: Value::F64(1.5),
        requester: requester(),
        reason: "r".to_owned(),
        deadline_session_us: 77,
    };
    let desired = DesiredOrder {
        twin: order.twin,
        version: 3,
        point: "p".to_owned(),
        value: None,
        requester: requester(),
        reason: String::new(),
        set_us: 0,
        deadline_session_us: 78,
    };
    cloud.send(Down::Command(Box::new(order.clone())));
    cloud.send(Down::Desired(vec![desired.clone()]));
    eventually("both heard", || !running.heard.desired.lock().unwrap().is_empty()).await;
    assert_eq!(*running.heard.commands.lock().unwrap(), [order]);
    assert_eq!(*running.heard.desired.lock().unwrap(), [desired]);
    running.end().await;
}

#[tokio::test]
async fn a_refused_gateway_says_so_and_tries_again() {
    let cloud = Cloud::start().await;
    let refusal = Refusal { code: Code::Forbidden, detail: "not yours".to_owned() };
    cloud.with(|s| s.script.refusal = Some(refusal));
    let log = Log::new(2);
    let running = run(options(cloud.port), &log);
    let told = || running.uplink.status().borrow().last_error.clone();
    eventually("told", || told().is_some_and(|e| e.contains("forbidden: not yours"))).await;
    assert!(!running.uplink.status().borrow().connected);
    eventually("tried again", || cloud.with(|s| s.seen.len() > 3)).await;
    assert!(log.acked(OLD).is_empty());
    cloud.with(|s| s.script.refusal = None);
    eventually("all acked", || log.is_all_acked()).await;
    running.end().await;
}

#[tokio::test]
async fn frames_that_the_cloud_lost_are_sent_again_in_the_session() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.lose = true);
    let log = Log::new(3);
    log.add(3);
    let mut o = options(cloud.port);
    o.resend_after = Duration::from_millis(300);
    let running = run(o, &log);
    eventually("sent", || cloud.with(|s| s.seen.iter().filter(|e| matches!(e, Seen::Frame(_))).count() >= 6))
        .await;
    cloud.with(|s| s.script.lose = false);
    eventually("all acked", || log.is_all_acked()).await;
    assert_eq!(cloud.with(|s| s.sessions), 1);
    running.end().await;
}

#[tokio::test]
async fn a_mute_link_is_dead_within_its_limit() {
    let cloud = Cloud::start().await;
    let log = Log::new(0);
    let mut o = options(cloud.port);
    o.silence = Duration::from_millis(2500);
    let running = run(o, &log);
    let mut status = running.uplink.status();
    eventually("session", || status.borrow().connected).await;
    cloud.with(|s| s.script.mute = true);
    let down = tokio::time::timeout(Duration::from_secs(6), status.wait_for(|s| !s.connected));
    assert!(down.await.expect("not seen as dead in 6 s").unwrap().last_error.is_some());
    cloud.with(|s| s.script.mute = false);
    eventually("again", || status.borrow().connected).await;
    running.end().await;
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_hello_is_left() {
    let cloud = Cloud::start().await;
    cloud.with(|s| s.script.mute = true);
    let log = Log::new(0);
    let mut o = options(cloud.port);
    o.hello_timeout = Duration::from_millis(200);
    let running = run(o, &log);
    let told = || running.uplink.status().borrow().last_error.clone();
    eventually("told", || told().is_some_and(|e| e.contains("answer to hello"))).await;
    running.end().await;
}

#[tokio::test]
async fn a_missing_authority_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, "nothing").unwrap();
    let mut o = options(1);
    o.tls = Some(gateway_sync::Tls { ca_file: Some(file) });
    let running = run(o, &Log::new(0));
    let told = || running.uplink.status().borrow().last_error.clone();
    eventually("told", || told().is_some_and(|e| e.contains("holds no certificate"))).await;
    running.end().await;
}

/// The link breaks after a number of frames that changes from session to session, some of them stored and
/// not acknowledged, while frames go on being appended.
#[tokio::test]
async fn nothing_is_lost_over_many_breaks_and_nothing_known_is_sent_again() {
    for seed in 1..6usize {
        let cloud = Cloud::start().await;
        let log = Log::new(200);
        cloud.with(|s| s.script.break_after = Some(seed));
        let running = run(options(cloud.port), &log);
        for round in 1..=12 {
            log.add(20);
            let session = cloud.with(|s| s.sessions);
            cloud.with(|s| s.script.break_after = Some((seed * 7 + round * 5) % 40));
            eventually("another session", || cloud.with(|s| s.sessions > session) || log.is_all_acked())
                .await;
        }
        cloud.with(|s| s.script.break_after = None);
        eventually("all acked", || log.is_all_acked()).await;
        cloud.with(|s| {
            assert!(log.all().iter().all(|f| s.stored.contains_key(f)));
            // Each is stored once: what was stored without an ack is known from the next hello.
            let twice: Vec<_> = s.stored.iter().filter(|(_, n)| **n > 1).collect();
            assert!(twice.is_empty(), "seed {seed}: {twice:?}");
        });
        running.end().await;
    }
}

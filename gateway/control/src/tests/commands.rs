//! Commands: each check, in its order, and what the log tells.

use std::sync::atomic::Ordering;

use common::CommandState::*;
use common::api::{CommandRequest, SwitchPosition};
use common::command::{Origin, Requester};
use common::names::{Code, action};
use common::{Quality, Value};
use gateway_core::{Orders, WriteError};

use super::rig::*;
use crate::*;

#[tokio::test(start_paused = true)]
async fn a_command_is_written_read_back_and_told_step_by_step() {
    let rig = Rig::new();
    rig.remote().await;
    let order = rig.order("setpoint", 50.04);
    rig.handle.command(order.clone());
    let end = rig.end(order.id).await;
    assert_eq!((end.state, end.code), (Succeeded, None), "{end:?}");
    assert_eq!(end.read_back, Some(Value::F64(50.0)), "a register of tenths");
    assert_eq!(*rig.plc.writes.lock().unwrap(), [(SETPOINT, Value::U64(500))]);
    assert_eq!(rig.log.states(order.id), [Sent, Executing, Succeeded]);
    assert_eq!(rig.log.audits().last().unwrap().action, action::COMMAND_SUCCEEDED);
    let view = rig.handle.view(order.id).unwrap();
    assert_eq!(view.steps.len(), 3);
    assert_eq!(view.asset, "a/b/plc");

    // The same id again writes nothing and tells the result again.
    rig.handle.command(order.clone());
    assert_eq!(rig.log.states(order.id), [Sent, Executing, Succeeded, Succeeded]);
    assert_eq!(rig.writes(), 1);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_refused_with_its_code() {
    let rig = Rig::new();
    rig.remote().await;
    for (point, value, code) in [
        ("nope", Value::F64(1.0), Code::UnknownPoint),
        ("temp", Value::F64(1.0), Code::NotWritable),
        ("setpoint", Value::from("hot"), Code::TypeMismatch),
        ("setpoint", Value::U64(u64::MAX), Code::TypeMismatch),
        ("count", Value::F64(1.5), Code::TypeMismatch),
        ("setpoint", Value::F64(f64::NAN), Code::OutOfLimits),
        ("setpoint", Value::F64(f64::INFINITY), Code::OutOfLimits),
        ("setpoint", Value::F64(200.1), Code::OutOfLimits),
        ("setpoint", Value::F64(-0.1), Code::OutOfLimits),
        ("count", Value::I64(51), Code::OutOfLimits),
        ("count", Value::I64(i64::MIN), Code::OutOfLimits),
        ("setpoint", Value::F64(199.0), Code::OutOfRawLimits),
        ("pump", Value::I64(2), Code::TypeMismatch),
    ] {
        let end = rig.cloud(point, value.clone()).await;
        assert_eq!((end.state, end.code), (Rejected, Some(code)), "{point} {value}: {}", end.detail);
        assert!(!end.detail.is_empty());
        assert_eq!(rig.log.audits().last().unwrap().code, Some(code));
    }
    assert_eq!(rig.writes(), 0);
    // A whole number is taken for a float and the reverse.
    assert_eq!(rig.cloud("setpoint", 20i64).await.state, Succeeded);
    assert_eq!(rig.cloud("count", 20.0).await.state, Succeeded);
}

#[tokio::test(start_paused = true)]
async fn the_switch_starts_local_and_a_far_door_cannot_claim_to_be_near() {
    let rig = Rig::new();
    assert_eq!(rig.handle.switch(), SwitchPosition::Local);
    let end = rig.cloud("setpoint", 10.0).await;
    assert_eq!(end.code, Some(Code::LocalMode));
    assert_eq!(rig.local("k1", "setpoint", 10.0).await.unwrap().state, Succeeded);
    rig.log.fail_durable.store(true, Ordering::SeqCst);
    let refused = rig.handle.set_switch(SwitchPosition::Remote, "uid:0", "test").await.unwrap_err();
    assert_eq!((refused.0, rig.handle.switch()), (Code::AuditUnavailable, SwitchPosition::Local));
    rig.log.fail_durable.store(false, Ordering::SeqCst);
    rig.remote().await;
    assert_eq!(rig.log.audits().last().unwrap().action, action::SWITCH_REMOTE);
    // The local writer of before still owns the point.
    let end = rig.cloud("setpoint", 11.0).await;
    assert_eq!(end.code, Some(Code::Owned), "{}", end.detail);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(rig.cloud("setpoint", 11.0).await.state, Succeeded);
    // The stronger takes over at once.
    assert_eq!(rig.local("k2", "setpoint", 12.0).await.unwrap().state, Succeeded);
    assert_eq!(rig.writes(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_interlock_blocks_when_false_and_when_it_cannot_be_judged() {
    let rig = Rig::new();
    let blocked = |u: common::command::CommandUpdate, code, word: &str| {
        assert_eq!((u.state, u.code), (Rejected, Some(code)), "{}", u.detail);
        assert!(u.detail.contains(word), "{}", u.detail);
    };
    rig.show(DOOR, true);
    let u = rig.local("1", "pump", true).await.unwrap();
    blocked(u, Code::Interlocked, "plc/temp = 20, plc/door = true");
    rig.show(DOOR, false);
    rig.show_as(TEMP, 20.0, Quality::UNCERTAIN_RANGE);
    blocked(rig.local("2", "pump", true).await.unwrap(), Code::InterlockInput, "plc/temp is uncertain_range");
    rig.show_as(TEMP, 20.0, Quality::BAD_TIMEOUT);
    blocked(rig.local("3", "pump", true).await.unwrap(), Code::InterlockInput, "bad_timeout");
    rig.show(TEMP, f64::NAN);
    blocked(rig.local("4", "pump", true).await.unwrap(), Code::InterlockInput, "no finite result");
    rig.show(TEMP, 20.0);
    tokio::time::advance(Duration::from_secs(6)).await;
    blocked(rig.local("5", "pump", true).await.unwrap(), Code::InterlockInput, "bad_stale");
    rig.show(TEMP, 20.0);
    rig.show(DOOR, false);
    assert_eq!(rig.local("6", "pump", true).await.unwrap().state, Succeeded);
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_the_intent_goes_to_disk_is_seen() {
    let rig = Rig::new();
    rig.remote().await;
    rig.log.durable_ms.store(100, Ordering::SeqCst);
    let order = rig.order("pump", true);
    let id = order.id;
    rig.handle.command(order);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.show(DOOR, true);
    let end = rig.end(id).await;
    assert_eq!((end.state, end.code), (Rejected, Some(Code::Interlocked)));
    rig.show(DOOR, false);
    // Its time runs out while the intent goes to disk.
    let mut order = rig.order("pump", true);
    order.deadline_session_us = rig.clock.mono_us() + 50_000;
    let id = order.id;
    rig.handle.command(order);
    let end = rig.end(id).await;
    assert_eq!((end.state, end.code), (Expired, Some(Code::Expired)));
    assert_eq!(rig.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_command_expires_whatever_the_wall_clock_says() {
    let rig = Rig::new();
    rig.remote().await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let mut order = rig.order("setpoint", 5.0);
    order.deadline_session_us = 4_000_000;
    let id = order.id;
    rig.handle.command(order);
    assert_eq!(rig.end(id).await.state, Expired);
    assert_eq!(rig.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_log_nothing_is_written() {
    let rig = Rig::new();
    rig.log.fail_append.store(true, Ordering::SeqCst);
    let end = rig.local("1", "setpoint", 5.0).await.unwrap();
    assert_eq!((end.state, end.code), (Rejected, Some(Code::AuditUnavailable)));
    rig.log.fail_append.store(false, Ordering::SeqCst);
    rig.log.fail_durable.store(true, Ordering::SeqCst);
    let end = rig.local("2", "setpoint", 5.0).await.unwrap();
    assert_eq!((end.state, end.code), (Rejected, Some(Code::AuditUnavailable)));
    assert_eq!(rig.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_gives_the_same_command_and_another_request_a_conflict() {
    let rig = Rig::new();
    let first = rig.local("key", "setpoint", 5i64).await.unwrap();
    let again = rig.local("key", "setpoint", 5.0).await.unwrap();
    assert_eq!(first.id, again.id);
    assert_eq!(rig.local("key", "setpoint", 6.0).await.unwrap_err(), Code::IdempotencyConflict);
    assert_eq!(rig.local("", "setpoint", 6.0).await.unwrap_err(), Code::InvalidRequest);
    assert_eq!(rig.local("x", "nope", 6.0).await.unwrap_err(), Code::UnknownPoint);
    assert_eq!(rig.writes(), 1);
    // Also after a restart.
    let (log, plc) = rig.kill().await;
    let rig = Rig::on(log, plc, Options::default());
    assert_eq!(rig.local("key", "setpoint", 5.0).await.unwrap().id, first.id);
    assert_eq!(rig.local("key", "setpoint", 6.0).await.unwrap_err(), Code::IdempotencyConflict);
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_order_is_kept() {
    let rig = Rig::on(Arc::default(), Arc::default(), Options { queue: 2, ..Options::default() });
    rig.remote().await;
    rig.plc.slow_ms.store(1000, Ordering::SeqCst);
    let orders: Vec<_> = (1..=5i64).map(|n| rig.order("count", n)).collect();
    rig.handle.command(orders[0].clone());
    rig.until(|| (rig.writes() == 1).then_some(())).await;
    for order in &orders[1..] {
        rig.handle.command(order.clone());
    }
    let mut ends = Vec::new();
    for order in &orders {
        ends.push(rig.end(order.id).await);
    }
    assert_eq!(
        ends.iter().map(|u| u.state).collect::<Vec<_>>(),
        [Succeeded, Succeeded, Succeeded, Rejected, Rejected]
    );
    assert_eq!(ends[4].code, Some(Code::QueueFull));
    let written: Vec<_> = rig.plc.writes.lock().unwrap().iter().map(|w| w.1.clone()).collect();
    assert_eq!(written, [Value::I64(1), Value::I64(2), Value::I64(3)]);
    assert_eq!(rig.handle.recent(2).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_device_answers_is_told() {
    let rig = Rig::new();
    let answers = [
        (
            WriteError::NotSent { code: Code::NotConnected, detail: "down".into() },
            Rejected,
            Code::NotConnected,
        ),
        (WriteError::NotSent { code: Code::Expired, detail: "late".into() }, Expired, Code::Expired),
        (WriteError::Refused { detail: "illegal address".into() }, Failed, Code::DeviceRefused),
    ];
    for (n, (answer, state, code)) in answers.into_iter().enumerate() {
        rig.plc.script.lock().unwrap().push_back(answer);
        let end = rig.local(&n.to_string(), "count", 1i64).await.unwrap();
        assert_eq!((end.state, end.code), (state, Some(code)));
    }
    rig.plc.ignores.store(true, Ordering::SeqCst);
    rig.plc.registers.lock().unwrap().insert(COUNT, Value::I64(9));
    let end = rig.local("m", "count", 1i64).await.unwrap();
    assert_eq!(
        (end.state, end.code, end.read_back),
        (Failed, Some(Code::ReadbackMismatch), Some(Value::I64(9)))
    );
    assert_eq!(end.detail, "1 was wanted, 9 was read back");
    assert_eq!(rig.handle.counts().iter().map(|c| c.2).sum::<u64>(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_the_gateway_stops_is_refused() {
    let rig = Rig::new();
    rig.remote().await;
    rig.plc.slow_ms.store(500, Ordering::SeqCst);
    let (a, b) = (rig.order("count", 1i64), rig.order("count", 2i64));
    rig.handle.command(a.clone());
    rig.until(|| (rig.writes() == 1).then_some(())).await;
    rig.handle.command(b.clone());
    let (handle, log) = (rig.handle.clone(), rig.log.clone());
    rig.stop().await;
    assert_eq!(handle.get(a.id).unwrap().state, Succeeded);
    assert_eq!(handle.get(b.id).unwrap().code, Some(Code::Interrupted));
    assert_eq!(log.states(b.id), [Sent, Rejected]);
}

mod limits {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked, what reaches the register is within the limits in both units.
        #[test]
        fn nothing_beyond_a_limit_reaches_a_register(bits in any::<u64>(), small in -500.0f64..500.0, n in any::<i64>()) {
            let registry = registry();
            for value in [Value::F64(f64::from_bits(bits)), Value::F64(small), Value::I64(n), Value::U64(bits)] {
                for point in registry.points() {
                    let Ok((engineering, raw)) = crate::value::check(point, &value) else { continue };
                    let (min, max) = (point.schema.write_min.unwrap(), point.schema.write_max.unwrap());
                    let x = engineering.as_f64().unwrap();
                    prop_assert!(x >= min && x <= max);
                    let r = raw.as_f64().unwrap();
                    prop_assert!(r >= point.raw.min && r <= point.raw.max);
                    let back = point.to_engineering(&raw).unwrap().as_f64().unwrap();
                    prop_assert!(back >= min - 1e-6 && back <= max + 1e-6, "{value} -> {raw} -> {back}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn local_takes_hold_at_once_also_of_what_waits_for_the_device_and_without_a_disk() {
    let rig = Rig::new();
    rig.remote().await;
    rig.plc.busy_ms.store(500, Ordering::SeqCst);
    let order = rig.order("setpoint", 10.0);
    let id = order.id;
    rig.handle.command(order);
    rig.until(|| rig.handle.get(id).filter(|u| u.state == Executing)).await;
    rig.log.fail_durable.store(true, Ordering::SeqCst);
    rig.handle.set_switch(SwitchPosition::Local, "uid:0", "hands on").await.unwrap();
    assert_eq!(rig.handle.switch(), SwitchPosition::Local);
    let end = rig.end(id).await;
    assert_eq!((end.state, end.code), (Rejected, Some(Code::LocalMode)), "{}", end.detail);
    assert_eq!(rig.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interlock_that_falls_while_the_device_is_busy_stops_the_write() {
    let rig = Rig::new();
    rig.plc.busy_ms.store(500, Ordering::SeqCst);
    let request = CommandRequest {
        point: "pump".to_owned(),
        value: true.into(),
        ttl_ms: 10_000,
        reason: String::new(),
    };
    let requester = Requester { name: "uid:0".to_owned(), origin: Origin::Local };
    let id = rig.handle.submit(twin(), request, requester, "k".to_owned()).await.unwrap().id;
    rig.until(|| rig.handle.get(id).filter(|u| u.state == Executing)).await;
    rig.show(DOOR, true);
    let end = rig.end(id).await;
    assert_eq!((end.state, end.code), (Rejected, Some(Code::Interlocked)), "{}", end.detail);
    assert_eq!(rig.writes(), 0);
}

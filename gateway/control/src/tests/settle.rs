//! Outcomes that nobody knows: never retried, settled by reading back, also across a crash.

use std::sync::atomic::Ordering;

use common::CommandState::*;
use common::Value;
use common::names::Code;
use gateway_core::{Orders, WriteError};

use super::rig::*;
use crate::*;

fn unsure() -> WriteError {
    WriteError::Unsure { detail: "no answer".into() }
}

#[tokio::test(start_paused = true)]
async fn an_unsure_write_is_unknown_and_settled_when_the_device_returns() {
    for (took, end_state) in [(true, Succeeded), (false, Failed)] {
        let rig = Rig::new();
        rig.plc.registers.lock().unwrap().insert(COUNT, Value::I64(0));
        rig.plc.takes_anyway.store(took, Ordering::SeqCst);
        rig.plc.dead.store(true, Ordering::SeqCst);
        rig.plc.script.lock().unwrap().push_back(unsure());
        let end = rig.local("k", "count", 7i64).await.unwrap();
        assert_eq!((end.state, end.code), (Unknown, Some(Code::DeviceTimeout)));
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(rig.handle.get(end.id).unwrap().state, Unknown, "the device is still away");
        rig.plc.dead.store(false, Ordering::SeqCst);
        let settled = rig.until(|| rig.handle.get(end.id).filter(|u| u.state != Unknown)).await;
        assert_eq!(settled.state, end_state);
        if took {
            assert_eq!(settled.detail, "settled by read-back");
        }
        assert_eq!(rig.writes(), 1, "never written again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_write_to_the_point_leaves_the_earlier_unknown() {
    let rig = Rig::new();
    rig.plc.dead.store(true, Ordering::SeqCst);
    rig.plc.script.lock().unwrap().push_back(unsure());
    let first = rig.local("1", "count", 7i64).await.unwrap();
    assert_eq!(rig.local("2", "count", 8i64).await.unwrap().state, Succeeded);
    rig.plc.dead.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.handle.get(first.id).unwrap().state, Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_intent_and_result_is_unknown_then_settled() {
    for took in [true, false] {
        let rig = Rig::new();
        rig.remote().await;
        rig.plc.slow_ms.store(1000, Ordering::SeqCst);
        let (order, waits) = (rig.order("count", 7i64), rig.order("count", 9i64));
        rig.handle.command(order.clone());
        rig.handle.command(waits.clone());
        rig.until(|| (rig.writes() == 1).then_some(())).await;
        let (log, plc) = rig.kill().await;
        assert_eq!(log.states(order.id), [Sent, Executing]);
        plc.registers.lock().unwrap().insert(COUNT, Value::I64(if took { 7 } else { 0 }));
        plc.slow_ms.store(0, Ordering::SeqCst);
        let rig = Rig::on(log, plc, Options::default());
        let want = if took { Succeeded } else { Failed };
        rig.until(|| rig.handle.get(order.id).filter(|u| u.state == want)).await;
        assert_eq!(rig.log.states(order.id), [Sent, Executing, Unknown, want]);
        assert_eq!(rig.handle.get(waits.id).unwrap().code, Some(Code::Interrupted));
        assert_eq!(rig.handle.get(waits.id).unwrap().state, Rejected);
        assert_eq!(rig.writes(), 1);
        // The cloud asks again: the result is told, nothing is done.
        rig.handle.command(order.clone());
        assert_eq!(rig.log.states(order.id).last(), Some(&want));
        assert_eq!(rig.writes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_unknown_is_settled_before_the_next_write_hides_it() {
    let rig = Rig::new();
    rig.remote().await;
    rig.plc.slow_ms.store(1000, Ordering::SeqCst);
    let order = rig.order("count", 7i64);
    rig.handle.command(order.clone());
    rig.until(|| (rig.writes() == 1).then_some(())).await;
    let (log, plc) = rig.kill().await;
    plc.registers.lock().unwrap().insert(COUNT, Value::I64(7));
    plc.slow_ms.store(0, Ordering::SeqCst);
    let rig = Rig::on(log, plc, Options::default());
    // Sooner than it would be looked at by itself.
    assert_eq!(rig.local("next", "count", 8i64).await.unwrap().state, Succeeded);
    assert_eq!(rig.log.states(order.id), [Sent, Executing, Unknown, Succeeded]);
    assert_eq!(rig.plc.registers.lock().unwrap()[&COUNT], Value::I64(8));
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_never_answers_does_not_hold_its_device_for_ever() {
    let rig = Rig::new();
    rig.plc.slow_ms.store(3_600_000, Ordering::SeqCst);
    assert_eq!(rig.local("1", "count", 7i64).await.unwrap().state, Unknown);
    rig.plc.slow_ms.store(0, Ordering::SeqCst);
    assert_eq!(rig.local("2", "count", 8i64).await.unwrap().state, Succeeded);
}

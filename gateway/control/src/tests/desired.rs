//! Desired values: written once, only while nothing speaks against it.

use common::Value;
use common::command::DesiredState::*;
use common::names::{Code, action};
use gateway_core::{Orders, WriteError};

use super::rig::*;
use crate::*;

#[tokio::test(start_paused = true)]
async fn a_wish_is_applied_once_and_told_again_on_reconnect() {
    let rig = Rig::new();
    rig.remote().await;
    let wish = rig.wish(3, "setpoint", 80.0);
    let told = rig.want(wish.clone()).await;
    assert_eq!((told.state, told.version), (Applied, 3), "{told:?}");
    // The cloud gives it again: told again, not written again.
    assert_eq!(rig.want(wish.clone()).await.state, Applied);
    assert_eq!(rig.writes(), 1);
    // Also by the next process, whose switch stands on local.
    let (log, plc) = rig.kill().await;
    let rig = Rig::on(log, plc, Options::default());
    assert_eq!(rig.want(wish).await.state, Applied);
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_wish_diverges_and_waits_for_a_new_version() {
    let rig = Rig::new();
    let wish = rig.wish(1, "setpoint", 80.0);
    let told = rig.want(wish.clone()).await;
    assert_eq!((told.state, told.code), (Diverged, Some(Code::LocalMode)));
    rig.remote().await;
    assert_eq!(rig.want(wish).await.state, Diverged, "the same version is not tried again");
    assert_eq!(rig.want(rig.wish(2, "setpoint", 80.0)).await.state, Applied);
    // Limits and interlocks hold for wishes as well.
    assert_eq!(rig.want(rig.wish(3, "setpoint", 999.0)).await.code, Some(Code::OutOfLimits));
    rig.show(DOOR, true);
    assert_eq!(rig.want(rig.wish(4, "pump", true)).await.code, Some(Code::Interlocked));
    assert_eq!(rig.want(rig.wish(5, "nope", true)).await.code, Some(Code::UnknownPoint));
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_point_that_somebody_changed_since_is_left_alone() {
    let rig = Rig::new();
    rig.remote().await;
    // A command after the wish.
    let wish = rig.wish(1, "setpoint", 80.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.cloud("setpoint", 70.0).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut wish = wish;
    wish.deadline_session_us += 100_000_000;
    assert_eq!(rig.want(wish).await.code, Some(Code::ChangedSince));
    // Somebody at the PLC's own panel after the wish.
    rig.show(SETPOINT, 70.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let wish = rig.wish(2, "setpoint", 80.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.show(SETPOINT, 60.0);
    assert_eq!(rig.want(wish).await.code, Some(Code::ChangedSince));
    // A wish after the change is done.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.want(rig.wish(3, "setpoint", 80.0)).await.state, Applied);
}

#[tokio::test(start_paused = true)]
async fn an_applied_wish_whose_point_is_changed_diverges_and_is_not_written_again() {
    let rig = Rig::new();
    rig.remote().await;
    let wish = rig.wish(1, "setpoint", 80.0);
    assert_eq!(rig.want(wish.clone()).await.state, Applied);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.show(SETPOINT, 80.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log.desired().len(), 1, "the point shows what was wanted");
    // A read that failed says nothing.
    rig.show_as(SETPOINT, 60.0, common::Quality::BAD);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log.desired().len(), 1);
    // Somebody at the PLC's own panel.
    rig.show(SETPOINT, 60.0);
    let told = rig.until(|| rig.log.desired().get(1).cloned()).await;
    assert_eq!((told.state, told.code), (Diverged, Some(Code::ChangedSince)), "{told:?}");
    assert!(rig.log.audits().iter().any(|e| e.action == action::DESIRED_DIVERGED));
    // Told once, kept over a restart, never written again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.log.desired().len(), 2);
    let (log, plc) = rig.kill().await;
    let rig = Rig::on(log, plc, Options::default());
    rig.remote().await;
    assert_eq!(rig.want(wish).await.state, Diverged);
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn people_own_a_point_before_wishes_do() {
    let rig = Rig::new();
    rig.remote().await;
    rig.cloud("setpoint", 70.0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.want(rig.wish(1, "setpoint", 80.0)).await.code, Some(Code::Owned));
}

#[tokio::test(start_paused = true)]
async fn a_wish_expires_and_a_withdrawn_one_is_forgotten() {
    let rig = Rig::new();
    rig.remote().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut wish = rig.wish(1, "setpoint", 80.0);
    wish.deadline_session_us = rig.clock.mono_us() - 1;
    assert_eq!(rig.want(wish).await.state, Expired);
    // Withdrawn before its turn comes.
    rig.plc.slow_ms.store(1000, std::sync::atomic::Ordering::SeqCst);
    let busy = rig.order("count", 1i64);
    rig.handle.command(busy.clone());
    rig.until(|| (rig.writes() == 1).then_some(())).await;
    let wish = rig.wish(2, "setpoint", 80.0);
    let mut withdrawal = rig.wish(3, "setpoint", 0.0);
    withdrawal.value = None;
    rig.handle.desired(vec![wish.clone(), withdrawal, wish]);
    rig.end(busy.id).await;
    assert_eq!(rig.cloud("count", 2i64).await.state, common::CommandState::Succeeded);
    let written: Vec<_> = rig.plc.writes.lock().unwrap().iter().map(|w| w.0).collect();
    assert_eq!(written, [COUNT, COUNT]);
    assert!(rig.log.audits().iter().any(|e| e.action == action::DESIRED_WITHDRAWN));
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_wish_is_written_leaves_it_diverged() {
    let rig = Rig::new();
    rig.remote().await;
    rig.plc.slow_ms.store(1000, std::sync::atomic::Ordering::SeqCst);
    let wish = rig.wish(1, "setpoint", 80.0);
    rig.handle.desired(vec![wish.clone()]);
    rig.until(|| (rig.writes() == 1).then_some(())).await;
    let (log, plc) = rig.kill().await;
    let rig = Rig::on(log, plc, Options::default());
    rig.remote().await;
    let told = rig.want(wish).await;
    assert_eq!((told.state, told.code), (Diverged, Some(Code::Interrupted)));
    assert_eq!(rig.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unsure_write_of_a_wish_is_settled_by_reading_back() {
    let rig = Rig::new();
    rig.remote().await;
    rig.plc.takes_anyway.store(true, std::sync::atomic::Ordering::SeqCst);
    rig.plc.script.lock().unwrap().push_back(WriteError::Unsure { detail: "no answer".into() });
    let told = rig.want(rig.wish(1, "setpoint", 80.0)).await;
    assert_eq!((told.state, told.code), (Diverged, Some(Code::DeviceTimeout)));
    let settled = rig.until(|| rig.log.desired().get(1).cloned()).await;
    assert_eq!((settled.state, settled.detail.as_str()), (Applied, "settled by read-back"));
    assert_eq!(rig.plc.registers.lock().unwrap().get(&SETPOINT), Some(&Value::U64(800)));
    assert_eq!(rig.writes(), 1);
}

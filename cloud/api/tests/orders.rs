//! Commands and desired values through HTTP: what is refused at once, what is stored, what is handed to
//! the gateway, and how a client learns of the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cloud_core::storage::CommandStorage as _;
use common::CommandState;
use common::api::Role;
use common::command::{CommandUpdate, DesiredState, DesiredUpdate};
use common::names::Code;
use serde_json::{Value as Json, json};
use support::{Answer, NOW_US, OVEN, Rig};

fn body(value: impl Into<Json>) -> Json {
    json!({"point": "setpoint", "value": value.into(), "ttl_ms": 5_000, "reason": "test"})
}

async fn send(rig: &Rig, key: &str, body: &Json) -> Answer {
    let token = rig.token("op", &[("plant/coating", Role::Operator)]);
    rig.ask("POST", "/api/v1/twins/line1%2Foven/commands")
        .bearer(&token)
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await
}

/// What the gateway tells, as the service hands it on: storage first.
async fn tell(rig: &Rig, id: &str, state: CommandState) {
    use cloud_core::storage::CommandStorage as _;
    let view = rig.storage.command(id.parse().unwrap()).await.unwrap();
    let update = CommandUpdate {
        id: view.id,
        twin: view.twin,
        point: view.point,
        value: view.value,
        requester: view.requester,
        reason: view.reason,
        state,
        code: None,
        detail: String::new(),
        read_back: None,
        at_us: NOW_US,
    };
    rig.storage.update_command(&update).await.unwrap();
    rig.commands.on_update(&update).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_is_stored_handed_over_and_answered_with_its_place() {
    let rig = Rig::new();
    let answer = send(&rig, "k1", &body(100)).await.ok(202);
    let view = answer.json();
    assert_eq!(view["state"], "sent");
    assert_eq!(view["value"], 100.0);
    assert_eq!(view["requester"], json!({"name": "op", "origin": "cloud"}));
    let id = view["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"].to_str().unwrap(), format!("/api/v1/commands/{id}"));
    let orders = rig.gateways.orders.lock().unwrap().clone();
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].deadline_session_us, 5_000_000 + 5_000_000);
    assert_eq!(rig.storage.actions(), ["command.accepted"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_gives_the_same_command_and_sends_once() {
    let rig = Rig::new();
    let first = send(&rig, "k1", &body(100)).await.ok(202).json();
    // Also when by now it would be refused.
    rig.gateways.sessions.lock().unwrap().clear();
    let again = send(&rig, "k1", &body(100)).await.ok(202).json();
    assert_eq!(first["id"], again["id"]);
    assert_eq!(send(&rig, "k1", &body(101)).await.problem(409), "idempotency_conflict");
    assert_eq!(rig.gateways.orders.lock().unwrap().len(), 1);
    // Another's key of the same name is another key.
    rig.gateways.sessions.lock().unwrap().insert("gw1".into(), 9_000_000);
    let other = rig.token("op2", &[("", Role::Operator)]);
    let answer = rig
        .ask("POST", &format!("/api/v1/twins/{OVEN}/commands"))
        .bearer(&other)
        .header("idempotency-key", "k1")
        .json(&body(100))
        .send()
        .await
        .ok(202);
    assert_ne!(answer.json()["id"], first["id"]);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_with_one_key_make_one_command() {
    let rig = Rig::new();
    let request = body(100);
    let all = futures_util::future::join_all((0..20).map(|_| send(&rig, "k1", &request))).await;
    let ids: std::collections::HashSet<_> =
        all.into_iter().map(|a| a.ok(202).json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(rig.gateways.orders.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_at_once_and_put_on_record() {
    let rig = Rig::new();
    for (request, status, code) in [
        (json!({"point": "nothing", "value": 1}), 404, "unknown_point"),
        (json!({"point": "temperature", "value": 1}), 422, "not_writable"),
        (json!({"point": "setpoint", "value": "hot"}), 400, "type_mismatch"),
        (json!({"point": "mode", "value": 1.5}), 400, "type_mismatch"),
        (json!({"point": "setpoint", "value": 181}), 422, "out_of_limits"),
        (json!({"point": "setpoint", "value": {"f64": "NaN"}}), 422, "out_of_limits"),
    ] {
        assert_eq!(send(&rig, "k", &request).await.problem(status), code, "{request}");
        let entry = rig.storage.entries().pop().unwrap();
        assert_eq!(entry.action, "command.rejected");
        assert_eq!(entry.code.unwrap().as_str(), code);
    }
    rig.gateways.sessions.lock().unwrap().clear();
    assert_eq!(send(&rig, "k", &body(100)).await.problem(409), "gateway_offline");
    assert_eq!(rig.storage.actions().len(), 7);
    assert!(rig.gateways.orders.lock().unwrap().is_empty());
    let token = rig.token("v", &[("", Role::Viewer)]);
    let list = rig.ask("GET", "/api/v1/commands").bearer(&token).send().await.ok(200).json();
    assert_eq!(list["items"], json!([]));
    // Refused is not stored: the key is free for the right request.
    rig.gateways.sessions.lock().unwrap().insert("gw1".into(), 1);
    send(&rig, "k", &body(100)).await.ok(202);
}

#[tokio::test(start_paused = true)]
async fn a_command_needs_a_key_and_a_sane_request() {
    let rig = Rig::new();
    let token = rig.token("op", &[("", Role::Operator)]);
    let ask = || rig.ask("POST", &format!("/api/v1/twins/{OVEN}/commands")).bearer(&token);
    assert_eq!(ask().json(&body(100)).send().await.problem(428), "precondition_required");
    let long = "k".repeat(201);
    for key in ["", "a b", &long] {
        let answer = ask().header("idempotency-key", key).json(&body(100)).send().await;
        assert_eq!(answer.problem(400), "invalid_request", "{key}");
    }
    for bad in [
        json!({"point": "setpoint", "value": 100, "ttl_ms": 0}),
        json!({"point": "setpoint", "value": 100, "ttl_ms": 600_001}),
        json!({"point": "setpoint", "value": 100, "reason": "x".repeat(501)}),
        json!({"point": "setpoint", "value": 100, "ttl": 5}),
        json!({"point": "setpoint", "value": null}),
        json!({"point": "setpoint"}),
        json!([]),
    ] {
        let answer = ask().header("idempotency-key", "k").json(&bad).send().await;
        assert_eq!(answer.problem(400), "invalid_request", "{bad}");
    }
    assert!(rig.gateways.orders.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_goes_away_in_between_means_rejected_and_nothing_written() {
    let rig = Rig::new();
    rig.gateways.breaks.store(true, Ordering::SeqCst);
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    assert_eq!((view["state"].as_str(), view["code"].as_str()), (Some("rejected"), Some("gateway_offline")));
    assert_eq!(rig.storage.actions(), ["command.accepted", "command.rejected"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_answers_when_the_command_ends_or_the_time_is_up() {
    let rig = Rig::new();
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    let id = view["id"].as_str().unwrap().to_owned();
    let token = rig.token("v", &[("plant", Role::Viewer)]);
    let poll = |ms: u32| rig.ask("GET", &format!("/api/v1/commands/{id}?wait_ms={ms}")).bearer(&token).send();
    let began = rig.clock.mono_us();
    assert_eq!(poll(2_000).await.ok(200).json()["state"], "sent");
    assert_eq!(rig.clock.mono_us() - began, 2_000_000);
    let (answer, ()) = tokio::join!(poll(30_000), async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        tell(&rig, &id, CommandState::Executing).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        tell(&rig, &id, CommandState::Succeeded).await;
    });
    assert_eq!(answer.ok(200).json()["state"], "succeeded");
    assert_eq!(rig.clock.mono_us() - began, 2_100_000);
    assert_eq!(poll(30_000).await.ok(200).json()["state"], "succeeded");
    assert_eq!(rig.clock.mono_us() - began, 2_100_000);
    assert_eq!(poll(30_001).await.problem(400), "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_the_service_stops() {
    let rig = Rig::new();
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    let path = format!("/api/v1/commands/{}?wait_ms=30000", view["id"].as_str().unwrap());
    let token = rig.token("v", &[("", Role::Viewer)]);
    let (answer, ()) = tokio::join!(rig.ask("GET", &path).bearer(&token).send(), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        rig.drain.start();
    });
    assert_eq!(answer.ok(200).json()["state"], "sent");
    assert!(rig.clock.mono_us() < 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_command_without_result_expires_and_a_late_result_is_kept() {
    let rig = Rig::new();
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    let id = view["id"].as_str().unwrap().to_owned();
    let token = rig.token("v", &[("", Role::Viewer)]);
    let get =
        async || rig.ask("GET", &format!("/api/v1/commands/{id}")).bearer(&token).send().await.ok(200).json();
    tokio::time::advance(Duration::from_secs(6)).await;
    rig.commands.expire().await.unwrap();
    assert_eq!(get().await["state"], "sent", "the gateway's own result may still come");
    tokio::time::advance(Duration::from_secs(2)).await;
    rig.commands.expire().await.unwrap();
    let view = get().await;
    assert_eq!((view["state"].as_str(), view["code"].as_str()), (Some("expired"), Some("expired")));
    tell(&rig, &id, CommandState::Succeeded).await;
    assert_eq!(get().await["state"], "succeeded");
    assert_eq!(rig.storage.actions(), ["command.accepted", "command.expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_result_never_comes_is_unknown() {
    let rig = Rig::new();
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    let id = view["id"].as_str().unwrap().to_owned();
    tell(&rig, &id, CommandState::Executing).await;
    tokio::time::advance(Duration::from_secs(70)).await;
    rig.commands.expire().await.unwrap();
    let entry = rig.storage.entries().pop().unwrap();
    assert_eq!((entry.action.as_str(), entry.code), ("command.unknown", Some(Code::Interrupted)));
}

async fn patch(rig: &Rig, if_match: Option<&str>, body: &Json) -> Answer {
    let token = rig.token("op", &[("plant/coating", Role::Operator)]);
    let ask = rig.ask("PATCH", &format!("/api/v1/twins/{OVEN}/desired")).bearer(&token);
    let ask = match if_match {
        Some(tag) => ask.header("if-match", tag),
        None => ask,
    };
    ask.header("content-type", "application/merge-patch+json").raw(body.to_string()).send().await
}

#[tokio::test(start_paused = true)]
async fn a_desired_value_is_set_under_its_version_and_told_to_the_gateway() {
    let rig = Rig::new();
    let wish = json!({"setpoint": {"value": 120, "ttl_ms": 60_000, "reason": "recipe"}});
    assert_eq!(patch(&rig, None, &wish).await.problem(428), "precondition_required");
    assert_eq!(patch(&rig, Some("\"1\""), &wish).await.problem(412), "precondition_failed");
    assert_eq!(patch(&rig, Some("W/\"0\""), &wish).await.problem(412), "precondition_failed");
    let answer = patch(&rig, Some("\"0\""), &wish).await.ok(200);
    assert_eq!(answer.headers["etag"], "\"1\"");
    let point = &answer.json()["points"][1];
    assert_eq!(point["desired"]["state"], "pending");
    assert_eq!(point["desired"]["value"], 120.0);
    let told = rig.gateways.desired.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].deadline_session_us, 5_000_000 + 60_000_000);
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let late = patch(&rig, Some("\"1\""), &json!({})).await.ok(200);
    assert_eq!(late.json()["points"][1]["desired"]["state"], "expired");
    assert_eq!(patch(&rig, Some("\"0\""), &wish).await.problem(412), "precondition_failed");
    let answer = patch(&rig, Some("\"9\", \"1\""), &json!({"setpoint": null})).await.ok(200);
    assert_eq!(answer.headers["etag"], "\"2\"");
    assert!(answer.json()["points"][1].get("desired").is_none());
    assert_eq!(rig.gateways.desired.lock().unwrap().last().unwrap().value, None);
    assert_eq!(rig.storage.actions(), ["desired.set", "desired.withdrawn"]);
}

#[tokio::test(start_paused = true)]
async fn a_desired_value_must_be_possible() {
    let rig = Rig::new();
    let week = 7 * 24 * 3_600_000u64;
    for (wish, status, code) in [
        (json!({"nothing": {"value": 1, "ttl_ms": 1}}), 404, "unknown_point"),
        (json!({"nothing": null}), 404, "unknown_point"),
        (json!({"temperature": {"value": 1, "ttl_ms": 1}}), 422, "not_writable"),
        (json!({"setpoint": {"value": true, "ttl_ms": 1}}), 422, "out_of_limits"),
        (json!({"setpoint": {"value": "x", "ttl_ms": 1}}), 400, "type_mismatch"),
        (json!({"setpoint": {"value": 500, "ttl_ms": 1}}), 422, "out_of_limits"),
        (json!({"setpoint": {"value": 100, "ttl_ms": 0}}), 400, "invalid_request"),
        (json!({"setpoint": {"value": 100, "ttl_ms": week + 1}}), 400, "invalid_request"),
        (json!({"setpoint": {"value": 100}}), 400, "invalid_request"),
        (json!({"setpoint": 100}), 400, "invalid_request"),
        (
            json!({"mode": {"value": 1, "ttl_ms": 1}, "setpoint": {"value": 500, "ttl_ms": 1}}),
            422,
            "out_of_limits",
        ),
    ] {
        assert_eq!(patch(&rig, Some("\"0\""), &wish).await.problem(status), code, "{wish}");
    }
    // None of it changed anything.
    let answer = patch(&rig, Some("*"), &json!({"setpoint": {"value": 100, "ttl_ms": week}})).await.ok(200);
    assert_eq!(answer.headers["etag"], "\"1\"");
    let answer = patch(&rig, Some("\"1\""), &json!({})).await.ok(200);
    assert_eq!(answer.headers["etag"], "\"1\"");
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_of_one_version_one_wins() {
    let rig = Rig::new();
    let wish = |value: i64| json!({"setpoint": {"value": value, "ttl_ms": 60_000}});
    let (a, b) = (wish(100), wish(110));
    let (a, b) = tokio::join!(patch(&rig, Some("\"0\""), &a), patch(&rig, Some("\"0\""), &b));
    let mut status = [a.status.as_u16(), b.status.as_u16()];
    status.sort_unstable();
    assert_eq!(status, [200, 412]);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_told_what_still_holds_and_nothing_else() {
    let rig = Rig::new();
    rig.gateways.sessions.lock().unwrap().clear();
    let wish = json!({
        "setpoint": {"value": 120, "ttl_ms": 60_000},
        "mode": {"value": 2, "ttl_ms": 1_000}
    });
    patch(&rig, Some("\"0\""), &wish).await.ok(200);
    assert!(rig.gateways.desired.lock().unwrap().is_empty());
    tokio::time::advance(Duration::from_secs(20)).await;
    rig.commands.expire().await.unwrap();
    rig.gateways.sessions.lock().unwrap().insert("gw1".into(), 1_000_000);
    let key = cloud_core::GatewayKey { tenant: common::TenantId::default(), gateway: "gw1".parse().unwrap() };
    rig.commands.on_session(&key).await;
    let told = rig.gateways.desired.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].point.as_str(), told[0].deadline_session_us), ("setpoint", 41_000_000));
    let state =
        |name: &str| rig.world.read().twins[&OVEN].point(name).unwrap().desired.clone().unwrap().state;
    assert_eq!(state("mode"), DesiredState::Expired);
    let update = DesiredUpdate {
        twin: OVEN,
        version: 1,
        point: "setpoint".into(),
        state: DesiredState::Applied,
        code: None,
        detail: String::new(),
        at_us: NOW_US,
    };
    // Words that storage did not take (of a gateway that does not feed the twin) change nothing.
    rig.commands.on_desired(&update).await.unwrap();
    assert_eq!(state("setpoint"), DesiredState::Pending);
    rig.storage.update_desired(&update).await.unwrap();
    rig.commands.on_desired(&update).await.unwrap();
    assert_eq!(state("setpoint"), DesiredState::Applied);
    // A gateway's word stands against the cloud's own.
    tokio::time::advance(Duration::from_secs(120)).await;
    rig.commands.expire().await.unwrap();
    assert_eq!(state("setpoint"), DesiredState::Applied);
    rig.gateways.desired.lock().unwrap().clear();
    rig.commands.on_session(&key).await;
    assert!(rig.gateways.desired.lock().unwrap().is_empty(), "what is applied is not written again");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_lets_nothing_live_longer_than_it_was_given() {
    let rig = Rig::new();
    let view = send(&rig, "k1", &body(100)).await.ok(202).json();
    rig.gateways.sessions.lock().unwrap().clear();
    let wish = json!({"setpoint": {"value": 120, "ttl_ms": 60_000}});
    patch(&rig, Some("\"0\""), &wish).await.ok(200);
    rig.commands.expire().await.unwrap();
    rig.clock.jump(-200 * 86_400_000_000);
    tokio::time::advance(Duration::from_secs(20)).await;
    rig.gateways.sessions.lock().unwrap().insert("gw1".into(), 1_000_000);
    let key = cloud_core::GatewayKey { tenant: common::TenantId::default(), gateway: "gw1".parse().unwrap() };
    rig.commands.on_session(&key).await;
    assert_eq!(rig.gateways.desired.lock().unwrap().pop().unwrap().deadline_session_us, 41_000_000);
    rig.commands.expire().await.unwrap();
    let token = rig.token("v", &[("", Role::Viewer)]);
    let path = format!("/api/v1/commands/{}", view["id"].as_str().unwrap());
    let view = rig.ask("GET", &path).bearer(&token).send().await.ok(200).json();
    assert_eq!((view["state"].as_str(), view["code"].as_str()), (Some("expired"), Some("expired")));
    tokio::time::advance(Duration::from_secs(45)).await;
    rig.commands.on_session(&key).await;
    assert!(rig.gateways.desired.lock().unwrap().is_empty(), "what is over is not written");
    rig.commands.expire().await.unwrap();
    let state = rig.world.read().twins[&OVEN].point("setpoint").unwrap().desired.clone().unwrap().state;
    assert_eq!(state, common::command::DesiredState::Expired);
}

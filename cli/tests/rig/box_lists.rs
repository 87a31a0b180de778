//! What the server of the tests knows of alarms, of the broker's clients and of OPC UA certificates.

use axum::extract::{Path as Part, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use common::alarm::{AlarmChange, AlarmId, AlarmKind, AlarmState, AlarmView, Priority};
use common::api::*;
use common::names::Code;
use common::{Quality, Value};
use serde_json::json;

use super::{HashMap, NOW_US, Shared, id, lock};

/// An alarm of the oven; `raised_s` seconds after `NOW_US`, if ever.
fn alarm(point: &str, name: &str, state: AlarmState, raised_s: Option<i64>) -> AlarmView {
    AlarmView {
        id: AlarmId::derived(id(1), point, name),
        twin: id(1),
        asset: "plant/coating/line1/oven".into(),
        point: point.into(),
        name: name.into(),
        kind: AlarmKind::Hi,
        priority: Priority::High,
        text: "too hot\x1b[2J".into(),
        group: String::new(),
        state,
        change: AlarmChange::Raised,
        raised_us: raised_s.map(|s| NOW_US + s * 1_000_000),
        at_us: NOW_US,
        shelved_until_us: None,
        shelved_once: false,
        value: Some(Value::F64(201.5)),
        quality: Quality::GOOD,
        limit: Some(200.0),
        unit: "Cel".into(),
        actor: "system".into(),
        comment: String::new(),
    }
}

pub(super) fn alarms() -> Vec<AlarmView> {
    vec![
        alarm("temp", "hi", AlarmState::Active, Some(5)),
        alarm("temp", "hihi", AlarmState::Normal, None),
        alarm("door", "open", AlarmState::Returned, Some(1)),
        alarm("door", "stuck", AlarmState::Active, Some(2)),
    ]
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/alarms", get(list))
        .route("/alarms/{id}/{what}", post(act))
        .route("/broker", get(broker))
        .route("/opcua/certificates", get(certificates))
        .route("/opcua/{of}/{fingerprint}/{verb}", post(judge))
}

/// Two alarms a page, so that paging is walked.
async fn list(State(w): State<Shared>, Query(q): Query<HashMap<String, String>>) -> Response {
    let at: usize = q.get("cursor").map_or(0, |c| c.parse().unwrap());
    let all = q["all"] == "true";
    let shown = |a: &&AlarmView| all || a.state != AlarmState::Normal || a.shelved_until_us.is_some();
    let alarms: Vec<_> = lock(&w).alarms.iter().filter(shown).cloned().collect();
    let next_cursor = (at + 2 < alarms.len()).then(|| (at + 2).to_string());
    Json(Page { items: alarms.into_iter().skip(at).take(2).collect(), next_cursor }).into_response()
}

async fn act(State(w): State<Shared>, Part((id, what)): Part<(AlarmId, String)>, body: String) -> Response {
    let mut w = lock(&w);
    // The cloud only asks the box.
    let status = if w.is_box { StatusCode::OK } else { StatusCode::ACCEPTED };
    let Some(alarm) = w.alarms.iter_mut().find(|a| a.id == id) else {
        return Problem::new(Code::NotFound, "no such alarm").into_response();
    };
    match what.as_str() {
        "acknowledge" => {
            let asked: AcknowledgeRequest = serde_json::from_str(&body).unwrap();
            if Some(asked.raised_us) != alarm.raised_us {
                return Problem::new(Code::Conflict, "it was raised again since").into_response();
            }
            (alarm.state, alarm.comment) = (AlarmState::Acknowledged, asked.comment);
        }
        "shelve" => {
            let asked: ShelveRequest = serde_json::from_str(&body).unwrap();
            let until_us = NOW_US + i64::try_from(asked.duration_ms).unwrap() * 1000;
            (alarm.shelved_until_us, alarm.comment) = (Some(until_us), asked.comment);
        }
        "unshelve" => {
            let _: UnshelveRequest = serde_json::from_str(&body).unwrap();
            alarm.shelved_until_us = None;
        }
        other => panic!("{other}"),
    }
    "ann".clone_into(&mut alarm.actor);
    (status, Json(alarm.clone())).into_response()
}

fn certificate(folder: &str, subject: &str) -> OpcuaCertificate {
    OpcuaCertificate {
        fingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        thumbprint: "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3".into(),
        subject: subject.into(),
        issuer: subject.into(),
        application: None,
        folder: folder.into(),
        from_us: NOW_US,
        until_us: NOW_US,
    }
}

async fn certificates() -> Response {
    let items = vec![
        certificate("own", "CN=box"),
        certificate("trusted", "CN=scada"),
        certificate("users/rejected", "CN=ann"),
    ];
    Json(Page { items, next_cursor: None }).into_response()
}

async fn judge(Part((of, _, verb)): Part<(String, String, String)>) -> Response {
    let place = if of == "users" { "users/" } else { "" };
    let folder = if verb == "trust" { "trusted" } else { "rejected" };
    Json(certificate(&format!("{place}{folder}"), "CN=ann")).into_response()
}

/// As a box tells it; that the real one tells the same is shown with its process.
async fn broker(State(w): State<Shared>) -> Response {
    if !lock(&w).is_box {
        return Problem::new(Code::NotFound, "no such route").into_response();
    }
    let client = |name: &str, peer: Option<&str>| {
        json!({
            "client": name, "user": peer.map(|_| "ann"), "version": "5", "peer": peer,
            "listener": peer.map(|_| "mqtt 127.0.0.1:1883"), "since_us": peer.map(|_| NOW_US),
            "session_expiry_s": 3600, "subscriptions": 2, "filters": ["a/#", "b"], "queued": 7,
            "queued_bytes": 2048, "in_flight": 1, "received": 11, "received_bytes": 100, "sent": 13,
            "sent_bytes": 200, "dropped": 17, "denied": 19,
        })
    };
    Json(json!({
        "listeners": ["127.0.0.1:1883"], "connected": 1, "refused": 3, "retained": 4, "retained_bytes": 4096,
        "clients": [client("fan\u{1b}[2J", Some("10.0.0.7:5000")), client("night", None)],
    }))
    .into_response()
}

//! `alarms` at a box and through a cloud, and `mqtt clients`: what is asked, printed and exited with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use common::alarm::AlarmView;
use rig::{NOW_US, Rig};
use serde_json::{Value, json};

/// The last request that was no look at the list: its path below the alarm, and its body.
fn asked(rig: &Rig) -> (String, Value) {
    let world = rig.world();
    let seen = world.seen.iter().rev().find(|s| s.method == "POST").unwrap();
    let what = seen.uri.rsplit('/').next().unwrap().to_owned();
    (what, serde_json::from_slice(&seen.body).unwrap())
}

#[tokio::test]
async fn open_alarms_are_listed_and_all_of_them_if_asked_for() {
    let rig = Rig::gateway().await;
    let open = rig.run(&["alarms", "ls"]).await.code(0);
    let open = open.has(&[
        "PRIORITY",
        "high",
        "active",
        "plant/coating/line1/oven/temp",
        "201.5",
        "200",
        "returned",
    ]);
    assert!(!open.out.contains("hihi"), "normal ones are left out: {open:?}");
    assert!(!open.out.contains('\x1b'), "what a box says moves no cursor");
    rig.run(&["alarms", "ls", "--all"]).await.code(0).has(&["hihi", "normal"]);
    let json = rig.run(&["--output", "json", "alarms", "ls", "--all"]).await.code(0).json();
    let all: Vec<AlarmView> = serde_json::from_value(json).unwrap();
    assert_eq!(all, rig.world().alarms, "over all pages, whole");
    let one = rig.run(&["--output", "json", "alarms", "ls", "--limit", "1"]).await.code(0).json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    rig.world().alarms.clear();
    let none = rig.run(&["alarms", "ls"]).await.code(0);
    assert!(none.err.contains("no alarms"), "{none:?}");
}

#[tokio::test]
async fn an_alarm_is_acknowledged_by_its_place_or_id_for_the_occurrence_that_was_seen() {
    let rig = Rig::gateway().await;
    // `oven/temp` alone means the open one of its two.
    let done = rig.run(&["alarms", "ack", "oven/temp", "--comment", "seen"]).await.code(0);
    let done = done.has(&["acknowledged", "ann"]);
    assert!(!done.err.contains("asked at the gateway"), "{done:?}");
    assert_eq!(
        asked(&rig),
        ("acknowledge".into(), json!({ "raised_us": NOW_US + 5_000_000, "comment": "seen" }))
    );
    let id = rig.world().alarms[2].id.to_string();
    rig.run(&["alarms", "ack", &id]).await.code(0);
    assert_eq!(asked(&rig).1, json!({ "raised_us": NOW_US + 1_000_000, "comment": "" }));

    let unclear = rig.run(&["alarms", "ack", "line1/oven/door"]).await.code(2);
    assert!(unclear.err.contains("oven/door/open") && unclear.err.contains("oven/door/stuck"), "{unclear:?}");
    let nothing = rig.run(&["alarms", "ack", "oven/none"]).await;
    assert!(nothing.code != 0 && nothing.err.contains("alarms ls --all"), "{nothing:?}");
    let never = rig.run(&["alarms", "ack", "temp/hihi"]).await;
    assert!(never.code != 0 && never.err.contains("never raised"), "{never:?}");
    assert_eq!(rig.world().seen.iter().filter(|s| s.method == "POST").count(), 2, "nothing else was asked");
}

#[tokio::test]
async fn an_alarm_is_shelved_for_a_time_and_taken_back_also_through_the_cloud() {
    let rig = Rig::cloud().await;
    let done =
        rig.run(&["alarms", "shelve", "temp/hihi", "--for", "90m", "--comment", "service"]).await.code(0);
    let done = done.has(&["shelved until"]);
    assert!(done.err.contains("asked at the gateway"), "{done:?}");
    assert_eq!(asked(&rig), ("shelve".into(), json!({ "duration_ms": 5_400_000, "comment": "service" })));
    rig.run(&["alarms", "ls"]).await.code(0).has(&["hihi"]);
    rig.run(&["alarms", "unshelve", "temp/hihi"]).await.code(0).has(&["normal"]);
    assert_eq!(asked(&rig).0, "unshelve");
    rig.run(&["alarms", "shelve", "temp/hihi"]).await.code(2);
    rig.run(&["alarms", "shelve", "temp/hihi", "--for", "long"]).await.code(2);
    rig.world().auth = true;
    rig.run(&["alarms", "ls"]).await.code(4);
}

#[tokio::test]
async fn the_brokers_clients_are_told_by_a_box_and_by_no_cloud() {
    let rig = Rig::gateway().await;
    let done = rig.run(&["mqtt", "clients"]).await.code(0);
    let done = done.has(&["CLIENT", "ann", "10.0.0.7:5000", "away", "night", "2.0", "11", "13", "17", "19"]);
    assert!(!done.out.contains('\x1b'), "a client's name moves no cursor");
    assert!(
        done.err.contains("1 connected, 3 connections refused or closed, 4 retained messages"),
        "{done:?}"
    );
    let json = rig.run(&["--output", "json", "mqtt", "clients"]).await.code(0).json();
    assert_eq!(json["clients"][1]["peer"], Value::Null);
    assert_eq!(json["clients"][0]["filters"], json!(["a/#", "b"]));
    let none = Rig::cloud().await.run(&["mqtt", "clients"]).await;
    assert!(none.code != 0 && none.err.contains("no such route"), "{none:?}");
}

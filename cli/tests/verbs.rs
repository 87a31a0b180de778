//! Every verb of the real binary against a real server: what it asks, what it prints, how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use std::os::unix::fs::PermissionsExt;

use common::CommandState;
use common::api::Problem;
use common::names::Code;
use rig::{Rig, TOKEN, binary, finish, id};
use serde_json::json;

#[tokio::test]
async fn login_keeps_the_token_for_its_owner_and_never_prints_it() {
    let rig = Rig::cloud().await;
    rig.world().auth = true;
    let login = ["login", rig.url(), "--user", "admin", "--password-stdin"];

    let wrong = finish(binary(rig.home.path()).args(login), b"wrong\n").await.code(4);
    assert!(wrong.err.contains("unauthenticated: user or password is wrong"), "{wrong:?}");
    assert!(!rig.credentials().exists());

    let done = finish(binary(rig.home.path()).args(login), b"correct horse\n").await.code(0);
    assert!(!format!("{done:?}").contains(TOKEN));
    done.has(&["signed in to", "as admin", "admin of everything"]);
    let meta = std::fs::metadata(rig.credentials()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);

    // From here the login is the default server, and its token is shown to it.
    finish(binary(rig.home.path()).args(["twins", "ls"]), b"")
        .await
        .code(0)
        .has(&["plant/coating/line1/oven"]);
    // Another server does not get it.
    let other = Rig::cloud().await;
    finish(binary(rig.home.path()).args(["--url", other.url(), "twins", "ls"]), b"").await.code(0);
    assert!(other.world().seen.iter().all(|s| !s.headers.contains_key("authorization")));

    finish(binary(rig.home.path()).arg("logout"), b"").await.code(0).has(&["signed out"]);
    assert!(!std::fs::read_to_string(rig.credentials()).unwrap().contains(TOKEN));
    assert_eq!(rig.world().seen.last().unwrap().method, "DELETE");
    finish(binary(rig.home.path()).arg("logout"), b"").await.code(3);
    rig.run(&["twins", "ls"]).await.code(4);
}

#[tokio::test]
async fn the_environment_names_server_and_token() {
    let rig = Rig::cloud().await;
    rig.world().auth = true;
    let mut command = binary(rig.home.path());
    command.env("TWINWAY_URL", rig.url()).env("TWINWAY_TOKEN", TOKEN).args(["twins", "ls"]);
    finish(&mut command, b"").await.code(0).has(&["line1/oven"]);
    let mut both = binary(rig.home.path());
    both.env("TWINWAY_URL", rig.url()).env("TWINWAY_SOCKET", "/s").args(["twins", "ls"]);
    finish(&mut both, b"").await.code(2);
    let boxed = Rig::gateway().await;
    let mut socket = binary(rig.home.path());
    socket.env("TWINWAY_SOCKET", &boxed.target[1]).arg("switch");
    finish(&mut socket, b"").await.code(0).has(&["local  (start)"]);
}

#[tokio::test]
async fn a_password_does_not_go_over_plain_http_to_another_machine() {
    let home = tempfile::tempdir().unwrap();
    let args = ["login", "http://192.0.2.1", "--user", "u", "--password-stdin"];
    let done = finish(binary(home.path()).args(args), b"pw\n").await.code(2);
    assert!(done.err.contains("--allow-http"), "{done:?}");
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_not_named_has_its_own_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let run = async |args: &[&str]| finish(binary(home.path()).args(args), b"").await;
    let done = run(&["--url", &gone, "twins", "ls"]).await.code(5);
    assert!(done.err.contains("not reachable: Connection refused"), "{done:?}");
    run(&["--socket", "/nonexistent/s", "twins", "ls"]).await.code(5);
    run(&["--url", &gone, "send", "o", "a=1"]).await.code(5);
    if !std::path::Path::new(twinway::target::BOX_SOCKET).exists() {
        let done = run(&["twins", "ls"]).await.code(2);
        assert!(done.err.contains("twinway login <url>") && done.err.contains("--socket"), "{done:?}");
    }
    run(&["--url", &gone, "--socket", "/s", "twins", "ls"]).await.code(2);
    run(&["nonsense"]).await.code(2);
    run(&["--help"]).await.code(0).has(&["Exit codes:", "10\t"]);
}

#[tokio::test]
async fn twins_are_listed_over_all_pages_and_filtered() {
    let rig = Rig::cloud().await;
    rig.run(&["twins", "ls"]).await.code(0).has(&["line1/oven", "line1/winder", "g1"]);
    let json = rig.run(&["twins", "ls", "winder", "--output", "json"]).await.code(0).json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["id"], json!(id(2)));
}

#[tokio::test]
async fn a_twin_is_found_by_name_and_shown_without_its_control_characters() {
    for rig in [Rig::cloud().await, Rig::gateway().await] {
        let done = rig.run(&["twins", "get", "line1/oven"]).await.code(0);
        assert!(!done.out.contains('\x1b'), "{done:?}");
        done.has(&["179.25", "1 (run)", "bad_timeout", "0 to 250", "\"LFP\\u{1b}[2J\""]);
        assert_eq!(rig.world().seen[0].uri, "/api/v1/twins/line1%2Foven");
        let json = rig.run(&["-o", "json", "twins", "get", "line1/oven"]).await.code(0).json();
        assert_eq!(json["points"][0]["value"], 179.25);
        let done = rig.run(&["-o", "json", "twins", "get", "line9/oven"]).await.code(3);
        let error: serde_json::Value = serde_json::from_str(&done.err).unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["exit"]), (&json!("not_found"), &json!(3)));
    }
}

#[tokio::test]
async fn watch_decodes_the_live_channel() {
    let rig = Rig::cloud().await;
    let done = rig.run(&["-o", "json", "twins", "watch", "--count", "6"]).await.code(0);
    let lines: Vec<serde_json::Value> = done.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let values: Vec<_> = lines.iter().map(|l| (l["point"].as_str().unwrap(), &l["value"])).collect();
    let expected = [
        ("temp", json!(180.5)),
        ("mode", json!(0)),
        ("speed", json!(20.5)),
        ("door", json!(null)),
        ("recipe", json!("NMC")),
        ("temp", json!(181.0)),
    ];
    assert_eq!(values, expected.each_ref().map(|(p, v)| (*p, v)));
    assert_eq!(lines[2]["quality"], "uncertain_range");
    assert_eq!(lines[2]["asset"], "plant/coating/line1/winder");

    let only = ["twins", "watch", "line1/oven", "--point", "mode", "--point", "door", "--count", "2"];
    let done = rig.run(&only).await.code(0);
    assert_eq!(done.out.lines().count(), 2);
    done.has(&["mode  0 (stop)", "door  -  bad_timeout"]);
    rig.run(&["twins", "watch", "line1/oven", "--point", "nope"]).await.code(3);
}

#[tokio::test]
async fn watch_asks_a_box_every_second_and_prints_what_changed() {
    let rig = Rig::gateway().await;
    let world = rig.world.clone();
    let asked = async move {
        rig::reached(&world, |w| w.seen.iter().filter(|s| s.uri.starts_with("/api/v1/twins/")).count() >= 2)
            .await;
        world.lock().unwrap().twins[0].points[0].value = Some(200.0.into());
    };
    let watch = ["twins", "watch", "line1/oven", "--count", "6"];
    let (done, ()) = tokio::join!(rig.run(&watch), asked);
    let done = done.code(0);
    assert!(done.out.lines().last().unwrap().contains("temp  200 Cel"), "{done:?}");
}

#[tokio::test]
async fn a_command_carries_its_key_reason_and_typed_value() {
    let rig = Rig::cloud().await;
    let args =
        ["send", "line1/oven", "mode=stop", "--ttl", "2s", "--reason", "clean", "--idempotency-key", "k1"];
    rig.run(&args).await.code(0).has(&["accepted: plant/coating/line1/oven mode = 0 (stop)"]);
    {
        let world = rig.world();
        let post = world.seen.iter().find(|s| s.method == "POST").unwrap();
        assert_eq!(post.uri, format!("/api/v1/twins/{}/commands", id(1)));
        assert_eq!(post.headers["idempotency-key"], "k1");
        let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(body, json!({ "point": "mode", "value": 0, "ttl_ms": 2000, "reason": "clean" }));
    }
    // The same again is the same command, another one is refused.
    rig.run(&args).await.code(0);
    assert_eq!(rig.world().commands.len(), 1);
    let done = rig.run(&["send", "line1/oven", "mode=run", "--idempotency-key", "k1"]).await.code(6);
    assert!(done.err.contains("idempotency_conflict: another command has this key"), "{done:?}");
    // Without a key each run has its own.
    rig.run(&["send", "line1/oven", "zone1_sp=181.5"]).await.code(0);
    rig.run(&["send", "line1/oven", "zone1_sp=181.5"]).await.code(0);
    assert_eq!(rig.world().commands.len(), 3);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_never_sent() {
    let rig = Rig::cloud().await;
    for bad in ["mode=jog", "zone1_sp=nan", "zone1_sp=", "mode=1.5", "zone1_sp"] {
        rig.run(&["send", "line1/oven", bad]).await.code(2);
    }
    rig.run(&["send", "line1/oven", "nope=1"]).await.code(3);
    rig.run(&["send", "line9/oven", "zone1_sp=1"]).await.code(3);
    rig.run(&["send", "line1/oven", "mode=1", "--ttl", "0s"]).await.code(2);
    assert!(rig.world().seen.iter().all(|s| s.method == "GET"));
}

#[tokio::test]
async fn waiting_follows_a_command_and_exits_by_its_outcome() {
    use CommandState::*;
    for (state, code, exit) in [
        (Succeeded, None, 0),
        (Rejected, Some(Code::LocalMode), 6),
        (Failed, Some(Code::ReadbackMismatch), 7),
        (Expired, Some(Code::Expired), 8),
        (Unknown, Some(Code::Interrupted), 9),
    ] {
        let rig = Rig::cloud().await;
        rig.world().outcome = (state, code);
        rig.world().asks_before_end = 2;
        let done = rig.run(&["-o", "json", "send", "line1/oven", "zone1_sp=180", "--wait"]).await.code(exit);
        assert_eq!(done.json()["state"], json!(state));
        assert!(rig.world().seen.last().unwrap().uri.contains("wait_ms="));
        let text = rig.run(&["send", "line1/oven", "zone1_sp=181", "--wait"]).await.code(exit);
        if let Some(code) = code {
            text.has(&[code.as_str(), "as the test wants"]);
        } else {
            text.has(&["succeeded:", "read back 181 Cel"]);
        }
    }
}

#[tokio::test]
async fn waiting_ends_with_its_own_code_when_time_runs_out() {
    let rig = Rig::cloud().await;
    rig.world().asks_before_end = u32::MAX;
    let args = ["send", "line1/oven", "zone1_sp=180", "--wait", "--wait-timeout", "100ms"];
    let done = rig.run(&args).await.code(10);
    assert!(done.err.contains("stood at `accepted`") && done.err.contains("twinway commands"), "{done:?}");
}

#[tokio::test]
async fn a_session_that_ends_while_waiting_leaves_the_outcome_unknown() {
    let rig = Rig::cloud().await;
    rig.world().asks_before_end = u32::MAX;
    let world = rig.world.clone();
    let end_session = async move {
        rig::reached(&world, |w| w.asks_before_end < u32::MAX).await;
        world.lock().unwrap().auth = true;
    };
    let args = ["-o", "json", "send", "line1/oven", "zone1_sp=180", "--wait"];
    let (done, ()) = tokio::join!(rig.run(&args), end_session);
    assert!(done.code(9).err.contains("unauthenticated"));
}

#[tokio::test]
async fn a_refusal_by_the_server_is_told_with_its_remedy() {
    let rig = Rig::cloud().await;
    rig.world().refuse = Some(Problem::new(Code::OutOfLimits, "260 is beyond 250 Cel"));
    let done = rig.run(&["send", "line1/oven", "zone1_sp=260"]).await.code(6);
    assert!(done.err.starts_with("twinway: out_of_limits: 260 is beyond 250 Cel\n  "), "{done:?}");
    rig.world().refuse = Some(Problem::new(Code::Internal, "disk"));
    rig.run(&["send", "line1/oven", "zone1_sp=26"]).await.code(9);
    rig.world().refuse = Some(Problem::new(Code::Forbidden, "viewer"));
    rig.run(&["send", "line1/oven", "zone1_sp=26"]).await.code(4);
}

#[tokio::test]
async fn a_lost_answer_to_a_command_is_an_unknown_outcome_with_the_key_to_ask_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::cloud().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let twin = serde_json::to_string(&rig.world().twins[0]).unwrap();
    // Answers the question for the twin, and hangs up on the command.
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(socket.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{twin}", twin.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
        let mut rest = vec![0; 4096];
        assert!(socket.read(&mut rest).await.unwrap() > 0);
    });
    let args = ["--url", &url, "send", "line1/oven", "zone1_sp=1", "--idempotency-key", "k7"];
    let done = finish(binary(rig.home.path()).args(args), b"").await.code(9);
    assert!(done.err.contains("--idempotency-key k7"), "{done:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn history_is_a_table_csv_a_plot_or_json() {
    let rig = Rig::cloud().await;
    let history = ["history", "line1/oven", "temp"];
    let run = async |more: &[&str]| rig.run(&[&history, more].concat()).await;
    run(&["--from", "-15m"]).await.code(0).has(&["VALUE Cel", "2026-11-18T11:06:40.000Z", "good"]);
    assert!(rig.world().seen.last().unwrap().uri.contains("from=-15m&to=now&max_points=1000"));
    let csv = run(&["--format", "csv", "--max-points", "2"]).await.code(0);
    let expected = "time,t_us,value,quality,min,max,mean,count,good\r\n\
        2026-11-18T11:06:40.000000Z,1795000000000000,0,good,,,,1,1\r\n\
        2026-11-18T11:06:41.000000Z,1795000001000000,1,good,,,,1,1\r\n";
    assert_eq!(csv.out, expected);
    let told = "missing 2026-11-18T11:07:00.000Z to 2026-11-18T11:07:42.000Z (42s): dropped by the gateway, its buffer \
                was full, 412 samples of all points of the gateway";
    assert!(csv.err.contains(told), "{csv:?}");
    let timed = run(&["--times", "--format", "csv", "--max-points", "1"]).await.code(0);
    assert!(rig.world().seen.last().unwrap().uri.contains("&times=true"));
    let expected = "time,t_us,value,quality,min,max,mean,count,good,good_us,uncertain_us,bad_us,nothing_us,\
        unsettled_us,states,other_us\r\n2026-11-18T11:06:40.000000Z,1795000000000000,0,good,,,,1,1,,,,,,,\r\n";
    assert_eq!(timed.out, expected);
    let told = "time: good 90.0 % (54s), bad 10.0 % (6s)";
    assert!(timed.err.contains(told), "{timed:?}");
    assert!(
        timed.err.contains("time in state: true 67.5 % (40s 500ms), false 22.5 % (13s 500ms)"),
        "{timed:?}"
    );
    rig.world().rollup = true;
    run(&[]).await.code(0).has(&["MIN Cel", "MEAN", "WORST"]);
    run(&["--times"]).await.code(0).has(&["GOOD TIME", "STATES", "90.0 %", "true 67.5 %, false 22.5 %"]);
    let csv = run(&["--times", "--format", "csv", "--max-points", "1"]).await.code(0);
    assert!(csv.out.contains("54000000,0,6000000,0,0,true=40500000;false=13500000,0\r\n"), "{csv:?}");
    run(&["--format", "plot"]).await.code(0).has(&["plant/coating/line1/oven temp [Cel]", "┤", "11 ┤"]);
    assert_eq!(run(&["-o", "json"]).await.code(0).json()["resolution"]["kind"], "rollup");
    run(&["--from", "yesterday"]).await.code(2);
    run(&["--from", "now", "--to", "-1h"]).await.code(2);
    rig.run(&["history", "line1/oven", "nope"]).await.code(3);
}

#[tokio::test]
async fn points_are_aligned_exported_and_deleted() {
    let rig = Rig::cloud().await;
    let points = ["line1/oven:temp", "line1/oven:zone1_sp"];
    let align = async |more: &[&str]| rig.run(&[&["history", "align"][..], &points, more].concat()).await;
    align(&["--step", "1m"]).await.code(0).has(&[
        "line1/oven:temp Cel",
        "2026-11-18T11:08:40.000Z",
        "2.5 (uncertain_range)",
        "bad_timeout",
    ]);
    let asked = rig.world().aligned.last().cloned().unwrap();
    assert_eq!((asked.step_ms, asked.points.len(), asked.from.as_deref()), (60_000, 2, Some("-1h")));
    let csv = align(&["--format", "csv", "--method", "linear"]).await.code(0);
    assert!(csv.out.starts_with("time,t_us,line1/oven:temp,line1/oven:temp quality,"), "{csv:?}");
    assert!(csv.out.contains(",1795000060000000,2.5,uncertain_range,2.5,uncertain_range\r\n"), "{csv:?}");
    assert!(csv.out.ends_with(",1795000120000000,,bad_timeout,,bad_timeout\r\n"), "{csv:?}");
    rig.run(&["history", "align", "oven"]).await.code(2);

    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let export = async |name: &str| rig.run(&["history", "export", points[0], "--file", &file(name)]).await;
    export("a.parquet").await.code(0);
    assert_eq!(std::fs::read(file("a.parquet")).unwrap(), b"PAR1PAR1");
    let cut = export("a.csv").await.code(1);
    assert!(cut.err.contains("cut off after 4 bytes"), "{cut:?}");
    export("a.xlsx").await.code(2);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a.parquet"], "nothing that is not whole");

    let delete = ["history", "delete", points[0], "--from", "-2h", "--to", "-1h", "--reason", "a test"];
    rig.run(&delete).await.code(0).has(&["deleted 1 sample"]);
    rig.run(&["history", "delete", points[0]]).await.code(2);
}

#[tokio::test]
async fn gateways_buffer_and_audit_are_listed() {
    let rig = Rig::cloud().await;
    rig.run(&["gateways"]).await.code(0).has(&["g1", "connected", "remote", "1.0 MiB"]);
    let listed = rig.run(&["gateways"]).await.code(0).has(&["1 held"]);
    assert!(
        listed.err.contains("10.0.0.9:5") && listed.err.contains("another box is this gateway"),
        "{listed:?}"
    );
    rig.run(&["gateway", "accept", "g1", "--reason", "new box"]).await.code(0).has(&["10.0.0.9:5", "as g1"]);
    let other = ["gateway", "accept", "g1", "--reason", "new box", "--incarnation", &"0f".repeat(16)];
    assert!(rig.run(&other).await.code(1).err.contains("no such box"));
    rig.run(&["gateway", "accept", "g1", "--reason", " "]).await.code(2);
    rig.run(&["gateway", "set-aside", "g1"]).await.code(0).has(&["frame", "41", "2.0 KiB", "no table"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("poison.frame");
    let save = ["gateway", "set-aside", "g1", "--frame", "3", "--file", file.to_str().unwrap()];
    rig.run(&save).await.code(0);
    assert_eq!(std::fs::read(&file).unwrap(), [7; 2048]);
    rig.run(&["gateway", "set-aside", "g1", "--frame", "3"]).await.code(2);
    assert_eq!(rig.run(&["-o", "json", "gateways"]).await.code(0).json()[0]["id"], "g1");
    rig.run(&["buffer", "status"]).await.code(0).has(&[
        "12 frames, the oldest 4s",
        "98 durable",
        "3 bus:lagged",
    ]);
    let json = rig.run(&["-o", "json", "buffer", "status", "g1"]).await.code(0).json();
    assert_eq!(json[0]["buffer"]["durable_seq"], 98);
    rig.run(&["buffer", "status", "g2"]).await.code(3);
    rig.run(&["audit"]).await.code(0).has(&["user.login", "switch.remote", "by hand"]);
    let args = ["-o", "json", "audit", "--severity", "warning", "--twin", "line1/oven", "--limit", "7"];
    assert_eq!(rig.run(&args).await.code(0).json().as_array().unwrap().len(), 1);
    let uri = rig.world().seen.last().unwrap().uri.clone();
    assert_eq!(uri, format!("/api/v1/audit?twin={}&min_severity=warning&limit=7", id(1)));
}

#[tokio::test]
async fn commands_are_listed_and_one_is_shown_with_its_steps() {
    let rig = Rig::cloud().await;
    rig.run(&["send", "line1/oven", "zone1_sp=180", "--reason", "warm up"]).await.code(0);
    rig.run(&["commands"]).await.code(0).has(&["accepted", "zone1_sp", "admin (cloud)"]);
    let list = rig.run(&["-o", "json", "commands", "--limit", "1"]).await.code(0).json();
    let id = list[0]["id"].as_str().unwrap().to_owned();
    rig.world().asks_before_end = 0;
    rig.run(&["commands", &id]).await.code(0).has(&[
        "succeeded:",
        "warm up",
        "accepted   2026-11-18T11:06:40.000Z",
    ]);
    rig.run(&["commands", "x"]).await.code(2);
    rig.run(&["commands", "00000000-0000-0000-0000-000000000000"]).await.code(3);
}

#[tokio::test]
async fn modbus_points_are_read_and_written_through_the_command_path() {
    let rig = Rig::gateway().await;
    rig.run(&["modbus", "read", "line1/oven", "temp"]).await.code(0).has(&["179.25 Cel  good"]);
    assert_eq!(
        rig.run(&["-o", "json", "modbus", "read", "line1/oven", "temp"]).await.code(0).json()["value"],
        179.25
    );
    rig.run(&["modbus", "read", "line1/oven", "door"]).await.code(1).has(&["bad_timeout"]);
    rig.run(&["modbus", "write", "line1/oven", "zone1_sp=175"]).await.code(0).has(&["succeeded:"]);
    assert_eq!(rig.world().commands[0].value, 175.0.into());
    let done = rig.run(&["modbus", "read", "line1/winder", "speed"]).await.code(2);
    assert!(done.err.contains("speaks mqtt, not modbus"), "{done:?}");
    rig.run(&["modbus", "write", "line1/winder", "speed=1"]).await.code(2);
    assert_eq!(rig.world().commands.len(), 1);
}

#[tokio::test]
async fn the_switch_is_seen_and_set_at_a_box_only() {
    let rig = Rig::gateway().await;
    rig.run(&["switch"]).await.code(0).has(&["local  (start)"]);
    rig.run(&["switch", "remote"]).await.code(2);
    rig.run(&["switch", "remote", "--reason", " "]).await.code(2);
    let json = rig.run(&["-o", "json", "switch", "remote", "--reason", "shift"]).await.code(0).json();
    assert_eq!(json, json!({ "position": "remote", "reason": "shift" }));
    assert_eq!(rig.world().switch.reason, "shift");
    let done = Rig::cloud().await.run(&["switch"]).await.code(3);
    assert!(done.err.contains("only at the box"), "{done:?}");
}

#[tokio::test]
async fn status_is_one_snapshot_where_there_is_no_terminal() {
    let rig = Rig::cloud().await;
    let done = rig.run(&["status"]).await.code(0);
    assert!(!done.out.contains('\x1b'), "{done:?}");
    done.has(&["g1/winder", "no route to host", "oven door", "TWINS", "switch.remote"]);
    let json = rig.run(&["-o", "json", "status"]).await.code(0).json();
    assert_eq!(json["twins"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn check_runs_the_gateways_own_program_or_says_that_it_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("twinway");
    // A copy alone in its folder: the build's folder may hold a gateway.
    std::fs::copy(env!("CARGO_BIN_EXE_twinway"), &own).unwrap();
    let run = async |args: &[&str]| {
        let mut command = rig::clean(tokio::process::Command::new(&own), dir.path());
        finish(command.env("PATH", "").args(args), b"").await
    };
    let done = run(&["check", "a.toml"]).await.code(3);
    assert!(done.err.contains("neither beside this program nor in PATH"), "{done:?}");

    let script = "#!/bin/sh\n[ \"$3\" = --json ] && echo '{\"ok\":false}' || echo \"$*\"\n[ \"$2\" = good.toml ] || { echo 'bad.toml:3: oops' >&2; exit 64; }\n";
    let gateway = dir.path().join("twinway-gateway");
    std::fs::write(&gateway, script).unwrap();
    std::fs::set_permissions(&gateway, std::fs::Permissions::from_mode(0o755)).unwrap();
    run(&["check", "good.toml"]).await.code(0).has(&["check good.toml"]);
    let done = run(&["check", "bad.toml"]).await.code(1);
    assert!(done.err.contains("bad.toml:3: oops"), "{done:?}");
    let json = run(&["-o", "json", "check", "bad.toml"]).await.code(1).json();
    assert_eq!(json, json!({ "ok": false }));
    let words = ["points", "export", "good.toml", "--to", "a.xlsx", "--blank"];
    let done = run(&words).await.code(1);
    assert!(done.out.contains("points export good.toml --to a.xlsx --blank"), "{done:?}");
    run(&["check", "good.toml", "--strict"]).await.code(0).has(&["check good.toml --strict"]);
}

#[tokio::test]
async fn completions_are_made_for_each_shell() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        finish(binary(home.path()).args(["completions", shell]), b"")
            .await
            .code(0)
            .has(&["modbus", "history"]);
    }
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let rig = Rig::cloud().await;
    let mut command = binary(rig.home.path());
    let mut child = command.args(["completions", "zsh"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).await.unwrap();
    let done = rig::end(child).await.code(0);
    assert_eq!(done.err, "");

    // A stream ends as well, at its next line.
    let mut command = binary(rig.home.path());
    let mut child = command.args(&rig.target).args(["twins", "watch", "line1/oven"]).spawn().unwrap();
    drop(child.stdout.take());
    let done = rig::end(child).await.code(0);
    assert_eq!(done.err, "");
}

//! Histories of several points: who may ask, what is refused, what an export sends and how it fails; and deletion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use common::api::Role;
use serde_json::{Value as Json, json};
use support::{OVEN, PRESS, Rig};

fn of(twin: &str, point: &str) -> Json {
    json!({"twin": twin, "point": point})
}

#[tokio::test(start_paused = true)]
async fn points_are_aligned_for_who_sees_their_twins() {
    let rig = Rig::new();
    let all = rig.token("all", &[("plant", Role::Viewer)]);
    let body = json!({
        "points": [of("line1/oven", "temperature"), of(&PRESS.to_string(), "mode")],
        "from": "1795000000000001", "to": "1795000180000000", "step_ms": 60_000
    });
    let ask =
        |token: &str, body: &Json| rig.ask("POST", "/api/v1/history/aligned").bearer(token).json(body).send();
    let answer = ask(&all, &body).await.ok(200).json();
    assert_eq!((&answer["from_us"], &answer["rows"]), (&json!(1_795_000_020_000_000_i64), &json!(3)));
    assert_eq!(answer["columns"][0]["twin"], "plant/coating/line1/oven");
    assert_eq!(answer["columns"][1]["values"], json!([21.5, 21.5, 21.5]));
    assert_eq!(answer["columns"][1]["quality"], json!(["good", "good", "good"]));
    let some = rig.token("some", &[("plant/coating", Role::Viewer)]);
    assert_eq!(ask(&some, &body).await.problem(404), "not_found");
    for (with, code) in [
        (json!({"points": []}), "invalid_request"),
        (json!({"points": [of("line1/oven", "nothing")]}), "unknown_point"),
        (json!({"step_ms": 0}), "invalid_request"),
        (json!({"step_ms": 1, "from": "-30d", "to": "now"}), "invalid_request"),
        (json!({"from": "now", "to": "-1h"}), "invalid_request"),
        (json!({"method": "cubic"}), "invalid_request"),
        (json!({"steps": 9}), "invalid_request"),
    ] {
        let mut body = body.clone();
        with.as_object().unwrap().iter().for_each(|(k, v)| body[k] = v.clone());
        let answer = ask(&all, &body).await;
        assert_eq!(answer.problem(answer.status.as_u16()), code, "{with}");
    }
    // A text of 1,000 bytes holds in each of 60,000 rows.
    let mut body = body.clone();
    body["points"] = json!([of("line1/oven", "setpoint")]);
    assert_eq!(ask(&all, &body).await.ok(200).json()["rows"], json!(3));
    body["step_ms"] = json!(3);
    assert_eq!(ask(&all, &body).await.problem(413), "too_large");
}

/// Blocks are large: one that a client does not read keeps its turn, and is given up after a while.
#[tokio::test(start_paused = true)]
async fn blocks_that_nobody_reads_hold_up_others_and_not_for_ever() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    let rig = Rig::new();
    let token = rig.token("all", &[("plant", Role::Viewer)]);
    let ask = |format: &str| {
        let path =
            format!("/api/v1/twins/{OVEN}/points/temperature/waveforms/1795000000000000?format={format}");
        let request = Request::get(path).header("host", "localhost:8080");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        rig.router.clone().oneshot(request)
    };
    let read = async |body: Body| axum::body::to_bytes(body, usize::MAX).await.map(|bytes| bytes.len());
    let soon = std::time::Duration::from_secs(5);
    // Four at a time; not one byte of their bodies is taken.
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(ask("binary").await.unwrap());
    }
    assert_eq!(unread[0].headers()["content-length"], "3200000");
    let fifth = ask("json");
    tokio::pin!(fifth);
    assert!(tokio::time::timeout(soon, &mut fifth).await.is_err(), "there is no turn for it");
    // One is read: then it has its turn.
    assert_eq!(read(unread.remove(0).into_body()).await.unwrap(), 3_200_000);
    let fifth = tokio::time::timeout(soon, fifth).await.unwrap().unwrap();
    let json = axum::body::to_bytes(fifth.into_body(), usize::MAX).await.unwrap();
    let json: Json = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["values"].as_array().unwrap().len(), 400_000);
    // The others are given up, and what is left of them does not look whole.
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    for _ in 0..4 {
        let body = tokio::time::timeout(soon, ask("binary")).await.unwrap().unwrap().into_body();
        assert_eq!(read(body).await.unwrap(), 3_200_000);
    }
    for response in unread {
        let taken = read(response.into_body()).await.unwrap_or(0);
        assert!(taken < 3_200_000, "{taken}");
    }
}

#[tokio::test]
async fn an_export_is_a_file_in_pages_and_one_that_fails_is_cut_off() {
    let rig = Rig::new();
    let token = rig.token("all", &[("plant", Role::Viewer)]);
    let ask = |point: &str, format: &str| {
        let points = [of("line1/oven", "temperature"), of("line1/oven", point)];
        let body =
            json!({"points": points, "from": "1795000000000000", "to": "1795000000000003", "format": format});
        rig.ask("POST", "/api/v1/history/export").bearer(&token).json(&body).send()
    };
    let csv = ask("setpoint", "csv").await.ok(200);
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert!(csv.headers["content-disposition"].to_str().unwrap().contains("history.csv"));
    let text = String::from_utf8(csv.body).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert_eq!(lines[0], "twin,point,time,t_us,received_us,quality,value");
    let row = "plant/coating/line1/oven,temperature,2026-11-18T11:06:40.000000Z,1795000000000000,1795000000000001,good,3";
    assert_eq!(lines[1], row);
    assert!(
        lines[6].starts_with("plant/coating/line1/oven,setpoint,") && lines[6].ends_with(",good,1"),
        "{text}"
    );
    let parquet = ask("setpoint", "parquet").await.ok(200);
    assert_eq!(parquet.headers["content-type"], "application/vnd.apache.parquet");
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    for format in ["csv", "parquet"] {
        assert!(ask("mode", format).await.is_cut_off, "storage failed on the way: {format}");
    }
    let body = json!({"points": [of("line1/oven", "temperature")], "format": "xlsx"});
    let answer = rig.ask("POST", "/api/v1/history/export").bearer(&token).json(&body).send().await;
    assert_eq!(answer.problem(400), "invalid_request");
}

/// A point with a waveform has samples as well, of another meaning: either is exported.
#[tokio::test]
async fn an_export_of_waveforms_has_each_value_at_its_time() {
    let rig = Rig::new();
    let token = rig.token("all", &[("plant", Role::Viewer)]);
    let lines = async |waveforms: bool| {
        let mut body = json!({
            "points": [of("winding/line1/press", "temperature")],
            "from": "1795000000000000", "to": "1795000000000003", "format": "csv"
        });
        if waveforms {
            body["waveforms"] = json!(true);
        }
        let csv = rig.ask("POST", "/api/v1/history/export").bearer(&token).json(&body).send().await.ok(200);
        String::from_utf8(csv.body).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(false).await.len(), 1 + 3);
    let lines = lines(true).await;
    assert_eq!(lines.len(), 1 + 400_000);
    let row = |at: &str| format!("plant/winding/line1/press,temperature,{at},1795000000000001,good,0.5");
    assert_eq!(lines[1], row("2026-11-18T11:06:40.000000Z,1795000000000000"));
    assert_eq!(lines[400_000], row("2026-11-18T11:06:40.399999Z,1795000000399999"));
}

#[tokio::test]
async fn arrow_reads_a_parquet_export() {
    let rig = Rig::new();
    let token = rig.token("all", &[("plant", Role::Viewer)]);
    let points = [of("line1/oven", "temperature"), of("line1/oven", "setpoint")];
    let body =
        json!({"points": points, "from": "1795000000000000", "to": "1795000000000003", "format": "parquet"});
    let answer = rig.ask("POST", "/api/v1/history/export").bearer(&token).json(&body).send().await.ok(200);
    let dir = std::env::temp_dir().join(format!("twinway-parquet-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("history.parquet");
    std::fs::write(&file, &answer.body).unwrap();
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pyarrow/bin/python");
    let code = "import sys, json, pyarrow.parquet as p\n\
                t = p.read_table(sys.argv[1])\n\
                print(json.dumps([[str(f.type) for f in t.schema], t.column_names, \
                [[str(v) for v in r.values()] for r in t.to_pylist()]]))";
    let run = std::process::Command::new(&python).args(["-c", code]).arg(&file).output();
    let run = run.unwrap_or_else(|e| panic!("{}: {e}; tests/setup.sh installs it", python.display()));
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let read: Json = serde_json::from_slice(&run.stdout).unwrap();
    let stamp = "timestamp[us, tz=UTC]";
    assert_eq!(read[0], json!(["string", "string", stamp, stamp, "string", "double", "int64", "string"]));
    assert_eq!(read[1], json!(["twin", "point", "time", "received", "quality", "number", "integer", "text"]));
    assert_eq!(read[2].as_array().unwrap().len(), 6);
    let row = [
        "plant/coating/line1/oven",
        "temperature",
        "2026-11-18 11:06:40+00:00",
        "2026-11-18 11:06:40.000001+00:00",
    ];
    assert_eq!(read[2][0], json!([row[0], row[1], row[2], row[3], "good", "3.0", "None", "None"]));
}

#[tokio::test(start_paused = true)]
async fn deletion_is_an_admins_and_is_on_record() {
    let rig = Rig::new();
    let path = format!("/api/v1/twins/{OVEN}/points/temperature/history");
    let admin = rig.token("boss", &[("plant/coating", Role::Admin)]);
    let engineer = rig.token("eng", &[("plant/coating", Role::Engineer)]);
    // Up to a minute from now: what is yet to come is not deleted.
    let range = "?from=1794999940000000&to=1795000060000000&reason=test%20run";
    let ask = |token: &str, path: String| rig.ask("DELETE", &path).bearer(token).send();
    assert_eq!(ask(&engineer, format!("{path}{range}")).await.problem(403), "forbidden");
    assert_eq!(ask(&admin, path.clone()).await.problem(400), "invalid_request");
    let to_come = "?from=1795000000000001&to=1795000060000000";
    assert_eq!(ask(&admin, format!("{path}{to_come}")).await.problem(400), "invalid_request");
    assert!(!rig.storage.actions().contains(&"history.deleted".to_owned()));
    assert_eq!(ask(&admin, format!("{path}{range}")).await.ok(200).json(), json!({"samples": 3}));
    let entry = rig.storage.entries().into_iter().find(|e| e.action == "history.deleted").unwrap();
    assert_eq!((entry.actor.as_str(), entry.twin), ("boss", Some(OVEN)));
    let told = "from 2026-11-18T11:05:40.000000Z to 2026-11-18T11:06:40.000000Z, because: test run";
    assert_eq!(
        (entry.target.as_str(), entry.detail.as_str()),
        ("plant/coating/line1/oven/temperature", told)
    );
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_away_has_told_nothing_since() {
    let rig = Rig::new();
    let token = rig.token("all", &[("plant", Role::Viewer)]);
    let gaps = async || {
        let path =
            format!("/api/v1/twins/{OVEN}/points/temperature/history?from=-1h&to=2030-01-01T00:00:00Z");
        rig.ask("GET", &path).bearer(&token).send().await.ok(200).json()["gaps"].clone()
    };
    assert_eq!(gaps().await, json!([]));
    rig.world.write().twins.get_mut(&OVEN).unwrap().online = false;
    let gaps = gaps().await;
    assert_eq!((&gaps[0]["cause"], gaps.as_array().unwrap().len()), (&json!("gateway_offline"), 1));
    let now = rig.clock.now_us();
    let span = (gaps[0]["from_us"].as_i64().unwrap(), gaps[0]["to_us"].as_i64().unwrap());
    assert_eq!(span, (now - 3_600_000_000 + 10, now), "from its last word, and not beyond now");
}

/// `temp` was renamed: what it had is under its name, for who sees the twin.
#[tokio::test(start_paused = true)]
async fn a_point_that_the_configuration_has_no_more_is_read_exported_and_deleted() {
    let rig = Rig::new();
    let admin = rig.token("admin", &[("plant", Role::Admin)]);
    let other = rig.token("other", &[("plant/winding", Role::Admin)]);
    let path = format!("/api/v1/twins/{OVEN}/points/temp/history");
    let answer = rig.ask("GET", &path).bearer(&admin).send().await.ok(200).json();
    assert_eq!((&answer["point"], &answer["unit"]), (&json!("temp"), &json!("Cel")));
    assert_eq!(rig.ask("GET", &path).bearer(&other).send().await.problem(404), "not_found");
    let list = format!("/api/v1/twins/{OVEN}/past-points");
    let answer = rig.ask("GET", &list).bearer(&admin).send().await.ok(200).json();
    assert_eq!(answer["items"], json!([{"point": "temp", "unit": "Cel", "type": "f64"}]));
    let body = json!({"points": [of("line1/oven", "temp")], "from": "1795000000000001", "to": "1795000180000000",
        "step_ms": 60_000});
    let answer =
        rig.ask("POST", "/api/v1/history/aligned").bearer(&admin).json(&body).send().await.ok(200).json();
    assert_eq!(answer["columns"][0]["unit"], "Cel");
    let body = json!({"points": [of("line1/oven", "temp")], "from": "-1h", "format": "csv"});
    rig.ask("POST", "/api/v1/history/export").bearer(&admin).json(&body).send().await.ok(200);
    let blocks = format!("/api/v1/twins/{OVEN}/points/temp/waveforms");
    rig.ask("GET", &blocks).bearer(&admin).send().await.ok(200);
    let delete = format!("{path}?from=-2h&to=-1h");
    assert_eq!(rig.ask("DELETE", &delete).bearer(&other).send().await.problem(404), "not_found");
    rig.ask("DELETE", &delete).bearer(&admin).send().await.ok(200);
    let entry = rig.storage.entries().into_iter().find(|e| e.action == "history.deleted").unwrap();
    assert_eq!(entry.target, "plant/coating/line1/oven/temp");
    let never = format!("/api/v1/twins/{OVEN}/points/never/history");
    let answer = rig.ask("GET", &never).bearer(&admin).send().await;
    assert_eq!(answer.problem(404), "unknown_point");
    assert!(answer.json()["detail"].as_str().unwrap().contains("twinway history past"));
}

//! The edges of HTTP: every refusal is a problem document, hosts are ours, ids come back, files are sent
//! as they should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use axum::body::Body;
use common::api::Role;
use serde_json::json;
use support::{OVEN, Rig};

#[tokio::test(start_paused = true)]
async fn every_refusal_is_a_problem_document() {
    let rig = Rig::new();
    let token = rig.admin();
    let ask = |method: &str, path: &str| rig.ask(method, path).bearer(&token);
    assert_eq!(ask("GET", "/api/v1/nothing").send().await.problem(404), "not_found");
    assert_eq!(ask("GET", "/api").send().await.problem(404), "not_found");
    let answer = ask("PUT", "/api/v1/twins").send().await;
    assert_eq!(answer.problem(405), "invalid_request");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(ask("POST", "/anywhere").send().await.problem(405), "invalid_request");
    let json = "application/json";
    let send = |kind: &'static str, body: Body| {
        ask("POST", "/api/v1/gateways").header("content-type", kind).raw(body).send()
    };
    assert_eq!(send("text/plain", "{}".into()).await.problem(415), "invalid_request");
    assert_eq!(send(json, "{".into()).await.problem(400), "invalid_request");
    assert_eq!(send(json, "".into()).await.problem(400), "invalid_request");
    assert_eq!(send(json, "{\"id\":\"a\"} x".into()).await.problem(400), "invalid_request");
    assert_eq!(send(json, "[".repeat(10_000).into()).await.problem(400), "invalid_request");
    assert_eq!(send(json, "x".repeat(256 * 1024 + 1).into()).await.problem(413), "too_large");
    // Without a length it is found out on the way.
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 10_000]));
    let stream = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(send(json, stream).await.problem(413), "too_large");
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(send(json, never).await.problem(408), "invalid_request");
    for path in [
        "/api/v1/twins?limit=0",
        "/api/v1/twins?limit=1001",
        "/api/v1/twins?limit=x",
        "/api/v1/twins?cursor=%21",
        "/api/v1/commands?cursor=x",
        "/api/v1/audit?min_severity=loud",
    ] {
        assert_eq!(ask("GET", path).send().await.problem(400), "invalid_request", "{path}");
    }
    assert_eq!(ask("GET", "/api/v1/twins/%FF").send().await.problem(400), "invalid_request");
    assert_eq!(ask("GET", "/api/v1/commands/x").send().await.problem(404), "not_found");
    assert_eq!(ask("GET", "/api/v1/live").send().await.problem(400), "invalid_request");
    rig.storage.break_it(true);
    let answer = ask("GET", "/api/v1/twins").send().await;
    assert_eq!(answer.problem(503), "unavailable");
    assert!(!String::from_utf8_lossy(&answer.body).contains("disk full"), "what storage says is for the log");
}

#[tokio::test(start_paused = true)]
async fn only_our_hosts_are_answered_except_to_probes() {
    let rig = Rig::new();
    let token = rig.admin();
    let get = |path: &str, host: &str| rig.ask("GET", path).bearer(&token).header("host", host).send();
    for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "twin.example", "twin.example:8443"] {
        get("/api/v1/twins", host).await.ok(200);
    }
    for path in ["/api/v1/twins", "/", "/metrics", "/openapi.json"] {
        assert_eq!(get(path, "evil.example").await.problem(403), "wrong_origin", "{path}");
    }
    get("/healthz", "10.0.0.7:8080").await.ok(200);
    get("/readyz", "10.0.0.7:8080").await.ok(200);
    rig.drain.start();
    assert_eq!(get("/readyz", "localhost").await.problem(503), "unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_request_id_comes_back_and_answers_are_not_kept() {
    let rig = Rig::new();
    let token = rig.admin();
    let answer =
        rig.ask("GET", "/api/v1/twins").bearer(&token).header("x-request-id", "abc-1.2").send().await;
    assert_eq!(answer.headers["x-request-id"], "abc-1.2");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let answer = rig.ask("GET", "/api/v1/twins").header("x-request-id", "a b").send().await;
    assert_ne!(answer.headers["x-request-id"], "a b");
    assert_eq!(answer.headers["x-request-id"].len(), 36);
}

#[tokio::test(start_paused = true)]
async fn twins_are_paged_and_filtered() {
    let rig = Rig::new();
    let token = rig.admin();
    let get = async |path: &str| rig.ask("GET", path).bearer(&token).send().await.ok(200).json();
    let first = get("/api/v1/twins?limit=1").await;
    assert_eq!(first["items"][0]["name"], "oven");
    let next = first["next_cursor"].as_str().unwrap();
    let second = get(&format!("/api/v1/twins?limit=1&cursor={next}")).await;
    assert_eq!(second["items"][0]["name"], "press");
    assert!(second.get("next_cursor").is_none());
    assert_eq!(get("/api/v1/twins?filter=COATING").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(get("/api/v1/twins?filter=nowhere").await["items"], json!([]));
    let twin = rig.ask("GET", &format!("/api/v1/twins/{OVEN}")).bearer(&token).send().await.ok(200);
    assert_eq!(twin.headers["etag"], "\"0\"");
}

#[tokio::test(start_paused = true)]
async fn a_history_is_asked_for_in_many_forms() {
    let rig = Rig::new();
    let token = rig.token("v", &[("plant/coating", Role::Viewer)]);
    let get = |query: &str| {
        let path = format!("/api/v1/twins/line1%2Foven/points/temperature/history{query}");
        rig.ask("GET", &path).bearer(&token).send()
    };
    let hour = get("").await.ok(200).json();
    assert_eq!(hour["to_us"].as_i64().unwrap() - hour["from_us"].as_i64().unwrap(), 3_600_000_000);
    assert_eq!(
        (hour["unit"].as_str(), hour["twin"].as_str()),
        (Some("degC"), Some("plant/coating/line1/oven"))
    );
    get("?from=-15m&to=now&max_points=10000").await.ok(200);
    get("?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z").await.ok(200);
    assert_eq!(hour["times"], json!(null), "only where it is asked for");
    let timed = get("?times=true").await.ok(200).json();
    let times = &timed["times"];
    let whole = times["good_us"].as_i64().unwrap() + times["nothing_us"].as_i64().unwrap();
    assert_eq!((whole, times["bad_us"].as_i64()), (3_600_000_000, Some(0)));
    for bad in ["?from=yesterday", "?from=now&to=-1h", "?max_points=0", "?max_points=10001", "?times=perhaps"]
    {
        assert_eq!(get(bad).await.problem(400), "invalid_request", "{bad}");
    }
    let none = rig.ask("GET", &format!("/api/v1/twins/{OVEN}/points/x/history")).bearer(&token).send().await;
    assert_eq!(none.problem(404), "unknown_point");
}

#[tokio::test(start_paused = true)]
async fn files_are_kept_where_they_may_and_the_page_stands_for_its_routes() {
    let rig = Rig::new();
    for path in ["/", "/index.html", "/twins/plant/line1", "/login"] {
        let answer = rig.ask("GET", path).send().await.ok(200);
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.headers["cache-control"], "no-cache");
        assert!(answer.headers.contains_key("content-security-policy"));
    }
    let plain = rig.ask("GET", "/assets/a-1234.js").send().await.ok(200);
    assert_eq!(plain.body, b"let a");
    assert!(plain.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let packed =
        rig.ask("GET", "/assets/a-1234.js").header("accept-encoding", "gzip, br").send().await.ok(200);
    assert_eq!(
        (packed.body.as_slice(), packed.headers["content-encoding"].to_str().unwrap()),
        (&b"brotli"[..], "br")
    );
    let tag = plain.headers["etag"].to_str().unwrap();
    let known = rig.ask("GET", "/assets/a-1234.js").header("if-none-match", tag).send().await.ok(304);
    assert!(known.body.is_empty());
    assert_eq!(rig.ask("GET", "/assets/gone-1.js").send().await.problem(404), "not_found");
}

#[tokio::test(start_paused = true)]
async fn metrics_count_by_route_and_never_by_what_clients_make_up() {
    let rig = Rig::new();
    let token = rig.admin();
    rig.ask("GET", &format!("/api/v1/twins/{OVEN}")).bearer(&token).send().await.ok(200);
    rig.ask("GET", "/made/up/1").send().await.ok(200);
    rig.ask("GET", "/made/up/2").send().await.ok(200);
    let answer = rig.ask("GET", "/metrics").send().await.ok(200);
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "twinway_cloud_http_requests_total{route=\"/api/v1/twins/{id}\",method=\"GET\",status=\"200\"} 1",
        "twinway_cloud_http_requests_total{route=\"other\",method=\"GET\",status=\"200\"} 2",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("made"));
}

//! Every route with every role, without one, from a wrong host, and with wrong requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use common::api::{Problem, Role};
use common::names::Code;
use reqwest::Method;
use rig::{Plc, ROLES, Rig};
use serde_json::json;
use twinway_gateway::routes;

fn role(name: &str) -> Role {
    serde_json::from_value(json!(name)).unwrap()
}

fn concrete(path: &str) -> String {
    let id = if path.contains("commands/{id}") { "0192aaaa-0000-7000-8000-000000000000" } else { "oven" };
    path.replace("{id}", id).replace("{point}", "temperature")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_its_roles_and_closed_to_the_others() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    // A reload is refused for what stands here now.
    std::fs::write(rig.dir.path().join("gateway.toml"), "[gateway]\nid = 1\n").unwrap();
    let mut checked = 0;
    for (method, path, least) in routes() {
        let path = concrete(path);
        for caller in [None].into_iter().chain(ROLES.map(Some)) {
            let mut request = rig.tcp(caller, method.clone(), &path);
            if method != Method::GET {
                // Refused for its content if it gets that far: nothing is changed.
                request = request.json(&json!(0));
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            match (least, caller) {
                (None, _) => assert!(status == 200 || status == 503, "{path}: {status}"),
                (Some(_), None) => {
                    assert_eq!(status, 401, "{path}");
                    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                    assert_eq!(answer.headers()["content-type"], "application/problem+json");
                    assert_eq!(answer.json::<Problem>().await.unwrap().code, Code::Unauthenticated);
                }
                (Some(least), Some(name)) if role(name) < least => {
                    assert_eq!(status, 403, "{method} {path} as {name}");
                    assert_eq!(answer.json::<Problem>().await.unwrap().code, Code::Forbidden);
                }
                (Some(_), Some(name)) => {
                    assert!(![401, 403, 405, 500].contains(&status), "{method} {path} as {name}: {status}");
                    // Makes a key that waits, and takes nothing.
                    let is_request = path == "/api/v1/identity/request" && status == 200;
                    let refused = status == 400 || status == 428;
                    assert!(method == Method::GET || refused || is_request, "{path}: {status}");
                }
            }
            checked += 1;
        }
    }
    assert_eq!(checked, routes().count() * 5);
    let bad =
        rig.tcp(None, Method::GET, "/api/v1/twins").bearer_auth("token-of-nobody").send().await.unwrap();
    assert_eq!(bad.status(), 401);
    // Over the socket the user of this process is admin.
    let me = rig.get("/api/v1/session").await;
    assert_eq!(me["grants"], json!([{ "path": "", "role": "admin" }]));
    assert!(me["user"].as_str().unwrap().starts_with("uid:"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_ours_is_refused_on_every_route() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    for (method, path, _) in routes() {
        let request = rig.tcp(Some("admin"), method, &concrete(path)).header("Host", "evil.example");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(answer.json::<Problem>().await.unwrap().code, Code::WrongOrigin);
    }
    let ours = rig.tcp(Some("viewer"), Method::GET, "/api/v1/twins").header("Host", "box.example:99");
    assert_eq!(ours.send().await.unwrap().status(), 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_gateway_or_tenant_is_not_kept() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    let own = rig.tcp(Some("admin"), Method::POST, "/api/v1/identity/request").send().await.unwrap();
    let own: common::api::SigningRequest = own.json().await.unwrap();
    let url = "mqtts://cloud.example";
    let put = async |tenant: &str, gateway: &str| {
        let body = json!({"tenant": tenant, "gateway": gateway, "url": url, "certificate": "none"});
        let answer =
            rig.tcp(Some("admin"), Method::PUT, "/api/v1/identity").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 409);
        answer.json::<Problem>().await.unwrap().detail
    };
    let own = own.gateway.as_str();
    for (tenant, gateway) in [("default", "another"), ("another", own)] {
        let told = put(tenant, gateway).await;
        assert!(
            told.contains(&format!("is of `{tenant}/{gateway}` and this box is `default/{own}`")),
            "{told}"
        );
    }
    assert!(put("default", own).await.contains("not of this box's key"));
    assert_eq!(rig.tcp(Some("admin"), Method::GET, "/api/v1/identity").send().await.unwrap().status(), 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_get_a_problem_that_says_what_was_expected() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    let get = [
        ("/api/v1/nothing", 404, Code::NotFound, "there is no /api/v1/nothing"),
        ("/api/v1/twins/nope", 404, Code::UnknownTwin, "`nope`"),
        ("/api/v1/twins?limit=0", 400, Code::InvalidRequest, "1 to 1000"),
        ("/api/v1/twins?limit=x", 400, Code::InvalidRequest, "limit"),
        ("/api/v1/twins?nonsense=1", 400, Code::InvalidRequest, "nonsense"),
        ("/api/v1/twins/oven/points/nope/history", 404, Code::UnknownPoint, "`nope`"),
        ("/api/v1/twins/oven/points/door/history?from=yesterday", 400, Code::InvalidRequest, "RFC 3339"),
        ("/api/v1/twins/oven/points/door/history?from=now&to=-1h", 400, Code::InvalidRequest, "later"),
        ("/api/v1/twins/oven/points/door/history?max_points=0", 400, Code::InvalidRequest, "1 to 10000"),
        ("/api/v1/commands/nope", 404, Code::NotFound, "nope"),
        ("/api/v1/commands?cursor=nope", 400, Code::InvalidRequest, "cursor"),
        ("/api/v1/audit?min_severity=loud", 400, Code::InvalidRequest, "loud"),
        ("/api/v1/switch/x", 404, Code::NotFound, "/api/v1/switch/x"),
    ];
    for (path, status, code, words) in get {
        let answer = rig.local(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let problem: Problem = answer.json().await.unwrap();
        assert!(problem.code == code && problem.detail.contains(words), "{path}: {problem:?}");
    }
    let commands = "/api/v1/twins/oven/commands";
    let good = json!({ "point": "free", "value": 1 });
    let post = [
        (json!({}), Some("k"), 400, Code::InvalidRequest),
        (good.clone(), None, 428, Code::PreconditionRequired),
        (json!({ "point": "free", "value": 1, "ttl_ms": 0 }), Some("k"), 400, Code::InvalidRequest),
        (json!({ "point": "free", "value": 1, "x": 1 }), Some("k"), 400, Code::InvalidRequest),
        (json!({ "point": "nope", "value": 1 }), Some("k"), 404, Code::UnknownPoint),
    ];
    for (body, key, status, code) in post {
        let mut request = rig.local(Method::POST, commands).json(&body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.json::<Problem>().await.unwrap().code, code, "{body}");
    }
    let form = rig.local(Method::POST, commands).header("Idempotency-Key", "k").body(good.to_string());
    assert_eq!(form.send().await.unwrap().status(), 400, "a body of no declared type");
    let large = rig.local(Method::POST, commands).header("Idempotency-Key", "k").body("x".repeat(100_000));
    assert_eq!(large.send().await.unwrap().status(), 413);
    let delete = rig.local(Method::DELETE, "/api/v1/twins").send().await.unwrap();
    assert_eq!(delete.status(), 405);
    let silent =
        rig.local(Method::PUT, "/api/v1/switch").json(&json!({ "position": "remote", "reason": " " }));
    assert_eq!(silent.send().await.unwrap().status(), 400, "a switch without a reason");
    assert_eq!(rig.get("/api/v1/switch").await["position"], "local");
    // A key used with another request.
    rig.send("same", "free", 1).await;
    let other = rig
        .local(Method::POST, commands)
        .header("Idempotency-Key", "same")
        .json(&json!({ "point": "free", "value": 2 }));
    assert_eq!(other.send().await.unwrap().json::<Problem>().await.unwrap().code, Code::IdempotencyConflict);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_are_found_by_id_place_and_trailing_part_and_assets_have_their_levels() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    let twin = rig.twin().await;
    for name in [&twin.id.to_string(), "plant%2Fcoating%2Fline1%2Foven", "line1%2Foven", "oven"] {
        assert_eq!(rig.get(&format!("/api/v1/twins/{name}")).await["id"], json!(twin.id));
    }
    for name in ["ven", "1%2Foven", "plant"] {
        let answer = rig.local(Method::GET, &format!("/api/v1/twins/{name}")).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{name}");
    }
    let list = rig.get("/api/v1/twins?filter=OVEN").await;
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next_cursor"]), (1, &json!(null)));
    assert_eq!(rig.get("/api/v1/twins?filter=press").await["items"], json!([]));
    let kinds: Vec<_> = rig.get("/api/v1/assets").await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["path"].as_str().unwrap().to_owned(), n["kind"].as_str().unwrap().to_owned()))
        .collect();
    let of = |p: &str, k: &str| (p.to_owned(), k.to_owned());
    let wanted = [
        of("", "enterprise"),
        of("plant", "site"),
        of("plant/coating", "area"),
        of("plant/coating/line1", "line"),
        of("plant/coating/line1/oven", "cell"),
    ];
    assert_eq!(kinds, wanted);
    rig.stop().await;
}

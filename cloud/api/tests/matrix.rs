//! Every route of the table, for every role, on every kind of scope: what is refused, and with which
//! code. A new route is walked without being named here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use cloud_api::table::{ROUTES, Route, Rule};
use cloud_core::UpdateStorage as _;
use common::api::Role;
use serde_json::json;
use support::{OVEN, PRESS, Rig};

const ROLES: [Role; 4] = [Role::Viewer, Role::Operator, Role::Engineer, Role::Admin];
/// Where the role is granted: on all, on the site and area of the twin asked for, and elsewhere.
const PLACES: [&str; 5] = ["", "plant", "plant/coating", "plant/winding", "other"];

fn reaches(place: &str) -> bool {
    matches!(place, "" | "plant" | "plant/coating")
}

/// Status classes that the guard may give. What comes after the guard is not its matter.
#[derive(Debug, PartialEq)]
enum Verdict {
    Passes,
    Forbidden,
    Hidden,
}

fn expected(route: &Route, role: Role, place: &str) -> Verdict {
    let enough = role >= route.least;
    match route.rule {
        Rule::Open => Verdict::Passes,
        Rule::Anywhere if enough => Verdict::Passes,
        Rule::Whole | Rule::OwnOrWhole if enough && place.is_empty() => Verdict::Passes,
        Rule::Twin | Rule::Command | Rule::Alarm if !reaches(place) => Verdict::Hidden,
        Rule::Twin | Rule::Command | Rule::Alarm if enough => Verdict::Passes,
        _ => Verdict::Forbidden,
    }
}

async fn verdict(rig: &Rig, route: &Route, path: &str, token: &str) -> Verdict {
    // Without headers and a body that fit, nothing behind the guard changes anything.
    let answer = rig.ask(route.method.as_str(), path).bearer(token).send().await;
    if answer.status.is_success() {
        return Verdict::Passes;
    }
    let code = answer.problem(answer.status.as_u16());
    match (answer.status.as_u16(), code.as_str()) {
        (403, "forbidden") => Verdict::Forbidden,
        (404, "not_found") => Verdict::Hidden,
        (400 | 415 | 428, _) => Verdict::Passes,
        // A connection that is none cannot be upgraded.
        (426, _) => Verdict::Passes,
        other => panic!("{} {path}: {other:?}", route.method),
    }
}

#[tokio::test(start_paused = true)]
async fn every_route_holds_for_every_role_and_place() {
    let rig = Rig::new();
    let operator = rig.token("op", &[("plant/coating", Role::Operator)]);
    let command = rig
        .ask("POST", &format!("/api/v1/twins/{OVEN}/commands"))
        .bearer(&operator)
        .header("idempotency-key", "k")
        .json(&json!({"point": "setpoint", "value": 100}))
        .send()
        .await
        .ok(202)
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let alarm = support::alarm(OVEN, "plant/coating/line1/oven");
    rig.storage.put_alarm(alarm.clone());
    rig.storage.put_rollout(&common::TenantId::default(), &support::updates::rollout(), &[]).await.unwrap();
    for route in ROUTES {
        let id = match route.rule {
            Rule::Command => command.clone(),
            Rule::Alarm => alarm.id.to_string(),
            Rule::Whole => "gw1".to_owned(),
            _ => OVEN.to_string(),
        };
        let path =
            route.path.replace("{id}", &id).replace("{point}", "temperature").replace("{name}", "somebody");
        for role in ROLES {
            for place in PLACES {
                let token = rig.token("caller", &[(place, role)]);
                let mut expected = expected(route, role, place);
                if route.path.ends_with("{name}") && expected == Verdict::Passes {
                    // Allowed, and then there is nobody of that name.
                    expected = Verdict::Hidden;
                }
                if route.method == "DELETE" && route.path == "/api/v1/session" {
                    // It really ends the session, which the next round makes anew.
                    rig.token("caller", &[(place, role)]);
                }
                let got = verdict(&rig, route, &path, &token).await;
                assert_eq!(got, expected, "{} {path} as {role:?} of {place:?}", route.method);
            }
        }
        if route.rule != Rule::Open {
            let answer = rig.ask(route.method.as_str(), &path).send().await;
            assert_eq!(answer.problem(401), "unauthenticated");
            assert!(answer.headers.contains_key("www-authenticate"));
            let answer = rig.ask(route.method.as_str(), &path).bearer("wrong").send().await;
            assert_eq!(answer.problem(401), "unauthenticated");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_show_only_what_the_grants_reach() {
    let rig = Rig::new();
    for (name, twin) in [("op", OVEN), ("op2", PRESS)] {
        let token = rig.token(name, &[("", Role::Operator)]);
        rig.ask("POST", &format!("/api/v1/twins/{twin}/commands"))
            .bearer(&token)
            .header("idempotency-key", "k")
            .json(&json!({"point": "mode", "value": 1}))
            .send()
            .await
            .ok(202);
    }
    rig.storage.put_alarm(support::alarm(OVEN, "plant/coating/line1/oven"));
    rig.storage.put_alarm(support::alarm(PRESS, "plant/winding/line1/press"));
    let list = async |token: &str, path: &str| {
        let answer = rig.ask("GET", path).bearer(token).send().await.ok(200);
        answer.json()["items"].as_array().unwrap().clone()
    };
    let coating = rig.token("c", &[("plant/coating", Role::Viewer)]);
    let all = rig.token("a", &[("", Role::Viewer)]);
    let nowhere = rig.token("n", &[("elsewhere", Role::Admin)]);
    for (path, few, many, none) in [
        ("/api/v1/twins", 1, 2, 0),
        ("/api/v1/commands", 1, 2, 0),
        ("/api/v1/alarms", 1, 2, 0),
        ("/api/v1/gateways", 1, 2, 0),
        ("/api/v1/audit", 1, 2, 0),
        ("/api/v1/assets", 5, 8, 1),
    ] {
        assert_eq!(list(&coating, path).await.len(), few, "{path}");
        assert_eq!(list(&all, path).await.len(), many, "{path}");
        assert_eq!(list(&nowhere, path).await.len(), none, "{path}");
    }
    assert_eq!(list(&coating, "/api/v1/twins").await[0]["asset"], "plant/coating/line1/oven");
}

#[tokio::test(start_paused = true)]
async fn another_areas_twin_is_as_absent_as_one_that_is_not_there() {
    let rig = Rig::new();
    let coating = rig.token("c", &[("plant/coating", Role::Admin)]);
    let hidden = rig.ask("GET", &format!("/api/v1/twins/{PRESS}")).bearer(&coating).send().await;
    let absent = rig.ask("GET", "/api/v1/twins/line9%2Fpress").bearer(&coating).send().await;
    assert_eq!(hidden.problem(404), "not_found");
    assert_eq!(hidden.body, absent.body);
    let named = rig.ask("GET", "/api/v1/twins/line1%2Fpress").bearer(&coating).send().await;
    assert_eq!(named.body, absent.body);
    let audit = rig.ask("GET", "/api/v1/audit?twin=line1%2Fpress").bearer(&coating).send().await;
    assert_eq!(audit.body, absent.body);
    rig.ask("GET", "/api/v1/twins/line1%2Foven").bearer(&coating).send().await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_fits_several_twins_is_refused_with_those_that_may_be_seen() {
    let rig = Rig::new();
    {
        let mut state = rig.world.write();
        let mut twin = state.twins[&OVEN].clone();
        twin.id = common::TwinId(uuid::Uuid::from_u128(9));
        twin.asset = "plant/winding/line1/oven".into();
        state.twins.insert(twin.id, twin);
    }
    let all = rig.token("a", &[("", Role::Viewer)]);
    let answer = rig.ask("GET", "/api/v1/twins/line1%2Foven").bearer(&all).send().await;
    assert_eq!(answer.problem(400), "invalid_request");
    assert!(answer.json()["detail"].as_str().unwrap().contains("plant/winding/line1/oven"));
    // To who sees one of them only, the name is not ambiguous.
    let coating = rig.token("c", &[("plant/coating", Role::Viewer)]);
    let answer = rig.ask("GET", "/api/v1/twins/line1%2Foven").bearer(&coating).send().await.ok(200);
    assert_eq!(answer.json()["asset"], "plant/coating/line1/oven");
}

//! Bundles, groups and rollouts over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use cloud_core::update::{PART_BYTES, UpdateStorage as _};
use cloud_core::{GatewayKey, StoreError};
use common::TenantId;
use common::api::{Release, RolloutBoxState, RolloutState, RolloutView, UpdateReport, UpdateState};
use common::text::hex;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use support::{Answer, Rig};

/// A bundle as it is described, with files of so many bytes.
fn bundle(product: &str, version: &str, bytes: usize) -> Vec<u8> {
    let files: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 253).unwrap()).collect();
    let sha = hex(&Sha256::digest(&files));
    let manifest = json!({
        "format": 1, "product": product, "version": version, "arch": "arm64", "payload_sha256": sha,
        "payload_bytes": bytes, "files": []
    });
    let manifest = manifest.to_string().into_bytes();
    let length = u32::try_from(manifest.len()).unwrap().to_le_bytes();
    [&b"TWINWAY-UPDATE 1\n\x01"[..], &[7; 72], &length, &manifest, &files].concat()
}

async fn add(rig: &Rig, bytes: Vec<u8>) -> Answer {
    let ask = rig.ask("POST", "/api/v1/releases").bearer(&rig.admin());
    ask.header("content-type", "application/octet-stream").raw(bytes).send().await
}

async fn ask(rig: &Rig, method: &str, path: &str, body: Option<Json>) -> Answer {
    let ask = rig.ask(method, path).bearer(&rig.admin());
    match body {
        Some(body) => ask.json(&body).send().await,
        None => ask.send().await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_is_kept_if_it_is_whole_and_no_part_of_another_stays() {
    let rig = Rig::new();
    let whole = bundle("twinway-gateway", "1.0.0", 2 * PART_BYTES);
    let mut spoilt = whole.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    for (bytes, status, word) in [
        (b"PK\x03\x04".to_vec(), 400, "not a bundle"),
        (whole[..40].to_vec(), 400, "ends before its manifest"),
        (whole[..whole.len() - 1].to_vec(), 400, "cut when it was copied"),
        (spoilt, 400, "cut when it was copied"),
        ([&whole[..], b"x"].concat(), 413, "more than the"),
        (bundle("twinway-cloud", "1.0.0", 9), 400, "a bundle of twinway-cloud"),
        (bundle("twinway-gateway", "1.0", 9), 400, "of the form 1.2.3"),
    ] {
        let answer = add(&rig, bytes).await;
        assert_eq!(answer.status.as_u16(), status, "{word}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{:?}", answer.json());
        assert!(rig.storage.updates().parts.is_empty(), "{word}");
    }
    let kept: Release = serde_json::from_value(add(&rig, whole.clone()).await.ok(201).json()).unwrap();
    assert_eq!((kept.version.as_str(), kept.bytes), ("1.0.0", whole.len() as u64));
    assert_eq!(
        (kept.sha256.clone(), &*kept.signed_by),
        (hex(&Sha256::digest(&whole)), &["07".repeat(8)][..])
    );
    let mut parts = Vec::new();
    for part in 0..3 {
        let tenant = TenantId::default();
        parts.extend(rig.storage.release_part(&tenant, &kept.sha256, part).await.unwrap().expect("a part"));
    }
    assert!(parts == whole);
    assert_eq!(add(&rig, bundle("twinway-gateway", "1.0.0", 10)).await.problem(409), "conflict");
    assert_eq!(rig.storage.updates().parts.len(), 3, "nothing of the other one, and all of the first");
    let wrong = rig.ask("POST", "/api/v1/releases").bearer(&rig.admin()).json(&json!({})).send().await;
    assert_eq!(wrong.status.as_u16(), 415);
    let list = ask(&rig, "GET", "/api/v1/releases", None).await.ok(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    ask(&rig, "DELETE", "/api/v1/releases/1.0.0", None).await.ok(204);
    assert_eq!(ask(&rig, "DELETE", "/api/v1/releases/1.0.0", None).await.problem(404), "not_found");
    assert_eq!(ask(&rig, "DELETE", "/api/v1/releases/x", None).await.status.as_u16(), 400);
    assert_eq!(rig.storage.actions(), ["release.added", "release.removed"]);
}

fn view(answer: &Answer) -> RolloutView {
    serde_json::from_value(answer.json()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_started_halted_and_goes_on_and_each_is_on_record() -> Result<(), StoreError> {
    let rig = Rig::new();
    let start = |version: &str, groups: &[&str]| json!({"version": version, "groups": groups, "stay_s": 5});
    assert_eq!(ask(&rig, "GET", "/api/v1/rollout", None).await.problem(404), "not_found");
    let nobody = ask(&rig, "POST", "/api/v1/rollout", Some(start("1.0.0", &["canary"]))).await;
    assert!(nobody.json()["detail"].as_str().unwrap().contains("no gateway is in group canary"));
    for (gateway, group) in [("gw1", "canary"), ("gw2", "rest")] {
        let path = format!("/api/v1/gateways/{gateway}/group");
        ask(&rig, "PUT", &path, Some(json!({"group": group}))).await.ok(204);
        assert_eq!(ask(&rig, "PUT", &path, Some(json!({"group": "a b"}))).await.status.as_u16(), 400);
    }
    let unknown = ask(&rig, "PUT", "/api/v1/gateways/gw9/group", Some(json!({"group": "x"}))).await;
    assert_eq!(unknown.problem(404), "not_found");
    let none = ask(&rig, "POST", "/api/v1/rollout", Some(start("1.0.0", &["canary"]))).await;
    assert!(none.json()["detail"].as_str().unwrap().contains("no bundle of 1.0.0"));
    add(&rig, bundle("twinway-gateway", "1.0.0", 10)).await.ok(201);
    for groups in [&["canary", "canary"][..], &[]] {
        let wrong = ask(&rig, "POST", "/api/v1/rollout", Some(start("1.0.0", groups))).await;
        assert_eq!(wrong.status.as_u16(), 400, "{groups:?}");
    }
    let began = ask(&rig, "POST", "/api/v1/rollout", Some(start("1.0.0", &["canary", "rest"]))).await.ok(201);
    let states: Vec<_> = view(&began).boxes.iter().map(|b| b.state).collect();
    assert_eq!(states, [RolloutBoxState::Waiting, RolloutBoxState::Later]);
    let second = ask(&rig, "POST", "/api/v1/rollout", Some(start("1.0.0", &["rest"]))).await;
    assert_eq!(second.problem(409), "conflict");
    let held = ask(&rig, "DELETE", "/api/v1/releases/1.0.0", None).await;
    assert_eq!(held.problem(409), "conflict");

    // A box fails, somebody halts it and lets it go on without that one.
    let failed = UpdateReport {
        accepts: true,
        version: "0.9.0".into(),
        arch: "arm64".into(),
        offer: Some(common::api::UpdateOffer {
            rollout: 1,
            version: "1.0.0".into(),
            arch: "arm64".into(),
            bytes: 1,
            sha256: "07".repeat(32),
        }),
        state: UpdateState::GaveWay,
        reason: "it was not ready".into(),
        ..UpdateReport::default()
    };
    let key = GatewayKey { tenant: TenantId::default(), gateway: "gw1".parse().unwrap() };
    rig.storage.keep_update_report(&key, &failed).await?;
    let shown = ask(&rig, "GET", "/api/v1/gateways/gw1/update", None).await.ok(200).json();
    assert_eq!((&shown["group"], &shown["report"]["state"]), (&json!("canary"), &json!("gave_way")));
    assert_eq!(
        ask(&rig, "GET", "/api/v1/updates", None).await.ok(200).json()["items"].as_array().unwrap().len(),
        2
    );
    let no_reason = ask(&rig, "POST", "/api/v1/rollout/halt", Some(json!({"reason": " "}))).await;
    assert_eq!(no_reason.status.as_u16(), 400);
    let early = ask(&rig, "POST", "/api/v1/rollout/go-on", Some(json!({"reason": "so"}))).await;
    assert_eq!(early.problem(409), "conflict");
    let halted = ask(&rig, "POST", "/api/v1/rollout/halt", Some(json!({"reason": "so"}))).await.ok(200);
    assert_eq!(view(&halted).rollout.state, RolloutState::Halted);
    let on = ask(&rig, "POST", "/api/v1/rollout/go-on", Some(json!({"reason": "so"}))).await.ok(200);
    assert_eq!(view(&on).rollout.state, RolloutState::Running);
    assert_eq!(view(&on).boxes[0].state, RolloutBoxState::PassedOver);
    // Who stays without it is named, with the reason.
    assert_eq!(on.json()["left_out"], json!(["gw1"]));
    assert!(view(&on).boxes[0].reason.contains("it was not ready"));
    assert_eq!(halted.json().get("left_out"), None);
    let told: Vec<_> = rig.storage.entries().into_iter().map(|e| e.detail).collect();
    assert!(told.last().unwrap().contains("passing over gw1"), "{told:?}");
    let actions = rig.storage.actions();
    assert_eq!(actions[3..], ["rollout.started", "rollout.halted", "rollout.resumed"]);
    Ok(())
}

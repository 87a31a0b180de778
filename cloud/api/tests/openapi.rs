//! `docs/openapi.json` is what the program says of itself. `UPDATE_OPENAPI=1 cargo test -p cloud-api`
//! writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

use std::path::PathBuf;

use cloud_api::openapi;
use serde_json::Value as Json;

#[test]
fn the_description_in_docs_is_the_one_that_is_served() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, openapi::text()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == openapi::text(),
        "docs/openapi.json is old: run UPDATE_OPENAPI=1 cargo test -p cloud-api"
    );
}

fn references(node: &Json, out: &mut Vec<String>) {
    match node {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(target) if key == "$ref" => out.push(target.clone()),
                    _ => references(value, out),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| references(item, out)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_every_reference_leads_somewhere() {
    let document: Json = serde_json::from_str(openapi::text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for route in cloud_api::table::ROUTES {
        let op = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(op["summary"].is_string(), "{} {}", route.method, route.path);
        assert!(op["responses"].as_object().unwrap().keys().any(|s| s.starts_with('2') || s == "101"));
    }
    let mut targets = Vec::new();
    references(&document, &mut targets);
    assert!(!targets.is_empty());
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

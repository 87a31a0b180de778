//! Crate directions, and what may be in the dependency tree.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{none_of, root};

/// Every crate and which of ours it may depend on. Development dependencies are held to the same.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("gateway-core", &["common"]),
    // The calls that are not safe Rust, and nothing else.
    ("heap", &[]),
    // A pure core: the box, the command line and the simulator speak the same Modbus.
    ("gateway-modbus", &["common"]),
    ("gateway-adapters", &["common", "gateway-core", "gateway-modbus", "gateway-opcua", "gateway-sparkplug"]),
    // What client and server of OPC UA share: certificates, values, status codes.
    ("gateway-opcua", &["common"]),
    // In the place of a crate of OPC UA's: it knows that, and nothing of ours.
    ("async-opcua-core-namespace", &[]),
    ("gateway-opcua-server", &["common", "gateway-core", "gateway-opcua"]),
    ("gateway-pipeline", &["common", "gateway-core"]),
    ("gateway-store", &["common", "gateway-core"]),
    ("gateway-control", &["common", "gateway-core"]),
    ("gateway-broker", &["common", "gateway-core"]),
    ("gateway-sync", &["common", "gateway-core"]),
    // A pure codec: adapters read with it, publish writes with it.
    ("gateway-sparkplug", &["common"]),
    ("gateway-publish", &["common", "gateway-core", "gateway-sparkplug"]),
    // What root runs: it knows neither network nor devices.
    ("gateway-update", &["common"]),
    (
        "twinway-gateway",
        &[
            "common",
            "gateway-core",
            "heap",
            "gateway-modbus",
            "gateway-adapters",
            "gateway-pipeline",
            "gateway-store",
            "gateway-control",
            "gateway-broker",
            "gateway-sync",
            "gateway-publish",
            "gateway-update",
            "gateway-sparkplug",
            "gateway-opcua",
            "gateway-opcua-server",
            // Its other name, and nothing of it in the service.
            "twinway",
        ],
    ),
    ("cloud-core", &["common"]),
    // Holds what makes certificates.
    ("cloud-authority", &["common", "cloud-core"]),
    ("cloud-ingest", &["common", "cloud-core"]),
    ("cloud-twin", &["common", "cloud-core"]),
    // Its tests run against a real server.
    ("cloud-store", &["common", "cloud-core", "test-postgres"]),
    ("cloud-live", &["common", "cloud-core"]),
    // The route that upgrades to a WebSocket hands it to the live channel.
    ("cloud-api", &["common", "cloud-core", "cloud-live"]),
    ("cloud-ui", &[]),
    (
        "twinway-cloud",
        &[
            "common",
            "cloud-core",
            "cloud-authority",
            "cloud-ingest",
            "cloud-twin",
            "cloud-store",
            "cloud-live",
            "cloud-api",
            "cloud-ui",
            "heap",
        ],
    ),
    ("twinway", &["common", "gateway-modbus"]),
    // Its oven has certificates of its own, as any device that speaks OPC UA, and is tried with the gateway's client.
    ("demo", &["common", "gateway-adapters", "gateway-opcua", "twinway-gateway", "twinway-cloud"]),
    // A server of the distribution, for tests.
    ("test-postgres", &[]),
];

fn metadata() -> Value {
    // Of this platform only: what others need is not downloaded.
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host");
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("metadata is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn crates_depend_only_as_the_architecture_says() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeMap<&str, &Value> =
        packages.iter().filter(|p| p["source"].is_null()).map(|p| (text(p, "name"), p)).collect();
    let mut findings = Vec::new();
    for (name, package) in &ours {
        let depends: BTreeSet<_> = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .map(|d| text(d, "name"))
            .filter(|d| ours.contains_key(d))
            .collect();
        if *name == "tests" {
            continue; // knows everything, and nobody knows it
        }
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(n, _)| n == name) else {
            findings.push(format!("{name} is not in the table of directions"));
            continue;
        };
        findings.extend(depends.iter().filter(|d| !allowed.contains(d)).map(|d| format!("{name} -> {d}")));
    }
    findings.extend(
        DIRECTIONS.iter().filter(|(n, _)| !ours.contains_key(n)).map(|(n, _)| format!("{n} is gone")),
    );
    none_of(findings, "an edge that the architecture does not have");
}

#[test]
fn no_crate_needs_cmake_a_system_library_or_a_second_tls_stack() {
    let banned = ["openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs", "cmake", "bindgen", "libudev-sys"];
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let found = lock.lines().filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"'));
    none_of(found.filter(|n| banned.contains(n)).map(String::from).collect(), "banned by deny.toml as well");
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let deny: toml::Table =
        std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml").parse().expect("TOML");
    let allowed: BTreeSet<_> =
        deny["licenses"]["allow"].as_array().expect("a list").iter().filter_map(|l| l.as_str()).collect();
    // An expression is fine if each of its `AND` parts has an `OR` choice that is allowed.
    let fits = |expression: &str| {
        expression
            .replace(['(', ')'], "")
            .replace('/', " OR ")
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|choice| allowed.contains(choice.trim())))
    };
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let bad = packages
        .iter()
        .filter(|p| !fits(text(p, "license")))
        .map(|p| format!("{} {}: `{}`", text(p, "name"), text(p, "version"), text(p, "license")));
    none_of(bad.collect(), "licence not allowed");
}

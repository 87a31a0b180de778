//! Names that other programs see exist once, and sample configurations parse.

use std::collections::BTreeMap;

use crate::{files, is_test, none_of, root};

#[test]
fn metric_and_topic_names_exist_once() {
    let mut findings = Vec::new();
    for file in files() {
        let here = file.path.ends_with(".rs") && !is_test(&file.path) && file.path != "common/src/names.rs";
        if !here {
            continue;
        }
        let own = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (n, line) in own.lines().enumerate() {
            let metric = line.contains("\"twinway_gateway_") || line.contains("\"twinway_cloud_");
            let topic = line.contains("\"twinway/v1") || line.contains("\"twinway/points");
            if (metric || topic) && !line.trim_start().starts_with("//") {
                findings.push(format!("{}:{}: {}", file.path, n + 1, line.trim()));
            }
        }
    }
    none_of(findings, "use common::names");
}

#[test]
fn error_codes_are_documented_once_each() {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for code in common::names::Code::ALL {
        *count.entry(code.as_str()).or_default() += 1;
    }
    none_of(count.iter().filter(|(_, n)| **n != 1).map(|(c, n)| format!("{c}: {n}")).collect(), "code");
}

#[test]
fn sample_configurations_are_accepted() {
    for folder in ["config", "config/box"] {
        let file = |name: &str| root().join(folder).join(name);
        twinway_gateway::Config::load(&file("gateway.toml")).unwrap_or_else(|e| panic!("{e}"));
        twinway_cloud::Config::load(&file("cloud.toml")).unwrap_or_else(|e| panic!("{e}"));
    }
}

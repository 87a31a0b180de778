//! Sizes, documentation and forbidden words of source files.

use crate::{File, files, has_ending, is_test, none_of};

const LONGEST_FILE: usize = 500;

/// The part of a file that is not its inline tests.
fn without_tests(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let end = file.text.find("#[cfg(test)]\nmod tests {").unwrap_or(file.text.len());
    file.text[..end].lines().enumerate().map(|(i, l)| (i + 1, l))
}

fn found(words: &[&str], endings: &[&str], in_tests: bool, allowed: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files() {
        let here = has_ending(&file.path, endings) && (in_tests || !is_test(&file.path));
        if !here || allowed.contains(&file.path.as_str()) || file.path.starts_with("tests/tests/tidy/") {
            continue;
        }
        for (n, line) in file.text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                findings.push(format!("{}:{}: {}", file.path, n + 1, line.trim()));
            }
        }
    }
    findings
}

#[test]
fn no_file_is_longer_than_a_reader_keeps_in_mind() {
    let long = files()
        .into_iter()
        .filter(|f| has_ending(&f.path, &[".rs", ".ts", ".tsx", ".css"]) && !is_test(&f.path))
        .filter(|f| !f.path.ends_with("schema.ts")) // generated
        .map(|f| (without_tests(&f).count(), f.path))
        .filter(|(n, _)| *n > LONGEST_FILE)
        .map(|(n, path)| format!("{path}: {n} lines, limit {LONGEST_FILE}"));
    none_of(long.collect(), "split it by what it does");
}

#[test]
fn every_rust_file_says_what_it_is() {
    let silent = files()
        .into_iter()
        .filter(|f| {
            f.path.ends_with(".rs")
                && !f.text.trim_start_matches("#![").lines().take(5).any(|l| l.starts_with("//! "))
        })
        .map(|f| f.path);
    none_of(silent.collect(), "starts without `//!`");
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "XXX:"];
    none_of(found(&words, &[".rs", ".ts", ".tsx"], true, &[]), "unfinished");
}

#[test]
fn no_test_is_ignored_skipped_or_asleep() {
    let words = ["#[ignore", "thread::sleep(", "it.skip(", "test.skip(", "describe.skip(", ".only("];
    let found = found(&words, &[".rs", ".ts", ".tsx"], true, &[]);
    // A benchmark's plant and bare loop keep a pace of their own; they are no tests.
    let tests = found.into_iter().filter(|f| !f.starts_with("tests/src/bin/bench/")).collect();
    none_of(tests, "mend or remove it");
}

#[test]
fn only_control_holds_the_way_to_write_to_a_device() {
    // Core defines it, adapters provide it, the daemon hands it to control: nobody else knows it.
    let others = found(&["DeviceWriter"], &[".rs"], false, &[]);
    let may = ["gateway/core/", "gateway/adapters/", "gateway/control/", "gateway/daemon/"];
    none_of(others.into_iter().filter(|f| !may.iter().any(|m| f.starts_with(m))).collect(), "invariant 1");
    // And the daemon hands it on without calling it.
    let calls = found(&["writer.write(", ".write(point"], &[".rs"], false, &[]);
    none_of(calls.into_iter().filter(|f| f.starts_with("gateway/daemon/")).collect(), "invariant 1");
}

#[test]
fn the_project_names_no_place_of_its_making() {
    let words = ["/work/", "/root/", "registry.npmmirror", "index.crates.io-"];
    none_of(
        found(&words, &[".rs", ".ts", ".tsx", ".toml", ".md", ".json", ".sh", ".yml", "Makefile"], true, &[]),
        "a path or host of some machine",
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().into_iter().filter(|f| f.path.ends_with(".md")) {
        let dir = std::path::Path::new(&file.path).parent().unwrap_or(std::path::Path::new(""));
        for target in file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !outside && !crate::root().join(dir).join(path).exists() {
                broken.push(format!("{}: {target}", file.path));
            }
        }
    }
    none_of(broken, "broken link");
}

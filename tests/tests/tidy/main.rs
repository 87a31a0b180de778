//! Rules of the house that a machine can check: crate directions, file sizes, forbidden calls, names that
//! exist once, documents whose links lead somewhere. A rule that nobody checks is not a rule.

mod crates;
mod names;
mod packages;
mod sources;
mod units;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the project").to_owned()
}

/// A file of the project, read.
struct File {
    path: String,
    text: String,
}

/// Every text file that git tracks (or would: new files count before their first commit).
fn files() -> Vec<File> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let list = String::from_utf8(out.stdout).expect("paths are UTF-8");
    let read =
        |path: &str| Some(File { path: path.into(), text: std::fs::read_to_string(root().join(path)).ok()? });
    let files: Vec<_> = list.lines().filter_map(read).collect();
    assert!(files.len() > 50, "only {} files found", files.len());
    files
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    endings.iter().any(|e| path.ends_with(e))
}

/// Tests, benchmarks and their support: what may be long, may unwrap, may print.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/e2e/")
        || path.contains("/testdata/")
        || has_ending(path, &["_tests.rs", ".test.ts", ".test.tsx"])
}

/// Fails with all findings at once.
fn none_of(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

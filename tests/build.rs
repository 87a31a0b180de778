//! Builds the library that the fault harness puts between a program and the C library, with the C compiler that the
//! workspace needs anyway.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=shim/shim.c");
    println!("cargo:rerun-if-env-changed=CC");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("libfaults.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o"])
        .arg(&out)
        .args(["shim/shim.c", "-ldl", "-lpthread"])
        .status();
    let built =
        status.unwrap_or_else(|e| panic!("{compiler} does not run: {e}; install a C compiler or set CC"));
    assert!(built.success(), "{compiler} refused shim/shim.c");
    println!("cargo:rustc-env=FAULTS_SHIM={}", out.display());
}

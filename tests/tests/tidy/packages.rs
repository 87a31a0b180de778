//! What packages say of themselves: the C library that their programs need.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::root;

/// The newest version of a symbol, and the version by which a library says that it reads packed relocations.
fn libc_needs(program: &Path) -> (String, String) {
    let output = Command::new("bash")
        .args([
            "-euo",
            "pipefail",
            "-c",
            ". cross/libc.sh; libc_needs objdump \"$1\"; echo \"$libc|$relr\"",
            "sh",
        ])
        .arg(program)
        .current_dir(root())
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).expect("text");
    let (libc, relr) = told.trim().split_once('|').expect("two words");
    (libc.to_owned(), relr.to_owned())
}

#[test]
fn a_package_needs_a_c_library_that_can_load_its_programs() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = dir.path().join("program.c");
    // A table of pointers: each is relocated at the start.
    let text = "#include <stdio.h>\nstatic const char *const names[] = {\"a\", \"b\"};\n\
                int main(int count, char **words) { (void)words; return puts(names[count % 2]) < 0; }\n";
    fs::write(&source, text).expect("a program's source");
    for (packed, expected) in [("nopack-relative-relocs", ""), ("pack-relative-relocs", "GLIBC_ABI_DT_RELR")]
    {
        let program = dir.path().join(packed);
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-fPIE", "-pie", &format!("-Wl,-z,{packed}"), "-o"]).arg(&program).arg(&source);
        assert!(compiler.status().expect("a C compiler").success());
        let (libc, relr) = libc_needs(&program);
        assert!(libc.starts_with("2."), "{libc}");
        assert_eq!(relr, expected, "{packed}");
    }
    // A library that lacks either cannot load it, so both packages ask for both.
    let script = |name: &str| fs::read_to_string(root().join("cross").join(name)).expect("a script");
    let (deb, rpm) = (script("deb.sh"), script("rpm.sh"));
    assert!(deb.contains("libc6 (>= $libc)") && deb.contains("[ -z \"$relr\" ] ||"), "{deb}");
    assert!(rpm.contains("libc.so.6(GLIBC_$libc)$bits${relr:+\nRequires: libc.so.6($relr)$bits}"), "{rpm}");
}

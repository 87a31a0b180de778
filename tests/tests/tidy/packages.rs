//! What packages say of themselves and leave behind: the C library that their programs need, and nothing.

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

/// An archive as `cross/tar.sh` lays it out, with these files of a version beside what the script itself needs.
fn archive(at: &Path, files: &[&str]) {
    let write = |path: &str, text: &str| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let script = fs::read_to_string(root().join("cross/tar/install.sh")).expect("the script");
    let values = [
        ("NAME", "twinway-x"),
        ("CONFIG_DIR", "/etc/twinway-x"),
        ("STATE_DIR", "/var/lib/twinway-x"),
        ("USER", "twinway-x"),
        ("SERVICES", "twinway-x.service"),
    ];
    let script = values.iter().fold(script, |s, (key, value)| s.replace(&format!("@{key}@"), value));
    assert!(!script.contains("=@") && !script.contains("\"@"), "{script}");
    write("install.sh", &script);
    write("files/etc/twinway-x/x.toml", "# as it came\n");
    write("files/usr/bin/twinway-x", "");
    for folder in
        ["man/man1", "bash-completion/completions", "zsh/vendor-completions", "fish/vendor_completions.d"]
    {
        write(&format!("files/usr/share/{folder}/twinway-x"), "");
    }
    write("files/usr/lib/twinway-x/build.json", "{}");
    write("files/usr/lib/sysusers.d/twinway-x.conf", "u twinway-x - \"test\"\n");
    write("files/usr/lib/tmpfiles.d/twinway-x.conf", "d /var/lib/twinway-x 0700 root root -\n");
    let unit = "[Service]\nExecStart=/usr/bin/twinway-x\n[Install]\nWantedBy=multi-user.target\n";
    write("files/usr/lib/systemd/system/twinway-x.service", unit);
    for file in files {
        write(&format!("files/{file}"), "");
    }
}

/// What lies below a folder, but for folders.
fn files_in(root: &Path) -> String {
    let output =
        Command::new("find").args([".", "!", "-type", "d"]).current_dir(root).output().expect("find");
    let mut files: Vec<_> =
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    files.sort();
    files.join("\n")
}

#[test]
fn an_archive_takes_away_what_only_the_version_before_had() {
    let dir = tempfile::tempdir().expect("a folder");
    let [older, newer, system] = ["older", "newer", "system"].map(|name| dir.path().join(name));
    archive(&older, &["usr/share/doc/twinway-x/a", "usr/lib/systemd/system/other.service.d/twinway-x.conf"]);
    archive(&newer, &["usr/share/doc/twinway-x/b"]);
    fs::create_dir_all(system.join("etc")).expect("a folder");
    fs::create_dir_all(system.join("usr/bin")).expect("a folder");
    fs::write(system.join("usr/bin/other"), "").expect("a file of somebody else");
    let install = |from: &Path, how: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(from.join("install.sh")).args(how).env("ROOT", &system);
        let output = command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").output().expect("a shell");
        assert!(output.status.success(), "{how:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    install(&older, &[]);
    let there = files_in(&system);
    assert!(
        there.contains("/doc/twinway-x/a") && there.contains("other.service.d/twinway-x.conf"),
        "{there}"
    );
    assert!(there.contains("multi-user.target.wants/twinway-x.service"), "{there}");
    fs::write(system.join("etc/twinway-x/x.toml"), "# mine\n").expect("a configuration");
    install(&newer, &[]);
    let there = files_in(&system);
    assert!(there.contains("/doc/twinway-x/b") && !there.contains("/doc/twinway-x/a"), "{there}");
    assert!(!there.contains("other.service.d"), "{there}");
    assert_eq!(fs::read_to_string(system.join("etc/twinway-x/x.toml")).expect("it stays"), "# mine\n");
    // Whichever archive lies there: what is installed goes.
    install(&older, &["--remove"]);
    let there = files_in(&system.join("usr"));
    assert_eq!(there, "./bin/other");
    assert!(!system.join("usr/lib/systemd/system/other.service.d").exists(), "folders that came with it");
    assert!(system.join("etc/twinway-x/x.toml").exists(), "its removal took the configuration");
    install(&newer, &["--purge"]);
    assert!(!system.join("etc/twinway-x").exists() && !system.join("var/lib/twinway-x").exists());
}

/// The updater would start the gateway again, and be there without its program.
#[test]
fn removal_stops_all_that_runs() {
    let services = |product: &str| {
        let line = format!(". cross/product.sh; product {product}; echo $services");
        let output = Command::new("bash").args(["-euc", &line]).current_dir(root()).output().expect("bash");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let units = |product: &str| services(product).split(' ').map(str::to_owned).collect::<Vec<_>>();
    let gateway = units("twinway-gateway");
    assert_eq!(gateway.last().map(String::as_str), Some("twinway-gateway.service"));
    assert!(gateway.contains(&"twinway-update.service".to_owned()), "{gateway:?}");
    for unit in gateway.iter().chain(&units("twinway-cloud")) {
        assert!(root().join("systemd").join(unit).exists(), "{unit}");
    }
    for script in ["deb/prerm", "rpm/preun", "tar/install.sh"] {
        let text = fs::read_to_string(root().join("cross").join(script)).expect("a script");
        assert!(text.contains("@SERVICES@"), "{script}");
    }
}

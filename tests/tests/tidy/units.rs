//! The units of systemd/: understood to the last key, and as closed as they claim; their users and folders are what they name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::root;

const UNITS: [&str; 2] = ["twinway-gateway", "twinway-cloud"];
/// Most exposure, in tenths, by `systemd-analyze security`: 0 is closed, 100 is open.
const MOST_EXPOSED: &str = "15";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; tests/setup.sh installs it"));
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

/// Services, and what belongs to them.
const FILES: [(&str, &str); 4] = [
    ("twinway-update.path", "twinway-gateway"),
    ("twinway-update.service", "twinway-gateway"),
    ("twinway-gateway.service", "twinway-gateway"),
    ("twinway-cloud.service", "twinway-cloud"),
];

/// The unit with its program where there is one: it is not installed here.
fn with_a_program(dir: &Path, name: &str, unit: &str) -> String {
    let program = dir.join(unit);
    fs::write(&program, "#!/bin/sh\n").expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program that runs");
    let text = fs::read_to_string(root().join("systemd").join(name)).expect("the unit");
    let there = program.to_str().expect("a path in UTF-8");
    let file = dir.join(name);
    fs::write(&file, text.replace(&format!("/usr/bin/{unit}"), there)).expect("the unit's copy");
    file.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn units_are_understood_and_closed() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = FILES.map(|(name, program)| with_a_program(dir.path(), name, program));
    for file in files {
        run("systemd-analyze", &["verify", "--man=no", "--recursive-errors=yes", &file]);
        if !file.ends_with(".service") {
            continue;
        }
        run(
            "systemd-analyze",
            &["security", "--no-pager", "--offline=true", &format!("--threshold={MOST_EXPOSED}"), &file],
        );
    }
}

/// systemd leaves out a group of devices that no driver has claimed yet when the unit is started.
#[test]
fn drivers_of_serial_ports_that_are_plugged_in_are_there_before_the_gateway() {
    let text = fs::read_to_string(root().join("systemd/twinway-gateway.service")).expect("the unit");
    let named = |key: &str| -> Vec<&str> {
        text.lines().filter_map(|l| l.strip_prefix(key)).flat_map(str::split_whitespace).collect()
    };
    let (wants, after, groups) = (named("Wants="), named("After="), named("DeviceAllow="));
    // Of the others the driver is part of the kernel, or loaded for what is soldered on.
    for (group, module) in [
        ("char-ttyUSB", "usbserial"),
        ("char-ttyACM", "cdc_acm"),
        ("char-ttyXRUSB", "xr_usb_serial_common"),
        ("char-ttySC", "sc16is7xx"),
    ] {
        let loaded = format!("modprobe@{module}.service");
        assert!(groups.contains(&group), "{group} is not allowed");
        assert!(wants.contains(&loaded.as_str()) && after.contains(&loaded.as_str()), "{loaded} for {group}");
    }
}

/// The gateway comes after time-sync.target, and the service before that waits for ever if it is left alone.
#[test]
fn waiting_for_the_time_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = "systemd-time-wait-sync.service";
    let (file, added) = (dir.path().join(name), dir.path().join(format!("{name}.d")));
    fs::copy(Path::new("/usr/lib/systemd/system").join(name), &file).expect("the distribution's unit");
    fs::create_dir(&added).expect("a folder of what is added");
    let own = root().join("systemd/twinway-time-wait.conf");
    fs::copy(&own, added.join("twinway.conf")).expect("what is added");
    let file = file.display().to_string();
    run("systemd-analyze", &["verify", "--man=no", "--recursive-errors=yes", &file]);
    let text = fs::read_to_string(own).expect("what is added");
    let limit = text.lines().find_map(|l| l.strip_prefix("TimeoutStartSec=")).expect("a limit");
    assert!((1..=300).contains(&limit.parse::<u32>().expect("seconds")), "{limit}");
    let stage = fs::read_to_string(root().join("cross/stage.sh")).expect("what packages hold");
    assert!(stage.contains(&format!("{name}.d/twinway.conf")), "no package brings it");
}

#[test]
fn a_unit_has_its_user_and_its_folders() {
    let dir = tempfile::tempdir().expect("a folder");
    let inside = format!("--root={}", dir.path().display());
    fs::create_dir(dir.path().join("etc")).expect("a folder for the lists of users");
    for unit in UNITS {
        let lists = |kind: &str| root().join(format!("systemd/{unit}.{kind}")).display().to_string();
        run("systemd-sysusers", &[&inside, &lists("sysusers")]);
        run("systemd-tmpfiles", &[&inside, "--create", &lists("tmpfiles")]);
        let text = fs::read_to_string(root().join(format!("systemd/{unit}.service"))).expect("the unit");
        let value = |key: &str| {
            let line =
                text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| panic!("{unit}: no {key}"));
            line.to_owned()
        };
        let users = fs::read_to_string(dir.path().join("etc/passwd")).expect("users");
        assert!(users.lines().any(|l| l.starts_with(&format!("{}:", value("User=")))), "{users}");
        let state = dir.path().join("var/lib").join(value("StateDirectory="));
        let secrets = value("LoadCredential=secrets:/");
        for folder in [state, dir.path().join(secrets)] {
            let mode =
                fs::metadata(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).permissions();
            assert_eq!(mode.mode() & 0o777, 0o700, "{}", folder.display());
        }
    }
    let groups = fs::read_to_string(dir.path().join("etc/group")).expect("groups");
    let dialout = groups.lines().find(|l| l.starts_with("dialout:")).unwrap_or_default();
    assert!(dialout.ends_with(":twinway"), "{groups}");
}

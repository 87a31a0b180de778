//! What is taken for a bundle: nothing of which a bit was changed, and nothing that lies although it is signed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use gateway_update::{Allowed, Bundle, Trusted, install, make_key, sign};
use rig::{PROGRAM, Rig, bundle, manifest, sha256};

/// Reads all of it, as `verify` does.
fn verified(rig: &Rig, path: &Path) -> Result<(), String> {
    let checked = Bundle::open(path).and_then(|b| b.verify(&Trusted::load(&rig.site.keys)?));
    checked.and_then(|mut c| c.check()).map_err(|e| e.to_string())
}

#[test]
fn a_bundle_is_taken_only_as_it_was_made() {
    let rig = Rig::new();
    let path = rig.bundle("1.1.0", |_| {});
    let sound = fs::read(&path).unwrap();
    verified(&rig, &path).unwrap();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, changed).unwrap();
        assert!(verified(&rig, &path).is_err(), "byte {at} of {} may be anything", sound.len());
    }
    for length in 0..sound.len() {
        fs::write(&path, &sound[..length]).unwrap();
        assert!(verified(&rig, &path).is_err(), "cut to {length} of {}", sound.len());
    }
    fs::write(&path, [&sound[..], b"x"].concat()).unwrap();
    assert!(verified(&rig, &path).is_err(), "more than was signed");
}

#[test]
fn a_signature_does_not_make_a_lie_true() {
    let rig = Rig::new();
    let files: [(&str, &[u8]); 2] = [(PROGRAM, b"#!/bin/sh\n"), ("usr/share/x", b"text")];
    let (sound, payload) = manifest("1.1.0", &files);
    let path = rig.path("lie.twup");
    let told = |change: &dyn Fn(&mut gateway_update::Manifest)| {
        let mut lie = sound.clone();
        change(&mut lie);
        fs::write(&path, bundle(&lie, &payload, &rig.key)).unwrap();
        let told = verified(&rig, &path).unwrap_err();
        assert!(install(&rig.site, &path, Allowed::default()).is_err());
        told
    };
    for (at, size) in [(0, 9), (0, 11), (1, 3), (1, 5), (1, 400 << 20)] {
        let told = told(&|m| m.files[at].size = size);
        assert!(told.contains("is not as the manifest says"), "{at} {size}: {told}");
    }
    assert!(told(&|m| m.files[1].sha256 = sha256(b"test")).contains("usr/share/x is not as"));
    assert!(told(&|m| m.files.truncate(1)).contains("what follows the last file"));
    assert!(told(&|m| m.files[1].path = "../../x".to_owned()).contains("no path of a bundle"));
    assert!(told(&|m| m.payload_bytes += 1).contains("not those that were signed"));
    assert!(told(&|m| m.payload_bytes -= 1).contains("not those that were signed"));
    // Nothing of it is left, and nothing runs.
    let state = gateway_update::State::load(&rig.site.folder.state_file()).unwrap();
    assert!(state.installed.is_none() && !state.log.is_empty());
    // No compressed data at all, but signed.
    let mut other = sound.clone();
    (other.payload_sha256, other.payload_bytes) = (sha256(b"plain"), 5);
    fs::write(&path, bundle(&other, b"plain", &rig.key)).unwrap();
    assert!(verified(&rig, &path).unwrap_err().contains("is not as the manifest says"));
}

#[test]
fn only_keys_of_the_folder_sign() {
    let rig = Rig::new();
    let path = rig.bundle("1.1.0", |_| {});
    fs::rename(rig.site.keys.join("builder.pub"), rig.path("builder.pub")).unwrap();
    assert!(verified(&rig, &path).unwrap_err().contains("no key is trusted: put"));
    make_key(&rig.site.keys.join("other.key")).unwrap();
    assert!(verified(&rig, &path).unwrap_err().contains("which is not in"));
    fs::rename(rig.path("builder.pub"), rig.site.keys.join("second.pub")).unwrap();
    verified(&rig, &path).unwrap();
}

fn staged(rig: &Rig) -> std::path::PathBuf {
    let staged = rig.path("staged");
    for (path, text, mode) in [
        (PROGRAM, "#!/bin/sh\n", 0o755),
        ("usr/share/doc/x", "text", 0o644),
        ("etc/twinway/gateway.toml", "", 0o644),
        (
            "usr/lib/twinway-gateway/build.json",
            r#"{"product":"twinway-gateway","version":"1.1.0","arch":"riscv","commit":"c","store_format":1,"config_schema":1}"#,
            0o644,
        ),
    ] {
        let path = staged.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    staged
}

#[test]
fn what_is_signed_is_verified_by_each_key_and_twice_the_same() {
    let rig = Rig::new();
    let staged = staged(&rig);
    let second = rig.path("second.key");
    make_key(&second).unwrap();
    let (first_to, second_to) = (rig.path("a.twup"), rig.path("b.twup"));
    let keys = [second.clone(), rig.key.clone()];
    let made = sign(&staged, &keys, Some("1.0.0".parse().unwrap()), &first_to).unwrap();
    sign(&staged, &keys, Some("1.0.0".parse().unwrap()), &second_to).unwrap();
    assert_eq!(fs::read(&first_to).unwrap(), fs::read(&second_to).unwrap());
    verified(&rig, &first_to).unwrap();
    let paths: Vec<_> = made.files.iter().map(|f| (f.path.as_str(), f.executable)).collect();
    let expected =
        [(PROGRAM, true), ("usr/lib/twinway-gateway/build.json", false), ("usr/share/doc/x", false)];
    assert_eq!(paths, expected, "what is below usr, and no configuration");
    assert_eq!((made.arch.as_str(), made.min_from), ("riscv", Some("1.0.0".parse().unwrap())));
    assert!(!rig.path("a.twup.payload").exists());
}

#[test]
fn a_folder_with_links_is_not_signed() {
    let rig = Rig::new();
    let staged = staged(&rig);
    symlink("/etc/passwd", staged.join("usr/share/link")).unwrap();
    let told = sign(&staged, std::slice::from_ref(&rig.key), None, &rig.path("a.twup")).unwrap_err();
    assert!(told.to_string().contains("a bundle has no links"), "{told}");
}

//! The sample has every key with its default, and mistakes are told at their place.

use serde::de::DeserializeOwned;

use super::*;

const SAMPLE: &str = include_str!("../../../config/cloud.toml");

fn source(name: &str, text: &str) -> Source {
    Source { path: name.into(), text: text.into() }
}

fn mistakes(texts: &[&str]) -> Vec<String> {
    let sources: Vec<_> = texts.iter().enumerate().map(|(i, t)| source(&format!("{i}.toml"), t)).collect();
    Config::from_sources(&sources).err().map_or(vec![], |m| m.0.iter().map(ToString::to_string).collect())
}

/// The sample with its switched-off keys on.
fn sample_in_full() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    SAMPLE.lines().map(|l| on(l) + "\n").collect()
}

/// The keys that a struct takes, as its own refusal of an unknown one names them.
fn keys_of<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no_such_key_at_all = 1") else { panic!("an unknown key is taken") };
    let keys = error.message().split('`').skip(1).step_by(2);
    keys.filter(|k| *k != "no_such_key_at_all").map(str::to_owned).collect()
}

#[test]
fn the_sample_shows_the_defaults_and_parses_in_full() {
    let sample = Config::from_sources(&[source("cloud.toml", SAMPLE)]).unwrap();
    assert_eq!(sample, Config::from_sources(&[source("empty.toml", "")]).unwrap());
    assert_eq!(mistakes(&[&sample_in_full()]), [""; 0]);
}

#[test]
fn the_sample_has_every_key() {
    let table: toml::Table = sample_in_full().parse().unwrap();
    let check = |section: &str, keys: Vec<String>| {
        assert!(!keys.is_empty());
        for key in keys {
            assert!(table[section].get(&key).is_some(), "{section}.{key} is not in config/cloud.toml");
        }
    };
    for section in keys_of::<File>() {
        assert!(table.contains_key(&section), "[{section}] is not in config/cloud.toml");
    }
    check("cloud", keys_of::<CloudSection>());
    check("http", keys_of::<HttpSection>());
    check("ingress", keys_of::<IngressSection>());
    check("store", keys_of::<StoreSection>());
    check("history", keys_of::<HistorySection>());
    for key in keys_of::<ClassSection>() {
        assert!(
            table["history"]["classes"][0].get(&key).is_some(),
            "{key} of a class is not in config/cloud.toml"
        );
    }
    check("live", keys_of::<LiveSection>());
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let told = mistakes(&["[cloud]\ndata_dri = \"/x\"\n"]);
    assert!(
        told[0].starts_with("0.toml:2:1: cloud.data_dri: ") && told[0].contains("`data_dir`"),
        "{told:?}"
    );
    let told =
        mistakes(&["[http]\nlisten = \"8080\"\n", "[ingress]\ntls_key = \"k\"\nmax_connections = 0\n"]);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("0.toml:2:10: http.listen"), "{told:?}");
    assert!(told[1].starts_with("1.toml:3:19: ingress.max_connections: expected at least 1"), "{told:?}");
    assert!(told[2].starts_with("1.toml:2:11: ingress.tls_key: expected `tls_cert`"), "{told:?}");
    let told = mistakes(&["[live]\ndefault_hz = 100\n", "[live]\n"]);
    assert!(told[0].contains("earlier file") && told[1].contains("0.1 to 50"), "{told:?}");
    let told = mistakes(&["[ingress]\ncertificate_days = 4000000\nrenew_days = 401\n"]);
    assert!(told[0].starts_with("0.toml:2:20: ingress.certificate_days: expected 1 to 3650"), "{told:?}");
    assert!(told[1].starts_with("0.toml:3:14: ingress.renew_days: expected 0 to 400"), "{told:?}");
    assert!(mistakes(&["[http]\nhosts = [\"http://x\"]\n"])[0].contains("not a host name"));
}

#[test]
fn mistakes_about_the_database_are_told_at_their_place() {
    let told = mistakes(&["[store]\npostgres = \"postgresql://u:secret@h/d\"\n"]);
    assert!(
        told[0].starts_with("0.toml:2:12: store.postgres: ") && told[0].contains("password_file"),
        "{told:?}"
    );
    assert!(!told[0].contains("secret"), "{told:?}");
    let told = mistakes(&["[store]\npostgres = \"cloud.db\"\n"]);
    assert!(told[0].contains("store.postgres") && told[0].contains("postgresql://"), "{told:?}");
    let told = mistakes(&["[store]\npassword_file = \"p\"\n"]);
    assert!(told[0].contains("0.toml:2:17: store.password_file: expected `postgres`"), "{told:?}");
    let told = mistakes(&["[store]\npostgres = \"postgresql://u@h/d?sslmode=require\"\n"]);
    assert!(told[0].contains("ca_file"), "{told:?}");
}

#[test]
fn the_password_of_the_database_is_read_from_a_file_of_its_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    let main = folder.path().join("cloud.toml");
    let text = format!("[store]\npostgres = \"postgresql://u@h/d\"\npassword_file = {secret:?}\n");
    std::fs::write(&main, text).unwrap();
    let told = Config::load(&main).err().unwrap().to_string();
    assert!(told.contains("cloud.toml:3:17: store.password_file: cannot read"), "{told}");
    std::fs::write(&secret, "word\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = Config::load(&main).err().unwrap().to_string();
    assert!(told.contains("expected 600"), "{told}");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Config::load(&main).unwrap().store.server().unwrap().is_some());
}

#[test]
fn roll_ups_are_kept_at_least_as_long_as_samples() {
    let told = mistakes(&["[history]\nrollup_days = 30\n"]);
    assert!(told.len() == 1 && told[0].contains("history.rollup_days"), "{told:?}");
    let class = "[[history.classes]]\npoints = [\"**\"]\n";
    let told = mistakes(&[&format!("{class}raw_days = 9\nrollup_days = 8\n")]);
    assert!(told.len() == 1 && told[0].contains("history.classes"), "{told:?}");
    assert_eq!(mistakes(&["[[history.classes]]\npoints = []\n"]).len(), 1);
    assert_eq!(mistakes(&[&format!("{class}raw_days = 9\nrollup_days = 9\n")]), [""; 0]);
}

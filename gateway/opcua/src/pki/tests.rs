//! The folders of certificates: own ones are stable, trust is what a person said, and refused ones are bounded.

use std::fs;

use opcua::crypto::{PrivateKey, X509, X509Data};

use super::*;

/// 2030-01-01.
const NOW_US: i64 = 1_893_456_000_000_000;

fn application() -> Application {
    Application { name: "Box 1".into(), uri: "urn:twinway:box1".into(), hosts: vec!["box1.plant".into()] }
}

fn other(name: &str, days: u32) -> Certificate {
    let data = X509Data {
        key_size: 2048,
        common_name: name.to_owned(),
        organization: String::new(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names("urn:other", None, false, false, false),
        certificate_duration_days: days,
    };
    let key = PrivateKey::new(2048).unwrap();
    Certificate::from_der(&X509::from_pkey(&key, &data).unwrap().to_der().unwrap()).unwrap()
}

fn sample(name: &str) -> Certificate {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    Certificate::from_file_bytes(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_own_certificate_is_made_once_and_names_the_application_and_its_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path().join("pki")).unwrap();
    let first = pki.own(&application(), NOW_US).unwrap();
    assert_eq!(first.made, Some("there was none"));
    assert_eq!(first.certificate.application_uri().as_deref(), Some("urn:twinway:box1"));
    let hosts = first.certificate.hosts();
    for host in ["box1.plant", "localhost", "127.0.0.1"] {
        assert!(hosts.iter().any(|h| h == host), "{host} in {hosts:?}");
    }
    assert_eq!(fs::metadata(pki.own_key_path()).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Pki::open(dir.path().join("pki")).unwrap().own(&application(), NOW_US).unwrap();
    assert_eq!((again.made, &again.certificate), (None, &first.certificate));
    // Another name, and the end of its life, give another certificate for the same key.
    let renamed = Application { uri: "urn:twinway:box2".into(), ..application() };
    let renamed = pki.own(&renamed, NOW_US).unwrap();
    assert!(renamed.made.is_some());
    assert_ne!(renamed.certificate, first.certificate);
    assert_eq!(renamed.key.to_der().unwrap().as_bytes(), first.key.to_der().unwrap().as_bytes());
    let late = pki.own(&application(), NOW_US + 40 * 365 * 86_400_000_000).unwrap();
    assert!(late.made.is_some());
    // Half of it lost is told, not replaced.
    fs::remove_file(pki.own_key_path()).unwrap();
    assert!(matches!(pki.own(&application(), NOW_US), Err(PkiError::HalfOwn { .. })));
}

#[test]
fn a_refused_certificate_is_trusted_by_its_fingerprint_and_refused_again() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let peer = other("UaExpert@laptop/1", 30_000);
    let doubts = pki.judge(&peer, Expected::default(), NOW_US).unwrap_err();
    assert!(matches!(doubts[..], [Doubt::Untrusted { .. }]), "{doubts:?}");
    pki.reject(&peer).unwrap();
    let rejected = pki.list(Folder::Rejected).unwrap();
    assert_eq!(rejected.len(), 1);
    assert!(matches!(pki.trust("12"), Err(PkiError::Fingerprint { .. })));
    assert!(matches!(pki.trust("0123456789"), Err(PkiError::NotOne { found: 0, .. })));
    let shown = peer.fingerprint().to_uppercase();
    pki.trust(&shown[..12]).unwrap();
    assert!(pki.list(Folder::Rejected).unwrap().is_empty());
    assert_eq!(pki.judge(&peer, Expected::default(), NOW_US), Ok(()));
    // Refusing what is trusted, such as for its time, does not show it as refused.
    pki.reject(&peer).unwrap();
    assert!(pki.list(Folder::Rejected).unwrap().is_empty());
    pki.distrust(&peer.thumbprint()).unwrap();
    assert!(pki.judge(&peer, Expected::default(), NOW_US).is_err());
}

#[test]
fn time_host_and_application_are_judged_apart_from_trust() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let own = pki.own(&application(), NOW_US).unwrap().certificate;
    pki.put(Folder::Trusted, &own).unwrap();
    let right = Expected { host: Some("BOX1.plant"), uri: Some("urn:twinway:box1") };
    assert_eq!(pki.judge(&own, right, NOW_US), Ok(()));
    let wrong = Expected { host: Some("box9"), uri: Some("urn:twinway:box9") };
    let doubts = pki.judge(&own, wrong, NOW_US).unwrap_err();
    assert!(matches!(doubts[..], [Doubt::OtherHost { .. }, Doubt::OtherApplication { .. }]), "{doubts:?}");
    let (from_us, until_us) = own.validity_us();
    let early = pki.judge(&own, right, from_us - 1).unwrap_err();
    assert!(matches!(early[..], [Doubt::NotYetValid { .. }]), "{early:?}");
    let late = pki.judge(&own, right, until_us + 1).unwrap_err();
    assert!(matches!(late[..], [Doubt::Expired { .. }]), "{late:?}");
}

/// `testdata` was made with openssl: a CA, an intermediate, a leaf of it, one of the CA that is revoked, a stranger
/// with the CA's name but another key.
#[test]
fn what_a_trusted_ca_signed_is_trusted_through_intermediates_unless_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let [ca, intermediate, leaf, revoked, stranger] =
        ["ca.der", "intermediate.der", "leaf.der", "revoked.der", "stranger.der"].map(sample);
    let judged = |c: &Certificate| pki.judge(c, Expected::default(), NOW_US).map_err(|mut d| d.remove(0));
    assert!(matches!(judged(&leaf), Err(Doubt::Untrusted { .. })));
    pki.put(Folder::Trusted, &ca).unwrap();
    assert!(matches!(judged(&leaf), Err(Doubt::Untrusted { .. })), "the intermediate is missing");
    pki.put(Folder::Issuers, &intermediate).unwrap();
    assert_eq!(judged(&leaf), Ok(()));
    assert_eq!(judged(&revoked), Ok(()), "without a list nothing is revoked");
    let list = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ca.crl");
    fs::copy(list, dir.path().join("trusted/ca.crl")).unwrap();
    assert!(matches!(judged(&revoked), Err(Doubt::Revoked { .. })));
    assert_eq!(judged(&leaf), Ok(()));
    assert!(matches!(judged(&stranger), Err(Doubt::Untrusted { .. })));
    // An issuer alone trusts nobody.
    pki.distrust(&ca.fingerprint()).unwrap();
    assert!(matches!(judged(&leaf), Err(Doubt::Untrusted { .. })));
}

#[test]
fn refused_certificates_are_bounded_and_junk_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    fs::write(dir.path().join("trusted/junk.der"), b"junk").unwrap();
    for n in 0..MOST_REJECTED + 20 {
        fs::write(dir.path().join(format!("rejected/{n}.der")), b"junk").unwrap();
    }
    pki.reject(&sample("leaf.der")).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("rejected")).unwrap().count(), MOST_REJECTED);
    assert!(pki.list(Folder::Trusted).unwrap().is_empty());
    assert_eq!(pki.list(Folder::Rejected).unwrap().len(), 1, "the newest stays");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_as_a_certificate_or_refused(bytes in proptest::collection::vec(0u8.., 0..600), cut in 0usize..2000) {
        let _ = Certificate::from_file_bytes(&bytes);
        let mut real = fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/leaf.der")).unwrap();
        let at = cut % real.len();
        real[at] ^= bytes.first().copied().unwrap_or(1);
        if let Ok(read) = Certificate::from_der(&real) {
            let _ = (read.hosts(), read.is_ca(), read.validity_us(), read.is_signed_by(&read), read.key_bits());
        }
    }
}

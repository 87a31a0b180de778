//! The authority: what it issues, whom it refuses, and what it does with half of its files.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;

use super::*;

const NOW: i64 = 1_800_000_000_000_000;

fn options(folder: &Path) -> Options {
    Options { folder: folder.join("authority"), trust: Trust::Own, days: 30, grace_days: 365 }
}

fn open(dir: &Path) -> Authority {
    let authority = Authority::open(options(dir), 0, NOW).unwrap();
    authority.serve_at("mqtts://cloud.example:8883".into());
    authority
}

fn gateway() -> GatewayKey {
    GatewayKey { tenant: "default".parse().unwrap(), gateway: "line1-box".parse().unwrap() }
}

fn request(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn what_is_issued_names_its_gateway_and_key_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path());
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue(&gateway(), &request(&key), NOW).unwrap();
    let der = CertificateDer::from_pem_slice(issued.enrolled.certificate.as_bytes()).unwrap();
    let peer = authority.read(&der).unwrap();
    assert_eq!(peer.gateway, gateway());
    assert_eq!((&peer.serial, peer.key), (&issued.certificate.serial, issued.certificate.key));
    assert_eq!(peer.not_after_us, NOW + 30 * DAY_US);
    assert_eq!(peer.key, Sha256::digest(key.subject_public_key_info())[..]);
    let again = authority.issue(&gateway(), &request(&key), NOW).unwrap();
    assert_ne!(again.certificate.serial, issued.certificate.serial);

    let mode =
        |name| std::fs::metadata(dir.path().join("authority").join(name)).unwrap().permissions().mode();
    assert_eq!(mode("authority.key") & 0o777, 0o600);
    let root = authority.root();
    drop(authority);
    let authority = open(dir.path());
    assert_eq!(authority.root(), root);
    assert_eq!(
        authority.issue(&gateway(), &request(&key), NOW).unwrap().enrolled.trust,
        issued.enrolled.trust
    );
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path());
    let pem = request(&KeyPair::generate().unwrap());
    let mut der =
        rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    // Within the key.
    let at = der.len() / 2;
    der[at] ^= 1;
    let forged = pem_of(&der);
    for bad in [
        forged.as_str(),
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        let refused = authority.issue(&gateway(), bad, NOW);
        assert!(matches!(refused, Err(IssueError::Request(_))), "{refused:?}");
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(matches!(authority.issue(&gateway(), &request(&other), NOW), Err(IssueError::Request(_))));
    let plain = Authority::open(options(&dir.path().join("plain")), 0, NOW).unwrap();
    assert_eq!(plain.issue(&gateway(), &pem, NOW), Err(IssueError::NoTls));
}

fn pem_of(der: &[u8]) -> String {
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

#[test]
fn the_ingress_gets_a_certificate_of_its_names_and_a_new_one_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path());
    let names = ["cloud.example".to_owned(), "127.0.0.1".to_owned()];
    assert!(authority.server(&names, NOW).unwrap());
    let path = Authority::server_file(&dir.path().join("authority"));
    let first = std::fs::read_to_string(&path).unwrap();
    assert!(!authority.server(&names, NOW + 59 * DAY_US).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert!(authority.server(&names, NOW + 61 * DAY_US).unwrap());
    assert!(authority.server(&names[..1], NOW + 61 * DAY_US).unwrap());
    let now = std::fs::read_to_string(&path).unwrap();
    let key = KeyPair::from_pem(&now[now.find("-----BEGIN PRIVATE").unwrap()..]).unwrap();
    let certificate = CertificateDer::from_pem_slice(now.as_bytes()).unwrap();
    let of = read_certificate(&certificate).unwrap().key;
    assert_eq!(of, Sha256::digest(key.subject_public_key_info())[..], "of each other");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A certificate without its key, as an older program wrote it.
    std::fs::write(&path, &now[..now.find("-----BEGIN PRIVATE").unwrap()]).unwrap();
    assert!(authority.server(&names[..1], NOW + 61 * DAY_US).unwrap());
    assert!(authority.server(&["no name!\u{e9}".into()], NOW).is_err());
}

#[test]
fn the_ingress_gets_another_certificate_where_its_own_is_not_good_yet_or_of_another_authority() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("authority");
    let names = ["cloud.example".to_owned()];
    let shown = || std::fs::read_to_string(Authority::server_file(&folder)).unwrap();
    // The clock was a year ahead when it was made.
    assert!(open(dir.path()).server(&names, NOW + 365 * DAY_US).unwrap());
    let authority = open(dir.path());
    assert!(authority.server(&names, NOW).unwrap());
    let of = |pem: &str| read_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    assert!(of(&shown()).not_before_us <= NOW);
    assert!(!authority.server(&names, NOW).unwrap());
    // As the error of a lost key says it: both are moved away, and every box is enrolled again.
    for name in ["authority.key", "authority.pem"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    Authority::make_another(&folder, NOW).unwrap();
    let another = open(dir.path());
    assert_ne!(another.root(), authority.root());
    let before = shown();
    assert!(another.server(&names, NOW).unwrap());
    assert_ne!(shown(), before);
    assert!(!another.server(&names, NOW).unwrap());
}

#[test]
fn half_an_authority_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("authority");
    drop(Authority::open(options(dir.path()), 0, NOW).unwrap());
    let key = std::fs::read(folder.join("authority.key")).unwrap();
    std::fs::remove_file(folder.join("authority.key")).unwrap();
    let missing = Authority::open(options(dir.path()), 0, NOW).err().unwrap().to_string();
    assert!(missing.contains("authority.key: missing") && missing.contains("backup"), "{missing}");
    std::fs::write(folder.join("authority.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(Authority::open(options(dir.path()), 0, NOW), Err(Error::Damaged { .. })));
    std::fs::write(folder.join("authority.key"), key).unwrap();
    assert!(Authority::open(options(dir.path()), 0, NOW).is_ok());
}

#[test]
fn one_that_gateways_have_certificates_of_is_not_made_anew_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("authority");
    let gone = Authority::open(options(dir.path()), 3, NOW).map(drop).unwrap_err();
    let told = gone.to_string();
    assert!(
        matches!(&gone, Error::Gone { enrolled: 3, .. }) && told.contains(&folder.display().to_string()),
        "{told}"
    );
    assert!(!folder.exists(), "nothing stands in the way of a backup that is put back");

    Authority::make_another(&folder, NOW).unwrap();
    let root = Authority::open(options(dir.path()), 3, NOW).unwrap().root();
    assert!(matches!(Authority::make_another(&folder, NOW), Err(Error::There { .. })), "over a whole one");
    assert_eq!(open(dir.path()).root(), root);
    std::fs::remove_file(folder.join("authority.pem")).unwrap();
    assert!(matches!(Authority::make_another(&folder, NOW), Err(Error::There { .. })), "over a half");
}

//! Enrolment's folder: a key that waits, a certificate that comes, and what is not for this box.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{Issuer, date_time_ymd};

use super::*;

/// What a cloud would answer to a request for the key in the folder.
fn issued(folder: &Path, name: &str) -> Enrolled {
    let key =
        KeyPair::from_pem(&std::fs::read_to_string(folder.join("identity").join(name)).unwrap()).unwrap();
    issued_for(&key)
}

fn issued_for(key: &KeyPair) -> Enrolled {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 31);
    let certificate = params.signed_by(key, &Issuer::new(CertificateParams::default(), authority)).unwrap();
    Enrolled {
        tenant: common::TenantId::default(),
        gateway: "g1".parse().unwrap(),
        url: "mqtts://cloud.example:8883".into(),
        certificate: certificate.pem(),
        trust: Some(certificate.pem()),
    }
}

#[test]
fn a_key_waits_for_its_certificate_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let folder = EnrolmentFolder::of(dir.path());
    assert_eq!(folder.read().unwrap(), None);
    let gateway = "g1".parse().unwrap();
    folder.request(&gateway).unwrap();
    let path = dir.path().join("identity").join(WAITING);
    let waiting = std::fs::read_to_string(&path).unwrap();
    folder.request(&gateway).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), waiting, "the same key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let enrolled = issued(dir.path(), WAITING);
    let kept = folder.keep(enrolled).unwrap();
    assert_eq!(folder.read().unwrap(), Some(kept.clone()));
    assert!(!path.exists());
    assert!(!format!("{kept:?}").contains("PRIVATE"));
    assert_eq!(kept.key(), waiting);
    let view = kept.view().unwrap();
    assert_eq!((view.not_after_us - view.not_before_us) / 86_400_000_000, 30);
    assert!(!kept.is_due(view.not_before_us + 19 * 86_400_000_000));
    assert!(kept.is_due(view.not_before_us + 21 * 86_400_000_000));

    // Renewed: the same key, and the same enrolment.
    let again = folder.keep(issued_for(&KeyPair::from_pem(&waiting).unwrap())).unwrap();
    assert_eq!(again, Enrolment { enrolled: again.enrolled.clone(), ..kept.clone() });
    assert_ne!(again.enrolled.certificate, kept.enrolled.certificate);
}

#[test]
fn what_is_not_for_this_box_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = EnrolmentFolder::of(dir.path());
    folder.request(&"g1".parse().unwrap()).unwrap();
    let good = issued(dir.path(), WAITING);
    let stranger = issued_for(&KeyPair::generate().unwrap());
    for bad in [
        stranger,
        Enrolled { url: "mqtt://cloud.example".into(), ..good.clone() },
        Enrolled { url: "cloud".into(), ..good.clone() },
        Enrolled { url: "mqtts://cloud.example:0".into(), ..good.clone() },
        Enrolled { certificate: "no".into(), ..good.clone() },
        Enrolled { trust: Some("no".into()), ..good.clone() },
    ] {
        assert!(matches!(folder.keep(bad), Err(EnrolError::Wrong(_))));
        assert_eq!(folder.read().unwrap(), None);
    }
    folder.keep(good).unwrap();
    // Another enrolment begins: the one that is goes on until its certificate comes.
    let before = folder.read().unwrap();
    folder.request(&"g1".parse().unwrap()).unwrap();
    assert_eq!(folder.read().unwrap(), before);
    let next = folder.keep(issued(dir.path(), WAITING)).unwrap();
    assert_ne!(Some(next), before);
    std::fs::write(dir.path().join("identity").join(KEPT), "{").unwrap();
    assert!(matches!(folder.read(), Err(EnrolError::Damaged { .. })));
}

#[test]
fn a_key_whose_certificate_came_is_not_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = EnrolmentFolder::of(dir.path());
    let gateway = "g1".parse().unwrap();
    folder.request(&gateway).unwrap();
    let path = dir.path().join("identity").join(WAITING);
    let waiting = std::fs::read_to_string(&path).unwrap();
    let kept = folder.keep(issued(dir.path(), WAITING)).unwrap();
    // The power was cut before the key that waited was removed. Who enrols anew wants another one: this may be known.
    std::fs::write(&path, &waiting).unwrap();
    folder.request(&gateway).unwrap();
    let next = std::fs::read_to_string(&path).unwrap();
    assert_ne!(next, waiting, "a key that was enrolled already");
    assert_ne!(folder.keep(issued(dir.path(), WAITING)).unwrap(), kept);
}

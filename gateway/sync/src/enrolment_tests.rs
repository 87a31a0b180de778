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

    // The same key once more, after an answer that was lost: the same enrolment.
    let again = folder.keep(issued_for(&KeyPair::from_pem(&waiting).unwrap())).unwrap();
    assert_eq!(again, Enrolment { enrolled: again.enrolled.clone(), ..kept.clone() });
    assert_ne!(again.enrolled.certificate, kept.enrolled.certificate);
}

/// An enrolment, and what the cloud renews it to.
fn renewable(dir: &Path) -> (EnrolmentFolder, Enrolment, Enrolled) {
    let folder = EnrolmentFolder::of(dir);
    folder.request(&"g1".parse().unwrap()).unwrap();
    let kept = folder.keep(issued(dir, WAITING)).unwrap();
    let renewed = issued_for(&KeyPair::from_pem(kept.key()).unwrap());
    (folder, kept, Enrolled { url: "mqtts://elsewhere.example".into(), ..renewed })
}

fn on_disk(folder: &EnrolmentFolder) -> Enrolled {
    folder.read().unwrap().expect("an enrolment").enrolled
}

#[test]
fn what_it_was_renewed_to_stands_beside_it_until_it_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, kept, enrolled) = renewable(dir.path());
    assert_eq!(folder.renewed(&kept), None);
    let renewed = folder.keep_renewed(enrolled.clone()).unwrap();
    assert_eq!((renewed.key(), &renewed.enrolled), (kept.key(), &enrolled));
    assert_eq!(on_disk(&folder), kept.enrolled, "the one that is proven");
    assert_eq!(folder.renewed(&kept), Some(renewed.clone()), "also after a start");
    let beside = std::fs::read_to_string(dir.path().join("identity").join(RENEWED)).unwrap();
    assert!(!beside.contains("PRIVATE"));

    // The power is cut between the two steps of the proof.
    folder.prove(&renewed).unwrap();
    std::fs::write(dir.path().join("identity").join(RENEWED), &beside).unwrap();
    assert_eq!(on_disk(&folder), enrolled);
    assert_eq!(folder.renewed(&renewed), None);

    let (folder, kept, enrolled) = renewable(&dir.path().join("another"));
    folder.keep_renewed(enrolled).unwrap();
    folder.forget_renewed().unwrap();
    assert_eq!((on_disk(&folder), folder.renewed(&kept)), (kept.enrolled, None));
}

#[test]
fn a_renewal_to_what_this_box_is_not_is_refused_and_leaves_it_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, kept, good) = renewable(dir.path());
    for bad in [
        issued_for(&KeyPair::generate().unwrap()),
        Enrolled { gateway: "g2".parse().unwrap(), ..good.clone() },
        Enrolled { tenant: "other".parse().unwrap(), ..good.clone() },
        Enrolled { url: "mqtt://plain".into(), ..good.clone() },
        Enrolled { trust: Some("no".into()), ..good.clone() },
    ] {
        assert!(matches!(folder.keep_renewed(bad), Err(EnrolError::Wrong(_))));
        assert_eq!((on_disk(&folder), folder.renewed(&kept)), (kept.enrolled.clone(), None));
    }
    std::fs::write(dir.path().join("identity").join(RENEWED), "{").unwrap();
    assert_eq!(folder.renewed(&kept), None);
    assert_eq!(on_disk(&folder), kept.enrolled);
}

#[test]
fn who_enrols_anew_is_not_undone_by_a_renewal_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _, enrolled) = renewable(dir.path());
    let renewed = folder.keep_renewed(enrolled).unwrap();
    folder.request(&"g1".parse().unwrap()).unwrap();
    let anew = folder.keep(issued(dir.path(), WAITING)).unwrap();
    assert!(matches!(folder.prove(&renewed), Err(EnrolError::Wrong(_))), "of a session that was on its way");
    assert_eq!((on_disk(&folder), folder.renewed(&anew)), (anew.enrolled, None));
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

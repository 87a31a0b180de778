//! The uplink by its section, by how the box is enrolled, and by both.

use std::os::unix::fs::PermissionsExt as _;

use super::Config;

const BASE: &str = "[gateway]\nid = \"g1\"\n";

/// What a cloud would issue to the box in this data folder.
fn enrolled(data_dir: &std::path::Path, gateway: &str) -> gateway_sync::Enrolment {
    let folder = gateway_sync::EnrolmentFolder::of(data_dir);
    folder.request(&gateway.parse().unwrap()).unwrap();
    let key = std::fs::read_to_string(data_dir.join("identity/request.key")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let enrolled = common::api::Enrolled {
        tenant: common::TenantId::default(),
        gateway: gateway.parse().unwrap(),
        url: "mqtts://cloud.example:8884".into(),
        trust: Some(certificate.clone()),
        certificate,
    };
    folder.keep(enrolled).unwrap()
}

#[test]
fn an_uplink_is_by_password_or_by_enrolment() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let main = dir.path().join("gateway.toml");
    let load = |more: &str| {
        let base = BASE.replacen("[gateway]\n", &format!("[gateway]\ndata_dir = {data_dir:?}\n"), 1);
        std::fs::write(&main, format!("{base}{more}")).unwrap();
        Config::load(&main).map_err(|e| e.to_string())
    };
    assert_eq!(load("").unwrap().uplink, None);
    let told = load("[uplink]\nurl = \"mqtts://x\"\n").unwrap_err();
    assert!(told.contains("uplink.password_file: missing") && told.contains("twinway enrol"), "{told}");
    let told = load("[uplink]\nmetered = true\n").unwrap_err();
    assert!(told.contains("uplink.url"), "{told}");

    let enrolment = enrolled(&data_dir, "g1");
    let uplink = load("").unwrap().uplink.unwrap();
    assert_eq!(uplink.enrolment.as_ref(), Some(&enrolment));
    assert_eq!((uplink.url.host.as_str(), uplink.url.port, uplink.url.tls), ("cloud.example", 8884, true));
    // What the section says holds, what it leaves out is as it was told.
    let uplink = load("[uplink]\nmetered = true\nurl = \"mqtts://other:1\"\n").unwrap().uplink.unwrap();
    assert!(uplink.max_delay.is_some() && uplink.url.host == "other" && uplink.enrolment.is_some());
    let told = load("[uplink]\nurl = \"mqtt://other:1\"\n").unwrap_err();
    assert!(told.contains("expected mqtts://"), "{told}");
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let uplink =
        load(&format!("[uplink]\nurl = \"mqtt://h\"\npassword_file = {password:?}\n")).unwrap().uplink;
    assert_eq!(uplink.map(|u| (u.password, u.enrolment)), Some(("secret".into(), None)));

    enrolled(&data_dir, "g2");
    let told = load("").unwrap_err();
    assert!(told.contains("gateway.id") && told.contains("enrolled as default/g2"), "{told}");
    std::fs::write(data_dir.join("identity/identity.json"), "{").unwrap();
    assert!(load("").unwrap_err().contains("identity.json"));
}

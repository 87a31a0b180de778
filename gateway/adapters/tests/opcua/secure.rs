//! Certificates, policies and sign-in.

use common::Quality;
use gateway_opcua::pki::Folder;

use crate::rig::{Rig, Server, TEMP, folder, secure as server};

fn device(server: &Server, keys: &str) -> String {
    format!(
        "url = \"{}\"\npublishing_ms = 100\nrefused_pause_ms = 1000\nreconnect_max_ms = 500\n{keys}",
        server.url()
    )
}

async fn refused(rig: &mut Rig, with: &str) {
    rig.ends.until("refused", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let told = rig.ends.health.get(0).unwrap().last_error.unwrap();
    assert!(told.contains(with), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_certificate_is_refused_kept_and_taken_once_trusted() {
    let (_keep, place) = folder();
    let server = server(&place, &[]);
    let mut rig = Rig::new(&device(&server, ""), &[TEMP]);
    refused(&mut rig, "twinway opcua trust").await;
    let rejected = rig.pki.list(Folder::Rejected).unwrap();
    assert_eq!(rejected.len(), 1);
    rig.pki.trust(&rejected[0].certificate.fingerprint()[..16]).unwrap();
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_and_sign_in_works_with_a_pinned_certificate() {
    let (_keep, place) = folder();
    let mut server = server(&place, &[]);
    let certificate = std::fs::read(place.join("cert.der")).unwrap();
    let pin = gateway_opcua::pki::Certificate::from_der(&certificate).unwrap().fingerprint();
    let password = place.join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let user = format!("user = \"operator\"\npassword_file = \"{}\"", password.display());
    for (n, keys) in [
        "security = \"basic256sha256\"\nmode = \"sign\"",
        "security = \"basic256sha256\"",
        "security = \"aes128_sha256_rsa_oaep\"",
        "security = \"aes256_sha256_rsa_pss\"",
        "",
    ]
    .iter()
    .enumerate()
    {
        let sign_in = if n % 2 == 0 { user.as_str() } else { "" };
        let device = device(&server, &format!("certificate = \"{pin}\"\n{keys}\n{sign_in}"));
        let mut rig = Rig::new(&device, &[TEMP]);
        let first = rig.ends.next().await;
        assert_eq!(first.quality, Quality::GOOD, "{keys}: {:?}", rig.ends.health.get(0));
        server.say(&format!("set Temp {n}.5"));
        rig.ends.value(0, n as f64 + 0.5).await;
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_hammered() {
    let (_keep, place) = folder();
    let server = server(&place, &[]);
    let password = place.join("password");
    std::fs::write(&password, "wrong").unwrap();
    let pin = std::fs::read(place.join("cert.der")).unwrap();
    let pin = gateway_opcua::pki::Certificate::from_der(&pin).unwrap().fingerprint();
    let keys =
        format!("certificate = \"{pin}\"\nuser = \"operator\"\npassword_file = \"{}\"", password.display());
    let mut rig = Rig::new(&device(&server, &keys), &[TEMP]);
    refused(&mut rig, "user, password").await;
    let tries = rig.ends.health.get(0).unwrap().bad;
    assert!(tries <= 2, "{tries}");
    std::fs::write(&password, "secret").unwrap();
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_or_application_is_refused_with_the_remedy_and_can_be_accepted() {
    let (_keep, place) = folder();
    let server = server(&place, &["uri=urn:somebody:else", "host=plc.elsewhere"]);
    let pin = std::fs::read(place.join("cert.der")).unwrap();
    let pin = gateway_opcua::pki::Certificate::from_der(&pin).unwrap().fingerprint();
    let mut rig = Rig::new(&device(&server, &format!("certificate = \"{pin}\"")), &[TEMP]);
    refused(&mut rig, "accept = [\"host\"]").await;
    let told = rig.ends.health.get(0).unwrap().last_error.unwrap();
    assert!(told.contains("accept = [\"application\"]"), "{told}");
    rig.stop().await;
    let keys = format!("certificate = \"{pin}\"\naccept = [\"host\", \"application\"]");
    let mut rig = Rig::new(&device(&server, &keys), &[TEMP]);
    assert_eq!(
        (rig.ends.event().await, rig.ends.event().await),
        ("opcua.accepted".into(), "opcua.accepted".into())
    );
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
}

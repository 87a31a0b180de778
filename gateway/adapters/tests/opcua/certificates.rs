//! Certificates in time: one that has expired, one that is renewed while the gateway runs, and a user's own.

use std::path::Path;

use common::Quality;
use gateway_opcua::pki::{Certificate, Folder};

use crate::rig::{Rig, Server, TEMP, folder, secure as server};

fn device(server: &Server, keys: &str) -> String {
    format!("url = \"{}\"\npublishing_ms = 100\nreconnect_max_ms = 500\n{keys}", server.url())
}

fn fingerprint(folder: &Path) -> String {
    Certificate::from_file_bytes(&std::fs::read(folder.join("cert.der")).unwrap()).unwrap().fingerprint()
}

fn error(rig: &Rig) -> String {
    rig.ends.health.get(0).unwrap().last_error.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_with_the_remedy_and_accepted_on_record() {
    let (_keep, place) = folder();
    let server = server(&place, &["days=-1"]);
    let mut rig = Rig::trusting(&place.join("cert.der"), &device(&server, ""), &[TEMP]);
    rig.ends.until("refused", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let told = error(&rig);
    assert!(told.contains("expired") && told.contains("accept = [\"expired\"]"), "{told}");
    rig.stop().await;
    let keys = device(&server, "accept = [\"expired\"]");
    let mut rig = Rig::trusting(&place.join("cert.der"), &keys, &[TEMP]);
    let entry = tokio::time::timeout(crate::common::LIMIT, rig.ends.events.recv()).await.unwrap().unwrap();
    assert_eq!(entry.action, "opcua.accepted");
    assert!(entry.detail.contains("expired"), "{entry:?}");
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
}

/// A renewed certificate of the same CA is taken without anybody's doing, soon and on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_of_a_trusted_ca_is_taken_by_itself() {
    let (_keep, place) = folder();
    let mut first = server(&place, &["ca=1"]);
    let before = fingerprint(&place);
    let mut rig = Rig::trusting(&place.join("ca-cert.der"), &device(&first, ""), &[TEMP]);
    rig.ends.value(0, 20.5).await;
    assert_eq!(rig.ends.event().await, "device.online");
    first.kill();
    std::fs::remove_file(place.join("cert.der")).unwrap();
    let second = server(&place, &["ca=1", &format!("port={}", first.port)]);
    assert_ne!(fingerprint(&place), before);
    let again = tokio::time::timeout(crate::common::LIMIT, rig.ends.value(0, 20.5)).await;
    assert!(again.is_ok(), "{}", error(&rig));
    let mut renewed = None;
    while renewed.is_none() {
        let entry = tokio::time::timeout(crate::common::LIMIT, rig.ends.events.recv()).await;
        renewed = entry.unwrap().filter(|e| e.action == "opcua.renewed");
    }
    let told = renewed.unwrap().detail;
    assert!(told.contains(&before[..16]) && told.contains(&fingerprint(&place)[..16]), "{told}");
    drop(second);
    rig.stop().await;
}

/// One that was trusted by its fingerprint is another one now: refused, and the message says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_that_nobody_trusts_is_refused_until_somebody_does() {
    let (_keep, place) = folder();
    let mut first = server(&place, &[]);
    let before = fingerprint(&place);
    let mut rig = Rig::trusting(&place.join("cert.der"), &device(&first, "refused_pause_ms = 1000"), &[TEMP]);
    rig.ends.value(0, 20.5).await;
    first.kill();
    std::fs::remove_file(place.join("cert.der")).unwrap();
    let second = server(&place, &[&format!("port={}", first.port)]);
    let now = fingerprint(&place);
    let told = async {
        while !error(&rig).contains("twinway opcua trust") {
            tokio::task::yield_now().await;
        }
        error(&rig)
    };
    let told = tokio::time::timeout(crate::common::LIMIT, told).await;
    let told = told.unwrap_or_else(|_| panic!("not refused: {}", error(&rig)));
    assert!(told.contains(&before[..16]) && told.contains(&now[..16]), "{told}");
    let kept = rig.pki.list(Folder::Rejected).unwrap();
    assert_eq!(kept.len(), 1);
    rig.pki.trust(&now[..16]).unwrap();
    rig.ends.value(0, 20.5).await;
    drop(second);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_by_certificate_and_a_stranger_is_refused_once() {
    let (_keep, place) = folder();
    let server = server(&place, &["x509=1"]);
    let keys = |who: &str| {
        let file = |name: &str| place.join(format!("{who}-{name}")).display().to_string();
        let keys = format!("user_certificate = \"{}\"\nuser_key = \"{}\"", file("cert.der"), file("key.pem"));
        device(&server, &keys)
    };
    let mut rig = Rig::trusting(&place.join("cert.der"), &keys("user"), &[TEMP]);
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
    let mut rig = Rig::trusting(&place.join("cert.der"), &keys("stranger"), &[TEMP]);
    rig.ends.until("refused", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    assert!(error(&rig).contains("refused"), "{}", error(&rig));
    // As with a password: no further attempt for refused_pause_ms.
    let health = rig.ends.health.get(0).unwrap();
    assert!(health.bad <= 2, "{health:?}");
    rig.stop().await;
    let mut rig = Rig::trusting(&place.join("cert.der"), &device(&server, ""), &[TEMP]);
    rig.ends.until("refused", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    assert!(error(&rig).contains("anonymous") || error(&rig).contains("Certificate"), "{}", error(&rig));
    rig.stop().await;
}

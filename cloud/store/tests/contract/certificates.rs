//! Enrolment codes and the certificates of boxes.

use cloud_core::StoreError;
use cloud_core::enrol::{Certificate, KeptCode};
use common::command::Severity;
use common::enrol::Key;
use common::names::action;

use super::Backend;
use super::fixtures::*;

const HOUR: i64 = 3_600_000_000;

fn code(id: &str) -> KeptCode {
    let (key, gateway) = (Key([7; 32]), key("a"));
    KeptCode { id: id.into(), key, gateway, expires_us: T0 + HOUR, failures: 0, used_by: None }
}

fn certificate(serial: &str, of: u8, issued_us: i64) -> Certificate {
    let (serial, key, gateway) = (serial.to_owned(), [of; 32], key("a"));
    Certificate { gateway, serial, key, issued_us, not_after_us: issued_us + HOUR, revoked_us: None }
}

fn is_conflict(result: Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict { .. }))
}

pub(crate) async fn a_code_enrols_one_key_and_takes_the_secret_away(backend: &impl Backend) {
    let storage = backend.open();
    let made = entry(T0, action::GATEWAY_CODE, None, Severity::Warning);
    storage.create_code(&code("AAAAA"), T0, &made).await.unwrap();
    assert!(is_conflict(storage.create_code(&code("AAAAA"), T0, &made).await));
    storage.code_failed("AAAAA").await.unwrap();
    storage.set_gateway_secret(&key("a"), &[1; 32], T0).await.unwrap();
    drop(storage);

    let storage = backend.open();
    assert_eq!(storage.code("BBBBB").await.unwrap(), None);
    assert_eq!(storage.code("AAAAA").await.unwrap(), Some(KeptCode { failures: 1, ..code("AAAAA") }));
    let enrolled = entry(T0, action::GATEWAY_ENROLLED, None, Severity::Warning);
    let first = certificate("01", 1, T0);
    storage.enrol("AAAAA", &first, &enrolled).await.unwrap();
    assert_eq!(storage.gateway_secret(&key("a")).await.unwrap(), None);
    // Its answer was lost: the same key asks again. Another one may not.
    let again = certificate("02", 1, T0 + 1);
    storage.enrol("AAAAA", &again, &enrolled).await.unwrap();
    assert!(is_conflict(storage.enrol("AAAAA", &certificate("03", 2, T0 + 2), &enrolled).await));
    assert!(is_conflict(storage.enrol("BBBBB", &certificate("03", 2, T0 + 2), &enrolled).await));
    // Whoever heard the request can say it again: what the box has got stays good.
    assert_eq!(storage.certificates(&key("a")).await.unwrap(), [again.clone(), first.clone()]);
    assert_eq!(storage.certificates(&key("b")).await.unwrap(), []);
    let told = storage.audit(None, Severity::Info, None, 10).await.unwrap().items;
    assert_eq!(told.len(), 3);

    // Another box takes its place: the code of the one before is worth nothing with it.
    storage.create_code(&code("CCCCC"), T0 + 3, &made).await.unwrap();
    let next = certificate("04", 3, T0 + 4);
    storage.enrol("CCCCC", &next, &enrolled).await.unwrap();
    assert!(is_conflict(storage.enrol("AAAAA", &certificate("05", 1, T0 + 5), &enrolled).await));
    let revoked = |c: Certificate| Certificate { revoked_us: Some(T0 + 4), ..c };
    assert_eq!(storage.certificates(&key("a")).await.unwrap(), [next, revoked(again), revoked(first)]);
}

pub(crate) async fn a_new_secret_takes_certificates_away(backend: &impl Backend) {
    let storage = backend.open();
    let told = entry(T0, action::GATEWAY_ENROLLED, None, Severity::Warning);
    let missing = storage.revoke(&key("a"), T0, &told).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    storage.create_code(&code("AAAAA"), T0, &told).await.unwrap();
    assert_eq!(storage.revoke(&key("a"), T0, &told).await.unwrap(), 0, "a code alone can be taken back");
    storage.create_code(&code("AAAAA"), T0, &told).await.unwrap();
    storage.enrol("AAAAA", &certificate("01", 1, T0), &told).await.unwrap();
    storage.set_gateway_secret(&key("a"), &[1; 32], T0 + 1).await.unwrap();
    let revoked = Certificate { revoked_us: Some(T0 + 1), ..certificate("01", 1, T0) };
    assert_eq!(storage.certificates(&key("a")).await.unwrap(), [revoked]);
    assert_eq!(storage.gateway_secret(&key("a")).await.unwrap(), Some([1; 32]));
    assert!(is_conflict(storage.enrol("AAAAA", &certificate("02", 1, T0 + 2), &told).await));
    assert_eq!(storage.gateway_secret(&key("a")).await.unwrap(), Some([1; 32]));
}

pub(crate) async fn only_a_key_that_is_good_is_renewed(backend: &impl Backend) {
    let storage = backend.open();
    let told = entry(T0, action::GATEWAY_CERTIFICATE, None, Severity::Info);
    storage.create_code(&code("AAAAA"), T0, &told).await.unwrap();
    assert!(is_conflict(storage.renew(&certificate("01", 1, T0), &told).await));
    storage.enrol("AAAAA", &certificate("01", 1, T0), &told).await.unwrap();
    storage.renew(&certificate("02", 1, T0 + 1), &told).await.unwrap();
    let of_b = |c: Certificate| Certificate { gateway: key("b"), ..c };
    storage.create_code(&KeptCode { gateway: key("b"), ..code("DDDDD") }, T0, &told).await.unwrap();
    storage.enrol("DDDDD", &of_b(certificate("0b", 9, T0)), &told).await.unwrap();
    assert!(is_conflict(storage.renew(&certificate("03", 2, T0 + 2), &told).await));
    // What expired long ago is forgotten, but not what another gateway has: who says how late it is may be wrong.
    let late = T0 + 500 * 24 * HOUR;
    storage.renew(&certificate("04", 1, late), &told).await.unwrap();
    assert_eq!(storage.certificates(&key("a")).await.unwrap(), [certificate("04", 1, late)]);
    assert_eq!(storage.certificates(&key("b")).await.unwrap(), [of_b(certificate("0b", 9, T0))]);

    storage.create_code(&code("BBBBB"), T0, &told).await.unwrap();
    assert_eq!(storage.revoke(&key("a"), late, &told).await.unwrap(), 1);
    assert_eq!(storage.revoke(&key("a"), late, &told).await.unwrap(), 0);
    assert_eq!(storage.code("BBBBB").await.unwrap(), None);
    assert!(is_conflict(storage.renew(&certificate("05", 1, late), &told).await));
    assert!(is_conflict(storage.enrol("BBBBB", &certificate("05", 1, late), &told).await));
}

pub(crate) async fn codes_that_expired_are_removed(backend: &impl Backend) {
    let storage = backend.open();
    let made = entry(T0, action::GATEWAY_CODE, None, Severity::Warning);
    storage.create_code(&code("AAAAA"), T0, &made).await.unwrap();
    storage
        .create_code(&KeptCode { expires_us: T0 + 3 * HOUR, ..code("BBBBB") }, T0 + HOUR, &made)
        .await
        .unwrap();
    assert_eq!(storage.code("AAAAA").await.unwrap(), None);
    assert!(storage.code("BBBBB").await.unwrap().is_some());
}

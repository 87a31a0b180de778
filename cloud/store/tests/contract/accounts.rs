//! Accounts, sessions, keys, gateway credentials.

use cloud_core::StoreError;
use cloud_core::storage::Account;
use common::api::{ApiKeyView, GrantView, Role, UserView};

use super::Backend;
use super::fixtures::*;

fn account(name: &str, grants: Vec<GrantView>) -> Account {
    let view = UserView { name: name.into(), grants, created_us: T0 };
    Account { view, password_hash: format!("$argon2id${name}") }
}

fn grant(path: &str, role: Role) -> GrantView {
    GrantView { path: path.into(), role }
}

/// Later than any clock of a test.
const END: i64 = 4_000_000_000_000_000;

pub(crate) async fn sessions_live_until_their_end_and_with_their_account(backend: &impl Backend) {
    let storage = backend.open();
    let admin = account("admin", vec![grant("", Role::Admin)]);
    storage.create_user(&admin).await.unwrap();
    assert!(matches!(storage.create_user(&admin).await, Err(StoreError::Conflict { .. })));
    storage.create_user(&account("bo", vec![grant("plant", Role::Viewer)])).await.unwrap();
    let names: Vec<_> = storage.users().await.unwrap().into_iter().map(|u| u.name).collect();
    assert_eq!(names, ["admin", "bo"]);
    assert_eq!(storage.user("admin").await.unwrap().password_hash, admin.password_hash);
    storage.create_session(&[1; 32], "admin", END).await.unwrap();
    storage.create_session(&[2; 32], "bo", END).await.unwrap();
    assert!(matches!(storage.create_session(&[3; 32], "no", END).await, Err(StoreError::NotFound { .. })));
    drop(storage);
    let storage = backend.open();
    let who = storage.authenticate(&[1; 32], END - 1).await.unwrap();
    assert_eq!(who, Some(("admin".into(), vec![grant("", Role::Admin)])));
    assert_eq!(storage.authenticate(&[1; 32], END).await.unwrap(), None, "ended");
    assert_eq!(storage.authenticate(&[9; 32], T0).await.unwrap(), None, "unknown");
    storage.set_password("admin", "$new").await.unwrap();
    assert_eq!(storage.authenticate(&[1; 32], T0).await.unwrap(), None, "a new password ends sessions");
    assert_eq!(storage.user("admin").await.unwrap().password_hash, "$new");
    storage.delete_user("bo").await.unwrap();
    assert_eq!(storage.authenticate(&[2; 32], T0).await.unwrap(), None);
    assert!(matches!(storage.delete_user("bo").await, Err(StoreError::NotFound { .. })));
    assert!(matches!(storage.set_password("bo", "x").await, Err(StoreError::NotFound { .. })));
    storage.create_session(&[4; 32], "admin", END).await.unwrap();
    storage.delete_session(&[4; 32]).await.unwrap();
    assert_eq!(storage.authenticate(&[4; 32], T0).await.unwrap(), None);
}

pub(crate) async fn keys_are_what_they_were_made_for(backend: &impl Backend) {
    let storage = backend.open();
    let key = |name: &str, expires_us| ApiKeyView {
        name: name.into(),
        grants: vec![grant("plant", Role::Operator)],
        created_us: T0,
        expires_us,
    };
    storage.create_key(&key("ci", None), &[1; 32]).await.unwrap();
    storage.create_key(&key("old", Some(T0)), &[2; 32]).await.unwrap();
    let twice = storage.create_key(&key("ci", None), &[3; 32]).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })));
    assert_eq!(storage.keys().await.unwrap(), [key("ci", None), key("old", Some(T0))]);
    let who = storage.authenticate(&[1; 32], END).await.unwrap().unwrap();
    assert_eq!(who, ("key:ci".into(), vec![grant("plant", Role::Operator)]));
    assert_eq!(storage.authenticate(&[2; 32], T0).await.unwrap(), None);
    storage.delete_key("ci").await.unwrap();
    assert_eq!(storage.authenticate(&[1; 32], T0).await.unwrap(), None);
    assert!(matches!(storage.delete_key("ci").await, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn a_gateways_secret_is_replaced(backend: &impl Backend) {
    let storage = backend.open();
    let g = key("g1");
    assert_eq!(storage.gateway_secret(&g).await.unwrap(), None);
    storage.set_gateway_secret(&g, &[1; 32], T0).await.unwrap();
    storage.set_gateway_secret(&g, &[2; 32], T0).await.unwrap();
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.gateway_secret(&g).await.unwrap(), Some([2; 32]));
    assert_eq!(storage.gateway_secret(&key("g2")).await.unwrap(), None);
    assert!(storage.load().await.unwrap().gateways.is_empty(), "it was never seen");
}

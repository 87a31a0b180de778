//! Configuration documents of gateways.

use cloud_core::StoreError;
use cloud_core::configuration::MOST_DOCUMENTS;
use common::api::{
    Accepts, ConfigurationDocument, ConfigurationEntry, ConfigurationReport, DocumentRef, DocumentState,
};
use common::command::Severity;
use common::names::action;

use super::Backend;
use super::fixtures::*;

pub(crate) fn document(version: u64) -> ConfigurationDocument {
    let document = format!("# {version}\u{e4}\n[[device]]\nname = \"oven\"\n");
    ConfigurationDocument {
        entry: ConfigurationEntry {
            version,
            hash: format!("{version:064x}"),
            bytes: document.len() as u64,
            author: "anna".into(),
            at_us: T0 + i64::try_from(version).unwrap(),
            note: "a note".into(),
            base: (version > 1).then(|| "ab".repeat(32)),
            force: version == 3,
        },
        document,
    }
}

pub(crate) fn report(state: DocumentState) -> ConfigurationReport {
    ConfigurationReport {
        accepts: Accepts::Write,
        judged: Some(DocumentRef { version: 2, hash: "cd".repeat(32) }),
        state,
        reason: "no such line".into(),
        local: "ab".repeat(32),
        at_us: T0,
        ..ConfigurationReport::default()
    }
}

pub(crate) async fn documents_are_kept_under_rising_versions(backend: &impl Backend) {
    let storage = backend.open();
    let put = entry(T0, action::CONFIGURATION_PUT, None, Severity::Warning);
    assert_eq!(storage.configuration(&key("a"), None).await.unwrap(), None);
    for version in 1..=3 {
        storage.put_configuration(&key("a"), &document(version), &put).await.unwrap();
    }
    storage.put_configuration(&key("b"), &document(1), &put).await.unwrap();
    // Somebody else was faster; or a number is left out.
    for version in [3, 5, 0] {
        let refused = storage.put_configuration(&key("a"), &document(version), &put).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{version}: {refused:?}");
    }
    drop(storage);

    let storage = backend.open();
    assert_eq!(storage.configuration(&key("a"), None).await.unwrap(), Some(document(3)));
    assert_eq!(storage.configuration(&key("a"), Some(2)).await.unwrap(), Some(document(2)));
    assert_eq!(storage.configuration(&key("a"), Some(4)).await.unwrap(), None);
    assert_eq!(storage.configuration(&key("b"), None).await.unwrap(), Some(document(1)));
    let first = storage.configurations(&key("a"), None, 2).await.unwrap();
    assert_eq!(first.items, [document(3).entry, document(2).entry]);
    let rest = storage.configurations(&key("a"), first.next_cursor.as_deref(), 2).await.unwrap();
    assert_eq!((rest.items, rest.next_cursor), (vec![document(1).entry], None));
    assert!(storage.configurations(&key("c"), None, 2).await.unwrap().items.is_empty());
    assert!(storage.configurations(&key("a"), Some("x"), 2).await.is_err());
    let told = storage.audit(None, Severity::Info, None, 10).await.unwrap().items;
    assert_eq!(told.len(), 4, "one for each that was kept");
}

pub(crate) async fn old_documents_go_and_their_numbers_are_not_given_again(backend: &impl Backend) {
    let storage = backend.open();
    let put = entry(T0, action::CONFIGURATION_PUT, None, Severity::Warning);
    for version in 1..=MOST_DOCUMENTS + 2 {
        storage.put_configuration(&key("a"), &document(version), &put).await.unwrap();
    }
    let page = storage.configurations(&key("a"), None, 1000).await.unwrap().items;
    assert_eq!(page.len() as u64, MOST_DOCUMENTS);
    assert_eq!(page.last().unwrap().version, 3);
    let refused = storage.put_configuration(&key("a"), &document(1), &put).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

pub(crate) async fn the_last_word_of_a_box_on_its_configuration_is_kept(backend: &impl Backend) {
    let storage = backend.open();
    assert_eq!(storage.configuration_report(&key("a")).await.unwrap(), None);
    let told = entry(T0, action::CONFIGURATION_REFUSED, None, Severity::Warning);
    storage.keep_configuration_report(&key("a"), &report(DocumentState::Received), &[]).await.unwrap();
    storage.keep_configuration_report(&key("a"), &report(DocumentState::Refused), &[told]).await.unwrap();
    drop(storage);
    let storage = backend.open();
    let kept = storage.configuration_report(&key("a")).await.unwrap();
    assert_eq!(kept, Some(report(DocumentState::Refused)));
    assert_eq!(storage.configuration_report(&key("b")).await.unwrap(), None);
    assert_eq!(storage.audit(None, Severity::Info, None, 10).await.unwrap().items.len(), 1);
}

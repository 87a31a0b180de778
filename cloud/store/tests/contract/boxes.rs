//! Boxes behind a gateway's name, and frames that were set aside.

use std::sync::Arc;

use cloud_core::boxes::{Boxes, Held, Why};
use cloud_core::storage::SetAside;
use common::command::Severity;
use common::names::action;
use common::wire::Known;
use common::{BoxId, Incarnation};

use super::Backend;
use super::fixtures::*;

pub(crate) async fn what_is_known_of_a_gateways_boxes_is_kept_with_its_audit(backend: &impl Backend) {
    let storage = backend.open();
    assert_eq!(storage.boxes(&key("a")).await.unwrap(), Boxes::default());
    let held = Held {
        box_id: None,
        machine: Some("m".into()),
        line: vec![Incarnation(9)],
        peer: "10.0.0.9:4".into(),
        version: "1".into(),
        since_us: T0,
        last_us: T0 + 1,
        why: Why::Copy,
        sure: true,
    };
    let mut boxes = Boxes {
        box_id: Some(BoxId::random()),
        line: vec![Incarnation(1), Incarnation(u128::MAX)],
        held: vec![held],
        ..Boxes::default()
    };
    let audit = [entry(T0, action::GATEWAY_DUPLICATE, None, Severity::Alarm)];
    storage.keep_boxes(&key("a"), &boxes, &audit).await.unwrap();
    boxes.open = true;
    storage.keep_boxes(&key("a"), &boxes, &[]).await.unwrap();
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.boxes(&key("a")).await.unwrap(), boxes);
    assert_eq!(storage.boxes(&key("b")).await.unwrap(), Boxes::default());
    let told = storage.audit(None, Severity::Info, None, 10).await.unwrap().items;
    assert_eq!(told.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), [action::GATEWAY_DUPLICATE]);
}

pub(crate) async fn a_frame_set_aside_is_known_and_listed_once(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let frame = |name, bytes: &[u8]| SetAside {
        gateway: s.key.clone(),
        name,
        cause: "frame",
        detail: "no table".into(),
        bytes: Arc::from(bytes),
        at_us: T0,
    };
    let named = frame(Some((s.rank, 2)), b"bad");
    let audit = [entry(T0, action::FRAME_SET_ASIDE, None, Severity::Alarm)];
    let unnamed = frame(None, b"worse");
    assert_eq!(storage.set_aside(&[named.clone(), unnamed.clone()], &audit).await.unwrap(), [true, true]);
    assert_eq!(storage.set_aside(&[unnamed, named], &[]).await.unwrap(), [false, false]);
    // From then on it counts as stored: what comes under its name is a repetition.
    let late = s.samples(2, vec![sample(0, T0, 1.0)]);
    let next = s.samples(3, vec![sample(0, T0, 1.0)]);
    assert_eq!(storage.accept(&[late, next]).await.unwrap(), [false, true]);
    let wrong = frame(Some((s.rank + 99, 1)), b"other");
    assert!(storage.set_aside(&[wrong], &[]).await.is_err(), "a rank that nobody gave");
    drop(storage);
    let storage = backend.open();
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!(known[0].seqs.iter().collect::<Vec<_>>(), [(2, 3)]);
    let names = storage.set_aside_names(&s.key).await.unwrap();
    assert_eq!(names, [Known { incarnation: s.incarnation, seqs: vec![(2, 2)].into() }]);
    let page = storage.set_aside_page(&s.key, None, 1).await.unwrap();
    assert_eq!((page.items.len(), page.items[0].seq, page.items[0].bytes), (1, None, 5));
    let page = storage.set_aside_page(&s.key, page.next_cursor.as_deref(), 1).await.unwrap();
    assert_eq!((page.items[0].incarnation, page.items[0].seq), (Some(s.incarnation), Some(2)));
    assert_eq!((&page.items[0].detail[..], page.next_cursor), ("no table", None));
    assert!(storage.set_aside_page(&key("b"), None, 9).await.unwrap().items.is_empty());
}

pub(crate) async fn frames_set_aside_are_bounded(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let frame = |seq: u64| SetAside {
        gateway: s.key.clone(),
        name: Some((s.rank, seq)),
        cause: "frame",
        detail: String::new(),
        bytes: Arc::from(seq.to_le_bytes()),
        at_us: T0,
    };
    let all: Vec<_> = (1..=1100).map(frame).collect();
    assert_eq!(storage.set_aside(&all, &[]).await.unwrap().len(), 1100);
    let items = storage.set_aside_page(&s.key, None, 2000).await.unwrap().items;
    assert_eq!((items.len(), items[0].seq, items[999].seq), (1000, Some(1100), Some(101)));
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!(known[0].seqs.iter().collect::<Vec<_>>(), [(1, 1100)], "the marks stay");
    let large: Vec<_> = (2000u64..2100)
        .map(|seq| SetAside {
            bytes: [vec![0; 200 << 10], seq.to_le_bytes().to_vec()].concat().into(),
            ..frame(seq)
        })
        .collect();
    storage.set_aside(&large, &[]).await.unwrap();
    let items = storage.set_aside_page(&s.key, None, 2000).await.unwrap().items;
    let bytes: u64 = items.iter().map(|i| i.bytes).sum();
    assert!(bytes <= 16 << 20 && items.len() > 70 && items[0].seq == Some(2099), "{} {bytes}", items.len());
}

//! Boxes behind a gateway's name, and frames that were set aside.

use std::sync::Arc;

use cloud_core::NewFrame;
use cloud_core::boxes::{Boxes, Held, Why};
use cloud_core::storage::{AsideRemoved, KeptAside, SetAside};
use common::api::GapReason;
use common::command::Severity;
use common::names::action;
use common::wire::{Body, Known};
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
    let kept = storage.set_aside(&[named.clone(), unnamed.clone()], &audit).await.unwrap();
    assert_eq!(kept, KeptAside { new: vec![true, true], removed: AsideRemoved::default() });
    assert_eq!(storage.set_aside(&[unnamed, named], &[]).await.unwrap().new, [false, false]);
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
    let id = page.items[0].id.parse().unwrap();
    assert_eq!(storage.set_aside_bytes(&s.key, id).await.unwrap().as_deref(), Some(&b"bad"[..]));
    assert_eq!(storage.set_aside_bytes(&s.key, id + 99).await.unwrap(), None);
    assert_eq!(storage.set_aside_bytes(&key("b"), id).await.unwrap(), None, "it is another's");
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
    let kept = storage.set_aside(&all, &[]).await.unwrap();
    assert_eq!((kept.new.len(), kept.removed), (1100, AsideRemoved { frames: 100, bytes: 800 }));
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
    let removed = storage.set_aside(&large, &[]).await.unwrap().removed;
    let items = storage.set_aside_page(&s.key, None, 2000).await.unwrap().items;
    let bytes: u64 = items.iter().map(|i| i.bytes).sum();
    assert!(bytes <= 16 << 20 && items.len() > 70 && items[0].seq == Some(2099), "{} {bytes}", items.len());
    // What had to go is counted, and counts on.
    assert_eq!(removed.frames, 1100 - items.len() as u64);
    let all = AsideRemoved { frames: 100 + removed.frames, bytes: 800 + removed.bytes };
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.set_aside_removed(&s.key).await.unwrap(), all);
    assert_eq!(storage.set_aside_removed(&key("b")).await.unwrap(), AsideRemoved::default());
    let h = storage.history(twin(1), "temp", T0 - SECOND, T0 + SECOND, 9).await.unwrap();
    assert!(h.gaps.iter().any(|g| g.cause == GapReason::SetAside), "their gaps stay: {:?}", h.gaps);
}

/// What could not be taken is acknowledged, so nothing else would say that it is missing.
pub(crate) async fn a_frame_set_aside_leaves_a_gap(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let at = |seq: u64, second: i64| {
        let t = T0 + second * SECOND;
        cut(&s, seq, t, Body::Samples(vec![sample(0, t - SECOND, 1.5), sample(1, t, 7i64)]))
    };
    let aside = |frame: &NewFrame, keep: usize| SetAside {
        gateway: s.key.clone(),
        name: Some((s.rank, frame.frame.header.seq)),
        cause: "storage",
        detail: String::new(),
        bytes: frame.bytes[..keep.min(frame.bytes.len())].into(),
        at_us: T0,
    };
    storage.accept(&[at(1, 10), at(2, 20)]).await.unwrap();
    // One that can be read tells the times of its samples, of another the time since the frame before it is told.
    let kept = storage.set_aside(&[aside(&at(3, 30), usize::MAX)], &[]).await.unwrap();
    assert_eq!(kept.new, [true]);
    storage.accept(&[at(4, 40)]).await.unwrap();
    let torn = at(5, 50);
    storage.set_aside(&[aside(&torn, torn.bytes.len() - 3)], &[]).await.unwrap();
    // An event is in no history.
    let event = cut(&s, 6, T0 + 55 * SECOND, Body::Event(entry(T0, "x", None, Severity::Info)));
    storage.set_aside(&[aside(&event, usize::MAX)], &[]).await.unwrap();
    storage.accept(&[at(7, 60)]).await.unwrap();
    compact_all(&storage).await;
    drop(storage);
    let storage = backend.open();
    let h = storage.history(twin(1), "temp", T0, T0 + 100 * SECOND, 100).await.unwrap();
    let found: Vec<_> = h.gaps.iter().map(|g| (g.cause, g.from_us, g.to_us, g.count)).collect();
    let (second, reason) = (|n: i64| T0 + n * SECOND, GapReason::SetAside);
    let expected =
        [(reason, second(29), second(30) + 1, Some(2)), (reason, second(40), second(50) + 1, None)];
    assert_eq!(found, expected);
    assert_eq!(h.points.len(), 4);
}

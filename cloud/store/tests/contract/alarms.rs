//! Alarms: kept with the frame that tells them, never replaced by an older word, and never under another's identity.

use common::alarm::{AlarmChange, AlarmId, AlarmKind, AlarmState, AlarmView, Priority};
use common::command::Severity;
use common::wire::Body;
use common::{Quality, TwinId};

use super::Backend;
use super::fixtures::{Stream, T0, key, oven, schema, twin};

fn alarm(twin: TwinId, name: &str, state: AlarmState, at_us: i64) -> AlarmView {
    AlarmView {
        id: AlarmId::derived(twin, "temp", name),
        twin,
        asset: "plant/coating/line1/oven".into(),
        point: "temp".into(),
        name: name.into(),
        kind: AlarmKind::Hi,
        priority: Priority::High,
        text: String::new(),
        group: String::new(),
        state,
        change: if state.is_active() { AlarmChange::Raised } else { AlarmChange::Cleared },
        raised_us: Some(at_us),
        at_us,
        shelved_until_us: None,
        shelved_once: false,
        value: None,
        quality: Quality::GOOD,
        limit: Some(90.0),
        unit: String::new(),
        actor: "system".into(),
        comment: String::new(),
    }
}

/// An alarm that is active.
#[allow(dead_code)] // not every test file that has these helpers uses it
pub(crate) fn active(twin: TwinId, name: &str) -> AlarmView {
    alarm(twin, name, AlarmState::Active, T0 - 9)
}

fn told(view: &AlarmView) -> Body {
    Body::Alarm(Box::new(view.clone()))
}

pub(crate) async fn the_last_word_on_an_alarm_is_kept_whatever_the_order(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let active = alarm(twin(1), "hi", AlarmState::Active, T0 - 9);
    let returned = alarm(twin(1), "hi", AlarmState::Returned, T0 - 8);
    let frames = [s.frame(5, told(&returned)), s.frame(4, told(&active))];
    storage.accept(&frames).await.unwrap();
    assert_eq!(storage.alarm(active.id).await.unwrap(), returned);
    storage.accept(&frames).await.unwrap();
    let log = storage.audit(None, Severity::Info, None, 100).await.unwrap().items;
    assert_eq!(log.iter().filter(|e| e.action.starts_with("alarm.")).count(), 2, "each change once");
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.alarm(active.id).await.unwrap(), returned);
    let later = Stream::start(&storage, schema(&key("g1"), &[("oven", twin(1))]), 12).await;
    let normal = alarm(twin(1), "hi", AlarmState::Normal, T0 - 10);
    storage.accept(&[later.frame(1, told(&normal))]).await.unwrap();
    assert_eq!(
        storage.alarm(active.id).await.unwrap(),
        normal,
        "a later run counts, whatever its clock says"
    );
    assert!(storage.alarms(None, true, None, 10).await.unwrap().items.is_empty());
    assert_eq!(storage.alarms(None, false, None, 10).await.unwrap().items, std::slice::from_ref(&normal));
    // It was a copy, and the first has the name again.
    storage.accept(&[s.frame(6, told(&active))]).await.unwrap();
    assert_eq!(storage.alarm(active.id).await.unwrap(), normal);
    storage.put_schema(&key("g1"), &s.schema, s.rank, T0).await.unwrap();
    storage.accept(&[s.frame(7, told(&active))]).await.unwrap();
    assert_eq!(storage.alarm(active.id).await.unwrap(), active);
}

pub(crate) async fn alarms_come_in_pages_and_of_the_twins_asked_for(backend: &impl Backend) {
    let storage = backend.open();
    let devices = [("oven", twin(1)), ("press", twin(2))];
    let s = Stream::start(&storage, schema(&key("g1"), &devices), 11).await;
    let mut frames = Vec::new();
    for n in 0..7u32 {
        let of = twin(1 + u128::from(n % 2));
        let view = alarm(of, &format!("a{n}"), AlarmState::Active, T0 - i64::from(n));
        frames.push(s.frame(u64::from(n) + 1, told(&view)));
    }
    storage.accept(&frames).await.unwrap();
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = storage.alarms(None, true, cursor.as_deref(), 3).await.unwrap();
        names.extend(page.items.iter().map(|a| a.name.clone()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a0", "a1", "a2", "a3", "a4", "a5", "a6"]);
    let of_two = storage.alarms(Some(&[twin(2)]), true, None, 10).await.unwrap();
    assert_eq!(of_two.items.len(), 3);
    assert!(storage.alarms(None, true, Some("nonsense"), 3).await.is_err());
}

pub(crate) async fn nobody_speaks_under_the_identity_of_anothers_alarm(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let own = alarm(twin(1), "hi", AlarmState::Active, T0);
    storage.accept(&[s.frame(1, told(&own))]).await.unwrap();
    let stranger = Stream::start(&storage, schema(&key("g2"), &[("pump", twin(2))]), 21).await;
    let lie = alarm(twin(1), "hi", AlarmState::Normal, T0 + 1);
    let forged = AlarmView { twin: twin(2), ..lie.clone() };
    storage.accept(&[stranger.frame(1, told(&lie)), stranger.frame(2, told(&forged))]).await.unwrap();
    assert_eq!(storage.alarm(own.id).await.unwrap(), own);
    let all = storage.audit(None, Severity::Warning, None, 10).await.unwrap().items;
    assert_eq!(all.iter().filter(|e| e.action == "frame.refused").count(), 2);
}

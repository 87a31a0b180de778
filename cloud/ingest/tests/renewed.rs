//! A gateway that takes a new configuration within its session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

mod rig;

use std::sync::atomic::Ordering;

use common::names::Code;
use common::wire::{Body, Frame, Up, split_schema};
use common::{Schema, SchemaHash};
use rig::*;

fn other() -> Schema {
    let mut other = schema("g1");
    other.devices[0].points[0].unit = "K".into();
    other
}

fn frame_of(seq: u64, schema: SchemaHash) -> Up {
    let mut frame = Frame::decode(&frame("g1", 1, seq)).unwrap();
    frame.header.schema = schema;
    frame.body = Body::Samples(vec![row(1.0)]);
    Up::Frame(frame.encode())
}

#[tokio::test]
async fn a_new_schema_is_taken_within_the_session_and_an_older_one_may_come_back() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    let (old, new) = (schema("g1").hash(), other().hash());
    c.say(&Up::Renewed(new)).await;
    c.puback().await;
    for part in split_schema(new, &other().to_json()) {
        c.say(&Up::Schema(part)).await;
        c.puback().await;
    }
    c.say(&frame_of(1, new)).await;
    c.down().await;
    // What was read before is still taken, and the first configuration may be the current one again.
    c.say(&frame_of(2, old)).await;
    c.down().await;
    c.say(&Up::Renewed(old)).await;
    c.puback().await;
    c.say(&frame_of(3, old)).await;
    c.down().await;
    let notes = rig.notes.schemas.lock().unwrap().clone();
    assert_eq!(notes, [(old, 1, true), (new, 1, true), (old, 1, true)]);
    assert_eq!(rig.notes.started.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn samples_of_a_schema_that_was_only_announced_are_refused() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    c.say(&Up::Renewed(other().hash())).await;
    c.puback().await;
    c.say(&frame_of(1, other().hash())).await;
    assert_eq!(c.end().await, Some(Code::InvalidRequest));
    let mut c = rig.sign_in("g2").await;
    c.say(&Up::Renewed(other().hash())).await;
    assert_eq!(c.end().await, Some(Code::Conflict), "not before the hello");
}

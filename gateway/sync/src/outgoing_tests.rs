//! Tests of what frames become on the way: every frame once, in order, in words that the cloud knows.

use common::wire::{
    Body, FrameHeader, Gap, GapCause, MAX_BATCH_FRAMES, MAX_MESSAGE_BYTES, WaveValues, Waveform,
};
use common::{PointId, Quality, Sample, Value};

use super::*;

const BOOT: Incarnation = Incarnation(5);
const ALL: Speaks = Speaks { columns: true, batch: true, gap_causes: true, waveforms: true };

fn frame(seq: u64, schema: u8) -> Frame {
    let header = FrameHeader {
        schema: SchemaHash([schema; 16]),
        incarnation: BOOT,
        seq,
        cut_us: seq as i64 * 10_000,
        cut_mono_us: seq * 10_000,
        synchronised: true,
    };
    if seq.is_multiple_of(10) {
        let cause = GapCause::Overrun;
        let gap = Gap { samples: 1, ..Gap::new(cause) };
        return Frame { header, body: Body::Gap(gap) };
    }
    let row = |p: u32| Sample {
        point: PointId(p),
        value: Some(Value::I64(i64::from(p) + seq as i64)),
        quality: Quality::GOOD,
        source_us: seq as i64 * 10_000,
        received_us: seq as i64 * 10_000 + 5,
    };
    Frame { header, body: Body::Samples((0..20).map(row).collect()) }
}

fn log(frames: &[Frame]) -> Vec<(u64, Vec<u8>)> {
    frames.iter().map(|f| (f.header.seq, f.encode())).collect()
}

/// What the cloud reads of messages; each by the names that go with it.
fn read(messages: &[Outgoing]) -> Vec<Frame> {
    let mut all = Vec::new();
    for message in messages {
        assert!(message.bytes.len() <= MAX_MESSAGE_BYTES);
        let frames = match Up::decode(&message.bytes).unwrap() {
            Up::Frame(bytes) => vec![Frame::decode(&bytes).unwrap()],
            Up::Batch(bytes) => Batch::decode(&bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        let name = |f: &Frame| FrameId { incarnation: f.header.incarnation, seq: f.header.seq };
        assert_eq!(message.frames, frames.iter().map(name).collect::<Vec<_>>());
        assert!(frames.iter().all(|f| message.schema == Some(f.header.schema)));
        all.extend(frames);
    }
    all
}

#[test]
fn together_or_each_they_are_the_same_frames() {
    let frames: Vec<_> = (1..=60).map(|seq| frame(seq, if seq < 35 { 1 } else { 2 })).collect();
    let log = log(&frames);
    let batched = together(BOOT, &log, ALL);
    assert_eq!(read(&batched), frames);
    // Six gaps, and what stands between them; the schema's change is one more border.
    assert_eq!(batched.len(), 6 + 7);
    let bytes = |messages: &[Outgoing]| messages.iter().map(|m| m.bytes.len()).sum::<usize>();
    let each = each(BOOT, &log, ALL);
    assert_eq!((read(&each), each.len()), (frames, 60));
    assert!(bytes(&batched) * 2 < bytes(&each));
}

#[test]
fn a_cloud_without_columns_gets_the_first_version() {
    let frames: Vec<_> = (1..=12).map(|seq| frame(seq, 1)).collect();
    let messages = together(BOOT, &log(&frames), Speaks::default());
    assert_eq!(read(&messages), frames);
    for message in &messages {
        let Up::Frame(bytes) = Up::decode(&message.bytes).unwrap() else { panic!("a frame") };
        assert_eq!(bytes[0], 1);
    }
}

#[test]
fn what_cannot_be_read_goes_as_it_is_and_keeps_no_other() {
    let mut log = log(&(1..=9).map(|seq| frame(seq, 1)).collect::<Vec<_>>());
    log[4].1.truncate(70);
    let messages = together(BOOT, &log, ALL);
    assert_eq!(messages.iter().map(|m| m.frames.len()).collect::<Vec<_>>(), [4, 1, 4]);
    assert_eq!(Up::decode(&messages[1].bytes).unwrap(), Up::Frame(log[4].1.clone()));
}

#[test]
fn batches_stay_within_their_limits() {
    let frames: Vec<_> = (0..3000).map(|n| frame(n * 10 + 1, 1)).collect();
    let messages = together(BOOT, &log(&frames), ALL);
    assert!(messages.iter().all(|m| m.frames.len() <= MAX_BATCH_FRAMES));
    assert_eq!(messages.len(), 3);
    assert_eq!(read(&messages).len(), 3000);
}

#[test]
fn a_gap_goes_to_an_older_cloud_with_a_cause_that_it_knows() {
    let with = |cause| {
        let gap = Gap { samples: 3, ..Gap::new(cause) };
        Frame { body: Body::Gap(gap), ..frame(1, 1) }.encode()
    };
    let sent = |bytes: Vec<u8>, speaks| each(BOOT, &[(1, bytes)], speaks).remove(0).bytes;
    for (cause, older) in [
        (GapCause::Age, GapCause::Quota),
        (GapCause::CloudLost, GapCause::Damaged),
        (GapCause::DiskFull, GapCause::DiskFull),
    ] {
        assert_eq!(sent(with(cause), ALL), Up::encode_frame(&with(cause)));
        let speaks = Speaks { gap_causes: false, ..ALL };
        assert_eq!(sent(with(cause), speaks), Up::encode_frame(&with(older)));
        assert_eq!(sent(with(cause), Speaks::default()), Up::encode_frame(&with(older)));
    }
}

#[test]
fn a_waveform_goes_by_itself_and_to_an_older_cloud_as_what_it_lacks() {
    let wave = Waveform {
        point: PointId(1),
        quality: Quality::GOOD,
        t0_us: 7_000_000,
        received_us: 8_000_000,
        dt_ps: 1_000_000,
        first: 0,
        total: 4,
        scale: 1.0,
        offset: 0.0,
        values: WaveValues::I16(vec![1, 2, 3, 4]),
    };
    let block = Frame { body: Body::Waveform(Box::new(wave)), ..frame(2, 1) };
    let frames = [frame(1, 1), block.clone(), frame(3, 1)];
    assert_eq!(read(&together(BOOT, &log(&frames), ALL)), frames);
    let older = Speaks { waveforms: false, ..ALL };
    let told = read(&together(BOOT, &log(&frames), older));
    let gap = Gap { times_us: Some((7_000_000, 7_000_003)), samples: 4, ..Gap::new(GapCause::Damaged) };
    assert_eq!(told, [frame(1, 1), Frame { body: Body::Gap(gap), ..block }, frame(3, 1)]);
}

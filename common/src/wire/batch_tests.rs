//! Tests of batches: the same frames come back, and no bytes make it panic.

use proptest::prelude::*;

use super::*;
use crate::quality::Quality;
use crate::sample::PointId;

fn frame(seq: u64, rows: Vec<Sample>) -> Frame {
    let header = FrameHeader {
        schema: SchemaHash([3; 16]),
        incarnation: Incarnation(9),
        seq,
        cut_us: 1_795_046_400_000_000 + seq as i64 * 10_007,
        cut_mono_us: seq * 10_007,
        synchronised: !seq.is_multiple_of(5),
    };
    Frame { header, body: Body::Samples(rows) }
}

fn row(point: u32, n: i64) -> Sample {
    let t = 1_795_046_400_000_000 + n;
    Sample {
        point: PointId(point),
        value: Some(Value::I64(n)),
        quality: Quality::GOOD,
        source_us: t,
        received_us: t + 9,
    }
}

fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
    let rows = prop::collection::vec((0u32..20, any::<i32>()), 0..30);
    prop::collection::vec((any::<u32>(), rows), 1..30).prop_map(|frames| {
        let one = |(seq, rows): (u32, Vec<(u32, i32)>)| {
            frame(u64::from(seq), rows.into_iter().map(|(p, n)| row(p, i64::from(n))).collect())
        };
        frames.into_iter().map(one).collect()
    })
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut batch = Batch::default();
    frames.iter().for_each(|f| batch.push(f.clone()).unwrap());
    batch.encode().unwrap()
}

proptest! {
    #[test]
    fn frames_are_read_back(frames in any_frames()) {
        let bytes = encode(&frames);
        prop_assert_eq!(&Batch::decode(&bytes).unwrap(), &frames);
        // The very bytes that each has by itself.
        for (a, b) in Batch::decode(&bytes).unwrap().iter().zip(&frames) {
            prop_assert_eq!(a.encode(), b.encode());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        frames in any_frames(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        junk in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = encode(&frames);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Batch::decode(&bytes);
        let _ = Batch::decode(&junk);
    }
}

#[test]
fn what_does_not_belong_is_given_back() {
    let mut batch = Batch::default();
    assert!(batch.encode().is_none());
    batch.push(frame(1, vec![row(1, 1)])).unwrap();
    let mut other = frame(2, vec![]);
    other.header.incarnation = Incarnation(10);
    assert_eq!(*batch.push(other.clone()).unwrap_err(), other);
    other = frame(2, vec![]);
    other.header.schema = SchemaHash([4; 16]);
    assert_eq!(*batch.push(other.clone()).unwrap_err(), other);
    let gap = crate::wire::Gap {
        incarnation: None,
        seqs: None,
        times_us: None,
        samples: 1,
        cause: crate::wire::GapCause::Overrun,
    };
    let gap = Frame { header: frame(2, vec![]).header, body: Body::Gap(gap) };
    assert_eq!(*batch.push(gap.clone()).unwrap_err(), gap);
    let large = frame(2, vec![row(1, 1); MAX_BATCH_ROWS]);
    assert!(batch.push(large).is_err());
    assert_eq!(batch.len(), 1);
}

#[test]
fn together_frames_take_much_less() {
    let frames: Vec<_> =
        (1..200).map(|seq| frame(seq, (0..50).map(|p| row(p, seq as i64 * 10_000)).collect())).collect();
    let alone: usize = frames.iter().map(|f| f.encode().len()).sum();
    let together = encode(&frames).len();
    assert!(together * 10 < alone, "{together} {alone}");
}

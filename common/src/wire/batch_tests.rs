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

/// What a batch holds within no limits but those of a table.
fn raw(frames: &[Frame]) -> Vec<u8> {
    let mut batch = Batch::default();
    for frame in frames {
        let Body::Samples(rows) = &frame.body else { panic!("samples") };
        batch.headers.push(frame.header);
        batch.sizes.push(rows.len() as i64);
        batch.rows.extend(rows.iter().cloned());
    }
    batch.encode().unwrap()
}

fn text(point: u32, text: &str) -> Sample {
    Sample { value: Some(Value::Text(text.into())), ..row(point, 0) }
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
    let gap = crate::wire::Gap { samples: 1, ..crate::wire::Gap::new(crate::wire::GapCause::Overrun) };
    let gap = Frame { header: frame(2, vec![]).header, body: Body::Gap(gap) };
    assert_eq!(*batch.push(gap.clone()).unwrap_err(), gap);
    let large = frame(2, vec![row(1, 1); MAX_BATCH_ROWS]);
    assert!(batch.push(large).is_err());
    assert_eq!(batch.len(), 1);
}

#[test]
fn what_cannot_be_made_cannot_be_read() {
    let too_large = |frames: &[Frame]| {
        let mut batch = Batch::default();
        assert!(frames.iter().any(|f| batch.push(f.clone()).is_err()));
        match Batch::decode(&raw(frames)).unwrap_err() {
            DecodeError::TooLarge { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    // Its own bytes would not be read as a frame.
    let rows = vec![row(1, 1); MAX_SAMPLES_PER_FRAME + 1];
    assert!(Frame::decode(&frame(1, rows.clone()).encode()).is_err());
    assert_eq!(too_large(&[frame(1, rows)]), "samples of a frame");
    // One text, that each of many frames would hold by itself.
    let long = "x".repeat(200_000);
    let frames: Vec<_> = (1..=1024).map(|seq| frame(seq, vec![text(1, &long)])).collect();
    assert!(raw(&frames).len() < 10_000);
    assert_eq!(too_large(&frames), "text of a batch");
    assert_eq!(too_large(&[frame(1, vec![text(1, &long); 3])]), "text of a frame");
}

#[test]
fn the_largest_frame_of_a_batch_can_be_read_by_itself() {
    let mut seed = 88_172_645_463_325_252u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut rows: Vec<Sample> = Vec::new();
    while rows.len() < MAX_SAMPLES_PER_FRAME {
        // Nothing is expected, nothing can be packed: numbers of 64 bits, or texts of random digits.
        let bytes: Vec<u8> = (0..32).flat_map(|_| next().to_le_bytes()).collect();
        let value = match rows.len() % 2 {
            0 => Value::F64(f64::from_bits(next())),
            _ => Value::Bytes(bytes[..].into()),
        };
        let (point, source_us, received_us) = (PointId(next() as u32), next() as i64, next() as i64);
        let quality = Quality::from_code(next() as u8);
        rows.push(Sample { point, value: Some(value), quality, source_us, received_us });
    }
    let largest = frame(1, rows);
    let mut batch = Batch::default();
    batch.push(largest.clone()).unwrap();
    assert_eq!(batch.load.text, MAX_FRAME_TEXT);
    assert_eq!(Frame::decode(&largest.encode()).unwrap(), largest);
}

#[test]
fn together_frames_take_much_less() {
    let frames: Vec<_> =
        (1..200).map(|seq| frame(seq, (0..50).map(|p| row(p, seq as i64 * 10_000)).collect())).collect();
    let alone: usize = frames.iter().map(|f| f.encode().len()).sum();
    let together = encode(&frames).len();
    assert!(together * 10 < alone, "{together} {alone}");
}

//! How large chunks are.
#![allow(clippy::unwrap_used)] // tests may

use std::sync::Arc;

use common::Quality;

use super::*;

const LIMITS: Limits = Limits { seal: 4096, merge: 32, at_once: 1 << 19 };

/// Texts of 200,000 bytes, which do not repeat.
fn rows() -> Vec<Row> {
    let mut x = 7u64;
    let one = |n: i64| {
        let next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 50) as u8
        };
        let bytes: Vec<u8> = std::iter::repeat_with(next).take(200_000).collect();
        let at = Position { rank: 1, seq: n.unsigned_abs(), index: 0 };
        let value = Some(Value::Bytes(Arc::from(bytes)));
        Row { t: n * 1_000_000, received: n, at, quality: Quality::GOOD, value }
    };
    (0..60).map(one).collect()
}

#[test]
fn no_chunk_has_more_text_than_a_reader_likes_and_none_is_lost() {
    let rows = rows();
    let mut new = New::default();
    let series = vec![(5, Cells::of(&rows)), (6, Cells::of(&rows))];
    new.add(&Stamps::of(&rows), series, 0, LIMITS, false);
    for id in [5, 6] {
        let mut back = Vec::new();
        for chunk in new.chunks.iter().filter(|c| c.series == id && c.level == 0) {
            let stamps = chunk.stamps.and_then(|place| new.stamps.get(place));
            let some = codec::decode_rows(&chunk.blob, stamps.map(|b| &b[..])).unwrap();
            assert!(some.iter().map(Row::text).sum::<usize>() < MOST_TEXT + 200_000);
            assert_eq!((chunk.class, chunk.n), (SEALED, some.len()), "else it would be merged into one");
            back.extend(some);
        }
        assert_eq!(back.len(), rows.len());
        assert!(back == rows);
    }
    let buckets = Buckets::new(1_000_000).of_rows(&rows);
    let chunks = bucket_chunks(5, 1, &buckets, 0, LIMITS);
    assert!(chunks.len() > 2 && chunks.iter().all(|c| c.class == SEALED));
    let back: Vec<Bucket> = chunks.iter().flat_map(|c| bucket_codec::decode(&c.blob).unwrap()).collect();
    assert!(back == buckets);
}

#[test]
fn all_series_are_looked_after_at_first_and_then_each_once_in_ten_minutes() {
    let all = |due: &Parts| (0..1000).filter(|series| due.has(*series)).count();
    assert_eq!(all(&Parts::due(None, 17)), 1000);
    assert_eq!(all(&Parts::due(Some(17), 17)), 0, "the minute's part is done");
    let mut seen = BTreeSet::new();
    for minute in 18..28 {
        let due = Parts::due(Some(minute - 1), minute);
        seen.extend((0..1000).filter(|series| due.has(*series)));
        assert_eq!(all(&due), 100);
    }
    assert_eq!(seen.len(), 1000);
    assert_eq!(all(&Parts::due(Some(17), 20)), 300, "minutes that were missed are made up for");
    assert_eq!(all(&Parts::due(Some(17), 90)), 1000);
}

//! Blobs of the second version are still read: one kept as its program wrote it.

use crate::bucket::{Bucket, Buckets};
use crate::bucket_codec::decode;
use crate::first::tests::{as_older, kept, known};

/// What the program of that version (commit d26616f) made of the buckets of a second of known rows.
const BUCKETS: &str = "
0279c5d07a0a020b0b0c6cc3a47566740700ff0734000007cf95601eb00248e801040400000207cccc0c103820cdcc80
2480040e48e080040e48e0800600e0e0b912cc0356fc083d41150000c04424f40000009390d047a88830f0030a1c303a
383820300840083f610002f80300020610084f47198a0d2e90c0113b80000000000000c03f8004d0010b7060c1158066
364ee2b912cc0356fc083d0193d024000000938bd00300004c44426fe0050e489aee80c0200021fc0840932409a30080
8001459e32da4a33000081f93b80000000000000c03f8084d1010b70c003140818500408000000000000fc8301022780
4e00000018c033c0a03f040a2ed0820cff4a5b2981f37f78d2414a81eef6a76e81eaf6676e81e6f627eec0000808b73f
6e0b7ab33f400b04b45f530b36b53f7107c94010acfd7419";

#[test]
fn blobs_that_were_kept_are_read() {
    let mut buckets = Buckets::new(1_000_000);
    known().iter().for_each(|row| buckets.add(row));
    let expected: Vec<Bucket> = buckets.into_vec().into_iter().map(as_older).collect();
    assert_eq!(decode(&kept(BUCKETS)).unwrap(), expected);
}

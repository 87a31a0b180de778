//! Buckets of the second version, which databases of older programs hold: they know their first and last good sample and
//! not how their time divides. Only read. Its chunks of samples are those of today.

use common::bytes::Reader;
use common::columns::BitReader;

use crate::bucket::Bucket;
use crate::bucket_codec::{take_counts, take_numbers};
use crate::codec::{BlobError, MAX_ROWS, take_rows, take_texts};

/// A chunk of buckets: counts, the rows of first and last good samples, then extremes and sums.
pub(crate) fn take_buckets(body: &[u8]) -> Result<Vec<Bucket>, BlobError> {
    let mut r = Reader::new(body);
    let n = r.count("buckets", MAX_ROWS)?;
    // A first and a last sample each.
    let texts = take_texts(&mut r, n * 2)?;
    let mut r = BitReader::new(r.rest());
    let mut out = take_counts(&mut r, n)?;
    let has = out.iter().filter(|b| b.good > 0).count();
    let firsts = take_rows(&mut r, &texts, has)?;
    let lasts = take_rows(&mut r, &texts, has)?;
    let mut ends = firsts.into_iter().zip(lasts);
    for bucket in out.iter_mut().filter(|b| b.good > 0) {
        bucket.good_ends = ends.next().map(Box::new);
    }
    take_numbers(&mut r, &mut out)?;
    r.end()?;
    let older = |mut b: Bucket| {
        let ends = b.good_ends.take();
        b.older(ends.map(|ends| *ends))
    };
    Ok(out.into_iter().map(older).collect())
}

#[cfg(test)]
#[path = "second_tests.rs"]
mod tests;

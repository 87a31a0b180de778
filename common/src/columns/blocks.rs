//! Differences in blocks of 128. A block is all zeros, or a few numbers among zeros, or a Rice code for each: the
//! one that takes fewest bits. White noise takes 4 % more than its entropy as a Rice code (Rice 1979; Golomb 1966).

use super::bits::{BitReader, BitWriter, MAX_K, length, rice_bits};
use crate::bytes::DecodeError;

/// The most numbers in a block.
pub(crate) const BLOCK: usize = 128;
/// The most numbers that are few in a block.
const MAX_FEW: usize = BLOCK / 3;
/// A block's kind takes so many bits where it is written by itself.
const KIND_BITS: u32 = 6;
const ZEROS: u32 = 0;
const FEW: u32 = 1;
/// Kinds from here on: a Rice code of parameter kind - 2.
const RICE: u32 = 2;

/// The kind in which a block takes fewest bits.
pub(crate) fn kind(block: &[u64]) -> u32 {
    let (mut count, mut lengths) = (0usize, 0);
    for n in block {
        count += usize::from(*n != 0);
        lengths += length(*n);
    }
    if count == 0 {
        return ZEROS;
    }
    let (k, bits) = best_rice(block, lengths, MAX_K);
    // What few numbers take is not worth being asked of many.
    if count <= MAX_FEW && count * 3 <= block.len() && Few::of(block).bits < bits { FEW } else { RICE + k }
}

/// The parameter up to `limit` that takes fewest bits for numbers of these lengths in all, and how many that is.
fn best_rice(numbers: &[u64], lengths: u32, limit: u32) -> (u32, u64) {
    let mean = lengths / numbers.len().max(1) as u32;
    let mut best = (0, u64::MAX);
    for k in mean.saturating_sub(2).min(limit)..=(mean + 1).min(limit) {
        let bits = numbers.iter().map(|n| rice_bits(*n, k)).sum::<u64>();
        if bits >= best.1 {
            break;
        }
        best = (k, bits);
    }
    best
}

/// A block of few numbers among zeros.
struct Few {
    count: usize,
    /// Zeros before each of the numbers.
    zeros: [u64; MAX_FEW],
    /// The numbers, less one.
    numbers: [u64; MAX_FEW],
    /// Parameters of their codes.
    zeros_k: u32,
    numbers_k: u32,
    bits: u64,
}

impl Few {
    fn of(block: &[u64]) -> Self {
        let (mut zeros, mut numbers) = ([0; MAX_FEW], [0; MAX_FEW]);
        let (mut before, mut zeros_length, mut numbers_length) = (0u64, 0, 0);
        let mut places = zeros.iter_mut().zip(&mut numbers);
        let mut count = 0;
        for n in block {
            if *n == 0 {
                before += 1;
            } else if let Some(place) = places.next() {
                (*place.0, *place.1) = (before, n - 1);
                zeros_length += length(before);
                numbers_length += length(n - 1);
                before = 0;
                count += 1;
            }
        }
        let (zeros_k, zeros_bits) = best_rice(&zeros[..count], zeros_length, 7);
        let (numbers_k, numbers_bits) = best_rice(&numbers[..count], numbers_length, MAX_K);
        let bits = 16 + zeros_bits + numbers_bits;
        Self { count, zeros, numbers, zeros_k, numbers_k, bits }
    }

    fn put(&self, w: &mut BitWriter) {
        w.put(self.count as u64 - 1, 7);
        w.put(u64::from(self.zeros_k), 3);
        w.put(u64::from(self.numbers_k), 6);
        for (before, n) in self.zeros.iter().zip(&self.numbers).take(self.count) {
            w.put_rice(*before, self.zeros_k);
            w.put_rice(*n, self.numbers_k);
        }
    }
}

/// Appends a block of a kind that suits it.
pub(crate) fn put_block(w: &mut BitWriter, kind: u32, block: &[u64]) {
    match kind {
        ZEROS => {}
        FEW => Few::of(block).put(w),
        kind => block.iter().for_each(|n| w.put_rice(*n, kind - RICE)),
    }
}

/// Reads a block of `n` numbers, each given to `each`.
#[inline]
pub(crate) fn take_block(
    r: &mut BitReader<'_>,
    kind: u32,
    n: usize,
    mut each: impl FnMut(u64),
) -> Result<(), DecodeError> {
    match kind {
        ZEROS => (0..n).for_each(|_| each(0)),
        FEW => {
            let (count, zeros, numbers) = (r.take(7) as usize + 1, r.take(3) as u32, r.take(6) as u32);
            if numbers > MAX_K {
                return Err(DecodeError::Invalid { what: "code of a block" });
            }
            let mut left = n;
            for _ in 0..count {
                let before = r.rice(zeros)?;
                if before >= left as u64 {
                    return Err(DecodeError::Invalid { what: "place in a block" });
                }
                (0..before).for_each(|_| each(0));
                each(r.rice(numbers)?.wrapping_add(1));
                left -= before as usize + 1;
            }
            (0..left).for_each(|_| each(0));
        }
        kind if kind - RICE <= MAX_K => {
            for _ in 0..n {
                each(r.rice(kind - RICE)?);
            }
        }
        _ => return Err(DecodeError::Invalid { what: "kind of a block" }),
    }
    if r.is_over() { Err(DecodeError::Invalid { what: "length of a block" }) } else { Ok(()) }
}

/// Appends numbers in blocks, each with its kind.
pub(crate) fn put_blocks(w: &mut BitWriter, numbers: &[u64]) {
    for block in numbers.chunks(BLOCK) {
        let kind = kind(block);
        w.put(u64::from(kind), KIND_BITS);
        put_block(w, kind, block);
    }
}

/// What `put_blocks` wrote.
pub(crate) fn take_blocks(
    r: &mut BitReader<'_>,
    n: usize,
    mut each: impl FnMut(u64),
) -> Result<(), DecodeError> {
    let mut left = n;
    while left > 0 {
        let some = left.min(BLOCK);
        let kind = r.take(KIND_BITS) as u32;
        take_block(r, kind, some, &mut each)?;
        left -= some;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_numbers() -> impl Strategy<Value = Vec<u64>> {
        let number = prop_oneof![8 => Just(0u64), 4 => 0u64..40, 1 => any::<u64>()];
        let dense = prop_oneof![6 => 0u64..40, 1 => any::<u64>()];
        prop_oneof![prop::collection::vec(number, 0..300), prop::collection::vec(dense, 0..300)]
    }

    proptest! {
        #[test]
        fn blocks_are_read_back(numbers in any_numbers()) {
            let mut w = BitWriter::default();
            put_blocks(&mut w, &numbers);
            let bytes = w.finish();
            let mut r = BitReader::new(&bytes);
            let mut back = Vec::new();
            take_blocks(&mut r, numbers.len(), |n| back.push(n)).unwrap();
            r.end().unwrap();
            prop_assert_eq!(back, numbers);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), n in 0usize..400) {
            let mut count = 0;
            let read = take_blocks(&mut BitReader::new(&bytes), n, |_| count += 1);
            prop_assert!(count <= n && (read.is_err() || count == n));
        }
    }

    #[test]
    fn zeros_take_nearly_nothing_and_one_among_them_little() {
        let bits = |numbers: &[u64]| {
            let mut w = BitWriter::default();
            put_blocks(&mut w, numbers);
            w.len()
        };
        let mut numbers = [0; 1280];
        assert_eq!(bits(&numbers), 60);
        numbers[700] = 9;
        assert!(bits(&numbers) < 100, "{}", bits(&numbers));
    }
}

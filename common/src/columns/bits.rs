//! Bits in a row, least significant first, and the ways in which one number is written. A read past the end gives
//! zeros and is noticed by `BitReader::end`, never a panic.

use crate::bytes::DecodeError;

/// From so many zeros on, a Rice code is given up: the number itself follows.
const ESCAPE: u32 = 24;
/// The largest parameter of a Rice code.
pub(crate) const MAX_K: u32 = 60;

/// How many bits a number has.
pub(crate) fn length(n: u64) -> u32 {
    64 - n.leading_zeros()
}

/// What a number takes as a Rice code.
pub(crate) fn rice_bits(n: u64, k: u32) -> u64 {
    let q = n >> k;
    if q < u64::from(ESCAPE) { q + 1 + u64::from(k) } else { u64::from(ESCAPE + 7 + length(n)) }
}

/// Writes bits.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    at: usize,
    last: u64,
    bits: u32,
}

impl BitWriter {
    /// Appends the `n` low bits of `value`, at most 56; the others must be 0.
    #[inline]
    fn short(&mut self, value: u64, n: u32) {
        if self.bytes.len() < self.at + 8 {
            let more = self.bytes.len().max(64);
            self.bytes.resize(self.at + 8 + more, 0);
        }
        self.last |= value << self.bits;
        self.bits += n;
        if let Some(place) = self.bytes.get_mut(self.at..self.at + 8) {
            place.copy_from_slice(&self.last.to_le_bytes());
        }
        let whole = self.bits / 8;
        self.at += whole as usize;
        self.last >>= whole * 8;
        self.bits %= 8;
    }

    /// Appends the `n` low bits of `value`, at most 64.
    #[inline]
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        if n <= 32 {
            return self.short(value & ((1 << n) - 1), n);
        }
        self.short(value & 0xffff_ffff, 32);
        let high = value >> 32;
        self.short(if n == 64 { high } else { high & ((1 << (n - 32)) - 1) }, n - 32);
    }

    /// Appends one bit.
    pub fn put_flag(&mut self, flag: bool) {
        self.put(u64::from(flag), 1);
    }

    /// A number by its length and itself: what nothing is known of.
    pub(crate) fn put_number(&mut self, n: u64) {
        let bits = length(n);
        self.put(u64::from(bits), 7);
        self.put(n, bits);
    }

    /// A number as a Rice code: its high bits as so many zeros and a one, then its `k` low bits.
    #[inline]
    pub(crate) fn put_rice(&mut self, n: u64, k: u32) {
        let q = n >> k;
        if q >= u64::from(ESCAPE) {
            self.put(0, ESCAPE);
            return self.put_number(n);
        }
        let q = q as u32;
        let low = n & ((1 << k) - 1);
        if k <= 31 {
            self.short((low << (q + 1)) | (1 << q), q + 1 + k);
        } else {
            self.short(1 << q, q + 1);
            self.put(low, k);
        }
    }

    /// Appends what another one wrote.
    pub(crate) fn append(&mut self, other: Self) {
        let (mut left, bytes) = (other.len(), other.finish());
        for chunk in bytes.chunks(7) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let n = left.min(56);
            self.short(u64::from_le_bytes(word), n as u32);
            left -= n;
        }
    }

    /// Appends the shorter of two, the first if they are as long, and before it a bit that is set for the second.
    pub fn put_shorter(&mut self, first: Self, second: Self) {
        let is_second = second.len() < first.len();
        self.put_flag(is_second);
        self.append(if is_second { second } else { first });
    }

    /// How many bits there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.at * 8 + self.bits as usize
    }

    /// The bytes; what is left of the last one is 0.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.at + usize::from(self.bits > 0));
        self.bytes
    }
}

/// Reads bits.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next 57 bits at least; zeros after the end.
    #[inline]
    fn peek(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            None => {
                let mut last = [0; 8];
                let left = self.bytes.get(byte..).unwrap_or_default();
                last[..left.len()].copy_from_slice(left);
                u64::from_le_bytes(last)
            }
        };
        word >> (self.at % 8)
    }

    /// The next `n` bits, at most 64.
    #[inline]
    pub(crate) fn take(&mut self, n: u32) -> u64 {
        if n <= 32 {
            let bits = self.peek() & ((1 << n) - 1);
            self.at += n as usize;
            return bits;
        }
        let low = self.take(32);
        low | (self.take(n - 32) << 32)
    }

    /// One bit.
    pub fn flag(&mut self) -> bool {
        self.take(1) == 1
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let bits = self.take(7) as u32;
        if bits > 64 {
            return Err(DecodeError::Invalid { what: "length of a number" });
        }
        Ok(self.take(bits))
    }

    #[inline]
    pub(crate) fn rice(&mut self, k: u32) -> Result<u64, DecodeError> {
        let word = self.peek();
        let q = word.trailing_zeros();
        if q >= ESCAPE {
            self.at += ESCAPE as usize;
            return self.number();
        }
        if k <= 31 {
            self.at += (q + 1 + k) as usize;
            return Ok((u64::from(q) << k) | ((word >> (q + 1)) & ((1 << k) - 1)));
        }
        self.at += (q + 1) as usize;
        let low = self.take(k);
        Ok((u64::from(q) << k) | low)
    }

    /// Whether more was read than there is.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.at > self.bytes.len() * 8
    }

    /// Nothing but the last byte's zeros may be left.
    ///
    /// # Errors
    /// When something is, or more was read than there is.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.is_over() {
            return Err(DecodeError::Truncated { at: self.bytes.len() });
        }
        let extra = self.bytes.len() - self.at.div_ceil(8);
        if extra > 0 {
            return Err(DecodeError::Trailing { extra });
        }
        if !self.at.is_multiple_of(8) && self.peek() != 0 {
            return Err(DecodeError::Invalid { what: "bits after the end" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bytes::{unzigzag, zigzag};

    proptest! {
        #[test]
        fn numbers_are_read_back(items in prop::collection::vec((any::<u64>(), 0u32..=64, 0u32..=MAX_K), 0..200)) {
            let mut w = BitWriter::default();
            let cut = |n: u64, bits: u32| if bits == 64 { n } else { n & ((1 << bits) - 1) };
            for (n, bits, k) in &items {
                w.put(*n, *bits);
                w.put_number(cut(*n, *bits));
                let before = w.len();
                w.put_rice(cut(*n, *bits), *k);
                prop_assert_eq!((w.len() - before) as u64, rice_bits(cut(*n, *bits), *k));
            }
            let bytes = w.finish();
            let mut r = BitReader::new(&bytes);
            for (n, bits, k) in &items {
                prop_assert_eq!(r.take(*bits), cut(*n, *bits));
                prop_assert_eq!(r.number().unwrap(), cut(*n, *bits));
                prop_assert_eq!(r.rice(*k).unwrap(), cut(*n, *bits));
            }
            r.end().unwrap();
        }

        #[test]
        fn what_another_wrote_is_appended_as_if_it_were_put(
            before in 0u32..64,
            items in prop::collection::vec((any::<u64>(), 0u32..=64), 0..40),
        ) {
            let (mut at_once, mut apart, mut other) =
                (BitWriter::default(), BitWriter::default(), BitWriter::default());
            at_once.put(5, before);
            apart.put(5, before);
            for (n, bits) in &items {
                at_once.put(*n, *bits);
                other.put(*n, *bits);
            }
            apart.append(other);
            prop_assert_eq!(apart.len(), at_once.len());
            for w in [&mut at_once, &mut apart] {
                w.put(0x5a, 7);
            }
            prop_assert_eq!(apart.finish(), at_once.finish());
        }

        #[test]
        fn zigzag_goes_there_and_back(n in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(n)), n);
        }
    }

    #[test]
    fn a_read_past_the_end_is_noticed() {
        let mut r = BitReader::new(&[1]);
        assert_eq!(r.take(9), 1);
        assert!(matches!(r.end(), Err(DecodeError::Truncated { .. })));
    }
}

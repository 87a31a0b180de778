//! How large the next piece of a bundle is, and when it is asked for: no piece holds the link for long, and most of the time it is
//! left to everything else. Pure.

use std::time::Duration;

use common::wire::MAX_PIECE_BYTES;

const FIRST: u32 = 4 << 10;
const LEAST: u32 = 2 << 10;
/// A piece should take no longer: so long an order to a device may stand behind it.
const PIECE: Duration = Duration::from_millis(250);
/// Of the time that a piece took, so many times as much is left to others.
const SHARE: u32 = 3;
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What was learned of the link.
#[derive(Debug)]
pub(super) struct Pace(u32);

impl Default for Pace {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pace {
    /// Bytes of the next piece.
    pub(super) fn bytes(&self) -> u32 {
        self.0
    }

    /// A piece came; how long to wait until the next one is asked for.
    pub(super) fn came(&mut self, took: Duration) -> Duration {
        let took_us = took.as_micros().max(1);
        let fits = u128::from(self.0) * PIECE.as_micros() / took_us;
        let fits = u32::try_from(fits).unwrap_or(u32::MAX).min(self.0.saturating_mul(2));
        self.0 = fits.clamp(LEAST, MAX_PIECE_BYTES);
        (took * SHARE).min(LONGEST_PAUSE)
    }

    /// None came in time.
    pub(super) fn late(&mut self) {
        self.0 = LEAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes a second that a link carries on its own.
    fn goes_over(bytes_s: u32, total: u32) -> (f64, f64) {
        let (mut pace, mut left, mut busy, mut all, mut longest) =
            (Pace::default(), total, 0.0, 0.0, 0.0_f64);
        while left > 0 {
            let piece = pace.bytes().min(left);
            let took = 0.02 + f64::from(piece) / f64::from(bytes_s);
            let pause = pace.came(Duration::from_secs_f64(took)).as_secs_f64();
            (busy, all, left) = (busy + took, all + took + pause, left - piece);
            if left < total / 2 {
                longest = longest.max(took);
            }
        }
        (busy / all, longest)
    }

    #[test]
    fn a_thin_link_is_left_to_others_most_of_the_time() {
        for bytes_s in [4_000, 16_000, 1 << 20] {
            let (share, longest) = goes_over(bytes_s, 200_000);
            assert!(share < 0.27, "{bytes_s}: {share}");
            assert!(longest < 0.55, "{bytes_s}: {longest} s");
        }
    }

    #[test]
    fn pieces_grow_on_a_good_link_and_shrink_on_a_bad_one() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert!(pace.came(Duration::from_millis(2)) <= Duration::from_millis(6));
        }
        assert_eq!(pace.bytes(), MAX_PIECE_BYTES);
        assert_eq!(pace.came(Duration::from_secs(60)), LONGEST_PAUSE);
        assert_eq!(pace.bytes(), LEAST);
        pace.came(Duration::ZERO);
        pace.late();
        assert_eq!(pace.bytes(), LEAST);
    }
}

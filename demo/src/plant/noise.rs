//! Noise that is the same for the same seed.

/// A small generator (splitmix64) of roughly normal noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise(u64);

impl Noise {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number: mean 0, deviation about 0.6, within -2..2.
    #[allow(clippy::should_implement_trait)] // endless, and never none
    pub fn next(&mut self) -> f64 {
        (0..4).map(|_| self.uniform() - 0.5).sum()
    }

    #[allow(clippy::cast_precision_loss)]
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

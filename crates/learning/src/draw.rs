//! Randomness that is named by numbers: sample `index` of seed `seed` is the same whatever thread makes it, and when.

use domain::Digest;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A random stream.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream named by `purpose` and `path`, for example `("locate", [seed, index, variant])`.
    pub fn named(purpose: &str, path: &[u64]) -> Draw {
        let bytes: Vec<u8> = path.iter().flat_map(|n| n.to_le_bytes()).collect();
        Draw(ChaCha8Rng::from_seed(Digest::of_fields([purpose.as_bytes(), &bytes]).0))
    }

    /// Uniform in `low..high`; `low` when they are equal.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Uniform in the logarithm.
    pub fn ratio_between(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// Uniform in `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// Puts items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        self.0.sample(StandardNormal)
    }

    /// Standard normal in single precision, for noise on pixels.
    pub fn noise(&mut self) -> f32 {
        self.0.sample(StandardNormal)
    }
}

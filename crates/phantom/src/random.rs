//! Counter-based randomness: every stream is named by numbers, so that any image can be drawn alone, in any order, on any
//! thread, and comes out the same.

use domain::Digest;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A random stream.
pub(crate) struct Random {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Random {
    /// The stream named by `purpose` and `path`, for example `("anatomy", [seed, participant])`.
    pub fn named(purpose: &str, path: &[u64]) -> Random {
        let bytes: Vec<u8> = path.iter().flat_map(|n| n.to_le_bytes()).collect();
        let digest = Digest::of_fields([purpose.as_bytes(), &bytes]);
        Random { rng: ChaCha8Rng::from_seed(digest.0), spare: None }
    }

    pub fn next(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0..count.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Standard normal (Marsaglia's polar method).
    pub fn standard(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        loop {
            let (u, v) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let factor = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * factor);
                return u * factor;
            }
        }
    }

    pub fn normal(&mut self, mean: f64, sd: f64) -> f64 {
        mean + sd * self.standard()
    }

    /// Normal, cut at `limit` standard deviations either side.
    pub fn bounded(&mut self, mean: f64, sd: f64, limit: f64) -> f64 {
        mean + sd * self.standard().clamp(-limit, limit)
    }

    /// Log-normal with the given median and standard deviation of the logarithm, cut at 2.5 of them.
    pub fn lognormal(&mut self, median: f64, sd: f64) -> f64 {
        median * (sd * self.standard().clamp(-2.5, 2.5)).exp()
    }

    pub fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.unit()).ln() / rate
    }

    /// Index drawn with the given weights (not all zero).
    pub fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut at = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (index, weight) in weights.enumerate() {
            if weight > 0.0 {
                last = index;
                if at < weight {
                    return index;
                }
            }
            at -= weight;
        }
        last
    }
}

/// Smooth one-dimensional noise: unit-variance normals at knots `pitch` apart, cosine-blended between them.
pub(crate) struct Wander {
    knots: Vec<f64>,
    pitch: f64,
}

impl Wander {
    /// Covers 0..`length`; repeats beyond, without a step.
    pub fn new(random: &mut Random, length: f64, pitch: f64) -> Wander {
        let count = ((length / pitch).ceil() as usize + 2).min(4096);
        let mut knots: Vec<f64> = (0..count).map(|_| random.standard().clamp(-2.5, 2.5)).collect();
        knots[count - 1] = knots[0];
        Wander { knots, pitch }
    }

    pub fn at(&self, position: f64) -> f64 {
        let (t, length) = (position / self.pitch, (self.knots.len() - 1) as f64);
        // most positions lie within the first turn, where the remainder is the number itself
        let t = if (0.0..length).contains(&t) { t } else { t.rem_euclid(length) };
        let index = (t as usize).min(self.knots.len() - 2);
        let f = t - index as f64;
        let f = f * f * (3.0 - 2.0 * f);
        self.knots[index] + f * (self.knots[index + 1] - self.knots[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_and_independent() {
        let mut a = Random::named("anatomy", &[1, 2]);
        let mut again = Random::named("anatomy", &[1, 2]);
        let mut other = Random::named("anatomy", &[2, 1]);
        let first = a.next();
        assert_eq!(first, again.next());
        assert_ne!(first, other.next());
    }

    #[test]
    fn moments_are_right() {
        let mut random = Random::named("moments", &[]);
        let draws: Vec<f64> = (0..20_000).map(|_| random.standard()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "mean {mean}, variance {variance}");
        let hits = (0..20_000).filter(|_| random.weighted([1.0, 0.0, 3.0].into_iter()) == 2).count();
        assert!((14_500..15_500).contains(&hits));
    }
}

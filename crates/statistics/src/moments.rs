//! Count, mean and sum of squares of continuous values, one value at a time (Welford 1962) or merged (Chan, Golub & LeVeque 1983).
//! The same rows in other parts or order agree to 1e-12 relative, not bit by bit.

use crate::estimate::{Confidence, Estimate};

/// Running moments. Values that are not finite are missing: counted, not used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    n: u64,
    missing: u64,
    mean: f64,
    /// sum (x - mean)^2
    squares: f64,
}

impl Moments {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Moments {
        let mut moments = Moments::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }

    /// Of values with counts.
    pub fn of_counted(values: impl IntoIterator<Item = (f64, u64)>) -> Moments {
        let mut moments = Moments::default();
        for (value, count) in values {
            moments.merge(&Moments { n: count, missing: 0, mean: value, squares: 0.0 });
        }
        moments
    }

    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.missing += 1;
            return;
        }
        self.n += 1;
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (value - self.mean);
    }

    pub fn merge(&mut self, other: &Moments) {
        self.missing += other.missing;
        if other.n == 0 {
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let delta = other.mean - self.mean;
        self.n += other.n;
        self.mean += delta * (b / (a + b));
        self.squares += other.squares + delta * delta * (a * b / (a + b));
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// With divisor n - 1; `None` below two values.
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.squares / (self.n as f64 - 1.0))
    }

    /// Mean with Student's interval; without one for fewer than two values.
    pub fn mean_estimate(&self, confidence: Confidence) -> Estimate {
        let n = self.n as f64;
        let Some(mean) = self.mean() else { return Estimate::missing(0, confidence, "mean, t") };
        let error = self.variance().map_or(f64::NAN, |v| (v / n).sqrt());
        Estimate::point(self.n, confidence, "mean, t", mean).with_symmetric(error, confidence.t(n - 1.0))
    }

    /// Standard deviation with the chi-squared interval of normal values.
    pub fn sd_estimate(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "standard deviation, chi-squared";
        let Some(variance) = self.variance().filter(|v| *v > 0.0) else {
            // All values equal: the deviation is 0, its interval is not defined.
            let value = self.variance().unwrap_or(f64::NAN);
            return Estimate::point(self.n, confidence, METHOD, value);
        };
        let df = self.n as f64 - 1.0;
        let limit = |p: f64| (df * variance / crate::distributions::chi2_quantile(p, df)).sqrt();
        Estimate::point(self.n, confidence, METHOD, variance.sqrt())
            .with_error((variance / (2.0 * df)).sqrt())
            .with_limits(limit(1.0 - confidence.tail()), limit(confidence.tail()))
    }
}

//! A proportion with its confidence interval.

use crate::distributions::beta_quantile;
use crate::estimate::{Confidence, Estimate};

/// Which interval of a proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interval {
    /// Wilson, JASA 1927;22:209, without continuity correction; Newcombe 1998, method 3.
    #[default]
    Wilson,
    /// Clopper & Pearson, Biometrika 1934;26:404: never covers less than stated.
    ClopperPearson,
}

/// `count` of `n`. Missing for n = 0 or count > n.
pub fn proportion(count: u64, n: u64, interval: Interval, confidence: Confidence) -> Estimate {
    let method = match interval {
        Interval::Wilson => "proportion, wilson",
        Interval::ClopperPearson => "proportion, clopper-pearson",
    };
    if n == 0 || count > n {
        return Estimate::missing(n, confidence, method);
    }
    let (x, total) = (count as f64, n as f64);
    let p = x / total;
    let (low, high) = match interval {
        Interval::Wilson => {
            let z2 = confidence.z().powi(2);
            let centre = p + z2 / (2.0 * total);
            let half = (p * (1.0 - p) * z2 / total + (z2 / (2.0 * total)).powi(2)).sqrt();
            ((centre - half) / (1.0 + z2 / total), (centre + half) / (1.0 + z2 / total))
        }
        Interval::ClopperPearson => {
            let tail = confidence.tail();
            (beta_quantile(tail, x, total - x + 1.0), beta_quantile(1.0 - tail, x + 1.0, total - x))
        }
    };
    // At the ends of the scale the formulas leave rounding errors, or no distribution.
    let low = if count == 0 { 0.0 } else { low };
    let high = if count == n { 1.0 } else { high };
    Estimate::point(n, confidence, method, p).with_error((p * (1.0 - p) / total).sqrt()).with_limits(low, high)
}

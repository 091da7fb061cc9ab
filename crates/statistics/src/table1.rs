//! Standardised mean differences of two groups, for Table 1 (Austin, Stat Med 2009;28:3083; Yang & Dalton, SAS Global Forum 2012-335).

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::moments::Moments;
use nalgebra::{DMatrix, DVector};

/// Large-sample interval of a standardised difference (Hedges & Olkin 1985, chapter 5).
fn with_interval(n: (u64, u64), confidence: Confidence, method: &'static str, d: f64) -> Estimate {
    let (a, b) = (n.0 as f64, n.1 as f64);
    let error = ((a + b) / (a * b) + d * d / (2.0 * (a + b))).sqrt();
    Estimate::point(n.0 + n.1, confidence, method, d).with_symmetric(error, confidence.z())
}

/// (mean of b - mean of a) / sqrt of the mean of both variances. Missing without variance.
pub fn smd_continuous(a: &Moments, b: &Moments, confidence: Confidence) -> Estimate {
    const METHOD: &str = "smd, continuous";
    let parts = || Some((b.mean()? - a.mean()?, ((a.variance()? + b.variance()?) / 2.0).sqrt()));
    match parts() {
        Some((difference, sd)) if sd > 0.0 => with_interval((a.n(), b.n()), confidence, METHOD, difference / sd),
        _ => Estimate::missing(a.n() + b.n(), confidence, METHOD),
    }
}

/// Of counts by category in both groups: the Mahalanobis distance of their shares, from 0; for two categories the absolute value of the
/// usual difference of proportions. Missing where a group is empty or the shares have no variance.
///
/// # Errors
/// [`ErrorKind::Shape`] for different numbers of categories.
pub fn smd_categories(a: &[u64], b: &[u64], confidence: Confidence) -> Result<Estimate> {
    const METHOD: &str = "smd, categories";
    if a.len() != b.len() {
        return Err(Error::new(ErrorKind::Shape, format!("{} and {} categories", a.len(), b.len())));
    }
    let (total_a, total_b) = (a.iter().sum::<u64>(), b.iter().sum::<u64>());
    let missing = Estimate::missing(total_a + total_b, confidence, METHOD);
    if total_a == 0 || total_b == 0 {
        return Ok(missing);
    }
    // Categories in neither group say nothing; of the others one follows from the rest.
    let seen: Vec<(f64, f64)> = a
        .iter()
        .zip(b)
        .filter(|(a, b)| **a + **b > 0)
        .map(|(a, b)| (*a as f64 / total_a as f64, *b as f64 / total_b as f64))
        .collect();
    let k = seen.len() - 1;
    if k == 0 {
        return Ok(missing);
    }
    let shift = DVector::from_fn(k, |i, _| seen[i].1 - seen[i].0);
    let covariance = DMatrix::from_fn(k, k, |i, j| {
        let of = |p: f64, q: f64| if i == j { p * (1.0 - p) } else { -p * q };
        (of(seen[i].0, seen[j].0) + of(seen[i].1, seen[j].1)) / 2.0
    });
    let Some(factor) = covariance.cholesky() else { return Ok(missing) };
    let d = shift.dot(&factor.solve(&shift)).max(0.0).sqrt();
    Ok(with_interval((total_a, total_b), confidence, METHOD, d).clipped(0.0, f64::MAX))
}

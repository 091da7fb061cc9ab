//! Drift of a distribution of scores between a reference and a later period.

use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;

/// Distances of two distributions over the same classes or levels. `None` where a period has no rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    pub n_reference: u64,
    pub n_current: u64,
    /// Population stability index, sum (q - p) ln(q / p). With a class empty in one period only, half a row is added to every class
    /// (else it were infinite); classes empty in both are left out.
    pub psi: Option<f64>,
    /// Kolmogorov-Smirnov's D. No p-value: with ties it is not valid.
    pub ks: Option<f64>,
    /// Earth mover's distance in units of the level (score points for AAC-24).
    pub wasserstein: Option<f64>,
}

/// Counts by level, one apart from the next.
///
/// # Errors
/// [`ErrorKind::Shape`] for different numbers of levels.
pub fn drift(reference: &[u64], current: &[u64]) -> Result<Drift> {
    if reference.len() != current.len() {
        return Err(Error::new(ErrorKind::Shape, format!("{} and {} levels", reference.len(), current.len())));
    }
    let (n_reference, n_current) = (reference.iter().sum::<u64>(), current.iter().sum::<u64>());
    let mut result = Drift { n_reference, n_current, psi: None, ks: None, wasserstein: None };
    if n_reference == 0 || n_current == 0 {
        return Ok(result);
    }
    let (mut ks, mut wasserstein, mut gap) = (0.0, 0.0, 0.0);
    for (p, q) in reference.iter().zip(current) {
        gap += *p as f64 / n_reference as f64 - *q as f64 / n_current as f64;
        ks = f64::max(ks, gap.abs());
        wasserstein += gap.abs();
    }
    let seen: Vec<(f64, f64)> =
        reference.iter().zip(current).filter(|(p, q)| **p + **q > 0).map(|(p, q)| (*p as f64, *q as f64)).collect();
    let extra = if seen.iter().any(|(p, q)| *p == 0.0 || *q == 0.0) { 0.5 } else { 0.0 };
    let added = extra * seen.len() as f64;
    let term = |(p, q): &(f64, f64)| {
        let (p, q) = ((p + extra) / (n_reference as f64 + added), (q + extra) / (n_current as f64 + added));
        (q - p) * (q / p).ln()
    };
    result.psi = Some(seen.iter().map(term).sum());
    result.ks = Some(ks);
    result.wasserstein = Some(wasserstein);
    Ok(result)
}

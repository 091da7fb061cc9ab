//! Mean under a survey design: strata, clusters, sampling weights, finite populations (Taylor linearisation).

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use std::collections::BTreeMap;

/// One sampled unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    pub value: f64,
    /// Inverse probability of selection, above 0.
    pub weight: f64,
    pub stratum: u32,
    /// First-stage sampling unit (site, practice); each row's own where nothing is clustered.
    pub cluster: u32,
    /// First-stage units in the stratum's population; infinite for none.
    pub population: f64,
}

/// Weighted mean. A stratum with one cluster makes the variance undefined (no guess is made). Student's interval with clusters - strata
/// degrees of freedom (Lumley, Complex Surveys, 2010, chapter 2).
///
/// # Errors
/// [`ErrorKind::Argument`] for weights not above 0, values that are not finite, or a population smaller than its sample.
pub fn survey_mean(rows: &[Sampled], confidence: Confidence) -> Result<Estimate> {
    const METHOD: &str = "survey mean, linearised";
    if rows.iter().any(|r| !(r.weight > 0.0 && r.weight.is_finite() && r.value.is_finite())) {
        return Err(Error::new(ErrorKind::Argument, "every sampled row needs a value and a weight above 0"));
    }
    let n = rows.len() as u64;
    let total: f64 = rows.iter().map(|r| r.weight).sum();
    let mean = rows.iter().map(|r| r.weight * r.value).sum::<f64>() / total;
    if rows.is_empty() {
        return Ok(Estimate::missing(0, confidence, METHOD));
    }
    // stratum -> (population, cluster -> sum of linearised values)
    let mut strata: BTreeMap<u32, (f64, BTreeMap<u32, f64>)> = BTreeMap::new();
    for row in rows {
        let stratum = strata.entry(row.stratum).or_insert((row.population, BTreeMap::new()));
        *stratum.1.entry(row.cluster).or_default() += row.weight * (row.value - mean) / total;
    }
    let (mut variance, mut df) = (0.0, 0.0);
    for (population, clusters) in strata.values() {
        let m = clusters.len() as f64;
        if population.is_nan() || *population < m {
            return Err(Error::new(ErrorKind::Argument, "a stratum's population is smaller than its sample"));
        }
        let centre = clusters.values().sum::<f64>() / m;
        let spread: f64 = clusters.values().map(|v| (v - centre).powi(2)).sum();
        variance += (1.0 - m / population) * m / (m - 1.0) * spread;
        df += m - 1.0;
    }
    Ok(Estimate::point(n, confidence, METHOD, mean).with_symmetric(variance.sqrt(), confidence.t(df)))
}

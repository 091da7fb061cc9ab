//! Trend over ordered groups: of a proportion (Cochran-Armitage), of a score (Jonckheere-Terpstra).

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::Test;

/// `with` of each group's `total`, against the groups' scores (1, 2, 3 or mid-ages).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrendGroup {
    pub score: f64,
    pub with: u64,
    pub total: u64,
}

/// Chi-squared with 1 degree of freedom (Armitage, Biometrics 1955;11:375), without continuity correction. Missing where all or none
/// have the finding, or all scores are equal.
///
/// # Errors
/// [`ErrorKind::Argument`] for a group with more findings than members or a score that is not finite.
pub fn cochran_armitage(groups: &[TrendGroup]) -> Result<Test> {
    const METHOD: &str = "cochran-armitage";
    if groups.iter().any(|g| g.with > g.total || !g.score.is_finite()) {
        return Err(Error::new(ErrorKind::Argument, "a group has more with the finding than members, or no score"));
    }
    let n: u64 = groups.iter().map(|g| g.total).sum();
    let total = n as f64;
    let p = groups.iter().map(|g| g.with).sum::<u64>() as f64 / total;
    let mean = groups.iter().map(|g| g.score * g.total as f64).sum::<f64>() / total;
    let slope: f64 = groups.iter().map(|g| (g.score - mean) * g.with as f64).sum();
    let spread: f64 = groups.iter().map(|g| (g.score - mean).powi(2) * g.total as f64).sum();
    if !(spread > 0.0 && p > 0.0 && p < 1.0) {
        return Ok(Test::missing(n, METHOD));
    }
    Ok(Test::chi2(n, METHOD, slope * slope / (p * (1.0 - p) * spread), 1.0))
}

/// Normal approximation with the variance for ties (Hollander, Wolfe & Chicken, 3rd ed., section 6.2). `groups[i][level]` are counts in
/// the groups' order; the statistic is z, above 0 when later groups have higher levels.
///
/// # Errors
/// [`ErrorKind::Shape`] unless all groups have the same number of levels.
pub fn jonckheere_terpstra(groups: &[Vec<u64>]) -> Result<Test> {
    const METHOD: &str = "jonckheere-terpstra";
    let levels = groups.first().map_or(0, Vec::len);
    if groups.iter().any(|g| g.len() != levels) {
        return Err(Error::new(ErrorKind::Shape, "all groups need the same levels"));
    }
    let sizes: Vec<f64> = groups.iter().map(|g| g.iter().sum::<u64>() as f64).collect();
    let ties: Vec<f64> = (0..levels).map(|l| groups.iter().map(|g| g[l]).sum::<u64>() as f64).collect();
    let n = sizes.iter().sum::<f64>();
    // Earlier groups are added up as they pass: each value of a later one beats those below and half of those equal.
    let mut earlier = vec![0.0; levels];
    let mut statistic = 0.0;
    for group in groups {
        let mut below = 0.0;
        for (level, count) in group.iter().enumerate() {
            statistic += *count as f64 * (below + earlier[level] / 2.0);
            below += earlier[level];
        }
        earlier.iter_mut().zip(group).for_each(|(sum, count)| *sum += *count as f64);
    }
    let sum = |of: &[f64], f: fn(f64) -> f64| of.iter().map(|v| f(*v)).sum::<f64>();
    let mean = (n * n - sum(&sizes, |v| v * v)) / 4.0;
    let pairs: fn(f64) -> f64 = |v| v * (v - 1.0);
    let triples: fn(f64) -> f64 = |v| v * (v - 1.0) * (v - 2.0);
    let cubes: fn(f64) -> f64 = |v| v * (v - 1.0) * (2.0 * v + 5.0);
    let mut variance = (cubes(n) - sum(&sizes, cubes) - sum(&ties, cubes)) / 72.0;
    if n >= 3.0 {
        variance += sum(&sizes, triples) * sum(&ties, triples) / (36.0 * triples(n));
        variance += sum(&sizes, pairs) * sum(&ties, pairs) / (8.0 * pairs(n));
    }
    // Full ties leave a rounding error of zero.
    let informative = variance > 1e-9 * n.max(1.0);
    Ok(if informative {
        Test::normal(n as u64, METHOD, (statistic - mean) / variance.sqrt())
    } else {
        Test::missing(n as u64, METHOD)
    })
}

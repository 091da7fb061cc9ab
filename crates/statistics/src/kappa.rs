//! Cohen's kappa over fixed classes. Weights go by the class's place among all classes, not among the observed ones: a library
//! that drops unobserved levels gives another number.

use crate::estimate::{Confidence, Estimate};
use crate::table::SquareTable;

/// Weight of classes i and j of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KappaWeights {
    /// 1 for the same class, else 0.
    Unweighted,
    /// 1 - |i - j| / (k - 1).
    Linear,
    /// 1 - (i - j)^2 / (k - 1)^2.
    Quadratic,
}

impl KappaWeights {
    pub const ALL: [KappaWeights; 3] = [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic];

    fn weight(self, i: usize, j: usize, k: usize) -> f64 {
        let distance = i.abs_diff(j) as f64 / (k as f64 - 1.0);
        match self {
            KappaWeights::Unweighted => f64::from(u8::from(i == j)),
            KappaWeights::Linear => 1.0 - distance,
            KappaWeights::Quadratic => 1.0 - distance * distance,
        }
    }

    fn method(self) -> &'static str {
        match self {
            KappaWeights::Unweighted => "kappa, fleiss-cohen-everitt",
            KappaWeights::Linear => "kappa linear, fleiss-cohen-everitt",
            KappaWeights::Quadratic => "kappa quadratic, fleiss-cohen-everitt",
        }
    }
}

/// Kappa with the large-sample standard error of Fleiss, Cohen & Everitt (Psychol Bull 1969;72:323). Missing where chance alone
/// agrees fully (a margin with one class).
pub fn kappa(table: &SquareTable, weights: KappaWeights, confidence: Confidence) -> Estimate {
    let (k, n, method) = (table.k(), table.n() as f64, weights.method());
    if table.n() < 2 {
        return Estimate::missing(table.n(), confidence, method);
    }
    let rows: Vec<f64> = (0..k).map(|i| table.row(i) as f64 / n).collect();
    let columns: Vec<f64> = (0..k).map(|j| table.column(j) as f64 / n).collect();
    // Disagreement, 1 - weight, keeps the digits of a kappa near 1.
    let w = |i: usize, j: usize| weights.weight(i, j, k);
    let cells = || (0..k).flat_map(|i| (0..k).map(move |j| (i, j)));
    let disagreed: f64 = cells().map(|(i, j)| (1.0 - w(i, j)) * table.at(i, j) as f64 / n).sum();
    let by_chance: f64 = cells().map(|(i, j)| (1.0 - w(i, j)) * rows[i] * columns[j]).sum();
    let one_class = |margin: &[f64]| margin.contains(&1.0);
    if by_chance <= 0.0 || (one_class(&rows) && one_class(&columns)) {
        return Estimate::missing(table.n(), confidence, method);
    }
    let kappa = 1.0 - disagreed / by_chance;
    let (observed, expected) = (1.0 - disagreed, 1.0 - by_chance);
    let row_weight: Vec<f64> = (0..k).map(|i| (0..k).map(|j| columns[j] * w(i, j)).sum()).collect();
    let column_weight: Vec<f64> = (0..k).map(|j| (0..k).map(|i| rows[i] * w(i, j)).sum()).collect();
    let spread: f64 = cells()
        .map(|(i, j)| {
            let term = w(i, j) * by_chance - (row_weight[i] + column_weight[j]) * disagreed;
            table.at(i, j) as f64 / n * term * term
        })
        .sum();
    let centre = observed * expected - 2.0 * expected + observed;
    let variance = ((spread - centre * centre) / (n * by_chance.powi(4))).max(0.0);
    Estimate::point(table.n(), confidence, method, kappa)
        .with_symmetric(variance.sqrt(), confidence.z())
        .clipped(-1.0, 1.0)
}

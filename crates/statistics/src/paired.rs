//! Tests of paired classes: McNemar, Bowker, Stuart-Maxwell.

use crate::distributions::binomial_cdf;
use crate::estimate::Test;
use crate::table::SquareTable;
use nalgebra::{DMatrix, DVector};

/// Which McNemar test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McNemar {
    ChiSquared,
    /// |b - c| - 1 (Edwards 1948).
    Corrected,
    /// Binomial.
    Exact,
}

/// Of the discordant pairs: `b` changed one way, `c` the other (McNemar 1947). Missing without any.
pub fn mcnemar(b: u64, c: u64, form: McNemar) -> Test {
    let n = b + c;
    let method = match form {
        McNemar::ChiSquared => "mcnemar",
        McNemar::Corrected => "mcnemar, corrected",
        McNemar::Exact => "mcnemar, exact",
    };
    if n == 0 {
        return Test::missing(0, method);
    }
    let difference = b.abs_diff(c) as f64;
    match form {
        McNemar::ChiSquared => Test::chi2(n, method, difference * difference / n as f64, 1.0),
        McNemar::Corrected => Test::chi2(n, method, (difference - 1.0).max(0.0).powi(2) / n as f64, 1.0),
        McNemar::Exact => Test::new(n, method, b.min(c) as f64, (2.0 * binomial_cdf(b.min(c), n, 0.5)).min(1.0)),
    }
}

/// Symmetry of a square table (Bowker 1948). Pairs of classes without a discordant pair add no degree of freedom.
pub fn bowker(table: &SquareTable) -> Test {
    let (mut statistic, mut df) = (0.0, 0.0);
    for i in 0..table.k() {
        for j in 0..i {
            let (above, below) = (table.at(j, i), table.at(i, j));
            if above + below > 0 {
                let difference = above.abs_diff(below) as f64;
                statistic += difference * difference / (above + below) as f64;
                df += 1.0;
            }
        }
    }
    Test::chi2(table.n(), "bowker", statistic, df)
}

/// Equality of the margins of a square table (Stuart 1955, Maxwell 1970). Classes without discordant pairs add no degree of freedom.
pub fn stuart_maxwell(table: &SquareTable) -> Test {
    let k = table.k();
    let count = |i: usize, j: usize| table.at(i, j) as f64;
    let shift = DVector::from_fn(k, |i, _| table.row(i) as f64 - table.column(i) as f64);
    let covariance = DMatrix::from_fn(k, k, |i, j| {
        if i == j { (table.row(i) + table.column(i) - 2 * table.at(i, i)) as f64 } else { -(count(i, j) + count(j, i)) }
    });
    let (statistic, rank) = quadratic_form(covariance, &shift);
    Test::chi2(table.n(), "stuart-maxwell", statistic, rank as f64)
}

/// v' A^+ v and the rank of A, symmetric and positive semi-definite. The shares sum to a constant, so that A is singular by nature.
pub(crate) fn quadratic_form(a: DMatrix<f64>, v: &DVector<f64>) -> (f64, usize) {
    let eigen = a.symmetric_eigen();
    let largest = eigen.eigenvalues.iter().copied().fold(0.0, f64::max);
    let floor = largest * v.len() as f64 * 1e-12;
    let (mut form, mut rank) = (0.0, 0);
    for (value, vector) in eigen.eigenvalues.iter().zip(eigen.eigenvectors.column_iter()) {
        if *value > floor {
            form += vector.dot(v).powi(2) / value;
            rank += 1;
        }
    }
    (form, rank)
}

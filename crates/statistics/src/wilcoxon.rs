//! Wilcoxon's signed-rank test of paired scores and the Hodges-Lehmann shift.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate, Test};
use crate::pairs::{mid_ranks, tally};
use serde::Serialize;

/// Up to this many differences other than 0 the null distribution is counted out, ties included; beyond it is taken as normal.
const EXACT_MAX: u64 = 50;
/// Most distinct differences for the shift: 4.5 million averages of two.
const DISTINCT_MAX: usize = 3_000;

/// Test and shift of differences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignedRank {
    /// V, the sum of mid-ranks of positive differences; differences of 0 are left out (Wilcoxon 1945).
    pub test: Test,
    /// Median of the averages of all two differences, zeros kept; interval from the null distribution without ties.
    pub shift: Estimate,
}

/// Of differences with counts, in any order.
///
/// # Errors
/// [`ErrorKind::Limit`] beyond 3,000 distinct differences: round them to the precision of the score.
pub fn signed_rank(differences: impl IntoIterator<Item = (f64, u64)>, confidence: Confidence) -> Result<SignedRank> {
    let differences = tally(differences);
    if differences.len() > DISTINCT_MAX {
        let context = format!("{} distinct differences; round them (at most {DISTINCT_MAX})", differences.len());
        return Err(Error::new(ErrorKind::Limit, context));
    }
    Ok(SignedRank { test: test(&differences), shift: shift(&differences, confidence) })
}

fn test(differences: &[(f64, u64)]) -> Test {
    let sizes = tally(differences.iter().filter(|(d, _)| *d != 0.0).map(|(d, count)| (d.abs(), *count)));
    let ranks = mid_ranks(&sizes);
    let n: u64 = sizes.iter().map(|(_, count)| count).sum();
    if n == 0 {
        return Test::missing(0, "wilcoxon signed rank");
    }
    let rank_of = |d: f64| ranks[sizes.partition_point(|(size, _)| *size < d)];
    let v: f64 = differences.iter().filter(|(d, _)| *d > 0.0).map(|(d, count)| *count as f64 * rank_of(*d)).sum();
    if n <= EXACT_MAX {
        // Doubled mid-ranks are whole numbers.
        let doubled = sizes.iter().zip(&ranks).flat_map(|((_, c), r)| (0..*c).map(move |_| (2.0 * r).round() as usize));
        return Test::new(n, "wilcoxon signed rank, exact", v, exact_p(doubled, (2.0 * v).round() as usize));
    }
    let nf = n as f64;
    let ties: f64 = sizes.iter().map(|(_, t)| (*t as f64).powi(3) - *t as f64).sum();
    let variance = nf * (nf + 1.0) * (2.0 * nf + 1.0) / 24.0 - ties / 48.0;
    let from_mean = v - nf * (nf + 1.0) / 4.0;
    let corrected = (from_mean.abs() - 0.5).max(0.0);
    let p = crate::distributions::two_sided_p(corrected / variance.sqrt());
    Test::new(n, "wilcoxon signed rank, normal corrected", v, p)
}

/// Two-sided: twice the smaller tail of all 2^n signs.
fn exact_p(ranks: impl Iterator<Item = usize>, v: usize) -> f64 {
    let ways = sums(ranks);
    let all: f64 = ways.iter().sum();
    let (below, above) = (ways[..=v].iter().sum::<f64>(), ways[v..].iter().sum::<f64>());
    (2.0 * below.min(above) / all).min(1.0)
}

/// Number of subsets of `ranks` for each sum. Whole numbers, exact in f64 up to 2^53.
fn sums(ranks: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut ways = vec![1.0];
    for rank in ranks {
        ways.resize(ways.len() + rank, 0.0);
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways
}

fn shift(differences: &[(f64, u64)], confidence: Confidence) -> Estimate {
    let n: u64 = differences.iter().map(|(_, count)| count).sum();
    let exact = n <= EXACT_MAX;
    let method = if exact { "hodges-lehmann, exact" } else { "hodges-lehmann, normal" };
    if n == 0 {
        return Estimate::missing(0, confidence, method);
    }
    let averages = walsh_averages(differences);
    let all = u128::from(n) * (u128::from(n) + 1) / 2;
    let middle = (at(&averages, all.div_ceil(2)) + at(&averages, all / 2 + 1)) / 2.0;
    let point = Estimate::point(n, confidence, method, middle);
    let nf = n as f64;
    let low = if exact {
        let ways = sums(1..=n as usize);
        let total: f64 = ways.iter().sum();
        let mut cumulated = 0.0;
        let quantile = ways.iter().position(|w| {
            cumulated += w;
            cumulated / total >= confidence.tail()
        });
        quantile.unwrap_or(0) as f64
    } else {
        nf * (nf + 1.0) / 4.0 - confidence.z() * (nf * (nf + 1.0) * (2.0 * nf + 1.0) / 24.0).sqrt()
    };
    // With so few differences that even the extremes do not cover, there is no interval.
    if low < 1.0 {
        return point;
    }
    let rank = low.floor() as u128;
    point.with_limits(at(&averages, rank), at(&averages, all + 1 - rank))
}

/// Averages of two differences, also of one with itself, ascending with their counts.
fn walsh_averages(differences: &[(f64, u64)]) -> Vec<(f64, u128)> {
    let mut averages = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (i, (a, count)) in differences.iter().enumerate() {
        let count = u128::from(*count);
        averages.push((*a, count * (count + 1) / 2));
        averages.extend(differences[..i].iter().map(|(b, other)| ((a + b) / 2.0, count * u128::from(*other))));
    }
    averages.sort_by(|x, y| x.0.total_cmp(&y.0));
    averages
}

/// The value of a rank, from 1; NaN beyond.
fn at(averages: &[(f64, u128)], rank: u128) -> f64 {
    let mut counted = 0;
    for (value, count) in averages {
        counted += count;
        if counted >= rank {
            return *value;
        }
    }
    f64::NAN
}

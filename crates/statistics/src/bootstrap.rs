//! Cluster bootstrap with weights that depend on nothing but (seed, replicate, participant): the same whatever the order, partition
//! or number of threads.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::score::Scores;

const REPLICATES_MAX: u32 = 100_000;

/// Philox 4x32-10 (Salmon et al., SC11): four random words from a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let wide = u64::from(a) * u64::from(b);
        ((wide >> 32) as u32, wide as u32)
    };
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let ((high0, low0), (high1, low1)) = (product(0xD251_1F53, c[0]), product(0xCD9E_8D57, c[2]));
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// Poisson(1) weight of a participant in a replicate: the with-replacement bootstrap of large samples (Hanley & MacGibbon 2006).
/// `participant` is any stable 64-bit number of the participant, such as the head of its digest.
pub fn poisson_weight(seed: u64, replicate: u32, participant: u64) -> u32 {
    let halves = |v: u64| ((v >> 32) as u32, v as u32);
    let ((p1, p0), (s1, s0)) = (halves(participant), halves(seed));
    let words = philox([p0, p1, replicate, 0], [s0, s1]);
    let uniform = (u64::from(words[0]) << 32 | u64::from(words[1])) as f64 / 2f64.powi(64);
    let (mut k, mut probability) = (0, (-1.0f64).exp());
    let mut cumulated = probability;
    // P(K > 20) is 2e-20, below what 64 bits tell apart.
    while uniform >= cumulated && k < 20 {
        k += 1;
        probability /= f64::from(k);
        cumulated += probability;
    }
    k
}

/// Percentile interval and standard error of any statistic of weighted participants. `statistic` gets the weight of each participant in
/// their order, and is also asked with all weights 1 for the estimate; where it is `None` in more than a twentieth of the replicates,
/// there is no interval.
///
/// # Errors
/// [`ErrorKind::Argument`] unless 2 <= replicates <= 100,000.
pub fn cluster_bootstrap(
    participants: &[u64],
    seed: u64,
    replicates: u32,
    confidence: Confidence,
    statistic: impl Fn(&[u32]) -> Option<f64>,
) -> Result<Estimate> {
    if !(2..=REPLICATES_MAX).contains(&replicates) {
        return Err(Error::new(ErrorKind::Argument, format!("2..={REPLICATES_MAX} replicates, not {replicates}")));
    }
    const METHOD: &str = "cluster bootstrap, percentile";
    let n = participants.len() as u64;
    let Some(value) = statistic(&vec![1; participants.len()]) else {
        return Ok(Estimate::missing(n, confidence, METHOD));
    };
    let mut weights = vec![0; participants.len()];
    let mut values = Vec::with_capacity(replicates as usize);
    for replicate in 0..replicates {
        for (weight, participant) in weights.iter_mut().zip(participants) {
            *weight = poisson_weight(seed, replicate, *participant);
        }
        values.extend(statistic(&weights).filter(|v| v.is_finite()));
    }
    let point = Estimate::point(n, confidence, METHOD, value);
    if (values.len() as f64) < 0.95 * f64::from(replicates) {
        return Ok(point);
    }
    let scores = Scores::of(values);
    let quantile = |p: f64| scores.quantile(p, confidence).map(|q| q.estimate.unwrap_or(f64::NAN));
    let error = scores.moments().variance().unwrap_or(f64::NAN).sqrt();
    Ok(point.with_error(error).with_limits(quantile(confidence.tail())?, quantile(1.0 - confidence.tail())?))
}

/// Rows of one participant: its number, how many rows, and the sum of their values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    pub participant: u64,
    pub rows: u64,
    pub sum: f64,
}

/// Mean over all rows, its interval from whole participants drawn again, so that repeated rows of one participant do not pass for
/// independent ones (Field & Welsh, JRSS B 2007;69:369). n is the number of participants.
///
/// # Errors
/// As [`cluster_bootstrap`].
pub fn cluster_mean(clusters: &[Cluster], seed: u64, replicates: u32, confidence: Confidence) -> Result<Estimate> {
    let participants: Vec<u64> = clusters.iter().map(|c| c.participant).collect();
    let mean = |weights: &[u32]| {
        let weighted = clusters.iter().zip(weights).filter(|(_, w)| **w > 0);
        let (rows, sum) = weighted.fold((0.0, 0.0), |(rows, sum), (c, w)| {
            (rows + f64::from(*w) * c.rows as f64, sum + f64::from(*w) * c.sum)
        });
        (rows > 0.0).then_some(sum / rows)
    };
    cluster_bootstrap(&participants, seed, replicates, confidence, mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_rows_widen_the_interval_as_theory_says() {
        // 200 participants with alternating values, each in 4 equal rows: the mean of 200 values, not of 800
        let clusters: Vec<Cluster> =
            (0..200).map(|i| Cluster { participant: i * 7919, rows: 4, sum: 4.0 * (i % 2) as f64 }).collect();
        let estimate = cluster_mean(&clusters, 1, 4000, Confidence::default()).unwrap();
        assert_eq!((estimate.n, estimate.estimate), (200, Some(0.5)));
        let theory = 0.5 / 200f64.sqrt();
        let error = estimate.std_error.unwrap();
        assert!((error / theory - 1.0).abs() < 0.05, "{error} beside {theory}");
        assert_eq!(cluster_mean(&[], 1, 100, Confidence::default()).unwrap().estimate, None);
    }
}

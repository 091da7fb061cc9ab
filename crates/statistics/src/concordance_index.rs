//! Harrell's C: how often the higher risk has the earlier event.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::survival::{FollowUp, check_times};

/// `rows` of follow-up and risk (higher: earlier). Comparable are pairs of which the shorter time ended with an event; of equal times,
/// an event with a censored one. Equal risks count one half (Harrell, Lee & Mark, Stat Med 1996;15:361). Standard error by the
/// infinitesimal jackknife (Therneau & Atkinson, R survival, `concordance`). O(n log n).
///
/// # Errors
/// [`ErrorKind::Argument`] for a time that is negative, or a time or risk that is not finite.
pub fn concordance_index(rows: &[(FollowUp, f64)], confidence: Confidence) -> Result<Estimate> {
    const METHOD: &str = "c index, infinitesimal jackknife";
    check_times(rows.iter().map(|r| r.0.time))?;
    if rows.iter().any(|r| !r.1.is_finite()) {
        return Err(Error::new(ErrorKind::Argument, "a risk is missing; leave incomplete rows out"));
    }
    let mut risks: Vec<f64> = rows.iter().map(|r| r.1 + 0.0).collect();
    risks.sort_by(f64::total_cmp);
    risks.dedup();
    let place = |risk: f64| risks.partition_point(|r| *r < risk);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    // Events before censored ones of the same time: a censored participant lived at least as long.
    order.sort_by(|&a, &b| rows[a].0.time.total_cmp(&rows[b].0.time).then(rows[b].0.event.cmp(&rows[a].0.event)));
    let same = |a: &usize, b: &usize| rows[*a].0.time == rows[*b].0.time && rows[*a].0.event == rows[*b].0.event;

    // (pairs won, ties half; comparable pairs) of each row, once as the one with the event, once as the survivor.
    let mut won = vec![(0.0, 0.0); rows.len()];
    let mut later = RankCounts::new(risks.len());
    for tied in order.chunk_by(same).rev() {
        for &i in tied.iter().filter(|i| rows[**i].0.event) {
            let (below, equal) = later.below_and_equal(place(rows[i].1));
            won[i] = (won[i].0 + below + equal / 2.0, won[i].1 + later.total);
        }
        tied.iter().for_each(|&i| later.add(place(rows[i].1)));
    }
    let mut earlier = RankCounts::new(risks.len());
    for tied in order.chunk_by(same) {
        for &i in tied {
            let (below, equal) = earlier.below_and_equal(place(rows[i].1));
            let above = earlier.total - below - equal;
            won[i] = (won[i].0 + above + equal / 2.0, won[i].1 + earlier.total);
        }
        tied.iter().filter(|i| rows[**i].0.event).for_each(|&i| earlier.add(place(rows[i].1)));
    }
    let n = rows.len() as u64;
    // Every pair was seen from both sides.
    let comparable = won.iter().map(|w| w.1).sum::<f64>() / 2.0;
    if comparable == 0.0 {
        return Ok(Estimate::missing(n, confidence, METHOD));
    }
    let c = won.iter().map(|w| w.0).sum::<f64>() / 2.0 / comparable;
    let variance: f64 = won.iter().map(|(score, pairs)| ((score - c * pairs) / comparable).powi(2)).sum();
    Ok(Estimate::point(n, confidence, METHOD, c).with_symmetric(variance.sqrt(), confidence.z()).clipped(0.0, 1.0))
}

/// Counts by rank with running sums (Fenwick 1994).
struct RankCounts {
    tree: Vec<f64>,
    counts: Vec<f64>,
    total: f64,
}

impl RankCounts {
    fn new(ranks: usize) -> RankCounts {
        RankCounts { tree: vec![0.0; ranks + 1], counts: vec![0.0; ranks], total: 0.0 }
    }

    fn add(&mut self, rank: usize) {
        self.counts[rank] += 1.0;
        self.total += 1.0;
        let mut i = rank + 1;
        while i < self.tree.len() {
            self.tree[i] += 1.0;
            i += i & i.wrapping_neg();
        }
    }

    fn below_and_equal(&self, rank: usize) -> (f64, f64) {
        let (mut i, mut below) = (rank, 0.0);
        while i > 0 {
            below += self.tree[i];
            i -= i & i.wrapping_neg();
        }
        (below, self.counts[rank])
    }
}

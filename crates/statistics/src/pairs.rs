//! Pairs of a reference and a model score, each with how often it occurs: what the statistics of agreement are made of.
//!
//! A count matrix and a list of continuous scores come to the same form, so that there is one formula for both. Sums run over
//! the pairs in their order; that of a count matrix is fixed, so that its results are the same bits under any partition.

use crate::counts::{AacJoint, LEVELS};

/// `count` pairs of the same two scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The human reading, or the earlier one.
    pub reference: f64,
    pub model: f64,
    pub count: u64,
}

impl Pair {
    /// model - reference, always.
    pub fn difference(&self) -> f64 {
        self.model - self.reference
    }
}

/// Complete pairs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pairs(Vec<Pair>);

/// Centred sums of both scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairMoments {
    /// As a number to calculate with; [`Pairs::n`] is exact.
    pub n: f64,
    pub mean_reference: f64,
    pub mean_model: f64,
    /// sum (reference - mean)^2, and so on.
    pub s_reference: f64,
    pub s_model: f64,
    pub s_cross: f64,
}

impl Pairs {
    /// Of (reference, model); pairs with a value that is not finite are missing and left out.
    pub fn of(values: impl IntoIterator<Item = (f64, f64)>) -> Pairs {
        let finite = values.into_iter().filter(|(r, m)| r.is_finite() && m.is_finite());
        Pairs(finite.map(|(reference, model)| Pair { reference, model, count: 1 }).collect())
    }

    pub fn of_joint(joint: &AacJoint) -> Pairs {
        let cells = joint.cells().iter().enumerate().filter(|(_, count)| **count > 0);
        let pair = |(i, count): (usize, &u64)| Pair {
            reference: (i / LEVELS) as f64,
            model: (i % LEVELS) as f64,
            count: *count,
        };
        Pairs(cells.map(pair).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.0.iter()
    }

    pub fn n(&self) -> u64 {
        self.0.iter().map(|p| p.count).sum()
    }

    /// sum of `count` times a quantity of each pair.
    pub(crate) fn sum(&self, quantity: impl Fn(&Pair) -> f64) -> f64 {
        self.0.iter().map(|p| p.count as f64 * quantity(p)).sum()
    }

    /// In two passes; `None` of nothing.
    pub fn moments(&self) -> Option<PairMoments> {
        if self.0.is_empty() {
            return None;
        }
        let n = self.n() as f64;
        let (mean_reference, mean_model) = (self.sum(|p| p.reference) / n, self.sum(|p| p.model) / n);
        let (dr, dm) = (|p: &Pair| p.reference - mean_reference, |p: &Pair| p.model - mean_model);
        Some(PairMoments {
            n,
            mean_reference,
            mean_model,
            s_reference: self.sum(|p| dr(p) * dr(p)),
            s_model: self.sum(|p| dm(p) * dm(p)),
            s_cross: self.sum(|p| dr(p) * dm(p)),
        })
    }

    /// Differences model - reference with their counts, ascending, equal ones together.
    pub fn differences(&self) -> Vec<(f64, u64)> {
        tally(self.0.iter().map(|p| (p.difference(), p.count)))
    }
}

impl FromIterator<Pair> for Pairs {
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Pairs {
        Pairs(pairs.into_iter().collect())
    }
}

/// Values with counts, ascending, equal values together; what is not finite is left out. -0 counts as 0.
pub(crate) fn tally(values: impl IntoIterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    let mut sorted: Vec<(f64, u64)> = Vec::new();
    for (value, count) in values.into_iter().filter(|(value, count)| value.is_finite() && *count > 0) {
        // values in order need no room for their repetitions
        match sorted.last_mut() {
            Some(last) if last.0 == value => last.1 += count,
            _ => sorted.push((value + 0.0, count)),
        }
    }
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // in place: of continuous scores there are as many values as rows
    sorted.dedup_by(|next, last| {
        let equal = next.0 == last.0;
        if equal {
            last.1 += next.1;
        }
        equal
    });
    sorted
}

/// Mid-ranks (from 1) of tallied values: equal values share the mean of their ranks.
pub(crate) fn mid_ranks(tallied: &[(f64, u64)]) -> Vec<f64> {
    let mut before = 0u64;
    let mut ranks = Vec::with_capacity(tallied.len());
    for (_, count) in tallied {
        ranks.push(before as f64 + (*count as f64 + 1.0) / 2.0);
        before += count;
    }
    ranks
}

//! Count states over the 25 levels of AAC-24: sufficient for every statistic of integer scores in this crate.
//!
//! They hold integers only, so that the same rows give the same bits in whatever parts and order they were counted. A row with a
//! missing value is counted as incomplete and enters nothing else.

use crate::error::{Error, ErrorKind, Result};

/// Levels of AAC-24: 0..=24.
pub const LEVELS: usize = 25;

/// A fixed number of counts that can be added, merged, taken back, and written as a list.
pub trait CountState: Sized {
    /// Number of counts; the last is that of incomplete rows.
    const LEN: usize;

    fn counts(&self) -> &[u64];
    fn counts_mut(&mut self) -> &mut [u64];

    /// No rows.
    fn empty() -> Self;

    /// # Errors
    /// [`ErrorKind::Shape`] when the list has another length.
    fn from_counts(counts: &[u64]) -> Result<Self> {
        let mut state = Self::empty();
        if counts.len() != Self::LEN {
            let context = format!("a state of {} counts is wanted, not of {}", Self::LEN, counts.len());
            return Err(Error::new(ErrorKind::Shape, context));
        }
        state.counts_mut().copy_from_slice(counts);
        Ok(state)
    }

    /// Counts of rows counted apart.
    ///
    /// # Errors
    /// [`ErrorKind::Counts`] beyond 64 bits.
    fn merge(&mut self, other: &Self) -> Result<()> {
        merge_counts(self.counts_mut(), other.counts())
    }

    /// Takes rows back that were counted before (a window that moves on).
    ///
    /// # Errors
    /// [`ErrorKind::Counts`] when they were not.
    fn retract(&mut self, other: &Self) -> Result<()> {
        retract_counts(self.counts_mut(), other.counts())
    }

    /// Rows without a missing value.
    fn n(&self) -> u64 {
        self.counts()[..Self::LEN - 1].iter().sum()
    }

    /// Rows with a missing value.
    fn incomplete(&self) -> u64 {
        self.counts()[Self::LEN - 1]
    }
}

/// Adds counts in place, each to its own.
///
/// # Errors
/// [`ErrorKind::Counts`] beyond 64 bits, [`ErrorKind::Shape`] for lists of different lengths.
pub fn merge_counts(into: &mut [u64], from: &[u64]) -> Result<()> {
    combine(into, from, u64::checked_add, "a count exceeds 64 bits")
}

/// Takes counts away in place.
///
/// # Errors
/// [`ErrorKind::Counts`] below zero, [`ErrorKind::Shape`] for lists of different lengths.
pub fn retract_counts(into: &mut [u64], from: &[u64]) -> Result<()> {
    combine(into, from, u64::checked_sub, "rows are taken back that were never counted")
}

fn combine(into: &mut [u64], from: &[u64], by: fn(u64, u64) -> Option<u64>, wrong: &str) -> Result<()> {
    if into.len() != from.len() {
        return Err(Error::new(ErrorKind::Shape, format!("states of {} and {} counts", into.len(), from.len())));
    }
    // In two passes, so that a failure leaves the state as it was.
    if into.iter().zip(from).any(|(a, b)| by(*a, *b).is_none()) {
        return Err(Error::new(ErrorKind::Counts, wrong));
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = by(*a, *b).unwrap_or(*a);
    }
    Ok(())
}

/// Index of a score.
///
/// # Errors
/// [`ErrorKind::Argument`] outside 0..=24.
pub fn level(score: i64) -> Result<usize> {
    usize::try_from(score).ok().filter(|s| *s < LEVELS).ok_or_else(|| {
        Error::new(ErrorKind::Argument, format!("AAC-24 lies in 0..=24, not {score}; round or select rows first"))
    })
}

/// Readings by AAC-24: `counts[score]`, last the readings without a total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacHist([u64; LEVELS + 1]);

/// Pairs by both scores: `counts[25 * reference + model]`, last the pairs with a total missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacJoint(Vec<u64>);

/// Readings by outcome and score: `counts[25 * outcome + score]`, last those with a score or outcome missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacJointOutcome([u64; 2 * LEVELS + 1]);

impl CountState for AacHist {
    const LEN: usize = LEVELS + 1;

    fn counts(&self) -> &[u64] {
        &self.0
    }
    fn counts_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
    fn empty() -> AacHist {
        AacHist([0; LEVELS + 1])
    }
}

impl CountState for AacJoint {
    const LEN: usize = LEVELS * LEVELS + 1;

    fn counts(&self) -> &[u64] {
        &self.0
    }
    fn counts_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
    fn empty() -> AacJoint {
        AacJoint(vec![0; LEVELS * LEVELS + 1])
    }
}

impl CountState for AacJointOutcome {
    const LEN: usize = 2 * LEVELS + 1;

    fn counts(&self) -> &[u64] {
        &self.0
    }
    fn counts_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
    fn empty() -> AacJointOutcome {
        AacJointOutcome([0; 2 * LEVELS + 1])
    }
}

impl AacHist {
    /// Where a row is counted.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] outside 0..=24.
    pub fn slot(score: Option<i64>) -> Result<usize> {
        score.map_or(Ok(Self::LEN - 1), level)
    }

    /// # Errors
    /// As [`AacHist::slot`].
    pub fn add(&mut self, score: Option<i64>) -> Result<()> {
        self.0[AacHist::slot(score)?] += 1;
        Ok(())
    }

    /// Readings by score, 0..=24.
    pub fn levels(&self) -> &[u64] {
        &self.0[..LEVELS]
    }
}

impl AacJoint {
    /// Where a row is counted.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] outside 0..=24.
    pub fn slot(reference: Option<i64>, model: Option<i64>) -> Result<usize> {
        let (reference, model) = (reference.map(level).transpose()?, model.map(level).transpose()?);
        Ok(reference.zip(model).map_or(Self::LEN - 1, |(r, m)| LEVELS * r + m))
    }

    /// # Errors
    /// As [`AacJoint::slot`].
    pub fn add(&mut self, reference: Option<i64>, model: Option<i64>) -> Result<()> {
        self.0[AacJoint::slot(reference, model)?] += 1;
        Ok(())
    }

    /// 25 x 25, row by row: `[25 * reference + model]`.
    pub fn cells(&self) -> &[u64] {
        &self.0[..LEVELS * LEVELS]
    }
}

impl AacJointOutcome {
    /// Where a row is counted.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] outside 0..=24.
    pub fn slot(outcome: Option<bool>, score: Option<i64>) -> Result<usize> {
        let score = score.map(level).transpose()?;
        Ok(outcome.zip(score).map_or(Self::LEN - 1, |(o, s)| LEVELS * usize::from(o) + s))
    }

    /// # Errors
    /// As [`AacJointOutcome::slot`].
    pub fn add(&mut self, outcome: Option<bool>, score: Option<i64>) -> Result<()> {
        self.0[AacJointOutcome::slot(outcome, score)?] += 1;
        Ok(())
    }

    /// Readings by score of those with (`true`) or without the outcome.
    pub fn levels(&self, outcome: bool) -> &[u64] {
        let start = LEVELS * usize::from(outcome);
        &self.0[start..start + LEVELS]
    }
}

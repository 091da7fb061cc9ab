//! Square tables of counts: reference by row, model by column.

use crate::counts::{AacJoint, LEVELS};
use crate::error::{Error, ErrorKind, Result};

/// k x k counts over fixed classes, observed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquareTable {
    k: usize,
    counts: Vec<u64>,
}

impl SquareTable {
    /// `counts[k * reference + model]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] unless there are k * k counts and k >= 2.
    pub fn new(k: usize, counts: Vec<u64>) -> Result<SquareTable> {
        if k < 2 || counts.len() != k * k {
            return Err(Error::new(ErrorKind::Shape, format!("{} counts are no {k} x {k} table", counts.len())));
        }
        Ok(SquareTable { k, counts })
    }

    /// All 25 levels.
    pub fn of_joint(joint: &AacJoint) -> SquareTable {
        SquareTable { k: LEVELS, counts: joint.cells().to_vec() }
    }

    /// Classes of scores: `cuts[i]` is the least score of class i + 1; [2, 6] for low, moderate and high.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] unless the cuts ascend within 1..=24.
    pub fn of_classes(joint: &AacJoint, cuts: &[usize]) -> Result<SquareTable> {
        let rising = cuts.windows(2).all(|w| w[0] < w[1]);
        if cuts.is_empty() || !rising || cuts[0] < 1 || cuts[cuts.len() - 1] >= LEVELS {
            return Err(Error::new(ErrorKind::Argument, format!("cut-offs ascend within 1..=24, not {cuts:?}")));
        }
        let k = cuts.len() + 1;
        let class = |score: usize| cuts.partition_point(|cut| *cut <= score);
        let mut counts = vec![0; k * k];
        for (i, count) in joint.cells().iter().enumerate() {
            counts[k * class(i / LEVELS) + class(i % LEVELS)] += count;
        }
        Ok(SquareTable { k, counts })
    }

    /// Number of classes.
    pub fn k(&self) -> usize {
        self.k
    }

    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn at(&self, reference: usize, model: usize) -> u64 {
        self.counts[self.k * reference + model]
    }

    pub fn row(&self, reference: usize) -> u64 {
        (0..self.k).map(|j| self.at(reference, j)).sum()
    }

    pub fn column(&self, model: usize) -> u64 {
        (0..self.k).map(|i| self.at(i, model)).sum()
    }

    pub fn diagonal(&self) -> u64 {
        (0..self.k).map(|i| self.at(i, i)).sum()
    }
}

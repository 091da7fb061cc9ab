//! Accuracy of classes (low, moderate, high) against a reference.

use crate::estimate::{Confidence, Estimate};
use crate::proportion::{Interval, proportion};
use crate::table::SquareTable;
use serde::Serialize;

/// One class against the rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// Place of the class in the table.
    pub class: usize,
    pub sensitivity: Estimate,
    pub specificity: Estimate,
    pub ppv: Estimate,
    pub npv: Estimate,
}

/// Share of all pairs in the same class.
pub fn accuracy(table: &SquareTable, interval: Interval, confidence: Confidence) -> Estimate {
    proportion(table.diagonal(), table.n(), interval, confidence)
}

/// Each class in turn. The n of each proportion is its own denominator; an empty one gives a missing estimate.
pub fn by_class(table: &SquareTable, interval: Interval, confidence: Confidence) -> Vec<ClassAccuracy> {
    let share = |count: u64, n: u64| proportion(count, n, interval, confidence);
    let class = |class: usize| {
        let (n, hit) = (table.n(), table.at(class, class));
        let (positive, called) = (table.row(class), table.column(class));
        let rest = n + hit - positive - called;
        ClassAccuracy {
            class,
            sensitivity: share(hit, positive),
            specificity: share(rest, n - positive),
            ppv: share(hit, called),
            npv: share(rest, n - called),
        }
    };
    (0..table.k()).map(class).collect()
}

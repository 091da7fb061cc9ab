//! Flow of a cohort: how many came to each condition, and how many met it (STROBE 2007, item 13).

use crate::estimate::{Confidence, Estimate};
use crate::proportion::{Interval, proportion};

/// From the rows by the first condition that each did not meet, last those that met all: of each condition the share of those who came
/// to it that meet it, `condition_1` first, then the share of all rows that met `all`. n is how many came. Every row left for one reason.
pub fn flow(left: &[u64], confidence: Confidence) -> Vec<(String, Estimate)> {
    let received: u64 = left.iter().sum();
    let mut came = received;
    let mut steps = Vec::new();
    let share = |met: u64, of: u64| proportion(met, of, Interval::Wilson, confidence);
    if let Some((all, conditions)) = left.split_last() {
        for (place, failed) in conditions.iter().enumerate() {
            steps.push((format!("condition_{}", place + 1), share(came - failed, came)));
            came -= failed;
        }
        steps.push(("all".to_owned(), share(*all, received)));
    }
    steps
}

//! How far a run is, and how it ended.

use domain::{ExcludeReason, FailReason, Fingerprint, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;

/// Outcomes by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    pub scored: u64,
    pub excluded: BTreeMap<ExcludeReason, u64>,
    pub failed: BTreeMap<FailReason, u64>,
}

impl Counts {
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Scored { .. } => self.scored += 1,
            Outcome::Excluded { reason } => *self.excluded.entry(*reason).or_default() += 1,
            Outcome::Failed { reason } => *self.failed.entry(*reason).or_default() += 1,
        }
    }

    pub fn total(&self) -> u64 {
        self.scored + self.excluded.values().sum::<u64>() + self.failed.values().sum::<u64>()
    }
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// SRC is being listed and written down.
    #[default]
    Listing,
    Reading,
    /// The last rows are being committed.
    Committing,
    Ended,
}

/// A run as seen from outside, sent whenever something has changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Progress {
    pub phase: Phase,
    /// Items listed so far; all of them from `Reading` on.
    pub items: u64,
    /// Items that had their row before this run.
    pub found_done: u64,
    /// Items that this run means to read.
    pub to_read: u64,
    /// What became of those read so far in this run.
    pub read: Counts,
    /// Of these, how many have their row in the lake.
    pub committed: u64,
    /// Items that this run gave up for now (a store or service was away); the next run takes them up.
    pub postponed: u64,
}

/// How a run ended. `items == outcomes.total() + pending` (invariant 5).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    pub submission: String,
    pub fingerprint: Fingerprint,
    pub items: u64,
    /// All items of the submission by outcome, of this run and of earlier ones, as the lake has them.
    pub outcomes: Counts,
    /// Items without a row: cancelled, limited, or given up for now.
    pub pending: u64,
    /// Items read in this run, by outcome.
    pub read: Counts,
    pub postponed: u64,
    pub overlays_failed: u64,
    /// Rows that differed from what the lake had; copies are kept in the lake.
    pub conflicts: u64,
    pub cancelled: bool,
    pub seconds: f64,
}

impl RunReport {
    /// Images read a second in this run.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.read.total() as f64 / self.seconds } else { 0.0 }
    }
}

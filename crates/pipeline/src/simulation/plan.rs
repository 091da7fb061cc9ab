//! What a seed makes of a simulation before it begins.

use super::fate::{Fault, spread, unit};
use crate::batches::BatchLimits;
use crate::crash::OF_PIPELINE;
use lake::CrashPoint;
use std::time::Duration;

/// Kinds of cohort that seeds choose from; each lies under a prefix of its own.
pub(super) const COHORTS: usize = 6;

/// All crash points, of both crates.
pub(super) fn crash_points() -> impl Iterator<Item = CrashPoint> {
    CrashPoint::OF_LAKE.into_iter().chain(OF_PIPELINE)
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Whether anything goes wrong at all.
    pub disturbed: bool,
    /// Which cohort is submitted, 0 .. [`COHORTS`].
    pub cohort: usize,
    /// Whether an item of it takes down whoever reads it.
    pub killer: bool,
    pub workers: usize,
    pub committers: usize,
    pub prefetch: u16,
    pub batch: BatchLimits,
    /// How long a worker waits for each job, so that one is committed before the next is done.
    pub between_jobs: Duration,
    /// Submitted by two at once.
    pub submitted_twice: bool,
    /// The lake is not there when the roles begin.
    pub from_nothing: bool,
    rates: Vec<f64>,
    crash_rate: f64,
    /// The point at which deaths are likely.
    deadly: Option<CrashPoint>,
}

/// The cohort with the most items.
const MANY_ITEMS: usize = 1;
/// Cohorts from this one on have an item that kills.
pub(super) const FIRST_WITH_KILLER: usize = 4;

/// Successive draws for one plan.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = spread(self.0);
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn chance(&mut self, of: f64) -> bool {
        unit(self.next()) < of
    }
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut dice = Dice(spread(seed ^ 0x0070_6C61_6E00));
        let points: Vec<CrashPoint> = crash_points().collect();
        let deadly = dice.chance(0.5).then(|| dice.one_of(&points));
        // files are merged after many small commits only
        let many_commits = deadly == Some(CrashPoint::FILES_MERGED);
        let cohort = if many_commits { MANY_ITEMS } else { dice.below(COHORTS as u64) as usize };
        let killer = cohort >= FIRST_WITH_KILLER;
        // as often as messages may come again somebody dies, mostly before the point that is to be deadly
        let spared = deadly.is_some() && dice.chance(0.5);
        let rates = Fault::ALL.map(|fault| {
            // most seeds suffer from few kinds of faults, and a few from much of one
            let rate: f64 = dice.one_of(&[0.0, 0.0, 0.01, 0.03, 0.15]);
            match fault {
                // a committer that is to die there must live until then
                _ if many_commits && fault.costs_a_delivery() => 0.0,
                _ if many_commits => rate.min(0.003),
                Fault::Killed | Fault::ToldToLeave if !spared => rate * 3.0,
                Fault::Slow | Fault::PutRefusedInVain => rate / 3.0,
                // a second copy of the item that kills would kill as often again
                Fault::Duplicated if killer => 0.0,
                _ if spared && fault.costs_a_delivery() => 0.0,
                _ => rate,
            }
        });
        Plan {
            disturbed: true,
            cohort,
            killer,
            workers: if many_commits { 1 } else { dice.one_of(&[1, 2, 3]) },
            committers: dice.one_of(&[1, 2, 2]),
            prefetch: if many_commits { 1 } else { dice.one_of(&[1, 2, 4, 16]) },
            batch: BatchLimits {
                rows: if many_commits { 1 } else { dice.one_of(&[1, 2, 4, 16]) },
                age: Duration::from_millis(dice.one_of(&[97, 997, 9_973])),
            },
            between_jobs: Duration::from_secs(if many_commits { 2 } else { 0 }),
            submitted_twice: !killer && dice.chance(0.2),
            from_nothing: dice.chance(0.15),
            rates: rates.to_vec(),
            crash_rate: if many_commits { 0.0 } else { dice.one_of(&[0.0, 0.01, 0.04]) },
            deadly,
        }
    }

    /// The same cohort with nothing in its way.
    pub fn undisturbed(cohort: usize) -> Plan {
        Plan {
            disturbed: false,
            cohort,
            killer: cohort >= FIRST_WITH_KILLER,
            workers: 1,
            committers: 1,
            prefetch: 4,
            batch: BatchLimits { rows: 4, age: Duration::from_millis(997) },
            between_jobs: Duration::ZERO,
            submitted_twice: false,
            from_nothing: true,
            rates: vec![0.0; Fault::ALL.len()],
            crash_rate: 0.0,
            deadly: None,
        }
    }

    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault as usize]
    }

    pub fn crash_rate(&self, point: CrashPoint) -> f64 {
        if self.deadly == Some(point) { 0.4 } else { self.crash_rate }
    }
}

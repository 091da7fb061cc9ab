//! Disclosure control: which counts of a cohort may be told.
//!
//! Everything that may ever be told of one cohort is one fixed family of counts, the [`Grid`]: the participants by up to `at_once` strata
//! at a time, with and without the band of their score, and all margins. [`suppress`] decides for the whole family at once, before
//! anybody asks. So what one question withholds no other question, and no combination of questions, gives away.
//!
//! - Primary: a count from 1 to threshold - 1 is withheld; 0 is told.
//! - Secondary: further counts are withheld until no withheld count follows from those that are told, by any sum or difference
//!   ([`Audit`]) and the zeros that are told, and what remains of a line whose total is told is at least the threshold.
//! - Differencing: a count whose participants differ by fewer than the threshold from those of a count that was told before is
//!   withheld ([`small_differences`]).
//!
//! Source: Hundepool et al., Statistical Disclosure Control, 2012, chapter 4 (tables of frequencies, linked tables). This is **not**
//! differential privacy: the counts that are told are exact (or rounded), who knows much about a stratum already can narrow down what
//! is withheld, and nothing bounds what several cohorts together tell beyond the comparison of [`small_differences`].

mod audit;
mod differencing;
mod grid;
mod rounding;
mod suppression;

pub use audit::Audit;
pub use differencing::{Member, small_differences};
pub use grid::{CELLS_MAX, ENTRIES_MAX, Entry, Grid};
pub use rounding::round_to;
pub use suppression::{Counts, suppress};

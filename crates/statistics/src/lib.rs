//! The statistics of a cohort that can be published: pure functions of sufficient statistics, and their SQL functions.
//!
//! [`counts`] and [`moments`] are what rows are gathered into; every other module turns them into an [`Estimate`] or a [`Test`]. What is
//! not defined from the data is `None` with its n, never NaN and never a panic. The unit is the participant: repeated rows of
//! one participant belong to [`bootstrap`] or [`survey`]. Each formula names its source; known answers are in `tests/known_answers.rs`,
//! random cases against scipy, statsmodels, lifelines and R in `tests/peers/statistics`.

pub mod bland_altman;
pub mod bootstrap;
pub mod classification;
pub mod concordance_index;
pub mod correlation;
pub mod counts;
pub mod cox;
pub mod disclosure;
pub mod distributions;
pub mod drift;
pub mod error;
pub mod estimate;
pub mod flow;
pub mod icc;
pub mod kappa;
pub mod moments;
pub mod paired;
pub mod pairs;
pub mod prevalence;
pub mod progression;
pub mod proportion;
pub mod roc;
pub mod score;
pub mod segmentation;
#[cfg(feature = "sql")]
pub mod sql;
pub mod standardise;
pub mod survey;
pub mod survival;
pub mod table;
pub mod table1;
pub mod trend;
pub mod wilcoxon;

pub use counts::{AacHist, AacJoint, AacJointOutcome, CountState};
pub use error::{Error, ErrorKind, Result};
pub use estimate::{Confidence, Estimate, Test};
pub use moments::Moments;
pub use pairs::{Pair, Pairs};
pub use table::SquareTable;

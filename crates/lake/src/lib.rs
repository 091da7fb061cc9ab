//! The lake: tables of outcomes, the evidence behind them, and SQL over both.

mod aggregate;
mod apart;
mod artifact;
mod census;
mod codebook;
mod committer;
mod compact;
mod datafile;
mod error;
mod evidence;
mod explain;
#[cfg(test)]
mod fault_tests;
mod few_groups;
mod fingerprints;
mod item_outcome;
mod items;
mod keys;
mod lake;
mod layers;
mod location;
mod lookup;
mod output;
pub mod paths;
mod pending;
mod provider;
#[cfg(test)]
mod query_tests;
mod rebuild;
mod record;
mod rehearsal;
#[cfg(test)]
mod samples;
pub mod schema;
mod session;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod tolerance;
mod unnest_keys;
mod views;

pub use aggregate::{
    AggregateSession, COHORTS_MAX, Door, Function, MEMBERS_MAX, Policy, Population, Role, STRATA_MAX, Stratum,
    VALUES_MAX,
};
pub use artifact::{ARTIFACT_BYTES_MAX, ArtifactPut, Artifacts};
pub use census::Tally;
pub use codebook::{TableEntry, codebook};
pub use committer::{BATCH_RECORDS_MAX, CommitReport, Committer};
pub use error::{Error, Result};
pub use evidence::{EvidenceDifferences, LOST_IMAGES_MAX};
pub use item_outcome::{Came, ITEM_OUTCOME_SCHEMA_VERSION, ItemOutcome};
pub use items::{ITEMS_MAX, ItemManifests, RUN_ITEMS, SortedItems, Submission};
pub use lake::Lake;
pub use location::{Location, store_for};
pub use output::{Format, TABLE_ROWS_MAX, write_answer};
pub use pending::{OpenItems, Wanted, Work};
pub use rebuild::Rebuilt;
pub use record::Refusal;
pub use rehearsal::{CrashPoint, Rehearsal, Rehearsed};
pub use session::{Answer, LakeSession, SessionOptions};
pub use summary::{CohortSummary, Group, Scores};

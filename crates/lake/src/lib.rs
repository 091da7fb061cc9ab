//! The lake: tables of outcomes, the evidence behind them, and SQL over both.

mod committer;
mod compact;
mod datafile;
mod error;
mod explain;
mod items;
mod keys;
mod lake;
mod location;
pub mod paths;
mod provider;
mod record;
#[cfg(test)]
mod samples;
pub mod schema;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod tolerance;
mod views;

pub use committer::{BATCH_RECORDS_MAX, CommitReport, Committer};
pub use error::{Error, Result};
pub use items::{ITEMS_MAX, ItemManifests, RUN_ITEMS, Submission};
pub use lake::Lake;
pub use location::{Location, store_for};
pub use record::Refusal;
pub use session::{Answer, LakeSession, SessionOptions};

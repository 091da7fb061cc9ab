//! The one integration binary: the program as a user runs it.

mod evaluate;
mod files;
mod garbage;
mod precision;
mod privacy;
mod query;
mod release;
mod report;
mod resume;
mod roles;
mod stats;
mod structure;

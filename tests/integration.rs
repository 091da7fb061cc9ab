//! The one integration binary: the program as a user runs it.

mod evaluate;
mod files;
mod garbage;
mod privacy;
mod query;
mod resume;
mod stats;
mod structure;

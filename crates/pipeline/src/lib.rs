//! The pipeline: what it is, which images it is given, and the steps from an image to a row.
//!
//! ```text
//! source -> Item -> steps: fetch -> decode -> locate -> segment -> score -> publish -> OutcomeRecord -> lake
//!            run:    list, steps and lake in one process (`score`)
//!            submit: Item -> job queue | worker: job -> steps -> record queue | commit: record -> lake
//! ```
//!
//! What the roles call (settings in, a report out; a `CancellationToken` ends each of them cleanly):
//!
//! ```text
//! Pipeline::load(directory) -> Pipeline                         definition, shape model, model manifests
//! Source::open(src, stores, study_key) -> Source
//! Steps::new(StepSettings { pipeline, stages, stores, lake, decode, overlay, now_us, .. }) -> Steps
//! run::score(steps, lake, source, ScoreOptions, progress: watch::Sender<Progress>, cancel) -> RunReport
//! submit::submit(source, lake, jobs: Queue<Job>, SubmitOptions, cancel) -> SubmitReport
//! worker::work(steps, broker, WorkerOptions, cancel) -> WorkReport
//! commit::commit(lake, broker, CommitOptions, cancel) -> CommitterReport
//! ```
//!
//! This crate fences lapin: no other crate knows of AMQP.

pub mod definition;
mod error;
pub mod job;
pub mod queue;
pub mod source;

pub use error::{Error, ErrorKind, Result};

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
//! submit::submit(source, lake, jobs: Queue<Job>, SubmitOptions, progress, cancel) -> SubmitReport
//! events::follow(source, lake, broker, EventOptions, cancel) -> EventReport
//! worker::work(steps, broker, WorkerOptions, cancel) -> WorkReport
//! commit::commit(lake, broker, CommitOptions, cancel) -> CommitterReport
//! status::status(lake, broker, submissions, now_us) -> Status
//! reconcile::reconcile(source, lake, jobs: Option<Queue<Job>>, ReconcileOptions, cancel) -> ReconcileReport
//! rescore::rescore(lake, Rescoring, cancel) -> RescoreReport
//! replay::replay(lake, jobs: Queue<Job>, ReplayOptions, cancel) -> ReplayReport
//! ```
//!
//! This crate fences lapin: no other crate knows of AMQP.

mod batches;
pub mod commit;
mod crash;
pub mod definition;
#[cfg(test)]
mod distributed_tests;
mod error;
pub mod events;
pub mod job;
pub mod ledger;
pub mod metrics;
pub mod pipeline;
pub mod progress;
pub mod queue;
pub mod reconcile;
pub mod replay;
pub mod rescore;
pub mod run;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod simulation;
pub mod source;
pub mod status;
pub mod steps;
pub mod submit;
#[cfg(test)]
mod testing;
mod time;
mod turns;
pub mod worker;

pub use batches::BatchLimits;
pub use error::{Error, ErrorKind, Result};
pub use pipeline::Pipeline;
pub use source::Source;
pub use steps::Steps;

//! `submit`: the item manifest first, then a job for every item without a row.
//!
//! Submitting the same SRC again is safe: the same list is the same submission, items with a row get no job, and a job
//! that is on the queue twice gives the same row twice, which is one row.

use crate::error::{Error, ErrorKind, Result};
use crate::job::{JOB_SCHEMA_VERSION, Job};
use crate::metrics::Metrics;
use crate::progress::{Phase, Progress};
use crate::queue::Queue;
use crate::source::Source;
use crate::time;
use domain::{FailReason, Fingerprint};
use futures::{Stream, StreamExt, TryStreamExt};
use lake::{Lake, Work};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Jobs that wait for their confirm at once.
const UNCONFIRMED: usize = 256;
/// A full queue is given so long to make room.
const FULL_WITHIN: Duration = Duration::from_secs(600);
const FULL_WAIT: Duration = Duration::from_secs(5);

/// What is submitted.
#[derive(Debug, Clone)]
pub struct SubmitOptions {
    /// `name version` of the pipeline that shall read.
    pub pipeline: String,
    pub fingerprint: Fingerprint,
    /// Jobs that are published at most.
    pub limit: Option<u64>,
    /// Items that failed for one of these reasons are read again.
    pub retry: Vec<FailReason>,
    pub metrics: Metrics,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubmitReport {
    pub submission: String,
    pub fingerprint: Fingerprint,
    pub items: u64,
    /// Items that have their row already.
    pub found_done: u64,
    /// Jobs that the broker has confirmed.
    pub published: u64,
    pub cancelled: bool,
}

/// Writes the manifest of `source` into the lake and puts a job on the queue for every item that has no row.
///
/// # Errors
/// The listing, the lake or the broker fails; a queue stays full for ten minutes. Submitting again takes it up.
pub async fn submit(
    source: &Source,
    lake: &Lake,
    jobs: &Queue<Job>,
    options: &SubmitOptions,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<SubmitReport> {
    let items = source.without(lake.location().url.as_str()).items().inspect_ok(|_| {
        progress.send_modify(|p| p.items += 1);
    });
    let manifests = lake.items();
    let listing = manifests.write(&options.fingerprint, items);
    let Some(submission) = cancel.run_until_cancelled(listing).await else {
        return Err(Error::new(ErrorKind::Cancelled, "stopped while SRC was being listed; no job was published"));
    };
    let submission = submission?;
    let open = lake.open_items(&submission, &options.retry).await?;
    let found_done = submission.items - open.len();
    let to_publish = options.limit.unwrap_or(u64::MAX).min(open.len());
    progress.send_modify(|p| {
        p.phase = Phase::Reading;
        p.items = submission.items;
        p.found_done = found_done;
        p.to_read = to_publish;
    });
    let work = open.into_stream().await?.take(usize::try_from(to_publish).unwrap_or(usize::MAX));
    let template = JobTemplate {
        submission: &submission.submission,
        pipeline: &options.pipeline,
        fingerprint: &options.fingerprint,
    };
    let published = template
        .publish_all(jobs, work, cancel, || {
            options.metrics.job_published();
            progress.send_modify(|p| p.committed += 1);
        })
        .await?;
    progress.send_modify(|p| p.phase = Phase::Ended);
    Ok(SubmitReport {
        submission: submission.submission,
        fingerprint: submission.fingerprint,
        items: submission.items,
        found_done,
        published,
        cancelled: cancel.is_cancelled() && published < to_publish,
    })
}

/// What the jobs of one submission have in common.
pub(crate) struct JobTemplate<'a> {
    pub submission: &'a str,
    /// `name version`.
    pub pipeline: &'a str,
    pub fingerprint: &'a Fingerprint,
}

impl JobTemplate<'_> {
    /// Publishes a job for each piece of work until cancelled. Returns how many the broker has confirmed.
    ///
    /// # Errors
    /// Those of the work; of the broker, and a queue that stays full for ten minutes.
    pub(crate) async fn publish_all(
        &self,
        jobs: &Queue<Job>,
        work: impl Stream<Item = lake::Result<Work>>,
        cancel: &CancellationToken,
        mut confirmed: impl FnMut(),
    ) -> Result<u64> {
        let confirms = work
            .take_until(cancel.cancelled())
            .map(|work| async move { self.publish(jobs, work?).await })
            .buffer_unordered(UNCONFIRMED);
        let mut confirms = std::pin::pin!(confirms);
        let mut published = 0;
        while let Some(done) = confirms.next().await {
            done?;
            published += 1;
            confirmed();
        }
        Ok(published)
    }

    async fn publish(&self, jobs: &Queue<Job>, work: Work) -> Result<()> {
        let job = Job {
            schema_version: JOB_SCHEMA_VERSION,
            submission_id: self.submission.to_owned(),
            item: work.item,
            attempt: work.attempt,
            pipeline: self.pipeline.to_owned(),
            fingerprint: self.fingerprint.clone(),
        };
        let give_up = time::now() + FULL_WITHIN;
        loop {
            match jobs.publish(&job).await {
                Err(error) if error.kind() == ErrorKind::QueueFull && time::now() < give_up => {
                    time::sleep(FULL_WAIT).await;
                }
                done => return done,
            }
        }
    }
}

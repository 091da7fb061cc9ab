//! `replay`: items that failed, or were excluded, for some reasons get new jobs with the next attempt number.
//!
//! The table shows scored over excluded over failed, then the later attempt, so that a replay can only better a row.
//! Replaying twice puts two jobs of the same attempt on the queue, which give the same row twice: one row.

use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::submit::JobTemplate;
use domain::{Fingerprint, Reason};
use lake::{Lake, Wanted};
use serde::Serialize;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// What is replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Items whose newest outcome has one of these reasons.
    pub reasons: Vec<Reason>,
    /// Items of these submissions; of all, where it is empty.
    pub submissions: Vec<String>,
    pub metrics: Metrics,
}

/// What there is to replay, or was replayed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReplayReport {
    /// Submissions with items of the reasons.
    pub submissions: Vec<ReplayedSubmission>,
    /// Items by reason over those submissions; an item of two submissions counts in both.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Jobs that the broker has confirmed; 0 of a dry run.
    pub published: u64,
    pub cancelled: bool,
}

/// One submission of a replay. Its jobs are for workers of its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayedSubmission {
    pub submission: String,
    pub fingerprint: Fingerprint,
    pub items: u64,
}

/// Counts what there is to replay.
///
/// # Errors
/// Those of the lake; a submission that is not in it.
pub async fn count(lake: &Lake, options: &ReplayOptions) -> Result<ReplayReport> {
    let mut report = ReplayReport::default();
    for tally in lake.census(&options.submissions, i64::MAX).await? {
        let mut items = 0;
        for &reason in &options.reasons {
            let n = tally.with_reason(reason);
            if n > 0 {
                *report.by_reason.entry(reason.name()).or_default() += n;
            }
            items += n;
        }
        if items > 0 {
            let (submission, fingerprint) = (tally.submission, tally.fingerprint);
            report.submissions.push(ReplayedSubmission { submission, fingerprint, items });
        }
    }
    Ok(report)
}

/// Puts a job on the queue for every item that [`count`] counts.
///
/// # Errors
/// Those of the lake and the broker; a queue that stays full for ten minutes. Replaying again takes it up.
pub async fn replay(
    lake: &Lake,
    jobs: &Queue<Job>,
    options: &ReplayOptions,
    cancel: &CancellationToken,
) -> Result<ReplayReport> {
    let mut report = count(lake, options).await?;
    let wanted = Wanted { reasons: options.reasons.clone(), ..Wanted::default() };
    for replayed in &report.submissions {
        if cancel.is_cancelled() {
            break;
        }
        report.published += again(lake, jobs, &replayed.submission, &wanted, &options.metrics, cancel).await?;
    }
    report.cancelled = cancel.is_cancelled();
    Ok(report)
}

/// Publishes jobs for the wanted items of one submission, whose pipeline has made rows before.
pub(crate) async fn again(
    lake: &Lake,
    jobs: &Queue<Job>,
    submission: &str,
    wanted: &Wanted,
    metrics: &Metrics,
    cancel: &CancellationToken,
) -> Result<u64> {
    let submission = lake.items().submission(submission).await?;
    let pipeline = lake.pipeline_of(&submission.fingerprint).await?.ok_or_else(|| {
        let what = format!("submission {} has rows, but none says by which pipeline", submission.submission);
        Error::new(ErrorKind::Bug, what)
    })?;
    let work = lake.items_again(&submission, wanted).await?.into_stream().await?;
    let (submission, fingerprint) = (submission.submission.as_str(), &submission.fingerprint);
    let template = JobTemplate { submission, pipeline: &pipeline, fingerprint };
    template.publish_all(jobs, work, cancel, || metrics.job_published()).await
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;

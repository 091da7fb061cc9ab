//! `score`: the whole pipeline in one process.
//!
//! SRC is listed and written down first; then every item without a row is read and committed. A run that is killed at
//! any moment is taken up by the next one where its last commit was, and gives the same table.

use crate::batches::{self, BatchLimits, gather};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger;
use crate::progress::{Phase, Progress, RunReport};
use crate::source::Source;
use crate::steps::{Errand, Steps};
use domain::{FailReason, Fault, OutcomeRecord};
use futures::{StreamExt, TryStreamExt};
use lake::{Committer, Lake, Submission, Work};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Most images on their way at once: as many as a network in this process lets wait.
pub const MAX_IN_FLIGHT: usize = 256;
/// Records that wait for the committer; a slow lake then holds the reading up.
const RECORDS_AHEAD: usize = 64;
/// An image that we cannot read for a passing cause is tried so often before it is left for the next run.
const TRIES: u32 = 3;
/// So many images in a row that we could not read: it is not the images.
const FAILURES_IN_A_ROW: u32 = 32;
/// What a cancelled run still gives the images on their way.
const GRACE: Duration = Duration::from_secs(30);

/// How `score` works.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// Items that are read at most; the others stay pending.
    pub limit: Option<u64>,
    /// Images on their way at once, 1..=256; memory is bounded by the steps' own budget.
    pub in_flight: usize,
    pub batch: BatchLimits,
    /// Items that failed for one of these reasons are read again.
    pub retry: Vec<FailReason>,
    /// How long an image that could not be read for a passing cause waits for its second try; four times as long for the
    /// third, which is the last.
    pub retry_wait: Duration,
}

impl Default for ScoreOptions {
    fn default() -> ScoreOptions {
        ScoreOptions {
            limit: None,
            in_flight: 32,
            batch: BatchLimits::default(),
            retry: Vec::new(),
            retry_wait: Duration::from_secs(2),
        }
    }
}

/// Scores every new or changed item of `source` into the lake.
///
/// `cancel` ends the run cleanly: no new item is begun, those on their way are finished (for at most 30 s), what is finished
/// is committed, and the report says that it was cancelled. Dropping the future stops at once; nothing but the time is lost.
///
/// # Errors
/// The listing fails (nothing was read); a fault that concerns all images, after committing what was finished; a commit.
pub async fn score(
    steps: &Steps,
    lake: &Lake,
    source: &Source,
    options: &ScoreOptions,
    progress: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<RunReport> {
    let began = Instant::now();
    let listed = write_manifest(steps, lake, source, progress);
    let Some(submission) = cancel.run_until_cancelled(listed).await else {
        return Err(Error::new(ErrorKind::Cancelled, "stopped while SRC was being listed; nothing was read"));
    };
    let submission = submission?;
    let open = lake.open_items(&submission, &options.retry).await?;
    let to_read = options.limit.unwrap_or(u64::MAX).min(open.len());
    progress.send_modify(|p| {
        p.phase = Phase::Reading;
        p.items = submission.items;
        p.found_done = submission.items - open.len();
        p.to_read = to_read;
    });
    let mut end = Reading::default();
    let mut conflicts = 0;
    if to_read > 0 {
        let committer = lake.committer().await?;
        let (send, receive) = mpsc::channel(RECORDS_AHEAD);
        let run = Run { steps, submission: &submission, options, progress, cancel };
        let work = open.into_stream().await?.take(usize::try_from(to_read).unwrap_or(usize::MAX));
        (end, conflicts) = futures::try_join!(run.read_all(work, send), run.commit_all(committer, receive))?;
    }
    if let Some(error) = end.fatal {
        return Err(error);
    }
    let outcomes = ledger::counts(lake, &submission.submission).await?;
    let pending = submission.items.saturating_sub(outcomes.total());
    progress.send_modify(|p| p.phase = Phase::Ended);
    Ok(RunReport {
        submission: submission.submission,
        fingerprint: submission.fingerprint,
        items: submission.items,
        outcomes,
        pending,
        read: progress.borrow().read.clone(),
        postponed: end.postponed,
        overlays_failed: steps.overlays_failed(),
        conflicts,
        cancelled: cancel.is_cancelled(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Lists SRC into the lake, before anything of it is read.
async fn write_manifest(
    steps: &Steps,
    lake: &Lake,
    source: &Source,
    progress: &watch::Sender<Progress>,
) -> Result<Submission> {
    let items = source.without(lake.location().url.as_str()).items().inspect_ok(|_| {
        progress.send_modify(|p| p.items += 1);
    });
    lake.items().write(steps.fingerprint(), items).await
}

struct Run<'a> {
    steps: &'a Steps,
    submission: &'a Submission,
    options: &'a ScoreOptions,
    progress: &'a watch::Sender<Progress>,
    cancel: &'a CancellationToken,
}

/// How the reading ended.
#[derive(Default)]
struct Reading {
    postponed: u64,
    /// What concerns all images: the run is over.
    fatal: Option<Error>,
}

/// What became of one item.
enum Walked {
    Record(Box<OutcomeRecord>),
    /// A failure of ours in one image: it has a row that says so.
    OurFault(Box<OutcomeRecord>, Error),
    /// Left for the next run.
    Postponed(Error),
    Fatal(Error),
    /// Not begun, or given up, because the run was cancelled.
    Cancelled,
}

impl Run<'_> {
    async fn read_all(
        &self,
        work: impl futures::Stream<Item = lake::Result<Work>>,
        records: mpsc::Sender<OutcomeRecord>,
    ) -> Result<Reading> {
        let in_flight = self.options.in_flight.clamp(1, MAX_IN_FLIGHT);
        let walks = work.take_until(self.cancel.cancelled()).map(|work| self.walk(work)).buffer_unordered(in_flight);
        let mut walks = std::pin::pin!(walks);
        let mut end = Reading::default();
        let mut in_a_row = 0;
        let grace_ends = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let mut grace_ends = std::pin::pin!(grace_ends);
        loop {
            let walked = tokio::select! {
                biased;
                walked = walks.next() => walked,
                () = &mut grace_ends => None,
            };
            let Some(walked) = walked else { return Ok(end) };
            let (record, error) = match walked {
                Walked::Record(record) => (Some(record), None),
                Walked::OurFault(record, error) => (Some(record), Some(error)),
                Walked::Postponed(error) => {
                    end.postponed += 1;
                    self.progress.send_modify(|p| p.postponed += 1);
                    (None, Some(error))
                }
                Walked::Fatal(error) => {
                    end.fatal = Some(error);
                    return Ok(end);
                }
                Walked::Cancelled => (None, None),
            };
            if let Some(record) = record {
                self.progress.send_modify(|p| p.read.add(&record.outcome));
                if records.send(*record).await.is_err() {
                    // the committer has failed, and its error is the one that is told
                    return Ok(end);
                }
            }
            in_a_row = if error.is_some() { in_a_row + 1 } else { 0 };
            if in_a_row >= FAILURES_IN_A_ROW {
                end.fatal = error;
                return Ok(end);
            }
        }
    }

    /// Reads one item, patiently with passing faults.
    async fn walk(&self, work: lake::Result<Work>) -> Walked {
        let Work { item, attempt } = match work {
            Ok(work) => work,
            Err(error) => return Walked::Fatal(error.into()),
        };
        let errand = Errand { submission: &self.submission.submission, attempt, denied_waits: false };
        let mut wait = self.options.retry_wait;
        for left in (0..TRIES).rev() {
            let error = match self.steps.read(&item, errand).await {
                Ok(record) => return Walked::Record(Box::new(record)),
                Err(error) => error,
            };
            tracing::warn!(item = %item.id(), fault = error.fault().name(), "an image could not be read: {}", chain(&error));
            match error.fault() {
                Fault::Transient { .. } | Fault::Overloaded if left > 0 => {
                    let waited = tokio::time::sleep(wait);
                    if self.cancel.run_until_cancelled(waited).await.is_none() {
                        return Walked::Cancelled;
                    }
                    wait *= 4;
                }
                Fault::Transient { .. } | Fault::Overloaded => return Walked::Postponed(error),
                Fault::Misconfigured => return Walked::Fatal(error),
                Fault::InvalidInput | Fault::Bug => {
                    return match self.steps.give_up(&item, errand, FailReason::Internal).await {
                        Ok(record) => Walked::OurFault(Box::new(record), error),
                        Err(error) => Walked::Postponed(error),
                    };
                }
            }
        }
        Walked::Cancelled
    }

    /// Commits what comes until the reading ends. Returns the number of conflicts.
    async fn commit_all(&self, mut committer: Committer, mut records: mpsc::Receiver<OutcomeRecord>) -> Result<u64> {
        let mut conflicts = 0;
        while let Some(first) = records.recv().await {
            let batch = gather(first, &mut records, self.options.batch).await;
            let rows = batch.len() as u64;
            let report = batches::commit(&mut committer, batch, self.steps.metrics()).await?;
            conflicts += report.conflicts as u64;
            if let Some((record, refusal)) = report.refused.first() {
                let message = format!("the lake refused the row of item {}: {refusal:?}", record.item_id);
                return Err(Error::new(ErrorKind::Bug, message));
            }
            self.progress.send_modify(|p| {
                p.committed += rows;
                if records.is_closed() {
                    p.phase = Phase::Committing;
                }
            });
        }
        Ok(conflicts)
    }
}

/// An error with its causes in one line. Some libraries put their cause into their own text: it is told once.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;

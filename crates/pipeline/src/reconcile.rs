//! `reconcile`: SRC, item manifests, ledger and artifacts held against each other, and mended where that can be done.
//!
//! | difference | mended by |
//! |---|---|
//! | an outcome among the artifacts that no row tells | its row, without reading the image again |
//! | a row whose outcome is not among the artifacts | the outcome, from the row |
//! | a row whose reading is gone | a job with the next attempt |
//! | an item without a row for longer than it should take | its job again |
//! | an object that was never submitted, or has changed since | a submission of its own, with jobs |
//! | an object that is gone | nothing: its row stays |
//!
//! Everything is streamed in sorted order or compared in ranges, so that memory does not grow with the lake.

use crate::error::Result;
use crate::job::Job;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::replay::again;
use crate::source::{Source, VERSION_MISSING};
use crate::submit::JobTemplate;
use domain::{Fingerprint, Item, ItemId};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lake::{EvidenceDifferences, Lake, Rebuilt, Wanted};
use serde::Serialize;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Item ids that a difference is shown by.
const EXAMPLES: usize = 5;
const US: i64 = 1_000_000;

/// What is compared.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// `name version` of the pipeline.
    pub pipeline: String,
    /// Of submissions and artifacts with this fingerprint.
    pub fingerprint: Fingerprint,
    /// Submissions older than this should have no pending item, seconds.
    pub pending_after_s: u64,
    /// Now, microseconds since 1970 UTC.
    pub now_us: i64,
    pub metrics: Metrics,
}

/// Objects that differ, with some of their items.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Objects {
    pub objects: u64,
    /// Item ids of the first few: as listed, or as submitted for those that are gone.
    pub examples: Vec<ItemId>,
}

impl Objects {
    fn add(&mut self, item: &Item) {
        self.objects += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(item.id());
        }
    }
}

/// SRC against the item manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ListingDifferences {
    /// Objects of SRC.
    pub listed: u64,
    pub never_submitted: Objects,
    /// Submitted with another size or version.
    pub changed: Objects,
    /// Submitted, below SRC, and not there any more. Unknown (0) where SRC is a list.
    pub gone: Objects,
}

/// What differs, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileReport {
    pub fingerprint: Fingerprint,
    pub listing: ListingDifferences,
    /// Items without a row, of submissions that are older than they should be for that.
    pub pending_too_long: u64,
    /// Items without a row of younger submissions.
    pub pending: u64,
    pub evidence: EvidenceDifferences,
    /// `None` where nothing was to be repaired.
    pub repaired: Option<Repaired>,
    pub cancelled: bool,
}

impl ReconcileReport {
    /// Whether there is nothing to repair. Objects that are gone, readings whose item is read anew, and items that are
    /// pending for a short time are in order.
    pub fn is_in_order(&self) -> bool {
        let ListingDifferences { never_submitted, changed, .. } = &self.listing;
        let EvidenceDifferences { outcomes_without_rows, rows_without_readings, rows_without_outcomes, .. } =
            &self.evidence;
        never_submitted.objects + changed.objects + self.pending_too_long == 0
            && outcomes_without_rows + rows_without_readings + rows_without_outcomes == 0
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Repaired {
    /// Rows that were made of artifacts.
    pub rows: Rebuilt,
    /// The submission of what had not been submitted or has changed.
    pub submission: Option<String>,
    /// Jobs for its items.
    pub submitted: u64,
    /// Jobs for items that had been pending too long.
    pub republished: u64,
    /// Jobs for items whose reading is gone.
    pub read_again: u64,
}

/// Compares, and repairs where there is a queue for the jobs. A job that is on the queue already comes twice then, which gives
/// the same row.
///
/// # Errors
/// Those of SRC, the lake and the broker. What was repaired stays.
pub async fn reconcile(
    source: &Source,
    lake: &Lake,
    repair: Option<&Queue<Job>>,
    options: &ReconcileOptions,
    cancel: &CancellationToken,
) -> Result<ReconcileReport> {
    let mut repaired = Repaired::default();
    // rows first: what they tell is not pending any more
    let rows = repair.is_some().then_some(&mut repaired.rows);
    let evidence = lake.compare_evidence(&options.fingerprint, rows).await?;
    let mut report = ReconcileReport {
        fingerprint: options.fingerprint.clone(),
        listing: ListingDifferences::default(),
        pending_too_long: 0,
        pending: 0,
        evidence,
        repaired: None,
        cancelled: false,
    };
    let due_us = options.now_us - i64::try_from(options.pending_after_s).unwrap_or(i64::MAX / US).saturating_mul(US);
    let lost = Wanted { images: report.evidence.lost_images.clone(), ..Wanted::default() };
    let waiting = Wanted { pending: true, ..Wanted::default() };
    for tally in lake.census(&[], i64::MAX).await?.into_iter().filter(|t| t.fingerprint == options.fingerprint) {
        if cancel.is_cancelled() {
            break;
        }
        let late = tally.submitted_us <= due_us;
        *(if late { &mut report.pending_too_long } else { &mut report.pending }) += tally.pending;
        let Some(jobs) = repair else { continue };
        if late && tally.pending > 0 {
            repaired.republished += publish(lake, jobs, &tally.submission, &waiting, options, cancel).await?;
        }
        if !lost.images.is_empty() {
            repaired.read_again += again(lake, jobs, &tally.submission, &lost, &options.metrics, cancel).await?;
        }
    }
    if !cancel.is_cancelled() {
        report.listing = listing(source, lake, repair, options, &mut repaired, cancel).await?;
    }
    report.repaired = repair.map(|_| repaired);
    report.cancelled = cancel.is_cancelled();
    Ok(report)
}

/// Jobs for the wanted items of a submission, whether its pipeline has made rows before or not.
async fn publish(
    lake: &Lake,
    jobs: &Queue<Job>,
    submission: &str,
    wanted: &Wanted,
    options: &ReconcileOptions,
    cancel: &CancellationToken,
) -> Result<u64> {
    let found = lake.items().submission(submission).await?;
    let work = lake.items_again(&found, wanted).await?.into_stream().await?;
    let template = JobTemplate { submission, pipeline: &options.pipeline, fingerprint: &options.fingerprint };
    template.publish_all(jobs, work, cancel, || options.metrics.job_published()).await
}

/// SRC against the manifests: both sorted, merged by address.
async fn listing(
    source: &Source,
    lake: &Lake,
    repair: Option<&Queue<Job>>,
    options: &ReconcileOptions,
    repaired: &mut Repaired,
    cancel: &CancellationToken,
) -> Result<ListingDifferences> {
    let source = source.without(lake.location().url.as_str());
    let listed = lake.items().sorted(source.items()).await?;
    let known = lake.items().known(&options.fingerprint).await?;
    let differences = Arc::new(Mutex::new(ListingDifferences::default()));
    let new = Merge {
        listed: listed.stream().await?.peekable(),
        known: known.stream().await?.peekable(),
        source,
        differences: differences.clone(),
    };
    let mut new = std::pin::pin!(new.into_stream().peekable());
    let done = match repair {
        Some(jobs) if new.as_mut().peek().await.is_some() => {
            let submission = lake.items().write(&options.fingerprint, new).await?.submission;
            let wanted = Wanted { pending: true, ..Wanted::default() };
            let published = publish(lake, jobs, &submission, &wanted, options, cancel).await;
            repaired.submission = Some(submission);
            published.map(|jobs| repaired.submitted = jobs)
        }
        _ => new.try_for_each(|_| std::future::ready(Ok(()))).await,
    };
    listed.discard().await;
    known.discard().await;
    done?;
    let found = differences.lock().expect("no panic while counting").clone();
    Ok(found)
}

/// A sorted list with its next item at hand.
type Sorted = stream::Peekable<BoxStream<'static, lake::Result<Item>>>;

/// Two sorted lists, walked side by side.
struct Merge {
    listed: Sorted,
    known: Sorted,
    source: Source,
    differences: Arc<Mutex<ListingDifferences>>,
}

impl Merge {
    /// The items that are to be submitted; the differences are counted on the way.
    fn into_stream(self) -> impl futures::Stream<Item = Result<Item>> {
        stream::try_unfold(self, |mut merge| async move {
            while let Some(new) = merge.step().await? {
                if let Some(item) = new {
                    return Ok(Some((item, merge)));
                }
            }
            Ok(None)
        })
    }

    /// Takes all that the lists say of the next address. `None` at their end, `Some(None)` where nothing is to be submitted.
    async fn step(&mut self) -> Result<Option<Option<Item>>> {
        let heads = [head(&mut self.listed).await?, head(&mut self.known).await?];
        let Some(uri) = heads.into_iter().flatten().min() else { return Ok(None) };
        let listed = next_at(&mut self.listed, &uri).await?;
        while next_at(&mut self.listed, &uri).await?.is_some() {} // a list may name an object twice
        let (mut submitted, mut same) = (None, false);
        while let Some(known) = next_at(&mut self.known, &uri).await? {
            // hints are the submitter's, not the object's
            same |= listed.as_ref().is_some_and(|l| l.size_bytes == known.size_bytes && l.version == known.version);
            submitted = Some(known);
        }
        let mut found = self.differences.lock().expect("no panic while counting");
        found.listed += u64::from(listed.is_some());
        let there = listed.filter(|item| item.version != VERSION_MISSING || submitted.is_none());
        match (there, submitted) {
            (Some(item), None) => {
                found.never_submitted.add(&item);
                Ok(Some(Some(item)))
            }
            (Some(item), Some(_)) if !same => {
                found.changed.add(&item);
                Ok(Some(Some(item)))
            }
            (None, Some(known)) if self.source.covers(&known.uri) => {
                found.gone.add(&known);
                Ok(Some(None))
            }
            _ => Ok(Some(None)),
        }
    }
}

/// The address of the next item.
async fn head(list: &mut Sorted) -> Result<Option<String>> {
    match std::pin::Pin::new(&mut *list).peek().await {
        Some(Ok(item)) => Ok(Some(item.uri.clone())),
        Some(Err(_)) => Ok(list.try_next().await?.map(|item| item.uri)),
        None => Ok(None),
    }
}

/// The next item, if it has this address.
async fn next_at(list: &mut Sorted, uri: &str) -> Result<Option<Item>> {
    if head(list).await?.as_deref() == Some(uri) { Ok(list.try_next().await?) } else { Ok(None) }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;

//! `rescore`: new rules for readings that were made already, without images and without networks.
//!
//! The rows of the new pipeline stand beside those of the old one, under a fingerprint of their own: the one that a worker
//! of the new pipeline would write, so that later images join them. What a reading cannot give is refused with the reason.

use crate::batches;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use domain::{Fingerprint, Outcome, OutcomeRecord};
use futures::stream::{self, StreamExt, TryStreamExt};
use lake::Lake;
use scoring::read::ReadingIdentity;
use serde::Serialize;
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

/// Artifacts written at once.
const WRITES: usize = 32;
/// Records committed at a time: with their readings about 50 MB.
const CHUNK_RECORDS: usize = 1_000;

/// From which pipeline to which.
#[derive(Debug, Clone, Copy)]
pub struct Rescoring<'a> {
    pub old: &'a Pipeline,
    pub new: &'a Pipeline,
    /// What computed the networks, as in the fingerprint: `cpu`, `cuda`.
    pub provider: &'a str,
}

/// What was rescored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RescoreReport {
    pub from: Fingerprint,
    pub to: Fingerprint,
    /// Submissions that were written for the new fingerprint, or were there.
    pub submissions: u64,
    /// Outcomes of the old pipeline.
    pub outcomes: u64,
    /// Of these, scored ones.
    pub rescored: u64,
    /// Rows added to `instances`.
    pub rows_added: u64,
    /// Outcomes that cannot be read, or whose reading is gone: their items are pending under the new fingerprint.
    pub without_reading: u64,
    pub cancelled: bool,
}

impl Rescoring<'_> {
    /// Why readings of the old pipeline cannot be made into those of the new one; empty when they can.
    pub fn refusals(&self) -> Vec<String> {
        let (old, new) = (self.old.definition(), self.new.definition());
        let mut refusals: Vec<String> = scoring::rescore::refusals(self.old.rules(), self.new.rules())
            .into_iter()
            .map(|(name, why)| format!("{name} differs: {why}"))
            .collect();
        let others = [
            (
                "accept.modalities",
                old.accept.modalities != new.accept.modalities,
                "excluded images would have to be read",
            ),
            (
                "the shape model",
                self.old.shape_digest() != self.new.shape_digest(),
                "other regions would have to be read",
            ),
            ("the networks", self.old.models() != self.new.models(), "images would have to be read by the new ones"),
            ("region", old.region != new.region, "other regions would have to be read"),
            (
                "review.calibration",
                self.old.calibration().is_some() && self.new.calibration().is_none(),
                "calibrated readings hold probabilities in place of what came before",
            ),
        ];
        let region_said = refusals.iter().any(|refusal| refusal.starts_with("margin_sd"));
        for (name, differs, why) in others {
            if differs && !(name == "region" && region_said) {
                refusals.push(format!("{name} differs: {why}"));
            }
        }
        refusals
    }
}

/// Makes the new readings and their rows. Stopped and started again, it goes on.
///
/// # Errors
/// [`ErrorKind::Source`] when the artifacts cannot give what the new pipeline asks for, or the old one made none of them;
/// those of the lake.
pub async fn rescore(lake: &Lake, rescoring: Rescoring<'_>, cancel: &CancellationToken) -> Result<RescoreReport> {
    let refusals = rescoring.refusals();
    if !refusals.is_empty() {
        let message = format!("stored readings cannot follow the new pipeline: {}", refusals.join("; "));
        return Err(Error::new(ErrorKind::Source, message));
    }
    let [from, to] = [rescoring.old, rescoring.new].map(|pipeline| pipeline.fingerprint(rescoring.provider));
    let mut report = RescoreReport {
        from: from.clone(),
        to: to.clone(),
        submissions: 0,
        outcomes: 0,
        rescored: 0,
        rows_added: 0,
        without_reading: 0,
        cancelled: false,
    };
    if from == to {
        return Err(Error::new(ErrorKind::Source, "both pipelines are the same: give the new one another version"));
    }
    let outcomes = lake.outcomes(&from).take_until(cancel.cancelled());
    let mut outcomes = std::pin::pin!(outcomes.peekable());
    if outcomes.as_mut().peek().await.is_none() && !cancel.is_cancelled() {
        let label = rescoring.old.definition().label();
        let message = format!(
            "no reading of the lake is of {label} with fingerprint {from}: check --from and --provider; readings of another \
             revision of this program cannot be rescored"
        );
        return Err(Error::new(ErrorKind::Source, message));
    }
    let mut submissions = HashMap::new();
    for old in lake.items().submissions().await?.into_iter().filter(|s| s.fingerprint == from) {
        let new = lake.items().write(&to, lake.items().read(&old).await?).await?;
        submissions.insert(old.submission, new.submission);
        report.submissions += 1;
    }
    let mut committer = lake.committer().await?;
    let mut chunks = std::pin::pin!(outcomes.chunks(CHUNK_RECORDS));
    while let Some(chunk) = chunks.next().await {
        let mut records = Vec::with_capacity(chunk.len());
        for outcome in chunk {
            report.outcomes += 1;
            match outcome? {
                Some(record) => records.push(rescored(record, rescoring, &to, &submissions)),
                None => report.without_reading += 1,
            }
        }
        report.rescored += records.iter().filter(|r| r.artifact_key.is_some()).count() as u64;
        let kept: Vec<OutcomeRecord> =
            stream::iter(records).map(|record| keep(lake, record)).buffered(WRITES).try_collect().await?;
        let done = batches::commit(&mut committer, kept, &Metrics::unread()).await?;
        report.rows_added += done.instances_added as u64;
    }
    report.cancelled = cancel.is_cancelled();
    Ok(report)
}

/// The record as a worker of the new pipeline would have made it of the same image, at the time when its pixels were read.
fn rescored(
    mut record: OutcomeRecord,
    rescoring: Rescoring<'_>,
    to: &Fingerprint,
    submissions: &HashMap<String, String>,
) -> OutcomeRecord {
    record.fingerprint = to.clone();
    record.pipeline = rescoring.new.definition().label();
    if let Some(submission) = submissions.get(&record.submission_id) {
        record.submission_id.clone_from(submission);
    }
    if let Outcome::Scored { reading } = &mut record.outcome {
        let identity = ReadingIdentity {
            image_id: reading.image_id.clone(),
            fingerprint: to.clone(),
            pipeline: record.pipeline.clone(),
            models: rescoring.new.models(),
        };
        let new = rescoring.new;
        **reading = scoring::rescore::rescore(reading, identity, new.rules(), new.calibration());
    }
    record
}

/// Makes the artifacts of a record durable, before its row.
async fn keep(lake: &Lake, mut record: OutcomeRecord) -> Result<OutcomeRecord> {
    let artifacts = lake.artifacts();
    if let Outcome::Scored { reading } = &record.outcome {
        record.artifact_key = Some(artifacts.put(reading).await?.0);
    }
    Ok(artifacts.put_outcome(record).await?)
}

#[cfg(test)]
#[path = "rescore_tests.rs"]
mod tests;

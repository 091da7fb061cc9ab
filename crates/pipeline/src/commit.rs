//! The committer: folds records into the lake in batches, and only then acknowledges them. It also ends the jobs that
//! nobody could do: a dead letter becomes a failed row, so that pending always ends.

use crate::batches::{self, BatchLimits, gather};
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, Message};
use crate::metrics::Metrics;
use crate::queue::topology::Lane;
use crate::queue::{Broker, Delivery, Odd, Queue, Received, Receiver, acknowledge_all};
use crate::steps::NowUs;
use crate::time::{self, Instant, sleep, timeout};
use domain::record::RECORD_SCHEMA_VERSION;
use domain::{FailReason, InstanceFacts, Outcome, OutcomeRecord};
use lake::{Committer, Lake, Refusal, Rehearsed};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Records that one commit takes when as many wait, however few a batch should have: each commit costs the same few
/// milliseconds, or round trips to the store.
const BEHIND_ROWS: usize = 4_000;
/// So few messages are read sooner than a thread is woken.
const WORTH_A_THREAD: usize = 64;
/// When a committer first looks for files that are no part of the tables any more, and how often after that.
const SWEEP_AFTER: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Dead letters in hand at once.
const DEAD_AHEAD: u16 = 64;
/// Why a job is among the dead that the broker itself put there.
const DELIVERY_LIMIT_REASON: &str = "delivery_limit";

/// How the committer works.
#[derive(Clone)]
pub struct CommitOptions {
    pub batch: BatchLimits,
    /// Leave when every item of this submission has its row.
    pub until_complete: Option<String>,
    pub now_us: NowUs,
    pub metrics: Metrics,
}

/// What the committer did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CommitterReport {
    pub commits: u64,
    pub records: u64,
    pub results_added: u64,
    pub instances_added: u64,
    /// Records whose rows were there already: redelivered, or read twice.
    pub duplicates: u64,
    pub conflicts: u64,
    /// Dead letters that became failed rows.
    pub dead_letters: u64,
    /// Messages that are no records of ours, or contradict themselves.
    pub put_aside: u64,
    /// Items of the awaited submission without a row when the committer left.
    pub pending: Option<u64>,
}

/// Folds records until cancelled, or until the awaited submission is complete.
///
/// # Errors
/// The broker stays away beyond its budget; the lake fails. What was not acknowledged comes again.
pub async fn commit(
    lake: &Lake,
    broker: Arc<dyn Broker>,
    options: &CommitOptions,
    cancel: &CancellationToken,
) -> Result<CommitterReport> {
    let leave = cancel.child_token();
    let rows = options.batch.rows.max(BEHIND_ROWS);
    // before anything is taken: each start that failed with records in hand would count as a delivery in vain, and a store
    // that is away for some minutes would make dead letters of good records
    let committer = lake.committer().await?;
    // one batch is committed while the next is read and a third gathers
    let ahead = u16::try_from(rows.saturating_mul(3)).unwrap_or(u16::MAX);
    let lanes =
        Lanes { records: Queue::new(broker.clone(), Lane::Records), dead: Queue::new(broker.clone(), Lane::JobsDead) };
    let (records, dead) = (lanes.records.consume(ahead).await?, lanes.dead.consume(DEAD_AHEAD).await?);
    let (send, unread) = mpsc::channel(rows);
    let (ready, batches) = mpsc::channel(1);
    let sweep_due = time::now() + SWEEP_AFTER;
    let fold = Fold { lake, committer, broker, options, leave: &leave, sweep_due, report: CommitterReport::default() };
    let (records, dead, (), report) = futures::try_join!(
        pump(records, send.clone(), &leave, &options.metrics),
        pump(dead, send, &leave, &options.metrics),
        read_batches(unread, ready, lanes, options, &lake.location().rehearsed),
        fold.run(batches),
    )?;
    // only now: dropping a consumer gives back what was not acknowledged
    drop((records, dead));
    Ok(report)
}

/// Where messages come from, and how they are read.
#[derive(Clone)]
struct Lanes {
    records: Queue<OutcomeRecord>,
    dead: Queue<Job>,
}

/// A message as it came.
struct Unread {
    lane: Lane,
    delivery: Delivery,
}

/// What came from a lane. Few are held at once, and most are records.
#[allow(clippy::large_enum_variant)]
enum InHand {
    Record {
        record: OutcomeRecord,
        delivery: Delivery,
        /// Made from a dead letter.
        from_dead: bool,
    },
    Odd(Odd),
}

/// Carries messages from a lane until told to leave. Gives the receiver back, which keeps what is in hand.
async fn pump<M: Message>(
    mut from: Receiver<M>,
    to: mpsc::Sender<Unread>,
    leave: &CancellationToken,
    metrics: &Metrics,
) -> Result<Receiver<M>> {
    let lane = from.lane();
    while let Some(delivery) = leave.run_until_cancelled(from.next_unread()).await {
        let delivery = delivery?;
        metrics.delivered(lane, delivery.deliveries_before);
        if to.send(Unread { lane, delivery }).await.is_err() {
            break;
        }
    }
    from.stop().await?;
    Ok(from)
}

/// Makes batches of what comes and reads them, all cores together, while the batch before is committed.
async fn read_batches(
    mut from: mpsc::Receiver<Unread>,
    to: mpsc::Sender<Vec<InHand>>,
    lanes: Lanes,
    options: &CommitOptions,
    rehearsed: &Rehearsed,
) -> Result<()> {
    while let Some(first) = from.recv().await {
        let mut batch = gather(first, &mut from, options.batch).await;
        // More are waiting: a committer that has fallen behind makes fewer and larger commits.
        while batch.len() < BEHIND_ROWS
            && let Ok(next) = from.try_recv()
        {
            batch.push(next);
        }
        let (lanes, now_us) = (lanes.clone(), options.now_us.clone());
        let read = move |unread: Unread| lanes.read(unread, || now_us());
        let batch = if batch.len() < WORTH_A_THREAD {
            batch.into_iter().map(read).collect()
        } else {
            let reading = tokio::task::spawn_blocking(move || batch.into_par_iter().map(read).collect::<Vec<_>>());
            rehearsed
                .on_threads(reading)
                .await
                .map_err(|e| Error::caused(ErrorKind::Bug, "reading messages ended abnormally", e))?
        };
        if to.send(batch).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Lanes {
    fn read(&self, unread: Unread, now_us: impl Fn() -> i64) -> InHand {
        let Unread { lane, delivery } = unread;
        if lane == Lane::JobsDead {
            return match self.dead.read(delivery) {
                Received::Message { message, delivery } => {
                    InHand::Record { record: failed_record(message, &delivery, now_us()), delivery, from_dead: true }
                }
                Received::Odd(odd) => InHand::Odd(odd),
            };
        }
        match self.records.read(delivery) {
            Received::Message { message: record, delivery } => InHand::Record { record, delivery, from_dead: false },
            Received::Odd(odd) => InHand::Odd(odd),
        }
    }
}

/// The row of a job that nobody could do.
fn failed_record(job: Job, delivery: &Delivery, now_us: i64) -> OutcomeRecord {
    let died = delivery.parcel.reason.as_deref() == Some(DELIVERY_LIMIT_REASON);
    let reason = if died { FailReason::CrashLoop } else { FailReason::Internal };
    OutcomeRecord {
        schema_version: RECORD_SCHEMA_VERSION,
        submission_id: job.submission_id,
        item_id: job.item.id(),
        attempt: job.attempt,
        fingerprint: job.fingerprint,
        pipeline: job.pipeline,
        image_id: None,
        facts: InstanceFacts::default(),
        outcome: Outcome::Failed { reason },
        artifact_key: None,
        scored_at_us: now_us,
    }
}

struct Fold<'a> {
    lake: &'a Lake,
    committer: Committer,
    broker: Arc<dyn Broker>,
    options: &'a CommitOptions,
    leave: &'a CancellationToken,
    sweep_due: Instant,
    report: CommitterReport,
}

impl Fold<'_> {
    async fn run(mut self, mut from: mpsc::Receiver<Vec<InHand>>) -> Result<CommitterReport> {
        let mut missing = self.missing().await?;
        loop {
            if missing == Some(0) {
                self.leave.cancel();
            }
            let batch = match missing {
                // look again after a quiet time, in which no batch grew old either: another committer may have finished it
                Some(_) if !self.leave.is_cancelled() => timeout(self.options.batch.age * 2, from.recv()).await,
                _ => Ok(from.recv().await),
            };
            let Ok(batch) = batch else {
                missing = self.missing().await?;
                continue;
            };
            let Some(batch) = batch else { break };
            let added = self.fold(batch).await?;
            self.sweep().await;
            // counting goes through the whole ledger, so that it waits until the end seems near
            missing = match missing.map(|m| m.saturating_sub(added)) {
                Some(0) => self.missing().await?,
                estimate => estimate,
            };
        }
        self.report.pending = self.missing().await?;
        Ok(self.report)
    }

    /// Items of the awaited submission without a row.
    async fn missing(&self) -> Result<Option<u64>> {
        let Some(submission) = &self.options.until_complete else { return Ok(None) };
        let submission = self.lake.items().submission(submission).await?;
        Ok(Some(self.lake.open_items(&submission, &[]).await?.len()))
    }

    /// Once a day takes away what compaction replaced and what committers that died left behind.
    async fn sweep(&mut self) {
        if time::now() < self.sweep_due {
            return;
        }
        self.sweep_due = time::now() + SWEEP_EVERY;
        match self.committer.sweep().await {
            Ok(files) => tracing::info!(files, "files that are no part of the tables any more were deleted"),
            // no harm to any row; the next day has another try
            Err(error) => tracing::warn!("files that are no part of the tables any more could not be deleted: {error}"),
        }
    }

    /// Commits a batch, then settles its messages. Returns how many items got a row.
    async fn fold(&mut self, batch: Vec<InHand>) -> Result<u64> {
        let mut records = Vec::with_capacity(batch.len());
        let mut deliveries = Vec::with_capacity(batch.len());
        for in_hand in batch {
            match in_hand {
                InHand::Record { mut record, delivery, from_dead } => {
                    if from_dead {
                        // nobody has kept its outcome yet; a worker does so before it publishes
                        record = self.lake.artifacts().put_outcome(record).await?;
                        self.report.dead_letters += 1;
                    }
                    deliveries.push(delivery);
                    records.push(record);
                }
                InHand::Odd(odd) => {
                    self.report.put_aside += 1;
                    settled(odd.put_aside(self.broker.as_ref()).await)?;
                }
            }
        }
        if records.is_empty() {
            return Ok(0);
        }
        let records = Arc::new(records);
        let done = batches::commit(&mut self.committer, Arc::clone(&records), &self.options.metrics).await?;
        self.lake.location().rehearsed.reached(crash::BATCH_COMMITTED, "").await;
        self.report.commits += 1;
        self.report.records += deliveries.len() as u64;
        self.report.results_added += done.results_added as u64;
        self.report.instances_added += done.instances_added as u64;
        self.report.duplicates += done.duplicates as u64;
        self.report.conflicts += done.conflicts as u64;
        let mut folded = Vec::with_capacity(deliveries.len());
        for (record, delivery) in records.iter().zip(deliveries) {
            let refusal = done.refused.iter().find(|(refused, _)| key(refused) == key(record)).map(|(_, why)| *why);
            let Some(why) = refusal else {
                folded.push(delivery);
                continue;
            };
            self.report.put_aside += 1;
            let (lane, reason) = match why {
                Refusal::NewerSchema => (Lane::RecordsParked, "newer_schema"),
                Refusal::Contradiction => (Lane::RecordsDead, "contradiction"),
            };
            settled(delivery.move_to(self.broker.as_ref(), lane, reason).await)?;
        }
        // Batches are folded in the order in which their messages came, and what was put aside has been settled: all that came
        // before the last one is done.
        acknowledge_all(folded).await?;
        Ok(done.instances_added as u64)
    }
}

/// A message whose connection broke comes again; its rows are there already then.
fn settled(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::Lost => Ok(()),
        result => result,
    }
}

/// What tells the records of one batch apart.
fn key(record: &OutcomeRecord) -> (&domain::ItemId, &domain::Fingerprint, u32, &'static str) {
    (&record.item_id, &record.fingerprint, record.attempt, record.outcome.status())
}

/// Depth of every lane, for metrics.
///
/// # Errors
/// The broker does not answer.
pub async fn depths(broker: &dyn Broker, metrics: &Metrics) -> Result<Vec<(&'static str, u64)>> {
    let mut depths = Vec::with_capacity(Lane::ALL.len());
    for lane in Lane::ALL {
        let messages = broker.depth(lane).await?;
        metrics.depth(lane, messages);
        depths.push((lane.name(), messages));
    }
    Ok(depths)
}

/// Keeps the depths among the metrics up to date until cancelled. While the broker does not answer there are none: an alarm
/// tells "unknown" from "empty".
pub async fn watch_depths(broker: &dyn Broker, metrics: &Metrics, every: Duration, cancel: &CancellationToken) {
    let watching = async {
        loop {
            if let Err(error) = depths(broker, metrics).await {
                metrics.forget_depths();
                tracing::warn!(fault = error.fault().name(), "the depths of the queues are not known: {error}");
            }
            sleep(every).await;
        }
    };
    cancel.run_until_cancelled(watching).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Parcel;
    use crate::queue::memory::MemoryBroker;
    use prometheus::{Encoder, Registry, TextEncoder};

    #[tokio::test]
    async fn depths_are_looked_at_again_and_forgotten_when_they_are_not_known() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let shown = || {
            let mut text = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let broker = MemoryBroker::default();
        let cancel = CancellationToken::new();
        let publishing = async {
            for depth in 1..=2 {
                broker.publish(Lane::Jobs, Parcel::default()).await.unwrap();
                while !shown().contains(&format!("aortica_lane_depth{{lane=\"jobs\"}} {depth}")) {
                    tokio::task::yield_now().await;
                }
            }
            cancel.cancel();
        };
        let watching = watch_depths(&broker, &metrics, Duration::from_millis(1), &cancel);
        timeout(Duration::from_secs(60), futures::future::join(watching, publishing)).await.unwrap();
        metrics.forget_depths();
        assert!(!shown().contains("aortica_lane_depth{"), "{}", shown());
    }
}

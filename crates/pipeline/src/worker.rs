//! The worker: takes jobs, walks the steps, publishes what became of each item.
//!
//! A job is acknowledged only when its artifacts and its record are durable (invariant 3). What happens to a job whose
//! item could not be read follows from the fault:
//!
//! | fault | job |
//! |---|---|
//! | transient, overloaded | waits (10 s, 1 min, 10 min, ..) and comes again; after about two hours it is a dead letter |
//! | misconfigured | the same: a permission or a service that a person mends within that time costs no image its row. So with |
//! | | an object that the store refuses: only after the last wait it is failed(access_denied) |
//! | bug | dead letter at once; the committer writes failed(internal) |
//! | invalid input | failed(internal), acknowledged: an address that is none |
//! | the process dies | comes again and is read alone (see `turns`); after four deliveries a dead letter; the committer writes failed(crash_loop) |
//!
//! A worker that fails many jobs in a row ends with the fault, so that its supervisor sees it.

use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::metrics::{JobFate, Metrics};
use crate::queue::topology::Lane;
use crate::queue::{Broker, Delivery, Odd, Queue, Received};
use crate::run::chain;
use crate::steps::{Errand, Steps};
use crate::time;
use crate::turns::Turns;
use async_trait::async_trait;
use domain::{FailReason, Fault, Fingerprint, Item, OutcomeRecord};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use lake::CrashPoint;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So many jobs in a row that we could not do: it is not the images.
const FAILURES_IN_A_ROW: u32 = 32;
/// A full queue is given so long to make room.
const FULL_WITHIN: Duration = Duration::from_secs(300);
const FULL_WAIT: Duration = Duration::from_secs(2);

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Jobs in hand at once, 1..=1000: enough to fill the batches of the networks, few to be done again after a crash.
    pub prefetch: u16,
    /// What a worker that was told to leave gives the jobs in hand; what is not done by then goes back to the queue. Less
    /// than the 30 s after which Kubernetes kills.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions { prefetch: 16, grace: Duration::from_secs(20) }
    }
}

/// What a worker did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct WorkReport {
    pub acknowledged: u64,
    pub retried: u64,
    pub dead_lettered: u64,
    pub put_aside: u64,
    /// In hand when the worker left.
    pub given_back: u64,
    /// Whose connection was lost: they come again.
    pub lost: u64,
}

/// Who reads an item to its end: [`Steps`], or what stands for them where only the queues are looked at.
#[async_trait]
pub trait Reads: Send + Sync {
    /// Under which everything is read.
    fn fingerprint(&self) -> &Fingerprint;

    fn metrics(&self) -> &Metrics;

    /// When this returns a record, its artifacts are durable.
    ///
    /// # Errors
    /// We failed, and the item has no outcome: see [`Error::fault`] for what to do.
    async fn read(&self, item: &Item, errand: Errand<'_>) -> Result<OutcomeRecord>;

    /// The record of an item that could not be read and will not be tried again.
    ///
    /// # Errors
    /// The lake's store fails.
    async fn give_up(&self, item: &Item, errand: Errand<'_>, reason: FailReason) -> Result<OutcomeRecord>;

    /// For a simulation that may end the process here.
    async fn reached(&self, _point: CrashPoint) {}
}

#[async_trait]
impl Reads for Steps {
    fn fingerprint(&self) -> &Fingerprint {
        Steps::fingerprint(self)
    }

    fn metrics(&self) -> &Metrics {
        Steps::metrics(self)
    }

    async fn read(&self, item: &Item, errand: Errand<'_>) -> Result<OutcomeRecord> {
        Steps::read(self, item, errand).await
    }

    async fn give_up(&self, item: &Item, errand: Errand<'_>, reason: FailReason) -> Result<OutcomeRecord> {
        Steps::give_up(self, item, errand, reason).await
    }

    async fn reached(&self, point: CrashPoint) {
        Steps::reached(self, point).await;
    }
}

/// Takes jobs until cancelled.
///
/// # Errors
/// The broker stays away beyond its budget, or so many jobs in a row could not be done that it is not the images. Jobs in hand
/// are the broker's again.
pub async fn work(
    steps: &dyn Reads,
    broker: Arc<dyn Broker>,
    options: WorkerOptions,
    cancel: &CancellationToken,
) -> Result<WorkReport> {
    let jobs: Queue<Job> = Queue::new(broker.clone(), Lane::Jobs);
    let records: Queue<OutcomeRecord> = Queue::new(broker.clone(), Lane::Records);
    let worker = Worker { steps, broker, records };
    let prefetch = options.prefetch.clamp(1, 1000);
    let mut receiver = jobs.consume(prefetch).await?;
    let mut in_hand = FuturesUnordered::new();
    let mut turns = Turns::default();
    let mut report = WorkReport::default();
    let mut in_a_row = 0;
    loop {
        while let Some((job, delivery)) = turns.together() {
            in_hand.push(worker.handle(job, delivery).boxed());
        }
        let room = in_hand.len() + turns.waiting() < usize::from(prefetch);
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(done) = in_hand.next() => {
                worker.note(done, &mut report, &mut in_a_row)?;
                if in_hand.is_empty() {
                    turns.idle();
                }
            }
            received = receiver.next(), if room => match received? {
                Received::Message { message, delivery } => {
                    turns.take_in(delivery.deliveries_before, (message, delivery), |(job, _)| job.item.id());
                }
                Received::Odd(odd) => in_hand.push(worker.put_aside(odd).boxed()),
            },
            () = time::sleep(turns.quiet_before_alone()), if in_hand.is_empty() && turns.some_returned() => {
                if let Some((job, delivery)) = turns.alone() {
                    in_hand.push(worker.handle(job, delivery).boxed());
                }
            }
        }
    }
    receiver.stop().await?;
    let finishing = async {
        while let Some(done) = in_hand.next().await {
            worker.note(done, &mut report, &mut in_a_row)?;
        }
        Ok::<(), Error>(())
    };
    match time::timeout(options.grace, finishing).await {
        Ok(finished) => finished?,
        Err(_) => tracing::info!("leaving; jobs that are not done go back to the queue"),
    }
    report.given_back = (in_hand.len() + turns.waiting()) as u64;
    for _ in 0..report.given_back {
        steps.metrics().job(JobFate::GivenBack);
    }
    Ok(report)
}

struct Worker<'a> {
    steps: &'a dyn Reads,
    broker: Arc<dyn Broker>,
    records: Queue<OutcomeRecord>,
}

/// How a job ended, and the fault that it met.
struct Done {
    fate: JobFate,
    fault: Option<Error>,
}

impl Worker<'_> {
    fn note(&self, done: Result<Done>, report: &mut WorkReport, in_a_row: &mut u32) -> Result<()> {
        let Done { fate, fault } = done?;
        self.steps.metrics().job(fate);
        match fate {
            JobFate::Acknowledged => report.acknowledged += 1,
            JobFate::Retried => report.retried += 1,
            JobFate::DeadLettered => report.dead_lettered += 1,
            JobFate::GivenBack => report.given_back += 1,
            JobFate::PutAside => report.put_aside += 1,
            JobFate::Lost => report.lost += 1,
        }
        match fault {
            None => *in_a_row = 0,
            Some(fault) => {
                *in_a_row += 1;
                if *in_a_row >= FAILURES_IN_A_ROW {
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// One job to its end. An error means that the broker failed us.
    async fn handle(&self, job: Job, delivery: Delivery) -> Result<Done> {
        lost_is_no_fault(self.read_and_publish(&job, delivery).await)
    }

    async fn put_aside(&self, odd: Odd) -> Result<Done> {
        let moved = odd.put_aside(self.broker.as_ref()).await;
        lost_is_no_fault(moved.map(|()| Done { fate: JobFate::PutAside, fault: None }))
    }

    async fn read_and_publish(&self, job: &Job, delivery: Delivery) -> Result<Done> {
        self.steps.metrics().delivered(Lane::Jobs, delivery.deliveries_before);
        if job.fingerprint != *self.steps.fingerprint() {
            return self.wait(delivery, "other_fingerprint", None).await;
        }
        let denied_waits = Lane::retry(delivery.parcel.retries).is_some();
        let errand = Errand { submission: &job.submission_id, attempt: job.attempt, denied_waits };
        let (record, fault) = match self.steps.read(&job.item, errand).await {
            // its artifact is durable: the message needs what rows are made of
            Ok(record) => (record.without_evidence(), None),
            Err(error) => {
                tracing::warn!(item = %job.item.id(), fault = error.fault().name(), "a job could not be done: {}", chain(&error));
                match error.fault() {
                    Fault::Transient { .. } | Fault::Overloaded | Fault::Misconfigured => {
                        return self.wait(delivery, error.fault().name(), Some(error)).await;
                    }
                    Fault::Bug => {
                        self.put_on(delivery, Lane::JobsDead, error.fault().name()).await?;
                        return Ok(Done { fate: JobFate::DeadLettered, fault: Some(error) });
                    }
                    Fault::InvalidInput => match self.steps.give_up(&job.item, errand, FailReason::Internal).await {
                        Ok(record) => (record, Some(error)),
                        Err(error) => return self.wait(delivery, error.fault().name(), Some(error)).await,
                    },
                }
            }
        };
        match self.publish(&record).await {
            // a reading that no message can hold: the item ends here, and its artifact is kept
            Err(error) if error.kind() == ErrorKind::Message => {
                match self.steps.give_up(&job.item, errand, FailReason::Internal).await {
                    Ok(record) => self.publish(&record).await?,
                    Err(error) => return self.wait(delivery, error.fault().name(), Some(error)).await,
                }
            }
            published => published?,
        }
        self.steps.reached(crash::BEFORE_ACKNOWLEDGE).await;
        delivery.receipt.acknowledge().await?;
        Ok(Done { fate: JobFate::Acknowledged, fault })
    }

    /// Moves a job to another lane; what dies in between leaves it on both, and so read twice rather than lost.
    async fn put_on(&self, delivery: Delivery, lane: Lane, reason: &str) -> Result<()> {
        when_there_is_room(|| delivery.copy_to(self.broker.as_ref(), lane, reason)).await?;
        self.steps.reached(crash::MOVED).await;
        delivery.receipt.acknowledge().await
    }

    /// Lets a job wait for its next try, or gives it up when it has waited enough.
    async fn wait(&self, delivery: Delivery, reason: &str, fault: Option<Error>) -> Result<Done> {
        let (lane, fate) = match Lane::retry(delivery.parcel.retries) {
            Some(lane) => (lane, JobFate::Retried),
            None => (Lane::JobsDead, JobFate::DeadLettered),
        };
        self.put_on(delivery, lane, reason).await?;
        Ok(Done { fate, fault })
    }

    async fn publish(&self, record: &OutcomeRecord) -> Result<()> {
        when_there_is_room(|| self.records.publish(record)).await?;
        self.steps.reached(crash::PUBLISHED).await;
        Ok(())
    }
}

/// Publishes as soon as a full queue has room, for a while. To end instead would give back all that is in hand, each time as
/// one more delivery in vain.
async fn when_there_is_room<P: Future<Output = Result<()>>>(publish: impl Fn() -> P) -> Result<()> {
    let give_up = time::now() + FULL_WITHIN;
    loop {
        match publish().await {
            Err(error) if error.kind() == ErrorKind::QueueFull && time::now() < give_up => {
                time::sleep(FULL_WAIT).await;
            }
            done => return done,
        }
    }
}

/// A job whose connection broke comes again: nothing to be done, and nobody's fault.
fn lost_is_no_fault(done: Result<Done>) -> Result<Done> {
    match done {
        Err(error) if error.kind() == ErrorKind::Lost => Ok(Done { fate: JobFate::Lost, fault: None }),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;
    use futures::poll;
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::Poll;

    /// Publishes to a queue that is full so many times; how that ended, and after how long.
    async fn published(full: u32) -> (Result<()>, Duration) {
        let (clock, _installed) = Clock::install();
        let left = Cell::new(full);
        let publish = || async {
            if left.get() == 0 {
                return Ok(());
            }
            left.set(left.get() - 1);
            Err(Error::new(ErrorKind::QueueFull, "the queue is full"))
        };
        let mut publishing = pin!(when_there_is_room(publish));
        loop {
            match poll!(&mut publishing) {
                Poll::Ready(done) => return (done, Duration::from_millis(clock.now_ms())),
                Poll::Pending => assert!(clock.go_on(), "it waits for nothing"),
            }
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_waited_for_but_not_for_ever() {
        let (done, waited) = published(3).await;
        assert!(done.is_ok() && waited >= FULL_WAIT * 3, "{done:?} after {waited:?}");
        let (done, waited) = published(u32::MAX).await;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::QueueFull);
        assert!((FULL_WITHIN..FULL_WITHIN + FULL_WAIT * 2).contains(&waited), "{waited:?}");
    }
}

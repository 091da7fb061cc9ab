//! Submit, worker and committer together: the same table as `score`, whatever dies on the way.

use crate::batches::BatchLimits;
use crate::commit::{CommitOptions, CommitterReport, commit};
use crate::error::{ErrorKind, Result};
use crate::job::Job;
use crate::metrics::{Metrics, Step};
use crate::progress::Progress;
use crate::queue::amqp::AmqpBroker;
use crate::queue::memory::MemoryBroker;
use crate::queue::topology::{DELIVERY_LIMIT, Lane};
use crate::queue::{Broker, Queue, Received};
use crate::run::{ScoreOptions, score};
use crate::steps::Steps;
use crate::submit::{SubmitOptions, SubmitReport, submit};
use crate::testing::{
    Shows, Study, amqp_settings, broker_of_the_harness, dying_after, lake, picture, rows, sql, table,
};
use crate::worker::{WorkReport, WorkerOptions, work};
use domain::{Fault, Outcome, OutcomeRecord};
use inference::ErrorKind as StageErrorKind;
use lake::Lake;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

const BATCH: BatchLimits = BatchLimits { rows: 3, age: Duration::from_millis(50) };

/// The table that `score` alone makes of a study.
pub(crate) async fn alone(study: &Study) -> String {
    let lake = lake().await;
    let (progress, _) = watch::channel(Progress::default());
    let options = ScoreOptions { batch: BATCH, ..ScoreOptions::default() };
    let cancel = CancellationToken::new();
    score(&study.steps(&lake), &lake, &study.source().await, &options, &progress, &cancel).await.unwrap();
    table(&lake).await
}

pub(crate) async fn submitted(study: &Study, lake: &Lake, broker: &Arc<dyn Broker>) -> SubmitReport {
    let jobs: Queue<Job> = Queue::new(broker.clone(), Lane::Jobs);
    let options = SubmitOptions {
        pipeline: study.pipeline.definition().label(),
        fingerprint: study.pipeline.fingerprint("cpu"),
        limit: None,
        retry: Vec::new(),
        metrics: Metrics::unread(),
    };
    let (progress, _) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    submit(&study.source().await, lake, &jobs, &options, &progress, &cancel).await.unwrap()
}

pub(crate) fn options(submission: &str) -> CommitOptions {
    CommitOptions {
        batch: BATCH,
        until_complete: Some(submission.to_owned()),
        now_us: Arc::new(|| 1_700_000_000_000_000),
        metrics: Metrics::unread(),
    }
}

pub(crate) async fn committed(lake: &Lake, broker: &Arc<dyn Broker>, submission: &str) -> CommitterReport {
    commit(lake, broker.clone(), &options(submission), &CancellationToken::new()).await.unwrap()
}

/// One worker and one committer until the submission has all its rows.
pub(crate) async fn completed(
    steps: &Steps,
    lake: &Lake,
    broker: &Arc<dyn Broker>,
    submission: &str,
) -> (WorkReport, CommitterReport) {
    let cancel = CancellationToken::new();
    let committing = async {
        let report = committed(lake, broker, submission).await;
        cancel.cancel();
        report
    };
    let working = work(steps, broker.clone(), WorkerOptions::default(), &cancel);
    let (worked, committed) = tokio::join!(working, committing);
    (worked.unwrap(), committed)
}

/// Workers and committers until no job and no record waits, nor a dead job.
pub(crate) async fn worked_off(study: &Study, lake: &Lake, broker: &Arc<dyn Broker>) -> CommitterReport {
    let empty = async |lanes: &[Lane], cancel: &CancellationToken| {
        for lane in lanes {
            while broker.depth(*lane).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        cancel.cancel();
    };
    // told to leave, both finish what they hold
    let cancel = CancellationToken::new();
    let steps = study.steps(lake);
    let working = work(&steps, broker.clone(), WorkerOptions::default(), &cancel);
    let (worked, ()) = tokio::join!(working, empty(&[Lane::Jobs], &cancel));
    worked.unwrap();
    let cancel = CancellationToken::new();
    let options = CommitOptions { until_complete: None, ..options("") };
    let committing = commit(lake, broker.clone(), &options, &cancel);
    let (committed, ()) = tokio::join!(committing, empty(&[Lane::JobsDead, Lane::Records], &cancel));
    committed.unwrap()
}

pub(crate) fn mixed_study() -> Study {
    let study = Study::with_spines(5);
    study.add("copy of 00.png", &picture(Shows::LateralSpine, 0));
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    study.add("poison.png", &picture(Shows::Poison, 1));
    study.add("a text.txt", b"not an image");
    study
}

#[tokio::test]
async fn the_queue_gives_the_same_table_as_score() {
    let study = mixed_study();
    let expected = alone(&study).await;
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    assert_eq!((report.items, report.published, report.found_done), (9, 9, 0));
    let (worked, committed) = completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
    assert_eq!((worked.acknowledged, worked.given_back), (9, 0));
    assert_eq!((committed.records, committed.instances_added, committed.results_added), (9, 9, 5));
    assert_eq!(committed.pending, Some(0));
    assert_eq!(table(&lake).await, expected);
    for lane in Lane::ALL {
        assert_eq!(broker.depth(lane).await.unwrap(), 0, "{lane:?} is empty");
    }
    let again = submitted(&study, &lake, &broker).await;
    assert_eq!((again.found_done, again.published), (9, 0), "what has its row gets no job");
}

#[tokio::test]
async fn rabbitmq_gives_the_same_table_too() {
    let Some(url) = broker_of_the_harness("rabbitmq_gives_the_same_table_too") else { return };
    let study = mixed_study();
    let expected = alone(&study).await;
    let amqp = AmqpBroker::connect(amqp_settings(&url, "table")).await.unwrap();
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(amqp.clone()));
    let report = submitted(&study, &lake, &broker).await;
    // one worker dies with two jobs in hand, and takes its connection with it
    let victim = AmqpBroker::connect(amqp_settings(&url, "table")).await.unwrap();
    let broker_of_victim: Arc<dyn Broker> = Arc::new(victim.clone());
    work_and_die_at(&study, &lake, &broker_of_victim, 5).await;
    victim.close().await;
    let (_, committed) = completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
    assert_eq!(committed.pending, Some(0));
    assert_eq!(table(&lake).await, expected);
    amqp.delete_queues().await;
}

#[tokio::test]
async fn a_submission_that_is_submitted_twice_is_read_twice_and_is_one_table() {
    let study = mixed_study();
    let expected = alone(&study).await;
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let first = submitted(&study, &lake, &broker).await;
    let second = submitted(&study, &lake, &broker).await;
    assert_eq!(first, second);
    assert_eq!(broker.depth(Lane::Jobs).await.unwrap(), 18);
    completed(&study.steps(&lake), &lake, &broker, &first.submission).await;
    // the other half, with a committer that is not told to wait for anything
    let cancel = CancellationToken::new();
    let steps = study.steps(&lake);
    let forever = CommitOptions { until_complete: None, ..options(&first.submission) };
    let drained = async {
        while broker.depth(Lane::Jobs).await.unwrap() + broker.depth(Lane::Records).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cancel.cancel();
    };
    let (worked, committed, ()) = tokio::join!(
        work(&steps, broker.clone(), WorkerOptions::default(), &cancel),
        commit(&lake, broker.clone(), &forever, &cancel),
        drained,
    );
    worked.unwrap();
    assert_eq!(committed.unwrap().conflicts, 0, "duplicates are harmless");
    assert_eq!(table(&lake).await, expected);
    assert_eq!(rows(&lake).await, (5, 9));
}

/// A worker that dies at the `n`th end of a step: everything it holds is dropped.
async fn work_and_die_at(study: &Study, lake: &Lake, broker: &Arc<dyn Broker>, n: u64) {
    let (reached, passed) = (Arc::new(Notify::new()), AtomicU64::new(0));
    let tell = reached.clone();
    let steps = study.steps(&dying_after(lake, move |_| {
        let dies = passed.fetch_add(1, Ordering::Relaxed) + 1 == n;
        if dies {
            tell.notify_one();
        }
        dies
    }));
    let cancel = CancellationToken::new();
    tokio::select! {
        biased;
        () = reached.notified() => {}
        ended = work(&steps, broker.clone(), WorkerOptions { prefetch: 2, ..WorkerOptions::default() }, &cancel) => {
            panic!("a worker ends only when told: {ended:?}");
        }
    }
}

#[tokio::test]
async fn a_record_carries_what_rows_are_made_of_and_the_artifact_the_evidence() {
    let study = Study::with_spines(1);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    submitted(&study, &lake, &broker).await;
    let cancel = CancellationToken::new();
    let told = async {
        let records: Queue<OutcomeRecord> = Queue::new(broker.clone(), Lane::Records);
        let told = records.consume(1).await.unwrap().next().await.unwrap();
        cancel.cancel();
        told
    };
    let steps = study.steps(&lake);
    let (worked, told) = tokio::join!(work(&steps, broker.clone(), WorkerOptions::default(), &cancel), told);
    assert_eq!(worked.unwrap().acknowledged, 1);
    let Received::Message { message: record, .. } = told else { panic!("no record: {told:?}") };
    let image = record.image_id.clone().unwrap();
    let evidence = lake.artifacts().get(&record.fingerprint, &image).await.unwrap().unwrap();
    assert_eq!((evidence.corners.len(), evidence.walls.len()), (26, 2));
    let whole = OutcomeRecord { outcome: Outcome::Scored { reading: Box::new(evidence) }, ..record.clone() };
    assert_ne!(record, whole);
    assert_eq!(record, whole.without_evidence());
}

#[tokio::test]
async fn a_worker_that_dies_at_any_step_loses_nothing() {
    let study = Study::with_spines(1);
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    let expected = alone(&study).await;
    // a spine of six steps and a picture that leaves after three
    for n in 1..=9 {
        let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
        let report = submitted(&study, &lake, &broker).await;
        work_and_die_at(&study, &lake, &broker, n).await;
        completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
        assert_eq!(table(&lake).await, expected, "death at step {n}");
    }
}

#[tokio::test]
async fn a_committer_that_dies_is_followed_by_another() {
    let study = Study::with_spines(6);
    let expected = alone(&study).await;
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    let steps = study.steps(&lake);
    let cancel = CancellationToken::new();
    let records_are_there = async {
        while broker.depth(Lane::Records).await.unwrap() < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (worked, ()) = tokio::join!(work(&steps, broker.clone(), WorkerOptions::default(), &cancel), records_are_there);
    assert_eq!(worked.unwrap().acknowledged, 6);
    // each is polled a few times more than the one before, and then dropped wherever it is
    for polls in (0..60).step_by(3) {
        let committing = commit_boxed(&lake, &broker, &report.submission);
        let mut committing = committing;
        for _ in 0..polls {
            if futures::poll!(committing.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let last = committed(&lake, &broker, &report.submission).await;
    assert_eq!(last.pending, Some(0));
    assert_eq!(table(&lake).await, expected);
    assert_eq!(rows(&lake).await, (6, 6), "one row per key");
}

fn commit_boxed<'a>(
    lake: &'a Lake,
    broker: &Arc<dyn Broker>,
    submission: &str,
) -> std::pin::Pin<Box<dyn Future<Output = Result<CommitterReport>> + 'a>> {
    let (broker, options) = (broker.clone(), options(submission));
    Box::pin(async move { commit(lake, broker, &options, &CancellationToken::new()).await })
}

#[tokio::test]
async fn an_item_that_kills_its_workers_ends_as_a_failed_row() {
    let study = Study::with_spines(1);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    for _ in 0..=DELIVERY_LIMIT {
        work_and_die_at(&study, &lake, &broker, 2).await;
    }
    assert_eq!(broker.depth(Lane::JobsDead).await.unwrap(), 1);
    let committed = committed(&lake, &broker, &report.submission).await;
    assert_eq!((committed.dead_letters, committed.pending), (1, Some(0)));
    let row = sql(&lake, "SELECT status, fail_reason FROM readings").await;
    assert!(row.contains("| failed | crash_loop"), "{row}");
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_finishes_or_hands_back() {
    let study = Study::with_spines(8);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    let leave = async |grace: Duration| {
        let cancel = CancellationToken::new();
        let told = cancel.clone();
        let steps = study.steps(&dying_after(&lake, move |step| {
            if step == Step::Locate {
                told.cancel();
            }
            false
        }));
        let options = WorkerOptions { prefetch: 2, grace };
        work(&steps, broker.clone(), options, &cancel).await.unwrap()
    };
    let patient = leave(Duration::from_secs(60)).await;
    assert!((1..=2).contains(&patient.acknowledged) && patient.given_back == 0, "{patient:?}");
    let hasty = leave(Duration::ZERO).await;
    assert!(hasty.acknowledged + hasty.given_back <= 2 && hasty.given_back > 0, "{hasty:?}");
    let left = 8 - patient.acknowledged - hasty.acknowledged;
    assert_eq!(broker.depth(Lane::Jobs).await.unwrap(), left, "what was not done is on the queue");
    completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
    assert_eq!(table(&lake).await, alone(&study).await);
}

#[tokio::test]
async fn a_service_that_is_away_makes_jobs_wait_and_a_fault_of_ours_is_a_dead_letter() {
    let study = Study::with_spines(3);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    study
        .refuse(|asked| [Some(StageErrorKind::Unavailable), Some(StageErrorKind::Bug)].get(asked as usize).copied()?);
    let steps = study.steps(&lake);
    let cancel = CancellationToken::new();
    let options = CommitOptions { until_complete: None, ..options(&report.submission) };
    let two_rows = async {
        while lake.committer().await.unwrap().rows().1 < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cancel.cancel();
    };
    let one_by_one = WorkerOptions { prefetch: 1, ..WorkerOptions::default() };
    let (worked, committed, ()) = tokio::join!(
        work(&steps, broker.clone(), one_by_one, &cancel),
        commit(&lake, broker.clone(), &options, &cancel),
        two_rows,
    );
    let worked = worked.unwrap();
    assert_eq!((worked.retried, worked.dead_lettered, worked.acknowledged), (1, 1, 1));
    assert_eq!(committed.unwrap().dead_letters, 1);
    assert_eq!(broker.depth(Lane::JobsRetry(0)).await.unwrap(), 1, "it waits for ten seconds");
    let row = sql(&lake, "SELECT fail_reason FROM readings WHERE status = 'failed'").await;
    assert!(row.contains("| internal"), "{row}");
}

#[tokio::test]
async fn a_worker_that_can_do_nothing_ends_with_the_fault() {
    let study = Study::with_spines(40);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    submitted(&study, &lake, &broker).await;
    study.refuse(|_| Some(StageErrorKind::Disagreement));
    let steps = study.steps(&lake);
    let ended = work(&steps, broker.clone(), WorkerOptions::default(), &CancellationToken::new()).await;
    assert_eq!(ended.unwrap_err().fault(), Fault::Misconfigured);
    let waiting = broker.depth(Lane::JobsRetry(0)).await.unwrap();
    let left = broker.depth(Lane::Jobs).await.unwrap();
    assert!(waiting >= 32 && waiting + left == 40, "nothing is lost: {waiting} wait, {left} are left");
    assert_eq!(broker.depth(Lane::JobsDead).await.unwrap(), 0);
}

#[tokio::test]
async fn a_job_for_another_fingerprint_is_not_done() {
    let study = Study::with_spines(1);
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let jobs: Queue<Job> = Queue::new(broker.clone(), Lane::Jobs);
    let source = study.source().await;
    let options = SubmitOptions {
        pipeline: "vfa-unet 9".into(),
        fingerprint: study.pipeline.fingerprint("cuda"),
        limit: None,
        retry: Vec::new(),
        metrics: Metrics::unread(),
    };
    let (progress, _) = watch::channel(Progress::default());
    submit(&source, &lake, &jobs, &options, &progress, &CancellationToken::new()).await.unwrap();
    let steps = study.steps(&lake);
    let cancel = CancellationToken::new();
    let moved = async {
        while broker.depth(Lane::JobsRetry(0)).await.unwrap() < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (worked, ()) = tokio::join!(work(&steps, broker.clone(), WorkerOptions::default(), &cancel), moved);
    assert_eq!((worked.unwrap().retried, study.asked()), (1, 0));
}

#[tokio::test]
async fn a_submission_that_is_not_in_the_lake_is_said() {
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let unknown = options("00000000000000000000000000000000");
    let error = commit(&lake, broker, &unknown, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Below(Fault::InvalidInput));
}

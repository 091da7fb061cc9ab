use super::*;
use crate::distributed_tests::{alone, completed, mixed_study, submitted, worked_off};
use crate::queue::Broker;
use crate::queue::memory::MemoryBroker;
use crate::queue::topology::Lane;
use crate::testing::{Study, lake, sql};
use domain::{ExcludeReason, FailReason};
use inference::ErrorKind as StageErrorKind;
use std::sync::Arc;

fn reasons(reasons: &[Reason]) -> ReplayOptions {
    ReplayOptions { reasons: reasons.to_vec(), submissions: Vec::new(), metrics: Metrics::unread() }
}

async fn replayed(lake: &Lake, broker: &Arc<dyn Broker>, options: &ReplayOptions) -> ReplayReport {
    let jobs = Queue::new(broker.clone(), Lane::Jobs);
    replay(lake, &jobs, options, &CancellationToken::new()).await.unwrap()
}

/// The table but for what a replay counts on.
const WHAT_IT_SAYS: &str = "SELECT * EXCLUDE (scored_at, attempt) FROM readings ORDER BY item_id";

#[tokio::test]
async fn what_failed_is_read_again_and_the_table_is_that_of_an_undisturbed_run() {
    let study = Study::with_spines(4);
    let undisturbed = alone(&study).await;
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    study.refuse(|asked| (asked < 2).then_some(StageErrorKind::Compute));
    // `alone` has asked four times
    study.locate.asked.store(0, std::sync::atomic::Ordering::Relaxed);
    let report = submitted(&study, &lake, &broker).await;
    completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
    study.refuse_nothing_more();

    let failed = reasons(&[Reason::Failed(FailReason::StageFailed), Reason::Failed(FailReason::CrashLoop)]);
    let dry = count(&lake, &failed).await.unwrap();
    assert_eq!((&dry.by_reason, dry.published), (&BTreeMap::from([("stage_failed", 2)]), 0));
    assert_eq!(broker.depth(Lane::Jobs).await.unwrap(), 0, "counting publishes nothing");

    // twice is harmless: four jobs, two rows
    for _ in 0..2 {
        assert_eq!(replayed(&lake, &broker, &failed).await.published, 2);
    }
    let committed = worked_off(&study, &lake, &broker).await;
    assert_eq!((committed.records, committed.instances_added, committed.conflicts), (4, 2, 0));
    let attempts = sql(&lake, "SELECT status, attempt, count(*) FROM readings GROUP BY ALL ORDER BY 2").await;
    assert!(attempts.contains("| scored | 1       | 2 ") && attempts.contains("| scored | 2       | 2 "), "{attempts}");
    let study_alone = crate::testing::lake().await;
    let again: Arc<dyn Broker> = Arc::new(MemoryBroker::default());
    let report = submitted(&study, &study_alone, &again).await;
    completed(&study.steps(&study_alone), &study_alone, &again, &report.submission).await;
    assert_eq!(crate::testing::table(&study_alone).await, undisturbed);
    assert_eq!(sql(&lake, WHAT_IT_SAYS).await, sql(&study_alone, WHAT_IT_SAYS).await);
    assert_eq!(count(&lake, &failed).await.unwrap(), ReplayReport::default(), "nothing is left to replay");
}

#[tokio::test]
async fn a_replay_that_fails_again_shows_its_attempt_and_leaves_the_others_alone() {
    let study = mixed_study();
    let (lake, broker): (Lake, Arc<dyn Broker>) = (lake().await, Arc::new(MemoryBroker::default()));
    let report = submitted(&study, &lake, &broker).await;
    completed(&study.steps(&lake), &lake, &broker, &report.submission).await;
    let chosen = reasons(&[Reason::Failed(FailReason::StageFailed), Reason::Excluded(ExcludeReason::WrongView)]);
    let replay = replayed(&lake, &broker, &chosen).await;
    assert_eq!(replay.by_reason, BTreeMap::from([("stage_failed", 1), ("wrong_view", 1)]));
    assert_eq!((replay.published, replay.submissions[0].items), (2, 2));
    worked_off(&study, &lake, &broker).await;
    let rows = sql(&lake, "SELECT fail_reason, attempt FROM readings WHERE fail_reason IS NOT NULL ORDER BY 1").await;
    for row in ["| not_an_image | 1 ", "| stage_failed | 2 ", "| wrong_view   | 2 "] {
        assert!(rows.contains(row), "{rows}");
    }

    let elsewhere = ReplayOptions { submissions: vec!["ab".into()], ..chosen };
    let error = count(&lake, &elsewhere).await.unwrap_err();
    assert_eq!(error.fault(), domain::Fault::InvalidInput);
}

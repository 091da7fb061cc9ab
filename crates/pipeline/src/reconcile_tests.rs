use super::*;
use crate::distributed_tests::{alone, completed, mixed_study, submitted, worked_off};
use crate::queue::Broker;
use crate::queue::memory::MemoryBroker;
use crate::queue::topology::Lane;
use crate::testing::{Shows, Study, lake, picture, sql, table};
use lake::Submission;
use object_store::{ObjectStore, ObjectStoreExt};

const HOUR_S: u64 = 3600;

struct Bench {
    study: Study,
    lake: Lake,
    broker: Arc<dyn Broker>,
}

impl Bench {
    async fn of(study: Study) -> Bench {
        Bench { study, lake: lake().await, broker: Arc::new(MemoryBroker::default()) }
    }

    async fn submitted_and_done(&self) {
        let report = submitted(&self.study, &self.lake, &self.broker).await;
        completed(&self.study.steps(&self.lake), &self.lake, &self.broker, &report.submission).await;
    }

    /// `hours` after the newest submission.
    async fn reconciled(&self, repair: bool, hours: u64) -> ReconcileReport {
        let newest = self.lake.census(&[], 0).await.unwrap().first().map_or(0, |t| t.submitted_us);
        let options = ReconcileOptions {
            pipeline: self.study.pipeline.definition().label(),
            fingerprint: self.study.pipeline.fingerprint("cpu"),
            pending_after_s: HOUR_S,
            now_us: newest + (hours * HOUR_S) as i64 * US,
            metrics: Metrics::unread(),
        };
        let jobs = Queue::new(self.broker.clone(), Lane::Jobs);
        let source = self.study.source().await;
        let repair = repair.then_some(&jobs);
        reconcile(&source, &self.lake, repair, &options, &CancellationToken::new()).await.unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.study.folder.path().join(name)
    }

    async fn in_order(&self) {
        let report = self.reconciled(false, 2).await;
        assert!(report.is_in_order(), "{report:?}");
        assert_eq!(report.pending, 0);
    }
}

#[tokio::test]
async fn objects_that_are_new_changed_or_gone_are_told_apart_and_submitted() {
    let bench = Bench::of(mixed_study()).await;
    bench.submitted_and_done().await;
    bench.in_order().await;
    assert_eq!(bench.reconciled(false, 2).await.listing.listed, 9);

    bench.study.add("10.png", &picture(Shows::LateralSpine, 10));
    bench.study.add("a text.txt", b"another text");
    std::fs::remove_file(bench.path("03.png")).unwrap();
    let told = bench.reconciled(false, 2).await;
    let ListingDifferences { never_submitted, changed, gone, listed } = &told.listing;
    assert_eq!((*listed, never_submitted.objects, changed.objects, gone.objects), (9, 1, 1, 1));
    assert_eq!(gone.examples.len(), 1);
    assert_eq!((told.repaired, bench.broker.depth(Lane::Jobs).await.unwrap()), (None, 0), "looking changes nothing");
    assert_eq!(bench.lake.items().submissions().await.unwrap().len(), 1);

    let repaired = bench.reconciled(true, 2).await.repaired.unwrap();
    assert_eq!((repaired.submitted, repaired.republished, repaired.read_again), (2, 0, 0));
    let again = bench.reconciled(true, 0).await;
    assert_eq!(again.listing.never_submitted.objects + again.listing.changed.objects, 0, "submitted now");
    assert_eq!((again.pending, again.pending_too_long), (2, 0), "and young");
    worked_off(&bench.study, &bench.lake, &bench.broker).await;
    bench.in_order().await;
    let scored = sql(&bench.lake, "SELECT count(*) FROM readings WHERE status = 'scored'").await;
    assert!(scored.contains("| 7 "), "{scored}");
    let left: Vec<_> = bench.lake.location().store.list(Some(&bench.lake.paths().items())).try_collect().await.unwrap();
    assert_eq!(left.len(), 4, "two parts and their markers, no sorted runs: {left:?}");
}

#[tokio::test]
async fn jobs_that_were_lost_are_published_again_once_they_are_late() {
    let bench = Bench::of(Study::with_spines(4)).await;
    let report = submitted(&bench.study, &bench.lake, &bench.broker).await;
    // the broker loses all it had
    let bench = Bench { broker: Arc::new(MemoryBroker::default()), ..bench };
    let young = bench.reconciled(true, 0).await;
    assert_eq!((young.pending, young.pending_too_long), (4, 0));
    assert_eq!(young.repaired.unwrap().republished, 0);
    let late = bench.reconciled(true, 2).await;
    assert_eq!((late.pending_too_long, late.repaired.unwrap().republished), (4, 4));
    completed(&bench.study.steps(&bench.lake), &bench.lake, &bench.broker, &report.submission).await;
    assert_eq!(table(&bench.lake).await, alone(&bench.study).await);
    bench.in_order().await;
}

#[tokio::test]
async fn records_that_were_lost_become_rows_without_reading_an_image_again() {
    let bench = Bench::of(mixed_study()).await;
    let submission = submitted(&bench.study, &bench.lake, &bench.broker).await.submission;
    let steps = bench.study.steps(&bench.lake);
    let found: Submission = bench.lake.items().submission(&submission).await.unwrap();
    for item in bench.lake.items().read(&found).await.unwrap().try_collect::<Vec<_>>().await.unwrap() {
        // a worker did its part, and the broker lost the record
        let errand = crate::steps::Errand { submission: &submission, attempt: 1, denied_waits: false };
        steps.read(&item, errand).await.unwrap();
    }
    let bench = Bench { broker: Arc::new(MemoryBroker::default()), ..bench };
    let asked = bench.study.asked();
    let report = bench.reconciled(true, 2).await;
    assert_eq!((report.evidence.outcomes_without_rows, report.pending_too_long), (9, 0));
    assert_eq!(report.repaired.unwrap().rows.instances_added, 9);
    assert_eq!((bench.study.asked(), bench.broker.depth(Lane::Jobs).await.unwrap()), (asked, 0));
    assert_eq!(table(&bench.lake).await, alone(&bench.study).await);
    bench.in_order().await;
}

#[tokio::test]
async fn a_reading_that_is_gone_is_read_again() {
    let bench = Bench::of(mixed_study()).await;
    bench.submitted_and_done().await;
    let before = sql(&bench.lake, "SELECT * EXCLUDE (scored_at, attempt) FROM readings ORDER BY item_id").await;
    let store = &bench.lake.location().store;
    let listed: Vec<_> = store.list(Some(&bench.lake.paths().artifacts())).try_collect().await.unwrap();
    let reading = listed.iter().find(|o| bench.lake.paths().parse_artifact(&o.location).is_some()).unwrap();
    store.delete(&reading.location).await.unwrap();
    let report = bench.reconciled(true, 2).await;
    assert_eq!(report.evidence.rows_without_readings, 1);
    let read_again = report.repaired.unwrap().read_again;
    assert!((1..=2).contains(&read_again), "one item, or the two that share the image: {read_again}");
    worked_off(&bench.study, &bench.lake, &bench.broker).await;
    bench.in_order().await;
    let after = sql(&bench.lake, "SELECT * EXCLUDE (scored_at, attempt) FROM readings ORDER BY item_id").await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn the_lake_and_what_another_source_holds_are_not_missed() {
    let bench = Bench::of(Study::with_spines(2)).await;
    bench.submitted_and_done().await;
    let elsewhere = Study::with_spines(1);
    let source = elsewhere.source().await;
    assert!(source.covers(&crate::source::uri::of_file(&elsewhere.folder.path().canonicalize().unwrap().join("x"))));
    let other = Bench { study: elsewhere, ..bench };
    let listing = other.reconciled(false, 2).await.listing;
    assert_eq!((listing.gone.objects, listing.never_submitted.objects), (0, 1));
}

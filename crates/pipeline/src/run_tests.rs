use super::*;
use crate::steps::{Overlay, StepSettings};
use crate::testing::{
    Shows, Study, dying_after, forest_directory, lake, picture, picture_of_unknown_aspect, rows, sql, table,
};
use domain::ExcludeReason;
use inference::ErrorKind as StageErrorKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn small_batches() -> ScoreOptions {
    ScoreOptions {
        in_flight: 4,
        batch: BatchLimits { rows: 2, age: Duration::from_millis(50) },
        retry_wait: Duration::from_millis(1),
        ..ScoreOptions::default()
    }
}

async fn run(study: &Study, lake: &Lake, options: &ScoreOptions) -> Result<RunReport> {
    let (progress, _) = watch::channel(Progress::default());
    score(&study.steps(lake), lake, &study.source().await, options, &progress, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_forest_marks_calcium_where_the_pipeline_has_one() {
    let study = Study::of(forest_directory());
    study.add("spine.png", &picture(Shows::LateralSpine, 1));
    let lake = lake().await;
    let report = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((report.outcomes.scored, report.pending), (1, 0));
    // It marks every pixel; what lies together in a row is of one wall, so that one wall is calcified from end to end.
    let found = sql(&lake, "SELECT aac24_total FROM readings").await;
    assert!(found.contains("| 12 "), "{found}");
}

/// 30 % garbage and more: what a folder from a hospital holds.
fn add_garbage(study: &Study) {
    study.add("a text.txt", b"not an image");
    study.add("empty", b"");
    let whole = picture(Shows::LateralSpine, 99);
    study.add("cut.png", &whole[..whole.len() / 2]);
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    study.add("poison.png", &picture(Shows::Poison, 1));
    study.add("header.dcm", &[&[0; 128][..], b"DICM\x02\x00"].concat());
}

#[tokio::test]
async fn every_item_is_accounted_for_and_garbage_harms_no_neighbour() {
    let study = Study::with_spines(6);
    let clean = lake().await;
    let report = run(&study, &clean, &small_batches()).await.unwrap();
    assert_eq!((report.items, report.outcomes.scored, report.pending), (6, 6, 0));
    let grades = "SELECT image_id, aac24_total, aac_n_segments, confidence, artifact_key FROM readings
                  WHERE status = 'scored' ORDER BY image_id";
    let undisturbed = sql(&clean, grades).await;

    add_garbage(&study);
    let mixed = lake().await;
    let report = run(&study, &mixed, &small_batches()).await.unwrap();
    assert_eq!(report.items, 12);
    assert_eq!(report.outcomes.total() + report.pending, report.items, "invariant 5");
    assert_eq!((report.outcomes.scored, report.pending), (6, 0));
    let excluded = [(ExcludeReason::NotAnImage, 2), (ExcludeReason::WrongView, 1)];
    assert_eq!(report.outcomes.excluded, BTreeMap::from(excluded));
    assert_eq!(report.outcomes.failed[&FailReason::StageFailed], 1, "the batch's poison");
    assert_eq!(report.outcomes.failed.values().sum::<u64>(), 3, "{:?}", report.outcomes.failed);
    assert_eq!(report.read, report.outcomes);
    assert_eq!(sql(&mixed, grades).await, undisturbed, "invariant 6");
    let evidence = "SELECT count(*) FROM readings WHERE (status = 'scored') <> (artifact_key IS NOT NULL)";
    assert!(sql(&mixed, evidence).await.contains("| 0 "), "no score without evidence");
}

#[tokio::test]
async fn a_picture_of_unknown_proportions_is_looked_at_in_several() {
    let study = Study::new();
    study.add("film.png", &picture_of_unknown_aspect(Shows::LateralSpine, 1));
    let lake = lake().await;
    let report = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((report.outcomes.scored, study.asked()), (1, 10), "five proportions under two curves");
    let flags = sql(&lake, "SELECT quality_flags FROM readings").await;
    assert!(flags.contains("aspect_unknown"), "{flags}");
}

#[tokio::test]
async fn only_what_is_new_or_changed_is_opened_again() {
    let study = Study::with_spines(4);
    let lake = lake().await;
    run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!(study.asked(), 4);
    let again = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((study.asked(), again.read.total(), again.outcomes.scored), (4, 0, 4));

    study.add("new.png", &picture(Shows::LateralSpine, 50));
    study.add("00.png", &picture(Shows::LateralSpine, 51));
    let changed = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((study.asked(), changed.read.scored, changed.items, changed.pending), (6, 2, 5, 0));
}

#[tokio::test]
async fn one_picture_under_two_names_is_one_result_and_two_instances() {
    let study = Study::with_spines(2);
    study.add("copy of 00.png", &picture(Shows::LateralSpine, 0));
    let lake = lake().await;
    let report = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((report.outcomes.scored, report.conflicts), (3, 0));
    assert_eq!(rows(&lake).await, (2, 3));
}

#[tokio::test]
async fn a_limit_leaves_the_rest_pending() {
    let study = Study::with_spines(5);
    let lake = lake().await;
    let limited = ScoreOptions { limit: Some(2), ..small_batches() };
    let report = run(&study, &lake, &limited).await.unwrap();
    assert_eq!((report.items, report.outcomes.scored, report.pending), (5, 2, 3));
    assert_eq!(run(&study, &lake, &limited).await.unwrap().outcomes.scored, 4, "two more");
}

/// Runs until the `n`th end of a step, and drops everything there, as a SIGKILL would.
async fn run_and_die_at(study: &Study, lake: &Lake, n: u64, options: &ScoreOptions) -> bool {
    let reached = Arc::new(tokio::sync::Notify::new());
    let (passed, tell) = (AtomicU64::new(0), reached.clone());
    let steps = study.steps(&dying_after(lake, move |_| {
        let dies = passed.fetch_add(1, Ordering::Relaxed) + 1 == n;
        if dies {
            tell.notify_one();
        }
        dies
    }));
    let (progress, _) = watch::channel(Progress::default());
    let (source, cancel) = (study.source().await, CancellationToken::new());
    tokio::select! {
        biased;
        () = reached.notified() => true,
        ended = score(&steps, lake, &source, options, &progress, &cancel) => {
            ended.unwrap();
            false
        }
    }
}

#[tokio::test]
async fn a_run_that_dies_at_any_step_is_taken_up_and_gives_the_same_table() {
    let study = Study::with_spines(2);
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    let undisturbed = lake().await;
    run(&study, &undisturbed, &small_batches()).await.unwrap();
    let expected = table(&undisturbed).await;
    let mut deaths = 0;
    // two spines of six steps and one picture that leaves after three
    for n in 1..=15 {
        let lake = lake().await;
        deaths += u64::from(run_and_die_at(&study, &lake, n, &small_batches()).await);
        let report = run(&study, &lake, &small_batches()).await.unwrap();
        assert_eq!((report.pending, report.outcomes.total()), (0, 3), "death at step {n}");
        assert_eq!(table(&lake).await, expected, "death at step {n}");
    }
    assert_eq!(deaths, 15);
}

#[tokio::test]
async fn a_run_that_dies_again_and_again_still_ends() {
    let study = Study::with_spines(3);
    let lake = lake().await;
    let one_by_one =
        ScoreOptions { in_flight: 1, batch: BatchLimits { rows: 1, ..BatchLimits::default() }, ..small_batches() };
    let mut lives = 0;
    // each life gets two steps farther than the one before
    while run_and_die_at(&study, &lake, 7 + 2 * lives, &one_by_one).await {
        lives += 1;
    }
    assert!((1..=6).contains(&lives), "18 steps without a death are enough: {lives}");
    assert_eq!(rows(&lake).await, (3, 3));
}

#[tokio::test]
async fn a_cancelled_run_keeps_what_is_finished() {
    let study = Study::with_spines(8);
    let lake = lake().await;
    let (progress, seen) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    let steps = study.steps(&lake);
    let (source, options) = (study.source().await, small_batches());
    let stop_after_two = async {
        let mut seen = seen;
        seen.wait_for(|p| p.read.total() >= 2).await.unwrap();
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(score(&steps, &lake, &source, &options, &progress, &cancel), stop_after_two);
    let report = report.unwrap();
    assert!(report.cancelled && report.outcomes.scored >= 2, "{report:?}");
    assert_eq!(report.outcomes.total() + report.pending, 8);
    let rest = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((rest.outcomes.scored, rest.pending, rest.cancelled), (8, 0, false));
    assert_eq!(rest.read.scored + report.read.scored, 8, "nothing was read twice");
}

#[tokio::test]
async fn what_a_service_could_not_do_now_is_left_for_the_next_run() {
    let study = Study::with_spines(3);
    let lake = lake().await;
    let one_by_one = ScoreOptions { in_flight: 1, ..small_batches() };
    // the second picture meets a service that is away, three times
    study.refuse(|asked| (1..=3).contains(&asked).then_some(StageErrorKind::Unavailable));
    let report = run(&study, &lake, &one_by_one).await.unwrap();
    assert_eq!((report.outcomes.scored, report.pending, report.postponed), (2, 1, 1));
    let report = run(&study, &lake, &one_by_one).await.unwrap();
    assert_eq!((report.outcomes.scored, report.pending, report.postponed), (3, 0, 0));
    // one that comes back in time costs nothing
    study.add("late.png", &picture(Shows::LateralSpine, 77));
    let asked = study.asked();
    study.refuse(move |n| (n == asked).then_some(StageErrorKind::Unavailable));
    assert_eq!(run(&study, &lake, &one_by_one).await.unwrap().read.scored, 1);
}

#[tokio::test]
async fn a_busy_network_is_waited_for() {
    let study = Study::with_spines(2);
    let lake = lake().await;
    study.refuse(|asked| (asked < 2).then_some(StageErrorKind::Overloaded));
    let report = run(&study, &lake, &small_batches()).await.unwrap();
    assert_eq!((report.outcomes.scored, study.asked()), (2, 4));
}

#[tokio::test]
async fn what_concerns_all_images_ends_the_run_and_keeps_what_is_finished() {
    let study = Study::with_spines(4);
    let lake = lake().await;
    let one_by_one = ScoreOptions { in_flight: 1, ..small_batches() };
    study.refuse(|asked| (asked >= 2).then_some(StageErrorKind::Disagreement));
    let error = run(&study, &lake, &one_by_one).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Misconfigured);
    assert!(error.to_string().contains("locate"), "{error}");
    assert_eq!(rows(&lake).await, (2, 2));
}

#[tokio::test]
async fn our_own_faults_are_rows_until_there_are_too_many() {
    let study = Study::with_spines(3);
    let lake = lake().await;
    let one_by_one = ScoreOptions { in_flight: 1, ..small_batches() };
    study.refuse(|asked| (asked == 1).then_some(StageErrorKind::Bug));
    let report = run(&study, &lake, &one_by_one).await.unwrap();
    assert_eq!((report.outcomes.scored, report.outcomes.failed[&FailReason::Internal]), (2, 1));
    // and can be asked for again
    study.refuse_nothing_more();
    let retry = ScoreOptions { retry: vec![FailReason::Internal], ..one_by_one.clone() };
    assert_eq!(run(&study, &lake, &retry).await.unwrap().outcomes.scored, 3);

    let many = Study::with_spines(u64::from(FAILURES_IN_A_ROW) + 8);
    many.refuse(|_| Some(StageErrorKind::Bug));
    let error = run(&many, &lake, &one_by_one).await.unwrap_err();
    assert_eq!((error.fault(), many.asked()), (Fault::Bug, u64::from(FAILURES_IN_A_ROW)));
}

#[tokio::test]
async fn overlays_are_drawn_for_scored_images_and_can_fail() {
    let study = Study::with_spines(3);
    study.add("frontal.png", &picture(Shows::FrontalSpine, 1));
    let lake = lake().await;
    let drawn = Arc::new(AtomicU64::new(0));
    let count = drawn.clone();
    let overlay: Overlay = Arc::new(move |_, radiograph, reading| {
        assert_eq!(radiograph.raster.width(), reading.width_px);
        if count.fetch_add(1, Ordering::Relaxed) == 0 { Err("the disk is full".into()) } else { Ok(()) }
    });
    let steps = study.steps_with(&lake, Some(overlay));
    let (progress, _) = watch::channel(Progress::default());
    let source = study.source().await;
    let report = score(&steps, &lake, &source, &small_batches(), &progress, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.outcomes.scored, report.overlays_failed), (3, 1));
    assert_eq!(drawn.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn steps_refuse_models_that_the_pipeline_does_not_name() {
    let study = Study::new();
    let lake = lake().await;
    let other = Study::new();
    let manifest = other.pipeline_directory().join("locate.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let digest = domain::Digest::of(b"locate").to_hex();
    std::fs::write(&manifest, text.replace(&digest, &domain::Digest::of(b"another").to_hex())).unwrap();
    let newer = crate::Pipeline::load(other.pipeline_directory()).unwrap();
    assert_ne!(newer.fingerprint("cpu"), study.pipeline.fingerprint("cpu"));
    assert_ne!(study.pipeline.fingerprint("cuda"), study.pipeline.fingerprint("cpu"));
    let settings = StepSettings { pipeline: Arc::new(newer), ..study.settings(&lake) };
    let refused = Steps::new(settings).err().unwrap();
    assert_eq!(refused.fault(), Fault::Misconfigured);
    assert!(refused.to_string().contains("deploy the same models"), "{refused}");
}

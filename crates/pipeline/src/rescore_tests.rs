use super::*;
use crate::distributed_tests::{alone, mixed_study};
use crate::progress::Progress;
use crate::run::{ScoreOptions, score};
use crate::testing::{Study, lake, sql, table};
use std::path::Path;
use tokio::sync::watch;

/// A copy of a study's pipeline with some words of its definition changed.
fn changed(study: &Study, changes: &[(&str, &str)]) -> (tempfile::TempDir, Pipeline) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(study.pipeline_directory()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("pipeline.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is in {text}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&file, text).unwrap();
    let pipeline = Pipeline::load(Path::new(folder.path())).unwrap();
    (folder, pipeline)
}

async fn scored(study: &Study, lake: &Lake) {
    let (progress, _) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    let options = ScoreOptions::default();
    score(&study.steps(lake), lake, &study.source().await, &options, &progress, &cancel).await.unwrap();
}

async fn run(lake: &Lake, old: &Pipeline, new: &Pipeline) -> Result<RescoreReport> {
    rescore(lake, Rescoring { old, new, provider: "cpu" }, &CancellationToken::new()).await
}

#[tokio::test]
async fn the_rows_are_those_that_the_networks_would_have_given() {
    let mut study = mixed_study();
    let lake = lake().await;
    scored(&study, &lake).await;
    let before = table(&lake).await;
    // every reading falls below, and the bands move
    let (_folder, new) = changed(
        &study,
        &[
            ("version = \"", "version = \"9."),
            ("flag_below_confidence = 0.7", "flag_below_confidence = 1.0"),
            ("moderate_from = 2.0", "moderate_from = 1.0"),
            ("high_from = 6.0", "high_from = 3.0"),
        ],
    );
    let asked = study.asked();
    let old = study.pipeline.clone();
    let report = run(&lake, &old, &new).await.unwrap();
    assert_eq!((report.outcomes, report.rescored, report.rows_added, report.submissions), (9, 6, 9, 1));
    assert_eq!(study.asked(), asked, "no network was asked");

    study.pipeline = std::sync::Arc::new(new);
    let expected = alone(&study).await;
    assert!(expected.contains("low_confidence"), "the new rules show");
    let rows_of = |fingerprint: &Fingerprint| {
        let select = "SELECT * EXCLUDE (scored_at) FROM readings WHERE fingerprint";
        format!("{select} = '{fingerprint}' ORDER BY item_id, fingerprint")
    };
    assert_eq!(sql(&lake, &rows_of(&report.to)).await, expected);
    assert_eq!(sql(&lake, &rows_of(&report.from)).await, before, "the old rows stand beside them");

    let again = run(&lake, &old, &study.pipeline).await.unwrap();
    assert_eq!((again.outcomes, again.rows_added), (9, 0));
    // later images join: nothing is open under the new pipeline
    let submissions = lake.items().submissions().await.unwrap();
    let new = submissions.iter().find(|s| s.fingerprint == report.to).unwrap();
    assert_eq!(lake.open_items(new, &[]).await.unwrap().len(), 0);
    let evidence = lake.compare_evidence(&report.to, None).await.unwrap();
    assert_eq!(evidence, lake::EvidenceDifferences::default());
}

#[tokio::test]
async fn a_calibration_can_be_given_to_readings_that_had_none_and_not_taken_away() {
    let mut study = mixed_study();
    let (_folder, bare) = changed(&study, &[("version = \"", "version = \"7."), ("calibration =", "#")]);
    let calibrated = std::mem::replace(&mut study.pipeline, std::sync::Arc::new(bare));
    let lake = lake().await;
    scored(&study, &lake).await;
    let certain = "SELECT count(r.aac24_low) AS n, count(s.p_above_0) AS p FROM readings r JOIN segments s ON r.item_id = s.item_id";
    assert!(sql(&lake, certain).await.contains("| 0 | 0 |"), "{}", sql(&lake, certain).await);
    let report = run(&lake, &study.pipeline, &calibrated).await.unwrap();
    assert_eq!((report.outcomes, report.rescored), (9, 6));
    let bare = std::mem::replace(&mut study.pipeline, calibrated);
    let expected = alone(&study).await;
    let rows = format!(
        "SELECT * EXCLUDE (scored_at) FROM readings WHERE fingerprint = '{}' ORDER BY item_id, fingerprint",
        report.to
    );
    assert_eq!(sql(&lake, &rows).await, expected, "as if the calibrated pipeline had read the images");
    let error = run(&lake, &study.pipeline, &bare).await.unwrap_err();
    assert!(error.to_string().contains("review.calibration differs"), "{error}");
}

#[tokio::test]
async fn what_artifacts_cannot_give_is_refused_with_the_reason() {
    let study = Study::with_spines(1);
    let lake = lake().await;
    scored(&study, &lake).await;
    let (_folder, new) =
        changed(&study, &[("rule = \"kauppila\"", "rule = \"manitoba\""), ("threshold = 0.5", "threshold = 0.4")]);
    let error = run(&lake, &study.pipeline, &new).await.unwrap_err();
    assert_eq!(error.fault(), domain::Fault::InvalidInput);
    let message = error.to_string();
    assert!(message.contains("rule differs") && message.contains("threshold differs"), "{message}");

    let (_folder, never_ran) = changed(&study, &[("version = \"", "version = \"8.")]);
    let error = run(&lake, &never_ran, &study.pipeline).await.unwrap_err();
    assert!(error.to_string().contains("check --from"), "{error}");
    let error = run(&lake, &study.pipeline, &study.pipeline).await.unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    assert_eq!(lake.items().submissions().await.unwrap().len(), 1, "nothing was changed");
}

//! Readings and truth of a simulated cohort meet, and the first metrics are in their plausible ranges.

use tests::{cohort, run, stdout, text};

#[test]
fn the_shipped_models_read_a_cohort_that_they_never_saw() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    run(&["score", text(&cohort().join("images")), "--lake", text(&lake)], 0);
    let arguments = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--json"];
    let evaluation: serde_json::Value = serde_json::from_str(&stdout(&arguments)).unwrap();
    let number = |pointer: &str| evaluation.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    assert_eq!(evaluation["methods"][0]["without_row"], 0, "{evaluation:#}");
    // Far below what the models reach (models' cards): a smoke alarm for broken wiring, not a measure.
    assert!(number("/methods/0/all/scored/estimate") >= 0.7, "{evaluation:#}");
    assert!(number("/methods/0/all/localisation/corner_error_median_pct") <= 12.0, "{evaluation:#}");
    run(&["evaluate", "--lake", text(&lake), "--truth", text(folder.path())], 2);
}

#[test]
fn the_forest_reads_a_cohort_by_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    run(&["score", text(&cohort().join("images")), "--lake", text(&lake), "--pipeline", "vfa-forest"], 0);
    let arguments = ["evaluate", "--lake", text(&lake), "--truth", text(cohort()), "--json"];
    let evaluation: serde_json::Value = serde_json::from_str(&stdout(&arguments)).unwrap();
    let number = |pointer: &str| evaluation.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    assert_eq!(evaluation["methods"][0]["without_row"], 0, "{evaluation:#}");
    assert!(number("/methods/0/all/scored/estimate") >= 0.7, "{evaluation:#}");
    let shown: serde_json::Value =
        serde_json::from_str(&stdout(&["pipeline", "show", "vfa-forest", "--json"])).unwrap();
    assert_eq!(shown["forest"]["trees"], 10);
    assert_eq!(shown["models"].as_array().map(Vec::len), Some(1), "one network, of the pipeline beside it");
}

//! The numbers of an evaluation against those that scipy, scikit-learn and statsmodels find for the same grades
//! (tests/peers/evaluate/cases.py).

use domain::grade::CategoryCut;
use domain::{Grade, Landmark, Segment, SegmentGrade};
use learning::evaluate::{Evaluation, MethodRows, ReadRow, ReadSegment, Reference, Status, TruthRow, evaluate};
use serde::Deserialize;
use serde_json::Value;
use statistics::{Confidence, Estimate};

#[derive(Deserialize)]
struct Cases {
    truth: Vec<[u8; Segment::COUNT]>,
    read: Vec<[u8; Segment::COUNT]>,
    confidence: Vec<[f64; Segment::COUNT]>,
    image_confidence: Vec<f64>,
    flagged: Vec<bool>,
    exceeds: Vec<[[f64; 3]; Segment::COUNT]>,
    interval: Vec<[u8; 2]>,
    doubt: Vec<f64>,
    expected: Value,
    calibrated: Value,
}

fn grade(value: u8) -> SegmentGrade {
    SegmentGrade::Assessed(Grade::new(value).unwrap())
}

fn evaluated(cases: &Cases, is_calibrated: bool) -> Evaluation {
    let images = cases.truth.len();
    let truth: Vec<TruthRow> = (0..images)
        .map(|i| TruthRow {
            sop_id: i.to_string(),
            participant: i as u64,
            file: String::new(),
            lateral_lumbar: true,
            site: "A".into(),
            scanner_maker: "A".into(),
            scanner_model: "A".into(),
            corners: [None; Landmark::COUNT],
            walls: Vec::new(),
            row_mm: 1.0,
            column_mm: 1.0,
            visible: cases.truth[i].map(grade),
        })
        .collect();
    let rows = (0..images)
        .map(|i| ReadRow {
            segments: Some(std::array::from_fn(|s| ReadSegment {
                grade: grade(cases.read[i][s]),
                confidence: cases.confidence[i][s],
                exceeds: is_calibrated.then_some(cases.exceeds[i][s]),
            })),
            confidence: cases.image_confidence[i],
            flag_review: cases.flagged[i],
            interval: is_calibrated.then_some(cases.interval[i]),
            category_error: is_calibrated.then_some(cases.doubt[i]),
            ..ReadRow::unscored(i.to_string(), Status::Scored)
        })
        .collect();
    let confidence = Confidence::new(0.95).unwrap();
    let reference =
        Reference { truth: &truth, humans: &[], outcomes: &[], folder: None, cut: CategoryCut::default(), confidence };
    evaluate(reference, &[MethodRows { name: "random".into(), fingerprint: "f".into(), rows }]).unwrap()
}

#[test]
fn an_evaluation_prints_what_other_libraries_find() {
    let text = include_str!("../../../tests/peers/evaluate/cases.json");
    let cases: Cases = serde_json::from_str(text).unwrap();
    let evaluation = evaluated(&cases, false);
    let all = &evaluation.methods[0].all;
    let totals = &all.totals;
    let mut compared = 0;
    let mut same = |what: &str, found: Option<f64>, expected: &Value| {
        let (found, expected) = (found.unwrap(), expected.as_f64().unwrap());
        let apart = (found - expected).abs() / expected.abs().max(1e-3);
        assert!(apart <= 1e-9, "{what}: {found} here, {expected} there");
        compared += 1;
    };
    let point = |estimate: &Estimate| estimate.estimate;
    let expected = &cases.expected;
    for (name, found) in [
        ("bias", point(&totals.difference.bias)),
        ("bias_low", totals.difference.bias.conf_low),
        ("bias_high", totals.difference.bias.conf_high),
        ("sd", point(&totals.difference.sd)),
        ("lower_limit", point(&totals.difference.lower_limit)),
        ("upper_limit", point(&totals.difference.upper_limit)),
        ("mae", point(&totals.difference.mae)),
        ("rmse", point(&totals.difference.rmse)),
        ("r2_identity", point(&totals.r2.identity)),
        ("r2_ols", point(&totals.r2.ols)),
        ("r2_origin_centred", point(&totals.r2.origin_centred)),
        ("r2_origin_uncentred", point(&totals.r2.origin_uncentred)),
        ("pearson", point(&totals.pearson)),
        ("spearman", point(&totals.spearman)),
        ("concordance", point(&totals.concordance)),
        ("icc_2_1", point(&totals.icc_2_1)),
        ("icc_3_1", point(&totals.icc_3_1)),
        ("kappa_linear", point(&totals.kappa_linear)),
        ("kappa_quadratic", point(&totals.kappa_quadratic)),
        ("accuracy", point(&totals.categories.accuracy)),
        ("accuracy_low", totals.categories.accuracy.conf_low),
        ("accuracy_high", totals.categories.accuracy.conf_high),
        ("category_kappa_linear", point(&totals.categories.kappa_linear)),
        ("category_kappa_quadratic", point(&totals.categories.kappa_quadratic)),
        ("zero_given_zero", point(&totals.zero_given_zero)),
        ("prevalence_reference", point(&totals.prevalence_reference)),
        ("prevalence_model", point(&totals.prevalence_model)),
        ("wilcoxon_v", totals.wilcoxon.test.statistic),
        ("wilcoxon_p", totals.wilcoxon.test.p_value),
        ("segment_same", point(&all.segments[0].same)),
        ("segment_kappa_quadratic", point(&all.segments[0].kappa_quadratic)),
        ("ece", all.certainty.expected_calibration_error),
        ("flagged", point(&all.certainty.flag.flagged)),
        ("category_errors_found", point(&all.certainty.flag.category_errors_found)),
    ] {
        same(name, found, &expected[name]);
    }
    for (place, (name, count)) in [("by_segment", 8), ("by_level", 4), ("by_wall", 2)].into_iter().enumerate() {
        let first = [1, 9, 13][place];
        for i in 0..count {
            same(name, point(&all.segments[first + i].same), &expected[name][i]);
        }
    }
    for (class, found) in totals.categories.by_category.iter().enumerate() {
        same("sensitivity", point(&found.sensitivity), &expected["sensitivity"][class]);
        same("ppv", point(&found.ppv), &expected["ppv"][class]);
    }
    for (left, found) in all.certainty.abstention.iter().enumerate() {
        same("abstention", point(&found.category_accuracy), &expected["abstention"][left][0]);
        same("abstention", found.mae, &expected["abstention"][left][1]);
    }
    assert_eq!(serde_json::json!(totals.categories.confusion), expected["confusion"]);
    assert_eq!(totals.differs, Some(true));
    assert_eq!(compared, 34 + 14 + 6 + 14);
}

#[test]
fn what_a_calibrated_method_says_is_judged_as_other_libraries_judge_it() {
    let text = include_str!("../../../tests/peers/evaluate/cases.json");
    let cases: Cases = serde_json::from_str(text).unwrap();
    let evaluation = evaluated(&cases, true);
    let certainty = &evaluation.methods[0].all.certainty;
    let expected = &cases.calibrated;
    let same = |what: &str, found: Option<f64>, expected: &Value| {
        let (found, expected) = (found.unwrap(), expected.as_f64().unwrap());
        assert!((found - expected).abs() <= 1e-9, "{what}: {found} here, {expected} there");
    };
    for (k, error) in certainty.exceeds_calibration_error.iter().enumerate() {
        same("exceeds_ece", *error, &expected["exceeds_ece"][k]);
    }
    let interval = certainty.interval.as_ref().unwrap();
    for (place, band) in std::iter::once(&interval.all).chain(&interval.by_band).enumerate() {
        same(&band.of, band.covered.estimate, &expected["coverage"][place][0]);
        same(&band.of, band.mean_width, &expected["coverage"][place][1]);
    }
    for (place, left) in certainty.abstention.iter().enumerate() {
        same("abstention", left.category_accuracy.estimate, &expected["abstention"][place][0]);
        same("abstention", left.mae, &expected["abstention"][place][1]);
    }
    let fifth = &certainty.most_doubtful_fifth;
    same("fifth", fifth.flagged.estimate, &expected["fifth"][0]);
    same("fifth", fifth.category_errors_found.estimate, &expected["fifth"][1]);
    assert_eq!(interval.by_band.len(), 5);
    assert_eq!(evaluated(&cases, false).methods[0].all.certainty.interval, None);
}

use super::*;
use domain::Grade;
use domain::grade::NotAssessable;

fn segments_of(grades: [Option<u8>; 8], reason: NotAssessable) -> [SegmentGrade; 8] {
    grades.map(|g| g.and_then(Grade::new).map_or(SegmentGrade::NotAssessable(reason), SegmentGrade::Assessed))
}

/// Vertebrae 100 px high, 120 px apart from head to foot, anterior at x = 200, posterior at x = 320.
fn corners(shift: f64) -> [Option<Point<ImagePx>>; 26] {
    std::array::from_fn(|channel| {
        let (vertebra, corner) = (channel / 4, channel % 4);
        let x = if corner % 2 == 0 { 200.0 } else { 320.0 };
        let y = 50.0 + 120.0 * vertebra as f64 + if corner >= 2 { 100.0 } else { 0.0 } + shift;
        Some(Point::new(x, y))
    })
}

fn truth(id: &str, grades: [u8; 8]) -> TruthRow {
    TruthRow {
        sop_id: id.into(),
        lateral_lumbar: true,
        scanner_maker: "A".into(),
        corners: corners(0.0),
        aspect: 1.0,
        visible: segments_of(grades.map(Some), NotAssessable::OutsideImage),
    }
}

fn scored(id: &str, grades: [Option<u8>; 8], shift: f64) -> ReadRow {
    ReadRow {
        sop_id: id.into(),
        status: Status::Scored,
        corners: corners(shift).iter().enumerate().map(|(c, p)| (Landmark::from_channel(c), p.unwrap())).collect(),
        segments: Some(segments_of(grades, NotAssessable::Masked)),
    }
}

fn not_scored(id: &str, status: Status) -> ReadRow {
    ReadRow { sop_id: id.into(), status, corners: Vec::new(), segments: None }
}

fn close(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|v| (v - expected).abs() < 1e-9)
}

/// Four images: perfect 0; perfect 6; read 3 for truth 1 with corners 5 px off; excluded. One negative excluded, one scored.
fn example() -> (Vec<TruthRow>, Vec<ReadRow>) {
    let mut other_maker = truth("c", [1, 0, 0, 0, 0, 0, 0, 0]);
    other_maker.scanner_maker = "B".into();
    let negative = |id| TruthRow { lateral_lumbar: false, ..truth(id, [0; 8]) };
    let truths = vec![
        truth("a", [0; 8]),
        truth("b", [0, 0, 0, 0, 3, 3, 0, 0]),
        other_maker,
        truth("d", [0; 8]),
        negative("n"),
        negative("m"),
    ];
    let rows = vec![
        scored("a", [Some(0); 8], 0.0),
        scored("b", [0, 0, 0, 0, 3, 3, 0, 0].map(Some), 0.0),
        scored("c", [1, 2, 0, 0, 0, 0, 0, 0].map(Some), 5.0),
        not_scored("d", Status::Excluded),
        not_scored("n", Status::Excluded),
        scored("m", [Some(0); 8], 0.0),
    ];
    (truths, rows)
}

#[test]
fn known_answers_of_a_small_study() {
    let (truths, rows) = example();
    let result = evaluate(&truths, &rows, CategoryCut::default()).unwrap();
    let all = &result.all;
    assert_eq!((result.case_mix.images, result.case_mix.negatives, result.case_mix.assessable), (6, 2, 4));
    assert_eq!((result.case_mix.total_zero, result.case_mix.low, result.case_mix.high), (2, 3, 1));
    assert!(close(result.negatives_excluded_pct, 50.0));
    assert!(close(all.scored_pct, 75.0));
    assert!(close(all.falsely_not_assessable_pct, 0.0));
    // 16 corners each of two images exact and one 5 px off at a height of 100 px
    assert!(close(all.corner_error_mean_pct, 5.0 / 3.0));
    assert!(close(all.corner_error_median_pct, 0.0));
    assert!(close(all.level_shifted_pct, 0.0));
    assert_eq!(all.totals, 3);
    assert!(close(all.mae, 2.0 / 3.0) && close(all.bias, 2.0 / 3.0));
    assert!(close(all.spearman, 1.0));
    // truth 0 6 1: SST = 37 - 49 / 3; SSE = 4
    assert!(close(all.r2_identity, 1.0 - 4.0 / (37.0 - 49.0 / 3.0)));
    // 3 (moderate) for 1 (low)
    assert!(close(all.category_accuracy_pct, 200.0 / 3.0));
    assert!(close(all.zero_given_zero, 1.0));
    assert!(close(all.segment_agreement_pct, 100.0 * 23.0 / 24.0));
    assert!(close(all.by_segment_pct[1], 200.0 / 3.0));
    assert!(close(result.by_scanner_maker["B"].corner_error_mean_pct, 5.0));
    assert!(close(result.by_scanner_maker["A"].scored_pct, 200.0 / 3.0));
}

#[test]
fn a_whole_level_off_is_a_shift_and_a_tenth_is_none() {
    let truths = [truth("a", [0; 8]), truth("b", [0; 8])];
    let rows = [scored("a", [Some(0); 8], 120.0), scored("b", [Some(0); 8], 12.0)];
    let result = evaluate(&truths, &rows, CategoryCut::default()).unwrap();
    assert!(close(result.all.level_shifted_pct, 50.0));
    assert!(close(result.all.corner_error_mean_pct, 66.0));
}

#[test]
fn missing_grades_count_as_missed_or_invented_and_never_as_zero() {
    let mut masked = truth("a", [0; 8]);
    masked.visible[7] = SegmentGrade::NotAssessable(NotAssessable::Masked);
    let mut grades = [Some(0); 8];
    grades[0] = None;
    let result = evaluate(&[masked], &[scored("a", grades, 0.0)], CategoryCut::default()).unwrap();
    assert!(close(result.all.falsely_not_assessable_pct, 100.0 / 7.0));
    assert!(close(result.all.falsely_assessed_pct, 100.0));
    assert_eq!((result.all.totals, result.all.zero_given_zero, result.all.by_segment_pct[7]), (0, None, None));
}

#[test]
fn a_cut_level_is_not_asked_for_and_a_lost_image_is_counted() {
    let mut cut = truth("a", [0; 8]);
    cut.visible[6] = SegmentGrade::NotAssessable(NotAssessable::OutsideImage);
    assert!(!cut.is_assessable());
    let result = evaluate(&[cut, truth("b", [0; 8])], &[], CategoryCut::default()).unwrap();
    assert_eq!((result.all.assessable, result.without_row), (1, 2));
    assert!(close(result.all.scored_pct, 0.0));
}

#[test]
fn ambiguous_rows_are_refused() {
    let (truths, mut rows) = example();
    rows.push(rows[0].clone());
    let error = evaluate(&truths, &rows, CategoryCut::default()).unwrap_err();
    assert!(error.to_string().contains("two rows"), "{error}");
    let twice = [truths[0].clone(), truths[0].clone()];
    assert!(evaluate(&twice, &[], CategoryCut::default()).is_err());
}

#[test]
fn the_table_and_the_json_carry_the_same_numbers() {
    let (truths, rows) = example();
    let result = evaluate(&truths, &rows, CategoryCut::default()).unwrap();
    let table = result.table();
    assert!(table.contains("case mix: 6 images, 2 of them negatives, 4 assessable"), "{table}");
    let spearman = table.lines().find(|l| l.starts_with("Spearman")).unwrap();
    assert_eq!(spearman.split_whitespace().collect::<Vec<_>>(), ["Spearman", "1.000", "1.000", "-"]);
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(json["case_mix"]["assessable"], 4);
    assert_eq!(json["all"]["by_segment_pct"].as_array().unwrap().len(), 8);
}

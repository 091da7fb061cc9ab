use super::*;
use domain::grade::NotAssessable;
use domain::{Grade, ImagePx, Landmark, Point, SegmentGrade};

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
        participant: id.len() as u64,
        file: String::new(),
        lateral_lumbar: true,
        site: "north".into(),
        scanner_maker: "A".into(),
        scanner_model: "A1".into(),
        corners: corners(0.0),
        walls: Vec::new(),
        row_mm: 0.5,
        column_mm: 0.5,
        visible: segments_of(grades.map(Some), NotAssessable::OutsideImage),
    }
}

fn scored(id: &str, grades: [Option<u8>; 8], shift: f64) -> ReadRow {
    ReadRow {
        corners: corners(shift).iter().enumerate().map(|(c, p)| (Landmark::from_channel(c), p.unwrap())).collect(),
        segments: Some(segments_of(grades, NotAssessable::Masked).map(|grade| ReadSegment { grade, confidence: 0.9 })),
        confidence: 0.9,
        ..ReadRow::unscored(id.into(), Status::Scored)
    }
}

fn not_scored(id: &str, status: Status) -> ReadRow {
    ReadRow::unscored(id.into(), status)
}

fn close(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|v| (v - expected).abs() < 1e-9)
}

fn reference(truth: &[TruthRow]) -> Reference<'_> {
    let confidence = Confidence::new(0.95).unwrap();
    Reference { truth, humans: &[], folder: None, cut: CategoryCut::default(), confidence }
}

fn rows(rows: &[ReadRow]) -> [MethodRows; 1] {
    [MethodRows { name: "a pipeline 1.0.0".into(), fingerprint: "f".into(), rows: rows.to_vec() }]
}

fn judged(truth: &[TruthRow], read: &[ReadRow]) -> Evaluation {
    evaluate(reference(truth), &rows(read)).unwrap()
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
    let result = judged(&truths, &rows);
    let mix = &result.case_mix;
    assert_eq!((mix.images, mix.negatives, mix.assessable), (6, 2, 4));
    assert_eq!((mix.total_zero, mix.low, mix.high), (2, 3, 1));
    let method = &result.methods[0];
    let all = &method.all;
    assert!(close(method.negatives_excluded.estimate, 0.5));
    assert!(close(all.scored.estimate, 0.75));
    assert!(close(all.assessability.falsely_not_assessable.estimate, 0.0));
    // 26 corners each of three images, of which 16 count: two images exact and one 5 px off at a height of 100 px
    assert!(close(all.localisation.corner_error_pct.estimate, 5.0 / 3.0));
    assert!(close(all.localisation.corner_error_median_pct, 0.0));
    assert!(close(all.localisation.corner_error_p95_pct, 5.0));
    assert!(close(all.localisation.level_shifted.estimate, 0.0));
    let totals = &all.totals;
    assert_eq!(totals.images, 3);
    assert!(close(totals.difference.mae.estimate, 2.0 / 3.0) && close(totals.difference.bias.estimate, 2.0 / 3.0));
    assert!(close(totals.spearman.estimate, 1.0));
    // truth 0 6 1: SST = 37 - 49 / 3; SSE = 4
    assert!(close(totals.r2.identity.estimate, 1.0 - 4.0 / (37.0 - 49.0 / 3.0)));
    // 3 (moderate) for 1 (low)
    assert!(close(totals.categories.accuracy.estimate, 2.0 / 3.0));
    assert_eq!(totals.categories.confusion, [[1, 1, 0], [0, 0, 0], [0, 0, 1]]);
    assert!(close(totals.zero_given_zero.estimate, 1.0));
    assert!(close(totals.prevalence_reference.estimate, 2.0 / 3.0));
    let pair = |reference, model| TotalPair { reference, model, images: 1 };
    assert_eq!(totals.pairs, [pair(0, 0), pair(1, 3), pair(6, 6)]);
    assert!(close(all.segments[0].same.estimate, 23.0 / 24.0));
    assert_eq!((all.segments[2].of.as_str(), all.segments.len()), ("aac_l1_post", 1 + 8 + 4 + 2));
    assert!(close(all.segments[2].same.estimate, 2.0 / 3.0));
    assert!(close(all.segments[9].same.estimate, 5.0 / 6.0), "L1");
    assert!(close(all.segments[13].same.estimate, 1.0), "anterior");
    assert!(close(method.by_scanner_maker["B"].localisation.corner_error_pct.estimate, 5.0));
    assert!(close(method.by_scanner_maker["A"].scored.estimate, 2.0 / 3.0));
    assert_eq!((method.by_site.len(), method.masks.len(), method.readers.is_none()), (1, 0, true));
}

#[test]
fn certainty_is_measured_by_what_is_right() {
    // of ten segments and a half right at .9, none at .5
    let truths = [truth("a", [0; 8]), truth("b", [0; 8]), truth("c", [3; 8]), truth("d", [3; 8])];
    let mut wrong = scored("b", [Some(1); 8], 0.0);
    wrong.confidence = 0.2;
    wrong.flag_review = true;
    wrong.segments = wrong.segments.map(|all| all.map(|s| ReadSegment { confidence: 0.55, ..s }));
    let unsure = ReadRow { confidence: 0.5, flag_review: true, ..scored("c", [Some(3); 8], 0.0) };
    let missed = scored("d", [Some(0); 8], 0.0);
    let result = judged(&truths, &[scored("a", [Some(0); 8], 0.0), wrong, unsure, missed]);
    let certainty = &result.methods[0].all.certainty;
    // 8 segments at .55 all wrong, 24 at .9 of which 16 are right
    let expected = (8.0 * 0.55 + 24.0 * (0.9 - 16.0 / 24.0)) / 32.0;
    assert!(close(certainty.expected_calibration_error, expected), "{certainty:?}");
    assert_eq!(certainty.reliability[5].segments, 8);
    assert!(close(certainty.reliability[9].right.estimate, 2.0 / 3.0));
    // b is moderate or high for low, d is low for high and not flagged
    assert!(close(certainty.flag.flagged.estimate, 0.5));
    assert!(close(certainty.flag.category_errors_found.estimate, 0.5));
    assert!(close(certainty.flag.low_high_found.estimate, 0.5));
    let accuracy: Vec<Option<f64>> = certainty.abstention.iter().map(|a| a.category_accuracy.estimate).collect();
    assert!(close(accuracy[0], 0.5) && close(accuracy[1], 2.0 / 3.0), "one of four goes at 5 %: {accuracy:?}");
    assert!(close(accuracy[6], 0.5), "a and d are left");
}

#[test]
fn readers_are_judged_on_the_images_of_all_three() {
    let truths: Vec<TruthRow> =
        (0..40).map(|i| TruthRow { participant: i / 2, ..truth(&format!("i{i:02}"), [(i % 4) as u8; 8]) }).collect();
    let read: Vec<ReadRow> = (0..40u64).map(|i| scored(&format!("i{i:02}"), [Some((i % 4) as u8); 8], 0.0)).collect();
    let human = |reader: &str, off: fn(u64) -> u8| -> Vec<HumanRow> {
        (0..40)
            .map(|i| HumanRow {
                sop_id: format!("i{i:02}"),
                reader: reader.into(),
                total: (i < 38).then(|| 8 * (i % 4) as u8 + off(i)).map(|t| t.min(24)),
            })
            .collect()
    };
    let mut humans = human("B", |i| 3 * u8::from(i % 3 == 0));
    humans.extend(human("A", |_| 0));
    let result = evaluate(Reference { humans: &humans, ..reference(&truths) }, &rows(&read)).unwrap();
    let readers = result.methods[0].readers.as_ref().unwrap();
    let other = readers.other.as_ref().unwrap();
    assert_eq!((readers.reader.as_str(), other.reader.as_str(), readers.totals.images), ("A", "B", 38));
    assert!(close(other.icc_of_method.estimate, 1.0));
    let of_readers = other.icc_of_readers.estimate.unwrap();
    assert!(of_readers < 1.0 && close(other.difference.estimate, 1.0 - of_readers));
    assert_eq!(other.no_worse, Some(true));
}

#[test]
fn methods_stand_side_by_side_on_the_same_images() {
    let (truths, read) = example();
    let named = |name: &str, rows: Vec<ReadRow>| MethodRows { name: name.into(), fingerprint: name.into(), rows };
    let methods = [named("z 1", read.clone()), named("a 1", read[..1].to_vec())];
    let result = evaluate(reference(&truths), &methods).unwrap();
    let names: Vec<&str> = result.methods.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["a 1", "z 1"]);
    assert_eq!((result.methods[0].without_row, result.methods[1].without_row), (5, 0));
    assert!(result.table().lines().any(|line| line.contains("a 1") && line.contains("z 1")));
}

#[test]
fn a_whole_level_off_is_a_shift_and_a_tenth_is_none() {
    let truths = [truth("a", [0; 8]), truth("b", [0; 8])];
    let rows = [scored("a", [Some(0); 8], 120.0), scored("b", [Some(0); 8], 12.0)];
    let localisation = &judged(&truths, &rows).methods[0].all.localisation;
    assert!(close(localisation.level_shifted.estimate, 0.5));
    assert!(close(localisation.corner_error_pct.estimate, 66.0));
}

#[test]
fn missing_grades_count_as_missed_or_invented_and_never_as_zero() {
    let mut masked = truth("a", [0; 8]);
    masked.visible[7] = SegmentGrade::NotAssessable(NotAssessable::Masked);
    let mut grades = [Some(0); 8];
    grades[0] = None;
    let result = judged(&[masked], &[scored("a", grades, 0.0)]);
    let all = &result.methods[0].all;
    assert!(close(all.assessability.falsely_not_assessable.estimate, 1.0 / 7.0));
    assert!(close(all.assessability.falsely_assessed.estimate, 1.0));
    assert_eq!(
        (all.totals.images, all.totals.zero_given_zero.estimate, all.segments[8].same.estimate),
        (0, None, None)
    );
}

#[test]
fn a_cut_level_is_not_asked_for_and_a_lost_image_is_counted() {
    let mut cut = truth("a", [0; 8]);
    cut.visible[6] = SegmentGrade::NotAssessable(NotAssessable::OutsideImage);
    assert!(!cut.is_assessable());
    let result = judged(&[cut, truth("b", [0; 8])], &[]);
    let method = &result.methods[0];
    assert_eq!((method.all.scored.n, method.without_row), (1, 2));
    assert!(close(method.all.scored.estimate, 0.0));
}

#[test]
fn ambiguous_rows_are_refused() {
    let (truths, mut read) = example();
    read.push(read[0].clone());
    let error = evaluate(reference(&truths), &rows(&read)).unwrap_err();
    assert!(error.to_string().contains("two rows"), "{error}");
    let twice = [truths[0].clone(), truths[0].clone()];
    assert!(evaluate(reference(&twice), &rows(&[])).is_err());
    assert!(evaluate(reference(&truths), &[]).is_err());
}

#[test]
fn the_table_and_the_json_carry_the_same_numbers() {
    let (truths, read) = example();
    let result = judged(&truths, &read);
    let table = result.table();
    assert!(table.contains("case mix: 6 images, 2 of them negatives, 4 assessable"), "{table}");
    let line = table.lines().find(|l| l.starts_with("mean absolute error")).unwrap();
    assert!(line.contains(" 0.67 ["), "{line}");
    let makers = table.split("by scanner maker").nth(1).unwrap();
    let line = makers.lines().find(|l| l.starts_with("scored %")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["scored", "%", "66.7", "100.0"]);
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(json["case_mix"]["assessable"], 4);
    assert_eq!(json["methods"][0]["all"]["segments"].as_array().unwrap().len(), 15);
}

#[test]
fn a_method_that_marks_no_calcium_has_no_overlap_instead_of_a_bad_one() {
    let (truths, rows) = example();
    let overlaps = |outlines: Option<Outlines>| {
        let rows = rows.iter().map(|row| ReadRow { outlines: outlines.clone(), ..row.clone() }).collect();
        let method = MethodRows { name: "a pipeline 1.0.0".into(), fingerprint: "f".into(), rows };
        // no truth here has walls, so that no mask is read
        let reference = Reference { folder: Some(Path::new("masks are not read")), ..reference(&truths) };
        evaluate(reference, &[method]).unwrap().methods[0].masks.len()
    };
    assert_eq!((overlaps(None), overlaps(Some([Vec::new(), Vec::new()]))), (0, 3));
}

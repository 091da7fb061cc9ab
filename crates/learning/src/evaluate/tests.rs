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
        segments: Some(segments_of(grades, NotAssessable::Masked).map(|grade| ReadSegment {
            grade,
            confidence: 0.9,
            exceeds: None,
        })),
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
    Reference { truth, humans: &[], outcomes: &[], folder: None, cut: CategoryCut::default(), confidence }
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
fn intervals_and_doubts_are_judged_by_the_true_total() {
    let truths = [truth("a", [0; 8]), truth("b", [1, 0, 0, 0, 0, 0, 0, 0]), truth("c", [3; 8]), truth("d", [3; 8])];
    let said = |id: &str, grade: u8, interval: [u8; 2], doubt: f64, exceeds: [f64; 3]| {
        let mut row = scored(id, [Some(grade); 8], 0.0);
        row.segments = row.segments.map(|all| all.map(|s| ReadSegment { exceeds: Some(exceeds), ..s }));
        ReadRow { interval: Some(interval), category_error: Some(doubt), ..row }
    };
    let result = judged(
        &truths,
        &[
            said("a", 0, [0, 0], 0.1, [0.05, 0.0, 0.0]),
            said("b", 1, [6, 9], 0.2, [0.15, 0.0, 0.0]),
            said("c", 3, [20, 24], 0.3, [0.95, 0.95, 0.95]),
            said("d", 0, [0, 23], 0.4, [0.95, 0.95, 0.95]),
        ],
    );
    let certainty = &result.methods[0].all.certainty;
    let interval = certainty.interval.as_ref().unwrap();
    assert!(close(interval.all.covered.estimate, 0.5) && close(interval.all.mean_width, 30.0 / 4.0));
    let bands: Vec<(&str, Option<f64>, Option<f64>)> =
        interval.by_band.iter().map(|band| (band.of.as_str(), band.covered.estimate, band.mean_width)).collect();
    let none = |name| (name, None, None);
    let some = |name, covered, width| (name, Some(covered), Some(width));
    let expected = [some("0", 1.0, 0.0), some("1", 0.0, 3.0), none("2-5"), none("6-11"), some("12-24", 0.5, 13.5)];
    assert_eq!(bands, expected);
    // none of 8 at .05; 1 of 8 at .15; all 16 at .95
    let error = (8.0 * 0.05 + 8.0 * (0.15 - 0.125) + 16.0 * 0.05) / 32.0;
    assert!(close(certainty.exceeds_calibration_error[0], error), "{certainty:?}");
    // b is read as 8 (high) for 1, d as 0 for 24; one of four goes at 20 %: d
    assert!(close(certainty.most_doubtful_fifth.category_errors_found.estimate, 0.5));
    assert!(close(certainty.abstention[6].category_accuracy.estimate, 0.5), "a and b are left");
    let table = result.table();
    let line =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().last().unwrap();
    assert_eq!((line("  mean width, points"), line("  true total 12-24")), ("7.50", "13.50)"));
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
                repeat_dice: (reader == "A" && i > 0).then_some(if i % 2 == 0 { 0.8 } else { 1.0 }),
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
    // of 30 images with calcium 20 are 1.0; reader B did not read again
    let again = &result.repeat_dice;
    assert_eq!((again.len(), again[0].reader.as_str(), again[0].dice.n), (1, "A", 30));
    assert!(close(again[0].dice.estimate, (20.0 + 10.0 * 0.8) / 30.0));
    assert!(result.table().contains("reader A again: Dice of what was marked twice 0.933 (SD 0.096), 30 images"));
}

#[test]
fn r2_about_the_identity_line_has_an_interval_around_its_value() {
    let truths: Vec<TruthRow> =
        (0..60).map(|i| TruthRow { participant: i, ..truth(&format!("i{i:02}"), [(i % 4) as u8; 8]) }).collect();
    let read: Vec<ReadRow> = (0..60u64)
        .map(|i| {
            let mut grades = [Some((i % 4) as u8); 8];
            grades[0] = Some(((i + i % 5 / 4) % 4) as u8);
            scored(&format!("i{i:02}"), grades, 0.0)
        })
        .collect();
    let method = judged(&truths, &read).methods.remove(0);
    let (r2, plain) = (method.r2_identity, method.all.totals.r2.identity);
    assert!((r2.estimate.unwrap() - plain.estimate.unwrap()).abs() < 1e-12 && r2.n == 60);
    let (low, high) = (r2.conf_low.unwrap(), r2.conf_high.unwrap());
    assert!(low < plain.estimate.unwrap() && plain.estimate.unwrap() < high && low > 0.9 && high < 1.0, "{low} {high}");
}

#[test]
fn a_method_that_reads_as_truth_finds_its_hazard_ratios_and_one_that_halves_finds_others() {
    // totals of 0, 3 and 16: low, moderate, high
    const GRADES: [[u8; 8]; 3] = [[0; 8], [1, 1, 1, 0, 0, 0, 0, 0], [2; 8]];
    let truths: Vec<TruthRow> =
        (0..90).map(|i| TruthRow { participant: i, ..truth(&format!("i{i:02}"), GRADES[i as usize % 3]) }).collect();
    // the more calcium, the sooner; in each category some live on
    let outcomes: Vec<OutcomeRow> = (0..90u64)
        .map(|i| OutcomeRow {
            participant: i,
            years: 9.0 - 0.8 * (i % 3) as f64 + 0.25 * (i % 17) as f64,
            event: i % 5 != 0,
            age: 60.0 + (i * 7 % 20) as f64,
            smoker: i % 4 == 0,
        })
        .collect();
    let read = |of: fn(usize) -> usize| -> Vec<ReadRow> {
        (0..90).map(|i| scored(&format!("i{i:02}"), GRADES[of(i)].map(Some), 0.0)).collect()
    };
    let hazards = |rows_read: Vec<ReadRow>| {
        let result = evaluate(Reference { outcomes: &outcomes, ..reference(&truths) }, &rows(&rows_read)).unwrap();
        result.methods[0].hazards.clone().unwrap()
    };
    let same = hazards(read(|i| i % 3));
    assert_eq!((same.participants, same.events), (90, 72));
    assert!(same.ratio.len() == 2 && same.reference == same.model && same.ratio[1] == Some(1.0));
    let mixed = hazards(read(|i| if i % 7 == 0 { 0 } else { i % 3 }));
    assert!(mixed.reference == same.reference && mixed.model[1].estimate < same.model[1].estimate);
    assert!(judged(&truths, &read(|_| 0)).methods[0].hazards.is_none());
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

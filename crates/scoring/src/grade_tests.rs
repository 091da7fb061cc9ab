use super::*;
use crate::levels::Spine;
use crate::region::Region;
use crate::segments::tests::{Bench, estimate};
use domain::grade::{Aac24, Category};
use domain::{Digest, Fingerprint, ImageId, PixelSpacing};

fn identity() -> ReadingIdentity {
    ReadingIdentity {
        image_id: ImageId::from_digest(Digest::of(b"image")),
        fingerprint: Fingerprint::from_digest(Digest::of(b"method")),
        pipeline: "test 1.0.0".to_owned(),
        models: vec![("grade".to_owned(), Digest::of(b"grade"))],
    }
}

fn located() -> Located {
    let estimate = estimate();
    let region = Region::new(&estimate, 3.0).unwrap();
    let spine = Spine { corners: Vec::new(), uncertain: [false; 4], confidence: 0.9, level_confidence: 0.95, estimate };
    Located { spine, region }
}

const PICTURE: Picture = Picture {
    width_px: 500,
    height_px: 600,
    spacing: PixelSpacing { row_mm: Some(0.4), column_mm: Some(0.4), aspect: Some(1.0) },
    burned_in_annotation: false,
};

/// L1 ant 0, L1 post 1, L2 ant 2, L2 post 3, then all 0.
const EXCEEDS: [f32; 24] = [
    0.02, 0.01, 0.0, 0.9, 0.2, 0.1, 0.99, 0.8, 0.3, 0.99, 0.97, 0.75, //
    0.05, 0.0, 0.0, 0.05, 0.0, 0.0, 0.05, 0.0, 0.0, 0.05, 0.0, 0.0,
];

fn read(located: &Located, state: &[PixelState], exceeds: &[f32]) -> Result<Reading> {
    score_grades(&GradeEvidence { located, state, exceeds, picture: &PICTURE }, identity(), &ScoringRules::default())
}

fn values(reading: &Reading) -> Vec<Option<u8>> {
    reading.segments.iter().map(|s| s.grade.grade().map(Grade::value)).collect()
}

#[test]
fn a_grade_is_the_number_of_thresholds_exceeded_and_as_sure_as_its_own_probability() {
    let reading = read(&located(), &Bench::new().state, &EXCEEDS).unwrap();
    assert_eq!(values(&reading), [0, 1, 2, 3, 0, 0, 0, 0].map(Some));
    let sure: Vec<f64> = reading.segments.iter().map(|s| s.confidence).collect();
    // P(0) = 1 - .02, P(1) = .9 - .2, P(2) = .8 - .3, P(3) = .75, P(0) = 1 - .05.
    for (got, want) in sure.iter().zip([0.98, 0.7, 0.5, 0.75, 0.95]) {
        assert!((got - want).abs() < 1e-4, "{sure:?}");
    }
    assert_eq!(reading.segments[2].exceeds, Some([0.99, 0.8, 0.3]));
    assert_eq!(reading.summary.aac24, Aac24 { total: Some(6), n_segments: 8, min: 6, max: 6 });
    assert_eq!(reading.summary.category, Some(Category::High));
    assert_eq!((reading.summary.affected_levels, reading.summary.affected_walls), (Some(2), Some(3)));
    assert_eq!(reading.walls.len(), 2);
}

#[test]
fn nothing_is_said_of_lengths_that_nobody_measured() {
    let reading = read(&located(), &Bench::new().state, &EXCEEDS).unwrap();
    let summary = &reading.summary;
    assert_eq!((summary.aac8_total, summary.length_mm, summary.length_pct), (None, None, None));
    assert!(
        reading.segments.iter().all(|s| (s.rows, s.calcified_rows, s.length_pct, s.length_mm) == (0, 0, None, None))
    );
    assert!(reading.plaques.is_empty());
}

#[test]
fn a_wall_that_cannot_be_seen_has_no_grade_whatever_the_network_says() {
    let mut state = Bench::new().state;
    // The rows of L2 lie outside the image.
    state[64 * 128..128 * 128].fill(PixelState::Outside);
    let mut located = located();
    located.spine.uncertain[3] = true;
    let reading = read(&located, &state, &EXCEEDS).unwrap();
    assert_eq!(values(&reading), [Some(0), Some(1), None, None, Some(0), Some(0), None, None]);
    let reason = |i: usize| reading.segments[i].grade;
    assert_eq!(reason(2), SegmentGrade::NotAssessable(NotAssessable::OutsideImage));
    assert_eq!(reason(6), SegmentGrade::NotAssessable(NotAssessable::LevelUncertain));
    assert_eq!((reading.summary.aac24.total, reading.summary.aac24.max), (None, 1 + 12));
    assert_eq!(reading.segments[2].exceeds, None);
}

#[test]
fn an_answer_that_is_none_is_refused_and_a_step_of_few_bits_is_not() {
    let state = Bench::new().state;
    for wrong in [&EXCEEDS[..23], &[f32::NAN; 24], &[1.5; 24]] {
        let error = read(&located(), &state, wrong).unwrap_err();
        assert!(error.kind == ErrorKind::NetworkOutput && error.context.contains("exceeds"), "{error}");
    }
    let mut uneven = EXCEEDS;
    (uneven[0], uneven[1]) = (0.4, 0.6);
    let reading = read(&located(), &state, &uneven).unwrap();
    assert_eq!(reading.segments[0].exceeds, Some([0.4, 0.4, 0.0]), "above 1 is no likelier than above 0");
    assert_eq!(values(&reading)[0], Some(0));
}

fn whole(assessable: [f32; 8], view: [f32; 3]) -> std::result::Result<Reading, ExcludeReason> {
    let evidence = WholeEvidence { exceeds: &EXCEEDS, assessable: &assessable, view: &view, picture: &PICTURE };
    score_whole(&evidence, identity(), &ScoringRules::default()).unwrap()
}

#[test]
fn an_image_graded_as_a_whole_is_checked_by_the_network_itself() {
    let reading = whole([0.9; 8], [0.8, 0.1, 0.1]).unwrap();
    assert_eq!(values(&reading), [0, 1, 2, 3, 0, 0, 0, 0].map(Some));
    assert!(reading.corners.is_empty() && reading.walls.is_empty() && reading.midline.is_empty());
    assert!((reading.summary.confidence - 0.8).abs() < 1e-6);
    assert_eq!(whole([0.9; 8], [0.2, 0.7, 0.1]).unwrap_err(), ExcludeReason::WrongView);
    assert_eq!(whole([0.9; 8], [0.2, 0.1, 0.7]).unwrap_err(), ExcludeReason::SpineNotFound);
    assert_eq!(whole([0.1; 8], [0.8, 0.1, 0.1]).unwrap_err(), ExcludeReason::LevelsIncomplete);
    let mut one_hidden = [0.9; 8];
    one_hidden[3] = 0.2;
    let reading = whole(one_hidden, [0.8, 0.1, 0.1]).unwrap();
    assert_eq!(reading.segments[3].grade, SegmentGrade::NotAssessable(NotAssessable::LevelUncertain));
    assert_eq!((reading.summary.aac24.total, reading.summary.aac24.min), (None, 3));
}

use super::*;
use crate::calcium::find_calcium;
use crate::region::tests::aorta;
use crate::rules::MidlineRule;
use domain::grade::Aac24;
use domain::{Grade, PixelSpacing};
use proptest::prelude::*;

const PIXELS: usize = REGION_WIDTH * REGION_HEIGHT;

/// A straight aorta, 60 px wide, levels of 100 px; vertebrae of 72 px behind it.
pub(crate) fn estimate() -> AortaEstimate {
    let line = |x: f64| std::array::from_fn(|i| [x, 50.0 + 100.0 * i as f64]);
    let mut estimate = aorta(line(200.0), line(260.0), 10.0);
    for index in 0..20 {
        let landmark = crate::shape::shape_landmark(index);
        let centre = 100.0 * landmark.vertebra.index() as f64;
        let half = if landmark.corner.index() < 2 { -36.0 } else { 36.0 };
        estimate.vertebrae[index] = Point::new(280.0 + 90.0 * (landmark.corner.index() % 2) as f64, centre + half);
    }
    estimate
}

pub(crate) struct Bench {
    pub estimate: AortaEstimate,
    pub region: Region,
    pub state: Vec<PixelState>,
    pub lengths: RowLengths,
    pub probabilities: Vec<f32>,
    pub uncertain: [bool; 4],
}

impl Bench {
    pub fn new() -> Bench {
        let estimate = estimate();
        let region = Region::new(&estimate, 3.0).unwrap();
        let lengths = RowLengths::of(&region, &PixelSpacing::square_mm(0.4));
        Bench {
            estimate,
            lengths,
            region,
            state: vec![PixelState::Valid; PIXELS],
            probabilities: vec![0.02; 2 * PIXELS],
            uncertain: [false; 4],
        }
    }

    /// Calcium three columns wide on a wall.
    pub fn plaque(&mut self, wall: Wall, rows: Range<usize>, probability: f32) {
        let column = self.region.wall_column(wall).round() as usize;
        for row in rows {
            let start = wall.index() * PIXELS + row * REGION_WIDTH + column;
            self.probabilities[start - 1..start + 2].fill(probability);
        }
    }

    pub fn read(&self, rules: &ScoringRules) -> [SegmentReading; 8] {
        let calcium = find_calcium(&self.region, &self.state, &self.probabilities, &self.lengths, rules).unwrap();
        let frame = SegmentFrame {
            region: &self.region,
            estimate: &self.estimate,
            state: &self.state,
            lengths: &self.lengths,
            uncertain: self.uncertain,
        };
        read_segments(&frame, &calcium, rules)
    }

    fn grades(&self, rules: &ScoringRules) -> [Option<u8>; 8] {
        self.read(rules).map(|s| s.grade.grade().map(Grade::value))
    }
}

#[test]
fn the_published_worked_example_scores_ten() {
    // L1 P1 A0, L2 P1 A1, L3 P3 A1, L4 P2 A1.
    let mut bench = Bench::new();
    bench.plaque(Wall::Posterior, 10..25, 0.9);
    bench.plaque(Wall::Anterior, 70..91, 0.9);
    bench.plaque(Wall::Posterior, 100..101, 0.9);
    bench.plaque(Wall::Anterior, 130..140, 0.9);
    bench.plaque(Wall::Posterior, 130..173, 0.9);
    bench.plaque(Wall::Anterior, 200..210, 0.9);
    bench.plaque(Wall::Posterior, 200..222, 0.9);
    for rule in [TieRule::Kauppila, TieRule::Manitoba] {
        let segments = bench.read(&ScoringRules { rule, ..ScoringRules::default() });
        let grades: [SegmentGrade; 8] = std::array::from_fn(|i| segments[i].grade);
        assert_eq!(grades.map(|g| g.grade().unwrap().value()), [0, 1, 1, 1, 1, 3, 1, 2]);
        assert_eq!(Aac24::of(&grades).total, Some(10));
        // 100 px of .4 mm a level: 43 of 64 rows of L3 are 26.875 mm.
        assert!((segments[5].length_mm.unwrap() - 43.0 / 64.0 * 40.0).abs() < 1e-9);
        assert!((segments[5].length_pct.unwrap() - 100.0 * 43.0 / 64.0).abs() < 1e-9);
        assert!(segments.iter().all(|s| s.confidence > 0.99 && s.rows == 64));
    }
}

#[test]
fn vertebral_height_counts_only_between_the_end_plates_and_can_tie() {
    let mut bench = Bench::new();
    let rules = ScoringRules { extent: Extent::VertebralHeight, ..ScoringRules::default() };
    // Bodies of 72 px in levels of 100 px: 46 of 64 rows, from 9 rows below the mid-disc.
    let segments = bench.read(&rules);
    assert!(segments.iter().all(|s| s.rows == 46), "{:?}", segments.map(|s| s.rows));
    // Calcium beside the disc only: nothing between the end plates.
    bench.plaque(Wall::Anterior, 0..8, 0.9);
    assert_eq!(bench.grades(&rules)[0], Some(0));
    assert_eq!(bench.grades(&ScoringRules::default())[0], Some(1));
    // A body of 70.3 px has 45 rows: 15 of them are exactly a third.
    for point in bench.estimate.vertebrae.iter_mut().skip(2).take(2) {
        point.y += 1.7;
    }
    let rows = segment_rows(
        &SegmentFrame {
            region: &bench.region,
            estimate: &bench.estimate,
            state: &bench.state,
            lengths: &bench.lengths,
            uncertain: [false; 4],
        },
        Segment::from_index(0),
        Extent::VertebralHeight,
    );
    assert_eq!(rows.len(), 45);
    bench.plaque(Wall::Anterior, rows.start..rows.start + 15, 0.9);
    let grade = |rule| bench.grades(&ScoringRules { rule, ..rules.clone() })[0];
    assert_eq!((grade(TieRule::Kauppila), grade(TieRule::Manitoba)), (Some(1), Some(2)));
}

#[test]
fn what_cannot_be_seen_is_not_zero() {
    let rules = ScoringRules::default();
    let mut bench = Bench::new();
    let column = bench.region.wall_column(Wall::Anterior).round() as usize;
    let hide = |bench: &mut Bench, rows: Range<usize>, columns: Range<usize>, state: PixelState| {
        for row in rows {
            bench.state[row * REGION_WIDTH..][columns.clone()].fill(state);
        }
    };
    // A staircase that cuts the anterior wall of L4, the lower border of the picture, a screw across a few rows of L2.
    hide(&mut bench, 192..220, 0..column + 12, PixelState::Masked);
    hide(&mut bench, 70..80, 0..REGION_WIDTH, PixelState::Metal);
    let segments = bench.read(&rules);
    assert_eq!(segments[6].grade, SegmentGrade::NotAssessable(NotAssessable::Masked));
    assert_eq!(segments[6].length_pct, None);
    assert_eq!(segments[7].grade.grade(), Some(Grade::NONE), "the posterior wall of L4 is in view");
    assert_eq!(segments[2].rows, 54, "ten rows of L2 are hidden, the rest is graded");
    let aac = Aac24::of(&std::array::from_fn(|i| segments[i].grade));
    assert_eq!((aac.total, aac.n_segments, aac.min, aac.max), (None, 7, 0, 3));
    hide(&mut bench, 64..110, 0..REGION_WIDTH, PixelState::Metal);
    hide(&mut bench, 230..256, 0..REGION_WIDTH, PixelState::Outside);
    let segments = bench.read(&rules);
    assert_eq!(segments[3].grade, SegmentGrade::NotAssessable(NotAssessable::Implant));
    assert_eq!(segments[7].grade, SegmentGrade::NotAssessable(NotAssessable::OutsideImage));
    bench.uncertain[0] = true;
    assert_eq!(bench.read(&rules)[0].grade, SegmentGrade::NotAssessable(NotAssessable::LevelUncertain));
}

#[test]
fn short_plaques_count_only_when_the_rules_let_them() {
    let mut bench = Bench::new();
    // 4 rows of .625 mm: 2.5 mm. Another of 12 rows, 7.5 mm.
    bench.plaque(Wall::Anterior, 20..24, 0.9);
    bench.plaque(Wall::Anterior, 80..92, 0.9);
    let grade = |bench: &Bench, mm| bench.grades(&ScoringRules { min_plaque_mm: mm, ..ScoringRules::default() });
    assert_eq!(grade(&bench, 0.0)[..4], [Some(1), Some(0), Some(1), Some(0)]);
    assert_eq!(grade(&bench, 2.4)[..4], [Some(1), Some(0), Some(1), Some(0)]);
    assert_eq!(grade(&bench, 2.6)[..4], [Some(0), Some(0), Some(1), Some(0)]);
    // Without spacing, 36 mm a level: 4 rows are 2.25 mm.
    bench.lengths = RowLengths::of(&bench.region, &PixelSpacing::default());
    assert_eq!(grade(&bench, 2.3)[0], Some(0));
    assert_eq!(grade(&bench, 2.2)[0], Some(1));
    assert_eq!(bench.read(&ScoringRules::default())[0].length_mm, None);
}

#[test]
fn pixels_on_the_wrong_side_do_not_count() {
    let mut bench = Bench::new();
    bench.plaque(Wall::Posterior, 0..64, 0.9);
    // Anterior class on the posterior wall.
    let column = bench.region.wall_column(Wall::Posterior).round() as usize;
    for row in 64..128 {
        bench.probabilities[row * REGION_WIDTH + column] = 0.9;
    }
    bench.plaque(Wall::Anterior, 128..192, 0.9);
    assert_eq!(bench.grades(&ScoringRules::default()), [0, 3, 0, 0, 3, 0, 0, 0].map(Some));
}

/// The paper scores no binary map; ours gives what two maps would, as long as the walls lie apart.
#[test]
fn one_map_of_both_walls_scores_as_two_maps_do() {
    let mut bench = Bench::new();
    bench.plaque(Wall::Posterior, 10..25, 0.9);
    bench.plaque(Wall::Anterior, 70..91, 0.9);
    bench.plaque(Wall::Posterior, 70..113, 0.8);
    bench.plaque(Wall::Anterior, 200..201, 0.9);
    let two = bench.read(&ScoringRules::default());
    let (anterior, posterior) = bench.probabilities.split_at(PIXELS);
    bench.probabilities = anterior.iter().zip(posterior).map(|(a, p)| a.max(*p)).collect();
    let one = bench.read(&ScoringRules::default());
    assert_eq!(one.clone().map(|s| (s.grade, s.calcified_rows)), two.map(|s| (s.grade, s.calcified_rows)));
    assert_eq!(one.map(|s| s.grade.grade().unwrap().value()), [0, 1, 1, 3, 0, 0, 1, 0]);
    // Plaque over the expected midline is of one wall, the one on whose side most of it lies.
    bench.probabilities.fill(0.02);
    let middle = bench.region.midline_column().ceil() as usize;
    for row in 130..150 {
        bench.probabilities[row * REGION_WIDTH + middle - 2..row * REGION_WIDTH + middle + 6].fill(0.9);
    }
    assert_eq!(bench.grades(&ScoringRules::default()), [0, 0, 0, 0, 0, 1, 0, 0].map(Some));
}

#[test]
fn a_grade_near_its_border_is_less_certain() {
    let mut bench = Bench::new();
    bench.plaque(Wall::Anterior, 0..21, 0.98);
    let sure = bench.read(&ScoringRules::default())[0].confidence;
    bench.plaque(Wall::Anterior, 21..24, 0.53);
    let unsure = bench.read(&ScoringRules::default())[0].confidence;
    assert!(sure > 0.99 && unsure < 0.65, "{sure} {unsure}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_calcium_never_scores_less_for_a_fixed_midline(
        seeds in prop::collection::vec((0usize..2, 0usize..250, 1usize..40, 0.1f32..0.99), 0..8),
        more in prop::collection::vec((0usize..2, 0usize..250, 1usize..40, 0.5f32..0.99), 1..4),
        min_plaque_mm in prop::sample::select(vec![0.0, 3.0]),
        extent in prop::sample::select(vec![Extent::MidDisc, Extent::VertebralHeight]),
    ) {
        let rules = ScoringRules { midline: MidlineRule::ShapeModel, min_plaque_mm, extent, ..ScoringRules::default() };
        let mut bench = Bench::new();
        for (wall, start, rows, p) in seeds {
            bench.plaque(Wall::ALL[wall], start..(start + rows).min(256), p);
        }
        let before = bench.grades(&rules);
        let old = bench.probabilities.clone();
        for (wall, start, rows, p) in more {
            bench.plaque(Wall::ALL[wall], start..(start + rows).min(256), p);
        }
        for (p, old) in bench.probabilities.iter_mut().zip(old) {
            *p = p.max(old);
        }
        for (after, before) in bench.grades(&rules).into_iter().zip(before) {
            prop_assert!(after >= before);
        }
    }

    #[test]
    fn grades_rise_with_length(rows in 0usize..64) {
        let mut bench = Bench::new();
        bench.plaque(Wall::Posterior, 64..64 + rows, 0.9);
        prop_assert_eq!(bench.grades(&ScoringRules::default())[3], Some((3 * rows).div_ceil(64) as u8));
    }
}

#[test]
fn unusable_probabilities_are_refused() {
    let mut bench = Bench::new();
    bench.probabilities[77] = 1.5;
    let rules = ScoringRules::default();
    let find = |p: &[f32]| find_calcium(&bench.region, &bench.state, p, &bench.lengths, &rules).map(|_| ());
    assert_eq!(find(&bench.probabilities).unwrap_err().kind, crate::ErrorKind::NetworkOutput);
    assert_eq!(find(&bench.probabilities[1..]).unwrap_err().kind, crate::ErrorKind::NetworkOutput);
}

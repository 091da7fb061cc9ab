//! The eight segments: which rows are theirs, whether they can be seen, and their grades.

use crate::calcium::{Calcium, RowLengths};
use crate::region::{REGION_HEIGHT, REGION_WIDTH, ROWS_PER_LEVEL, Region};
use crate::rules::ScoringRules;
use crate::shape::AortaEstimate;
use crate::validity::PixelState;
use domain::grade::NotAssessable;
use domain::reading::SegmentReading;
use domain::{Corner, Extent, ImagePx, Point, RegionPx, Segment, SegmentGrade, TieRule, Wall};
use std::ops::Range;

/// Columns on either side of the expected wall in which a row must be visible; more where the wall's place is less sure.
const WALL_BAND_MIN_COLUMNS: f64 = 4.0;
/// Fewest rows that a vertebra's end plates may leave of its level: fewer are crossed or misplaced end plates.
const MIN_ROWS: usize = 16;
/// Thresholds on either side of the pipeline's that a grade is tried at, steps of the logit.
const THRESHOLD_STEPS: i32 = 8;
const THRESHOLD_STEP_LOGIT: f64 = 0.25;

/// Everything but the calcium that grades depend on.
#[derive(Debug, Clone, Copy)]
pub struct SegmentFrame<'a> {
    pub region: &'a Region,
    /// Where the end plates are.
    pub estimate: &'a AortaEstimate,
    /// 256 x 128.
    pub state: &'a [PixelState],
    pub lengths: &'a RowLengths,
    /// Levels that were not found with certainty.
    pub uncertain: [bool; 4],
}

/// The region's rows that belong to a segment.
pub fn segment_rows(frame: &SegmentFrame, segment: Segment, extent: Extent) -> Range<usize> {
    let level = segment.level.index();
    let all = level * ROWS_PER_LEVEL..(level + 1) * ROWS_PER_LEVEL;
    match extent {
        Extent::MidDisc => all,
        Extent::VertebralHeight => {
            let plate = |anterior, posterior| {
                let vertebra = segment.level.vertebra();
                frame.estimate.corner(vertebra, anterior).zip(frame.estimate.corner(vertebra, posterior))
            };
            let upper = plate(Corner::AnteriorSuperior, Corner::PosteriorSuperior);
            let lower = plate(Corner::AnteriorInferior, Corner::PosteriorInferior);
            let (Some(upper), Some(lower)) = (upper, lower) else { return all };
            let column = frame.region.wall_column(segment.wall);
            between_plates(frame.region, column, all, [upper, lower])
        }
    }
}

/// Rows of a level whose centre at `column` lies between the lines through two end plates.
fn between_plates(
    region: &Region,
    column: f64,
    level: Range<usize>,
    plates: [(Point<ImagePx>, Point<ImagePx>); 2],
) -> Range<usize> {
    let side = |(a, b): (Point<ImagePx>, Point<ImagePx>), p: Point<ImagePx>| {
        (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
    };
    let [upper, lower] = plates;
    let (below_upper, above_lower) = (side(upper, lower.0).signum(), side(lower, upper.0).signum());
    let within = |row: usize| {
        let at = region.to_image(Point::<RegionPx>::new(column, row as f64));
        side(upper, at) * below_upper >= 0.0 && side(lower, at) * above_lower >= 0.0
    };
    let first = level.clone().find(|row| within(*row));
    let last = level.clone().rev().find(|row| within(*row));
    match (first, last) {
        (Some(first), Some(last)) if last + 1 - first >= MIN_ROWS => first..last + 1,
        // End plates that cross or miss the level say nothing; the body is three quarters of the level.
        _ => level.start + ROWS_PER_LEVEL / 8..level.end - ROWS_PER_LEVEL / 8,
    }
}

/// Why a row does not show the wall: the most frequent reason where half or more of the wall's band is hidden.
fn hidden(frame: &SegmentFrame, wall: Wall, row: usize) -> Option<NotAssessable> {
    let column = frame.region.wall_column(wall);
    let reach = frame.region.wall_sd_columns(wall).max(WALL_BAND_MIN_COLUMNS);
    let last = (REGION_WIDTH - 1) as f64;
    let band = (column - reach).round().clamp(0.0, last) as usize..=(column + reach).round().clamp(0.0, last) as usize;
    let cells = &frame.state[row * REGION_WIDTH..(row + 1) * REGION_WIDTH][band];
    let count = |state: PixelState| cells.iter().filter(|s| **s == state).count();
    let reasons = [
        (PixelState::Outside, NotAssessable::OutsideImage),
        (PixelState::Masked, NotAssessable::Masked),
        (PixelState::Metal, NotAssessable::Implant),
    ]
    .map(|(state, reason)| (count(state), reason));
    let total: usize = reasons.iter().map(|(n, _)| n).sum();
    (2 * total >= cells.len()).then(|| reasons.into_iter().fold(reasons[0], |a, b| if b.0 > a.0 { b } else { a }).1)
}

/// What can be seen of a segment.
struct View {
    /// Its rows that show the wall.
    rows: Vec<usize>,
    /// Why it cannot be graded, if it cannot.
    obstacle: Option<NotAssessable>,
}

/// A segment with more than `max_hidden_share` of rows that do not show the wall has no grade (never 0, invariant 7).
fn views(frame: &SegmentFrame, rules: &ScoringRules) -> [View; 8] {
    let hidden: [Vec<Option<NotAssessable>>; 2] =
        Wall::ALL.map(|wall| (0..REGION_HEIGHT).map(|row| hidden(frame, wall, row)).collect());
    Segment::all().map(|segment| {
        let rows = segment_rows(frame, segment, rules.extent);
        let hidden = &hidden[segment.wall.index()];
        let reasons: Vec<NotAssessable> = rows.clone().filter_map(|row| hidden[row]).collect();
        let obstacle = if frame.uncertain[segment.level.index()] {
            Some(NotAssessable::LevelUncertain)
        } else if reasons.len() as f64 > rules.max_hidden_share * rows.len() as f64 {
            most_frequent(&reasons)
        } else {
            None
        };
        View { rows: rows.filter(|row| hidden[*row].is_none()).collect(), obstacle }
    })
}

/// Why each segment cannot be graded, if it cannot, in the order of [`Segment::all`].
pub fn obstacles(frame: &SegmentFrame, rules: &ScoringRules) -> [Option<NotAssessable>; 8] {
    views(frame, rules).map(|view| view.obstacle)
}

/// Reads the eight segments, in the order of [`Segment::all`].
///
/// A row of a segment is calcified when at least one pixel of its wall is. Rows that do not show the wall count neither as
/// calcified nor as free; of a segment that shows too few of them see [`obstacles`].
pub fn read_segments(frame: &SegmentFrame, calcium: &Calcium, rules: &ScoringRules) -> [SegmentReading; 8] {
    let views = views(frame, rules);
    Segment::all().map(|segment| {
        let View { rows, obstacle } = &views[segment.index()];
        match obstacle {
            Some(reason) => not_assessed(segment, *reason, rows.len()),
            None => grade_segment(frame, calcium, rules, segment, rows),
        }
    })
}

fn most_frequent(reasons: &[NotAssessable]) -> Option<NotAssessable> {
    let count = |reason: NotAssessable| reasons.iter().filter(|r| **r == reason).count();
    [NotAssessable::OutsideImage, NotAssessable::Masked, NotAssessable::Implant]
        .into_iter()
        .fold(None, |best: Option<NotAssessable>, r| if count(r) > best.map_or(0, count) { Some(r) } else { best })
}

pub(crate) fn not_assessed(segment: Segment, reason: NotAssessable, rows: usize) -> SegmentReading {
    SegmentReading {
        level: segment.level,
        wall: segment.wall,
        grade: SegmentGrade::NotAssessable(reason),
        calcified_rows: 0,
        rows: rows as u32,
        length_pct: None,
        length_mm: None,
        confidence: 0.0,
        exceeds: None,
    }
}

fn grade_segment(
    frame: &SegmentFrame,
    calcium: &Calcium,
    rules: &ScoringRules,
    segment: Segment,
    visible: &[usize],
) -> SegmentReading {
    let wall = &calcium.walls[segment.wall.index()];
    let calcified: Vec<usize> = visible.iter().copied().filter(|row| wall.row_is_calcified(*row)).collect();
    let (r, h) = (calcified.len() as u32, visible.len() as u32);
    // A segment with a grade has visible rows: max_hidden_share is below 1 and an extent has at least 16 rows.
    let Some(grade) = rules.rule.grade(r, h) else {
        return not_assessed(segment, NotAssessable::OutsideImage, 0);
    };
    let peaks: Vec<f64> = visible.iter().map(|row| f64::from(wall.row_peak[*row])).collect();
    SegmentReading {
        level: segment.level,
        wall: segment.wall,
        grade: SegmentGrade::Assessed(grade),
        calcified_rows: r,
        rows: h,
        length_pct: Some(100.0 * f64::from(r) / f64::from(h)),
        length_mm: frame.lengths.true_mm(segment.wall, calcified.into_iter()),
        confidence: grade_certainty(&peaks, rules.rule, rules.threshold),
        exceeds: None,
    }
}

/// How firmly the grade stands: the share of other thresholds that give the same one.
///
/// Thresholds are spread around the pipeline's by the standard logistic distribution of their logit, cut at +-2: a network whose
/// probabilities are off by a factor of odds up to 7 is still weighed. 1 where all rows are far from the threshold.
fn grade_certainty(row_peaks: &[f64], rule: TieRule, threshold: f64) -> f64 {
    let height = row_peaks.len() as u32;
    let grade_at = |t: f64| rule.grade(row_peaks.iter().filter(|p| **p >= t).count() as u32, height);
    // Probabilities are single precision: a threshold that is not must not fall beyond its own rounding.
    let own = grade_at(f64::from(threshold as f32));
    let logit = (threshold / (1.0 - threshold)).ln();
    let (mut same, mut total) = (0.0, 0.0);
    for step in -THRESHOLD_STEPS..=THRESHOLD_STEPS {
        let shift = f64::from(step) * THRESHOLD_STEP_LOGIT;
        let weight = 1.0 / (shift / 2.0).cosh().powi(2);
        let t = if step == 0 { f64::from(threshold as f32) } else { 1.0 / (1.0 + (-(logit + shift)).exp()) };
        total += weight;
        same += if grade_at(t) == own { weight } else { 0.0 };
    }
    same / total
}

#[cfg(test)]
#[path = "segments_tests.rs"]
pub(crate) mod tests;

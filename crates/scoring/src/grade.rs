//! Grades that a network gives itself, without marks of calcium: the way of LVLCRNet and its comparators (Zhang et al., "Automated
//! abdominal aortic calcification scoring via deep learning: a multi-center validation of LVLCRNet").
//!
//! The network says for each segment how probable it is that the grade exceeds 0, 1 and 2 (ordinal regression). Such a reading has no
//! rows, outlines or lengths to show for it; its evidence are these probabilities.

use crate::calcium::RowLengths;
use crate::error::{Error, ErrorKind, Result};
use crate::levels::unsuitable_view;
use crate::quality::{Picture, image_flags, picture_flags, summarise, summarise_found};
use crate::read::{Located, ReadingIdentity, rounded, wall_lines};
use crate::rules::ScoringRules;
use crate::segments::{SegmentFrame, not_assessed, obstacles};
use crate::validity::PixelState;
use domain::grade::NotAssessable;
use domain::reading::{QualityFlag, READING_SCHEMA_VERSION, SegmentReading, Summary};
use domain::{ExcludeReason, Grade, Reading, Segment, SegmentGrade};
use serde::{Deserialize, Serialize};

/// Thresholds of the scale 0..=3: above 0, above 1, above 2.
pub const THRESHOLDS: usize = 3;

/// What a network that grades is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradeInput {
    /// The whole radiograph, as `locate` is shown it ([`crate::locate::prepare`]).
    Image,
    /// The straightened strip around the aorta ([`crate::Region::warp`]).
    Region,
    /// The picture around the located vertebrae ([`crate::SpineCrop`]).
    Spine,
}

impl GradeInput {
    /// As in definitions, commands and tensors.
    pub fn name(self) -> &'static str {
        match self {
            GradeInput::Image => "image",
            GradeInput::Region => "region",
            GradeInput::Spine => "spine",
        }
    }

    /// Rows and columns of the network's input.
    pub fn shape(self) -> [usize; 2] {
        match self {
            GradeInput::Image => [crate::locate::STAGE_HEIGHT, crate::locate::STAGE_WIDTH],
            GradeInput::Region => [crate::region::REGION_HEIGHT, crate::region::REGION_WIDTH],
            GradeInput::Spine => [crate::crop::CROP_HEIGHT, crate::crop::CROP_WIDTH],
        }
    }

    /// Whether vertebrae are located first.
    pub fn is_located(self) -> bool {
        self != GradeInput::Image
    }
}

/// The evidence of one image whose spine was located.
#[derive(Debug, Clone, Copy)]
pub struct GradeEvidence<'a> {
    pub located: &'a Located,
    /// What [`crate::Region::warp`] says of the region's pixels, 256 x 128: which walls can be seen.
    pub state: &'a [PixelState],
    /// The network's output, 8 x 3 (segments in the order of [`Segment::all`]; probability that the grade is above 0, 1, 2).
    pub exceeds: &'a [f32],
    pub picture: &'a Picture,
}

/// The evidence of one image that was graded as a whole.
#[derive(Debug, Clone, Copy)]
pub struct WholeEvidence<'a> {
    /// As in [`GradeEvidence`].
    pub exceeds: &'a [f32],
    /// Probability that each segment can be assessed, 8.
    pub assessable: &'a [f32],
    /// Probability of a lateral lumbar spine, a frontal spine, anything else.
    pub view: &'a [f32],
    pub picture: &'a Picture,
}

/// A reading of a located spine from the grades that a network gave. What cannot be seen is not assessable by the same rules as where
/// rows are counted.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] for probabilities of a wrong size or that are none.
pub fn score_grades(evidence: &GradeEvidence, identity: ReadingIdentity, rules: &ScoringRules) -> Result<Reading> {
    let GradeEvidence { located, state, exceeds, picture } = *evidence;
    let Located { spine, region } = located;
    let lengths = RowLengths::of(region, &picture.spacing);
    let frame =
        SegmentFrame { region, estimate: &spine.estimate, state, lengths: &lengths, uncertain: spine.uncertain };
    let segments = graded(exceeds, obstacles(&frame, rules), rules.threshold)?;
    let mut flags = image_flags(spine, state, picture);
    let summary = summarise(spine, &segments, &mut flags, rules);
    let mut reading = bare(picture, segments, summary, flags, (identity, rules));
    reading.pixel_aspect = Some(spine.estimate.aspect);
    reading.anterior_right = spine.estimate.anterior_right;
    reading.corners = spine.corners.clone();
    reading.walls = wall_lines(located);
    reading.midline = region.line(region.midline_column());
    Ok(rounded(reading))
}

/// A reading of an image that was graded as a whole, or why there is none.
///
/// No level is located, so that the network itself has to say what the picture is and which segments it shows; one that it does not
/// see is not assessable as `level_uncertain`. The confidence in the names of the levels is that in the view. An image of which no
/// segment is seen is excluded, as one whose located levels lie outside.
///
/// # Errors
/// As [`score_grades`].
pub fn score_whole(
    evidence: &WholeEvidence,
    identity: ReadingIdentity,
    rules: &ScoringRules,
) -> Result<std::result::Result<Reading, ExcludeReason>> {
    let WholeEvidence { exceeds, assessable, view, picture } = *evidence;
    if let Some(reason) = unsuitable_view(view)? {
        return Ok(Err(reason));
    }
    probabilities("assessable", assessable, Segment::COUNT)?;
    let unseen = |i: usize| (assessable[i] < 0.5).then_some(NotAssessable::LevelUncertain);
    let unseen: [Option<NotAssessable>; 8] = std::array::from_fn(unseen);
    if unseen.iter().all(Option::is_some) {
        return Ok(Err(ExcludeReason::LevelsIncomplete));
    }
    let segments = graded(exceeds, unseen, rules.threshold)?;
    let mut flags = picture_flags(picture);
    let lateral = f64::from(view[0]).clamp(0.0, 1.0);
    let summary = summarise_found([lateral, lateral], &segments, &mut flags, rules);
    let mut reading = bare(picture, segments, summary, flags, (identity, rules));
    reading.pixel_aspect = Some(picture.spacing.aspect_or_square());
    Ok(Ok(rounded(reading)))
}

/// A reading without any place.
fn bare(
    picture: &Picture,
    segments: [SegmentReading; 8],
    summary: Summary,
    flags: Vec<QualityFlag>,
    (identity, rules): (ReadingIdentity, &ScoringRules),
) -> Reading {
    Reading {
        schema_version: READING_SCHEMA_VERSION,
        image_id: identity.image_id,
        fingerprint: identity.fingerprint,
        pipeline: identity.pipeline,
        rule: rules.rule,
        extent: rules.extent,
        width_px: picture.width_px,
        height_px: picture.height_px,
        pixel_aspect: None,
        anterior_right: false,
        corners: Vec::new(),
        walls: Vec::new(),
        midline: Vec::new(),
        plaques: Vec::new(),
        segments: segments.to_vec(),
        flags,
        summary,
        models: identity.models,
    }
}

fn probabilities(name: &str, values: &[f32], count: usize) -> Result<()> {
    if values.len() != count {
        let message = format!("{name} has {} values, expected {count}", values.len());
        return Err(Error::new(ErrorKind::NetworkOutput, message));
    }
    // A hair beyond is what half precision leaves of a sigmoid.
    if !values.iter().all(|p| p.is_finite() && (-1e-3..=1.001).contains(p)) {
        return Err(Error::new(ErrorKind::NetworkOutput, format!("{name} holds a value that is no probability")));
    }
    Ok(())
}

/// The eight segments. A grade is the number of thresholds that it exceeds with a probability of at least `threshold`; its confidence is
/// the probability of that very grade.
fn graded(exceeds: &[f32], obstacles: [Option<NotAssessable>; 8], threshold: f64) -> Result<[SegmentReading; 8]> {
    probabilities("exceeds", exceeds, Segment::COUNT * THRESHOLDS)?;
    Ok(Segment::all().map(|segment| {
        let at = segment.index() * THRESHOLDS;
        // A grade above 2 is above 1 too: arithmetic of few bits may say otherwise by a step.
        let mut above = 1.0f64;
        let exceeds: [f64; THRESHOLDS] = std::array::from_fn(|k| {
            above = above.min(f64::from(exceeds[at + k]).clamp(0.0, 1.0));
            above
        });
        if let Some(reason) = obstacles[segment.index()] {
            return not_assessed(segment, reason, 0);
        }
        // Probabilities are single precision: a threshold that is not must not fall beyond its own rounding.
        let exceeded = exceeds.iter().filter(|p| **p >= f64::from(threshold as f32)).count();
        let reached = if exceeded == 0 { 1.0 } else { exceeds[exceeded - 1] };
        let passed = exceeds.get(exceeded).copied().unwrap_or(0.0);
        SegmentReading {
            level: segment.level,
            wall: segment.wall,
            grade: Grade::new(exceeded as u8).map_or(SegmentGrade::Assessed(Grade::MAX), SegmentGrade::Assessed),
            calcified_rows: 0,
            rows: 0,
            length_pct: None,
            length_mm: None,
            confidence: reached - passed,
            exceeds: Some(exceeds),
        }
    }))
}

#[cfg(test)]
#[path = "grade_tests.rs"]
mod tests;

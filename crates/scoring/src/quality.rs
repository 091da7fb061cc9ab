//! Totals, flags and confidence of a reading: what a user of the row should know.

use crate::levels::Spine;
use crate::rules::ScoringRules;
use crate::validity::PixelState;
use domain::grade::{Aac24, aac8_wall};
use domain::reading::{QualityFlag, SegmentReading, Summary};
use domain::{Level, PixelSpacing, SegmentGrade, Wall};

/// Share of the region outside the image or blanked that is worth a flag.
const REGION_SHARE: f64 = 0.01;
/// Share of the region hidden by metal that is worth a flag.
const METAL_SHARE: f64 = 0.002;
/// Height of a vertebra's front or back over the expected one below which it counts as fractured (Genant grade 1: a loss of 20 %).
const FRACTURE_RATIO: f64 = 0.8;
/// A shape is unusual when fewer than this share of the training population is farther from the model.
const UNUSUAL_SHARE: f64 = 1e-4;

/// What is known about the picture beside its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Picture {
    pub width_px: u32,
    pub height_px: u32,
    pub spacing: PixelSpacing,
    /// What the header says of text in the pixels.
    pub burned_in_annotation: bool,
}

/// Flags that the spine, the region and the header raise, in the order of [`QualityFlag`]; those of confidence come with the summary.
pub fn image_flags(spine: &Spine, state: &[PixelState], picture: &Picture) -> Vec<QualityFlag> {
    let count = |wanted: PixelState| state.iter().fold(0u32, |count, s| count + u32::from(*s == wanted));
    let share = |wanted: PixelState| f64::from(count(wanted)) / state.len().max(1) as f64;
    let [spacing, aspect, annotation] = header_flags(picture);
    [
        spacing,
        aspect,
        (QualityFlag::RegionPartlyOutside, share(PixelState::Outside) >= REGION_SHARE),
        (QualityFlag::RegionPartlyMasked, share(PixelState::Masked) >= REGION_SHARE),
        (QualityFlag::ImplantSuspected, share(PixelState::Metal) >= METAL_SHARE),
        (QualityFlag::FractureSuspected, fracture_suspected(spine)),
        (QualityFlag::UnusualShape, spine.estimate.tail_probability() < UNUSUAL_SHARE),
        annotation,
    ]
    .into_iter()
    .filter_map(|(flag, raised)| raised.then_some(flag))
    .collect()
}

/// Flags that the header raises where no spine was located.
pub(crate) fn picture_flags(picture: &Picture) -> Vec<QualityFlag> {
    header_flags(picture).into_iter().filter_map(|(flag, raised)| raised.then_some(flag)).collect()
}

fn header_flags(picture: &Picture) -> [(QualityFlag, bool); 3] {
    let spacing = &picture.spacing;
    let known = |mm: Option<f64>| mm.is_some_and(|mm| mm.is_finite() && mm > 0.0);
    let spacing_known = known(spacing.row_mm) && known(spacing.column_mm);
    [
        (QualityFlag::SpacingUnknown, !spacing_known),
        (QualityFlag::AspectUnknown, spacing.known_aspect().is_none()),
        (QualityFlag::BurnedInAnnotation, picture.burned_in_annotation),
    ]
}

/// Whether a vertebra L1-L4 is lower in front than behind, or lower than its neighbours, by more than 20 % and by more
/// than one standard error of the measurement beyond that.
fn fracture_suspected(spine: &Spine) -> bool {
    let estimate = &spine.estimate;
    let measured = |upper: usize, lower: usize| {
        let (a, b) = (estimate.vertebrae[upper], estimate.vertebrae[lower]);
        let height = (a.x - b.x).hypot((a.y - b.y) * estimate.aspect);
        (height, estimate.vertebrae_sd_px[upper].hypot(estimate.vertebrae_sd_px[lower]))
    };
    let lower_by_a_fifth = |(part, part_sd): (f64, f64), (whole, whole_sd): (f64, f64)| {
        let ratio = part / whole.max(1e-9);
        let sd = (part_sd / whole.max(1e-9)).hypot(ratio * whole_sd / whole.max(1e-9));
        ratio + sd < FRACTURE_RATIO
    };
    let sides = Level::ALL.map(|level| {
        let first = 2 + 4 * level.index();
        [measured(first, first + 2), measured(first + 1, first + 3)]
    });
    let known = |level: usize| !spine.uncertain[level];
    (0..4).filter(|level| known(*level)).any(|level| {
        let [front, back] = sides[level];
        let wedged = lower_by_a_fifth(front, back) || lower_by_a_fifth(back, front);
        let neighbours = [level.checked_sub(1), Some(level + 1)].into_iter().flatten().filter(|n| *n < 4 && known(*n));
        let crushed = neighbours.into_iter().any(|n| {
            let mean = |[f, b]: [(f64, f64); 2]| ((f.0 + b.0) / 2.0, f.1.hypot(b.1) / 2.0);
            lower_by_a_fifth(mean(sides[level]), mean(sides[n]))
        });
        wedged || crushed
    })
}

/// Totals and summary measures of eight segments, and the flags of confidence.
///
/// Sums over segments are missing unless all eight were assessed; lengths and what is counted from them (AAC-8) also where a network
/// gave the grades itself. The reading's confidence is the worse of localisation (mean heatmap peak of the corners of L1-L4) and
/// segmentation (mean over the assessed segments).
pub fn summarise(
    spine: &Spine,
    segments: &[SegmentReading; 8],
    flags: &mut Vec<QualityFlag>,
    rules: &ScoringRules,
) -> Summary {
    summarise_found([spine.confidence, spine.level_confidence], segments, flags, rules)
}

/// The same for `found`: confidence of localisation and of the names of the levels, 0..1.
pub(crate) fn summarise_found(
    found: [f64; 2],
    segments: &[SegmentReading; 8],
    flags: &mut Vec<QualityFlag>,
    rules: &ScoringRules,
) -> Summary {
    let [localisation, level_confidence] = found;
    let grades: [SegmentGrade; 8] = std::array::from_fn(|i| segments[i].grade);
    let aac24 = Aac24::of(&grades);
    let complete = aac24.total.is_some();
    let measured = complete && segments.iter().all(|s| s.rows > 0);
    let calcified = |s: &SegmentReading| s.grade.grade().is_some_and(|g| g.value() > 0);
    let heights = |wall: Wall| -> f64 {
        segments
            .iter()
            .filter(|s| s.wall == wall && s.rows > 0)
            .map(|s| f64::from(s.calcified_rows) / f64::from(s.rows))
            .sum()
    };
    // Sums of thirds must not come out a hair above a whole height.
    let aac8 = |wall: Wall| aac8_wall((heights(wall) * 1e9).round() / 1e9);
    let levels = Level::ALL.iter().filter(|l| segments.iter().any(|s| s.level == **l && calcified(s))).count();
    let walls = segments.iter().filter(|s| calcified(s)).count();
    let rows: u32 = segments.iter().map(|s| s.rows).sum();
    let calcified_rows: u32 = segments.iter().map(|s| s.calcified_rows).sum();
    let assessed: Vec<f64> = segments.iter().filter(|s| s.grade.grade().is_some()).map(|s| s.confidence).collect();
    let segmentation = assessed.iter().sum::<f64>() / assessed.len().max(1) as f64;
    let confidence = localisation.min(segmentation);

    raise_confidence_flags(flags, confidence, level_confidence, rules);
    Summary {
        aac24,
        category: aac24.category(rules.categories),
        aac8_total: measured.then(|| Wall::ALL.into_iter().map(aac8).sum()),
        affected_levels: complete.then_some(levels as u8),
        affected_walls: complete.then_some(walls as u8),
        length_mm: if complete { segments.iter().map(|s| s.length_mm).sum() } else { None },
        length_pct: measured.then(|| 100.0 * f64::from(calcified_rows) / f64::from(rows.max(1))),
        confidence,
        level_confidence,
        flag_review: needs_review(complete, flags),
        certainty: None,
    }
}

/// Puts the flags of confidence before the others.
pub(crate) fn raise_confidence_flags(
    flags: &mut Vec<QualityFlag>,
    confidence: f64,
    level_confidence: f64,
    rules: &ScoringRules,
) {
    if level_confidence < rules.flag_below_confidence {
        flags.insert(0, QualityFlag::LevelNamingUncertain);
    }
    if confidence < rules.flag_below_confidence {
        flags.insert(0, QualityFlag::LowConfidence);
    }
}

/// Whether a person should look: not all segments were assessed, or a flag asks for eyes.
pub(crate) fn needs_review(complete: bool, flags: &[QualityFlag]) -> bool {
    let needs_eyes = |flag: &QualityFlag| {
        matches!(
            flag,
            QualityFlag::LowConfidence
                | QualityFlag::LevelNamingUncertain
                | QualityFlag::ImplantSuspected
                | QualityFlag::CategoryUncertain
                | QualityFlag::UnusualShape
        )
    };
    !complete || flags.iter().any(needs_eyes)
}

#[cfg(test)]
#[path = "quality_tests.rs"]
mod tests;

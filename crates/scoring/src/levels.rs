//! Which vertebra is which, whether L1-L4 were found, and how sure their names are.

use crate::error::{Error, ErrorKind, Result};
use crate::heatmaps::{Cell, HEATMAP_HEIGHT, HEATMAP_WIDTH, Heatmaps, Peak, RowMaxima, channels, corners, fit_peak};
use crate::rules::ScoringRules;
use crate::shape::{AortaEstimate, ShapeModel};
use domain::reading::LocatedCorner;
use domain::{Affine, Corner, ExcludeReason, ImagePx, Landmark, Level, StagePx, Vertebra};

/// Peaks of one heatmap that are weighed against each other.
const CANDIDATES: usize = 3;
/// Cells around a peak that belong to it.
const PEAK_RADIUS_CELLS: f64 = 5.0;
/// Heights below this are background.
const HEIGHT_FLOOR: f64 = 0.02;
/// Spread of the step from one vertebra to the next over its median (science.md, section 5: .86 / 1.12 / 1.41).
const STEP_SPREAD: f64 = 0.25;
/// An odd step costs no more than this, natural logarithm of a likelihood.
const STEP_COST_MAX: f64 = 4.0;
/// A corner this many standard errors off what the other corners and the shape model let expect is dropped ..
const OUTLIER_DEVIATION: f64 = 5.0;
/// .. up to this many.
const OUTLIERS_MAX: usize = 4;
/// Corners of a level that must be known for its segments to be graded.
const CORNERS_PER_LEVEL: usize = 3;
/// How far the names can be trusted without the sacrum, and without both sacrum and T12: the counting has one end, or none.
const WITHOUT_SACRUM: f64 = 0.95;
const WITHOUT_EITHER_END: f64 = 0.85;
/// Heights of neighbouring vertebrae may differ by this factor: a crushed vertebra, not another structure.
const HEIGHT_RATIO_MAX: f64 = 3.0;

/// Bodies of L1-L4 of which all four corners must be seen, and how many of those may look like none.
const BODIES_MIN: usize = 3;
const BODIES_WRONG_MAX: usize = 1;
/// Least angle at a corner of a vertebral body. On simulated spines they are 80 to 100 degrees, on radiographs of real ones 72 to 111; a
/// front crushed to a third takes some 25 more.
const BODY_ANGLE_MIN_DEG: f64 = 55.0;

/// The `locate` network's answer for one image.
#[derive(Debug, Clone)]
pub struct LocateOutput<'a> {
    pub heatmaps: Heatmaps<'a>,
    /// Probability of a lateral lumbar spine, a frontal spine, anything else.
    pub view: &'a [f32],
    pub to_stage: Affine<ImagePx, StagePx>,
    /// Height of a pixel over its width with which the network's input was prepared.
    pub aspect: f64,
}

/// A lumbar spine with names.
#[derive(Debug, Clone, PartialEq)]
pub struct Spine {
    /// Corners with a heatmap peak of at least half the least confidence, in the order of channels; outliers left out.
    pub corners: Vec<LocatedCorner>,
    pub estimate: AortaEstimate,
    /// Levels of which fewer than three corners are known; their segments cannot be graded.
    pub uncertain: [bool; 4],
    /// Mean heatmap peak of the corners of L1-L4, 0..1.
    pub confidence: f64,
    /// Confidence that the levels carry their right names, 0..1.
    pub level_confidence: f64,
}

/// Names the vertebrae of an image, or tells why it cannot be scored.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] for outputs of a wrong size or with values that are not finite.
pub fn name_levels(
    output: &LocateOutput,
    model: &ShapeModel,
    rules: &ScoringRules,
) -> Result<std::result::Result<Spine, ExcludeReason>> {
    if let Some(reason) = unsuitable_view(output.view)? {
        return Ok(Err(reason));
    }
    let (peaks, agreement) = match &output.heatmaps {
        Heatmaps::Fractions(cells) => named_peaks(cells, rules.min_confidence)?,
        Heatmaps::Steps(cells) => named_peaks(cells, rules.min_confidence)?,
    };
    let corners = corners(&peaks, &output.to_stage)?;

    let found = |vertebra: Vertebra| mean_confidence(&corners, vertebra) >= rules.min_confidence;
    match Level::ALL.iter().filter(|level| found(level.vertebra())).count() {
        0 | 1 => return Ok(Err(ExcludeReason::SpineNotFound)),
        2 => return Ok(Err(ExcludeReason::LevelsIncomplete)),
        _ => {}
    }
    let mut level_confidence = agreement;
    if !found(Vertebra::S1) {
        level_confidence *= if found(Vertebra::T12) { WITHOUT_SACRUM } else { WITHOUT_EITHER_END };
    }
    let corners: Vec<LocatedCorner> =
        corners.into_iter().filter(|c| c.confidence >= rules.min_confidence / 2.0).collect();
    let Some((corners, estimate)) = fit_without_outliers(corners, output.aspect, model) else {
        return Ok(Err(ExcludeReason::SpineNotFound));
    };
    if !plausible(&estimate) || !are_vertebrae(&corners, output.aspect) {
        return Ok(Err(ExcludeReason::SpineNotFound));
    }
    // Rows are the coarser ones where pixels are taller than wide.
    if estimate.vertebral_height_px / estimate.aspect.max(1.0) < rules.min_vertebral_height_px {
        return Ok(Err(ExcludeReason::ResolutionTooLow));
    }
    let of_level = |level: Level| corners.iter().filter(move |c| c.landmark.vertebra == level.vertebra());
    let confidence = Level::ALL.into_iter().flat_map(of_level).map(|c| c.confidence).sum::<f64>() / 16.0;
    let uncertain = Level::ALL.map(|level| of_level(level).count() < CORNERS_PER_LEVEL);
    Ok(Ok(Spine { confidence, uncertain, level_confidence, corners, estimate }))
}

/// The reason of exclusion that the view gives, if any.
pub(crate) fn unsuitable_view(view: &[f32]) -> Result<Option<ExcludeReason>> {
    let [lateral, frontal, other] = view else {
        let message = format!("view has {} values, expected 3", view.len());
        return Err(Error::new(ErrorKind::NetworkOutput, message));
    };
    if !view.iter().all(|p| p.is_finite() && (-1e-3..=1.001).contains(p)) {
        return Err(Error::new(ErrorKind::NetworkOutput, "view holds a value that is no probability"));
    }
    Ok(if lateral >= frontal && lateral >= other {
        None
    } else if frontal >= other {
        Some(ExcludeReason::WrongView)
    } else {
        Some(ExcludeReason::SpineNotFound)
    })
}

fn mean_confidence(corners: &[LocatedCorner], vertebra: Vertebra) -> f64 {
    let own: Vec<f64> = corners.iter().filter(|c| c.landmark.vertebra == vertebra).map(|c| c.confidence).collect();
    own.iter().sum::<f64>() / own.len().max(1) as f64
}

/// One peak per channel, and how far the channels agree on the names, 0..1.
fn named_peaks<C: Cell>(heatmaps: &[C], min_confidence: f64) -> Result<(Vec<Peak>, f64)> {
    let maps: Vec<&[C]> = channels(heatmaps)?.collect();
    let peaks = choose_peaks(&maps);
    let agreement = agreement(&maps, &peaks, min_confidence);
    Ok((peaks, agreement))
}

fn separation(a: &Peak, b: &Peak) -> f64 {
    (a.column - b.column).hypot(a.row - b.row)
}

/// The highest peaks of a heatmap that do not overlap; at least one.
fn candidates<C: Cell>(map: &[C]) -> Vec<Peak> {
    let mut rest = map.to_vec();
    let mut maxima = RowMaxima::of(map);
    let mut peaks: Vec<Peak> = Vec::with_capacity(CANDIDATES);
    for _ in 0..CANDIDATES {
        let cell = maxima.brightest(&rest);
        if !peaks.is_empty() && rest[cell].height() < HEIGHT_FLOOR {
            break;
        }
        let (row, column) = ((cell / HEATMAP_WIDTH) as isize, (cell % HEATMAP_WIDTH) as isize);
        peaks.push(fit_peak(map, cell));
        let reach = PEAK_RADIUS_CELLS as isize;
        let rows = (row - reach).max(0) as usize..(row + reach + 1).min(HEATMAP_HEIGHT as isize) as usize;
        let columns = (column - reach).max(0) as usize..(column + reach + 1).min(HEATMAP_WIDTH as isize) as usize;
        for r in rows.clone() {
            rest[r * HEATMAP_WIDTH..][columns.clone()].fill(C::NOTHING);
        }
        maxima.update(&rest, rows);
    }
    peaks
}

/// One peak per channel.
///
/// The largest one, unless the chain of vertebrae speaks against it: when a heatmap has two peaks one vertebra apart, some
/// channels may take the one and some the other, and two names meet in one place. For each kind of corner the chain from head to
/// foot is chosen that maximises the sum of ln(height) less the costs of steps that are too short or too long (Viterbi).
fn choose_peaks<C: Cell>(maps: &[&[C]]) -> Vec<Peak> {
    let all: Vec<Vec<Peak>> = maps.iter().map(|map| candidates(map)).collect();
    let mut chosen: Vec<Peak> = all.iter().map(|peaks| peaks[0]).collect();
    let Some(step) = median_step(&chosen) else { return chosen };
    let cost = |from: &Peak, to: &Peak| {
        let odd = ((separation(from, to) / step - 1.0) / STEP_SPREAD).powi(2) / 2.0;
        // A step back to the head is never right.
        let back = (to.row - from.row) < -0.2 * step;
        // Between places where nothing was seen, distances mean nothing.
        let seen = from.height.min(to.height).clamp(0.0, 1.0);
        seen.sqrt() * if back { STEP_COST_MAX } else { odd.min(STEP_COST_MAX) }
    };
    for kind in 0..4 {
        let chain: Vec<usize> = (kind..Landmark::COUNT).step_by(4).collect();
        // best[i] = (score of the best chain that ends in candidate i, its candidate before)
        let mut best: Vec<Vec<(f64, usize)>> = Vec::with_capacity(chain.len());
        for (place, &channel) in chain.iter().enumerate() {
            let scores = all[channel].iter().map(|peak| {
                let own = peak.height.max(HEIGHT_FLOOR).ln();
                let Some(before) = place.checked_sub(1) else { return (own, 0) };
                let ways = all[chain[before]].iter().zip(&best[before]).enumerate();
                let (score, from) = ways
                    .map(|(i, (previous, (score, _)))| (score - cost(previous, peak), i))
                    .fold((f64::NEG_INFINITY, 0), |a, b| if b.0 > a.0 { b } else { a });
                (own + score, from)
            });
            best.push(scores.collect());
        }
        let last = &best[chain.len() - 1];
        let mut at = (0..last.len()).fold(0, |a, b| if last[b].0 > last[a].0 { b } else { a });
        for (place, &channel) in chain.iter().enumerate().rev() {
            chosen[channel] = all[channel][at];
            at = best[place][at].1;
        }
    }
    chosen
}

/// Median distance of the same corner of neighbouring vertebrae, cells; `None` when nothing was seen.
fn median_step(peaks: &[Peak]) -> Option<f64> {
    let mut steps: Vec<f64> = (4..Landmark::COUNT)
        .filter(|&c| peaks[c].height.min(peaks[c - 4].height) >= 0.2)
        .map(|c| separation(&peaks[c], &peaks[c - 4]))
        .filter(|step| *step > PEAK_RADIUS_CELLS / 2.0)
        .collect();
    steps.sort_by(f64::total_cmp);
    (!steps.is_empty()).then(|| steps[steps.len() / 2])
}

/// How far the channels agree on the names, 0..1: what they hold at their own place, of that and what they hold one vertebra
/// higher or lower.
fn agreement<C: Cell>(maps: &[&[C]], peaks: &[Peak], min_confidence: f64) -> f64 {
    let value = |map: &[C], at: &Peak| {
        let (row, column) = (at.row.round().max(0.0) as usize, at.column.round().max(0.0) as usize);
        let rows = row.saturating_sub(1)..(row + 2).min(HEATMAP_HEIGHT);
        let cells = rows.flat_map(|r| (column.saturating_sub(1)..(column + 2).min(HEATMAP_WIDTH)).map(move |c| (r, c)));
        cells.map(|(r, c)| map[r * HEATMAP_WIDTH + c].height()).fold(0.0, f64::max)
    };
    // Own name, and the name of the neighbour to the head and to the foot.
    let mut held = [0.0; 3];
    for (channel, map) in maps.iter().enumerate() {
        if peaks[channel].height < min_confidence / 2.0 {
            continue;
        }
        held[0] += value(map, &peaks[channel]);
        for (shift, neighbour) in [(1, channel.checked_sub(4)), (2, Some(channel + 4))] {
            if let Some(other) = neighbour.and_then(|n| peaks.get(n)).filter(|p| p.height >= min_confidence / 2.0) {
                held[shift] += value(map, other);
            }
        }
    }
    let total: f64 = held.iter().sum();
    if total > 0.0 { held[0] / total } else { 0.0 }
}

/// Fits the shape model, dropping the worst corner while one contradicts all others. `None` when too few are left.
fn fit_without_outliers(
    mut corners: Vec<LocatedCorner>,
    aspect: f64,
    model: &ShapeModel,
) -> Option<(Vec<LocatedCorner>, AortaEstimate)> {
    for _ in 0..OUTLIERS_MAX {
        let estimate = model.estimate(&corners, aspect).ok()?;
        let worst = (0..corners.len())
            .filter_map(|i| estimate.corner_deviation[i].map(|d| (i, d)))
            .fold((0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
        if worst.1 < OUTLIER_DEVIATION {
            return Some((corners, estimate));
        }
        corners.remove(worst.0);
    }
    let estimate = model.estimate(&corners, aspect).ok()?;
    Some((corners, estimate))
}

/// Whether the corners as they were seen, not as the shape model makes them, are those of vertebral bodies: of L1-L4 at least three have
/// all four, and of those at most one is no quadrilateral with believable angles. In a picture of something else the network finds corners
/// too, and each may be near enough to what the others let expect, while together they are no bodies.
fn are_vertebrae(corners: &[LocatedCorner], aspect: f64) -> bool {
    let at = |vertebra: Vertebra, corner: Corner| {
        let found = corners.iter().find(|c| c.landmark == Landmark { vertebra, corner })?;
        Some((found.at.x, found.at.y * aspect))
    };
    let round =
        [Corner::AnteriorSuperior, Corner::PosteriorSuperior, Corner::PosteriorInferior, Corner::AnteriorInferior];
    let bodies = Level::ALL.iter().filter_map(|level| {
        let [a, b, c, d] = round.map(|corner| at(level.vertebra(), corner));
        Some(is_body(&[a?, b?, c?, d?]))
    });
    let bodies: Vec<bool> = bodies.collect();
    bodies.len() >= BODIES_MIN && bodies.iter().filter(|body| !**body).count() <= BODIES_WRONG_MAX
}

/// Whether four points, in their order around, turn the same way at each by an angle that a vertebral body may have.
fn is_body(points: &[(f64, f64); 4]) -> bool {
    let side = |from: (f64, f64), to: (f64, f64)| (to.0 - from.0, to.1 - from.1);
    let angle = |i: usize| {
        let (before, after) = (side(points[i], points[(i + 3) % 4]), side(points[i], points[(i + 1) % 4]));
        let cross = after.0 * before.1 - after.1 * before.0;
        let dot = after.0 * before.0 + after.1 * before.1;
        cross.atan2(dot).to_degrees()
    };
    let angles = [0, 1, 2, 3].map(angle);
    let believable = |size: f64| (BODY_ANGLE_MIN_DEG..=180.0 - BODY_ANGLE_MIN_DEG).contains(&size);
    angles.iter().all(|a| believable(*a)) || angles.iter().all(|a| believable(-a))
}

/// Whether the vertebrae run from head to foot one after the other, look to the same side and are of similar height.
fn plausible(estimate: &AortaEstimate) -> bool {
    let points = &estimate.vertebrae;
    let square = |i: usize| (points[i].x, points[i].y * estimate.aspect);
    let between = |a: usize, b: usize| (square(b).0 - square(a).0, square(b).1 - square(a).1);
    let dot = |a: (f64, f64), b: (f64, f64)| a.0 * b.0 + a.1 * b.1;
    let first = |level: Level| 2 + 4 * level.index();
    let back: Vec<(f64, f64)> = Level::ALL.iter().map(|l| between(first(*l), first(*l) + 1)).collect();
    let heights: Vec<f64> = Level::ALL
        .iter()
        .map(|l| {
            let (a, p) = (between(first(*l), first(*l) + 2), between(first(*l) + 1, first(*l) + 3));
            (a.0.hypot(a.1) + p.0.hypot(p.1)) / 2.0
        })
        .collect();
    let (least, most) = heights.iter().fold((f64::MAX, 0.0f64), |(l, m), h| (l.min(*h), m.max(*h)));
    let one_side = back.windows(2).all(|pair| dot(pair[0], pair[1]) > 0.0);
    // Along the spine, each upper end plate lies below the lower one of the vertebra above.
    let down = between(0, 18);
    let length = down.0.hypot(down.1);
    let along = |i: usize| dot(between(0, i), down) / length;
    let ordered = (0..VERTEBRA_PAIRS).all(|pair| {
        // In the order of a shape, the lower corners of one vertebra come just before the upper ones of the next.
        (0..2).all(|side| along(4 * pair + 2 + side) > along(4 * pair + side) - 0.1 * most)
    });
    one_side && ordered && length > 0.0 && most <= HEIGHT_RATIO_MAX * least
}

/// T12-L1, L1-L2, .. L4-L5.
const VERTEBRA_PAIRS: usize = 5;

#[cfg(test)]
#[path = "levels_tests.rs"]
pub(crate) mod tests;

//! The two steps of a reading around the `segment` network: find the region, then score it.

use crate::calcium::{RowLengths, find_calcium};
use crate::contour::outline;
use crate::error::{Error, ErrorKind, Result};
use crate::levels::{LocateOutput, Spine, name_levels};
use crate::quality::{Picture, image_flags, summarise};
use crate::region::{ROWS_PER_LEVEL, Region, RegionImage};
use crate::rules::ScoringRules;
use crate::segments::{SegmentFrame, read_segments};
use crate::shape::{DISC_LINES, ShapeModel};
use domain::reading::{MARKED_SCHEMA_VERSION, Plaque, WallLine};
use domain::{Digest, ExcludeReason, Fingerprint, ImageId, ImagePx, Point, Reading, Wall};

/// Most plaques of a reading; of more, the largest are kept.
pub const MAX_PLAQUES: usize = 256;

/// A spine that can be scored, and where its aorta is.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    pub spine: Spine,
    pub region: Region,
}

/// What localisation came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Localisation {
    Found(Box<Located>),
    /// The image cannot be scored: an outcome with a reason (invariant 6).
    Excluded(ExcludeReason),
}

/// By so much (mean heatmap peak of L1-L4, 0..1) a spine must be seen more clearly at another look to be preferred to the first, which
/// takes the picture as it is.
const FIRST_LOOK_ADVANTAGE: f64 = 0.02;
/// Two readings of one picture name the levels alike when their vertebrae L1-L4 lie this near on average, in heights of L1-L4.
const SAME_NAMES_HEIGHTS: f64 = 0.5;

/// [`find_region`] at several looks ([`crate::locate::looks_at`]).
///
/// Looks that give the same vertebrae the same names stand together, and the names that are seen most clearly in sum count:
/// one look may be sure and wrong. Of their looks the clearest counts, the first before others. How much of what was seen speaks for
/// other names lowers the confidence in the naming. An image that shows no spine at any look is excluded for the reason
/// that the first one gives.
///
/// # Errors
/// As [`find_region`]; [`ErrorKind::NetworkOutput`] without any output.
pub fn find_region_among(
    outputs: &[LocateOutput],
    picture: &Picture,
    model: &ShapeModel,
    rules: &ScoringRules,
) -> Result<Localisation> {
    let mut looks =
        outputs.iter().map(|output| find_region(output, picture, model, rules)).collect::<Result<Vec<_>>>()?;
    let clear = |look: &Localisation| match look {
        Localisation::Found(located) => located.spine.confidence,
        Localisation::Excluded(_) => 0.0,
    };
    // For each look what speaks for its names.
    let support: Vec<f64> =
        looks.iter().map(|look| looks.iter().filter(|other| named_alike(look, other)).map(clear).sum()).collect();
    // The first of the largest; sums of the same terms in another order differ in their last bits.
    let first_of_most = |places: &[usize], value: &dyn Fn(usize) -> f64| {
        places.iter().copied().reduce(|best, place| if value(place) > value(best) + 1e-9 { place } else { best })
    };
    let all: Vec<usize> = (0..looks.len()).collect();
    let Some(named) = first_of_most(&all, &|place| support[place]) else {
        return Err(Error::new(ErrorKind::NetworkOutput, "the network was not asked"));
    };
    let alike: Vec<usize> = all.into_iter().filter(|place| named_alike(&looks[*place], &looks[named])).collect();
    let clearest = |place: usize| clear(&looks[place]) + if place == 0 { FIRST_LOOK_ADVANTAGE } else { 0.0 };
    let best = first_of_most(&alike, &clearest).unwrap_or(named);
    let seen: f64 = looks.iter().map(clear).sum();
    let share = if seen > 0.0 { support[named] / seen } else { 1.0 };
    let mut chosen = looks.swap_remove(best);
    if let Localisation::Found(located) = &mut chosen {
        located.spine.level_confidence *= share;
    }
    Ok(chosen)
}

/// Whether two looks at one picture found a spine and call the same vertebrae L1 to L4.
fn named_alike(one: &Localisation, other: &Localisation) -> bool {
    let (Localisation::Found(one), Localisation::Found(other)) = (one, other) else { return false };
    let (one, other) = (&one.spine.estimate, &other.spine.estimate);
    // Both in rows of the picture, whose height does not depend on the aspect; levels follow each other from head to foot.
    let lumbar = 2..18;
    let between: f64 = lumbar.clone().map(|i| (one.vertebrae[i].y - other.vertebrae[i].y).abs()).sum();
    let height = one.vertebral_height_px / one.aspect;
    between / lumbar.len() as f64 <= SAME_NAMES_HEIGHTS * height
}

/// From the `locate` network's output to the region that the `segment` network is given (by [`Region::warp`]).
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] for outputs of a wrong size or with values that are not finite.
pub fn find_region(
    output: &LocateOutput,
    picture: &Picture,
    model: &ShapeModel,
    rules: &ScoringRules,
) -> Result<Localisation> {
    let spine = match name_levels(output, model, rules)? {
        Ok(spine) => spine,
        Err(reason) => return Ok(Localisation::Excluded(reason)),
    };
    // Lines that cross within the region are no spine.
    let region = match Region::new(&spine.estimate, rules.margin_sd) {
        Ok(region) => region,
        Err(Error { kind: ErrorKind::Geometry, .. }) => {
            return Ok(Localisation::Excluded(ExcludeReason::SpineNotFound));
        }
        Err(error) => return Err(error),
    };
    let inside = |line: usize| {
        let at = region.to_image(Point::new(region.midline_column(), (line * ROWS_PER_LEVEL) as f64 - 0.5));
        let within = |v: f64, size: u32| (-0.5..f64::from(size) - 0.5).contains(&v);
        within(at.x, picture.width_px) && within(at.y, picture.height_px)
    };
    // An aorta of which less than one level is in the picture gives no evidence for any segment.
    if (0..DISC_LINES).filter(|line| inside(*line)).count() < 2 {
        return Ok(Localisation::Excluded(ExcludeReason::LevelsIncomplete));
    }
    Ok(Localisation::Found(Box::new(Located { spine, region })))
}

/// What names a reading; enters it unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingIdentity {
    pub image_id: ImageId,
    pub fingerprint: Fingerprint,
    /// `name version`.
    pub pipeline: String,
    /// Digests of the models, by stage name.
    pub models: Vec<(String, Digest)>,
}

/// The evidence of one image.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub located: &'a Located,
    /// What [`Region::warp`] gave.
    pub image: &'a RegionImage,
    /// The `segment` network's output, 2 x 256 x 128 (anterior, posterior; rows; columns), 0..1; or 1 x 256 x 128 of a method that
    /// does not know walls apart.
    pub probabilities: &'a [f32],
    pub picture: &'a Picture,
}

/// Scores the region: midline, plaques, segment grades, totals, flags.
///
/// Positions are rounded to .001 pixel, lengths to .001 mm, shares and confidences to four decimals, so that the last bits of different
/// machines do not show.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] for probabilities of a wrong size or that are none.
pub fn score(evidence: &Evidence, identity: ReadingIdentity, rules: &ScoringRules) -> Result<Reading> {
    let Evidence { located, image, probabilities, picture } = *evidence;
    let Located { spine, region } = located;
    let lengths = RowLengths::of(region, &picture.spacing);
    let calcium = find_calcium(region, &image.state, probabilities, &lengths, rules)?;
    let frame = SegmentFrame {
        region,
        estimate: &spine.estimate,
        state: &image.state,
        lengths: &lengths,
        uncertain: spine.uncertain,
    };
    let segments = read_segments(&frame, &calcium, rules);
    let mut flags = image_flags(spine, &image.state, picture);
    let summary = summarise(spine, &segments, &mut flags, rules);

    let mut plaques: Vec<(usize, Plaque)> = Vec::new();
    for wall in Wall::ALL {
        for deposit in &calcium.walls[wall.index()].deposits {
            let plaque = Plaque {
                wall,
                contour: outline(&deposit.pixels).into_iter().map(|p| region.to_image(p)).collect(),
                length_mm: lengths.true_mm(wall, deposit.first_row..=deposit.last_row),
                confidence: deposit.confidence,
            };
            plaques.push((deposit.pixels.len(), plaque));
        }
    }
    if plaques.len() > MAX_PLAQUES {
        plaques.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        plaques.truncate(MAX_PLAQUES);
    }

    let reading = Reading {
        schema_version: MARKED_SCHEMA_VERSION,
        image_id: identity.image_id,
        fingerprint: identity.fingerprint,
        pipeline: identity.pipeline,
        rule: rules.rule,
        extent: rules.extent,
        width_px: picture.width_px,
        height_px: picture.height_px,
        pixel_aspect: Some(spine.estimate.aspect),
        anterior_right: spine.estimate.anterior_right,
        corners: spine.corners.clone(),
        walls: wall_lines(located),
        midline: region.line(calcium.midline.column),
        plaques: plaques.into_iter().map(|(_, plaque)| plaque).collect(),
        segments: segments.to_vec(),
        flags,
        summary,
        models: identity.models,
    };
    Ok(rounded(reading))
}

/// The walls where the shape model expects them.
pub(crate) fn wall_lines(located: &Located) -> Vec<WallLine> {
    let Located { spine, region } = located;
    let wall_line = |wall: Wall| WallLine {
        wall,
        points: region.line(region.wall_column(wall)),
        sd_px: match wall {
            Wall::Anterior => spine.estimate.anterior_sd_px.to_vec(),
            Wall::Posterior => spine.estimate.posterior_sd_px.to_vec(),
        },
    };
    Wall::ALL.map(wall_line).to_vec()
}

fn round_to(value: &mut f64, decimals: f64) {
    let rounded = (*value * decimals).round() / decimals;
    // No negative zero: it would print.
    *value = if rounded == 0.0 { 0.0 } else { rounded };
}

pub(crate) fn rounded(mut reading: Reading) -> Reading {
    let point = |p: &mut Point<ImagePx>| {
        round_to(&mut p.x, 1e3);
        round_to(&mut p.y, 1e3);
    };
    if let Some(aspect) = &mut reading.pixel_aspect {
        round_to(aspect, 1e6);
    }
    for corner in &mut reading.corners {
        point(&mut corner.at);
        round_to(&mut corner.sd_px, 1e3);
        round_to(&mut corner.confidence, 1e4);
    }
    for line in &mut reading.walls {
        line.points.iter_mut().for_each(point);
        line.sd_px.iter_mut().for_each(|sd| round_to(sd, 1e3));
    }
    reading.midline.iter_mut().for_each(point);
    for plaque in &mut reading.plaques {
        plaque.contour.iter_mut().for_each(point);
        plaque.length_mm.iter_mut().for_each(|mm| round_to(mm, 1e3));
        round_to(&mut plaque.confidence, 1e4);
    }
    for segment in &mut reading.segments {
        segment.length_mm.iter_mut().for_each(|mm| round_to(mm, 1e3));
        segment.length_pct.iter_mut().for_each(|pct| round_to(pct, 1e4));
        round_to(&mut segment.confidence, 1e4);
        segment.exceeds.iter_mut().flatten().for_each(|p| round_to(p, 1e4));
        if let Some(extents) = &mut segment.extents {
            extents.shares.iter_mut().for_each(|share| round_to(share, 1e4));
            round_to(&mut extents.peak, 1e4);
        }
    }
    let summary = &mut reading.summary;
    summary.length_mm.iter_mut().for_each(|mm| round_to(mm, 1e3));
    summary.length_pct.iter_mut().for_each(|pct| round_to(pct, 1e4));
    round_to(&mut summary.confidence, 1e4);
    round_to(&mut summary.level_confidence, 1e4);
    reading
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;

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
use domain::reading::{Plaque, READING_SCHEMA_VERSION, WallLine};
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

/// By so much (mean heatmap peak of L1-L4, 0..1) a spine must be seen more clearly under another aspect to be preferred to a
/// square one.
const ASPECT_ADVANTAGE: f64 = 0.02;

/// [`find_region`] under several aspects of the pixels, of which the first counts unless the spine is seen more clearly under
/// another. An image that shows no spine under any of them is excluded for the reason that the first one gives.
///
/// # Errors
/// As [`find_region`]; [`ErrorKind::NetworkOutput`] without any output.
pub fn find_region_among(
    outputs: &[LocateOutput],
    picture: &Picture,
    model: &ShapeModel,
    rules: &ScoringRules,
) -> Result<Localisation> {
    let mut found =
        outputs.iter().map(|output| find_region(output, picture, model, rules)).collect::<Result<Vec<_>>>()?;
    if found.is_empty() {
        return Err(Error::new(ErrorKind::NetworkOutput, "the network was not asked"));
    }
    let clarity = |localisation: &Localisation, place: usize| match localisation {
        Localisation::Found(located) => located.spine.confidence + if place == 0 { ASPECT_ADVANTAGE } else { 0.0 },
        Localisation::Excluded(_) => -1.0,
    };
    let mut best = 0;
    for place in 1..found.len() {
        if clarity(&found[place], place) > clarity(&found[best], best) {
            best = place;
        }
    }
    Ok(found.swap_remove(best))
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
    /// The `segment` network's output, 2 x 256 x 128 (anterior, posterior; rows; columns), 0..1.
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
    let Evidence { located: Located { spine, region }, image, probabilities, picture } = *evidence;
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

    let wall_line = |wall: Wall| WallLine {
        wall,
        points: region.line(region.wall_column(wall)),
        sd_px: match wall {
            Wall::Anterior => spine.estimate.anterior_sd_px.to_vec(),
            Wall::Posterior => spine.estimate.posterior_sd_px.to_vec(),
        },
    };
    let reading = Reading {
        schema_version: READING_SCHEMA_VERSION,
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
        walls: Wall::ALL.map(wall_line).to_vec(),
        midline: region.line(calcium.midline.column),
        plaques: plaques.into_iter().map(|(_, plaque)| plaque).collect(),
        segments: segments.to_vec(),
        flags,
        summary,
        models: identity.models,
    };
    Ok(rounded(reading))
}

fn round_to(value: &mut f64, decimals: f64) {
    let rounded = (*value * decimals).round() / decimals;
    // No negative zero: it would print.
    *value = if rounded == 0.0 { 0.0 } else { rounded };
}

fn rounded(mut reading: Reading) -> Reading {
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

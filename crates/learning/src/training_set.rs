//! Training tensors for the networks, out of the simulator.
//!
//! Sample `i` depends on the seed and on `i` alone. Several samples come from one simulated picture (`variants`), because
//! drawing a picture costs more than changing it. What the networks see goes through the same code as in scoring:
//! [`scoring::locate::prepare`] and [`scoring::region::Region`].

use crate::augment;
use crate::draw::Draw;
use crate::error::{Error, Result};
use crate::grade_set::{self, GradeSample, image_sample, located_sample};
use crate::picture::Picture;
use crate::shards::{Part, ShardWriter};
use domain::reading::LocatedCorner;
use domain::{ImagePx, Landmark, Point};
use phantom::{Cohort, Simulated, View};
use rayon::prelude::*;
use scoring::GradeInput;
use scoring::locate::{STAGE_HEIGHT, STAGE_WIDTH, prepare};
use scoring::region::{REGION_HEIGHT, REGION_WIDTH, Region};
use scoring::shape::{AortaEstimate, ShapeModel, VERTEBRAL_POINTS, shape_landmark};
use std::path::Path;

/// Samples of a shard; the last one may hold fewer.
pub const SHARD_SAMPLES: usize = 512;
/// Most samples of one set.
pub const SAMPLES_MAX: usize = 1_000_000;
/// Most samples out of one picture.
pub const VARIANTS_MAX: usize = 64;

/// Rows of the pictures that `locate` samples are made of: a little more than its input has.
const LOCATE_ROWS: u32 = 720;
/// Rows of the pictures that `segment` samples are made of, fewest and most; between them every scanner's pixel size.
const SEGMENT_ROWS: (f64, f64) = (800.0, 1500.0);
/// Error of a located corner, shares of the vertebral height: the seed's 5 px on vertebrae of about 60 px.
const CORNER_NOISE_MAX: f64 = 0.085;
/// Common error of all corners: shift (shares of the vertebral height), growth, rotation (degrees); largest.
const POSE_NOISE: (f64, f64, f64) = (0.12, 0.04, 3.0);
/// Share of `segment` samples whose pixel aspect is mistaken, and the range of the mistake.
const UNKNOWN_ASPECT_SHARE: f64 = 0.25;
const UNKNOWN_ASPECT: (f64, f64) = (0.75, 1.33);
/// Standard errors that the region is widened by, as in the pipeline definition.
pub(crate) const MARGIN_SD: f64 = 3.0;
/// Tries at drawing corner errors that span a region, each with smaller errors; the last one has none.
const REGION_TRIES: usize = 6;

/// Which network to make samples for.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    /// `images` u8 [n, 512, 256]; `corners` f32 [n, 26, 3] (x, y in stage pixels, 1 where in the picture); `view` u8 [n]: 0 lateral
    /// lumbar spine, 1 frontal spine, 2 anything else.
    Locate,
    /// `regions` u8 [n, 256, 128]; `valid` u8 [n, 256, 128] of 0 and 1; `labels` u8 [n, 256, 128] of the label bits of the simulator (bit 0
    /// anterior plaque that can be seen, bit 1 posterior, ..).
    Segment(&'a ShapeModel),
    /// `images` u8 [n, 512, 256]; `grades` u8 [n, 8]: visible truth, 0..=3, in the order of [`domain::Segment::all`]; `assessable` u8 [n, 8]:
    /// 1 where the grade is one; `view` u8 [n] as in `Locate`. Pictures of other views have no assessable segment.
    GradeImage,
    /// For a network that is shown what lies around located vertebrae: `regions` and `spines` u8 [n, 256, 128], those asked for; `grades`,
    /// `assessable` and `view` as in `GradeImage`.
    GradeLocated(&'a ShapeModel, &'a [GradeInput]),
}

/// A set of samples to be made.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSet<'a> {
    pub cohort: &'a Cohort,
    pub task: Task<'a>,
    /// Of the changes to the pictures; the cohort has its own.
    pub seed: u64,
    pub count: usize,
    /// Samples out of one picture.
    pub variants: usize,
}

/// One sample of `locate`.
struct LocateSample {
    image: Vec<u8>,
    corners: [[f32; 3]; Landmark::COUNT],
    view: u8,
}

/// One sample of `segment`.
struct SegmentSample {
    region: Vec<u8>,
    valid: Vec<u8>,
    labels: Vec<u8>,
}

impl TrainingSet<'_> {
    /// Writes the set as shards `shard-00000.<part>.npy` into `out`, which is made if it does not exist; a shard is complete
    /// when its last part is there. `progress` is told the number of samples written after each shard.
    ///
    /// # Errors
    /// [`Error::Setting`] for counts out of range or more pictures than the cohort has, [`Error::Scoring`], [`Error::Io`], [`Error::Npy`].
    pub fn write(&self, out: &Path, mut progress: impl FnMut(usize)) -> Result<()> {
        self.check()?;
        let writer = ShardWriter::new(out)?;
        let per_shard = (SHARD_SAMPLES / self.variants).max(1) * self.variants;
        for (shard, start) in (0..self.count).step_by(per_shard).enumerate() {
            let end = (start + per_shard).min(self.count);
            let pictures: Vec<usize> = (start / self.variants..end.div_ceil(self.variants)).collect();
            match self.task {
                Task::Locate => {
                    let made: Vec<Vec<LocateSample>> = pictures.par_iter().map(|&p| self.locate_samples(p)).collect();
                    let samples: Vec<LocateSample> = made.into_iter().flatten().take(end - start).collect();
                    writer.write(shard, &locate_parts(&samples))?;
                }
                Task::Segment(model) => {
                    let made: Vec<Vec<SegmentSample>> =
                        pictures.par_iter().map(|&p| self.segment_samples(model, p)).collect::<Result<_>>()?;
                    let samples: Vec<SegmentSample> = made.into_iter().flatten().take(end - start).collect();
                    writer.write(shard, &segment_parts(&samples))?;
                }
                Task::GradeImage => {
                    let made: Vec<Vec<GradeSample>> = pictures.par_iter().map(|&p| self.image_samples(p)).collect();
                    let samples: Vec<GradeSample> = made.into_iter().flatten().take(end - start).collect();
                    writer.write(shard, &grade_set::parts(&[GradeInput::Image], &samples))?;
                }
                Task::GradeLocated(model, inputs) => {
                    let made: Vec<Vec<GradeSample>> = pictures
                        .par_iter()
                        .map(|&p| self.located_samples((model, inputs), p))
                        .collect::<Result<_>>()?;
                    let samples: Vec<GradeSample> = made.into_iter().flatten().take(end - start).collect();
                    writer.write(shard, &grade_set::parts(inputs, &samples))?;
                }
            }
            progress(end);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let refuse = |name, problem| Err(Error::Setting { name, problem });
        if !(1..=SAMPLES_MAX).contains(&self.count) {
            return refuse("count", format!("is {}, not within 1..={SAMPLES_MAX}", self.count));
        }
        if !(1..=VARIANTS_MAX).contains(&self.variants) {
            return refuse("variants", format!("is {}, not within 1..={VARIANTS_MAX}", self.variants));
        }
        let pictures = self.count.div_ceil(self.variants);
        if let Task::GradeLocated(_, inputs) = self.task
            && (inputs.is_empty() || !inputs.iter().all(|input| input.is_located()))
        {
            return refuse("inputs", "must be region, spine, or both; image has a set of its own".to_owned());
        }
        if pictures > self.cohort.len() {
            return refuse("count", format!("needs {pictures} pictures, the cohort has {}", self.cohort.len()));
        }
        Ok(())
    }

    fn locate_samples(&self, index: usize) -> Vec<LocateSample> {
        let simulated = self.cohort.simulate_scaled(index, LOCATE_ROWS);
        let picture = Picture::of(&simulated.raster);
        (0..self.variants)
            .map(|variant| {
                let mut draw = Draw::named("locate", &[self.seed, index as u64, variant as u64]);
                locate_sample(&simulated, &picture, &mut draw)
            })
            .collect()
    }

    fn segment_samples(&self, model: &ShapeModel, index: usize) -> Result<Vec<SegmentSample>> {
        let simulated = self.simulated_for_regions(index);
        (0..self.variants)
            .map(|variant| {
                let mut draw = Draw::named("segment", &[self.seed, index as u64, variant as u64]);
                segment_sample(&simulated, model, &mut draw)
            })
            .collect()
    }

    fn simulated_for_regions(&self, index: usize) -> Simulated {
        let mut draw = Draw::named("segment rows", &[self.seed, index as u64]);
        let rows = draw.ratio_between(SEGMENT_ROWS.0, SEGMENT_ROWS.1) as u32;
        self.cohort.simulate_scaled(index, rows)
    }

    fn image_samples(&self, index: usize) -> Vec<GradeSample> {
        let simulated = self.cohort.simulate_scaled(index, LOCATE_ROWS);
        let picture = Picture::of(&simulated.raster);
        (0..self.variants)
            .map(|variant| {
                let mut draw = Draw::named("grade image", &[self.seed, index as u64, variant as u64]);
                image_sample(&simulated, &picture, &mut draw)
            })
            .collect()
    }

    fn located_samples(&self, (model, inputs): (&ShapeModel, &[GradeInput]), index: usize) -> Result<Vec<GradeSample>> {
        let simulated = self.simulated_for_regions(index);
        (0..self.variants)
            .map(|variant| {
                let mut draw = Draw::named("grade", &[self.seed, index as u64, variant as u64]);
                located_sample(&simulated, model, inputs, &mut draw)
            })
            .collect()
    }
}

/// Class of the network's output `view`.
pub(crate) fn view_class(view: View) -> u8 {
    match view {
        View::LateralLumbar => 0,
        View::Frontal => 1,
        View::Chest | View::Cervical | View::Blank => 2,
    }
}

fn locate_sample(simulated: &Simulated, picture: &Picture, draw: &mut Draw) -> LocateSample {
    let truth = &simulated.truth;
    let keep: Vec<Point<ImagePx>> = (4..20).filter_map(|channel| truth.corners[channel]).collect();
    let variant = augment::view(picture, simulated.spacing.aspect_or_square(), &keep, draw);
    let raster = variant.picture.to_raster();
    let input = prepare(&raster, 1.0);
    let mut corners = [[0f32; 3]; Landmark::COUNT];
    for (corner, at) in corners.iter_mut().zip(&truth.corners) {
        let Some(at) = at else { continue };
        // Outside the original there is nothing to see either, even where the new frame is wider.
        let new = variant.from_original.apply(*at);
        if simulated.raster.contains(*at) && raster.contains(new) {
            let stage = input.to_stage.apply(new);
            *corner = [stage.x as f32, stage.y as f32, 1.0];
        }
    }
    LocateSample { image: input.pixels, corners, view: view_class(truth.view) }
}

/// Corners as `locate` might find them: the truth with errors of its own for each and errors in common.
fn located(simulated: &Simulated, aspect: f64, strength: f64, draw: &mut Draw) -> Vec<LocatedCorner> {
    let corners: Vec<(Landmark, Point<ImagePx>)> = (0..VERTEBRAL_POINTS)
        .filter_map(|index| {
            let landmark = shape_landmark(index);
            Some((landmark, simulated.truth.corners[landmark.channel()?]?))
        })
        .collect();
    let count = corners.len().max(1) as f64;
    let sum = corners.iter().fold((0.0, 0.0), |s, (_, p)| (s.0 + p.x, s.1 + p.y));
    let centre = (sum.0 / count, sum.1 / count);
    let height = vertebral_height_px(simulated, aspect);
    let noise = strength * draw.between(0.0, CORNER_NOISE_MAX);
    let (shift, growth, turn_deg) = POSE_NOISE;
    let mut most = |limit: f64| strength * limit * draw.between(-1.0, 1.0);
    let (dx, dy) = (most(shift) * height, most(shift) * height);
    let scale = 1.0 + most(growth);
    let (sin, cos) = most(turn_deg).to_radians().sin_cos();
    let sd_px = (noise * height).max(0.01 * height) / aspect.min(1.0);
    corners
        .into_iter()
        .map(|(landmark, p)| {
            let (x, y) = (p.x - centre.0, (p.y - centre.1) * aspect);
            let (x, y) = (scale * (cos * x - sin * y) + dx, scale * (sin * x + cos * y) + dy);
            let (ex, ey) = (noise * height * draw.normal(), noise * height * draw.normal());
            let at = Point::new(centre.0 + x + ex, centre.1 + (y + ey) / aspect);
            LocatedCorner { landmark, at, sd_px, confidence: 1.0 }
        })
        .collect()
}

/// Mean height of L1..L4 in pixel widths; 0 when there are none.
fn vertebral_height_px(simulated: &Simulated, aspect: f64) -> f64 {
    let heights: Vec<f64> = (1..5)
        .flat_map(|vertebra| [4 * vertebra, 4 * vertebra + 1])
        .filter_map(|upper| {
            let (a, b) = (simulated.truth.corners[upper]?, simulated.truth.corners[upper + 2]?);
            Some((a.x - b.x).hypot((a.y - b.y) * aspect))
        })
        .collect();
    crate::metrics::mean(&heights).unwrap_or(0.0)
}

/// Where the shape model puts the aorta from corners with errors, and the region around it.
pub(crate) fn placed(simulated: &Simulated, model: &ShapeModel, draw: &mut Draw) -> Result<(AortaEstimate, Region)> {
    let aspect = simulated.spacing.aspect_or_square();
    let mistake =
        if draw.chance(UNKNOWN_ASPECT_SHARE) { draw.ratio_between(UNKNOWN_ASPECT.0, UNKNOWN_ASPECT.1) } else { 1.0 };
    let mut tried = 0;
    loop {
        let strength = 1.0 - tried as f64 / (REGION_TRIES - 1) as f64;
        let corners = located(simulated, aspect, strength, draw);
        let believed = if tried + 1 < REGION_TRIES { aspect * mistake } else { aspect };
        let estimate = model.estimate(&corners, believed);
        match estimate.and_then(|aorta| Region::new(&aorta, MARGIN_SD).map(|region| (aorta, region))) {
            Ok(placed) => break Ok(placed),
            Err(error) if tried + 1 == REGION_TRIES => break Err(error.into()),
            Err(_) => tried += 1,
        }
    }
}

fn segment_sample(simulated: &Simulated, model: &ShapeModel, draw: &mut Draw) -> Result<SegmentSample> {
    let (_, region) = placed(simulated, model, draw)?;
    let (width, height) = (simulated.raster.width(), simulated.raster.height());
    let cut = region.warp(&simulated.raster);
    let mut labels = region.warp_labels(&simulated.truth.labels, width, height);
    let values = cut.pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let mut picture = Picture::new(REGION_WIDTH, REGION_HEIGHT, values);
    if let Some(hidden) = augment::region_greys(&mut picture, draw) {
        for y in hidden.y0..hidden.y1 {
            labels[y * REGION_WIDTH + hidden.x0..y * REGION_WIDTH + hidden.x1].fill(0);
        }
    }
    // Once more as scoring does: the greys of the valid pixels over the whole range.
    let region = stretch(&picture, &cut.valid);
    Ok(SegmentSample { region, valid: cut.valid.iter().map(|v| u8::from(*v)).collect(), labels })
}

/// 1 % .. 99 % of the valid pixels over 0..=255, 0 elsewhere: the normalisation of [`Region::warp`].
pub(crate) fn stretch(picture: &Picture, valid: &[bool]) -> Vec<u8> {
    let mut seen: Vec<f32> = picture.values.iter().zip(valid).filter_map(|(v, ok)| ok.then_some(*v)).collect();
    if seen.is_empty() {
        return vec![0; picture.values.len()];
    }
    let mut level = |share: f64| {
        let rank = (share * (seen.len() - 1) as f64).round() as usize;
        *seen.select_nth_unstable_by(rank, f32::total_cmp).1
    };
    let (black, white) = (level(0.01), level(0.99));
    let gain = if white > black { 255.0 / (white - black) } else { 0.0 };
    let grey = |(v, ok): (&f32, &bool)| if *ok { ((v - black) * gain + 0.5).clamp(0.0, 255.0) as u8 } else { 0 };
    picture.values.iter().zip(valid).map(grey).collect()
}

fn locate_parts(samples: &[LocateSample]) -> [Part; 3] {
    let n = samples.len();
    [
        Part::bytes("images", &[n, STAGE_HEIGHT, STAGE_WIDTH], samples.iter().map(|s| s.image.as_slice())),
        Part::floats("corners", &[n, Landmark::COUNT, 3], samples.iter().map(|s| s.corners.as_flattened())),
        Part::bytes("view", &[n], samples.iter().map(|s| std::slice::from_ref(&s.view))),
    ]
}

fn segment_parts(samples: &[SegmentSample]) -> [Part; 3] {
    let shape = [samples.len(), REGION_HEIGHT, REGION_WIDTH];
    [
        Part::bytes("regions", &shape, samples.iter().map(|s| s.region.as_slice())),
        Part::bytes("valid", &shape, samples.iter().map(|s| s.valid.as_slice())),
        Part::bytes("labels", &shape, samples.iter().map(|s| s.labels.as_slice())),
    ]
}

#[cfg(test)]
#[path = "training_set_tests.rs"]
mod tests;

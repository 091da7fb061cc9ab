//! Training tensors from annotated images in files, augmented as Chaplin & Cootes do (sections 2.1 and 2.3).
//!
//! Each variant of an image has its own errors of the vertebral points (Gaussian, 5 px), through which the shape model gives
//! the aorta and the region another shape; and it is scaled, turned and shifted. All of it is done to the points, and then comes
//! the code that serves: [`ShapeModel::estimate`], [`Region::new`], [`Region::warp`].

use crate::annotations::{AnnotatedPicture, Annotation, read_picture};
use crate::draw::Draw;
use crate::error::{Error, Result};
use crate::shards::{Part, ShardWriter};
use crate::training_set::{MARGIN_SD, SHARD_SAMPLES, VARIANTS_MAX};
use domain::reading::LocatedCorner;
use domain::{Digest, ImagePx, Landmark, Point};
use phantom::label;
use rayon::prelude::*;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH, Region};
use scoring::shape::{ShapeModel, VERTEBRAL_POINTS, shape_landmark};
use std::path::Path;

/// Errors of the vertebral points, standard deviation in image pixels (section 2.1).
pub const CORNER_NOISE_PX: f64 = 5.0;
/// Scaling, lowest and highest (section 2.3).
pub const SCALE: (f64, f64) = (0.95, 1.05);
/// Rotation to either side, degrees, largest.
pub const ROTATION_MAX_DEG: f64 = 10.0;
/// Translation to either side, largest, shares of the region's width and height.
pub const TRANSLATION_MAX: f64 = 0.05;
/// What a careful annotator errs, image pixels: the standard error of points that are taken as they are.
const ANNOTATION_SD_PX: f64 = 1.0;
/// Errors of the points can make lines cross; then others are drawn, at most so often.
const TRIES_MAX: usize = 20;

/// What the labels of the tensors say of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// 1: calcium of either wall that can be seen.
    Binary,
    /// Bit 0: of the anterior wall, bit 1: of the posterior wall.
    Walls,
}

impl Target {
    fn of(self, bits: u8) -> u8 {
        let walls = bits & (label::ANTERIOR_VISIBLE | label::POSTERIOR_VISIBLE);
        match self {
            Target::Binary => u8::from(walls != 0),
            Target::Walls => walls,
        }
    }
}

/// Tensors to be made of annotated images: `regions` u8 [n, 256, 128], `valid` u8 [n, 256, 128] of 0 and 1, `labels` u8 [n, 256, 128].
#[derive(Debug, Clone, Copy)]
pub struct AnnotatedSet<'a> {
    pub annotations: &'a [Annotation],
    /// Folder of the pictures, by file name.
    pub images: &'a Path,
    /// Folder of the masks: PNG of the same stem.
    pub masks: &'a Path,
    pub shape: &'a ShapeModel,
    pub target: Target,
    /// Samples out of one image, 30 in the paper; 0 takes each image once and as it is.
    pub variants: usize,
    pub seed: u64,
}

/// One sample.
struct Sample {
    region: Vec<u8>,
    valid: Vec<u8>,
    labels: Vec<u8>,
}

impl AnnotatedSet<'_> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.annotations.len() * self.variants.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty()
    }

    /// Writes shards `shard-00000.<part>.npy` as the other sets have them, and `samples.csv`: number of each sample, its file,
    /// participant and variant. Samples of one image follow each other. `progress` is told the number of samples written.
    ///
    /// # Errors
    /// [`Error::Setting`] without images or for too many variants; those of [`read_picture`]; [`Error::Image`] for an image without
    /// corners, [`Error::Scoring`] where the points give no region, [`Error::Io`], [`Error::Npy`].
    pub fn write(&self, out: &Path, mut progress: impl FnMut(usize)) -> Result<()> {
        if self.variants > VARIANTS_MAX {
            let problem = format!("is {}, not within 0..={VARIANTS_MAX}", self.variants);
            return Err(Error::Setting { name: "variants", problem });
        }
        if self.is_empty() {
            return Err(Error::Setting { name: "part", problem: "has no images in this fold".into() });
        }
        let writer = ShardWriter::new(out)?;
        let variants = self.variants.max(1);
        let per_shard = (SHARD_SAMPLES / variants).max(1);
        for (shard, chunk) in self.annotations.chunks(per_shard).enumerate() {
            let first = shard * per_shard;
            let made: Vec<Vec<Sample>> = chunk
                .par_iter()
                .enumerate()
                .map(|(i, annotation)| self.samples(first + i + 1, annotation))
                .collect::<Result<_>>()?;
            let samples: Vec<Sample> = made.into_iter().flatten().collect();
            let shape = [samples.len(), REGION_HEIGHT, REGION_WIDTH];
            writer.write(
                shard,
                &[
                    Part::bytes("regions", &shape, samples.iter().map(|s| s.region.as_slice())),
                    Part::bytes("valid", &shape, samples.iter().map(|s| s.valid.as_slice())),
                    Part::bytes("labels", &shape, samples.iter().map(|s| s.labels.as_slice())),
                ],
            )?;
            progress((first + chunk.len()) * variants);
        }
        self.write_index(&out.join("samples.csv"))
    }

    fn write_index(&self, path: &Path) -> Result<()> {
        let io = |source| Error::Io { action: "write", what: "samples.csv".into(), source };
        let fail = |error: csv::Error| io(std::io::Error::other(error));
        let mut writer = csv::Writer::from_path(path).map_err(fail)?;
        writer.write_record(["sample", "file", "participant_id", "variant"]).map_err(fail)?;
        let variants = self.variants.max(1);
        for (number, annotation) in self.annotations.iter().enumerate() {
            for variant in 0..variants {
                let (sample, variant_name) = ((number * variants + variant).to_string(), variant.to_string());
                let image = &annotation.image;
                let record = [sample.as_str(), &image.file, &image.participant, &variant_name];
                writer.write_record(record).map_err(fail)?;
            }
        }
        writer.flush().map_err(io)
    }

    fn samples(&self, row: usize, annotation: &Annotation) -> Result<Vec<Sample>> {
        let picture = read_picture(row, &annotation.image.file, self.images, self.masks)?;
        let points: Vec<(Landmark, Point<ImagePx>)> = (0..VERTEBRAL_POINTS)
            .filter_map(|index| {
                let landmark = shape_landmark(index);
                Some((landmark, annotation.corners[landmark.channel()?]?))
            })
            .collect();
        if points.len() < VERTEBRAL_POINTS {
            return Err(Error::Image { row, problem: "lacks corners from T12 to L5".into() });
        }
        let plain = self.region(&located(&points, ANNOTATION_SD_PX), picture.aspect)?;
        if self.variants == 0 {
            return Ok(vec![self.sample(&picture, &plain)]);
        }
        // Named by the file, so that an image has the same variants in every fold.
        let name = Digest::of(annotation.image.file.as_bytes()).0;
        let name = u64::from_le_bytes(std::array::from_fn(|i| name[i]));
        let size = extent(&plain);
        (0..self.variants)
            .map(|variant| {
                let mut draw = Draw::named("annotated", &[self.seed, name, variant as u64]);
                let mut tried = 0;
                let region = loop {
                    let moved = moved(&points, picture.aspect, size, &mut draw);
                    match self.region(&located(&moved, CORNER_NOISE_PX), picture.aspect) {
                        Ok(region) => break region,
                        Err(error) if tried + 1 == TRIES_MAX => return Err(error),
                        Err(_) => tried += 1,
                    }
                };
                Ok(self.sample(&picture, &region))
            })
            .collect()
    }

    fn region(&self, corners: &[LocatedCorner], aspect: f64) -> Result<Region> {
        Ok(Region::new(&self.shape.estimate(corners, aspect)?, MARGIN_SD)?)
    }

    fn sample(&self, picture: &AnnotatedPicture, region: &Region) -> Sample {
        let cut = region.warp(&picture.raster);
        let labels = region.warp_labels(&picture.labels, picture.raster.width(), picture.raster.height());
        Sample {
            region: cut.pixels,
            valid: cut.valid.iter().map(|v| u8::from(*v)).collect(),
            labels: labels.into_iter().map(|bits| self.target.of(bits)).collect(),
        }
    }
}

fn located(points: &[(Landmark, Point<ImagePx>)], sd_px: f64) -> Vec<LocatedCorner> {
    points.iter().map(|(landmark, at)| LocatedCorner { landmark: *landmark, at: *at, sd_px, confidence: 1.0 }).collect()
}

/// Width and height of a region in pixel widths of the image.
fn extent(region: &Region) -> (f64, f64) {
    let width = region.column_px() * REGION_WIDTH as f64;
    (width, region.row_lengths(region.midline_column(), 1.0, region.aspect()).iter().sum())
}

/// The points scaled, turned about their centre and shifted, each with an error of its own. A region follows its points, so
/// this is the region scaled, turned and shifted, and bent as the shape model reads the errors.
fn moved(
    points: &[(Landmark, Point<ImagePx>)],
    aspect: f64,
    (width, height): (f64, f64),
    draw: &mut Draw,
) -> Vec<(Landmark, Point<ImagePx>)> {
    let count = points.len() as f64;
    let sum = points.iter().fold((0.0, 0.0), |s, (_, p)| (s.0 + p.x, s.1 + p.y));
    let centre = (sum.0 / count, sum.1 / count);
    let scale = draw.between(SCALE.0, SCALE.1);
    let (sin, cos) = draw.between(-ROTATION_MAX_DEG, ROTATION_MAX_DEG).to_radians().sin_cos();
    let dx = width * draw.between(-TRANSLATION_MAX, TRANSLATION_MAX);
    let dy = height * draw.between(-TRANSLATION_MAX, TRANSLATION_MAX);
    points
        .iter()
        .map(|(landmark, p)| {
            let (x, y) = (p.x - centre.0, (p.y - centre.1) * aspect);
            let (x, y) = (scale * (cos * x - sin * y) + dx, scale * (sin * x + cos * y) + dy);
            let (ex, ey) = (CORNER_NOISE_PX * draw.normal(), CORNER_NOISE_PX * draw.normal());
            (*landmark, Point::new(centre.0 + x + ex, centre.1 + y / aspect + ey))
        })
        .collect()
}

#[cfg(test)]
#[path = "annotated_set_tests.rs"]
mod tests;

//! A reading: what the pixels of one image say under one pipeline, with the evidence for it.
//!
//! Its JSON is the artifact object (schemas/reading.schema.json). It holds no timing, no host, no identifier, so that the
//! same image under the same fingerprint gives the same bytes.

use crate::anatomy::{Landmark, Level, Wall};
use crate::geometry::{ImagePx, Point};
use crate::grade::{Aac24, Category, Extent, SegmentGrade, TieRule};
use crate::identity::{Digest, Fingerprint, ImageId};
use serde::{Deserialize, Serialize};

/// Version of the artifact schema. Newer ones only add optional fields.
pub const READING_SCHEMA_VERSION: u32 = 5;
/// Version that readings carry whose pipeline is not calibrated.
pub const MARKED_SCHEMA_VERSION: u32 = 4;
/// Version that readings carry whose grades a network gave itself: they hold nothing that came later, and their bytes stay.
pub const GRADED_SCHEMA_VERSION: u32 = 3;
/// Probabilities at which the extent of a segment's calcium is noted.
pub const EXTENT_THRESHOLDS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// A named corner as located.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocatedCorner {
    #[serde(flatten)]
    pub landmark: Landmark,
    pub at: Point<ImagePx>,
    /// Standard error of the position, image pixels along the larger axis.
    pub sd_px: f64,
    /// Peak of the heatmap, 0..1.
    pub confidence: f64,
}

/// An aortic wall from the T12/L1 to the L4/L5 mid-disc, head to foot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WallLine {
    pub wall: Wall,
    pub points: Vec<Point<ImagePx>>,
    /// Standard error of the wall's position across its course, image pixels, one per point.
    pub sd_px: Vec<f64>,
}

/// One connected calcification on one wall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plaque {
    pub wall: Wall,
    /// Closed outline, image pixels.
    pub contour: Vec<Point<ImagePx>>,
    /// Extent along the wall; missing when the pixel spacing is unknown.
    pub length_mm: Option<f64>,
    /// Mean probability of the pixels, 0..1.
    pub confidence: f64,
}

/// One of the eight segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReading {
    pub level: Level,
    pub wall: Wall,
    pub grade: SegmentGrade,
    /// Rows with calcium on this wall, of `rows`; 0 of 0 where a network gave the grade itself and no row was looked at.
    pub calcified_rows: u32,
    pub rows: u32,
    /// Calcified share of the wall's projected length, percent.
    pub length_pct: Option<f64>,
    pub length_mm: Option<f64>,
    /// How sure the grade is, 0..1: of a calibrated pipeline the probability of this very grade.
    pub confidence: f64,
    /// Probabilities that the grade is above 0, 1 and 2, each 0..1 and none above the one before: of a network that gave the grade itself, or
    /// of a calibrated pipeline. Their sum is a continuous grade. Since version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeds: Option<[f64; 3]>,
    /// What was marked, for judging how sure the grade is; missing where no row was looked at. Since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extents: Option<Extents>,
}

/// What was marked of a segment, apart from where the pipeline's threshold lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extents {
    /// Share of the visible rows of which a pixel is calcified with at least each of [`EXTENT_THRESHOLDS`], 0..1.
    pub shares: [f64; EXTENT_THRESHOLDS.len()],
    /// The largest probability of a pixel in any of these rows, 0..1.
    pub peak: f64,
}

/// Things a reader of the row should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityFlag {
    LowConfidence,
    LevelNamingUncertain,
    SpacingUnknown,
    AspectUnknown,
    RegionPartlyOutside,
    RegionPartlyMasked,
    ImplantSuspected,
    FractureSuspected,
    UnusualShape,
    BurnedInAnnotation,
    /// The category of the total may well be another. Since version 4.
    CategoryUncertain,
}

impl QualityFlag {
    pub fn name(self) -> &'static str {
        match self {
            QualityFlag::LowConfidence => "low_confidence",
            QualityFlag::LevelNamingUncertain => "level_naming_uncertain",
            QualityFlag::SpacingUnknown => "spacing_unknown",
            QualityFlag::AspectUnknown => "aspect_unknown",
            QualityFlag::RegionPartlyOutside => "region_partly_outside",
            QualityFlag::RegionPartlyMasked => "region_partly_masked",
            QualityFlag::ImplantSuspected => "implant_suspected",
            QualityFlag::FractureSuspected => "fracture_suspected",
            QualityFlag::UnusualShape => "unusual_shape",
            QualityFlag::BurnedInAnnotation => "burned_in_annotation",
            QualityFlag::CategoryUncertain => "category_uncertain",
        }
    }
}

/// Totals and summary measures, all derived from the segments and plaques.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub aac24: Aac24,
    /// Known when every total in `aac24.min..=aac24.max` has the same one.
    pub category: Option<Category>,
    /// AAC-8, 0..=8; missing unless all segments were assessed.
    pub aac8_total: Option<u8>,
    /// Levels with calcium on either wall, 0..=4; missing unless all segments were assessed.
    pub affected_levels: Option<u8>,
    /// Segments with calcium, 0..=8; missing unless all segments were assessed.
    pub affected_walls: Option<u8>,
    pub length_mm: Option<f64>,
    pub length_pct: Option<f64>,
    /// Worst of localisation and segmentation, 0..1.
    pub confidence: f64,
    /// Confidence that the levels carry their right names, 0..1.
    pub level_confidence: f64,
    pub flag_review: bool,
    /// Of a calibrated pipeline. Since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
}

/// What the total that a reader could see may be, by a model fitted on readings of images with known truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certainty {
    /// Interval that holds that total in 95 % of images like those that the model was fitted on, points; a segment without a grade may be
    /// anything.
    pub total_low: u8,
    pub total_high: u8,
    /// Expectation of the total, points; missing unless all segments were assessed.
    pub total_mean: Option<f64>,
    /// Probability that there is any calcium (a total above 0); missing unless all segments were assessed. Since version 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_above_0: Option<f64>,
    /// Probabilities of the categories low, moderate and high; missing unless all segments were assessed.
    pub categories: Option<[f64; 3]>,
}

impl Certainty {
    /// Probability that the total is in another category.
    pub fn category_error(&self, category: Category) -> Option<f64> {
        Some(1.0 - self.categories?[usize::from(category.code())])
    }
}

/// What the pixels say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub schema_version: u32,
    pub image_id: ImageId,
    pub fingerprint: Fingerprint,
    /// `name version`.
    pub pipeline: String,
    pub rule: TieRule,
    pub extent: Extent,
    pub width_px: u32,
    pub height_px: u32,
    /// Height of a pixel over its width that the reading went by: as the header or the manifest says; where both are silent (flag
    /// `aspect_unknown`), the one under which the spine was seen most clearly. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_aspect: Option<f64>,
    /// Whether anterior is to the right in the stored image; says nothing where there are no corners.
    pub anterior_right: bool,
    /// Empty where a network graded the image as a whole: then nothing is known of places.
    pub corners: Vec<LocatedCorner>,
    pub walls: Vec<WallLine>,
    /// The line between anterior and posterior calcium, head to foot.
    pub midline: Vec<Point<ImagePx>>,
    pub plaques: Vec<Plaque>,
    /// In the order of `Segment::all`.
    pub segments: Vec<SegmentReading>,
    pub flags: Vec<QualityFlag>,
    pub summary: Summary,
    /// Digests of the models that read, by stage name.
    pub models: Vec<(String, Digest)>,
}

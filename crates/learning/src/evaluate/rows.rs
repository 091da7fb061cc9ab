//! One image on both sides: its truth, and what a method made of it.

use crate::metrics::mean;
use domain::grade::Aac24;
use domain::reading::SegmentReading;
use domain::{ImagePx, Landmark, Outcome, Point, Segment, SegmentGrade};
use serde::Serialize;

/// Truth of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthRow {
    /// Pseudonym of the instance, as in the lake.
    pub sop_id: String,
    /// Number of the participant, by order of appearance: repeated images of one participant are not independent.
    pub participant: u64,
    /// The picture, relative to the cohort's folder.
    pub file: String,
    pub lateral_lumbar: bool,
    pub site: String,
    pub scanner_maker: String,
    pub scanner_model: String,
    /// By landmark channel; image pixels, `None` where the projection does not show it.
    pub corners: [Option<Point<ImagePx>>; Landmark::COUNT],
    /// Both walls of the aorta at the discs, image pixels; empty in other views.
    pub walls: Vec<Point<ImagePx>>,
    /// Height of a pixel, mm, and its width.
    pub row_mm: f64,
    pub column_mm: f64,
    /// Grades of what a reader could see, in the order of [`Segment::all`].
    pub visible: [SegmentGrade; Segment::COUNT],
}

/// Outlines of calcium on the anterior wall (0) and on the posterior one (1), closed.
pub type Outlines = [Vec<Vec<Point<ImagePx>>>; 2];

/// What a method made of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRow {
    pub sop_id: String,
    pub status: Status,
    /// Empty unless scored.
    pub corners: Vec<(Landmark, Point<ImagePx>)>,
    /// In the order of [`Segment::all`]; `None` unless scored.
    pub segments: Option<[ReadSegment; Segment::COUNT]>,
    /// `None` where a network gave the grades itself and marked no calcium.
    pub outlines: Option<Outlines>,
    /// Of the whole reading, 0..1; 0 unless scored.
    pub confidence: f64,
    /// Whether a person is asked to look.
    pub flag_review: bool,
    /// Probability of a total above 0; `None` where the method gives none.
    pub above_0: Option<f64>,
    /// Ends of the 95 % interval for the total; `None` where the method gives none.
    pub interval: Option<[u8; 2]>,
    /// Probability that the category is wrong, 0..1; `None` where the method gives none.
    pub category_error: Option<f64>,
}

/// A grade and how sure the method is of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadSegment {
    pub grade: SegmentGrade,
    /// 0..1.
    pub confidence: f64,
    /// Probabilities that the grade is above 0, 1 and 2; `None` where the method gives none.
    pub exceeds: Option<[f64; 3]>,
}

/// Status of an image in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Scored,
    Excluded,
    Failed,
}

impl ReadRow {
    /// The row of an outcome. `None` for a reading that does not have its eight segments in order.
    pub fn of(sop_id: String, outcome: &Outcome) -> Option<ReadRow> {
        let status = match outcome {
            Outcome::Scored { .. } => Status::Scored,
            Outcome::Excluded { .. } => Status::Excluded,
            Outcome::Failed { .. } => Status::Failed,
        };
        let Outcome::Scored { reading } = outcome else { return Some(ReadRow::unscored(sop_id, status)) };
        let segment = |s: &SegmentReading| ReadSegment { grade: s.grade, confidence: s.confidence, exceeds: s.exceeds };
        let segments: Vec<ReadSegment> = reading.segments.iter().map(segment).collect();
        let mut outlines: Outlines = [Vec::new(), Vec::new()];
        for plaque in &reading.plaques {
            outlines[plaque.wall.index()].push(plaque.contour.clone());
        }
        // A network that grades by itself says nothing of places: it has no overlap, rather than none with the plaque.
        let is_marked = reading.segments.iter().all(|segment| segment.exceeds.is_none() || segment.rows > 0);
        let certainty = reading.summary.certainty.as_ref();
        Some(ReadRow {
            sop_id,
            status,
            corners: reading.corners.iter().map(|c| (c.landmark, c.at)).collect(),
            segments: Some(segments.try_into().ok()?),
            outlines: is_marked.then_some(outlines),
            confidence: reading.summary.confidence,
            flag_review: reading.summary.flag_review,
            above_0: certainty.and_then(|of| of.total_above_0),
            interval: certainty.map(|of| [of.total_low, of.total_high]),
            category_error: certainty.zip(reading.summary.category).and_then(|(of, read)| of.category_error(read)),
        })
    }

    /// The row of an image without a reading.
    pub fn unscored(sop_id: String, status: Status) -> ReadRow {
        ReadRow {
            sop_id,
            status,
            corners: Vec::new(),
            segments: None,
            outlines: Some([Vec::new(), Vec::new()]),
            confidence: 0.0,
            flag_review: false,
            above_0: None,
            interval: None,
            category_error: None,
        }
    }

    /// AAC-24; `None` unless all eight segments are graded.
    pub fn total(&self) -> Option<u8> {
        self.segments.as_ref().and_then(|s| Aac24::of(&s.map(|s| s.grade)).total)
    }
}

impl TruthRow {
    /// AAC-24 of what a reader could see; `None` unless all eight segments can be assessed.
    pub fn total(&self) -> Option<u8> {
        Aac24::of(&self.visible).total
    }

    /// Whether a reader could score it: a lateral lumbar spine of which all eight segments can be assessed.
    pub fn is_assessable(&self) -> bool {
        self.lateral_lumbar && self.total().is_some()
    }

    /// Distance in pixel widths.
    pub(crate) fn distance(&self, a: Point<ImagePx>, b: Point<ImagePx>) -> f64 {
        (a.x - b.x).hypot((a.y - b.y) * self.row_mm / self.column_mm)
    }

    pub(crate) fn corner(&self, vertebra: usize, corner: usize) -> Option<Point<ImagePx>> {
        *self.corners.get(4 * vertebra + corner)?
    }

    /// Mean height of L1..L4 in pixel widths.
    pub(crate) fn vertebral_height(&self) -> Option<f64> {
        let heights: Vec<f64> = (1..5)
            .flat_map(|v| [(v, 0), (v, 1)])
            .filter_map(|(v, side)| Some(self.distance(self.corner(v, side)?, self.corner(v, side + 2)?)))
            .collect();
        mean(&heights).filter(|h| *h > 0.0)
    }
}

//! How readings compare with truth: the first metrics of `aortica evaluate`.
//!
//! Pure functions over plain rows. Agreement numbers depend on the case mix, so the mix is part of every result; a result
//! on simulated images must never be set against one on patients (science.md, section 8).

use crate::error::{Error, Result};
use crate::metrics::{mean, median, pearson, r2_identity, spearman};
use domain::grade::{Aac24, CategoryCut};
use domain::{ImagePx, Landmark, Outcome, Point, Segment, SegmentGrade};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// A located level counts as shifted when most of L1..L4 lie nearest to another vertebra than their own.
const SHIFTED_LEVELS: usize = 3;

/// Truth of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthRow {
    /// Pseudonym of the instance, as in the lake.
    pub sop_id: String,
    pub lateral_lumbar: bool,
    pub scanner_maker: String,
    /// By landmark channel; image pixels, `None` where the projection does not show it.
    pub corners: [Option<Point<ImagePx>>; Landmark::COUNT],
    /// Height of a pixel over its width.
    pub aspect: f64,
    /// Grades of what a reader could see, in the order of [`Segment::all`].
    pub visible: [SegmentGrade; Segment::COUNT],
}

/// What the program made of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRow {
    pub sop_id: String,
    pub status: Status,
    /// Empty unless scored.
    pub corners: Vec<(Landmark, Point<ImagePx>)>,
    /// In the order of [`Segment::all`]; `None` unless scored.
    pub segments: Option<[SegmentGrade; Segment::COUNT]>,
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
        Some(match outcome {
            Outcome::Scored { reading } => {
                let grades: Vec<SegmentGrade> = reading.segments.iter().map(|s| s.grade).collect();
                ReadRow {
                    sop_id,
                    status: Status::Scored,
                    corners: reading.corners.iter().map(|c| (c.landmark, c.at)).collect(),
                    segments: Some(grades.try_into().ok()?),
                }
            }
            Outcome::Excluded { .. } => {
                ReadRow { sop_id, status: Status::Excluded, corners: Vec::new(), segments: None }
            }
            Outcome::Failed { .. } => ReadRow { sop_id, status: Status::Failed, corners: Vec::new(), segments: None },
        })
    }

    fn aac24(&self) -> Option<Aac24> {
        self.segments.as_ref().map(Aac24::of)
    }
}

impl TruthRow {
    fn total(&self) -> Option<u8> {
        Aac24::of(&self.visible).total
    }

    /// Whether a reader could score it: a lateral lumbar spine of which all eight segments can be assessed.
    pub fn is_assessable(&self) -> bool {
        self.lateral_lumbar && self.total().is_some()
    }

    /// Distance in pixel widths.
    fn distance(&self, a: Point<ImagePx>, b: Point<ImagePx>) -> f64 {
        (a.x - b.x).hypot((a.y - b.y) * self.aspect)
    }

    fn corner(&self, vertebra: usize, corner: usize) -> Option<Point<ImagePx>> {
        *self.corners.get(4 * vertebra + corner)?
    }

    /// Mean height of L1..L4 in pixel widths.
    fn vertebral_height(&self) -> Option<f64> {
        let heights: Vec<f64> = (1..5)
            .flat_map(|v| [(v, 0), (v, 1)])
            .filter_map(|(v, side)| Some(self.distance(self.corner(v, side)?, self.corner(v, side + 2)?)))
            .collect();
        mean(&heights).filter(|h| *h > 0.0)
    }

    /// Centres of T12..L5 (index 0..6), from all four corners.
    fn centres(&self) -> Vec<(usize, Point<ImagePx>)> {
        (0..6).filter_map(|v| Some((v, centre([0, 1, 2, 3].map(|c| self.corner(v, c)))?))).collect()
    }
}

fn centre(corners: [Option<Point<ImagePx>>; 4]) -> Option<Point<ImagePx>> {
    let mut sum = (0.0, 0.0);
    for corner in corners {
        let p = corner?;
        sum = (sum.0 + p.x / 4.0, sum.1 + p.y / 4.0);
    }
    Some(Point::new(sum.0, sum.1))
}

/// What the numbers are about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseMix {
    pub images: usize,
    pub negatives: usize,
    /// Lateral lumbar images that a reader could score (see [`TruthRow::is_assessable`]).
    pub assessable: usize,
    /// Of those: how many with total 0, in category low, moderate, high.
    pub total_zero: usize,
    pub low: usize,
    pub moderate: usize,
    pub high: usize,
    pub mean_total: Option<f64>,
}

/// Agreement of scored images with visible truth. Shares in percent, 0..100.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Assessable images, and the share of them that was scored.
    pub assessable: usize,
    pub scored_pct: Option<f64>,
    /// Of segments that truth can assess in scored images: share without a grade.
    pub falsely_not_assessable_pct: Option<f64>,
    /// Of segments that truth cannot assess in scored images: share that got a grade all the same.
    pub falsely_assessed_pct: Option<f64>,
    /// Corners of L1..L4: error over the image's mean vertebral height.
    pub corner_error_mean_pct: Option<f64>,
    pub corner_error_median_pct: Option<f64>,
    /// Images whose levels are named one (or more) off.
    pub level_shifted_pct: Option<f64>,
    /// Images with both totals, which all of the following are about.
    pub totals: usize,
    pub spearman: Option<f64>,
    pub pearson: Option<f64>,
    pub mae: Option<f64>,
    /// Mean of read minus true.
    pub bias: Option<f64>,
    pub r2_identity: Option<f64>,
    /// Same category low / moderate / high.
    pub category_accuracy_pct: Option<f64>,
    /// P(total 0 | truth 0).
    pub zero_given_zero: Option<f64>,
    /// Same grade, over all segments that both assessed.
    pub segment_agreement_pct: Option<f64>,
    /// The same for each segment, in the order of [`Segment::all`].
    pub by_segment_pct: [Option<f64>; Segment::COUNT],
}

/// The whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub case_mix: CaseMix,
    pub all: Agreement,
    pub negatives_excluded_pct: Option<f64>,
    /// Images of the truth that have no row: neither scored nor excluded nor failed.
    pub without_row: usize,
    pub by_scanner_maker: BTreeMap<String, Agreement>,
}

/// Compares rows with truth, joined by the pseudonym of the instance. Rows without truth are passed over; truth without a
/// row counts as not scored.
///
/// # Errors
/// [`Error::Rows`]: two rows of one instance, on either side, or no truth at all.
pub fn evaluate(truth: &[TruthRow], rows: &[ReadRow], cut: CategoryCut) -> Result<Evaluation> {
    let refuse = |problem: &str| Err(Error::Rows { problem: problem.to_owned() });
    if truth.is_empty() {
        return refuse("the truth table has no rows");
    }
    let mut by_id: HashMap<&str, &ReadRow> = HashMap::with_capacity(rows.len());
    for row in rows {
        if by_id.insert(&row.sop_id, row).is_some() {
            return refuse("an instance has two rows; choose one fingerprint");
        }
    }
    let mut known = HashMap::with_capacity(truth.len());
    let mut pairs = Vec::with_capacity(truth.len());
    for image in truth {
        if known.insert(image.sop_id.as_str(), ()).is_some() {
            return refuse("the truth table names an instance twice");
        }
        pairs.push((image, by_id.get(image.sop_id.as_str()).copied()));
    }
    let negatives: Vec<_> = pairs.iter().filter(|(t, _)| !t.lateral_lumbar).collect();
    let excluded = negatives.iter().filter(|(_, row)| row.is_some_and(|r| r.status == Status::Excluded)).count();
    let mut makers: BTreeMap<String, Vec<(&TruthRow, Option<&ReadRow>)>> = BTreeMap::new();
    for pair in pairs.iter().filter(|(t, _)| t.lateral_lumbar) {
        makers.entry(pair.0.scanner_maker.clone()).or_default().push(*pair);
    }
    Ok(Evaluation {
        case_mix: case_mix(truth, cut),
        all: agreement(&pairs, cut),
        negatives_excluded_pct: percent(excluded, negatives.len()),
        without_row: pairs.iter().filter(|(_, row)| row.is_none()).count(),
        by_scanner_maker: makers.into_iter().map(|(maker, pairs)| (maker, agreement(&pairs, cut))).collect(),
    })
}

fn percent(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

fn case_mix(truth: &[TruthRow], cut: CategoryCut) -> CaseMix {
    let lateral = || truth.iter().filter(|t| t.lateral_lumbar);
    let totals: Vec<f64> = lateral().filter_map(|t| t.total()).map(f64::from).collect();
    let of = |code: u8| totals.iter().filter(|t| cut.of(**t).code() == code).count();
    CaseMix {
        images: truth.len(),
        negatives: truth.iter().filter(|t| !t.lateral_lumbar).count(),
        assessable: truth.iter().filter(|t| t.is_assessable()).count(),
        total_zero: totals.iter().filter(|t| **t == 0.0).count(),
        low: of(0),
        moderate: of(1),
        high: of(2),
        mean_total: mean(&totals),
    }
}

fn agreement(pairs: &[(&TruthRow, Option<&ReadRow>)], cut: CategoryCut) -> Agreement {
    let assessable: Vec<_> = pairs.iter().filter(|(t, _)| t.is_assessable()).collect();
    let is_scored = |row: &Option<&ReadRow>| row.is_some_and(|r| r.status == Status::Scored);
    let scored = assessable.iter().filter(|(_, row)| is_scored(row)).count();

    let (mut missed, mut invented) = ((0, 0), (0, 0));
    let mut same = [(0, 0); Segment::COUNT];
    let (mut corner_errors, mut shifts) = (Vec::new(), (0, 0));
    let mut totals = Vec::new();
    for (truth, row) in pairs.iter().filter(|(t, _)| t.lateral_lumbar) {
        let Some((row, segments)) = row.and_then(|r| r.segments.map(|s| (r, s))) else { continue };
        for (index, (read, true_grade)) in segments.iter().zip(&truth.visible).enumerate() {
            let counter = if true_grade.grade().is_some() { &mut missed } else { &mut invented };
            counter.1 += 1;
            counter.0 += usize::from(read.grade().is_some() != true_grade.grade().is_some());
            if let (Some(read), Some(true_grade)) = (read.grade(), true_grade.grade()) {
                same[index].1 += 1;
                same[index].0 += usize::from(read == true_grade);
            }
        }
        corner_errors.extend(corner_errors_of(truth, row));
        if let Some(shifted) = is_shifted(truth, row) {
            shifts.1 += 1;
            shifts.0 += usize::from(shifted);
        }
        if let (Some(read), Some(true_total)) = (row.aac24().and_then(|a| a.total), truth.total()) {
            totals.push((f64::from(read), f64::from(true_total)));
        }
    }
    let differences: Vec<f64> = totals.iter().map(|(read, truth)| read - truth).collect();
    let absolute: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let zeros: Vec<f64> =
        totals.iter().filter(|(_, t)| *t == 0.0).map(|(r, _)| f64::from(u8::from(*r == 0.0))).collect();
    let same_category = totals.iter().filter(|(r, t)| cut.of(*r) == cut.of(*t)).count();
    let agreed = same.iter().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
    Agreement {
        assessable: assessable.len(),
        scored_pct: percent(scored, assessable.len()),
        falsely_not_assessable_pct: percent(missed.0, missed.1),
        falsely_assessed_pct: percent(invented.0, invented.1),
        corner_error_mean_pct: mean(&corner_errors),
        corner_error_median_pct: median(&corner_errors),
        level_shifted_pct: percent(shifts.0, shifts.1),
        totals: totals.len(),
        spearman: spearman(&totals),
        pearson: pearson(&totals),
        mae: mean(&absolute),
        bias: mean(&differences),
        r2_identity: r2_identity(&totals),
        category_accuracy_pct: percent(same_category, totals.len()),
        zero_given_zero: mean(&zeros),
        segment_agreement_pct: percent(agreed.0, agreed.1),
        by_segment_pct: same.map(|(same, all)| percent(same, all)),
    }
}

/// Errors of the corners of L1..L4 that both have, percent of the mean vertebral height.
fn corner_errors_of(truth: &TruthRow, row: &ReadRow) -> Vec<f64> {
    let Some(height) = truth.vertebral_height() else { return Vec::new() };
    row.corners
        .iter()
        .filter_map(|(landmark, at)| {
            let channel = landmark.channel().filter(|c| (4..20).contains(c))?;
            Some(100.0 * truth.distance(*at, truth.corners[channel]?) / height)
        })
        .collect()
}

/// Whether most of the located L1..L4 lie nearest to a true vertebra of another name. `None` without located levels.
fn is_shifted(truth: &TruthRow, row: &ReadRow) -> Option<bool> {
    let centres = truth.centres();
    let located =
        |v: usize, c: usize| row.corners.iter().find(|(l, _)| l.channel() == Some(4 * v + c)).map(|(_, at)| *at);
    let names: Vec<bool> = (1..5)
        .filter_map(|v| {
            let at = centre([0, 1, 2, 3].map(|c| located(v, c)))?;
            let nearest = centres.iter().min_by(|a, b| truth.distance(a.1, at).total_cmp(&truth.distance(b.1, at)))?;
            Some(nearest.0 == v)
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    let wrong = names.iter().filter(|right| !**right).count();
    Some(wrong >= SHIFTED_LEVELS.min(names.len()))
}

impl Evaluation {
    /// A plain table, one line per measure: all images, then each scanner maker.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mix = &self.case_mix;
        let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
        let _ = writeln!(
            text,
            "case mix: {} images, {} of them negatives, {} assessable: {} of total 0, {} low, {} moderate, {} high, mean {}",
            mix.images,
            mix.negatives,
            mix.assessable,
            mix.total_zero,
            mix.low,
            mix.moderate,
            mix.high,
            number(mix.mean_total, 2)
        );
        let _ = writeln!(text, "negatives excluded %: {}", number(self.negatives_excluded_pct, 1));
        let _ = writeln!(text, "images without a row: {}\n", self.without_row);
        let columns: Vec<(&str, &Agreement)> = std::iter::once(("all", &self.all))
            .chain(self.by_scanner_maker.iter().map(|(maker, agreement)| (maker.as_str(), agreement)))
            .collect();
        let _ = write!(text, "{:<36}", "");
        for (name, _) in &columns {
            let _ = write!(text, "{:>14}", name.chars().take(13).collect::<String>());
        }
        text.push('\n');
        let mut line = |name: &str, of: &dyn Fn(&Agreement) -> String| {
            let _ = write!(text, "{name:<36}");
            for (_, agreement) in &columns {
                let _ = write!(text, "{:>14}", of(agreement));
            }
            text.push('\n');
        };
        line("assessable images", &|a| a.assessable.to_string());
        line("scored %", &|a| number(a.scored_pct, 1));
        line("segments falsely not assessable %", &|a| number(a.falsely_not_assessable_pct, 2));
        line("segments falsely assessed %", &|a| number(a.falsely_assessed_pct, 2));
        line("corner error, mean % of height", &|a| number(a.corner_error_mean_pct, 2));
        line("corner error, median % of height", &|a| number(a.corner_error_median_pct, 2));
        line("level shifted %", &|a| number(a.level_shifted_pct, 2));
        line("images with both totals", &|a| a.totals.to_string());
        line("Spearman", &|a| number(a.spearman, 3));
        line("Pearson", &|a| number(a.pearson, 3));
        line("mean absolute error", &|a| number(a.mae, 2));
        line("bias (read - truth)", &|a| number(a.bias, 2));
        line("R2, identity line", &|a| number(a.r2_identity, 3));
        line("category accuracy %", &|a| number(a.category_accuracy_pct, 1));
        line("P(total 0 | truth 0)", &|a| number(a.zero_given_zero, 3));
        line("segment agreement %", &|a| number(a.segment_agreement_pct, 1));
        for segment in Segment::all() {
            line(&format!("  {}", segment.column()), &|a| number(a.by_segment_pct[segment.index()], 1));
        }
        text
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;

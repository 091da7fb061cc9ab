//! Whether a method knows when it is right: calibration of segments, and what is left when the least sure images go to a person.

use super::rows::{ReadRow, ReadSegment, TruthRow};
use domain::Grade;
use domain::grade::CategoryCut;
use serde::Serialize;
use statistics::proportion::{Interval, proportion};
use statistics::score::Scores;
use statistics::{Confidence, Estimate};

/// Bins of the reliability diagram, of equal width.
const BINS: usize = 10;
/// Shares of images that are sent to a person, percent.
const REVIEW_PCT: [usize; 7] = [0, 5, 10, 20, 30, 40, 50];
/// The share at which methods are compared, percent.
const COMPARED_PCT: usize = 20;
/// Bands of the true total by which the coverage of intervals is shown.
const BANDS: [(&str, [u8; 2]); 5] =
    [("0", [0, 0]), ("1", [1, 1]), ("2-5", [2, 5]), ("6-11", [6, 11]), ("12-24", [12, 24])];

/// How sure, and how often right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certainty {
    /// Expected calibration error of the segments' confidence as the chance of the right grade (Naeini et al., AAAI 2015), 0..1.
    pub expected_calibration_error: Option<f64>,
    pub reliability: Vec<ReliabilityBin>,
    /// The same error of the probabilities that a grade is above 0, 1 and 2; `None` where the method gives none.
    pub exceeds_calibration_error: [Option<f64>; 3],
    /// Share of images with a total above 0 as expected from their probabilities of one, 0..1: the estimate of prevalence that does not
    /// lean to what a method overlooks. Over the images of [`Totals`](super::Totals); `None` where the method gives no probabilities.
    pub prevalence_expected: Option<Estimate>,
    /// `None` where the method gives no intervals.
    pub interval: Option<IntervalCoverage>,
    /// Images sent to a person, the most doubtful first: by the probability that the category is wrong, where the method gives it, else by
    /// least confidence.
    pub abstention: Vec<Abstained>,
    pub flag: ReviewFlag,
    /// What would be found if the most doubtful fifth of the images were flagged.
    pub most_doubtful_fifth: ReviewFlag,
}

/// How often the 95 % interval holds the total that a reader could see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntervalCoverage {
    pub all: Coverage,
    pub by_band: Vec<Coverage>,
}

/// Images with a true total and an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// Band of the true total, points.
    pub of: String,
    /// Share of images whose interval holds the true total, 0..1.
    pub covered: Estimate,
    /// Mean distance between the ends, points; 0 for an interval of one total.
    pub mean_width: Option<f64>,
}

/// Segments whose probability lies in `from..to`; the last bin has its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    pub from: f64,
    pub to: f64,
    pub segments: u64,
    pub mean_confidence: Option<f64>,
    /// Share where it came so (the grade is right, or above k), 0..1.
    pub right: Estimate,
}

/// What is left after the least sure images went to a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Abstained {
    /// Images sent, percent of those with both totals.
    pub review_pct: f64,
    /// Of the others: share in the right category, 0..1.
    pub category_accuracy: Estimate,
    /// Of the others: mean absolute difference, points.
    pub mae: Option<f64>,
}

/// What the flag for human review finds; images with both totals, and shares 0..1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReviewFlag {
    pub flagged: Estimate,
    /// Of images in the wrong category.
    pub category_errors_found: Estimate,
    /// Of images read as high that are low, or the other way round.
    pub low_high_found: Estimate,
}

pub(super) fn certainty(pairs: &[(&TruthRow, &ReadRow)], cut: CategoryCut, confidence: Confidence) -> Certainty {
    let reliability = reliability(pairs, confidence);
    let mut judged: Vec<Judged> = pairs.iter().filter_map(|(truth, row)| Judged::of(truth, row, cut)).collect();
    // a stable order: images of the same confidence stay in the order of the truth table
    judged.sort_by(|a, b| a.confidence.total_cmp(&b.confidence));
    let flagged = judged.iter().map(|image| (image.apart, image.flagged));
    let doubtful = sent(&judged, COMPARED_PCT);
    let most_doubtful = judged.iter().enumerate().map(|(place, image)| (image.apart, place < doubtful));
    Certainty {
        expected_calibration_error: calibration_error(&reliability),
        reliability,
        exceeds_calibration_error: std::array::from_fn(|k| calibration_error(&bins(exceeds(pairs, k), confidence))),
        prevalence_expected: prevalence_expected(pairs, confidence),
        interval: interval(pairs, confidence),
        abstention: REVIEW_PCT.iter().map(|pct| abstained(&judged, *pct, confidence)).collect(),
        flag: flag(flagged, confidence),
        most_doubtful_fifth: flag(most_doubtful, confidence),
    }
}

/// Mean distance between what was said and what came, weighted by the segments of each bin.
fn calibration_error(bins: &[ReliabilityBin]) -> Option<f64> {
    let segments: u64 = bins.iter().map(|bin| bin.segments).sum();
    let gap = |bin: &ReliabilityBin| {
        let apart = (bin.mean_confidence? - bin.right.estimate?).abs();
        Some(apart * bin.segments as f64 / segments as f64)
    };
    (segments > 0).then(|| bins.iter().filter_map(gap).sum())
}

/// Mean of the probabilities, its error that of a sample of images.
fn prevalence_expected(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Option<Estimate> {
    let both = pairs.iter().filter(|(truth, row)| truth.total().is_some() && row.total().is_some());
    let probabilities: Option<Vec<f64>> = both.map(|(_, row)| row.above_0).collect();
    let probabilities = probabilities.filter(|of| !of.is_empty())?;
    Some(Scores::of(probabilities).moments().mean_estimate(confidence))
}

fn interval(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Option<IntervalCoverage> {
    let known: Vec<(u8, [u8; 2])> =
        pairs.iter().filter_map(|(truth, row)| Some((truth.total()?, row.interval?))).collect();
    let of = |name: &str, [from, to]: [u8; 2]| {
        let band: Vec<&(u8, [u8; 2])> = known.iter().filter(|(total, _)| (from..=to).contains(total)).collect();
        let covered = band.iter().filter(|(total, [low, high])| (low..=high).contains(&total)).count();
        let widths: f64 = band.iter().map(|(_, [low, high])| f64::from(*high) - f64::from(*low)).sum();
        Coverage {
            of: name.to_owned(),
            covered: proportion(covered as u64, band.len() as u64, Interval::Wilson, confidence),
            mean_width: (!band.is_empty()).then(|| widths / band.len() as f64),
        }
    };
    (!known.is_empty()).then(|| IntervalCoverage {
        all: of("0-24", [0, 24]),
        by_band: BANDS.iter().map(|(name, band)| of(name, *band)).collect(),
    })
}

/// An image with both totals.
struct Judged {
    /// That the category is right.
    confidence: f64,
    flagged: bool,
    difference: f64,
    /// Categories apart, 0..=2.
    apart: u8,
}

impl Judged {
    fn of(truth: &TruthRow, row: &ReadRow, cut: CategoryCut) -> Option<Judged> {
        let (seen, read) = (f64::from(truth.total()?), f64::from(row.total()?));
        Some(Judged {
            confidence: row.category_error.map_or(row.confidence, |error| 1.0 - error),
            flagged: row.flag_review,
            difference: (read - seen).abs(),
            apart: cut.of(seen).code().abs_diff(cut.of(read).code()),
        })
    }
}

/// Segments with a grade and a true one.
fn graded<'a>(pairs: &'a [(&TruthRow, &ReadRow)]) -> impl Iterator<Item = (&'a ReadSegment, Grade, Grade)> {
    pairs.iter().flat_map(|(truth, row)| {
        let both = row.segments.iter().flatten().zip(&truth.visible);
        both.filter_map(|(read, seen)| Some((read, read.grade.grade()?, seen.grade()?)))
    })
}

/// How sure each grade is, and whether it is right.
fn reliability(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Vec<ReliabilityBin> {
    bins(graded(pairs).map(|(read, grade, seen)| (read.confidence, grade == seen)), confidence)
}

/// How probable each grade is above `k`, and whether it is.
fn exceeds(pairs: &[(&TruthRow, &ReadRow)], k: usize) -> impl Iterator<Item = (f64, bool)> {
    graded(pairs).filter_map(move |(read, _, seen)| Some((read.exceeds?[k], usize::from(seen.value()) > k)))
}

fn bins(said: impl Iterator<Item = (f64, bool)>, confidence: Confidence) -> Vec<ReliabilityBin> {
    let mut bins = [(0u64, 0u64, 0.0f64); BINS];
    for (probability, came) in said {
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += u64::from(came);
        bin.2 += probability;
    }
    let edge = |i: usize| i as f64 / BINS as f64;
    bins.iter()
        .enumerate()
        .map(|(i, (n, right, sum))| ReliabilityBin {
            from: edge(i),
            to: edge(i + 1),
            segments: *n,
            mean_confidence: (*n > 0).then(|| sum / *n as f64),
            right: proportion(*right, *n, Interval::Wilson, confidence),
        })
        .collect()
}

/// Images of so many percent, rounded up.
fn sent(judged: &[Judged], review_pct: usize) -> usize {
    (judged.len() * review_pct).div_ceil(100)
}

/// `judged`: least sure first.
fn abstained(judged: &[Judged], review_pct: usize, confidence: Confidence) -> Abstained {
    let sent = sent(judged, review_pct);
    let left = &judged[sent..];
    let right = left.iter().filter(|image| image.apart == 0).count() as u64;
    let n = left.len() as u64;
    Abstained {
        review_pct: if judged.is_empty() { 0.0 } else { 100.0 * sent as f64 / judged.len() as f64 },
        category_accuracy: proportion(right, n, Interval::Wilson, confidence),
        mae: (n > 0).then(|| left.iter().map(|image| image.difference).sum::<f64>() / n as f64),
    }
}

/// `images`: categories apart, and whether it is flagged.
fn flag(images: impl Iterator<Item = (u8, bool)> + Clone, confidence: Confidence) -> ReviewFlag {
    let found = |apart_min: u8| {
        let wrong = images.clone().filter(|(apart, _)| *apart >= apart_min);
        let (flagged, n) = wrong.fold((0, 0), |(f, n), (_, flagged)| (f + u64::from(flagged), n + 1));
        proportion(flagged, n, Interval::Wilson, confidence)
    };
    ReviewFlag { flagged: found(0), category_errors_found: found(1), low_high_found: found(2) }
}

//! Whether a method knows when it is right: calibration of segments, and what is left when the least sure images go to a person.

use super::rows::{ReadRow, TruthRow};
use domain::grade::CategoryCut;
use serde::Serialize;
use statistics::proportion::{Interval, proportion};
use statistics::{Confidence, Estimate};

/// Bins of the reliability diagram, of equal width.
const BINS: usize = 10;
/// Shares of images that are sent to a person, percent.
const REVIEW_PCT: [usize; 7] = [0, 5, 10, 20, 30, 40, 50];

/// How sure, and how often right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certainty {
    /// Expected calibration error of the segments' confidence as the chance of the right grade (Naeini et al., AAAI 2015), 0..1.
    pub expected_calibration_error: Option<f64>,
    pub reliability: Vec<ReliabilityBin>,
    /// Images sent to a person by least confidence first.
    pub abstention: Vec<Abstained>,
    pub flag: ReviewFlag,
}

/// Graded segments whose confidence lies in `from..to`; the last bin has its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    pub from: f64,
    pub to: f64,
    pub segments: u64,
    pub mean_confidence: Option<f64>,
    /// Share with the right grade, 0..1.
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
    let graded: u64 = reliability.iter().map(|bin| bin.segments).sum();
    let gap = |bin: &ReliabilityBin| {
        let apart = (bin.mean_confidence? - bin.right.estimate?).abs();
        Some(apart * bin.segments as f64 / graded as f64)
    };
    let mut judged: Vec<Judged> = pairs.iter().filter_map(|(truth, row)| Judged::of(truth, row, cut)).collect();
    // a stable order: images of the same confidence stay in the order of the truth table
    judged.sort_by(|a, b| a.confidence.total_cmp(&b.confidence));
    Certainty {
        expected_calibration_error: (graded > 0).then(|| reliability.iter().filter_map(gap).sum()),
        reliability,
        abstention: REVIEW_PCT.iter().map(|pct| abstained(&judged, *pct, confidence)).collect(),
        flag: flag(&judged, confidence),
    }
}

/// An image with both totals.
struct Judged {
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
            confidence: row.confidence,
            flagged: row.flag_review,
            difference: (read - seen).abs(),
            apart: cut.of(seen).code().abs_diff(cut.of(read).code()),
        })
    }
}

fn reliability(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Vec<ReliabilityBin> {
    let mut bins = [(0u64, 0u64, 0.0f64); BINS];
    for (truth, row) in pairs {
        let Some(segments) = &row.segments else { continue };
        for (read, seen) in segments.iter().zip(&truth.visible) {
            let (Some(grade), Some(seen)) = (read.grade.grade(), seen.grade()) else { continue };
            let bin = ((read.confidence * BINS as f64) as usize).min(BINS - 1);
            bins[bin].0 += 1;
            bins[bin].1 += u64::from(grade == seen);
            bins[bin].2 += read.confidence;
        }
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

/// `judged`: least sure first.
fn abstained(judged: &[Judged], review_pct: usize, confidence: Confidence) -> Abstained {
    let sent = (judged.len() * review_pct).div_ceil(100);
    let left = &judged[sent..];
    let right = left.iter().filter(|image| image.apart == 0).count() as u64;
    let n = left.len() as u64;
    Abstained {
        review_pct: if judged.is_empty() { 0.0 } else { 100.0 * sent as f64 / judged.len() as f64 },
        category_accuracy: proportion(right, n, Interval::Wilson, confidence),
        mae: (n > 0).then(|| left.iter().map(|image| image.difference).sum::<f64>() / n as f64),
    }
}

fn flag(judged: &[Judged], confidence: Confidence) -> ReviewFlag {
    let found = |apart_min: u8| {
        let wrong = judged.iter().filter(|image| image.apart >= apart_min);
        let (flagged, n) = wrong.fold((0, 0), |(f, n), image| (f + u64::from(image.flagged), n + 1));
        proportion(flagged, n, Interval::Wilson, confidence)
    };
    ReviewFlag { flagged: found(0), category_errors_found: found(1), low_high_found: found(2) }
}

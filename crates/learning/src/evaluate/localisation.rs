//! Whether the vertebrae were found, and under their own names.

use super::rows::{ReadRow, TruthRow};
use crate::metrics::quantile;
use domain::{ImagePx, Point};
use serde::Serialize;
use statistics::proportion::{Interval, proportion};
use statistics::{Confidence, Estimate, Moments};

/// A located spine counts as shifted when most of L1..L4 lie nearest to another vertebra than their own.
const SHIFTED_LEVELS: usize = 3;

/// Errors of the corners of L1..L4 over the image's mean vertebral height, percent, in scored images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Localisation {
    /// Mean over all corners; Student's interval, which takes corners of one image as independent.
    pub corner_error_pct: Estimate,
    pub corner_error_median_pct: Option<f64>,
    pub corner_error_p95_pct: Option<f64>,
    /// Share of images whose levels are named one (or more) off, 0..1.
    pub level_shifted: Estimate,
}

pub(super) fn localisation(pairs: &[(&TruthRow, &ReadRow)], confidence: Confidence) -> Localisation {
    let errors: Vec<f64> = pairs.iter().flat_map(|(truth, row)| corner_errors(truth, row)).collect();
    let shifts: Vec<bool> = pairs.iter().filter_map(|(truth, row)| is_shifted(truth, row)).collect();
    let shifted = shifts.iter().filter(|s| **s).count() as u64;
    Localisation {
        corner_error_pct: Moments::of(errors.iter().copied()).mean_estimate(confidence),
        corner_error_median_pct: quantile(&errors, 0.5),
        corner_error_p95_pct: quantile(&errors, 0.95),
        level_shifted: proportion(shifted, shifts.len() as u64, Interval::Wilson, confidence),
    }
}

/// Errors of the corners that both have.
fn corner_errors(truth: &TruthRow, row: &ReadRow) -> Vec<f64> {
    let Some(height) = truth.vertebral_height() else { return Vec::new() };
    row.corners
        .iter()
        .filter_map(|(landmark, at)| {
            let channel = landmark.channel().filter(|c| (4..20).contains(c))?;
            Some(100.0 * truth.distance(*at, truth.corners[channel]?) / height)
        })
        .collect()
}

fn centre(corners: [Option<Point<ImagePx>>; 4]) -> Option<Point<ImagePx>> {
    let mut sum = (0.0, 0.0);
    for corner in corners {
        let p = corner?;
        sum = (sum.0 + p.x / 4.0, sum.1 + p.y / 4.0);
    }
    Some(Point::new(sum.0, sum.1))
}

/// Whether most of the located L1..L4 lie nearest to a true vertebra of another name. `None` without located levels.
fn is_shifted(truth: &TruthRow, row: &ReadRow) -> Option<bool> {
    // T12..L5, from all four corners
    let centres: Vec<(usize, Point<ImagePx>)> =
        (0..6).filter_map(|v| Some((v, centre([0, 1, 2, 3].map(|c| truth.corner(v, c)))?))).collect();
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

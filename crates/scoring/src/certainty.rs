//! How sure a reading is: calibrated probabilities of each segment's grade, and from them an interval for the total and the chance that
//! its category is wrong.
//!
//! The model is small, and fitted on readings of a simulated population apart from those of training and test (`aortica train
//! calibration`). It sees only what the reading itself holds, so that `rescore` can judge readings that were made before.
//!
//! - Segments: logistic regressions of P(grade > 0), P(grade > 1) and P(grade > 2) on [`features`].
//! - Total: segments of one image err together. Their logits share a normal effect of standard deviation `shared_sd`, given which
//!   they are independent, so that their grades are convolved ([`total_distribution`]).
//! - Interval: totals around the one that was read, the likelier neighbour first, until they hold enough of the distribution
//!   ([`interval`]). How much is enough is chosen on the calibration readings so that 95 % of their true totals are inside: split
//!   conformal prediction with nested sets (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; Romano, Sesia
//!   and Candès, NeurIPS 2020).
//! - Review: where the category is wrong with a probability of `flag_from` or more, chosen so that a fifth of those readings is flagged.

use crate::error::{Error, ErrorKind, Result};
use crate::quality::needs_review;
use crate::rules::ScoringRules;
use domain::grade::CategoryCut;
use domain::reading::{Certainty, EXTENT_THRESHOLDS, Extents, QualityFlag, READING_SCHEMA_VERSION, SegmentReading};
use domain::{Grade, Reading};
use serde::{Deserialize, Serialize};

/// Version of the calibration's file.
pub const CALIBRATION_SCHEMA_VERSION: u32 = 2;
/// What is known of a segment: for each of [`EXTENT_THRESHOLDS`] the share of rows and its square root, and the logit of the peak.
pub const FEATURES: usize = 2 * EXTENT_THRESHOLDS.len() + 1;
/// Totals, 0..=24.
pub const TOTALS: usize = 25;
/// Keeps the logit of a peak of 0 or 1 finite.
const PEAK_FLOOR: f64 = 1e-3;
/// Places at which the shared effect is taken, standard deviations: -3, -2.7, .., 3.
const SHARED_STEPS: i32 = 10;
const SHARED_STEP: f64 = 0.3;
/// A logistic curve averaged over a normal effect of variance v is one flatter by `sqrt(1 + v / LOGISTIC_SPREAD^2)`, nearly: 1.7 is
/// the ratio of the logistic scale to the normal one.
const LOGISTIC_SPREAD: f64 = 1.7;

/// What turns marks into probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub schema_version: u32,
    /// Readings that it was fitted on.
    pub n_readings: usize,
    /// Of the grade being above 0, 1 and 2: the constant, then a weight for each of [`features`].
    pub weights: [Vec<f64>; 3],
    /// Standard deviation of what the segments of an image share, logits, 0..=5.
    pub shared_sd: f64,
    /// Of the total being above 0: constant and slope of its logit over the one that the distribution gives, in which small doubts of eight
    /// segments add up to too much.
    pub above_0: [f64; 2],
    /// Share of the distribution that must be held before no further total is taken into the interval, 0..1.
    pub interval_mass: f64,
    /// Probability of a wrong category from which a person should look, 0..=1; 1 flags none.
    pub flag_from: f64,
}

impl Calibration {
    /// Reads a calibration.
    ///
    /// # Errors
    /// [`ErrorKind::Calibration`]: not JSON of this schema version, or numbers out of their ranges.
    pub fn from_json(text: &str) -> Result<Calibration> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Calibration, message));
        let read: Calibration = match serde_json::from_str(text) {
            Ok(read) => read,
            Err(error) => return refuse(format!("calibration: {error}")),
        };
        if read.schema_version != CALIBRATION_SCHEMA_VERSION {
            return refuse(format!("schema version {} is not {CALIBRATION_SCHEMA_VERSION}", read.schema_version));
        }
        if read.weights.iter().any(|of| of.len() != 1 + FEATURES || of.iter().any(|w| !w.is_finite())) {
            return refuse(format!("weights are three times {} finite numbers", 1 + FEATURES));
        }
        if !(read.above_0[0].is_finite() && read.above_0[1].is_finite() && read.above_0[1] > 0.0) {
            return refuse(format!("above_0 = {:?}, expected a finite constant and a slope above 0", read.above_0));
        }
        let ranges = [
            ("shared_sd", read.shared_sd, 0.0..=5.0),
            ("interval_mass", read.interval_mass, 0.0..=1.0),
            ("flag_from", read.flag_from, 0.0..=1.0),
        ];
        match ranges.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((name, value, range)) => refuse(format!("{name} = {value}, expected {range:?}")),
            None => Ok(read),
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a calibration is plain numbers") + "\n"
    }

    /// Probabilities that a grade is above 0, 1 and 2, none above the one before, rounded to four decimals as a reading holds them.
    pub fn exceeds(&self, extents: &Extents) -> [f64; 3] {
        let features = features(extents);
        let mut above = 1.0f64;
        std::array::from_fn(|k| {
            let weights = &self.weights[k];
            let logit = weights[0] + weights[1..].iter().zip(&features).map(|(w, x)| w * x).sum::<f64>();
            above = above.min((1e4 / (1.0 + (-logit).exp())).round() / 1e4);
            above
        })
    }

    /// Puts probabilities, interval and flag into a reading; what it held of them before does not count.
    ///
    /// Segments of which no row was looked at say nothing of themselves: a reading that has such a grade stays as it is.
    pub fn judge(&self, reading: &mut Reading, rules: &ScoringRules) {
        if reading.segments.iter().any(|s| s.grade.grade().is_some() && s.extents.is_none()) {
            return;
        }
        for segment in &mut reading.segments {
            if let (Some(grade), Some(extents)) = (segment.grade.grade(), &segment.extents) {
                let exceeds = self.exceeds(extents);
                segment.confidence = probability_of(grade, &exceeds);
                segment.exceeds = Some(exceeds);
            }
        }
        let certainty = self.certainty(&reading.segments, rules.categories);
        let error = reading.summary.category.and_then(|read| certainty.category_error(read));
        reading.summary.certainty = Some(certainty);
        reading.schema_version = READING_SCHEMA_VERSION;
        reading.flags.retain(|flag| *flag != QualityFlag::CategoryUncertain);
        if error.is_some_and(|error| self.flags(error)) {
            reading.flags.push(QualityFlag::CategoryUncertain);
        }
        reading.summary.flag_review = needs_review(reading.summary.aac24.total.is_some(), &reading.flags);
    }

    fn certainty(&self, segments: &[SegmentReading], cut: CategoryCut) -> Certainty {
        let exceeds: Vec<[f64; 3]> = segments.iter().filter_map(|s| s.grade.grade().and(s.exceeds)).collect();
        let totals = total_distribution(&exceeds, self.shared_sd);
        let read: usize = segments.iter().filter_map(|s| s.grade.grade()).map(|grade| usize::from(grade.value())).sum();
        let [low, high] = interval(&totals, read, self.interval_mass);
        let missing = segments.len() - exceeds.len();
        let complete = missing == 0;
        let mean: f64 = totals.iter().enumerate().map(|(total, p)| total as f64 * p).sum();
        Certainty {
            total_low: low as u8,
            total_high: (high + 3 * missing).min(TOTALS - 1) as u8,
            total_mean: complete.then(|| (mean * 1e4).round() / 1e4),
            total_above_0: complete.then(|| self.above_0(&totals, cut)),
            categories: complete.then(|| category_probabilities(&totals, cut)),
        }
    }

    /// Probability of a total above 0, to four decimals; not below that of the categories above low.
    fn above_0(&self, totals: &[f64; TOTALS], cut: CategoryCut) -> f64 {
        let [constant, slope] = self.above_0;
        let p = 1.0 / (1.0 + (-(constant + slope * logit_above_0(totals))).exp());
        let [_, moderate, high] = category_probabilities(totals, cut);
        ((p * 1e4).round() / 1e4).max(moderate + high).min(1.0)
    }

    /// Whether a person should look at a category that is wrong with this probability.
    fn flags(&self, error: f64) -> bool {
        // Probabilities have four decimals; one less such a one has a last bit of its own.
        self.flag_from < 1.0 && error >= self.flag_from - 1e-9
    }
}

/// Whether a reading asks for a person for another reason than a doubtful category.
pub fn needs_review_anyway(reading: &Reading) -> bool {
    let others: Vec<QualityFlag> =
        reading.flags.iter().copied().filter(|flag| *flag != QualityFlag::CategoryUncertain).collect();
    needs_review(reading.summary.aac24.total.is_some(), &others)
}

/// What the probabilities of a segment are made of. Square roots tell a row from none; where no row is marked the peak says how nearly one was.
pub fn features(extents: &Extents) -> [f64; FEATURES] {
    let mut features = [0.0; FEATURES];
    for (pair, share) in features.chunks_exact_mut(2).zip(extents.shares) {
        pair.copy_from_slice(&[share, share.sqrt()]);
    }
    features[FEATURES - 1] = ((extents.peak + PEAK_FLOOR) / (1.0 - extents.peak + PEAK_FLOOR)).ln();
    features
}

/// Probability of this very grade.
fn probability_of(grade: Grade, exceeds: &[f64; 3]) -> f64 {
    let value = usize::from(grade.value());
    let reached = if value == 0 { 1.0 } else { exceeds[value - 1] };
    let passed = exceeds.get(value).copied().unwrap_or(0.0);
    ((reached - passed) * 1e4).round() / 1e4
}

/// Distribution of the sum of up to eight grades, each given by its probabilities of being above 0, 1 and 2.
///
/// Their logits share a normal effect of standard deviation `shared_sd`. The curves are made steeper first by as much as the effect
/// flattens them on average, so that each segment keeps its probabilities.
pub fn total_distribution(exceeds: &[[f64; 3]], shared_sd: f64) -> [f64; TOTALS] {
    let steeper = (1.0 + (shared_sd / LOGISTIC_SPREAD).powi(2)).sqrt();
    let moved = |p: f64, by: f64| {
        if p <= 0.0 || p >= 1.0 { p } else { 1.0 / (1.0 + (-(steeper * (p / (1.0 - p)).ln() + by)).exp()) }
    };
    let (mut mixed, mut weights) = ([0.0; TOTALS], 0.0);
    for step in -SHARED_STEPS..=SHARED_STEPS {
        let z = f64::from(step) * SHARED_STEP;
        let weight = (-z * z / 2.0).exp();
        weights += weight;
        let mut sum = [0.0; TOTALS];
        sum[0] = weight;
        for above in exceeds {
            let [a, b, c] = above.map(|p| moved(p, shared_sd * z));
            let grades = [1.0 - a, a - b, b - c, c];
            let before = sum;
            for (total, p) in sum.iter_mut().enumerate() {
                *p = grades.iter().enumerate().take(total + 1).map(|(grade, q)| q * before[total - grade]).sum();
            }
        }
        mixed.iter_mut().zip(sum).for_each(|(m, p)| *m += p);
    }
    mixed.map(|p| p / weights)
}

/// Logit of a total above 0 as the distribution has it, held where it is finite.
pub fn logit_above_0(totals: &[f64; TOTALS]) -> f64 {
    let p = (1.0 - totals[0]).clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// First and last of the totals around `read`, the likelier neighbour first, taken while those before hold no more than `mass`.
pub fn interval(totals: &[f64; TOTALS], read: usize, mass: f64) -> [usize; 2] {
    let mut ends = [read, read];
    for (low, high, held) in nested(totals, read) {
        if held > mass {
            break;
        }
        ends = [low, high];
    }
    ends
}

/// What is held before `total` is taken into the interval: the least `mass` of an [`interval`] that has it.
pub fn mass_before(totals: &[f64; TOTALS], read: usize, total: usize) -> f64 {
    nested(totals, read).find(|(low, high, _)| (*low..=*high).contains(&total)).map_or(1.0, |(_, _, held)| held)
}

/// Growing intervals around a total, each with what the one before held.
fn nested(totals: &[f64; TOTALS], read: usize) -> impl Iterator<Item = (usize, usize, f64)> {
    let start = (read, read, 0.0);
    std::iter::successors(Some(start), move |&(low, high, _)| {
        let below = low.checked_sub(1).map(|total| totals[total]);
        let above = totals.get(high + 1).copied();
        let held = totals[low..=high].iter().sum::<f64>();
        match (below, above) {
            (None, None) => None,
            (Some(b), a) if a.is_none_or(|a| b > a) => Some((low - 1, high, held)),
            _ => Some((low, high + 1, held)),
        }
    })
}

/// Probabilities of low, moderate and high, to four decimals.
pub fn category_probabilities(totals: &[f64; TOTALS], cut: CategoryCut) -> [f64; 3] {
    let mut categories = [0.0; 3];
    for (total, p) in totals.iter().enumerate() {
        categories[usize::from(cut.of(total as f64).code())] += p;
    }
    categories.map(|p| (p * 1e4).round() / 1e4)
}

#[cfg(test)]
#[path = "certainty_tests.rs"]
mod tests;

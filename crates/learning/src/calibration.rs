//! Fits the calibration of a pipeline (`scoring::certainty`) on its readings of a simulated population apart from training and test.

use crate::error::{Error, Result};
use domain::grade::Aac24;
use domain::{Digest, Reading, SegmentGrade};
use rayon::prelude::*;
use scoring::Calibration;
use scoring::certainty::{
    CALIBRATION_SCHEMA_VERSION, FEATURES, features, logit_above_0, mass_before, needs_review_anyway, total_distribution,
};
use scoring::rules::ScoringRules;

/// Fewest readings with all segments known on both sides: of fewer, a 95 % quantile and twelve weights say little.
pub const READINGS_MIN: usize = 100;
/// Share of true totals that the intervals hold.
const COVERAGE: f64 = 0.95;
/// Share of readings that is flagged, those with other reasons included.
const REVIEW_RATE: f64 = 0.2;
/// Weight of half the sum of the squared weights of standardised features, beside the log-likelihood of all segments.
const RIDGE: f64 = 1.0;
const NEWTON_STEPS_MAX: usize = 100;
/// Largest shared effect that is looked for, logits, and how closely.
const SHARED_SD_MAX: f64 = 3.0;
const SHARED_SD_STEP: f64 = 0.01;

/// A reading and what a reader could see in its image.
#[derive(Debug, Clone)]
pub struct Example {
    pub visible: [SegmentGrade; 8],
    pub reading: Reading,
}

impl Example {
    /// Both totals, where there are both.
    fn totals(&self) -> Option<(u8, u8)> {
        Some((Aac24::of(&self.visible).total?, self.reading.summary.aac24.total?))
    }
}

/// A calibration, and what it says of the readings that it was fitted on: flattering, if little, because they are not unseen.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    pub calibration: Calibration,
    pub segments: usize,
    /// Readings with both totals.
    pub readings: usize,
    /// Of these in the wrong category.
    pub category_errors: usize,
    pub flagged: usize,
    pub errors_flagged: usize,
    pub covered: usize,
}

/// Fits all numbers of a calibration: weights by penalised likelihood of the segments' true grades, the shared effect by likelihood of
/// the true totals, then the mass of intervals and the threshold of review on the totals.
///
/// # Errors
/// [`Error::Rows`]: under [`READINGS_MIN`] readings with both totals, or grades without extents (made by a network itself, or by an
/// older revision of the method).
pub fn fit_calibration(examples: &[Example], rules: &ScoringRules) -> Result<Fitted> {
    let refused = |problem: String| Err(Error::Rows { problem });
    let mut examples = examples.to_vec();
    // Sums must not depend on the order in which a lake tells its rows.
    examples.sort_by(|a, b| a.reading.image_id.cmp(&b.reading.image_id));
    let complete = examples.iter().filter(|example| example.totals().is_some()).count();
    if complete < READINGS_MIN {
        return refused(format!("{complete} readings have both totals; a calibration takes {READINGS_MIN} or more"));
    }
    let (mut known, mut grades) = (Vec::new(), Vec::new());
    for example in &examples {
        for (segment, seen) in example.reading.segments.iter().zip(&example.visible) {
            let (Some(_), Some(seen)) = (segment.grade.grade(), seen.grade()) else { continue };
            let Some(extents) = &segment.extents else {
                return refused("a grade without extents: score the images again with this version".into());
            };
            known.push(features(extents));
            grades.push(seen.value());
        }
    }
    let weights = [0, 1, 2].map(|k| {
        let above: Vec<bool> = grades.iter().map(|grade| *grade > k).collect();
        logistic(&known, &above).iter().map(|w| significant(*w)).collect::<Vec<f64>>()
    });
    let mut calibration = Calibration {
        schema_version: CALIBRATION_SCHEMA_VERSION,
        n_readings: complete,
        weights,
        shared_sd: 0.0,
        above_0: [0.0, 1.0],
        interval_mass: 1.0,
        flag_from: 1.0,
    };
    examples.retain(|example| example.totals().is_some());
    let exceeds: Vec<Seen> = examples
        .iter()
        .filter_map(|example| {
            let segments = example.reading.segments.iter().filter_map(|s| s.extents.as_ref());
            let (seen, read) = example.totals()?;
            let exceeds = segments.map(|of| calibration.exceeds(of)).collect();
            Some(Seen { exceeds, seen: seen.into(), read: read.into() })
        })
        .collect();
    calibration.shared_sd = shared_sd(&exceeds);
    calibration.above_0 = above_0(&exceeds, calibration.shared_sd);

    let mut held: Vec<f64> = exceeds
        .par_iter()
        .map(|of| mass_before(&total_distribution(&of.exceeds, calibration.shared_sd), of.read, of.seen))
        .collect();
    held.sort_by(f64::total_cmp);
    // The (n + 1)th is the image to come: of n + 1 exchangeable ones so many are at or below this one.
    let place = (COVERAGE * (held.len() + 1) as f64).ceil() as usize;
    calibration.interval_mass = (held[place.min(held.len()) - 1] * 1e6).ceil() / 1e6;

    let judged = |calibration: &Calibration| -> Vec<Reading> {
        let judge = |example: &Example| {
            let mut reading = example.reading.clone();
            calibration.judge(&mut reading, rules);
            reading
        };
        examples.par_iter().map(judge).collect()
    };
    let mut doubts: Vec<f64> = Vec::new();
    for reading in judged(&calibration).iter().filter(|reading| !needs_review_anyway(reading)) {
        let (summary, certainty) = (&reading.summary, &reading.summary.certainty);
        doubts.extend(certainty.as_ref().zip(summary.category).and_then(|(of, read)| of.category_error(read)));
    }
    let otherwise = examples.len() - doubts.len();
    let left = ((REVIEW_RATE * examples.len() as f64) as usize).saturating_sub(otherwise);
    doubts.sort_by(|a, b| b.total_cmp(a));
    if let Some(last) = left.checked_sub(1).and_then(|place| doubts.get(place)) {
        calibration.flag_from = (last * 1e4).round() / 1e4;
    }

    let mut fitted = Fitted {
        segments: grades.len(),
        readings: examples.len(),
        category_errors: 0,
        flagged: 0,
        errors_flagged: 0,
        covered: 0,
        calibration,
    };
    for (example, reading) in examples.iter().zip(judged(&fitted.calibration)) {
        let (Some((seen, read)), Some(certainty)) = (example.totals(), &reading.summary.certainty) else { continue };
        let cut = rules.categories;
        let wrong = usize::from(cut.of(f64::from(seen)) != cut.of(f64::from(read)));
        let flagged = usize::from(reading.summary.flag_review);
        fitted.category_errors += wrong;
        fitted.flagged += flagged;
        fitted.errors_flagged += wrong * flagged;
        fitted.covered += usize::from((certainty.total_low..=certainty.total_high).contains(&seen));
    }
    Ok(fitted)
}

/// An image with both totals.
struct Seen {
    exceeds: Vec<[f64; 3]>,
    /// What a reader could see, points, and what was read.
    seen: usize,
    read: usize,
}

/// Nine significant digits: what is beyond differs between machines.
fn significant(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// The standard deviation under which the true totals are likeliest, on a grid of hundredths: the likelihood has one hill.
fn shared_sd(images: &[Seen]) -> f64 {
    let likelihood = |step: i32| -> f64 {
        let sd = f64::from(step) * SHARED_SD_STEP;
        let of: Vec<f64> = images
            .par_iter()
            .map(|of| total_distribution(&of.exceeds, sd)[of.seen].max(f64::MIN_POSITIVE).ln())
            .collect();
        of.iter().sum()
    };
    let (mut low, mut high) = (0, (SHARED_SD_MAX / SHARED_SD_STEP).round() as i32);
    while high - low > 2 {
        let third = (high - low) / 3;
        let (a, b) = (low + third, high - third);
        if likelihood(a) >= likelihood(b) { high = b } else { low = a }
    }
    let best = (low..=high).map(|step| (likelihood(step), step)).reduce(|a, b| if b.0 > a.0 { b } else { a });
    best.map_or(0.0, |(_, step)| f64::from(step) * SHARED_SD_STEP)
}

/// Constant and slope of the logit of a total above 0. The constant makes the mean of the probabilities the share that has calcium, which is
/// what a prevalence needs.
fn above_0(images: &[Seen], shared_sd: f64) -> [f64; 2] {
    let logits: Vec<[f64; FEATURES]> = images
        .par_iter()
        .map(|of| {
            let logit = logit_above_0(&total_distribution(&of.exceeds, shared_sd));
            // the other features have no spread, and so no weight
            std::array::from_fn(|j| if j == 0 { logit } else { 0.0 })
        })
        .collect();
    let above: Vec<bool> = images.iter().map(|of| of.seen > 0).collect();
    let weights = logistic(&logits, &above);
    let known = above.iter().any(|a| *a) && !above.iter().all(|a| *a) && weights[1] > 0.0;
    if known { [significant(weights[0]), significant(weights[1])] } else { [0.0, 1.0] }
}

/// Logistic regression by Newton's method, ridge on the weights of standardised features and none on the constant; the weights given back are
/// for the features as they are, the constant first.
fn logistic(features: &[[f64; FEATURES]], above: &[bool]) -> Vec<f64> {
    const P: usize = FEATURES + 1;
    let n = features.len().max(1) as f64;
    let mean: [f64; FEATURES] = std::array::from_fn(|j| features.iter().map(|f| f[j]).sum::<f64>() / n);
    let sd: [f64; FEATURES] = std::array::from_fn(|j| {
        let variance = features.iter().map(|f| (f[j] - mean[j]).powi(2)).sum::<f64>() / n;
        if variance > 0.0 { variance.sqrt() } else { 1.0 }
    });
    let rows: Vec<[f64; P]> = features
        .iter()
        .map(|f| std::array::from_fn(|j| if j == 0 { 1.0 } else { (f[j - 1] - mean[j - 1]) / sd[j - 1] }))
        .collect();
    let logit = |w: &[f64; P], x: &[f64; P]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    let penalty = |j: usize| if j == 0 { 0.0 } else { RIDGE };
    let loss = |w: &[f64; P]| -> f64 {
        let of = |(x, above): (&[f64; P], &bool)| {
            let z = if *above { -logit(w, x) } else { logit(w, x) };
            // ln(1 + e^z) without overflow
            z.max(0.0) + (-z.abs()).exp().ln_1p()
        };
        let ridge: f64 = w.iter().enumerate().map(|(j, w)| penalty(j) * w * w / 2.0).sum();
        rows.iter().zip(above).map(of).sum::<f64>() + ridge
    };
    let mut w = [0.0; P];
    let mut now = loss(&w);
    for _ in 0..NEWTON_STEPS_MAX {
        let (mut gradient, mut curvature) = ([0.0; P], [[0.0; P]; P]);
        for (x, above) in rows.iter().zip(above) {
            let p = 1.0 / (1.0 + (-logit(&w, x)).exp());
            let (off, spread) = (p - f64::from(u8::from(*above)), p * (1.0 - p));
            for i in 0..P {
                gradient[i] += off * x[i];
                for j in 0..=i {
                    curvature[i][j] += spread * x[i] * x[j];
                }
            }
        }
        for j in 0..P {
            gradient[j] += penalty(j) * w[j];
            // Where all are on one side the constant would run away.
            curvature[j][j] += penalty(j).max(1e-6);
        }
        let step = solve(curvature, gradient);
        // Newton's step, halved until it is downhill.
        let tried = (0..40).map(|halved| 0.5f64.powi(halved)).find_map(|share| {
            let next: [f64; P] = std::array::from_fn(|j| w[j] - share * step[j]);
            let there = loss(&next);
            (there < now).then_some((next, there))
        });
        let Some((next, there)) = tried else { break };
        let gained = now - there;
        (w, now) = (next, there);
        if gained < 1e-12 * now.abs() {
            break;
        }
    }
    let slopes: Vec<f64> = (0..FEATURES).map(|j| w[j + 1] / sd[j]).collect();
    let constant = w[0] - slopes.iter().zip(&mean).map(|(slope, mean)| slope * mean).sum::<f64>();
    std::iter::once(constant).chain(slopes).collect()
}

/// Solves `matrix` x = `right` by Cholesky's factors; of the symmetric, positive definite matrix the lower half is given.
fn solve<const P: usize>(matrix: [[f64; P]; P], right: [f64; P]) -> [f64; P] {
    let mut l = matrix;
    for i in 0..P {
        for j in 0..=i {
            let rest = l[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / l[j][j] };
        }
    }
    let mut x = right;
    for i in 0..P {
        x[i] = (x[i] - (0..i).map(|k| l[i][k] * x[k]).sum::<f64>()) / l[i][i];
    }
    for i in (0..P).rev() {
        x[i] = (x[i] - (i + 1..P).map(|k| l[k][i] * x[k]).sum::<f64>()) / l[i][i];
    }
    x
}

impl Fitted {
    /// What to tell the person.
    pub fn told(&self) -> String {
        let of = &self.calibration;
        let pct = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        format!(
            "fitted on {} segments; {} readings with both totals, {} of them in a wrong category\n\
             shared effect {:.2} logits; an interval grows until it holds {:.4}; review from a doubt of {:.4}\n\
             on these readings: intervals hold {:.1} % of totals, {:.1} % flagged, {:.1} % of category errors among them\n\
             digest {}\n",
            self.segments,
            self.readings,
            self.category_errors,
            of.shared_sd,
            of.interval_mass,
            of.flag_from,
            pct(self.covered, self.readings),
            pct(self.flagged, self.readings),
            pct(self.errors_flagged, self.category_errors),
            Digest::of(of.to_json().as_bytes())
        )
    }
}

#[cfg(test)]
#[path = "calibration_tests.rs"]
mod tests;

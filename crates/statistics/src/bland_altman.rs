//! Bias, limits of agreement and size of error of a model against a reference. Differences are model - reference.

use crate::estimate::{Confidence, Estimate};
use crate::moments::Moments;
use crate::pairs::Pairs;
use serde::Serialize;

/// Multiple of the SD at the limits of agreement, as published (1.96, not 1.959964), so that they can be compared with papers.
const LIMIT_SD: f64 = 1.96;

/// Agreement in score points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlandAltman {
    /// Mean difference, Student's interval.
    pub bias: Estimate,
    /// Of the differences, n - 1.
    pub sd: Estimate,
    /// bias - 1.96 SD, interval by Bland & Altman 1999 (section 2.1).
    pub lower_limit: Estimate,
    /// bias + 1.96 SD.
    pub upper_limit: Estimate,
    /// Mean absolute difference, Student's interval.
    pub mae: Estimate,
    /// Root mean squared difference, delta-method interval.
    pub rmse: Estimate,
}

/// Bland & Altman, Lancet 1986;i:307 and Stat Methods Med Res 1999;8:135.
pub fn bland_altman(pairs: &Pairs, confidence: Confidence) -> BlandAltman {
    let differences = Moments::of_counted(pairs.differences());
    let absolute = Moments::of_counted(pairs.iter().map(|p| (p.difference().abs(), p.count)));
    let bias = Estimate { method: "bias, t", ..differences.mean_estimate(confidence) };
    let limit = |sign: f64, method: &'static str| {
        let (Some(mean), Some(variance)) = (differences.mean(), differences.variance()) else {
            return Estimate::missing(differences.n(), confidence, method);
        };
        let n = differences.n() as f64;
        let error = (variance * (1.0 / n + LIMIT_SD * LIMIT_SD / (2.0 * (n - 1.0)))).sqrt();
        Estimate::point(differences.n(), confidence, method, mean + sign * LIMIT_SD * variance.sqrt())
            .with_symmetric(error, confidence.t(n - 1.0))
    };
    BlandAltman {
        bias,
        sd: Estimate { method: "sd of differences, chi-squared", ..differences.sd_estimate(confidence) },
        lower_limit: limit(-1.0, "lower limit of agreement, bland-altman 1999"),
        upper_limit: limit(1.0, "upper limit of agreement, bland-altman 1999"),
        mae: Estimate { method: "mean absolute error, t", ..absolute.mean_estimate(confidence) },
        rmse: rmse(pairs, confidence),
    }
}

fn rmse(pairs: &Pairs, confidence: Confidence) -> Estimate {
    const METHOD: &str = "root mean squared error, delta";
    let squares = Moments::of_counted(pairs.iter().map(|p| (p.difference().powi(2), p.count)));
    let Some(mean) = squares.mean() else { return Estimate::missing(0, confidence, METHOD) };
    let point = Estimate::point(squares.n(), confidence, METHOD, mean.sqrt());
    match squares.variance() {
        Some(variance) if mean > 0.0 => {
            let error = (variance / squares.n() as f64).sqrt() / (2.0 * mean.sqrt());
            point.with_symmetric(error, confidence.z()).clipped(0.0, f64::MAX)
        }
        _ => point,
    }
}

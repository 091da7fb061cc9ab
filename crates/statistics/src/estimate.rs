//! The one shape of every answer: an estimate with its interval, or a test with its p-value. NULL is `None`; NaN never leaves.

use crate::distributions::{chi2_sf, normal_quantile, t_quantile, two_sided_p};
use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;

/// Level of confidence intervals, strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence(f64);

impl Default for Confidence {
    /// 95 %.
    fn default() -> Confidence {
        Confidence(0.95)
    }
}

impl Confidence {
    /// # Errors
    /// [`ErrorKind::Argument`] unless 0 < level < 1.
    pub fn new(level: f64) -> Result<Confidence> {
        if level > 0.0 && level < 1.0 {
            return Ok(Confidence(level));
        }
        Err(Error::new(ErrorKind::Argument, format!("a confidence level lies between 0 and 1 (as 0.95), not {level}")))
    }

    pub fn level(self) -> f64 {
        self.0
    }

    /// Probability below the lower limit, .025 for 95 %.
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// 1.959964 for 95 %.
    pub fn z(self) -> f64 {
        -normal_quantile(self.tail())
    }

    /// Quantile of Student's t; NaN unless df > 0.
    pub fn t(self, df: f64) -> f64 {
        -t_quantile(self.tail(), df)
    }
}

/// An estimate with its confidence interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Units that entered: pairs, participants, images, as the function says.
    pub n: u64,
    /// `None` where it is not defined from these data: nothing, one row, zero variance, an empty margin.
    pub estimate: Option<f64>,
    /// `None` where the method has none.
    pub std_error: Option<f64>,
    pub conf_low: Option<f64>,
    pub conf_high: Option<f64>,
    pub conf_level: f64,
    /// Name of the formula, of the interval where there is one.
    pub method: &'static str,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Estimate {
    /// Not defined.
    pub fn missing(n: u64, confidence: Confidence, method: &'static str) -> Estimate {
        let conf_level = confidence.level();
        Estimate { n, estimate: None, std_error: None, conf_low: None, conf_high: None, conf_level, method }
    }

    /// A value without an interval; missing unless finite.
    pub(crate) fn point(n: u64, confidence: Confidence, method: &'static str, value: f64) -> Estimate {
        Estimate { estimate: finite(value), ..Estimate::missing(n, confidence, method) }
    }

    pub(crate) fn with_error(self, std_error: f64) -> Estimate {
        let std_error = self.estimate.and(finite(std_error));
        Estimate { std_error, ..self }
    }

    /// Both limits or none.
    pub(crate) fn with_limits(self, low: f64, high: f64) -> Estimate {
        let whole = self.estimate.is_some() && low.is_finite() && high.is_finite();
        Estimate { conf_low: whole.then_some(low), conf_high: whole.then_some(high), ..self }
    }

    /// estimate ± quantile · standard error.
    pub(crate) fn with_symmetric(self, std_error: f64, quantile: f64) -> Estimate {
        let centre = self.estimate.unwrap_or(f64::NAN);
        self.with_error(std_error).with_limits(centre - quantile * std_error, centre + quantile * std_error)
    }

    /// Limits cut at the range of the quantity.
    pub(crate) fn clipped(self, low: f64, high: f64) -> Estimate {
        let cut = |limit: Option<f64>| limit.map(|v| v.clamp(low, high));
        Estimate { conf_low: cut(self.conf_low), conf_high: cut(self.conf_high), ..self }
    }
}

/// A test with its p-value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Test {
    /// Units that entered.
    pub n: u64,
    pub statistic: Option<f64>,
    /// Degrees of freedom of chi-squared statistics.
    pub df: Option<f64>,
    /// Two-sided.
    pub p_value: Option<f64>,
    pub method: &'static str,
}

impl Test {
    /// Not defined.
    pub fn missing(n: u64, method: &'static str) -> Test {
        Test { n, statistic: None, df: None, p_value: None, method }
    }

    pub(crate) fn new(n: u64, method: &'static str, statistic: f64, p_value: f64) -> Test {
        let (statistic, p_value) = (finite(statistic), finite(p_value).map(|p| p.clamp(0.0, 1.0)));
        Test { n, statistic, df: None, p_value: statistic.and(p_value), method }
    }

    pub(crate) fn chi2(n: u64, method: &'static str, statistic: f64, df: f64) -> Test {
        let defined = statistic.is_finite() && df >= 1.0;
        if !defined {
            return Test::missing(n, method);
        }
        Test { df: Some(df), ..Test::new(n, method, statistic, chi2_sf(statistic, df)) }
    }

    pub(crate) fn normal(n: u64, method: &'static str, z: f64) -> Test {
        Test::new(n, method, z, two_sided_p(z))
    }
}

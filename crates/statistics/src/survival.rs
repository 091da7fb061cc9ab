//! Survival from the date of the image: Kaplan-Meier and the log-rank test.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate, Test};
use crate::paired::quadratic_form;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// Follow-up of one participant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FollowUp {
    /// From the image to the event or the end of observation, days or years, from 0.
    pub time: f64,
    /// Whether it ended with the event.
    pub event: bool,
}

pub(crate) fn check_times(times: impl IntoIterator<Item = f64>) -> Result<()> {
    if times.into_iter().all(|t| t.is_finite() && t >= 0.0) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Argument, "a follow-up time is missing or negative: an outcome before the image date?"))
}

/// Scale on which the interval of S(t) is symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SurvivalInterval {
    /// log S, as R's survfit does unless told.
    #[default]
    Log,
    /// log(-log S), as lifelines and Stata do.
    LogLog,
}

/// The curve after one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SurvivalStep {
    pub time: f64,
    pub at_risk: u64,
    pub events: u64,
    pub censored: u64,
    /// S(time), Greenwood's standard error; n is the number at risk.
    pub survival: Estimate,
}

/// Kaplan-Meier curve (JASA 1958;53:457), a step for each distinct time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KaplanMeier {
    n: u64,
    conf_level: f64,
    pub steps: Vec<SurvivalStep>,
}

/// # Errors
/// [`ErrorKind::Argument`] for a time that is negative or not finite.
pub fn kaplan_meier(rows: &[FollowUp], interval: SurvivalInterval, confidence: Confidence) -> Result<KaplanMeier> {
    check_times(rows.iter().map(|r| r.time))?;
    let method = match interval {
        SurvivalInterval::Log => "kaplan-meier, log",
        SurvivalInterval::LogLog => "kaplan-meier, log-log",
    };
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.time.total_cmp(&b.time));
    let mut at_risk = sorted.len() as u64;
    // Greenwood's sum is the variance of log S.
    let (mut survival, mut greenwood) = (1.0, 0.0);
    let mut steps = Vec::new();
    for tied in sorted.chunk_by(|a, b| a.time == b.time) {
        let events = tied.iter().filter(|r| r.event).count() as u64;
        let (n, d) = (at_risk as f64, events as f64);
        survival *= 1.0 - d / n;
        if events > 0 {
            greenwood += d / (n * (n - d));
        }
        let error = f64::sqrt(greenwood);
        let point = Estimate::point(at_risk, confidence, method, survival).with_error(survival * error);
        let limit = |z: f64| match interval {
            SurvivalInterval::Log => survival * (z * error).exp(),
            // The outer scale turns round.
            SurvivalInterval::LogLog => survival.powf((-z * error / survival.ln()).exp()),
        };
        let estimate = if survival == 1.0 {
            point.with_limits(1.0, 1.0)
        } else {
            let z = confidence.z();
            let (low, high) = (limit(-z), limit(z));
            point.with_limits(low.min(high), low.max(high)).clipped(0.0, 1.0)
        };
        let censored = tied.len() as u64 - events;
        steps.push(SurvivalStep { time: tied[0].time, at_risk, events, censored, survival: estimate });
        at_risk -= tied.len() as u64;
    }
    Ok(KaplanMeier { n: rows.len() as u64, conf_level: confidence.level(), steps })
}

impl KaplanMeier {
    /// S(time); `None` before the first and after the last observed time is 1 and missing.
    pub fn at(&self, time: f64) -> Option<&Estimate> {
        let after = self.steps.partition_point(|s| s.time <= time);
        after.checked_sub(1).map(|i| &self.steps[i].survival)
    }

    /// Median survival: where S first reaches 1/2 or less, the middle of the flat stretch where it is 1/2 exactly; limits by inverting
    /// those of the curve (Brookmeyer & Crowley 1982). Missing where the curve does not come so far; a limit it does not reach
    /// is missing by itself.
    pub fn median(&self) -> Estimate {
        let confidence = Confidence::new(self.conf_level).unwrap_or_default();
        let missing = Estimate::missing(self.n, confidence, "median survival, brookmeyer-crowley");
        let crossing = |value: &dyn Fn(&SurvivalStep) -> Option<f64>| -> Option<f64> {
            const HALF_TOLERANCE: f64 = 1e-10;
            let below = |s: &SurvivalStep| value(s).is_some_and(|v| v <= 0.5 + HALF_TOLERANCE);
            let first = self.steps.iter().position(below)?;
            let exactly = value(&self.steps[first]).is_some_and(|v| v >= 0.5 - HALF_TOLERANCE);
            let next = self.steps[first..].iter().find(|s| value(s).is_some_and(|v| v < 0.5 - HALF_TOLERANCE));
            let time = self.steps[first].time;
            Some(next.filter(|_| exactly).map_or(time, |s| (time + s.time) / 2.0))
        };
        let estimate = crossing(&|s| s.survival.estimate);
        if estimate.is_none() {
            return missing;
        }
        let (low, high) = (crossing(&|s| s.survival.conf_low), crossing(&|s| s.survival.conf_high));
        Estimate { estimate, conf_low: low, conf_high: high, ..missing }
    }
}

/// Log-rank test of k groups (Mantel 1966; Peto & Peto 1972), hypergeometric variance. `group` is 0..k.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRank {
    pub test: Test,
    /// Events observed in each group.
    pub observed: Vec<f64>,
    /// Events expected were there no difference.
    pub expected: Vec<f64>,
}

/// # Errors
/// [`ErrorKind::Argument`] for a time that is negative or not finite.
pub fn log_rank(rows: &[(FollowUp, usize)]) -> Result<LogRank> {
    check_times(rows.iter().map(|r| r.0.time))?;
    let k = rows.iter().map(|r| r.1 + 1).max().unwrap_or(0);
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.0.time.total_cmp(&b.0.time));
    let mut at_risk = vec![0.0; k];
    sorted.iter().for_each(|(_, group)| at_risk[*group] += 1.0);
    let (mut observed, mut expected) = (vec![0.0; k], vec![0.0; k]);
    let mut variance = DMatrix::<f64>::zeros(k, k);
    for tied in sorted.chunk_by(|a, b| a.0.time == b.0.time) {
        let n: f64 = at_risk.iter().sum();
        let d = tied.iter().filter(|r| r.0.event).count() as f64;
        if d > 0.0 {
            let spread = if n > 1.0 { d * (n - d) / (n - 1.0) } else { 0.0 };
            for i in 0..k {
                expected[i] += d * at_risk[i] / n;
                for j in 0..k {
                    let own = if i == j { at_risk[i] / n } else { 0.0 };
                    variance[(i, j)] += spread * (own - at_risk[i] * at_risk[j] / (n * n));
                }
            }
        }
        for (row, group) in tied {
            observed[*group] += f64::from(u8::from(row.event));
            at_risk[*group] -= 1.0;
        }
    }
    let shift = DVector::from_iterator(k, observed.iter().zip(&expected).map(|(o, e)| o - e));
    let (statistic, rank) = if k == 0 { (f64::NAN, 0) } else { quadratic_form(variance, &shift) };
    Ok(LogRank { test: Test::chi2(rows.len() as u64, "log-rank", statistic, rank as f64), observed, expected })
}

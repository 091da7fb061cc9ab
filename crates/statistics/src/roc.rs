//! Area under the ROC curve with DeLong's variance, of one score or of two scores of the same participants.

use crate::counts::AacJointOutcome;
use crate::estimate::{Confidence, Estimate, Test};
use crate::pairs::tally;
use serde::Serialize;

/// One score with and without the outcome, higher scores speaking for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// Ascending (score, cases, controls).
    levels: Vec<(f64, u64, u64)>,
}

impl Roc {
    /// Scores that are not finite are missing.
    pub fn of(values: impl IntoIterator<Item = (f64, bool)>) -> Roc {
        let mut sorted: Vec<(f64, bool)> = values.into_iter().filter(|(s, _)| s.is_finite()).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut levels: Vec<(f64, u64, u64)> = Vec::new();
        for (score, outcome) in sorted {
            let same = levels.last().is_some_and(|last| last.0 == score);
            if !same {
                levels.push((score, 0, 0));
            }
            if let Some(last) = levels.last_mut() {
                last.1 += u64::from(outcome);
                last.2 += u64::from(!outcome);
            }
        }
        Roc { levels }
    }

    pub fn of_joint(joint: &AacJointOutcome) -> Roc {
        let both = joint.levels(true).iter().zip(joint.levels(false)).enumerate();
        Roc { levels: both.map(|(score, (cases, controls))| (score as f64, *cases, *controls)).collect() }
    }

    fn totals(&self) -> (u64, u64) {
        self.levels.iter().fold((0, 0), |(cases, controls), level| (cases + level.1, controls + level.2))
    }

    /// AUC: chance that a case scores higher than a control, ties one half. Interval of DeLong, DeLong & Clarke-Pearson (Biometrics
    /// 1988;44:837), cut at 0 and 1. Missing without cases or without controls.
    pub fn auc(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "auc, delong";
        let (cases, controls) = self.totals();
        let n = cases + controls;
        if cases == 0 || controls == 0 {
            return Estimate::missing(n, confidence, METHOD);
        }
        let placements = self.placements(cases, controls);
        let auc = placements.iter().map(|p| p.cases as f64 * p.of_case).sum::<f64>() / cases as f64;
        let spread = |place: &dyn Fn(&Placement) -> (u64, f64), total: u64| {
            let squares: f64 = placements
                .iter()
                .map(|p| {
                    let (count, value) = place(p);
                    count as f64 * (value - auc).powi(2)
                })
                .sum();
            squares / (total as f64 - 1.0) / total as f64
        };
        let variance = spread(&|p| (p.cases, p.of_case), cases) + spread(&|p| (p.controls, p.of_control), controls);
        Estimate::point(n, confidence, METHOD, auc).with_symmetric(variance.sqrt(), confidence.z()).clipped(0.0, 1.0)
    }

    /// Every threshold "score at least", from one that finds nobody to one that finds all. Empty without cases or controls.
    pub fn points(&self) -> Vec<RocPoint> {
        let (all_cases, all_controls) = self.totals();
        if all_cases == 0 || all_controls == 0 {
            return Vec::new();
        }
        let point = |at_least: Option<f64>, cases: u64, controls: u64| RocPoint {
            at_least,
            cases,
            controls,
            sensitivity: cases as f64 / all_cases as f64,
            specificity: (all_controls - controls) as f64 / all_controls as f64,
        };
        let (mut cases, mut controls) = (0, 0);
        let mut points = vec![point(None, 0, 0)];
        for (score, with, without) in self.levels.iter().rev().filter(|level| level.1 + level.2 > 0) {
            cases += with;
            controls += without;
            points.push(point(Some(*score), cases, controls));
        }
        points
    }

    fn placements(&self, cases: u64, controls: u64) -> Vec<Placement> {
        let (mut cases_below, mut controls_below) = (0, 0);
        let place = |level: &(f64, u64, u64)| {
            let of_case = (controls_below as f64 + level.2 as f64 / 2.0) / controls as f64;
            let of_control = ((cases - cases_below - level.1) as f64 + level.1 as f64 / 2.0) / cases as f64;
            cases_below += level.1;
            controls_below += level.2;
            Placement { cases: level.1, controls: level.2, of_case, of_control }
        };
        self.levels.iter().map(place).collect()
    }
}

/// What the threshold "score at least" finds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// `None`: above every score.
    pub at_least: Option<f64>,
    /// With the outcome and at or above it.
    pub cases: u64,
    /// Without the outcome and at or above it.
    pub controls: u64,
    /// Share of those with the outcome, 0..=1.
    pub sensitivity: f64,
    /// Share of those without the outcome that lie below, 0..=1.
    pub specificity: f64,
}

struct Placement {
    cases: u64,
    controls: u64,
    /// Share of controls below a case of this score.
    of_case: f64,
    /// Share of cases above a control of this score.
    of_control: f64,
}

/// Outcome and two scores of one participant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoScores {
    pub outcome: bool,
    pub first: f64,
    pub second: f64,
}

/// AUC of the first score less that of the second in the same participants, and DeLong's test of no difference.
pub fn auc_difference(rows: &[TwoScores], confidence: Confidence) -> (Estimate, Test) {
    const METHOD: &str = "auc difference, paired delong";
    let rows: Vec<&TwoScores> = rows.iter().filter(|r| r.first.is_finite() && r.second.is_finite()).collect();
    let n = rows.len() as u64;
    let cases = rows.iter().filter(|r| r.outcome).count() as u64;
    let controls = n - cases;
    if cases < 2 || controls < 2 {
        return (Estimate::missing(n, confidence, METHOD), Test::missing(n, METHOD));
    }
    let first = placement_of_each(&rows, cases, controls, |r| r.first);
    let second = placement_of_each(&rows, cases, controls, |r| r.second);
    let difference: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a - b).collect();
    let mean_and_error = |outcome: bool, total: u64| {
        let of = || rows.iter().zip(&difference).filter(move |(r, _)| r.outcome == outcome).map(|(_, d)| *d);
        let mean = of().sum::<f64>() / total as f64;
        (mean, of().map(|d| (d - mean).powi(2)).sum::<f64>() / (total as f64 - 1.0) / total as f64)
    };
    // The mean placement of the cases is the AUC, and so is that of the controls.
    let ((delta, of_cases), (_, of_controls)) = (mean_and_error(true, cases), mean_and_error(false, controls));
    let error = (of_cases + of_controls).sqrt();
    let estimate =
        Estimate::point(n, confidence, METHOD, delta).with_symmetric(error, confidence.z()).clipped(-1.0, 1.0);
    (estimate, Test::normal(n, METHOD, delta / error))
}

fn placement_of_each(rows: &[&TwoScores], cases: u64, controls: u64, score: fn(&TwoScores) -> f64) -> Vec<f64> {
    let side = |outcome: bool| tally(rows.iter().filter(|r| r.outcome == outcome).map(|r| (score(r), 1)));
    let (case_scores, control_scores) = (Cumulative::of(&side(true)), Cumulative::of(&side(false)));
    let place = |row: &&TwoScores| {
        if row.outcome {
            control_scores.below_or_half(score(row)) / controls as f64
        } else {
            1.0 - case_scores.below_or_half(score(row)) / cases as f64
        }
    };
    rows.iter().map(place).collect()
}

/// Counts up to each value.
struct Cumulative(Vec<(f64, u64, u64)>);

impl Cumulative {
    fn of(tallied: &[(f64, u64)]) -> Cumulative {
        let mut below = 0;
        let step = |(value, count): &(f64, u64)| {
            let entry = (*value, below, *count);
            below += count;
            entry
        };
        Cumulative(tallied.iter().map(step).collect())
    }

    /// Values below, and half of those equal.
    fn below_or_half(&self, value: f64) -> f64 {
        let at = self.0.partition_point(|entry| entry.0 < value);
        match self.0.get(at) {
            Some((v, below, count)) if *v == value => *below as f64 + *count as f64 / 2.0,
            Some((_, below, _)) => *below as f64,
            None => self.0.last().map_or(0.0, |(_, below, count)| (below + count) as f64),
        }
    }
}

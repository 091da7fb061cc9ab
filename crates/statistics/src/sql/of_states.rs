//! The scalar functions: each a line of a table with formula, source and example.

use super::answer::Form;
use super::state::StateKind;
use crate::bland_altman::{BlandAltman, bland_altman};
use crate::classification::{accuracy, by_class};
use crate::correlation::{concordance, pearson, r_squared, spearman};
use crate::counts::{AacHist, AacJoint, AacJointOutcome, CountState};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate, Test};
use crate::icc::RatingSquares;
use crate::kappa::{KappaWeights, kappa};
use crate::moments::Moments;
use crate::paired::{McNemar, bowker, mcnemar, stuart_maxwell};
use crate::pairs::Pairs;
use crate::prevalence::prevalence;
use crate::progression::smallest_detectable_change;
use crate::proportion::{Interval, proportion};
use crate::roc::{Roc, RocPoint};
use crate::score::Scores;
use crate::table::SquareTable;
use crate::table1::smd_continuous;
use crate::wilcoxon::signed_rank;
use std::collections::BTreeSet;

/// Counts of each state of a row.
pub type States<'a> = &'a [&'a [u64]];
/// Named estimates.
pub type Rows = Vec<(String, Estimate)>;
/// Named tests.
pub type Tests = Vec<(String, Test)>;
/// (mean, model - reference, pairs there)
pub type Spots = Vec<(f64, f64, u64)>;

/// What a function does with its states and numbers.
#[derive(Clone, Copy)]
pub enum Apply {
    Estimate(fn(States, &[f64], Confidence) -> Result<Estimate>),
    Test(fn(States, &[f64]) -> Result<Test>),
    Table(fn(States, &[f64], Confidence) -> Result<Rows>),
    Tests(fn(States, &[f64]) -> Result<Tests>),
    Roc(fn(States) -> Result<Vec<RocPoint>>),
    Differences(fn(States) -> Result<Spots>),
}

/// One scalar function.
pub struct Function {
    pub name: &'static str,
    pub states: &'static [StateKind],
    /// Names of the numbers after the states.
    pub numbers: &'static [&'static str],
    pub apply: Apply,
    pub formula: &'static str,
    pub source: &'static str,
    /// A statement on a table `pairs(reference, model, outcome)`.
    pub example: &'static str,
}

impl Function {
    pub fn form(&self) -> Form {
        match self.apply {
            Apply::Estimate(_) => Form::Estimate,
            Apply::Test(_) => Form::Test,
            Apply::Table(_) => Form::Table,
            Apply::Tests(_) => Form::Tests,
            Apply::Roc(_) => Form::Roc,
            Apply::Differences(_) => Form::Differences,
        }
    }

    pub fn usage(&self) -> String {
        let states = self.states.iter().map(|kind| kind.name());
        let all: Vec<&str> = states.chain(self.numbers.iter().copied()).collect();
        format!("{}({})", self.name, all.join(", "))
    }
}

fn hist(states: States) -> Result<Scores> {
    AacHist::from_counts(states[0]).map(|hist| Scores::of_hist(&hist))
}

fn joint(states: States) -> Result<AacJoint> {
    AacJoint::from_counts(states[0])
}

fn pairs(states: States) -> Result<Pairs> {
    joint(states).map(|joint| Pairs::of_joint(&joint))
}

fn limits(states: States, confidence: Confidence) -> Result<BlandAltman> {
    Ok(bland_altman(&pairs(states)?, confidence))
}

fn ratings(states: States) -> Result<RatingSquares> {
    Ok(RatingSquares::of_pairs(&pairs(states)?))
}

fn levels_kappa(states: States, weights: KappaWeights, confidence: Confidence) -> Result<Estimate> {
    Ok(kappa(&SquareTable::of_joint(&joint(states)?), weights, confidence))
}

/// Three classes from the least scores of the middle and the high one.
fn classes(states: States, cuts: &[f64]) -> Result<SquareTable> {
    let whole = |cut: &f64| cut.fract() == 0.0 && (1.0..=24.0).contains(cut);
    if !cuts.iter().all(whole) {
        return Err(Error::new(ErrorKind::Argument, format!("cut-offs are whole scores of 1..=24, not {cuts:?}")));
    }
    SquareTable::of_classes(&joint(states)?, &cuts.iter().map(|cut| *cut as usize).collect::<Vec<_>>())
}

fn class_table(states: States, cuts: &[f64], interval: Interval, confidence: Confidence) -> Result<Rows> {
    let table = classes(states, cuts)?;
    let mut rows = vec![("accuracy".to_owned(), accuracy(&table, interval, confidence))];
    for (weights, name) in KappaWeights::ALL.into_iter().zip(["kappa", "kappa_linear", "kappa_quadratic"]) {
        rows.push((name.to_owned(), kappa(&table, weights, confidence)));
    }
    for class in by_class(&table, interval, confidence) {
        let name = ["low", "moderate", "high"][class.class];
        let measures = [
            ("sensitivity", class.sensitivity),
            ("specificity", class.specificity),
            ("ppv", class.ppv),
            ("npv", class.npv),
        ];
        rows.extend(measures.map(|(measure, estimate)| (format!("{measure}_{name}"), estimate)));
    }
    Ok(rows)
}

/// All statistics of agreement of two scores, long.
pub fn agreement(pairs: &Pairs, confidence: Confidence) -> Result<Rows> {
    let limits = bland_altman(pairs, confidence);
    let (r2, squares) = (r_squared(pairs, confidence), RatingSquares::of_pairs(pairs));
    let rows = [
        ("bias", limits.bias),
        ("sd_difference", limits.sd),
        ("lower_limit", limits.lower_limit),
        ("upper_limit", limits.upper_limit),
        ("mae", limits.mae),
        ("rmse", limits.rmse),
        ("pearson", pearson(pairs, confidence)),
        ("spearman", spearman(pairs, confidence)),
        ("ccc", concordance(pairs, confidence)),
        ("icc_2_1", squares.icc_2_1(confidence)),
        ("icc_3_1", squares.icc_3_1(confidence)),
        ("r2_ols", r2.ols),
        ("r2_origin_centred", r2.origin_centred),
        ("r2_origin_uncentred", r2.origin_uncentred),
        ("r2_identity", r2.identity),
        ("hodges_lehmann", signed_rank(pairs.differences(), confidence)?.shift),
    ];
    Ok(rows.map(|(name, estimate)| (name.to_owned(), estimate)).to_vec())
}

fn agreement_of_joint(states: States, confidence: Confidence) -> Result<Rows> {
    let mut rows = agreement(&pairs(states)?, confidence)?;
    for (weights, name) in KappaWeights::ALL.into_iter().zip(["kappa", "kappa_linear", "kappa_quadratic"]) {
        rows.push((name.to_owned(), levels_kappa(states, weights, confidence)?));
    }
    Ok(rows)
}

fn limits_table(states: States, confidence: Confidence) -> Result<Rows> {
    let limits = limits(states, confidence)?;
    let rows = [
        ("bias", limits.bias),
        ("sd_difference", limits.sd),
        ("lower_limit", limits.lower_limit),
        ("upper_limit", limits.upper_limit),
    ];
    Ok(rows.map(|(name, estimate)| (name.to_owned(), estimate)).to_vec())
}

/// Pairs that lie on the same point of a Bland-Altman plot are counted together.
fn differences(states: States) -> Result<Spots> {
    Ok(pairs(states)?.iter().map(|p| ((p.reference + p.model) / 2.0, p.difference(), p.count)).collect())
}

/// Share of scores of at least a cut-off where some totals are ranges.
fn prevalence_table(states: States, numbers: &[f64], confidence: Confidence) -> Result<Rows> {
    let p = prevalence(&joint(states)?, numbers[0], Interval::Wilson, confidence)?;
    let rows = [("decided", p.decided), ("open_all_below", p.lowest), ("open_all_above", p.highest)];
    Ok(rows.map(|(name, estimate)| (name.to_owned(), estimate)).to_vec())
}

/// Pairs that a cut-off parts: reference at or above it and model below, then the other way.
fn discordant(joint: &AacJoint, cut: usize) -> Result<(u64, u64)> {
    let table = SquareTable::of_classes(joint, &[cut])?;
    Ok((table.at(1, 0), table.at(0, 1)))
}

/// All tests of paired scores: of their size, of three classes, and of each cut-off alone.
fn paired_tests(states: States, cuts: &[f64]) -> Result<Tests> {
    let (joint, table) = (joint(states)?, classes(states, cuts)?);
    let shift = signed_rank(Pairs::of_joint(&joint).differences(), Confidence::default())?;
    let mut tests = vec![
        ("signed_rank".to_owned(), shift.test),
        ("bowker".to_owned(), bowker(&table)),
        ("stuart_maxwell".to_owned(), stuart_maxwell(&table)),
    ];
    let cuts: BTreeSet<usize> = std::iter::once(1).chain(cuts.iter().map(|cut| *cut as usize)).collect();
    for cut in cuts {
        let (b, c) = discordant(&joint, cut)?;
        tests.push((format!("mcnemar_from_{cut}"), mcnemar(b, c, McNemar::ChiSquared)));
        tests.push((format!("mcnemar_exact_from_{cut}"), mcnemar(b, c, McNemar::Exact)));
    }
    Ok(tests)
}

fn mcnemar_of(numbers: &[f64], form: McNemar) -> Result<Test> {
    let whole = |v: &f64| v.fract() == 0.0 && (0.0..9e15).contains(v);
    if !numbers.iter().all(whole) {
        let context = format!("two counts of discordant pairs are whole numbers from 0, not {numbers:?}");
        return Err(Error::new(ErrorKind::Argument, context));
    }
    Ok(mcnemar(numbers[0] as u64, numbers[1] as u64, form))
}

fn drift_table(states: States, confidence: Confidence) -> Result<Rows> {
    let (before, after) = (AacHist::from_counts(states[0])?, AacHist::from_counts(states[1])?);
    let drift = crate::drift::drift(before.levels(), after.levels())?;
    let row = |name: &str, value: Option<f64>, method: &'static str| {
        let n = drift.n_reference + drift.n_current;
        (name.to_owned(), Estimate::point(n, confidence, method, value.unwrap_or(f64::NAN)))
    };
    Ok(vec![
        row("psi", drift.psi, "population stability index"),
        row("ks_d", drift.ks, "kolmogorov-smirnov d"),
        row("wasserstein", drift.wasserstein, "wasserstein, score points"),
    ])
}

/// `count` and `n` as whole numbers from 0.
fn share(numbers: &[f64], interval: Interval, confidence: Confidence) -> Result<Estimate> {
    let whole = |v: &f64| v.fract() == 0.0 && (0.0..9e15).contains(v);
    if !numbers.iter().all(whole) || numbers[0] > numbers[1] {
        let context = format!("a count of n is two whole numbers, 0 <= count <= n, not {numbers:?}");
        return Err(Error::new(ErrorKind::Argument, context));
    }
    Ok(proportion(numbers[0] as u64, numbers[1] as u64, interval, confidence))
}

fn summed(state: &[u64], confidence: Confidence, of: fn(&Moments, Confidence) -> Estimate) -> Result<Estimate> {
    Ok(of(&Moments::from_words(state)?, confidence))
}

const MOMENTS: &[StateKind] = &[StateKind::Moments];
const HIST: &[StateKind] = &[StateKind::Hist];
const JOINT: &[StateKind] = &[StateKind::Joint];
const OUTCOME: &[StateKind] = &[StateKind::JointOutcome];
const CUTS: &[&str] = &["moderate_from", "high_from"];

macro_rules! function {
    ($name:literal, $states:expr, $numbers:expr, $apply:expr, $formula:literal, $source:literal, $example:literal) => {
        Function {
            name: $name,
            states: $states,
            numbers: $numbers,
            apply: $apply,
            formula: $formula,
            source: $source,
            example: $example,
        }
    };
}

/// All scalar functions.
#[rustfmt::skip]
pub const FUNCTIONS: &[Function] = &[
    function!("moments_mean", MOMENTS, &[], Apply::Estimate(|s, _, c| summed(s[0], c, Moments::mean_estimate)),
        "sum x / n of exact sums; Student's interval", "textbook", "SELECT moments_mean(moments(days)) FROM pairs"),
    function!("moments_sd", MOMENTS, &[], Apply::Estimate(|s, _, c| summed(s[0], c, Moments::sd_estimate)),
        "sqrt((n sum x^2 - (sum x)^2) / (n (n - 1))) of exact sums; chi-squared interval", "textbook",
        "SELECT moments_sd(moments(days)) FROM pairs"),
    function!("moments_smd", &[StateKind::Moments, StateKind::Moments], &[],
        Apply::Estimate(|s, _, c| Ok(smd_continuous(&Moments::from_words(s[0])?, &Moments::from_words(s[1])?, c))),
        "(mean of second - mean of first) / sqrt of the mean variance", "Austin 2009",
        "SELECT moments_smd(moments(days) FILTER (WHERE NOT outcome), moments(days) FILTER (WHERE outcome)) FROM pairs"),
    function!("aac_mean", HIST, &[], Apply::Estimate(|s, _, c| Ok(hist(s)?.moments().mean_estimate(c))),
        "sum x / n; Student's interval", "textbook", "SELECT aac_mean(aac_hist(model)) FROM pairs"),
    function!("aac_sd", HIST, &[], Apply::Estimate(|s, _, c| Ok(hist(s)?.moments().sd_estimate(c))),
        "sqrt(sum (x - mean)^2 / (n - 1)); chi-squared interval", "textbook", "SELECT aac_sd(aac_hist(model)) FROM pairs"),
    function!("aac_quantile", HIST, &["p"], Apply::Estimate(|s, v, c| hist(s)?.quantile(v[0], c)),
        "type 7, exact; interval of order statistics", "Hyndman & Fan 1996; Conover 1999, 3.2",
        "SELECT aac_quantile(aac_hist(model), 0.75) FROM pairs"),
    function!("aac_median", HIST, &[], Apply::Estimate(|s, _, c| hist(s)?.quantile(0.5, c)),
        "type 7, exact; interval of order statistics", "Hyndman & Fan 1996; Conover 1999, 3.2",
        "SELECT aac_median(aac_hist(model)) FROM pairs"),
    function!("aac_prevalence", HIST, &["at_least"],
        Apply::Estimate(|s, v, c| Ok(hist(s)?.prevalence(v[0], Interval::Wilson, c))),
        "share of scores >= at_least; Wilson's interval", "Wilson 1927", "SELECT aac_prevalence(aac_hist(model), 1) FROM pairs"),
    function!("prevalence", JOINT, &["at_least"], Apply::Table(prevalence_table),
        "share of scores >= at_least among those that aac24_min and aac24_max decide; all others below; all above",
        "Wilson 1927; Manski 2003", "SELECT unnest(prevalence(aac_joint(model, model), 1)) FROM pairs"),
    function!("aac_drift", &[StateKind::Hist, StateKind::Hist], &[], Apply::Table(|s, _, c| drift_table(s, c)),
        "psi = sum (q - p) ln(q / p); D = max |F - G|; W = sum |F - G|", "Siddiqi 2006; Kantorovich 1942",
        "SELECT unnest(aac_drift(aac_hist(reference), aac_hist(model))) FROM pairs"),
    function!("agreement", JOINT, &[], Apply::Table(|s, _, c| agreement_of_joint(s, c)),
        "all statistics of agreement, differences model - reference", "of each function",
        "SELECT unnest(agreement(aac_joint(reference, model))) FROM pairs"),
    function!("bland_altman", JOINT, &[], Apply::Table(|s, _, c| limits_table(s, c)),
        "mean and sd of model - reference; bias +- 1.96 sd", "Bland & Altman 1986, 1999",
        "SELECT unnest(bland_altman(aac_joint(reference, model))) FROM pairs"),
    function!("bland_altman_points", JOINT, &[], Apply::Differences(differences),
        "(reference + model) / 2, model - reference, pairs there", "Bland & Altman 1986",
        "SELECT unnest(bland_altman_points(aac_joint(reference, model))) FROM pairs"),
    function!("smallest_detectable_change", JOINT, &[], Apply::Estimate(|s, _, c| {
            let pairs = pairs(s)?;
            let value = smallest_detectable_change(&pairs).unwrap_or(f64::NAN);
            Ok(Estimate::point(pairs.n(), c, "smallest detectable change", value))
        }),
        "1.96 sqrt(2) sqrt(mean square of error) of readings repeated without change", "Beckerman et al. 2001",
        "SELECT smallest_detectable_change(aac_joint(reference, model)) FROM pairs"),
    function!("agreement_bias", JOINT, &[], Apply::Estimate(|s, _, c| Ok(limits(s, c)?.bias)),
        "mean of model - reference; Student's interval", "Bland & Altman 1986",
        "SELECT agreement_bias(aac_joint(reference, model)) FROM pairs"),
    function!("agreement_lower_limit", JOINT, &[], Apply::Estimate(|s, _, c| Ok(limits(s, c)?.lower_limit)),
        "bias - 1.96 sd", "Bland & Altman 1999, 2.1", "SELECT agreement_lower_limit(aac_joint(reference, model)) FROM pairs"),
    function!("agreement_upper_limit", JOINT, &[], Apply::Estimate(|s, _, c| Ok(limits(s, c)?.upper_limit)),
        "bias + 1.96 sd", "Bland & Altman 1999, 2.1", "SELECT agreement_upper_limit(aac_joint(reference, model)) FROM pairs"),
    function!("agreement_mae", JOINT, &[], Apply::Estimate(|s, _, c| Ok(limits(s, c)?.mae)),
        "mean |model - reference|; Student's interval", "textbook", "SELECT agreement_mae(aac_joint(reference, model)) FROM pairs"),
    function!("agreement_rmse", JOINT, &[], Apply::Estimate(|s, _, c| Ok(limits(s, c)?.rmse)),
        "sqrt(mean (model - reference)^2); delta method", "textbook", "SELECT agreement_rmse(aac_joint(reference, model)) FROM pairs"),
    function!("aac_pearson", JOINT, &[], Apply::Estimate(|s, _, c| Ok(pearson(&pairs(s)?, c))),
        "r; Fisher's interval", "Fisher 1921", "SELECT aac_pearson(aac_joint(reference, model)) FROM pairs"),
    function!("aac_spearman", JOINT, &[], Apply::Estimate(|s, _, c| Ok(spearman(&pairs(s)?, c))),
        "r of mid-ranks; Fisher's scale", "Bonett & Wright 2000", "SELECT aac_spearman(aac_joint(reference, model)) FROM pairs"),
    function!("aac_ccc", JOINT, &[], Apply::Estimate(|s, _, c| Ok(concordance(&pairs(s)?, c))),
        "2 s_xy / (s_x^2 + s_y^2 + (mean difference)^2), divisor n", "Lin 1989, 2000",
        "SELECT aac_ccc(aac_joint(reference, model)) FROM pairs"),
    function!("aac_icc_2_1", JOINT, &[], Apply::Estimate(|s, _, c| Ok(ratings(s)?.icc_2_1(c))),
        "(MSR - MSE) / (MSR + MSE + 2 / n (MSC - MSE)); Satterthwaite", "Shrout & Fleiss 1979; McGraw & Wong 1996",
        "SELECT aac_icc_2_1(aac_joint(reference, model)) FROM pairs"),
    function!("aac_icc_3_1", JOINT, &[], Apply::Estimate(|s, _, c| Ok(ratings(s)?.icc_3_1(c))),
        "(MSR - MSE) / (MSR + MSE)", "Shrout & Fleiss 1979", "SELECT aac_icc_3_1(aac_joint(reference, model)) FROM pairs"),
    function!("aac_r2_ols", JOINT, &[], Apply::Estimate(|s, _, c| Ok(r_squared(&pairs(s)?, c).ols)),
        "r^2", "Kvalseth 1985", "SELECT aac_r2_ols(aac_joint(reference, model)) FROM pairs"),
    function!("aac_r2_origin_centred", JOINT, &[], Apply::Estimate(|s, _, c| Ok(r_squared(&pairs(s)?, c).origin_centred)),
        "1 - SSE / sum (y - mean)^2, line through the origin", "Kvalseth 1985",
        "SELECT aac_r2_origin_centred(aac_joint(reference, model)) FROM pairs"),
    function!("aac_r2_origin_uncentred", JOINT, &[], Apply::Estimate(|s, _, c| Ok(r_squared(&pairs(s)?, c).origin_uncentred)),
        "1 - SSE / sum y^2, line through the origin", "Kvalseth 1985",
        "SELECT aac_r2_origin_uncentred(aac_joint(reference, model)) FROM pairs"),
    function!("aac_r2_identity", JOINT, &[], Apply::Estimate(|s, _, c| Ok(r_squared(&pairs(s)?, c).identity)),
        "1 - sum (reference - model)^2 / sum (reference - mean)^2", "Kvalseth 1985",
        "SELECT aac_r2_identity(aac_joint(reference, model)) FROM pairs"),
    function!("aac_kappa", JOINT, &[], Apply::Estimate(|s, _, c| levels_kappa(s, KappaWeights::Unweighted, c)),
        "(po - pe) / (1 - pe) over levels 0..24", "Cohen 1960; Fleiss, Cohen & Everitt 1969",
        "SELECT aac_kappa(aac_joint(reference, model)) FROM pairs"),
    function!("aac_kappa_linear", JOINT, &[], Apply::Estimate(|s, _, c| levels_kappa(s, KappaWeights::Linear, c)),
        "weights 1 - |i - j| / 24", "Cohen 1968; Fleiss, Cohen & Everitt 1969",
        "SELECT aac_kappa_linear(aac_joint(reference, model)) FROM pairs"),
    function!("aac_kappa_quadratic", JOINT, &[], Apply::Estimate(|s, _, c| levels_kappa(s, KappaWeights::Quadratic, c)),
        "weights 1 - (i - j)^2 / 24^2", "Cohen 1968; Fleiss, Cohen & Everitt 1969",
        "SELECT aac_kappa_quadratic(aac_joint(reference, model)) FROM pairs"),
    function!("aac_hodges_lehmann", JOINT, &[], Apply::Estimate(|s, _, c| Ok(signed_rank(pairs(s)?.differences(), c)?.shift)),
        "median of the averages of two differences", "Hodges & Lehmann 1963",
        "SELECT aac_hodges_lehmann(aac_joint(reference, model)) FROM pairs"),
    function!("aac_signed_rank", JOINT, &[], Apply::Test(|s, _| {
            Ok(signed_rank(pairs(s)?.differences(), Confidence::default())?.test)
        }),
        "sum of ranks of positive differences; exact up to 50", "Wilcoxon 1945",
        "SELECT aac_signed_rank(aac_joint(reference, model)) FROM pairs"),
    function!("aac_bowker", JOINT, CUTS, Apply::Test(|s, v| Ok(bowker(&classes(s, v)?))),
        "sum (n_ij - n_ji)^2 / (n_ij + n_ji)", "Bowker 1948", "SELECT aac_bowker(aac_joint(reference, model), 2, 6) FROM pairs"),
    function!("aac_stuart_maxwell", JOINT, CUTS, Apply::Test(|s, v| Ok(stuart_maxwell(&classes(s, v)?))),
        "d' S^-1 d of the margins", "Stuart 1955; Maxwell 1970", "SELECT aac_stuart_maxwell(aac_joint(reference, model), 2, 6) FROM pairs"),
    function!("paired", JOINT, CUTS, Apply::Tests(paired_tests),
        "wilcoxon's signed rank; bowker and stuart-maxwell of three classes; mcnemar at 1 and each cut-off",
        "Wilcoxon 1945; Bowker 1948; Stuart 1955; Maxwell 1970; McNemar 1947",
        "SELECT unnest(paired(aac_joint(reference, model), 2, 6)) FROM pairs"),
    function!("mcnemar", &[], &["b", "c"], Apply::Test(|_, v| mcnemar_of(v, McNemar::ChiSquared)),
        "(b - c)^2 / (b + c)", "McNemar 1947",
        "SELECT mcnemar(count(*) FILTER (WHERE reference > 1 AND model < 2), count(*) FILTER (WHERE reference < 2 AND model > 1)) FROM pairs"),
    function!("mcnemar_corrected", &[], &["b", "c"], Apply::Test(|_, v| mcnemar_of(v, McNemar::Corrected)),
        "(|b - c| - 1)^2 / (b + c)", "Edwards 1948", "SELECT mcnemar_corrected(150, 86) FROM pairs"),
    function!("mcnemar_exact", &[], &["b", "c"], Apply::Test(|_, v| mcnemar_of(v, McNemar::Exact)),
        "binomial with 1/2", "McNemar 1947", "SELECT mcnemar_exact(150, 86) FROM pairs"),
    function!("aac_classes", JOINT, CUTS, Apply::Table(|s, v, c| class_table(s, v, Interval::Wilson, c)),
        "accuracy, kappas, sensitivity, specificity, PPV, NPV of low, moderate, high", "Wilson 1927; Cohen 1960",
        "SELECT unnest(aac_classes(aac_joint(reference, model), 2, 6)) FROM pairs"),
    function!("aac_classes_exact", JOINT, CUTS, Apply::Table(|s, v, c| class_table(s, v, Interval::ClopperPearson, c)),
        "the same with exact intervals", "Clopper & Pearson 1934; Cohen 1960",
        "SELECT unnest(aac_classes_exact(aac_joint(reference, model), 2, 6)) FROM pairs"),
    function!("aac_auc", OUTCOME, &[], Apply::Estimate(|s, _, c| {
            Ok(Roc::of_joint(&AacJointOutcome::from_counts(s[0])?).auc(c))
        }),
        "P(case scores higher) + P(equal) / 2", "DeLong, DeLong & Clarke-Pearson 1988",
        "SELECT aac_auc(aac_joint_outcome(outcome, model)) FROM pairs"),
    function!("roc", OUTCOME, &[], Apply::Roc(|s| Ok(Roc::of_joint(&AacJointOutcome::from_counts(s[0])?).points())),
        "sensitivity and specificity of every threshold score >= at_least", "Hanley & McNeil 1982",
        "SELECT unnest(roc(aac_joint_outcome(outcome, model))) FROM pairs"),
    function!("wilson", &[], &["count", "n"], Apply::Estimate(|_, v, c| share(v, Interval::Wilson, c)),
        "count / n", "Wilson 1927; Newcombe 1998", "SELECT wilson(count(*) FILTER (WHERE outcome), count(*)) FROM pairs"),
    function!("clopper_pearson", &[], &["count", "n"], Apply::Estimate(|_, v, c| share(v, Interval::ClopperPearson, c)),
        "count / n", "Clopper & Pearson 1934", "SELECT clopper_pearson(count(*) FILTER (WHERE outcome), count(*)) FROM pairs"),
];

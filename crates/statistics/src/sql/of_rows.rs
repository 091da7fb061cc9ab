//! The aggregates of rows: each a line of a table with formula, source and example.

use super::answer::{Answer, Form};
use super::of_states::agreement;
use crate::concordance_index::concordance_index;
use crate::cox::{Ties, cox};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::moments::Moments;
use crate::pairs::Pairs;
use crate::progression::{Interval2, progression};
use crate::roc::{Roc, TwoScores, auc_difference};
use crate::score::Scores;
use crate::standardise::{RateInterval, Standard, Stratum, standardise};
use crate::survival::{FollowUp, SurvivalInterval, kaplan_meier, log_rank};
use crate::table1::smd_continuous;
use crate::trend::{TrendGroup, cochran_armitage, jonckheere_terpstra};
use std::collections::BTreeMap;

/// One aggregate. Intervals are of 95 %.
pub struct Function {
    pub name: &'static str,
    /// Numbers or booleans; rows that lack one are left out.
    pub arguments: &'static [&'static str],
    /// Whether the last argument may be repeated.
    pub open: bool,
    pub form: Form,
    pub apply: fn(Rows) -> Result<Answer>,
    pub formula: &'static str,
    pub source: &'static str,
    /// A statement on the tables `pairs`, `follow_up` or `bands`.
    pub example: &'static str,
}

impl Function {
    pub fn usage(&self) -> String {
        format!("{}({}{})", self.name, self.arguments.join(", "), if self.open { ", ..." } else { "" })
    }
}

/// Complete rows in ascending order, one behind the other; each as wide as the function has arguments.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    numbers: &'a [f64],
    width: usize,
}

impl<'a> Rows<'a> {
    /// Of numbers that are a multiple of `width`, at least 1.
    pub fn new(numbers: &'a [f64], width: usize) -> Rows<'a> {
        Rows { numbers, width }
    }

    fn iter(self) -> std::slice::ChunksExact<'a, f64> {
        self.numbers.chunks_exact(self.width)
    }

    fn len(self) -> usize {
        self.numbers.len() / self.width
    }

    fn get(self, row: usize) -> Option<&'a [f64]> {
        self.iter().nth(row)
    }
}

fn ci() -> Confidence {
    Confidence::default()
}

/// 0 or 1.
fn truth(value: f64) -> Result<bool> {
    whole(value, 1.0).map(|v| v == 1)
}

/// A whole number of 0..=max.
fn whole(value: f64, max: f64) -> Result<u64> {
    if value.fract() == 0.0 && (0.0..=max).contains(&value) {
        return Ok(value as u64);
    }
    Err(Error::new(ErrorKind::Argument, format!("a whole number of 0..={max} is wanted, not {value}")))
}

const COUNT_MAX: f64 = 9e15;
const GROUPS_MAX: f64 = 999.0;

fn follow_up(row: &[f64]) -> Result<FollowUp> {
    Ok(FollowUp { time: row[0], event: truth(row[1])? })
}

fn survival(rows: Rows) -> Result<crate::survival::KaplanMeier> {
    let rows = rows.iter().map(follow_up).collect::<Result<Vec<_>>>()?;
    kaplan_meier(&rows, SurvivalInterval::Log, ci())
}

fn curve(rows: Rows) -> Result<Answer> {
    Ok(Answer::Curve(survival(rows)?.steps))
}

fn log_rank_test(rows: Rows) -> Result<Answer> {
    let row = |r: &[f64]| Ok((follow_up(r)?, whole(r[2], GROUPS_MAX)? as usize));
    Ok(Answer::Test(log_rank(&rows.iter().map(row).collect::<Result<Vec<_>>>()?)?.test))
}

fn cox_table(rows: Rows, ties: Ties) -> Result<Answer> {
    let follow = rows.iter().map(follow_up).collect::<Result<Vec<_>>>()?;
    let covariates: Vec<Vec<f64>> = rows.iter().map(|r| r[2..].to_vec()).collect();
    let fit = cox(&follow, &covariates, ties, ci())?;
    let mut table: Vec<(String, Estimate)> = Vec::new();
    for (j, (log_ratio, ratio)) in fit.coefficients.iter().zip(&fit.hazard_ratios).enumerate() {
        table.push((format!("log_hazard_ratio_{}", j + 1), log_ratio.clone()));
        table.push((format!("hazard_ratio_{}", j + 1), ratio.clone()));
    }
    if !fit.risk.is_empty() {
        let ranked: Vec<_> = follow.into_iter().zip(fit.risk).collect();
        table.push(("c_index".to_owned(), concordance_index(&ranked, ci())?));
    }
    Ok(Answer::Table(table))
}

fn c_index(rows: Rows) -> Result<Answer> {
    let row = |r: &[f64]| Ok((follow_up(r)?, r[2]));
    Ok(Answer::Estimate(concordance_index(&rows.iter().map(row).collect::<Result<Vec<_>>>()?, ci())?))
}

fn auc(rows: Rows) -> Result<Answer> {
    let scores = rows.iter().map(|r| Ok((r[1], truth(r[0])?))).collect::<Result<Vec<_>>>()?;
    Ok(Answer::Estimate(Roc::of(scores).auc(ci())))
}

fn two_scores(rows: Rows) -> Result<Vec<TwoScores>> {
    let row = |r: &[f64]| Ok(TwoScores { outcome: truth(r[0])?, first: r[1], second: r[2] });
    rows.iter().map(row).collect()
}

/// Strata of a standard from rows (age at which the band begins, events, population), the last band open.
fn standardised(rows: Rows, standard: &Standard, interval: RateInterval) -> Result<Answer> {
    let mut strata = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let from = whole(row[0], 150.0)? as u32;
        let to = rows.get(i + 1).map(|next| whole(next[0], 150.0)).transpose()?.map(|age| age as u32);
        if to == Some(from) {
            let context = format!("two rows for the band from age {from}: give one row for each band");
            return Err(Error::new(ErrorKind::Argument, context));
        }
        strata.push(Stratum {
            weight: standard.weight(from, to)?,
            events: whole(row[1], COUNT_MAX)?,
            population: row[2],
        });
    }
    if strata.is_empty() {
        return Ok(Answer::Estimate(Estimate::missing(0, ci(), "direct standardisation")));
    }
    Ok(Answer::Estimate(standardise(&strata, interval, ci())?))
}

fn weighted(rows: Rows, interval: RateInterval) -> Result<Answer> {
    let stratum = |r: &[f64]| Ok(Stratum { weight: r[0], events: whole(r[1], COUNT_MAX)?, population: r[2] });
    let strata = rows.iter().map(stratum).collect::<Result<Vec<_>>>()?;
    if strata.is_empty() {
        return Ok(Answer::Estimate(Estimate::missing(0, ci(), "direct standardisation")));
    }
    Ok(Answer::Estimate(standardise(&strata, interval, ci())?))
}

fn smd(rows: Rows) -> Result<Answer> {
    let mut groups = <[Moments; 2]>::default();
    for row in rows.iter() {
        groups[usize::from(truth(row[0])?)].add(row[1]);
    }
    Ok(Answer::Estimate(smd_continuous(&groups[0], &groups[1], ci())))
}

fn armitage(rows: Rows) -> Result<Answer> {
    let mut groups: Vec<TrendGroup> = Vec::new();
    // Ascending by score, so that those of one group follow each other.
    for row in rows.iter() {
        let with = u64::from(truth(row[1])?);
        match groups.last_mut() {
            Some(last) if last.score == row[0] => {
                last.with += with;
                last.total += 1;
            }
            _ => groups.push(TrendGroup { score: row[0], with, total: 1 }),
        }
    }
    Ok(Answer::Test(cochran_armitage(&groups)?))
}

fn jonckheere(rows: Rows) -> Result<Answer> {
    let mut values: Vec<f64> = rows.iter().map(|r| r[1]).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for row in rows.iter() {
        let group = groups.entry(whole(row[0], GROUPS_MAX)?).or_insert_with(|| vec![0; values.len()]);
        group[values.partition_point(|v| *v < row[1])] += 1;
    }
    Ok(Answer::Test(jonckheere_terpstra(&groups.into_values().collect::<Vec<_>>())?))
}

fn change(rows: Rows) -> Result<Answer> {
    let row = |r: &[f64]| Interval2 { first: r[0], last: r[1], days: r[2], scanner_changed: false };
    let result = progression(&rows.iter().map(row).collect::<Vec<_>>(), None, ci())?;
    Ok(Answer::Table(vec![
        ("change".to_owned(), result.change),
        ("change_per_year".to_owned(), result.per_year),
        ("hodges_lehmann".to_owned(), result.signed_rank.shift),
    ]))
}

/// Shares of a rise and of a fall beyond what noise gives, which is the same in all rows.
fn change_beyond(rows: Rows) -> Result<Answer> {
    let detectable = rows.get(0).map(|r| r[3]);
    if rows.iter().any(|r| Some(r[3]) != detectable || r[3] < 0.0) {
        let context = "the smallest detectable change is one number from 0, the same in every row";
        return Err(Error::new(ErrorKind::Argument, context));
    }
    let row = |r: &[f64]| Interval2 { first: r[0], last: r[1], days: r[2], scanner_changed: false };
    let result = progression(&rows.iter().map(row).collect::<Vec<_>>(), detectable, ci())?;
    Ok(Answer::Table(vec![("progressed".to_owned(), result.progressed), ("regressed".to_owned(), result.regressed)]))
}

fn describe(rows: Rows) -> Result<Answer> {
    let scores = Scores::of(rows.iter().map(|r| r[0]));
    let mut table = vec![
        ("mean".to_owned(), scores.moments().mean_estimate(ci())),
        ("sd".to_owned(), scores.moments().sd_estimate(ci())),
    ];
    for (name, p) in [("min", 0.0), ("q1", 0.25), ("median", 0.5), ("q3", 0.75), ("max", 1.0)] {
        table.push((name.to_owned(), scores.quantile(p, ci())?));
    }
    Ok(Answer::Table(table))
}

macro_rules! function {
    ($name:literal, $arguments:expr, $form:ident, $apply:expr, $formula:literal, $source:literal, $example:literal) => {
        Function {
            name: $name,
            arguments: $arguments,
            open: false,
            form: Form::$form,
            apply: $apply,
            formula: $formula,
            source: $source,
            example: $example,
        }
    };
}

const BANDS: &[&str] = &["age_from", "events", "population"];
const WEIGHTED: &[&str] = &["weight", "events", "population"];

/// All aggregates of rows.
#[rustfmt::skip]
pub const FUNCTIONS: &[Function] = &[
    function!("kaplan_meier", &["time", "event"], Curve, curve,
        "S(t) = product (1 - d / n); Greenwood, log", "Kaplan & Meier 1958", "SELECT unnest(kaplan_meier(days, event)) FROM follow_up"),
    function!("median_survival", &["time", "event"], Estimate, |r| Ok(Answer::Estimate(survival(r)?.median())),
        "first time with S <= 1/2", "Brookmeyer & Crowley 1982", "SELECT median_survival(days, event) FROM follow_up"),
    function!("log_rank", &["time", "event", "group"], Test, log_rank_test,
        "(O - E)' V^-1 (O - E)", "Mantel 1966; Peto & Peto 1972", "SELECT log_rank(days, event, sex) FROM follow_up"),
    Function { open: true, ..function!("cox", &["time", "event", "covariate"], Table, |r| cox_table(r, Ties::Efron),
        "partial likelihood, Efron's ties; Wald", "Cox 1972; Efron 1977", "SELECT unnest(cox(days, event, sex, age)) FROM follow_up") },
    Function { open: true, ..function!("cox_breslow", &["time", "event", "covariate"], Table, |r| cox_table(r, Ties::Breslow),
        "partial likelihood, Breslow's ties; Wald", "Cox 1972; Breslow 1972",
        "SELECT unnest(cox_breslow(days, event, sex, age)) FROM follow_up") },
    function!("c_index", &["time", "event", "risk"], Estimate, c_index,
        "share of comparable pairs with the higher risk first, ties 1/2", "Harrell et al. 1996",
        "SELECT c_index(days, event, age) FROM follow_up"),
    function!("auc", &["outcome", "score"], Estimate, auc,
        "P(case scores higher) + P(equal) / 2", "DeLong, DeLong & Clarke-Pearson 1988", "SELECT auc(outcome, model) FROM pairs"),
    function!("auc_difference", &["outcome", "first", "second"], Estimate,
        |r| Ok(Answer::Estimate(auc_difference(&two_scores(r)?, ci()).0)),
        "AUC of first - AUC of second, same participants", "DeLong, DeLong & Clarke-Pearson 1988",
        "SELECT auc_difference(outcome, model, reference) FROM pairs"),
    function!("auc_test", &["outcome", "first", "second"], Test, |r| Ok(Answer::Test(auc_difference(&two_scores(r)?, ci()).1)),
        "difference / standard error", "DeLong, DeLong & Clarke-Pearson 1988", "SELECT auc_test(outcome, model, reference) FROM pairs"),
    function!("agreement_scores", &["reference", "model"], Table,
        |r| Ok(Answer::Table(agreement(&Pairs::of(r.iter().map(|r| (r[0], r[1]))), ci())?)),
        "all statistics of agreement of continuous scores", "of each function", "SELECT unnest(agreement_scores(reference, model)) FROM pairs"),
    function!("describe", &["value"], Table, describe,
        "mean, sd, quartiles (type 7) and range", "Hyndman & Fan 1996", "SELECT unnest(describe(age)) FROM follow_up"),
    function!("smd", &["group", "value"], Estimate, smd,
        "(mean of 1 - mean of 0) / sqrt of the mean variance", "Austin 2009", "SELECT smd(sex, age) FROM follow_up"),
    function!("cochran_armitage", &["score", "outcome"], Test, armitage,
        "trend of a proportion, chi-squared with 1 df", "Armitage 1955", "SELECT cochran_armitage(reference, outcome) FROM pairs"),
    function!("jonckheere_terpstra", &["group", "value"], Test, jonckheere,
        "trend of a score over ordered groups, z", "Hollander, Wolfe & Chicken, 6.2", "SELECT jonckheere_terpstra(reference, model) FROM pairs"),
    function!("progression", &["first", "last", "days"], Table, change,
        "last - first, and per 365.25 days", "Bland & Altman 1986", "SELECT unnest(progression(reference, model, days)) FROM pairs"),
    function!("progression_beyond", &["first", "last", "days", "detectable"], Table, change_beyond,
        "share with last - first > detectable, and < -detectable", "Beckerman et al. 2001",
        "SELECT unnest(progression_beyond(reference, model, days, 2)) FROM pairs"),
    function!("standardise_esp2013", BANDS, Estimate, |r| standardised(r, &Standard::esp2013(), RateInterval::Binomial),
        "sum w p / sum w; binomial variances; refused under 10 events", "Eurostat 2013",
        "SELECT standardise_esp2013(age_from, events, persons) FROM bands"),
    function!("standardise_who2000", BANDS, Estimate, |r| standardised(r, &Standard::who2000(), RateInterval::Binomial),
        "sum w p / sum w; binomial variances; refused under 10 events", "Ahmad et al. 2001",
        "SELECT standardise_who2000(age_from, events, persons) FROM bands"),
    function!("standardise_prevalence", WEIGHTED, Estimate, |r| weighted(r, RateInterval::Binomial),
        "sum w p / sum w; binomial variances; refused under 10 events", "textbook",
        "SELECT standardise_prevalence(weight, events, persons) FROM bands"),
    function!("standardise_fay_feuer", WEIGHTED, Estimate, |r| weighted(r, RateInterval::FayFeuer),
        "sum w rate / sum w; gamma interval; refused under 10 events", "Fay & Feuer 1997",
        "SELECT standardise_fay_feuer(weight, events, persons) FROM bands"),
    function!("standardise_dobson_byar", WEIGHTED, Estimate, |r| weighted(r, RateInterval::DobsonByar),
        "sum w rate / sum w; Byar's limits; refused under 10 events", "Dobson et al. 1991",
        "SELECT standardise_dobson_byar(weight, events, persons) FROM bands"),
];

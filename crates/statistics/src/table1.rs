//! Table 1: what a cohort is made of, by group, with missing values counted; standardised mean differences (Austin, Stat Med
//! 2009;28:3083; Yang & Dalton, SAS Global Forum 2012-335).

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::moments::Moments;
use crate::proportion::{Interval, proportion};
use crate::score::Scores;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Most levels of a variable in words, and most groups: more is no table that anyone reads.
pub const LEVELS_MAX: usize = 200;

/// A value of a variable.
#[derive(Debug, Clone, Serialize)]
pub enum Value {
    Number(f64),
    Level(String),
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
            (Value::Level(a), Value::Level(b)) => a.cmp(b),
            (Value::Number(_), Value::Level(_)) => Ordering::Less,
            (Value::Level(_), Value::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

/// How often a value occurs in a group; `None` is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub value: Option<Value>,
    pub group: Option<String>,
    pub count: u64,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// `None`: all participants, also those whose group is missing.
    pub group: Option<String>,
    /// Of a variable in words.
    pub level: Option<String>,
    /// `mean`, `sd`, `q1`, `median`, `q3` of numbers; `share` of each level; `missing`; `smd`.
    pub statistic: &'static str,
    pub estimate: Estimate,
}

/// Of a variable that is all numbers, mean with Student's interval, standard deviation and quartiles; of one in words the share of each
/// level with Wilson's interval. Then the share that is missing, and across groups the standardised mean difference: of two groups the
/// second less the first, of more the largest of all pairs. Groups and levels are in alphabetical order.
///
/// # Errors
/// [`ErrorKind::Shape`] for numbers among words; [`ErrorKind::Limit`] beyond [`LEVELS_MAX`] levels or groups.
pub fn table_one(rows: &[Counted], confidence: Confidence) -> Result<Vec<Line>> {
    let groups: BTreeSet<&str> = rows.iter().filter_map(|r| r.group.as_deref()).collect();
    let levels: BTreeSet<&str> = rows
        .iter()
        .filter_map(|r| match &r.value {
            Some(Value::Level(level)) => Some(level.as_str()),
            _ => None,
        })
        .collect();
    let has_numbers = rows.iter().any(|r| matches!(r.value, Some(Value::Number(_))));
    if has_numbers && !levels.is_empty() {
        return Err(Error::new(ErrorKind::Shape, "a variable is numbers or words, not both"));
    }
    if levels.len() > LEVELS_MAX || groups.len() > LEVELS_MAX {
        let context = format!("{} levels and {} groups, at most {LEVELS_MAX} of each", levels.len(), groups.len());
        return Err(Error::new(ErrorKind::Limit, context));
    }
    let whole = std::iter::once(None).filter(|_| !rows.is_empty());
    let columns: Vec<Column> = whole.chain(groups.into_iter().map(Some)).map(|group| Column::of(rows, group)).collect();
    let mut lines = Vec::new();
    for column in &columns {
        if levels.is_empty() {
            column.numbers(confidence, &mut lines)?;
        } else {
            column.levels(&levels, confidence, &mut lines);
        }
        let share = proportion(column.missing, column.missing + column.n(), Interval::Wilson, confidence);
        lines.push(column.line(None, "missing", share));
    }
    if columns.len() > 2 {
        let estimate = largest_difference(&columns[1..], &levels, confidence)?;
        lines.push(Line { group: None, level: None, statistic: "smd", estimate });
    }
    Ok(lines)
}

/// One group, or all.
struct Column<'a> {
    group: Option<&'a str>,
    numbers: Vec<(f64, u64)>,
    levels: BTreeMap<&'a str, u64>,
    missing: u64,
}

impl<'a> Column<'a> {
    fn of(rows: &'a [Counted], group: Option<&'a str>) -> Column<'a> {
        let mut column = Column { group, numbers: Vec::new(), levels: BTreeMap::new(), missing: 0 };
        for row in rows.iter().filter(|r| group.is_none() || r.group.as_deref() == group) {
            match &row.value {
                Some(Value::Number(v)) if v.is_finite() => column.numbers.push((*v, row.count)),
                Some(Value::Level(level)) => *column.levels.entry(level).or_default() += row.count,
                Some(Value::Number(_)) | None => column.missing += row.count,
            }
        }
        column
    }

    fn n(&self) -> u64 {
        self.numbers.iter().map(|(_, count)| count).chain(self.levels.values()).sum()
    }

    fn line(&self, level: Option<&str>, statistic: &'static str, estimate: Estimate) -> Line {
        Line { group: self.group.map(str::to_owned), level: level.map(str::to_owned), statistic, estimate }
    }

    fn scores(&self) -> Scores {
        Scores::of_counted(self.numbers.iter().copied())
    }

    fn numbers(&self, confidence: Confidence, lines: &mut Vec<Line>) -> Result<()> {
        let scores = self.scores();
        lines.push(self.line(None, "mean", scores.moments().mean_estimate(confidence)));
        lines.push(self.line(None, "sd", scores.moments().sd_estimate(confidence)));
        for (name, p) in [("q1", 0.25), ("median", 0.5), ("q3", 0.75)] {
            lines.push(self.line(None, name, scores.quantile(p, confidence)?));
        }
        Ok(())
    }

    fn levels(&self, levels: &BTreeSet<&str>, confidence: Confidence, lines: &mut Vec<Line>) {
        for level in levels {
            let share = proportion(self.at(level), self.n(), Interval::Wilson, confidence);
            lines.push(self.line(Some(level), "share", share));
        }
    }

    fn at(&self, level: &str) -> u64 {
        self.levels.get(level).copied().unwrap_or(0)
    }
}

fn largest_difference(groups: &[Column], levels: &BTreeSet<&str>, confidence: Confidence) -> Result<Estimate> {
    let counts = |column: &Column| levels.iter().map(|level| column.at(level)).collect::<Vec<u64>>();
    let difference = |a: &Column, b: &Column| {
        if levels.is_empty() {
            Ok(smd_continuous(&a.scores().moments(), &b.scores().moments(), confidence))
        } else {
            smd_categories(&counts(a), &counts(b), confidence)
        }
    };
    if let [a, b] = groups {
        return difference(a, b);
    }
    const METHOD: &str = "smd, largest of all pairs";
    let n = groups.iter().map(Column::n).sum();
    let mut largest = None;
    for (place, a) in groups.iter().enumerate() {
        for b in &groups[place + 1..] {
            let size = difference(a, b)?.estimate.map(f64::abs);
            largest = size.into_iter().chain(largest).reduce(f64::max);
        }
    }
    Ok(Estimate::point(n, confidence, METHOD, largest.unwrap_or(f64::NAN)))
}

/// Large-sample interval of a standardised difference (Hedges & Olkin 1985, chapter 5).
fn with_interval(n: (u64, u64), confidence: Confidence, method: &'static str, d: f64) -> Estimate {
    let (a, b) = (n.0 as f64, n.1 as f64);
    let error = ((a + b) / (a * b) + d * d / (2.0 * (a + b))).sqrt();
    Estimate::point(n.0 + n.1, confidence, method, d).with_symmetric(error, confidence.z())
}

/// (mean of b - mean of a) / sqrt of the mean of both variances. Missing without variance.
pub fn smd_continuous(a: &Moments, b: &Moments, confidence: Confidence) -> Estimate {
    const METHOD: &str = "smd, continuous";
    let parts = || Some((b.mean()? - a.mean()?, ((a.variance()? + b.variance()?) / 2.0).sqrt()));
    match parts() {
        Some((difference, sd)) if sd > 0.0 => with_interval((a.n(), b.n()), confidence, METHOD, difference / sd),
        _ => Estimate::missing(a.n() + b.n(), confidence, METHOD),
    }
}

/// Of counts by category in both groups: the Mahalanobis distance of their shares, from 0; for two categories the absolute value of the
/// usual difference of proportions. Missing where a group is empty or the shares have no variance.
///
/// # Errors
/// [`ErrorKind::Shape`] for different numbers of categories.
pub fn smd_categories(a: &[u64], b: &[u64], confidence: Confidence) -> Result<Estimate> {
    const METHOD: &str = "smd, categories";
    if a.len() != b.len() {
        return Err(Error::new(ErrorKind::Shape, format!("{} and {} categories", a.len(), b.len())));
    }
    let (total_a, total_b) = (a.iter().sum::<u64>(), b.iter().sum::<u64>());
    let missing = Estimate::missing(total_a + total_b, confidence, METHOD);
    if total_a == 0 || total_b == 0 {
        return Ok(missing);
    }
    // Categories in neither group say nothing; of the others one follows from the rest.
    let seen: Vec<(f64, f64)> = a
        .iter()
        .zip(b)
        .filter(|(a, b)| **a + **b > 0)
        .map(|(a, b)| (*a as f64 / total_a as f64, *b as f64 / total_b as f64))
        .collect();
    let k = seen.len() - 1;
    if k == 0 {
        return Ok(missing);
    }
    let shift = DVector::from_fn(k, |i, _| seen[i].1 - seen[i].0);
    let covariance = DMatrix::from_fn(k, k, |i, j| {
        let of = |p: f64, q: f64| if i == j { p * (1.0 - p) } else { -p * q };
        (of(seen[i].0, seen[j].0) + of(seen[i].1, seen[j].1)) / 2.0
    });
    let Some(factor) = covariance.cholesky() else { return Ok(missing) };
    let d = shift.dot(&factor.solve(&shift)).max(0.0).sqrt();
    Ok(with_interval((total_a, total_b), confidence, METHOD, d).clipped(0.0, f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Option<Value>, group: Option<&str>, count: u64) -> Counted {
        Counted { value, group: group.map(str::to_owned), count }
    }

    fn find<'a>(lines: &'a [Line], group: Option<&str>, level: Option<&str>, statistic: &str) -> &'a Estimate {
        let same = |l: &&Line| l.group.as_deref() == group && l.level.as_deref() == level && l.statistic == statistic;
        &lines.iter().find(same).unwrap().estimate
    }

    #[test]
    fn numbers_have_moments_and_quartiles_and_missing_ones_are_counted() {
        let number = |v: f64| Some(Value::Number(v));
        let rows = [
            row(number(1.0), Some("a"), 1),
            row(number(3.0), Some("a"), 1),
            row(number(5.0), Some("b"), 2),
            row(number(9.0), Some("b"), 2),
            row(None, Some("b"), 1),
            row(number(100.0), None, 1),
        ];
        let lines = table_one(&rows, Confidence::default()).unwrap();
        assert_eq!(find(&lines, Some("a"), None, "mean").estimate, Some(2.0));
        assert_eq!((find(&lines, Some("b"), None, "mean").n, find(&lines, None, None, "mean").n), (4, 7));
        assert_eq!(find(&lines, Some("b"), None, "missing").estimate, Some(0.2));
        // means 2 and 7, variances 2 and 16/3: 5 / sqrt(11/3)
        let smd = find(&lines, None, None, "smd").estimate.unwrap();
        assert!((smd - 5.0 / (11.0f64 / 3.0).sqrt()).abs() < 1e-12, "{smd}");
    }

    #[test]
    fn words_have_shares_and_of_three_groups_the_largest_difference_counts() {
        let word = |v: &str| Some(Value::Level(v.to_owned()));
        let rows = [
            row(word("F"), Some("a"), 5),
            row(word("M"), Some("a"), 5),
            row(word("F"), Some("b"), 5),
            row(word("M"), Some("b"), 5),
            row(word("F"), Some("c"), 8),
            row(word("M"), Some("c"), 2),
            row(None, Some("c"), 2),
        ];
        let lines = table_one(&rows, Confidence::default()).unwrap();
        assert_eq!(find(&lines, Some("c"), Some("F"), "share").estimate, Some(0.8));
        assert_eq!(find(&lines, None, Some("M"), "share").estimate, Some(0.4));
        let smd = find(&lines, None, None, "smd").estimate.unwrap();
        // shares .5 and .2: .3 / sqrt((.25 + .16) / 2)
        assert!((smd - 0.3 / 0.205f64.sqrt()).abs() < 1e-12, "{smd}");
    }

    #[test]
    fn nothing_is_no_table_and_a_mixture_is_refused() {
        assert_eq!(table_one(&[], Confidence::default()).unwrap(), []);
        let only_missing = table_one(&[row(None, None, 3)], Confidence::default()).unwrap();
        assert_eq!(find(&only_missing, None, None, "missing").estimate, Some(1.0));
        assert_eq!(find(&only_missing, None, None, "mean").estimate, None);
        let mixed = [row(Some(Value::Number(1.0)), None, 1), row(Some(Value::Level("x".into())), None, 1)];
        assert_eq!(table_one(&mixed, Confidence::default()).unwrap_err().kind, ErrorKind::Shape);
    }
}

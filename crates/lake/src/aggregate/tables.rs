//! The answers of the aggregate role: long tables of one row for each statistic and stratum, with NULL and `suppressed` where a number is withheld.

use super::cohort::{AGE_BAND_YEARS, Cell, Cohort, Values};
use super::policy::Function;
use super::released::Told;
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use statistics::disclosure::{Entry, round_to};
use statistics::proportion::{Interval, proportion};
use statistics::score::Scores;
use statistics::standardise::{RateInterval, Standard, Stratum, standardise};
use statistics::{Confidence, Estimate};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that may be told of one version of the lake.
#[derive(Debug)]
pub(crate) struct Protected {
    pub cohort: Cohort,
    pub told: Told,
    pub flow: Vec<Step>,
    pub threshold: u64,
    pub rounding: u64,
}

/// A line of the flow; `None` where it is withheld.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub step: String,
    pub n: Option<u64>,
}

/// One row before it is laid out: the values of its strata, and its estimate unless it is withheld.
struct Row {
    statistic: String,
    values: Vec<usize>,
    estimate: Option<Estimate>,
}

impl Protected {
    /// Places of strata by their names.
    ///
    /// # Errors
    /// A name that is no stratum or is there twice, or more than may be crossed.
    pub(crate) fn strata(&self, names: &[String]) -> Result<Vec<usize>> {
        let known: Vec<&str> = self.cohort.strata.iter().map(|s| s.name.as_str()).collect();
        let mut places = Vec::new();
        for name in names {
            let Some(place) = known.iter().position(|k| k == name) else {
                return Err(Error::Query(format!(
                    "{name} is no stratum of the policy; there are {}",
                    known.join(", ")
                )));
            };
            if places.contains(&place) {
                return Err(Error::Query(format!("stratum {name} is named twice")));
            }
            places.push(place);
        }
        let most = self.cohort.grid.at_once();
        if places.len() > most {
            return Err(Error::Query(format!("the policy crosses at most {most} strata, not {}", places.len())));
        }
        Ok(places)
    }

    /// The answer of a function by some strata. Combinations that hold nobody have no row.
    pub(crate) fn table(&self, function: Function, strata: &[usize]) -> Result<RecordBatch> {
        if function == Function::Flow {
            return self.flow();
        }
        let mut rows = Vec::new();
        let groups = self.cohort.by(strata)?;
        let by_age = self.by_age_is_safe(strata, &groups);
        for (values, cell) in groups {
            let group = Group { protected: self, strata, values: &values, cell: &cell };
            let estimates = match function {
                Function::Participants => vec![("participants".to_owned(), group.participants())],
                Function::ScoreBands => group.bands(),
                Function::Prevalence => group.prevalence(),
                Function::Score => group.score()?,
                Function::Standardised => group.standardised(by_age)?,
                Function::Flow => Vec::new(),
            };
            let row = |(statistic, estimate)| Row { statistic, values: values.clone(), estimate };
            rows.extend(estimates.into_iter().map(row));
        }
        self.batch(strata, &rows)
    }

    /// Whether numbers that were weighted by five-year bands may be told. Those bands are no strata of the policy, so nobody checks whether
    /// their counts follow from what is told: two standards make two equations. So no such count may be small in any of the groups, lest it
    /// follow from the others and all; and bands of age are not crossed with bands of age, which leaves two unknowns in ten years.
    fn by_age_is_safe(&self, strata: &[usize], groups: &BTreeMap<Vec<usize>, Cell>) -> bool {
        !strata.iter().any(|stratum| self.cohort.strata[*stratum].of_age)
            && groups.values().all(|cell| cell.ages_are_safe(self.threshold))
    }

    fn batch(&self, strata: &[usize], rows: &[Row]) -> Result<RecordBatch> {
        let texts = |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let reals = |of: &dyn Fn(&Estimate) -> Option<f64>| -> ArrayRef {
            Arc::new(rows.iter().map(|r| r.estimate.as_ref().and_then(of)).collect::<Float64Array>())
        };
        let mut columns: Vec<(&str, ArrayRef)> = vec![("statistic", texts(&|r| Some(r.statistic.clone())))];
        for (place, stratum) in strata.iter().enumerate() {
            let Values { name, values, .. } = &self.cohort.strata[*stratum];
            columns.push((name, texts(&|r| values.get(r.values[place]).cloned())));
        }
        let n = rows.iter().map(|r| r.estimate.as_ref().map(|e| e.n)).collect::<UInt64Array>();
        let suppressed = rows.iter().map(|r| Some(r.estimate.is_none())).collect::<BooleanArray>();
        columns.extend([
            ("n", Arc::new(n) as ArrayRef),
            ("estimate", reals(&|e| e.estimate)),
            ("std_error", reals(&|e| e.std_error)),
            ("conf_low", reals(&|e| e.conf_low)),
            ("conf_high", reals(&|e| e.conf_high)),
            ("conf_level", reals(&|e| Some(e.conf_level))),
            ("method", texts(&|r| r.estimate.as_ref().map(|e| e.method.to_owned()))),
            ("suppressed", Arc::new(suppressed)),
        ]);
        batch(columns)
    }

    fn flow(&self) -> Result<RecordBatch> {
        let steps = self.flow.iter().map(|s| Some(s.step.as_str())).collect::<StringArray>();
        let n = self.flow.iter().map(|s| s.n.map(|n| round_to(n, self.rounding))).collect::<UInt64Array>();
        let suppressed = self.flow.iter().map(|s| Some(s.n.is_none())).collect::<BooleanArray>();
        batch(vec![("step", Arc::new(steps)), ("n", Arc::new(n)), ("suppressed", Arc::new(suppressed))])
    }

    /// How many counts are withheld, of how many.
    pub(crate) fn withheld(&self) -> (usize, usize) {
        let all = self.cohort.grid.entries().len();
        (all - self.told.entries.len(), all)
    }
}

/// The participants of one combination of strata.
struct Group<'a> {
    protected: &'a Protected,
    strata: &'a [usize],
    values: &'a [usize],
    cell: &'a Cell,
}

type Named = (String, Option<Estimate>);

impl Group<'_> {
    fn entry(&self, band: Option<usize>) -> Entry {
        self.protected.cohort.entry(self.strata, self.values, band)
    }

    /// Whether the number of participants is told. Nothing is, where it is not.
    fn told(&self) -> bool {
        self.protected.told.has(&self.entry(None))
    }

    fn n(&self) -> u64 {
        self.cell.hist.levels().iter().sum()
    }

    /// Participants with scores from `from` to below `to`.
    fn between(&self, from: u8, to: u8) -> u64 {
        self.cell.hist.levels()[usize::from(from)..usize::from(to)].iter().sum()
    }

    fn participants(&self) -> Option<Estimate> {
        let n = round_to(self.n(), self.protected.rounding);
        self.told().then(|| Estimate::missing(n, Confidence::default(), "count"))
    }

    /// A share of the participants, from rounded counts.
    fn share(&self, count: u64) -> Estimate {
        let base = self.protected.rounding;
        let n = round_to(self.n(), base);
        proportion(round_to(count, base).min(n), n, Interval::Wilson, Confidence::default())
    }

    fn bands(&self) -> Vec<Named> {
        let cohort = &self.protected.cohort;
        let band = |band: usize| {
            let to = cohort.bands.get(band + 1).copied().unwrap_or(25);
            let told = self.told() && self.protected.told.has(&self.entry(Some(band)));
            (
                format!("aac24 {}", cohort.band_name(band)),
                told.then(|| self.share(self.between(cohort.bands[band], to))),
            )
        };
        (0..cohort.bands.len()).map(band).collect()
    }

    /// Whether the share at a cut follows from bands that are told: all on one side of it are.
    fn cut_is_told(&self, cut: usize) -> bool {
        let bands = self.protected.cohort.bands.len();
        let told =
            |mut range: std::ops::Range<usize>| range.all(|band| self.protected.told.has(&self.entry(Some(band))));
        self.told() && (told(0..cut) || told(cut..bands))
    }

    fn prevalence(&self) -> Vec<Named> {
        let bands = &self.protected.cohort.bands;
        let cut = |cut: usize| {
            let estimate = self.cut_is_told(cut).then(|| self.share(self.between(bands[cut], 25)));
            (format!("aac24 >= {}", bands[cut]), estimate)
        };
        (1..bands.len()).map(cut).collect()
    }

    /// Moments are told where the share at the lowest cut is: of 20 scores of which all but one are 0, the mean names the one. Quantiles
    /// and their limits in addition only where at least the threshold lie on both sides of them.
    fn score(&self) -> Result<Vec<Named>> {
        let scores = Scores::of_hist(&self.cell.hist);
        let moments = scores.moments();
        let confidence = Confidence::default();
        let told = self.cut_is_told(1);
        let mut rows: Vec<Named> =
            [("mean", moments.mean_estimate(confidence)), ("sd", moments.sd_estimate(confidence))]
                .map(|(name, estimate)| (name.to_owned(), told.then(|| self.rounded(estimate))))
                .into();
        for (name, p) in [("q1", 0.25), ("median", 0.5), ("q3", 0.75)] {
            let mut quantile = scores.quantile(p, confidence)?;
            let inner = |value: f64| self.tails(value).into_iter().min() >= Some(self.protected.threshold);
            if !quantile.conf_low.is_some_and(inner) || !quantile.conf_high.is_some_and(inner) {
                (quantile.conf_low, quantile.conf_high) = (None, None);
            }
            let shown = told && quantile.estimate.is_some_and(inner);
            rows.push((name.to_owned(), shown.then(|| self.rounded(quantile))));
        }
        Ok(rows)
    }

    /// Participants at or below, and at or above a value.
    fn tails(&self, value: f64) -> [u64; 2] {
        let count = |holds: &dyn Fn(f64) -> bool| {
            let levels = self.cell.hist.levels().iter().enumerate();
            levels.filter(|(score, _)| holds(*score as f64)).map(|(_, n)| n).sum()
        };
        [count(&|score| score <= value), count(&|score| score >= value)]
    }

    /// To one decimal where counts are rounded, lest the exact n be worked out from them.
    fn rounded(&self, estimate: Estimate) -> Estimate {
        if self.protected.rounding < 2 {
            return estimate;
        }
        let one = |value: Option<f64>| value.map(|v| (v * 10.0).round() / 10.0);
        Estimate {
            n: round_to(estimate.n, self.protected.rounding),
            estimate: one(estimate.estimate),
            std_error: None,
            conf_low: one(estimate.conf_low),
            conf_high: one(estimate.conf_high),
            ..estimate
        }
    }

    /// Told where the prevalence of 1 and more could be told, and the five-year bands are safe in all groups.
    fn standardised(&self, by_age_is_safe: bool) -> Result<Vec<Named>> {
        let events = self.between(1, 25);
        let told = self.protected.cohort.bands.get(1) == Some(&1) && self.cut_is_told(1) && by_age_is_safe;
        let mut rows = Vec::new();
        for (name, standard) in
            [("standardise_esp2013", Standard::esp2013()), ("standardise_who2000", Standard::who2000())]
        {
            let ages = &self.cell.ages;
            let (Some(first), Some(last)) = (ages.keys().next(), ages.keys().next_back()) else {
                rows.push((name.to_owned(), None));
                continue;
            };
            let mut strata = Vec::with_capacity(ages.len());
            // a band within that holds nobody has its weight too
            for from in (*first..=*last).step_by(AGE_BAND_YEARS as usize) {
                let to = (from < *last).then_some(from + AGE_BAND_YEARS);
                let (events, persons) = ages.get(&from).copied().unwrap_or_default();
                strata.push(Stratum { weight: standard.weight(from, to)?, events, population: persons as f64 });
            }
            let estimate = standardise(&strata, RateInterval::Binomial, Confidence::default())?;
            let told = told && (events == 0 || events >= self.protected.threshold);
            rows.push((name.to_owned(), told.then(|| self.rounded_share(estimate))));
        }
        Ok(rows)
    }

    /// To a thousandth, where counts are rounded to a hundredth: sixteen digits of a weighted sum of small whole numbers name them all.
    fn rounded_share(&self, estimate: Estimate) -> Estimate {
        let (parts, with_error) = if self.protected.rounding < 2 { (1000.0, true) } else { (100.0, false) };
        let rounded = |value: Option<f64>| value.map(|v| (v * parts).round() / parts);
        Estimate {
            n: round_to(estimate.n, self.protected.rounding),
            estimate: rounded(estimate.estimate),
            std_error: rounded(estimate.std_error).filter(|_| with_error),
            conf_low: rounded(estimate.conf_low),
            conf_high: rounded(estimate.conf_high),
            ..estimate
        }
    }
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    RecordBatch::try_from_iter(columns).map_err(Error::arrow("laying out a table"))
}

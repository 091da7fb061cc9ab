//! The cohort table: what a submission came to, and what the scores look like.
//!
//! Scores are counted in SQL by sex, age band and total, a few hundred counts however large the lake, and every figure
//! is exact and derived from those counts.

use crate::error::{Error, Result};
use crate::items::Submission;
use crate::session::LakeSession;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Outcomes and scores of a lake or of one submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CohortSummary {
    /// The submission; `None` for all readings of the lake.
    pub submission: Option<String>,
    pub items: u64,
    pub pending: u64,
    pub scored: u64,
    /// By reason, most first.
    pub failed: Vec<(String, u64)>,
    /// By reason, most first.
    pub excluded: Vec<(String, u64)>,
    /// Primary images: one per participant and visit.
    pub primary_images: u64,
    /// Primary images with a total, that is with all eight segments assessed.
    pub scores: Option<Scores>,
    /// Primary images by category; `None` where the segments not assessed leave it open.
    pub categories: Vec<(Option<String>, u64)>,
    /// By sex and age band.
    pub groups: Vec<Group>,
}

/// AAC-24 totals of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    pub n: u64,
    pub mean: f64,
    /// Of the sample (n - 1); `None` for one.
    pub sd: Option<f64>,
    /// First quartile, median, third quartile: linear between neighbours (type 7 of Hyndman and Fan).
    pub quartiles: [f64; 3],
    pub max: u32,
    /// With a total above 0.
    pub any: u64,
    /// `any / n`, percent.
    pub prevalence_pct: f64,
}

/// Totals of one sex and age band.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// `F`, `M`, `O`; empty when unknown.
    pub sex: String,
    /// `60-69`; empty when unknown.
    pub age_band: String,
    pub scores: Scores,
}

/// How many images have each total.
type Totals = BTreeMap<u32, u64>;

const AGE_BAND: &str =
    "CASE WHEN age_years IS NULL THEN '' WHEN age_years < 50 THEN '<50' WHEN age_years < 60 THEN '50-59'
    WHEN age_years < 70 THEN '60-69' WHEN age_years < 80 THEN '70-79' ELSE '80+' END";

impl CohortSummary {
    /// Counts one submission, or all readings of the lake. Readings of several fingerprints are counted together only
    /// when no submission is given.
    pub async fn of(session: &LakeSession, submission: Option<&Submission>) -> Result<CohortSummary> {
        let (ledger, readings) = match submission {
            Some(s) => (
                format!("(SELECT * FROM ledger WHERE submission = '{}')", s.submission),
                format!(
                    "(SELECT r.* FROM readings r WHERE r.fingerprint = '{}' AND r.item_id IN
                        (SELECT item_id FROM ledger WHERE submission = '{}'))",
                    s.fingerprint, s.submission
                ),
            ),
            None => ("readings".to_owned(), "readings".to_owned()),
        };
        let outcomes = session
            .collect(&format!("SELECT status, fail_reason, count(*) FROM {ledger} GROUP BY status, fail_reason"))
            .await?;
        let primary = session
            .collect(&format!(
                "SELECT coalesce(sex, ''), {AGE_BAND}, aac24_total, aac24_cat_label, count(*)
                 FROM {readings} WHERE primary_image GROUP BY ALL"
            ))
            .await?;
        let mut summary = CohortSummary {
            submission: submission.map(|s| s.submission.clone()),
            items: 0,
            pending: 0,
            scored: 0,
            failed: Vec::new(),
            excluded: Vec::new(),
            primary_images: 0,
            scores: None,
            categories: Vec::new(),
            groups: Vec::new(),
        };
        summary.count_outcomes(&outcomes)?;
        summary.count_scores(&primary)?;
        Ok(summary)
    }

    fn count_outcomes(&mut self, batches: &[RecordBatch]) -> Result<()> {
        for batch in batches {
            let counts = counts(batch, 2)?;
            for row in 0..batch.num_rows() {
                let n = counts[row];
                let reason = cell(batch, 1, row)?.unwrap_or_default();
                self.items += n;
                match cell(batch, 0, row)?.as_deref() {
                    Some("scored") => self.scored += n,
                    Some("failed") => self.failed.push((reason, n)),
                    Some("excluded") => self.excluded.push((reason, n)),
                    _ => self.pending += n,
                }
            }
        }
        for reasons in [&mut self.failed, &mut self.excluded] {
            reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        }
        Ok(())
    }

    fn count_scores(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let mut all = Totals::new();
        let mut groups: BTreeMap<(String, String), Totals> = BTreeMap::new();
        let mut categories: BTreeMap<Option<String>, u64> = BTreeMap::new();
        for batch in batches {
            let counts = counts(batch, 4)?;
            for row in 0..batch.num_rows() {
                let n = counts[row];
                self.primary_images += n;
                *categories.entry(cell(batch, 3, row)?).or_default() += n;
                let Some(total) = cell(batch, 2, row)?.and_then(|total| total.parse::<u32>().ok()) else { continue };
                let group = (cell(batch, 0, row)?.unwrap_or_default(), cell(batch, 1, row)?.unwrap_or_default());
                *all.entry(total).or_default() += n;
                *groups.entry(group).or_default().entry(total).or_default() += n;
            }
        }
        self.scores = Scores::of(&all);
        let place =
            |label: &Option<String>| ["low", "moderate", "high"].iter().position(|l| label.as_deref() == Some(l));
        self.categories = categories.into_iter().collect();
        self.categories.sort_by_key(|(label, _)| place(label).unwrap_or(usize::MAX));
        self.groups = groups
            .into_iter()
            .filter_map(|((sex, age_band), totals)| Some(Group { sex, age_band, scores: Scores::of(&totals)? }))
            .collect();
        // "<50" before "50-59"; the unknown last.
        self.groups.sort_by_key(|g| {
            let band = if g.age_band == "<50" { "0".to_owned() } else { g.age_band.clone() };
            (g.sex.is_empty(), g.sex.clone(), band.is_empty(), band)
        });
        Ok(())
    }

    /// Failed items of all reasons.
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().map(|f| f.1).sum()
    }

    /// Excluded items of all reasons.
    pub fn excluded_total(&self) -> u64 {
        self.excluded.iter().map(|e| e.1).sum()
    }
}

impl Scores {
    fn of(totals: &Totals) -> Option<Scores> {
        let n: u64 = totals.values().sum();
        let (&max, _) = totals.last_key_value()?;
        let sum = |power: i32| totals.iter().map(|(&t, &c)| f64::from(t).powi(power) * c as f64).sum::<f64>();
        let mean = sum(1) / n as f64;
        let spread: f64 = totals.iter().map(|(&t, &c)| (f64::from(t) - mean).powi(2) * c as f64).sum();
        let any = n - totals.get(&0).copied().unwrap_or(0);
        Some(Scores {
            n,
            mean,
            sd: (n > 1).then(|| (spread / (n - 1) as f64).sqrt()),
            quartiles: [0.25, 0.5, 0.75].map(|p| quantile(totals, n, p)),
            max,
            any,
            prevalence_pct: 100.0 * any as f64 / n as f64,
        })
    }
}

/// Type 7 of Hyndman and Fan: at place `(n - 1) p` of the sorted values, counted from 0.
fn quantile(totals: &Totals, n: u64, p: f64) -> f64 {
    let value_at = |place: u64| {
        let mut before = 0;
        for (&total, &count) in totals {
            before += count;
            if place < before {
                return f64::from(total);
            }
        }
        f64::NAN
    };
    let place = (n - 1) as f64 * p;
    let below = value_at(place.floor() as u64);
    let above = value_at((place.ceil() as u64).min(n - 1));
    below + (above - below) * place.fract()
}

/// Text of a cell of any type; `None` for NULL.
fn cell(batch: &RecordBatch, column: usize, row: usize) -> Result<Option<String>> {
    let array = batch.column(column);
    if array.is_null(row) {
        return Ok(None);
    }
    let text = arrow::util::display::array_value_to_string(array, row).map_err(Error::arrow("reading a count"))?;
    Ok(Some(text))
}

fn counts(batch: &RecordBatch, column: usize) -> Result<Vec<u64>> {
    let array = batch.column(column).as_primitive_opt::<Int64Type>();
    let array = array.ok_or_else(|| Error::Query("a count is not a whole number".to_owned()))?;
    Ok(array.values().iter().map(|&n| n.max(0) as u64).collect())
}

impl fmt::Display for CohortSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |n: u64, of: u64| if of == 0 { 0.0 } else { 100.0 * n as f64 / of as f64 };
        let mut line = |indent: usize, label: &str, n: u64, of: u64| {
            let label = format!("{:indent$}{label}", "");
            writeln!(f, "{label:<34}{n:>9}  {:>5.1} %", share(n, of))
        };
        line(0, "items", self.items, self.items)?;
        line(2, "scored", self.scored, self.items)?;
        for (name, total, reasons) in
            [("failed", self.failed_total(), &self.failed), ("excluded", self.excluded_total(), &self.excluded)]
        {
            line(2, name, total, self.items)?;
            for (reason, n) in reasons {
                line(4, reason, *n, self.items)?;
            }
        }
        if self.pending > 0 {
            line(2, "pending", self.pending, self.items)?;
        }
        line(0, "primary images", self.primary_images, self.items)?;
        for (category, n) in &self.categories {
            line(2, category.as_deref().unwrap_or("category open"), *n, self.primary_images)?;
        }
        let Some(scores) = &self.scores else {
            return writeln!(f, "no image has all eight segments assessed");
        };
        writeln!(
            f,
            "\n{:<5}{:<8}{:>8}{:>8}{:>8}{:>16}{:>6}{:>14}",
            "sex", "age", "n", "mean", "sd", "median (IQR)", "max", "AAC-24 > 0"
        )?;
        let mut row = |sex: &str, band: &str, s: &Scores| {
            let [q1, median, q3] = s.quartiles;
            let sd = s.sd.map_or_else(|| "-".to_owned(), |sd| format!("{sd:.2}"));
            let middle = format!("{median:.1} ({q1:.1}-{q3:.1})");
            let any = format!("{:.1} %", s.prevalence_pct);
            writeln!(f, "{sex:<5}{band:<8}{:>8}{:>8.2}{sd:>8}{middle:>16}{:>6}{any:>14}", s.n, s.mean, s.max)
        };
        for group in &self.groups {
            let known = |text: &str| if text.is_empty() { "?".to_owned() } else { text.to_owned() };
            row(&known(&group.sex), &known(&group.age_band), &group.scores)?;
        }
        row("all", "", scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionOptions;
    use crate::samples::{excluded, failed, fingerprint, grades, item, scored};
    use crate::tests::lake;
    use domain::{ExcludeReason, FailReason};
    use futures::stream;

    #[test]
    fn figures_agree_with_numpy() {
        // numpy.percentile([0, 0, 0, 1, 2, 4, 7, 24], [25, 50, 75]) = 0, 1.5, 4.75; std(ddof=1) = 8.154753...
        let totals = Totals::from([(0, 3), (1, 1), (2, 1), (4, 1), (7, 1), (24, 1)]);
        let scores = Scores::of(&totals).unwrap();
        assert_eq!(scores.quartiles, [0.0, 1.5, 4.75]);
        assert_eq!((scores.n, scores.mean, scores.max, scores.any), (8, 4.75, 24, 5));
        assert!((scores.sd.unwrap() - 8.154753215).abs() < 1e-8, "{:?}", scores.sd);
        assert_eq!(scores.prevalence_pct, 62.5);
        assert_eq!(Scores::of(&Totals::new()), None);
        assert_eq!(Scores::of(&Totals::from([(3, 1)])).unwrap().quartiles, [3.0; 3]);
    }

    #[tokio::test]
    async fn a_submission_is_summed_up() {
        let lake = lake().await;
        let items = stream::iter((0..30).map(|n| Ok::<_, crate::Error>(item(n))));
        let submission = lake.items().write(&fingerprint("f"), items).await.unwrap();
        let mut committer = lake.committer().await.unwrap();
        let mut outcomes: Vec<_> = (0..20).map(|n| scored(n, grades(n))).collect();
        outcomes.extend([
            failed(20, FailReason::Truncated),
            failed(21, FailReason::Truncated),
            failed(22, FailReason::TooLarge),
            excluded(23, ExcludeReason::WrongView),
            scored(1000, [3; 8]), // of another submission
        ]);
        committer.commit(outcomes).await.unwrap();
        let session = lake.session(SessionOptions::default()).await.unwrap();
        let summary = CohortSummary::of(&session, Some(&submission)).await.unwrap();
        assert_eq!((summary.items, summary.scored, summary.pending), (30, 20, 6));
        assert_eq!(summary.failed, [("truncated".to_owned(), 2), ("too_large".to_owned(), 1)]);
        assert_eq!(summary.excluded_total(), 1);
        let scores = summary.scores.clone().unwrap();
        let totals: Vec<u32> = (0..20).map(|n| grades(n).iter().map(|&g| u32::from(g)).sum()).collect();
        assert_eq!(scores.n, 20);
        assert!((scores.mean - totals.iter().sum::<u32>() as f64 / 20.0).abs() < 1e-12);
        assert_eq!(scores.any, totals.iter().filter(|&&t| t > 0).count() as u64);
        assert_eq!(summary.categories.iter().map(|c| c.1).sum::<u64>(), 20);
        assert_eq!(summary.groups.iter().map(|g| g.scores.n).sum::<u64>(), 20);
        let text = summary.to_string();
        for part in ["items", "truncated", "wrong_view", "pending", "60-69", "median (IQR)"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }

        let all = CohortSummary::of(&session, None).await.unwrap();
        assert_eq!((all.items, all.scored, all.pending), (25, 21, 0));
        assert_eq!(all.scores.unwrap().max, 24);
    }
}

//! Hazard ratios by category, from truth and from readings of the same participants: what errors of reading do to an association.

use super::rows::{ReadRow, TruthRow};
use domain::grade::CategoryCut;
use serde::Serialize;
use statistics::cox::{Ties, cox};
use statistics::survival::FollowUp;
use statistics::{Confidence, Estimate};
use std::collections::{BTreeMap, HashMap};

/// What became of a participant after the first image.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeRow {
    /// As in [`TruthRow::participant`].
    pub participant: u64,
    pub years: f64,
    pub event: bool,
    /// Years.
    pub age: f64,
    pub smoker: bool,
}

/// Cox regression on the category, adjusted for age and smoking, of participants whose first image has both totals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hazards {
    pub participants: u64,
    pub events: u64,
    /// Against low: hazard ratios of moderate and of high.
    pub reference: Vec<Estimate>,
    pub model: Vec<Estimate>,
    /// The model's ratio over the reference's.
    pub ratio: Vec<Option<f64>>,
}

/// `None` without outcomes. `pairs` in the order of visits.
pub(super) fn hazards(
    pairs: &[(&TruthRow, &ReadRow)],
    outcomes: &[OutcomeRow],
    cut: CategoryCut,
    confidence: Confidence,
) -> statistics::Result<Option<Hazards>> {
    if outcomes.is_empty() {
        return Ok(None);
    }
    let known: HashMap<u64, &OutcomeRow> = outcomes.iter().map(|row| (row.participant, row)).collect();
    let mut first: BTreeMap<u64, (u8, u8, &OutcomeRow)> = BTreeMap::new();
    for (truth, row) in pairs {
        if let (Some(seen), Some(read), Some(outcome)) = (truth.total(), row.total(), known.get(&truth.participant)) {
            first.entry(truth.participant).or_insert((seen, read, *outcome));
        }
    }
    let rows: Vec<FollowUp> =
        first.values().map(|(.., outcome)| FollowUp { time: outcome.years, event: outcome.event }).collect();
    let fit = |of: fn(&(u8, u8, &OutcomeRow)) -> u8| {
        let covariates: Vec<Vec<f64>> = first
            .values()
            .map(|participant| {
                let category = cut.of(f64::from(of(participant))).code();
                let is = |what: bool| f64::from(u8::from(what));
                let outcome = participant.2;
                vec![is(category == 1), is(category == 2), outcome.age, is(outcome.smoker)]
            })
            .collect();
        cox(&rows, &covariates, Ties::Efron, confidence).map(|fit| fit.hazard_ratios.into_iter().take(2).collect())
    };
    let (reference, model): (Vec<Estimate>, Vec<Estimate>) = (fit(|p| p.0)?, fit(|p| p.1)?);
    Ok(Some(Hazards {
        participants: rows.len() as u64,
        events: rows.iter().filter(|row| row.event).count() as u64,
        ratio: reference.iter().zip(&model).map(|(r, m)| Some(m.estimate? / r.estimate?)).collect(),
        reference,
        model,
    }))
}

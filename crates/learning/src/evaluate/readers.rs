//! Methods beside people: is a method as close to reader A as reader B is?

use super::rows::{ReadRow, TruthRow};
use super::totals::{Totals, totals};
use crate::error::Result;
use domain::grade::CategoryCut;
use serde::Serialize;
use statistics::bootstrap::cluster_bootstrap;
use statistics::icc::RatingSquares;
use statistics::{Confidence, Estimate, Moments, Pairs};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Replicates of the bootstrap of the difference of two ICC; its seed makes them repeatable.
const REPLICATES: u32 = 2_000;
const SEED: u64 = 20_260_101;
/// The difference of ICC that counts as none: its lower limit lies above -.02 (science.md, section 8).
pub const MARGIN_ICC: f64 = 0.02;

/// Total of one reading by a person.
#[derive(Debug, Clone, PartialEq)]
pub struct HumanRow {
    pub sop_id: String,
    pub reader: String,
    /// `None` unless the reader graded all eight segments.
    pub total: Option<u8>,
    /// Dice of what the reader marked the first time and again, 0..1; `None` where nothing was marked, or nothing marked twice.
    pub repeat_dice: Option<f64>,
}

/// How far one reader's annotation repeats: what overlap can be asked of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepeatDice {
    pub reader: String,
    /// Averaged by image, of those with calcium that can be seen (as all of the paper's) in which either reading marks any; Student's
    /// interval.
    pub dice: Estimate,
    pub dice_sd: Option<f64>,
}

/// By reader, of those who read twice.
pub(super) fn repeat_dice(rows: &[HumanRow], truth: &[TruthRow], confidence: Confidence) -> Vec<RepeatDice> {
    let has_calcium = |image: &&TruthRow| image.visible.iter().any(|s| s.grade().is_some_and(|g| g.value() > 0));
    let calcified: HashSet<&str> = truth.iter().filter(has_calcium).map(|image| image.sop_id.as_str()).collect();
    let mut by_reader: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| calcified.contains(row.sop_id.as_str())) {
        by_reader.entry(&row.reader).or_default().extend(row.repeat_dice);
    }
    let twice = by_reader.into_iter().filter(|(_, dice)| !dice.is_empty());
    twice
        .map(|(reader, dice)| {
            let moments = Moments::of(dice);
            let dice_sd = moments.variance().map(f64::sqrt);
            RepeatDice { reader: reader.to_owned(), dice: moments.mean_estimate(confidence), dice_sd }
        })
        .collect()
}

/// A method against the first reader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgainstReader {
    /// Name of the reader who is the reference.
    pub reader: String,
    pub totals: Totals,
    pub other: Option<BesideReader>,
}

/// The images in which both readers and the method have a total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BesideReader {
    /// Name of the second reader.
    pub reader: String,
    /// ICC(2,1) of the second reader and the first.
    pub icc_of_readers: Estimate,
    /// ICC(2,1) of the method and the first reader.
    pub icc_of_method: Estimate,
    /// Method less second reader; participants are resampled.
    pub difference: Estimate,
    /// Whether the lower limit of the difference lies above -.02.
    pub no_worse: Option<bool>,
}

/// Readers by image. The first name in alphabetical order is the reference.
pub(super) struct Readers<'a> {
    names: Vec<&'a str>,
    totals: HashMap<(&'a str, &'a str), u8>,
}

impl<'a> Readers<'a> {
    pub fn of(rows: &'a [HumanRow]) -> Readers<'a> {
        let names: BTreeMap<&str, ()> = rows.iter().map(|row| (row.reader.as_str(), ())).collect();
        let total = |row: &'a HumanRow| Some(((row.reader.as_str(), row.sop_id.as_str()), row.total?));
        Readers { names: names.into_keys().collect(), totals: rows.iter().filter_map(total).collect() }
    }

    fn total(&self, place: usize, image: &str) -> Option<u8> {
        self.totals.get(&(*self.names.get(place)?, image)).copied()
    }

    /// `None` without readers.
    pub fn against(
        &self,
        pairs: &[(&TruthRow, &ReadRow)],
        cut: CategoryCut,
        confidence: Confidence,
    ) -> Result<Option<AgainstReader>> {
        let Some(reader) = self.names.first() else { return Ok(None) };
        let both: Vec<(u8, u8)> =
            pairs.iter().filter_map(|(truth, row)| Some((self.total(0, &truth.sop_id)?, row.total()?))).collect();
        let three: Vec<(u64, [f64; 3])> = pairs
            .iter()
            .filter_map(|(truth, row)| {
                let scores = [self.total(0, &truth.sop_id)?, self.total(1, &truth.sop_id)?, row.total()?];
                Some((truth.participant, scores.map(f64::from)))
            })
            .collect();
        let other = self.names.get(1).map(|name| beside(name, &three, confidence)).transpose()?;
        Ok(Some(AgainstReader { reader: (*reader).to_owned(), totals: totals(&both, cut, confidence)?, other }))
    }
}

/// `three`: participant; totals by the first reader, the second and the method.
fn beside(reader: &str, three: &[(u64, [f64; 3])], confidence: Confidence) -> Result<BesideReader> {
    let icc = |place: usize| {
        RatingSquares::of_pairs(&Pairs::of(three.iter().map(|(_, s)| (s[0], s[place])))).icc_2_1(confidence)
    };
    let weighted = |place: usize, weights: &[u32]| {
        let drawn =
            three.iter().zip(weights).flat_map(|((_, s), w)| std::iter::repeat_n((s[0], s[place]), *w as usize));
        RatingSquares::of_pairs(&Pairs::of(drawn)).icc_2_1(confidence).estimate
    };
    let participants: Vec<u64> = three.iter().map(|(participant, _)| *participant).collect();
    let difference = cluster_bootstrap(&participants, SEED, REPLICATES, confidence, |weights| {
        Some(weighted(2, weights)? - weighted(1, weights)?)
    })?;
    Ok(BesideReader {
        reader: reader.to_owned(),
        icc_of_readers: icc(1),
        icc_of_method: icc(2),
        no_worse: difference.conf_low.map(|low| low > -MARGIN_ICC),
        difference,
    })
}

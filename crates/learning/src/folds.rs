//! Participant-wise folds of an annotated cohort: which image tests, validates and trains in which fold.
//!
//! Chaplin & Cootes (sections 2.2 and 2.3) have 195 images in 5 folds: 39 test, 31 validate, 125 train. Here a participant is never in two parts
//! of one fold, and the parts of a fold have like mixes of scores: participants are sorted by their total and dealt out, so that the mix
//! is a matter of construction, not of luck. Everything follows from the rows and the seed.

use crate::draw::Draw;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Most folds of a plan.
pub const FOLDS_MAX: usize = 100;

/// An image that may take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its file, relative to the cohort's folder.
    pub file: String,
    /// Whose picture it is; images of one participant stay together.
    pub participant: String,
    /// Visible AAC-24 total, 0..=24; `None` where a segment cannot be assessed.
    pub total: Option<u8>,
}

/// Which candidates take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Lowest and highest total.
    pub totals: std::ops::RangeInclusive<u8>,
    /// Participants, each with one image; `None` takes all images of all.
    pub count: Option<usize>,
}

/// How a plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldPlan {
    pub folds: usize,
    /// Participants who validate in each fold.
    pub validation: usize,
    pub seed: u64,
}

/// What an image is for in a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Training,
    Validation,
    Test,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Training, Part::Validation, Part::Test];

    pub fn name(self) -> &'static str {
        match self {
            Part::Training => "training",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Part, String> {
        let found = Part::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| format!("{text} is none of training, validation, test"))
    }
}

/// One row of a plan: an image in a fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// 0 .. folds.
    pub fold: usize,
    pub part: Part,
    pub image: Candidate,
}

/// Chooses who takes part: all whose totals lie in the range, or `count` of their participants at random, each participant with one
/// of the images that qualify, also at random. Sorted by file.
///
/// # Errors
/// [`Error::TruthTable`] for two rows of one file, [`Error::Setting`] when fewer participants qualify than are asked for.
pub fn select(candidates: &[Candidate], selection: &Selection, seed: u64) -> Result<Vec<Candidate>> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| a.file.cmp(&b.file));
    if sorted.windows(2).any(|pair| pair[0].file == pair[1].file) {
        return Err(Error::TruthTable { problem: "two rows name one file".into() });
    }
    sorted.retain(|image| image.total.is_some_and(|total| selection.totals.contains(&total)));
    let Some(count) = selection.count else { return Ok(sorted.into_iter().cloned().collect()) };
    let mut draw = Draw::named("select", &[seed]);
    let by_participant = of_participants(&sorted);
    if by_participant.len() < count {
        let (low, high) = (selection.totals.start(), selection.totals.end());
        let problem = format!(
            "asks for {count} participants, but only {} have an image with a total from {low} to {high}; simulate more",
            by_participant.len()
        );
        return Err(Error::Setting { name: "select", problem });
    }
    let mut chosen: Vec<&Candidate> =
        by_participant.into_values().map(|images| images[draw.below(images.len())]).collect();
    draw.shuffle(&mut chosen);
    chosen.truncate(count);
    chosen.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(chosen.into_iter().cloned().collect())
}

/// Images of each participant, in the order of participants; images keep theirs.
fn of_participants<'a>(images: &[&'a Candidate]) -> BTreeMap<&'a str, Vec<&'a Candidate>> {
    let mut groups = BTreeMap::<&str, Vec<&Candidate>>::new();
    for image in images {
        groups.entry(image.participant.as_str()).or_default().push(image);
    }
    groups
}

/// Deals participants into folds. Each tests in exactly one fold; in every other fold, `validation` of those who do not test validate and
/// the others train. Rows come by fold, then part, then file.
///
/// Sorted by the highest total among their images (chance breaks ties), participants are dealt in rounds, one to each fold in
/// random order; so folds differ by at most one participant, and in each quantile of the totals alike. Validation takes, from those
/// who are left of the same order, one out of each of `validation` stretches of equal length.
///
/// # Errors
/// [`Error::Setting`] unless `2 <= folds <= `[`FOLDS_MAX`], and each fold has a participant to test and one to train.
pub fn plan(images: &[Candidate], plan: FoldPlan) -> Result<Vec<Assignment>> {
    let FoldPlan { folds, validation, seed } = plan;
    if !(2..=FOLDS_MAX).contains(&folds) {
        return Err(Error::Setting { name: "folds", problem: format!("is {folds}, not within 2..={FOLDS_MAX}") });
    }
    let mut sorted: Vec<&Candidate> = images.iter().collect();
    sorted.sort_by(|a, b| a.file.cmp(&b.file));
    let groups = of_participants(&sorted);
    let participants = groups.len();
    if participants < folds {
        let problem = format!("is {folds}, but there are {participants} participants");
        return Err(Error::Setting { name: "folds", problem });
    }
    let left = participants - participants.div_ceil(folds);
    if validation >= left {
        let problem =
            format!("is {validation}, but only {left} participants do not test in a fold, and some must train");
        return Err(Error::Setting { name: "validation", problem });
    }
    let mut draw = Draw::named("folds", &[seed]);
    let mut order: Vec<&str> = groups.keys().copied().collect();
    draw.shuffle(&mut order);
    let total = |participant: &&str| groups[*participant].iter().filter_map(|image| image.total).max();
    order.sort_by_key(total);

    let mut tests_in: Vec<usize> = Vec::with_capacity(participants);
    while tests_in.len() < participants {
        let mut round: Vec<usize> = (0..folds).collect();
        draw.shuffle(&mut round);
        tests_in.extend(round);
    }
    let mut rows = Vec::with_capacity(images.len() * folds);
    for fold in 0..folds {
        let others: Vec<&str> =
            order.iter().zip(&tests_in).filter(|(_, test)| **test != fold).map(|(who, _)| *who).collect();
        let mut validates = vec![false; others.len()];
        for stretch in 0..validation {
            let (from, to) = (stretch * others.len() / validation, (stretch + 1) * others.len() / validation);
            validates[from + draw.below(to - from)] = true;
        }
        let mut part_of: BTreeMap<&str, Part> = BTreeMap::new();
        for (who, validates) in others.iter().zip(validates) {
            part_of.insert(who, if validates { Part::Validation } else { Part::Training });
        }
        let mut of_fold: Vec<Assignment> = sorted
            .iter()
            .map(|image| {
                let part = part_of.get(image.participant.as_str()).copied().unwrap_or(Part::Test);
                Assignment { fold, part, image: (*image).clone() }
            })
            .collect();
        of_fold.sort_by_key(|row| row.part);
        rows.extend(of_fold);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn cohort(totals: &[(u16, u8)]) -> Vec<Candidate> {
        let image = |(i, (who, total)): (usize, &(u16, u8))| Candidate {
            file: format!("images/img_{i:06}.dcm"),
            participant: format!("P{who}"),
            total: Some(*total),
        };
        totals.iter().enumerate().map(image).collect()
    }

    #[test]
    fn the_papers_counts() {
        let totals: Vec<(u16, u8)> = (0..300).map(|i| (i, (i % 23) as u8)).collect();
        let selection = Selection { totals: 1..=16, count: Some(195) };
        let chosen = select(&cohort(&totals), &selection, 7).unwrap();
        assert_eq!(chosen.len(), 195);
        assert!(chosen.iter().all(|image| (1..=16).contains(&image.total.unwrap())));
        let rows = plan(&chosen, FoldPlan { folds: 5, validation: 31, seed: 7 }).unwrap();
        for fold in 0..5 {
            let count = |part| rows.iter().filter(|row| row.fold == fold && row.part == part).count();
            assert_eq!(Part::ALL.map(count), [125, 31, 39]);
        }
    }

    #[test]
    fn what_cannot_be_dealt_is_refused_by_name() {
        let images = cohort(&[(1, 3), (2, 4), (3, 5), (3, 6)]);
        let refused =
            |folds, validation| plan(&images, FoldPlan { folds, validation, seed: 1 }).unwrap_err().to_string();
        assert!(refused(1, 0).contains("folds is 1"));
        assert!(refused(4, 0).contains("there are 3 participants"), "images of one are one");
        assert!(refused(3, 2).contains("validation is 2"));
        let few = select(&images, &Selection { totals: 4..=6, count: Some(3) }, 1).unwrap_err();
        assert!(few.to_string().contains("only 2 have"), "{few}");
        let twice = [images.clone(), images].concat();
        assert!(select(&twice, &Selection { totals: 0..=24, count: None }, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_participant_has_one_part_in_a_fold_and_tests_once(
            totals in prop::collection::vec((0u16..60, 0u8..=24), 24..160),
            folds in 2usize..7,
            seed in any::<u64>(),
        ) {
            let images = cohort(&totals);
            let participants: BTreeSet<&str> = images.iter().map(|i| i.participant.as_str()).collect();
            let n = participants.len();
            prop_assume!(n > 2 * folds);
            let validation = (n - n.div_ceil(folds)) / 5;
            let fold_plan = FoldPlan { folds, validation, seed };
            let rows = plan(&images, fold_plan).unwrap();
            prop_assert_eq!(rows.len(), images.len() * folds);
            let mut tested = BTreeMap::<&str, usize>::new();
            for fold in 0..folds {
                let mut of = BTreeMap::<&str, BTreeSet<Part>>::new();
                for row in rows.iter().filter(|row| row.fold == fold) {
                    of.entry(&row.image.participant).or_default().insert(row.part);
                }
                prop_assert!(of.values().all(|parts| parts.len() == 1), "a participant is in two parts");
                let count = |part| of.values().filter(|parts| parts.contains(&part)).count();
                let tests = count(Part::Test);
                prop_assert!(tests == n / folds || tests == n.div_ceil(folds));
                prop_assert_eq!(count(Part::Validation), validation);
                for (who, _) in of.iter().filter(|(_, parts)| parts.contains(&Part::Test)) {
                    *tested.entry(who).or_default() += 1;
                }
            }
            prop_assert!(tested.len() == n && tested.values().all(|times| *times == 1));
            // The order of the rows of the truth does not matter, the seed does.
            let reversed: Vec<Candidate> = images.iter().rev().cloned().collect();
            prop_assert_eq!(&plan(&reversed, fold_plan).unwrap(), &rows);
        }

        #[test]
        fn folds_have_like_mixes(seed in any::<u64>()) {
            let totals: Vec<(u16, u8)> = (0..195u16).map(|i| (i, 1 + (i % 16) as u8)).collect();
            let rows = plan(&cohort(&totals), FoldPlan { folds: 5, validation: 31, seed }).unwrap();
            for fold in 0..5 {
                for part in Part::ALL {
                    let of: Vec<f64> = rows
                        .iter()
                        .filter(|row| row.fold == fold && row.part == part)
                        .map(|row| f64::from(row.image.total.unwrap()))
                        .collect();
                    let mean = of.iter().sum::<f64>() / of.len() as f64;
                    prop_assert!((mean - 8.4).abs() < 0.6, "fold {} {}: mean total {}", fold, part.name(), mean);
                }
            }
        }
    }
}

//! How methods compare with truth, and with each other on the same images: `aortica evaluate`.
//!
//! Pure functions over plain rows, but for the masks, which are read from the cohort's folder. Agreement depends on the case mix, so
//! that the mix is part of every result; a result on simulated images must never be set against one on patients
//! (science.md, section 8).

mod certainty;
mod localisation;
mod masks;
mod readers;
mod rows;
mod segments;
mod table;
#[cfg(test)]
mod tests;
mod totals;

pub use certainty::{Abstained, Certainty, ReliabilityBin, ReviewFlag};
pub use localisation::Localisation;
pub use masks::MaskAgreement;
pub use readers::{AgainstReader, BesideReader, HumanRow};
pub use rows::{Outlines, ReadRow, ReadSegment, Status, TruthRow};
pub use segments::{Assessability, GradeAgreement};
pub use totals::{BONFERRONI_ALPHA, Categories, TotalPair, Totals};

use crate::error::{Error, Result};
use domain::grade::CategoryCut;
use readers::Readers;
use serde::Serialize;
use statistics::proportion::{Interval, proportion};
use statistics::{Confidence, Estimate, Moments};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What the numbers are about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseMix {
    pub images: usize,
    pub negatives: usize,
    /// Lateral lumbar images that a reader could score (see [`TruthRow::is_assessable`]).
    pub assessable: usize,
    /// Of those: how many with total 0, in category low, moderate, high.
    pub total_zero: usize,
    pub low: usize,
    pub moderate: usize,
    pub high: usize,
    pub mean_total: Option<f64>,
}

/// Rows of one method.
#[derive(Debug, Clone)]
pub struct MethodRows {
    /// `name version` of the pipeline, and more where two methods share it.
    pub name: String,
    pub fingerprint: String,
    pub rows: Vec<ReadRow>,
}

/// One method on some of the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Share of assessable images that was scored, 0..1.
    pub scored: Estimate,
    pub assessability: Assessability,
    pub localisation: Localisation,
    /// Against visible truth.
    pub totals: Totals,
    pub segments: Vec<GradeAgreement>,
    pub certainty: Certainty,
}

/// One method on all images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Method {
    pub name: String,
    pub fingerprint: String,
    /// Images of the truth that have no row: neither scored nor excluded nor failed.
    pub without_row: usize,
    /// Share of negatives that was excluded, 0..1.
    pub negatives_excluded: Estimate,
    pub all: Agreement,
    /// By wall, unless masks were left out or the method marks no calcium.
    pub masks: Vec<MaskAgreement>,
    /// Against the first human reader, where there are any.
    pub readers: Option<AgainstReader>,
    pub by_scanner_maker: BTreeMap<String, Agreement>,
    pub by_scanner_model: BTreeMap<String, Agreement>,
    pub by_site: BTreeMap<String, Agreement>,
}

/// All methods on the same images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub case_mix: CaseMix,
    /// By name.
    pub methods: Vec<Method>,
}

/// What methods are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    pub truth: &'a [TruthRow],
    pub humans: &'a [HumanRow],
    /// The cohort's folder, when masks are to be compared.
    pub folder: Option<&'a Path>,
    pub cut: CategoryCut,
    pub confidence: Confidence,
}

/// Compares the rows of each method with the truth, joined by the pseudonym of the instance. Rows without truth are passed over; truth
/// without a row counts as not scored.
///
/// # Errors
/// [`Error::Rows`]: no truth, no method, or two rows of one instance on either side; those of masks that cannot be read.
pub fn evaluate(reference: Reference, methods: &[MethodRows]) -> Result<Evaluation> {
    let truth = reference.truth;
    if truth.is_empty() || methods.is_empty() {
        return Err(refused(if truth.is_empty() { "the truth table has no rows" } else { "there are no readings" }));
    }
    let mut known = HashMap::with_capacity(truth.len());
    if truth.iter().any(|image| known.insert(image.sop_id.as_str(), ()).is_some()) {
        return Err(refused("the truth table names an instance twice"));
    }
    let readers = Readers::of(reference.humans);
    let mut judged = methods.iter().map(|m| method(reference, &readers, m)).collect::<Result<Vec<Method>>>()?;
    judged.sort_by(|a, b| (&a.name, &a.fingerprint).cmp(&(&b.name, &b.fingerprint)));
    Ok(Evaluation { case_mix: case_mix(truth, reference.cut), methods: judged })
}

fn refused(problem: &str) -> Error {
    Error::Rows { problem: problem.to_owned() }
}

fn method(reference: Reference, readers: &Readers, method: &MethodRows) -> Result<Method> {
    let mut by_id: HashMap<&str, &ReadRow> = HashMap::with_capacity(method.rows.len());
    for row in &method.rows {
        if by_id.insert(&row.sop_id, row).is_some() {
            return Err(refused(&format!("an instance has two rows of {}", method.name)));
        }
    }
    let pairs: Vec<Seen> = reference.truth.iter().map(|t| (t, by_id.get(t.sop_id.as_str()).copied())).collect();
    let (lateral, negatives): (Vec<Seen>, Vec<Seen>) = pairs.iter().partition(|(t, _)| t.lateral_lumbar);
    let excluded = negatives.iter().filter(|(_, row)| row.is_some_and(|r| r.status == Status::Excluded)).count();
    let grouped = |of: fn(&TruthRow) -> &str| -> Result<BTreeMap<String, Agreement>> {
        let mut groups: BTreeMap<&str, Vec<Seen>> = BTreeMap::new();
        lateral.iter().for_each(|pair| groups.entry(of(pair.0)).or_default().push(*pair));
        groups.into_iter().map(|(name, pairs)| Ok((name.to_owned(), agreement(reference, &pairs)?))).collect()
    };
    let scored = scored(&lateral);
    let (cut, confidence) = (reference.cut, reference.confidence);
    Ok(Method {
        name: method.name.clone(),
        fingerprint: method.fingerprint.clone(),
        without_row: pairs.iter().filter(|(_, row)| row.is_none()).count(),
        negatives_excluded: proportion(excluded as u64, negatives.len() as u64, Interval::Wilson, confidence),
        all: agreement(reference, &lateral)?,
        masks: reference.folder.map_or(Ok(Vec::new()), |folder| masks::masks(&scored, folder, confidence))?,
        readers: readers.against(&scored, cut, confidence)?,
        by_scanner_maker: grouped(|t| &t.scanner_maker)?,
        by_scanner_model: grouped(|t| &t.scanner_model)?,
        by_site: grouped(|t| &t.site)?,
    })
}

type Seen<'a> = (&'a TruthRow, Option<&'a ReadRow>);

fn scored<'a>(pairs: &[Seen<'a>]) -> Vec<(&'a TruthRow, &'a ReadRow)> {
    let scored = pairs.iter().filter_map(|(truth, row)| Some((*truth, (*row)?)));
    scored.filter(|(_, row)| row.status == Status::Scored).collect()
}

/// `pairs`: lateral lumbar images.
fn agreement(reference: Reference, pairs: &[Seen]) -> Result<Agreement> {
    let (cut, confidence) = (reference.cut, reference.confidence);
    let read = scored(pairs);
    let assessable = pairs.iter().filter(|(t, _)| t.is_assessable()).count();
    let found = read.iter().filter(|(t, _)| t.is_assessable()).count();
    let both: Vec<(u8, u8)> = read.iter().filter_map(|(truth, row)| Some((truth.total()?, row.total()?))).collect();
    Ok(Agreement {
        scored: proportion(found as u64, assessable as u64, Interval::Wilson, confidence),
        assessability: segments::assessability(&read, confidence),
        localisation: localisation::localisation(&read, confidence),
        totals: totals::totals(&both, cut, confidence)?,
        segments: segments::segments(&read, confidence)?,
        certainty: certainty::certainty(&read, cut, confidence),
    })
}

fn case_mix(truth: &[TruthRow], cut: CategoryCut) -> CaseMix {
    let lateral = || truth.iter().filter(|t| t.lateral_lumbar);
    let totals: Vec<f64> = lateral().filter_map(TruthRow::total).map(f64::from).collect();
    let of = |code: u8| totals.iter().filter(|t| cut.of(**t).code() == code).count();
    CaseMix {
        images: truth.len(),
        negatives: truth.iter().filter(|t| !t.lateral_lumbar).count(),
        assessable: truth.iter().filter(|t| t.is_assessable()).count(),
        total_zero: totals.iter().filter(|t| **t == 0.0).count(),
        low: of(0),
        moderate: of(1),
        high: of(2),
        mean_total: Moments::of(totals.iter().copied()).mean(),
    }
}

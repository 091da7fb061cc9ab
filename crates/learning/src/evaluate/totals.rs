//! Agreement of AAC-24 totals and their categories.

use domain::grade::CategoryCut;
use serde::Serialize;
use statistics::bland_altman::{BlandAltman, bland_altman};
use statistics::bootstrap::cluster_bootstrap;
use statistics::classification::{ClassAccuracy, accuracy, by_class};
use statistics::correlation::{RSquared, concordance, pearson, r_squared, spearman};
use statistics::icc::RatingSquares;
use statistics::kappa::{KappaWeights, kappa};
use statistics::proportion::{Interval, proportion};
use statistics::wilcoxon::{SignedRank, signed_rank};
use statistics::{AacJoint, Confidence, CountState, Estimate, Pairs, SquareTable};

/// LVLCRNet tests each method in each of three cohorts at this level: .05 by Bonferroni.
pub const BONFERRONI_ALPHA: f64 = 0.05 / 3.0;

/// Images with this pair of totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TotalPair {
    pub reference: u8,
    pub model: u8,
    pub images: u64,
}

/// A method, or a reader, against a reference; the images are those with both totals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    pub images: u64,
    /// Bias, SD, limits, MAE and RMSE, points; differences are model - reference.
    pub difference: BlandAltman,
    /// Four quantities that papers call R2 (science.md, section 2).
    pub r2: RSquared,
    pub icc_2_1: Estimate,
    pub icc_3_1: Estimate,
    pub concordance: Estimate,
    pub pearson: Estimate,
    pub spearman: Estimate,
    /// Over the fixed levels 0..24.
    pub kappa_linear: Estimate,
    pub kappa_quadratic: Estimate,
    pub categories: Categories,
    /// Share with a total above 0, 0..1, by the reference and by the model.
    pub prevalence_reference: Estimate,
    pub prevalence_model: Estimate,
    /// P(total 0 | reference 0).
    pub zero_given_zero: Estimate,
    pub wilcoxon: SignedRank,
    /// Whether the signed-rank test finds a difference at .05/3; `None` where it says nothing.
    pub differs: Option<bool>,
    /// Every pair that occurs, for plots.
    pub pairs: Vec<TotalPair>,
}

/// Low, moderate, high.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Categories {
    /// Plain share in the same category, 0..1 (not the one-vs-rest average of some papers).
    pub accuracy: Estimate,
    /// Reference by row, model by column.
    pub confusion: [[u64; 3]; 3],
    pub kappa_unweighted: Estimate,
    pub kappa_linear: Estimate,
    pub kappa_quadratic: Estimate,
    pub by_category: Vec<ClassAccuracy>,
}

/// Replicates of the bootstrap of R2; its seed makes them repeatable.
const REPLICATES: u32 = 1_000;
const SEED: u64 = 20_260_102;

/// R2 about the identity line, which has no interval in closed form: participants are resampled. `totals`: participant, reference, model.
pub(super) fn identity_interval(totals: &[(u64, u8, u8)], confidence: Confidence) -> statistics::Result<Estimate> {
    let participants: Vec<u64> = totals.iter().map(|(participant, ..)| *participant).collect();
    let found = cluster_bootstrap(&participants, SEED, REPLICATES, confidence, |weights| {
        let drawn = || totals.iter().zip(weights).map(|((_, r, m), w)| (f64::from(*r), f64::from(*m), f64::from(*w)));
        let (n, sum) =
            drawn().fold((0.0, 0.0), |(n, sum), (reference, _, weight)| (n + weight, sum + weight * reference));
        let spread: f64 = drawn().map(|(reference, _, weight)| weight * (reference - sum / n).powi(2)).sum();
        let error: f64 = drawn().map(|(reference, model, weight)| weight * (model - reference).powi(2)).sum();
        (n >= 2.0 && spread > 0.0).then(|| 1.0 - error / spread)
    })?;
    Ok(Estimate { method: "r2 identity line, cluster bootstrap", ..found })
}

/// `totals`: (reference, model), 0..=24.
pub(super) fn totals(totals: &[(u8, u8)], cut: CategoryCut, confidence: Confidence) -> statistics::Result<Totals> {
    let mut joint = AacJoint::empty();
    for (reference, model) in totals {
        joint.add(Some(i64::from(*reference)), Some(i64::from(*model)))?;
    }
    let pairs = Pairs::of_joint(&joint);
    let levels = SquareTable::of_joint(&joint);
    let squares = RatingSquares::of_pairs(&pairs);
    let wilcoxon = signed_rank(pairs.differences(), confidence)?;
    let share = |part: usize, of: usize| proportion(part as u64, of as u64, Interval::Wilson, confidence);
    let count = |is: fn(&(u8, u8)) -> bool| totals.iter().filter(|pair| is(pair)).count();
    Ok(Totals {
        images: pairs.n(),
        difference: bland_altman(&pairs, confidence),
        r2: r_squared(&pairs, confidence),
        icc_2_1: squares.icc_2_1(confidence),
        icc_3_1: squares.icc_3_1(confidence),
        concordance: concordance(&pairs, confidence),
        pearson: pearson(&pairs, confidence),
        spearman: spearman(&pairs, confidence),
        kappa_linear: kappa(&levels, KappaWeights::Linear, confidence),
        kappa_quadratic: kappa(&levels, KappaWeights::Quadratic, confidence),
        categories: categories(totals, cut, confidence)?,
        prevalence_reference: share(count(|(r, _)| *r > 0), totals.len()),
        prevalence_model: share(count(|(_, m)| *m > 0), totals.len()),
        zero_given_zero: share(count(|pair| *pair == (0, 0)), count(|(r, _)| *r == 0)),
        differs: wilcoxon.test.p_value.map(|p| p < BONFERRONI_ALPHA),
        wilcoxon,
        pairs: pairs
            .iter()
            .map(|p| TotalPair { reference: p.reference as u8, model: p.model as u8, images: p.count })
            .collect(),
    })
}

fn categories(totals: &[(u8, u8)], cut: CategoryCut, confidence: Confidence) -> statistics::Result<Categories> {
    let mut confusion = [[0u64; 3]; 3];
    for (reference, model) in totals {
        let code = |total: u8| usize::from(cut.of(f64::from(total)).code());
        confusion[code(*reference)][code(*model)] += 1;
    }
    let table = SquareTable::new(3, confusion.iter().flatten().copied().collect())?;
    Ok(Categories {
        accuracy: accuracy(&table, Interval::Wilson, confidence),
        confusion,
        kappa_unweighted: kappa(&table, KappaWeights::Unweighted, confidence),
        kappa_linear: kappa(&table, KappaWeights::Linear, confidence),
        kappa_quadratic: kappa(&table, KappaWeights::Quadratic, confidence),
        by_category: by_class(&table, Interval::Wilson, confidence),
    })
}

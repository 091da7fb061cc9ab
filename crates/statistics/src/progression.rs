//! Change of a participant's score from one visit to a later one. Falls are kept as falls: nothing is clipped.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::icc::RatingSquares;
use crate::moments::Moments;
use crate::pairs::{Pair, Pairs};
use crate::proportion::{Interval, proportion};
use crate::wilcoxon::{SignedRank, signed_rank};
use serde::Serialize;

/// Days of a year of person-time.
pub const DAYS_PER_YEAR: f64 = 365.25;

/// Two readings of one participant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval2 {
    pub first: f64,
    pub last: f64,
    /// Between the images, days, above 0.
    pub days: f64,
    /// Whether the images came from different scanner models, which may feign a change.
    pub scanner_changed: bool,
}

/// Change in a cohort.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progression {
    /// last - first, score points, Student's interval.
    pub change: Estimate,
    /// Change a year, averaged over participants, Student's interval.
    pub per_year: Estimate,
    /// Share with a rise above the smallest detectable change; missing without one.
    pub progressed: Estimate,
    /// Share with a fall beyond it: what noise alone would give.
    pub regressed: Estimate,
    pub signed_rank: SignedRank,
    /// Participants whose scanner changed in between.
    pub scanner_changed: u64,
}

/// Smallest change of one participant that is not noise at 95 %: 1.96 · sqrt(2) · standard error of measurement, from readings repeated
/// without change (Bland & Altman 1986; Beckerman et al., Qual Life Res 2001;10:571). Score points; `None` below two pairs.
pub fn smallest_detectable_change(repeats: &Pairs) -> Option<f64> {
    RatingSquares::of_pairs(repeats).error_of_measurement().map(|sem| 1.96 * std::f64::consts::SQRT_2 * sem)
}

/// # Errors
/// [`ErrorKind::Argument`] for intervals that are not above 0 days or readings that are not finite.
pub fn progression(rows: &[Interval2], detectable: Option<f64>, confidence: Confidence) -> Result<Progression> {
    if rows.iter().any(|r| !(r.days > 0.0 && r.days.is_finite() && r.first.is_finite() && r.last.is_finite())) {
        let context = "two readings of a participant need both totals and images on different days";
        return Err(Error::new(ErrorKind::Argument, context));
    }
    let change = Moments::of(rows.iter().map(|r| r.last - r.first));
    let yearly = Moments::of(rows.iter().map(|r| (r.last - r.first) / r.days * DAYS_PER_YEAR));
    let n = rows.len() as u64;
    let share = |beyond: &dyn Fn(f64, f64) -> bool| match detectable {
        None => Estimate::missing(n, confidence, "no smallest detectable change"),
        Some(limit) => {
            let count = rows.iter().filter(|r| beyond(r.last - r.first, limit)).count() as u64;
            proportion(count, n, Interval::Wilson, confidence)
        }
    };
    Ok(Progression {
        change: change.mean_estimate(confidence),
        per_year: yearly.mean_estimate(confidence),
        progressed: share(&|change, limit| change > limit),
        regressed: share(&|change, limit| change < -limit),
        signed_rank: signed_rank(rows.iter().map(|r| (r.last - r.first, 1)), confidence)?,
        scanner_changed: rows.iter().filter(|r| r.scanner_changed).count() as u64,
    })
}

/// First and last reading as pairs: the transition matrix of categories is [`crate::SquareTable::of_classes`] of their joint counts.
pub fn as_pairs(rows: &[Interval2]) -> Pairs {
    rows.iter().map(|r| Pair { reference: r.first, model: r.last, count: 1 }).collect()
}

//! Prevalence of a score of at least some value where some totals are known only as a range.
//!
//! A reading with segments that could not be assessed has a least and a most possible total. Where both lie on one side of the cut-off
//! the participant is decided although the total is missing. Those left open are not open at random (one calcified segment decides
//! "at least 1", whereas "0" needs all eight), so that the share among the decided leans upwards; the two bounds hold whatever the
//! open ones are (Manski, Partial Identification of Probability Distributions, 2003, chapter 1).

use crate::counts::{AacJoint, LEVELS};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::proportion::{Interval, proportion};
use serde::Serialize;

/// A prevalence and its bounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prevalence {
    /// Share of the decided participants.
    pub decided: Estimate,
    /// Share of all, were every open one below the cut-off.
    pub lowest: Estimate,
    /// Share of all, were every open one at or above it.
    pub highest: Estimate,
}

/// `bounds` counts participants by their least (as reference) and most (as model) possible total; a known total is both.
///
/// # Errors
/// [`ErrorKind::Argument`] where a least total exceeds the most, or the cut-off is not finite.
pub fn prevalence(bounds: &AacJoint, at_least: f64, interval: Interval, confidence: Confidence) -> Result<Prevalence> {
    if !at_least.is_finite() {
        return Err(Error::new(ErrorKind::Argument, "a cut-off is a number"));
    }
    let (mut above, mut below, mut open) = (0, 0, 0);
    for (cell, count) in bounds.cells().iter().enumerate().filter(|(_, count)| **count > 0) {
        let (least, most) = (cell / LEVELS, cell % LEVELS);
        if least > most {
            let context = format!("a least total of {least} exceeds the most, {most}: give aac24_min, then aac24_max");
            return Err(Error::new(ErrorKind::Argument, context));
        }
        match (least as f64 >= at_least, most as f64 >= at_least) {
            (true, _) => above += count,
            (false, false) => below += count,
            (false, true) => open += count,
        }
    }
    let all = above + below + open;
    Ok(Prevalence {
        decided: proportion(above, above + below, interval, confidence),
        lowest: proportion(above, all, interval, confidence),
        highest: proportion(above + open, all, interval, confidence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::CountState;

    fn of(rows: &[(i64, i64)], at_least: f64) -> Result<Prevalence> {
        let mut bounds = AacJoint::empty();
        for (least, most) in rows {
            bounds.add(Some(*least), Some(*most)).unwrap();
        }
        prevalence(&bounds, at_least, Interval::Wilson, Confidence::default())
    }

    #[test]
    fn a_range_decides_where_it_lies_on_one_side() {
        // Two known totals, one range above 1 whatever is hidden, one open from 0 to 3
        let rows = [(0, 0), (5, 5), (2, 8), (0, 3)];
        let any = of(&rows, 1.0).unwrap();
        assert_eq!((any.decided.n, any.decided.estimate), (3, Some(2.0 / 3.0)));
        assert_eq!((any.lowest.n, any.lowest.estimate), (4, Some(0.5)));
        assert_eq!((any.highest.n, any.highest.estimate), (4, Some(0.75)));
        let high = of(&rows, 6.0).unwrap();
        assert_eq!((high.decided.n, high.decided.estimate), (3, Some(0.0)), "0 to 3 is decided here, 2 to 8 is open");
        assert_eq!(high.highest.estimate, Some(0.25));
    }

    #[test]
    fn nobody_is_missing_and_a_range_upside_down_is_refused() {
        assert_eq!(of(&[], 1.0).unwrap().decided.estimate, None);
        assert_eq!(of(&[(0, 3)], 1.0).unwrap().decided.n, 0);
        assert!(of(&[(4, 3)], 1.0).unwrap_err().to_string().contains("aac24_min"));
    }
}

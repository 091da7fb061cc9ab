//! The line between anterior and posterior calcium (Chaplin & Cootes, section 2.5, equation 1).

use crate::region::REGION_WIDTH;

/// Distance of candidate lines, columns.
const STEP: f64 = 0.5;
/// Candidates: from the left border of column 0 (-0.5) to the right border of column 127 (127.5).
const CANDIDATES: usize = 2 * REGION_WIDTH + 1;
/// Standard errors around the expected midline within which one wall's pixels alone may move it.
const ONE_WALL_REACH_SD: f64 = 3.0;
/// Costs closer than this are a tie: rounding of a sum of at most 2 x 32,768 terms.
const TIE: f64 = 1e-7;

/// What the shape model expects of the midline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MidlinePrior {
    /// Region column.
    pub column: f64,
    /// Standard error, columns.
    pub sd: f64,
}

/// What fixed the midline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidlineEvidence {
    BothWalls,
    /// Pixels of one wall only: the cost alone would drive the line to the border of the region.
    OneWall,
    NoPixels,
}

/// A vertical line in the region; anterior is at lower columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Midline {
    /// Region column, on the grid of half columns unless it is the prior.
    pub column: f64,
    /// The seed's cost C at this line, expected count of pixels on the wrong side.
    pub cost: f64,
    pub evidence: MidlineEvidence,
}

/// Finds the vertical line `x = l` of least cost
/// `C(l) = sum over pixels j of 1 / (1 + exp(-c_j (x_j - l)))`, c = +1 anterior, -1 posterior.
///
/// As printed in the paper and minimised, this wants anterior pixels at low columns. `anterior` and `posterior` count the pixels of
/// each class by column. All lines on a grid of half columns are tried, so the minimum is exact on the grid; among lines of
/// equal cost the one nearest to the prior wins. With pixels of one wall only, the cost falls all the way to a border: then
/// the prior's own cost, `(l - column)^2 / (2 sd^2)` per pixel of equal weight, is added and the line stays within 3 SD of it. Without
/// pixels it is the prior.
pub fn find_midline(anterior: &[u32; REGION_WIDTH], posterior: &[u32; REGION_WIDTH], prior: MidlinePrior) -> Midline {
    // sigmoid[d] = 1 / (1 + exp(-(d - 2 x 128) / 2)): every distance of a column centre from a candidate is a half-integer multiple.
    let offset = 2 * REGION_WIDTH as isize;
    let sigmoid: Vec<f64> = (0..=2 * offset).map(|d| 1.0 / (1.0 + (-((d - offset) as f64) * STEP).exp())).collect();
    let cost = |candidate: usize| -> f64 {
        // Candidate column = candidate / 2 - 0.5; twice the distance of column x from it = 2 x - candidate + 1.
        let at = |x: usize, sign: isize| sigmoid[(offset + sign * (2 * x as isize - candidate as isize + 1)) as usize];
        let sum = |counts: &[u32; REGION_WIDTH], sign| -> f64 {
            counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(x, &n)| f64::from(n) * at(x, sign)).sum()
        };
        sum(anterior, 1) + sum(posterior, -1)
    };
    let column = |candidate: usize| candidate as f64 * STEP - 0.5;
    let any = |counts: &[u32; REGION_WIDTH]| counts.iter().any(|n| *n > 0);
    let off_prior = |candidate: usize| (column(candidate) - prior.column).abs();
    let (evidence, penalty) = match (any(anterior), any(posterior)) {
        (true, true) => (MidlineEvidence::BothWalls, 0.0),
        (false, false) => {
            return Midline { column: prior.column, cost: 0.0, evidence: MidlineEvidence::NoPixels };
        }
        _ => (MidlineEvidence::OneWall, 0.5 / prior.sd.max(STEP).powi(2)),
    };
    let reach = ONE_WALL_REACH_SD * prior.sd.max(STEP) + STEP;
    let allowed = |candidate: &usize| evidence == MidlineEvidence::BothWalls || off_prior(*candidate) <= reach;
    let mut best: Option<(usize, f64)> = None;
    for candidate in (0..CANDIDATES).filter(allowed) {
        let total = cost(candidate) + penalty * off_prior(candidate).powi(2);
        let better = match best {
            None => true,
            Some((_, least)) if total < least - TIE => true,
            Some((kept, least)) => total <= least + TIE && off_prior(candidate) < off_prior(kept),
        };
        if better {
            best = Some((candidate, total));
        }
    }
    match best {
        Some((candidate, _)) => Midline { column: column(candidate), cost: cost(candidate), evidence },
        // The prior lies beyond the region, and one wall's pixels cannot bring the line back.
        None => Midline { column: prior.column, cost: 0.0, evidence },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIOR: MidlinePrior = MidlinePrior { column: 60.0, sd: 6.0 };

    fn counts(pixels: &[(usize, u32)]) -> [u32; REGION_WIDTH] {
        let mut counts = [0; REGION_WIDTH];
        for &(column, n) in pixels {
            counts[column] += n;
        }
        counts
    }

    #[test]
    fn the_line_falls_half_way_between_equal_masses() {
        let found = find_midline(&counts(&[(50, 50)]), &counts(&[(61, 50)]), PRIOR);
        assert_eq!((found.column, found.evidence), (55.5, MidlineEvidence::BothWalls));
        // One pixel at distance d costs 1 / (1 + e^d): the printed cost, checked by hand.
        let expected = 100.0 / (1.0 + 5.5f64.exp());
        assert!((found.cost - expected).abs() < 1e-12);
    }

    #[test]
    fn the_majority_of_a_mixed_band_decides() {
        // Stray anterior pixels behind the posterior wall do not pull the line through it.
        let found = find_midline(&counts(&[(40, 50), (90, 5)]), &counts(&[(80, 60)]), PRIOR);
        assert!(found.column > 45.0 && found.column < 75.0, "{found:?}");
        assert!((found.cost - 5.0).abs() < 0.1, "the five stray pixels: {}", found.cost);
        // Classes the wrong way round: the least evil is a line beyond one of the walls.
        let swapped = find_midline(&counts(&[(80, 10)]), &counts(&[(40, 50)]), PRIOR);
        assert!(swapped.column < 40.0);
    }

    #[test]
    fn without_pixels_and_with_one_wall_the_prior_holds() {
        let none = find_midline(&counts(&[]), &counts(&[]), PRIOR);
        assert_eq!((none.column, none.evidence), (60.0, MidlineEvidence::NoPixels));
        let front = find_midline(&counts(&[(40, 80)]), &counts(&[]), PRIOR);
        assert_eq!((front.column, front.evidence), (60.0, MidlineEvidence::OneWall));
        // Anterior pixels just behind the expected midline move it, though never by more than three standard errors.
        let moved = find_midline(&counts(&[(64, 80)]), &counts(&[]), PRIOR);
        assert!(moved.column > 64.0 && moved.column < 78.5, "{moved:?}");
        let far = find_midline(&counts(&[(110, 80)]), &counts(&[]), PRIOR);
        assert!(far.column <= 60.0 + 18.5, "{far:?}");
    }

    #[test]
    fn ties_go_to_the_prior() {
        // Far apart, all lines in between cost nothing to rounding.
        let found = find_midline(&counts(&[(5, 1)]), &counts(&[(120, 1)]), PRIOR);
        assert!((found.column - 60.0).abs() < 0.51, "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_line_on_the_grid_is_cheaper(
            anterior in prop::collection::vec((0usize..128, 1u32..40), 1..12),
            posterior in prop::collection::vec((0usize..128, 1u32..40), 1..12),
        ) {
            let found = find_midline(&counts(&anterior), &counts(&posterior), PRIOR);
            for candidate in 0..=256 {
                let line = f64::from(candidate) * 0.5 - 0.5;
                let cost = |pixels: &[(usize, u32)], c: f64| -> f64 {
                    pixels.iter().map(|&(x, n)| f64::from(n) / (1.0 + (-c * (x as f64 - line)).exp())).sum()
                };
                prop_assert!(found.cost <= cost(&anterior, 1.0) + cost(&posterior, -1.0) + 1e-6);
            }
        }
    }
}

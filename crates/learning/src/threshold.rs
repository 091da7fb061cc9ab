//! From which probability on a pixel should be called calcified: every threshold, judged on regions that were not trained on.

use crate::error::{Error, Result};
use crate::regions::LabelledRegion;
use rayon::prelude::*;
use std::ops::RangeInclusive;

/// Thresholds that are tried, hundredths.
const THRESHOLDS_PCT: RangeInclusive<u32> = 5..=98;

/// How well regions are marked under a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarkQuality {
    /// A pixel is marked from this probability on, 0..1.
    pub threshold: f64,
    /// Mean Dice over the regions with calcium.
    pub dice: f64,
    /// Share of pixels that are right, mean over all regions.
    pub accuracy: f64,
}

impl MarkQuality {
    /// The threshold of best Dice; of several the highest, which marks least.
    pub fn best(judged: &[MarkQuality]) -> Option<&MarkQuality> {
        judged.iter().max_by(|a, b| a.dice.total_cmp(&b.dice))
    }
}

/// Marks under every threshold from .05 to .98. `respond` takes the place of a region and gives the probability of each of its 256 x 128
/// pixels that it is calcium of either wall, 0..1. Hidden pixels count for nothing.
///
/// # Errors
/// [`Error::Setting`] when no region has calcium.
pub fn judge_marks(regions: &[LabelledRegion], respond: impl Fn(usize) -> Vec<f32> + Sync) -> Result<Vec<MarkQuality>> {
    let levels = THRESHOLDS_PCT.count();
    // By region, then threshold: Dice where the region has calcium, and accuracy.
    let judged: Vec<Vec<(Option<f64>, f64)>> = regions
        .par_iter()
        .enumerate()
        .map(|(place, region)| {
            // Pixels by level of their answer: those of levels below a threshold are not marked.
            let mut counts = vec![[0u32; 2]; levels + 1];
            for ((p, calcified), valid) in respond(place).iter().zip(&region.calcified).zip(&region.valid) {
                let level = THRESHOLDS_PCT.take_while(|pct| f64::from(*p) >= f64::from(*pct) / 100.0).count();
                counts[level][usize::from(*calcified)] += u32::from(*valid);
            }
            let calcified: u32 = counts.iter().map(|c| c[1]).sum();
            let all: u32 = counts.iter().map(|c| c[0] + c[1]).sum();
            (1..=levels)
                .map(|level| {
                    let marked = counts[level..].iter().fold([0, 0], |t, c| [t[0] + c[0], t[1] + c[1]]);
                    let sizes = f64::from(marked[0] + marked[1] + calcified);
                    let wrong = marked[0] + calcified - marked[1];
                    let dice = (calcified > 0).then(|| 2.0 * f64::from(marked[1]) / sizes);
                    (dice, 1.0 - f64::from(wrong) / f64::from(all.max(1)))
                })
                .collect()
        })
        .collect();
    let quality = |(level, pct): (usize, u32)| {
        let dice: Vec<f64> = judged.iter().filter_map(|region| region[level].0).collect();
        let accuracy: Vec<f64> = judged.iter().map(|region| region[level].1).collect();
        let dice = crate::metrics::mean(&dice)?;
        Some(MarkQuality { threshold: f64::from(pct) / 100.0, dice, accuracy: crate::metrics::mean(&accuracy)? })
    };
    let found: Option<Vec<MarkQuality>> = THRESHOLDS_PCT.enumerate().map(quality).collect();
    found.ok_or_else(|| Error::Setting { name: "validation", problem: "has no region with calcium".into() })
}

/// What to tell a person of thresholds that were judged on so many regions: that of one half, and the best.
pub fn told(judged: &[MarkQuality], regions: usize) -> String {
    let half = judged.iter().find(|quality| quality.threshold >= 0.5);
    let line = |(name, quality): (&str, Option<&MarkQuality>)| {
        quality.map_or_else(String::new, |q| {
            format!(
                "validation, {regions} regions, {name}: threshold {:.2}, mean Dice {:.3}, accuracy {:.2} %\n",
                q.threshold,
                q.dice,
                100.0 * q.accuracy
            )
        })
    };
    [("at .5", half), ("best", MarkQuality::best(judged))].map(line).concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use scoring::region::{REGION_HEIGHT, REGION_WIDTH};

    const PIXELS: usize = REGION_WIDTH * REGION_HEIGHT;

    /// Calcium where `calcified` says, all visible but the last row.
    fn region(calcified: impl Fn(usize) -> bool) -> LabelledRegion {
        LabelledRegion {
            pixels: vec![0; PIXELS],
            valid: (0..PIXELS).map(|pixel| pixel < PIXELS - REGION_WIDTH).collect(),
            calcified: (0..PIXELS).map(calcified).collect(),
        }
    }

    #[test]
    fn dice_by_threshold_is_that_of_its_definition() {
        // 100 pixels of calcium: 60 answered with .9, 40 with .3; 20 others with .6, and hidden ones with 1
        let regions = [region(|pixel| pixel < 100), region(|_| false)];
        let respond = |place: usize| {
            let answer = |pixel: usize| match (place, pixel) {
                (0, 0..60) => 0.9,
                (0, 60..100) => 0.3,
                (0, 100..120) => 0.6,
                (0, _) if pixel >= PIXELS - REGION_WIDTH => 1.0,
                _ => 0.0,
            };
            (0..PIXELS).map(answer).collect()
        };
        let judged = judge_marks(&regions, respond).unwrap();
        let at = |threshold: f64| *judged.iter().find(|q| (q.threshold - threshold).abs() < 1e-9).unwrap();
        assert!((at(0.2).dice - 200.0 / 220.0).abs() < 1e-12);
        assert!((at(0.5).dice - 120.0 / 180.0).abs() < 1e-12);
        assert!((at(0.7).dice - 120.0 / 160.0).abs() < 1e-12);
        let shown = (PIXELS - REGION_WIDTH) as f64;
        assert!((at(0.7).accuracy - (1.0 + (1.0 - 40.0 / shown)) / 2.0).abs() < 1e-12);
        // all thresholds up to .3 mark the same
        let best = MarkQuality::best(&judged).unwrap();
        assert!((best.threshold - 0.3).abs() < 1e-6 || (best.threshold - 0.29).abs() < 1e-6, "{best:?}");
        let told = told(&judged, 2);
        assert!(told.contains("2 regions, at .5: threshold 0.50, mean Dice 0.667") && told.contains("mean Dice 0.909"));
    }

    #[test]
    fn without_calcium_there_is_nothing_to_judge_by() {
        let none = judge_marks(&[region(|_| false)], |_| vec![0.0; PIXELS]).unwrap_err();
        assert_eq!(
            none.to_string(),
            Error::Setting { name: "validation", problem: "has no region with calcium".into() }.to_string()
        );
    }
}

//! A reading under other rules, from what the reading itself holds, without its networks.

use crate::certainty::Calibration;
use crate::quality::{needs_review, raise_confidence_flags};
use crate::read::ReadingIdentity;
use crate::rules::ScoringRules;
use domain::Reading;
use domain::reading::QualityFlag;

/// The parameters in which `new` differs from `old` and that a reading cannot follow, each with the reason. Empty when
/// [`rescore`] gives what the networks would.
pub fn refusals(old: &ScoringRules, new: &ScoringRules) -> Vec<(&'static str, &'static str)> {
    const PIXELS: &str =
        "it decides which pixels are calcified, and a reading holds their outlines, not their probabilities";
    const ROWS: &str =
        "how sure a grade is then depends on the probabilities of its rows, which a reading does not hold";
    const SEEN: &str = "it decides which pixels the networks see";
    const FOUND: &str = "images that were excluded would have to be read";
    [
        ("rule", old.rule != new.rule, ROWS),
        ("extent", old.extent != new.extent, ROWS),
        ("midline", old.midline != new.midline, PIXELS),
        ("min_plaque_mm", old.min_plaque_mm != new.min_plaque_mm, PIXELS),
        ("threshold", old.threshold != new.threshold, PIXELS),
        ("max_hidden_share", old.max_hidden_share != new.max_hidden_share, ROWS),
        ("margin_sd", old.margin_sd != new.margin_sd, SEEN),
        ("min_confidence", old.min_confidence != new.min_confidence, FOUND),
        ("min_vertebral_height_px", old.min_vertebral_height_px != new.min_vertebral_height_px, FOUND),
    ]
    .into_iter()
    .filter_map(|(name, differs, why)| differs.then_some((name, why)))
    .collect()
}

/// The reading under rules that differ in categories and review only (see [`refusals`]), judged by the new pipeline's calibration.
///
/// Confidences are compared as the reading holds them, rounded to four decimals: one within half of 10^-4 below
/// `flag_below_confidence` is not flagged, where the networks' own number would be.
pub fn rescore(
    reading: &Reading,
    identity: ReadingIdentity,
    new: &ScoringRules,
    calibration: Option<&Calibration>,
) -> Reading {
    let mut rescored = reading.clone();
    rescored.image_id = identity.image_id;
    rescored.fingerprint = identity.fingerprint;
    rescored.pipeline = identity.pipeline;
    rescored.models = identity.models;
    let of_confidence = |flag: &QualityFlag| {
        use QualityFlag::*;
        matches!(flag, LowConfidence | LevelNamingUncertain | CategoryUncertain)
    };
    rescored.flags.retain(|flag| !of_confidence(flag));
    let summary = &mut rescored.summary;
    raise_confidence_flags(&mut rescored.flags, summary.confidence, summary.level_confidence, new);
    summary.category = summary.aac24.category(new.categories);
    summary.flag_review = needs_review(summary.aac24.total.is_some(), &rescored.flags);
    if let Some(calibration) = calibration {
        calibration.judge(&mut rescored, new);
    }
    rescored
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Extent, TieRule};

    #[test]
    fn what_a_reading_cannot_follow_is_named_with_its_reason() {
        let old = ScoringRules::default();
        let mut follows = old.clone();
        follows.categories.high_from = 7.0;
        follows.flag_below_confidence = 0.2;
        assert!(refusals(&old, &follows).is_empty());
        let cannot =
            ScoringRules { rule: TieRule::Manitoba, extent: Extent::VertebralHeight, threshold: 0.4, ..follows };
        let names: Vec<_> = refusals(&old, &cannot).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["rule", "extent", "threshold"]);
    }
}

//! The parameters of a score: data of the pipeline definition, stored with each reading by its fingerprint.

use crate::error::{Error, ErrorKind, Result};
use domain::grade::CategoryCut;
use domain::{Extent, TieRule};
use serde::{Deserialize, Serialize};

/// Revision of the method in this crate. It enters the fingerprint, so that readings of different methods never mix.
///
/// Raise it whenever the same probabilities and corners give another reading. The golden test in `read` fails when the output
/// changes and this number does not.
pub const METHOD_REVISION: u32 = 5;

/// Where the line between anterior and posterior calcium comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MidlineRule {
    /// The minimum of the sigmoid cost over both walls' pixels (Chaplin & Cootes, equation 1).
    #[default]
    Sigmoid,
    /// The shape model's expectation, whatever the pixels are.
    ShapeModel,
}

/// All parameters between the networks' outputs and a reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringRules {
    /// What exact thirds count as.
    pub rule: TieRule,
    /// Which stretch of wall a segment is.
    pub extent: Extent,
    pub midline: MidlineRule,
    /// Plaques shorter than this along the wall are left out, mm, 0..=50. 0 as in the paper: a single row already scores.
    pub min_plaque_mm: f64,
    /// Probability from which a pixel is calcified, 0..1 (both excluded).
    pub threshold: f64,
    /// Standard errors of the walls by which the region is widened, 0.5..=6; 3 as in the paper.
    pub margin_sd: f64,
    /// Heatmap peak from which a vertebra counts as found (mean of its four corners), 0..1.
    pub min_confidence: f64,
    /// Least height of a vertebra, image pixels, 4..=1000: in fewer, thirds of a level are too few pixels.
    pub min_vertebral_height_px: f64,
    /// Readings less sure than this are marked for review, 0..=1.
    pub flag_below_confidence: f64,
    /// Largest share of a segment's rows without a view of the wall, 0..=0.9; beyond it the segment is not assessable.
    pub max_hidden_share: f64,
    pub categories: CategoryCut,
}

impl Default for ScoringRules {
    fn default() -> Self {
        ScoringRules {
            rule: TieRule::Kauppila,
            extent: Extent::MidDisc,
            midline: MidlineRule::Sigmoid,
            min_plaque_mm: 0.0,
            threshold: 0.5,
            margin_sd: 3.0,
            min_confidence: 0.5,
            min_vertebral_height_px: 24.0,
            flag_below_confidence: 0.7,
            max_hidden_share: 0.25,
            categories: CategoryCut::default(),
        }
    }
}

impl ScoringRules {
    /// Checks every parameter against its range.
    ///
    /// # Errors
    /// [`ErrorKind::Rules`] naming the first parameter that is out of range.
    pub fn validated(self) -> Result<ScoringRules> {
        let open = |v: f64| v > 0.0 && v < 1.0;
        let checks = [
            ("min_plaque_mm", self.min_plaque_mm, (0.0..=50.0).contains(&self.min_plaque_mm), "0..=50 mm"),
            ("threshold", self.threshold, open(self.threshold), "between 0 and 1"),
            ("margin_sd", self.margin_sd, (0.5..=6.0).contains(&self.margin_sd), "0.5..=6"),
            ("min_confidence", self.min_confidence, open(self.min_confidence), "between 0 and 1"),
            (
                "min_vertebral_height_px",
                self.min_vertebral_height_px,
                (4.0..=1000.0).contains(&self.min_vertebral_height_px),
                "4..=1000 pixels",
            ),
            (
                "flag_below_confidence",
                self.flag_below_confidence,
                (0.0..=1.0).contains(&self.flag_below_confidence),
                "0..=1",
            ),
            ("max_hidden_share", self.max_hidden_share, (0.0..=0.9).contains(&self.max_hidden_share), "0..=0.9"),
            (
                "categories.moderate_from",
                self.categories.moderate_from,
                self.categories.moderate_from > 0.0 && self.categories.moderate_from < self.categories.high_from,
                "above 0 and below high_from",
            ),
            ("categories.high_from", self.categories.high_from, self.categories.high_from <= 24.0, "at most 24"),
        ];
        match checks.into_iter().find(|(_, _, good, _)| !good) {
            Some((name, value, _, range)) => {
                Err(Error::new(ErrorKind::Rules, format!("{name} = {value}, expected {range}")))
            }
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_from_json_with_defaults_and_refuse_what_they_do_not_know() {
        let rules: ScoringRules = serde_json::from_str(r#"{"rule":"manitoba","min_plaque_mm":2.5}"#).unwrap();
        assert_eq!((rules.rule, rules.min_plaque_mm, rules.margin_sd), (TieRule::Manitoba, 2.5, 3.0));
        assert!(serde_json::from_str::<ScoringRules>(r#"{"treshold":0.4}"#).is_err());
        assert_eq!(rules.clone().validated().unwrap(), rules);
    }

    #[test]
    fn each_parameter_out_of_range_is_named() {
        type Spoil = fn(&mut ScoringRules);
        let wrong: [(&str, Spoil); 6] = [
            ("threshold", |r| r.threshold = 1.0),
            ("margin_sd", |r| r.margin_sd = f64::NAN),
            ("min_plaque_mm", |r| r.min_plaque_mm = -1.0),
            ("max_hidden_share", |r| r.max_hidden_share = 1.0),
            ("min_vertebral_height_px", |r| r.min_vertebral_height_px = 0.0),
            ("categories.moderate_from", |r| r.categories.moderate_from = 9.0),
        ];
        for (name, spoil) in wrong {
            let mut rules = ScoringRules::default();
            spoil(&mut rules);
            let error = rules.validated().unwrap_err();
            assert!(error.kind == ErrorKind::Rules && error.context.starts_with(name), "{error}");
        }
    }
}

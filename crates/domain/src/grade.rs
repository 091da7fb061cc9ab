//! The Kauppila 24-point scale (AAC-24) and its parameters.

use serde::{Deserialize, Serialize};

/// Grade of one segment, 0..=3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Grade(u8);

impl Grade {
    pub const NONE: Grade = Grade(0);
    pub const MAX: Grade = Grade(3);

    pub fn new(value: u8) -> Option<Grade> {
        (value <= 3).then_some(Grade(value))
    }

    pub fn value(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Grade {
    type Error = String;
    fn try_from(value: u8) -> Result<Self, String> {
        Grade::new(value).ok_or_else(|| format!("grade {value} is not in 0..=3"))
    }
}
impl From<Grade> for u8 {
    fn from(grade: Grade) -> u8 {
        grade.0
    }
}

/// What happens when the calcified share is exactly one third or two thirds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TieRule {
    /// `ceil(3 r / h)`: exactly 1/3 -> 1, exactly 2/3 -> 2 (Kauppila; Chaplin & Cootes, equation 2).
    #[default]
    Kauppila,
    /// 0 if r = 0, else `min(3, floor(3 r / h) + 1)`: exactly 1/3 -> 2, exactly 2/3 -> 3 (ML-AAC-24).
    Manitoba,
}

impl TieRule {
    pub fn name(self) -> &'static str {
        match self {
            TieRule::Kauppila => "kauppila",
            TieRule::Manitoba => "manitoba",
        }
    }

    /// Grade of a segment with `calcified` of `height` rows. `None` when `height` is 0: nothing was assessed.
    pub fn grade(self, calcified: u32, height: u32) -> Option<Grade> {
        if height == 0 {
            return None;
        }
        let r = u64::from(calcified.min(height));
        let h = u64::from(height);
        let value = match self {
            TieRule::Kauppila => (3 * r).div_ceil(h),
            TieRule::Manitoba if r == 0 => 0,
            TieRule::Manitoba => (3 * r / h + 1).min(3),
        };
        Grade::new(value as u8)
    }
}

/// Which stretch of wall a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// From the mid-disc above to the mid-disc below.
    #[default]
    MidDisc,
    /// Between the end plates of the vertebra.
    VertebralHeight,
}

/// Why a segment has no grade. Not assessable is never 0 (invariant 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAssessable {
    /// Part of the wall lies outside the image.
    OutsideImage,
    /// The scanner blanked the wall (dose-saving mask, collimation).
    Masked,
    /// Metal hides the wall.
    Implant,
    /// The level's vertebra was not found with enough confidence.
    LevelUncertain,
}

/// Grade of a segment, or the reason why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentGrade {
    Assessed(Grade),
    NotAssessable(NotAssessable),
}

impl SegmentGrade {
    pub fn grade(self) -> Option<Grade> {
        match self {
            SegmentGrade::Assessed(grade) => Some(grade),
            SegmentGrade::NotAssessable(_) => None,
        }
    }
}

/// The bounds that eight segment grades put on the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aac24 {
    /// 0..=24; missing unless all eight segments were assessed.
    pub total: Option<u8>,
    /// Segments assessed, 0..=8.
    pub n_segments: u8,
    /// Total if every segment without a grade were 0.
    pub min: u8,
    /// Total if every segment without a grade were 3.
    pub max: u8,
}

impl Aac24 {
    pub fn of(segments: &[SegmentGrade; 8]) -> Aac24 {
        let sum: u8 = segments.iter().filter_map(|s| s.grade()).map(Grade::value).sum();
        let n_segments = segments.iter().filter(|s| s.grade().is_some()).count() as u8;
        Aac24 { total: (n_segments == 8).then_some(sum), n_segments, min: sum, max: sum + 3 * (8 - n_segments) }
    }

    /// The category, where every total between `min` and `max` has the same one.
    pub fn category(&self, cut: CategoryCut) -> Option<Category> {
        let (low, high) = (cut.of(f64::from(self.min)), cut.of(f64::from(self.max)));
        (low == high).then_some(low)
    }
}

/// Risk category by AAC-24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Low,
    Moderate,
    High,
}

impl Category {
    pub fn name(self) -> &'static str {
        ["low", "moderate", "high"][self as usize]
    }

    /// 0 low, 1 moderate, 2 high.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Lower bounds of the categories; data, not code, because papers differ. Real-valued scores are banded unrounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryCut {
    pub moderate_from: f64,
    pub high_from: f64,
}

impl Default for CategoryCut {
    /// Low 0-1, moderate 2-5, high >= 6.
    fn default() -> Self {
        CategoryCut { moderate_from: 2.0, high_from: 6.0 }
    }
}

impl CategoryCut {
    pub fn of(&self, score: f64) -> Category {
        if score >= self.high_from {
            Category::High
        } else if score >= self.moderate_from {
            Category::Moderate
        } else {
            Category::Low
        }
    }
}

/// AAC-8: aggregate calcified length of one wall in vertebral heights, 0 none, 1 <= 1, 2 <= 2, 3 <= 3, 4 > 3.
pub fn aac8_wall(calcified_heights: f64) -> u8 {
    if calcified_heights <= 0.0 {
        0
    } else if calcified_heights <= 3.0 {
        calcified_heights.ceil() as u8
    } else {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_part_only_at_exact_thirds() {
        let grades = |rule: TieRule, r| rule.grade(r, 63).unwrap().value();
        assert_eq!([0, 1, 21, 22, 42, 43, 63].map(|r| grades(TieRule::Kauppila, r)), [0, 1, 1, 2, 2, 3, 3]);
        assert_eq!([0, 1, 21, 22, 42, 43, 63].map(|r| grades(TieRule::Manitoba, r)), [0, 1, 2, 2, 3, 3, 3]);
        for r in 0..=64 {
            assert_eq!(TieRule::Kauppila.grade(r, 64), TieRule::Manitoba.grade(r, 64), "64 has no exact third");
        }
        assert_eq!(
            [1, 21, 22, 42, 43, 64].map(|r| TieRule::Kauppila.grade(r, 64).unwrap().value()),
            [1, 1, 2, 2, 3, 3]
        );
        assert_eq!(TieRule::Kauppila.grade(0, 0), None);
    }

    #[test]
    fn the_published_worked_example_totals_ten() {
        // L1 P1 A0, L2 P1 A1, L3 P3 A1, L4 P2 A1
        let segments = [0, 1, 1, 1, 1, 3, 1, 2].map(|v| SegmentGrade::Assessed(Grade::new(v).unwrap()));
        assert_eq!(Aac24::of(&segments), Aac24 { total: Some(10), n_segments: 8, min: 10, max: 10 });
    }

    #[test]
    fn a_missing_segment_leaves_bounds_and_perhaps_a_category() {
        let mut segments = [SegmentGrade::Assessed(Grade::MAX); 8];
        segments[7] = SegmentGrade::NotAssessable(NotAssessable::OutsideImage);
        let aac = Aac24::of(&segments);
        assert_eq!((aac.total, aac.n_segments, aac.min, aac.max), (None, 7, 21, 24));
        assert_eq!(aac.category(CategoryCut::default()), Some(Category::High));
        let mut clear = [SegmentGrade::Assessed(Grade::NONE); 8];
        clear[0] = SegmentGrade::NotAssessable(NotAssessable::Masked);
        assert_eq!(Aac24::of(&clear).category(CategoryCut::default()), None, "0..3 spans low and moderate");
    }

    #[test]
    fn real_scores_are_banded_without_rounding() {
        let cut = CategoryCut::default();
        assert_eq!([1.99, 2.0, 5.99, 6.0].map(|s| cut.of(s).code()), [0, 1, 1, 2]);
        assert_eq!([0.0, 0.01, 1.0, 1.01, 3.0, 3.01].map(aac8_wall), [0, 1, 1, 2, 3, 4]);
    }
}

use super::*;
use crate::segments::tests::{Bench, estimate};
use domain::grade::{Category, NotAssessable};

fn spine() -> Spine {
    Spine { corners: Vec::new(), estimate: estimate(), uncertain: [false; 4], confidence: 0.9, level_confidence: 0.95 }
}

const KNOWN: Picture = Picture {
    width_px: 500,
    height_px: 600,
    spacing: PixelSpacing { row_mm: Some(0.4), column_mm: Some(0.4), aspect: Some(1.0) },
    burned_in_annotation: false,
};

#[test]
fn a_clean_image_has_no_flags_and_a_doubtful_one_has_many() {
    let valid = vec![PixelState::Valid; 128 * 256];
    assert_eq!(image_flags(&spine(), &valid, &KNOWN), []);
    let mut state = valid.clone();
    state[..700].fill(PixelState::Outside);
    state[700..1400].fill(PixelState::Masked);
    state[1400..1500].fill(PixelState::Metal);
    let mut odd = spine();
    odd.estimate.mahalanobis_squared = 120.0;
    let unknown = Picture { burned_in_annotation: true, spacing: PixelSpacing::default(), ..KNOWN };
    use QualityFlag::*;
    assert_eq!(
        image_flags(&odd, &state, &unknown),
        [
            SpacingUnknown,
            AspectUnknown,
            RegionPartlyOutside,
            RegionPartlyMasked,
            ImplantSuspected,
            UnusualShape,
            BurnedInAnnotation
        ]
    );
}

#[test]
fn wedged_and_crushed_vertebrae_are_suspected() {
    let valid = vec![PixelState::Valid; 128 * 256];
    let fractured = |change: fn(&mut Spine)| {
        let mut spine = spine();
        change(&mut spine);
        image_flags(&spine, &valid, &KNOWN).contains(&QualityFlag::FractureSuspected)
    };
    // L2 has its upper corners at 6 and 7; bodies are 72 px high with standard errors of 1 px.
    assert!(fractured(|s| s.estimate.vertebrae[6].y += 20.0), "wedged by 28 %");
    assert!(!fractured(|s| s.estimate.vertebrae[6].y += 9.0), "12 % is within what is normal");
    assert!(fractured(|s| {
        s.estimate.vertebrae[6].y += 22.0;
        s.estimate.vertebrae[7].y += 22.0;
    }));
    assert!(!fractured(|s| {
        s.estimate.vertebrae[6].y += 20.0;
        s.estimate.vertebrae_sd_px = [10.0; 20];
    }));
}

#[test]
fn sums_need_all_segments_and_bounds_do_not() {
    let mut bench = Bench::new();
    bench.plaque(Wall::Posterior, 100..256, 0.95);
    bench.plaque(Wall::Anterior, 200..256, 0.95);
    let rules = ScoringRules::default();
    let mut segments = bench.read(&rules);
    let mut flags = Vec::new();
    let summary = summarise(&spine(), &segments, &mut flags, &rules);
    assert_eq!(summary.aac24.total, Some(2 + 3 + 3 + 3));
    assert_eq!(summary.category, Some(Category::High));
    // Posterior 156 rows = 2.44 heights -> 3, anterior 56 rows = .875 -> 1.
    assert_eq!(summary.aac8_total, Some(4));
    assert_eq!((summary.affected_levels, summary.affected_walls), (Some(3), Some(4)));
    assert!((summary.length_mm.unwrap() - 212.0 * 0.625).abs() < 1e-6);
    assert!((summary.length_pct.unwrap() - 100.0 * 212.0 / 512.0).abs() < 1e-9);
    assert!(!summary.flag_review && flags.is_empty());

    segments[0].grade = SegmentGrade::NotAssessable(NotAssessable::Masked);
    let summary = summarise(&spine(), &segments, &mut Vec::new(), &rules);
    assert_eq!((summary.aac24.total, summary.aac24.min, summary.aac24.max), (None, 11, 14));
    assert_eq!(summary.category, Some(Category::High), "known although the total is not");
    assert_eq!((summary.aac8_total, summary.affected_levels, summary.length_mm), (None, None, None));
    assert!(summary.flag_review);
}

#[test]
fn doubt_is_flagged() {
    let segments = Bench::new().read(&ScoringRules::default());
    let unsure = Spine { confidence: 0.5, level_confidence: 0.6, ..spine() };
    let mut flags = vec![QualityFlag::SpacingUnknown];
    let summary = summarise(&unsure, &segments, &mut flags, &ScoringRules::default());
    use QualityFlag::*;
    assert_eq!(flags, [LowConfidence, LevelNamingUncertain, SpacingUnknown]);
    assert!(summary.flag_review && summary.confidence == 0.5);
}

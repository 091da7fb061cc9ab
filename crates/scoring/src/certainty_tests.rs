use super::*;
use crate::rules::ScoringRules;
use crate::segments::tests::Bench;
use domain::Wall;
use domain::grade::Category;
use serde_json::Value;

/// Answers by the share of rows marked at .5 alone, and of the peak for the first threshold.
pub(crate) fn calibration() -> Calibration {
    let weights = |constant: f64, share: f64, peak: f64| {
        let mut weights = vec![0.0; 1 + FEATURES];
        (weights[0], weights[5], weights[FEATURES]) = (constant, share, peak);
        weights
    };
    Calibration {
        schema_version: CALIBRATION_SCHEMA_VERSION,
        n_readings: 100,
        weights: [weights(0.0, 0.0, 1.0), weights(-10.0, 30.0, 0.0), weights(-20.0, 30.0, 0.0)],
        shared_sd: 0.5,
        above_0: [0.0, 1.0],
        interval_mass: 0.9,
        flag_from: 0.2,
    }
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    serde_json::from_value::<Vec<f64>>(value.clone()).unwrap().try_into().unwrap()
}

#[test]
fn totals_and_intervals_are_those_of_scipy() {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/peers/evaluate/certainty.json")).unwrap();
    let cases = cases["totals"].as_array().unwrap();
    for case in cases {
        let exceeds: Vec<[f64; 3]> = case["exceeds"].as_array().unwrap().iter().map(numbers).collect();
        let shared_sd = case["shared_sd"].as_f64().unwrap();
        let found = total_distribution(&exceeds, shared_sd);
        let expected: [f64; TOTALS] = numbers(&case["expected"]);
        // The normal effect is taken at 21 places within three standard deviations.
        let near = if shared_sd == 0.0 { 1e-12 } else { 2e-3 };
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < near, "{apart} at {shared_sd}");
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let categories = category_probabilities(&expected, CategoryCut::default());
        let named: [f64; 3] = numbers(&case["low_moderate_high"]);
        assert!(categories.iter().zip(named).all(|(a, b)| (a - b).abs() <= 0.5001e-4), "{categories:?} {named:?}");
        for (mass, ends) in case["masses"].as_array().unwrap().iter().zip(case["intervals"].as_array().unwrap()) {
            let ends: [f64; 2] = numbers(ends);
            let read = case["read"].as_u64().unwrap() as usize;
            assert_eq!(interval(&expected, read, mass.as_f64().unwrap()).map(|end| end as f64), ends, "{mass}");
        }
    }
    assert_eq!(cases.len(), 5);
}

#[test]
fn an_interval_has_a_total_from_the_mass_before_it_on() {
    let mut totals = [0.0; TOTALS];
    totals[..5].copy_from_slice(&[0.1, 0.5, 0.2, 0.15, 0.05]);
    assert_eq!([1, 2, 3, 0, 4].map(|t| (mass_before(&totals, 1, t) * 100.0).round()), [0.0, 50.0, 70.0, 85.0, 95.0]);
    for total in 0..TOTALS {
        let mass = mass_before(&totals, 1, total);
        let [low, high] = interval(&totals, 1, mass);
        assert!((low..=high).contains(&total));
        let [low, high] = interval(&totals, 1, mass - 1e-9);
        assert!(total == 1 || !(low..=high).contains(&total), "{total}");
    }
    assert_eq!(interval(&totals, 1, 1.0), [0, TOTALS - 1]);
    assert_eq!(interval(&totals, 3, 0.5), [1, 3], "it holds what was read, likely or not");
}

#[test]
fn segments_keep_their_probabilities_whatever_they_share() {
    for p in [0.02, 0.3, 0.5, 0.9] {
        for shared_sd in [0.0, 0.7, 1.5] {
            let totals = total_distribution(&[[p, 0.0, 0.0]], shared_sd);
            assert!((totals[1] - p).abs() < 0.012, "{p} became {} at {shared_sd}", totals[1]);
        }
    }
    let [alone, together] = [0.0, 1.5].map(|sd| total_distribution(&[[0.3, 0.1, 0.02]; 8], sd));
    assert!(together[0] > 1.5 * alone[0] && together[10] > 1.5 * alone[10], "sharing widens");
}

/// A reading with this calcium on L4's posterior wall; segments of levels that are uncertain have no grade.
fn reading(rows: usize, probability: f32, uncertain: [bool; 4]) -> Reading {
    let mut bench = Bench::new();
    bench.uncertain = uncertain;
    bench.plaque(Wall::Posterior, 200..200 + rows, probability);
    let segments = bench.read(&ScoringRules::default());
    let mut reading: Reading =
        serde_json::from_str(include_str!("../../pipeline/examples/throughput/reading.json")).unwrap();
    let mut flags = Vec::new();
    let found = [0.95, 0.95];
    reading.summary = crate::quality::summarise_found(found, &segments, &mut flags, &ScoringRules::default());
    reading.segments = segments.to_vec();
    reading.flags = flags;
    crate::read::rounded(reading)
}

#[test]
fn a_reading_says_how_sure_it_is_and_asks_for_a_person_where_it_is_not() {
    let rules = ScoringRules::default();
    let mut clear = reading(10, 0.95, [false; 4]);
    let marked = clear.segments[7].extents.clone().unwrap();
    assert_eq!((marked.shares, marked.peak), ([0.1563; 5], 0.95));
    assert_eq!(clear.segments[0].extents.as_ref().map(|e| (e.shares, e.peak)), Some(([0.0; 5], 0.02)));
    calibration().judge(&mut clear, &rules);
    let l4 = &clear.segments[7];
    let expected = 1.0 / (1.0 + (-(0.951f64 / 0.051).ln()).exp());
    assert!((l4.exceeds.unwrap()[0] - expected).abs() < 1e-4);
    assert!((l4.confidence - (l4.exceeds.unwrap()[0] - l4.exceeds.unwrap()[1])).abs() < 1e-9);
    let certainty = clear.summary.certainty.clone().unwrap();
    assert_eq!((certainty.total_low, certainty.total_high, clear.summary.category), (1, 2, Some(Category::Low)));
    assert!((certainty.categories.unwrap().iter().sum::<f64>() - 1.0).abs() < 2e-4);
    assert!(certainty.category_error(Category::Low).unwrap() < 0.2);
    assert!((certainty.total_mean.unwrap() - 1.1).abs() < 0.1, "{certainty:?}");
    // the other segments are next to certain to hold nothing
    assert!((certainty.total_above_0.unwrap() - l4.exceeds.unwrap()[0]).abs() < 0.1, "{certainty:?}");
    assert!(certainty.total_above_0.unwrap() >= 1.0 - certainty.categories.unwrap()[0]);
    assert!(clear.flags.is_empty() && !clear.summary.flag_review);

    // a third of the wall: 1 or 2 points
    let mut doubtful = reading(21, 0.95, [false; 4]);
    let before = doubtful.clone();
    calibration().judge(&mut doubtful, &rules);
    let error = doubtful.summary.certainty.as_ref().unwrap().category_error(Category::Low).unwrap();
    assert!((0.2..0.8).contains(&error), "{error}");
    assert_eq!(doubtful.flags, [QualityFlag::CategoryUncertain]);
    assert!(doubtful.summary.flag_review && !needs_review_anyway(&doubtful));
    let once = doubtful.clone();
    calibration().judge(&mut doubtful, &rules);
    assert_eq!(doubtful, once, "judging again changes nothing");
    Calibration { flag_from: 1.0, ..calibration() }.judge(&mut doubtful, &rules);
    assert!(doubtful.flags.is_empty() && !doubtful.summary.flag_review);
    assert_eq!(doubtful.segments[7].grade, before.segments[7].grade, "grades stay");

    let mut incomplete = reading(10, 0.95, [true, false, false, false]);
    calibration().judge(&mut incomplete, &rules);
    let certainty = incomplete.summary.certainty.unwrap();
    assert_eq!((certainty.total_mean, certainty.total_above_0, certainty.categories), (None, None, None));
    assert!(certainty.total_high >= 7, "two segments without a grade may be anything: {}", certainty.total_high);
    assert!(incomplete.summary.flag_review && incomplete.segments[0].exceeds.is_none());

    let mut unmarked = before.clone();
    unmarked.segments[0].extents = None;
    let kept = unmarked.clone();
    calibration().judge(&mut unmarked, &rules);
    assert_eq!(unmarked, kept, "nothing is known of a grade without extents");
}

#[test]
fn a_calibration_reads_back_and_says_what_is_wrong_with_another() {
    let text = calibration().to_json();
    assert_eq!(Calibration::from_json(&text).unwrap(), calibration());
    let short = text.replacen("0.0,\n", "", 1);
    for (wrong, what) in [
        ("{}", "missing field"),
        (&text.replace("\"schema_version\": 2", "\"schema_version\": 3"), "schema version 3"),
        (&text.replace("\"flag_from\": 0.2", "\"flag_from\": 1.2"), "flag_from = 1.2"),
        (&short, "finite numbers"),
    ] {
        let error = Calibration::from_json(wrong).unwrap_err();
        assert!(error.kind == ErrorKind::Calibration && error.context.contains(what), "{error}");
    }
}

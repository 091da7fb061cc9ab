use super::*;
use domain::Grade;
use domain::reading::{Extents, Summary};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

#[test]
fn weights_are_those_of_scikit_learn() {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/peers/evaluate/certainty.json")).unwrap();
    let case = &cases["regression"];
    let shares: Vec<[f64; 5]> = serde_json::from_value(case["shares"].clone()).unwrap();
    let peak: Vec<f64> = serde_json::from_value(case["peak"].clone()).unwrap();
    let above: Vec<bool> = serde_json::from_value(case["above"].clone()).unwrap();
    let expected: Vec<f64> = serde_json::from_value(case["weights"].clone()).unwrap();
    let probabilities: Vec<f64> = serde_json::from_value(case["probabilities"].clone()).unwrap();
    let known: Vec<[f64; FEATURES]> =
        shares.iter().zip(&peak).map(|(shares, peak)| features(&Extents { shares: *shares, peak: *peak })).collect();
    let found = logistic(&known, &above);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} here, {expected} there");
    }
    let calibration = Calibration {
        schema_version: CALIBRATION_SCHEMA_VERSION,
        n_readings: 0,
        weights: [found.clone(), found.clone(), found],
        shared_sd: 0.0,
        above_0: [0.0, 1.0],
        interval_mass: 0.9,
        flag_from: 1.0,
    };
    for ((shares, peak), expected) in shares.iter().zip(&peak).zip(&probabilities) {
        let [found, ..] = calibration.exceeds(&Extents { shares: *shares, peak: *peak });
        assert!((found - expected).abs() <= 0.51e-4, "{found} here, {expected} there");
    }
    assert_eq!(known.len(), 400);
}

/// Readings whose marks say how much there is but for what they all miss or invent in an image.
fn examples(seed: u64, count: usize) -> Vec<Example> {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let blank: Reading = serde_json::from_str(include_str!("../../pipeline/examples/throughput/reading.json")).unwrap();
    (0..count)
        .map(|number| {
            let mut reading = blank.clone();
            reading.image_id = domain::ImageId::from_digest(Digest::of(format!("{seed} {number}").as_bytes()));
            let burden = draw.random::<f64>().powi(3);
            let shared = 0.1 * (draw.random::<f64>() - 0.5);
            let mut visible = [SegmentGrade::Assessed(Grade::NONE); 8];
            for (segment, seen) in reading.segments.iter_mut().zip(&mut visible) {
                let share = (burden * 2.0 * draw.random::<f64>() - 0.1).clamp(0.0, 1.0);
                let marked = share + shared + 0.05 * (draw.random::<f64>() - 0.5);
                let marked = if marked < 0.07 { 0.0 } else { marked.min(1.0) };
                let grade = |share: f64| SegmentGrade::Assessed(Grade::new((3.0 * share).ceil() as u8).unwrap());
                (*seen, segment.grade) = (grade(share), grade(marked));
                // where nothing is marked, how nearly something was differs all the same
                let peak = (0.1 + marked + 0.3 * draw.random::<f64>()).min(0.98);
                segment.extents =
                    Some(Extents { shares: [1.2, 1.1, 1.0, 0.9, 0.7].map(|by| (by * marked).min(1.0)), peak });
            }
            let aac24 = Aac24::of(&std::array::from_fn(|i| reading.segments[i].grade));
            let category = aac24.category(Default::default());
            reading.summary = Summary { aac24, category, flag_review: false, ..reading.summary };
            Example { visible, reading }
        })
        .collect()
}

#[test]
fn what_was_fitted_holds_for_readings_that_were_not() {
    let rules = ScoringRules::default();
    let known = examples(1, 600);
    let fitted = fit_calibration(&known, &rules).unwrap();
    let backwards: Vec<Example> = known.into_iter().rev().collect();
    assert_eq!(fit_calibration(&backwards, &rules).unwrap(), fitted, "the order of rows does not matter");
    let (readings, flagged) = (fitted.readings as f64, fitted.flagged as f64);
    assert!((0.95..0.97).contains(&(fitted.covered as f64 / readings)), "{}", fitted.told());
    // readings of the same doubt are flagged together
    assert!((0.19..=0.22).contains(&(flagged / readings)), "{}", fitted.told());
    assert!(fitted.calibration.shared_sd > 0.2, "{}", fitted.told());

    let (mut covered, mut flagged, mut errors, mut found) = (0, 0, 0, 0);
    let unseen = examples(2, 1000);
    for example in &unseen {
        let mut reading = example.reading.clone();
        fitted.calibration.judge(&mut reading, &rules);
        let (seen, read) = example.totals().unwrap();
        let certainty = reading.summary.certainty.unwrap();
        covered += usize::from((certainty.total_low..=certainty.total_high).contains(&seen));
        let wrong = rules.categories.of(f64::from(seen)) != rules.categories.of(f64::from(read));
        errors += usize::from(wrong);
        flagged += usize::from(reading.summary.flag_review);
        found += usize::from(wrong && reading.summary.flag_review);
    }
    // Images with calcium, as they are and as expected. Doubts of eight segments add up to too much unless that was fitted.
    let with_calcium = |calibration: &Calibration, examples: &[Example]| {
        let of = |example: &Example| {
            let mut reading = example.reading.clone();
            calibration.judge(&mut reading, &rules);
            let expected = reading.summary.certainty.unwrap().total_above_0.unwrap();
            (f64::from(u8::from(example.totals().unwrap().0 > 0)), expected)
        };
        examples.iter().map(of).fold((0.0, 0.0), |sum, (is, expected)| (sum.0 + is, sum.1 + expected))
    };
    let added_up = Calibration { above_0: [0.0, 1.0], ..fitted.calibration.clone() };
    for of in [examples(1, 600), unseen] {
        let ((is, expected), (_, too_many)) = (with_calcium(&fitted.calibration, &of), with_calcium(&added_up, &of));
        let (off, far) = ((expected - is).abs(), (too_many - is).abs());
        assert!(
            off < 0.06 * of.len() as f64 && off < 0.5 * far,
            "{is} have calcium, {expected} expected, else {too_many}"
        );
    }
    assert!((930..=970).contains(&covered), "{covered} of 1000");
    assert!((150..=250).contains(&flagged), "{flagged} of 1000");
    // by chance it would find a fifth
    assert!(errors > 30 && 10 * found > 4 * errors, "{found} of {errors}");
}

#[test]
fn too_little_to_learn_from_is_refused() {
    let rules = ScoringRules::default();
    let error = fit_calibration(&examples(3, 99), &rules).unwrap_err();
    assert!(error.to_string().contains("99 readings"), "{error}");
    let mut unmarked = examples(3, 120);
    unmarked[7].reading.segments[0].extents = None;
    let error = fit_calibration(&unmarked, &rules).unwrap_err();
    assert!(error.to_string().contains("without extents"), "{error}");
}

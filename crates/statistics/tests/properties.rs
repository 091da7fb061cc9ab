//! What holds for all data: states, of counts and of moments, are the same bits under any split and order, and whatever the data,
//! an answer is a finite number or missing - never NaN, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use statistics::bland_altman::bland_altman;
use statistics::bootstrap::{cluster_bootstrap, philox, poisson_weight};
use statistics::classification::{accuracy, by_class};
use statistics::concordance_index::concordance_index;
use statistics::correlation::{concordance, pearson, r_squared, spearman, through_origin};
use statistics::cox::{Ties, cox};
use statistics::drift::drift;
use statistics::icc::RatingSquares;
use statistics::kappa::{KappaWeights, kappa};
use statistics::paired::{McNemar, bowker, mcnemar, stuart_maxwell};
use statistics::progression::{Interval2, progression, smallest_detectable_change};
use statistics::proportion::{Interval, proportion};
use statistics::roc::{Roc, TwoScores, auc_difference};
use statistics::score::Scores;
use statistics::survival::{FollowUp, SurvivalInterval, kaplan_meier, log_rank};
use statistics::table1::{smd_categories, smd_continuous};
use statistics::trend::jonckheere_terpstra;
use statistics::wilcoxon::signed_rank;
use statistics::{
    AacHist, AacJoint, AacJointOutcome, Confidence, CountState, Estimate, Moments, Pairs, SquareTable, Test,
};

fn score() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![9 => (0i64..=24).prop_map(Some), 1 => Just(None)]
}

/// Few distinct values, so that ties, constants and empty levels come up.
fn few() -> impl Strategy<Value = f64> {
    prop_oneof![6 => (0i32..5).prop_map(f64::from), 3 => -1e3..1e3, 1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY)]]
}

fn ci() -> Confidence {
    Confidence::default()
}

#[track_caller]
fn sound(estimate: &Estimate) {
    let values = [estimate.estimate, estimate.std_error, estimate.conf_low, estimate.conf_high];
    assert!(values.iter().flatten().all(|v| v.is_finite()), "{estimate:?}");
    if estimate.estimate.is_none() {
        assert!(values.iter().all(Option::is_none), "{estimate:?}");
    }
    if let (Some(low), Some(high)) = (estimate.conf_low, estimate.conf_high) {
        assert!(low <= high, "{estimate:?}");
        // A percentile interval need not hold the estimate; the others do, but for rounding.
        let inside =
            estimate.estimate.is_some_and(|v| low <= v + 1e-9 * v.abs() + 1e-12 && v - 1e-9 * v.abs() - 1e-12 <= high);
        assert!(inside || estimate.method.contains("bootstrap"), "{estimate:?}");
    }
}

#[track_caller]
fn sound_test(test: &Test) {
    assert!(test.statistic.is_none_or(f64::is_finite), "{test:?}");
    assert!(test.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)), "{test:?}");
}

/// Every statistic of a joint count.
fn of_joint(joint: &AacJoint) -> Vec<Estimate> {
    let pairs = Pairs::of_joint(joint);
    let mut all = of_pairs(&pairs);
    for table in [SquareTable::of_joint(joint), SquareTable::of_classes(joint, &[2, 6]).unwrap()] {
        all.extend(KappaWeights::ALL.map(|weights| kappa(&table, weights, ci())));
        for interval in [Interval::Wilson, Interval::ClopperPearson] {
            all.push(accuracy(&table, interval, ci()));
            for class in by_class(&table, interval, ci()) {
                all.extend([class.sensitivity, class.specificity, class.ppv, class.npv]);
            }
        }
        sound_test(&bowker(&table));
        sound_test(&stuart_maxwell(&table));
    }
    all
}

fn of_pairs(pairs: &Pairs) -> Vec<Estimate> {
    let limits = bland_altman(pairs, ci());
    let r2 = r_squared(pairs, ci());
    let squares = RatingSquares::of_pairs(pairs);
    let origin = through_origin(pairs, ci());
    let ranked = signed_rank(pairs.differences(), ci()).unwrap();
    sound_test(&ranked.test);
    vec![
        limits.bias,
        limits.sd,
        limits.lower_limit,
        limits.upper_limit,
        limits.mae,
        limits.rmse,
        pearson(pairs, ci()),
        spearman(pairs, ci()),
        concordance(pairs, ci()),
        r2.ols,
        r2.identity,
        origin.slope,
        origin.r2_centred,
        origin.r2_uncentred,
        squares.icc_1_1(ci()),
        squares.icc_2_1(ci()),
        squares.icc_3_1(ci()),
        ranked.shift,
    ]
}

fn joint_of(rows: &[(Option<i64>, Option<i64>)]) -> AacJoint {
    let mut joint = AacJoint::empty();
    rows.iter().for_each(|(r, m)| joint.add(*r, *m).unwrap());
    joint
}

proptest! {
    #[test]
    fn joint_counts_are_the_same_bits_in_any_parts_and_order(
        rows in vec((score(), score()), 0..200), cut in 0usize..200, order in any::<u64>()
    ) {
        let whole = joint_of(&rows);
        let (a, b) = rows.split_at(cut.min(rows.len()));
        let mut shuffled = b.to_vec();
        shuffled.sort_by_key(|(r, m)| (r.unwrap_or(99) * 31 + m.unwrap_or(77)).wrapping_mul(order as i64 | 1));
        let mut merged = joint_of(&shuffled);
        merged.merge(&joint_of(a)).unwrap();
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(of_joint(&merged), of_joint(&whole));
        prop_assert_eq!(whole.n() + whole.incomplete(), rows.len() as u64);
        merged.retract(&joint_of(a)).unwrap();
        prop_assert_eq!(merged, joint_of(b));
    }

    #[test]
    fn histograms_and_outcomes_too(rows in vec((prop::option::of(any::<bool>()), score()), 0..100), cut in 0usize..100) {
        let count = |rows: &[(Option<bool>, Option<i64>)]| {
            let (mut hist, mut outcome) = (AacHist::empty(), AacJointOutcome::empty());
            for (o, s) in rows {
                hist.add(*s).unwrap();
                outcome.add(*o, *s).unwrap();
            }
            (hist, outcome)
        };
        let (a, b) = rows.split_at(cut.min(rows.len()));
        let ((mut hist, mut outcome), whole) = (count(b), count(&rows));
        hist.merge(&count(a).0).unwrap();
        outcome.merge(&count(a).1).unwrap();
        prop_assert_eq!(&(hist.clone(), outcome.clone()), &whole);
        sound(&Roc::of_joint(&outcome).auc(ci()));
        prop_assert_eq!(AacHist::from_counts(hist.counts()).unwrap(), hist);
    }

    #[test]
    fn moments_are_the_same_bits_in_any_parts_and_order_and_agree_to_twelve_digits(
        mut values in vec(prop_oneof![4 => -1e6..1e6f64, 1 => -1e-9..1e-9f64], 2..300), cut in 0usize..300, order in any::<u64>()
    ) {
        let whole = Moments::of(values.iter().copied());
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let size = values.iter().map(|v| v.abs()).sum::<f64>() / n;
        // Of the peer's own rounding: its sum is of values of both signs.
        prop_assert!((whole.mean().unwrap() - mean).abs() <= 1e-12 * size);
        prop_assert!((whole.variance().unwrap() - squares / (n - 1.0)).abs() <= 1e-12 * squares / (n - 1.0));
        values.sort_by_key(|v| v.to_bits().wrapping_mul(order | 1));
        let (a, b) = values.split_at(cut.min(values.len()));
        let mut merged = Moments::of(b.iter().copied());
        merged.merge(&Moments::of(a.iter().copied())).unwrap();
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(Moments::from_words(merged.words()).unwrap(), whole);
        merged.retract(&Moments::of(b.iter().copied())).unwrap();
        prop_assert_eq!(&merged, &Moments::of(a.iter().copied()));
        prop_assert_eq!(merged.mean_estimate(ci()), Moments::of(a.iter().copied()).mean_estimate(ci()));
    }

    #[test]
    fn whatever_the_pairs_no_nan_and_no_panic(rows in vec((few(), few()), 0..40)) {
        let pairs = Pairs::of(rows.iter().copied());
        of_pairs(&pairs).iter().for_each(sound);
        let (a, b) = (Moments::of(rows.iter().map(|r| r.0)), Moments::of(rows.iter().map(|r| r.1)));
        [a.mean_estimate(ci()), b.sd_estimate(ci()), smd_continuous(&a, &b, ci())].iter().for_each(sound);
        let scores = Scores::of(rows.iter().map(|r| r.0));
        sound(&scores.prevalence(2.0, Interval::Wilson, ci()));
        [0.0, 0.25, 0.5, 1.0].iter().for_each(|p| sound(&scores.quantile(*p, ci()).unwrap()));
        let triples: Vec<TwoScores> = rows.iter().map(|r| TwoScores { outcome: r.0 > 1.5, first: r.0, second: r.1 }).collect();
        let (difference, test) = auc_difference(&triples, ci());
        sound(&difference);
        sound_test(&test);
        sound(&Roc::of(rows.iter().map(|r| (r.0, r.1 > 1.0))).auc(ci()));
        prop_assert!(smallest_detectable_change(&pairs).is_none_or(f64::is_finite));
    }

    #[test]
    fn whatever_the_joint_no_nan_and_no_panic(rows in vec((score(), score()), 0..12)) {
        of_joint(&joint_of(&rows)).iter().for_each(sound);
    }

    #[test]
    fn whatever_the_counts_no_nan_and_no_panic(a in vec(0u64..30, 5), b in vec(0u64..4, 5), c in vec(0u64..4, 5)) {
        sound(&smd_categories(&a, &b, ci()).unwrap());
        sound(&proportion(b[0], b[0] + a[0], Interval::ClopperPearson, ci()));
        [McNemar::ChiSquared, McNemar::Corrected, McNemar::Exact].iter().for_each(|f| sound_test(&mcnemar(a[0], b[0], *f)));
        let moved = drift(&b, &c).unwrap();
        prop_assert!([moved.psi, moved.ks, moved.wasserstein].iter().flatten().all(|v| v.is_finite() && *v >= -1e-12));
        sound_test(&jonckheere_terpstra(&[a, b, c]).unwrap());
    }

    #[test]
    fn whatever_the_follow_up_no_nan_and_no_panic(
        rows in vec(((0u32..6).prop_map(f64::from), any::<bool>(), 0usize..3, -2i32..3), 0..25)
    ) {
        let follow_up: Vec<FollowUp> = rows.iter().map(|r| FollowUp { time: r.0, event: r.1 }).collect();
        for interval in [SurvivalInterval::Log, SurvivalInterval::LogLog] {
            let curve = kaplan_meier(&follow_up, interval, ci()).unwrap();
            curve.steps.iter().for_each(|s| sound(&s.survival));
            let median = curve.median();
            prop_assert!(median.conf_low.is_none_or(|low| median.estimate.is_some_and(|m| low <= m)));
        }
        let grouped: Vec<(FollowUp, usize)> = follow_up.iter().copied().zip(rows.iter().map(|r| r.2)).collect();
        sound_test(&log_rank(&grouped).unwrap().test);
        let covariates: Vec<Vec<f64>> = rows.iter().map(|r| vec![r.2 as f64, f64::from(r.3)]).collect();
        for ties in [Ties::Efron, Ties::Breslow] {
            let fit = cox(&follow_up, &covariates, ties, ci()).unwrap();
            fit.coefficients.iter().chain(&fit.hazard_ratios).for_each(sound);
        }
        let ranked: Vec<(FollowUp, f64)> = follow_up.iter().copied().zip(rows.iter().map(|r| f64::from(r.3))).collect();
        sound(&concordance_index(&ranked, ci()).unwrap());
        let intervals: Vec<Interval2> = rows
            .iter()
            .map(|r| Interval2 { first: r.0, last: f64::from(r.3), days: r.0 + 1.0, scanner_changed: r.1 })
            .collect();
        let change = progression(&intervals, Some(1.0), ci()).unwrap();
        [change.change, change.per_year, change.progressed, change.regressed].iter().for_each(sound);
    }

    #[test]
    fn bootstrap_weights_do_not_depend_on_order(mut participants in vec(any::<u64>(), 1..20), seed in any::<u64>()) {
        let sums = |participants: &[u64]| {
            // An exact integer statistic: the sum of weighted low bits.
            cluster_bootstrap(participants, seed, 40, ci(), |w| {
                Some(w.iter().zip(participants).map(|(w, p)| u64::from(*w) * (p & 0xff)).sum::<u64>() as f64)
            })
        };
        let forward = sums(&participants).unwrap();
        participants.reverse();
        prop_assert_eq!(forward, sums(&participants).unwrap());
    }
}

#[test]
fn philox_known_answers() {
    // kat_vectors of Random123 (Salmon et al.), philox4x32-10
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
    assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn bootstrap_weights_are_poisson() {
    // Of 20,000 weights: mean and variance 1 within 4 standard errors, and the shares of 0, 1, 2 those of Poisson(1)
    let weights: Vec<f64> = (0..20_000u64).map(|p| f64::from(poisson_weight(7, 3, p))).collect();
    let moments = Moments::of(weights.iter().copied());
    assert!((moments.mean().unwrap() - 1.0).abs() < 4.0 / 20_000f64.sqrt());
    assert!((moments.variance().unwrap() - 1.0).abs() < 4.0 * (3.0 / 20_000f64).sqrt());
    for (k, share) in [(0.0, 0.367879), (1.0, 0.367879), (2.0, 0.183940)] {
        let seen = weights.iter().filter(|w| **w == k).count() as f64 / 20_000.0;
        assert!((seen - share).abs() < 4.0 * (share / 20_000.0).sqrt(), "{k}: {seen}");
    }
}

#[test]
fn counts_that_do_not_add_up_are_refused_and_change_nothing() {
    let mut hist = AacHist::empty();
    hist.add(Some(3)).unwrap();
    let mut other = AacHist::empty();
    other.add(Some(4)).unwrap();
    let before = hist.clone();
    assert!(hist.retract(&other).is_err());
    assert_eq!(hist, before);
    assert!(hist.add(Some(25)).is_err() && hist.add(Some(-1)).is_err());
    assert!(AacHist::from_counts(&[0; 25]).is_err());
    let mut full = AacHist::from_counts(&[u64::MAX; 26]).unwrap();
    assert!(full.merge(&hist).is_err());
}

#[test]
fn nothing_and_one_row_are_missing_with_their_n() {
    for n in [0u64, 1] {
        let pairs = Pairs::of((0..n).map(|_| (3.0, 4.0)));
        for estimate in
            [pearson(&pairs, ci()), concordance(&pairs, ci()), RatingSquares::of_pairs(&pairs).icc_2_1(ci())]
        {
            assert_eq!((estimate.n, estimate.estimate), (n, None));
        }
    }
    // One pair has a bias, and nothing to judge it by.
    let bias = bland_altman(&Pairs::of([(3.0, 4.0)]), ci()).bias;
    assert_eq!((bias.estimate, bias.std_error, bias.conf_low), (Some(1.0), None, None));
    // All the same score: no variance.
    let constant = Pairs::of([(3.0, 3.0); 5]);
    assert_eq!(pearson(&constant, ci()).estimate, None);
    assert_eq!(RatingSquares::of_pairs(&constant).icc_3_1(ci()).estimate, None);
    assert!(Confidence::new(1.0).is_err() && Confidence::new(f64::NAN).is_err());
}

#[test]
fn kappa_counts_all_levels_not_the_observed() {
    // Scores 0, 1 and 24 only. Over fixed levels a confusion of 0 and 1 is 1/24 of the way, over observed ones 1/2.
    let mut joint = AacJoint::empty();
    for (reference, model, count) in [(0, 0, 4), (0, 1, 2), (1, 1, 3), (24, 24, 1)] {
        (0..count).for_each(|_| joint.add(Some(reference), Some(model)).unwrap());
    }
    // By hand, linear: disagreement 2/10 * 1/24; margins of 0, 1, 24: reference .6 .3 .1, model .4 .5 .1
    let chance = (0.6 * 0.5 + 0.3 * 0.4) / 24.0 + 0.1 * (0.6 + 0.4) + 0.1 * (0.3 + 0.5) * 23.0 / 24.0;
    let expected = 1.0 - (0.2 / 24.0) / chance;
    let linear = kappa(&SquareTable::of_joint(&joint), KappaWeights::Linear, ci()).estimate.unwrap();
    assert!((linear - expected).abs() < 1e-12, "{linear} is not {expected}");
}

#[test]
fn jonckheere_terpstra_has_the_moments_of_all_permutations() {
    // 1 1 2 | 2 3 | 3 4: all orders of the seven values counted out give mean and variance of the statistic
    let values = [0usize, 0, 1, 1, 2, 2, 3];
    let groups = [0usize, 0, 0, 1, 1, 2, 2];
    let statistic = |values: &[usize]| {
        let pairs = (0..7).flat_map(|i| (0..7).map(move |j| (i, j))).filter(|(i, j)| groups[*i] < groups[*j]);
        pairs
            .map(|(i, j)| match values[j].cmp(&values[i]) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            })
            .sum::<f64>()
    };
    let mut all = Vec::new();
    permute(&mut values.to_vec(), 7, &mut |order| all.push(statistic(order)));
    assert_eq!(all.len(), 5040);
    let mean = all.iter().sum::<f64>() / 5040.0;
    let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 5040.0;
    let table =
        |g: usize| (0..4).map(|l| (0..7).filter(|i| groups[*i] == g && values[*i] == l).count() as u64).collect();
    let z = jonckheere_terpstra(&[table(0), table(1), table(2)]).unwrap().statistic.unwrap();
    assert!((z - (statistic(&values) - mean) / variance.sqrt()).abs() < 1e-12);
}

fn permute(values: &mut Vec<usize>, k: usize, each: &mut impl FnMut(&[usize])) {
    if k == 1 {
        return each(values);
    }
    for i in 0..k {
        permute(values, k - 1, each);
        values.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
    }
}

#[test]
fn signed_rank_with_ties_counts_all_signs() {
    // |d| 1 1 2 2 2 3, zeros left out: every choice of signs counted out
    let differences = [1.0f64, -1.0, 2.0, 2.0, -2.0, 3.0, 0.0];
    let ranks = [1.5, 1.5, 4.0, 4.0, 4.0, 6.0];
    let v: f64 = ranks.iter().zip(differences).filter(|(_, d)| *d > 0.0).map(|(r, _)| r).sum();
    let all: Vec<f64> =
        (0..64u32).map(|signs| (0..6).filter(|i| signs >> i & 1 == 1).map(|i| ranks[i]).sum()).collect();
    let tail = |keep: &dyn Fn(f64) -> bool| all.iter().filter(|s| keep(**s)).count() as f64 / 64.0;
    let expected = (2.0 * tail(&|s| s <= v).min(tail(&|s| s >= v))).min(1.0);
    let test = signed_rank(differences.map(|d| (d, 1)), ci()).unwrap().test;
    assert_eq!((test.n, test.statistic, test.p_value), (6, Some(v), Some(expected)));
}

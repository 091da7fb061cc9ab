//! Random cases with the answers of scipy, statsmodels, lifelines and scikit-learn (`tests/peers/statistics/cases.py`).

use serde_json::Value;
use statistics::bland_altman::bland_altman;
use statistics::concordance_index::concordance_index;
use statistics::correlation::{concordance, pearson, r_squared, spearman};
use statistics::cox::{Ties, cox};
use statistics::distributions as dist;
use statistics::drift::drift;
use statistics::icc::RatingSquares;
use statistics::kappa::{KappaWeights, kappa};
use statistics::paired::{McNemar, bowker, mcnemar, stuart_maxwell};
use statistics::proportion::{Interval, proportion};
use statistics::roc::{Roc, TwoScores, auc_difference};
use statistics::score::Scores;
use statistics::segmentation::{Grid, Overlap, surface_distance};
use statistics::standardise::{RateInterval, Stratum, standardise};
use statistics::survival::{FollowUp, SurvivalInterval, kaplan_meier, log_rank};
use statistics::table1::smd_categories;
use statistics::trend::{TrendGroup, cochran_armitage, jonckheere_terpstra};
use statistics::wilcoxon::signed_rank;
use statistics::{AacJoint, Confidence, CountState, Estimate, Moments, Pairs, SquareTable};

/// The cases of one statistic.
fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/peers/statistics/cases.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let found = all["cases"][name].as_array().unwrap().clone();
    assert!(!found.is_empty());
    found
}

/// Numbers of a list; null is what is not defined.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn counts(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

fn truths(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect()
}

/// 1e-9 relative; below 1e-6, where differences cancel, 1e-15 absolute.
#[track_caller]
fn same(ours: Option<f64>, theirs: &Value, what: &str) {
    let Some(theirs) = theirs.as_f64() else { return assert!(ours.is_none(), "{what}: {ours:?}, peer has none") };
    let ours = ours.unwrap_or_else(|| panic!("{what}: none, peer has {theirs}"));
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-6), "{what}: {ours} is not {theirs}");
}

#[track_caller]
fn same_interval(ours: &Estimate, theirs: &Value, what: &str) {
    same(ours.estimate, &theirs[0], what);
    same(ours.conf_low, &theirs[1], what);
    same(ours.conf_high, &theirs[2], what);
}

fn ci() -> Confidence {
    Confidence::default()
}

#[test]
fn distributions() {
    for row in cases("distributions")[0]["rows"].as_array().unwrap() {
        let (name, a) = (row[0].as_str().unwrap(), numbers(&row[1]));
        let value = match name {
            "normal_quantile" => dist::normal_quantile(a[0]),
            "t_quantile" => dist::t_quantile(a[0], a[1]),
            "chi2_quantile" => dist::chi2_quantile(a[0], a[1]),
            "beta_quantile" => dist::beta_quantile(a[0], a[1], a[2]),
            "f_quantile" => dist::f_quantile(a[0], a[1], a[2]),
            "gamma_quantile" => dist::gamma_quantile(a[0], a[1]),
            "normal_sf" => dist::normal_sf(a[0]),
            "t_sf" => dist::t_sf(a[0], a[1]),
            "chi2_sf" => dist::chi2_sf(a[0], a[1]),
            "f_sf" => dist::f_sf(a[0], a[1], a[2]),
            "binomial_cdf" => dist::binomial_cdf(a[0] as u64, a[1] as u64, a[2]),
            other => panic!("{other}"),
        };
        same(Some(value), &row[2], &format!("{name}{a:?}"));
    }
}

#[test]
fn pairs() {
    for case in cases("pairs") {
        let (reference, model, expected) = (numbers(&case["reference"]), numbers(&case["model"]), &case["expected"]);
        let whole = case["integer"].as_bool().unwrap();
        let mut joint = AacJoint::empty();
        let mut pairs = Pairs::of(reference.iter().copied().zip(model.iter().copied()));
        if whole {
            for (r, m) in reference.iter().zip(&model) {
                joint.add(Some(*r as i64), Some(*m as i64)).unwrap();
            }
            // The count matrix must say the same as the rows.
            assert_eq!(pairs.differences(), Pairs::of_joint(&joint).differences());
            pairs = Pairs::of_joint(&joint);
            for (weights, name) in KappaWeights::ALL.into_iter().zip(["kappa", "kappa_linear", "kappa_quadratic"]) {
                let ours = kappa(&SquareTable::of_joint(&joint), weights, ci());
                same(ours.estimate, &expected[name][0], name);
                same(ours.std_error, &expected[name][1], name);
            }
        }
        let (limits, r2, squares) =
            (bland_altman(&pairs, ci()), r_squared(&pairs, ci()), RatingSquares::of_pairs(&pairs));
        same_interval(&limits.bias, &expected["bias"], "bias");
        same_interval(&limits.sd, &expected["sd"], "sd");
        same_interval(&pearson(&pairs, ci()), &expected["pearson"], "pearson");
        same_interval(&squares.icc_2_1(ci()), &expected["icc_2_1"], "icc_2_1");
        same_interval(&squares.icc_3_1(ci()), &expected["icc_3_1"], "icc_3_1");
        let ranked = signed_rank(pairs.differences(), ci()).unwrap();
        for (name, ours) in [
            ("spearman", spearman(&pairs, ci()).estimate),
            ("ccc", concordance(&pairs, ci()).estimate),
            ("mae", limits.mae.estimate),
            ("rmse", limits.rmse.estimate),
            ("r2_ols", r2.ols.estimate),
            ("r2_identity", r2.identity.estimate),
            ("r2_origin_centred", r2.origin_centred.estimate),
            ("r2_origin_uncentred", r2.origin_uncentred.estimate),
            ("hodges_lehmann", ranked.shift.estimate),
        ] {
            same(ours, &expected[name], name);
        }
        // scipy was asked for the normal approximation, which we use beyond 50 differences.
        if ranked.test.n > 50 {
            same(ranked.test.p_value, &expected["wilcoxon_p"], "wilcoxon");
        }
    }
}

#[test]
fn exact_signed_ranks() {
    for case in cases("signed_rank_exact") {
        let ranked = signed_rank(numbers(&case["differences"]).into_iter().map(|d| (d, 1)), ci()).unwrap();
        same(ranked.test.p_value, &case["p"], "exact p");
    }
}

#[test]
fn proportions() {
    for case in cases("proportions") {
        let (count, n) = (case["count"].as_u64().unwrap(), case["n"].as_u64().unwrap());
        for (interval, name) in [(Interval::Wilson, "wilson"), (Interval::ClopperPearson, "clopper_pearson")] {
            let ours = proportion(count, n, interval, ci());
            same(ours.conf_low, &case[name][0], name);
            same(ours.conf_high, &case[name][1], name);
        }
    }
}

#[test]
fn roc() {
    for case in cases("roc") {
        let scores = numbers(&case["first"]).into_iter().zip(numbers(&case["second"]));
        let rows: Vec<TwoScores> = scores
            .zip(truths(&case["outcome"]))
            .map(|((first, second), outcome)| TwoScores { outcome, first, second })
            .collect();
        let auc = Roc::of(rows.iter().map(|r| (r.first, r.outcome))).auc(ci());
        same(auc.estimate, &case["auc"], "auc");
        same(auc.std_error, &case["std_error"], "auc error");
        let test = auc_difference(&rows, ci()).1;
        same(test.statistic, &case["z"], "z");
        same(test.p_value, &case["p"], "p");
    }
}

#[test]
fn quantiles() {
    for case in cases("quantiles") {
        let scores = Scores::of(numbers(&case["values"]));
        for row in case["rows"].as_array().unwrap() {
            let ours = scores.quantile(row["p"].as_f64().unwrap(), ci()).unwrap();
            same(ours.estimate, &row["estimate"], "quantile");
            // One limit that does not exist takes the other with it.
            if ours.conf_low.is_some() || !row["low"].is_null() && !row["high"].is_null() {
                same(ours.conf_low, &row["low"], "quantile low");
                same(ours.conf_high, &row["high"], "quantile high");
            }
        }
    }
}

#[test]
fn square_tables() {
    for case in cases("square") {
        let table = SquareTable::new(case["k"].as_u64().unwrap() as usize, counts(&case["counts"])).unwrap();
        for (ours, name) in [(bowker(&table), "bowker"), (stuart_maxwell(&table), "stuart_maxwell")] {
            same(ours.statistic, &case[name][0], name);
            same(ours.df, &case[name][1], name);
            same(ours.p_value, &case[name][2], name);
        }
        let ours = kappa(&table, KappaWeights::Unweighted, ci());
        same(ours.estimate, &case["kappa"][0], "kappa");
        same(ours.std_error, &case["kappa"][1], "kappa error");
    }
}

#[test]
fn discordant_pairs() {
    for case in cases("discordant") {
        let (b, c) = (case["b"].as_u64().unwrap(), case["c"].as_u64().unwrap());
        same(mcnemar(b, c, McNemar::ChiSquared).statistic, &case["chi2"], "mcnemar");
        same(mcnemar(b, c, McNemar::Corrected).p_value, &case["corrected_p"], "mcnemar corrected");
        same(mcnemar(b, c, McNemar::Exact).p_value, &case["exact_p"], "mcnemar exact");
    }
}

#[test]
fn trend() {
    for case in cases("armitage") {
        let groups: Vec<TrendGroup> = counts(&case["cases"])
            .into_iter()
            .zip(counts(&case["total"]))
            .enumerate()
            .map(|(i, (with, total))| TrendGroup { score: i as f64, with, total })
            .collect();
        same(cochran_armitage(&groups).unwrap().statistic, &case["chi2"], "cochran-armitage");
    }
}

#[test]
fn survival() {
    for case in cases("survival") {
        let follow_up: Vec<FollowUp> = numbers(&case["time"])
            .into_iter()
            .zip(truths(&case["event"]))
            .map(|(time, event)| FollowUp { time, event })
            .collect();
        // lifelines makes its interval on the log-log scale.
        let curve = kaplan_meier(&follow_up, SurvivalInterval::LogLog, ci()).unwrap();
        same_interval(curve.at(case["at"].as_f64().unwrap()).unwrap(), &case["survival"], "kaplan-meier");
        let groups = counts(&case["group"]).into_iter().map(|g| g as usize);
        let test = log_rank(&follow_up.iter().copied().zip(groups).collect::<Vec<_>>()).unwrap().test;
        same(test.statistic, &case["log_rank"][0], "log-rank");
        same(test.p_value, &case["log_rank"][1], "log-rank p");
        let x: Vec<Vec<f64>> = case["x"].as_array().unwrap().iter().map(numbers).collect();
        for (ties, name) in [(Ties::Efron, "efron"), (Ties::Breslow, "breslow")] {
            let fit = cox(&follow_up, &x, ties, ci()).unwrap();
            for (j, ours) in fit.coefficients.iter().enumerate() {
                same(ours.estimate, &case[name][0][j], &format!("cox {name} {j}"));
                same(ours.std_error, &case[name][1][j], &format!("cox {name} {j} error"));
            }
            same(fit.log_likelihood, &case[name][2], &format!("cox {name} likelihood"));
            if ties == Ties::Efron {
                let ranked: Vec<(FollowUp, f64)> = follow_up.iter().copied().zip(fit.risk).collect();
                same(concordance_index(&ranked, ci()).unwrap().estimate, &case["c_index"], "c index");
            }
        }
    }
}

#[test]
fn drift_of_histograms() {
    for case in cases("drift") {
        let ours = drift(&counts(&case["reference"]), &counts(&case["current"])).unwrap();
        same(ours.psi, &case["psi"], "psi");
        same(ours.ks, &case["ks"], "ks");
        same(ours.wasserstein, &case["wasserstein"], "wasserstein");
    }
}

#[test]
fn masks() {
    for case in cases("masks") {
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let grid = Grid {
            width: size("width"),
            height: size("height"),
            row_mm: case["row_mm"].as_f64().unwrap(),
            column_mm: case["column_mm"].as_f64().unwrap(),
        };
        let mask = |name: &str| {
            let mut mask = vec![false; grid.width * grid.height];
            counts(&case[name]).into_iter().for_each(|i| mask[i as usize] = true);
            mask
        };
        let (reference, model) = (mask("reference"), mask("model"));
        let overlap = Overlap::of(&reference, &model).unwrap();
        same(overlap.dice(), &case["dice"], "dice");
        same(overlap.jaccard(), &case["jaccard"], "jaccard");
        same(overlap.accuracy(), &case["accuracy"], "accuracy");
        let distance = surface_distance(&reference, &model, grid).unwrap().unwrap();
        same(Some(distance.hd95_mm), &case["hd95_mm"], "hd95");
        same(Some(distance.assd_mm), &case["assd_mm"], "assd");
    }
}

#[test]
fn standardised_differences() {
    for case in cases("smd") {
        let ours = smd_categories(&counts(&case["a"]), &counts(&case["b"]), ci()).unwrap();
        same(ours.estimate, &case["smd"], "smd");
    }
}

#[test]
fn direct_standardisation() {
    for case in cases("standardised") {
        let strata: Vec<Stratum> = numbers(&case["weights"])
            .into_iter()
            .zip(counts(&case["events"]))
            .zip(numbers(&case["persons"]))
            .map(|((weight, events), population)| Stratum { weight, events, population })
            .collect();
        for (interval, name) in [
            (RateInterval::FayFeuer, "fay_feuer"),
            (RateInterval::DobsonByar, "dobson_byar"),
            (RateInterval::Binomial, "binomial"),
        ] {
            same_interval(&standardise(&strata, interval, ci()).unwrap(), &case[name], name);
        }
    }
}

#[test]
fn ordered_groups() {
    for case in cases("jonckheere") {
        let groups: Vec<Vec<u64>> = case["groups"].as_array().unwrap().iter().map(counts).collect();
        let levels = groups.iter().flatten().max().map_or(0, |most| *most as usize + 1);
        let counted = |group: &Vec<u64>| {
            let mut by_level = vec![0; levels];
            group.iter().for_each(|value| by_level[*value as usize] += 1);
            by_level
        };
        let ours = jonckheere_terpstra(&groups.iter().map(counted).collect::<Vec<_>>()).unwrap();
        same(ours.statistic, &case["z"], "jonckheere-terpstra");
        same(ours.p_value, &case["p"], "jonckheere-terpstra p");
    }
}

#[test]
fn limits_of_agreement() {
    for case in cases("limits") {
        let pairs = Pairs::of(numbers(&case["reference"]).into_iter().zip(numbers(&case["model"])));
        let limits = bland_altman(&pairs, ci());
        same_interval(&limits.lower_limit, &case["lower"], "lower limit");
        same_interval(&limits.upper_limit, &case["upper"], "upper limit");
    }
}

#[test]
fn median_survival() {
    for case in cases("median_survival") {
        let rows = numbers(&case["time"]).into_iter().zip(truths(&case["event"]));
        let rows: Vec<FollowUp> = rows.map(|(time, event)| FollowUp { time, event }).collect();
        let ours = kaplan_meier(&rows, SurvivalInterval::LogLog, ci()).unwrap().median();
        same_interval(&ours, &case["median"], "median survival");
    }
}

#[test]
fn moments_without_rounding() {
    for case in cases("moments") {
        let moments = Moments::of(numbers(&case["values"]));
        // The nearest doubles: each is rounded once.
        assert_eq!(moments.mean(), case["mean"].as_f64());
        assert_eq!(moments.variance(), case["variance"].as_f64());
    }
}

//! Published and recomputed answers (R 4.2.2, scipy, statsmodels, lifelines), to the digits given. Small data are typed in; the rest lies
//! in `data/` with its source in the first line.

use statistics::bland_altman::bland_altman;
use statistics::concordance_index::concordance_index;
use statistics::correlation::{concordance, pearson, r_squared, through_origin};
use statistics::cox::{CoxFit, Ties, cox};
use statistics::drift::drift;
use statistics::icc::RatingSquares;
use statistics::kappa::{KappaWeights, kappa};
use statistics::paired::{McNemar, bowker, mcnemar, stuart_maxwell};
use statistics::proportion::{Interval, proportion};
use statistics::roc::{Roc, TwoScores, auc_difference};
use statistics::standardise::{RateInterval, Standard, Stratum, standardise};
use statistics::survey::{Sampled, survey_mean};
use statistics::survival::{FollowUp, KaplanMeier, SurvivalInterval, kaplan_meier, log_rank};
use statistics::trend::{TrendGroup, cochran_armitage};
use statistics::wilcoxon::signed_rank;
use statistics::{Confidence, Estimate, Moments, Pairs, SquareTable};

/// Half a unit of the last of six digits after the point.
const SIX: f64 = 5.001e-7;

#[track_caller]
fn is(value: Option<f64>, expected: f64) {
    let value = value.expect("a value");
    assert!((value - expected).abs() <= SIX, "{value} is not {expected}");
}

#[track_caller]
fn interval(estimate: &Estimate, expected: (f64, f64, f64)) {
    is(estimate.estimate, expected.0);
    is(estimate.conf_low, expected.1);
    is(estimate.conf_high, expected.2);
}

fn ci() -> Confidence {
    Confidence::default()
}

/// Columns of `data/NAME.csv` as text, without rows that lack one of them.
fn data(name: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let path = format!("{}/tests/data/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let place: Vec<usize> = columns.iter().map(|c| header.iter().position(|h| h == *c).unwrap()).collect();
    let rows = reader.records().map(|r| r.unwrap());
    let rows = rows.map(|r| place.iter().map(|i| r[*i].to_owned()).collect::<Vec<String>>());
    rows.filter(|r| r.iter().all(|v| !v.is_empty())).collect()
}

fn numbers(name: &str, columns: &[&str]) -> Vec<Vec<f64>> {
    data(name, columns).into_iter().map(|r| r.iter().map(|v| v.parse().unwrap()).collect()).collect()
}

#[test]
fn shrout_and_fleiss_1979() {
    let ratings = [
        [9.0, 2.0, 5.0, 8.0],
        [6.0, 1.0, 3.0, 2.0],
        [8.0, 4.0, 6.0, 8.0],
        [7.0, 1.0, 2.0, 6.0],
        [10.0, 5.0, 6.0, 9.0],
        [6.0, 2.0, 4.0, 7.0],
    ];
    let squares = RatingSquares::of_table(&ratings).unwrap();
    is(squares.icc_1_1(ci()).estimate, 0.165742);
    interval(&squares.icc_2_1(ci()), (0.289764, 0.018787, 0.761084));
    interval(&squares.icc_3_1(ci()), (0.714841, 0.342465, 0.945858));
}

#[test]
fn irr_anxiety() {
    // R package irr, data anxiety: 20 subjects, 3 raters
    let ratings = [
        [3.0, 3.0, 2.0],
        [3.0, 6.0, 1.0],
        [3.0, 4.0, 4.0],
        [4.0, 6.0, 4.0],
        [5.0, 2.0, 3.0],
        [5.0, 4.0, 2.0],
        [2.0, 2.0, 1.0],
        [3.0, 4.0, 6.0],
        [5.0, 3.0, 1.0],
        [2.0, 3.0, 1.0],
        [2.0, 2.0, 1.0],
        [6.0, 3.0, 2.0],
        [1.0, 3.0, 3.0],
        [5.0, 3.0, 3.0],
        [2.0, 2.0, 1.0],
        [2.0, 2.0, 1.0],
        [1.0, 1.0, 3.0],
        [2.0, 3.0, 3.0],
        [4.0, 3.0, 2.0],
        [3.0, 4.0, 2.0],
    ];
    let squares = RatingSquares::of_table(&ratings).unwrap();
    interval(&squares.icc_2_1(ci()), (0.197998, -0.038911, 0.493574));
}

#[test]
fn bland_and_altman_1986() {
    // First readings: large meter as the model, mini meter as the reference
    let large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427];
    let mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451];
    let pairs = Pairs::of(mini.into_iter().zip(large).map(|(m, l)| (f64::from(m), f64::from(l))));
    let agreement = bland_altman(&pairs, ci());
    interval(&agreement.bias, (-2.117647, -22.048838, 17.813544));
    is(agreement.sd.estimate, 38.765130);
    is(agreement.lower_limit.estimate, -78.097302);
    is(agreement.upper_limit.estimate, 73.862007);
    is(pearson(&pairs, ci()).estimate, 0.943279);
    is(concordance(&pairs, ci()).estimate, 0.942742);
    let r2 = r_squared(&pairs, ci());
    is(r2.ols.estimate, 0.889776);
    is(r2.origin_centred.estimate, 0.882184);
    is(r2.origin_uncentred.estimate, 0.993455);
}

#[test]
fn kappa_of_vcd() {
    let expect = |counts: &[u64], k: usize, expected: [(f64, Option<f64>); 3]| {
        let table = SquareTable::new(k, counts.to_vec()).unwrap();
        for (weights, (value, error)) in KappaWeights::ALL.into_iter().zip(expected) {
            let estimate = kappa(&table, weights, ci());
            is(estimate.estimate, value);
            if let Some(error) = error {
                is(estimate.std_error, error);
            }
        }
    };
    // SexualFun, husband by wife
    let sexual_fun = [7, 7, 2, 3, 2, 8, 3, 7, 1, 5, 4, 9, 2, 8, 9, 14];
    let errors = [(0.129330, Some(0.068599)), (0.237381, Some(0.078316)), (0.332046, Some(0.097298))];
    expect(&sexual_fun, 4, errors);
    // MSPatients, Winnipeg
    let patients = [38, 5, 0, 1, 33, 11, 3, 0, 10, 14, 5, 6, 3, 7, 3, 10];
    expect(&patients, 4, [(0.207942, None), (0.379731, None), (0.524576, None)]);
}

#[test]
fn vision_of_7477_women() {
    // Stuart 1953; vcd VisualAcuity, female, right by left
    let counts = [1520, 266, 124, 66, 234, 1512, 432, 78, 117, 362, 1772, 205, 36, 82, 179, 492];
    let table = SquareTable::new(4, counts.to_vec()).unwrap();
    assert_eq!(table.n(), 7477);
    is(kappa(&table, KappaWeights::Unweighted, ci()).estimate, 0.595389);
    is(kappa(&table, KappaWeights::Quadratic, ci()).estimate, 0.702334);
    let symmetry = bowker(&table);
    is(symmetry.statistic, 19.106550);
    assert_eq!(symmetry.df, Some(6.0));
    is(symmetry.p_value, 0.003987);
    let margins = stuart_maxwell(&table);
    is(margins.statistic, 11.956570);
    assert_eq!(margins.df, Some(3.0));
}

#[test]
fn newcombe_1998_and_the_accuracies_of_lvlcrnet() {
    let of = |count: u64, n: u64, form: Interval| proportion(count, n, form, ci());
    let limits = |estimate: Estimate, low: f64, high: f64| {
        is(estimate.conf_low, low);
        is(estimate.conf_high, high);
    };
    limits(of(81, 263, Interval::Wilson), 0.255289, 0.366210);
    limits(of(81, 263, Interval::ClopperPearson), 0.252737, 0.367622);
    limits(of(0, 20, Interval::Wilson), 0.0, 0.161125);
    limits(of(0, 20, Interval::ClopperPearson), 0.0, 0.168433);
    interval(&of(175, 211, Interval::Wilson), (0.829384, 0.772850, 0.874139));
    is(of(125, 157, Interval::Wilson).estimate, 0.796178);
    is(of(319, 391, Interval::Wilson).estimate, 0.815857);
}

#[test]
fn proc_asah() {
    let rows: Vec<TwoScores> = data("asah", &["outcome", "s100b", "wfns"])
        .iter()
        .map(|r| TwoScores { outcome: r[0] == "Poor", first: r[1].parse().unwrap(), second: r[2].parse().unwrap() })
        .collect();
    assert_eq!(rows.len(), 113);
    let s100b = Roc::of(rows.iter().map(|r| (r.first, r.outcome)));
    interval(&s100b.auc(ci()), (0.731369, 0.630118, 0.832619));
    let wfns = Roc::of(rows.iter().map(|r| (r.second, r.outcome)));
    interval(&wfns.auc(ci()), (0.823679, 0.748535, 0.898823));
    let (_, test) = auc_difference(&rows, ci());
    is(test.statistic, -2.208984);
    is(test.p_value, 0.027176);
}

#[test]
fn nist_noint1() {
    // y = b x without intercept: certified b 2.07438016528926, standard error .165289256198347E-01
    let fit = through_origin(&Pairs::of((0..11).map(|i| (f64::from(130 + i), f64::from(60 + i)))), ci());
    is(fit.slope.estimate, 2.074380);
    is(fit.slope.std_error, 0.016529);
    is(fit.r2_uncentred.estimate, 0.999365);
    is(fit.r2_centred.estimate, -0.157025);
}

#[test]
fn nist_numacc4() {
    // 10000000.2, then 10000000.1 and 10000000.3 in turn; certified mean 10000000.2 and SD 0.1, where naive sums give 0
    let values =
        std::iter::once(10_000_000.2).chain((0..1000).map(|i| if i % 2 == 0 { 10_000_000.1 } else { 10_000_000.3 }));
    let moments = Moments::of(values);
    // as far as doubles tell these values apart, some 2e-9
    assert!((moments.mean().unwrap() - 10_000_000.2).abs() < 2e-9);
    assert!((moments.variance().unwrap().sqrt() - 0.1).abs() < 2e-9);
}

#[test]
fn hollander_and_wolfe_depression() {
    let before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
    let after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 314.0 / 100.0, 1.29];
    let result = signed_rank(before.iter().zip(after).map(|(b, a)| (b - a, 1)), ci()).unwrap();
    assert_eq!(result.test.statistic, Some(40.0));
    assert_eq!(result.test.p_value, Some(0.0390625));
    interval(&result.shift, (0.46, 0.010, 0.786));
}

#[test]
fn smokers_trend() {
    // Fleiss 1981, p. 139, as in R's prop.trend.test
    let group = |(score, with, total): (f64, u64, u64)| TrendGroup { score, with, total };
    let groups = [(1.0, 83, 86), (2.0, 90, 93), (3.0, 129, 136), (4.0, 70, 82)].map(group);
    let test = cochran_armitage(&groups).unwrap();
    is(test.statistic, 8.224922);
    is(test.p_value, 0.004132);
}

#[test]
fn mcnemar_approval() {
    // Agresti 1990, p. 350, as in R's mcnemar.test: 794, 86, 150, 570
    is(mcnemar(86, 150, McNemar::ChiSquared).statistic, 17.355932);
    is(mcnemar(86, 150, McNemar::Corrected).statistic, 16.817797);
    let exact = mcnemar(86, 150, McNemar::Exact).p_value.unwrap();
    assert!((exact - 3.715936e-05).abs() <= 5e-12, "{exact}");
}

fn lung() -> (Vec<FollowUp>, Vec<Vec<f64>>) {
    let rows = numbers("lung", &["time", "status", "sex", "age", "ph.ecog"]);
    let follow_up = rows.iter().map(|r| FollowUp { time: r[0], event: r[1] == 2.0 }).collect();
    (follow_up, rows.iter().map(|r| r[2..].to_vec()).collect())
}

fn coefficient(fit: &CoxFit, j: usize) -> Option<f64> {
    fit.coefficients[j].estimate
}

#[test]
fn survival_lung() {
    let rows = numbers("lung", &["time", "status", "sex"]);
    let all: Vec<FollowUp> = rows.iter().map(|r| FollowUp { time: r[0], event: r[1] == 2.0 }).collect();
    assert_eq!(all.len(), 228);
    let curve = kaplan_meier(&all, SurvivalInterval::Log, ci()).unwrap();
    interval(&curve.median(), (310.0, 285.0, 363.0));
    let by_sex: Vec<(FollowUp, usize)> = all.iter().zip(&rows).map(|(f, r)| (*f, r[2] as usize - 1)).collect();
    let test = log_rank(&by_sex).unwrap().test;
    is(test.statistic, 10.326742);
    is(test.p_value, 0.001311);

    // R: concordance(coxph(Surv(time, status) ~ sex + ph.ecog, lung)) has .6421 (se .02467)
    let (follow_up, covariates) = lung();
    let two: Vec<Vec<f64>> = covariates.iter().map(|c| vec![c[0], c[2]]).collect();
    let risk = cox(&follow_up, &two, Ties::Efron, ci()).unwrap().risk;
    let c = concordance_index(&follow_up.into_iter().zip(risk).collect::<Vec<_>>(), ci()).unwrap();
    assert!((c.estimate.unwrap() - 0.6421).abs() < 5e-5 && (c.std_error.unwrap() - 0.02467).abs() < 5e-6, "{c:?}");

    // One participant lacks ph.ecog.
    let (follow_up, covariates) = lung();
    assert_eq!(follow_up.len(), 227);
    let fit = cox(&follow_up, &covariates, Ties::Efron, ci()).unwrap();
    is(coefficient(&fit, 0), -0.552612);
    is(coefficient(&fit, 2), 0.463728);
    let ranked: Vec<(FollowUp, f64)> = follow_up.into_iter().zip(fit.risk).collect();
    is(concordance_index(&ranked, ci()).unwrap().estimate, 0.637135);
}

#[test]
fn gehan_6_mp() {
    // Freireich et al. 1963: remission in weeks, negative when censored
    let treated = [6, 6, 6, -6, 7, -9, 10, -10, -11, 13, 16, -17, -19, -20, 22, 23, -25, -32, -32, -34, -35];
    let control = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23];
    let row = |t: i32| FollowUp { time: f64::from(t.abs()), event: t > 0 };
    let groups = treated.iter().map(|t| (row(*t), 0)).chain(control.iter().map(|t| (row(*t), 1)));
    let rows: Vec<(FollowUp, usize)> = groups.collect();
    is(log_rank(&rows).unwrap().test.statistic, 16.792941);
    let (follow_up, group): (Vec<FollowUp>, Vec<Vec<f64>>) = rows.iter().map(|(f, g)| (*f, vec![*g as f64])).unzip();
    is(coefficient(&cox(&follow_up, &group, Ties::Efron, ci()).unwrap(), 0), 1.572125);
    is(coefficient(&cox(&follow_up, &group, Ties::Breslow, ci()).unwrap(), 0), 1.509191);
}

#[test]
fn rossi() {
    let rows = numbers("rossi", &["week", "arrest", "fin", "age", "race", "wexp", "mar", "paro", "prio"]);
    let follow_up: Vec<FollowUp> = rows.iter().map(|r| FollowUp { time: r[0], event: r[1] == 1.0 }).collect();
    let covariates: Vec<Vec<f64>> = rows.iter().map(|r| r[2..].to_vec()).collect();
    let fit = cox(&follow_up, &covariates, Ties::Efron, ci()).unwrap();
    is(coefficient(&fit, 0), -0.379422);
    is(coefficient(&fit, 1), -0.057438);
    is(coefficient(&fit, 6), 0.091497);
    is(fit.log_likelihood, -658.747659);
    let ranked: Vec<(FollowUp, f64)> = follow_up.iter().copied().zip(fit.risk).collect();
    is(concordance_index(&ranked, ci()).unwrap().estimate, 0.640329);
    let curve: KaplanMeier = kaplan_meier(&follow_up, SurvivalInterval::Log, ci()).unwrap();
    is(curve.at(52.0).unwrap().estimate, 0.736111);
}

#[test]
fn down_syndrome_by_age_and_birth_order() {
    // Fleiss 1981, p. 249, as in R's epitools::ageadjust.direct: maternal age by birth order 1 to 5+
    let births: [[u32; 6]; 5] = [
        [230_061, 329_449, 114_920, 39_487, 14_208, 3_052],
        [72_202, 326_701, 208_667, 83_228, 28_466, 5_375],
        [15_050, 175_702, 207_081, 117_300, 45_026, 8_660],
        [2_293, 68_800, 132_424, 98_301, 46_075, 9_834],
        [327, 30_666, 123_419, 149_919, 104_088, 34_392],
    ];
    let affected: [u64; 6] = [107, 141, 60, 40, 39, 25];
    let strata: Vec<Stratum> = (0..6)
        .map(|age| Stratum {
            weight: births.iter().map(|order| f64::from(order[age])).sum(),
            events: affected[age],
            population: f64::from(births[0][age]),
        })
        .collect();
    let per_100_000 = |form: RateInterval, low: f64, high: f64| {
        let rate = standardise(&strata, form, ci()).unwrap();
        is(rate.estimate.map(|v| v * 1e5), 92.304526);
        is(rate.conf_low.map(|v| v * 1e5), low);
        is(rate.conf_high.map(|v| v * 1e5), high);
    };
    per_100_000(RateInterval::FayFeuer, 80.441750, 105.763346);
    per_100_000(RateInterval::DobsonByar, 80.329221, 105.187209);
}

#[test]
fn standards_as_printed() {
    assert!((Standard::esp2013().total() - 100_000.0).abs() < 1e-9);
    assert!((Standard::who2000().total() - 100.035).abs() < 1e-9);
    assert!((Standard::esp2013().weight(40, Some(50)).unwrap() - 14_000.0).abs() < 1e-9);
    assert!((Standard::who2000().weight(85, None).unwrap() - 0.635).abs() < 1e-9);
    assert!(Standard::esp2013().weight(42, None).is_err());
}

#[test]
fn survey_api() {
    let strata = |text: &str| ["E", "H", "M"].iter().position(|s| *s == text).unwrap() as u32;
    let rows = data("apistrat", &["stype", "pw", "fpc", "api00"]);
    let rows: Vec<Sampled> = rows
        .iter()
        .enumerate()
        .map(|(i, r)| Sampled {
            value: r[3].parse().unwrap(),
            weight: r[1].parse().unwrap(),
            stratum: strata(&r[0]),
            cluster: i as u32,
            population: r[2].parse().unwrap(),
        })
        .collect();
    let mean = survey_mean(&rows, ci()).unwrap();
    is(mean.estimate, 662.287363);
    is(mean.std_error, 9.408941);
    let rows: Vec<Sampled> = numbers("apiclus1", &["dnum", "pw", "fpc", "api00"])
        .iter()
        .map(|r| Sampled { value: r[3], weight: r[1], stratum: 0, cluster: r[0] as u32, population: r[2] })
        .collect();
    let mean = survey_mean(&rows, ci()).unwrap();
    is(mean.estimate, 644.169399);
    is(mean.std_error, 23.542241);
}

#[test]
fn drift_of_five_bins() {
    let drift = drift(&[600, 150, 110, 90, 50], &[520, 170, 130, 110, 70]).unwrap();
    is(drift.psi, 0.028035);
    is(drift.ks, 0.08);
    is(drift.wasserstein, 0.2);
}

"""A random study of 400 simulated readings with the answers of scipy, scikit-learn and statsmodels.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install -r tests/peers/statistics/requirements.txt
    /tmp/peers/bin/python tests/peers/evaluate/cases.py --seed 1 > tests/peers/evaluate/cases.json
    cargo test --workspace --test evaluation

crates/learning/tests/evaluation.rs puts the same grades through `aortica evaluate`'s own code and compares to 1e-9 relative. cases.json as
checked in was made with seed 1.
"""

import argparse
import json
import platform

import numpy as np
import scipy
import sklearn
import statsmodels
import statsmodels.api as sm
from scipy import stats
from sklearn import metrics
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.proportion import proportion_confint

CUTS = [2, 6]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    random = np.random.default_rng(seed)
    n = 400
    burden = random.beta(0.6, 1.4, size=(n, 1))
    truth = random.binomial(3, np.clip(burden + random.normal(0, 0.1, size=(n, 8)), 0, 1))
    read = np.clip(truth + random.choice([-1, 0, 0, 0, 0, 1], size=(n, 8)), 0, 3)
    confidence = np.round(np.where(read == truth, random.beta(6, 2, size=(n, 8)), random.beta(3, 3, size=(n, 8))), 6)
    whole = np.round(confidence.min(axis=1), 6)
    # what a calibrated pipeline adds; drawn last, so that the numbers above stay
    exceeds = np.round(np.sort(np.clip((truth[..., None] - [0.5, 1.5, 2.5]) / 2 + random.normal(0.5, 0.3, (n, 8, 3)), 0, 1))[..., ::-1], 4)
    m = read.sum(axis=1)
    ends = np.stack([np.clip(m - random.integers(0, 4, n), 0, 24), np.clip(m + random.integers(0, 4, n), 0, 24)], axis=1)
    doubt = np.round(random.beta(1, 4, n) + 0.2 * (np.digitize(m, CUTS) != np.digitize(truth.sum(axis=1), CUTS)), 4).clip(0, 1)
    case = {
        "made_by": {"seed": seed, "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
                    "sklearn": sklearn.__version__, "statsmodels": statsmodels.__version__},
        "truth": truth.tolist(), "read": read.tolist(), "confidence": confidence.tolist(), "image_confidence": whole.tolist(),
        "flagged": (whole < 0.4).tolist(),
        "exceeds": exceeds.tolist(), "interval": ends.tolist(), "doubt": doubt.tolist(),
        "expected": expected(truth, read, confidence, whole),
        "calibrated": calibrated(truth, read, exceeds, ends, doubt),
    }
    print(json.dumps(case))


def expected(truth, read, confidence, whole):
    t, m = truth.sum(axis=1), read.sum(axis=1)
    d = m - t
    n = len(t)
    signed = stats.wilcoxon(d, zero_method="wilcox", correction=True, method="approx")
    categories = [np.digitize(v, CUTS) for v in (t, m)]
    right = int((categories[0] == categories[1]).sum())
    low, high = proportion_confint(right, n, method="wilson")
    slope = (t * m).sum() / (m * m).sum()
    sst = ((t - t.mean()) ** 2).sum()
    half = stats.t.ppf(0.975, n - 1)
    result = {
        "n": n,
        "bias": d.mean(), "bias_low": d.mean() - half * stats.sem(d), "bias_high": d.mean() + half * stats.sem(d),
        "sd": d.std(ddof=1),
        "lower_limit": d.mean() - 1.96 * d.std(ddof=1), "upper_limit": d.mean() + 1.96 * d.std(ddof=1),
        "mae": metrics.mean_absolute_error(t, m), "rmse": metrics.root_mean_squared_error(t, m),
        "r2_identity": metrics.r2_score(t, m),
        "r2_ols": sm.OLS(t, sm.add_constant(m)).fit().rsquared,
        "r2_origin_uncentred": sm.OLS(t, m).fit().rsquared,
        "r2_origin_centred": 1 - ((t - slope * m) ** 2).sum() / sst,
        "pearson": stats.pearsonr(t, m).statistic, "spearman": stats.spearmanr(t, m).statistic,
        "concordance": 2 * np.cov(t, m, ddof=0)[0, 1] / (t.var() + m.var() + (t.mean() - m.mean()) ** 2),
        **icc(t, m),
        "kappa_linear": metrics.cohen_kappa_score(t, m, labels=range(25), weights="linear"),
        "kappa_quadratic": metrics.cohen_kappa_score(t, m, labels=range(25), weights="quadratic"),
        "confusion": metrics.confusion_matrix(*categories, labels=range(3)).tolist(),
        "accuracy": metrics.accuracy_score(*categories), "accuracy_low": low, "accuracy_high": high,
        "category_kappa_linear": metrics.cohen_kappa_score(*categories, weights="linear"),
        "category_kappa_quadratic": metrics.cohen_kappa_score(*categories, weights="quadratic"),
        "sensitivity": metrics.recall_score(*categories, average=None).tolist(),
        "ppv": metrics.precision_score(*categories, average=None).tolist(),
        "zero_given_zero": (m[t == 0] == 0).mean(),
        "prevalence_reference": (t > 0).mean(), "prevalence_model": (m > 0).mean(),
        # scipy prints the smaller rank sum, V is that of positive differences
        "wilcoxon_v": stats.rankdata(np.abs(d[d != 0]))[d[d != 0] > 0].sum(), "wilcoxon_p": signed.pvalue,
        "segment_same": (truth == read).mean(),
        "segment_kappa_quadratic": metrics.cohen_kappa_score(truth.ravel(), read.ravel(), weights="quadratic"),
        "by_segment": (truth == read).mean(axis=0).tolist(),
        "by_level": (truth == read).reshape(n, 4, 2).mean(axis=(0, 2)).tolist(),
        "by_wall": (truth == read).reshape(n, 4, 2).mean(axis=(0, 1)).tolist(),
        "ece": ece(truth == read, confidence),
        "abstention": abstention(np.abs(d), np.abs(categories[0] - categories[1]), whole),
    }
    flagged, apart = whole < 0.4, np.abs(categories[0] - categories[1])
    result["flagged"] = flagged.mean()
    result["category_errors_found"] = flagged[apart > 0].mean()
    return {key: value if isinstance(value, list) else float(value) for key, value in result.items()}


def icc(t, m):
    """From the two-way analysis of variance of statsmodels."""
    import pandas as pd
    n = len(t)
    long = pd.DataFrame({"score": np.concatenate([t, m]).astype(float), "image": np.tile(np.arange(n), 2), "rater": np.repeat(["t", "m"], n)})
    # subjects as dummies are 400 columns: sums of squares of a balanced design are those of its means
    raters = anova_lm(sm.OLS.from_formula("score ~ rater", long).fit())
    rows = 2 * ((long.groupby("image").score.mean() - long.score.mean()) ** 2).sum()
    columns = raters.loc["rater", "sum_sq"]
    error = ((long.score - long.score.mean()) ** 2).sum() - rows - columns
    r, c, e = rows / (n - 1), columns, error / (n - 1)
    return {"icc_2_1": (r - e) / (r + e + 2 * (c - e) / n), "icc_3_1": (r - e) / (r + e)}


def ece(right, confidence):
    bins = np.minimum((confidence * 10).astype(int), 9).ravel()
    right, confidence = right.ravel(), confidence.ravel()
    return sum(abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any())


def calibrated(truth, read, exceeds, ends, doubt):
    t, m = truth.sum(axis=1), read.sum(axis=1)
    covered, width = (ends[:, 0] <= t) & (t <= ends[:, 1]), ends[:, 1] - ends[:, 0]
    bands = [(t >= low) & (t <= high) for low, high in [(0, 24), (0, 0), (1, 1), (2, 5), (6, 11), (12, 24)]]
    apart = np.abs(np.digitize(t, CUTS) - np.digitize(m, CUTS))
    fifth = np.zeros(len(t), bool)
    fifth[np.argsort(-doubt, kind="stable")[:-(-len(t) * 20 // 100)]] = True
    return {
        "exceeds_ece": [float(ece(truth > k, exceeds[..., k])) for k in range(3)],
        "coverage": [[float(covered[band].mean()), float(width[band].mean())] for band in bands],
        "abstention": abstention(np.abs(m - t), apart, 1 - doubt),
        "fifth": [float(fifth.mean()), float(fifth[apart > 0].mean())],
    }


def abstention(difference, apart, whole):
    order = np.argsort(whole, kind="stable")
    found = []
    for percent in [0, 5, 10, 20, 30, 40, 50]:
        left = order[-(-len(order) * percent // 100):]
        found.append([float((apart[left] == 0).mean()), float(difference[left].mean())])
    return found


if __name__ == "__main__":
    main()

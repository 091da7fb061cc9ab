"""Random cases of the statistics with the answers of scipy, statsmodels, lifelines and scikit-learn.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install -r tests/peers/statistics/requirements.txt
    /tmp/peers/bin/python tests/peers/statistics/cases.py --seed 1 > tests/peers/statistics/cases.json
    cargo test --workspace --test peers

cases.json as checked in was made with seed 1; crates/statistics/tests/peers.rs compares to 1e-9 relative. With another seed the
same test runs on other cases. What no library offers is counted out by brute force here (DeLong, concordance, Jonckheere-Terpstra).
"""

import argparse
import fractions
import itertools
import json
import platform
import sys

import lifelines
import numpy as np
import pandas as pd
import scipy
import sklearn
import statsmodels
from lifelines.statistics import multivariate_logrank_test
from scipy import ndimage, stats
from sklearn import metrics
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.stats.contingency_tables import SquareTable, Table, mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint


def plain(value):
    """JSON has no NaN: what is not defined is null."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    value = float(value)
    return value if np.isfinite(value) else None


def distributions(rng):
    tails = [1e-8, 1e-4, 0.005, 0.025, 0.1, 0.5, 0.9, 0.975, 0.995, 1 - 1e-6]
    rows = []
    for p in tails:
        rows.append(["normal_quantile", [p], stats.norm.ppf(p)])
        for df in [1, 2, 3.5, 17, 250.25, 9999, 10001, 1e6, 1e8]:
            rows.append(["t_quantile", [p, df], stats.t.ppf(p, df)])
        for df in [1, 2, 5, 30, 1000]:
            rows.append(["chi2_quantile", [p, df], stats.chi2.ppf(p, df)])
        for a, b in [(1, 20), (0.5, 3), (81, 183), (5e3, 2e4), (3e5, 7e5)]:
            rows.append(["beta_quantile", [p, a, b], stats.beta.ppf(p, a, b)])
        for a, b in [(5, 15.3), (19, 39.7), (299, 12.5), (1e5, 9e4)]:
            rows.append(["f_quantile", [p, a, b], stats.f.ppf(p, a, b)])
        for a in [0.5, 3, 60.7, 2e4]:
            rows.append(["gamma_quantile", [p, a], stats.gamma.ppf(p, a)])
    for z in [0, 0.3, 1.96, 5, 9]:
        rows.append(["normal_sf", [z], stats.norm.sf(z)])
        rows.append(["t_sf", [z, 7.5], stats.t.sf(z, 7.5)])
        rows.append(["chi2_sf", [z, 3], stats.chi2.sf(z, 3)])
        rows.append(["f_sf", [z, 4, 11.5], stats.f.sf(z, 4, 11.5)])
    for k, n, p in [(0, 9, 0.2), (3, 9, 0.2), (40, 100, 0.5), (700, 2000, 0.35)]:
        rows.append(["binomial_cdf", [k, n, p], stats.binom.cdf(k, n, p)])
    return {"rows": rows}


def icc(y):
    """Single ratings, after McGraw and Wong 1996, from the two-way analysis of variance of statsmodels."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    n, k = y.shape
    long = pd.DataFrame({"y": y.ravel(), "s": np.repeat(np.arange(n), k), "r": np.tile(np.arange(k), n)})
    table = anova_lm(ols("y ~ C(s) + C(r)", long).fit())
    msr, msc, mse = table["mean_sq"]["C(s)"], table["mean_sq"]["C(r)"], table["mean_sq"]["Residual"]
    i31 = (msr - mse) / (msr + (k - 1) * mse)
    df2 = (n - 1) * (k - 1)
    fl = msr / mse / stats.f.ppf(0.975, n - 1, df2)
    fu = msr / mse * stats.f.ppf(0.975, df2, n - 1)
    i21 = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    a = k * i21 / (n * (1 - i21))
    b = 1 + k * i21 * (n - 1) / (n * (1 - i21))
    v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / df2)
    f1, f2 = stats.f.ppf(0.975, n - 1, v), stats.f.ppf(0.975, v, n - 1)
    low = n * (msr - f1 * mse) / (f1 * (k * msc + (k * n - k - n) * mse) + n * msr)
    high = n * (f2 * msr - mse) / (k * msc + (k * n - k - n) * mse + n * f2 * msr)
    return [i21, low, high], [i31, (fl - 1) / (fl + k - 1), (fu - 1) / (fu + k - 1)]


def scores(rng, n):
    """Integer scores with many zeros, a model that strays from them."""
    reference = np.where(rng.random(n) < 0.3, 0, rng.integers(0, 25, n))
    model = np.clip(reference + rng.integers(-3, 4, n), 0, 24)
    return reference, model


def pairs(rng, n, integer):
    if integer:
        x, y = scores(rng, n)
    else:
        x = rng.normal(10, 4, n)
        y = x + rng.normal(0.7, 2, n)
    x, y = x.astype(float), y.astype(float)
    d = y - x
    r = stats.pearsonr(x, y)
    ci = r.confidence_interval()
    bias = stats.t.interval(0.95, n - 1, d.mean(), stats.sem(d))
    v = ((x - x.mean()) ** 2).mean(), ((y - y.mean()) ** 2).mean(), ((x - x.mean()) * (y - y.mean())).mean()
    fit = statsmodels.api.OLS(x, y).fit()
    i21, i31 = icc(np.column_stack([x, y]))
    w = stats.wilcoxon(d, zero_method="wilcox", correction=True, method="approx")
    sd_limits = np.sqrt((n - 1) * d.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], n - 1))
    walsh = [(d[i] + d[j]) / 2 for i in range(n) for j in range(i, n)] if n <= 200 else [np.nan]
    expected = {
        "pearson": [r.statistic, ci.low, ci.high],
        "spearman": stats.spearmanr(x, y).statistic,
        "ccc": 2 * v[2] / (v[0] + v[1] + (x.mean() - y.mean()) ** 2),
        "bias": [d.mean(), *bias],
        "sd": [d.std(ddof=1), *sd_limits],
        "mae": metrics.mean_absolute_error(x, y),
        "rmse": metrics.root_mean_squared_error(x, y),
        "r2_identity": metrics.r2_score(x, y),
        "r2_ols": stats.linregress(y, x).rvalue ** 2,
        "r2_origin_uncentred": fit.rsquared,
        "r2_origin_centred": metrics.r2_score(x, fit.fittedvalues),
        "icc_2_1": i21,
        "icc_3_1": i31,
        "wilcoxon_p": w.pvalue,
        "hodges_lehmann": np.median(walsh),
    }
    if integer:
        table = np.zeros((25, 25))
        np.add.at(table, (x.astype(int), y.astype(int)), 1)
        for name, weights in [("kappa", None), ("kappa_linear", "linear"), ("kappa_quadratic", "quadratic")]:
            k = cohens_kappa(table, weights=None if weights is None else np.arange(25), wt=weights)
            expected[name] = [k.kappa, k.std_kappa]
    return {"reference": x, "model": y, "integer": integer, "expected": expected}


def signed_rank_exact(rng, n):
    d = rng.normal(0.4, 1, n)
    w = stats.wilcoxon(d, method="exact")
    return {"differences": d, "p": w.pvalue}


def proportions(rng):
    n = int(rng.integers(1, 3000))
    count = int(rng.integers(0, n + 1))
    return {
        "count": count,
        "n": n,
        "wilson": proportion_confint(count, n, method="wilson"),
        "clopper_pearson": proportion_confint(count, n, method="beta"),
    }


def delong(outcome, a, b):
    def components(s):
        case, control = s[outcome][:, None], s[~outcome][None, :]
        psi = (case > control) + 0.5 * (case == control)
        return psi.mean(1), psi.mean(0)

    (a10, a01), (b10, b01) = components(a), components(b)
    m, n = len(a10), len(a01)
    var_a = a10.var(ddof=1) / m + a01.var(ddof=1) / n
    var_d = (a10 - b10).var(ddof=1) / m + (a01 - b01).var(ddof=1) / n
    return np.sqrt(var_a), (a10.mean() - b10.mean()) / np.sqrt(var_d)


def roc(rng, n):
    outcome = rng.random(n) < 0.3
    a = np.round(rng.normal(0, 2, n) + 2 * outcome).astype(float)
    b = rng.normal(0, 1, n) + outcome
    error, z = delong(outcome, a, b)
    return {
        "outcome": outcome,
        "first": a,
        "second": b,
        "auc": metrics.roc_auc_score(outcome, a),
        "std_error": error,
        "z": z,
        "p": 2 * stats.norm.sf(abs(z)),
    }


def quantiles(rng, n):
    values = np.floor(rng.gamma(1, 5, n)).clip(0, 24)
    rows = []
    for p in [0.1, 0.25, 0.5, 0.75, 0.9]:
        # scipy's interval is of the order statistic, ours of type 7: limits only
        test = stats.quantile_test(values, q=0, p=p)
        ci = test.confidence_interval(0.95)
        rows.append({"p": p, "estimate": np.quantile(values, p), "low": ci.low, "high": ci.high})
    return {"values": values, "rows": rows}


def square(rng, k):
    table = rng.integers(1, 40, (k, k)) + np.diag(rng.integers(20, 90, k))
    square = SquareTable(table, shift_zeros=False)
    symmetry, margins = square.symmetry(), square.homogeneity()
    return {
        "k": k,
        "counts": table.ravel(),
        "bowker": [symmetry.statistic, symmetry.df, symmetry.pvalue],
        "stuart_maxwell": [margins.statistic, margins.df, margins.pvalue],
        "kappa": [cohens_kappa(table).kappa, cohens_kappa(table).std_kappa],
    }


def discordant(rng):
    b, c = (int(v) for v in rng.integers(0, 60, 2))
    table = [[50, b], [c + 1, 70]]
    run = lambda **k: mcnemar(table, **k)
    return {
        "b": b,
        "c": c + 1,
        "chi2": run(exact=False, correction=False).statistic,
        "corrected_p": run(exact=False, correction=True).pvalue if abs(b - c - 1) >= 1 else 1.0,
        "exact_p": run(exact=True).pvalue,
    }


def armitage(rng, k):
    total = rng.integers(20, 90, k)
    cases = rng.binomial(total, np.linspace(0.2, 0.5, k))
    table = Table(np.column_stack([cases, total - cases]), shift_zeros=False)
    linear = table.test_ordinal_association(row_scores=np.arange(k), col_scores=np.array([1, 0]))
    # linear by linear has the conditional variance, n / (n - 1) times ours
    n = total.sum()
    return {"cases": cases, "total": total, "chi2": linear.zscore**2 * n / (n - 1)}


def survival(rng, n, ties):
    time = rng.exponential(10, n) + 0.1
    if ties:
        time = np.ceil(time / 2)
    event = rng.random(n) < 0.7
    group = rng.integers(0, 3, n)
    x = np.column_stack([rng.normal(0, 1, n), group == 1, rng.normal(50, 9, n)])
    km = lifelines.KaplanMeierFitter().fit(time, event)
    at = float(np.quantile(time, 0.4))
    band = km.confidence_interval_survival_function_
    row = band[band.index <= at].iloc[-1]
    rank = multivariate_logrank_test(time, group, event)
    fits = {}
    for method in ["efron", "breslow"]:
        model = PHReg(time, x, status=event.astype(float), ties=method)
        fit = model.fit(disp=0, gtol=1e-12)
        # Newton's last steps, for all digits
        beta = fit.params
        for _ in range(4):
            beta = beta - np.linalg.solve(model.hessian(beta), model.score(beta))
        fits[method] = [beta, np.sqrt(np.diag(np.linalg.inv(-model.hessian(beta)))), model.loglike(beta)]
    risk = x @ fits["efron"][0]
    earlier = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~event[None, :])
    comparable = event[:, None] & earlier
    won = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return {
        "time": time,
        "event": event,
        "group": group,
        "x": x,
        "at": at,
        "survival": [km.predict(at), *row.values],
        "log_rank": [rank.test_statistic, rank.p_value],
        "efron": fits["efron"],
        "breslow": fits["breslow"],
        "c_index": (won * comparable).sum() / comparable.sum(),
    }


def drifted(rng):
    a, b = (rng.multinomial(400, rng.dirichlet(np.ones(25) * 3)) + 1 for _ in range(2))
    p, q = a / a.sum(), b / b.sum()
    levels = np.arange(25)
    return {
        "reference": a,
        "current": b,
        "psi": ((q - p) * np.log(q / p)).sum(),
        "ks": stats.ks_2samp(np.repeat(levels, a), np.repeat(levels, b)).statistic,
        "wasserstein": stats.wasserstein_distance(levels, levels, a, b),
    }


def masks(rng, height, width):
    def blob():
        noise = ndimage.gaussian_filter(rng.normal(0, 1, (height, width)), 3)
        return noise > np.quantile(noise, 0.8)

    a, b = blob(), blob()
    spacing = (0.4, 0.25)
    cross = ndimage.generate_binary_structure(2, 1)
    edge = lambda m: m & ~ndimage.binary_erosion(m, cross, border_value=0)
    ea, eb = edge(a), edge(b)
    ab = ndimage.distance_transform_edt(~eb, sampling=spacing)[ea]
    ba = ndimage.distance_transform_edt(~ea, sampling=spacing)[eb]
    return {
        "height": height,
        "width": width,
        "row_mm": spacing[0],
        "column_mm": spacing[1],
        "reference": np.flatnonzero(a),
        "model": np.flatnonzero(b),
        "dice": metrics.f1_score(a.ravel(), b.ravel()),
        "jaccard": metrics.jaccard_score(a.ravel(), b.ravel()),
        "accuracy": metrics.accuracy_score(a.ravel(), b.ravel()),
        "hd95_mm": max(np.percentile(ab, 95), np.percentile(ba, 95)),
        "assd_mm": (ab.sum() + ba.sum()) / (len(ab) + len(ba)),
    }


def smd(rng):
    a, b = rng.integers(3, 60, 4), rng.integers(3, 60, 4)
    p, q = (a / a.sum())[1:], (b / b.sum())[1:]
    s = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    return {"a": a, "b": b, "smd": np.sqrt((q - p) @ np.linalg.inv(s) @ (q - p))}


def standardised(rng):
    """Directly standardised rates: weighted mean, with Fay and Feuer's, Dobson's and the binomial interval."""
    k = int(rng.integers(3, 9))
    persons = rng.integers(40, 900, k)
    events = np.maximum(rng.binomial(persons, rng.uniform(0.05, 0.7, k)), 4)
    weights = rng.uniform(0.5, 9, k)
    w = weights / weights.sum() / persons
    rate, variance = (w * events).sum(), (w**2 * events).sum()
    # Fay & Feuer 1997, as epitools' ageadjust.direct has it
    largest = w.max()
    low = stats.gamma.ppf(0.025, rate**2 / variance, scale=variance / rate)
    high = stats.gamma.ppf(0.975, (rate + largest) ** 2 / (variance + largest**2), scale=(variance + largest**2) / (rate + largest))
    # Byar's limits of the number of events, carried over to the rate (Dobson et al. 1991)
    total, z = events.sum(), stats.norm.ppf(0.975)
    byar = [total * (1 - 1 / (9 * total) - z / (3 * np.sqrt(total))) ** 3, (total + 1) * (1 - 1 / (9 * (total + 1)) + z / (3 * np.sqrt(total + 1))) ** 3]
    p = events / persons
    error = np.sqrt(((weights / weights.sum()) ** 2 * p * (1 - p) / persons).sum())
    return {
        "weights": weights,
        "events": events,
        "persons": persons,
        "fay_feuer": [rate, low, high],
        "dobson_byar": [rate, *(rate + np.sqrt(variance / total) * (np.array(byar) - total))],
        "binomial": [rate, rate - z * error, rate + z * error],
    }


def jonckheere(rng, k):
    """The statistic from scipy's Mann-Whitney; its mean and variance over every way to give the values to the groups."""
    sizes = rng.integers(2, 4, k)
    groups = [np.sort(rng.integers(0, 5, size)) for size in sizes]
    values, label = np.concatenate(groups), np.repeat(np.arange(k), sizes)
    won = (values[:, None] < values[None, :]) + 0.5 * (values[:, None] == values[None, :])
    orders = [np.array(order) for order in set(itertools.permutations(label.tolist()))]
    all_of_them = np.array([(won * (order[:, None] < order[None, :])).sum() for order in orders])
    seen = sum(stats.mannwhitneyu(groups[j], groups[i]).statistic for i in range(k) for j in range(i + 1, k))
    z = (seen - all_of_them.mean()) / all_of_them.std() if all_of_them.std() > 1e-9 else np.nan
    return {"groups": [g.tolist() for g in groups], "z": z, "p": 2 * stats.norm.sf(abs(z))}


def limits(rng, n):
    """Limits of agreement with the intervals of Bland and Altman 1999, section 2.1."""
    x = rng.normal(10, 4, n)
    y = x + rng.normal(0.7, 2, n)
    d = y - x
    sd, t = d.std(ddof=1), stats.t.ppf(0.975, n - 1)
    half = t * sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    lower, upper = d.mean() - 1.96 * sd, d.mean() + 1.96 * sd
    return {"reference": x, "model": y, "lower": [lower, lower - half, lower + half], "upper": [upper, upper - half, upper + half]}


def median_survival(rng, n):
    """lifelines: the first time with S <= 1/2, and where the limits of the curve come there. Times differ, so that nothing lies flat at 1/2."""
    time = rng.exponential(10, n) + 0.1
    event = rng.random(n) < 0.7
    km = lifelines.KaplanMeierFitter().fit(time, event)
    band = lifelines.utils.median_survival_times(km.confidence_interval_)
    return {"time": time, "event": event, "median": [km.median_survival_time_, band.iloc[0, 0], band.iloc[0, 1]]}


def moments(rng, n):
    """Numbers of very different sizes; mean and variance of fractions, without rounding."""
    values = rng.normal(0, 1, n) * 10.0 ** rng.integers(-12, 12, n)
    exact = [fractions.Fraction(float(v)) for v in values]
    mean = sum(exact) / n
    variance = sum((v - mean) ** 2 for v in exact) / (n - 1)
    return {"values": values, "mean": float(mean), "variance": float(variance)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    rng = np.random.default_rng(parser.parse_args().seed)
    cases = {
        "distributions": [distributions(rng)],
        "pairs": [pairs(rng, n, integer) for n in (5, 12, 60, 200) for integer in (True, False)],
        "signed_rank_exact": [signed_rank_exact(rng, n) for n in (4, 9, 25, 40)],
        "proportions": [proportions(rng) for _ in range(20)],
        "roc": [roc(rng, n) for n in (20, 80, 200)],
        "quantiles": [quantiles(rng, n) for n in (8, 50, 300)],
        "square": [square(rng, k) for k in (2, 3, 4, 6)],
        "discordant": [discordant(rng) for _ in range(10)],
        "armitage": [armitage(rng, k) for k in (2, 4, 7)],
        "survival": [survival(rng, n, ties) for n in (40, 120) for ties in (False, True)],
        "drift": [drifted(rng) for _ in range(3)],
        "masks": [masks(rng, 24, 30), masks(rng, 40, 17)],
        "smd": [smd(rng) for _ in range(5)],
        "standardised": [standardised(rng) for _ in range(8)],
        "jonckheere": [jonckheere(rng, k) for k in (2, 3, 3, 3)],
        "limits": [limits(rng, n) for n in (5, 30, 400)],
        "median_survival": [median_survival(rng, n) for n in (41, 81, 201)],
        "moments": [moments(rng, n) for n in (2, 3, 50, 500)],
    }
    versions = {m.__name__: m.__version__ for m in (np, pd, scipy, statsmodels, lifelines, sklearn)}
    json.dump({"versions": {"python": platform.python_version(), **versions}, "cases": plain(cases)}, sys.stdout)
    print()


if __name__ == "__main__":
    import statsmodels.api  # noqa: F401  (makes statsmodels.api an attribute)

    main()

"""What a calibration of readings is made of, by scikit-learn and scipy: weights, distributions of totals, intervals.

    python tests/peers/evaluate/certainty.py --seed 1 > tests/peers/evaluate/certainty.json

(the environment of cases.py). crates/scoring/src/certainty_tests.rs and crates/learning/src/calibration_tests.rs compare. certainty.json as
checked in was made with seed 1.
"""

import argparse
import json
import platform

import numpy as np
import scipy
import sklearn
from scipy import integrate, special, stats
from sklearn.linear_model import LogisticRegression


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    random = np.random.default_rng(seed)
    print(json.dumps({
        "made_by": {"seed": seed, "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
                    "sklearn": sklearn.__version__},
        "regression": regression(random),
        "totals": [totals(random, shared_sd) for shared_sd in [0.0, 0.0, 0.6, 1.3, 2.0]],
    }))


def regression(random):
    """Shares at falling thresholds and a peak, 400 segments."""
    n = 400
    peak = random.beta(0.4, 0.8, n).round(4)
    shares = np.sort(random.uniform(0, 1, (n, 5)) * peak[:, None], axis=1)[:, ::-1].round(4)
    above = random.uniform(size=n) < special.expit(6 * shares[:, 2] + 3 * peak - 3)
    pairs = np.stack([shares, np.sqrt(shares)], axis=2).reshape(n, 10)
    x = np.column_stack([pairs, np.log((peak + 1e-3) / (1 - peak + 1e-3))])
    mean, sd = x.mean(axis=0), x.std(axis=0)
    fit = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit((x - mean) / sd, above)
    slopes = fit.coef_[0] / sd
    weights = [fit.intercept_[0] - slopes @ mean, *slopes]
    return {"shares": shares.tolist(), "peak": peak.tolist(), "above": above.tolist(), "weights": weights,
            "probabilities": fit.predict_proba((x - mean) / sd)[:, 1].tolist()}


def totals(random, shared_sd):
    exceeds = np.sort(random.beta(0.5, 1.5, (8, 3)), axis=1)[:, ::-1].round(4)
    steeper = np.sqrt(1 + (shared_sd / 1.7) ** 2)

    def distribution(effect):
        above = special.expit(steeper * special.logit(exceeds) + effect)
        result = np.ones(1)
        for a, b, c in above:
            result = np.convolve(result, [1 - a, a - b, b - c, c])
        return result

    if shared_sd == 0:
        expected = distribution(0)
    else:
        density = lambda effect: distribution(effect) * stats.norm.pdf(effect, scale=shared_sd)
        expected = integrate.quad_vec(density, -9 * shared_sd, 9 * shared_sd, epsabs=1e-12)[0]
    # the nested intervals by their definition, of the distribution as it is here
    read = int(expected.argmax() + random.integers(0, 2))
    runs, low, high = [(read, read)], read, read
    while high - low < 24:
        below = expected[low - 1] if low > 0 else -1.0
        above = expected[high + 1] if high < 24 else -1.0
        low, high = (low - 1, high) if below > above else (low, high + 1)
        runs.append((low, high))
    held = [0.0] + [float(expected[a:b + 1].sum()) for a, b in runs[:-1]]
    masses = [0.0, 0.5, 0.9, 0.97]
    return {"shared_sd": shared_sd, "exceeds": exceeds.tolist(), "expected": expected.tolist(), "read": read,
            "low_moderate_high": [float(expected[:2].sum()), float(expected[2:6].sum()), float(expected[6:].sum())],
            "masses": masses, "intervals": [[run for run, h in zip(runs, held) if h <= mass][-1] for mass in masses]}


if __name__ == "__main__":
    main()

//! Correlation, concordance, and the four quantities that papers call R2.

use crate::estimate::{Confidence, Estimate};
use crate::pairs::{Pair, PairMoments, Pairs, mid_ranks, tally};
use serde::Serialize;

fn correlation_of(m: &PairMoments) -> Option<f64> {
    let spread = m.s_reference * m.s_model;
    (m.n >= 2.0 && m.s_reference > 0.0 && m.s_model > 0.0).then(|| (m.s_cross / spread.sqrt()).clamp(-1.0, 1.0))
}

/// tanh(atanh(r) ± z se): the interval on Fisher's scale; none where r is ±1.
fn on_fisher_scale(estimate: Estimate, se_z: f64, confidence: Confidence) -> Estimate {
    let r = estimate.estimate.unwrap_or(f64::NAN);
    let half = confidence.z() * se_z;
    estimate.with_error(se_z * (1.0 - r * r)).with_limits((r.atanh() - half).tanh(), (r.atanh() + half).tanh())
}

/// Pearson's r, interval by Fisher's z with standard error 1 / sqrt(n - 3).
pub fn pearson(pairs: &Pairs, confidence: Confidence) -> Estimate {
    const METHOD: &str = "pearson, fisher";
    let Some(r) = pairs.moments().as_ref().and_then(correlation_of) else {
        return Estimate::missing(pairs.n(), confidence, METHOD);
    };
    let se = 1.0 / (pairs.n() as f64 - 3.0).sqrt();
    on_fisher_scale(Estimate::point(pairs.n(), confidence, METHOD, r), se, confidence)
}

/// Spearman's rho on mid-ranks, interval by Fisher's z with standard error sqrt((1 + rho^2 / 2) / (n - 3)) (Bonett & Wright 2000).
pub fn spearman(pairs: &Pairs, confidence: Confidence) -> Estimate {
    const METHOD: &str = "spearman, bonett-wright";
    let missing = || Estimate::missing(pairs.n(), confidence, METHOD);
    let Some(rho) = ranked(pairs).moments().as_ref().and_then(correlation_of) else { return missing() };
    let se = ((1.0 + rho * rho / 2.0) / (pairs.n() as f64 - 3.0)).sqrt();
    on_fisher_scale(Estimate::point(pairs.n(), confidence, METHOD, rho), se, confidence)
}

/// Both scores replaced by their mid-ranks.
fn ranked(pairs: &Pairs) -> Pairs {
    let side = |score: fn(&Pair) -> f64| {
        let tallied = tally(pairs.iter().map(|p| (score(p), p.count)));
        let ranks = mid_ranks(&tallied);
        move |p: &Pair| {
            let place = tallied.partition_point(|(value, _)| *value < score(p));
            ranks[place]
        }
    };
    let (reference, model) = (side(|p| p.reference), side(|p| p.model));
    pairs.iter().map(|p| Pair { reference: reference(p), model: model(p), count: p.count }).collect()
}

/// Lin's concordance correlation with variances of divisor n, interval on Fisher's scale (Lin, Biometrics 1989;45:255 with the
/// correction of 2000;56:324).
pub fn concordance(pairs: &Pairs, confidence: Confidence) -> Estimate {
    const METHOD: &str = "lin ccc, fisher";
    let defined = pairs.moments().and_then(|m| correlation_of(&m).map(|r| (m, r)));
    let Some((m, r)) = defined else { return Estimate::missing(pairs.n(), confidence, METHOD) };
    let (var_r, var_m, cov) = (m.s_reference / m.n, m.s_model / m.n, m.s_cross / m.n);
    let shift = m.mean_model - m.mean_reference;
    let ccc = 2.0 * cov / (var_r + var_m + shift * shift);
    let point = Estimate::point(pairs.n(), confidence, METHOD, ccc);
    if r == 0.0 {
        return point;
    }
    let u2 = shift * shift / (var_r * var_m).sqrt();
    let (c2, r2) = (ccc * ccc, r * r);
    let variance = ((1.0 - r2) * c2 / ((1.0 - c2) * r2)
        + 2.0 * ccc.powi(3) * (1.0 - ccc) * u2 / (r * (1.0 - c2).powi(2))
        - ccc.powi(4) * u2 * u2 / (2.0 * r2 * (1.0 - c2).powi(2)))
        / (m.n - 2.0);
    on_fisher_scale(point, variance.sqrt(), confidence)
}

/// Reference (y) explained by model (x): the same word for four numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RSquared {
    /// Least squares with intercept: the square of Pearson's r; interval from Fisher's, none across 0.
    pub ols: Estimate,
    /// Line through the origin: 1 - SSE / sum (y - mean)^2. May be negative.
    pub origin_centred: Estimate,
    /// Line through the origin: 1 - SSE / sum y^2.
    pub origin_uncentred: Estimate,
    /// Identity line: 1 - sum (y - x)^2 / sum (y - mean)^2. May be negative.
    pub identity: Estimate,
}

/// Kvalseth, American Statistician 1985;39:279.
pub fn r_squared(pairs: &Pairs, confidence: Confidence) -> RSquared {
    let n = pairs.n();
    let r = pearson(pairs, confidence);
    let squared = |v: Option<f64>| v.map_or(f64::NAN, |v| v * v);
    let ols = Estimate::point(n, confidence, "r2 least squares, fisher", squared(r.estimate));
    let ols = match (r.conf_low, r.conf_high) {
        (Some(low), Some(high)) if low > 0.0 => ols.with_limits(low * low, high * high),
        (Some(low), Some(high)) if high < 0.0 => ols.with_limits(high * high, low * low),
        _ => ols,
    };
    let origin = through_origin(pairs, confidence);
    let identity = pairs
        .moments()
        .filter(|m| m.n >= 2.0 && m.s_reference > 0.0)
        .map_or(f64::NAN, |m| 1.0 - pairs.sum(|p| p.difference().powi(2)) / m.s_reference);
    RSquared {
        ols,
        origin_centred: origin.r2_centred,
        origin_uncentred: origin.r2_uncentred,
        identity: Estimate::point(n, confidence, "r2 identity line", identity),
    }
}

/// reference = b · model, without intercept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThroughOrigin {
    pub slope: Estimate,
    pub r2_centred: Estimate,
    pub r2_uncentred: Estimate,
}

pub fn through_origin(pairs: &Pairs, confidence: Confidence) -> ThroughOrigin {
    let n = pairs.n();
    let (xx, xy, yy) = (
        pairs.sum(|p| p.model * p.model),
        pairs.sum(|p| p.model * p.reference),
        pairs.sum(|p| p.reference * p.reference),
    );
    let slope = xy / xx;
    let sse = pairs.sum(|p| (p.reference - slope * p.model).powi(2));
    let df = n as f64 - 1.0;
    // A single pair or a reference without variance explains nothing.
    let centred = pairs.moments().filter(|m| df >= 1.0 && m.s_reference > 0.0).map(|m| 1.0 - sse / m.s_reference);
    let uncentred = if df >= 1.0 && yy > 0.0 { 1.0 - sse / yy } else { f64::NAN };
    ThroughOrigin {
        slope: Estimate::point(n, confidence, "slope through origin, t", slope)
            .with_symmetric((sse / df / xx).sqrt(), confidence.t(df)),
        r2_centred: Estimate::point(n, confidence, "r2 through origin, centred", centred.unwrap_or(f64::NAN)),
        r2_uncentred: Estimate::point(n, confidence, "r2 through origin, uncentred", uncentred),
    }
}

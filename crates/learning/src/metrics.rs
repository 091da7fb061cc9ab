//! Measures of agreement of two lists of numbers. Each is `None` where it is not defined.

/// Ranks from 1, ties sharing the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        let mean = (start + 1 + end) as f64 / 2.0;
        order[start..end].iter().for_each(|&i| ranks[i] = mean);
        start = end;
    }
    ranks
}

/// Mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Median; the mean of the middle two of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// Pearson's correlation; `None` for fewer than 2 pairs or a list without variance.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    if pairs.len() < 2 {
        return None;
    }
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut sxy, mut sxx, mut syy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        sxy += (x - mx) * (y - my);
        sxx += (x - mx).powi(2);
        syy += (y - my).powi(2);
    }
    (sxx > 0.0 && syy > 0.0).then(|| (sxy / (sxx * syy).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation, ties by mean ranks.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ranked: Vec<(f64, f64)> = ranks(&x).into_iter().zip(ranks(&y)).collect();
    pearson(&ranked)
}

/// R2 about the identity line: 1 - sum (y - x)^2 / sum (y - mean y)^2, pairs being (predicted x, true y). May be negative.
/// One of four quantities that papers call R2 (science.md, section 2).
pub fn r2_identity(pairs: &[(f64, f64)]) -> Option<f64> {
    let centre = mean(&pairs.iter().map(|p| p.1).collect::<Vec<_>>())?;
    let total: f64 = pairs.iter().map(|p| (p.1 - centre).powi(2)).sum();
    let error: f64 = pairs.iter().map(|p| (p.1 - p.0).powi(2)).sum();
    (total > 0.0).then(|| 1.0 - error / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|v| (v - expected).abs() < 1e-9)
    }

    #[test]
    fn known_answers() {
        // Ranks of (106, 86, 100, 101, 99) and (7, 0, 27, 50, 28): sum d^2 = 30 of n = 5, rho = 1 - 6 * 30 / 120 = -.5
        let pairs = [(106.0, 7.0), (86.0, 0.0), (100.0, 27.0), (101.0, 50.0), (99.0, 28.0)];
        let d2: f64 = [(5.0, 2.0), (1.0, 1.0), (3.0, 3.0), (4.0, 5.0), (2.0, 4.0f64)]
            .iter()
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        assert!(close(spearman(&pairs), 1.0 - 6.0 * d2 / 120.0));
        // Ties: x = 1 1 2 3, y = 1 2 2 3 -> ranks 1.5 1.5 3 4 and 1 2.5 2.5 4 -> r = 3.75 / 4.5
        assert!(close(spearman(&[(1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (3.0, 3.0)]), 3.75 / 4.5));
        assert!(close(pearson(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 1.0));
        // y = 1 2 3, predicted 1 2 5: SSE 4, SST 2
        assert!(close(r2_identity(&[(1.0, 1.0), (2.0, 2.0), (5.0, 3.0)]), -1.0));
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!((spearman(&[]), mean(&[]), median(&[]), r2_identity(&[(1.0, 1.0)])), (None, None, None, None));
    }
}

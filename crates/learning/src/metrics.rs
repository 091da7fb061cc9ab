//! Means and quantiles of plain lists. Each is `None` of nothing. What is published comes from crate `statistics`.

/// Mean.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Quantile by linear interpolation between order statistics (type 7), `p` in 0..=1.
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = p * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + place.fract() * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!((mean(&[]), quantile(&[], 0.5)), (None, None));
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 10.0], 0.5), Some(2.5));
        // R: quantile(c(1, 2, 3, 10), .95) is 8.95
        assert!(quantile(&[3.0, 1.0, 2.0, 10.0], 0.95).is_some_and(|v| (v - 8.95).abs() < 1e-12));
        assert_eq!(quantile(&[7.0], 0.95), Some(7.0));
    }
}

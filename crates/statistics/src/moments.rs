//! Count, mean and variance of continuous values from exact sums.
//!
//! A double is a whole number times 2^-1074, its square one times 2^-2148. Both are added as whole numbers of as many bits as any sum of
//! 2^64 of them has, so that nothing is rounded before the end: the same rows give the same bits in whatever parts and order they were
//! added, and rows taken back leave nothing behind. Sums of doubles are neither (Higham 2002, chapter 4); the idea of a register as wide as
//! all doubles is Kulisch's (Kulisch & Miranker 1986).

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use num_bigint::{BigInt, Sign};
use std::ops::Range;

/// Words of the state: rows with a value, rows without, the sum, the sum of squares; both in two's complement, least word first.
const N: usize = 0;
const MISSING: usize = 1;
/// 2,098 bits of a double, 64 of a count, a sign; a word more, so that the four words of any value lie in it.
const SUM: Range<usize> = 2..37;
/// 4,196 bits of a square, 64 of a count, a sign.
const SQUARES: Range<usize> = 37..104;
/// The last bit of a double and of a square counts 2^UNIT and 2^(2 UNIT).
const UNIT: i64 = -1074;

/// Exact sums of values and their squares. Values that are not finite are missing: counted, not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments([u64; Moments::LEN]);

impl Default for Moments {
    fn default() -> Moments {
        Moments([0; Moments::LEN])
    }
}

impl Moments {
    /// Words of a state.
    pub const LEN: usize = SQUARES.end;

    pub fn of(values: impl IntoIterator<Item = f64>) -> Moments {
        Moments::of_counted(values.into_iter().map(|value| (value, 1)))
    }

    /// Of values with counts.
    pub fn of_counted(values: impl IntoIterator<Item = (f64, u64)>) -> Moments {
        let mut moments = Moments::default();
        values.into_iter().for_each(|(value, count)| add_value(&mut moments.0, value, count));
        moments
    }

    pub fn add(&mut self, value: f64) {
        add_value(&mut self.0, value, 1);
    }

    /// # Errors
    /// [`ErrorKind::Counts`] beyond 2^64 rows.
    pub fn merge(&mut self, other: &Moments) -> Result<()> {
        merge_words(&mut self.0, &other.0)
    }

    /// Takes rows back that were added before (a window that moves on).
    ///
    /// # Errors
    /// [`ErrorKind::Counts`] when there are fewer.
    pub fn retract(&mut self, other: &Moments) -> Result<()> {
        retract_words(&mut self.0, &other.0)
    }

    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// # Errors
    /// [`ErrorKind::Shape`] when the list has another length.
    pub fn from_words(words: &[u64]) -> Result<Moments> {
        let words = words.try_into().map_err(|_| {
            let context = format!("a state of {} words is wanted, not of {}", Moments::LEN, words.len());
            Error::new(ErrorKind::Shape, context)
        })?;
        Ok(Moments(words))
    }

    pub fn n(&self) -> u64 {
        self.0[N]
    }

    pub fn missing(&self) -> u64 {
        self.0[MISSING]
    }

    /// Rounded once; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.n() > 0).then(|| ratio(&whole(&self.0[SUM]), &self.n().into(), UNIT))
    }

    /// With divisor n - 1, rounded once; `None` below two values and beyond the largest double.
    pub fn variance(&self) -> Option<f64> {
        let n = BigInt::from(self.n());
        let deviations = || &n * whole(&self.0[SQUARES]) - whole(&self.0[SUM]).pow(2);
        (self.n() > 1).then(|| ratio(&deviations(), &(&n * (&n - 1)), 2 * UNIT)).filter(|v| v.is_finite())
    }

    /// Mean with Student's interval; without one for fewer than two values.
    pub fn mean_estimate(&self, confidence: Confidence) -> Estimate {
        let n = self.n() as f64;
        let Some(mean) = self.mean() else { return Estimate::missing(0, confidence, "mean, t") };
        let error = self.variance().map_or(f64::NAN, |v| (v / n).sqrt());
        Estimate::point(self.n(), confidence, "mean, t", mean).with_symmetric(error, confidence.t(n - 1.0))
    }

    /// Standard deviation with the chi-squared interval of normal values.
    pub fn sd_estimate(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "standard deviation, chi-squared";
        let Some(variance) = self.variance().filter(|v| *v > 0.0) else {
            // All values equal: the deviation is 0, its interval is not defined.
            let value = self.variance().unwrap_or(f64::NAN);
            return Estimate::point(self.n(), confidence, METHOD, value);
        };
        let df = self.n() as f64 - 1.0;
        let limit = |p: f64| (df * variance / crate::distributions::chi2_quantile(p, df)).sqrt();
        Estimate::point(self.n(), confidence, METHOD, variance.sqrt())
            .with_error((variance / (2.0 * df)).sqrt())
            .with_limits(limit(1.0 - confidence.tail()), limit(confidence.tail()))
    }
}

/// Adds a value `count` times.
pub(crate) fn add_value(state: &mut [u64], value: f64, count: u64) {
    const FRACTION: u64 = (1 << 52) - 1;
    if !value.is_finite() {
        state[MISSING] = state[MISSING].wrapping_add(count);
        return;
    }
    state[N] = state[N].wrapping_add(count);
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & FRACTION, (bits >> 52) & 0x7ff);
    // The smallest doubles lack the leading one; their exponent is that of the next larger ones.
    let mantissa = if exponent == 0 { fraction } else { fraction | (FRACTION + 1) };
    let shift = exponent.saturating_sub(1) as usize;
    let sum = u128::from(mantissa) * u128::from(count);
    add_whole(&mut state[SUM], [low(sum), high(sum), 0], shift, value.is_sign_negative());
    let square = u128::from(mantissa) * u128::from(mantissa);
    let first = u128::from(low(square)) * u128::from(count);
    let rest = u128::from(high(square)) * u128::from(count) + u128::from(high(first));
    add_whole(&mut state[SQUARES], [low(first), low(rest), high(rest)], 2 * shift, false);
}

/// Adds the rows of another state.
///
/// # Errors
/// [`ErrorKind::Counts`] beyond 2^64 rows.
pub(crate) fn merge_words(into: &mut [u64], from: &[u64]) -> Result<()> {
    let checked = |place: usize| into[place].checked_add(from[place]);
    let counts = checked(N).zip(checked(MISSING));
    combine(into, from, counts.ok_or("a count exceeds 64 bits"), false)
}

/// Takes the rows of another state away.
///
/// # Errors
/// [`ErrorKind::Counts`] when there are fewer.
pub(crate) fn retract_words(into: &mut [u64], from: &[u64]) -> Result<()> {
    let checked = |place: usize| into[place].checked_sub(from[place]);
    let counts = checked(N).zip(checked(MISSING));
    combine(into, from, counts.ok_or("rows are taken back that were never added"), true)
}

fn combine(into: &mut [u64], from: &[u64], counts: Result<(u64, u64), &str>, subtract: bool) -> Result<()> {
    (into[N], into[MISSING]) = counts.map_err(|wrong| Error::new(ErrorKind::Counts, wrong))?;
    for part in [SUM, SQUARES] {
        let mut carry = false;
        for (word, more) in into[part.clone()].iter_mut().zip(&from[part]) {
            (*word, carry) = with_carry(*word, *more, carry, subtract);
        }
    }
    Ok(())
}

fn low(number: u128) -> u64 {
    number as u64
}

fn high(number: u128) -> u64 {
    (number >> 64) as u64
}

/// Adds digits · 2^`shift` to a whole number, or takes it away.
fn add_whole(number: &mut [u64], digits: [u64; 3], shift: usize, subtract: bool) {
    let (from, bits) = (shift / 64, shift % 64);
    let [first, second, third] = digits.map(|digit| u128::from(digit) << bits);
    let shifted = [low(first), high(first) | low(second), high(second) | low(third), high(third)];
    let (near, far) = number[from..].split_at_mut(shifted.len());
    let mut carry = false;
    for (word, digit) in near.iter_mut().zip(shifted) {
        (*word, carry) = with_carry(*word, digit, carry, subtract);
    }
    for word in far {
        if !carry {
            return;
        }
        (*word, carry) = with_carry(*word, 0, carry, subtract);
    }
}

fn with_carry(word: u64, digit: u64, carry: bool, subtract: bool) -> (u64, bool) {
    let step = if subtract { u64::overflowing_sub } else { u64::overflowing_add };
    let (once, first) = step(word, digit);
    let (twice, second) = step(once, u64::from(carry));
    (twice, first | second)
}

/// A number in two's complement.
fn whole(words: &[u64]) -> BigInt {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    BigInt::from_signed_bytes_le(&bytes)
}

/// The double nearest to above / below · 2^`exponent`.
fn ratio(above: &BigInt, below: &BigInt, exponent: i64) -> f64 {
    /// Bits of the quotient: those of a double and some that decide how it is rounded.
    const BITS: i64 = 66;
    let shift = BITS + below.bits() as i64 - above.bits() as i64;
    let (above, below) = if shift < 0 { (above.clone(), below << -shift) } else { (above << shift, below.clone()) };
    let (quotient, rest) = (above.magnitude() / below.magnitude(), above.magnitude() % below.magnitude());
    // What is left over lies above the half of the last bit, or below it.
    let sticky = u128::from(rest.bits() > 0);
    let value = u128::try_from(quotient).map_or(f64::NAN, |quotient| (quotient | sticky) as f64);
    let size = libm::ldexp(value, (exponent - shift) as i32);
    if above.sign() == Sign::Minus { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every double that is a number, the smallest and the largest among them.
    fn any_double() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), -100.0..100.0f64, Just(f64::MAX), Just(5e-324), Just(-0.0)]
            .prop_filter("finite", |v| v.is_finite())
    }

    /// A double as a whole number of units.
    fn units(value: f64) -> BigInt {
        let bits = value.abs().to_bits();
        let (fraction, exponent) = (bits & ((1 << 52) - 1), bits >> 52);
        let size =
            if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) };
        if value < 0.0 { -size } else { size }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_whole_numbers(values in prop::collection::vec((any_double(), 1u64..5), 0..40), large in 1u64..) {
            let values: Vec<(f64, u64)> = values.into_iter().chain([(1e300, large), (-3.7, large)]).collect();
            let moments = Moments::of_counted(values.iter().copied());
            let (sum, squares) = values.iter().fold((BigInt::ZERO, BigInt::ZERO), |(sum, squares), (value, count)| {
                let units = units(*value);
                (sum + &units * *count, squares + units.pow(2) * *count)
            });
            prop_assert_eq!(whole(&moments.0[SUM]), sum);
            prop_assert_eq!(whole(&moments.0[SQUARES]), squares);
        }

        #[test]
        fn a_ratio_is_rounded_once(above in any::<i64>(), below in 1i64..1 << 53, exponent in -50i64..50) {
            // of two doubles the division itself is rounded once
            let above = above >> 11;
            let expected = above as f64 / below as f64 * 2f64.powi(exponent as i32);
            prop_assert_eq!(ratio(&above.into(), &below.into(), exponent), expected);
        }
    }

    #[test]
    fn a_value_far_away_that_is_taken_back_leaves_nothing() {
        let near = Moments::of([0.1, 0.2, 0.4]);
        let mut moments = near.clone();
        let far = Moments::of([1e300, -7e-300, f64::NAN]);
        moments.merge(&far).unwrap();
        assert_eq!((moments.n(), moments.missing()), (5, 1));
        moments.retract(&far).unwrap();
        assert_eq!(moments, near);
        assert_eq!(moments.retract(&far).unwrap_err().kind, ErrorKind::Counts);
        assert_eq!(moments, near);
        // 7 / 30 and the variance 7 / 300 of tenths as they are written
        assert!((near.mean().unwrap() - 0.7 / 3.0).abs() < 1e-16);
        assert!((near.variance().unwrap() - 7.0 / 300.0).abs() < 1e-17);
    }

    #[test]
    fn the_largest_doubles_have_a_mean_and_a_variance_beyond_all() {
        let moments = Moments::of([f64::MAX, f64::MAX, -f64::MAX]);
        assert_eq!(moments.mean(), Some(f64::MAX / 3.0));
        assert_eq!(moments.variance(), None);
        assert_eq!(Moments::of([f64::MAX; 4]).variance(), Some(0.0));
    }
}

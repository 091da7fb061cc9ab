//! Pictures of nothing.

use crate::refusal::Refusal;
use domain::ExcludeReason;

/// At most this many pixels are looked at, evenly spread over the picture.
const SAMPLES: usize = 1 << 15;
/// Share of the pixels that is left out at each end, so that a marker in a black picture does not make it a picture.
const TAIL: f64 = 0.001;

/// Codes between which all but 0.1 % of the pixels lie at either end, in the order of their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bulk {
    pub low: u16,
    pub high: u16,
}

/// Finds the bulk of a picture of `count` codes, of which `sample` gives every so-many-th.
///
/// # Errors
/// Excluded as blank when the bulk spans at most two steps of the stored values (a black exposure with a bit of noise in the
/// last place), or no step where there are only a few levels.
pub(crate) fn bulk(
    count: usize,
    sample: impl Fn(usize) -> Vec<u16>,
    value: impl Fn(u16) -> i32,
) -> Result<Bulk, Refusal> {
    // An odd stride does not keep to the same columns of a picture whose width is even.
    let stride = count.div_ceil(SAMPLES).max(1) | 1;
    let sample = sample(stride);
    // Counted instead of sorted: how often each value occurs, from the lowest to the highest.
    let (lowest, highest) = sample.iter().fold((i32::MAX, i32::MIN), |(low, high), &code| {
        let value = value(code);
        (low.min(value), high.max(value))
    });
    let mut counts = vec![0_u32; (highest - lowest) as usize + 1];
    for &code in &sample {
        counts[(value(code) - lowest) as usize] += 1;
    }
    let tail = ((sample.len() - 1) as f64 * TAIL) as u32;
    let beyond_tail = |below: &mut u32, count: &u32| {
        *below += count;
        Some(*below > tail)
    };
    let steps_up = counts.iter().scan(0, beyond_tail).position(|found| found).unwrap_or(0);
    let steps_down = counts.iter().rev().scan(0, beyond_tail).position(|found| found).unwrap_or(0);
    let code_of = |wanted: i32| sample.iter().copied().find(|&code| value(code) == wanted).unwrap_or(sample[0]);
    let (low, high) = (code_of(lowest + steps_up as i32), code_of(highest - steps_down as i32));
    let tolerance = if sample.iter().any(|&code| code > 15) { 2 } else { 0 };
    if value(high) - value(low) <= tolerance {
        return Err(Refusal::exclude(ExcludeReason::Blank, "the picture is all of one grey"));
    }
    Ok(Bulk { low, high })
}

//! Checks against the limits, before memory is asked for.

use crate::context::Limits;
use crate::refusal::Refusal;

pub(crate) fn check_pixels(rows: u32, columns: u32, limits: &Limits) -> Result<(), Refusal> {
    if u64::from(rows) * u64::from(columns) > limits.max_pixels {
        return Err(Refusal::too_large("more pixels than the limit"));
    }
    Ok(())
}

pub(crate) fn check_bytes(bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    if bytes > limits.max_decompressed_bytes {
        return Err(Refusal::too_large("more decompressed bytes than the limit"));
    }
    Ok(())
}

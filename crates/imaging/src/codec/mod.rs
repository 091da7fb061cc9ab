//! Compressed pixel data to samples: one file a code.
//!
//! RLE and JPEG (DCT of 8 and 12 bit, lossless) are decoded here, because no maintained library of reasonable size reads
//! them all and tells a stream that ends early from a whole one; JPEG-LS by `pure_jpegls`, JPEG 2000 by `hayro-jpeg2000`, both
//! without unsafe code, so that a damaged file cannot take the process down.

pub(crate) mod jpeg;
pub(crate) mod jpeg2000;
pub(crate) mod jpeg_ls;
pub(crate) mod rle;

use crate::refusal::Refusal;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One decoded picture.
pub(crate) struct Frame {
    pub rows: u32,
    pub columns: u32,
    /// Components in the code stream, 1 or 3.
    pub components: u16,
    /// Bits of a sample, 1..=16.
    pub precision: u32,
    /// Whether samples are two's complement of `precision` bits. Only JPEG 2000 says so.
    pub signed: bool,
    /// Samples row by row, right-aligned: one plane for grey or when only the luminance is kept, else red, green, blue.
    pub planes: Vec<Vec<u16>>,
}

/// What the file around a code stream says of three components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColourSpace {
    Luminance,
    Rgb,
    /// The code stream's own markers decide.
    AsMarked,
}

/// Runs a library that may panic on a damaged stream.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(Refusal::unreadable("the decoding library gave up")))
}

/// Refuses a code stream of other rows and columns than the file around it states, before anything is decoded.
fn check_size(rows: u32, columns: u32, expected: Option<(u32, u32)>) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != (rows, columns) => {
            Err(Refusal::pixels("the code stream has another size than rows and columns say"))
        }
        _ => Ok(()),
    }
}

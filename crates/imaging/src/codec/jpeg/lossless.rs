//! Lossless scans (annex H).

use super::entropy::{Bits, Huffman};
use super::{FrameHeader, Plane, ScanHeader, Tables};
use crate::refusal::Refusal;

/// Decodes a scan into the planes; gives where it ends.
pub(super) fn scan(
    bytes: &[u8],
    start: usize,
    frame: &FrameHeader,
    scan: &ScanHeader,
    tables: &Tables,
    planes: &mut [Option<Plane>],
) -> Result<usize, Refusal> {
    let predictor = scan.start;
    let shift = u32::from(scan.low);
    if !(1..=7).contains(&predictor) || shift >= frame.precision {
        return Err(Refusal::unreadable("a lossless JPEG scan of an unknown predictor"));
    }
    let mut coded: Vec<(usize, &Huffman)> = Vec::with_capacity(scan.components.len());
    for &(index, table, _) in &scan.components {
        let table = tables.dc[table].as_ref().ok_or(Refusal::unreadable("a JPEG scan without its tables"))?;
        coded.push((index, table));
    }
    let columns = frame.columns as usize;
    let rows_to_restart = match tables.restart_interval {
        0 => u32::MAX,
        interval if interval.is_multiple_of(frame.columns) => interval / frame.columns,
        _ => return Err(Refusal::unreadable("a lossless JPEG that restarts within a row")),
    };
    // Values before the point transform. A row at a time, with the row above.
    let mut above = vec![vec![0_u16; columns]; coded.len()];
    let mut row = vec![vec![0_u16; columns]; coded.len()];
    let origin = 1_u16 << (frame.precision - shift - 1);
    let mut bits = Bits::new(bytes, start);
    let mut restart = 0;
    for y in 0..frame.rows {
        let after_restart = y % rows_to_restart == 0;
        if after_restart && y > 0 {
            bits.restart(restart)?;
            restart = (restart + 1) & 7;
        }
        if let [(_, table)] = coded[..] {
            decode_row(&mut bits, table, predictor, (!after_restart).then_some(&above[0]), &mut row[0], origin)?;
        } else {
            for x in 0..columns {
                for (component, (_, table)) in coded.iter().enumerate() {
                    let line = &row[component];
                    let prediction = match (x, after_restart) {
                        (0, true) => origin,
                        (0, false) => above[component][0],
                        (_, true) => line[x - 1],
                        _ => predict(predictor, line[x - 1], above[component][x], above[component][x - 1]),
                    };
                    row[component][x] = prediction.wrapping_add(difference(&mut bits, table)?);
                }
            }
        }
        for (component, &(index, _)) in coded.iter().enumerate() {
            if let Some(plane) = &mut planes[index] {
                let target = &mut plane.samples[y as usize * columns..(y as usize + 1) * columns];
                for (sample, &value) in target.iter_mut().zip(&row[component]) {
                    *sample = value << shift;
                }
            }
        }
        std::mem::swap(&mut above, &mut row);
    }
    Ok(bits.end())
}

/// A row of a scan of one component; `above` is `None` for the first row and after a restart.
fn decode_row(
    bits: &mut Bits,
    table: &Huffman,
    predictor: u8,
    above: Option<&Vec<u16>>,
    row: &mut [u16],
    origin: u16,
) -> Result<(), Refusal> {
    let Some(above) = above else {
        let mut left = origin;
        for sample in row {
            left = left.wrapping_add(difference(bits, table)?);
            *sample = left;
        }
        return Ok(());
    };
    let mut left = above[0].wrapping_add(difference(bits, table)?);
    row[0] = left;
    for (pair, sample) in above.windows(2).zip(&mut row[1..]) {
        left = predict(predictor, left, pair[1], pair[0]).wrapping_add(difference(bits, table)?);
        *sample = left;
    }
    Ok(())
}

/// Table H.1, with `a` to the left, `b` above, `c` above to the left.
#[inline]
fn predict(predictor: u8, a: u16, b: u16, c: u16) -> u16 {
    let (a, b, c) = (i32::from(a), i32::from(b), i32::from(c));
    let value = match predictor {
        1 => a,
        2 => b,
        3 => c,
        4 => a + b - c,
        5 => a + ((b - c) >> 1),
        6 => b + ((a - c) >> 1),
        _ => (a + b) >> 1,
    };
    value as u16
}

/// The next difference, modulo 2^16 (H.1.2.2).
#[inline]
fn difference(bits: &mut Bits, table: &Huffman) -> Result<u16, Refusal> {
    match u32::from(bits.symbol(table)?) {
        category @ 0..=15 => Ok(bits.signed(category)? as u16),
        16 => Ok(32768),
        _ => Err(Refusal::unreadable("a lossless JPEG difference of more than 16 bits")),
    }
}

//! Sequential DCT scans (annex F.2), and the inverse transform (annex A.3.3).

use super::entropy::{Bits, Huffman};
use super::{FrameHeader, Plane, ScanHeader, Tables};
use crate::refusal::Refusal;

/// Place in the block, row by row, of the k-th coefficient of the zigzag.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A component as a scan needs it.
struct Coded<'t> {
    index: usize,
    dc: &'t Huffman,
    ac: &'t Huffman,
    /// Quantisation steps in zigzag order; not needed when the component is not kept.
    steps: Option<&'t [u16; 64]>,
    prediction: i32,
    /// Blocks of an MCU.
    across: u32,
    down: u32,
}

/// Decodes a scan into the planes that are kept; gives where it ends.
pub(super) fn scan(
    bytes: &[u8],
    start: usize,
    frame: &FrameHeader,
    scan: &ScanHeader,
    tables: &Tables,
    planes: &mut [Option<Plane>],
) -> Result<usize, Refusal> {
    // A sequential scan has all coefficients, 0 to 63. Some encoders write 0 for the last and code all the same, as other
    // decoders take it.
    if scan.start != 0 || !matches!(scan.end, 0 | 63) || scan.low != 0 {
        return Err(Refusal::unreadable("a sequential JPEG scan of some coefficients only"));
    }
    let interleaved = scan.components.len() > 1;
    let mut coded = Vec::with_capacity(scan.components.len());
    for &(index, dc, ac) in &scan.components {
        const MISSING: Refusal = Refusal::unreadable("a JPEG scan without its tables");
        let component = &frame.components[index];
        let steps = tables.quantisation[component.quantisation].as_ref();
        if planes[index].is_some() && steps.is_none() {
            return Err(MISSING);
        }
        coded.push(Coded {
            index,
            dc: tables.dc[dc].as_ref().ok_or(MISSING)?,
            ac: tables.ac[ac].as_ref().ok_or(MISSING)?,
            steps,
            prediction: 0,
            across: if interleaved { component.h } else { 1 },
            down: if interleaved { component.v } else { 1 },
        });
    }
    let (mcus_across, mcus_down) = if interleaved {
        (frame.columns.div_ceil(8 * frame.h_max()), frame.rows.div_ceil(8 * frame.v_max()))
    } else {
        let (columns, rows) = frame.size_of(&frame.components[coded[0].index]);
        (columns.div_ceil(8), rows.div_ceil(8))
    };
    let mut bits = Bits::new(bytes, start);
    let mut since_restart = 0;
    let mut restart = 0;
    for mcu_y in 0..mcus_down {
        for mcu_x in 0..mcus_across {
            if tables.restart_interval > 0 && since_restart == tables.restart_interval {
                bits.restart(restart)?;
                restart = (restart + 1) & 7;
                since_restart = 0;
                coded.iter_mut().for_each(|component| component.prediction = 0);
            }
            since_restart += 1;
            for component in &mut coded {
                for block in 0..component.across * component.down {
                    let block_x = mcu_x * component.across + block % component.across;
                    let block_y = mcu_y * component.down + block / component.across;
                    let plane = planes[component.index].as_mut();
                    component.block(&mut bits, plane, (block_x as usize, block_y as usize), frame.precision)?;
                }
            }
        }
    }
    Ok(bits.end())
}

impl Coded<'_> {
    fn block(
        &mut self,
        bits: &mut Bits,
        plane: Option<&mut Plane>,
        (block_x, block_y): (usize, usize),
        precision: u32,
    ) -> Result<(), Refusal> {
        const BROKEN: Refusal = Refusal::unreadable("a JPEG block of impossible coefficients");
        let category = u32::from(bits.symbol(self.dc)?);
        if category > 15 {
            return Err(BROKEN);
        }
        self.prediction = self.prediction.wrapping_add(bits.signed(category)?);
        let steps = self.steps.filter(|_| plane.is_some());
        let mut coefficients = [0.0_f32; 64];
        if let Some(steps) = steps {
            coefficients[0] = self.prediction as f32 * f32::from(steps[0]);
        }
        // Columns of the block with a coefficient below the first row, and the last row with one.
        let mut flat = true;
        let mut k = 1;
        while k < 64 {
            let symbol = bits.symbol(self.ac)?;
            let (zeros, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if category == 0 {
                if zeros < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += zeros;
            if k > 63 {
                return Err(BROKEN);
            }
            let value = bits.signed(category)?;
            if let Some(steps) = steps {
                coefficients[usize::from(ZIGZAG[k])] = value as f32 * f32::from(steps[k]);
                flat = false;
            }
            k += 1;
        }
        let Some(plane) = plane else { return Ok(()) };
        let highest = ((1_u32 << precision) - 1) as f32;
        let middle = (1_u32 << (precision - 1)) as f32;
        let level = |value: f32| (value + middle + 0.5).floor().clamp(0.0, highest) as u16;
        let stride = plane.stride;
        let start = block_y * 8 * stride + block_x * 8;
        if flat {
            let value = level(coefficients[0] / 8.0);
            for row in 0..8 {
                plane.samples[start + row * stride..start + row * stride + 8].fill(value);
            }
            return Ok(());
        }
        inverse(&mut coefficients);
        for (row, values) in coefficients.chunks_exact(8).enumerate() {
            let target = &mut plane.samples[start + row * stride..start + row * stride + 8];
            for (sample, &value) in target.iter_mut().zip(values) {
                *sample = level(value);
            }
        }
        Ok(())
    }
}

/// Inverse 8 x 8 DCT in place, rows then columns. Single precision is exact to well below half a grey level at 12 bits, so
/// that results differ from the ideal transform only where that lies at a rounding tie.
fn inverse(block: &mut [f32; 64]) {
    for row in block.as_chunks_mut::<8>().0 {
        *row = inverse_8(*row);
    }
    for column in 0..8 {
        let values = inverse_8(std::array::from_fn(|row| block[row * 8 + column]));
        for (row, value) in values.into_iter().enumerate() {
            block[row * 8 + column] = value;
        }
    }
}

/// `out[n] = 1/2 sum_u C(u) x[u] cos((2n + 1) u pi / 16)`, C(0) = sqrt(1/2), split into even and odd parts.
fn inverse_8(x: [f32; 8]) -> [f32; 8] {
    // HALF_COS[k] = cos(k pi / 16) / 2
    const C1: f32 = 0.490_392_64;
    const C2: f32 = 0.461_939_77;
    const C3: f32 = 0.415_734_8;
    const C4: f32 = 0.353_553_4;
    const C5: f32 = 0.277_785_12;
    const C6: f32 = 0.191_341_72;
    const C7: f32 = 0.097_545_16;
    let (sum, difference) = ((x[0] + x[4]) * C4, (x[0] - x[4]) * C4);
    let (rising, falling) = (x[2] * C2 + x[6] * C6, x[2] * C6 - x[6] * C2);
    let even = [sum + rising, difference + falling, difference - falling, sum - rising];
    let odd = [
        x[1] * C1 + x[3] * C3 + x[5] * C5 + x[7] * C7,
        x[1] * C3 - x[3] * C7 - x[5] * C1 - x[7] * C5,
        x[1] * C5 - x[3] * C1 + x[5] * C7 + x[7] * C3,
        x[1] * C7 - x[3] * C5 + x[5] * C3 - x[7] * C1,
    ];
    std::array::from_fn(|n| if n < 4 { even[n] + odd[n] } else { even[7 - n] - odd[7 - n] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_transform_equals_its_definition() {
        let mut seed = 1_u32;
        let block: [f32; 64] = std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 20) as f32) - 2048.0
        });
        let mut fast = block;
        inverse(&mut fast);
        for y in 0..8 {
            for x in 0..8 {
                let mut sum = 0.0_f64;
                for v in 0..8 {
                    for u in 0..8 {
                        let scale = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
                        let cos =
                            |n: usize, k: usize| ((2 * n + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos();
                        sum += scale(u) * scale(v) * f64::from(block[v * 8 + u]) * cos(x, u) * cos(y, v) / 4.0;
                    }
                }
                assert!((sum - f64::from(fast[y * 8 + x])).abs() < 0.02, "{sum} {}", fast[y * 8 + x]);
            }
        }
    }
}

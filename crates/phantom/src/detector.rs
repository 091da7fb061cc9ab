//! From optical depths to grey values: blur, scatter, quantum noise, logarithm, processing.

use crate::canvas::Canvas;
use crate::random::Random;
use crate::style::Style;
use std::sync::OnceLock;

/// 2^x by a polynomial; relative error below 1e-6 for |x| < 60.
#[inline]
pub(crate) fn exp2(x: f32) -> f32 {
    let x = x.clamp(-60.0, 60.0);
    // truncation of a positive number is a floor without a library call
    let whole = (x + 64.0) as i32 - 64;
    let f = x - whole as f32;
    let tail = 0.055_480_685 + f * (0.009_684_322 + f * (0.001_238_886_7 + f * 0.000_218_774_93));
    let p = 1.0 + f * (0.693_146_94 + f * (0.240_230_38 + f * tail));
    f32::from_bits(((whole + 127) << 23) as u32) * p
}

/// log2(x) for positive x; absolute error below 2e-6.
#[inline]
pub(crate) fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) as i32 - 127) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let t = m - 1.0;
    let tail = -0.323_972 + t * (0.191_330_6 + t * (-0.077_314_64 + t * 0.014_865_473));
    exponent + t * (1.442_662_8 + t * (-0.720_487_8 + t * (0.472_915_64 + t * tail)))
}

const LN2: f32 = std::f32::consts::LN_2;

/// Standard normal deviates, slightly correlated from one to the next, as a detector's are.
fn deviates() -> &'static [f32] {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut random = Random::named("deviates", &[]);
        const N: usize = 1 << 16;
        let white: Vec<f32> = (0..N).map(|_| random.standard() as f32).collect();
        let (a, b) = (0.36f32, 0.82f32);
        let norm = 1.0 / (2.0 * a * a + b * b).sqrt();
        (0..N).map(|i| norm * (a * white[(i + N - 1) % N] + b * white[i] + a * white[(i + 1) % N])).collect()
    })
}

/// Blurs in place with a Gaussian of the given standard deviations in pixels.
pub(crate) fn blur(canvas: &mut Canvas, sigma_x: f64, sigma_y: f64) {
    let (width, height) = (canvas.width, canvas.height);
    if sigma_x > 0.25 {
        let kernel = gaussian(sigma_x);
        let radius = kernel.len() - 1;
        let mut padded = vec![0f32; width + 2 * radius];
        for row in canvas.values.chunks_exact_mut(width) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + width].copy_from_slice(row);
            padded[radius + width..].fill(row[width - 1]);
            for (x, out) in row.iter_mut().enumerate() {
                *out = kernel[0] * padded[x + radius];
            }
            for (k, weight) in kernel.iter().enumerate().skip(1) {
                let (left, right) = (&padded[radius - k..], &padded[radius + k..]);
                for ((out, a), b) in row.iter_mut().zip(left).zip(right) {
                    *out += weight * (a + b);
                }
            }
        }
    }
    if sigma_y > 0.25 {
        let kernel = gaussian(sigma_y);
        let radius = kernel.len() - 1;
        // a ring of the rows that are still needed unblurred
        let mut ring: Vec<Vec<f32>> = Vec::with_capacity(radius + 1);
        for _ in 0..=radius {
            ring.push(canvas.values[..width].to_vec());
        }
        let mut line = vec![0f32; width];
        for y in 0..height {
            ring[y % (radius + 1)].copy_from_slice(&canvas.values[y * width..(y + 1) * width]);
            for (out, v) in line.iter_mut().zip(&ring[y % (radius + 1)]) {
                *out = kernel[0] * v;
            }
            for (k, weight) in kernel.iter().enumerate().skip(1) {
                let above = if y >= k { &ring[(y - k) % (radius + 1)] } else { &ring[0] };
                // row 0 leaves the ring only after it is no longer needed as an edge
                let below_row = (y + k).min(height - 1);
                let below = &canvas.values[below_row * width..(below_row + 1) * width];
                for ((out, a), b) in line.iter_mut().zip(above).zip(below) {
                    *out += weight * (a + b);
                }
            }
            canvas.values[y * width..(y + 1) * width].copy_from_slice(&line);
        }
    }
}

/// One half of a normalised Gaussian, from its centre outward, to 2.8 standard deviations.
fn gaussian(sigma: f64) -> Vec<f32> {
    let radius = ((2.8 * sigma).ceil() as usize).clamp(1, 64);
    let raw: Vec<f64> = (0..=radius).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let sum = raw[0] + 2.0 * raw[1..].iter().sum::<f64>();
    raw.iter().map(|v| (v / sum) as f32).collect()
}

/// Block means of `fine` on a grid `factor` times coarser.
pub(crate) fn reduce(fine: &Canvas, factor: usize) -> Canvas {
    let (width, height) = (fine.width.div_ceil(factor), fine.height.div_ceil(factor));
    let mut out = Canvas::new(width, height, fine.place.coarser(factor));
    for y in 0..height {
        let rows = y * factor..((y + 1) * factor).min(fine.height);
        let count_y = rows.len();
        let line = &mut out.values[y * width..(y + 1) * width];
        for row in rows {
            let source = &fine.values[row * fine.width..(row + 1) * fine.width];
            for (total, block) in line.iter_mut().zip(source.chunks(factor)) {
                *total += block.iter().sum::<f32>();
            }
        }
        for (x, total) in line.iter_mut().enumerate() {
            let count_x = factor.min(fine.width - x * factor);
            *total /= (count_x * count_y) as f32;
        }
    }
    out
}

/// Repeated box blur of the coarse canvas, about a Gaussian of `sigma` pixels, at a cost that does not grow with sigma.
pub(crate) fn smooth(canvas: &mut Canvas, sigma: f64) {
    let radius = ((sigma * 1.0).round() as usize).max(1);
    for _ in 0..3 {
        box_rows(&mut canvas.values, canvas.width, radius);
        let mut turned = transpose(&canvas.values, canvas.width, canvas.height);
        box_rows(&mut turned, canvas.height, radius);
        canvas.values = transpose(&turned, canvas.height, canvas.width);
    }
}

fn transpose(values: &[f32], width: usize, height: usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    for y in 0..height {
        for x in 0..width {
            out[x * height + y] = values[y * width + x];
        }
    }
    out
}

fn box_rows(values: &mut [f32], width: usize, radius: usize) {
    let mut copy = vec![0f32; width];
    let last = width - 1;
    let scale = 1.0 / (2 * radius + 1) as f32;
    for row in values.chunks_exact_mut(width) {
        copy.copy_from_slice(row);
        let mut sum: f32 = copy[0] * (radius + 1) as f32;
        for k in 1..=radius {
            sum += copy[k.min(last)];
        }
        for x in 0..width {
            row[x] = sum * scale;
            sum += copy[(x + radius + 1).min(last)] - copy[x.saturating_sub(radius)];
        }
    }
}

/// How one exposure came out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exposure {
    /// Noise of the optical depth pooled over 1 mm², at `reference`.
    pub noise: f64,
    /// Optical depth at which the exposure control aimed.
    pub reference: f64,
    /// Scattered over primary radiation.
    pub scatter: f64,
    pub row_noise: f64,
    /// Grey curve: optical depth from black to white, grey of the reference, slope, and gain of edges.
    pub window: f64,
    pub middle: f64,
    pub equalise: f64,
    pub sharpen: f64,
    pub bits: u16,
}

impl Exposure {
    pub fn of(style: &Style, reference: f64) -> Exposure {
        Exposure {
            noise: style.noise,
            reference,
            scatter: style.scatter,
            row_noise: style.row_noise,
            window: style.window,
            middle: style.middle,
            equalise: style.equalise,
            sharpen: style.sharpen,
            bits: style.bits,
        }
    }

    /// Noise pooled over 1 mm² and share of contrast left, where the optical depth is `tau` around a slow background `low`.
    pub fn at(&self, tau: f64, low: f64) -> (f64, f64) {
        let primary = (-tau).exp();
        let scattered = self.scatter * (-low).exp();
        let total = primary + scattered;
        let effective = -total.ln();
        let reference = self.reference - (1.0 + self.scatter).ln();
        (self.noise * (0.5 * (effective - reference)).exp(), primary / total)
    }
}

/// Enlarges rows of a coarse canvas to a fine one, bilinear.
pub(crate) struct Enlarger {
    factor: usize,
    /// By fine column: coarse column to the left, share of the one to the right.
    columns: Vec<(u32, f32)>,
    line: Vec<f32>,
}

impl Enlarger {
    /// From a canvas `coarse_width` wide, whose pixels cover `factor` fine ones, to one `width` wide.
    pub fn new(coarse_width: usize, width: usize, factor: usize) -> Enlarger {
        let last = (coarse_width - 1) as f64;
        let columns = (0..width)
            .map(|x| {
                let at = ((x as f64 + 0.5) / factor as f64 - 0.5).clamp(0.0, last);
                (at as u32, at.fract() as f32)
            })
            .collect();
        // one more column, so that the right neighbour of the last exists
        Enlarger { factor, columns, line: vec![0.0; coarse_width + 1] }
    }

    /// Fine row `y`.
    pub fn row(&mut self, coarse: &Canvas, y: usize, out: &mut [f32]) {
        let at = ((y as f32 + 0.5) / self.factor as f32 - 0.5).clamp(0.0, (coarse.height - 1) as f32);
        let row = at as usize;
        let v = at - row as f32;
        let next = (row + 1).min(coarse.height - 1);
        let top = &coarse.values[row * coarse.width..(row + 1) * coarse.width];
        let bottom = &coarse.values[next * coarse.width..(next + 1) * coarse.width];
        for ((value, a), b) in self.line.iter_mut().zip(top).zip(bottom) {
            *value = a + v * (b - a);
        }
        self.line[coarse.width] = self.line[coarse.width - 1];
        for (value, (i, u)) in out.iter_mut().zip(&self.columns) {
            let pair = &self.line[*i as usize..*i as usize + 2];
            *value = pair[0] + u * (pair[1] - pair[0]);
        }
    }
}

/// The slow background of a coarse canvas, on a grid [`SLOWER`] times coarser still.
pub(crate) fn background(coarse: &Canvas, sigma_mm: f64) -> Canvas {
    let mut slow = reduce(coarse, SLOWER);
    let pixel_mm = 1.0 / slow.place.area().sqrt();
    smooth(&mut slow, (sigma_mm / pixel_mm).max(1.0));
    slow
}

/// How many coarse pixels one pixel of a slow background covers.
pub(crate) const SLOWER: usize = 4;

/// Scatter, noise and logarithm: the canvas of optical depths becomes what the detector reports of them.
/// `low` is the slow [`background`] of the coarse canvas whose pixels cover `factor` fine ones.
pub(crate) fn expose(canvas: &mut Canvas, low: &Canvas, factor: usize, exposure: &Exposure, random: &mut Random) {
    let width = canvas.width;
    let table = deviates();
    let count = table.len();
    let pixel_area = 1.0 / canvas.place.area();
    let reference = exposure.reference - (1.0 + exposure.scatter).ln();
    let noise = (exposure.noise / pixel_area.sqrt()) as f32;
    // noise of -ln(counts) is 1 / sqrt(counts), here against the counts at the reference; a starved detector is held at 8 times
    let counts = ((-reference).exp() as f32).sqrt() * noise;
    let most = 8.0 * noise;
    let scatter = exposure.scatter as f32;
    let mut scattered = Canvas { values: Vec::new(), ..*low };
    scattered.values = low.values.iter().map(|v| scatter * exp2(-v / LN2)).collect();
    let mut enlarger = Enlarger::new(low.width, width, factor * SLOWER);
    let mut slow = vec![0f32; width];
    let draw = |random: &mut Random| (random.next() as usize) % (count - width.min(count - 1));
    let mut previous = draw(random);
    for y in 0..canvas.height {
        enlarger.row(&scattered, y, &mut slow);
        let offset = draw(random);
        let row_shift = (random.standard() * exposure.row_noise) as f32 * noise * 0.5;
        let row = &mut canvas.values[y * width..(y + 1) * width];
        let (here, above) = (&table[offset..], &table[previous..]);
        for (((value, slow), a), b) in row.iter_mut().zip(&slow).zip(here).zip(above) {
            let total = exp2(-*value * (1.0 / LN2)) + slow;
            let amplitude = (counts / total.sqrt()).min(most);
            *value = -LN2 * log2(total) + amplitude * (0.83 * a + 0.557 * b) + row_shift;
        }
        previous = offset;
    }
}

/// Processing and grey curve: what the detector reports becomes grey values 0..2^bits, bone bright.
pub(crate) fn develop(canvas: &Canvas, factor: usize, exposure: &Exposure) -> Vec<u16> {
    let width = canvas.width;
    let pixel_mm = factor as f64 / canvas.place.area().sqrt();
    let mut local = reduce(canvas, factor);
    let slow = background(&local, 26.0);
    smooth(&mut local, (2.2 / pixel_mm).max(1.0));
    let mut to_near = Enlarger::new(local.width, width, factor);
    let mut to_far = Enlarger::new(slow.width, width, factor * SLOWER);
    let centre = (exposure.reference - (1.0 + exposure.scatter).ln()) as f32;
    // a grey curve with toe and shoulder, as a table
    const STEPS: usize = 4096;
    let top = ((1u32 << exposure.bits) - 1) as f64;
    let (low, high) = (-0.75, 1.75);
    let table: Vec<u16> = (0..=STEPS)
        .map(|i| {
            let v = low + (high - low) * i as f64 / STEPS as f64;
            // logistic through (0, middle) with unit slope of v per window, held within 0..1
            let m = exposure.middle;
            let offset = (m / (1.0 - m)).ln();
            let s = 1.0 / (1.0 + (-(4.0 * v + offset)).exp());
            let floor = 0.035;
            ((s - floor) / (1.0 - 1.6 * floor)).clamp(0.0, 1.0).mul_add(top, 0.5) as u16
        })
        .collect();
    let scale = (STEPS as f64 / (high - low) / exposure.window) as f32;
    let zero = (-low * STEPS as f64 / (high - low)) as f32;
    let (equalise, sharpen) = (exposure.equalise as f32, exposure.sharpen as f32);
    let mut out = vec![0u16; canvas.values.len()];
    let mut near = vec![0f32; width];
    let mut far = vec![0f32; width];
    for (y, (row, grey)) in canvas.values.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
        to_near.row(&local, y, &mut near);
        to_far.row(&slow, y, &mut far);
        for (((value, n), f), g) in row.iter().zip(&near).zip(&far).zip(grey) {
            let v = value - centre - equalise * (f - centre).max(-2.0) + sharpen * (value - n).clamp(-0.6, 0.6);
            let index = (zero + v * scale).clamp(0.0, STEPS as f32);
            *g = table[index as usize];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::Placement;

    #[test]
    fn fast_powers_are_close() {
        for k in -400..400 {
            let x = k as f32 * 0.05;
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 3e-5, "{x}");
            let y = (x * 0.7).exp2();
            assert!((log2(y) - y.log2()).abs() < 3e-4, "{y}");
        }
    }

    #[test]
    fn blur_keeps_mass_and_is_symmetric() {
        let mut canvas = Canvas::new(41, 51, Placement { m: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0] });
        canvas.values[25 * 41 + 20] = 1.0;
        blur(&mut canvas, 1.5, 2.5);
        let mass: f32 = canvas.values.iter().sum();
        assert!((mass - 1.0).abs() < 1e-4, "{mass}");
        for d in 1..7 {
            assert!((canvas.values[25 * 41 + 20 - d] - canvas.values[25 * 41 + 20 + d]).abs() < 1e-6);
            assert!((canvas.values[(25 - d) * 41 + 20] - canvas.values[(25 + d) * 41 + 20]).abs() < 1e-6);
        }
        let variance: f32 =
            (0..51).map(|y| (y as f32 - 25.0).powi(2) * canvas.values[y * 41..(y + 1) * 41].iter().sum::<f32>()).sum();
        assert!((variance.sqrt() - 2.5).abs() < 0.15, "{}", variance.sqrt());
    }
}

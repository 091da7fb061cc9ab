//! A picture in single precision and what may happen to its greys. Values are 0 (black) to 1 (white).

use crate::draw::Draw;
use domain::{Affine, ImagePx, Raster};

/// Grey levels of a `Raster` that stand for 0 and 1 are these shares of its pixels.
const BLACK_SHARE: f64 = 0.002;
const WHITE_SHARE: f64 = 0.998;

/// A grey picture, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

/// A rectangle of pixels, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub x0: usize,
    pub x1: usize,
    pub y0: usize,
    pub y1: usize,
}

impl Picture {
    pub fn new(width: usize, height: usize, values: Vec<f32>) -> Picture {
        assert_eq!(values.len(), width * height, "values of a {width} x {height} picture");
        Picture { width, height, values }
    }

    /// The raster's greys between its own black and white point.
    pub fn of(raster: &Raster) -> Picture {
        let (low, high) = grey_points(raster.pixels());
        let gain = 1.0 / f32::from(high.saturating_sub(low).max(1));
        let values =
            raster.pixels().iter().map(|&p| ((f32::from(p) - f32::from(low)) * gain).clamp(0.0, 1.0)).collect();
        Picture::new(raster.width() as usize, raster.height() as usize, values)
    }

    pub fn to_raster(&self) -> Raster {
        let pixels = self.values.iter().map(|v| (v.clamp(0.0, 1.0) * 65_535.0 + 0.5) as u16).collect();
        Raster::new(self.width as u32, self.height as u32, pixels)
    }

    /// Means of blocks of `across` x `down` pixels, and the map of pixel centres into the shrunk picture. Rests at the right
    /// and at the foot that fill no block are dropped.
    pub fn shrunk(&self, across: usize, down: usize) -> (Picture, Affine<ImagePx, ImagePx>) {
        let (across, down) = (across.clamp(1, self.width), down.clamp(1, self.height));
        let (width, height) = (self.width / across, self.height / down);
        let scale = 1.0 / (across * down) as f32;
        let mut values = vec![0f32; width * height];
        for (y, line) in values.chunks_exact_mut(width).enumerate() {
            for source in y * down..(y + 1) * down {
                let row = &self.values[source * self.width..][..width * across];
                for (sum, block) in line.iter_mut().zip(row.chunks_exact(across)) {
                    *sum += block.iter().sum::<f32>();
                }
            }
            line.iter_mut().for_each(|v| *v *= scale);
        }
        let (kx, ky) = (1.0 / across as f64, 1.0 / down as f64);
        let map = Affine::scale_then_shift(kx, ky, 0.5 * kx - 0.5, 0.5 * ky - 0.5);
        (Picture { width, height, values }, map)
    }

    /// Bilinear sample; `None` outside the picture (half a pixel beyond the outermost centres).
    #[inline]
    fn sample(&self, x: f32, y: f32) -> Option<f32> {
        if x < -0.5 || y < -0.5 || x > self.width as f32 - 0.5 || y > self.height as f32 - 0.5 {
            return None;
        }
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let at = |x: usize, y: usize| self.values[y * self.width + x];
        let top = at(x0, y0) + fx * (at(x1, y0) - at(x0, y0));
        let bottom = at(x0, y1) + fx * (at(x1, y1) - at(x0, y1));
        Some(top + fy * (bottom - top))
    }

    /// The picture as seen through `from_new`, which maps pixels of the new picture to pixels of this one. Shrinking first
    /// averages blocks, so that fine structures do not alias. Outside is `outside`.
    pub fn resampled(&self, size: (usize, usize), from_new: &Affine<ImagePx, ImagePx>, outside: f32) -> Picture {
        let m = &from_new.m;
        let step = |a: f64, b: f64| (a.abs().max(b.abs()) * 0.75).round().max(1.0) as usize;
        let (small, shrink) = self.shrunk(step(m[0], m[1]), step(m[3], m[4]));
        let m = from_new.then(&shrink).m.map(|v| v as f32);
        let (width, height) = size;
        let mut values = vec![outside; width * height];
        for (y, line) in values.chunks_exact_mut(width).enumerate() {
            let (x0, y0) = (m[1] * y as f32 + m[2], m[4] * y as f32 + m[5]);
            for (x, value) in line.iter_mut().enumerate() {
                if let Some(v) = small.sample(m[0] * x as f32 + x0, m[3] * x as f32 + y0) {
                    *value = v;
                }
            }
        }
        Picture { width, height, values }
    }

    /// `v -> v^gamma`, then an S-curve blended in by `contrast` (0 none, 1 full; negative flattens).
    pub fn tone(&mut self, gamma: f32, contrast: f32) {
        let table: Vec<f32> = (0..=1024)
            .map(|i| {
                let v = (i as f32 / 1024.0).powf(gamma);
                let curve = if contrast >= 0.0 { v * v * (3.0 - 2.0 * v) } else { 0.5 + (v - 0.5) * 0.4 };
                v + contrast.abs() * (curve - v)
            })
            .collect();
        self.look_up(&table);
    }

    /// A rising curve through random knots: the look-up table of an unknown workstation.
    pub fn random_curve(&mut self, draw: &mut Draw, strength: f64) {
        const KNOTS: usize = 7;
        let mut heights = [0f32; KNOTS];
        for k in 1..KNOTS {
            heights[k] = heights[k - 1] + (strength * draw.normal()).exp() as f32;
        }
        let total = heights[KNOTS - 1];
        let table: Vec<f32> = (0..=1024)
            .map(|i| {
                let at = i as f32 / 1024.0 * (KNOTS - 1) as f32;
                let k = (at as usize).min(KNOTS - 2);
                (heights[k] + (at - k as f32) * (heights[k + 1] - heights[k])) / total
            })
            .collect();
        self.look_up(&table);
    }

    fn look_up(&mut self, table: &[f32]) {
        let last = table.len() - 1;
        for value in &mut self.values {
            *value = table[(value.clamp(0.0, 1.0) * last as f32 + 0.5) as usize];
        }
    }

    /// Multiplies by a smooth field, exp of `strength` times a random bilinear grid: uneven exposure.
    pub fn shade(&mut self, draw: &mut Draw, strength: f64) {
        const ACROSS: usize = 4;
        const DOWN: usize = 6;
        let grid: Vec<f32> = (0..ACROSS * DOWN).map(|_| (strength * draw.normal()) as f32).collect();
        let across = (ACROSS - 1) as f32 / self.width as f32;
        let down = (DOWN - 1) as f32 / self.height as f32;
        for (y, line) in self.values.chunks_exact_mut(self.width).enumerate() {
            let v = y as f32 * down;
            let (j, fy) = (v as usize, v.fract());
            let columns: [f32; ACROSS] = std::array::from_fn(|i| {
                let (a, b) = (grid[j * ACROSS + i], grid[(j + 1).min(DOWN - 1) * ACROSS + i]);
                (a + fy * (b - a)).exp()
            });
            for (x, value) in line.iter_mut().enumerate() {
                let u = x as f32 * across;
                let (i, fx) = (u as usize, u.fract());
                *value *= columns[i] + fx * (columns[(i + 1).min(ACROSS - 1)] - columns[i]);
            }
        }
    }

    /// Blends towards `value` on one side of a soft, slightly turned edge: the over-exposed pelvis, the dark lung. `strength` is the
    /// share of blending far beyond the edge.
    pub fn veil(&mut self, draw: &mut Draw, strength: f32, value: f32) {
        let turn = (draw.between(-25.0, 25.0) + if draw.chance(0.7) { 90.0 } else { 90.0 * draw.below(4) as f64 })
            .to_radians();
        let (nx, ny) = (turn.cos() as f32, turn.sin() as f32);
        let reach = 0.5 * (nx.abs() * self.width as f32 + ny.abs() * self.height as f32);
        let middle = reach * draw.between(-0.3, 0.7) as f32;
        let softness = 1.0 / (reach * draw.between(0.1, 0.8) as f32).max(1.0);
        let (cx, cy) = (0.5 * self.width as f32, 0.5 * self.height as f32);
        for (y, line) in self.values.chunks_exact_mut(self.width).enumerate() {
            let base = ny * (y as f32 - cy) - nx * cx - middle;
            for (x, pixel) in line.iter_mut().enumerate() {
                let t = ((nx * x as f32 + base) * softness + 0.5).clamp(0.0, 1.0);
                *pixel += strength * t * t * (3.0 - 2.0 * t) * (value - *pixel);
            }
        }
    }

    /// Binomial smoothing, `passes` times (variance half a square pixel each).
    pub fn blur(&mut self, passes: usize) {
        let mut line = vec![0f32; self.width.max(self.height)];
        for _ in 0..passes {
            for row in self.values.chunks_exact_mut(self.width) {
                let n = row.len();
                line[..n].copy_from_slice(row);
                for x in 0..n {
                    row[x] = 0.25 * line[x.saturating_sub(1)] + 0.5 * line[x] + 0.25 * line[(x + 1).min(n - 1)];
                }
            }
            let mut above = self.values[..self.width].to_vec();
            for y in 0..self.height {
                let below = (y + 1).min(self.height - 1) * self.width;
                for x in 0..self.width {
                    let here = self.values[y * self.width + x];
                    self.values[y * self.width + x] = 0.25 * above[x] + 0.5 * here + 0.25 * self.values[below + x];
                    above[x] = here;
                }
            }
        }
    }

    /// Adds noise of standard deviation `sd`, of which the share `coarse` is correlated over neighbouring pixels.
    pub fn add_noise(&mut self, draw: &mut Draw, sd: f32, coarse: f32) {
        let mut noise: Picture = Picture {
            width: self.width,
            height: self.height,
            values: self.values.iter().map(|_| draw.noise()).collect(),
        };
        let fine: Vec<f32> = noise.values.iter().map(|n| n * (1.0 - coarse)).collect();
        if coarse > 0.0 {
            noise.blur(1);
        }
        // One binomial pass leaves 3/8 of the standard deviation of white noise.
        let gain = if coarse > 0.0 { coarse / 0.375 } else { 0.0 };
        for ((value, fine), smooth) in self.values.iter_mut().zip(&fine).zip(&noise.values) {
            *value += sd * (fine + gain * smooth);
        }
    }

    /// What strong JPEG leaves: in blocks of 8 x 8, departures from the block's mean come in steps of `step`.
    pub fn quantise_blocks(&mut self, step: f32) {
        const BLOCK: usize = 8;
        for y0 in (0..self.height).step_by(BLOCK) {
            for x0 in (0..self.width).step_by(BLOCK) {
                let (x1, y1) = ((x0 + BLOCK).min(self.width), (y0 + BLOCK).min(self.height));
                let mut mean = 0.0;
                for y in y0..y1 {
                    mean += self.values[y * self.width + x0..y * self.width + x1].iter().sum::<f32>();
                }
                mean /= ((x1 - x0) * (y1 - y0)) as f32;
                for y in y0..y1 {
                    for value in &mut self.values[y * self.width + x0..y * self.width + x1] {
                        *value = mean + ((*value - mean) / step).round() * step;
                    }
                }
            }
        }
    }

    /// Fills a window with one grey.
    pub fn fill(&mut self, window: Window, value: f32) {
        for y in window.y0..window.y1.min(self.height) {
            let row = &mut self.values[y * self.width..(y + 1) * self.width];
            row[window.x0.min(self.width)..window.x1.min(self.width)].fill(value);
        }
    }

    /// Fills everything on the far side of a straight edge: pixels with `nx x + ny y > offset`.
    pub fn fill_beyond(&mut self, normal: (f32, f32), offset: f32, value: f32) {
        for (y, line) in self.values.chunks_exact_mut(self.width).enumerate() {
            let base = normal.1 * y as f32 - offset;
            for (x, pixel) in line.iter_mut().enumerate() {
                if normal.0 * x as f32 + base > 0.0 {
                    *pixel = value;
                }
            }
        }
    }

    /// A window of random place and of `low..high` of each side.
    pub fn random_window(&self, draw: &mut Draw, low: f64, high: f64) -> Window {
        let mut side = |length: usize| {
            let size = ((length as f64 * draw.ratio_between(low, high)) as usize).clamp(1, length);
            let start = draw.below(length - size + 1);
            (start, start + size)
        };
        let (x0, x1) = side(self.width);
        let (y0, y1) = side(self.height);
        Window { x0, x1, y0, y1 }
    }
}

/// Grey levels at the shares [`BLACK_SHARE`] and [`WHITE_SHARE`] of the pixels.
fn grey_points(pixels: &[u16]) -> (u16, u16) {
    let mut histogram = vec![0u32; 65_536];
    for &pixel in pixels {
        histogram[usize::from(pixel)] += 1;
    }
    let level = |share: f64| {
        let rank = (share * pixels.len() as f64) as u32;
        let mut below = 0;
        histogram
            .iter()
            .position(|n| {
                below += n;
                below > rank
            })
            .unwrap_or(0) as u16
    };
    (level(BLACK_SHARE), level(WHITE_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(width: usize, height: usize, at: (usize, usize)) -> Picture {
        let mut values = vec![0.0; width * height];
        values[at.1 * width + at.0] = 1.0;
        Picture::new(width, height, values)
    }

    fn centre_of_mass(picture: &Picture) -> (f64, f64) {
        let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
        for (i, v) in picture.values.iter().enumerate() {
            let v = f64::from(*v);
            mass += v;
            x += v * (i % picture.width) as f64;
            y += v * (i / picture.width) as f64;
        }
        (x / mass, y / mass)
    }

    #[test]
    fn shrinking_and_resampling_put_a_dot_where_the_map_says() {
        let picture = dot(80, 60, (33, 21));
        let (small, map) = picture.shrunk(4, 3);
        assert_eq!((small.width, small.height), (20, 20));
        let expected = map.apply(domain::Point::new(33.0, 21.0));
        let found = centre_of_mass(&small);
        assert!((found.0 - expected.x).abs() <= 0.5 && (found.1 - expected.y).abs() <= 0.5);

        let from_new = Affine::new([0.9, 0.2, 3.0, -0.2, 0.9, 12.0]);
        let moved = picture.resampled((70, 60), &from_new, 0.0);
        let expected = from_new.inverse().unwrap().apply(domain::Point::new(33.0, 21.0));
        let found = centre_of_mass(&moved);
        assert!((found.0 - expected.x).abs() < 0.2 && (found.1 - expected.y).abs() < 0.2, "{found:?} {expected:?}");
    }

    #[test]
    fn grey_changes_keep_the_order_of_greys_and_the_place_of_things() {
        let ramp = Picture::new(256, 1, (0..256).map(|i| i as f32 / 255.0).collect());
        for case in 0..20 {
            let mut changed = ramp.clone();
            let mut draw = Draw::named("test", &[case]);
            changed.tone(draw.ratio_between(0.4, 2.5) as f32, draw.between(-0.8, 0.8) as f32);
            changed.random_curve(&mut draw, 0.7);
            assert!(changed.values.windows(2).all(|w| w[1] >= w[0]), "never inverted");
            assert!(changed.values[255] > changed.values[0] + 0.2);
        }
        let mut blurred = dot(41, 41, (20, 18));
        blurred.blur(3);
        let found = centre_of_mass(&blurred);
        assert!((found.0 - 20.0).abs() < 1e-3 && (found.1 - 18.0).abs() < 1e-3, "{found:?}");
        assert!((blurred.values.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn noise_has_the_size_asked_for() {
        for coarse in [0.0, 0.6, 1.0] {
            let mut flat = Picture::new(200, 200, vec![0.5; 40_000]);
            flat.add_noise(&mut Draw::named("noise", &[]), 0.05, coarse);
            let variance = flat.values.iter().map(|v| (v - 0.5).powi(2)).sum::<f32>() / 40_000.0;
            assert!((0.03..0.06).contains(&variance.sqrt()), "sd {} at {coarse}", variance.sqrt());
        }
    }
}

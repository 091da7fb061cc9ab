//! A plane of optical depths and the strokes that add to it.
//!
//! Values are line integrals of attenuation (dimensionless); pixel (0, 0) has its centre at (0, 0). Strokes are laid down as
//! many small bilinear splats of exact mass, so that they add at any sub-pixel position, any angle and any pixel aspect.

use crate::detector::Enlarger;
use crate::plane::{Mm, mm};
use crate::random::Random;

/// Where millimetres fall on pixels: `x' = a x + b y + c`, `y' = d x + e y + f`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    pub m: [f64; 6],
}

impl Placement {
    #[inline]
    pub fn apply(&self, p: Mm) -> (f64, f64) {
        let m = &self.m;
        (m[0] * p.x + m[1] * p.y + m[2], m[3] * p.x + m[4] * p.y + m[5])
    }

    /// From pixels back to millimetres.
    pub fn inverse(&self) -> Placement {
        let [a, b, c, d, e, f] = self.m;
        let det = a * e - b * d;
        Placement { m: [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det] }
    }

    #[inline]
    pub fn point(&self, x: f64, y: f64) -> Mm {
        let m = &self.m;
        mm(m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5])
    }

    /// Pixels per mm², the area that one square millimetre covers.
    pub fn area(&self) -> f64 {
        (self.m[0] * self.m[4] - self.m[1] * self.m[3]).abs()
    }

    /// The same placement on a grid `factor` times coarser, whose first pixel covers the first `factor` fine ones.
    pub fn coarser(&self, factor: usize) -> Placement {
        let k = 1.0 / factor as f64;
        let shift = -0.5 * (factor as f64 - 1.0) * k;
        let m = &self.m;
        Placement { m: [m[0] * k, m[1] * k, m[2] * k + shift, m[3] * k, m[4] * k, m[5] * k + shift] }
    }
}

pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
    pub place: Placement,
}

/// How a stroke's optical depth is spread across its width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// Chord of a full cylinder.
    Solid,
    /// A flat inside and brighter rims: a hollow bone seen from the side. The rims' extra over the inside.
    Rimmed(f64),
}

impl Profile {
    /// Place of the `j`th of `count` points across, -1 to 1 from border to border, and the weight there.
    fn point(self, j: usize, count: usize) -> (f64, f64) {
        let n = (j as f64 + 0.5) / count as f64 * 2.0 - 1.0;
        let weight = match self {
            Profile::Solid => (1.0 - n * n).max(0.0).sqrt() * 1.27,
            Profile::Rimmed(extra) => {
                let edge = (n.abs() - 0.62).max(0.0) / 0.38;
                let fade = ((1.0 - n.abs()) / 0.12).min(1.0);
                (0.75 + extra * edge * edge) * fade
            }
        };
        (n, weight)
    }
}

/// Points of a cross-section that are worked on together.
const GO: usize = 16;
/// From 2^52 to 2^53 a number has no fraction: what is added to one is rounded, and its last bits are the whole number. That takes two
/// instructions for several points, where a checked conversion takes ten for one.
const WHOLE: f64 = 6_755_399_441_055_744.0;

impl Canvas {
    pub fn new(width: usize, height: usize, place: Placement) -> Canvas {
        Canvas { width, height, values: vec![0.0; width * height], place }
    }

    /// Pixel bounds (x0, x1, y0, y1), half open, of a set of points with a margin in mm; `None` when off the canvas.
    pub fn bounds(&self, points: &[Mm], margin_mm: f64) -> Option<(usize, usize, usize, usize)> {
        let m = &self.place.m;
        let margin_x = margin_mm * m[0].hypot(m[1]) + 1.0;
        let margin_y = margin_mm * m[3].hypot(m[4]) + 1.0;
        let (mut x0, mut x1, mut y0, mut y1) = (f64::MAX, f64::MIN, f64::MAX, f64::MIN);
        for p in points {
            let (x, y) = self.place.apply(*p);
            x0 = x0.min(x);
            x1 = x1.max(x);
            y0 = y0.min(y);
            y1 = y1.max(y);
        }
        let x0 = (x0 - margin_x).floor().max(0.0) as usize;
        let y0 = (y0 - margin_y).floor().max(0.0) as usize;
        let x1 = (x1 + margin_x).ceil().clamp(0.0, self.width as f64) as usize;
        let y1 = (y1 + margin_y).ceil().clamp(0.0, self.height as f64) as usize;
        (x0 < x1 && y0 < y1).then_some((x0, x1, y0, y1))
    }

    /// Adds `value(point)` at every pixel near the points.
    pub fn fill(&mut self, around: &[Mm], margin_mm: f64, value: impl Fn(Mm) -> f32) {
        let Some((x0, x1, y0, y1)) = self.bounds(around, margin_mm) else { return };
        let back = self.place.inverse();
        for y in y0..y1 {
            let row = &mut self.values[y * self.width..(y + 1) * self.width];
            for (x, out) in row[x0..x1].iter_mut().enumerate() {
                *out += value(back.point((x + x0) as f64, y as f64));
            }
        }
    }

    #[inline]
    pub fn splat(&mut self, x: f64, y: f64, mass: f32) {
        if !(x > -1.0 && y > -1.0 && x < self.width as f64 && y < self.height as f64) {
            return;
        }
        // truncation of a positive number is a floor without a library call
        let (ix, iy) = ((x + 1.0) as isize - 1, (y + 1.0) as isize - 1);
        let (u, v) = ((x - ix as f64) as f32, (y - iy as f64) as f32);
        if ix >= 0 && iy >= 0 && ix + 1 < self.width as isize && iy + 1 < self.height as isize {
            let at = iy as usize * self.width + ix as usize;
            let (upper, lower) = self.values[at..].split_at_mut(self.width);
            let (up, down) = (mass * (1.0 - v), mass * v);
            upper[0] += up * (1.0 - u);
            upper[1] += up * u;
            lower[0] += down * (1.0 - u);
            lower[1] += down * u;
            return;
        }
        for (dy, wy) in [(0, 1.0 - v), (1, v)] {
            let row = iy + dy;
            if row < 0 || row >= self.height as isize {
                continue;
            }
            for (dx, wx) in [(0, 1.0 - u), (1, u)] {
                let column = ix + dx;
                if column >= 0 && column < self.width as isize {
                    self.values[row as usize * self.width + column as usize] += mass * wx * wy;
                }
            }
        }
    }

    /// A stroke along `line` (mm) of half width `half(t)` mm and optical depth `depth(t)`, t in 0..1 along the line.
    pub fn stroke(&mut self, line: &[Mm], profile: Profile, half: impl Fn(f64) -> f64, depth: impl Fn(f64) -> f64) {
        let lengths = crate::plane::arc_lengths(line);
        let Some(total) = lengths.last().copied().filter(|l| *l > 1e-6) else { return };
        if self.bounds(line, 20.0).is_none() {
            return;
        }
        let area = self.place.area();
        let step = 0.6 / area.sqrt();
        // as long as the width stays, the points across do
        let mut section = Vec::new();
        for i in 1..line.len() {
            let (a, b) = (line[i - 1], line[i]);
            let piece = lengths[i] - lengths[i - 1];
            if piece < 1e-9 {
                continue;
            }
            let along = ((piece / step).ceil() as usize).max(1);
            let normal = (b - a).unit().anterior_normal();
            for k in 0..along {
                let f = (k as f64 + 0.5) / along as f64;
                let centre = a.lerp(b, f);
                let t = (lengths[i - 1] + f * piece) / total;
                let (h, tau) = (half(t), depth(t));
                if h <= 0.0 || tau == 0.0 {
                    continue;
                }
                let across = ((2.0 * h / step).ceil() as usize).max(1);
                let mass = tau * piece / along as f64 * (2.0 * h / across as f64) * area;
                if section.len() != across {
                    section.clear();
                    section.extend((0..across).map(|j| profile.point(j, across)));
                }
                self.lay_section(&section, centre, normal, h, mass);
            }
        }
    }

    /// One cross-section of a stroke: points from -1 to 1 over its half width `h`, mm, each with its share of the mass.
    fn lay_section(&mut self, section: &[(f64, f64)], centre: Mm, normal: Mm, h: f64, mass: f64) {
        let place = self.place;
        let at = |n: f64| place.apply(centre + normal * (n * h));
        let (Some((first, _)), Some((last, _))) = (section.first(), section.last()) else { return };
        // with a hair more than a pixel to spare at either end, every point between has its four neighbours
        let spare =
            |(x, y): (f64, f64)| x >= 0.1 && y >= 0.1 && x < self.width as f64 - 2.1 && y < self.height as f64 - 2.1;
        if !(spare(at(*first)) && spare(at(*last))) {
            for (n, weight) in section {
                let (x, y) = at(*n);
                self.splat(x, y, (mass * weight) as f32);
            }
            return;
        }
        let width = self.width;
        for points in section.chunks(GO) {
            // positions and shares first, several at a time; then the pixels, one after the other, since neighbours overlap
            let mut corner = [(0u32, 0u32); GO];
            let mut shares = [(0f32, 0f32, 0f32); GO];
            for ((corner, share), (n, weight)) in corner.iter_mut().zip(&mut shares).zip(points) {
                let (x, y) = at(*n);
                // A whole number may be taken for the end of the pixel before it: all of the mass then falls on its far side, the same place.
                let (left, above) = (x - 0.5 + WHOLE, y - 0.5 + WHOLE);
                *corner = (left.to_bits() as u32, above.to_bits() as u32);
                *share = ((x - (left - WHOLE)) as f32, (y - (above - WHOLE)) as f32, (mass * weight) as f32);
            }
            for ((ix, iy), (u, v, mass)) in corner[..points.len()].iter().zip(&shares) {
                let at = *iy as usize * width + *ix as usize;
                let around = &mut self.values[at..at + width + 2];
                let (up, down) = (mass * (1.0 - v), mass * v);
                around[0] += up * (1.0 - u);
                around[1] += up * u;
                around[width] += down * (1.0 - u);
                around[width + 1] += down * u;
            }
        }
    }

    /// Adds this canvas, enlarged `factor` times by bilinear interpolation, to a finer one.
    pub fn add_enlarged_to(&self, fine: &mut Canvas, factor: usize) {
        let mut enlarger = Enlarger::new(self.width, fine.width, factor);
        let mut line = vec![0f32; fine.width];
        for (y, row) in fine.values.chunks_exact_mut(fine.width).enumerate() {
            enlarger.row(self, y, &mut line);
            for (out, value) in row.iter_mut().zip(&line) {
                *out += value;
            }
        }
    }
}

/// Fractal value noise of about unit standard deviation on a `width` x `height` grid, the largest cells `cell` pixels wide.
pub(crate) fn fractal(width: usize, height: usize, cell: f64, octaves: u32, random: &mut Random) -> Vec<f32> {
    let mut out = vec![0f32; width * height];
    let mut size = cell.max(2.0);
    let mut amplitude = 1.0f32;
    let mut power = 0.0f32;
    for _ in 0..octaves {
        let columns = (width as f64 / size).ceil() as usize + 2;
        let rows = (height as f64 / size).ceil() as usize + 2;
        let lattice: Vec<f32> = (0..columns * rows).map(|_| random.standard() as f32).collect();
        let across: Vec<(usize, f32)> = (0..width)
            .map(|x| {
                let at = x as f64 / size;
                let f = at.fract() as f32;
                (at as usize, f * f * (3.0 - 2.0 * f))
            })
            .collect();
        for y in 0..height {
            let at = y as f64 / size;
            let row = at as usize;
            let v = at.fract() as f32;
            let v = v * v * (3.0 - 2.0 * v);
            let top = &lattice[row * columns..];
            let bottom = &lattice[(row + 1) * columns..];
            for (out, (i, u)) in out[y * width..(y + 1) * width].iter_mut().zip(&across) {
                let a = top[*i] + u * (top[i + 1] - top[*i]);
                let b = bottom[*i] + u * (bottom[i + 1] - bottom[*i]);
                *out += amplitude * (a + v * (b - a));
            }
        }
        power += amplitude * amplitude * 0.47;
        amplitude *= 0.55;
        size *= 0.5;
        if size < 2.0 {
            break;
        }
    }
    let scale = 1.0 / power.sqrt();
    out.iter_mut().for_each(|v| *v *= scale);
    out
}

//! Geometry in the sagittal plane of the patient, millimetres: x from anterior to posterior, y from head to foot.

use std::ops::{Add, Mul, Sub};

/// A point or a displacement in the patient's sagittal plane, mm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Mm {
    pub x: f64,
    pub y: f64,
}

pub(crate) const fn mm(x: f64, y: f64) -> Mm {
    Mm { x, y }
}

impl Add for Mm {
    type Output = Mm;
    fn add(self, o: Mm) -> Mm {
        mm(self.x + o.x, self.y + o.y)
    }
}
impl Sub for Mm {
    type Output = Mm;
    fn sub(self, o: Mm) -> Mm {
        mm(self.x - o.x, self.y - o.y)
    }
}
impl Mul<f64> for Mm {
    type Output = Mm;
    fn mul(self, k: f64) -> Mm {
        mm(self.x * k, self.y * k)
    }
}

impl Mm {
    pub fn lerp(self, o: Mm, t: f64) -> Mm {
        self + (o - self) * t
    }
    pub fn dot(self, o: Mm) -> f64 {
        self.x * o.x + self.y * o.y
    }
    pub fn cross(self, o: Mm) -> f64 {
        self.x * o.y - self.y * o.x
    }
    pub fn length(self) -> f64 {
        self.x.hypot(self.y)
    }
    pub fn unit(self) -> Mm {
        self * (1.0 / self.length().max(1e-9))
    }
    /// A quarter turn that takes foot-ward (0, 1) to anterior (-1, 0).
    pub fn anterior_normal(self) -> Mm {
        mm(-self.y, self.x)
    }
}

/// Anterior direction of a body tilted by `angle` radians; positive tilt puts the anterior side lower.
pub(crate) fn forward(angle: f64) -> Mm {
    mm(-angle.cos(), angle.sin())
}

/// Head-ward direction of a body tilted by `angle` radians.
pub(crate) fn upward(angle: f64) -> Mm {
    mm(-angle.sin(), -angle.cos())
}

/// A curve through `knots` (Catmull-Rom), sampled about every `step` mm, ends included.
pub(crate) fn curve(knots: &[Mm], step: f64) -> Vec<Mm> {
    let n = knots.len();
    let mut out = Vec::new();
    for i in 0..n.saturating_sub(1) {
        let p0 = knots[i.saturating_sub(1)];
        let (p1, p2) = (knots[i], knots[i + 1]);
        let p3 = knots[(i + 2).min(n - 1)];
        let pieces = (((p2 - p1).length() / step).ceil() as usize).clamp(1, 2000);
        for k in 0..pieces {
            let t = k as f64 / pieces as f64;
            let (t2, t3) = (t * t, t * t * t);
            out.push(
                p1 + (p2 - p0) * (0.5 * t)
                    + (p0 * 2.0 - p1 * 5.0 + p2 * 4.0 - p3) * (0.5 * t2)
                    + (p1 * 3.0 - p0 - p2 * 3.0 + p3) * (0.5 * t3),
            );
        }
    }
    out.extend(knots.last());
    out
}

/// Lengths along a polyline from its start, one per point.
pub(crate) fn arc_lengths(points: &[Mm]) -> Vec<f64> {
    let mut total = 0.0;
    let mut out = Vec::with_capacity(points.len());
    for (i, p) in points.iter().enumerate() {
        if i > 0 {
            total += (*p - points[i - 1]).length();
        }
        out.push(total);
    }
    out
}

/// Linear interpolation in the table (`xs` ascending, `ys`), constant beyond the ends.
pub(crate) fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let i = xs.partition_point(|v| *v <= x);
    if i == 0 {
        return ys[0];
    }
    if i == xs.len() {
        return ys[xs.len() - 1];
    }
    let t = (x - xs[i - 1]) / (xs[i] - xs[i - 1]).max(1e-12);
    ys[i - 1] + t * (ys[i] - ys[i - 1])
}

pub(crate) fn smoothstep(low: f64, high: f64, x: f64) -> f64 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

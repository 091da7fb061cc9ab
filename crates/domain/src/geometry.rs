//! Points that know their space, and maps between spaces.
//!
//! All pixel spaces put (0, 0) at the centre of the first pixel, x to the right along columns, y down along rows.

use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// Pixels of the stored image as acquired: not resampled, aspect not corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImagePx;

/// Pixels of the `locate` network's input tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StagePx;

/// Pixels of the canonical region around the aorta, 128 wide x 256 high: column 0 anterior, row 0 the T12/L1 mid-disc,
/// 64 rows a level (Chaplin & Cootes, section 2.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionPx;

/// Pixels of the upright crop around the vertebrae, 256 rows x 128 columns, anterior at column 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropPx;

/// A point of space `S`.
#[derive(Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Point<S> {
    pub x: f64,
    pub y: f64,
    space: PhantomData<S>,
}

impl<S> Point<S> {
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y, space: PhantomData }
    }

    /// `self + t * (other - self)`.
    pub fn lerp(self, other: Self, t: f64) -> Self {
        Self::new(self.x + t * (other.x - self.x), self.y + t * (other.y - self.y))
    }

    /// Euclidean distance in the units of the space (pixels; meaningful as a length only where pixels are square).
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

impl<S> Clone for Point<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for Point<S> {}
impl<S> PartialEq for Point<S> {
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x && self.y == other.y
    }
}
impl<S> std::fmt::Debug for Point<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({:.3}, {:.3})", self.x, self.y)
    }
}
impl<S> From<[f64; 2]> for Point<S> {
    fn from([x, y]: [f64; 2]) -> Self {
        Self::new(x, y)
    }
}
impl<S> From<Point<S>> for [f64; 2] {
    fn from(point: Point<S>) -> Self {
        [point.x, point.y]
    }
}

/// An affine map from space `A` to space `B`: `x' = m[0] x + m[1] y + m[2]`, `y' = m[3] x + m[4] y + m[5]`.
pub struct Affine<A, B> {
    pub m: [f64; 6],
    spaces: PhantomData<(A, B)>,
}

impl<A, B> Clone for Affine<A, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A, B> Copy for Affine<A, B> {}
impl<A, B> PartialEq for Affine<A, B> {
    fn eq(&self, other: &Self) -> bool {
        self.m == other.m
    }
}
impl<A, B> std::fmt::Debug for Affine<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Affine").field(&self.m).finish()
    }
}

impl<A, B> Affine<A, B> {
    pub const fn new(m: [f64; 6]) -> Self {
        Self { m, spaces: PhantomData }
    }

    /// Scale by (`sx`, `sy`), then shift by (`tx`, `ty`).
    pub const fn scale_then_shift(sx: f64, sy: f64, tx: f64, ty: f64) -> Self {
        Self::new([sx, 0.0, tx, 0.0, sy, ty])
    }

    pub fn apply(&self, p: Point<A>) -> Point<B> {
        let m = &self.m;
        Point::new(m[0] * p.x + m[1] * p.y + m[2], m[3] * p.x + m[4] * p.y + m[5])
    }

    /// `None` when the map is singular.
    pub fn inverse(&self) -> Option<Affine<B, A>> {
        let [a, b, c, d, e, f] = self.m;
        let det = a * e - b * d;
        (det.is_finite() && det.abs() > 1e-12)
            .then(|| Affine::new([e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det]))
    }

    /// First `self`, then `next`.
    pub fn then<C>(&self, next: &Affine<B, C>) -> Affine<A, C> {
        let [a, b, c, d, e, f] = self.m;
        let n = &next.m;
        Affine::new([
            n[0] * a + n[1] * d,
            n[0] * b + n[1] * e,
            n[0] * c + n[1] * f + n[2],
            n[3] * a + n[4] * d,
            n[3] * b + n[4] * e,
            n[3] * c + n[4] * f + n[5],
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_affine_map_and_its_inverse_cancel() {
        let map: Affine<ImagePx, StagePx> = Affine::new([1.5, 0.2, 7.0, -0.1, 0.8, -3.0]);
        let p = Point::new(31.25, 417.5);
        let back = map.then(&map.inverse().unwrap()).apply(p);
        assert!(p.distance(back) < 1e-9);
        assert!(Affine::<ImagePx, StagePx>::new([0.0; 6]).inverse().is_none());
    }
}

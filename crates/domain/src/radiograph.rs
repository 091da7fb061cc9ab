//! A decoded radiograph: pixels and the few facts about it that name no patient.

use crate::geometry::{ImagePx, Point};
use crate::identity::ImageId;
use serde::{Deserialize, Serialize};

/// Grey pixels, row by row from the top left, 16 bit.
#[derive(Clone, PartialEq, Eq)]
pub struct Raster {
    width: u32,
    height: u32,
    pixels: Vec<u16>,
}

impl std::fmt::Debug for Raster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raster({} x {})", self.width, self.height)
    }
}

impl Raster {
    /// # Panics
    /// If `pixels.len()` is not `width * height`, or a side is 0: callers check sizes where they come from outside.
    pub fn new(width: u32, height: u32, pixels: Vec<u16>) -> Raster {
        assert!(width > 0 && height > 0, "a raster has at least one pixel");
        assert_eq!(pixels.len(), width as usize * height as usize, "pixels of a {width} x {height} raster");
        Raster { width, height, pixels }
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn pixels(&self) -> &[u16] {
        &self.pixels
    }

    pub fn pixels_mut(&mut self) -> &mut [u16] {
        &mut self.pixels
    }

    pub fn row(&self, y: u32) -> &[u16] {
        let start = y as usize * self.width as usize;
        &self.pixels[start..start + self.width as usize]
    }

    /// Whether the point lies within the outermost pixel centres.
    pub fn contains(&self, p: Point<ImagePx>) -> bool {
        p.x >= 0.0 && p.y >= 0.0 && p.x <= f64::from(self.width - 1) && p.y <= f64::from(self.height - 1)
    }

    /// Whether [`Raster::add_samples`] may be asked at a point: a neighbour on each side, and a hair more against rounding.
    pub fn holds_sample(&self, p: Point<ImagePx>) -> bool {
        p.x >= 0.01 && p.y >= 0.01 && p.x < f64::from(self.width) - 1.01 && p.y < f64::from(self.height) - 1.01
    }

    /// Adds [`Raster::sample`] at each of the points (`xs`, `ys`) to `sums`, when all have neighbours on all sides
    /// ([`Raster::holds_sample`]). Positions first, then greys, then the interpolation: all but the greys goes several
    /// at a time.
    ///
    /// # Panics
    /// At a point without neighbours.
    pub fn add_samples<const N: usize>(&self, xs: &[f32; N], ys: &[f32; N], sums: &mut [f32; N]) {
        // From 2^23 to 2^24 a number has no fraction: what is added to one is rounded, and its last bits are the whole number.
        // That takes two instructions for several points, where a checked conversion takes ten for one.
        const WHOLE: f32 = 12_582_912.0;
        let whole_below = |at: f32| at - 0.5 + WHOLE;
        let (mut column, mut row, mut fx, mut fy) = ([0u32; N], [0u32; N], [0f32; N], [0f32; N]);
        for i in 0..N {
            let (x, y) = (whole_below(xs[i]), whole_below(ys[i]));
            (column[i], row[i]) =
                (x.to_bits().wrapping_sub(WHOLE.to_bits()), y.to_bits().wrapping_sub(WHOLE.to_bits()));
            // A whole number may be taken for the end of the step below it: the fraction is then 1, and the sample the same.
            (fx[i], fy[i]) = (xs[i] - (x - WHOLE), ys[i] - (y - WHOLE));
        }
        // Two neighbours in one word.
        let (mut upper, mut lower) = ([0u32; N], [0u32; N]);
        let width = self.width as usize;
        let pixels = &self.pixels[..];
        for i in 0..N {
            let at = row[i] as usize * width + column[i] as usize;
            let around = &pixels[at..at + width + 2];
            upper[i] = u32::from(around[0]) | u32::from(around[1]) << 16;
            lower[i] = u32::from(around[width]) | u32::from(around[width + 1]) << 16;
        }
        let left = |pair: u32| (pair & 0xFFFF) as i32 as f32;
        let right = |pair: u32| (pair >> 16) as i32 as f32;
        for i in 0..N {
            let (a, b, c, d) = (left(upper[i]), right(upper[i]), left(lower[i]), right(lower[i]));
            let (top, bottom) = (a + fx[i] * (b - a), c + fx[i] * (d - c));
            sums[i] += top + fy[i] * (bottom - top);
        }
    }

    /// Bilinear sample in grey levels; points outside take the value of the nearest edge pixel.
    #[inline]
    pub fn sample(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let x1 = (x0 + 1).min(self.width as usize - 1);
        let y1 = (y0 + 1).min(self.height as usize - 1);
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let at = |x: usize, y: usize| f32::from(self.pixels[y * self.width as usize + x]);
        let top = at(x0, y0) + fx * (at(x1, y0) - at(x0, y0));
        let bottom = at(x0, y1) + fx * (at(x1, y1) - at(x0, y1));
        top + fy * (bottom - top)
    }
}

/// Distance of pixel centres. Unknown is not an error: every score is a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PixelSpacing {
    /// Between neighbouring rows (down), mm; `None` when missing or zero.
    pub row_mm: Option<f64>,
    /// Between neighbouring columns (across), mm.
    pub column_mm: Option<f64>,
    /// Height of a pixel over its width, where that is known (also when the millimetres are not).
    pub aspect: Option<f64>,
}

impl PixelSpacing {
    pub fn square_mm(mm: f64) -> PixelSpacing {
        PixelSpacing { row_mm: Some(mm), column_mm: Some(mm), aspect: Some(1.0) }
    }

    /// Height of a pixel over its width: from the millimetres, else the stated ratio. `None` when neither is known.
    pub fn known_aspect(&self) -> Option<f64> {
        match (self.row_mm, self.column_mm) {
            (Some(row), Some(column)) if row > 0.0 && column > 0.0 => Some(row / column),
            _ => self.aspect.filter(|a| a.is_finite() && *a > 0.0),
        }
    }

    /// [`PixelSpacing::known_aspect`], else 1.
    pub fn aspect_or_square(&self) -> f64 {
        self.known_aspect().unwrap_or(1.0)
    }
}

/// What is known of an image apart from its pixels. Every field is a pseudonym, a technical attribute, or a demographic
/// attribute that the tables carry; nothing here names a patient (invariant 9).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InstanceFacts {
    pub participant_id: Option<String>,
    pub study_id: Option<String>,
    pub series_id: Option<String>,
    pub sop_id: Option<String>,
    /// Version of the study key that made the ids.
    pub key_name: Option<String>,
    pub site_id: Option<String>,
    pub modality: Option<String>,
    pub body_part: Option<String>,
    pub view_position: Option<String>,
    pub scanner_maker: Option<String>,
    pub scanner_model: Option<String>,
    /// ISO 8601 day, shifted where the study asks for it.
    pub image_date: Option<String>,
    /// `F`, `M` or `O`.
    pub sex: Option<String>,
    /// Whole years at imaging; 90 and over are given as 90.
    pub age_years: Option<u16>,
    pub rows_px: Option<u32>,
    pub columns_px: Option<u32>,
    pub transfer_syntax: Option<String>,
    pub burned_in_annotation: Option<bool>,
}

/// A decoded radiograph.
///
/// Pixels are in the sense of MONOCHROME2 after modality and VOI transformation (bone bright), scaled to 0..=65535; not
/// resampled, aspect not corrected, anterior on whichever side it was.
#[derive(Debug, Clone)]
pub struct Radiograph {
    pub image_id: ImageId,
    pub raster: Raster,
    pub spacing: PixelSpacing,
    pub facts: InstanceFacts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_is_bilinear_and_clamps() {
        let raster = Raster::new(2, 2, vec![0, 100, 200, 300]);
        assert_eq!(raster.sample(0.5, 0.5), 150.0);
        assert_eq!(raster.sample(-9.0, 9.0), 200.0);
        assert_eq!(raster.sample(1.0, 0.25), 150.0);
    }

    #[test]
    fn many_samples_at_once_are_those_one_by_one() {
        let raster =
            Raster::new(37, 23, (0..37 * 23u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16).collect());
        let share = |i: u32, side: f32| 0.02 + (i.wrapping_mul(40_503) % 1000) as f32 / 1000.0 * (side - 1.1);
        let mut xs: [f32; 200] = std::array::from_fn(|i| share(i as u32, 37.0));
        let mut ys: [f32; 200] = std::array::from_fn(|i| share(7 * i as u32 + 3, 23.0));
        // On pixels, and between two of one row or column.
        (xs[0], ys[0], xs[1], ys[2]) = (1.0, 2.0, 6.0, 21.0);
        let points = || xs.iter().zip(&ys);
        assert!(points().all(|(x, y)| raster.holds_sample(Point::new(f64::from(*x), f64::from(*y)))));
        let mut sums = [1.0; 200];
        raster.add_samples(&xs, &ys, &mut sums);
        for ((x, y), sum) in points().zip(sums) {
            assert_eq!(sum, 1.0 + raster.sample(*x, *y), "{x} {y}");
        }
        assert!(!raster.holds_sample(Point::new(36.0, 5.0)) && !raster.holds_sample(Point::new(5.0, 22.0)));
    }

    #[test]
    fn aspect_comes_from_millimetres_first() {
        let both = PixelSpacing { row_mm: Some(0.3), column_mm: Some(0.2), aspect: Some(9.0) };
        assert!((both.aspect_or_square() - 1.5).abs() < 1e-12);
        assert_eq!(PixelSpacing { aspect: Some(0.7), ..Default::default() }.aspect_or_square(), 0.7);
        assert_eq!(PixelSpacing { row_mm: Some(0.0), column_mm: Some(0.2), aspect: None }.aspect_or_square(), 1.0);
    }
}

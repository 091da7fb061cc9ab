//! The canonical region: the strip around the aorta, straightened, 128 columns x 256 rows (Chaplin & Cootes, section 2.1).
//!
//! Column 0 is anterior, row 0 is at the head. The five mid-disc lines lie on the borders between rows: at region y = -0.5, 63.5,
//! 127.5, 191.5 and 255.5, so that each of L1..L4 has exactly 64 rows. The two walls, as estimated, are vertical: the margins
//! beside them are the same share of the aorta's width on all five lines, and nowhere under `margin_sd` standard errors.
//! Between two lines the map is bilinear; it is continuous across them.

use crate::error::{Error, ErrorKind, Result};
use crate::locate::{grey_range, stretch};
use crate::shape::{AortaEstimate, DISC_LINES};
use crate::validity::{BlankAreas, PixelState};
use domain::{ImagePx, PixelSpacing, Point, Raster, RegionPx, Wall};

/// Columns of the region.
pub const REGION_WIDTH: usize = 128;
/// Rows of the region.
pub const REGION_HEIGHT: usize = 256;
const LAST_COLUMN: f64 = (REGION_WIDTH - 1) as f64;
/// Rows between two mid-disc lines.
pub const ROWS_PER_LEVEL: usize = 64;

/// Widest margin on either side, widths of the aorta: an estimate that needs more says nothing.
const MAX_MARGIN: f64 = 3.0;
/// Image pixels per region pixel above which the area is averaged instead of interpolated at one place.
const AREA_ABOVE: f64 = 1.5;
/// Most samples along one side of a region pixel.
const MAX_SAMPLES: usize = 8;
/// Grey shares of the valid pixels that become black and white.
const BLACK_SHARE: f64 = 0.01;
const WHITE_SHARE: f64 = 0.99;

/// The map between the image and the canonical region.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Ends of the five mid-disc lines at the left border of column 0 and the right border of column 127.
    front: [Point<ImagePx>; DISC_LINES],
    back: [Point<ImagePx>; DISC_LINES],
    aspect: f64,
    wall_columns: [f64; 2],
    wall_sd_columns: [f64; 2],
    midline_sd_columns: f64,
}

/// Pixels of the region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionImage {
    /// 256 rows x 128 columns, row by row: 1 % .. 99 % of the valid pixels spread over 0..=255 and clamped; 0 where invalid.
    pub pixels: Vec<u8>,
    /// Whether the image shows this place.
    pub valid: Vec<bool>,
    /// Why a pixel is not valid.
    pub state: Vec<PixelState>,
}

impl Region {
    /// The region around an estimated aorta, widened by at least `margin_sd` standard errors on both sides.
    ///
    /// # Errors
    /// [`ErrorKind::Geometry`]: the mid-disc lines cross within the region, or are not in order from head to foot.
    pub fn new(aorta: &AortaEstimate, margin_sd: f64) -> Result<Region> {
        let aspect = aorta.aspect;
        let width = |line: usize| {
            let (a, p) = (aorta.anterior[line], aorta.posterior[line]);
            (a.x - p.x).hypot((a.y - p.y) * aspect)
        };
        let widths: [f64; DISC_LINES] = std::array::from_fn(width);
        if !widths.iter().all(|w| w.is_finite() && *w > 1e-6) {
            return Err(Error::new(ErrorKind::Geometry, "the estimated aortic walls coincide"));
        }
        let in_widths = |sd: &[f64; DISC_LINES]| std::array::from_fn::<f64, DISC_LINES, _>(|i| sd[i] / widths[i]);
        let [sd_front, sd_back, sd_middle] =
            [&aorta.anterior_sd_px, &aorta.posterior_sd_px, &aorta.middle_sd_px].map(in_widths);
        let margin = |sd: &[f64; DISC_LINES]| sd.iter().fold(0.0f64, |m, s| m.max(margin_sd * s)).min(MAX_MARGIN);
        let (front_margin, back_margin) = (margin(&sd_front), margin(&sd_back));
        let line = |t: f64| std::array::from_fn(|i| aorta.anterior[i].lerp(aorta.posterior[i], t));
        let columns = REGION_WIDTH as f64 / (1.0 + front_margin + back_margin);
        let mean = |sd: &[f64; DISC_LINES]| columns * sd.iter().sum::<f64>() / DISC_LINES as f64;
        let region = Region {
            front: line(-front_margin),
            back: line(1.0 + back_margin),
            aspect,
            wall_columns: [columns * front_margin - 0.5, columns * (1.0 + front_margin) - 0.5],
            wall_sd_columns: [mean(&sd_front), mean(&sd_back)],
            midline_sd_columns: mean(&sd_middle),
        };
        region.check()?;
        Ok(region)
    }

    /// All quads must be convex and turn the same way: else the map folds over.
    fn check(&self) -> Result<()> {
        let cross = |a: Point<ImagePx>, b: Point<ImagePx>, c: Point<ImagePx>| {
            (b.x - a.x) * (c.y - b.y) - (b.y - a.y) * (c.x - b.x)
        };
        let mut turns = (0..DISC_LINES - 1).flat_map(|k| {
            let q = [self.front[k], self.back[k], self.back[k + 1], self.front[k + 1]];
            (0..4).map(move |i| cross(q[i], q[(i + 1) % 4], q[(i + 2) % 4]))
        });
        let first = turns.next().unwrap_or(0.0);
        // A pixel's area is the least that a turn may have: thinner quads have no usable rows.
        if first.abs() > 1.0 && turns.all(|turn| turn.abs() > 1.0 && turn.signum() == first.signum()) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Geometry, "the mid-disc lines cross within the region, or run out of order"))
        }
    }

    /// Column of a wall as the shape model expects it.
    pub fn wall_column(&self, wall: Wall) -> f64 {
        self.wall_columns[wall.index()]
    }

    /// Standard error of a wall's column, mean over the five lines.
    pub fn wall_sd_columns(&self, wall: Wall) -> f64 {
        self.wall_sd_columns[wall.index()]
    }

    /// Column of the middle between the walls as the shape model expects it.
    pub fn midline_column(&self) -> f64 {
        (self.wall_columns[0] + self.wall_columns[1]) / 2.0
    }

    /// Standard error of the middle's column, mean over the five lines.
    pub fn midline_sd_columns(&self) -> f64 {
        self.midline_sd_columns
    }

    /// Height of an image pixel over its width.
    pub fn aspect(&self) -> f64 {
        self.aspect
    }

    /// Whether anterior (column 0) is to the right in the image.
    pub fn anterior_right(&self) -> bool {
        self.front[0].x > self.back[0].x
    }

    /// Image point of a region point. Points beyond the region continue the nearest level's map.
    pub fn to_image(&self, p: Point<RegionPx>) -> Point<ImagePx> {
        let u = (p.x + 0.5) / REGION_WIDTH as f64;
        let v = (p.y + 0.5) / ROWS_PER_LEVEL as f64;
        let k = v.clamp(0.0, (DISC_LINES - 2) as f64) as usize;
        let upper = self.front[k].lerp(self.back[k], u);
        let lower = self.front[k + 1].lerp(self.back[k + 1], u);
        upper.lerp(lower, v - k as f64)
    }

    /// Region point of an image point; `None` outside the region. The inverse of [`Region::to_image`].
    pub fn to_region(&self, p: Point<ImagePx>) -> Option<Point<RegionPx>> {
        (0..DISC_LINES - 1).find_map(|k| {
            let (u, v) = self.inverse_in(k, p)?;
            Some(Point::new(u * REGION_WIDTH as f64 - 0.5, (k as f64 + v) * ROWS_PER_LEVEL as f64 - 0.5))
        })
    }

    /// Inverse of the bilinear map of level `k`: (u, v) in the unit square, or `None`.
    fn inverse_in(&self, k: usize, p: Point<ImagePx>) -> Option<(f64, f64)> {
        // p - a = u e + v f + u v g; taking the cross product with (e + v g) leaves a quadratic equation in v.
        let (a, b, c, d) = (self.front[k], self.back[k], self.front[k + 1], self.back[k + 1]);
        let (ex, ey) = (b.x - a.x, b.y - a.y);
        let (fx, fy) = (c.x - a.x, c.y - a.y);
        let (gx, gy) = (d.x - b.x - fx, d.y - b.y - fy);
        let (hx, hy) = (p.x - a.x, p.y - a.y);
        let (k2, k1, k0) = (gx * fy - gy * fx, ex * fy - ey * fx + hx * gy - hy * gx, hx * ey - hy * ex);
        let in_unit = |v: f64| (-1e-9..=1.0 + 1e-9).contains(&v);
        let solve_u = |v: f64| {
            let (dx, dy) = (ex + v * gx, ey + v * gy);
            ((hx - v * fx) * dx + (hy - v * fy) * dy) / (dx * dx + dy * dy)
        };
        let discriminant = k1 * k1 - 4.0 * k2 * k0;
        if discriminant < 0.0 {
            return None;
        }
        // The stable form: no difference of nearly equal numbers, and finite when the lines are parallel (k2 = 0).
        let q = -0.5 * (k1 + discriminant.sqrt().copysign(k1));
        [k0 / q, q / k2]
            .into_iter()
            .filter(|v| v.is_finite() && in_unit(*v))
            .map(|v| (solve_u(v), v))
            .find(|(u, _)| in_unit(*u))
    }

    /// Image pixels per region pixel in a level: along rows (across the aorta) and down columns, in pixels of the image.
    fn scale_in(&self, k: usize) -> (f64, f64) {
        let across = self.front[k].distance(self.back[k]).max(self.front[k + 1].distance(self.back[k + 1]));
        let down = self.front[k].distance(self.front[k + 1]).max(self.back[k].distance(self.back[k + 1]));
        (across / REGION_WIDTH as f64, down / ROWS_PER_LEVEL as f64)
    }

    /// Cuts the region out of the image: bilinear, the area averaged where the region is more than 1.5 times coarser.
    ///
    /// A pixel is valid where its centre lies in the image and not in a blank or saturated area (see [`PixelState`]).
    pub fn warp(&self, raster: &Raster) -> RegionImage {
        let blank = BlankAreas::of(raster);
        let mut grey = Vec::with_capacity(REGION_WIDTH * REGION_HEIGHT);
        let mut state = Vec::with_capacity(REGION_WIDTH * REGION_HEIGHT);
        let mut sums = [0f32; REGION_WIDTH];
        for row in 0..REGION_HEIGHT {
            let (across, down) = self.scale_in(row / ROWS_PER_LEVEL);
            let samples = |scale: f64| if scale > AREA_ABOVE { (scale.ceil() as usize).min(MAX_SAMPLES) } else { 1 };
            let (nx, ny) = (samples(across), samples(down));
            let weight = 1.0 / (nx * ny) as f32;
            let lines: Vec<(Point<ImagePx>, f64, f64)> = (0..ny)
                .map(|i| {
                    let y = row as f64 - 0.5 + (i as f64 + 0.5) / ny as f64;
                    let start = self.to_image(Point::new(-0.5, y));
                    let end = self.to_image(Point::new(REGION_WIDTH as f64 - 0.5, y));
                    let steps = (REGION_WIDTH * nx) as f64;
                    (start, (end.x - start.x) / steps, (end.y - start.y) / steps)
                })
                .collect();
            let within = lines.iter().all(|(start, dx, dy)| {
                let steps = (REGION_WIDTH * nx) as f64;
                let end = Point::new(start.x + dx * steps, start.y + dy * steps);
                raster.holds_sample(*start) && raster.holds_sample(end)
            });
            sums.fill(0.0);
            for (start, dx, dy) in &lines {
                for i in 0..nx {
                    // Along a row the bilinear map is linear, so that samples are equal steps.
                    let along = |start: f64, step: f64| {
                        let (first, step) = ((start + (i as f64 + 0.5) * step) as f32, (step * nx as f64) as f32);
                        std::array::from_fn(|column| first + column as i32 as f32 * step)
                    };
                    let (xs, ys) = (along(start.x, *dx), along(start.y, *dy));
                    if within {
                        raster.add_samples(&xs, &ys, &mut sums);
                    } else {
                        for (sum, (x, y)) in sums.iter_mut().zip(xs.iter().zip(&ys)) {
                            *sum += raster.sample(*x, *y);
                        }
                    }
                }
            }
            grey.extend(sums.iter().map(|sum| sum * weight));
            let centres =
                (self.to_image(Point::new(0.0, row as f64)), self.to_image(Point::new(LAST_COLUMN, row as f64)));
            let inside = raster.contains(centres.0) && raster.contains(centres.1);
            if inside && (blank.is_empty() || blank.spare(centres.0, centres.1)) {
                state.extend([PixelState::Valid; REGION_WIDTH]);
            } else {
                let centre = |column: usize| centres.0.lerp(centres.1, column as f64 / LAST_COLUMN);
                state.extend((0..REGION_WIDTH).map(|column| blank.state(raster, centre(column))));
            }
        }
        let valid: Vec<bool> = state.iter().map(|s| *s == PixelState::Valid).collect();
        let is_whole = valid.iter().fold(true, |all, v| all & v);
        let range = if is_whole {
            grey_range(&grey, BLACK_SHARE, WHITE_SHARE)
        } else {
            let seen: Vec<f32> = grey.iter().zip(&valid).filter_map(|(g, v)| v.then_some(*g)).collect();
            grey_range(&seen, BLACK_SHARE, WHITE_SHARE)
        };
        let mut pixels = vec![0; grey.len()];
        stretch(&grey, range, &mut pixels);
        for (pixel, valid) in pixels.iter_mut().zip(&valid) {
            *pixel *= u8::from(*valid);
        }
        RegionImage { pixels, valid, state }
    }

    /// Cuts the region out of a label image (`width` x `height`, row by row) by nearest neighbour: 256 rows x 128 columns. Places
    /// outside the image are 0.
    ///
    /// # Panics
    /// If `labels.len()` is not `width * height`.
    pub fn warp_labels(&self, labels: &[u8], width: u32, height: u32) -> Vec<u8> {
        assert_eq!(labels.len(), width as usize * height as usize, "labels of a {width} x {height} image");
        let mut warped = Vec::with_capacity(REGION_WIDTH * REGION_HEIGHT);
        for row in 0..REGION_HEIGHT {
            for column in 0..REGION_WIDTH {
                let at = self.to_image(Point::new(column as f64, row as f64));
                let (x, y) = (at.x.round(), at.y.round());
                let inside = x >= 0.0 && y >= 0.0 && x < f64::from(width) && y < f64::from(height);
                warped.push(if inside { labels[y as usize * width as usize + x as usize] } else { 0 });
            }
        }
        warped
    }

    /// Length of each row along a region column: 256 values in the units of `per_x` and `per_y` (units per image pixel).
    pub fn row_lengths(&self, column: f64, per_x: f64, per_y: f64) -> Vec<f64> {
        (0..REGION_HEIGHT)
            .map(|row| {
                let top = self.to_image(Point::new(column, row as f64 - 0.5));
                // The last border belongs to the last level; to_image continues its map.
                let bottom = self.to_image(Point::new(column, row as f64 + 0.5));
                ((top.x - bottom.x) * per_x).hypot((top.y - bottom.y) * per_y)
            })
            .collect()
    }

    /// Length of each row along a region column, mm; `None` when the spacing is unknown.
    pub fn row_lengths_mm(&self, column: f64, spacing: &PixelSpacing) -> Option<Vec<f64>> {
        let known = |mm: Option<f64>| mm.filter(|mm| mm.is_finite() && *mm > 0.0);
        Some(self.row_lengths(column, known(spacing.column_mm)?, known(spacing.row_mm)?))
    }

    /// The vertical line at a region column as a polyline in the image: one point at each mid-disc line, head to foot.
    pub fn line(&self, column: f64) -> Vec<Point<ImagePx>> {
        (0..DISC_LINES).map(|i| self.to_image(Point::new(column, (i * ROWS_PER_LEVEL) as f64 - 0.5))).collect()
    }

    /// Outline of the region in the image, closed, starting at the head on the anterior side.
    pub fn outline(&self) -> Vec<Point<ImagePx>> {
        self.front.iter().copied().chain(self.back.iter().rev().copied()).collect()
    }

    /// Width of a region column in pixel widths of the image, mean over the five lines.
    pub fn column_px(&self) -> f64 {
        let width = |(a, b): (&Point<ImagePx>, &Point<ImagePx>)| (a.x - b.x).hypot((a.y - b.y) * self.aspect);
        self.front.iter().zip(&self.back).map(width).sum::<f64>() / (DISC_LINES * REGION_WIDTH) as f64
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
pub(crate) mod tests;

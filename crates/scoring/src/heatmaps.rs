//! After the `locate` network: its heatmaps become peaks, to a fraction of a cell.

use crate::error::{Error, ErrorKind, Result};
use crate::locate::{STAGE_HEIGHT, STAGE_WIDTH, invert};
use domain::reading::LocatedCorner;
use domain::{Affine, ImagePx, Landmark, Point, StagePx};
use nalgebra::{SMatrix, SVector};
use std::borrow::Cow;

/// Stage pixels per heatmap cell.
pub const HEATMAP_STRIDE: usize = 4;
/// Columns of a heatmap.
pub const HEATMAP_WIDTH: usize = STAGE_WIDTH / HEATMAP_STRIDE;
/// Rows of a heatmap.
pub const HEATMAP_HEIGHT: usize = STAGE_HEIGHT / HEATMAP_STRIDE;
/// Standard deviation of the Gaussian that the network is trained to draw on a corner, heatmap cells.
pub const HEATMAP_SIGMA_CELLS: f64 = 1.5;

/// No corner is known better than this, heatmap cells: annotators differ by about as much.
const SD_FLOOR_CELLS: f64 = 0.25;
/// No corner is known worse than this, heatmap cells; beyond it the peak says nothing.
const SD_CEILING_CELLS: f64 = 12.0;

/// The network's heatmaps, 26 x 128 x 64: channels in the order of [`Landmark::from_channel`]; the centre of cell (i, j) is stage pixel
/// (4 j + 1.5, 4 i + 1.5).
#[derive(Debug, Clone)]
pub enum Heatmaps<'a> {
    /// 0..1.
    Fractions(Cow<'a, [f32]>),
    /// In steps of 1/255: a quarter of the bytes, and read as they are.
    Steps(Cow<'a, [u8]>),
}

/// What a heatmap holds.
pub(crate) trait Cell: Copy + PartialOrd {
    /// Below all others.
    const LEAST: Self;
    /// Where nothing is.
    const NOTHING: Self;

    /// 0..1.
    fn height(self) -> f64;
    fn is_number(self) -> bool;
}

impl Cell for f32 {
    const LEAST: f32 = f32::MIN;
    const NOTHING: f32 = 0.0;

    fn height(self) -> f64 {
        f64::from(self)
    }

    fn is_number(self) -> bool {
        self.is_finite()
    }
}

impl Cell for u8 {
    const LEAST: u8 = 0;
    const NOTHING: u8 = 0;

    /// To the same bits as where steps are made fractions before they are read.
    fn height(self) -> f64 {
        f64::from(f32::from(self) * (1.0 / 255.0))
    }

    fn is_number(self) -> bool {
        true
    }
}

/// The corners that the peaks of all channels show, in the picture. Every channel gives one, found or not: a low confidence says that it
/// was not.
///
/// # Errors
/// [`ErrorKind::Geometry`] when the map has no inverse.
pub(crate) fn corners(peaks: &[Peak], to_stage: &Affine<ImagePx, StagePx>) -> Result<Vec<LocatedCorner>> {
    let to_image = invert(to_stage)?;
    let sd_px_per_cell = HEATMAP_STRIDE as f64 * to_image.m[0].abs().max(to_image.m[4].abs());
    let corner = |(channel, peak): (usize, &Peak)| LocatedCorner {
        landmark: Landmark::from_channel(channel),
        at: to_image.apply(peak.at_stage()),
        sd_px: peak.sd_cells * sd_px_per_cell,
        confidence: peak.height,
    };
    Ok(peaks.iter().enumerate().map(corner).collect())
}

/// The 26 heatmaps, each 128 x 64, checked.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] when the length is wrong or a value is not finite.
pub(crate) fn channels<C: Cell>(heatmaps: &[C]) -> Result<impl Iterator<Item = &'_ [C]>> {
    const CELLS: usize = HEATMAP_WIDTH * HEATMAP_HEIGHT;
    if heatmaps.len() != CELLS * Landmark::COUNT {
        let message = format!("heatmaps have {} values, expected 26 x 128 x 64", heatmaps.len());
        return Err(Error::new(ErrorKind::NetworkOutput, message));
    }
    // A whole map at a time: no branch for each value.
    let finite = |map: &[C]| map.iter().fold(true, |all, cell| all & cell.is_number());
    if !heatmaps.chunks_exact(CELLS).all(finite) {
        return Err(Error::new(ErrorKind::NetworkOutput, "a heatmap holds a value that is not finite"));
    }
    Ok(heatmaps.chunks_exact(CELLS))
}

/// A peak of a heatmap, in cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    pub column: f64,
    pub row: f64,
    /// 0..1.
    pub height: f64,
    pub sd_cells: f64,
}

impl Peak {
    pub fn at_stage(&self) -> Point<StagePx> {
        let stage = |cell: f64| HEATMAP_STRIDE as f64 * cell + (HEATMAP_STRIDE as f64 - 1.0) / 2.0;
        Point::new(stage(self.column), stage(self.row))
    }
}

/// The largest value of each row of a heatmap: where the highest cells lie is then found in 128 numbers, not in 8192.
pub(crate) struct RowMaxima<C>([C; HEATMAP_HEIGHT]);

impl<C: Cell> RowMaxima<C> {
    pub fn of(heatmap: &[C]) -> RowMaxima<C> {
        let mut maxima = RowMaxima([C::LEAST; HEATMAP_HEIGHT]);
        maxima.update(heatmap, 0..HEATMAP_HEIGHT);
        maxima
    }

    /// After a change in some rows.
    pub fn update(&mut self, heatmap: &[C], rows: std::ops::Range<usize>) {
        for row in rows {
            let cells = &heatmap[row * HEATMAP_WIDTH..(row + 1) * HEATMAP_WIDTH];
            // Sixteen maxima side by side: no value waits for the one before it.
            let mut most = [C::LEAST; 16];
            for sixteen in cells.as_chunks::<16>().0 {
                for (most, &value) in most.iter_mut().zip(sixteen) {
                    *most = if value > *most { value } else { *most };
                }
            }
            self.0[row] = largest(most);
        }
    }

    /// The first of the largest cells.
    pub fn brightest(&self, heatmap: &[C]) -> usize {
        let most = largest(self.0);
        let row = self.0.iter().position(|&value| value == most).unwrap_or(0);
        let cells = &heatmap[row * HEATMAP_WIDTH..(row + 1) * HEATMAP_WIDTH];
        row * HEATMAP_WIDTH + cells.iter().position(|&value| value == most).unwrap_or(0)
    }
}

/// The largest of the values.
fn largest<C: Cell>(values: impl IntoIterator<Item = C>) -> C {
    values.into_iter().fold(C::LEAST, |most, value| if value > most { value } else { most })
}

/// Fits a Gaussian with its axes along the grid around `cell`.
///
/// ln h = a0 + a1 x + a2 y + a3 x^2 + a4 y^2 by least squares with weights h^2 (an equal error of all h makes an error of
/// ln h that goes with 1 / h). On a Gaussian the fit is exact wherever the centre lies between cells and however the
/// window is cut by the border. A peak without a finite width (a plateau, a lone spike) falls back to the weighted centroid.
pub(crate) fn fit_peak<C: Cell>(heatmap: &[C], cell: usize) -> Peak {
    let (row0, column0) = ((cell / HEATMAP_WIDTH) as isize, (cell % HEATMAP_WIDTH) as isize);
    let top = heatmap[cell].height();
    let mut normal = SMatrix::<f64, 5, 5>::zeros();
    let mut right = SVector::<f64, 5>::zeros();
    let (mut mass, mut mean_x, mut mean_y) = (0.0, 0.0, 0.0);
    for dy in -2isize..=2 {
        for dx in -2isize..=2 {
            let (row, column) = (row0 + dy, column0 + dx);
            if row < 0 || column < 0 || row >= HEATMAP_HEIGHT as isize || column >= HEATMAP_WIDTH as isize {
                continue;
            }
            let value = heatmap[row as usize * HEATMAP_WIDTH + column as usize].height();
            // Cells far below the peak belong to the background of the sigmoid, not to the Gaussian.
            if value <= 0.02 * top || value <= 1e-9 {
                continue;
            }
            let (x, y) = (dx as f64, dy as f64);
            let terms = SVector::<f64, 5>::from([1.0, x, y, x * x, y * y]);
            let weight = value * value;
            normal += terms * terms.transpose() * weight;
            right += terms * (weight * value.ln());
            mass += value;
            mean_x += value * x;
            mean_y += value * y;
        }
    }
    let variance0 = HEATMAP_SIGMA_CELLS * HEATMAP_SIGMA_CELLS;
    let fitted = normal.cholesky().map(|c| c.solve(&right)).and_then(|a| {
        let (x, y) = (-a[1] / (2.0 * a[3]), -a[2] / (2.0 * a[4]));
        // A centre more than a cell off the largest cell contradicts its being the largest.
        let plausible = a[3] < -1e-3 && a[4] < -1e-3 && x.abs() <= 1.0 && y.abs() <= 1.0;
        plausible.then(|| {
            let height = (a[0] - a[3] * x * x - a[4] * y * y).exp().clamp(top, 1.25 * top);
            let variance = (-0.25 / a[3]) + (-0.25 / a[4]);
            (x, y, height, variance)
        })
    });
    let (x, y, height, variance) = match fitted {
        Some(fit) => fit,
        None if mass > 0.0 => (mean_x / mass, mean_y / mass, top, 2.0 * variance0),
        None => (0.0, 0.0, top, 2.0 * variance0),
    };
    let height = height.clamp(0.0, 1.0);
    // A network that knows the corner up to a variance t draws, on average, the Gaussian of variance s + t and height
    // s / (s + t), s being the variance it was trained with. Both tell t; the larger is believed.
    let from_width = (variance - variance0).max(0.0);
    let from_height = variance0 * (1.0 / height.max(1e-3) - 1.0);
    let sd_cells = (SD_FLOOR_CELLS.powi(2) + from_width.max(from_height)).sqrt().min(SD_CEILING_CELLS);
    Peak { column: column0 as f64 + x, row: row0 as f64 + y, height, sd_cells }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::prepare;
    use domain::Raster;

    /// The highest peak of each channel, in the picture.
    fn located(heatmaps: &[f32], to_stage: &Affine<ImagePx, StagePx>) -> Result<Vec<LocatedCorner>> {
        let peaks: Vec<Peak> =
            channels(heatmaps)?.map(|map| fit_peak(map, RowMaxima::of(map).brightest(map))).collect();
        corners(&peaks, to_stage)
    }

    fn draw(at: Point<StagePx>, height: f64, heatmap: &mut [f32]) {
        let cell = |stage: f64| (stage - 1.5) / 4.0;
        for (index, value) in heatmap.iter_mut().enumerate() {
            let (dx, dy) = ((index % HEATMAP_WIDTH) as f64 - cell(at.x), (index / HEATMAP_WIDTH) as f64 - cell(at.y));
            *value += (height * (-(dx * dx + dy * dy) / (2.0 * 2.25)).exp()) as f32;
        }
    }

    #[test]
    fn corners_survive_the_way_through_the_stage_at_any_aspect() {
        for aspect in [0.7, 1.0, 1.4] {
            for (width, height) in [(1800, 2500), (400, 1100), (100, 90)] {
                let to_stage =
                    prepare(&Raster::new(width, height, vec![7; (width * height) as usize]), aspect).to_stage;
                let mut heatmaps = vec![0f32; 26 * HEATMAP_WIDTH * HEATMAP_HEIGHT];
                let corners: Vec<Point<ImagePx>> = (0..26)
                    .map(|i| {
                        let share = f64::from(i) / 25.0;
                        Point::new(
                            f64::from(width - 1) * (0.05 + 0.9 * share),
                            f64::from(height - 1) * (0.93 - 0.87 * share),
                        )
                    })
                    .collect();
                for (heatmap, corner) in heatmaps.chunks_exact_mut(HEATMAP_WIDTH * HEATMAP_HEIGHT).zip(&corners) {
                    draw(to_stage.apply(*corner), 0.8, heatmap);
                }
                for (found, truth) in located(&heatmaps, &to_stage).unwrap().iter().zip(&corners) {
                    let error = to_stage.apply(found.at).distance(to_stage.apply(*truth));
                    assert!(error <= 0.2, "{error} stage px at aspect {aspect}, {width} x {height}");
                    assert!((found.confidence - 0.8).abs() < 0.01, "{}", found.confidence);
                }
            }
        }
    }

    #[test]
    fn a_fitted_peak_withstands_noise_and_tells_its_doubt() {
        let mut heatmap = vec![0f32; HEATMAP_WIDTH * HEATMAP_HEIGHT];
        draw(Point::new(130.7, 260.2), 1.0, &mut heatmap);
        let sharp = fit_peak(&heatmap, RowMaxima::of(&heatmap).brightest(&heatmap));
        assert!(sharp.at_stage().distance(Point::new(130.7, 260.2)) < 1e-3);
        assert!((sharp.sd_cells - SD_FLOOR_CELLS).abs() < 0.02, "{}", sharp.sd_cells);
        for (index, value) in heatmap.iter_mut().enumerate() {
            *value = (*value * 0.5 + ((index * 2_654_435_761) % 1000) as f32 * 4e-5).min(1.0);
        }
        let dull = fit_peak(&heatmap, RowMaxima::of(&heatmap).brightest(&heatmap));
        assert!(dull.at_stage().distance(Point::new(130.7, 260.2)) < 0.6);
        assert!(dull.sd_cells > 4.0 * sharp.sd_cells, "{}", dull.sd_cells);
    }

    #[test]
    fn wrong_network_answers_are_refused() {
        let to_stage = Affine::scale_then_shift(1.0, 1.0, 0.0, 0.0);
        let mut heatmaps = vec![0f32; 26 * HEATMAP_WIDTH * HEATMAP_HEIGHT];
        assert_eq!(located(&heatmaps[1..], &to_stage).unwrap_err().kind, ErrorKind::NetworkOutput);
        assert!(located(&heatmaps, &to_stage).unwrap().iter().all(|c| c.confidence == 0.0 && c.at.is_finite()));
        heatmaps[4711] = f32::NAN;
        assert_eq!(located(&heatmaps, &to_stage).unwrap_err().kind, ErrorKind::NetworkOutput);
    }
}

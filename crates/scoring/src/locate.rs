//! Before and after the `locate` network: picture in, named corners out.

use crate::error::{Error, ErrorKind, Result};
use domain::reading::LocatedCorner;
use domain::{Affine, ImagePx, Landmark, PixelSpacing, Point, Raster, StagePx};
use nalgebra::{SMatrix, SVector};

/// Width of the network's input, stage pixels.
pub const STAGE_WIDTH: usize = 256;
/// Height of the network's input, stage pixels.
pub const STAGE_HEIGHT: usize = 512;
/// Stage pixels per heatmap cell.
pub const HEATMAP_STRIDE: usize = 4;
/// Columns of a heatmap.
pub const HEATMAP_WIDTH: usize = STAGE_WIDTH / HEATMAP_STRIDE;
/// Rows of a heatmap.
pub const HEATMAP_HEIGHT: usize = STAGE_HEIGHT / HEATMAP_STRIDE;
/// Standard deviation of the Gaussian that the network is trained to draw on a corner, heatmap cells.
pub const HEATMAP_SIGMA_CELLS: f64 = 1.5;
/// Pixel aspects outside this range are not believed: such a header is wrong, and the picture is taken as square.
pub const ASPECT_RANGE: std::ops::RangeInclusive<f64> = 0.2..=5.0;

/// Square, and the other steps of a fourth root of 2 from .7 to 1.4.
const UNKNOWN_ASPECTS: [f64; 5] = [1.0, 0.707, 0.841, 1.189, 1.414];
/// Powers of the grey levels: as they are, and as a screen's curve darkens them.
const UNKNOWN_CURVES: [f64; 2] = [1.0, 1.5];

/// Grey shares that become black and white, of all pixels of the picture (padding left out).
const BLACK_SHARE: f64 = 0.005;
const WHITE_SHARE: f64 = 0.995;
/// No corner is known better than this, heatmap cells: annotators differ by about as much.
const SD_FLOOR_CELLS: f64 = 0.25;
/// No corner is known worse than this, heatmap cells; beyond it the peak says nothing.
const SD_CEILING_CELLS: f64 = 12.0;

/// What the `locate` network is given.
#[derive(Debug, Clone)]
pub struct LocateInput {
    /// 512 rows x 256 columns, row by row: the picture centred, square pixels, 0.5 % .. 99.5 % of its grey levels
    /// spread over 0..=255 and clamped, 0 around it. All 0 when the picture holds a single grey level.
    pub pixels: Vec<u8>,
    /// Where each image pixel has gone.
    pub to_stage: Affine<ImagePx, StagePx>,
}

impl LocateInput {
    /// Whether the picture shows nothing: its grey levels are all (nearly) equal.
    pub fn is_blank(&self) -> bool {
        self.pixels.iter().all(|p| *p == 0)
    }
}

/// The weights of the source pixels that one target pixel averages.
struct Taps {
    first: usize,
    weights: Vec<f32>,
    /// The first of `weights`, and 0 after the last: a window of fixed width is added up without a loop.
    narrow: [f32; NARROW_TAPS],
}

const NARROW_TAPS: usize = 4;

/// Where the pixels of one axis of the picture go: `stage = scale * image + shift`, filling targets `start..end`.
struct Axis {
    scale: f64,
    shift: f64,
    start: usize,
    taps: Vec<Taps>,
}

impl Axis {
    /// Centres `source` pixels, each `scale` target pixels long, within `target` pixels. A target pixel that lies with its
    /// centre in the picture is filled: by the area that it covers when shrinking, by linear interpolation when enlarging.
    fn letterbox(source: usize, target: usize, scale: f64) -> Axis {
        let length = source as f64 * scale;
        let edge = (target as f64 - length) / 2.0;
        let start = (edge + 0.5 - 1e-9).ceil().max(1.0) as usize - 1;
        let end = ((edge + length - 0.5 + 1e-9).floor() as usize + 1).clamp(start + 1, target);
        let taps = (start..end)
            .map(|pixel| {
                let low = (pixel as f64 - edge) / scale;
                let high = (pixel as f64 + 1.0 - edge) / scale;
                if scale < 1.0 { Taps::area(low, high, source) } else { Taps::linear((low + high) / 2.0 - 0.5, source) }
            })
            .collect();
        Axis { scale, shift: 0.5 * scale + edge - 0.5, start, taps }
    }

    /// Taps of the target pixel that has most.
    fn widest(&self) -> usize {
        self.taps.iter().map(|taps| taps.weights.len()).max().unwrap_or(0)
    }

    /// Weighs the lines of `source` for each target pixel, when none has more than `N` taps. `source` goes on for `N` values
    /// at its end.
    fn gather<const N: usize>(&self, source: &[Lines], target: &mut [Lines]) {
        for (pixel, taps) in target.iter_mut().zip(&self.taps) {
            let window = &source[taps.first..taps.first + N];
            *pixel = weighed(window.iter().zip(&taps.narrow[..N]));
        }
    }

    fn gather_any(&self, source: &[Lines], target: &mut [Lines]) {
        for (pixel, taps) in target.iter_mut().zip(&self.taps) {
            *pixel = weighed(source[taps.first..].iter().zip(&taps.weights));
        }
    }
}

/// A column of the lines that are worked on together: all have the same taps, which are then looked up once for them.
type Lines = [f32; LINES];
const LINES: usize = 4;

#[inline]
fn weighed<'a>(terms: impl Iterator<Item = (&'a Lines, &'a f32)>) -> Lines {
    let mut sums = [0.0; LINES];
    for (values, weight) in terms {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * weight;
        }
    }
    sums
}

impl Taps {
    fn new(first: usize, weights: Vec<f32>) -> Taps {
        let mut narrow = [0.0; NARROW_TAPS];
        for (narrow, weight) in narrow.iter_mut().zip(&weights) {
            *narrow = *weight;
        }
        Taps { first, weights, narrow }
    }

    /// Mean over `low..high` in units of source pixels, pixel `i` covering `i..i + 1`.
    fn area(low: f64, high: f64, source: usize) -> Taps {
        let (low, high) = (low.max(0.0), high.min(source as f64));
        let first = (low as usize).min(source - 1);
        let last = ((high - 1e-9).max(0.0) as usize).clamp(first, source - 1);
        let covered: Vec<f64> =
            (first..=last).map(|i| (high.min(i as f64 + 1.0) - low.max(i as f64)).max(1e-12)).collect();
        let total: f64 = covered.iter().sum();
        Taps::new(first, covered.iter().map(|c| (c / total) as f32).collect())
    }

    /// Linear interpolation at source pixel centre coordinate `at`.
    fn linear(at: f64, source: usize) -> Taps {
        let at = at.clamp(0.0, (source - 1) as f64);
        let first = at as usize;
        let share = (at - first as f64) as f32;
        if share == 0.0 || first + 1 == source {
            Taps::new(first, vec![1.0])
        } else {
            Taps::new(first, vec![1.0 - share, share])
        }
    }
}

/// Resamples a picture to the network's input: square pixels, as large as fits in 256 x 512, centred.
///
/// `aspect` is the height of a pixel over its width; one outside [`ASPECT_RANGE`] counts as 1. Shrinking averages the area
/// that each stage pixel covers, so that fine structures do not alias.
pub fn prepare(raster: &Raster, aspect: f64) -> LocateInput {
    let aspect = believable_aspect(aspect);
    let (width, height) = (raster.width() as usize, raster.height() as usize);
    let scale = (STAGE_WIDTH as f64 / width as f64).min(STAGE_HEIGHT as f64 / (height as f64 * aspect));
    let across = Axis::letterbox(width, STAGE_WIDTH, scale);
    let down = Axis::letterbox(height, STAGE_HEIGHT, scale * aspect);

    // Rows first: whole rows are added up without gaps in memory, and what is left to shrink across is small.
    let columns = across.taps.len();
    let mut picture = vec![0f32; down.taps.len() * columns];
    let mut sum = vec![0f32; width];
    // Room beyond the last column for taps of weight 0.
    let mut sums = vec![[0f32; LINES]; width + NARROW_TAPS];
    let mut shrunk = vec![[0f32; LINES]; columns];
    let widest = across.widest();
    for (group, lines) in down.taps.chunks(LINES).zip(picture.chunks_mut(LINES * columns)) {
        for (line, taps) in group.iter().enumerate() {
            add_rows(raster, taps, &mut sum);
            for (column, value) in sums.iter_mut().zip(&sum) {
                column[line] = *value;
            }
        }
        match widest {
            1 => across.gather::<1>(&sums, &mut shrunk),
            2 => across.gather::<2>(&sums, &mut shrunk),
            3 => across.gather::<3>(&sums, &mut shrunk),
            4 => across.gather::<4>(&sums, &mut shrunk),
            _ => across.gather_any(&sums, &mut shrunk),
        }
        for (line, target) in lines.chunks_exact_mut(columns).enumerate() {
            for (pixel, values) in target.iter_mut().zip(&shrunk) {
                *pixel = values[line];
            }
        }
    }

    let range = grey_range(&picture, BLACK_SHARE, WHITE_SHARE);
    let mut pixels = vec![0u8; STAGE_WIDTH * STAGE_HEIGHT];
    for (row, line) in picture.chunks_exact(columns).enumerate() {
        let start = (down.start + row) * STAGE_WIDTH + across.start;
        stretch(line, range, &mut pixels[start..start + line.len()]);
    }
    let to_stage = Affine::scale_then_shift(across.scale, down.scale, across.shift, down.shift);
    LocateInput { pixels, to_stage }
}

/// The rows of the picture that one row of the stage averages, added up with their weights, up to four in one go.
fn add_rows(raster: &Raster, taps: &Taps, sum: &mut [f32]) {
    sum.fill(0.0);
    for (go, weights) in taps.weights.chunks(4).enumerate() {
        let row = |offset: usize| raster.row((taps.first + 4 * go + offset) as u32);
        match *weights {
            [a] => weigh(sum, [a], [row(0)]),
            [a, b] => weigh(sum, [a, b], [row(0), row(1)]),
            [a, b, c] => weigh(sum, [a, b, c], [row(0), row(1), row(2)]),
            [a, b, c, d] => weigh(sum, [a, b, c, d], [row(0), row(1), row(2), row(3)]),
            _ => {}
        }
    }
}

/// Adds a few rows, each with its weight, without writing any sum in between.
fn weigh<const N: usize>(sum: &mut [f32], weights: [f32; N], rows: [&[u16]; N]) {
    let rows = rows.map(|row| &row[..sum.len()]);
    for (i, sum) in sum.iter_mut().enumerate() {
        for k in 0..N {
            *sum += weights[k] * f32::from(rows[k][i]);
        }
    }
}

/// How a picture is shown to the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Height of a pixel over its width.
    pub aspect: f64,
    /// Power to which the grey levels 0..=1 are taken; above 1, bright ones differ more from each other.
    pub gamma: f64,
}

impl Look {
    /// Grey levels as they are.
    pub fn plain(aspect: f64) -> Look {
        Look { aspect, gamma: 1.0 }
    }

    /// What the network is given at this look: [`prepare`], then the grey levels curved.
    pub fn at(self, raster: &Raster) -> LocateInput {
        let mut input = prepare(raster, self.aspect);
        if self.gamma != 1.0 {
            let curved = |grey: usize| (255.0 * (grey as f64 / 255.0).powf(self.gamma)).round() as u8;
            let curve: [u8; 256] = std::array::from_fn(curved);
            input.pixels.iter_mut().for_each(|pixel| *pixel = curve[usize::from(*pixel)]);
        }
        input
    }
}

/// The looks that a picture gets: one, as it is, where its aspect is known. Where header and manifest are silent, a picture has
/// lost its proportions and its grey scale: films are squared, squeezed and padded, and saved with a curve for screens. It is then looked
/// at as it is first, in steps of a fourth root of 2 over the aspects that the network is trained for, and each time also darker: a
/// spine is seen best in its own proportions, a bright one best dark.
pub fn looks_at(spacing: &PixelSpacing) -> Vec<Look> {
    match spacing.known_aspect() {
        Some(aspect) => vec![Look::plain(believable_aspect(aspect))],
        None => {
            let looks = |gamma: f64| UNKNOWN_ASPECTS.map(|aspect| Look { aspect, gamma });
            UNKNOWN_CURVES.into_iter().flat_map(looks).collect()
        }
    }
}

/// `aspect`, or 1 where it is outside [`ASPECT_RANGE`].
pub fn believable_aspect(aspect: f64) -> f64 {
    if ASPECT_RANGE.contains(&aspect) { aspect } else { 1.0 }
}

/// The whole number nearest to one of 0..2^23. Beyond 2^23 a number has no fraction: what is added to it is rounded, and its last
/// bits are the whole number. Two instructions for several values, where a checked conversion takes ten for one.
#[inline]
pub(crate) fn nearest(value: f32) -> u32 {
    (value + 8_388_608.0).to_bits() & 0x7F_FFFF
}

/// Grey values to 0..=255: `black` and less to 0, `white` and more to 255. All 0 unless `white` is above `black`.
pub(crate) fn stretch(values: &[f32], (black, white): (f32, f32), target: &mut [u8]) {
    let gain = if white > black { 255.0 / (white - black) } else { 0.0 };
    for (target, value) in target.iter_mut().zip(values) {
        *target = nearest(((value - black) * gain).clamp(0.0, 255.0)) as u8;
    }
}

/// The grey levels below which the shares `low` and `high` of the values lie, 0..=65535, to one grey level.
/// (0, 0) for no values.
///
/// Counted in two rounds of 256 bins, which stay in the nearest cache where 65,536 would not: first the blocks of 256 levels
/// in which the two ranks lie, then the levels within these.
pub(crate) fn grey_range(values: &[f32], low: f64, high: f64) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let count = values.len();
    let levels: Vec<u16> = values.iter().map(|value| nearest(value.clamp(0.0, 65_535.0)) as u16).collect();
    // Neighbours are alike: four tables in turn, so that no addition waits for the one before.
    let mut blocks = [[0u32; 256]; 4];
    let (quads, rest) = levels.as_chunks::<4>();
    for quad in quads {
        for (bins, level) in blocks.iter_mut().zip(quad) {
            bins[usize::from(level >> 8)] += 1;
        }
    }
    for level in rest {
        blocks[0][usize::from(level >> 8)] += 1;
    }
    let blocks: [u32; 256] = std::array::from_fn(|bin| blocks.iter().map(|part| part[bin]).sum());
    // The first bin at which more than `rank` values lie in it or below, and how many lie below it.
    let reach = |bins: &[u32; 256], mut below: u32, rank: u32| {
        for (bin, &n) in bins.iter().enumerate() {
            if below + n > rank {
                return (bin, below);
            }
            below += n;
        }
        (0, below)
    };
    let rank = |share: f64| (share * (count - 1) as f64).round() as u32;
    let ends = [rank(low), rank(high)].map(|rank| (rank, reach(&blocks, 0, rank)));
    let mut fine = [[0u32; 256]; 2];
    for (bins, (_, (block, _))) in fine.iter_mut().zip(&ends) {
        let block = *block as u16;
        // Few lie in it: many are passed over at a time.
        for many in levels.chunks(32) {
            if many.iter().fold(false, |any, level| any | (level >> 8 == block)) {
                for level in many.iter().filter(|level| **level >> 8 == block) {
                    bins[usize::from(level & 255)] += 1;
                }
            }
        }
    }
    let level = |end: usize| {
        let (rank, (block, below)) = ends[end];
        (block << 8 | reach(&fine[end], below, rank).0) as f32
    };
    (level(0), level(1))
}

/// Reads the 26 corners off the network's heatmaps.
///
/// `heatmaps`: 26 x 128 x 64, values 0..1, channels in the order of [`Landmark::from_channel`]; the centre of cell (i, j) is stage
/// pixel (4 j + 1.5, 4 i + 1.5). Every channel gives one corner, found or not: a low confidence says that it was not.
/// The position is the centre of the Gaussian fitted to the logarithms of the 5 x 5 cells around the largest one.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] when the length is wrong or a value is not finite.
pub fn decode(heatmaps: &[f32], to_stage: &Affine<ImagePx, StagePx>) -> Result<Vec<LocatedCorner>> {
    let to_image = invert(to_stage)?;
    let sd_px_per_cell = HEATMAP_STRIDE as f64 * to_image.m[0].abs().max(to_image.m[4].abs());
    Ok(channels(heatmaps)?
        .enumerate()
        .map(|(channel, heatmap)| {
            let peak = fit_peak(heatmap, RowMaxima::of(heatmap).brightest(heatmap));
            LocatedCorner {
                landmark: Landmark::from_channel(channel),
                at: to_image.apply(peak.at_stage()),
                sd_px: peak.sd_cells * sd_px_per_cell,
                confidence: peak.height,
            }
        })
        .collect())
}

pub(crate) fn invert(to_stage: &Affine<ImagePx, StagePx>) -> Result<Affine<StagePx, ImagePx>> {
    to_stage.inverse().ok_or_else(|| Error::new(ErrorKind::Geometry, "the map from image to stage is singular"))
}

/// The 26 heatmaps, each 128 x 64, checked.
pub(crate) fn channels(heatmaps: &[f32]) -> Result<impl Iterator<Item = &'_ [f32]>> {
    const CELLS: usize = HEATMAP_WIDTH * HEATMAP_HEIGHT;
    if heatmaps.len() != CELLS * Landmark::COUNT {
        let message = format!("heatmaps have {} values, expected 26 x 128 x 64", heatmaps.len());
        return Err(Error::new(ErrorKind::NetworkOutput, message));
    }
    // A whole map at a time: no branch for each value.
    let finite = |map: &[f32]| map.iter().fold(true, |all, v| all & v.is_finite());
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
pub(crate) struct RowMaxima([f32; HEATMAP_HEIGHT]);

impl RowMaxima {
    pub fn of(heatmap: &[f32]) -> RowMaxima {
        let mut maxima = RowMaxima([f32::MIN; HEATMAP_HEIGHT]);
        maxima.update(heatmap, 0..HEATMAP_HEIGHT);
        maxima
    }

    /// After a change in some rows.
    pub fn update(&mut self, heatmap: &[f32], rows: std::ops::Range<usize>) {
        for row in rows {
            let cells = &heatmap[row * HEATMAP_WIDTH..(row + 1) * HEATMAP_WIDTH];
            // Sixteen maxima side by side: no value waits for the one before it.
            let mut most = [f32::MIN; 16];
            for sixteen in cells.as_chunks::<16>().0 {
                for (most, &value) in most.iter_mut().zip(sixteen) {
                    *most = if value > *most { value } else { *most };
                }
            }
            self.0[row] = most.into_iter().fold(f32::MIN, f32::max);
        }
    }

    /// The first of the largest cells.
    pub fn brightest(&self, heatmap: &[f32]) -> usize {
        let most = self.0.iter().copied().fold(f32::MIN, f32::max);
        let row = self.0.iter().position(|&value| value == most).unwrap_or(0);
        let cells = &heatmap[row * HEATMAP_WIDTH..(row + 1) * HEATMAP_WIDTH];
        row * HEATMAP_WIDTH + cells.iter().position(|&value| value == most).unwrap_or(0)
    }
}

/// Fits a Gaussian with its axes along the grid around `cell`.
///
/// ln h = a0 + a1 x + a2 y + a3 x^2 + a4 y^2 by least squares with weights h^2 (an equal error of all h makes an error of
/// ln h that goes with 1 / h). On a Gaussian the fit is exact wherever the centre lies between cells and however the
/// window is cut by the border. A peak without a finite width (a plateau, a lone spike) falls back to the weighted centroid.
pub(crate) fn fit_peak(heatmap: &[f32], cell: usize) -> Peak {
    let (row0, column0) = ((cell / HEATMAP_WIDTH) as isize, (cell % HEATMAP_WIDTH) as isize);
    let top = f64::from(heatmap[cell]);
    let mut normal = SMatrix::<f64, 5, 5>::zeros();
    let mut right = SVector::<f64, 5>::zeros();
    let (mut mass, mut mean_x, mut mean_y) = (0.0, 0.0, 0.0);
    for dy in -2isize..=2 {
        for dx in -2isize..=2 {
            let (row, column) = (row0 + dy, column0 + dx);
            if row < 0 || column < 0 || row >= HEATMAP_HEIGHT as isize || column >= HEATMAP_WIDTH as isize {
                continue;
            }
            let value = f64::from(heatmap[row as usize * HEATMAP_WIDTH + column as usize]);
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

    fn draw(at: Point<StagePx>, height: f64, heatmap: &mut [f32]) {
        let cell = |stage: f64| (stage - 1.5) / 4.0;
        for (index, value) in heatmap.iter_mut().enumerate() {
            let (dx, dy) = ((index % HEATMAP_WIDTH) as f64 - cell(at.x), (index / HEATMAP_WIDTH) as f64 - cell(at.y));
            *value += (height * (-(dx * dx + dy * dy) / (2.0 * 2.25)).exp()) as f32;
        }
    }

    fn gradient(width: u32, height: u32) -> Raster {
        Raster::new(width, height, (0..width * height).map(|i| (i % width * 20 + i / width * 7) as u16).collect())
    }

    #[test]
    fn a_picture_without_a_header_is_looked_at_in_several_shapes_and_curves() {
        let known = looks_at(&PixelSpacing { aspect: Some(1.3), ..PixelSpacing::default() });
        assert_eq!(known, [Look::plain(1.3)], "one look where the proportions are known");
        let unknown = looks_at(&PixelSpacing::default());
        assert_eq!(unknown[0], Look::plain(1.0), "as it is first");
        assert!(unknown.iter().all(|look| ASPECT_RANGE.contains(&look.aspect)));
        let raster = gradient(300, 200);
        let (plain, dark) = (Look::plain(1.0).at(&raster), Look { aspect: 1.0, gamma: 1.5 }.at(&raster));
        assert_eq!(plain.pixels, prepare(&raster, 1.0).pixels);
        assert_eq!(plain.to_stage, dark.to_stage);
        let ends = |input: &LocateInput| (input.pixels.iter().min().copied(), input.pixels.iter().max().copied());
        assert_eq!(ends(&plain), ends(&dark), "black stays black and white white");
        for (plain, dark) in plain.pixels.iter().zip(&dark.pixels) {
            // 255 (g / 255)^1.5
            let wanted = f64::from(*plain).powi(3).sqrt() / 255f64.sqrt();
            assert!((f64::from(*dark) - wanted).abs() <= 0.5 + 1e-9, "{plain} became {dark}");
        }
    }

    #[test]
    fn grey_ranges_and_stretches_are_those_of_sorted_values_and_of_plain_rounding() {
        let noise = |i: u32| f32::from((i.wrapping_mul(2_654_435_761) >> 17) as u16) + (i % 7) as f32 / 8.0;
        for count in [1u32, 2, 31, 33, 1000, 4099] {
            let values: Vec<f32> = (0..count).map(noise).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            let at = |share: f64| sorted[(share * f64::from(count - 1)).round() as usize];
            let (black, white) = grey_range(&values, 0.05, 0.9);
            assert!((black - at(0.05)).abs() <= 0.5 && (white - at(0.9)).abs() <= 0.5, "{count}: {black} {white}");
            let mut stretched = vec![9; values.len()];
            stretch(&values, (black, white), &mut stretched);
            for (value, got) in values.iter().zip(stretched) {
                let exact = if white > black { 255.0 * (value - black) / (white - black) } else { 0.0 };
                assert!((f32::from(got) - exact.clamp(0.0, 255.0)).abs() <= 0.5 + 1e-3, "{value} became {got}");
            }
        }
        assert_eq!(grey_range(&[], 0.1, 0.9), (0.0, 0.0));
    }

    #[test]
    fn corners_survive_the_way_through_the_stage_at_any_aspect() {
        for aspect in [0.7, 1.0, 1.4] {
            for (width, height) in [(1800, 2500), (400, 1100), (100, 90)] {
                let to_stage = prepare(&gradient(width, height), aspect).to_stage;
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
                for (found, truth) in decode(&heatmaps, &to_stage).unwrap().iter().zip(&corners) {
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
    fn the_picture_is_centred_squared_and_spread_over_the_greys() {
        let input = prepare(&gradient(300, 200), 1.0);
        // 300 x 200 at 256 / 300: 256 x 170.67 in 512 rows.
        let row = |y: usize| &input.pixels[y * STAGE_WIDTH..(y + 1) * STAGE_WIDTH];
        assert!(row(169).iter().all(|&p| p == 0) && row(342).iter().all(|&p| p == 0));
        assert!(row(340).iter().all(|&p| p > 0));
        assert_eq!((input.pixels.iter().min(), input.pixels.iter().max()), (Some(&0), Some(&255)));
        let centre = input.to_stage.apply(Point::new(149.5, 99.5));
        assert!(centre.distance(Point::new(127.5, 255.5)) < 1e-9);
        // Twice as tall pixels: the picture fills twice as many rows.
        let tall = prepare(&gradient(300, 200), 2.0);
        let rows =
            |input: &LocateInput| input.pixels.chunks_exact(STAGE_WIDTH).filter(|r| r.iter().any(|&p| p > 0)).count();
        assert!(rows(&tall).abs_diff(2 * rows(&input)) <= 2, "{} {}", rows(&tall), rows(&input));
        assert!(!input.is_blank() && prepare(&Raster::new(50, 50, vec![777; 2500]), 1.0).is_blank());
        assert_eq!(prepare(&gradient(300, 200), f64::NAN).to_stage, input.to_stage);
    }

    #[test]
    fn the_grey_range_is_that_of_the_sorted_values() {
        for (count, spread) in [(1u32, 1u32), (2, 65_535), (1000, 300), (5000, 65_535), (5000, 3)] {
            let values: Vec<f32> =
                (0..count).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 % spread as f32).collect();
            let mut sorted: Vec<u16> = values.iter().map(|v| (v + 0.5) as u16).collect();
            sorted.sort_unstable();
            for (low, high) in [(0.005, 0.995), (0.0, 1.0), (0.5, 0.5)] {
                let at = |share: f64| f32::from(sorted[(share * f64::from(count - 1)).round() as usize]);
                assert_eq!(grey_range(&values, low, high), (at(low), at(high)), "{count} {spread}");
            }
        }
        assert_eq!(grey_range(&[], 0.1, 0.9), (0.0, 0.0));
    }

    #[test]
    fn shrinking_averages_the_area() {
        // Stripes one pixel wide would alias to a strong pattern if pixels were picked instead of averaged.
        let stripes =
            Raster::new(1000, 2000, (0..2_000_000u32).map(|i| if i % 2 == 0 { 1000 } else { 3000 }).collect());
        let mut pixels = stripes.pixels().to_vec();
        pixels[..500].fill(0);
        pixels[500..1000].fill(4000);
        let input = prepare(&Raster::new(1000, 2000, pixels), 1.0);
        let inner: Vec<u8> = (100..400).map(|y| input.pixels[y * STAGE_WIDTH + 128]).collect();
        let (low, high) = (inner.iter().min().unwrap(), inner.iter().max().unwrap());
        assert!(high - low <= 2, "{low}..{high}");
    }

    #[test]
    fn wrong_network_answers_are_refused() {
        let to_stage = Affine::scale_then_shift(1.0, 1.0, 0.0, 0.0);
        let mut heatmaps = vec![0f32; 26 * HEATMAP_WIDTH * HEATMAP_HEIGHT];
        assert_eq!(decode(&heatmaps[1..], &to_stage).unwrap_err().kind, ErrorKind::NetworkOutput);
        assert!(decode(&heatmaps, &to_stage).unwrap().iter().all(|c| c.confidence == 0.0 && c.at.is_finite()));
        heatmaps[4711] = f32::NAN;
        assert_eq!(decode(&heatmaps, &to_stage).unwrap_err().kind, ErrorKind::NetworkOutput);
    }
}

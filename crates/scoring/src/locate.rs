//! Before the `locate` network: a picture becomes its input.

use crate::error::{Error, ErrorKind, Result};
use domain::{Affine, ImagePx, PixelSpacing, Raster, StagePx};

/// Width of the network's input, stage pixels.
pub const STAGE_WIDTH: usize = 256;
/// Height of the network's input, stage pixels.
pub const STAGE_HEIGHT: usize = 512;
/// Pixel aspects outside this range are not believed: such a header is wrong, and the picture is taken as square.
pub const ASPECT_RANGE: std::ops::RangeInclusive<f64> = 0.2..=5.0;

/// Square, and the other steps of a fourth root of 2 from .7 to 1.4.
const UNKNOWN_ASPECTS: [f64; 5] = [1.0, 0.707, 0.841, 1.189, 1.414];
/// Powers of the grey levels: as they are, and as a screen's curve darkens them.
const UNKNOWN_CURVES: [f64; 2] = [1.0, 1.5];

/// Grey shares that become black and white, of all pixels of the picture (padding left out).
const BLACK_SHARE: f64 = 0.005;
const WHITE_SHARE: f64 = 0.995;

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

pub(crate) fn invert(to_stage: &Affine<ImagePx, StagePx>) -> Result<Affine<StagePx, ImagePx>> {
    to_stage.inverse().ok_or_else(|| Error::new(ErrorKind::Geometry, "the map from image to stage is singular"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Point;

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
}

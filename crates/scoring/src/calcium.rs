//! From probabilities to calcified pixels of each wall, connected deposits and rows (Chaplin & Cootes, section 2.5).

use crate::error::{Error, ErrorKind, Result};
use crate::midline::{Midline, MidlineEvidence, MidlinePrior, find_midline};
use crate::region::{REGION_HEIGHT, REGION_WIDTH, Region};
use crate::rules::{MidlineRule, ScoringRules};
use crate::validity::PixelState;
use crate::walls::assign_walls;
use domain::{PixelSpacing, Wall};

/// Pixels of the region.
pub(crate) const REGION_PIXELS: usize = REGION_WIDTH * REGION_HEIGHT;
/// Height of a lumbar level from mid-disc to mid-disc in adults, mm. Stands in for the pixel spacing where that is unknown, for
/// the minimum plaque length only: vertebral bodies of 27 mm and discs of 9 mm.
const TYPICAL_LEVEL_MM: f64 = 36.0;

/// One connected calcification in the region.
#[derive(Debug, Clone, PartialEq)]
pub struct Deposit {
    /// Indices of its pixels, row by row, ascending.
    pub pixels: Vec<usize>,
    pub first_row: usize,
    pub last_row: usize,
    /// Mean probability of its pixels, 0..1.
    pub confidence: f64,
}

/// The calcium of one wall.
#[derive(Debug, Clone, PartialEq)]
pub struct WallCalcium {
    /// 256 x 128: at or above the threshold, visible, on the wall's own side of the midline, in a deposit that is long enough.
    pub mask: Vec<bool>,
    /// 256 rows: the largest probability among visible pixels on the wall's own side; below the threshold exactly where the
    /// mask has no pixel.
    pub row_peak: Vec<f32>,
    /// From head to foot, then from anterior to posterior.
    pub deposits: Vec<Deposit>,
}

impl WallCalcium {
    pub fn row_is_calcified(&self, row: usize) -> bool {
        self.mask[row * REGION_WIDTH..(row + 1) * REGION_WIDTH].iter().any(|m| *m)
    }
}

/// The calcium of both walls and the line between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Calcium {
    pub midline: Midline,
    /// Anterior, posterior.
    pub walls: [WallCalcium; 2],
}

/// Lengths of the region's rows along each wall.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLengths {
    /// Anterior, posterior; 256 rows, mm, true or after [`TYPICAL_LEVEL_MM`].
    nominal_mm: [Vec<f64>; 2],
    spacing_known: bool,
}

impl RowLengths {
    pub fn of(region: &Region, spacing: &PixelSpacing) -> RowLengths {
        let true_mm = Wall::ALL.map(|wall| region.row_lengths_mm(region.wall_column(wall), spacing));
        if let [Some(anterior), Some(posterior)] = true_mm {
            return RowLengths { nominal_mm: [anterior, posterior], spacing_known: true };
        }
        let px = region.row_lengths(region.midline_column(), 1.0, region.aspect());
        let level_px = px.iter().sum::<f64>() / 4.0;
        let nominal_mm = Wall::ALL.map(|wall| {
            let rows = region.row_lengths(region.wall_column(wall), 1.0, region.aspect());
            rows.iter().map(|row| row * TYPICAL_LEVEL_MM / level_px).collect()
        });
        RowLengths { nominal_mm, spacing_known: false }
    }

    /// Length of some rows, mm; `None` when the pixel spacing is unknown.
    pub fn true_mm(&self, wall: Wall, rows: impl Iterator<Item = usize>) -> Option<f64> {
        self.spacing_known.then(|| self.nominal_mm(wall, rows))
    }

    /// Length of some rows, mm, after the typical height of a level when the pixel spacing is unknown.
    pub fn nominal_mm(&self, wall: Wall, rows: impl Iterator<Item = usize>) -> f64 {
        rows.map(|row| self.nominal_mm[wall.index()][row]).sum()
    }
}

/// Finds the calcium of both walls.
///
/// `probabilities`: 2 x 256 x 128 (anterior, posterior; rows; columns), 0..1; or 1 x 256 x 128 of a method that does not know walls apart:
/// then [`assign_walls`] tells them. `state`: 256 x 128; hidden pixels hold no calcium.
/// Pixels on the wrong side of the midline are dropped, as the paper does; one on the line is on both sides.
///
/// # Errors
/// [`ErrorKind::NetworkOutput`] when the length is wrong or a value is no probability.
pub fn find_calcium(
    region: &Region,
    state: &[PixelState],
    probabilities: &[f32],
    lengths: &RowLengths,
    rules: &ScoringRules,
) -> Result<Calcium> {
    check(state, probabilities)?;
    let threshold = rules.threshold as f32;
    let assigned;
    let probabilities = if probabilities.len() == REGION_PIXELS {
        assigned = assign_walls(probabilities, threshold, region.midline_column());
        &assigned
    } else {
        probabilities
    };
    let channel = |wall: Wall| &probabilities[wall.index() * REGION_PIXELS..(wall.index() + 1) * REGION_PIXELS];
    let prior = MidlinePrior { column: region.midline_column(), sd: region.midline_sd_columns() };
    let midline = match rules.midline {
        MidlineRule::ShapeModel => Midline { column: prior.column, cost: 0.0, evidence: MidlineEvidence::NoPixels },
        MidlineRule::Sigmoid => {
            let [anterior, posterior] = Wall::ALL.map(|wall| columns(channel(wall), state, threshold));
            find_midline(&anterior, &posterior, prior)
        }
    };
    let walls = Wall::ALL.map(|wall| {
        let own_side = match wall {
            Wall::Anterior => 0..(midline.column.floor() + 1.0).clamp(0.0, REGION_WIDTH as f64) as usize,
            Wall::Posterior => midline.column.ceil().clamp(0.0, REGION_WIDTH as f64) as usize..REGION_WIDTH,
        };
        let own = |row: usize| row * REGION_WIDTH + own_side.start..row * REGION_WIDTH + own_side.end;
        let channel = channel(wall);
        let mut mask = vec![false; REGION_PIXELS];
        for row in 0..REGION_HEIGHT {
            let pixels = mask[own(row)].iter_mut().zip(&channel[own(row)]).zip(&state[own(row)]);
            for ((masked, p), state) in pixels {
                *masked = (*p >= threshold) & (*state == PixelState::Valid);
            }
        }
        let (short, deposits): (Vec<Deposit>, Vec<Deposit>) = connected(&mask, channel)
            .into_iter()
            .partition(|d| lengths.nominal_mm(wall, d.first_row..=d.last_row) < rules.min_plaque_mm);
        for pixel in short.iter().flat_map(|deposit| &deposit.pixels) {
            mask[*pixel] = false;
        }
        let row_peak = (0..REGION_HEIGHT)
            .map(|row| peak(&channel[own(row)], &mask[own(row)], &state[own(row)], threshold))
            .collect();
        WallCalcium { mask, row_peak, deposits }
    });
    Ok(Calcium { midline, walls })
}

/// The largest visible probability; what was dropped as too short counts as just below the threshold.
fn peak(channel: &[f32], mask: &[bool], state: &[PixelState], threshold: f32) -> f32 {
    let below = threshold * 0.999;
    // Sixteen maxima side by side: no value waits for the one before it.
    let mut most = [0f32; 16];
    let parts = channel.chunks(16).zip(mask.chunks(16)).zip(state.chunks(16));
    for ((channel, mask), state) in parts {
        for (most, ((p, masked), state)) in most.iter_mut().zip(channel.iter().zip(mask).zip(state)) {
            let height = if *masked | (*p < below) { *p } else { below };
            let seen = if *state == PixelState::Valid { height } else { 0.0 };
            *most = if seen > *most { seen } else { *most };
        }
    }
    most.into_iter().fold(0.0, f32::max)
}

fn check(state: &[PixelState], probabilities: &[f32]) -> Result<()> {
    if state.len() != REGION_PIXELS || ![REGION_PIXELS, 2 * REGION_PIXELS].contains(&probabilities.len()) {
        let message = format!(
            "{} region pixels and {} probabilities, expected 256 x 128 and 1 or 2 x 256 x 128",
            state.len(),
            probabilities.len()
        );
        return Err(Error::new(ErrorKind::NetworkOutput, message));
    }
    // Room for rounding in half precision.
    if !probabilities.iter().fold(true, |all, p| all & (-1e-3..=1.001).contains(p)) {
        return Err(Error::new(ErrorKind::NetworkOutput, "calcification holds a value that is no probability"));
    }
    Ok(())
}

/// Visible pixels at or above the threshold, by column.
fn columns(channel: &[f32], state: &[PixelState], threshold: f32) -> [u32; REGION_WIDTH] {
    let mut counts = [0; REGION_WIDTH];
    for (channel, state) in channel.chunks_exact(REGION_WIDTH).zip(state.chunks_exact(REGION_WIDTH)) {
        for (count, (p, state)) in counts.iter_mut().zip(channel.iter().zip(state)) {
            *count += u32::from((*p >= threshold) & (*state == PixelState::Valid));
        }
    }
    counts
}

/// Connected parts of the mask, diagonal neighbours included.
fn connected(mask: &[bool], channel: &[f32]) -> Vec<Deposit> {
    let mut seen = vec![false; REGION_PIXELS];
    let mut deposits = Vec::new();
    // Few places are calcified: many are passed over at a time.
    let parts = mask.chunks(64).enumerate().filter(|(_, part)| part.iter().fold(false, |any, masked| any | masked));
    for start in parts.flat_map(|(part, pixels)| part * 64..part * 64 + pixels.len()) {
        if !mask[start] || seen[start] {
            continue;
        }
        let mut pixels = vec![start];
        seen[start] = true;
        let mut next = 0;
        while next < pixels.len() {
            let (row, column) = (pixels[next] / REGION_WIDTH, pixels[next] % REGION_WIDTH);
            next += 1;
            for r in row.saturating_sub(1)..(row + 2).min(REGION_HEIGHT) {
                for c in column.saturating_sub(1)..(column + 2).min(REGION_WIDTH) {
                    let pixel = r * REGION_WIDTH + c;
                    if mask[pixel] && !seen[pixel] {
                        seen[pixel] = true;
                        pixels.push(pixel);
                    }
                }
            }
        }
        pixels.sort_unstable();
        let sum: f64 = pixels.iter().map(|&i| f64::from(channel[i])).sum();
        deposits.push(Deposit {
            first_row: pixels[0] / REGION_WIDTH,
            last_row: pixels[pixels.len() - 1] / REGION_WIDTH,
            confidence: (sum / pixels.len() as f64).clamp(0.0, 1.0),
            pixels,
        });
    }
    deposits
}

//! Which places of an image show anatomy: not padding, not a blanked area, not metal.

use domain::{ImagePx, Point, Raster};

/// Most cells along the longer side of the coarse grid in which areas are traced.
const GRID_CELLS: usize = 512;
/// Least share of the grid that a blank area must have: smaller flat spots are text, gas or chance.
const MIN_BLANK_SHARE: f64 = 0.002;
/// Least share of the grid that a saturated area away from the border must have to be taken for metal.
const MIN_METAL_SHARE: f64 = 0.001;
/// A grey level must hold this share of the grid to be the level of a blank area.
const MIN_LEVEL_SHARE: f64 = 0.002;
/// Blank levels lie within this share of the grey range from its ends.
const END_SHARE: f64 = 0.02;

/// What a place of the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelState {
    Valid,
    /// Beyond the border of the image.
    Outside,
    /// In a connected area of exactly one extreme grey level: a dose-saving mask, collimation, film edge or padding.
    Masked,
    /// In a connected area of the highest grey level that does not reach the border of the image: metal.
    Metal,
}

/// The flat areas of an image at the ends of its grey range.
pub(crate) struct BlankAreas {
    stride: usize,
    columns: usize,
    rows: usize,
    /// The grey level of blank areas at the dark and at the bright end.
    levels: [Option<u16>; 2],
    cells: Vec<PixelState>,
    /// Whether any cell is not valid.
    found: bool,
}

impl BlankAreas {
    /// Finds them on a grid of at most 512 cells a side, each standing for the pixel at its centre.
    pub fn of(raster: &Raster) -> BlankAreas {
        let (width, height) = (raster.width() as usize, raster.height() as usize);
        let stride = width.max(height).div_ceil(GRID_CELLS);
        let (columns, rows) = (width.div_ceil(stride), height.div_ceil(stride));
        let mut grid = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            let line = raster.row((row * stride + stride / 2).min(height - 1) as u32);
            let centres = line.iter().skip(stride / 2).step_by(stride).copied();
            // The last cell may be cut before its centre.
            let last = line[width - 1];
            grid.extend(centres.chain(std::iter::once(last)).take(columns));
        }
        let levels = extreme_levels(&grid);
        let mut areas =
            BlankAreas { stride, columns, rows, levels, cells: vec![PixelState::Valid; grid.len()], found: false };
        for (end, level) in levels.into_iter().enumerate() {
            if let Some(level) = level {
                areas.trace(&grid, level, end == 1);
            }
        }
        areas
    }

    /// Marks the connected areas of one level.
    fn trace(&mut self, grid: &[u16], level: u16, bright: bool) {
        let mut seen = vec![false; grid.len()];
        let mut stack = Vec::new();
        for start in 0..grid.len() {
            if seen[start] || grid[start] != level {
                continue;
            }
            let mut area = Vec::new();
            let mut at_border = false;
            seen[start] = true;
            stack.push(start);
            while let Some(cell) = stack.pop() {
                area.push(cell);
                let (row, column) = (cell / self.columns, cell % self.columns);
                at_border |= row == 0 || column == 0 || row + 1 == self.rows || column + 1 == self.columns;
                let neighbours = [
                    (row > 0).then(|| cell - self.columns),
                    (row + 1 < self.rows).then(|| cell + self.columns),
                    (column > 0).then(|| cell - 1),
                    (column + 1 < self.columns).then(|| cell + 1),
                ];
                for next in neighbours.into_iter().flatten() {
                    if !seen[next] && grid[next] == level {
                        seen[next] = true;
                        stack.push(next);
                    }
                }
            }
            let share = area.len() as f64 / grid.len() as f64;
            let state = match (bright && !at_border, share) {
                (true, share) if share >= MIN_METAL_SHARE => PixelState::Metal,
                (false, share) if share >= MIN_BLANK_SHARE => PixelState::Masked,
                _ => continue,
            };
            self.found = true;
            for cell in area {
                self.cells[cell] = state;
            }
        }
    }

    /// Whether the whole image shows anatomy.
    pub fn is_empty(&self) -> bool {
        !self.found
    }

    /// Whether everything around a line from one point of the image to another shows anatomy.
    pub fn spare(&self, from: Point<ImagePx>, to: Point<ImagePx>) -> bool {
        // The cells around the line's box, one more on each side because `state` looks at the neighbours too.
        let cells = |a: f64, b: f64, count: usize| {
            let cell = |at: f64| ((at + 0.5).max(0.0) as usize / self.stride).min(count - 1);
            (cell(a.min(b)).saturating_sub(1), (cell(a.max(b)) + 2).min(count))
        };
        let (left, right) = cells(from.x, to.x, self.columns);
        let (top, bottom) = cells(from.y, to.y, self.rows);
        (top..bottom).all(|row| {
            self.cells[row * self.columns + left..row * self.columns + right].iter().all(|s| *s == PixelState::Valid)
        })
    }

    /// What the image shows at a point.
    pub fn state(&self, raster: &Raster, at: Point<ImagePx>) -> PixelState {
        let inside = |at: f64, side: u32| at > -0.5 && at < f64::from(side) - 0.5;
        if !inside(at.x, raster.width()) || !inside(at.y, raster.height()) {
            return PixelState::Outside;
        }
        if self.is_empty() {
            return PixelState::Valid;
        }
        let (x, y) = ((at.x + 0.5) as usize, (at.y + 0.5) as usize);
        let value = raster.row(y as u32)[x];
        if !self.levels.contains(&Some(value)) {
            return PixelState::Valid;
        }
        // The pixel may lie nearer to the area than its own cell's centre does.
        let (column, row) = (x / self.stride, y / self.stride);
        let around = (row.saturating_sub(1)..(row + 2).min(self.rows))
            .flat_map(|r| (column.saturating_sub(1)..(column + 2).min(self.columns)).map(move |c| (r, c)));
        let state = |(r, c): (usize, usize)| self.cells[r * self.columns + c];
        match state((row, column)) {
            PixelState::Valid => around.map(state).find(|s| *s != PixelState::Valid).unwrap_or(PixelState::Valid),
            found => found,
        }
    }
}

/// The most frequent grey level near each end of the range, where it is frequent enough to be an area.
fn extreme_levels(grid: &[u16]) -> [Option<u16>; 2] {
    // One at a time, each of which goes several values at a time.
    let low = grid.iter().fold(u16::MAX, |low, &value| value.min(low));
    let high = grid.iter().fold(0, |high, &value| value.max(high));
    if low >= high {
        // A single level: nothing is shown anywhere.
        return [Some(low), None];
    }
    let reach = (f64::from(high - low) * END_SHARE) as u16;
    let needed = (MIN_LEVEL_SHARE.min(MIN_METAL_SHARE) * grid.len() as f64).max(1.0) as u32;
    // Only the levels near the ends are counted: as distances from their end.
    let mut counts = [(); 2].map(|()| vec![0u32; usize::from(reach) + 1]);
    let [dark, bright] = &mut counts;
    for &value in grid {
        if value - low <= reach {
            dark[usize::from(value - low)] += 1;
        }
        if high - value <= reach {
            bright[usize::from(high - value)] += 1;
        }
    }
    // Of levels equally frequent, the brightest.
    let modal = |place: Option<(usize, &u32)>| place.filter(|(_, most)| **most >= needed).map(|(at, _)| at as u16);
    [
        modal(dark.iter().enumerate().max_by_key(|(_, n)| **n)).map(|at| low + at),
        modal(bright.iter().enumerate().rev().max_by_key(|(_, n)| **n)).map(|at| high - at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A noisy picture without flat areas.
    fn noisy(width: u32, height: u32) -> Vec<u16> {
        (0..width * height).map(|i| 20_000 + (i.wrapping_mul(2_654_435_761) >> 18) as u16 % 9_000).collect()
    }

    #[test]
    fn a_staircase_mask_a_screw_and_the_outside_are_told_apart() {
        let (width, height) = (900u32, 1400u32);
        let mut pixels = noisy(width, height);
        for y in 0..height {
            let stair = 60 + y / 200 * 40;
            for x in 0..width {
                let at = (y * width + x) as usize;
                if x < stair {
                    pixels[at] = 0;
                } else if (500..640).contains(&x) && (600..640).contains(&y) {
                    pixels[at] = 65_535;
                }
            }
        }
        // A dead pixel darker than nothing else, and noise at the same grey as the mask, are not areas.
        pixels[(700 * width + 700) as usize] = 0;
        let raster = Raster::new(width, height, pixels);
        let areas = BlankAreas::of(&raster);
        let state = |x: f64, y: f64| areas.state(&raster, Point::new(x, y));
        assert_eq!(state(30.0, 700.0), PixelState::Masked);
        assert_eq!(state(59.0, 10.0), PixelState::Masked);
        assert_eq!(state(60.0, 10.0), PixelState::Valid);
        assert_eq!(state(570.0, 620.0), PixelState::Metal);
        assert_eq!(state(700.0, 700.0), PixelState::Valid);
        assert_eq!(state(-1.0, 700.0), PixelState::Outside);
        assert_eq!(state(100.0, 1400.0), PixelState::Outside);
        // a line that is spared has no place that is not valid, and most lines are told apart
        let mut spared = 0;
        for i in 0..400u32 {
            let (x, y) = (f64::from(i * 97 % 700), f64::from(i * 211 % 1400));
            let (from, to) =
                (Point::new(x, y), Point::new(x + 130.0, (y + f64::from(i % 40) - 20.0).clamp(0.0, 1399.0)));
            if areas.spare(from, to) {
                spared += 1;
                let valid = (0..=130).all(|t| {
                    state(from.lerp(to, f64::from(t) / 130.0).x, from.lerp(to, f64::from(t) / 130.0).y)
                        == PixelState::Valid
                });
                assert!(valid, "from {from:?} to {to:?}");
            }
        }
        assert!((150..400).contains(&spared), "{spared}");
    }

    #[test]
    fn a_white_film_edge_is_a_mask_and_not_metal() {
        let (width, height) = (300u32, 500u32);
        let mut pixels = noisy(width, height);
        for y in 0..height {
            for x in 270..width {
                pixels[(y * width + x) as usize] = 65_535;
            }
        }
        let raster = Raster::new(width, height, pixels);
        let areas = BlankAreas::of(&raster);
        assert_eq!(areas.state(&raster, Point::new(285.0, 250.0)), PixelState::Masked);
        assert_eq!(areas.state(&raster, Point::new(100.0, 250.0)), PixelState::Valid);
    }
}

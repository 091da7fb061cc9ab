//! Overlap and distance of two masks: Dice, Jaccard, accuracy, HD95, ASSD.

use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;

/// Pixels by reference and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Overlap {
    pub both: u64,
    pub reference_only: u64,
    pub model_only: u64,
    pub neither: u64,
}

impl Overlap {
    /// # Errors
    /// [`ErrorKind::Shape`] for masks of different sizes.
    pub fn of(reference: &[bool], model: &[bool]) -> Result<Overlap> {
        same_size(reference.len(), model.len())?;
        let mut overlap = Overlap::default();
        for pixel in reference.iter().zip(model) {
            match pixel {
                (true, true) => overlap.both += 1,
                (true, false) => overlap.reference_only += 1,
                (false, true) => overlap.model_only += 1,
                (false, false) => overlap.neither += 1,
            }
        }
        Ok(overlap)
    }

    /// 2 |A and B| / (|A| + |B|); `None` when both masks are empty.
    pub fn dice(&self) -> Option<f64> {
        ratio(2 * self.both, 2 * self.both + self.reference_only + self.model_only)
    }

    /// |A and B| / |A or B|; `None` when both masks are empty.
    pub fn jaccard(&self) -> Option<f64> {
        ratio(self.both, self.both + self.reference_only + self.model_only)
    }

    /// Share of pixels in which the masks agree; `None` of no pixels.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.both + self.neither, self.both + self.neither + self.reference_only + self.model_only)
    }

    fn add(&mut self, other: &Overlap) {
        self.both += other.both;
        self.reference_only += other.reference_only;
        self.model_only += other.model_only;
        self.neither += other.neither;
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn same_size(a: usize, b: usize) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Shape, format!("masks of {a} and {b} pixels")))
}

/// Many images. A mean of Dice does not convert to a mean of Jaccard; each is averaged by image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverlapSummary {
    pub images: u64,
    /// Images with both masks empty: in no macro average of Dice and Jaccard.
    pub both_empty: u64,
    pub macro_dice: Option<f64>,
    pub macro_jaccard: Option<f64>,
    pub macro_accuracy: Option<f64>,
    /// Of all pixels of all images together.
    pub micro_dice: Option<f64>,
    pub micro_jaccard: Option<f64>,
    pub micro_accuracy: Option<f64>,
}

pub fn summarise(images: &[Overlap]) -> OverlapSummary {
    let mut pooled = Overlap::default();
    images.iter().for_each(|image| pooled.add(image));
    let mean = |of: fn(&Overlap) -> Option<f64>| {
        let values: Vec<f64> = images.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    OverlapSummary {
        images: images.len() as u64,
        both_empty: images.iter().filter(|image| image.dice().is_none()).count() as u64,
        macro_dice: mean(Overlap::dice),
        macro_jaccard: mean(Overlap::jaccard),
        macro_accuracy: mean(Overlap::accuracy),
        micro_dice: pooled.dice(),
        micro_jaccard: pooled.jaccard(),
        micro_accuracy: pooled.accuracy(),
    }
}

/// Distances of the outlines of two masks, mm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SurfaceDistance {
    /// Larger of both directed 95th percentiles (type 7).
    pub hd95_mm: f64,
    /// Mean over all outline pixels of both masks of the distance to the other outline.
    pub assd_mm: f64,
}

/// Extent of a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    pub width: usize,
    pub height: usize,
    /// Spacing of rows and of columns, mm/px, above 0.
    pub row_mm: f64,
    pub column_mm: f64,
}

/// Masks row by row. An outline pixel belongs to the mask and has one of its four neighbours outside (the image border is outside).
/// Metrics Reloaded (Maier-Hein et al., Nat Methods 2024;21:195). `None` when either mask is empty.
///
/// # Errors
/// [`ErrorKind::Shape`] when a mask does not fit the grid; [`ErrorKind::Argument`] for spacings not above 0.
pub fn surface_distance(reference: &[bool], model: &[bool], grid: Grid) -> Result<Option<SurfaceDistance>> {
    same_size(reference.len(), model.len())?;
    same_size(reference.len(), grid.width * grid.height)?;
    let spacing = |v: f64| v > 0.0 && v.is_finite();
    if !(spacing(grid.row_mm) && spacing(grid.column_mm)) {
        return Err(Error::new(ErrorKind::Argument, "pixel spacings are above 0 mm"));
    }
    let (a, b) = (outline(reference, grid), outline(model, grid));
    if !a.contains(&true) || !b.contains(&true) {
        return Ok(None);
    }
    let directed = |from: &[bool], to: &[bool]| -> Vec<f64> {
        let distance = squared_distance(to, grid);
        let mut found: Vec<f64> = from.iter().zip(&distance).filter(|(on, _)| **on).map(|(_, d)| d.sqrt()).collect();
        found.sort_by(f64::total_cmp);
        found
    };
    let (there, back) = (directed(&a, &b), directed(&b, &a));
    let total = there.iter().sum::<f64>() + back.iter().sum::<f64>();
    Ok(Some(SurfaceDistance {
        hd95_mm: percentile(&there, 0.95).max(percentile(&back, 0.95)),
        assd_mm: total / (there.len() + back.len()) as f64,
    }))
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + place.fract() * (sorted[high] - sorted[low])
}

fn outline(mask: &[bool], grid: Grid) -> Vec<bool> {
    let inside = |x: usize, y: usize| x < grid.width && y < grid.height && mask[y * grid.width + x];
    let at = |i: usize| {
        let (x, y) = (i % grid.width, i / grid.width);
        // Below 0 wraps to far beyond the width, which is outside too.
        let neighbours = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        mask[i] && neighbours.iter().any(|(x, y)| !inside(*x, *y))
    };
    (0..mask.len()).map(at).collect()
}

/// Squared distance of every pixel to the nearest set one, mm^2: exact, columns then rows (Felzenszwalb & Huttenlocher 2012).
fn squared_distance(set: &[bool], grid: Grid) -> Vec<f64> {
    let mut distance: Vec<f64> = set.iter().map(|on| if *on { 0.0 } else { f64::INFINITY }).collect();
    for x in 0..grid.width {
        let column: Vec<f64> = (0..grid.height).map(|y| distance[y * grid.width + x]).collect();
        for (y, value) in lower_envelope(&column, grid.row_mm).into_iter().enumerate() {
            distance[y * grid.width + x] = value;
        }
    }
    for row in distance.chunks_mut(grid.width) {
        let values = lower_envelope(row, grid.column_mm);
        row.copy_from_slice(&values);
    }
    distance
}

/// min over j of f(j) + (spacing (i - j))^2 for every i.
fn lower_envelope(f: &[f64], spacing: f64) -> Vec<f64> {
    let place = |j: usize| j as f64 * spacing;
    // Parabolas of the envelope with the place from which each is the lowest.
    let mut lowest: Vec<(usize, f64)> = Vec::new();
    for (j, value) in f.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        let crossing = |k: usize| (value + place(j).powi(2) - f[k] - place(k).powi(2)) / (2.0 * (place(j) - place(k)));
        while lowest.last().is_some_and(|(k, from)| crossing(*k) <= *from) {
            lowest.pop();
        }
        let from = lowest.last().map_or(f64::NEG_INFINITY, |(k, _)| crossing(*k));
        lowest.push((j, from));
    }
    let mut current = 0;
    (0..f.len())
        .map(|i| {
            while lowest.get(current + 1).is_some_and(|(_, from)| *from <= place(i)) {
                current += 1;
            }
            lowest.get(current).map_or(f64::INFINITY, |(j, _)| f[*j] + (place(i) - place(*j)).powi(2))
        })
        .collect()
}

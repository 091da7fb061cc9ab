//! Overlap of the calcium that a method outlined with the plaque that could be seen.
//!
//! Every method is measured on the same pixels: those of the image inside a box around the true aorta, whatever region the method
//! looked at. (Chaplin & Cootes measure in the straightened region; accuracy depends on how much empty background is in it.)

use super::rows::{Outlines, ReadRow, TruthRow};
use crate::error::{Error, Result};
use domain::{ImagePx, Point};
use phantom::label;
use rayon::prelude::*;
use serde::Serialize;
use statistics::segmentation::{Grid, Overlap, SurfaceDistance, summarise, surface_distance};
use statistics::{Confidence, Estimate, Moments};
use std::path::Path;

/// How far the box reaches beyond the walls of the aorta, vertebral heights.
const MARGIN_HEIGHTS: f64 = 0.5;

/// Calcium of one wall, or of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskAgreement {
    /// `either` (any calcium), `anterior` or `posterior`.
    pub wall: &'static str,
    /// Images that were scored.
    pub images: u64,
    /// Images without calcium on either side: in no Dice and no Jaccard.
    pub both_empty: u64,
    /// Averaged by image, with the SD across images.
    pub dice: Estimate,
    pub dice_sd: Option<f64>,
    pub jaccard: Estimate,
    pub jaccard_sd: Option<f64>,
    pub accuracy: Estimate,
    pub accuracy_sd: Option<f64>,
    /// Of all pixels of all images together.
    pub micro_dice: Option<f64>,
    pub micro_jaccard: Option<f64>,
    pub micro_accuracy: Option<f64>,
    /// 95th percentile of the distance of the outlines, mm, of images with calcium on both sides.
    pub hd95_mm: Estimate,
    /// Mean distance of the outlines, each to the other, mm, of the same images.
    pub assd_mm: Estimate,
}

/// Truth of one image in its box.
struct Area {
    left: usize,
    top: usize,
    grid: Grid,
    /// Labels of [`label`], row by row.
    labels: Vec<u8>,
}

/// One image, one wall.
struct Measured {
    overlap: Overlap,
    /// `None` without calcium on both sides.
    distance: Option<SurfaceDistance>,
}

/// `folder`: the cohort's folder, with `masks/`. Empty for a method that marks no calcium.
///
/// # Errors
/// [`Error::Io`] and [`Error::Mask`] for a mask that is not there or does not fit its image.
pub(super) fn masks(
    pairs: &[(&TruthRow, &ReadRow)],
    folder: &Path,
    confidence: Confidence,
) -> Result<Vec<MaskAgreement>> {
    if !pairs.is_empty() && pairs.iter().all(|(_, row)| row.outlines.is_none()) {
        return Ok(Vec::new());
    }
    let marked: Vec<(&TruthRow, &Outlines)> = pairs
        .iter()
        .filter(|(truth, row)| row.segments.is_some() && !truth.walls.is_empty())
        .filter_map(|(truth, row)| Some((*truth, row.outlines.as_ref()?)))
        .collect();
    let measured: Vec<[Measured; 3]> =
        marked.par_iter().map(|(truth, outlines)| measure(truth, outlines, folder)).collect::<Result<_>>()?;
    Ok(["either", "anterior", "posterior"]
        .into_iter()
        .enumerate()
        .map(|(wall, name)| {
            let images: Vec<&Measured> = measured.iter().map(|walls| &walls[wall]).collect();
            let overlaps: Vec<Overlap> = images.iter().map(|image| image.overlap).collect();
            let of = |value: fn(&Overlap) -> Option<f64>| Moments::of(overlaps.iter().filter_map(value));
            let (dice, jaccard, accuracy) = (of(Overlap::dice), of(Overlap::jaccard), of(Overlap::accuracy));
            let pooled = summarise(&overlaps);
            let distances = |of: fn(&SurfaceDistance) -> f64| {
                Moments::of(images.iter().filter_map(|image| image.distance.as_ref().map(of))).mean_estimate(confidence)
            };
            MaskAgreement {
                wall: name,
                images: pooled.images,
                both_empty: pooled.both_empty,
                dice: dice.mean_estimate(confidence),
                dice_sd: dice.variance().map(f64::sqrt),
                jaccard: jaccard.mean_estimate(confidence),
                jaccard_sd: jaccard.variance().map(f64::sqrt),
                accuracy: accuracy.mean_estimate(confidence),
                accuracy_sd: accuracy.variance().map(f64::sqrt),
                micro_dice: pooled.micro_dice,
                micro_jaccard: pooled.micro_jaccard,
                micro_accuracy: pooled.micro_accuracy,
                hd95_mm: distances(|distance| distance.hd95_mm),
                assd_mm: distances(|distance| distance.assd_mm),
            }
        })
        .collect())
}

fn measure(truth: &TruthRow, outlines: &Outlines, folder: &Path) -> Result<[Measured; 3]> {
    let stem = Path::new(&truth.file).file_stem().unwrap_or_default();
    let area = Area::read(truth, &folder.join("masks").join(stem).with_extension("png"))?;
    let seen = |bits: u8| area.labels.iter().map(|l| l & bits != 0).collect::<Vec<bool>>();
    let anterior = area.fill(&outlines[0]);
    let posterior = area.fill(&outlines[1]);
    let either = anterior.iter().zip(&posterior).map(|(a, p)| *a || *p).collect();
    let against = |reference: Vec<bool>, model: Vec<bool>| -> Result<Measured> {
        let distance = surface_distance(&reference, &model, area.grid)?;
        Ok(Measured { overlap: Overlap::of(&reference, &model)?, distance })
    };
    Ok([
        against(seen(label::ANTERIOR_VISIBLE | label::POSTERIOR_VISIBLE), either)?,
        against(seen(label::ANTERIOR_VISIBLE), anterior)?,
        against(seen(label::POSTERIOR_VISIBLE), posterior)?,
    ])
}

impl Area {
    /// Reads the mask and cuts the box around the true aorta out of it.
    fn read(truth: &TruthRow, path: &Path) -> Result<Area> {
        let wrong = |problem: String| Error::Mask { file: truth.file.clone(), problem };
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            action: "read",
            what: format!("the mask of {}", truth.file),
            source,
        })?;
        let mask = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
            .map_err(|error| wrong(error.to_string()))?
            .into_luma8();
        let margin = MARGIN_HEIGHTS * truth.vertebral_height().unwrap_or(0.0);
        // pixel widths in a vertebral height, and pixel heights
        let (across, down) = (margin, margin * truth.column_mm / truth.row_mm);
        let span = |of: fn(&Point<ImagePx>) -> f64, margin: f64, size: u32| -> (usize, usize) {
            let values = || truth.walls.iter().map(of);
            let low = (values().fold(f64::INFINITY, f64::min) - margin).floor().clamp(0.0, f64::from(size));
            let high = (values().fold(f64::NEG_INFINITY, f64::max) + margin).ceil().clamp(0.0, f64::from(size));
            (low as usize, high as usize)
        };
        let (left, right) = span(|p| p.x, across, mask.width());
        let (top, bottom) = span(|p| p.y, down, mask.height());
        if left >= right || top >= bottom {
            return Err(wrong("the true aorta lies outside of it".to_owned()));
        }
        let width = mask.width() as usize;
        let labels = (top..bottom).flat_map(|y| &mask.as_raw()[y * width + left..y * width + right]).copied().collect();
        let grid = Grid { width: right - left, height: bottom - top, row_mm: truth.row_mm, column_mm: truth.column_mm };
        Ok(Area { left, top, grid, labels })
    }

    /// Pixels whose centres lie inside of any outline (even-odd within each).
    fn fill(&self, outlines: &[Vec<Point<ImagePx>>]) -> Vec<bool> {
        let mut filled = vec![false; self.grid.width * self.grid.height];
        for outline in outlines {
            for row in 0..self.grid.height {
                let y = (self.top + row) as f64;
                let mut crossings: Vec<f64> = outline
                    .iter()
                    .zip(outline.iter().cycle().skip(1))
                    .filter(|(a, b)| (a.y <= y) != (b.y <= y))
                    .map(|(a, b)| a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x))
                    .collect();
                crossings.sort_by(f64::total_cmp);
                for inside in crossings.chunks_exact(2) {
                    let clip = |x: f64| (x - self.left as f64).ceil().clamp(0.0, self.grid.width as f64) as usize;
                    let (from, to) = (clip(inside[0]), clip(inside[1]));
                    filled[row * self.grid.width + from..row * self.grid.width + to].fill(true);
                }
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_are_filled_where_pixel_centres_lie_inside() {
        let grid = Grid { width: 10, height: 8, row_mm: 1.0, column_mm: 1.0 };
        let area = Area { left: 100, top: 50, grid, labels: vec![0; 80] };
        let square = |x: f64, y: f64, size: f64| {
            [(0.0, 0.0), (size, 0.0), (size, size), (0.0, size)].map(|(dx, dy)| Point::new(x + dx, y + dy)).to_vec()
        };
        let count = |outlines: &[Vec<Point<ImagePx>>]| area.fill(outlines).iter().filter(|on| **on).count();
        // centres 102..=104 across and 52..=54 down
        let filled = area.fill(&[square(101.5, 51.5, 3.0)]);
        assert_eq!(filled.iter().filter(|on| **on).count(), 9);
        assert!(filled[2 * 10 + 2] && filled[4 * 10 + 4] && !filled[2 * 10 + 1] && !filled[5 * 10 + 4]);
        assert_eq!(count(&[square(101.5, 51.5, 3.0), square(102.5, 52.5, 3.0)]), 14, "the union of two");
        assert_eq!(count(&[square(90.0, 40.0, 14.5)]), 25, "cut at the box");
        assert_eq!(count(&[square(0.0, 0.0, 5.0)]), 0);
        let touching = vec![Point::new(101.0, 51.0), Point::new(105.0, 51.0), Point::new(103.0, 55.0)];
        let backwards: Vec<Point<ImagePx>> = touching.iter().rev().copied().collect();
        assert_eq!(area.fill(&[touching]), area.fill(&[backwards]));
    }
}

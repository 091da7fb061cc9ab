//! The picture around the located vertebrae, as it is: upright, not straightened, anterior to the left.

use crate::locate::grey_range;
use crate::shape::{AortaEstimate, DISC_LINES};
use domain::{Affine, CropPx, ImagePx, Point, Raster};

/// Columns of the crop, front to back.
pub const CROP_WIDTH: usize = 128;
/// Rows of the crop, head to foot.
pub const CROP_HEIGHT: usize = 256;

/// Room above the T12/L1 and below the L4/L5 mid-disc, shares of the distance between them.
const MARGIN: f64 = 0.06;
/// Where the back of the vertebrae lies, shares of the width: in front of them there is room for the aorta of a bent spine.
const BACK_AT: f64 = 0.94;
/// Most samples along one side of a crop pixel.
const MAX_SAMPLES: usize = 8;
/// Grey shares of the pixels within the image that become black and white, as in [`crate::Region::warp`].
const BLACK_SHARE: f64 = 0.01;
const WHITE_SHARE: f64 = 0.99;

/// Where the crop lies in the image.
#[derive(Debug, Clone, PartialEq)]
pub struct SpineCrop {
    /// From pixels of the crop to those of the image.
    to_image: Affine<CropPx, ImagePx>,
    to_crop: Affine<ImagePx, CropPx>,
}

impl SpineCrop {
    /// The crop around the vertebrae L1 to L4 of an estimate: its height covers the mid-discs T12/L1 to L4/L5 and 6 % more at both
    /// ends, its pixels are square, and 94 % of its width lie in front of the backmost corner.
    pub fn around(estimate: &AortaEstimate) -> SpineCrop {
        let aspect = estimate.aspect;
        let middle = |line: usize| {
            let (a, p) = (estimate.anterior[line], estimate.posterior[line]);
            (a.y + p.y) / 2.0 * aspect
        };
        let (top, bottom) = (middle(0).min(middle(DISC_LINES - 1)), middle(0).max(middle(DISC_LINES - 1)));
        let height = (bottom - top).max(1.0) * (1.0 + 2.0 * MARGIN);
        // Pixel widths of the image per pixel of the crop.
        let step = height / CROP_HEIGHT as f64;
        let mirrored = estimate.anterior_right;
        let backwards = |x: f64| if mirrored { -x } else { x };
        let back = estimate.vertebrae.iter().map(|p| backwards(p.x)).fold(f64::MIN, f64::max);
        let front = back - BACK_AT * step * CROP_WIDTH as f64;
        let head = top - MARGIN * (bottom - top);
        // Centres: crop pixel i covers i - 1/2 .. i + 1/2.
        let (sx, x0) = (backwards(step), backwards(front + 0.5 * step));
        let (sy, y0) = (step / aspect, (head + 0.5 * step) / aspect);
        SpineCrop {
            to_image: Affine::scale_then_shift(sx, sy, x0, y0),
            to_crop: Affine::scale_then_shift(1.0 / sx, 1.0 / sy, -x0 / sx, -y0 / sy),
        }
    }

    /// Image point of a point of the crop.
    pub fn to_image(&self, p: Point<CropPx>) -> Point<ImagePx> {
        self.to_image.apply(p)
    }

    /// Point of the crop that shows an image point; `None` outside the crop.
    pub fn to_crop(&self, p: Point<ImagePx>) -> Option<Point<CropPx>> {
        let at = self.to_crop.apply(p);
        let within = |v: f64, size: usize| (-0.5..size as f64 - 0.5).contains(&v);
        (within(at.x, CROP_WIDTH) && within(at.y, CROP_HEIGHT)).then_some(at)
    }

    /// Cuts the crop out of the image: 256 rows x 128 columns, row by row, and whether the image holds each pixel's centre. The area is
    /// averaged where the crop is coarser than the image. 1 % .. 99 % of the pixels that the image holds are spread over 0..=255;
    /// the others are 0.
    pub fn cut(&self, raster: &Raster) -> (Vec<u8>, Vec<bool>) {
        let (sx, sy) = (self.to_image.m[0], self.to_image.m[4]);
        let samples = |scale: f64| (scale.abs().ceil() as usize).clamp(1, MAX_SAMPLES);
        let (nx, ny) = (samples(sx), samples(sy));
        let weight = 1.0 / (nx * ny) as f32;
        let mut grey = Vec::with_capacity(CROP_WIDTH * CROP_HEIGHT);
        let mut inside = Vec::with_capacity(CROP_WIDTH * CROP_HEIGHT);
        for row in 0..CROP_HEIGHT {
            for column in 0..CROP_WIDTH {
                let centre = self.to_image(Point::new(column as f64, row as f64));
                inside.push(raster.contains(centre));
                let mut sum = 0.0;
                for i in 0..ny {
                    let y = centre.y + sy * ((i as f64 + 0.5) / ny as f64 - 0.5);
                    for k in 0..nx {
                        let x = centre.x + sx * ((k as f64 + 0.5) / nx as f64 - 0.5);
                        sum += raster.sample(x as f32, y as f32);
                    }
                }
                grey.push(sum * weight);
            }
        }
        (stretched(&grey, &inside), inside)
    }
}

/// 1 % .. 99 % of the greys that are `seen` over 0..=255, 0 elsewhere.
fn stretched(grey: &[f32], seen: &[bool]) -> Vec<u8> {
    let ranked: Vec<f32> = grey.iter().zip(seen).filter_map(|(g, seen)| seen.then_some(*g)).collect();
    let (black, white) = grey_range(&ranked, BLACK_SHARE, WHITE_SHARE);
    let gain = if white > black { 255.0 / (white - black) } else { 0.0 };
    let scaled = |(g, seen): (&f32, &bool)| if *seen { ((g - black) * gain + 0.5).clamp(0.0, 255.0) as u8 } else { 0 };
    grey.iter().zip(seen).map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::VERTEBRAL_POINTS;

    /// A straight spine: backs of the vertebrae at 60, aorta from 25 to 35, mid-discs from row 20 to 100 (squared).
    fn estimate(mirror: bool, aspect: f64) -> AortaEstimate {
        let x = |x: f64| if mirror { 120.0 - x } else { x };
        let line = |at: f64| std::array::from_fn(|i| Point::new(x(at), (20.0 + 20.0 * i as f64) / aspect));
        let corner =
            |i: usize| Point::new(x(if i.is_multiple_of(2) { 40.0 } else { 60.0 }), (20.0 + 4.0 * i as f64) / aspect);
        AortaEstimate {
            anterior: line(25.0),
            posterior: line(35.0),
            anterior_sd_px: [1.0; DISC_LINES],
            posterior_sd_px: [1.0; DISC_LINES],
            middle_sd_px: [1.0; DISC_LINES],
            vertebrae: std::array::from_fn::<_, VERTEBRAL_POINTS, _>(corner),
            vertebrae_sd_px: [1.0; VERTEBRAL_POINTS],
            aspect,
            anterior_right: mirror,
            vertebral_height_px: 15.0,
            mahalanobis_squared: 30.0,
            degrees_of_freedom: 30,
            corner_deviation: Vec::new(),
        }
    }

    #[test]
    fn the_crop_holds_spine_and_aorta_with_square_pixels_and_the_front_to_the_left() {
        for (mirror, aspect) in [(false, 1.0), (true, 1.0), (false, 0.5), (true, 2.0)] {
            let estimate = estimate(mirror, aspect);
            let crop = SpineCrop::around(&estimate);
            let at = |p: Point<ImagePx>| crop.to_crop(p).unwrap();
            for line in 0..DISC_LINES {
                let (a, p) = (at(estimate.anterior[line]), at(estimate.posterior[line]));
                assert!(a.x < p.x, "front before back");
                assert!((a.y - p.y).abs() < 1e-9);
                // 10 wide, and 80 high on 256 / 1.12 rows: square pixels.
                assert!(((p.x - a.x) / 10.0 - CROP_HEIGHT as f64 / 1.12 / 80.0).abs() < 1e-9);
            }
            let (first, last) = (at(estimate.anterior[0]), at(estimate.anterior[DISC_LINES - 1]));
            assert!(
                (first.y + 0.5 - 0.06 / 1.12 * 256.0).abs() < 1e-9 && (last.y - first.y - 256.0 / 1.12).abs() < 1e-9
            );
            assert!(estimate.vertebrae.iter().all(|p| crop.to_crop(*p).is_some()));
            let back = Point::new(60.0, 40.0 / aspect);
            assert!((at(back).x + 0.5 - 0.94 * 128.0).abs() < 1e-6, "{:?}", at(back));
            let round = crop.to_image(at(estimate.anterior[2]));
            assert!(round.distance(estimate.anterior[2]) < 1e-9);
        }
    }

    #[test]
    fn greys_are_those_of_the_place_and_what_the_image_does_not_hold_is_zero() {
        // Brightness rises from left to right; 100 pixels high: the crop reaches beyond the foot.
        let pixels = (0..120u32 * 100).map(|i| (1000 + 50 * (i % 120)) as u16).collect();
        let raster = Raster::new(120, 100, pixels);
        let (plain, inside) = SpineCrop::around(&estimate(false, 1.0)).cut(&raster);
        let row = &plain[100 * CROP_WIDTH..101 * CROP_WIDTH];
        assert!(row.windows(2).all(|w| w[1] >= w[0]) && row[0] < 10 && row[CROP_WIDTH - 1] > 245, "{row:?}");
        assert!(inside[100 * CROP_WIDTH] && !inside[255 * CROP_WIDTH]);
        assert!(plain[255 * CROP_WIDTH..].iter().all(|p| *p == 0));
        let (mirrored, _) = SpineCrop::around(&estimate(true, 1.0)).cut(&raster);
        let row = &mirrored[100 * CROP_WIDTH..101 * CROP_WIDTH];
        assert!(row.windows(2).all(|w| w[1] <= w[0]), "seen from the other side");
    }
}

//! Times the steps of scoring that touch every pixel: `cargo run -p scoring --example timings`.

use domain::reading::LocatedCorner;
use domain::{PixelSpacing, Point, Raster};
use scoring::heatmaps::Heatmaps;
use scoring::levels::{Spine, name_levels};
use scoring::shape::{AnnotatedShape, POINTS, shape_landmark};
use scoring::{Evidence, LocateOutput, Located, Picture, Region, ScoringRules, ShapeModel, locate};
use std::hint::black_box;
use std::time::Instant;

/// Vertebrae of 1 x 1.3 with discs of .35, the aorta in front; point by point a little different in each variant.
fn shape(variant: usize, size: f64, origin: [f64; 2]) -> [Point<domain::ImagePx>; POINTS] {
    std::array::from_fn(|index| {
        let wobble = |salt: usize| ((variant * 7919 + index * 104_729 + salt) % 1000) as f64 / 1000.0 * 0.06 - 0.03;
        let (x, y) = if index < 20 {
            let landmark = shape_landmark(index);
            let top = 1.35 * (landmark.vertebra.index() as f64 - 1.0);
            ((landmark.corner.index() % 2) as f64 * 1.3, top + (landmark.corner.index() / 2) as f64)
        } else {
            (if index < 25 { -1.0 } else { -0.3 }, 1.35 * (index % 5) as f64 - 0.175)
        };
        Point::new(origin[0] + size * (x + wobble(1)), origin[1] + size * (y + wobble(2)))
    })
}

fn best_ms(mut step: impl FnMut()) -> f64 {
    (0..15)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), scoring::Error> {
    let shapes: Vec<AnnotatedShape> =
        (0..200).map(|v| AnnotatedShape { points: shape(v, 100.0, [400.0, 300.0]), aspect: 1.0 }).collect();
    let model = ShapeModel::fit(&shapes, 0.98)?;
    for (width, height, size) in [(1800u32, 2500u32, 270.0), (400, 1100, 110.0)] {
        let pixels = (0..width * height).map(|i| 20_000 + (i.wrapping_mul(2_654_435_761) >> 18) as u16).collect();
        let raster = Raster::new(width, height, pixels);
        let points = shape(0, size, [f64::from(width) * 0.45, f64::from(height) * 0.15]);
        let corners: Vec<LocatedCorner> = (0..20)
            .map(|i| LocatedCorner { landmark: shape_landmark(i), at: points[i], sd_px: 2.0, confidence: 0.9 })
            .collect();
        let estimate = model.estimate(&corners, 1.0)?;
        let region = Region::new(&estimate, 3.0)?;
        let image = region.warp(&raster);
        let steps: Vec<u8> = (0..26 * 128 * 64u64).map(|i| (((i * 48_271) % 1009) / 8) as u8).collect();
        let output = LocateOutput {
            heatmaps: Heatmaps::Steps(steps.into()),
            view: &[1.0, 0.0, 0.0],
            to_stage: locate::prepare(&raster, 1.0).to_stage,
            aspect: 1.0,
        };
        let spine = Spine {
            corners: corners.clone(),
            estimate: estimate.clone(),
            uncertain: [false; 4],
            confidence: 0.9,
            level_confidence: 0.9,
        };
        let located = Located { spine, region: region.clone() };
        let probabilities: Vec<f32> = (0..2 * 128 * 256)
            .map(|i| if i / 128 % 50 < 9 && i % 128 > 50 && i % 128 < 56 { 0.9 } else { 0.1 })
            .collect();
        let picture = Picture {
            width_px: width,
            height_px: height,
            spacing: PixelSpacing::square_mm(0.14),
            ..Picture::default()
        };
        let rules = ScoringRules::default();
        let identity = || scoring::ReadingIdentity {
            image_id: domain::ImageId::from_digest(domain::Digest::of(b"image")),
            fingerprint: domain::Fingerprint::from_digest(domain::Digest::of(b"method")),
            pipeline: "timings".to_owned(),
            models: Vec::new(),
        };
        let evidence = Evidence { located: &located, image: &image, probabilities: &probabilities, picture: &picture };
        println!("{width} x {height}, best of 15, ms:");
        println!("  prepare  {:7.2}", best_ms(|| drop(black_box(locate::prepare(&raster, 1.0)))));
        println!("  name     {:7.2}", best_ms(|| drop(black_box(name_levels(&output, &model, &rules)))));
        println!("  estimate {:7.2}", best_ms(|| drop(black_box(model.estimate(&corners, 1.0)))));
        println!("  warp     {:7.2}", best_ms(|| drop(black_box(region.warp(&raster)))));
        println!("  score    {:7.2}", best_ms(|| drop(black_box(scoring::score(&evidence, identity(), &rules)))));
    }
    Ok(())
}

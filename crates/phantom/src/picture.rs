//! One lateral picture, from the scene to grey values and truth.

use crate::bones::lay_bones;
use crate::canvas::Canvas;
use crate::config::{Config, Scanner};
use crate::detector::{Exposure, background, blur, develop, expose};
use crate::framing::Framing;
use crate::markings::{Sheet, blank_stairs, collimate, lay_metal, mark};
use crate::plane::Mm;
use crate::random::Random;
use crate::scene::{Scene, Sitting};
use crate::spine::{L1, L4};
use crate::trunk::lay_trunk;
use crate::truth::Truth;
use crate::vessel::{Viewing, lay_calcium, lay_tube};
use domain::{PixelSpacing, Raster};

/// A finished picture.
pub(crate) struct Picture {
    pub raster: Raster,
    pub spacing: PixelSpacing,
    pub truth: Truth,
    pub bits: u16,
    pub text_burned_in: bool,
    pub anterior_right: bool,
}

/// Draws a log-uniform multiplier.
fn multiplier(random: &mut Random, low: f64, high: f64) -> f64 {
    if low <= 0.0 { random.between(low, high) } else { random.between(low.ln(), high.ln()).exp() }
}

/// Takes a lateral lumbar picture. `rows_max` renders the same scene with coarser pixels.
pub(crate) fn take_lateral(config: &Config, sitting: &Sitting, rows_max: Option<usize>) -> Picture {
    let scene = Scene::set(config, sitting);
    let path = [sitting.seed, sitting.participant, sitting.visit];
    let scanner = sitting.scanner;
    let style = scanner.style();
    let mut random = Random::named("framing", &path);
    let full = Framing::lateral(&config.imaging, scanner, &scene.spine, &mut random);
    let frame = rows_max.map_or(full, |rows| full.at_most(rows));

    let mut random = Random::named("exposure", &path);
    let noise = multiplier(&mut random, config.imaging.noise_min, config.imaging.noise_max);
    let blur_by = multiplier(&mut random, config.imaging.blur_min, config.imaging.blur_max);
    let soft = !scanner.is_dxa() && random.chance(config.imaging.soft_share);
    let soft_mm = if soft { random.between(0.2, 0.6) } else { 0.0 };
    let steep = random.lognormal(1.0, config.imaging.contrast_spread);
    let lift = random.bounded(0.0, 0.35 * config.imaging.contrast_spread, 2.0);
    let scatter_by = random.lognormal(1.0, 0.2);
    let soft_by = random.lognormal(1.0, 0.15);
    let processing = 2.0 * config.imaging.contrast_spread;
    let (equalise_by, sharpen_by) = (random.lognormal(1.0, processing), random.lognormal(1.0, processing));

    let place = frame.placement();
    let (width, height) = (frame.width, frame.height);
    let factor = coarse_factor(frame.mean_mm());
    let mut coarse = Canvas::new(width.div_ceil(factor), height.div_ceil(factor), place.coarser(factor));
    let mut random = Random::named("trunk", &path);
    lay_trunk(&mut coarse, &scene, &config.nuisance, &mut random);
    lay_tube(&mut coarse, &scene.aorta, &mut random);

    // exposure control looks at the soft tissue over the spine
    let spine_tau = mean_over_spine(&coarse, &scene);
    let bone = 0.45 * scene.spine.density;
    let softness = (style.soft * soft_by).min(1.0);
    // dual energy and beam hardening leave part of the soft tissue's contrast
    coarse.values.iter_mut().for_each(|v| *v = (f64::from(*v) * softness) as f32);
    let reference = spine_tau * softness + bone;
    let exposure = Exposure {
        noise: style.noise * noise,
        scatter: style.scatter * scatter_by,
        window: style.window / steep,
        middle: (style.middle + lift).clamp(0.25, 0.7),
        equalise: (style.equalise * equalise_by).min(0.75),
        sharpen: (style.sharpen * sharpen_by).min(2.5),
        ..Exposure::of(&style, reference)
    };

    let mut fine = Canvas::new(width, height, place);
    coarse.add_enlarged_to(&mut fine, factor);
    let mut random = Random::named("bones", &[sitting.seed, sitting.participant]);
    lay_bones(&mut fine, &scene, &mut random);

    // the slow background: what scatter comes from
    let mut low = background(&coarse, 22.0);
    low.values.iter_mut().for_each(|v| *v += (0.5 * bone) as f32);

    let blur_mm = (style.blur_mm * blur_by).hypot(soft_mm);
    let mut labels = vec![0u8; width * height];
    let viewing = |p: Mm| {
        let (noise, contrast) = exposure.at(nearest(&coarse, p), nearest(&low, p));
        Viewing { noise, contrast }
    };
    // what can be seen depends on the scanner, not on the scale that is asked for
    let seen_blur = blur_mm.hypot(0.29 * full.mean_mm());
    let calcium =
        lay_calcium(&mut fine, &mut labels, &scene.aorta, &scene.deposits, &config.plaque, (seen_blur, &viewing));
    let mut random = Random::named("metal", &[sitting.seed, sitting.participant]);
    lay_metal(&mut fine, &mut labels, &scene, &config.nuisance, &mut random);

    blur(&mut fine, blur_mm / frame.column_mm, blur_mm / frame.row_mm);
    let mut random = Random::named("noise", &path);
    expose(&mut fine, &low, factor, &exposure, &mut random);
    if soft {
        // the re-sampling came after the exposure: it softens the noise too
        let sigma = 0.5 * soft_mm;
        blur(&mut fine, sigma / frame.column_mm, sigma / frame.row_mm);
    }
    let mut pixels = develop(&fine, factor, &exposure);

    let white = ((1u32 << exposure.bits) - 1) as u16;
    let mut sheet = Sheet { width, height, pixels: &mut pixels, labels: &mut labels, white };
    let mut random = Random::named("markings", &path);
    let ge = matches!(scanner, Scanner::GeIdxa | Scanner::GeProdigy);
    if ge && random.chance(config.nuisance.stair_step) {
        blank_stairs(&mut sheet, &place, &scene, &mut random);
    }
    if !scanner.is_dxa() && random.chance(config.nuisance.collimation) {
        collimate(&mut sheet, &place, &scene, &mut random);
    }
    let text_burned_in = mark(&mut sheet, scanner, &config.nuisance, frame.column_mm, &mut random);

    let truth = Truth::of_lateral(&scene, &place, (width, height), calcium, labels, &config.plaque);
    Picture {
        raster: Raster::new(width as u32, height as u32, pixels),
        spacing: PixelSpacing {
            row_mm: Some(frame.row_mm),
            column_mm: Some(frame.column_mm),
            aspect: Some(frame.row_mm / frame.column_mm),
        },
        truth,
        bits: exposure.bits,
        text_burned_in,
        anterior_right: frame.anterior_right,
    }
}

/// Fine pixels that one pixel of the coarse canvas covers, for fine pixels of this size.
pub(crate) fn coarse_factor(pixel_mm: f64) -> usize {
    ((0.8 / pixel_mm).round() as usize).clamp(2, 8)
}

/// Value of the pixel nearest to a point, also from outside.
fn nearest(canvas: &Canvas, p: Mm) -> f64 {
    let (x, y) = canvas.place.apply(p);
    let column = (x.round().max(0.0) as usize).min(canvas.width - 1);
    let row = (y.round().max(0.0) as usize).min(canvas.height - 1);
    f64::from(canvas.values[row * canvas.width + column])
}

/// Mean optical depth of the soft tissue over L1-L4.
fn mean_over_spine(coarse: &Canvas, scene: &Scene) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for body in &scene.spine.bodies[L4..=L1] {
        for (u, v) in [(0.25, 0.3), (0.75, 0.3), (0.25, 0.7), (0.75, 0.7), (0.5, 0.5)] {
            let (x, y) = coarse.place.apply(body.at(u, v));
            if x >= 0.0 && y >= 0.0 && (x as usize) < coarse.width && (y as usize) < coarse.height {
                sum += f64::from(coarse.values[y as usize * coarse.width + x as usize]);
                count += 1.0;
            }
        }
    }
    if count > 0.0 { sum / count } else { 5.5 }
}

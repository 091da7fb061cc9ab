//! Pictures that are no lateral lumbar spine: frontal spine, chest, lateral neck, nothing.

use crate::canvas::{Canvas, Placement, Profile, fractal};
use crate::config::Config;
use crate::detector::{Exposure, background, blur, develop, expose};
use crate::markings::{Sheet, mark};
use crate::picture::{Picture, coarse_factor};
use crate::plane::{Mm, curve, mm, smoothstep};
use crate::random::Random;
use crate::scene::Sitting;
use crate::trunk::MUSCLE;
use crate::truth::{Truth, View};
use domain::{PixelSpacing, Raster};

pub(crate) fn take_negative(config: &Config, sitting: &Sitting, view: View, rows_max: Option<usize>) -> Picture {
    let path = [sitting.seed, sitting.participant, sitting.visit];
    let style = sitting.scanner.style();
    let mut random = Random::named("negative", &path);
    // height and width of the field, mm
    let (high, wide) = match view {
        View::Chest => (random.between(340.0, 430.0), random.between(340.0, 430.0)),
        View::Cervical => (random.between(200.0, 280.0), random.between(160.0, 230.0)),
        View::Frontal | View::Blank | View::LateralLumbar if sitting.scanner.is_dxa() => {
            (random.between(320.0, 480.0), random.between(style.field.0, style.field.1))
        }
        View::Frontal | View::Blank | View::LateralLumbar => {
            (random.between(350.0, 430.0), random.between(200.0, 350.0))
        }
    };
    let spacing = random.between(style.spacing.0, style.spacing.1).max(high / 3000.0).max(wide / 2800.0);
    let (mut height, mut width) = ((high / spacing) as usize, (wide / spacing) as usize);
    let mut pixel = spacing;
    if let Some(rows) = rows_max.filter(|rows| *rows < height) {
        let k = rows as f64 / height as f64;
        (height, width, pixel) = (rows, ((width as f64 * k) as usize).max(32), spacing / k);
    }
    let k = 1.0 / pixel;
    let angle = random.bounded(0.0, config.imaging.rotation_sd_deg, 2.0).to_radians();
    let (sin, cos) = angle.sin_cos();
    let (cx, cy) = (0.5 * width as f64, 0.5 * height as f64);
    let place = Placement { m: [k * cos, -k * sin, cx, k * sin, k * cos, cy] };
    let factor = coarse_factor(pixel);
    let mut coarse = Canvas::new(width.div_ceil(factor), height.div_ceil(factor), place.coarser(factor));
    let mut fine = Canvas::new(width, height, place);
    match view {
        View::Frontal => frontal(&mut coarse, &mut fine, &mut random),
        View::Chest => chest(&mut coarse, &mut fine, &mut random),
        View::Cervical => cervical(&mut coarse, &mut fine, &mut random),
        View::Blank | View::LateralLumbar => {}
    }
    let bits = style.bits;
    let white = ((1u32 << bits) - 1) as u16;
    let mut labels = vec![0u8; width * height];
    let mut pixels = if view == View::Blank {
        blank(width * height, white, &mut random)
    } else {
        let mean = f64::from(coarse.values.iter().sum::<f32>()) / coarse.values.len() as f64;
        let softness = if view == View::Frontal { style.soft } else { 1.0 };
        coarse.values.iter_mut().for_each(|v| *v *= softness as f32);
        coarse.add_enlarged_to(&mut fine, factor);
        let low = background(&coarse, 22.0);
        blur(&mut fine, style.blur_mm * k, style.blur_mm * k);
        let exposure = Exposure::of(&style, mean * softness + 0.3);
        expose(&mut fine, &low, factor, &exposure, &mut random);
        develop(&fine, factor, &exposure)
    };
    let mut sheet = Sheet { width, height, pixels: &mut pixels, labels: &mut labels, white };
    if view != View::Blank {
        mark(&mut sheet, sitting.scanner, &config.nuisance, pixel, &mut random);
    }
    let mut truth = Truth::of_negative(view, 0);
    truth.labels = labels;
    Picture {
        raster: Raster::new(width as u32, height as u32, pixels),
        spacing: PixelSpacing::square_mm(pixel),
        truth,
        bits,
        text_burned_in: !sitting.scanner.is_dxa(),
        anterior_right: false,
    }
}

/// An exposure that failed: black, one grey, or noise alone.
fn blank(count: usize, white: u16, random: &mut Random) -> Vec<u16> {
    let level = if random.chance(0.5) { 0.0 } else { random.unit() * f64::from(white) };
    let spread = if random.chance(0.5) { 0.0 } else { 0.01 * f64::from(white) };
    (0..count)
        .map(|_| if spread == 0.0 { level } else { level + spread * (random.unit() + random.unit() - 1.0) })
        .map(|v| v.clamp(0.0, f64::from(white)) as u16)
        .collect()
}

/// A trunk seen from the front: thickness along the beam (front to back).
fn trunk(coarse: &mut Canvas, half: f64, depth: f64, random: &mut Random) {
    let pixel_mm = 1.0 / coarse.place.area().sqrt();
    let texture = fractal(coarse.width, coarse.height, 35.0 / pixel_mm, 5, random);
    let back = coarse.place.inverse();
    for y in 0..coarse.height {
        for x in 0..coarse.width {
            let p = back.point(x as f64, y as f64);
            let u = p.x / (half * (1.0 + 0.0006 * p.y.abs()));
            if u.abs() < 1.0 {
                let index = y * coarse.width + x;
                let chord = depth * (1.0 - u.powi(4)).sqrt();
                coarse.values[index] += (MUSCLE * chord) as f32 + 0.08 * texture[index];
            }
        }
    }
}

fn frontal(coarse: &mut Canvas, fine: &mut Canvas, random: &mut Random) {
    trunk(coarse, random.between(140.0, 190.0), random.between(190.0, 260.0), random);
    let density = random.between(0.6, 1.2);
    let curve_side = random.bounded(0.0, 8.0, 2.0);
    let height = random.between(26.0, 31.0);
    let pitch = height * random.between(1.22, 1.38);
    let middle = |y: f64| curve_side * (y / 90.0).sin();
    for level in -5i32..=4 {
        let y = f64::from(level) * pitch * if level < 0 { 0.92 } else { 1.0 };
        let half = (22.0 + 1.1 * f64::from(level)) * random.between(0.97, 1.03);
        let x = middle(y);
        // the body: waisted, with bright end plates
        let body = [mm(x, y - 0.5 * height), mm(x, y), mm(x, y + 0.5 * height)];
        let depth = 0.42 * density;
        fine.stroke(
            &curve(&body, 0.6),
            Profile::Rimmed(0.5),
            |t| half * (1.0 - 0.12 * (std::f64::consts::PI * t).sin()),
            |_| depth,
        );
        for end in [-0.47, 0.47] {
            let line = [mm(x - 0.95 * half, y + end * height), mm(x + 0.95 * half, y + end * height)];
            fine.stroke(&line, Profile::Solid, |_| 1.1, |_| 0.5 * density);
        }
        for side in [-1.0, 1.0] {
            // pedicle seen end on
            let centre = mm(x + side * 0.62 * half, y - 0.12 * height);
            let ring: Vec<Mm> = (0..25)
                .map(|k| {
                    let a = f64::from(k) / 24.0 * std::f64::consts::TAU;
                    centre + mm(4.2 * a.cos(), 6.2 * a.sin())
                })
                .collect();
            fine.stroke(&ring, Profile::Solid, |_| 1.1, |_| 0.4 * density);
            // transverse process, or rib
            if level >= -1 {
                let tip = mm(x + side * (half + random.between(14.0, 24.0)), y + random.between(-5.0, 4.0));
                fine.stroke(&[mm(x + side * half, y), tip], Profile::Rimmed(0.8), |t| 4.0 - 1.5 * t, |_| 0.2 * density);
            } else {
                let reach = 40.0 + 25.0 * f64::from(-level);
                let knots = [
                    mm(x + side * 0.9 * half, y - 6.0),
                    mm(x + side * (half + 0.5 * reach), y + 2.0),
                    mm(x + side * (half + 0.95 * reach), y + 0.55 * reach),
                    mm(x + side * (half + 0.9 * reach), y + 1.2 * reach),
                ];
                fine.stroke(&curve(&knots, 0.8), Profile::Rimmed(1.1), |_| 5.0, |_| 0.2 * density);
            }
        }
        // spinous process end on
        let tear = [mm(x, y - 0.05 * height), mm(x, y + 0.45 * height)];
        fine.stroke(&tear, Profile::Solid, |t| 2.0 + 2.2 * t, |_| 0.4 * density);
    }
    // sacrum and iliac wings
    let y = 4.6 * pitch;
    fine.stroke(&[mm(0.0, y), mm(0.0, y + 85.0)], Profile::Solid, |t| 48.0 * (1.0 - 0.75 * t), |_| 0.4 * density);
    for side in [-1.0, 1.0] {
        let knots = [
            mm(side * 36.0, y - 2.0),
            mm(side * 62.0, y - 34.0),
            mm(side * 105.0, y - 38.0),
            mm(side * 135.0, y + 10.0),
            mm(side * 118.0, y + 60.0),
        ];
        let wing = curve(&knots, 1.0);
        fine.stroke(&wing, Profile::Solid, |_| 3.0, |_| 0.5 * density);
        let blade = [mm(side * 50.0, y + 40.0), mm(side * 100.0, y)];
        coarse.stroke(&blade, Profile::Solid, |_| 42.0, |_| 0.45 * density);
    }
}

fn chest(coarse: &mut Canvas, fine: &mut Canvas, random: &mut Random) {
    trunk(coarse, random.between(150.0, 180.0), random.between(200.0, 240.0), random);
    let base = [random.between(85.0, 115.0), random.between(95.0, 125.0)];
    let apex = -random.between(120.0, 145.0);
    for (side, bottom) in [(-1.0, base[0]), (1.0, base[1])] {
        let centre = mm(side * 76.0, 0.5 * (apex + bottom));
        let half = 0.5 * (bottom - apex);
        let air = random.between(0.75, 1.0) * MUSCLE * 150.0;
        coarse.fill(&[centre], half + 10.0, |p| {
            let d = p - centre;
            let w = 66.0 * (1.0 - 0.25 * smoothstep(0.0, -half, d.y));
            let r = (d.x / w).powi(2) + (d.y / half).powi(4);
            // the dome cuts the lung off below
            let dome = bottom - 28.0 + 0.006 * (d.x * d.x);
            let cut = 1.0 - smoothstep(dome - 2.0, dome + 2.0, p.y);
            if r >= 1.0 { 0.0 } else { -(air * (1.0 - r).sqrt() * cut) as f32 }
        });
    }
    // heart and great vessels
    let heart = mm(22.0, 55.0);
    coarse.fill(&[heart], 70.0, |p| {
        let d = p - heart;
        let r = (d.x / 58.0).powi(2) + ((d.y - 0.35 * d.x) / 52.0).powi(2);
        if r >= 1.0 { 0.0 } else { (MUSCLE * 95.0 * (1.0 - r).sqrt()) as f32 }
    });
    for k in 0..9 {
        let y = apex + 6.0 + 24.0 * f64::from(k);
        for side in [-1.0, 1.0] {
            let out = 60.0 + 60.0 * (f64::from(k) / 5.0).min(1.0);
            let knots = [
                mm(side * 14.0, y),
                mm(side * (0.6 * out), y - 4.0),
                mm(side * (out + 18.0), y + 26.0),
                mm(side * (out + 14.0), y + 58.0),
                mm(side * (0.6 * out), y + 92.0),
            ];
            fine.stroke(&curve(&knots, 0.8), Profile::Rimmed(1.0), |_| 5.5, |t| 0.26 * (1.0 - 0.4 * t));
        }
        let body = [mm(0.0, y), mm(0.0, y + 17.0)];
        fine.stroke(&body, Profile::Rimmed(0.4), |_| 15.0, |_| 0.35);
    }
    for side in [-1.0, 1.0] {
        let clavicle = [mm(side * 12.0, apex + 30.0), mm(side * 70.0, apex + 14.0), mm(side * 140.0, apex - 4.0)];
        fine.stroke(&curve(&clavicle, 0.8), Profile::Rimmed(1.0), |_| 6.0, |_| 0.4);
    }
}

fn cervical(coarse: &mut Canvas, fine: &mut Canvas, random: &mut Random) {
    let neck = random.between(48.0, 62.0);
    let lordosis = random.between(-0.1, 0.5);
    let axis = |y: f64| -lordosis * 12.0 * (1.0 - (y / 70.0).powi(2));
    let pixel_mm = 1.0 / coarse.place.area().sqrt();
    let texture = fractal(coarse.width, coarse.height, 20.0 / pixel_mm, 4, random);
    let back = coarse.place.inverse();
    for y in 0..coarse.height {
        for x in 0..coarse.width {
            let p = back.point(x as f64, y as f64);
            let shoulders = smoothstep(45.0, 110.0, p.y);
            let half = neck * (1.0 + 1.4 * shoulders);
            let u = (p.x - axis(p.y) + 4.0) / half;
            if u.abs() < 1.0 {
                let index = y * coarse.width + x;
                let chord = (115.0 + 230.0 * shoulders) * (1.0 - u * u).sqrt();
                coarse.values[index] += (MUSCLE * chord) as f32 + 0.05 * texture[index];
            }
        }
    }
    // airway in front of the spine
    let airway: Vec<Mm> =
        (0..9).map(|k| mm(axis(-80.0 + 22.0 * f64::from(k)) - 30.0, -80.0 + 22.0 * f64::from(k))).collect();
    coarse.stroke(&curve(&airway, 1.0), Profile::Solid, |_| 8.0, |_| -0.3);
    // skull base and jaw
    let skull = mm(6.0, -140.0);
    coarse.fill(&[skull], 95.0, |p| {
        let d = p - skull;
        let r = ((d.x / 92.0).powi(2) + (d.y / 66.0).powi(2)).sqrt();
        if r >= 1.0 { 0.0 } else { (1.1 * (1.0 - r * r).sqrt() + if r > 0.93 { 1.2 } else { 0.0 }) as f32 }
    });
    let jaw = [mm(-18.0, -95.0), mm(-26.0, -62.0), mm(-50.0, -46.0), mm(-92.0, -44.0)];
    fine.stroke(&curve(&jaw, 0.6), Profile::Rimmed(0.8), |_| 10.0, |_| 0.6);
    let height = random.between(12.5, 15.0);
    for level in 0..8 {
        let y = -62.0 + f64::from(level) * height * 1.36;
        let x = axis(y);
        let body = [mm(x, y), mm(x, y + height)];
        let half = 8.5 + 0.3 * f64::from(level);
        fine.stroke(&body, Profile::Rimmed(0.8), |_| half, |_| 0.32);
        for end in [0.0, height] {
            fine.stroke(&[mm(x - half, y + end), mm(x + half, y + end)], Profile::Solid, |_| 0.9, |_| 0.3);
        }
        let facet = [mm(x + half + 3.0, y - 1.0), mm(x + half + 9.0, y + height)];
        fine.stroke(&facet, Profile::Rimmed(0.9), |_| 5.0, |_| 0.25);
        let long = if level > 4 { 34.0 } else { 22.0 };
        let process = [mm(x + half + 14.0, y + 0.7 * height), mm(x + half + 14.0 + long, y + 1.3 * height)];
        fine.stroke(&process, Profile::Rimmed(0.9), |t| 3.5 + 1.5 * t, |_| 0.2);
    }
}

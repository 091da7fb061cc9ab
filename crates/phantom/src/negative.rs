//! Pictures that are no lateral lumbar spine: frontal spine, chest, lateral neck, nothing.

use crate::bones::lay_body;
use crate::canvas::{Canvas, Placement, Profile, fractal};
use crate::config::Config;
use crate::detector::{Exposure, background, blur, develop, expose};
use crate::markings::{Sheet, mark};
use crate::picture::{Picture, coarse_factor};
use crate::plane::{Mm, curve, forward, mm, smoothstep, upward};
use crate::random::{Random, Wander};
use crate::scene::Sitting;
use crate::spine::Body;
use crate::trunk::{MUSCLE, lay_bubble};
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
    let text_burned_in = view != View::Blank && mark(&mut sheet, sitting.scanner, &config.nuisance, pixel, &mut random);
    let mut truth = Truth::of_negative(view, 0);
    truth.labels = labels;
    Picture {
        raster: Raster::new(width as u32, height as u32, pixels),
        spacing: PixelSpacing::square_mm(pixel),
        truth,
        bits,
        text_burned_in,
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

/// A vertebral body seen from the front or in the neck: `half` its width and `height`, mm, turned by `tilt`.
fn body(centre: Mm, (half, height): (f64, f64), tilt: f64, waist: f64, random: &mut Random) -> Body {
    let (f, u) = (forward(tilt) * half, upward(tilt) * (0.5 * height));
    Body {
        corners: [centre + f + u, centre - f + u, centre + f - u, centre - f - u],
        concavity: [waist, waist, 0.03 * height, 0.03 * height],
        tilt,
        height,
        depth: 2.0 * half,
        osteophyte: [random.between(0.0, 2.0), random.between(0.0, 2.0)],
        double_contour: random.bounded(0.0, 0.9, 2.0),
        wall: random.between(0.2, 0.9),
        ragged: random.between(0.0, 0.6),
        density: 1.0,
    }
}

fn frontal(coarse: &mut Canvas, fine: &mut Canvas, random: &mut Random) {
    let half_trunk = random.between(140.0, 190.0);
    trunk(coarse, half_trunk, random.between(190.0, 260.0), random);
    let density = random.between(0.6, 1.2);
    let bend = random.bounded(0.0, 8.0, 2.0);
    let height = random.between(26.0, 31.0);
    let pitch = height * random.between(1.2, 1.36);
    let spine = |y: f64| bend * (y / 90.0).sin();
    // lungs above the domes, on both sides of the heart's shadow
    let dome = -3.1 * pitch + random.bounded(0.0, 12.0, 2.0);
    for side in [-1.0, 1.0] {
        let centre = mm(side * 82.0, dome - 60.0);
        let air = random.between(0.6, 0.9) * MUSCLE * 110.0;
        let drop = random.between(0.003, 0.006);
        coarse.fill(&[centre], 90.0, |p| {
            let d = p.x - centre.x;
            let edge = dome + drop * d * d;
            let wide = smoothstep(60.0, 48.0, d.abs());
            -(air * wide * smoothstep(edge + 1.5, edge - 1.5, p.y)) as f32
        });
    }
    // psoas on each side, widening downward
    for side in [-1.0, 1.0] {
        let line = [mm(side * 24.0, -1.5 * pitch), mm(side * 44.0, 1.5 * pitch), mm(side * 62.0, 4.3 * pitch)];
        coarse.stroke(&curve(&line, 1.0), Profile::Solid, |t| 9.0 + 14.0 * t, |_| 0.14);
    }
    // gas in the colon
    for _ in 0..random.below(14) {
        let at = mm(random.normal(0.0, 75.0), random.between(-1.0, 4.5) * pitch);
        let size = random.lognormal(8.0, 0.5);
        lay_bubble(coarse, at, 1.6 * size, 0.02, random);
    }
    let mut tilt = random.normal(0.0, 0.02);
    for level in -8i32..=4 {
        let y = f64::from(level) * pitch * if level < 0 { 0.9 } else { 1.0 };
        let half = (21.5 + 1.1 * f64::from(level).max(-4.0)) * random.between(0.97, 1.03);
        let tall = height * if level < -1 { 0.86 } else { 1.0 };
        let x = spine(y);
        tilt = 0.6 * tilt + random.normal(0.0, 0.02);
        let shape = body(mm(x, y), (half, tall), tilt, 0.09 * half, random);
        lay_body(fine, &shape, density, None, random);
        for side in [-1.0, 1.0] {
            let strength = 0.22 * density * random.between(0.7, 1.2);
            // pedicle seen end on
            let centre = mm(x + side * 0.6 * half, y - 0.14 * tall);
            let ring: Vec<Mm> = (0..25)
                .map(|k| {
                    let a = f64::from(k) / 24.0 * std::f64::consts::TAU;
                    centre + mm(3.6 * a.cos(), 5.6 * a.sin())
                })
                .collect();
            fine.stroke(&ring, Profile::Solid, |_| 0.9, |_| strength);
            // articular column
            let joint = mm(x + side * random.between(11.0, 15.0), y + 0.55 * pitch);
            fine.stroke(&[joint - mm(0.0, 8.0), joint + mm(side * 1.5, 8.0)], Profile::Solid, |_| 5.0, |_| strength);
            if level >= -1 {
                let tip = mm(x + side * (half + random.between(14.0, 24.0)), y + random.between(-6.0, 3.0));
                let root = mm(x + side * 0.85 * half, y - 2.0);
                fine.stroke(&[root, tip], Profile::Rimmed(0.8), |t| 4.2 - 1.8 * t, |t| 0.7 * strength * (1.1 - t));
            } else {
                let reach =
                    (if level == -2 { 45.0 } else { 62.0 + 14.0 * f64::from(-level) }) * random.between(0.85, 1.1);
                let knots = [
                    mm(x + side * 0.9 * half, y - 7.0),
                    mm(x + side * (half + 0.45 * reach), y - 1.0),
                    mm(x + side * (half + 0.9 * reach), y + 0.42 * reach),
                    mm(x + side * (half + 0.97 * reach), y + 0.95 * reach),
                    mm(x + side * (half + 0.75 * reach), y + 1.35 * reach),
                ];
                let knots = if level == -2 { &knots[..3] } else { &knots[..] };
                fine.stroke(&curve(knots, 0.8), Profile::Rimmed(1.3), |_| 4.8, |t| 0.75 * strength * (1.0 - 0.5 * t));
            }
        }
        // spinous process end on
        let tear = [mm(x, y + 0.05 * tall), mm(x + random.normal(0.0, 0.8), y + 0.5 * tall)];
        fine.stroke(&curve(&tear, 0.5), Profile::Rimmed(1.0), |t| 1.6 + 2.4 * t, |_| 0.3 * density);
    }
    // sacrum and iliac wings
    let y = 4.62 * pitch;
    let x = spine(y);
    fine.stroke(
        &[mm(x, y), mm(x, y + 95.0)],
        Profile::Rimmed(0.3),
        |t| 50.0 * (1.0 - 0.72 * t),
        |t| 0.26 * density * smoothstep(0.0, 0.15, t),
    );
    for side in [-1.0, 1.0] {
        for k in 0..3 {
            let hole = mm(x + side * (21.0 - 3.0 * f64::from(k)), y + 22.0 + 19.0 * f64::from(k));
            fine.stroke(&[hole, hole + mm(0.0, 5.0)], Profile::Solid, |_| 5.0, |_| -0.14 * density);
        }
        let knots = [
            mm(x + side * 40.0, y + 26.0),
            mm(x + side * 46.0, y - 8.0),
            mm(x + side * 70.0, y - 32.0),
            mm(x + side * 106.0, y - 30.0),
            mm(x + side * 132.0, y + 14.0),
            mm(x + side * 120.0, y + 62.0),
        ];
        fine.stroke(&curve(&knots, 1.0), Profile::Solid, |_| 2.2, |_| 0.3 * density);
        let blade = [mm(x + side * 62.0, y + 36.0), mm(x + side * 96.0, y + 4.0)];
        coarse.stroke(&blade, Profile::Solid, |_| 38.0, |_| 0.3 * density);
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
    // heart and great vessels, between the lungs
    let heart = mm(random.between(12.0, 30.0), 0.5 * (base[0] + base[1]) - 45.0);
    coarse.fill(&[heart], 80.0, |p| {
        let d = p - heart;
        let r = (d.x / 58.0).powi(2) + ((d.y - 0.3 * d.x) / 56.0).powi(2);
        if r >= 1.0 { 0.0 } else { (MUSCLE * 90.0 * (1.0 - r).sqrt() * smoothstep(70.0, 20.0, d.y)) as f32 }
    });
    let vessels = [mm(4.0, apex + 40.0), mm(10.0, -40.0), mm(6.0, 20.0)];
    coarse.stroke(
        &curve(&vessels, 1.0),
        Profile::Solid,
        |t| 24.0 + 8.0 * t,
        |t| MUSCLE * 55.0 * smoothstep(0.0, 0.2, t) * smoothstep(1.0, 0.6, t),
    );
    // branches from both hila
    for side in [-1.0, 1.0] {
        for _ in 0..16 {
            let root = mm(side * random.between(24.0, 34.0), random.between(-30.0, 5.0));
            let angle = random.between(-1.3, 1.3);
            let run = mm(side * angle.cos(), angle.sin()) * random.between(30.0, 75.0);
            let bow = mm(0.0, random.normal(0.0, 6.0));
            let line = curve(&[root, root + run * 0.5 + bow, root + run], 1.0);
            coarse.stroke(&line, Profile::Solid, |t| 2.6 * (1.0 - 0.75 * t), |t| 0.16 * (1.0 - 0.7 * t));
        }
    }
    for k in 0..11 {
        let y = apex + 2.0 + 22.0 * f64::from(k);
        let shape = body(mm(random.normal(0.0, 0.5), y), (14.5, 18.0), 0.0, 1.2, random);
        lay_body(fine, &shape, 0.6, None, random);
        for side in [-1.0, 1.0] {
            let out = 60.0 + 60.0 * (f64::from(k) / 5.0).min(1.0);
            let knots = [
                mm(side * 14.0, y),
                mm(side * (0.6 * out), y - 6.0),
                mm(side * (out + 16.0), y + 18.0),
                mm(side * (out + 17.0), y + 46.0),
                mm(side * (0.8 * out), y + 78.0),
                mm(side * (0.45 * out), y + 92.0),
            ];
            let strength = random.between(0.14, 0.24);
            fine.stroke(&curve(&knots, 0.8), Profile::Rimmed(1.2), |_| 5.2, |t| strength * (1.0 - 0.55 * t));
        }
    }
    for side in [-1.0, 1.0] {
        let clavicle = [
            mm(side * 12.0, apex + 32.0),
            mm(side * 60.0, apex + 20.0),
            mm(side * 105.0, apex + 12.0),
            mm(side * 150.0, apex - 6.0),
        ];
        fine.stroke(&curve(&clavicle, 0.8), Profile::Rimmed(1.0), |_| 5.5, |_| 0.3);
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
    let skull = mm(6.0 + random.normal(0.0, 4.0), -142.0);
    let texture = Wander::new(random, 300.0, 9.0);
    coarse.fill(&[skull], 98.0, |p| {
        let d = p - skull;
        let r = ((d.x / 92.0).powi(2) + (d.y / 68.0).powi(2)).sqrt();
        let dense = 0.9 * smoothstep(1.0, 0.82, r) + 0.5 * (-((r - 0.95) / 0.03).powi(2)).exp();
        if r >= 1.0 {
            0.0
        } else {
            (dense * (1.0 + 0.2 * texture.at(p.x + 150.0) + 0.2 * texture.at(p.y + 320.0))) as f32
        }
    });
    let jaw = [mm(-16.0, -104.0), mm(-22.0, -72.0), mm(-38.0, -54.0), mm(-70.0, -50.0), mm(-96.0, -58.0)];
    fine.stroke(&curve(&jaw, 0.6), Profile::Rimmed(0.6), |t| 10.0 - 2.0 * t, |t| 0.4 * smoothstep(0.0, 0.2, t));
    let hyoid = [mm(-44.0, -20.0), mm(-62.0, -28.0)];
    fine.stroke(&hyoid, Profile::Solid, |_| 2.0, |_| 0.25);
    let height = random.between(12.5, 15.0);
    let density = random.between(0.7, 1.2);
    for level in 0..8 {
        let y = -56.0 + f64::from(level) * height * 1.36;
        let slope = (axis(y + 5.0) - axis(y - 5.0)) / 10.0;
        let half = 8.3 + 0.35 * f64::from(level);
        let shape = body(mm(axis(y), y), (half, height), slope.atan(), 0.6, random);
        lay_body(fine, &shape, 1.6 * density, None, random);
        let behind = axis(y) + half;
        let strength = 0.2 * density * random.between(0.8, 1.2);
        let facet = [mm(behind + 2.0, y - 0.6 * height), mm(behind + 9.0, y + 0.5 * height)];
        fine.stroke(&curve(&facet, 0.5), Profile::Rimmed(0.9), |t| 5.0 * (1.0 - 0.4 * t.powi(6)), |_| strength);
        let long = if level > 4 {
            30.0
        } else if level == 0 {
            26.0
        } else {
            17.0
        } * random.between(0.85, 1.15);
        let process = [mm(behind + 13.0, y + 0.2 * height), mm(behind + 13.0 + long, y + 0.95 * height)];
        fine.stroke(&process, Profile::Rimmed(0.9), |t| 3.2 + 1.8 * t - 1.5 * t.powi(8), |_| 0.75 * strength);
    }
}

//! Soft tissue, lungs, bowel and pelvis of the lateral view, laid on the coarse canvas (about .7 mm a pixel).

use crate::canvas::{Canvas, Profile, fractal};
use crate::config::Nuisance;
use crate::plane::{Mm, curve, interpolate, mm, smoothstep};
use crate::random::{Random, Wander};
use crate::scene::Scene;
use crate::spine::{L5, T12};

/// Attenuation of muscle, blood and organs a millimetre, at the effective energy of 80-90 kVp.
pub(crate) const MUSCLE: f64 = 0.0195;
/// Of fat.
const FAT: f64 = 0.0172;

/// Everything soft, as optical depth. Coarse.
pub(crate) fn lay_trunk(canvas: &mut Canvas, scene: &Scene, nuisance: &Nuisance, random: &mut Random) {
    let (width, height) = (canvas.width, canvas.height);
    let place = canvas.place;
    let back_map = place.inverse();
    let habitus = &scene.habitus;
    let bodies = &scene.spine.bodies;
    let (ys, xs): (Vec<f64>, Vec<f64>) = bodies.iter().rev().map(|b| (b.centre().y, b.centre().x)).unzip();
    // the sacrum runs backward below S1
    let sacrum = scene.sacrum();
    let t11 = bodies[T12 + 1].centre();
    let l3 = bodies[3].centre();
    let waist = l3.y;
    let outline_wander = Wander::new(random, 900.0, 90.0);
    let back_wander = Wander::new(random, 900.0, 70.0);
    let pixel_mm = 1.0 / place.area().sqrt();
    let clutter = fractal(width, height, 42.0 / pixel_mm, 5, random);
    let bowel = fractal(width, height, 15.0 / pixel_mm, 4, random);
    let bowel_strength = random.between(0.05, 0.15) * nuisance.clutter;
    let mottle = random.between(0.035, 0.08) * nuisance.clutter;
    let lobe = random.between(-10.0, 12.0);
    let blur_dome = 1.2;

    // per height, in steps of 1 mm, the outline
    let corners = [(0.0, 0.0), (width as f64, 0.0), (0.0, height as f64), (width as f64, height as f64)];
    let shown: Vec<Mm> = corners.iter().map(|(x, y)| back_map.point(*x, *y)).collect();
    let low = shown.iter().map(|p| p.y).fold(f64::MAX, f64::min) - 2.0;
    let high = shown.iter().map(|p| p.y).fold(f64::MIN, f64::max) + 2.0;
    let count = ((high - low).ceil() as usize + 2).min(4000);
    struct Slice {
        spine: f64,
        back: f64,
        front: f64,
        half: f64,
    }
    let slices: Vec<Slice> = (0..count)
        .map(|k| {
            let y = low + k as f64;
            let mut spine = interpolate(&ys, &xs, y);
            if y > sacrum.y {
                spine += (y - sacrum.y).min(70.0) * 0.45;
            }
            let hip = smoothstep(waist, waist + 150.0, y);
            let chest = smoothstep(waist, waist - 170.0, y);
            let depth = habitus.depth * (1.0 - 0.05 * hip - 0.04 * chest + 0.012 * outline_wander.at(y + 2000.0));
            let smooth_spine = 0.55 * spine + 0.45 * interpolate(&[t11.y, sacrum.y], &[t11.x, sacrum.x], y);
            let back =
                smooth_spine + habitus.back * (1.0 + 0.32 * hip - 0.05 * chest) + 2.0 * back_wander.at(y + 2000.0);
            Slice { spine, back, front: back - depth, half: habitus.half_width * (1.0 + 0.23 * hip + 0.05 * chest) }
        })
        .collect();

    // each dome is highest somewhere in front of the spine, steep behind down to the costophrenic angle, sloping to the front
    let domes: Vec<(f64, f64, f64, f64)> = habitus
        .domes
        .iter()
        .map(|offset| {
            let apex = random.between(-62.0, -18.0);
            (t11.y + offset - 14.0, apex, random.between(0.006, 0.012), random.between(0.0022, 0.0055))
        })
        .collect();
    let ripple = Wander::new(random, 600.0, 38.0);
    let dome = |d: f64, (top, apex, behind, before): (f64, f64, f64, f64)| {
        let off = d - apex;
        top + off * off * if off > 0.0 { behind } else { before } + 1.3 * ripple.at(d + 300.0)
    };
    for y in 0..height {
        for x in 0..width {
            let p = back_map.point(x as f64, y as f64);
            let at = (p.y - low).clamp(0.0, (count - 1) as f64);
            let slice = &slices[at as usize];
            let middle = 0.5 * (slice.back + slice.front);
            let reach = 0.5 * (slice.back - slice.front);
            let u = (p.x - middle) / reach;
            let chord = |margin: f64| {
                let v = u * reach / (reach - margin);
                let v2 = v * v;
                if v2 >= 1.0 { 0.0 } else { 2.0 * (slice.half - margin) * (1.0 - v2 * v2.sqrt().sqrt()).sqrt() }
            };
            let outer = chord(0.0);
            if outer <= 0.0 {
                continue;
            }
            let inner = chord(habitus.fat);
            let mut tau = FAT * (outer - inner) + MUSCLE * inner;
            let index = y * width + x;
            let (large, small) = (f64::from(clutter[index]), f64::from(bowel[index]));
            if inner > 0.0 {
                let mut lung = 0.0;
                for shape in &domes {
                    let edge = dome(p.x - slice.spine, *shape);
                    lung += 0.5 * smoothstep(edge + blur_dome, edge - blur_dome, p.y);
                }
                if lung > 0.0 {
                    let air = (inner - 92.0).max(0.0) * habitus.air * MUSCLE * 0.86;
                    tau -= lung * air;
                    tau += lung * 0.05 * large;
                }
                // bowel in front of the spine and under the liver
                let abdomen = (1.0 - lung)
                    * smoothstep(slice.spine - 22.0, slice.spine - 62.0, p.x)
                    * smoothstep(t11.y + 18.0 + lobe, t11.y + 75.0 + lobe, p.y);
                tau += abdomen * bowel_strength * (small - 0.25 * small.abs() + 0.4 * large);
                tau += (1.0 - lung) * mottle * large;
            }
            canvas.values[index] += tau.max(0.0) as f32;
        }
    }
    lay_streaks(canvas, scene, nuisance.clutter, random);
    if random.chance(nuisance.bowel_gas) {
        lay_gas(canvas, scene, random);
    }
    lay_pelvis(canvas, scene, random);
    if random.chance(nuisance.soft_shadow) {
        lay_shadow(canvas, scene, random);
    }
}

/// Edges that have no name of their own: walls of bowel, folds of skin, muscle and fat, overlapping margins in the pelvis.
fn lay_streaks(canvas: &mut Canvas, scene: &Scene, clutter: f64, random: &mut Random) {
    let t12 = scene.spine.bodies[T12].centre();
    let sacrum = scene.sacrum();
    for _ in 0..(4 + random.below(14)) {
        let y = random.between(t12.y - 20.0, sacrum.y + 130.0);
        let start = mm(scene.spine_x(y) + random.between(-130.0, 60.0), y);
        let mut direction = random.between(0.0, std::f64::consts::TAU);
        let bend = random.normal(0.0, 0.25);
        let step = random.between(6.0, 22.0);
        let mut knots = vec![start];
        for _ in 0..(2 + random.below(5)) {
            direction += bend + random.normal(0.0, 0.15);
            let last = knots[knots.len() - 1];
            knots.push(last + mm(direction.cos(), direction.sin()) * step);
        }
        let half = random.lognormal(1.6, 0.6);
        let strength = random.normal(0.025, 0.05) * clutter;
        canvas.stroke(
            &curve(&knots, 1.0),
            Profile::Solid,
            |_| half,
            |t| strength * (std::f64::consts::PI * t).sin().powf(0.7),
        );
    }
}

/// Gas: loops of bowel as dark sausages with folds, and clusters of small bubbles; mostly in front of the spine, at times over
/// it, and often in the rectum.
fn lay_gas(canvas: &mut Canvas, scene: &Scene, random: &mut Random) {
    let t12 = scene.spine.bodies[T12].centre();
    let sacrum = scene.sacrum();
    let place = |random: &mut Random| {
        let y = random.between(t12.y, sacrum.y + 60.0);
        let ahead = if random.chance(0.15) { random.between(-5.0, 35.0) } else { random.between(42.0, 130.0) };
        mm(scene.spine_x(y) - ahead, y)
    };
    for _ in 0..random.below(4) {
        // a loop
        let start = place(random);
        let mut direction = random.between(0.0, std::f64::consts::TAU);
        let mut knots = vec![start];
        let step = random.between(9.0, 18.0);
        for _ in 0..(2 + random.below(4)) {
            direction += random.normal(0.0, 0.6);
            let last = knots[knots.len() - 1];
            knots.push(last + mm(direction.cos(), direction.sin()) * step);
        }
        let half = random.between(6.0, 15.0);
        let folds = random.between(2.0, 7.0);
        let strength = -MUSCLE * half * random.between(0.5, 1.4);
        let phase = random.between(0.0, std::f64::consts::TAU);
        canvas.stroke(
            &curve(&knots, 1.0),
            Profile::Solid,
            |t| {
                half * (0.25 + 0.75 * (std::f64::consts::PI * t).sin().powf(0.35))
                    * (1.0 + 0.13 * (folds * std::f64::consts::TAU * t + phase).sin())
            },
            |_| strength,
        );
    }
    for _ in 0..(1 + random.below(4)) {
        // a cluster of bubbles
        let centre = place(random);
        let spread = random.between(8.0, 24.0);
        let size = random.between(1.5, 5.0);
        let strength = random.between(0.4, 1.1) * MUSCLE * 2.0;
        for _ in 0..(5 + random.below(28)) {
            let at = centre + mm(random.normal(0.0, spread), random.normal(0.0, 0.8 * spread));
            lay_bubble(canvas, at, size * random.lognormal(1.0, 0.45), strength, random);
        }
    }
    if random.chance(0.5) {
        let at = mm(sacrum.x + random.between(8.0, 38.0), sacrum.y + random.between(55.0, 95.0));
        let size = random.between(9.0, 19.0);
        lay_bubble(canvas, at, size, MUSCLE * random.between(1.0, 2.6), random);
        lay_bubble(canvas, at + mm(3.0, size * 0.8), size * 0.7, MUSCLE * random.between(0.6, 2.0), random);
    }
}

/// An ellipsoid of gas of about `size` mm in radius.
pub(crate) fn lay_bubble(canvas: &mut Canvas, at: Mm, size: f64, strength: f64, random: &mut Random) {
    let b = size * random.between(0.55, 1.0);
    let (sin, cos) = random.between(0.0, std::f64::consts::PI).sin_cos();
    let lobe = random.between(0.0, 0.22);
    let phase = random.between(0.0, std::f64::consts::TAU);
    canvas.fill(&[at], size * 1.3, |p| {
        let d = p - at;
        let (px, py) = ((d.x * cos + d.y * sin) / size, (d.y * cos - d.x * sin) / b);
        let wave = 1.0 + lobe * (3.0 * py.atan2(px) + phase).sin();
        let r2 = (px * px + py * py) / (wave * wave);
        if r2 >= 1.0 { 0.0 } else { -(strength * b * (1.0 - r2).sqrt()) as f32 }
    });
}

/// Iliac wings, hip joints and the bright pelvis.
fn lay_pelvis(canvas: &mut Canvas, scene: &Scene, random: &mut Random) {
    let sacrum = scene.sacrum();
    let l5 = scene.spine.bodies[L5].centre();
    let density = scene.spine.density;
    // from the middle of L4 down to the middle of S1: the crest is nearer to the detector or farther from it, and divergence moves it
    let rise = random.between(-1.1, 0.9);
    let crest_y = l5.y + (scene.spine.bodies[2].centre().y - l5.y) * rise;
    for side in 0..2 {
        let shift = mm(random.normal(0.0, 6.0), random.normal(0.0, 5.0));
        let crest = [
            mm(sacrum.x - 78.0, sacrum.y + 55.0),
            mm(sacrum.x - 66.0, sacrum.y + 12.0),
            mm(sacrum.x - 34.0, crest_y + 8.0),
            mm(sacrum.x + 4.0, crest_y),
            mm(sacrum.x + 40.0, crest_y + 14.0),
            mm(sacrum.x + 62.0, sacrum.y + 12.0),
            mm(sacrum.x + 58.0, sacrum.y + 40.0),
        ]
        .map(|p| p + shift);
        let line = curve(&crest, 1.0);
        // the wing is a blade: thick at the crest, thin inside
        let xs: Vec<f64> = line.iter().map(|p| p.x).collect();
        let ordered = xs.windows(2).all(|w| w[0] < w[1]);
        let (xs, ys): (Vec<f64>, Vec<f64>) = if ordered {
            line.iter().map(|p| (p.x, p.y)).unzip()
        } else {
            let mut sorted: Vec<Mm> = line.clone();
            sorted.sort_by(|a, b| a.x.total_cmp(&b.x));
            sorted.iter().map(|p| (p.x, p.y)).unzip()
        };
        let strength = 0.34 * density * random.between(0.6, 1.3);
        let (x0, x1) = (xs[0], xs[xs.len() - 1]);
        let thickening = random.between(3.0, 30.0);
        let crest_strength = random.between(0.05, 0.2) * density;
        let corners = [mm(x0, crest_y - 5.0), mm(x1, sacrum.y + 160.0)];
        canvas.fill(&corners, 2.0, |p| {
            if p.x < x0 || p.x > x1 {
                return 0.0;
            }
            let depth = p.y - interpolate(&xs, &ys, p.x);
            if depth < -1.0 {
                return 0.0;
            }
            let side_fade = smoothstep(x0, x0 + 34.0, p.x) * smoothstep(x1, x1 - 32.0, p.x);
            let enter = smoothstep(-1.0, thickening, depth);
            let fade = 1.0 - 0.75 * smoothstep(70.0, 130.0, depth);
            (strength * side_fade * enter * fade) as f32
        });
        canvas.stroke(
            &line,
            Profile::Solid,
            |t| 1.0 + 0.8 * (6.0 * t).sin().abs(),
            |t| crest_strength * (std::f64::consts::PI * t).sin().powf(0.7),
        );
        // hip joint: the head in its socket
        let head = mm(sacrum.x - 30.0, sacrum.y + 95.0) + shift * 1.6;
        let radius = 23.5 + side as f64 * 1.6;
        canvas.fill(&[head], radius + 2.0, |p| {
            let r = (p - head).length() / radius;
            if r >= 1.0 { 0.0 } else { (0.3 * density * (1.0 - r * r).sqrt()) as f32 }
        });
        let roof: Vec<Mm> = (0..40)
            .map(|k| {
                let a = (190.0 + 170.0 * k as f64 / 39.0f64).to_radians();
                head + mm(a.cos(), a.sin()) * (radius + 3.0)
            })
            .collect();
        canvas.stroke(&roof, Profile::Solid, |_| 1.2, |t| 0.32 * density * (std::f64::consts::PI * t).sin());
        // the notch behind: ischium running down and back
        let ischium = curve(
            &[
                mm(sacrum.x - 12.0, sacrum.y + 62.0) + shift,
                mm(sacrum.x + 8.0, sacrum.y + 86.0) + shift,
                mm(sacrum.x + 6.0, sacrum.y + 120.0) + shift,
            ],
            1.0,
        );
        canvas.stroke(
            &ischium,
            Profile::Solid,
            |t| 12.0 - 3.0 * t,
            |t| 0.16 * density * (std::f64::consts::PI * t).sin(),
        );
    }
}

/// An arm or a breast over the upper front.
fn lay_shadow(canvas: &mut Canvas, scene: &Scene, random: &mut Random) {
    let t11 = scene.spine.bodies[T12 + 1].centre();
    if random.chance(0.5) {
        let start = mm(t11.x - random.between(20.0, 110.0), t11.y - 170.0);
        let end = mm(t11.x - random.between(190.0, 270.0), t11.y + random.between(-40.0, 140.0));
        let half = random.between(24.0, 36.0);
        let line = curve(&[start, start.lerp(end, 0.5) + mm(random.normal(0.0, 8.0), 0.0), end], 2.0);
        canvas.stroke(&line, Profile::Solid, |_| half, |_| MUSCLE * half * 1.1);
        canvas.stroke(&line, Profile::Rimmed(1.2), |_| 8.5, |_| 0.35);
    } else {
        let centre = mm(t11.x - random.between(80.0, 150.0), t11.y - random.between(10.0, 80.0));
        let (a, b) = (random.between(40.0, 75.0), random.between(35.0, 60.0));
        canvas.fill(&[centre], a.max(b), |p| {
            let d = p - centre;
            let r2 = (d.x / a).powi(2) + (d.y / b).powi(2);
            if r2 >= 1.0 { 0.0 } else { (FAT * 55.0 * (1.0 - r2).sqrt()) as f32 }
        });
    }
}

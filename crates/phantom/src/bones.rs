//! The bones of the lateral view, at full resolution: vertebral bodies, posterior elements, ribs, sacrum.

use crate::canvas::{Canvas, Profile};
use crate::plane::{Mm, curve, forward, mm, smoothstep, upward};
use crate::random::{Random, Wander};
use crate::scene::Scene;
use crate::spine::{Body, L1, L5, S1, T12};

pub(crate) fn lay_bones(canvas: &mut Canvas, scene: &Scene, random: &mut Random) {
    let density = scene.spine.density;
    let joined = Joined::draw(random);
    for (index, body) in scene.spine.bodies.iter().enumerate() {
        lay_body(canvas, body, density * body.density, (index == S1).then_some(joined), random);
    }
    for index in L5..T12 {
        lay_vacuum(canvas, scene, index, random);
    }
    for index in L5..scene.spine.bodies.len() {
        lay_arch(canvas, scene, index, random);
    }
    lay_sacrum(canvas, scene, joined, random);
    for index in T12 - 1..scene.spine.bodies.len() {
        if index >= T12 {
            lay_ribs(canvas, scene, index, random);
        }
    }
}

/// How the first sacral body is joined to the second. In some people a remnant of the disc stays between two end plates, and
/// S1 looks much like a lumbar body; in others the sacrum is one bone, in whose shade little shows. Naming levels on a film
/// that is cut above the lower ribs rests on telling S1 from L5, so the simulator shows the whole range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    /// How much S1 stands apart: 0 fused, 1 a body of its own.
    apart: f64,
    /// Strength of the outline of the bone below S1.
    outline: f64,
    /// Thickness of the remnant disc, mm.
    gap_mm: f64,
    /// Length of the remnant disc over the depth of the bone there.
    reach: f64,
}

impl Joined {
    fn draw(random: &mut Random) -> Joined {
        Joined {
            apart: random.unit(),
            outline: random.between(0.2, 1.1),
            gap_mm: random.between(1.2, 4.5),
            reach: random.between(0.45, 1.0),
        }
    }
}

/// Distance of a point inside each border of a body, mm: anterior, posterior, superior, inferior.
struct Borders {
    origin: [Mm; 4],
    inward: [Mm; 4],
    along: [Mm; 4],
    length: [f64; 4],
    concavity: [f64; 4],
}

impl Borders {
    fn of(body: &Body) -> Borders {
        let [a_s, p_s, a_i, p_i] = body.corners;
        let centre = body.centre();
        let mut out = Borders {
            origin: [a_s, p_s, a_s, a_i],
            inward: [Mm::default(); 4],
            along: [Mm::default(); 4],
            length: [0.0; 4],
            concavity: body.concavity,
        };
        for (k, end) in [a_i, p_i, p_s, p_i].into_iter().enumerate() {
            let edge = end - out.origin[k];
            out.length[k] = edge.length();
            out.along[k] = edge.unit();
            let normal = out.along[k].anterior_normal();
            out.inward[k] = if normal.dot(centre - out.origin[k]) > 0.0 { normal } else { normal * -1.0 };
        }
        out
    }

    #[inline]
    fn inside(&self, p: Mm) -> [f64; 4] {
        let mut d = [0.0; 4];
        for k in 0..4 {
            let r = p - self.origin[k];
            let q = (r.dot(self.along[k]) / self.length[k]).clamp(0.0, 1.0);
            d[k] = r.dot(self.inward[k]) - self.concavity[k] * 4.0 * q * (1.0 - q);
        }
        d
    }
}

/// e^(-x² / width): 0 from where no number is so small.
#[inline]
fn bell(x: f64, width: f64) -> f64 {
    let power = -x.powi(2) / width;
    if power < -746.0 { 0.0 } else { power.exp() }
}

/// Smallest of four distances with rounded corners of about `radius` mm.
#[inline]
fn rounded(d: [f64; 4], radius: f64) -> f64 {
    let low = d[0].min(d[1]);
    let high = d[2].min(d[3]);
    let (a, b) = ((radius - low).max(0.0), (radius - high).max(0.0));
    if low < radius && high < radius { radius - a.hypot(b) } else { low.min(high) }
}

/// A body between its plates; the sacrum's first (`sacral`) has as much of walls and lower plate as it stands apart.
pub(crate) fn lay_body(canvas: &mut Canvas, body: &Body, density: f64, sacral: Option<Joined>, random: &mut Random) {
    let apart = sacral.map_or(1.0, |joined| joined.apart);
    let borders = Borders::of(body);
    // width along the beam about 1.35 of the depth; the cross-section is a flattened oval
    let width = body.depth * 1.35;
    let spongy = 0.0056 * density.sqrt() * width * (0.45 + 0.55 * apart) * random.between(0.55, 1.15);
    let shell = 0.14 * density * body.wall;
    let plate = 0.44 * density * random.between(0.85, 1.15);
    let texture = Wander::new(random, 400.0, 1.6);
    let texture_phase = random.between(0.0, 300.0);
    let coarse = Wander::new(random, 400.0, 7.0);
    let second = body.double_contour;
    let (f, u) = (forward(body.tilt), upward(body.tilt));
    let centre = body.centre();
    let tilt_side = random.between(0.2, 0.55);
    let thin = [random.between(0.3, 0.55), random.between(0.3, 0.55)];
    let phase = [random.between(0.0, 300.0), random.between(0.0, 300.0)];
    canvas.fill(&body.corners, 4.0, |p| {
        let d = borders.inside(p);
        let edge = rounded(d, 1.5);
        let enter = (edge / 0.9 + 0.5).clamp(0.0, 1.0);
        if enter <= 0.0 {
            return 0.0;
        }
        let r = p - centre;
        let (along, across) = (r.dot(u), r.dot(f));
        // thickness of an oval section: thin at the front, thicker towards the middle
        let deep = (d[0].max(0.0) / (0.45 * body.depth)).min(1.0);
        let section = 0.5 + 0.5 * (deep * (2.0 - deep)).sqrt();
        // vertical trabeculae make fine columns, with slow mottling
        let grain = 0.06 * texture.at(across + 150.0 + texture_phase + 0.25 * coarse.at(along + 200.0))
            + 0.06 * coarse.at(across * 0.8 + along * 0.6 + 200.0);
        // a fused body has no lower end: it fades into the bone below
        let foot = apart + (1.0 - apart) * smoothstep(0.0, 0.75 * body.height, d[3]);
        let mut tau = spongy * section * (1.0 + grain) * foot;
        let front = bell(d[0] - 0.6, 0.32);
        let back = bell(d[1] - 0.6, 0.4);
        tau += shell * (front + 0.5 * back) * (1.0 + 0.4 * coarse.at(along + 300.0)).max(0.0);
        for (k, sign) in [(2, -1.0), (3, 1.0)] {
            let plate = if k == 3 { plate * apart } else { plate };
            if plate <= 0.0 || d[k] > 9.0 {
                continue;
            }
            // the plate is denser at its rim, patchy along its course
            let end = (-d[0].max(0.0) / 3.0).exp() + (-d[1].max(0.0) / 3.0).exp();
            let patchy = 0.8 + 0.45 * end + 0.16 * coarse.at(across + 100.0 + phase[k - 2]);
            let line = bell(d[k] - 0.7, thin[k - 2]);
            // the far rim of a tilted plate is a second, weaker contour
            let rim = bell(d[k] - 0.9 + sign * second, 0.7);
            tau += plate * patchy * (line * (1.0 - 0.5 * tilt_side) + rim * tilt_side);
            // dense bone next to the plate
            tau += 0.06 * density * (-d[k].max(0.0) / 3.0).exp();
        }
        (tau * enter) as f32
    });
    lay_ragged_plates(canvas, body, density, sacral.is_some(), random);
    for (k, toward) in [(0usize, 1.0), (1usize, -1.0)] {
        let size = body.osteophyte[k];
        if size > 0.6 {
            let corner = body.corners[if k == 0 { 0 } else { 2 }];
            let tip = corner + f * size + u * (toward * 0.5 * size);
            let line = curve(&[corner - f * 2.5 - u * (toward * 1.5), corner - u * (toward * 0.4), tip], 0.4);
            canvas.stroke(&line, Profile::Solid, |t| 1.9 * (1.0 - 0.75 * t), |_| 0.22 * density);
        }
    }
}

/// Rounds off both ends of a stroke's width, t in 0..1.
fn blunt(t: f64) -> f64 {
    (1.0 - (2.0 * t - 1.0).powi(8)).max(0.0).sqrt()
}

/// Short dense streaks along the plates, a little out of line: rims of the far side, sclerosis, steps.
fn lay_ragged_plates(canvas: &mut Canvas, body: &Body, density: f64, sacral: bool, random: &mut Random) {
    for v in [0.0, 1.0] {
        if sacral && v > 0.5 {
            continue;
        }
        let count = (body.ragged * 5.0 * random.unit()).round() as usize;
        for _ in 0..count {
            let (start, share) = (random.between(-0.04, 0.7), random.between(0.12, 0.5));
            let inward = random.normal(0.02, 0.022) * if v > 0.5 { -1.0 } else { 1.0 };
            let turn = random.normal(0.0, 0.022);
            let end = (start + share).min(1.04);
            let line = [
                body.at(start, v + inward),
                body.at(0.5 * (start + end), v + inward + random.normal(0.0, 0.01)),
                body.at(end, v + inward + turn),
            ];
            let (half, strength) = (random.between(0.5, 1.1), random.between(0.08, 0.34) * density);
            canvas.stroke(
                &curve(&line, 0.5),
                Profile::Solid,
                |_| half,
                |t| strength * (std::f64::consts::PI * t).sin().powf(0.6),
            );
        }
    }
}

/// Pedicle, articular and spinous processes; left and right lie over one another with a small shift.
fn lay_arch(canvas: &mut Canvas, scene: &Scene, index: usize, random: &mut Random) {
    let body = &scene.spine.bodies[index];
    let below = &scene.spine.bodies[index - 1];
    let density = scene.spine.density;
    let (f, u) = (forward(body.tilt), upward(body.tilt));
    let h = body.height;
    let lumbar = index <= L1;
    let scale = if lumbar { 1.0 } else { 0.75 } * scene.spine.l3_depth / 34.0;
    let wobble = |random: &mut Random, sd: f64| mm(random.normal(0.0, sd), random.normal(0.0, sd));
    for side in [-1.0, 1.0] {
        let shift = u * (side * (0.9 + 0.7 * body.double_contour.abs()).min(4.0) * random.between(0.3, 1.0))
            + f * (side * random.between(0.0, 1.8));
        let root = body.at(0.97, 0.28) + shift;
        let joint = root - f * (12.5 * scale) + wobble(random, 0.6);
        let pedicle = curve(&[root + f * 1.5, root.lerp(joint, 0.5), joint], 0.5);
        let half = 0.2 * h * random.between(0.85, 1.1);
        let strength = 0.17 * density * random.between(0.8, 1.2) * if index == L5 { 0.75 } else { 1.0 };
        canvas.stroke(
            &pedicle,
            Profile::Rimmed(1.1),
            |t| half * (1.0 + 0.35 * (2.0 * t - 1.0).powi(2)),
            |t| strength * smoothstep(0.0, 0.25, t),
        );
        // superior articular process: up and a little forward, a beak
        let beak = [joint - f * 1.0, joint + u * (0.3 * h) - f * 0.8, joint + u * (0.62 * h) + f * (1.6 * scale)]
            .map(|p| p + wobble(random, 0.5));
        canvas.stroke(
            &curve(&beak, 0.5),
            Profile::Solid,
            |t| scale * (4.6 - 2.3 * t) * blunt(t),
            |t| strength * (1.25 + 0.5 * t),
        );
        // isthmus and inferior process, down to the joint behind the body below
        let isthmus = joint - u * (0.34 * h) - f * (3.8 * scale);
        let lower = below.at(1.0, 0.02) - f * (15.0 * scale) + shift * 0.6;
        let tip = lower - u * (0.18 * h) + f * (0.5 * scale);
        let pillar = [joint - f * 0.5, isthmus, isthmus.lerp(lower, 0.55) - f * 1.2, lower, tip]
            .map(|p| p + wobble(random, 0.6));
        let swell = random.between(0.85, 1.15);
        let patch = Wander::new(random, 60.0, 5.0);
        canvas.stroke(
            &curve(&pillar, 0.5),
            Profile::Solid,
            |t| swell * scale * (4.2 + 1.9 * (2.0 * t - 1.1).powi(2)) * blunt(t),
            |t| strength * (1.2 + 0.3 * patch.at(40.0 * t)),
        );
        // cortex of the joint: a short bright curved line
        let facet =
            [joint + u * (0.5 * h) - f * 1.6, joint + u * (0.2 * h) - f * 3.2, joint - u * (0.04 * h) - f * 3.0]
                .map(|p| p + wobble(random, 0.5));
        canvas.stroke(&curve(&facet, 0.4), Profile::Solid, |_| 0.75, |_| 0.2 * density);
        let hind = [joint - u * (0.1 * h) - f * (6.5 * scale), isthmus - f * (3.5 * scale), lower - f * (4.5 * scale)]
            .map(|p| p + wobble(random, 0.6));
        canvas.stroke(&curve(&hind, 0.4), Profile::Solid, |_| 0.7, |t| 0.17 * density * (1.0 - 0.5 * t));
        // transverse process end on
        let end_on = root - f * (6.0 * scale) - u * (0.1 * h);
        canvas.stroke(&[end_on, end_on - f * 2.5], Profile::Solid, |_| 3.4 * scale, |_| 0.12 * density);
    }
    lay_spinous_process(canvas, scene, index, random);
}

/// The spinous process: a thin blade seen flat, its rim brighter; a hatchet in the lumbar spine, long and steep in the thorax.
fn lay_spinous_process(canvas: &mut Canvas, scene: &Scene, index: usize, random: &mut Random) {
    let body = &scene.spine.bodies[index];
    let density = scene.spine.density;
    let (f, u) = (forward(body.tilt), upward(body.tilt));
    let lumbar = index <= L1;
    let size = scene.spine.l3_depth / 34.0;
    let scale = if lumbar { 1.0 } else { 0.75 } * size;
    let start = body.at(1.0, 0.62) - f * (19.0 * scale);
    let droop = if lumbar { random.between(0.1, 0.35) } else { random.between(0.7, 1.2) };
    let length =
        if lumbar { 27.0 } else { 30.0 } * random.between(0.85, 1.12) * size * if index == L5 { 0.65 } else { 1.0 };
    let tall =
        if lumbar { 10.0 } else { 4.2 } * random.between(0.8, 1.15) * size * if index == L5 { 0.75 } else { 1.0 };
    let run = (f * -1.0 - u * droop).unit();
    let rise = run.anterior_normal() * -1.0;
    let at = |t: f64, n: f64| start + run * (t * length) + rise * (n * tall);
    let sign = if rise.dot(u) > 0.0 { 1.0 } else { -1.0 };
    let outline = [
        at(0.0, 0.55 * sign),
        at(0.45, 0.62 * sign),
        at(0.85, 0.85 * sign),
        at(1.04, 0.45 * sign),
        at(1.07, -0.5 * sign),
        at(0.92, -1.05 * sign),
        at(0.55, -0.75 * sign),
        at(0.05, -0.6 * sign),
    ]
    .map(|p| p + mm(random.normal(0.0, 0.7), random.normal(0.0, 0.7)));
    let strength = 0.085 * density * random.between(0.75, 1.25);
    let blade = [at(0.0, 0.0), at(0.5, -0.08 * sign), at(0.98, -0.1 * sign)];
    canvas.stroke(
        &curve(&blade, 0.6),
        Profile::Solid,
        |t| tall * (0.62 + 0.3 * t),
        |t| strength * smoothstep(0.0, 0.15, t),
    );
    let fade = |t: f64| strength * 1.5 * smoothstep(0.0, 0.12, t) * smoothstep(1.0, 0.88, t);
    canvas.stroke(&curve(&outline, 0.5), Profile::Solid, |_| 0.8, fade);
}

/// Gas in a worn disc: a dark cleft between plates that are close together.
fn lay_vacuum(canvas: &mut Canvas, scene: &Scene, index: usize, random: &mut Random) {
    let (front, back) = scene.spine.disc_line(index);
    let (above, below) = (&scene.spine.bodies[index], &scene.spine.bodies[index - 1]);
    let thick = 0.5 * ((above.corners[2] - below.corners[0]).length() + (above.corners[3] - below.corners[1]).length());
    let worn = smoothstep(0.26, 0.08, thick / above.height) * above.ragged;
    if !random.chance(0.6 * worn) {
        return;
    }
    let (from, to) = (random.between(0.05, 0.4), random.between(0.6, 0.97));
    let line = [front.lerp(back, from), front.lerp(back, 0.5), front.lerp(back, to)];
    let half = (0.32 * thick).max(0.5);
    let strength = random.between(0.08, 0.3);
    canvas.stroke(
        &curve(&line, 0.5),
        Profile::Solid,
        |_| half,
        |t| -strength * (std::f64::consts::PI * t).sin().powf(0.4),
    );
}

/// The sacrum below its first end plate, and the coccyx.
fn lay_sacrum(canvas: &mut Canvas, scene: &Scene, joined: Joined, random: &mut Random) {
    let s1 = &scene.spine.bodies[S1];
    let density = scene.spine.density;
    let [front_top, back_top, ..] = s1.corners;
    let h = s1.height;
    let bend = random.between(0.75, 1.15);
    let mut front = vec![front_top];
    let mut back = vec![back_top];
    let mut tilt = s1.tilt;
    let mut at = front_top.lerp(back_top, 0.5);
    let mut depth = s1.depth;
    let mut thickness = Vec::new();
    for k in 0..6 {
        // the sacrum runs back and down, then curves forward to the coccyx
        tilt += (if k < 1 {
            6.0f64
        } else if k < 3 {
            -4.0
        } else {
            -22.0
        })
        .to_radians()
            * bend;
        at = at + upward(tilt) * (-h * [0.95, 0.82, 0.72, 0.62, 0.55, 0.7][k]);
        depth *= [0.72, 0.72, 0.76, 0.8, 0.75, 0.6][k];
        let f = forward(tilt) * (0.5 * depth);
        front.push(at + f);
        back.push(at - f);
        thickness.push(depth);
        // remains of the discs: between S1 and S2 a gap with the plate of S2 below it, lower down a seam
        let line = [at + f * 0.95, at + f * (0.95 - 1.9 * joined.reach)];
        if k == 0 {
            let gap = upward(tilt) * -joined.gap_mm;
            let strength = joined.apart * density;
            canvas.stroke(&line.map(|p| p + gap * 0.5), Profile::Solid, |_| 0.5 * joined.gap_mm, |_| -0.16 * strength);
            canvas.stroke(&line.map(|p| p + gap), Profile::Solid, |_| 0.8, |_| (0.06 + 0.2 * joined.apart) * density);
        } else if k < 4 {
            canvas.stroke(&line, Profile::Solid, |_| 0.8, |_| 0.17 * density * joined.outline);
        }
    }
    let front_line = curve(&front, 0.6);
    let back_line = curve(&back, 0.6);
    canvas.stroke(&front_line, Profile::Solid, |_| 1.0, |t| 0.3 * joined.outline * density * (1.0 - 0.3 * t));
    canvas.stroke(&back_line, Profile::Solid, |_| 1.1, |t| 0.22 * joined.outline * density * (1.0 - 0.4 * t));
    let middle: Vec<Mm> = front.iter().zip(&back).map(|(a, b)| a.lerp(*b, 0.5)).collect();
    let widths: Vec<f64> = front.iter().zip(&back).map(|(a, b)| 0.5 * (*a - *b).length()).collect();
    let body = curve(&middle, 0.6);
    let n = (widths.len() - 1) as f64;
    let half = |t: f64| {
        let k = (t * n).min(n - 1e-6);
        let i = k as usize;
        widths[i] + (k - i as f64) * (widths[i + 1] - widths[i])
    };
    canvas.stroke(&body, Profile::Solid, half, |t| 0.19 * density * smoothstep(0.0, 0.12, t) * (1.0 - 0.3 * t));
    // the ala of either side, seen through the bodies: a shade with an oblique upper edge that starts on S1 or below it
    for _ in 0..2 {
        let from = s1.at(random.between(0.0, 0.35), random.between(0.35, 1.3));
        let to = s1.at(random.between(0.85, 1.5), random.between(0.2, 1.2));
        let (along, below) = ((to - from).unit(), upward(s1.tilt) * -1.0);
        let (length, tall) = ((to - from).length(), random.between(14.0, 34.0));
        let strength = random.between(0.02, 0.14) * density;
        let far = from + below * tall;
        canvas.fill(&[from, to, far, to + below * tall], 1.0, |p| {
            let r = p - from;
            let q = r.dot(along) / length;
            let depth = along.anterior_normal().dot(r) * along.anterior_normal().dot(below).signum();
            let sides = smoothstep(-0.02, 0.04, q) * smoothstep(1.02, 0.8, q);
            (strength * sides * smoothstep(-0.4, 0.6, depth) * smoothstep(tall, 0.3 * tall, depth)) as f32
        });
        canvas.stroke(&[from, to], Profile::Solid, |_| 0.7, |t| 0.8 * strength * (std::f64::consts::PI * t).sin());
    }
    // median crest and arches behind
    let crest: Vec<Mm> = back.iter().take(5).enumerate().map(|(k, p)| *p + mm(10.0 - k as f64, -2.0)).collect();
    canvas.stroke(
        &curve(&crest, 0.6),
        Profile::Rimmed(0.9),
        |t| 6.5 * (1.0 - 0.5 * t),
        |t| 0.15 * density * (1.0 - 0.4 * t),
    );
}

/// The pair of ribs of a thoracic body: back and down from the joint, then forward across the picture.
fn lay_ribs(canvas: &mut Canvas, scene: &Scene, index: usize, random: &mut Random) {
    let body = &scene.spine.bodies[index];
    let number = 12 - (index - T12);
    let density = scene.spine.density;
    let h = scene.spine.l3_height;
    for side in [-1.0, 1.0] {
        let magnify = 1.0 + side * random.between(0.01, 0.06);
        let start = body.at(0.92, 0.12) + mm(0.0, side * random.between(0.0, 2.0));
        let reach = match number {
            12 => random.between(30.0, 95.0),
            11 => random.between(90.0, 150.0),
            _ => random.between(170.0, 230.0),
        } * magnify;
        let slope = random.between(0.65, 1.15);
        let angle = start + mm(30.0 * magnify, 0.6 * h);
        let mut knots = vec![start, start + mm(17.0 * magnify, 0.1 * h), angle];
        let mut p = angle;
        let pieces = 7;
        // the costal margin: no rib comes down past the upper lumbar spine
        let lowest = scene.spine.bodies[4].centre().y + random.normal(-8.0, 14.0);
        for k in 0..pieces {
            // down at the angle, then ever flatter towards the front
            let t = (k as f64 + 0.5) / pieces as f64;
            let steep = slope * (1.0 - 0.45 * t) + 2.2 * (1.0 - t).powi(5);
            p = p + mm(-1.0, steep).unit() * (reach / pieces as f64);
            knots.push(p);
            if p.y > lowest {
                break;
            }
        }
        let line = curve(&knots, 0.8);
        let half = random.between(4.2, 6.0) * magnify * if number == 12 { 0.85 } else { 1.0 };
        let strength = random.between(0.075, 0.13) * density;
        canvas.stroke(
            &line,
            Profile::Rimmed(1.6),
            |t| half * (0.75 + 0.25 * (1.0 - t)) * (1.0 - t.powi(16)),
            |t| strength * (1.0 + 0.5 * (-(t - 0.22).powi(2) / 0.01).exp()),
        );
    }
}

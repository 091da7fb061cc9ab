//! What is burned into a picture after the exposure: collimation, padding, stair-step, markers, text, rulers, metal.

use crate::canvas::{Canvas, Placement, Profile};
use crate::config::{Nuisance, Scanner};
use crate::plane::{Mm, mm};
use crate::random::Random;
use crate::scene::Scene;
use crate::spine::{L3, L5, T12};
use crate::vessel::label;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// A grey picture being finished.
pub(crate) struct Sheet<'a> {
    pub width: usize,
    pub height: usize,
    pub pixels: &'a mut [u16],
    pub labels: &'a mut [u8],
    pub white: u16,
}

impl Sheet<'_> {
    fn rectangle(&mut self, (x0, y0): (i64, i64), (x1, y1): (i64, i64), value: u16, bits: u8) {
        let (x0, x1) = (x0.clamp(0, self.width as i64) as usize, x1.clamp(0, self.width as i64) as usize);
        let (y0, y1) = (y0.clamp(0, self.height as i64) as usize, y1.clamp(0, self.height as i64) as usize);
        for y in y0..y1 {
            for x in x0..x1 {
                self.pixels[y * self.width + x] = value;
                self.labels[y * self.width + x] |= bits;
            }
        }
    }

    /// Writes text with its top left at (x, y), letters `scale` times 32 px high.
    fn text(&mut self, text: &str, (x, y): (f64, f64), scale: f64, value: u16) {
        let mut left = x;
        for letter in text.chars() {
            let Some(glyph) = get_raster(letter, FontWeight::Bold, RasterHeight::Size32) else { continue };
            let (w, h) = ((glyph.width() as f64 * scale).ceil() as usize, (32.0 * scale).ceil() as usize);
            for row in 0..h {
                for column in 0..w {
                    let v = (row as f64 / scale) as usize;
                    let u = (column as f64 / scale) as usize;
                    let Some(ink) = glyph.pixel(u, v) else { continue };
                    let (px, py) = ((left + column as f64) as i64, (y + row as f64) as i64);
                    if ink > 0 && px >= 0 && py >= 0 && (px as usize) < self.width && (py as usize) < self.height {
                        let out = &mut self.pixels[py as usize * self.width + px as usize];
                        let share = f32::from(ink) / 255.0;
                        *out = (f32::from(*out) * (1.0 - share) + f32::from(value) * share) as u16;
                    }
                }
            }
            left += glyph.width() as f64 * scale;
        }
    }
}

/// Metal inside the patient: laid as optical depth before the exposure.
pub(crate) fn lay_metal(
    canvas: &mut Canvas,
    labels: &mut [u8],
    scene: &Scene,
    nuisance: &Nuisance,
    random: &mut Random,
) {
    let bodies = &scene.spine.bodies;
    if random.chance(nuisance.implant) {
        let low = L5 + random.below(2);
        let high = low + 1 + random.below(3);
        let mut heads = Vec::new();
        for body in &bodies[low..=high] {
            let (tip, head) = (body.at(0.25, 0.38), body.at(1.55, 0.28));
            metal_stroke(canvas, labels, &[tip, head], 2.6, 2.6);
            metal_stroke(canvas, labels, &[head, head.lerp(tip, -0.12)], 5.5, 2.4);
            heads.push(head);
        }
        let rod = crate::plane::curve(&heads, 1.0);
        metal_stroke(canvas, labels, &rod, 2.9, 2.8);
        if random.chance(0.4) {
            let (a, b) = scene.spine.disc_line(low + 1);
            metal_stroke(canvas, labels, &[a.lerp(b, 0.2), a.lerp(b, 0.75)], 4.5, 1.0);
        }
    }
    if random.chance(nuisance.small_metal) {
        for _ in 0..=random.below(3) {
            let body = &bodies[L5 + random.below(6)];
            let at = body.centre() + mm(random.between(-110.0, 50.0), random.between(-20.0, 20.0));
            let angle = random.between(0.0, std::f64::consts::TAU);
            let long = random.between(2.0, 7.0);
            let end = at + mm(long * angle.cos(), long * angle.sin());
            metal_stroke(canvas, labels, &[at, end], random.between(0.5, 2.0), 2.2);
        }
    }
}

fn metal_stroke(canvas: &mut Canvas, labels: &mut [u8], line: &[Mm], half: f64, depth: f64) {
    canvas.stroke(line, Profile::Solid, |_| half, |_| depth);
    let Some((x0, x1, y0, y1)) = canvas.bounds(line, half + 1.0) else { return };
    let back = canvas.place.inverse();
    for y in y0..y1 {
        for x in x0..x1 {
            let p = back.point(x as f64, y as f64);
            let near = line.windows(2).any(|w| {
                let edge = w[1] - w[0];
                let t = ((p - w[0]).dot(edge) / edge.dot(edge).max(1e-9)).clamp(0.0, 1.0);
                (p - w[0].lerp(w[1], t)).length() <= half
            });
            if near {
                labels[y * canvas.width + x] |= label::IMPLANT;
            }
        }
    }
}

/// GE's dose-saving region: the front is blanked in steps that follow the spine.
pub(crate) fn blank_stairs(sheet: &mut Sheet, place: &Placement, scene: &Scene, random: &mut Random) {
    let steps = 5 + random.below(6);
    let margin = random.bounded(52.0, 12.0, 1.8);
    let back = place.inverse();
    let step_px = sheet.height.div_ceil(steps);
    let behind = random.chance(0.4).then(|| random.between(62.0, 85.0));
    for k in 0..steps {
        let middle = (k as f64 + 0.5) * step_px as f64;
        // the spine's place at this height, and which side is anterior
        let p = back.point(0.5 * sheet.width as f64, middle);
        let spine = mm(scene.spine_x(p.y), p.y);
        let (front, _) = place.apply(spine - mm(margin + random.between(-3.0, 3.0), 0.0));
        let anterior_right = place.m[0] < 0.0;
        let (y0, y1) = ((k * step_px) as i64, ((k + 1) * step_px) as i64);
        let width = sheet.width as i64;
        if anterior_right {
            sheet.rectangle((front as i64, y0), (width, y1), 0, label::BLANKED);
        } else {
            sheet.rectangle((0, y0), (front as i64, y1), 0, label::BLANKED);
        }
        if let Some(behind) = behind {
            let (edge, _) = place.apply(spine + mm(behind, 0.0));
            if anterior_right {
                sheet.rectangle((0, y0), (edge as i64, y1), 0, label::BLANKED);
            } else {
                sheet.rectangle((edge as i64, y0), (width, y1), 0, label::BLANKED);
            }
        }
    }
}

/// Collimation: all outside a (rotated) rectangle of the patient plane goes dark.
pub(crate) fn collimate(sheet: &mut Sheet, place: &Placement, scene: &Scene, random: &mut Random) {
    let bodies = &scene.spine.bodies;
    let centre = bodies[L3].centre() + mm(random.between(-45.0, -18.0), random.between(-15.0, 25.0));
    let half_x = random.between(75.0, 130.0);
    let half_y = (bodies[L5].centre().y - bodies[T12].centre().y) * random.between(0.72, 1.1);
    let angle = random.bounded(0.0, 3.0, 2.5).to_radians();
    let (sin, cos) = angle.sin_cos();
    let left_open = random.chance(0.3);
    let depth = if random.chance(0.7) { 0.0 } else { random.between(0.03, 0.2) };
    let back = place.inverse();
    let soft = random.between(0.6, 2.0);
    for y in 0..sheet.height {
        for x in 0..sheet.width {
            let p = back.point(x as f64, y as f64) - centre;
            let (u, v) = (p.x * cos + p.y * sin, p.y * cos - p.x * sin);
            let over_x = if left_open && u < 0.0 { f64::MIN } else { u.abs() - half_x };
            let over = over_x.max(v.abs() - half_y);
            if over > -soft {
                let share = ((over + soft) / (2.0 * soft)).min(1.0);
                let index = y * sheet.width + x;
                let keep = 1.0 - share * (1.0 - depth);
                sheet.pixels[index] = (f64::from(sheet.pixels[index]) * keep) as u16;
                if share > 0.5 {
                    sheet.labels[index] |= label::BLANKED;
                }
            }
        }
    }
}

/// Markers, text, ruler, film edge, padding. Whether letters were burned in.
pub(crate) fn mark(
    sheet: &mut Sheet,
    scanner: Scanner,
    nuisance: &Nuisance,
    column_mm: f64,
    random: &mut Random,
) -> bool {
    let mut written = false;
    let (w, h) = (sheet.width as f64, sheet.height as f64);
    let white = sheet.white;
    let at_corner = |random: &mut Random, bw: f64, bh: f64| {
        let x = if random.chance(0.5) { random.between(0.01, 0.1) * w } else { w - bw - random.between(0.01, 0.1) * w };
        let y = if random.chance(0.7) { random.between(0.0, 0.1) * h } else { h - bh - random.between(0.01, 0.16) * h };
        (x, y)
    };
    if !scanner.is_dxa() && random.chance(nuisance.marker) {
        written = true;
        let words = ["L", "R", "LT", "RT", "RT.", "L.", "UPRIGHT", "L LAT"];
        let word = words[random.below(words.len())];
        let letter = random.between(9.0, 17.0) / column_mm;
        let scale = letter / 32.0;
        let letter_width = get_raster_width(FontWeight::Bold, RasterHeight::Size32) as f64;
        let length = letter_width * word.len() as f64 * scale;
        let (x, y) = at_corner(random, length * 1.2, letter * 1.2);
        if random.chance(0.5) {
            // a stamped label: black on a white plate
            let pad = 0.12 * letter;
            let plate = ((x - pad) as i64, (y - pad) as i64);
            let end = ((x + length + pad) as i64, (y + letter + pad) as i64);
            sheet.rectangle(plate, end, white, 0);
            sheet.text(word, (x, y), scale, 0);
        } else {
            // a lead letter
            sheet.text(word, (x, y), scale, (f64::from(white) * random.between(0.85, 1.0)) as u16);
        }
    }
    if random.chance(nuisance.text) {
        written = true;
        let scale = (random.between(0.012, 0.022) * h / 32.0).max(0.3);
        let lines = ["SIMULATED", "LATERAL", "L-SPINE", "kV 85 mAs 40", "512 / 1024", "IMAGE 1/2"];
        let (x, mut y) = at_corner(random, 18.0 * 9.0 * scale, 110.0 * scale);
        for _ in 0..=random.below(3) {
            sheet.text(lines[random.below(lines.len())], (x.max(2.0), y), scale, (f64::from(white) * 0.9) as u16);
            y += 36.0 * scale;
        }
    }
    if random.chance(nuisance.ruler) {
        let x = if random.chance(0.5) { 0.025 * w } else { 0.965 * w };
        let tick = 10.0 / column_mm;
        let thin = (0.6 / column_mm).ceil().max(1.0) as i64;
        let value = (f64::from(white) * random.between(0.7, 1.0)) as u16;
        let mut y = 0.06 * h;
        let mut k = 0;
        while y < 0.94 * h {
            let long = if k % 5 == 0 { 8.0 } else { 4.0 } / column_mm;
            sheet.rectangle((x as i64, y as i64), ((x + long) as i64, y as i64 + thin), value, 0);
            y += tick;
            k += 1;
        }
        sheet.rectangle((x as i64, (0.06 * h) as i64), (x as i64 + thin, (0.94 * h) as i64), value, 0);
    }
    if random.chance(nuisance.white_edge) {
        let edge = random.between(0.004, 0.03);
        let value = (f64::from(white) * random.between(0.88, 1.0)) as u16;
        let (wide, high) = ((edge * w).ceil() as i64, (edge * h).ceil() as i64);
        let (iw, ih) = (sheet.width as i64, sheet.height as i64);
        for side in 0..4 {
            if random.chance(0.6) {
                match side {
                    0 => sheet.rectangle((0, 0), (wide, ih), value, label::BLANKED),
                    1 => sheet.rectangle((iw - wide, 0), (iw, ih), value, label::BLANKED),
                    2 => sheet.rectangle((0, 0), (iw, high), value, label::BLANKED),
                    _ => sheet.rectangle((0, ih - high), (iw, ih), value, label::BLANKED),
                }
            }
        }
    }
    if random.chance(nuisance.padding) {
        let (iw, ih) = (sheet.width as i64, sheet.height as i64);
        let pads: [f64; 4] = std::array::from_fn(|_| if random.chance(0.5) { random.between(0.01, 0.09) } else { 0.0 });
        sheet.rectangle((0, 0), ((pads[0] * w) as i64, ih), 0, label::BLANKED);
        sheet.rectangle((iw - (pads[1] * w) as i64, 0), (iw, ih), 0, label::BLANKED);
        sheet.rectangle((0, 0), (iw, (pads[2] * h) as i64), 0, label::BLANKED);
        sheet.rectangle((0, ih - (pads[3] * h) as i64), (iw, ih), 0, label::BLANKED);
    }
    written
}

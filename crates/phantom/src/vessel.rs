//! The aorta and its calcium on the picture, with labels, and the rule of what can be seen.

use crate::aorta::{Aorta, Deposit, Place, STEP_MM};
use crate::canvas::{Canvas, Profile};
use crate::config::PlaqueSettings;
use crate::plane::{Mm, smoothstep};
use crate::random::{Random, Wander};
use domain::Wall;

/// Bits of a label pixel.
pub mod label {
    /// Plaque of the anterior wall that meets the contrast-to-noise rule.
    pub const ANTERIOR_VISIBLE: u8 = 1;
    /// Plaque of the posterior wall that meets the rule.
    pub const POSTERIOR_VISIBLE: u8 = 2;
    /// Plaque of a lateral wall, seen face on.
    pub const LATERAL: u8 = 4;
    /// Plaque of the anterior wall, seen or not.
    pub const ANTERIOR: u8 = 8;
    /// Plaque of the posterior wall, seen or not.
    pub const POSTERIOR: u8 = 16;
    /// Blanked: stair-step, collimation, padding.
    pub const BLANKED: u8 = 32;
    /// Metal.
    pub const IMPLANT: u8 = 64;
}

/// What the rule of visibility needs to know at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewing {
    /// Standard deviation of the optical depth pooled over 1 mm².
    pub noise: f64,
    /// Share of the contrast that scatter leaves.
    pub contrast: f64,
}

/// Calcium along the two walls, in samples of the axis ([`STEP_MM`]).
#[derive(Debug, Clone)]
pub(crate) struct Calcium {
    /// By wall: whether calcium is there.
    pub present: [Vec<bool>; 2],
    /// By wall: contrast over noise, 0 where there is none.
    pub cnr: [Vec<f32>; 2],
}

impl Calcium {
    pub fn visible(&self, wall: Wall, sample: usize, min_cnr: f64) -> bool {
        self.present[wall.index()][sample] && f64::from(self.cnr[wall.index()][sample]) >= min_cnr
    }
}

/// The blood column against the fat around it. On either canvas.
pub(crate) fn lay_tube(canvas: &mut Canvas, aorta: &Aorta, random: &mut Random) {
    let contrast = random.between(0.03, 0.1);
    let n = aorta.axis.len();
    let half: Vec<f64> = (0..n).map(|k| 0.5 * (aorta.anterior[k] - aorta.posterior[k]).length()).collect();
    let at = |t: f64| half[((t * (n - 1) as f64) as usize).min(n - 1)];
    let thinned: Vec<Mm> = aorta.axis.iter().step_by(8).copied().collect();
    canvas.stroke(&thinned, Profile::Solid, at, |t| contrast * (1.0 - 0.5 * smoothstep(0.75, 0.95, t)));
}

struct Grown {
    thickness: Vec<f64>,
    from: usize,
}

/// Thickness of a deposit along the axis, mm: swelling and thinning, pointed at the ends, never quite gone inside.
fn grow(deposit: &Deposit) -> Grown {
    let from = (deposit.from / STEP_MM).ceil() as usize;
    let to = (deposit.to / STEP_MM).floor() as usize;
    let mut random = Random::named("plaque texture", &[deposit.texture]);
    let slow = Wander::new(&mut random, 400.0, 4.5);
    let fast = Wander::new(&mut random, 400.0, 1.3);
    let thickness = (from..=to.max(from))
        .map(|k| {
            let s = k as f64 * STEP_MM;
            let end = (s - deposit.from).min(deposit.to - s);
            let envelope = smoothstep(-0.6, 2.2, end);
            let body = (0.72 + 0.30 * slow.at(s) + 0.22 * fast.at(s)).clamp(0.22, 1.4);
            deposit.thickness * envelope * body
        })
        .collect();
    Grown { thickness, from }
}

/// Lays all deposits on the fine canvas, marks `labels`, and measures contrast over noise along the walls.
pub(crate) fn lay_calcium(
    canvas: &mut Canvas,
    labels: &mut [u8],
    aorta: &Aorta,
    deposits: &[Deposit],
    settings: &PlaqueSettings,
    (blur_mm, viewing): (f64, &dyn Fn(Mm) -> Viewing),
) -> Calcium {
    let n = aorta.at.len();
    let mut contrast = [vec![0f64; n], vec![0f64; n]];
    let mut thickness = [vec![0f64; n], vec![0f64; n]];
    let mut calcium = Calcium { present: [vec![false; n], vec![false; n]], cnr: [vec![0.0; n], vec![0.0; n]] };
    for deposit in deposits {
        if let Place::Wall(wall) = deposit.place {
            let grown = grow(deposit);
            for (i, t) in grown.thickness.iter().enumerate() {
                let k = grown.from + i;
                if k < n {
                    calcium.present[wall.index()][k] = true;
                    contrast[wall.index()][k] += deposit.depth_per_mm * t;
                    thickness[wall.index()][k] += t;
                }
            }
        }
    }
    let reach = (1.5 / STEP_MM) as usize;
    for wall in Wall::ALL {
        let w = wall.index();
        let line = aorta.wall(wall);
        for k in 0..n {
            if !calcium.present[w][k] {
                continue;
            }
            let (low, high) = (k.saturating_sub(reach), (k + reach + 1).min(n));
            let count = (high - low) as f64;
            let signal: f64 = contrast[w][low..high].iter().sum::<f64>() / count;
            let thick: f64 = (thickness[w][low..high].iter().sum::<f64>() / count).max(0.05);
            // blur lowers the peak and widens the streak
            let wide = (thick * thick + (2.36 * blur_mm).powi(2)).sqrt();
            let view = viewing(line[k]);
            let peak = signal * view.contrast * thick / wide;
            let noise = (view.noise * view.noise / (3.0 * wide) + settings.anatomical_noise.powi(2)).sqrt();
            calcium.cnr[w][k] = (peak / noise) as f32;
        }
    }
    for deposit in deposits {
        match deposit.place {
            Place::Wall(wall) => lay_streak(canvas, labels, aorta, deposit, wall, (&calcium, settings)),
            Place::Lateral(share) => lay_patch(canvas, labels, aorta, deposit, f64::from(share) / 100.0),
        }
    }
    calcium
}

fn mark(canvas: &Canvas, labels: &mut [u8], x: f64, y: f64, bits: u8) {
    let (column, row) = (x.round(), y.round());
    if column >= 0.0 && row >= 0.0 && (column as usize) < canvas.width && (row as usize) < canvas.height {
        labels[row as usize * canvas.width + column as usize] |= bits;
    }
}

/// A streak in a wall: it fills the wall inward from the line.
fn lay_streak(
    canvas: &mut Canvas,
    labels: &mut [u8],
    aorta: &Aorta,
    deposit: &Deposit,
    wall: Wall,
    (calcium, settings): (&Calcium, &PlaqueSettings),
) {
    let grown = grow(deposit);
    let area = canvas.place.area();
    let step = (0.6 / area.sqrt()).min(STEP_MM);
    let (own, seen) = match wall {
        Wall::Anterior => (label::ANTERIOR, label::ANTERIOR_VISIBLE),
        Wall::Posterior => (label::POSTERIOR, label::POSTERIOR_VISIBLE),
    };
    let line = aorta.wall(wall);
    let mut random = Random::named("plaque grain", &[deposit.texture]);
    let grain = Wander::new(&mut random, 300.0, 0.9);
    for (i, t) in grown.thickness.iter().enumerate() {
        let k = grown.from + i;
        if k + 1 >= line.len() {
            break;
        }
        let bits = own | if calcium.visible(wall, k, settings.visible_min_cnr) { seen } else { 0 };
        let (a, b) = (line[k], line[k + 1]);
        let inward = (aorta.axis[k] - a).unit();
        let piece = (b - a).length();
        let along = (piece / step).ceil().max(1.0) as usize;
        let across = (t / step).ceil().max(1.0) as usize;
        let mass = deposit.depth_per_mm * t * piece / along as f64 * (t / across as f64) * area;
        for u in 0..along {
            let base = a.lerp(b, (u as f64 + 0.5) / along as f64);
            for v in 0..across {
                let depth = (v as f64 + 0.5) / across as f64;
                let stipple = (1.0 + 0.45 * grain.at(i as f64 * STEP_MM + 37.0 * depth)).max(0.1);
                let p = base + inward * (depth * t - 0.25 * t);
                let (x, y) = canvas.place.apply(p);
                canvas.splat(x, y, (mass * stipple) as f32);
                mark(canvas, labels, x, y, bits);
            }
        }
    }
}

/// A plaque of a lateral wall, seen face on: a faint stippled patch between the lines.
fn lay_patch(canvas: &mut Canvas, labels: &mut [u8], aorta: &Aorta, deposit: &Deposit, share: f64) {
    let mut random = Random::named("patch", &[deposit.texture]);
    let wander = Wander::new(&mut random, 400.0, 9.0);
    let area = canvas.place.area();
    let length = deposit.to - deposit.from;
    let width = random.between(2.0, 7.0);
    let tau = 0.22 * deposit.depth_per_mm * deposit.thickness;
    let grains = (length * width * 1.3) as usize;
    let radius = (0.55f64).max(0.8 / area.sqrt());
    for _ in 0..grains.min(4000) {
        let s = random.between(deposit.from, deposit.to);
        let fade = smoothstep(0.0, 2.5, (s - deposit.from).min(deposit.to - s));
        let across = random.normal(0.0, 0.35 * width);
        let heavy = random.between(0.2, 1.8) * fade;
        let k = ((s / STEP_MM) as usize).min(aorta.at.len() - 1);
        let calibre = (aorta.anterior[k] - aorta.posterior[k]).length();
        let place = (share + (across + wander.at(s)) / calibre).clamp(0.06, 0.94);
        let centre = aorta.across(s, place);
        for _ in 0..8 {
            let p = centre + crate::plane::mm(random.normal(0.0, radius), random.normal(0.0, radius));
            let (x, y) = canvas.place.apply(p);
            canvas.splat(x, y, (tau * heavy * area / 1.3 / 8.0) as f32);
            if heavy > 0.5 {
                mark(canvas, labels, x, y, label::LATERAL);
            }
        }
    }
}

//! The aorta in front of the spine, and the calcium in its walls.
//!
//! The two wall lines are sampled every [`STEP_MM`] along the vessel's axis. A plaque is an interval of that axis on a wall; it
//! has an onset on the person's latent burden and grows from there, so that repeat visits progress and never regress.

use crate::config::{Anatomy, PlaqueSettings};
use crate::plane::{Mm, arc_lengths, curve, interpolate, smoothstep};
use crate::random::{Random, Wander};
use crate::spine::{Build, L1, L4, Spine, T12};
use domain::Wall;

/// Distance of samples along the axis, mm.
pub(crate) const STEP_MM: f64 = 0.25;

/// Where a plaque sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Wall(Wall),
    /// A lateral wall, seen face on between the two lines, at this share (percent) of the way from anterior to posterior.
    Lateral(u8),
}

/// One plaque at one visit.
#[derive(Debug, Clone)]
pub(crate) struct Deposit {
    pub place: Place,
    /// Interval along the axis, mm from the first sample.
    pub from: f64,
    pub to: f64,
    /// Greatest thickness, mm.
    pub thickness: f64,
    /// Optical depth a millimetre of thickness.
    pub depth_per_mm: f64,
    /// Names the stream of its texture.
    pub texture: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Aorta {
    pub axis: Vec<Mm>,
    pub anterior: Vec<Mm>,
    pub posterior: Vec<Mm>,
    /// Position along the axis, mm, one per sample.
    pub at: Vec<f64>,
    pub bifurcation: f64,
}

impl Aorta {
    pub fn grow(settings: &Anatomy, spine: &Spine, build: Build, random: &mut Random) -> Aorta {
        // knots in front of the spine, from T9 down to S1
        let top = T12 + 3;
        let straightness = random.between(0.0, 0.45);
        let gap = random.lognormal(settings.aorta_gap_mm, 0.4).clamp(0.5, 14.0);
        let male = if build.male { 1.12 } else { 1.0 };
        let age_growth = 1.0 + 0.003 * (build.age - 65.0);
        let calibre =
            (settings.aorta_calibre_mm * male * age_growth * random.bounded(1.0, settings.aorta_calibre_sd, 2.2))
                .clamp(12.0, 34.0);
        let chance = settings.aneurysm_share * if build.male { 1.0 } else { 0.25 } * smoothstep(55.0, 70.0, build.age);
        let aneurysm = if random.chance(chance) { random.between(8.0, 24.0) } else { 0.0 };

        let mut front = Vec::new();
        for index in (0..=top).rev() {
            let body = &spine.bodies[index];
            front.push(body.corners[0].lerp(body.corners[2], 0.5));
        }
        let (first, last) = (front[0], front[front.len() - 1]);
        let count = front.len();
        let mut knots = Vec::with_capacity(count);
        let mut previous_gap = gap * 1.6;
        for (i, p) in front.iter().enumerate() {
            // neighbours are averaged: the vessel bends less sharply than the bodies do
            let smooth = if i == 0 || i + 1 == count { *p } else { (front[i - 1] + *p * 2.0 + front[i + 1]) * 0.25 };
            let chord = first.lerp(last, i as f64 / (count - 1) as f64);
            // only forward of the spine: where the chord runs in front, follow it in part
            let bowed = if chord.x < smooth.x { smooth.lerp(chord, straightness) } else { smooth };
            let along = i as f64 / (count - 1) as f64;
            let base_gap = gap * (1.5 - 0.8 * along);
            previous_gap = 0.5 * previous_gap + 0.5 * (base_gap + random.bounded(0.0, settings.aorta_wander_mm, 2.0));
            let osteophyte = spine.bodies[top - i].osteophyte[0] * 0.5;
            let gap_here = previous_gap.max(-1.0) + osteophyte;
            let direction = if i == 0 { front[1] - front[0] } else { *p - front[i - 1] };
            knots.push(bowed + direction.unit().anterior_normal() * gap_here);
        }
        let back_line = curve(&knots, STEP_MM * 0.5);

        // calibre along the vessel, and the bifurcation near the lower part of L4
        let lengths = arc_lengths(&back_line);
        let nearest = |target: Mm| {
            let mut best = (f64::MAX, 0.0);
            for (p, l) in back_line.iter().zip(&lengths) {
                let d = (*p - target).length();
                if d < best.0 {
                    best = (d, *l);
                }
            }
            best.1
        };
        let l1 = nearest(spine.bodies[L1].at(0.0, 0.5));
        let l4 = nearest(spine.bodies[L4].at(0.0, 0.5));
        let level = (l4 - l1) / 3.0;
        let bifurcation = l4 + level * random.bounded(0.22, 0.28, 2.0);
        let bulge_at = l1 + level * random.between(1.6, 2.7);
        let bulge_width = level * random.between(0.5, 0.9);
        let wall_wander = Wander::new(random, lengths[lengths.len() - 1], 22.0);
        let thickness_at = |s: f64| {
            let taper = 1.08 - 0.16 * ((s - l1) / (3.0 * level)).clamp(-1.2, 1.2);
            // below the bifurcation the outline is that of the common iliac arteries, partly over one another
            let split = 1.0 - 0.3 * smoothstep(bifurcation, bifurcation + 0.7 * level, s);
            let swell = aneurysm * (-((s - bulge_at) / bulge_width).powi(2)).exp();
            calibre * taper * split + swell + 0.45 * wall_wander.at(s)
        };
        let total = lengths[lengths.len() - 1];
        let samples = (total / STEP_MM) as usize;
        let xs: Vec<f64> = back_line.iter().map(|p| p.x).collect();
        let ys: Vec<f64> = back_line.iter().map(|p| p.y).collect();
        let raw: Vec<Mm> = (0..=samples)
            .map(|k| {
                let s = k as f64 * STEP_MM;
                crate::plane::mm(interpolate(&lengths, &xs, s), interpolate(&lengths, &ys, s))
            })
            .collect();
        // normals over a long baseline, so that the offset walls stay smooth
        let reach = (12.0 / STEP_MM) as usize;
        let mut aorta =
            Aorta { axis: Vec::new(), anterior: Vec::new(), posterior: Vec::new(), at: Vec::new(), bifurcation };
        for k in 0..=samples {
            let s = k as f64 * STEP_MM;
            let ahead = raw[(k + reach).min(samples)];
            let behind = raw[k.saturating_sub(reach)];
            let normal = (ahead - behind).unit().anterior_normal();
            // an aneurysm bulges mostly forward: the back wall is held by the spine
            let thickness = thickness_at(s);
            aorta.posterior.push(raw[k]);
            aorta.axis.push(raw[k] + normal * (0.5 * thickness));
            aorta.anterior.push(raw[k] + normal * thickness);
            aorta.at.push(s);
        }
        aorta
    }

    /// Line of a wall.
    pub fn wall(&self, wall: Wall) -> &[Mm] {
        match wall {
            Wall::Anterior => &self.anterior,
            Wall::Posterior => &self.posterior,
        }
    }

    /// Where the line through `front` and `back` (a mid-disc line) meets a wall: position along the axis (mm) and point.
    /// `None` when it never does.
    pub fn meets(&self, wall: Wall, (front, back): (Mm, Mm)) -> Option<(f64, Mm)> {
        let line = front - back;
        let side = |p: Mm| line.cross(p - back);
        let points = self.wall(wall);
        // only in front of the spine, and the crossing nearest to it
        let mut best: Option<(f64, f64, Mm)> = None;
        for k in 1..points.len() {
            let (a, b) = (side(points[k - 1]), side(points[k]));
            if (a <= 0.0) != (b <= 0.0) {
                let t = a / (a - b);
                let p = points[k - 1].lerp(points[k], t);
                let far = (p - front).length();
                if best.is_none_or(|(d, _, _)| far < d) {
                    best = Some((far, self.at[k - 1] + t * (self.at[k] - self.at[k - 1]), p));
                }
            }
        }
        best.map(|(_, s, p)| (s, p))
    }

    /// A point across the vessel: `share` 0 on the anterior, 1 on the posterior wall.
    pub fn across(&self, s: f64, share: f64) -> Mm {
        let k = (s / STEP_MM).clamp(0.0, (self.at.len() - 1) as f64);
        let i = (k as usize).min(self.at.len() - 2);
        let f = k - i as f64;
        let anterior = self.anterior[i].lerp(self.anterior[i + 1], f);
        let posterior = self.posterior[i].lerp(self.posterior[i + 1], f);
        anterior.lerp(posterior, share)
    }

    /// The deposits of a person with this latent burden; the same person's deposits at a higher burden contain these.
    ///
    /// `levels`: positions along the axis of the five mid-disc lines T12/L1 .. L4/L5, mm.
    pub fn deposits(
        &self,
        settings: &PlaqueSettings,
        levels: [f64; 5],
        burden: f64,
        random: &mut Random,
    ) -> Vec<Deposit> {
        let mut out = Vec::new();
        let span = (levels[4] - levels[0]) / 4.0;
        let total = *self.at.last().expect("an aorta has samples");
        let posterior_share = settings.posterior_ratio / (1.0 + settings.posterior_ratio);
        let lateral_share = settings.lateral_share / (1.0 + settings.lateral_share);
        const SEEDS: usize = 21;
        for k in 0..SEEDS {
            // every draw happens whatever the burden, so that the stream stays aligned between visits
            let lateral = random.chance(lateral_share);
            let posterior = random.chance(posterior_share);
            let depth_share = random.unit();
            // denser towards the bifurcation: position 0 at T12/L1, 4 at L4/L5; some lie above or below
            let position = 4.9 * random.unit().powf(0.62) - 0.55;
            let base_onset = if k == 0 { 0.0 } else { random.between(0.02, 3.3) };
            let late_above = 0.16 * (3.2 - position).max(0.0);
            let growth = random.lognormal(1.0, 0.55);
            let thickness =
                random.between(settings.thickness_min_mm, settings.thickness_max_mm) * random.between(0.6, 1.0);
            let depth_per_mm = random.lognormal(settings.depth_per_mm, settings.depth_spread);
            let texture = random.next();
            let onset = base_onset + if k == 0 { 0.0 } else { late_above };
            let age = burden - onset;
            if age <= 0.0 {
                continue;
            }
            let length = ((2.2 + 7.6 * age.powf(1.15)) * growth).min(4.0 * span);
            let centre = levels[0] + position * span;
            let place = if lateral && k != 0 {
                Place::Lateral((15.0 + 70.0 * depth_share) as u8)
            } else if posterior {
                Place::Wall(Wall::Posterior)
            } else {
                Place::Wall(Wall::Anterior)
            };
            let from = (centre - 0.5 * length).max(0.0);
            let to = (centre + 0.5 * length).min(total);
            if to - from < 0.5 {
                continue;
            }
            let ripe = (0.45 + 0.55 * (age / 0.9).min(1.0)) * thickness;
            out.push(Deposit {
                place,
                from,
                to,
                thickness: ripe.max(0.8 * settings.thickness_min_mm),
                depth_per_mm,
                texture,
            });
        }
        out
    }
}

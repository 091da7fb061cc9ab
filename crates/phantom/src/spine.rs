//! The spine in the sagittal plane, from the sacrum up to T4.
//!
//! Bodies are stacked along a curve whose wedge angles come from textbook lordosis and kyphosis, scaled per person.
//! Sizes after Panjabi et al. 1992 (lumbar) and 1991 (thoracic).

use crate::config::Anatomy;
use crate::plane::{Mm, forward, mm, upward};
use crate::random::Random;

/// Bodies modelled, from S1 upward: S1, L5 .. L1, T12 .. T4.
pub(crate) const BODIES: usize = 15;
/// Index of a body: 0 S1, 1 L5, .. 5 L1, 6 T12, .. 14 T4.
pub(crate) const S1: usize = 0;
pub(crate) const L5: usize = 1;
pub(crate) const L4: usize = 2;
pub(crate) const L3: usize = 3;
pub(crate) const L1: usize = 5;
pub(crate) const T12: usize = 6;

/// Front height over L3's height for S1, L5 .. T4.
const HEIGHT: [f64; BODIES] = [1.0, 1.0, 1.0, 1.0, 0.98, 0.95, 0.91, 0.86, 0.82, 0.79, 0.76, 0.74, 0.72, 0.70, 0.68];
/// Depth over L3's depth.
const DEPTH: [f64; BODIES] = [0.97, 1.0, 1.01, 1.0, 0.99, 0.96, 0.94, 0.92, 0.90, 0.88, 0.86, 0.83, 0.80, 0.76, 0.72];
/// Disc below the body over its typical thickness in the lumbar spine.
const DISC: [f64; BODIES] = [0.0, 1.05, 1.25, 1.2, 1.1, 0.95, 0.75, 0.62, 0.55, 0.5, 0.46, 0.44, 0.42, 0.4, 0.4];
/// Wedge of the body, degrees, front taller positive.
const BODY_WEDGE: [f64; BODIES] =
    [0.0, 8.0, 3.0, 1.0, -1.0, -3.0, -4.0, -4.5, -4.0, -4.0, -4.0, -4.0, -4.0, -4.0, -3.5];
/// Wedge of the disc below the body, degrees.
const DISC_WEDGE: [f64; BODIES] = [0.0, 14.0, 12.0, 9.0, 6.5, 4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fracture {
    None,
    Wedge,
    Biconcave,
    Crush,
}

/// A vertebral body: corners in mm and how its margins curve inward.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    /// Anterior superior, posterior superior, anterior inferior, posterior inferior.
    pub corners: [Mm; 4],
    /// Depth of the concavity of the anterior, posterior, superior and inferior margin, mm.
    pub concavity: [f64; 4],
    pub tilt: f64,
    pub height: f64,
    pub depth: f64,
    /// Osteophytes at anterior superior and anterior inferior corner, mm.
    pub osteophyte: [f64; 2],
    /// Offset of the second contour of the end plates (out-of-plane tilt), mm along the body's axis.
    pub double_contour: f64,
    /// How far the front and back walls show, 0..1: their shell is thin, and not always met edge-on.
    pub wall: f64,
    /// Irregular dense streaks at the plates (degeneration), 0..1.
    pub ragged: f64,
    /// Density relative to the person's.
    pub density: f64,
}

impl Body {
    pub fn centre(&self) -> Mm {
        (self.corners[0] + self.corners[1] + self.corners[2] + self.corners[3]) * 0.25
    }

    /// A point by shares: `u` from anterior (0) to posterior (1), `v` from superior (0) to inferior (1).
    pub fn at(&self, u: f64, v: f64) -> Mm {
        let [a_s, p_s, a_i, p_i] = self.corners;
        a_s.lerp(p_s, u).lerp(a_i.lerp(p_i, u), v)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Spine {
    /// From S1 (0) upward.
    pub bodies: Vec<Body>,
    /// Bone mass of the person against a young adult.
    pub density: f64,
    /// Body height of a healthy L3 before fracture, mm.
    pub l3_height: f64,
    pub l3_depth: f64,
}

/// What of a person shapes the spine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    pub male: bool,
    pub age: f64,
}

impl Spine {
    pub fn grow(settings: &Anatomy, build: Build, random: &mut Random) -> Spine {
        let size = random.bounded(1.0, settings.size_sd, 2.2) * if build.male { 1.1 } else { 1.0 };
        let l3_depth = settings.depth_mm * size;
        let l3_height = l3_depth * random.bounded(0.83, 0.045, 2.0);
        let person_disc = settings.disc_ratio * random.lognormal(1.0, settings.disc_spread_person);
        let lordosis = random.bounded(settings.lordosis_mean, settings.lordosis_sd, 2.0).max(0.1);
        let kyphosis = random.bounded(1.0 + (build.age - 65.0) * 0.008, 0.3, 2.0).max(0.2);
        let density = (random.bounded(1.0, 0.16, 2.0) - (build.age - 60.0) * 0.006).clamp(0.45, 1.4);
        let scoliosis = if random.chance(settings.scoliosis_share) { random.between(1.5, 5.5) } else { 0.0 };
        let scoliosis_at = random.between(1.0, 7.0);
        let osteophytes = if random.chance(settings.osteophyte_share) { random.between(1.0, 4.5) } else { 0.0 };
        let wall = random.between(0.05, 1.0);
        let ragged = (random.bounded(0.1 + 0.012 * (build.age - 55.0), 0.3, 2.0)).clamp(0.0, 1.0);
        let fracture_chance = (settings.fracture_share * 2f64.powf((build.age - 70.0) / 15.0)).min(0.7);
        let mut fractures = [Fracture::None; BODIES];
        if random.chance(fracture_chance) {
            for _ in 0..=random.below(2) {
                // most often at the thoracolumbar junction
                let index = (random.bounded(5.6, 2.0, 2.2).round() as usize).clamp(L5, BODIES - 2);
                fractures[index] =
                    [Fracture::Wedge, Fracture::Wedge, Fracture::Biconcave, Fracture::Crush][random.below(4)];
            }
        }

        let sacral_slope = 7.0 + 33.0 * lordosis + random.bounded(0.0, 5.0, 2.0);
        let mut tilt = sacral_slope.to_radians();
        let s1_depth = l3_depth * DEPTH[S1] * random.bounded(1.0, 0.03, 2.0);
        let mut base = mm(0.0, 0.0);
        let mut bodies = Vec::with_capacity(BODIES);
        let f = forward(tilt) * (0.5 * s1_depth);
        let down = upward(tilt) * (-l3_height * 0.95);
        // S1 narrows downward: only its upper corners are landmarks
        bodies.push(Body {
            corners: [base + f, base - f, base + f * 0.72 + down, base - f * 0.62 + down],
            concavity: [0.8, 0.6, 0.6, 0.0],
            tilt,
            height: l3_height * 0.95,
            depth: s1_depth,
            osteophyte: [osteophytes * random.between(0.0, 1.0), 0.0],
            double_contour: 0.0,
            wall: wall * random.between(0.3, 1.0),
            ragged,
            density: random.between(0.75, 1.0),
        });
        for index in 1..BODIES {
            let lumbar = index <= L1;
            let curve = if lumbar { lordosis } else { kyphosis };
            let mut height = l3_height * HEIGHT[index] * random.bounded(1.0, 0.035, 2.0);
            let depth = l3_depth * DEPTH[index] * random.bounded(1.0, 0.03, 2.0);
            let mut wedge = (BODY_WEDGE[index] * if lumbar { 1.0 } else { curve }
                + random.bounded(0.0, 0.6 * settings.tilt_sd_deg, 2.0))
            .to_radians();
            let mut concavity = [
                depth * random.between(0.022, 0.06),
                depth * random.between(0.01, 0.035),
                height * random.between(0.012, 0.05),
                height * random.between(0.012, 0.05),
            ];
            let fracture = fractures[index];
            match fracture {
                Fracture::None => {}
                Fracture::Wedge => {
                    let loss = random.between(0.2, 0.42) * height;
                    wedge -= (loss / depth).atan();
                    height -= 0.5 * loss;
                }
                Fracture::Biconcave => {
                    concavity[2] += height * random.between(0.1, 0.22);
                    concavity[3] += height * random.between(0.06, 0.18);
                }
                Fracture::Crush => {
                    height *= random.between(0.5, 0.75);
                    wedge *= 0.4;
                    concavity[2] += height * 0.06;
                }
            }
            let ratio = (person_disc * DISC[index] / 1.15 * random.lognormal(1.0, settings.disc_spread_level))
                .clamp(0.045, 0.6);
            let disc = ratio * l3_height * HEIGHT[index];
            let wanted_wedge = (DISC_WEDGE[index] * if index <= T12 { lordosis } else { kyphosis }
                + random.bounded(0.0, settings.tilt_sd_deg, 2.0))
            .to_radians();
            // a disc does not close at its narrow end
            let most = (2.0 * (disc - 0.7).max(0.1) / depth).atan();
            let disc_wedge = wanted_wedge.clamp(-most, most);
            // the disc: half its wedge turns the axis before, half after
            let axis = upward(tilt - 0.5 * disc_wedge);
            let slip = random.bounded(0.0, 0.012, 2.0) * depth;
            base = base + axis * disc + forward(tilt) * slip;
            let inferior_tilt = tilt - disc_wedge;
            let middle = inferior_tilt - 0.5 * wedge;
            let superior_tilt = inferior_tilt - wedge;
            let top = base + upward(middle) * height;
            let lower_depth = depth * random.bounded(1.01, 0.012, 2.0);
            let upper = forward(superior_tilt) * (0.5 * depth);
            let lower = forward(inferior_tilt) * (0.5 * lower_depth);
            let here = index as f64;
            bodies.push(Body {
                corners: [top + upper, top - upper, base + lower, base - lower],
                concavity,
                tilt: middle,
                height,
                depth,
                osteophyte: [
                    (osteophytes * random.bounded(0.5, 0.5, 2.0)).max(0.0),
                    (osteophytes * random.bounded(0.5, 0.5, 2.0)).max(0.0),
                ],
                double_contour: scoliosis * ((here - scoliosis_at) * 0.55).sin()
                    + random.bounded(0.0, 0.5, 2.0)
                    + 0.12 * (here - 3.5),
                wall: wall * random.between(0.5, 1.0),
                ragged,
                density: random.bounded(1.0, 0.06, 2.0)
                    * if matches!(fracture, Fracture::Crush | Fracture::Wedge) { 1.15 } else { 1.0 },
            });
            base = top;
            tilt = superior_tilt;
        }
        Spine { bodies, density, l3_height, l3_depth }
    }

    /// Middle of the disc below body `index`: its anterior and posterior end.
    pub fn disc_line(&self, index: usize) -> (Mm, Mm) {
        let (above, below) = (&self.bodies[index], &self.bodies[index - 1]);
        (above.corners[2].lerp(below.corners[0], 0.5), above.corners[3].lerp(below.corners[1], 0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_of_centres_has_the_published_percentiles_as_far_as_rigid_bodies_allow() {
        let mut ratios = Vec::new();
        for person in 0..400u64 {
            let mut random = Random::named("spine-test", &[person]);
            let build = Build { male: person % 2 == 0, age: 68.0 };
            let spine = Spine::grow(&Anatomy { fracture_share: 0.0, ..Default::default() }, build, &mut random);
            for i in L5..T12 {
                let (below, above) = (&spine.bodies[i], &spine.bodies[i + 1]);
                let height = 0.5 * (below.height + above.height);
                ratios.push((above.centre() - below.centre()).length() / height);
            }
        }
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64) as usize];
        assert!((1.02..1.14).contains(&at(0.05)), "5th percentile {}", at(0.05));
        assert!((1.10..1.26).contains(&at(0.5)), "median {}", at(0.5));
        assert!((1.28..1.50).contains(&at(0.95)), "95th percentile {}", at(0.95));
    }

    #[test]
    fn corners_are_ordered_and_bodies_do_not_overlap() {
        for person in 0..200u64 {
            let mut random = Random::named("order", &[person]);
            let settings = crate::config::Config::training().anatomy;
            let spine = Spine::grow(&settings, Build { male: true, age: 75.0 }, &mut random);
            for i in 1..BODIES {
                let body = &spine.bodies[i];
                let [a_s, p_s, a_i, p_i] = body.corners;
                let (f, u) = (forward(body.tilt), upward(body.tilt));
                assert!((a_s - p_s).dot(f) > 5.0 && (a_i - p_i).dot(f) > 5.0);
                assert!((a_s - a_i).dot(u) > 3.0 && (p_s - p_i).dot(u) > 3.0, "person {person} body {i}");
                let (front, back) = (spine.bodies[i - 1].corners[0], spine.bodies[i - 1].corners[1]);
                assert!((a_i - front).dot(u) > -2.5 && (p_i - back).dot(u) > -2.5, "person {person} disc {i}");
            }
        }
    }
}

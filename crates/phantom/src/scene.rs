//! One person at one visit in front of one scanner: everything in millimetres, before any pixel.

use crate::aorta::{Aorta, Deposit, Place, STEP_MM};
use crate::config::{Config, Scanner};
use crate::plane::{Mm, interpolate};
use crate::random::Random;
use crate::spine::{Build, L1, S1, Spine};
use crate::truth::SAMPLES_PER_SEGMENT;
use domain::{Segment, SegmentGrade, TieRule, Wall};

/// Soft tissue: the outline of the trunk and what lies in it.
#[derive(Debug, Clone)]
pub(crate) struct Habitus {
    /// Front-to-back depth of the trunk at the waist, mm.
    pub depth: f64,
    /// Half its width (along the beam) at the waist, mm.
    pub half_width: f64,
    /// Distance of the skin of the back from the middle of the bodies, mm.
    pub back: f64,
    /// Fat under the skin, mm.
    pub fat: f64,
    /// Height of the dome of the diaphragm against T11's middle, mm (left, right).
    pub domes: [f64; 2],
    /// How inflated the lungs are.
    pub air: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub spine: Spine,
    pub aorta: Aorta,
    pub deposits: Vec<Deposit>,
    /// By wall, positions along the aortic axis where the mid-disc lines T12/L1 .. L4/L5 meet it, mm, and the points.
    pub crossings: [[(f64, Mm); 5]; 2],
    pub habitus: Habitus,
}

/// What is imaged: who, how much calcium, by what, and the names of the random streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sitting {
    pub build: Build,
    pub burden: f64,
    pub scanner: Scanner,
    pub seed: u64,
    pub participant: u64,
    pub visit: u64,
}

impl Scene {
    pub fn set(config: &Config, sitting: &Sitting) -> Scene {
        let person = [sitting.seed, sitting.participant];
        let mut random = Random::named("anatomy", &person);
        let spine = Spine::grow(&config.anatomy, sitting.build, &mut random);
        let mut random = Random::named("aorta", &person);
        let mut aorta = Aorta::grow(&config.anatomy, &spine, sitting.build, &mut random);
        let discs: [(Mm, Mm); 5] = std::array::from_fn(|k| spine.disc_line(L1 + 1 - k));
        let mut crossings = None;
        // a vessel that leaves the spine so far that a disc line misses it is drawn again, straighter
        for attempt in 0..8u64 {
            crossings = meet(&aorta, &discs);
            if crossings.is_some() {
                break;
            }
            let mut random = Random::named("aorta again", &[person[0], person[1], attempt]);
            aorta = Aorta::grow(&config.anatomy, &spine, sitting.build, &mut random);
        }
        let crossings = crossings.unwrap_or_else(|| forced(&aorta, &discs));
        let levels: [f64; 5] = std::array::from_fn(|k| 0.5 * (crossings[0][k].0 + crossings[1][k].0));
        let mut random = Random::named("plaque", &person);
        let deposits = aorta.deposits(&config.plaque, levels, sitting.burden, &mut random);
        let mut random = Random::named("habitus", &person);
        let weight = random.bounded(1.0, 0.14, 2.2);
        let male = if sitting.build.male { 1.08 } else { 1.0 };
        let habitus = Habitus {
            depth: 235.0 * weight * male,
            half_width: 150.0 * (0.4 + 0.6 * weight) * male,
            back: random.bounded(78.0, 8.0, 2.0) * (0.5 + 0.5 * weight),
            fat: (random.bounded(22.0, 8.0, 2.0) * weight * if sitting.build.male { 0.7 } else { 1.0 }).max(5.0),
            domes: [random.bounded(-6.0, 14.0, 2.0), random.bounded(4.0, 14.0, 2.0)],
            air: random.between(0.6, 0.95),
        };
        Scene { spine, aorta, deposits, crossings, habitus }
    }

    /// x of the spine's middle at height y, mm.
    pub fn spine_x(&self, y: f64) -> f64 {
        let (ys, xs): (Vec<f64>, Vec<f64>) =
            self.spine.bodies.iter().rev().map(|b| (b.centre().y, b.centre().x)).unzip();
        interpolate(&ys, &xs, y)
    }

    /// Grades of all plaque on the two walls, seen or not, as if nothing hid any segment.
    pub fn geometric_grades(&self) -> [SegmentGrade; Segment::COUNT] {
        std::array::from_fn(|index| {
            let Segment { level, wall } = Segment::from_index(index);
            let levels = &self.crossings[wall.index()];
            let (from, to) = (levels[level.index()].0, levels[level.index() + 1].0);
            let rows = (0..SAMPLES_PER_SEGMENT)
                .filter(|i| {
                    let s = from + (to - from) * (f64::from(*i) + 0.5) / f64::from(SAMPLES_PER_SEGMENT);
                    // the same rounding to samples as where the picture's truth is counted
                    let s = (s / STEP_MM).round() * STEP_MM;
                    self.deposits.iter().any(|d| d.place == Place::Wall(wall) && s >= d.from && s <= d.to)
                })
                .count() as u32;
            SegmentGrade::Assessed(TieRule::Kauppila.grade(rows, SAMPLES_PER_SEGMENT).expect("a segment has samples"))
        })
    }

    pub fn sacrum(&self) -> Mm {
        self.spine.bodies[S1].centre()
    }
}

fn meet(aorta: &Aorta, discs: &[(Mm, Mm); 5]) -> Option<[[(f64, Mm); 5]; 2]> {
    let mut out = [[(0.0, Mm::default()); 5]; 2];
    for wall in Wall::ALL {
        for (k, disc) in discs.iter().enumerate() {
            out[wall.index()][k] = aorta.meets(wall, *disc)?;
            if k > 0 && out[wall.index()][k].0 <= out[wall.index()][k - 1].0 + LEVEL_MIN_MM {
                return None;
            }
        }
    }
    Some(out)
}

/// Least stretch of wall between two mid-disc lines, mm.
const LEVEL_MIN_MM: f64 = 4.0;

/// Crossings for the rare spine (sharp kyphosis over a fracture) whose mid-disc lines cross one another before they reach the
/// wall: each limit is then where the wall comes nearest to the disc, kept in order.
fn forced(aorta: &Aorta, discs: &[(Mm, Mm); 5]) -> [[(f64, Mm); 5]; 2] {
    let mut out = [[(0.0, Mm::default()); 5]; 2];
    for wall in Wall::ALL {
        let line = aorta.wall(wall);
        let mut least = 0.0f64;
        for (k, (front, _)) in discs.iter().enumerate() {
            let nearest = |a: &usize, b: &usize| (line[*a] - *front).length().total_cmp(&(line[*b] - *front).length());
            let sample = (0..line.len()).min_by(nearest).unwrap_or(0);
            let s = aorta.at[sample].max(least);
            least = s + LEVEL_MIN_MM;
            let sample = ((s / STEP_MM) as usize).min(line.len() - 1);
            out[wall.index()][k] = (s, line[sample]);
        }
    }
    out
}

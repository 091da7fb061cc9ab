//! Two simulated human readers, who mark the plaque that they see, with the noise of real ones.
//!
//! A reader has a personal limit of visibility, misses faint plaque at times, places its ends inexactly, rarely calls plaque
//! where there is none, and does not grade a level for a millimetre that spills over from its neighbour.

use crate::aorta::STEP_MM;
use crate::config::Config;
use crate::random::Random;
use crate::truth::{SAMPLES_PER_SEGMENT, Truth};
use domain::{Segment, SegmentGrade, TieRule, Wall};

/// A simulated reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    A,
    B,
}

impl Reader {
    pub const ALL: [Reader; 2] = [Reader::A, Reader::B];

    /// As in human_readings.parquet.
    pub fn name(self) -> &'static str {
        match self {
            Reader::A => "A",
            Reader::B => "B",
        }
    }
}

/// Spill-over into a neighbouring level below this length is not graded, mm.
const SPILL_MM: f64 = 1.5;

/// Stretches of wall, (from, to) along the vessel's axis in mm: anterior, posterior.
type Marks = [Vec<(f64, f64)>; 2];

/// What a reader marks. `repeat` 0 is the first reading; others are the same reader again. `None` for other views.
fn marks(config: &Config, truth: &Truth, stream: [u64; 3], reader: Reader, repeat: u32) -> Option<Marks> {
    let strip = truth.strip.as_ref()?;
    let settings = &config.readers;
    let mut personal = Random::named("reader", &[stream[0], reader as u64]);
    let limit = config.plaque.visible_min_cnr.max(1e-6) * personal.lognormal(1.0, settings.limit_spread);
    let own_end = personal.normal(0.0, 0.25 * settings.end_sd_mm);
    let [seed, participant, visit] = stream;
    let mut random = Random::named("reading", &[seed, participant, visit, reader as u64, u64::from(repeat)]);
    let mut marked: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for wall in Wall::ALL {
        let cnr = &strip.calcium.cnr[wall.index()];
        let mut k = 0;
        while k < cnr.len() {
            if f64::from(cnr[k]) < limit {
                k += 1;
                continue;
            }
            let start = k;
            let mut peak = 0f64;
            while k < cnr.len() && f64::from(cnr[k]) >= limit {
                peak = peak.max(f64::from(cnr[k]));
                k += 1;
            }
            let miss = settings.miss * (-1.2 * (peak / limit - 1.0)).exp();
            let (missed, head, foot) = (random.chance(miss), random.standard(), random.standard());
            if missed {
                continue;
            }
            let from = start as f64 * STEP_MM + settings.end_sd_mm * head - own_end;
            let to = k as f64 * STEP_MM + settings.end_sd_mm * foot + own_end;
            if to - from > 0.3 {
                marked[wall.index()].push((from, to));
            }
        }
    }
    let mut chance_left = settings.false_plaques;
    while chance_left > 0.0 {
        if random.chance(chance_left.min(1.0)) {
            let wall = random.below(2);
            let levels = &strip.levels[wall];
            let at = random.between(levels[0], levels[4]);
            marked[wall].push((at, at + random.between(2.0, 8.0)));
        }
        chance_left -= 1.0;
    }
    Some(marked)
}

/// Dice of the stretches that a reader marks at the first and at the second reading: twice their common length over the sum of
/// both, walls together, between the mid-discs T12/L1 and L4/L5. `None` for other views and where neither reading marks anything.
pub(crate) fn repeat_dice(config: &Config, truth: &Truth, stream: [u64; 3], reader: Reader) -> Option<f64> {
    let strip = truth.strip.as_ref()?;
    let (first, second) = (marks(config, truth, stream, reader, 0)?, marks(config, truth, stream, reader, 1)?);
    let (mut common, mut sum) = (0u32, 0u32);
    for wall in Wall::ALL {
        let levels = &strip.levels[wall.index()];
        let samples = ((levels[4] - levels[0]) / STEP_MM) as usize;
        for sample in 0..samples {
            let s = levels[0] + (sample as f64 + 0.5) * STEP_MM;
            let marked = |marks: &Marks| marks[wall.index()].iter().any(|(a, b)| (*a..*b).contains(&s));
            let (a, b) = (marked(&first), marked(&second));
            common += u32::from(a && b);
            sum += u32::from(a) + u32::from(b);
        }
    }
    (sum > 0).then(|| 2.0 * f64::from(common) / f64::from(sum))
}

/// Grades of one reading. `repeat` 0 is the first reading; others are the same reader again. `None` for other views.
pub(crate) fn read(
    config: &Config,
    truth: &Truth,
    stream: [u64; 3],
    reader: Reader,
    repeat: u32,
) -> Option<[SegmentGrade; Segment::COUNT]> {
    let strip = truth.strip.as_ref()?;
    let marked = marks(config, truth, stream, reader, repeat)?;
    Some(std::array::from_fn(|index| {
        if let SegmentGrade::NotAssessable(_) = truth.visible[index] {
            return truth.visible[index];
        }
        let Segment { level, wall } = Segment::from_index(index);
        let levels = &strip.levels[wall.index()];
        let (top, bottom) = (levels[level.index()], levels[level.index() + 1]);
        let inside: Vec<(f64, f64)> = marked[wall.index()]
            .iter()
            .map(|(a, b)| (a.max(top), b.min(bottom), b - a))
            .filter(|(a, b, whole)| b - a > SPILL_MM.min(0.5 * whole))
            .map(|(a, b, _)| (a, b))
            .collect();
        let rows = (0..SAMPLES_PER_SEGMENT)
            .filter(|i| {
                let s = top + (bottom - top) * (f64::from(*i) + 0.5) / f64::from(SAMPLES_PER_SEGMENT);
                inside.iter().any(|(a, b)| s >= *a && s < *b)
            })
            .count() as u32;
        SegmentGrade::Assessed(TieRule::Kauppila.grade(rows, SAMPLES_PER_SEGMENT).expect("a segment has samples"))
    }))
}

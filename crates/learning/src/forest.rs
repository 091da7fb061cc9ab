//! Trains the forest of Chaplin & Cootes (section 2.2): balanced patches of the regions, each scaled and turned ten times, ten trees on
//! bootstrapped samples.
//!
//! What the paper leaves open is stated with [`ForestSettings`]. Everything follows from the regions and the seed, whatever the
//! number of threads: patches, features and trees have random streams of their own.

use crate::draw::Draw;
use crate::error::{Error, Result};
use crate::regions::LabelledRegion;
use crate::threshold::{MarkQuality, judge_marks};
use rayon::prelude::*;
use scoring::forest::{FEATURES_MAX, Forest, HaarFeature, IntegralImage, Node, PATCH, PATCH_REACH, TREES_MAX};
use scoring::region::{REGION_HEIGHT, REGION_WIDTH};
use std::collections::BTreeSet;

/// Most patches, all variants counted: a byte for each of them and each feature.
const EXAMPLES_MAX: usize = 1_000_000;
/// Patches whose features are worked out at once.
const CHUNK: usize = 2048;
/// Examples from which the thresholds of a feature are taken.
const THRESHOLD_EXAMPLES: usize = 8192;
/// Classes of a feature's values between thresholds, at most.
const BINS: usize = 256;
/// Draws of a place for each that is wanted, at most, before it is said that there are too few.
const DRAWS_PER_PLACE: usize = 200;

/// How a forest is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForestSettings {
    /// Places that patches are taken of, half of them calcified. Paper: 10,000.
    pub patches: usize,
    /// Random scalings (.5 to 2, uniform in the logarithm) and rotations (1 rad to either side) of each. Paper: 10.
    pub transforms: usize,
    /// Paper: 10.
    pub trees: usize,
    /// Haar-like features, drawn out of all that a patch has. The paper gives no number.
    pub features: usize,
    /// Features, drawn anew, among which each node chooses; 0 takes the square root of their number. The paper gives none.
    pub tried: usize,
    /// Fewest examples of a leaf. The paper gives none.
    pub leaf_min: usize,
    /// Longest path. The paper gives none.
    pub depth_max: usize,
    pub seed: u64,
}

impl Default for ForestSettings {
    fn default() -> ForestSettings {
        ForestSettings {
            patches: 10_000,
            transforms: 10,
            trees: 10,
            features: 1000,
            tried: 0,
            leaf_min: 8,
            depth_max: 24,
            seed: 1,
        }
    }
}

/// Scaling of patches, lowest and highest, and rotation to either side, radians (section 2.2).
const SCALE: (f64, f64) = (0.5, 2.0);
const ROTATION_MAX_RAD: f64 = 1.0;

impl ForestSettings {
    fn check(&self) -> Result<()> {
        let within = [
            ("patches", self.patches, 2, EXAMPLES_MAX),
            ("transforms", self.transforms, 1, 1000),
            ("trees", self.trees, 1, TREES_MAX),
            ("features", self.features, 1, FEATURES_MAX),
            ("tried", self.tried, 0, self.features),
            ("leaf_min", self.leaf_min, 1, EXAMPLES_MAX),
            ("depth_max", self.depth_max, 1, 64),
            ("patches times transforms", self.patches.saturating_mul(self.transforms), 2, EXAMPLES_MAX),
        ];
        match within.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((name, value, low, high)) => {
                Err(Error::Setting { name, problem: format!("is {value}, not within {low}..={high}") })
            }
            None => Ok(()),
        }
    }
}

/// A pixel of a region: number of the region, row by row place in it.
type Place = (usize, usize);

/// Trains a forest on regions.
///
/// # Errors
/// [`Error::Setting`] for settings out of range, and for regions with too little calcium, or too little else, for the patches asked for.
pub fn train_forest(regions: &[LabelledRegion], settings: &ForestSettings) -> Result<Forest> {
    settings.check()?;
    let places = places(regions, settings)?;
    let features = features(settings);
    let examples = Examples::of(regions, &places, &features, settings);
    let trees: Vec<Vec<Node>> =
        (0..settings.trees).into_par_iter().map(|tree| grow(&examples, settings, tree as u64)).collect();
    Ok(Forest::new(features, &trees)?)
}

/// Random distinct places, calcified and not by turns: the same number of both.
fn places(regions: &[LabelledRegion], settings: &ForestSettings) -> Result<Vec<(Place, bool)>> {
    let half = settings.patches / 2;
    let calcified: Vec<Place> = regions
        .iter()
        .enumerate()
        .flat_map(|(number, region)| {
            let pixels = region.calcified.iter().zip(&region.valid).enumerate();
            pixels.filter(|(_, (calcified, valid))| **calcified && **valid).map(move |(pixel, _)| (number, pixel))
        })
        .collect();
    let few = |what: &str, found: usize| {
        let problem =
            format!("asks for {half} patches around {what} pixels, but there are {found}; take fewer, or more images");
        Error::Setting { name: "patches", problem }
    };
    if calcified.len() < half {
        return Err(few("calcified", calcified.len()));
    }
    let mut draw = Draw::named("forest places", &[settings.seed]);
    let mut order: Vec<usize> = (0..calcified.len()).collect();
    draw.shuffle(&mut order);
    // Of the others there are too many to list.
    let mut others = BTreeSet::new();
    for _ in 0..half.saturating_mul(DRAWS_PER_PLACE) {
        if others.len() == half {
            break;
        }
        let (number, pixel) = (draw.below(regions.len()), draw.below(REGION_WIDTH * REGION_HEIGHT));
        if regions[number].valid[pixel] && !regions[number].calcified[pixel] {
            others.insert((number, pixel));
        }
    }
    if others.len() < half {
        return Err(few("other", others.len()));
    }
    let chosen = order[..half].iter().map(|place| (calcified[*place], true));
    Ok(chosen.zip(others.into_iter().map(|place| (place, false))).flat_map(|(a, b)| [a, b]).collect())
}

/// Distinct features of a patch, in the order of [`HaarFeature::all`].
fn features(settings: &ForestSettings) -> Vec<HaarFeature> {
    let all = HaarFeature::all();
    let mut draw = Draw::named("forest features", &[settings.seed]);
    let mut order: Vec<usize> = (0..all.len()).collect();
    draw.shuffle(&mut order);
    order.truncate(settings.features);
    order.sort_unstable();
    order.into_iter().map(|feature| all[feature]).collect()
}

/// The patch around a pixel, scaled and turned: 21 x 21, bilinear; beyond the region its border goes on.
fn patch(region: &[u8], pixel: usize, scale: f64, turn_rad: f64) -> Vec<u8> {
    let (sin, cos) = turn_rad.sin_cos();
    let (row, column) = ((pixel / REGION_WIDTH) as f64, (pixel % REGION_WIDTH) as f64);
    let at = |x: f64, y: f64| {
        let (x, y) = (x.clamp(0.0, (REGION_WIDTH - 1) as f64), y.clamp(0.0, (REGION_HEIGHT - 1) as f64));
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(REGION_WIDTH - 1), (y0 + 1).min(REGION_HEIGHT - 1));
        let grey = |x: usize, y: usize| f64::from(region[y * REGION_WIDTH + x]);
        let (fx, fy) = (x - x0 as f64, y - y0 as f64);
        let upper = grey(x0, y0) + fx * (grey(x1, y0) - grey(x0, y0));
        let lower = grey(x0, y1) + fx * (grey(x1, y1) - grey(x0, y1));
        (upper + fy * (lower - upper)).round() as u8
    };
    let mut pixels = Vec::with_capacity(PATCH * PATCH);
    for y in 0..PATCH {
        for x in 0..PATCH {
            let (dx, dy) = (scale * (x as f64 - PATCH_REACH as f64), scale * (y as f64 - PATCH_REACH as f64));
            pixels.push(at(column + cos * dx - sin * dy, row + sin * dx + cos * dy));
        }
    }
    pixels
}

/// Examples with their features in classes: which thresholds a value lies between.
struct Examples {
    /// By feature: ascending thresholds, fewer than [`BINS`].
    thresholds: Vec<Vec<i32>>,
    /// By feature, then example: number of thresholds below the value.
    classes: Vec<Vec<u8>>,
    calcified: Vec<bool>,
}

impl Examples {
    fn of(
        regions: &[LabelledRegion],
        places: &[(Place, bool)],
        features: &[HaarFeature],
        settings: &ForestSettings,
    ) -> Examples {
        let count = places.len() * settings.transforms;
        let sums = |example: usize| {
            let ((number, pixel), _) = places[example / settings.transforms];
            let mut draw = Draw::named("forest patch", &[settings.seed, example as u64]);
            let scale = draw.ratio_between(SCALE.0, SCALE.1);
            let turn = draw.between(-ROTATION_MAX_RAD, ROTATION_MAX_RAD);
            IntegralImage::of(&patch(&regions[number].pixels, pixel, scale, turn), PATCH)
        };
        // Evenly spread over the places, of which every other one is calcified.
        let step = (count / THRESHOLD_EXAMPLES).max(1);
        let spread: Vec<IntegralImage> =
            (0..count).step_by(step).collect::<Vec<_>>().into_par_iter().map(sums).collect();
        let thresholds: Vec<Vec<i32>> = features
            .par_iter()
            .map(|feature| quantiles(spread.iter().map(|sums| feature.value(sums, 0, 0)).collect()))
            .collect();
        let mut classes: Vec<Vec<u8>> = features.iter().map(|_| Vec::with_capacity(count)).collect();
        for start in (0..count).step_by(CHUNK) {
            let chunk: Vec<IntegralImage> = (start..(start + CHUNK).min(count)).into_par_iter().map(sums).collect();
            classes.par_iter_mut().zip(features).zip(&thresholds).for_each(|((classes, feature), thresholds)| {
                classes.extend(chunk.iter().map(|sums| {
                    let value = feature.value(sums, 0, 0);
                    thresholds.partition_point(|threshold| *threshold < value) as u8
                }));
            });
        }
        let calcified = (0..count).map(|example| places[example / settings.transforms].1).collect();
        Examples { thresholds, classes, calcified }
    }
}

/// At most 255 distinct values that divide the given ones into parts of about equal size.
fn quantiles(mut values: Vec<i32>) -> Vec<i32> {
    values.sort_unstable();
    let mut thresholds: Vec<i32> = (1..BINS).map(|k| values[k * (values.len() - 1) / BINS]).collect();
    thresholds.dedup();
    thresholds
}

/// One tree on a bootstrapped sample: as many examples, drawn with replacement.
fn grow(examples: &Examples, settings: &ForestSettings, tree: u64) -> Vec<Node> {
    let mut draw = Draw::named("forest tree", &[settings.seed, tree]);
    let count = examples.calcified.len();
    let mut sample: Vec<u32> = (0..count).map(|_| draw.below(count) as u32).collect();
    let tried = match settings.tried {
        0 => (examples.classes.len() as f64).sqrt().round() as usize,
        tried => tried,
    };
    let mut grower =
        Grower { examples, settings, draw, order: (0..examples.classes.len()).collect(), tried, nodes: Vec::new() };
    grower.grow(&mut sample, 0);
    grower.nodes
}

struct Grower<'a> {
    examples: &'a Examples,
    settings: &'a ForestSettings,
    draw: Draw,
    /// Features in the order of the last draw.
    order: Vec<usize>,
    tried: usize,
    nodes: Vec<Node>,
}

/// A way to divide the examples of a node.
struct Split {
    feature: usize,
    /// Examples of this class and below go left.
    class: usize,
    impurity: f64,
}

impl Grower<'_> {
    fn grow(&mut self, sample: &mut [u32], depth: usize) {
        let calcified = sample.iter().filter(|e| self.examples.calcified[**e as usize]).count();
        let pure = calcified == 0 || calcified == sample.len();
        let splittable = !pure && depth < self.settings.depth_max && sample.len() >= 2 * self.settings.leaf_min;
        let Some(split) = splittable.then(|| self.best_split(sample)).flatten() else {
            self.nodes.push(Node::Leaf { probability: calcified as f32 / sample.len().max(1) as f32 });
            return;
        };
        let classes = &self.examples.classes[split.feature];
        let middle = partition(sample, |example| usize::from(classes[*example as usize]) <= split.class);
        let place = self.nodes.len();
        let threshold = self.examples.thresholds[split.feature][split.class];
        self.nodes.push(Node::Split { feature: split.feature as u16, threshold, right: 0 });
        let (left, right) = sample.split_at_mut(middle);
        self.grow(left, depth + 1);
        let second = self.nodes.len() as u32;
        self.nodes[place] = Node::Split { feature: split.feature as u16, threshold, right: second };
        self.grow(right, depth + 1);
    }

    /// The division of least impurity (Gini) among the features tried; `None` when none of them divides.
    fn best_split(&mut self, sample: &[u32]) -> Option<Split> {
        for place in 0..self.tried {
            let other = place + self.draw.below(self.order.len() - place);
            self.order.swap(place, other);
        }
        let mut best: Option<Split> = None;
        for &feature in &self.order[..self.tried] {
            let mut counts = [[0u32; 2]; BINS];
            let classes = &self.examples.classes[feature];
            for example in sample {
                let example = *example as usize;
                counts[usize::from(classes[example])][usize::from(self.examples.calcified[example])] += 1;
            }
            let total = counts.iter().fold([0, 0], |t, c| [t[0] + c[0], t[1] + c[1]]);
            let mut left = [0u32; 2];
            for class in 0..self.examples.thresholds[feature].len() {
                left = [left[0] + counts[class][0], left[1] + counts[class][1]];
                let right = [total[0] - left[0], total[1] - left[1]];
                let sizes = [left[0] + left[1], right[0] + right[1]];
                if sizes.iter().any(|size| (*size as usize) < self.settings.leaf_min) {
                    continue;
                }
                // n p (1 - p) of both sides; half the Gini impurity.
                let of = |part: [u32; 2]| f64::from(part[0]) * f64::from(part[1]) / f64::from(part[0] + part[1]);
                let impurity = of(left) + of(right);
                if best.as_ref().is_none_or(|best| impurity < best.impurity) {
                    best = Some(Split { feature, class, impurity });
                }
            }
        }
        best
    }
}

/// Puts those that go left first, each side in the order it had, and returns how many they are.
fn partition(sample: &mut [u32], left: impl Fn(&u32) -> bool) -> usize {
    let (first, second): (Vec<u32>, Vec<u32>) = sample.iter().partition(|example| left(example));
    sample[..first.len()].copy_from_slice(&first);
    sample[first.len()..].copy_from_slice(&second);
    first.len()
}

/// The forest on regions that it was not trained on, under every threshold.
///
/// # Errors
/// As [`judge_marks`].
pub fn judge_forest(forest: &Forest, regions: &[LabelledRegion]) -> Result<Vec<MarkQuality>> {
    judge_marks(regions, |region| forest.respond(&regions[region].pixels))
}

#[cfg(test)]
#[path = "forest_tests.rs"]
mod tests;

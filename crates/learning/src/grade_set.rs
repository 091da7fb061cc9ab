//! Samples for the networks that grade by themselves: the picture as it is served to them, the grades that a reader could see, and which
//! segments can be assessed in this very sample.

use crate::augment;
use crate::draw::Draw;
use crate::error::Result;
use crate::picture::{Picture, Window};
use crate::shards::Part;
use crate::training_set::{placed, stretch, view_class};
use domain::{Grade, ImagePx, Point, Segment, Wall};
use phantom::{Simulated, Truth};
use scoring::locate::prepare;
use scoring::shape::ShapeModel;
use scoring::{GradeInput, SpineCrop};

/// Points of a wall that stand for a segment.
const WALL_POINTS: usize = 16;
/// A segment of which a larger share is out of sight in a sample has no grade there; as `max_hidden_share` of the pipelines.
const HIDDEN_SHARE_MAX: f64 = 0.25;

/// One sample.
pub(crate) struct GradeSample {
    /// One picture for each input asked for, in their order.
    inputs: Vec<Vec<u8>>,
    /// 0..=3 in the order of [`Segment::all`]; 0 where not assessable.
    grades: [u8; Segment::COUNT],
    /// 1 where the segment can be assessed in all of `inputs`.
    assessable: [u8; Segment::COUNT],
    /// As in the samples of `locate`.
    view: u8,
}

/// A whole radiograph, turned, cut and exposed in another way.
pub(crate) fn image_sample(simulated: &Simulated, picture: &Picture, draw: &mut Draw) -> GradeSample {
    let truth = &simulated.truth;
    let keep: Vec<Point<ImagePx>> = (4..20).filter_map(|channel| truth.corners[channel]).collect();
    let variant = augment::view(picture, simulated.spacing.aspect_or_square(), &keep, draw);
    let raster = variant.picture.to_raster();
    let input = prepare(&raster, 1.0);
    let labels = Labels::of(truth).where_seen(truth, |p| raster.contains(variant.from_original.apply(p)));
    labels.with(vec![input.pixels], view_class(truth.view))
}

/// The strip around the aorta and the picture around the vertebrae, as a `locate` network with errors would place them.
pub(crate) fn located_sample(
    simulated: &Simulated,
    model: &ShapeModel,
    inputs: &[GradeInput],
    draw: &mut Draw,
) -> Result<GradeSample> {
    let (estimate, region) = placed(simulated, model, draw)?;
    let truth = &simulated.truth;
    let mut labels = Labels::of(truth);
    let mut pictures = Vec::with_capacity(inputs.len());
    for input in inputs {
        let [height, width] = input.shape();
        let changed = |pixels: &[u8], seen: &[bool], draw: &mut Draw| {
            let values = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
            let mut picture = Picture::new(width, height, values);
            let hidden = augment::region_greys(&mut picture, draw);
            (stretch(&picture, seen), hidden)
        };
        let shows = |(x, y): (f64, f64), seen: &[bool], hidden: Option<Window>| {
            let (column, row) = (x.round() as usize, y.round() as usize);
            seen[row.min(height - 1) * width + column.min(width - 1)]
                && hidden.is_none_or(|h| !(h.x0..h.x1).contains(&column) || !(h.y0..h.y1).contains(&row))
        };
        let pixels = match input {
            GradeInput::Image => prepare(&simulated.raster, simulated.spacing.aspect_or_square()).pixels,
            GradeInput::Region => {
                let cut = region.warp(&simulated.raster);
                let (pixels, hidden) = changed(&cut.pixels, &cut.valid, draw);
                let seen = |p| region.to_region(p).is_some_and(|at| shows((at.x, at.y), &cut.valid, hidden));
                labels = labels.where_seen(truth, seen);
                pixels
            }
            GradeInput::Spine => {
                let crop = SpineCrop::around(&estimate);
                let (pixels, inside) = crop.cut(&simulated.raster);
                let (pixels, hidden) = changed(&pixels, &inside, draw);
                let seen = |p| crop.to_crop(p).is_some_and(|at| shows((at.x, at.y), &inside, hidden));
                labels = labels.where_seen(truth, seen);
                pixels
            }
        };
        pictures.push(pixels);
    }
    Ok(labels.with(pictures, view_class(truth.view)))
}

/// What is to be learned of a picture: a grade where the segment can be assessed.
#[derive(Clone, Copy)]
struct Labels([Option<Grade>; Segment::COUNT]);

impl Labels {
    fn of(truth: &Truth) -> Labels {
        Labels(truth.visible.map(|grade| grade.grade()))
    }

    /// Without the segments of which more than a quarter of the wall is not `shown`.
    fn where_seen(mut self, truth: &Truth, shown: impl Fn(Point<ImagePx>) -> bool) -> Labels {
        let Some(discs) = &truth.aorta_at_discs else { return self };
        for (segment, label) in Segment::all().into_iter().zip(&mut self.0) {
            let at = |line: usize| match segment.wall {
                Wall::Anterior => discs[line].0,
                Wall::Posterior => discs[line].1,
            };
            let (upper, lower) = (at(segment.level.index()), at(segment.level.index() + 1));
            let point = |i: usize| upper.lerp(lower, (i as f64 + 0.5) / WALL_POINTS as f64);
            let hidden = (0..WALL_POINTS).filter(|i| !shown(point(*i))).count();
            if hidden as f64 > HIDDEN_SHARE_MAX * WALL_POINTS as f64 {
                *label = None;
            }
        }
        self
    }

    fn with(self, inputs: Vec<Vec<u8>>, view: u8) -> GradeSample {
        GradeSample {
            inputs,
            grades: self.0.map(|grade| grade.map_or(0, Grade::value)),
            assessable: self.0.map(|grade| u8::from(grade.is_some())),
            view,
        }
    }
}

/// Name of the tensor of an input.
fn part_name(input: GradeInput) -> &'static str {
    match input {
        GradeInput::Image => "images",
        GradeInput::Region => "regions",
        GradeInput::Spine => "spines",
    }
}

pub(crate) fn parts(inputs: &[GradeInput], samples: &[GradeSample]) -> Vec<Part> {
    let n = samples.len();
    let pictures = inputs.iter().enumerate().map(|(i, input)| {
        let [height, width] = input.shape();
        Part::bytes(part_name(*input), &[n, height, width], samples.iter().map(|s| s.inputs[i].as_slice()))
    });
    let by_segment = [n, Segment::COUNT];
    pictures
        .chain([
            Part::bytes("grades", &by_segment, samples.iter().map(|s| s.grades.as_slice())),
            Part::bytes("assessable", &by_segment, samples.iter().map(|s| s.assessable.as_slice())),
            Part::bytes("view", &[n], samples.iter().map(|s| std::slice::from_ref(&s.view))),
        ])
        .collect()
}

#[cfg(test)]
#[path = "grade_set_tests.rs"]
mod tests;

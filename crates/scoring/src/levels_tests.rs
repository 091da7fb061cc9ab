use super::*;
use crate::locate::{STAGE_HEIGHT, STAGE_WIDTH};
use crate::shape::tests::{model, place, textbook};
use crate::shape::{AnnotatedShape, shape_landmark};
use domain::{Corner, Point};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;

const CELLS: usize = HEATMAP_WIDTH * HEATMAP_HEIGHT;

/// Heatmaps of a 600 x 1000 picture, each channel with peaks of given places (image pixels) and heights.
pub(crate) struct Drawing {
    pub heatmaps: Vec<f32>,
    pub to_stage: Affine<ImagePx, StagePx>,
    pub aspect: f64,
}

impl Drawing {
    pub fn new(aspect: f64) -> Drawing {
        let scale = (STAGE_WIDTH as f64 / 600.0).min(STAGE_HEIGHT as f64 / (1000.0 * aspect));
        let to_stage = Affine::scale_then_shift(scale, scale * aspect, 3.0, 2.0);
        Drawing { heatmaps: vec![0.0; CELLS * 26], to_stage, aspect }
    }

    pub fn peak(&mut self, channel: usize, at: Point<ImagePx>, height: f64) {
        let stage = self.to_stage.apply(at);
        let (x, y) = ((stage.x - 1.5) / 4.0, (stage.y - 1.5) / 4.0);
        for (i, value) in self.heatmaps[channel * CELLS..(channel + 1) * CELLS].iter_mut().enumerate() {
            let (dx, dy) = ((i % HEATMAP_WIDTH) as f64 - x, (i / HEATMAP_WIDTH) as f64 - y);
            *value = value.max((height * (-(dx * dx + dy * dy) / 4.5).exp()) as f32);
        }
    }

    /// All corners that the shape model holds, and the sacrum.
    pub fn spine(shape: &AnnotatedShape, height: f64) -> Drawing {
        let mut drawing = Drawing::new(shape.aspect);
        for index in 0..20 {
            drawing.peak(shape_landmark(index).channel().unwrap(), shape.points[index], height);
        }
        for side in 0..2 {
            let (l4, l5) = (shape.points[14 + side], shape.points[18 + side]);
            drawing.peak(24 + side, l4.lerp(l5, 2.0), height);
        }
        drawing
    }

    pub fn output(&self) -> LocateOutput<'_> {
        LocateOutput {
            heatmaps: Heatmaps::Fractions(Cow::Borrowed(&self.heatmaps)),
            view: &[0.98, 0.01, 0.01],
            to_stage: self.to_stage,
            aspect: self.aspect,
        }
    }

    pub fn erase(&mut self, vertebra: Vertebra) {
        for channel in (0..26).filter(|c| Landmark::from_channel(*c).vertebra == vertebra) {
            self.heatmaps[channel * CELLS..(channel + 1) * CELLS].fill(0.01);
        }
    }
}

fn shape_model() -> ShapeModel {
    model(150, &mut ChaCha8Rng::seed_from_u64(21))
}

fn upright(aspect: f64, mirror: bool) -> AnnotatedShape {
    let mut shape = place(&textbook(), 80.0, 0.05, mirror, aspect);
    if mirror {
        // Into the picture, which is 600 wide.
        shape.points.iter_mut().for_each(|p| p.x -= 250.0);
    }
    shape
}

#[test]
fn a_clear_spine_is_named_whatever_side_it_faces() {
    let model = shape_model();
    for (aspect, mirror) in [(0.7, false), (1.0, true), (1.4, false)] {
        let truth = upright(aspect, mirror);
        let drawing = Drawing::spine(&truth, 0.9);
        let spine = name_levels(&drawing.output(), &model, &ScoringRules::default()).unwrap().unwrap();
        assert_eq!(spine.uncertain, [false; 4]);
        assert_eq!(spine.estimate.anterior_right, mirror);
        assert!(spine.level_confidence > 0.95, "{}", spine.level_confidence);
        assert!((spine.confidence - 0.9).abs() < 0.02, "{}", spine.confidence);
        for corner in &spine.corners {
            if let Some(index) = crate::shape::shape_index(corner.landmark) {
                assert!(corner.at.distance(truth.points[index]) < 0.3);
            }
        }
    }
}

#[test]
fn two_peaks_one_vertebra_apart_lower_the_confidence_and_do_not_mix_names() {
    let model = shape_model();
    let truth = upright(1.0, false);
    let mut drawing = Drawing::spine(&truth, 0.6);
    // Every other channel is a little surer of the vertebra below than of its own.
    for index in 0..16 {
        let below = 0.5 + 0.13 * (index % 2) as f64;
        drawing.peak(shape_landmark(index).channel().unwrap(), truth.points[(index + 4).min(19)], below);
    }
    let rules = ScoringRules::default();
    let spine = name_levels(&drawing.output(), &model, &rules).unwrap().unwrap();
    assert!(spine.level_confidence < 0.65, "{}", spine.level_confidence);
    for corner in &spine.corners {
        if let Some(index) = crate::shape::shape_index(corner.landmark) {
            assert!(corner.at.distance(truth.points[index]) < 2.0, "{:?} at {:?}", corner.landmark, corner.at);
        }
    }
}

#[test]
fn ends_may_be_missing_but_not_two_levels() {
    let model = shape_model();
    let truth = upright(1.0, false);
    let rules = ScoringRules::default();
    let read = |erased: &[Vertebra]| {
        let mut drawing = Drawing::spine(&truth, 0.9);
        erased.iter().for_each(|v| drawing.erase(*v));
        name_levels(&drawing.output(), &model, &rules).unwrap()
    };
    let full = read(&[]).unwrap();
    let open = read(&[Vertebra::T12, Vertebra::L5, Vertebra::S1]).unwrap();
    assert_eq!(open.uncertain, [false; 4]);
    assert!(open.estimate.vertebrae[19].distance(truth.points[19]) < 20.0, "imputed within a quarter of a height");
    assert!(open.estimate.vertebrae_sd_px[19] > full.estimate.vertebrae_sd_px[19]);
    assert!(open.level_confidence < full.level_confidence - 0.1, "nothing to count from");
    assert_eq!(read(&[Vertebra::L4, Vertebra::L5]).unwrap().uncertain, [false, false, false, true]);
    assert_eq!(read(&[Vertebra::L3, Vertebra::L4]), Err(ExcludeReason::LevelsIncomplete));
    assert_eq!(read(&Vertebra::ALL), Err(ExcludeReason::SpineNotFound));
}

#[test]
fn steps_are_read_as_the_fractions_that_they_are() {
    let model = shape_model();
    let mut drawing = Drawing::spine(&upright(1.1, false), 0.9);
    // A second, lower peak a vertebra further, so that the chain has something to choose.
    drawing.peak(9, upright(1.1, false).points[11], 0.6);
    let steps: Vec<u8> = drawing.heatmaps.iter().map(|value| (value * 255.0).round() as u8).collect();
    drawing.heatmaps = steps.iter().map(|step| f32::from(*step) * (1.0 / 255.0)).collect();
    let read = |output: &LocateOutput| name_levels(output, &model, &ScoringRules::default()).unwrap().unwrap();
    let output = LocateOutput { heatmaps: Heatmaps::Steps(Cow::Borrowed(&steps)), ..drawing.output() };
    assert_eq!(read(&output), read(&drawing.output()), "to the last bit");
    let short = LocateOutput { heatmaps: Heatmaps::Steps(Cow::Borrowed(&steps[1..])), ..drawing.output() };
    let refused = name_levels(&short, &model, &ScoringRules::default()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NetworkOutput);
}

#[test]
fn a_corner_that_contradicts_the_others_is_dropped() {
    let model = shape_model();
    let truth = upright(1.0, false);
    let mut drawing = Drawing::spine(&truth, 0.9);
    let wrong = Landmark { vertebra: Vertebra::L2, corner: Corner::AnteriorInferior };
    let channel = wrong.channel().unwrap();
    drawing.heatmaps[channel * CELLS..(channel + 1) * CELLS].fill(0.0);
    let own = truth.points[crate::shape::shape_index(wrong).unwrap()];
    drawing.peak(channel, Point::new(own.x - 90.0, own.y + 5.0), 0.9);
    let spine = name_levels(&drawing.output(), &model, &ScoringRules::default()).unwrap().unwrap();
    assert!(spine.corners.iter().all(|c| c.landmark != wrong));
    assert!(spine.estimate.corner(Vertebra::L2, Corner::AnteriorInferior).unwrap().distance(own) < 8.0);
}

#[test]
fn pictures_that_cannot_be_scored_say_why() {
    let model = shape_model();
    let drawing = Drawing::spine(&upright(1.0, false), 0.9);
    let rules = ScoringRules::default();
    let read = |view: &[f32]| name_levels(&LocateOutput { view, ..drawing.output() }, &model, &rules);
    assert_eq!(read(&[0.2, 0.7, 0.1]).unwrap(), Err(ExcludeReason::WrongView));
    assert_eq!(read(&[0.2, 0.1, 0.7]).unwrap(), Err(ExcludeReason::SpineNotFound));
    assert_eq!(read(&[0.5, 0.5]).unwrap_err().kind, ErrorKind::NetworkOutput);
    assert_eq!(read(&[f32::NAN, 0.5, 0.5]).unwrap_err().kind, ErrorKind::NetworkOutput);
    let fine = ScoringRules { min_vertebral_height_px: 100.0, ..rules.clone() };
    assert_eq!(name_levels(&drawing.output(), &model, &fine).unwrap(), Err(ExcludeReason::ResolutionTooLow));
    // Upside down: heads and feet exchanged, the names no longer run down the picture.
    let mut reversed = Drawing::new(1.0);
    let truth = upright(1.0, false);
    for index in 0..20 {
        let p = truth.points[index];
        reversed.peak(shape_landmark(index).channel().unwrap(), Point::new(p.x, 900.0 - p.y), 0.9);
    }
    let upside_down = name_levels(&reversed.output(), &model, &rules).unwrap();
    assert!(upside_down.is_err() || upside_down.as_ref().unwrap().estimate.vertebrae[0].y > 500.0, "{upside_down:?}");
}

#[test]
fn corners_that_are_no_bodies_are_no_spine() {
    let truth = upright(1.3, true);
    let corner = |index: usize| LocatedCorner {
        landmark: shape_landmark(index),
        at: truth.points[index],
        sd_px: 1.0,
        confidence: 0.6,
    };
    let spine: Vec<LocatedCorner> = (0..20).map(corner).collect();
    assert!(are_vertebrae(&spine, 1.3));
    // One crushed to a third in front, one that lacks a corner: still a spine.
    let mut crushed = spine.clone();
    crushed[6].at = truth.points[6].lerp(truth.points[8], 0.67);
    crushed.remove(13);
    assert!(are_vertebrae(&crushed, 1.3));
    // Front and back exchanged at an end plate, as where a network sees corners in noise: of one body, then of two.
    let mut crossed = spine.clone();
    (crossed[2].at, crossed[3].at) = (crossed[3].at, crossed[2].at);
    assert!(are_vertebrae(&crossed, 1.3), "one wrong body is left to the review");
    (crossed[10].at, crossed[11].at) = (crossed[11].at, crossed[10].at);
    assert!(!are_vertebrae(&crossed, 1.3));
    // Bodies of which nobody saw four corners are no evidence.
    let sparse: Vec<LocatedCorner> =
        spine.into_iter().enumerate().filter(|(i, _)| i % 4 != 2 || *i == 2).map(|(_, c)| c).collect();
    assert!(!are_vertebrae(&sparse, 1.3));
    assert!(
        is_body(&[(0.0, 0.0), (10.0, 1.0), (10.0, 8.0), (1.0, 7.0)])
            && is_body(&[(0.0, 0.0), (1.0, 7.0), (10.0, 8.0), (10.0, 1.0)])
    );
    assert!(!is_body(&[(0.0, 0.0), (10.0, 0.0), (2.0, 1.0), (0.0, 8.0)]), "an angle over 180 degrees");
    assert!(!is_body(&[(0.0, 0.0); 4]));
}

//! What is true of a picture: names, places and grades, known because we made it.

use crate::aorta::STEP_MM;
use crate::canvas::Placement;
use crate::config::PlaqueSettings;
use crate::scene::Scene;
use crate::vessel::{Calcium, label};
use domain::grade::NotAssessable;
use domain::{Corner, ImagePx, Landmark, Level, Point, Segment, SegmentGrade, TieRule, Vertebra, Wall};
use serde::{Deserialize, Serialize};

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    LateralLumbar,
    /// Frontal (antero-posterior) lumbar spine.
    Frontal,
    /// Frontal chest.
    Chest,
    /// Lateral cervical spine.
    Cervical,
    /// Nothing: black, or noise alone.
    Blank,
}

impl View {
    pub const ALL: [View; 5] = [View::LateralLumbar, View::Frontal, View::Chest, View::Cervical, View::Blank];

    /// As in the column `view` of truth.parquet.
    pub fn name(self) -> &'static str {
        match self {
            View::LateralLumbar => "lateral_lumbar",
            View::Frontal => "frontal",
            View::Chest => "chest",
            View::Cervical => "cervical",
            View::Blank => "blank",
        }
    }
}

/// Samples of a wall within one segment from which its share is counted.
pub const SAMPLES_PER_SEGMENT: u32 = 1000;

/// A segment of which more than this share cannot be seen (outside, blanked, metal) is not assessable.
pub const HIDDEN_SHARE_MAX: f64 = 0.1;

/// The truth of one picture.
#[derive(Debug, Clone)]
pub struct Truth {
    pub view: View,
    /// By landmark channel ([`Landmark::channel`]); `None` in other views. May lie outside the image.
    pub corners: [Option<Point<ImagePx>>; Landmark::COUNT],
    /// Wall lines from above T12/L1 to below L4/L5, head to foot; empty in other views.
    pub anterior: Vec<Point<ImagePx>>,
    pub posterior: Vec<Point<ImagePx>>,
    /// Where the mid-disc lines T12/L1 .. L4/L5 meet the anterior and the posterior wall; `None` in other views.
    pub aorta_at_discs: Option<[(Point<ImagePx>, Point<ImagePx>); 5]>,
    /// Grades of all plaque by the rule of Kauppila over the mid-disc extent, in the order of [`Segment::all`].
    pub geometric: [SegmentGrade; Segment::COUNT],
    /// Grades of the plaque that meets the contrast-to-noise rule.
    pub visible: [SegmentGrade; Segment::COUNT],
    /// Calcified samples of [`SAMPLES_PER_SEGMENT`] behind each grade: (geometric, visible).
    pub calcified: [(u32, u32); Segment::COUNT],
    /// Bits of [`label`] for every pixel, row by row.
    pub labels: Vec<u8>,
    /// Calcified intervals on each wall as the simulated readers see them; see [`crate::Reader`].
    pub(crate) strip: Option<WallStrip>,
}

/// Calcium along the walls in the coordinate of the vessel's axis; what the readers look at.
#[derive(Debug, Clone)]
pub(crate) struct WallStrip {
    pub calcium: Calcium,
    /// By wall, the positions of the five mid-disc lines along the axis, mm.
    pub levels: [[f64; 5]; 2],
}

impl Truth {
    /// Of a picture that is no lateral lumbar spine.
    pub(crate) fn of_negative(view: View, pixels: usize) -> Truth {
        let none = [SegmentGrade::NotAssessable(NotAssessable::LevelUncertain); Segment::COUNT];
        Truth {
            view,
            corners: [None; Landmark::COUNT],
            anterior: Vec::new(),
            posterior: Vec::new(),
            aorta_at_discs: None,
            geometric: none,
            visible: none,
            calcified: [(0, 0); Segment::COUNT],
            labels: vec![0; pixels],
            strip: None,
        }
    }

    pub(crate) fn of_lateral(
        scene: &Scene,
        place: &Placement,
        size: (usize, usize),
        calcium: Calcium,
        labels: Vec<u8>,
        settings: &PlaqueSettings,
    ) -> Truth {
        let (width, height) = size;
        let to_image = |p: crate::plane::Mm| {
            let (x, y) = place.apply(p);
            Point::<ImagePx>::new(x, y)
        };
        let corners = std::array::from_fn(|channel| {
            let landmark = Landmark::from_channel(channel);
            // bodies are numbered from S1 upward
            let body = &scene.spine.bodies[Vertebra::S1.index() - landmark.vertebra.index()];
            Some(to_image(
                body.corners[match landmark.corner {
                    Corner::AnteriorSuperior => 0,
                    Corner::PosteriorSuperior => 1,
                    Corner::AnteriorInferior => 2,
                    Corner::PosteriorInferior => 3,
                }],
            ))
        });
        let levels: [[f64; 5]; 2] = std::array::from_fn(|w| std::array::from_fn(|k| scene.crossings[w][k].0));
        let aorta = &scene.aorta;
        let mut geometric = [SegmentGrade::NotAssessable(NotAssessable::OutsideImage); Segment::COUNT];
        let mut visible = geometric;
        let mut calcified = [(0, 0); Segment::COUNT];
        for level in Level::ALL {
            for wall in Wall::ALL {
                let segment = Segment { level, wall };
                let (from, to) = (levels[wall.index()][level.index()], levels[wall.index()][level.index() + 1]);
                let line = aorta.wall(wall);
                let (mut outside, mut masked, mut metal) = (0u32, 0u32, 0u32);
                let (mut there, mut seen) = (0u32, 0u32);
                for i in 0..SAMPLES_PER_SEGMENT {
                    let s = from + (to - from) * (f64::from(i) + 0.5) / f64::from(SAMPLES_PER_SEGMENT);
                    let k = ((s / STEP_MM).round() as usize).min(line.len() - 1);
                    let (x, y) = place.apply(line[k]);
                    if x < -0.5 || y < -0.5 || x >= width as f64 - 0.5 || y >= height as f64 - 0.5 {
                        outside += 1;
                    } else {
                        let bits = labels[y.round().max(0.0) as usize * width + x.round().max(0.0) as usize];
                        masked += u32::from(bits & label::BLANKED != 0);
                        metal += u32::from(bits & label::IMPLANT != 0);
                    }
                    there += u32::from(calcium.present[wall.index()][k]);
                    seen += u32::from(calcium.visible(wall, k, settings.visible_min_cnr));
                }
                let limit = (HIDDEN_SHARE_MAX * f64::from(SAMPLES_PER_SEGMENT)) as u32;
                let hidden = if outside > limit {
                    Some(NotAssessable::OutsideImage)
                } else if outside + masked > limit {
                    Some(NotAssessable::Masked)
                } else if outside + masked + metal > limit {
                    Some(NotAssessable::Implant)
                } else {
                    None
                };
                let grade = |rows: u32| match hidden {
                    Some(reason) => SegmentGrade::NotAssessable(reason),
                    None => SegmentGrade::Assessed(
                        TieRule::Kauppila.grade(rows, SAMPLES_PER_SEGMENT).expect("a segment has samples"),
                    ),
                };
                let index = segment.index();
                geometric[index] = grade(there);
                visible[index] = grade(seen);
                calcified[index] = (there, seen);
            }
        }
        let first = levels[0][0].min(levels[1][0]) - 25.0;
        let last = (levels[0][4].max(levels[1][4]) + 4.0).max(aorta.bifurcation);
        let stretch = |wall: Wall| {
            let line = aorta.wall(wall);
            let low = (first.max(0.0) / STEP_MM) as usize;
            let high = ((last / STEP_MM) as usize).min(line.len() - 1);
            (low..=high).step_by(4).map(|k| to_image(line[k])).collect()
        };
        Truth {
            view: View::LateralLumbar,
            corners,
            anterior: stretch(Wall::Anterior),
            posterior: stretch(Wall::Posterior),
            aorta_at_discs: Some(std::array::from_fn(|k| {
                (to_image(scene.crossings[0][k].1), to_image(scene.crossings[1][k].1))
            })),
            geometric,
            visible,
            calcified,
            labels,
            strip: Some(WallStrip { calcium, levels }),
        }
    }

    /// Whether every one of the eight segments can be graded.
    pub fn assessable(&self) -> bool {
        self.visible.iter().all(|s| s.grade().is_some())
    }
}

//! What a grading network is shown -> the probability that each segment's grade is above 0, 1 and 2, and the reading from that.

use super::locate::{LocatedSpine, Prepared, of_inference, of_scoring, picture_of};
use super::score::{identity, with_overlay};
use super::{Steps, Stop, Way};
use crate::definition::Grade;
use domain::{ImageId, Item, Radiograph, Reading};
use inference::tensor::named;
use inference::{Tensor, Trace};
use scoring::SpineCrop;
use scoring::grade::{GradeEvidence, GradeInput, WholeEvidence, score_grades, score_whole};
use scoring::quality::Picture;
use scoring::read::Located;
use scoring::validity::PixelState;

/// Names of the network's outputs; the input is called as [`GradeInput::name`] says.
pub(crate) const EXCEEDS: &str = "exceeds";
pub(crate) const ASSESSABLE: &str = "assessable";
pub(crate) const VIEW: &str = "view";

/// An image whose segments a network has graded.
pub(crate) struct GradedImage {
    /// Kept for the overlay only.
    pub radiograph: Option<Radiograph>,
    image_id: ImageId,
    picture: Picture,
    /// The spine and what the region's pixels are; missing where the image was graded as a whole.
    located: Option<(Box<Located>, Vec<PixelState>)>,
    outputs: Vec<Tensor>,
}

impl GradedImage {
    pub fn drop_pixels(&mut self) {
        self.radiograph = None;
    }
}

/// Shows the network what lies around a located spine.
pub(crate) async fn grade_spine(
    steps: &Steps,
    grade: &Grade,
    spine: LocatedSpine,
    trace: Option<Trace>,
) -> Way<GradedImage> {
    let LocatedSpine { radiograph, picture, located, image } = spine;
    let state = image.state;
    let (radiograph, pixels, located) = match grade.input {
        GradeInput::Spine => {
            let cut = steps.on_threads(move || {
                let (pixels, _) = SpineCrop::around(&located.spine.estimate).cut(&radiograph.raster);
                Ok((radiograph, pixels, located))
            });
            cut.await?
        }
        GradeInput::Region | GradeInput::Image => (radiograph, image.pixels, located),
    };
    let outputs = ask(steps, grade, pixels, trace).await?;
    let image_id = radiograph.image_id.clone();
    Ok(GradedImage { radiograph: Some(radiograph), image_id, picture, located: Some((located, state)), outputs })
}

/// Shows the network the whole image; where nobody knows the proportions of the pixels, as if they were square.
pub(crate) async fn grade_image(
    steps: &Steps,
    grade: &Grade,
    prepared: Prepared,
    trace: Option<Trace>,
) -> Way<GradedImage> {
    let (radiograph, pixels) = prepared.first_look();
    let outputs = ask(steps, grade, pixels, trace).await?;
    let (image_id, picture) = (radiograph.image_id.clone(), picture_of(&radiograph));
    Ok(GradedImage { radiograph: Some(radiograph), image_id, picture, located: None, outputs })
}

async fn ask(steps: &Steps, grade: &Grade, pixels: Vec<u8>, trace: Option<Trace>) -> Way<Vec<Tensor>> {
    let [rows, columns] = grade.input.shape();
    let tensor = Tensor::new(grade.input.name(), &[1, 1, rows, columns], pixels).map_err(of_inference)?;
    steps.ask(steps.stage(&grade.model)?, tensor, trace).await
}

/// The reading, and the overlay where one is wanted.
pub(crate) async fn score_graded(steps: &Steps, item: &Item, graded: GradedImage) -> Way<Reading> {
    let GradedImage { radiograph, image_id, picture, located, outputs } = graded;
    let (pipeline, identity) = (steps.settings.pipeline.clone(), identity(steps, image_id));
    let read = move || {
        let values = |name| named(&outputs, name).and_then(|t| t.values::<f32>()).map_err(of_inference);
        let exceeds = values(EXCEEDS)?;
        match &located {
            Some((located, state)) => {
                let evidence = GradeEvidence { located, state, exceeds: &exceeds, picture: &picture };
                score_grades(&evidence, identity, pipeline.rules()).map_err(of_scoring)
            }
            None => {
                let (assessable, view) = (values(ASSESSABLE)?, values(VIEW)?);
                let evidence =
                    WholeEvidence { exceeds: &exceeds, assessable: &assessable, view: &view, picture: &picture };
                let reading = score_whole(&evidence, identity, pipeline.rules()).map_err(of_scoring)?;
                reading.map_err(Stop::excluded)
            }
        }
    };
    with_overlay(steps, item, radiograph, read).await
}

#[cfg(test)]
#[path = "../grade_tests.rs"]
mod tests;

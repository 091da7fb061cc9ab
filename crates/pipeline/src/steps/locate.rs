//! A radiograph -> named vertebral corners and the region around the aorta, or why there are none.

use super::{Steps, Stop, Way};
use crate::error::{Error, ErrorKind};
use domain::{FailReason, Radiograph};
use inference::Tensor;
use inference::tensor::named;
use scoring::levels::LocateOutput;
use scoring::locate::{STAGE_HEIGHT, STAGE_WIDTH, prepare};
use scoring::quality::Picture;
use scoring::read::{Localisation, Located, find_region};

/// Names of the network's tensors; the stage's manifest describes them.
const INPUT: &str = "image";
const HEATMAPS: &str = "heatmaps";
const VIEW: &str = "view";

/// A lumbar spine whose levels have names, and where its aorta is.
pub(crate) struct LocatedSpine {
    pub radiograph: Radiograph,
    pub picture: Picture,
    pub located: Box<Located>,
}

pub(crate) async fn locate(steps: &Steps, radiograph: Radiograph) -> Way<LocatedSpine> {
    let (radiograph, input) = steps
        .on_threads(move || {
            let input = prepare(&radiograph.raster, radiograph.spacing.aspect_or_square());
            Ok((radiograph, input))
        })
        .await?;
    let shape = [1, 1, STAGE_HEIGHT, STAGE_WIDTH];
    let to_stage = input.to_stage;
    let tensor = Tensor::new(INPUT, &shape, input.pixels).map_err(of_inference)?;
    let outputs = steps.ask(steps.settings.stages.locate.as_ref(), tensor).await?;
    let pipeline = steps.settings.pipeline.clone();
    steps
        .on_threads(move || {
            let picture = Picture {
                width_px: radiograph.raster.width(),
                height_px: radiograph.raster.height(),
                spacing: radiograph.spacing,
                burned_in_annotation: radiograph.facts.burned_in_annotation == Some(true),
            };
            let heatmaps = named(&outputs, HEATMAPS).and_then(|t| t.values::<f32>()).map_err(of_inference)?;
            let view = named(&outputs, VIEW).and_then(|t| t.values::<f32>()).map_err(of_inference)?;
            let output = LocateOutput { heatmaps: &heatmaps, view: &view, to_stage };
            match find_region(&output, &picture, pipeline.shape(), pipeline.rules()).map_err(of_scoring)? {
                Localisation::Found(located) => Ok(LocatedSpine { radiograph, picture, located }),
                Localisation::Excluded(reason) => Err(Stop::excluded(reason)),
            }
        })
        .await
}

/// An answer of the wrong type or without a tensor: the stage is not what its manifest says.
pub(super) fn of_inference(error: inference::Error) -> Stop {
    let fault = error.fault();
    Stop::Error(Error::caused(ErrorKind::Below(fault), "reading a network's answer", error))
}

/// An answer that is none (NaN, not a probability) is the image's failed(stage_failed); anything else is ours.
pub(super) fn of_scoring(error: scoring::Error) -> Stop {
    match error.kind {
        scoring::ErrorKind::NetworkOutput => {
            tracing::warn!("a network gave no usable answer for one image: {error}");
            Stop::failed(FailReason::StageFailed)
        }
        scoring::ErrorKind::ShapeModel
        | scoring::ErrorKind::Rules
        | scoring::ErrorKind::Geometry
        | scoring::ErrorKind::TrainingShapes => {
            let fault = error.fault();
            Stop::Error(Error::caused(ErrorKind::Below(fault), "scoring an image", error))
        }
    }
}

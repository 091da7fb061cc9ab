//! A radiograph -> named vertebral corners and the straightened region around the aorta, or why there are none. Where nobody knows the
//! proportions of the pixels, the network looks at the picture in several.

use super::{Steps, Stop, Way, probabilities};
use crate::error::{Error, ErrorKind};
use domain::{FailReason, Radiograph};
use futures::future::try_join_all;
use inference::tensor::named;
use inference::{Dtype, Tensor, Trace};
use scoring::heatmaps::Heatmaps;
use scoring::levels::LocateOutput;
use scoring::locate::{LocateInput, Look, STAGE_HEIGHT, STAGE_WIDTH, looks_at};
use scoring::quality::Picture;
use scoring::read::{Localisation, Located, find_region_among};
use scoring::region::RegionImage;

/// Names of the network's tensors; the stage's manifest describes them.
const INPUT: &str = "image";
const HEATMAPS: &str = "heatmaps";
const VIEW: &str = "view";

/// A radiograph, and how the network is to see it: in each way in which its pixels may be meant.
pub(crate) struct Prepared {
    pub radiograph: Radiograph,
    inputs: Vec<(Look, LocateInput)>,
}

impl Prepared {
    /// Takes a thread for as long as it lasts: done on the one that has just decoded, whose cache holds the pixels. `looks_max` bounds the
    /// ways that are tried.
    pub fn of(radiograph: Radiograph, looks_max: usize) -> Prepared {
        let look = |look: Look| (look, look.at(&radiograph.raster));
        let inputs = looks_at(&radiograph.spacing).into_iter().take(looks_max).map(look).collect();
        Prepared { radiograph, inputs }
    }

    /// The radiograph, and its pixels for a network at the first look.
    pub fn first_look(self) -> (Radiograph, Vec<u8>) {
        let pixels = self.inputs.into_iter().next().map_or_else(Vec::new, |(_, input)| input.pixels);
        (self.radiograph, pixels)
    }
}

/// What the scoring is told of an image beside its pixels.
pub(super) fn picture_of(radiograph: &Radiograph) -> Picture {
    Picture {
        width_px: radiograph.raster.width(),
        height_px: radiograph.raster.height(),
        spacing: radiograph.spacing,
        burned_in_annotation: radiograph.facts.burned_in_annotation == Some(true),
    }
}

/// A lumbar spine whose levels have names, and the region around its aorta.
pub(crate) struct LocatedSpine {
    pub radiograph: Radiograph,
    pub picture: Picture,
    pub located: Box<Located>,
    pub image: RegionImage,
}

pub(crate) async fn locate(steps: &Steps, prepared: Prepared, trace: Option<Trace>) -> Way<LocatedSpine> {
    let Prepared { radiograph, inputs } = prepared;
    let pipeline = steps.settings.pipeline.clone();
    let Some(stage) = pipeline.definition().locate.as_ref() else {
        return Err(Error::new(ErrorKind::Definition, "the pipeline locates nothing").into());
    };
    let stage = steps.stage(&stage.model)?;
    let answers = try_join_all(inputs.into_iter().map(|(look, input)| async move {
        let shape = [1, 1, STAGE_HEIGHT, STAGE_WIDTH];
        let tensor = Tensor::new(INPUT, &shape, input.pixels).map_err(of_inference)?;
        let outputs = steps.ask(stage, tensor, trace).await?;
        Ok::<_, Stop>((look, input.to_stage, outputs))
    }))
    .await?;
    steps
        .on_threads(move || {
            let picture = picture_of(&radiograph);
            let values = |outputs, name| named(outputs, name).and_then(probabilities).map_err(of_inference);
            let views = answers.iter().map(|(_, _, outputs)| values(outputs, VIEW)).collect::<Way<Vec<_>>>()?;
            let outputs = std::iter::zip(&answers, &views).map(|((look, to_stage, outputs), view)| {
                let heatmaps = named(outputs, HEATMAPS).and_then(heatmaps).map_err(of_inference)?;
                Ok(LocateOutput { heatmaps, view, to_stage: *to_stage, aspect: look.aspect })
            });
            let outputs = outputs.collect::<Way<Vec<_>>>()?;
            let shape =
                pipeline.shape().ok_or_else(|| Error::new(ErrorKind::Definition, "the pipeline has no shape model"))?;
            match find_region_among(&outputs, &picture, shape, pipeline.rules()).map_err(of_scoring)? {
                Localisation::Found(located) => {
                    let image = located.region.warp(&radiograph.raster);
                    Ok(LocatedSpine { radiograph, picture, located, image })
                }
                Localisation::Excluded(reason) => Err(Stop::excluded(reason)),
            }
        })
        .await
}

/// The heatmaps of an answer, not copied.
fn heatmaps(tensor: &Tensor) -> inference::Result<Heatmaps<'_>> {
    Ok(match tensor.dtype() {
        Dtype::U8 => Heatmaps::Steps(tensor.values()?),
        Dtype::I8 | Dtype::F16 | Dtype::F32 => Heatmaps::Fractions(tensor.values()?),
    })
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
        | scoring::ErrorKind::Forest
        | scoring::ErrorKind::Calibration
        | scoring::ErrorKind::Rules
        | scoring::ErrorKind::Geometry
        | scoring::ErrorKind::TrainingShapes => {
            let fault = error.fault();
            Stop::Error(Error::caused(ErrorKind::Below(fault), "scoring an image", error))
        }
    }
}

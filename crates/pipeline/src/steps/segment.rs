//! The region around the aorta -> the probability of calcium, pixel by pixel: of each wall, or of both in one. A network marks it, or the
//! pipeline's forest.

use super::locate::{LocatedSpine, of_inference};
use super::{Steps, Way, of_stage, probabilities};
use crate::definition::Segment;
use crate::error::{Error, ErrorKind, Result};
use domain::Radiograph;
use inference::tensor::named;
use inference::{Stage, Tensor, TensorBatch, Trace};
use scoring::quality::Picture;
use scoring::read::Located;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH, RegionImage};

const INPUT: &str = "region";
const CALCIFICATION: &str = "calcification";

/// A region whose calcium is marked.
pub(crate) struct MarkedRegion {
    /// Kept for the overlay only.
    pub radiograph: Option<Radiograph>,
    pub image_id: domain::ImageId,
    pub picture: Picture,
    pub located: Box<Located>,
    pub image: RegionImage,
    /// `(wall, row, column)`, 2 x 256 x 128, 0..1; or 1 x 256 x 128 of a method that does not know walls apart.
    pub calcification: Tensor,
}

impl MarkedRegion {
    pub fn drop_pixels(&mut self) {
        self.radiograph = None;
    }
}

pub(crate) async fn segment(
    steps: &Steps,
    segment: &Segment,
    spine: LocatedSpine,
    trace: Option<Trace>,
) -> Way<MarkedRegion> {
    let LocatedSpine { radiograph, picture, located, image } = spine;
    let image_id = radiograph.image_id.clone();
    let shape = [1, 1, REGION_HEIGHT, REGION_WIDTH];
    if let Some(forest) = steps.settings.pipeline.forest().cloned() {
        let marked = steps.on_threads(move || {
            let map = forest.respond(&image.pixels);
            let calcification = Tensor::new(CALCIFICATION, &shape, map).map_err(of_inference)?;
            Ok(MarkedRegion { radiograph: Some(radiograph), image_id, picture, located, image, calcification })
        });
        return marked.await;
    }
    let Some(model) = segment.by.model() else {
        return Err(Error::new(ErrorKind::Definition, "the pipeline names a forest, but none was read").into());
    };
    let tensor = Tensor::new(INPUT, &shape, image.pixels.clone()).map_err(of_inference)?;
    let outputs = steps.ask(steps.stage(model)?, tensor, trace).await?;
    let calcification = named(&outputs, CALCIFICATION).map_err(of_inference)?.clone();
    Ok(MarkedRegion { radiograph: Some(radiograph), image_id, picture, located, image, calcification })
}

/// What the network that marks calcium says of a region by itself, without an image around it. `pixels`: 256 rows x 128 columns, greys
/// 0..255. Gives the probability, 0..1, that a pixel is calcium of either wall, in the same shape.
///
/// # Errors
/// Those of the stage, and of an answer that has another shape.
pub async fn mark_region(stage: &dyn Stage, pixels: Vec<u8>) -> Result<Vec<f32>> {
    let asked = async {
        let tensor = Tensor::new(INPUT, &[1, 1, REGION_HEIGHT, REGION_WIDTH], pixels)?;
        let outputs = stage.infer(TensorBatch::from(tensor)).await?;
        let walls = probabilities(named(&outputs, CALCIFICATION)?)?.into_owned();
        Ok(walls)
    };
    let walls: Vec<f32> = asked.await.map_err(|error| of_stage(stage, error))?;
    let mut maps = walls.chunks_exact(REGION_HEIGHT * REGION_WIDTH);
    let mut either = maps.next().unwrap_or_default().to_vec();
    for map in maps {
        either.iter_mut().zip(map).for_each(|(p, other)| *p = p.max(*other));
    }
    Ok(either)
}

//! The region around the aorta -> the probability of calcium on each wall, pixel by pixel.

use super::locate::{LocatedSpine, of_inference};
use super::{Steps, Way};
use crate::definition::Segment;
use domain::{Radiograph, Wall};
use inference::tensor::named;
use inference::{Tensor, Trace};
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
    /// `(wall, row, column)`, 2 x 256 x 128, 0..1.
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
    let shape = [1, 1, REGION_HEIGHT, REGION_WIDTH];
    let tensor = Tensor::new(INPUT, &shape, image.pixels.clone()).map_err(of_inference)?;
    let outputs = steps.ask(steps.stage(&segment.model)?, tensor, trace).await?;
    let calcification = named(&outputs, CALCIFICATION).map_err(of_inference)?.clone();
    debug_assert_eq!(calcification.shape().get(1), Some(&Wall::ALL.len()));
    let image_id = radiograph.image_id.clone();
    Ok(MarkedRegion { radiograph: Some(radiograph), image_id, picture, located, image, calcification })
}

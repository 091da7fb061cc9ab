//! Marked region -> reading, and the overlay where one is wanted.

use super::locate::{of_inference, of_scoring};
use super::segment::MarkedRegion;
use super::{Steps, Way, probabilities};
use domain::{ImageId, Item, Radiograph, Reading};
use scoring::read::{Evidence, ReadingIdentity};
use std::sync::atomic::Ordering;

pub(crate) async fn score(steps: &Steps, item: &Item, mut marked: MarkedRegion) -> Way<Reading> {
    let (pipeline, identity) = (steps.settings.pipeline.clone(), identity(steps, marked.image_id.clone()));
    let radiograph = marked.radiograph.take();
    let read = move || {
        let probabilities = probabilities(&marked.calcification).map_err(of_inference)?;
        let evidence = Evidence {
            located: &marked.located,
            image: &marked.image,
            probabilities: &probabilities,
            picture: &marked.picture,
        };
        let mut reading = scoring::read::score(&evidence, identity, pipeline.rules()).map_err(of_scoring)?;
        if let Some(calibration) = pipeline.calibration() {
            calibration.judge(&mut reading, pipeline.rules());
        }
        Ok(reading)
    };
    with_overlay(steps, item, radiograph, read).await
}

/// What names the reading of an image.
pub(super) fn identity(steps: &Steps, image_id: ImageId) -> ReadingIdentity {
    let pipeline = &steps.settings.pipeline;
    ReadingIdentity {
        image_id,
        fingerprint: steps.fingerprint.clone(),
        pipeline: pipeline.definition().label(),
        models: pipeline.models(),
    }
}

/// Reads on a thread for pixels, and draws the reading there where the radiograph is still at hand.
pub(super) async fn with_overlay(
    steps: &Steps,
    item: &Item,
    radiograph: Option<Radiograph>,
    read: impl FnOnce() -> Way<Reading> + Send + 'static,
) -> Way<Reading> {
    let overlay = steps.settings.overlay.clone();
    let item_id = item.id();
    let (reading, drawn) = steps
        .on_threads(move || {
            let reading = read()?;
            let drawn = match (&overlay, &radiograph) {
                (Some(draw), Some(radiograph)) => draw(&item_id, radiograph, &reading),
                _ => Ok(()),
            };
            Ok((reading, drawn.map_err(|e| e.to_string())))
        })
        .await?;
    if let Err(error) = drawn {
        // the reading is what counts; a picture can be drawn again
        tracing::warn!(item = %item.id(), "the overlay could not be written: {error}");
        steps.overlays_failed.fetch_add(1, Ordering::Relaxed);
        steps.settings.metrics.overlay_failed();
    }
    Ok(reading)
}

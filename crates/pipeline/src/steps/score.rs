//! Marked region -> reading, and the overlay where one is wanted.

use super::locate::{of_inference, of_scoring};
use super::segment::MarkedRegion;
use super::{Steps, Way};
use domain::{Item, Reading};
use scoring::read::{Evidence, ReadingIdentity};
use std::sync::atomic::Ordering;

pub(crate) async fn score(steps: &Steps, item: &Item, marked: MarkedRegion) -> Way<Reading> {
    let pipeline = steps.settings.pipeline.clone();
    let identity = ReadingIdentity {
        image_id: marked.image_id.clone(),
        fingerprint: steps.fingerprint.clone(),
        pipeline: pipeline.definition().label(),
        models: pipeline.models(),
    };
    let overlay = steps.settings.overlay.clone();
    let item_id = item.id();
    let (reading, drawn) = steps
        .on_threads(move || {
            let probabilities = marked.calcification.values::<f32>().map_err(of_inference)?;
            let evidence = Evidence {
                located: &marked.located,
                image: &marked.image,
                probabilities: &probabilities,
                picture: &marked.picture,
            };
            let reading = scoring::read::score(&evidence, identity, pipeline.rules()).map_err(of_scoring)?;
            let drawn = match (&overlay, &marked.radiograph) {
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

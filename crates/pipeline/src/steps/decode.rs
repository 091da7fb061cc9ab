//! Bytes -> a radiograph, or why it is none.

use super::fetch::FetchedObject;
use super::{Ended, Stop, Way};
use domain::{Outcome, Radiograph};
use imaging::{DecodeContext, Decoded};

/// Decodes an object. Takes a thread for as long as it lasts.
pub(crate) fn decode(object: &FetchedObject, context: &DecodeContext) -> Way<Box<Radiograph>> {
    match imaging::decode(&object.bytes, context) {
        Decoded::Radiograph(radiograph) => Ok(radiograph),
        Decoded::Excluded { reason, detail, facts, image_id } => {
            tracing::debug!(%reason, detail, "excluded while decoding");
            Err(Stop::Outcome(Box::new(Ended { outcome: Outcome::Excluded { reason }, image_id, facts })))
        }
        Decoded::Failed { reason, detail, facts, image_id } => {
            tracing::debug!(%reason, detail, "failed while decoding");
            Err(Stop::Outcome(Box::new(Ended { outcome: Outcome::Failed { reason }, image_id, facts })))
        }
    }
}

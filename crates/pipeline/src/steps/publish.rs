//! Reading -> its artifact in the lake. What the row says can from then on be shown.

use super::Way;
use crate::error::Error;
use domain::Reading;
use lake::Lake;

/// Puts the artifact and returns its key. Durable when this returns.
pub(crate) async fn publish(lake: &Lake, reading: &Reading) -> Way<String> {
    let (key, _) = lake.artifacts().put(reading).await.map_err(Error::from)?;
    Ok(key)
}

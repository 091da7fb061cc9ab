//! How much memory the images in flight may take together.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Accounting unit: a semaphore counts no bytes beyond 32 bits at once.
const UNIT_BYTES: u64 = 4096;
/// What decoding may make of a byte of the file, in bytes: 16-bit rasters of files compressed up to about 4 : 1.
const DECODED_PER_BYTE: u64 = 4;
/// The least that a picture is taken to need before its size is known (2,500 x 1,800 pixels are 9 MB).
const LEAST_DECODED_BYTES: u64 = 16 << 20;
/// What an image takes when its pixels are gone: two network inputs, two answers.
pub(crate) const WITHOUT_PIXELS_BYTES: u64 = 2 << 20;

/// A number of bytes that images share. Each asks once, before its object is fetched, for what it may come to need, and
/// gives back what it turns out not to need: nobody waits while holding, so that there is no deadlock.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    held: OwnedSemaphorePermit,
}

impl Budget {
    pub fn new(bytes: u64) -> Budget {
        let total = units(bytes).max(1);
        Budget { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits for room for an image whose file has so many bytes. One that needs more than there is takes everything, and
    /// so runs alone.
    pub async fn for_image(&self, file_bytes: u64) -> Share {
        let decoded = file_bytes.saturating_mul(DECODED_PER_BYTE).max(LEAST_DECODED_BYTES);
        let wanted = units(file_bytes.saturating_add(decoded)).clamp(1, self.total);
        let held = self.units.clone().acquire_many_owned(wanted).await.expect("the budget is never closed");
        Share { held }
    }
}

impl Share {
    /// Gives back what goes beyond `bytes`. A share never grows.
    pub fn shrink_to(&mut self, bytes: u64) {
        let keep = units(bytes).max(1) as usize;
        let surplus = self.held.num_permits().saturating_sub(keep);
        drop(self.held.split(surplus));
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .min((Semaphore::MAX_PERMITS >> 1).min(u32::MAX as usize) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn images_wait_for_room_and_giants_run_alone() {
        let budget = Budget::new(64 << 20);
        let mut one = budget.for_image(1000).await;
        let _two = budget.for_image(1000).await;
        let _three = budget.for_image(1000).await;
        assert!(budget.for_image(1000).now_or_never().is_none(), "three times 16 MiB, and no room for a fourth");
        one.shrink_to(WITHOUT_PIXELS_BYTES);
        let four = budget.for_image(1000).now_or_never().expect("what the first gave back is enough");
        drop((one, _two, _three, four));
        let giant = budget.for_image(1 << 40).await;
        assert!(budget.for_image(1).now_or_never().is_none());
        drop(giant);
        assert!(budget.for_image(1).now_or_never().is_some());
    }
}

//! The one way to ask a network, wherever it runs.

use crate::error::Result;
use crate::manifest::ModelManifest;
use crate::tensor::{Tensor, TensorBatch};
use async_trait::async_trait;

/// A network that answers: in this process ([`crate::Session`]) or behind a service ([`crate::StageClient`]).
/// `crate::conformance` is what both keep to.
#[async_trait]
pub trait Stage: Send + Sync {
    /// What the model is. The digest in it is that of the model that answers.
    fn manifest(&self) -> &ModelManifest;

    /// The outputs for the rows of `batch`, in the order of the manifest's outputs, each with as many rows. A row's
    /// answer does not depend on the rows beside it, in this request or in others. Many calls may wait at once, and are
    /// then computed together; dropping the future gives up the request.
    ///
    /// # Errors
    /// `Request` for tensors that the manifest does not describe, `Overloaded` when the queue is full, `Deadline` when
    /// the batch's deadline has passed, `Unavailable` while stopping or out of reach, `Compute` when the network fails
    /// on one of the rows.
    async fn infer(&self, batch: TensorBatch) -> Result<Vec<Tensor>>;
}

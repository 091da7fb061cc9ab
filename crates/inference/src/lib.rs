//! Networks as stages: model manifests, sessions in this process, and services that speak the Open Inference Protocol.
//!
//! The only crate that knows `ort` and `tonic`. A stage sees tensors and nothing else (invariant 2).

mod batcher;
mod engine;
pub mod error;
pub mod manifest;
pub mod runtime;
pub mod session;
pub mod stage;
pub mod statistics;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use manifest::{ModelManifest, TensorSpec};
pub use runtime::Runtime;
pub use session::{Device, Session, SessionConfig};
pub use stage::Stage;
pub use tensor::{Dtype, Tensor, TensorBatch};

//! Networks as stages: model manifests, sessions in this process, and services that speak the Open Inference Protocol.
//!
//! The only crate that knows `ort` and `tonic`. A stage sees tensors and nothing else (invariant 2).

pub mod access;
mod answer;
mod batcher;
pub mod client;
mod codec;
pub mod conformance;
mod connections;
mod engine;
pub mod error;
pub mod forms;
pub mod golden;
mod grpc;
pub mod manifest;
mod metrics;
pub mod protocol;
pub mod repository;
mod rest;
mod room;
pub mod runtime;
pub mod server;
pub mod session;
pub mod stage;
pub mod statistics;
pub mod tensor;
pub mod trace;
pub mod turns;

pub use access::{Identity, Token};
pub use client::{ClientConfig, StageClient};
pub use error::{Error, ErrorKind, Result};
pub use forms::{FormChoice, Forms};
pub use manifest::{ModelManifest, Precision, TensorSpec};
pub use runtime::Runtime;
pub use server::{Listeners, Server, ServerConfig};
pub use session::{Device, Session, SessionConfig};
pub use stage::Stage;
pub use tensor::{Dtype, Tensor, TensorBatch};
pub use trace::Trace;
pub use turns::Turns;

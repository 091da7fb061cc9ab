//! Everything that learns or is judged: fitting the shape model, training tensors, evaluation.
//!
//! Kept out of the serving crates, so that a worker carries no simulator; and free of tables and stores, so that a machine
//! that only trains builds little (`aortica-learning`).

mod augment;
mod draw;
mod error;
pub mod evaluate;
mod grade_set;
pub mod metrics;
mod picture;
pub mod shape_fit;
mod shards;
pub mod training_set;
pub mod truth_table;

pub use error::{Error, Result};
pub use evaluate::{Evaluation, ReadRow, Status, TruthRow, evaluate};
pub use shape_fit::fit_shape;
pub use training_set::{Task, TrainingSet};
pub use truth_table::read_truth;

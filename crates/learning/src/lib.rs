//! Everything that learns or is judged: fitting the shape model, training tensors, evaluation.
//!
//! Kept out of the serving crates, so that a worker carries no simulator; and free of tables and stores, so that a machine
//! that only trains builds little (`aortica-learning`).

pub mod annotated_set;
pub mod annotations;
mod augment;
pub mod calibration;
pub mod command;
mod draw;
mod error;
pub mod evaluate;
pub mod fold_table;
pub mod folds;
pub mod forest;
mod grade_set;
mod metrics;
mod picture;
pub mod regions;
pub mod shape_fit;
mod shards;
pub mod threshold;
pub mod training_set;
pub mod truth_table;

pub use calibration::fit_calibration;
pub use error::{Error, Result};
pub use evaluate::{Evaluation, evaluate};
pub use shape_fit::fit_shape;
pub use training_set::{Task, TrainingSet};
pub use truth_table::{read_human_readings, read_outcomes, read_truth};

//! From located corners and calcification probabilities to a reading: shape model, canonical region, midline, AAC-24.
//!
//! Pure science: no input, no output, no clock, no async runtime (invariant 1). The seed is L. Chaplin and T. Cootes,
//! "Automated scoring of aortic calcification in vertebral fracture assessment images"; the scale is Kauppila's.

pub mod error;
pub mod locate;
pub mod region;
pub mod shape;
pub mod validity;

pub use error::{Error, ErrorKind, Result};

//! From located corners and calcification probabilities to a reading: shape model, canonical region, midline, AAC-24.
//!
//! Pure science: no input, no output, no clock, no async runtime (invariant 1). The seed is L. Chaplin and T. Cootes,
//! "Automated scoring of aortic calcification in vertebral fracture assessment images"; the scale is Kauppila's.

pub mod calcium;
pub mod certainty;
mod contour;
pub mod crop;
pub mod error;
pub mod forest;
pub mod grade;
pub mod heatmaps;
pub mod levels;
pub mod locate;
pub mod midline;
pub mod quality;
pub mod read;
pub mod region;
pub mod rescore;
pub mod rules;
pub mod segments;
pub mod shape;
pub mod validity;
mod walls;

pub use certainty::Calibration;
pub use crop::SpineCrop;
pub use error::{Error, ErrorKind, Result};
pub use grade::GradeInput;
pub use levels::LocateOutput;
pub use quality::Picture;
pub use read::{Evidence, Localisation, Located, ReadingIdentity, find_region, find_region_among, score};
pub use region::{Region, RegionImage};
pub use rules::{METHOD_REVISION, MidlineRule, ScoringRules};
pub use shape::ShapeModel;

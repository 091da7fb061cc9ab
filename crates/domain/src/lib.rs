//! The words of aortica: anatomy, spaces, grades, readings, outcomes, identities and faults.
//!
//! Pure values: no input, no output, no clock, no async runtime (invariant 1).

pub mod anatomy;
pub mod fault;
pub mod geometry;
pub mod grade;
pub mod identity;
pub mod item;
pub mod outcome;
pub mod radiograph;
pub mod reading;
pub mod record;

pub use anatomy::{Corner, Landmark, Level, Segment, Vertebra, Wall};
pub use fault::Fault;
pub use geometry::{Affine, CropPx, ImagePx, Point, RegionPx, StagePx};
pub use grade::{Category, Extent, Grade, SegmentGrade, TieRule};
pub use identity::{Digest, Fingerprint, ImageId, ItemId, StudyKey};
pub use item::Item;
pub use outcome::{ExcludeReason, FailReason, Outcome, Reason};
pub use radiograph::{InstanceFacts, PixelSpacing, Radiograph, Raster};
pub use reading::Reading;
pub use record::OutcomeRecord;

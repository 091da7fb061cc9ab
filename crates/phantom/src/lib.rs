//! A physically based simulator of lateral lumbar radiographs and DXA vertebral-fracture images, with exact truth.
//!
//! A participant's anatomy is laid out in millimetres in the sagittal plane (spine, aorta with growing plaques, ribs,
//! pelvis, soft tissue); its attenuation is projected by Beer-Lambert, scattered, blurred, made noisy and processed as ten
//! kinds of scanner do; then come markers, text, collimation and the other nuisances of real archives. Everything is named
//! by (configuration, seed, picture index): the same three give the same bytes on any number of threads.
//!
//! Truth comes in two kinds: geometric (where plaque is) and visible (the part above a contrast-to-noise rule). No
//! method of this project takes part in setting how difficult the pictures are.

mod aorta;
mod bones;
mod canvas;
mod cohort;
mod config;
mod detector;
mod dicom;
mod error;
mod framing;
mod header;
mod markings;
mod negative;
mod picture;
mod plane;
mod population;
mod random;
mod reader;
mod scene;
mod spine;
mod style;
mod tables;
mod trunk;
mod truth;
mod vessel;

pub use cohort::{Cohort, PARTICIPANTS_MAX, Simulated, VISITS_MAX};
pub use config::{
    Anatomy, Config, Imaging, Negatives, Nuisance, PlaqueSettings, Population, Readers, Scanner, ScannerShare, Site,
    Sites,
};
pub use dicom::{dicom_bytes, write_dicom};
pub use error::{Error, Result};
pub use header::Header;
pub use population::{FollowUp, Participant};
pub use reader::Reader;
pub use tables::{THREADS_MAX, write_cohort};
pub use truth::{HIDDEN_SHARE_MAX, SAMPLES_PER_SEGMENT, Truth, View};
pub use vessel::label;

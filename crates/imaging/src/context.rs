//! What the caller decides: limits, accepted modalities, and how identifiers are replaced.

use domain::StudyKey;
use domain::item::ItemHints;

/// Largest things that are read. Whatever is over one of them is `too_large`, before memory is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the file, bytes. Default 256 MiB: an uncompressed film of 64 megapixels has 128 MiB.
    pub max_file_bytes: u64,
    /// Rows times columns. Default 64 Mi pixels: whole-spine films stitched from three exposures have about 40 million.
    pub max_pixels: u64,
    /// Bytes of any one buffer that decompression fills. Default 256 MiB.
    pub max_decompressed_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_file_bytes: 256 << 20, max_pixels: 64 << 20, max_decompressed_bytes: 256 << 20 }
    }
}

/// What counts as a radiograph by its header. A missing modality is accepted: the anatomy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// DICOM modalities, upper case. Default DX, CR, RG, RF, BMD, OT.
    pub modalities: Vec<String>,
}

impl Default for Accept {
    fn default() -> Accept {
        Accept { modalities: ["DX", "CR", "RG", "RF", "BMD", "OT"].map(str::to_owned).to_vec() }
    }
}

/// How identifiers become pseudonyms (invariant 9).
#[derive(Debug, Clone)]
pub struct Deidentify {
    /// Makes the pseudonyms of participant, study, series, instance and institution.
    pub key: StudyKey,
    /// Name of the site for all images; without it, a pseudonym of the InstitutionName.
    pub site: Option<String>,
    /// Shifts the image date by `key.date_shift_days(participant_id)`, so that intervals within a participant stay true. The
    /// draw is made from the participant's *pseudonym*, so that it can be repeated where only the pseudonym is known.
    /// A date without a participant is then left out.
    pub shift_dates: bool,
}

/// All that decoding needs besides the bytes.
#[derive(Debug, Clone)]
pub struct DecodeContext {
    pub limits: Limits,
    pub accept: Accept,
    pub deidentify: Deidentify,
    /// What the manifest says of this item; stronger than the file.
    pub hints: ItemHints,
}

impl DecodeContext {
    /// Default limits and modalities, no hints, no shift of dates, site from the file.
    pub fn new(key: StudyKey) -> DecodeContext {
        DecodeContext {
            limits: Limits::default(),
            accept: Accept::default(),
            deidentify: Deidentify { key, site: None, shift_dates: false },
            hints: ItemHints::default(),
        }
    }
}

//! Image files to radiographs: bytes in, a [`domain::Radiograph`] or a typed outcome out.
//!
//! DICOM in all its encodings of single radiographs, PNG, TIFF and JPEG. A file is either decoded rightly or refused with a
//! reason; what it says of the patient stays in this crate (invariant 9): only [`domain::InstanceFacts`] leave, made of keyed
//! hashes and of words from lists of ours.

mod blank;
mod codec;
mod context;
mod dicom;
mod limits;
mod picture;
mod refusal;

pub use context::{Accept, DecodeContext, Deidentify, Limits};

pub use refusal::{Refusal, RefusalKind};

use domain::{ExcludeReason, FailReason, ImageId, InstanceFacts, Radiograph};

/// What became of a file.
#[derive(Debug, Clone)]
pub enum Decoded {
    Radiograph(Box<Radiograph>),
    /// Rightly left out.
    Excluded {
        reason: ExcludeReason,
        /// What was found, for logs; fixed text without anything of the file.
        detail: &'static str,
        facts: InstanceFacts,
        image_id: Option<ImageId>,
    },
    /// Should have been readable, or is over a limit.
    Failed {
        reason: FailReason,
        /// What was found, for logs; fixed text without anything of the file.
        detail: &'static str,
        /// As far as they could be read.
        facts: InstanceFacts,
        /// Known once the header and the whole pixel data were found.
        image_id: Option<ImageId>,
    },
}

/// What is known of a file before its decoding ends.
#[derive(Default)]
pub(crate) struct Partial {
    pub facts: InstanceFacts,
    pub image_id: Option<ImageId>,
}

/// Decodes a file of any supported kind, told by its first bytes.
///
/// Never fails and never panics: whatever is wrong with a file is an outcome. An empty file is `not_an_image` (object
/// stores list folders as empty objects). Takes at most about `max_file_bytes` beside the file, plus twice
/// `max_decompressed_bytes`.
pub fn decode(bytes: &[u8], context: &DecodeContext) -> Decoded {
    let mut partial = Partial::default();
    let result = if bytes.len() as u64 > context.limits.max_file_bytes {
        Err(Refusal::too_large("a longer file than the limit"))
    } else if let Some(kind) = picture::Kind::of(bytes).filter(|_| bytes.get(128..132) != Some(b"DICM")) {
        picture::decode(kind, bytes, context, &mut partial)
    } else if dicom::is_dicom(bytes) {
        dicom::decode(bytes, context, &mut partial)
    } else {
        Err(Refusal::exclude(ExcludeReason::NotAnImage, "not DICOM, PNG, TIFF or JPEG by its first bytes"))
    };
    let Partial { facts, image_id } = partial;
    match (result, image_id) {
        (Ok((raster, spacing)), Some(image_id)) => {
            Decoded::Radiograph(Box::new(Radiograph { image_id, raster, spacing, facts }))
        }
        (Ok(_), None) => Decoded::Failed {
            reason: FailReason::Internal,
            detail: "a picture without an image id",
            facts,
            image_id: None,
        },
        (Err(Refusal { kind: RefusalKind::Exclude(reason), detail }), image_id) => {
            Decoded::Excluded { reason, detail, facts, image_id }
        }
        (Err(Refusal { kind: RefusalKind::Fail(reason), detail }), image_id) => {
            Decoded::Failed { reason, detail, facts, image_id }
        }
    }
}

/// Stored values of a DICOM file, as its pixel data hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValues {
    pub rows: u32,
    pub columns: u32,
    /// Row by row, before modality and VOI transformation; of colour pictures, the luminance.
    pub values: Vec<i32>,
}

/// Reads the stored values of a DICOM file of any modality: for comparison with other readers.
///
/// # Errors
/// The reason for which [`decode`] would refuse it, the modality aside.
pub fn stored_values(bytes: &[u8], limits: &Limits) -> Result<StoredValues, Refusal> {
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(Refusal::too_large("a longer file than the limit"));
    }
    if !dicom::is_dicom(bytes) {
        return Err(Refusal::exclude(ExcludeReason::NotAnImage, "not DICOM by its first bytes"));
    }
    dicom::stored_values(bytes, limits)
}

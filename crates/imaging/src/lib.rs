//! Image files to radiographs: bytes in, a [`domain::Radiograph`] or a typed outcome out.
//!
//! DICOM in all its encodings of single radiographs, PNG, TIFF and JPEG. A file is either decoded rightly or refused with a
//! reason; what it says of the patient stays in this crate (invariant 9): only [`domain::InstanceFacts`] leave, made of keyed
//! hashes and of words from lists of ours.

mod blank;
mod context;
mod dicom;
mod limits;
mod refusal;

pub use context::{Accept, DecodeContext, Deidentify, Limits};

use domain::{ExcludeReason, FailReason, ImageId, InstanceFacts, Radiograph};
use refusal::{Refusal, RefusalKind};

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
    } else if dicom::file::is_dicom(bytes) {
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

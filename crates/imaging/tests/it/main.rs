//! Whole files through the public interface.

mod allocation;
mod dicom_file;
mod encodings;
mod hostile;
mod identity;
mod pictures;
mod pixels;
mod privacy;
mod refusals;
mod tone;

use domain::{ExcludeReason, FailReason, Radiograph, StudyKey};
use imaging::{DecodeContext, Decoded, decode};

/// Default limits, one key.
fn context() -> DecodeContext {
    DecodeContext::new(StudyKey::new("key-1", [7; 32]))
}

/// The radiograph of a file that must decode.
fn radiograph(bytes: &[u8]) -> Box<Radiograph> {
    radiograph_in(bytes, &context())
}

fn radiograph_in(bytes: &[u8], context: &DecodeContext) -> Box<Radiograph> {
    match decode(bytes, context) {
        Decoded::Radiograph(radiograph) => radiograph,
        other => panic!("no radiograph: {other:?}"),
    }
}

/// The typed reason of a file that must not decode.
fn reason(bytes: &[u8]) -> &'static str {
    reason_in(bytes, &context())
}

fn reason_in(bytes: &[u8], context: &DecodeContext) -> &'static str {
    match decode(bytes, context) {
        Decoded::Radiograph(radiograph) => panic!("a radiograph: {radiograph:?}"),
        Decoded::Excluded { reason, .. } => reason.name(),
        Decoded::Failed { reason, .. } => {
            assert_ne!(reason, FailReason::Internal);
            reason.name()
        }
    }
}

#[test]
fn reasons_are_the_words_of_the_tables() {
    assert_eq!(reason(b""), ExcludeReason::NotAnImage.name());
}

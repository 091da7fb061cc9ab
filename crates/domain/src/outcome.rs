//! What became of an item. A bad image is an outcome with a reason, never an error (invariant 6).

use crate::reading::Reading;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// Snake case, as in the column `fail_reason`, metrics and messages.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|r| r.name() == text)
                    .ok_or_else(|| format!("{text:?} is not one of {}", Self::ALL.iter().map(|r| r.name()).collect::<Vec<_>>().join(", ")))
            }
        }
    };
}

reasons!(
    /// The object is not an image that we could ever score: it was left out, rightly.
    ExcludeReason {
        /// Not DICOM, PNG, TIFF or JPEG, or DICOM without pixels (reports, presentation states).
        NotAnImage => "not_an_image",
        /// More than one frame.
        MultiFrame => "multi_frame",
        /// DICOM of a modality that the pipeline does not accept (CT, MR, US, ..).
        WrongModality => "wrong_modality",
        /// A radiograph, but not lateral.
        WrongView => "wrong_view",
        /// No lumbar spine in the picture.
        SpineNotFound => "spine_not_found",
        /// A lumbar spine, but not all of L1-L4 with both mid-discs.
        LevelsIncomplete => "levels_incomplete",
        /// Vertebrae of too few pixels to measure.
        ResolutionTooLow => "resolution_too_low",
        /// The picture is empty: all pixels (nearly) equal.
        Blank => "blank",
    }
);

reasons!(
    /// The object should have been readable, or we failed: worth a look, and perhaps a replay.
    FailReason {
        /// Damaged beyond decoding.
        Unreadable => "unreadable",
        /// Ends before its own header says.
        Truncated => "truncated",
        /// An encoding that we cannot decode rightly.
        UnsupportedTransferSyntax => "unsupported_transfer_syntax",
        /// Pixel attributes that contradict each other or that we cannot decode rightly.
        UnsupportedPixels => "unsupported_pixels",
        /// Over a limit of file size, pixels or decompressed bytes.
        TooLarge => "too_large",
        /// The object has gone, or may not be read.
        NotFound => "not_found",
        AccessDenied => "access_denied",
        /// A network answered with something that is no answer (NaN, wrong shape).
        StageFailed => "stage_failed",
        /// The process died each time it met this item.
        CrashLoop => "crash_loop",
        /// A fault of ours.
        Internal => "internal",
    }
);

/// Why an item has no score, of either kind. The names of the two kinds are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Excluded(ExcludeReason),
    Failed(FailReason),
}

impl Reason {
    /// Snake case, as in the column `fail_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Excluded(reason) => reason.name(),
            Reason::Failed(reason) => reason.name(),
        }
    }

    /// Every reason, those of failure first.
    pub fn all() -> impl Iterator<Item = Reason> {
        let failed = FailReason::ALL.iter().copied().map(Reason::Failed);
        failed.chain(ExcludeReason::ALL.iter().copied().map(Reason::Excluded))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Reason {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Reason::all().find(|reason| reason.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Reason::all().map(Reason::name).collect();
            format!("{text:?} is not one of {}", known.join(", "))
        })
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Scored { reading: Box<Reading> },
    Excluded { reason: ExcludeReason },
    Failed { reason: FailReason },
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self {
            Outcome::Scored { .. } => "scored",
            Outcome::Excluded { .. } => "excluded",
            Outcome::Failed { .. } => "failed",
        }
    }

    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Outcome::Scored { .. } => None,
            Outcome::Excluded { reason } => Some(reason.name()),
            Outcome::Failed { reason } => Some(reason.name()),
        }
    }

    /// Which of two outcomes of one key the table shows: scored over excluded over failed.
    pub fn rank(&self) -> u8 {
        match self {
            Outcome::Scored { .. } => 2,
            Outcome::Excluded { .. } => 1,
            Outcome::Failed { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_back_and_match_their_json() {
        for reason in FailReason::ALL {
            assert_eq!(reason.name().parse::<FailReason>().unwrap(), *reason);
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.name()));
        }
        for reason in ExcludeReason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.name()));
        }
        assert!("nonsense".parse::<FailReason>().unwrap_err().contains("crash_loop"));
    }

    #[test]
    fn the_names_of_both_kinds_of_reasons_are_apart() {
        let names: std::collections::HashSet<&str> = Reason::all().map(Reason::name).collect();
        assert_eq!(names.len(), FailReason::ALL.len() + ExcludeReason::ALL.len());
        assert_eq!("blank".parse(), Ok(Reason::Excluded(ExcludeReason::Blank)));
        assert_eq!("crash_loop".parse(), Ok(Reason::Failed(FailReason::CrashLoop)));
        let unknown = "slow".parse::<Reason>().unwrap_err();
        assert!(unknown.contains("stage_failed") && unknown.contains("wrong_view"), "{unknown}");
    }
}

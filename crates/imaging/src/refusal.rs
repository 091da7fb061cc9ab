//! Why a file gives no radiograph.

use domain::{ExcludeReason, FailReason, Fault};
use std::fmt;

/// The typed reason, as the tables carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    Exclude(ExcludeReason),
    Fail(FailReason),
}

/// A reason with what was found. The detail is fixed text, so that nothing of the file can be in it (invariant 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub detail: &'static str,
}

impl RefusalKind {
    /// As in the column `fail_reason`.
    pub fn name(self) -> &'static str {
        match self {
            RefusalKind::Exclude(reason) => reason.name(),
            RefusalKind::Fail(reason) => reason.name(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whose fault it is: the file's, except where the reason says that we failed.
    pub fn fault(&self) -> Fault {
        match self.kind {
            RefusalKind::Exclude(_) => Fault::InvalidInput,
            RefusalKind::Fail(reason) => match reason {
                FailReason::Unreadable
                | FailReason::Truncated
                | FailReason::UnsupportedTransferSyntax
                | FailReason::UnsupportedPixels
                | FailReason::TooLarge
                | FailReason::NotFound => Fault::InvalidInput,
                FailReason::AccessDenied => Fault::Misconfigured,
                FailReason::StageFailed | FailReason::CrashLoop | FailReason::Internal => Fault::Bug,
            },
        }
    }

    pub(crate) const fn exclude(reason: ExcludeReason, detail: &'static str) -> Refusal {
        Refusal { kind: RefusalKind::Exclude(reason), detail }
    }

    pub(crate) const fn fail(reason: FailReason, detail: &'static str) -> Refusal {
        Refusal { kind: RefusalKind::Fail(reason), detail }
    }

    pub(crate) const fn unreadable(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::Unreadable, detail)
    }

    pub(crate) const fn truncated(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::Truncated, detail)
    }

    pub(crate) const fn too_large(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::TooLarge, detail)
    }

    pub(crate) const fn pixels(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::UnsupportedPixels, detail)
    }

    pub(crate) const fn syntax(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::UnsupportedTransferSyntax, detail)
    }
}

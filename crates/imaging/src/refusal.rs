//! Why a file gives no radiograph.

use domain::{ExcludeReason, FailReason};

/// The typed reason, as the tables carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    Exclude(ExcludeReason),
    Fail(FailReason),
}

/// A reason with what was found. The detail is fixed text, so that nothing of the file can be in it (invariant 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub kind: RefusalKind,
    pub detail: &'static str,
}

impl Refusal {
    pub fn exclude(reason: ExcludeReason, detail: &'static str) -> Refusal {
        Refusal { kind: RefusalKind::Exclude(reason), detail }
    }

    pub fn fail(reason: FailReason, detail: &'static str) -> Refusal {
        Refusal { kind: RefusalKind::Fail(reason), detail }
    }

    pub fn unreadable(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::Unreadable, detail)
    }

    pub fn truncated(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::Truncated, detail)
    }

    pub fn too_large(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::TooLarge, detail)
    }

    pub fn pixels(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::UnsupportedPixels, detail)
    }

    pub fn syntax(detail: &'static str) -> Refusal {
        Refusal::fail(FailReason::UnsupportedTransferSyntax, detail)
    }
}

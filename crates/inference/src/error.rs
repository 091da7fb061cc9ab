//! What can go wrong between asking a network for an answer and having it.

use domain::Fault;
use std::fmt;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its kind, what was wrong and what to do about it, and the cause. Names tensors, models and settings,
/// never what a tensor holds.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds, told apart by what the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The ONNX Runtime library is absent, too old, or not such a library: run `make runtime`.
    Library,
    /// A manifest cannot be read or contradicts itself: mend the file.
    Manifest,
    /// A model file is not the one that its manifest names by digest: restore it or write a new manifest.
    Digest,
    /// A model file cannot be loaded, or is not what its manifest says.
    Model,
    /// A setting is out of its range or asks for a device that is not there.
    Settings,
    /// A request has the wrong tensors: mend the caller.
    Request,
    /// No model of this name and version is served here.
    UnknownModel,
    /// The other side serves a model of another digest or with other tensors: deploy the same pipeline on both sides.
    Disagreement,
    /// The queue is full: ask again after a while.
    Overloaded,
    /// The deadline passed before the answer was there.
    Deadline,
    /// Still loading, shutting down, or not reachable: ask again after a while.
    Unavailable,
    /// The network failed on this row, alone in its batch.
    Compute,
    /// The other side broke the protocol or reported a fault of its own.
    Remote,
    /// A golden answer was not reproduced.
    Golden,
    /// A socket cannot be bound or served.
    Listen,
    /// Our own mistake: a thread panicked, a channel closed early.
    Bug,
}

/// How long an overloaded service asks its callers to wait.
pub const OVERLOADED_RETRY_AFTER: Duration = Duration::from_millis(50);

impl Error {
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Error {
        Error { kind, context: context.into(), source: None }
    }

    pub fn caused(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error { kind, context: context.into(), source: Some(source.into()) }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::Library
            | ErrorKind::Manifest
            | ErrorKind::Digest
            | ErrorKind::Model
            | ErrorKind::Settings
            | ErrorKind::UnknownModel
            | ErrorKind::Disagreement
            | ErrorKind::Golden
            | ErrorKind::Listen => Fault::Misconfigured,
            ErrorKind::Request => Fault::InvalidInput,
            ErrorKind::Overloaded => Fault::Overloaded,
            ErrorKind::Deadline | ErrorKind::Unavailable => Fault::Transient { retry_after: None },
            ErrorKind::Compute | ErrorKind::Remote | ErrorKind::Bug => Fault::Bug,
        }
    }

    /// A copy for another waiter of the same failure; the cause becomes part of the text.
    pub(crate) fn duplicate(&self) -> Error {
        Error { kind: self.kind, context: self.to_string(), source: None }
    }

    pub(crate) fn with_prefix(self, prefix: &str) -> Error {
        Error { context: format!("{prefix}: {}", self.context), ..self }
    }
}

/// The context, followed by the cause where there is one.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_retryable_and_a_wrong_request_is_not() {
        assert!(Error::new(ErrorKind::Overloaded, "full").fault().is_retryable());
        assert!(Error::new(ErrorKind::Unavailable, "loading").fault().is_retryable());
        assert!(!Error::new(ErrorKind::Request, "shape").fault().is_retryable());
        assert!(!Error::new(ErrorKind::Disagreement, "digest").fault().is_retryable());
    }

    #[test]
    fn the_message_ends_with_the_cause() {
        let error = Error::caused(ErrorKind::Manifest, "locate.toml cannot be read", "missing field `name`");
        assert_eq!(error.to_string(), "locate.toml cannot be read: missing field `name`");
    }
}

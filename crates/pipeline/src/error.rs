//! What can go wrong with us; what can be wrong with an image is a `domain::Outcome` instead (invariant 6).

use domain::Fault;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its kind, what was being done, and the cause. Its message names no file, no object key and no patient;
/// images are named by item id.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds, told apart by what the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The pipeline definition, a manifest or a model is wrong: mend the file that the message names.
    Definition,
    /// SRC does not exist, or its manifest has wrong columns: mend the command.
    Source,
    /// A store or broker did not answer: try again later.
    Unreachable,
    /// A store or broker refused us: mend credentials, permissions or settings.
    Refused,
    /// The connection that brought a message is gone: the message comes again, here or elsewhere.
    Lost,
    /// The broker has no room: wait for consumers.
    QueueFull,
    /// A message that is not what its schema says.
    Message,
    /// A message of a newer schema than this program knows: upgrade it; the message is parked.
    NewerMessage,
    /// A fault of a stage (network), a lake or an imaging call, which has its own kind.
    Below(Fault),
    /// The run was cancelled before this could be done.
    Cancelled,
    /// Our own mistake: a task panicked, a channel closed early.
    Bug,
}

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
            ErrorKind::Definition | ErrorKind::Refused | ErrorKind::NewerMessage => Fault::Misconfigured,
            ErrorKind::Source | ErrorKind::Message => Fault::InvalidInput,
            ErrorKind::Unreachable | ErrorKind::Lost | ErrorKind::Cancelled => Fault::Transient { retry_after: None },
            ErrorKind::QueueFull => Fault::Overloaded,
            ErrorKind::Below(fault) => fault,
            ErrorKind::Bug => Fault::Bug,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// The error of a store call, told apart by whom it concerns. The store's own message may hold an object key, so that
/// it is not carried on.
pub(crate) fn of_store(error: &object_store::Error, doing: &str) -> Error {
    use object_store::Error as Store;
    match error {
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Error::new(
            ErrorKind::Refused,
            format!("{doing}: the object store refused access; check credentials and the bucket's policy"),
        ),
        Store::NotFound { .. } => {
            Error::new(ErrorKind::Refused, format!("{doing}: the bucket or object does not exist; check the address"))
        }
        Store::UnknownConfigurationKey { .. } | Store::NotSupported { .. } | Store::NotImplemented { .. } => {
            Error::new(
                ErrorKind::Refused,
                format!("{doing}: the object store does not support this; check its settings"),
            )
        }
        Store::InvalidPath { .. } => Error::new(
            ErrorKind::Source,
            format!("{doing}: an object key that cannot be addressed (empty, `.` or `..` between slashes)"),
        ),
        _ => Error::new(ErrorKind::Unreachable, format!("{doing}: the object store did not answer; try again later")),
    }
}

impl From<lake::Error> for Error {
    fn from(error: lake::Error) -> Error {
        let fault = error.fault();
        Error::caused(ErrorKind::Below(fault), "the lake", error)
    }
}

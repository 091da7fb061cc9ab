//! What can go wrong in a statistic. Data from which a statistic is not defined give NULL with n, not an error.

use domain::Fault;

/// A refusal, with what was being done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}: {context}")]
pub struct Error {
    pub kind: ErrorKind,
    /// What is wrong and what to do. Holds no identifier.
    pub context: String,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// An argument outside its written range: a confidence level, a score, a probability, a unit.
    #[error("argument out of range")]
    Argument,
    /// Lists or tables whose sizes do not belong together.
    #[error("sizes do not fit")]
    Shape,
    /// More taken away from a count than is in it, or a count beyond 64 bits.
    #[error("counts do not add up")]
    Counts,
    /// More values than a statistic may hold in memory.
    #[error("too many values")]
    Limit,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Error {
        Error { kind, context: context.into() }
    }

    /// Who must act, and whether to try again.
    pub fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::Argument | ErrorKind::Shape | ErrorKind::Limit => Fault::InvalidInput,
            ErrorKind::Counts => Fault::Bug,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

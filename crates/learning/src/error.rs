//! What can go wrong when training material is made or a run is judged.

use domain::Fault;

pub type Result<T> = std::result::Result<T, Error>;

/// Failure of this crate. Messages name no file of a user and no person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A count, share or combination of settings that makes no sense.
    #[error("setting {name} {problem}")]
    Setting { name: &'static str, problem: String },
    #[error("the simulator failed")]
    Phantom(#[from] phantom::Error),
    #[error("shape model or region: {0}")]
    Scoring(#[from] scoring::Error),
    /// Output could not be written, or input not read. `what` says which part, for example "shard 3".
    #[error("cannot {action} {what}")]
    Io { action: &'static str, what: String, source: std::io::Error },
    #[error("cannot write tensors of {what}")]
    Npy { what: String, source: ndarray_npy::WriteNpyError },
    /// A truth table whose columns are not those of `aortica phantom`.
    #[error("truth table: {problem}")]
    TruthTable { problem: String },
    /// A mask of a simulated cohort that is none, or does not fit its picture.
    #[error("the mask of {file}: {problem}")]
    Mask { file: String, problem: String },
    #[error("cannot evaluate")]
    Statistics(#[from] statistics::Error),
    /// A folder of shards that does not hold what is to be learned from.
    #[error("training tensors: {problem}")]
    Shards { problem: String },
    /// A table of folds that is none, or that names no such fold.
    #[error("table of folds: {problem}")]
    FoldTable { problem: String },
    /// An annotated image that cannot be used; counted from 1 in the table that names it, because names of files may be names of
    /// persons.
    #[error("image {row} {problem}")]
    Image { row: usize, problem: String },
    /// Rows that cannot be judged together, for example two of one image.
    #[error("cannot evaluate: {problem}")]
    Rows { problem: String },
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Setting { .. } => Fault::Misconfigured,
            Error::Phantom(error) => error.fault(),
            Error::Scoring(error) => error.fault(),
            Error::Io { .. } | Error::Npy { .. } => Fault::Transient { retry_after: None },
            Error::Statistics(error) => error.fault(),
            Error::TruthTable { .. }
            | Error::Mask { .. }
            | Error::Shards { .. }
            | Error::FoldTable { .. }
            | Error::Image { .. }
            | Error::Rows { .. } => Fault::InvalidInput,
        }
    }
}

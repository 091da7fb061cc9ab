//! What can go wrong in simulating and writing.

use domain::Fault;

/// An error of the simulator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of range. The person who wrote the configuration must act.
    #[error("phantom configuration: {field} {problem}")]
    Config { field: &'static str, problem: String },
    /// The TOML text does not parse, or names an unknown field.
    #[error("phantom configuration: {0}")]
    Syntax(#[from] toml::de::Error),
    /// An index beyond the cohort.
    #[error("image {index} is not in this cohort of {count}")]
    OutOfCohort { index: usize, count: usize },
    /// The output folder cannot be written.
    #[error("writing {what} in the output folder: {source}")]
    Write { what: &'static str, source: std::io::Error },
    /// The DICOM library refused what we built.
    #[error("building a dicom object: {0}")]
    Dicom(String),
    /// Arrow or Parquet refused a table that we built.
    #[error("writing table {table}: {problem}")]
    Table { table: &'static str, problem: String },
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Config { .. } | Error::Syntax(_) => Fault::Misconfigured,
            Error::OutOfCohort { .. } => Fault::InvalidInput,
            Error::Write { .. } => Fault::Misconfigured,
            Error::Dicom(_) | Error::Table { .. } => Fault::Bug,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

//! What can go wrong with a lake, and who must act.

use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use domain::Fault;
use domain::fault::Fault::{InvalidInput, Misconfigured};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the lake. `what` says what was being done; sources name objects of the lake, never of the study.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{address:?} is no place for files: {problem}; give a folder or s3://bucket/prefix")]
    Address { address: String, problem: String },
    #[error("storage option {name:?}: {problem}")]
    StorageOption { name: String, problem: String },
    #[error("there is no lake at {address}; `score` or `submit` makes one, or check --lake")]
    NotALake { address: String },
    #[error(
        "the store at {address} does not refuse a second put of the same object ({problem}), so that two committers \
         would overwrite each other; use a store with conditional put (If-None-Match)"
    )]
    ConditionalPut { address: String, problem: String },
    #[error("{what}: {source}{}", hint(store_fault(source)))]
    Store { what: &'static str, source: object_store::Error },
    #[error("{what}: {source}{}", hint(fault_by_source(source.as_ref())))]
    Delta { what: &'static str, source: Box<DeltaTableError> },
    #[error("{what}: {source}")]
    Parquet { what: &'static str, source: parquet::errors::ParquetError },
    #[error("{what}: {source}")]
    Arrow { what: &'static str, source: arrow::error::ArrowError },
    #[error("{what}: {source}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("{what}: {source}")]
    Task { what: &'static str, source: tokio::task::JoinError },
    #[error("table {table} is being written by others: lost {attempts} races; try again later")]
    Contended { table: &'static str, attempts: u32 },
    #[error("table {table} has more than {limit} rows, the most that one committer indexes; start a new lake")]
    TooManyKeys { table: &'static str, limit: usize },
    #[error("table {table} lacks what this version reads or writes: {problem}")]
    TableShape { table: &'static str, problem: String },
    #[error("the list of items: {problem}")]
    Items { problem: String },
    #[error("submission {submission}: {problem}")]
    Submission { submission: String, problem: String },
    #[error("artifact {key}: {problem}")]
    Artifact { key: String, problem: String },
    #[error("{0}")]
    Query(String),
    #[error(
        "the query needs more memory than the {limit_mib} MiB it may have; raise the limit, or ask for fewer rows or columns"
    )]
    QueryMemory { limit_mib: usize },
    #[error("the query failed: {0}")]
    QueryFailed(Box<DataFusionError>),
    #[error("disclosure policy: {problem}")]
    Policy { problem: String },
    #[error("the log of what was told, {path:?}: {source}")]
    Log { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Statistics(#[from] statistics::Error),
    #[error("writing the answer: {0}")]
    Output(#[source] std::io::Error),
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Address { .. } | Error::NotALake { .. } | Error::Items { .. } | Error::Query(_) => InvalidInput,
            Error::StorageOption { .. } | Error::ConditionalPut { .. } | Error::TooManyKeys { .. } => Misconfigured,
            Error::TableShape { .. } => Misconfigured,
            Error::Store { source, .. } => store_fault(source),
            // what its threads met, the table library tells as text only: mostly a store that was away for a moment. Whoever
            // tries again does so a few times, so that a mistake of ours still comes to light.
            Error::Delta { source, .. } if matches!(**source, DeltaTableError::Generic(_)) => {
                Fault::Transient { retry_after: None }
            }
            Error::Delta { source, .. } => fault_by_source(source.as_ref()),
            Error::Parquet { source, .. } => fault_by_source(source),
            Error::QueryFailed(source) => fault_by_source(source.as_ref()),
            Error::Contended { .. } | Error::Output(_) => Fault::Transient { retry_after: None },
            Error::QueryMemory { .. } => Fault::Overloaded,
            Error::Policy { .. } => InvalidInput,
            Error::Log { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Misconfigured,
            Error::Log { .. } => Fault::Transient { retry_after: None },
            Error::Statistics(error) => error.fault(),
            Error::Submission { .. } => InvalidInput,
            Error::Arrow { .. } | Error::Json { .. } | Error::Artifact { .. } | Error::Task { .. } => Fault::Bug,
        }
    }

    pub(crate) fn store(what: &'static str) -> impl Fn(object_store::Error) -> Error {
        move |source| Error::Store { what, source }
    }

    pub(crate) fn delta(what: &'static str) -> impl Fn(DeltaTableError) -> Error {
        move |source| Error::Delta { what, source: Box::new(source) }
    }

    pub(crate) fn parquet(what: &'static str) -> impl Fn(parquet::errors::ParquetError) -> Error {
        move |source| Error::Parquet { what, source }
    }

    pub(crate) fn arrow(what: &'static str) -> impl Fn(arrow::error::ArrowError) -> Error {
        move |source| Error::Arrow { what, source }
    }

    pub(crate) fn json(what: &'static str) -> impl Fn(serde_json::Error) -> Error {
        move |source| Error::Json { what, source }
    }
}

/// What to do, behind the store's own words.
fn hint(fault: Fault) -> &'static str {
    match fault {
        Misconfigured => "; check credentials and the bucket's policy",
        Fault::Transient { .. } | Fault::Overloaded | InvalidInput | Fault::Bug => "",
    }
}

/// Who must act on an error of the store. The enum is open, so that a kind unknown to us counts as passing.
fn store_fault(error: &object_store::Error) -> Fault {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } | E::InvalidPath { .. } => InvalidInput,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Misconfigured,
        E::NotSupported { .. } | E::NotImplemented { .. } | E::UnknownConfigurationKey { .. } => Misconfigured,
        _ => Fault::Transient { retry_after: None },
    }
}

/// The fault of the store error at the root of a library's error; without one, the library met what we made.
fn fault_by_source(error: &(dyn std::error::Error + 'static)) -> Fault {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(store) = error.downcast_ref::<object_store::Error>() {
            return store_fault(store);
        }
        // The library of the tables hides the store's error from those who ask for the source.
        if let Some(store) = error.downcast_ref::<buoyant_kernel::Error>().and_then(of_kernel) {
            return store_fault(store);
        }
        if error.downcast_ref::<std::io::Error>().is_some() {
            return Fault::Transient { retry_after: None };
        }
        next = error.source();
    }
    Fault::Bug
}

fn of_kernel(error: &buoyant_kernel::Error) -> Option<&object_store::Error> {
    match error {
        buoyant_kernel::Error::ObjectStore(store) => Some(store),
        buoyant_kernel::Error::Backtraced { source, .. } => of_kernel(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_error_at_the_root_decides() {
        let denied =
            || object_store::Error::PermissionDenied { path: "results".into(), source: "no".to_string().into() };
        let gone = || object_store::Error::Generic { store: "S3", source: "503".to_string().into() };
        let refused = Error::store("listing")(denied());
        assert_eq!(refused.fault(), Misconfigured);
        assert!(refused.to_string().ends_with("; check credentials and the bucket's policy"), "{refused}");
        assert!(!Error::store("listing")(gone()).to_string().contains("check"));
        let delta = DeltaTableError::ObjectStore { source: gone() };
        assert_eq!(Error::delta("committing")(delta).fault(), Fault::Transient { retry_after: None });
        let below = buoyant_kernel::Error::from(denied());
        assert_eq!(Error::delta("opening")(DeltaTableError::KernelError(below)).fault(), Misconfigured);
        let query = DataFusionError::External(Box::new(DeltaTableError::ObjectStore { source: denied() }));
        assert_eq!(Error::QueryFailed(Box::new(query)).fault(), Misconfigured);
        let parquet = parquet::errors::ParquetError::External(Box::new(gone()));
        assert_eq!(Error::parquet("reading")(parquet).fault(), Fault::Transient { retry_after: None });
        let told = DeltaTableError::Generic("connection reset".to_owned());
        assert_eq!(Error::delta("committing")(told).fault(), Fault::Transient { retry_after: None });
        assert_eq!(Error::delta("committing")(DeltaTableError::NoSchema).fault(), Fault::Bug);
    }
}

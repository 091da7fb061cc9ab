//! Why the server cannot start or go on. What is refused to those who ask is a [`crate::Refusal`].

use domain::Fault;
use std::net::SocketAddr;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{address} can be reached from other machines, so {missing}; --unprotected serves it all the same")]
    Unprotected { address: SocketAddr, missing: &'static str },
    #[error("users file {path}: {problem}")]
    Users { path: PathBuf, problem: String },
    #[error("{0}")]
    Password(&'static str),
    #[error("{what} {path}: {problem}")]
    Tls { what: &'static str, path: PathBuf, problem: String },
    #[error("the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{0}")]
    Lake(#[from] lake::Error),
    #[error("preparing the session: {0}")]
    Session(Box<datafusion::error::DataFusionError>),
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Listen { .. } | Error::Unprotected { .. } | Error::Users { .. } | Error::Tls { .. } => {
                Fault::Misconfigured
            }
            Error::Password(_) => Fault::InvalidInput,
            Error::Lake(error) => error.fault(),
            Error::Metrics(_) | Error::Session(_) => Fault::Bug,
        }
    }

    pub(crate) fn session(error: datafusion::error::DataFusionError) -> Error {
        Error::Session(Box::new(error))
    }
}

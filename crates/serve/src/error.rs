//! Why the server cannot start or go on. What is refused to those who ask is a [`crate::Refusal`].

use domain::Fault;
use std::net::SocketAddr;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{address} can be reached from other machines, so {missing}; --unprotected serves it all the same")]
    Unprotected { address: SocketAddr, missing: &'static str },
    #[error("users file {path}: {problem}")]
    Users { path: PathBuf, problem: String },
    #[error("{0}")]
    Password(&'static str),
    #[error("{what} {path}: {problem}")]
    Tls { what: &'static str, path: PathBuf, problem: String },
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("the lake cannot be served: {0}")]
    Unreadable(crate::Refusal),
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::Listen { .. } | Error::Unprotected { .. } | Error::Users { .. } | Error::Tls { .. } => {
                Fault::Misconfigured
            }
            Error::Password(_) => Fault::InvalidInput,
            Error::Unreadable(refusal) if refusal.reason == crate::Reason::Store => {
                Fault::Transient { retry_after: None }
            }
            Error::Metrics(_) | Error::Unreadable(_) => Fault::Bug,
        }
    }
}

//! What is said to those who ask for what they do not get.

use datafusion::error::DataFusionError;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use std::fmt;

/// Why. This one table gives the label of the metrics, the SQLSTATE and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The statement is wrong: no SQL, no such column, a cast that fails.
    Statement,
    /// The statement would change something.
    ReadOnly,
    /// The role does not cover it.
    Role,
    /// User and password do not match, or none were given.
    Credentials,
    /// The server wants TLS.
    Unencrypted,
    /// The host that the browser was told is not this machine.
    Host,
    /// The query needs more memory or temporary files than one may have.
    Memory,
    /// The query took too long.
    Time,
    /// The answer has too many rows.
    Rows,
    /// The statement or message is too long, or keeps too much.
    Size,
    /// Others have all memory or all turns.
    Busy,
    /// Every connection is taken.
    Connections,
    /// The client asked to end it.
    Cancelled,
    /// The server is stopping.
    Stopping,
    /// The client was silent, or took no data, for too long.
    Silence,
    /// Bytes that are not the protocol.
    Protocol,
    /// There is no such thing here.
    Missing,
    /// The store of the lake does not answer.
    Store,
    /// Our fault.
    Internal,
}

impl Reason {
    pub(crate) const ALL: [Reason; 19] = [
        Reason::Statement,
        Reason::ReadOnly,
        Reason::Role,
        Reason::Credentials,
        Reason::Unencrypted,
        Reason::Host,
        Reason::Memory,
        Reason::Time,
        Reason::Rows,
        Reason::Size,
        Reason::Busy,
        Reason::Connections,
        Reason::Cancelled,
        Reason::Stopping,
        Reason::Silence,
        Reason::Protocol,
        Reason::Missing,
        Reason::Store,
        Reason::Internal,
    ];

    /// Label of the metrics and code of the JSON errors.
    pub fn label(self) -> &'static str {
        self.row().0
    }

    /// <https://www.postgresql.org/docs/16/errcodes-appendix.html>
    pub fn sqlstate(self) -> &'static str {
        self.row().1
    }

    /// Status of an HTTP response.
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Reason::Statement => ("statement", "42000", 400),
            Reason::ReadOnly => ("read_only", "25006", 403),
            Reason::Role => ("role", "42501", 403),
            Reason::Credentials => ("credentials", "28P01", 401),
            Reason::Unencrypted => ("unencrypted", "28000", 403),
            Reason::Host => ("host", "28000", 403),
            Reason::Memory => ("memory", "53200", 422),
            Reason::Time => ("time", "57014", 422),
            Reason::Rows => ("rows", "54000", 422),
            Reason::Size => ("size", "54000", 413),
            Reason::Busy => ("busy", "53000", 503),
            Reason::Connections => ("connections", "53300", 503),
            Reason::Cancelled => ("cancelled", "57014", 499),
            Reason::Stopping => ("stopping", "57P01", 503),
            Reason::Silence => ("silence", "57P05", 408),
            Reason::Protocol => ("protocol", "08P01", 400),
            Reason::Missing => ("missing", "26000", 404),
            Reason::Store => ("store", "58030", 503),
            Reason::Internal => ("internal", "XX000", 500),
        }
    }
}

/// A reason and what to do about it, in words for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into() }
    }

    pub(crate) fn statement(message: impl Into<String>) -> Refusal {
        Refusal::new(Reason::Statement, message)
    }

    /// What the lake says of a statement or of itself.
    pub(crate) fn of_lake(error: &lake::Error) -> Refusal {
        use domain::Fault;
        let reason = match error {
            lake::Error::Query(message) if message.starts_with("the lake can only be read") => Reason::ReadOnly,
            lake::Error::Query(_) => Reason::Statement,
            lake::Error::QueryMemory { .. } => Reason::Memory,
            lake::Error::Policy { .. } => Reason::Role,
            other => match other.fault() {
                Fault::Transient { .. } | Fault::Overloaded | Fault::Misconfigured => Reason::Store,
                Fault::InvalidInput | Fault::Bug => Reason::Internal,
            },
        };
        match reason {
            Reason::Store => {
                tracing::warn!(%error, "the lake could not be read");
                Refusal::new(reason, "the store of the lake does not answer as it should; try again later")
            }
            Reason::Internal => {
                tracing::error!(%error, "a query failed by our fault");
                Refusal::new(reason, format!("a fault of the server: {error}"))
            }
            _ => Refusal::new(reason, error.to_string()),
        }
    }

    /// As one whose connection ends with it.
    pub(crate) fn fatal(self) -> PgWireError {
        self.into_wire("FATAL")
    }

    fn into_wire(self, severity: &str) -> PgWireError {
        let info = ErrorInfo::new(severity.to_owned(), self.reason.sqlstate().to_owned(), self.message);
        PgWireError::UserError(Box::new(info))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for PgWireError {
    fn from(refusal: Refusal) -> PgWireError {
        refusal.into_wire("ERROR")
    }
}

impl From<Refusal> for DataFusionError {
    fn from(refusal: Refusal) -> DataFusionError {
        DataFusionError::External(Box::new(refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_states_have_five_characters() {
        let mut labels: Vec<_> = Reason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(reason.sqlstate().len(), 5, "{reason:?}");
            assert!((400..600).contains(&reason.status()), "{reason:?}");
        }
    }
}

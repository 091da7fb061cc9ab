//! What kind of failure an error is, which decides who must act and whether to try again.

use std::time::Duration;

/// The five kinds of failure. Every crate's error maps onto one by an exhaustive match; this one table then maps the
/// kind to the gRPC code, to the fate of the job, to the metric label and to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// May pass by itself: a connection lost, a store that answers 503.
    Transient { retry_after: Option<Duration> },
    /// The other side has too much to do.
    Overloaded,
    /// What was given is wrong: a bad request, a damaged file.
    InvalidInput,
    /// Settings, credentials, versions: a person must act, and trying again does not help.
    Misconfigured,
    /// We were wrong.
    Bug,
}

/// What happens to a job whose handling ended in a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFate {
    /// Acknowledged: its outcome is a row.
    Acknowledge,
    RequeueLater,
    DeadLetter,
}

impl Fault {
    /// Label of the metric `fault`, of logs, and of JSON errors.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Transient { .. } => "transient",
            Fault::Overloaded => "overloaded",
            Fault::InvalidInput => "invalid_input",
            Fault::Misconfigured => "misconfigured",
            Fault::Bug => "bug",
        }
    }

    /// Exit code of the command line (`aortica --help` lists them).
    pub fn exit_code(self) -> u8 {
        match self {
            Fault::InvalidInput => 2,
            Fault::Misconfigured => 3,
            Fault::Transient { .. } | Fault::Overloaded => 4,
            Fault::Bug => 5,
        }
    }

    /// Number of the gRPC status code.
    pub fn grpc_code(self) -> i32 {
        match self {
            Fault::InvalidInput => 3,
            Fault::Overloaded => 8,
            Fault::Misconfigured => 9,
            Fault::Bug => 13,
            Fault::Transient { .. } => 14,
        }
    }

    pub fn job_fate(self) -> JobFate {
        match self {
            Fault::InvalidInput => JobFate::Acknowledge,
            Fault::Transient { .. } | Fault::Overloaded => JobFate::RequeueLater,
            Fault::Misconfigured | Fault::Bug => JobFate::DeadLetter,
        }
    }

    pub fn is_retryable(self) -> bool {
        self.job_fate() == JobFate::RequeueLater
    }
}

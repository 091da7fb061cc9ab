//! What a model has done since it was loaded: counts and times, as `ModelStatistics` and `/metrics` report them.

use crate::error::ErrorKind;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters of one model. All grow only.
#[derive(Debug, Default)]
pub struct Statistics {
    succeeded: AtomicU64,
    failed: [AtomicU64; FailureReason::ALL.len()],
    rows: AtomicU64,
    request_ns: AtomicU64,
    queue_ns: AtomicU64,
    compute_ns: AtomicU64,
    /// By rows that were really there: executions and their time.
    executions: Mutex<BTreeMap<usize, Execution>>,
}

/// Executions of one batch size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Execution {
    pub count: u64,
    pub compute: Duration,
}

/// Why a request got no answer; the labels are Triton's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// Refused or dropped before it was computed: queue full, deadline passed, stopping.
    Rejected,
    /// Its caller had gone.
    Cancelled,
    /// The network failed on it.
    Backend,
    Other,
}

impl FailureReason {
    pub const ALL: [FailureReason; 4] =
        [FailureReason::Rejected, FailureReason::Cancelled, FailureReason::Backend, FailureReason::Other];

    pub fn label(self) -> &'static str {
        match self {
            FailureReason::Rejected => "REJECTED",
            FailureReason::Cancelled => "CANCELED",
            FailureReason::Backend => "BACKEND",
            FailureReason::Other => "OTHER",
        }
    }

    fn of(kind: ErrorKind) -> FailureReason {
        match kind {
            ErrorKind::Overloaded | ErrorKind::Deadline | ErrorKind::Unavailable => FailureReason::Rejected,
            ErrorKind::Compute => FailureReason::Backend,
            ErrorKind::Library
            | ErrorKind::Manifest
            | ErrorKind::Digest
            | ErrorKind::Model
            | ErrorKind::Settings
            | ErrorKind::Request
            | ErrorKind::UnknownModel
            | ErrorKind::Disagreement
            | ErrorKind::Remote
            | ErrorKind::Golden
            | ErrorKind::Listen
            | ErrorKind::Bug => FailureReason::Other,
        }
    }
}

impl Statistics {
    /// `times`: in the queue, being computed, in all.
    pub(crate) fn succeeded(&self, (queue, compute, all): (Duration, Duration, Duration)) {
        self.succeeded.fetch_add(1, Relaxed);
        self.queue_ns.fetch_add(nanoseconds(queue), Relaxed);
        self.compute_ns.fetch_add(nanoseconds(compute), Relaxed);
        self.request_ns.fetch_add(nanoseconds(all), Relaxed);
    }

    pub(crate) fn failed(&self, kind: ErrorKind) {
        self.failed[FailureReason::of(kind) as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        self.failed[FailureReason::Cancelled as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn executed(&self, rows: usize, took: Duration) {
        self.rows.fetch_add(rows as u64, Relaxed);
        let mut executions = self.executions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let execution = executions.entry(rows).or_default();
        execution.count += 1;
        execution.compute += took;
    }

    /// Requests answered.
    pub fn requests_succeeded(&self) -> u64 {
        self.succeeded.load(Relaxed)
    }

    /// Requests not answered, for this reason.
    pub fn requests_failed(&self, reason: FailureReason) -> u64 {
        self.failed[reason as usize].load(Relaxed)
    }

    /// Rows computed, padding not counted.
    pub fn rows_computed(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Batches computed, by the number of rows that were not padding (at most the shape's rows entries).
    pub fn executions(&self) -> BTreeMap<usize, Execution> {
        self.executions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Sums over the answered requests: from entering the queue to the answer, waiting in the queue, being computed.
    pub fn durations(&self) -> [Duration; 3] {
        [&self.request_ns, &self.queue_ns, &self.compute_ns].map(|ns| Duration::from_nanos(ns.load(Relaxed)))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

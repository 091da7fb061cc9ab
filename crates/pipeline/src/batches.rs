//! Batches by number and age, and their way into the lake.

use crate::error::Result;
use crate::metrics::Metrics;
use crate::time::{self, sleep, timeout_at};
use domain::{Fault, OutcomeRecord};
use lake::{CommitReport, Committer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A commit that failed for a passing cause is tried again so often; the store retries single requests by itself.
const COMMIT_ATTEMPTS: u32 = 4;
const COMMIT_WAIT: Duration = Duration::from_secs(2);

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records, 1..=10,000. More make fewer and larger files, and more work for a crash to undo.
    pub rows: usize,
    /// How long the first record of a batch waits for the others.
    pub age: Duration,
}

impl Default for BatchLimits {
    /// 500 records, 30 seconds.
    fn default() -> BatchLimits {
        BatchLimits { rows: 500, age: Duration::from_secs(30) }
    }
}

/// Most records of one batch.
const MAX_ROWS: usize = 10_000;

/// The batch that begins with `first`. Must be awaited to its end: what it has gathered is lost with it.
pub(crate) async fn gather<T>(first: T, from: &mut mpsc::Receiver<T>, limits: BatchLimits) -> Vec<T> {
    let rows = limits.rows.clamp(1, MAX_ROWS);
    let mut batch = vec![first];
    let due = time::now() + limits.age;
    while batch.len() < rows {
        match timeout_at(due, from.recv()).await {
            Ok(Some(next)) => batch.push(next),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

/// Commits records; when this returns, their rows are durable, all but those that the report refuses.
pub(crate) async fn commit(
    committer: &mut Committer,
    records: impl Into<Arc<Vec<OutcomeRecord>>>,
    metrics: &Metrics,
) -> Result<CommitReport> {
    let records = records.into();
    let mut attempt = 1;
    loop {
        let began = Instant::now();
        let error = match committer.commit_shared(Arc::clone(&records)).await {
            Ok(report) => {
                metrics.committed(records.len(), &report, began.elapsed());
                return Ok(report);
            }
            Err(error) => error,
        };
        metrics.fault(error.fault());
        let passing = matches!(error.fault(), Fault::Transient { .. } | Fault::Overloaded);
        if !passing || attempt >= COMMIT_ATTEMPTS {
            return Err(error.into());
        }
        tracing::warn!(attempt, "a commit failed, trying again: {error}");
        sleep(COMMIT_WAIT * attempt).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_ends_by_number_by_age_and_at_the_end() {
        let (send, mut receive) = mpsc::channel(100);
        let limits = BatchLimits { rows: 3, age: Duration::from_millis(20) };
        for n in 0..4 {
            send.send(n).await.unwrap();
        }
        let first = receive.recv().await.unwrap();
        assert_eq!(gather(first, &mut receive, limits).await, [0, 1, 2], "by number");
        let began = tokio::time::Instant::now();
        let first = receive.recv().await.unwrap();
        assert_eq!(gather(first, &mut receive, limits).await, [3], "by age");
        assert!(began.elapsed() >= limits.age);
        drop(send);
        assert_eq!(gather(4, &mut receive, limits).await, [4], "at the end");
    }
}

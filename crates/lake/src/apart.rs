//! Work that keeps a core busy, away from the task that waits for stores and brokers, so that both cores of a committer work.
//! In a simulation whoever waits for it does it: see [`Rehearsed::by_whoever_waits`].

use crate::error::{Error, Result};
use crate::rehearsal::Rehearsed;
use tokio::task::JoinSet;

/// Runs what only computes on a thread of its own.
///
/// # Errors
/// It panicked.
pub(crate) async fn computed<T: Send + 'static>(
    rehearsed: &Rehearsed,
    what: &'static str,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if rehearsed.by_whoever_waits() {
        return Ok(task());
    }
    tokio::task::spawn_blocking(task).await.map_err(|source| Error::Task { what, source })
}

/// Runs what computes and waits as a task of its own, which ends when the returned future is dropped.
///
/// # Errors
/// Its own; it panicked.
pub(crate) async fn worked<T: Send + 'static>(
    rehearsed: &Rehearsed,
    what: &'static str,
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    if rehearsed.by_whoever_waits() {
        return task.await;
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(task);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(source)) => Err(Error::Task { what, source }),
        None => unreachable!("one task was spawned, and it was not waited for before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_panic_is_told_as_ours() {
        let rehearsed = Rehearsed::default();
        let panicked = computed(&rehearsed, "counting", || -> u32 { panic!("no") }).await.unwrap_err();
        assert_eq!((panicked.fault(), panicked.to_string().starts_with("counting: ")), (domain::Fault::Bug, true));
        assert_eq!(computed(&rehearsed, "counting", || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_task_ends_with_the_one_who_waits() {
        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let rehearsed = Rehearsed::default();
        let working = worked(&rehearsed, "waiting", async move {
            std::future::pending::<()>().await;
            drop(kept);
            Ok(())
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), working).await.is_err());
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

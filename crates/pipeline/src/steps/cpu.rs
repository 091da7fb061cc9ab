//! Work on pixels, off the async threads: a fixed number of threads, each task awaited.

use crate::error::{Error, ErrorKind, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// Most threads of one process.
pub const MAX_THREADS: usize = 256;

/// A pool of threads for decoding, warping and scoring. Its queue is bounded by the images in flight: each waits for one
/// task at a time.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// `None`: each task is run by whoever waits for it.
    pool: Option<rayon::ThreadPool>,
}

/// How a task ended that did not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

impl Cpu {
    pub fn new(threads: usize) -> Result<Cpu> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.clamp(1, MAX_THREADS))
            .thread_name(|n| format!("pixels-{n}"))
            .build()
            .map_err(|e| Error::caused(ErrorKind::Refused, "the threads for pixels cannot be started", e))?;
        Ok(Cpu { pool: Some(pool) })
    }

    /// No threads. A simulation whose time passes only when nobody works must see the work: tokio knows of its own blocking
    /// threads and of no others.
    #[cfg(test)]
    pub fn here() -> Cpu {
        Cpu { pool: None }
    }

    /// Runs a task and waits for it. A task whose waiter has gone before it began is left out. A panic is caught: it
    /// costs one image, not the process.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<std::result::Result<T, Panicked>> {
        let Some(pool) = &self.pool else {
            return Ok(catch_unwind(AssertUnwindSafe(task)).map_err(|_| Panicked));
        };
        let (answer, waiting) = oneshot::channel();
        pool.spawn(move || {
            if !answer.is_closed() {
                // the task owns all that it touches, so that nothing half-done is seen afterwards
                let done = catch_unwind(AssertUnwindSafe(task)).map_err(|_| Panicked);
                // a waiter that has gone wants no answer
                let _ = answer.send(done);
            }
        });
        waiting.await.map_err(|_| Error::new(ErrorKind::Bug, "a pixel task was dropped by its pool"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_its_own_task_only() {
        let cpu = Cpu::new(1).unwrap();
        assert_eq!(cpu.run(|| -> u32 { panic!("a bad picture") }).await.unwrap(), Err(Panicked));
        assert_eq!(cpu.run(|| 7).await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn a_task_that_nobody_waits_for_is_left_out() {
        let cpu = Cpu::new(1).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let mut busy = std::pin::pin!(cpu.run(move || held.recv().is_ok()));
        assert!(futures::poll!(busy.as_mut()).is_pending());
        {
            let mut gone = std::pin::pin!(cpu.run(move || tell.send(()).is_ok()));
            assert!(futures::poll!(gone.as_mut()).is_pending());
        }
        hold.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
        assert_eq!(cpu.run(|| ()).await.unwrap(), Ok(()), "the task in between was passed over");
        assert!(told.recv().is_err(), "it never ran");
    }
}

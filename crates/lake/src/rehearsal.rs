//! What a simulation decides in the place of the world: where a process dies, when its clock stands still, and the names
//! that are random otherwise.
//!
//! Handed in with the [`crate::Location`], as a store that injects faults is; nobody does so in production, where a
//! crash point is a look at an empty option.

use std::fmt;
use std::sync::Arc;

/// A place at which the death of a process is worth a test: something has just become durable, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrashPoint(&'static str);

impl CrashPoint {
    /// Rows lie in a Parquet file that no commit names.
    pub const FILE_WRITTEN: CrashPoint = CrashPoint::named("file_written");
    /// The Delta commit of rows has landed, and nobody was told.
    pub const COMMITTED: CrashPoint = CrashPoint::named("committed");
    /// Small files were merged into one that no commit names.
    pub const FILES_MERGED: CrashPoint = CrashPoint::named("files_merged");

    /// The points of this crate.
    pub const OF_LAKE: [CrashPoint; 3] = [CrashPoint::FILE_WRITTEN, CrashPoint::COMMITTED, CrashPoint::FILES_MERGED];

    pub const fn named(name: &'static str) -> CrashPoint {
        CrashPoint(name)
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A simulation, as the code under it sees it.
pub trait Rehearsal: fmt::Debug + Send + Sync {
    /// Whether the process dies here, with this part (a table) of what it has in hand. One that does goes no further than
    /// this point: whoever asked for its death drops its future, as the end of a process ends its connections.
    fn dies_at(&self, point: CrashPoint, part: &'static str) -> bool;

    /// A name for a file of a part, given to nobody else.
    fn token(&self, part: &'static str) -> String;

    /// Work begins that threads do which the simulation does not see: its clock stands still until the end.
    fn work_begins(&self) {}

    /// Said once for each beginning, also when the work is given up.
    fn work_ends(&self) {}

    /// Whether what is asked of the store from now on is asked by such work, which goes no further until it has the answer.
    fn work_asks(&self, _from_now_on: bool) {}
}

/// The simulation that this process runs in, if any.
#[derive(Debug, Clone, Default)]
pub struct Rehearsed(Option<Arc<dyn Rehearsal>>);

impl Rehearsed {
    pub fn by(rehearsal: Arc<dyn Rehearsal>) -> Rehearsed {
        Rehearsed(Some(rehearsal))
    }

    /// Says that a point was reached. Returns at once outside of a simulation, and never where the process dies.
    pub async fn reached(&self, point: CrashPoint, part: &'static str) {
        let Some(rehearsal) = &self.0 else { return };
        if rehearsal.dies_at(point, part) {
            std::future::pending::<()>().await;
        }
        // Whoever was told of the point gets a turn before the work goes on. Not by tokio's way, which waits for its own
        // scheduler: a simulation polls its roles itself.
        let mut waited = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }

    /// Whether whoever waits for work does it, too: threads and tasks of our own are none of the simulation's roles, so
    /// that what they ask of the store would be nobody's.
    pub(crate) fn by_whoever_waits(&self) -> bool {
        self.0.is_some()
    }

    /// Work of which threads of a library do a part.
    pub async fn on_threads<T>(&self, work: impl Future<Output = T>) -> T {
        struct Working<'a>(&'a dyn Rehearsal);
        impl Drop for Working<'_> {
            fn drop(&mut self) {
                self.0.work_ends();
            }
        }
        let Some(rehearsal) = self.0.as_deref() else { return work.await };
        rehearsal.work_begins();
        let _working = Working(rehearsal);
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            rehearsal.work_asks(true);
            let polled = work.as_mut().poll(context);
            rehearsal.work_asks(false);
            polled
        })
        .await
    }

    /// A name that no other file has.
    pub(crate) fn token(&self, part: &'static str) -> String {
        match &self.0 {
            Some(rehearsal) => rehearsal.token(part),
            None => uuid::Uuid::new_v4().simple().to_string(),
        }
    }
}

//! The lake as of now: a session over one version, replaced by a newer one before a query if it is older than
//! [`Limits::refresh_after`]. So a row is seen at most that long after its commit, and a burst of queries opens the tables once.

use crate::catalog;
use crate::error::{Error, Result};
use crate::growth;
use crate::limits::Limits;
use crate::metrics::{DONE, Metrics};
use crate::window::CountWindows;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use lake::{Lake, LakeSession, SessionOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Longest wait for the store when the tables are looked up.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// One version of the lake, ready for statements.
pub(crate) struct Snapshot {
    pub session: LakeSession,
    /// The session with what is served beside the tables, and without what is not.
    pub context: SessionContext,
}

pub(crate) struct Snapshots {
    lake: Lake,
    options: SessionOptions,
    refresh_after: Duration,
    metrics: Metrics,
    /// The newest, and when it was opened. Who finds it too old replaces it while the others wait.
    newest: Mutex<Option<(Arc<Snapshot>, Instant)>>,
}

impl Snapshots {
    pub fn new(lake: Lake, options: SessionOptions, limits: &Limits, metrics: Metrics) -> Snapshots {
        Snapshots { lake, options, refresh_after: limits.refresh_after, metrics, newest: Mutex::new(None) }
    }

    /// The newest version, or one that is young enough. Where the store fails, the last one goes on being answered from.
    pub async fn newest(&self) -> Result<Arc<Snapshot>> {
        let mut newest = self.newest.lock().await;
        if let Some((snapshot, opened)) = newest.as_ref()
            && opened.elapsed() < self.refresh_after
        {
            return Ok(Arc::clone(snapshot));
        }
        let opened = Instant::now();
        match self.open().await {
            Ok(fresh) => {
                self.metrics.reloads.with_label_values(&[DONE]).inc();
                let fresh = Arc::new(fresh);
                *newest = Some((Arc::clone(&fresh), opened));
                Ok(fresh)
            }
            Err(error) => {
                self.metrics.reloads.with_label_values(&["failed"]).inc();
                let Some((snapshot, _)) = newest.as_ref() else { return Err(error) };
                tracing::warn!(%error, "the newest version of the lake cannot be read; answering from the last one");
                Ok(Arc::clone(snapshot))
            }
        }
    }

    async fn open(&self) -> Result<Snapshot> {
        let late = || lake::Error::Store { what: "opening the tables", source: object_store_timeout() };
        let session = tokio::time::timeout(OPEN_WITHIN, self.lake.session(self.options.clone()))
            .await
            .map_err(|_| Error::Lake(late()))??;
        let context = session.context().clone();
        catalog::install(&context).await.map_err(Error::session)?;
        growth::bound(&context).map_err(Error::session)?;
        let state = SessionStateBuilder::new_from_existing(context.state())
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .build();
        Ok(Snapshot { session, context: SessionContext::new_with_state(state) })
    }
}

fn object_store_timeout() -> datafusion::object_store::Error {
    datafusion::object_store::Error::Generic { store: "lake", source: "no answer in 30 s".into() }
}

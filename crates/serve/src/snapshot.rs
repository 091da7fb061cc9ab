//! The lake as of now, as each role sees it: a session over one version, replaced by a newer one before a query if it is older than
//! [`Limits::refresh_after`]. So a row is seen at most that long after its commit, and a burst of queries opens the tables once.

use crate::catalog;
use crate::growth;
use crate::limits::Limits;
use crate::metrics::{DONE, Metrics};
use crate::refusal::{Reason, Refusal};
use crate::users::Role;
use crate::window::CountWindows;
use datafusion::catalog::SchemaProvider;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use lake::{Door, Lake, Policy, SessionOptions};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Longest wait for the store when the tables are looked up.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// One version of the lake as a role sees it, ready for statements.
pub(crate) struct Snapshot {
    pub door: Door,
    /// The session of the door with what is served beside its tables, and without what is not.
    pub context: SessionContext,
}

/// What the aggregate role is told.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub policy: Arc<Policy>,
    /// Whose readings are counted, where the lake has those of several pipelines or versions.
    pub fingerprint: Option<String>,
    /// Age beyond which the participants are counted anew. Each count that differs goes into the policy's log and is compared with all
    /// before it, so that this is rather a day than a second.
    pub refresh_after: Duration,
}

/// What a role sees, and the newest version of it.
struct View {
    role: lake::Role,
    fingerprint: Option<String>,
    refresh_after: Duration,
    /// With the time at which it was opened. Who finds it too old replaces it while the others wait.
    newest: Mutex<Option<(Arc<Snapshot>, Instant)>>,
    /// `pg_catalog`, the same for all versions.
    catalog: OnceLock<Arc<dyn SchemaProvider>>,
}

pub(crate) struct Snapshots {
    lake: Lake,
    options: SessionOptions,
    metrics: Metrics,
    rows: View,
    aggregate: Option<View>,
}

impl Snapshots {
    pub fn new(lake: Lake, aggregate: Option<Aggregate>, limits: &Limits, metrics: Metrics) -> Snapshots {
        let options = SessionOptions {
            memory_mib: (limits.query_memory_bytes >> 20).max(1),
            threads: limits.threads,
            ..SessionOptions::default()
        };
        let rows = View {
            role: lake::Role::Rows,
            fingerprint: None,
            refresh_after: limits.refresh_after,
            newest: Mutex::new(None),
            catalog: OnceLock::new(),
        };
        let aggregate = aggregate.map(|told| View {
            role: lake::Role::Aggregate(told.policy),
            fingerprint: told.fingerprint,
            refresh_after: told.refresh_after,
            newest: Mutex::new(None),
            catalog: OnceLock::new(),
        });
        Snapshots { lake, options, metrics, rows, aggregate }
    }

    /// What a role sees: the newest version, or one that is young enough. Where the store fails, the last one goes on being answered
    /// from. This is the one place that knows what a role may see.
    pub async fn newest(&self, role: Role) -> Result<Arc<Snapshot>, Refusal> {
        let view = match (role, &self.aggregate) {
            (Role::Row, _) => &self.rows,
            (Role::Aggregate, Some(view)) => view,
            (Role::Aggregate, None) => {
                let message = "the role aggregate is told numbers of groups under a policy, and this server has none; rows are not for it";
                return Err(Refusal::new(Reason::Role, message));
            }
        };
        let mut newest = view.newest.lock().await;
        if let Some((snapshot, opened)) = newest.as_ref()
            && opened.elapsed() < view.refresh_after
        {
            return Ok(Arc::clone(snapshot));
        }
        let opened = Instant::now();
        match self.open(view).await {
            Ok(fresh) => {
                self.metrics.reloads.with_label_values(&[DONE]).inc();
                let fresh = Arc::new(fresh);
                *newest = Some((Arc::clone(&fresh), opened));
                Ok(fresh)
            }
            Err(error) => {
                self.metrics.reloads.with_label_values(&["failed"]).inc();
                let Some((snapshot, _)) = newest.as_ref() else { return Err(Refusal::of_lake(&error)) };
                tracing::warn!(%error, "the newest version of the lake cannot be read; answering from the last one");
                Ok(Arc::clone(snapshot))
            }
        }
    }

    async fn open(&self, view: &View) -> lake::Result<Snapshot> {
        let late = || lake::Error::Store { what: "opening the tables", source: no_answer() };
        let opening = self.lake.door(self.options.clone(), &view.role, view.fingerprint.as_deref(), "serve");
        let door = tokio::time::timeout(OPEN_WITHIN, opening).await.map_err(|_| late())??;
        let context = door.context().clone();
        let prepared = async {
            let catalog = catalog::install(&context, view.catalog.get()).await?;
            view.catalog.get_or_init(|| catalog);
            growth::bound(&context)
        };
        prepared.await.map_err(|error| lake::Error::QueryFailed(Box::new(error)))?;
        let state = SessionStateBuilder::new_from_existing(context.state())
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .build();
        Ok(Snapshot { door, context: SessionContext::new_with_state(state) })
    }
}

fn no_answer() -> datafusion::object_store::Error {
    datafusion::object_store::Error::Generic { store: "lake", source: "no answer in 30 s".into() }
}

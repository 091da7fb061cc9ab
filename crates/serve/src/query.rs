//! From a statement to rows, within limits: the one way both doors go.

use crate::growth;
use crate::limits::Limits;
use crate::memory::{QueryMemory, TotalMemory};
use crate::metrics::{DONE, Door, LEFT, Metrics};
use crate::refusal::{Reason, Refusal};
use crate::snapshot::{Snapshot, Snapshots};
use crate::users::User;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use futures::future::FutureExt;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use lake::LakeSession;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What DataFusion names where temporary files outgrow their limit.
const DISK_SETTING: &str = "datafusion.runtime.max_temp_directory_size";

/// All that is asked of one lake.
pub(crate) struct Queries {
    pub snapshots: Snapshots,
    pub limits: Limits,
    pub metrics: Metrics,
    pub memory: Arc<TotalMemory>,
    turns: Arc<Semaphore>,
    /// Ends every query: the time to drain is over.
    pub cut: CancellationToken,
}

/// Who asks, through which door, for how long, and how it can be called off.
#[derive(Clone)]
pub(crate) struct Asker {
    pub user: User,
    pub door: Door,
    /// Longest work; not more than the server's limit.
    pub within: Duration,
    pub cancel: CancellationToken,
}

/// A statement, planned over one version of the lake.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub statement: Arc<Statement>,
    /// It reads; whether it may be run is looked at when its values are known.
    pub plan: LogicalPlan,
    over: Weak<Snapshot>,
}

/// The rows of an answer, as they come. Dropping it ends the query.
pub(crate) struct Answer {
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch, Refusal>>,
}

impl Queries {
    pub fn new(snapshots: Snapshots, limits: Limits, metrics: Metrics) -> Queries {
        Queries {
            snapshots,
            memory: TotalMemory::new(limits.memory_bytes),
            turns: Arc::new(Semaphore::new(limits.queries)),
            cut: CancellationToken::new(),
            limits,
            metrics,
        }
    }

    /// Plans a statement over the newest version of the lake.
    pub async fn prepare(&self, asker: &Asker, statement: Arc<Statement>) -> Result<Prepared, Refusal> {
        let mut work = self.work(asker);
        let prepared = async {
            let snapshot = self.snapshots.newest(asker.user.role).await?;
            self.plan(&mut work, &snapshot, statement).await
        };
        let prepared = prepared.await;
        match &prepared {
            // The query itself comes later, and is counted then.
            Ok(_) => work.silent = true,
            Err(refusal) => work.end(Some(refusal.reason)),
        }
        prepared
    }

    /// Answers a prepared statement, from the newest version of the lake.
    pub async fn answer(
        self: &Arc<Self>,
        asker: &Asker,
        prepared: &Prepared,
        values: Option<ParamValues>,
    ) -> Result<Answer, Refusal> {
        let mut work = self.work(asker);
        let answer = self.start(asker, &mut work, prepared, values).await;
        match answer {
            Ok((stream, memory)) => Ok(self.stream(work, stream, memory)),
            Err(refusal) => {
                work.end(Some(refusal.reason));
                Err(refusal)
            }
        }
    }

    /// Plans and answers.
    pub async fn ask(self: &Arc<Self>, asker: &Asker, statement: Statement) -> Result<Answer, Refusal> {
        let prepared = self.prepare(asker, Arc::new(statement)).await?;
        self.answer(asker, &prepared, None).await
    }

    async fn plan(
        &self,
        work: &mut Work,
        snapshot: &Arc<Snapshot>,
        statement: Arc<Statement>,
    ) -> Result<Prepared, Refusal> {
        let state = snapshot.context.state();
        let planned = work.on(state.statement_to_plan((*statement).clone())).await?;
        let plan = planned.map_err(|error| self.explain(snapshot, error, None))?;
        let plan = reading(plan)?;
        growth::refuse_nesting(&plan)?;
        Ok(Prepared { plan, statement, over: Arc::downgrade(snapshot) })
    }

    async fn start(
        &self,
        asker: &Asker,
        work: &mut Work,
        prepared: &Prepared,
        values: Option<ParamValues>,
    ) -> Result<(Rows, Arc<QueryMemory>), Refusal> {
        let snapshot = self.snapshots.newest(asker.user.role).await?;
        let current = prepared.over.upgrade().is_some_and(|over| Arc::ptr_eq(&over, &snapshot));
        let plan = if current {
            prepared.plan.clone()
        } else {
            self.plan(work, &snapshot, Arc::clone(&prepared.statement)).await?.plan
        };
        let memory = QueryMemory::new(self.limits.query_memory_bytes, &self.memory);
        let explained = |error| self.explain(&snapshot, error, Some(&memory));
        let plan = match values {
            Some(values) => plan.replace_params_with_values(&values).map_err(explained)?,
            None => plan,
        };
        let memory_mib = self.limits.query_memory_bytes >> 20;
        let admitted = work.on(snapshot.door.admit(&plan, memory_mib)).await?;
        admitted.map_err(|error| Refusal::of_lake(&error))?;
        let state = self.state(&snapshot.context, &memory).map_err(explained)?;
        let physical = work.on(state.create_physical_plan(&plan)).await?.map_err(explained)?;
        let context = state.task_ctx();
        let stream = work.on(async { execute_stream(physical, context) }).await?.map_err(explained)?;
        Ok((Rows { stream, snapshot }, memory))
    }

    /// The session with the memory and the temporary files of one query.
    fn state(&self, session: &SessionContext, memory: &Arc<QueryMemory>) -> Result<SessionState, DataFusionError> {
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::OsTmpDirectory)
            .with_max_temp_directory_size(self.limits.query_disk_bytes);
        let runtime = RuntimeEnvBuilder::from_runtime_env(&session.runtime_env())
            .with_memory_pool(Arc::<QueryMemory>::clone(memory))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        Ok(SessionStateBuilder::new_from_existing(session.state()).with_runtime_env(runtime).build())
    }

    fn explain(&self, snapshot: &Snapshot, error: DataFusionError, memory: Option<&QueryMemory>) -> Refusal {
        if memory.is_some_and(QueryMemory::was_crowded) {
            return Refusal::new(Reason::Busy, "other queries have all memory of the server; try again later");
        }
        // DataFusion tells it as an error of the disk, by the name of its setting.
        if error.to_string().contains(DISK_SETTING) {
            let mib = self.limits.query_disk_bytes >> 20;
            let message = format!(
                "the query needs more memory, and more than the {mib} MiB of temporary files it may have; ask for fewer rows or columns"
            );
            return Refusal::new(Reason::Memory, message);
        }
        Refusal::of_lake(&snapshot.door.explain(error, self.limits.query_memory_bytes >> 20))
    }

    fn work(&self, asker: &Asker) -> Work {
        Work {
            turns: Arc::clone(&self.turns),
            turn_within: self.limits.turn_within,
            left: asker.within.min(self.limits.query_within),
            within: asker.within.min(self.limits.query_within),
            cancel: asker.cancel.clone(),
            cut: self.cut.clone(),
            door: asker.door,
            metrics: self.metrics.clone(),
            rows: 0,
            outcome: LEFT,
            silent: false,
        }
    }

    fn stream(self: &Arc<Self>, work: Work, rows: Rows, memory: Arc<QueryMemory>) -> Answer {
        let schema = rows.stream.schema();
        let rows_max = self.limits.rows.unwrap_or(u64::MAX);
        let queries = Arc::clone(self);
        let batches = try_unfold((work, rows), move |(mut work, mut rows)| {
            let (queries, memory) = (Arc::clone(&queries), Arc::clone(&memory));
            async move {
                let next = async {
                    let batch = match work.on(rows.stream.next()).await? {
                        None => return Ok(None),
                        Some(Ok(batch)) => batch,
                        Some(Err(error)) => return Err(queries.explain(&rows.snapshot, error, Some(&memory))),
                    };
                    work.rows += batch.num_rows() as u64;
                    if work.rows > rows_max {
                        let message = format!("the answer has more than {rows_max} rows; ask for less, or count");
                        return Err(Refusal::new(Reason::Rows, message));
                    }
                    Ok(Some(batch))
                };
                match next.await {
                    Ok(Some(batch)) => Ok(Some((batch, (work, rows)))),
                    Ok(None) => {
                        work.end(None);
                        Ok(None)
                    }
                    Err(refusal) => {
                        work.end(Some(refusal.reason));
                        Err(refusal)
                    }
                }
            }
        });
        Answer { schema, batches: batches.boxed() }
    }
}

/// Lets a plan pass that reads.
fn reading(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    match LakeSession::read_only().verify_plan(&plan) {
        Ok(()) => Ok(plan),
        Err(_) => Err(Refusal::new(Reason::ReadOnly, "the lake can only be read: write SELECT or EXPLAIN")),
    }
}

struct Rows {
    stream: SendableRecordBatchStream,
    /// Keeps what the plan reads, and explains its errors.
    snapshot: Arc<Snapshot>,
}

/// One query's share of time and turns, and what becomes of it, which is counted when it is dropped.
struct Work {
    turns: Arc<Semaphore>,
    turn_within: Duration,
    within: Duration,
    left: Duration,
    cancel: CancellationToken,
    cut: CancellationToken,
    door: Door,
    metrics: Metrics,
    rows: u64,
    outcome: &'static str,
    silent: bool,
}

impl Work {
    /// All was done, or it was refused.
    fn end(&mut self, refused: Option<Reason>) {
        self.outcome = refused.map_or(DONE, Reason::label);
    }

    /// Does a piece of the work: in turn with other queries, within the time, until it is called off. A turn is given back
    /// after each piece, so that a client that reads slowly keeps nobody waiting.
    async fn on<T>(&mut self, piece: impl Future<Output = T>) -> Result<T, Refusal> {
        let (cancel, cut) = (self.cancel.clone(), self.cut.clone());
        let work = async {
            let Ok(Ok(_turn)) = tokio::time::timeout(self.turn_within, Arc::clone(&self.turns).acquire_owned()).await
            else {
                let seconds = self.turn_within.as_secs();
                return Err(Refusal::new(
                    Reason::Busy,
                    format!("other queries kept this one waiting for {seconds} s; try again later"),
                ));
            };
            let begun = Instant::now();
            let result = tokio::time::timeout(self.left, AssertUnwindSafe(piece).catch_unwind()).await;
            self.left = self.left.saturating_sub(begun.elapsed());
            match result {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(_panic)) => Err(Refusal::new(Reason::Internal, "a fault of the server; its log says more")),
                Err(_) => {
                    let limit = self.within.as_millis() as f64 / 1000.0;
                    let message =
                        format!("the query was worked on for {limit} s, the longest that is allowed, and was ended");
                    Err(Refusal::new(Reason::Time, message))
                }
            }
        };
        tokio::select! {
            biased;
            () = cut.cancelled() => Err(Refusal::new(Reason::Stopping, "the server is stopping")),
            () = cancel.cancelled() => Err(Refusal::new(Reason::Cancelled, "the query was ended, as the client asked")),
            result = work => result,
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let door = self.door.label();
        self.metrics.queries.with_label_values(&[door, self.outcome]).inc();
        self.metrics.rows.with_label_values(&[door]).inc_by(self.rows);
        self.metrics.seconds.with_label_values(&[door]).observe((self.within - self.left).as_secs_f64());
    }
}

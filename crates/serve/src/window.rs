//! Memory of window functions. `WindowAggExec` keeps a whole partition of its input and reserves nothing for it (DataFusion 55), so
//! `sum(x) OVER ()` over many rows would fill the machine past every limit. Its input is counted here, on its way in.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Puts [`CountedExec`] below every `WindowAggExec`.
#[derive(Debug)]
pub(crate) struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(input) = node.downcast_ref::<WindowAggExec>().map(|window| Arc::clone(window.input())) else {
                return Ok(Transformed::no(node));
            };
            if input.is::<CountedExec>() {
                return Ok(Transformed::no(node));
            }
            let counted: Arc<dyn ExecutionPlan> = Arc::new(CountedExec { input });
            #[allow(deprecated, reason = "the trait's replacement cannot be named in a wrapper yet")]
            let window = node.with_new_children(vec![counted])?;
            Ok(Transformed::yes(window))
        })
        .data()
    }

    fn name(&self) -> &str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes its input on and reserves the memory of all that has passed, until its stream is dropped.
#[derive(Debug)]
struct CountedExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for CountedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountedExec")
    }
}

impl ExecutionPlan for CountedExec {
    fn name(&self) -> &str {
        "CountedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(CountedExec { input: children.swap_remove(0) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new("window").register(context.memory_pool());
        Ok(Box::pin(Counted { input: self.input.execute(partition, context)?, reservation }))
    }
}

struct Counted {
    input: SendableRecordBatchStream,
    reservation: MemoryReservation,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        self.input.poll_next_unpin(cx).map(|next| {
            next.map(|batch| {
                let batch = batch?;
                // The window keeps the batch and, at the end, all of them joined together.
                self.reservation.try_grow(batch.get_array_memory_size().saturating_mul(2))?;
                Ok(batch)
            })
        })
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    async fn sum(rows: u64) -> Result<Vec<RecordBatch>> {
        let pool = Arc::new(GreedyMemoryPool::new(8 << 20));
        let state = SessionStateBuilder::new_with_default_features()
            .with_runtime_env(RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?)
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .build();
        let sql = format!("SELECT max(s) FROM (SELECT sum(value) OVER () AS s FROM range({rows}))");
        SessionContext::new_with_state(state).sql(&sql).await?.collect().await
    }

    #[tokio::test]
    async fn a_window_keeps_within_the_memory_of_its_query() {
        assert_eq!(sum(10_000).await.unwrap()[0].num_rows(), 1);
        let refused = sum(10_000_000).await.unwrap_err();
        assert!(matches!(refused.find_root(), datafusion::error::DataFusionError::ResourcesExhausted(_)), "{refused}");
    }
}

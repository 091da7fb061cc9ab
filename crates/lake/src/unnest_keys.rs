//! What is a key of a list's rows is none of its elements.
//!
//! `SELECT site, unnest(agreement(..)) .. GROUP BY site` has many rows a site. DataFusion 55 goes on to hold `site` for a key of them (its
//! pull request 24787), and its optimizer drops what only repeated keys need: the rest of an ORDER BY, rows of a join. The statistics answer in
//! lists, so that these are the statements of our users. This rule takes the keys away before each rule of the optimizer. It can go
//! when the tests below pass without it.

use datafusion::common::FunctionalDependencies;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Takes the keys of unnested rows away.
#[derive(Debug)]
struct UnnestKeys;

/// Adds it to a session, before each rule.
pub fn register(context: &SessionContext) {
    let state = context.state();
    let before = |rule: &Arc<dyn OptimizerRule + Send + Sync>| {
        [Arc::new(UnnestKeys) as Arc<dyn OptimizerRule + Send + Sync>, Arc::clone(rule)]
    };
    let rules = state.optimizers().iter().flat_map(before).collect();
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_session_id(context.session_id())
        .with_optimizer_rules(rules)
        .build();
    *context.state_ref().write() = state;
}

impl OptimizerRule for UnnestKeys {
    fn name(&self) -> &str {
        "unnest_keys"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        without_keys(plan)
    }
}

/// The same plan, in which no unnested rows have keys, nor what is made of them.
fn without_keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_subqueries(without_keys)?.transform_sibling(|plan| plan.map_children(without_keys))?;
    let changed = plan.transformed;
    match plan.data {
        LogicalPlan::Unnest(mut unnest) => {
            let keyed = !unnest.schema.functional_dependencies().is_empty() && !unnest.list_type_columns.is_empty();
            if keyed {
                let schema = unnest.schema.as_ref().clone();
                unnest.schema = Arc::new(schema.with_functional_dependencies(FunctionalDependencies::empty())?);
            }
            Ok(Transformed::new_transformed(LogicalPlan::Unnest(unnest), changed || keyed))
        }
        other if changed => Ok(Transformed::yes(other.recompute_schema()?)),
        other => Ok(Transformed::no(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::pretty::pretty_format_batches;

    /// Two groups with two rows each.
    const LISTS: &str = "(SELECT v % 2 AS k, unnest(array_agg(v ORDER BY v)) AS e FROM (VALUES (1), (2), (3), (4)) t(v) GROUP BY v % 2)";

    async fn rows(sql: &str) -> Vec<String> {
        let context = SessionContext::new();
        register(&context);
        let batches = context.sql(&sql.replace("LISTS", LISTS)).await.unwrap().collect().await.unwrap();
        let table = pretty_format_batches(&batches).unwrap().to_string();
        let inside = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",");
        let lines: Vec<&str> = table.lines().collect();
        lines[3..lines.len() - 1].iter().map(|line| inside(line)).collect()
    }

    #[tokio::test]
    async fn rows_of_a_list_are_ordered_by_all_that_is_asked() {
        assert_eq!(rows("SELECT k, e FROM LISTS u ORDER BY k, e DESC").await, ["0,4", "0,2", "1,3", "1,1"]);
        let windowed =
            "SELECT k, row_number() OVER (PARTITION BY k ORDER BY e DESC) AS place, e FROM LISTS u ORDER BY k, place";
        assert_eq!(rows(windowed).await, ["0,1,4", "0,2,2", "1,1,3", "1,2,1"]);
    }

    #[tokio::test]
    async fn a_join_keeps_every_row_of_a_list() {
        let others = "(VALUES (0), (1), (2)) AS j(k)";
        for (join, n) in [("JOIN", "4"), ("LEFT JOIN", "5"), ("FULL JOIN", "5"), ("RIGHT JOIN", "4")] {
            assert_eq!(
                rows(&format!("SELECT count(*) FROM {others} {join} LISTS u ON j.k = u.k")).await,
                [n],
                "{join}"
            );
        }
        let one_side = format!("SELECT j.k FROM {others} JOIN LISTS u ON j.k = u.k ORDER BY j.k");
        assert_eq!(rows(&one_side).await, ["0", "0", "1", "1"]);
        let there = format!("SELECT k FROM {others} WHERE k IN (SELECT k FROM LISTS u) ORDER BY k");
        assert_eq!(rows(&there).await, ["0", "1"]);
        let subquery = format!(
            "SELECT k, (SELECT count(*) FROM LISTS u JOIN {others} ON u.k = j.k) AS n FROM {others} ORDER BY k"
        );
        assert_eq!(rows(&subquery).await, ["0,4", "1,4", "2,4"]);
    }

    #[tokio::test]
    async fn groups_and_distinct_rows_are_those_that_are_named() {
        assert_eq!(rows("SELECT k, count(*), max(e) FROM LISTS u GROUP BY k ORDER BY k").await, ["0,2,4", "1,2,3"]);
        let both = "SELECT k, e, count(*) FROM LISTS u GROUP BY k, e ORDER BY k, e";
        assert_eq!(rows(both).await, ["0,2,1", "0,4,1", "1,1,1", "1,3,1"]);
        assert_eq!(rows("SELECT DISTINCT k FROM LISTS u ORDER BY k").await, ["0", "1"]);
        assert_eq!(rows("SELECT DISTINCT k, e FROM LISTS u ORDER BY k, e").await, ["0,2", "0,4", "1,1", "1,3"]);
    }
}

//! Keeps nested projections apart. DataFusion 55.2 takes `SELECT s + s AS s FROM (SELECT s + s AS s FROM ..)` for one step said twice
//! and leaves one of the two out (apache/datafusion#24686, mended after it). Between steps that look alike a name is put here.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SubqueryAlias};
use datafusion::optimizer::AnalyzerRule;
use std::collections::HashSet;
use std::sync::Arc;

/// What the inner of two steps is called.
const NAME: &str = "step";

/// Names the inner of two projections where the outer one computes a column from another of a name that it gives itself: only there
/// can both look alike and yet have to be computed twice.
#[derive(Debug)]
pub(crate) struct NamedLayers;

impl AnalyzerRule for NamedLayers {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Projection(outer) if over_projection(&outer.input) && computes_from_own_names(&outer) => {
                named(outer).map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "named_layers"
    }
}

/// Whether a projection lies below, or may come to lie there: filters and limits are moved through it.
fn over_projection(input: &LogicalPlan) -> bool {
    match input {
        LogicalPlan::Projection(_) => true,
        LogicalPlan::Filter(filter) => over_projection(&filter.input),
        LogicalPlan::Sort(sort) => over_projection(&sort.input),
        LogicalPlan::Limit(limit) => over_projection(&limit.input),
        _ => false,
    }
}

fn computes_from_own_names(outer: &Projection) -> bool {
    let given: HashSet<&str> = outer.schema.fields().iter().map(|field| field.name().as_str()).collect();
    // names that one must not be able to mix up, and no subquery that refers to them from within
    let inner: HashSet<&str> = outer.input.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let plain = inner.len() == outer.input.schema().fields().len();
    let computed = |expr: &Expr| !matches!(expr.clone().unalias(), Expr::Column(_));
    plain
        && !outer.expr.iter().any(has_subquery)
        && outer
            .expr
            .iter()
            .filter(|expr| computed(expr))
            .any(|expr| expr.column_refs().iter().any(|column| given.contains(column.name.as_str())))
}

fn has_subquery(expr: &Expr) -> bool {
    let is = |e: &Expr| {
        Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)))
    };
    expr.exists(is).expect("the test itself cannot fail")
}

fn named(outer: Projection) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let expr = outer.expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform(|e| match e {
            Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new(Some(NAME), column.name)))),
            other => Ok(Transformed::no(other)),
        });
        expr.data().map(|expr| name.restore(expr))
    });
    let expr = expr.collect::<Result<Vec<Expr>>>()?;
    let inner = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(outer.input, TableReference::bare(NAME))?);
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(expr, Arc::new(inner), outer.schema)?))
}

//! Readings of different pipelines, models or rules do not mix unseen: a statistic over rows of the lake needs one fingerprint, by a
//! filter (`fingerprint = '..'`), by grouping, or because the lake holds no other.
//!
//! Looked at is the plan before it is optimised: under each gathering function of the statistics, every table of the lake must lie
//! below a filter that pins each column `fingerprint` to a literal. It guards against mistakes, not against people who rename columns.

use crate::error::{Error, Result};
use arrow::array::AsArray;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{LogicalPlan, Operator, WindowFunctionDefinition};
use datafusion::prelude::{Expr, SessionContext};

const FINGERPRINT: &str = "fingerprint";
/// Tables of files that hold rows of any fingerprint; all views are made of them.
const OF_THE_LAKE: [&str; 3] = ["results", "instances", "items"];
/// Fingerprints that a refusal names.
const NAMED_MAX: usize = 8;

/// # Errors
/// [`Error::Query`] where a statistic would gather rows of more than one fingerprint.
pub(crate) async fn refuse_mixture(context: &SessionContext, plan: &LogicalPlan) -> Result<()> {
    if !may_mix(plan).map_err(failed)? {
        return Ok(());
    }
    let sql = format!("SELECT DISTINCT fingerprint FROM instances ORDER BY 1 LIMIT {}", NAMED_MAX + 1);
    let known = context.sql(&sql).await.map_err(failed)?.collect().await.map_err(failed)?;
    let mut names = Vec::new();
    for batch in known {
        let texts = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)
            .map_err(Error::arrow("listing fingerprints"))?;
        names.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    if names.len() < 2 {
        return Ok(());
    }
    let more = if names.len() > NAMED_MAX { ", .." } else { "" };
    names.truncate(NAMED_MAX);
    Err(Error::Query(format!(
        "this statistic would mix readings of several pipelines or versions; add WHERE fingerprint = '{}' (there are {}{more}), or GROUP BY \
         fingerprint; --mixed-fingerprints lets them mix",
        names[0],
        names.join(", ")
    )))
}

fn failed(error: DataFusionError) -> Error {
    Error::QueryFailed(Box::new(error))
}

/// Whether a statistic of the plan, subqueries included, gathers rows that nothing holds to one fingerprint.
fn may_mix(plan: &LogicalPlan) -> datafusion::error::Result<bool> {
    let mut mixes = false;
    plan.apply_with_subqueries(|node| {
        let open = match node {
            LogicalPlan::Aggregate(a) => {
                a.aggr_expr.iter().any(is_statistic) && !a.group_expr.iter().any(is_fingerprint) && !is_pinned(&a.input)
            }
            LogicalPlan::Window(w) => w.window_expr.iter().any(is_open_window) && !is_pinned(&w.input),
            _ => false,
        };
        mixes |= open;
        Ok(if mixes { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(mixes)
}

fn is_statistic(expression: &Expr) -> bool {
    match expression {
        Expr::AggregateFunction(f) => statistics::sql::is_statistic(f.func.name()),
        Expr::Alias(alias) => is_statistic(&alias.expr),
        _ => false,
    }
}

fn is_fingerprint(expression: &Expr) -> bool {
    matches!(expression, Expr::Column(column) if column.name == FINGERPRINT)
}

fn is_open_window(expression: &Expr) -> bool {
    match expression {
        Expr::WindowFunction(window) => {
            let WindowFunction { fun, params } = window.as_ref();
            let WindowFunctionDefinition::AggregateUDF(function) = fun else { return false };
            statistics::sql::is_statistic(function.name()) && !params.partition_by.iter().any(is_fingerprint)
        }
        Expr::Alias(alias) => is_open_window(&alias.expr),
        _ => false,
    }
}

/// Whether all rows of the lake below are of one fingerprint.
fn is_pinned(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => pins(filter) || is_pinned(&filter.input),
        LogicalPlan::TableScan(scan) => match scan.source.get_logical_plan() {
            Some(view) => is_pinned(&view),
            None => !OF_THE_LAKE.contains(&scan.table_name.table()),
        },
        other => other.inputs().into_iter().all(is_pinned),
    }
}

/// Whether a filter holds every column `fingerprint` of its input to a literal.
fn pins(filter: &datafusion::logical_expr::Filter) -> bool {
    let held: Vec<&Column> = split_conjunction(&filter.predicate).into_iter().filter_map(literal_equality).collect();
    let mut columns = filter.input.schema().iter().filter(|(_, field)| field.name() == FINGERPRINT).peekable();
    columns.peek().is_some() && columns.all(|(table, _)| held.iter().any(|c| c.relation.as_ref() == table))
}

/// The column `fingerprint` of `fingerprint = literal`.
fn literal_equality(expression: &Expr) -> Option<&Column> {
    let Expr::BinaryExpr(binary) = expression else { return None };
    let column = match (binary.left.as_ref(), binary.op, binary.right.as_ref()) {
        (Expr::Column(column), Operator::Eq, Expr::Literal(..)) => column,
        (Expr::Literal(..), Operator::Eq, Expr::Column(column)) => column,
        _ => return None,
    };
    (column.name == FINGERPRINT).then_some(column)
}

//! The statistics as SQL functions of DataFusion.
//!
//! Count states are aggregates (`aac_hist`, `aac_joint`, `aac_joint_outcome`): they work in GROUP BY, in window frames and over any
//! partitioning, and can be stored and merged. Scalar functions turn a state into `struct{n, estimate, std_error, conf_low,
//! conf_high, conf_level, method}`. What needs every row (survival, continuous scores) is an aggregate that gathers rows. Answers of
//! several rows are lists, for `unnest`. The table `statistics_functions` lists all, with formula, source and example.

mod answer;
mod gather;
mod listing;
mod of_rows;
mod of_states;
mod scalar;
mod state;

use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Name of the table that lists the functions.
pub const LISTING: &str = "statistics_functions";

/// Adds all functions and the table [`LISTING`] to a session.
///
/// # Errors
/// A table of that name exists already.
pub fn register(context: &SessionContext) -> Result<()> {
    for kind in state::StateKind::ALL {
        context.register_udaf(AggregateUDF::from(state::CountAggregate::new(kind)));
    }
    for place in 0..of_states::FUNCTIONS.len() {
        context.register_udf(ScalarUDF::from(scalar::StateFunction::new(place)));
    }
    for place in 0..of_rows::FUNCTIONS.len() {
        context.register_udaf(AggregateUDF::from(gather::GatherAggregate::new(place)));
    }
    context.register_table(LISTING, Arc::new(listing::table()?))?;
    Ok(())
}

/// A refusal of the statistics, as a failed query.
fn refused(error: crate::Error) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

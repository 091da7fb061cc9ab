//! The statistics as SQL functions of DataFusion.
//!
//! States are aggregates (`aac_hist`, `aac_joint`, `aac_joint_outcome` of scores, `moments` of any numbers): they work in GROUP BY, in
//! window frames and over any partitioning, give the same bits whatever that is, and can be stored and merged (`merge_states`). Scalar functions turn a state into `struct{n, estimate, std_error, conf_low,
//! conf_high, conf_level, method}`. What needs every row (survival, continuous scores) is an aggregate that gathers rows. Answers of
//! several rows are lists, for `unnest`. Values with a label (groups, participants) are counted by pairs. The table `statistics_functions` lists all, with formula, source and example.

mod answer;
mod conditions;
mod gather;
mod labelled;
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
        context.register_udaf(AggregateUDF::from(state::StateAggregate::new(kind)));
    }
    context.register_udaf(AggregateUDF::from(state::MergeStates::new()));
    for (place, function) in of_states::FUNCTIONS.iter().enumerate() {
        let known = ScalarUDF::from(scalar::StateFunction::new(place));
        context.register_udf(known.with_aliases(aliases(function.name).iter().copied()));
    }
    for (place, function) in of_rows::FUNCTIONS.iter().enumerate() {
        let known = AggregateUDF::from(gather::GatherAggregate::new(place));
        context.register_udaf(known.with_aliases(aliases(function.name).iter().copied()));
    }
    context.register_udaf(AggregateUDF::from(conditions::FlowAggregate::new()));
    for place in 0..labelled::FUNCTIONS.len() {
        context.register_udaf(AggregateUDF::from(labelled::LabelledAggregate::new(place)));
    }
    context.register_table(LISTING, Arc::new(listing::table()?))?;
    Ok(())
}

/// Short names, as command lines and other packages have them.
fn aliases(name: &str) -> &'static [&'static str] {
    match name {
        "aac_drift" => &["drift"],
        "c_index" => &["cindex"],
        "kaplan_meier" => &["km"],
        "log_rank" => &["logrank"],
        "standardise_prevalence" => &["standardise"],
        _ => &[],
    }
}

/// Whether an aggregate of that name gathers rows into a state of fixed size.
pub fn is_state(name: &str) -> bool {
    state::StateKind::ALL.iter().any(|kind| kind.name() == name)
}

/// Whether an aggregate of that name gathers readings into a statistic, so that rows that do not belong together must not meet in it.
pub fn is_statistic(name: &str) -> bool {
    let is = |known: &str| known == name || aliases(known).contains(&name);
    is_state(name)
        || [state::MergeStates::NAME, conditions::FlowAggregate::NAME].contains(&name)
        || of_rows::FUNCTIONS.iter().any(|f| is(f.name))
        || labelled::FUNCTIONS.iter().any(|f| is(f.name))
}

/// A refusal of the statistics, as a failed query.
fn refused(error: crate::Error) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

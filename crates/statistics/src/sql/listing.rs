//! The table of all functions.

use super::aliases;
use super::conditions::FlowAggregate;
use super::labelled;
use super::of_rows;
use super::of_states;
use super::state::{MergeStates, StateKind};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use std::sync::Arc;

const COLUMNS: [&str; 7] = ["name", "also", "usage", "returns", "formula", "source", "example"];

/// name, also (short names), usage, returns, formula, source, example of every function.
pub fn table() -> Result<MemTable> {
    let mut rows: Vec<[String; 7]> = Vec::new();
    for kind in StateKind::ALL {
        let (name, arguments) = (kind.name(), kind.arguments().join(", "));
        let returns = format!("list of {} {}", kind.len(), if kind == StateKind::Moments { "words" } else { "counts" });
        let example =
            format!("SELECT {name}({}) FROM pairs", arguments.replace("aac24", "model").replace("value", "days"));
        let usage = format!("{name}({arguments})");
        rows.push([
            name.to_owned(),
            String::new(),
            usage,
            returns,
            kind.formula().to_owned(),
            kind.source().to_owned(),
            example,
        ]);
    }
    rows.push(
        [
            MergeStates::NAME,
            "",
            "merge_states(state)",
            "a state as those merged",
            "the state of all rows together: sums of counts",
            "counts",
            "SELECT aac_mean(merge_states(h)) FROM (SELECT outcome, aac_hist(model) AS h FROM pairs GROUP BY outcome)",
        ]
        .map(str::to_owned),
    );
    for f in of_states::FUNCTIONS {
        rows.push([
            f.name.to_owned(),
            aliases(f.name).join(", "),
            f.usage(),
            f.form().describe(),
            f.formula.into(),
            f.source.into(),
            f.example.into(),
        ]);
    }
    for f in of_rows::FUNCTIONS {
        rows.push([
            f.name.to_owned(),
            aliases(f.name).join(", "),
            f.usage(),
            f.form.describe(),
            f.formula.into(),
            f.source.into(),
            f.example.into(),
        ]);
    }
    rows.push(FlowAggregate::listed());
    for f in labelled::FUNCTIONS {
        rows.push([
            f.name.to_owned(),
            String::new(),
            f.usage(),
            f.form.describe(),
            f.formula.into(),
            f.source.into(),
            f.example.into(),
        ]);
    }
    let column = |i: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r[i]))) as ArrayRef;
    let batch = RecordBatch::try_from_iter(COLUMNS.into_iter().enumerate().map(|(i, name)| (name, column(i))))?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}

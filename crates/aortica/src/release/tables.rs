//! The tables of a release with the meaning of their columns.

use crate::exit::usage;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lake::schema::describe;
use lake::{AggregateSession, Function, LakeSession};
use std::collections::HashMap;
use std::sync::Arc;

/// The value of a stratum in rows that are not by it.
pub const ALL: &str = "all";

/// Rows of a table: it is held in memory.
const ROWS_MAX: usize = 5_000_000;

/// One table and what it means.
pub struct Table {
    /// Also the name of its files.
    pub name: String,
    /// `tables` for what is told to everybody, `rows` for what only those may see who may see rows.
    pub folder: &'static str,
    pub about: String,
    pub columns: Vec<Meaning>,
    pub batch: RecordBatch,
}

/// What a column means.
#[derive(Debug, Clone, PartialEq)]
pub struct Meaning {
    pub name: String,
    pub label: String,
    pub unit: String,
    /// Codes with their labels in their order; empty where the column is a number, a date or free.
    pub choices: Vec<(String, String)>,
    pub note: String,
    /// Whether it names a participant, if by a pseudonym.
    pub identifies: bool,
}

impl Meaning {
    fn new(name: &str, label: &str) -> Meaning {
        Meaning {
            name: name.to_owned(),
            label: label.to_owned(),
            unit: String::new(),
            choices: Vec::new(),
            note: String::new(),
            identifies: false,
        }
    }

    fn with_choices<'a>(mut self, choices: impl IntoIterator<Item = (&'a str, &'a str)>) -> Meaning {
        self.choices = choices.into_iter().map(|(code, label)| (code.to_owned(), label.to_owned())).collect();
        self
    }

    /// As Arrow carries it.
    fn metadata(&self) -> HashMap<String, String> {
        let values = match self.choices.is_empty() {
            true => self.note.clone(),
            false => self.choices.iter().map(|(code, label)| format!("{code} {label}")).collect::<Vec<_>>().join(", "),
        };
        let pairs = [("label", self.label.clone()), ("unit", self.unit.clone()), ("values", values)];
        pairs.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key.to_owned(), text)).collect()
    }
}

impl Table {
    pub fn is_text(&self, column: usize) -> bool {
        *self.batch.column(column).data_type() == DataType::Utf8
    }
}

/// The tables of the functions that the policy allows, each with every combination of strata that it crosses.
pub fn protected(session: &AggregateSession) -> anyhow::Result<Vec<Table>> {
    session.functions().iter().map(|function| of_function(session, *function)).collect()
}

fn of_function(session: &AggregateSession, function: Function) -> anyhow::Result<Table> {
    let strata: Vec<(&str, &[String])> = session.strata().collect();
    let crossed = if function == Function::Flow {
        vec![Vec::new()]
    } else {
        combinations(strata.len(), session.strata_at_once())
    };
    let mut batches = Vec::new();
    for combination in crossed {
        let names: Vec<String> = combination.iter().map(|place| strata[*place].0.to_owned()).collect();
        let batch = session.table(function, &names)?;
        let with_all = if function == Function::Flow { Vec::new() } else { strata.iter().map(|s| s.0).collect() };
        batches.push(widened(&batch, &with_all)?);
    }
    let schema = batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(Schema::empty()));
    let batch = concat_batches(&schema, &batches)?;
    let columns = batch.schema().fields().iter().map(|f| meaning(f.name(), session, &batch)).collect();
    labelled(Table {
        name: function.name().to_owned(),
        folder: "tables",
        about: function.about().to_owned(),
        columns,
        batch,
    })
}

/// Subsets of up to `at_once` of `n` strata: fewer first, then in their order.
fn combinations(n: usize, at_once: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..at_once {
        let longer = |one: &Vec<usize>| {
            let from = one.last().map_or(0, |place| place + 1);
            (from..n).map(|place| [one.as_slice(), &[place]].concat()).collect::<Vec<_>>()
        };
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// The same with a column for every stratum, after the first.
fn widened(batch: &RecordBatch, strata: &[&str]) -> anyhow::Result<RecordBatch> {
    let all: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(ALL, batch.num_rows())));
    let schema = batch.schema();
    let named = |name: &str| batch.column_by_name(name).cloned();
    let first = schema.fields().iter().take(1).map(|f| f.name().as_str());
    let rest = schema.fields().iter().skip(1).map(|f| f.name().as_str()).filter(|name| !strata.contains(name));
    let columns = first.chain(strata.iter().copied()).chain(rest);
    let columns = columns.map(|name| (name.to_owned(), named(name).unwrap_or_else(|| Arc::clone(&all)), true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// Columns of the tables of counts and estimates.
fn meaning(name: &str, session: &AggregateSession, batch: &RecordBatch) -> Meaning {
    if let Some((_, values)) = session.strata().find(|(stratum, _)| *stratum == name) {
        let choices = std::iter::once(ALL).chain(values.iter().map(String::as_str));
        return Meaning::new(name, &format!("Stratum {name}")).with_choices(choices.map(|value| (value, value)));
    }
    let number = |label: &str, note: &str| Meaning { note: note.to_owned(), ..Meaning::new(name, label) };
    match name {
        "statistic" | "step" => {
            let texts = batch.column_by_name(name).map(|column| column.as_string::<i32>());
            let mut seen: Vec<&str> = Vec::new();
            for text in texts.iter().flat_map(|texts| texts.iter().flatten()) {
                if !seen.contains(&text) {
                    seen.push(text);
                }
            }
            Meaning::new(name, if name == "step" { "Step of the flow" } else { "Statistic" })
                .with_choices(seen.into_iter().map(|text| (text, text)))
        }
        "n" => number("Number counted", "whole number; empty where suppressed"),
        "estimate" => number("Estimate", "empty where suppressed or not defined"),
        "std_error" => number("Standard error", "empty where the method has none"),
        "conf_low" => number("Lower confidence limit", ""),
        "conf_high" => number("Upper confidence limit", ""),
        "conf_level" => number("Level of the confidence interval", "0.95 is 95 percent"),
        "method" => number("Method of the estimate and its interval", ""),
        "suppressed" => Meaning::new(name, "Withheld by disclosure control").with_choices(TRUTH),
        other => Meaning::new(other, other),
    }
}

const TRUTH: [(&str, &str); 2] = [("false", "no"), ("true", "yes")];

/// One row a participant, as the lake has them, with the columns of a joined file.
pub async fn rows(session: &LakeSession) -> anyhow::Result<Table> {
    let mut answer = session.query("SELECT * FROM participants ORDER BY participant_id NULLS LAST, item_id").await?;
    let schema = answer.schema();
    let mut batches = Vec::new();
    let mut n = 0;
    while let Some(batch) = answer.next().await? {
        n += batch.num_rows();
        if n > ROWS_MAX {
            return Err(usage(format!(
                "the cohort has more than {ROWS_MAX} rows; write them with `aortica query --format parquet`"
            )));
        }
        batches.push(batch);
    }
    let batch = plain_text(&concat_batches(&schema, &batches)?)?;
    let columns = batch.schema().fields().iter().map(|field| of_reading(field.name())).collect();
    let about =
        "One row a participant: the primary image of the latest visit. Pseudonyms and dates as the lake has them"
            .to_owned();
    labelled(Table { name: "readings".to_owned(), folder: "rows", about, columns, batch })
}

/// Text in the one form that every reader of Parquet knows.
fn plain_text(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => cast(column, &DataType::Utf8),
        _ => Ok(Arc::clone(column)),
    };
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let names = schema.fields().iter().map(|f| f.name().clone());
    Ok(RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true)))?)
}

/// Codes of the columns of readings that are coded.
fn of_reading(name: &str) -> Meaning {
    let Some(column) = describe(name) else {
        let label =
            if name == "age_from" { "Five-year band of age: where it begins" } else { "Column of the joined file" };
        return Meaning::new(name, label);
    };
    let meaning = Meaning {
        unit: column.unit.to_owned(),
        note: column.values.clone().into_owned(),
        identifies: name.ends_with("_id") || name == "artifact_key",
        ..Meaning::new(name, &column.label)
    };
    match name {
        "sex" => meaning.with_choices([("F", "female"), ("M", "male"), ("O", "other")]),
        "status" => meaning.with_choices([("scored", "scored"), ("excluded", "excluded"), ("failed", "failed")]),
        "aac24_cat" => meaning.with_choices([("0", "low"), ("1", "moderate"), ("2", "high")]),
        "aac24_cat_label" => meaning.with_choices([("low", "low"), ("moderate", "moderate"), ("high", "high")]),
        _ if column.unit == "grade" => meaning.with_choices([
            ("0", "none"),
            ("1", "up to 1/3 of the wall"),
            ("2", "up to 2/3 of the wall"),
            ("3", "more than 2/3 of the wall"),
        ]),
        _ if column.kind == lake::schema::Kind::Boolean => meaning.with_choices(TRUTH),
        _ => meaning,
    }
}

/// The same with labels, units and values in the metadata of its columns.
fn labelled(mut table: Table) -> anyhow::Result<Table> {
    let schema = table.batch.schema();
    let fields = schema.fields().iter().zip(&table.columns);
    let fields: Vec<Field> = fields
        .map(|(f, meaning)| Field::new(f.name(), f.data_type().clone(), true).with_metadata(meaning.metadata()))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    table.batch = RecordBatch::try_new(schema, table.batch.columns().to_vec())?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_come_in_order() {
        let expected: Vec<Vec<usize>> = vec![vec![], vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2]];
        assert_eq!(combinations(3, 2), expected);
        assert_eq!(combinations(3, 0), [Vec::<usize>::new()]);
    }

    #[test]
    fn every_coded_reading_has_its_labels_in_order() {
        let labels = |name: &str| of_reading(name).choices.into_iter().map(|c| c.1).collect::<Vec<_>>();
        assert_eq!(labels("aac24_cat"), ["low", "moderate", "high"]);
        assert_eq!(labels("aac_l4_post").len(), 4);
        assert_eq!(labels("primary_image"), ["no", "yes"]);
        assert!(labels("aac24_total").is_empty() && of_reading("participant_id").identifies);
    }
}

//! Aggregates of a value and a label (a group, a participant): distinct pairs are counted, so that what is held grows with what
//! differs, not with the rows. Rows with a missing value or label are counted too.

use super::answer::{Answer, Form};
use super::refused;
use crate::bootstrap::{Cluster, cluster_mean};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::Confidence;
use crate::table1::{Counted, Value, table_one};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, StringArray, UInt64Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most distinct pairs of one group: some 500 MB.
const PAIRS_MAX: usize = 5_000_000;
/// The bootstrap is the same in every run: one seed, and enough replicates for two digits of an interval (Efron & Tibshirani 1993, 13.3).
const SEED: u64 = 1;
const REPLICATES: u32 = 2_000;
/// Most participants of a bootstrap: minutes of one core.
const PARTICIPANTS_MAX: usize = 1_000_000;

/// One aggregate.
pub struct Function {
    pub name: &'static str,
    /// A value, then a label, which may be left out where `label_optional`.
    pub arguments: [&'static str; 2],
    pub label_optional: bool,
    /// Whether values may be words.
    pub words: bool,
    pub form: Form,
    /// Of distinct pairs in ascending order.
    pub apply: fn(Vec<Counted>) -> Result<Answer>,
    pub formula: &'static str,
    pub source: &'static str,
    pub example: &'static str,
}

impl Function {
    pub fn usage(&self) -> String {
        let [value, label] = self.arguments;
        if self.label_optional {
            format!("{}({value}[, {label}])", self.name)
        } else {
            format!("{}({value}, {label})", self.name)
        }
    }
}

/// All aggregates of labelled values.
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "table1",
        arguments: ["value", "group"],
        label_optional: true,
        words: true,
        form: Form::Lines,
        apply: |rows| Ok(Answer::Lines(table_one(&rows, Confidence::default())?)),
        formula: "by group and for all: mean, sd, quartiles of numbers, shares of words, missing; smd across groups",
        source: "Austin 2009; Yang & Dalton 2012",
        example: "SELECT unnest(table1(model, outcome)) FROM pairs",
    },
    Function {
        name: "cluster_bootstrap",
        arguments: ["value", "participant"],
        label_optional: false,
        words: false,
        form: Form::Estimate,
        apply: bootstrap,
        formula: "mean over all rows; whole participants weighted by Poisson(1), 2,000 replicates, percentiles",
        source: "Hanley & MacGibbon 2006; Field & Welsh 2007",
        example: "SELECT cluster_bootstrap(model, reference) FROM pairs",
    },
];

/// The mean of complete rows with participants as clusters.
fn bootstrap(rows: Vec<Counted>) -> Result<Answer> {
    let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
    for row in rows {
        let (Some(Value::Number(value)), Some(participant)) = (row.value, row.group) else { continue };
        if !value.is_finite() {
            continue;
        }
        let head = domain::Digest::of(participant.as_bytes()).0;
        let number = head.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let cluster = clusters.entry(participant).or_insert(Cluster { participant: number, rows: 0, sum: 0.0 });
        cluster.rows += row.count;
        cluster.sum += value * row.count as f64;
    }
    if clusters.len() > PARTICIPANTS_MAX {
        let context = format!("{} participants, of which at most {PARTICIPANTS_MAX} are bootstrapped", clusters.len());
        return Err(Error::new(ErrorKind::Limit, context));
    }
    let clusters: Vec<Cluster> = clusters.into_values().collect();
    Ok(Answer::Estimate(cluster_mean(&clusters, SEED, REPLICATES, Confidence::default())?))
}

/// A function of [`FUNCTIONS`], by its place there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LabelledAggregate {
    place: usize,
    signature: Signature,
}

impl LabelledAggregate {
    pub fn new(place: usize) -> LabelledAggregate {
        LabelledAggregate { place, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn function(&self) -> &'static Function {
        &FUNCTIONS[self.place]
    }
}

/// The columns of a state: values, labels, counts.
fn state_types(value: &DataType) -> [DataType; 3] {
    [value.clone(), DataType::Utf8, DataType::UInt64]
}

impl AggregateUDFImpl for LabelledAggregate {
    fn name(&self) -> &str {
        self.function().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Numbers stay numbers; all else becomes words.
    fn coerce_types(&self, types: &[DataType]) -> datafusion::error::Result<Vec<DataType>> {
        let function = self.function();
        let complete = types.len() == 2 || (types.len() == 1 && function.label_optional);
        let number = types.first().is_some_and(|t| t.is_numeric() || (!function.words && *t == DataType::Boolean));
        if !complete || !(number || function.words || types[0] == DataType::Null) {
            let kind = if function.words { "numbers or words" } else { "numbers or booleans" };
            return plan_err!("{} is wanted, the value {kind}", function.usage());
        }
        let value = if number || !function.words { DataType::Float64 } else { DataType::Utf8 };
        Ok(std::iter::once(value).chain(types.iter().skip(1).map(|_| DataType::Utf8)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(self.function().form.data_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> datafusion::error::Result<Vec<FieldRef>> {
        let value = args.input_fields[0].data_type();
        let named = ["values", "labels", "counts"].into_iter().zip(state_types(value));
        let field = |(name, kind): (&str, DataType)| {
            Arc::new(Field::new(format_state_name(args.name, name), DataType::new_list(kind, true), true))
        };
        Ok(named.map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> datafusion::error::Result<Box<dyn Accumulator>> {
        let value = args.expr_fields[0].data_type().clone();
        Ok(Box::new(Labelled { place: self.place, value, counts: BTreeMap::new() }))
    }
}

type Key = (Option<Value>, Option<String>);

/// Distinct pairs with their counts.
#[derive(Debug)]
struct Labelled {
    place: usize,
    value: DataType,
    counts: BTreeMap<Key, u64>,
}

fn value_at(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        // -0 and 0 are one value
        DataType::Float64 => Some(Value::Number(column.as_primitive::<Float64Type>().value(row) + 0.0)),
        _ => Some(Value::Level(column.as_string::<i32>().value(row).to_owned())),
    }
}

fn label_at(column: &ArrayRef, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned())
}

impl Accumulator for Labelled {
    fn update_batch(&mut self, values: &[ArrayRef]) -> datafusion::error::Result<()> {
        for row in 0..values[0].len() {
            let label = values.get(1).and_then(|labels| label_at(labels, row));
            *self.counts.entry((value_at(&values[0], row), label)).or_default() += 1;
        }
        self.bounded()
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> datafusion::error::Result<()> {
        let [values, labels, counts] = [0, 1, 2].map(|column| columns[column].as_list::<i32>());
        for part in 0..values.len() {
            let (values, labels, counts) = (values.value(part), labels.value(part), counts.value(part));
            let counts = counts.as_primitive::<UInt64Type>();
            for row in 0..values.len() {
                *self.counts.entry((value_at(&values, row), label_at(&labels, row))).or_default() += counts.value(row);
            }
        }
        self.bounded()
    }

    fn state(&mut self) -> datafusion::error::Result<Vec<ScalarValue>> {
        let counts = std::mem::take(&mut self.counts);
        let values: ArrayRef = if self.value == DataType::Float64 {
            let number = |value: &Option<Value>| if let Some(Value::Number(v)) = value { Some(*v) } else { None };
            Arc::new(counts.keys().map(|(value, _)| number(value)).collect::<Float64Array>())
        } else {
            let words = |value: &Option<Value>| if let Some(Value::Level(v)) = value { Some(v.clone()) } else { None };
            Arc::new(counts.keys().map(|(value, _)| words(value)).collect::<StringArray>())
        };
        let labels: ArrayRef = Arc::new(counts.keys().map(|(_, label)| label.as_deref()).collect::<StringArray>());
        let counted: ArrayRef = Arc::new(UInt64Array::from_iter_values(counts.values().copied()));
        [values, labels, counted]
            .into_iter()
            .map(|column| {
                let item = Arc::new(Field::new_list_field(column.data_type().clone(), true));
                let list = ListArray::try_new(item, OffsetBuffer::from_lengths([column.len()]), column, None)?;
                Ok(ScalarValue::List(Arc::new(list)))
            })
            .collect()
    }

    fn evaluate(&mut self) -> datafusion::error::Result<ScalarValue> {
        let function = &FUNCTIONS[self.place];
        // A window that grows asks again and again.
        let counted = |((value, group), count): (&Key, &u64)| Counted {
            value: value.clone(),
            group: group.clone(),
            count: *count,
        };
        let rows = self.counts.iter().map(counted).collect();
        let answer = (function.apply)(rows).map_err(refused)?;
        ScalarValue::try_from_array(&function.form.array(&[Some(answer)])?, 0)
    }

    fn size(&self) -> usize {
        // a node of the tree and a short label
        size_of_val(self) + self.counts.len() * (size_of::<Key>() + size_of::<u64>() + 24)
    }
}

impl Labelled {
    fn bounded(&self) -> datafusion::error::Result<()> {
        if self.counts.len() > PAIRS_MAX {
            let name = FUNCTIONS[self.place].name;
            return exec_err!(
                "{name} holds at most {PAIRS_MAX} distinct pairs in memory; round values or select fewer"
            );
        }
        Ok(())
    }
}

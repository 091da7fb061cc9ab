//! Answers as Arrow: a struct for one estimate or test, a list of structs for several.

use crate::estimate::{Estimate, Test};
use datafusion::arrow::array::{ArrayRef, Float64Array, ListArray, StringArray, StructArray, UInt64Array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result;
use std::sync::Arc;

/// What a function gives for a row or a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Estimate(Estimate),
    Test(Test),
    /// Named estimates.
    Table(Vec<(String, Estimate)>),
    /// Steps of a survival curve: time, at risk, events, censored, survival.
    Curve(Vec<(f64, u64, u64, u64, Estimate)>),
}

/// The form of a function's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Estimate,
    Test,
    Table,
    Curve,
}

const ESTIMATE: [(&str, DataType); 7] = [
    ("n", DataType::UInt64),
    ("estimate", DataType::Float64),
    ("std_error", DataType::Float64),
    ("conf_low", DataType::Float64),
    ("conf_high", DataType::Float64),
    ("conf_level", DataType::Float64),
    ("method", DataType::Utf8),
];

fn fields<'a>(columns: impl IntoIterator<Item = &'a (&'static str, DataType)>) -> Fields {
    columns.into_iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect()
}

impl Form {
    fn row(self) -> Fields {
        match self {
            Form::Estimate => fields(&ESTIMATE),
            Form::Test => fields(&[
                ("n", DataType::UInt64),
                ("statistic", DataType::Float64),
                ("df", DataType::Float64),
                ("p_value", DataType::Float64),
                ("method", DataType::Utf8),
            ]),
            Form::Table => fields([("statistic", DataType::Utf8)].iter().chain(&ESTIMATE)),
            Form::Curve => fields(
                [
                    ("time", DataType::Float64),
                    ("at_risk", DataType::UInt64),
                    ("events", DataType::UInt64),
                    ("censored", DataType::UInt64),
                ]
                .iter()
                .chain(&ESTIMATE),
            ),
        }
    }

    pub fn data_type(self) -> DataType {
        let row = DataType::Struct(self.row());
        match self {
            Form::Estimate | Form::Test => row,
            Form::Table | Form::Curve => DataType::new_list(row, true),
        }
    }

    /// As SQL shows it.
    pub fn describe(self) -> String {
        let names: Vec<String> = self.row().iter().map(|f| f.name().clone()).collect();
        match self {
            Form::Estimate | Form::Test => format!("struct{{{}}}", names.join(", ")),
            Form::Table | Form::Curve => format!("list of struct{{{}}}", names.join(", ")),
        }
    }

    /// Answers of rows in order, NULL where there is none.
    pub fn array(self, answers: &[Option<Answer>]) -> Result<ArrayRef> {
        let valid = NullBuffer::from_iter(answers.iter().map(Option::is_some));
        let mut rows = Rows::default();
        let mut lengths = Vec::with_capacity(answers.len());
        for answer in answers {
            let before = rows.n.len();
            match answer {
                Some(Answer::Estimate(e)) => rows.estimate(e),
                Some(Answer::Test(t)) => rows.test(t),
                Some(Answer::Table(table)) => table.iter().for_each(|(name, e)| {
                    rows.name.push(Some(name.clone()));
                    rows.estimate(e);
                }),
                Some(Answer::Curve(steps)) => steps.iter().for_each(|(time, at_risk, events, censored, e)| {
                    rows.time.push(*time);
                    rows.at_risk.push(*at_risk);
                    rows.events.push(*events);
                    rows.censored.push(*censored);
                    rows.estimate(e);
                }),
                None if matches!(self, Form::Estimate | Form::Test) => rows.null(),
                None => {}
            }
            lengths.push(rows.n.len() - before);
        }
        let columns = rows.columns(self);
        let row = |valid: Option<NullBuffer>| StructArray::try_new(self.row(), columns, valid);
        Ok(match self {
            Form::Estimate | Form::Test => Arc::new(row(Some(valid))?),
            Form::Table | Form::Curve => {
                let item = Arc::new(Field::new_list_field(DataType::Struct(self.row()), true));
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::try_new(item, offsets, Arc::new(row(None)?), Some(valid))?)
            }
        })
    }
}

/// Columns of all forms; each form uses its own.
#[derive(Default)]
struct Rows {
    name: Vec<Option<String>>,
    time: Vec<f64>,
    at_risk: Vec<u64>,
    events: Vec<u64>,
    censored: Vec<u64>,
    n: Vec<Option<u64>>,
    /// estimate, std_error, conf_low, conf_high, conf_level; or statistic, df, p_value
    numbers: [Vec<Option<f64>>; 5],
    method: Vec<Option<&'static str>>,
}

impl Rows {
    fn push(&mut self, n: Option<u64>, numbers: [Option<f64>; 5], method: Option<&'static str>) {
        self.n.push(n);
        self.numbers.iter_mut().zip(numbers).for_each(|(column, value)| column.push(value));
        self.method.push(method);
    }

    fn estimate(&mut self, e: &Estimate) {
        let numbers = [e.estimate, e.std_error, e.conf_low, e.conf_high, Some(e.conf_level)];
        self.push(Some(e.n), numbers, Some(e.method));
    }

    fn test(&mut self, t: &Test) {
        self.push(Some(t.n), [t.statistic, t.df, t.p_value, None, None], Some(t.method));
    }

    fn null(&mut self) {
        self.push(None, [None; 5], None);
    }

    fn columns(self, form: Form) -> Vec<ArrayRef> {
        let n: ArrayRef = Arc::new(UInt64Array::from(self.n));
        let mut numbers = self.numbers.into_iter().map(|v| Arc::new(Float64Array::from(v)) as ArrayRef);
        let method: ArrayRef = Arc::new(StringArray::from(self.method));
        let mut columns: Vec<ArrayRef> = match form {
            Form::Estimate | Form::Test => Vec::new(),
            Form::Table => vec![Arc::new(StringArray::from(self.name))],
            Form::Curve => vec![
                Arc::new(Float64Array::from(self.time)),
                Arc::new(UInt64Array::from(self.at_risk)),
                Arc::new(UInt64Array::from(self.events)),
                Arc::new(UInt64Array::from(self.censored)),
            ],
        };
        columns.push(n);
        columns.extend(numbers.by_ref().take(if form == Form::Test { 3 } else { 5 }));
        columns.push(method);
        columns
    }
}

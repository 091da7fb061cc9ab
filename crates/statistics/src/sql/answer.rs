//! Answers as Arrow: a struct for one estimate or test, a list of structs for several.

use crate::estimate::{Estimate, Test};
use crate::roc::RocPoint;
use crate::survival::SurvivalStep;
use crate::table1::Line;
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
    /// Named tests.
    Tests(Vec<(String, Test)>),
    /// Steps of a survival curve.
    Curve(Vec<SurvivalStep>),
    /// Thresholds, from none found to all found.
    Roc(Vec<RocPoint>),
    /// Mean of both scores, model - reference, and how often: the points of a Bland-Altman plot.
    Differences(Vec<(f64, f64, u64)>),
    /// Lines of Table 1.
    Lines(Vec<Line>),
}

/// The form of a function's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Estimate,
    Test,
    Table,
    Tests,
    Curve,
    Roc,
    Differences,
    Lines,
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

const TEST: [(&str, DataType); 5] = [
    ("n", DataType::UInt64),
    ("statistic", DataType::Float64),
    ("df", DataType::Float64),
    ("p_value", DataType::Float64),
    ("method", DataType::Utf8),
];

fn fields(lead: &[(&'static str, DataType)], rest: &[(&'static str, DataType)]) -> Fields {
    lead.iter().chain(rest).map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect()
}

impl Form {
    fn row(self) -> Fields {
        use DataType::{Float64, UInt64, Utf8};
        match self {
            Form::Estimate => fields(&[], &ESTIMATE),
            Form::Test => fields(&[], &TEST),
            Form::Table => fields(&[("statistic", Utf8)], &ESTIMATE),
            Form::Tests => fields(&[("test", Utf8)], &TEST),
            Form::Curve => {
                fields(&[("time", Float64), ("at_risk", UInt64), ("events", UInt64), ("censored", UInt64)], &ESTIMATE)
            }
            Form::Roc => fields(
                &[("at_least", Float64), ("cases", UInt64), ("controls", UInt64)],
                &[("sensitivity", Float64), ("specificity", Float64)],
            ),
            Form::Differences => fields(&[("mean", Float64), ("difference", Float64)], &[("n", UInt64)]),
            Form::Lines => fields(&[("grp", Utf8), ("level", Utf8), ("statistic", Utf8)], &ESTIMATE),
        }
    }

    /// Whether an answer is one row rather than a list.
    fn is_single(self) -> bool {
        matches!(self, Form::Estimate | Form::Test)
    }

    pub fn data_type(self) -> DataType {
        let row = DataType::Struct(self.row());
        if self.is_single() { row } else { DataType::new_list(row, true) }
    }

    /// As SQL shows it.
    pub fn describe(self) -> String {
        let names: Vec<String> = self.row().iter().map(|f| f.name().clone()).collect();
        format!("{}struct{{{}}}", if self.is_single() { "" } else { "list of " }, names.join(", "))
    }

    /// Answers of rows in order, NULL where there is none.
    pub fn array(self, answers: &[Option<Answer>]) -> Result<ArrayRef> {
        let valid = NullBuffer::from_iter(answers.iter().map(Option::is_some));
        let fields = self.row();
        let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(answers.len());
        let mut lengths = Vec::with_capacity(answers.len());
        for answer in answers {
            let before = rows.len();
            match answer {
                Some(answer) => rows.extend(answer.rows()),
                None if self.is_single() => rows.push(vec![Cell::Null; fields.len()]),
                None => {}
            }
            lengths.push(rows.len() - before);
        }
        let columns = fields.iter().enumerate().map(|(place, field)| column(field.data_type(), &rows, place)).collect();
        if self.is_single() {
            return Ok(Arc::new(StructArray::try_new(fields, columns, Some(valid))?));
        }
        let values = StructArray::try_new(fields.clone(), columns, None)?;
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), Some(valid))?))
    }
}

/// One value of an answer.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Count(u64),
    Number(f64),
    Text(String),
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// The column of a form's type; a cell of another type would be a fault of the form and is NULL.
fn column(kind: &DataType, rows: &[Vec<Cell>], place: usize) -> ArrayRef {
    let cells = rows.iter().map(|row| &row[place]);
    match kind {
        DataType::UInt64 => {
            let count = |cell: &Cell| if let Cell::Count(v) = cell { Some(*v) } else { None };
            Arc::new(cells.map(count).collect::<UInt64Array>())
        }
        DataType::Float64 => {
            let number = |cell: &Cell| if let Cell::Number(v) = cell { Some(*v) } else { None };
            Arc::new(cells.map(number).collect::<Float64Array>())
        }
        _ => {
            let text = |cell: &Cell| if let Cell::Text(v) = cell { Some(v.clone()) } else { None };
            Arc::new(cells.map(text).collect::<StringArray>())
        }
    }
}

fn of_estimate(lead: impl IntoIterator<Item = Cell>, e: &Estimate) -> Vec<Cell> {
    let rest = [
        e.n.into(),
        e.estimate.into(),
        e.std_error.into(),
        e.conf_low.into(),
        e.conf_high.into(),
        e.conf_level.into(),
        e.method.into(),
    ];
    lead.into_iter().chain(rest).collect()
}

fn of_test(lead: impl IntoIterator<Item = Cell>, t: &Test) -> Vec<Cell> {
    let rest = [t.n.into(), t.statistic.into(), t.df.into(), t.p_value.into(), t.method.into()];
    lead.into_iter().chain(rest).collect()
}

impl Answer {
    fn rows(&self) -> Vec<Vec<Cell>> {
        match self {
            Answer::Estimate(e) => vec![of_estimate([], e)],
            Answer::Test(t) => vec![of_test([], t)],
            Answer::Table(table) => table.iter().map(|(name, e)| of_estimate([name.as_str().into()], e)).collect(),
            Answer::Tests(tests) => tests.iter().map(|(name, t)| of_test([name.as_str().into()], t)).collect(),
            Answer::Curve(steps) => {
                let lead = |s: &SurvivalStep| [s.time.into(), s.at_risk.into(), s.events.into(), s.censored.into()];
                steps.iter().map(|s| of_estimate(lead(s), &s.survival)).collect()
            }
            Answer::Roc(points) => points
                .iter()
                .map(|p| {
                    vec![
                        p.at_least.into(),
                        p.cases.into(),
                        p.controls.into(),
                        p.sensitivity.into(),
                        p.specificity.into(),
                    ]
                })
                .collect(),
            Answer::Differences(points) => points
                .iter()
                .map(|(mean, difference, n)| vec![(*mean).into(), (*difference).into(), (*n).into()])
                .collect(),
            Answer::Lines(lines) => {
                let lead =
                    |line: &Line| [line.group.as_deref().into(), line.level.as_deref().into(), line.statistic.into()];
                lines.iter().map(|line| of_estimate(lead(line), &line.estimate)).collect()
            }
        }
    }
}

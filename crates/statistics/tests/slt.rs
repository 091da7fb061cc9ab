//! The SQL functions as statements with their answers (`slt/*.slt`): published values, values by scipy, and what NULLs, nothing and one row give.
//!
//! Numbers are written with six digits after the point, which is what is published; a missing value is NULL. Tables beside those that a
//! file makes: `lung` and `asah` of R's survival and pROC (`data/`).

#![cfg(feature = "sql")]

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Session(SessionContext);

/// A column as files write it.
fn texts(column: &ArrayRef) -> Vec<String> {
    if *column.data_type() == DataType::Float64 {
        let numbers = column.as_primitive::<Float64Type>().iter();
        return numbers.map(|v| v.map_or("NULL".to_owned(), |v| format!("{:.6}", v + 0.0))).collect();
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    let text = |row: usize| Some(formatter.value(row).to_string()).filter(|t| !t.is_empty());
    (0..column.len()).map(|row| text(row).unwrap_or_else(|| "(empty)".to_owned())).collect()
}

#[async_trait]
impl AsyncDB for Session {
    type Error = DataFusionError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, DataFusionError> {
        let frame = self.0.sql(sql).await?;
        let width = frame.schema().fields().len();
        let batches = frame.collect().await?;
        if width == 0 {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in batches {
            let columns: Vec<Vec<String>> = batch.columns().iter().map(texts).collect();
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].clone()).collect()));
        }
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows })
    }

    async fn shutdown(&mut self) {}
}

/// Columns of `data/NAME.csv` as numbers, a value that is none as NULL but `Poor` as 1 and `Good` as 0.
fn data(context: &SessionContext, name: &str, columns: &[&str]) {
    let path = format!("{}/tests/data/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    let value = |text: &str| match text {
        "Poor" => Some(1.0),
        "Good" => Some(0.0),
        text => text.parse::<f64>().ok(),
    };
    let arrays = columns.iter().map(|column| {
        let place = header.iter().position(|h| h == *column).unwrap();
        let values: Float64Array = rows.iter().map(|row| value(&row[place])).collect();
        (column.replace('.', "_"), Arc::new(values) as ArrayRef, true)
    });
    context.register_batch(name, RecordBatch::try_from_iter_with_nullable(arrays).unwrap()).unwrap();
}

fn session() -> SessionContext {
    // Several partitions, so that states are merged.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(16));
    statistics::sql::register(&context).unwrap();
    data(&context, "lung", &["time", "status", "sex", "age", "ph.ecog"]);
    data(&context, "asah", &["outcome", "s100b", "wfns"]);
    context
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn every_statement_has_its_answer() {
    let files = files();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Session(session())) });
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}", error.display(false)));
    }
}

#[tokio::test]
async fn every_function_is_asked_with_nulls_with_nothing_and_with_rows() {
    let text: String = files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let listed = session().sql("SELECT name, also FROM statistics_functions").await.unwrap().collect().await.unwrap();
    let mut names = Vec::new();
    for batch in &listed {
        let (name, also) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        names.extend(name.iter().chain(also).flatten().flat_map(|names| names.split(", ")).map(str::to_owned));
    }
    for name in names.iter().filter(|name| !name.is_empty()) {
        let call = format!("{name}(");
        let asked = text
            .match_indices(&call)
            .any(|(at, _)| !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
        assert!(asked, "no file asks {name}");
    }
}

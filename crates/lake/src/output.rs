//! Answers as people and programs read them, written as the rows come.

use crate::error::{Error, Result};
use crate::session::Answer;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::writer::JsonArray;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use std::io::Write;

/// Rows of a table on the screen; the columns' widths need them all at once.
pub const TABLE_ROWS_MAX: usize = 1_000;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned, at most [`TABLE_ROWS_MAX`] rows.
    #[default]
    Table,
    /// With a header; missing values are empty.
    Csv,
    /// One array of objects; missing values are null.
    Json,
    /// With labels and units in the metadata.
    Parquet,
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Format::Table),
            "csv" => Ok(Format::Csv),
            "json" => Ok(Format::Json),
            "parquet" => Ok(Format::Parquet),
            other => Err(format!("format {other:?} is not one of table, csv, json, parquet")),
        }
    }
}

/// Writes an answer. Returns how many rows were written.
///
/// # Errors
/// The query fails on the way, or the writer does ([`Error::Output`]).
pub async fn write_answer(answer: Answer, format: Format, out: impl Write + Send) -> Result<u64> {
    let mut sink = Sink { out, failure: None };
    let written = match format {
        Format::Table => table(answer, &mut sink).await,
        Format::Csv => csv(answer, &mut sink).await,
        Format::Json => json(answer, &mut sink).await,
        Format::Parquet => parquet(answer, &mut sink).await,
    };
    match sink.failure {
        Some(failure) => Err(Error::Output(failure)),
        None => written,
    }
}

/// Remembers the writer's error: the libraries between turn it into text, and a closed pipe must be told from the rest.
struct Sink<W> {
    out: W,
    failure: Option<std::io::Error>,
}

impl<W> Sink<W> {
    fn note<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != std::io::ErrorKind::Interrupted {
                self.failure.get_or_insert(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}

async fn table(mut answer: Answer, mut out: impl Write) -> Result<u64> {
    let mut batches = vec![RecordBatch::new_empty(answer.schema())];
    let (mut rows, mut more) = (0, false);
    while let Some(batch) = answer.next().await? {
        let room = TABLE_ROWS_MAX - rows;
        if batch.num_rows() > room {
            more = true;
            batches.push(batch.slice(0, room));
            rows += room;
            break;
        }
        rows += batch.num_rows();
        batches.push(batch);
    }
    let options = FormatOptions::default().with_types_info(false);
    let text = pretty_format_batches_with_options(&batches, &options).map_err(Error::arrow("laying out a table"))?;
    let end = match (more, rows) {
        (true, _) => format!("the first {rows} rows; --format csv gives all"),
        (false, 1) => "1 row".to_owned(),
        (false, rows) => format!("{rows} rows"),
    };
    writeln!(out, "{text}\n{end}").and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(rows as u64)
}

async fn csv(mut answer: Answer, out: impl Write) -> Result<u64> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    // An answer without rows has a header too.
    writer.write(&RecordBatch::new_empty(answer.schema())).map_err(arrow_failed)?;
    let mut rows = 0;
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(arrow_failed)?;
    }
    writer.into_inner().flush().map_err(Error::Output)?;
    Ok(rows)
}

async fn json(mut answer: Answer, out: impl Write) -> Result<u64> {
    let mut writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
    let mut rows = 0;
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(arrow_failed)?;
    }
    writer.finish().map_err(arrow_failed)?;
    let mut out = writer.into_inner();
    writeln!(out).and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(rows)
}

async fn parquet(mut answer: Answer, out: impl Write + Send) -> Result<u64> {
    let properties = crate::datafile::writer_properties(crate::datafile::ROW_GROUP_ROWS);
    let mut writer = ArrowWriter::try_new(out, answer.schema(), Some(properties)).map_err(parquet_failed)?;
    let mut rows = 0;
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(parquet_failed)?;
    }
    let mut out = writer.into_inner().map_err(parquet_failed)?;
    out.flush().map_err(Error::Output)?;
    Ok(rows)
}

fn arrow_failed(source: ArrowError) -> Error {
    Error::Arrow { what: "writing the answer", source }
}

fn parquet_failed(source: ParquetError) -> Error {
    Error::Parquet { what: "writing the answer", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionOptions;
    use crate::samples::{failed, grades, scored};
    use crate::tests::lake;
    use domain::FailReason;

    async fn written(sql: &str, format: Format) -> Vec<u8> {
        let lake = lake().await;
        let mut committer = lake.committer().await.unwrap();
        committer.commit(vec![scored(1, grades(1)), failed(2, FailReason::Truncated)]).await.unwrap();
        let session = lake.session(SessionOptions::default()).await.unwrap();
        let mut out = Vec::new();
        write_answer(session.query(sql).await.unwrap(), format, &mut out).await.unwrap();
        out
    }

    #[tokio::test]
    async fn every_format_tells_missing_from_zero() {
        let sql = "SELECT aac_l1_post AS g, aac_l2_post AS h, status FROM readings ORDER BY status DESC";
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(text(written(sql, Format::Csv).await), "g,h,status\n0,0,scored\n,,failed\n");
        let json: serde_json::Value = serde_json::from_slice(&written(sql, Format::Json).await).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{"g": 0, "h": 0, "status": "scored"}, {"g": null, "h": null, "status": "failed"}])
        );
        let table = text(written(sql, Format::Table).await);
        assert!(table.contains("| 0 | 0 | scored |") && table.contains("|   |   | failed |"), "{table}");
        assert!(table.ends_with("2 rows\n"), "{table}");
    }

    #[tokio::test]
    async fn an_answer_without_rows_has_its_columns() {
        let sql = "SELECT item_id, status FROM readings WHERE status = 'nothing'";
        assert_eq!(written(sql, Format::Csv).await, b"item_id,status\n");
        assert_eq!(written(sql, Format::Json).await, b"[]\n");
        assert!(String::from_utf8(written(sql, Format::Table).await).unwrap().contains("| item_id | status |"));
    }

    #[tokio::test]
    async fn parquet_carries_labels_and_units() {
        let bytes = written("SELECT aac_length_mm, primary_image FROM readings", Format::Parquet).await;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
        let schema = std::sync::Arc::clone(reader.unwrap().schema());
        assert_eq!(schema.field(0).metadata()["unit"], "mm");
        assert!(schema.field(1).metadata()["label"].contains("participant"));
    }

    #[tokio::test]
    async fn a_table_stops_where_the_screen_does() {
        let text = String::from_utf8(written("SELECT * FROM range(5000)", Format::Table).await).unwrap();
        assert!(text.contains("the first 1000 rows"));
        assert!(text.lines().count() < 1_010);
    }

    #[tokio::test]
    async fn a_closed_pipe_is_an_error_of_output() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let session = lake().await.session(SessionOptions::default()).await.unwrap();
        for format in [Format::Table, Format::Csv, Format::Json, Format::Parquet] {
            let answer = session.query("SELECT 1 AS one").await.unwrap();
            let error = write_answer(answer, format, Closed).await.unwrap_err();
            let Error::Output(error) = error else { panic!("{format:?}: {error}") };
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }
}

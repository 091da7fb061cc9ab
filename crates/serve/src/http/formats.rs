//! Answers as bytes, batch by batch.

use crate::refusal::{Reason, Refusal};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::JsonArray;
use datafusion::arrow::ipc::writer::StreamWriter;
use serde::Deserialize;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// One array of objects; missing values are null.
    #[default]
    Json,
    /// With a header; missing values are empty.
    Csv,
    /// Arrow IPC stream, with labels and units in the metadata.
    Arrow,
}

impl Format {
    pub const ALL: [Format; 3] = [Format::Json, Format::Csv, Format::Arrow];

    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The first format that an `Accept` header names.
    pub fn accepted(header: &str) -> Option<Format> {
        let kinds = header.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let named = |kind: &str| Format::ALL.into_iter().find(|f| f.content_type().split(';').next() == Some(kind));
        kinds.into_iter().find_map(named)
    }
}

/// What a writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<Vec<u8>>>);

impl Pending {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Writer {
    Json(Box<arrow::json::Writer<Pending, JsonArray>>),
    Csv(Box<arrow::csv::Writer<Pending>>),
    Arrow(Box<StreamWriter<Pending>>),
}

pub(super) struct Encoder {
    writer: Writer,
    pending: Pending,
}

impl Encoder {
    /// # Errors
    /// The format cannot hold a column.
    pub fn new(format: Format, schema: &Schema) -> Result<Encoder, Refusal> {
        let pending = Pending::default();
        let out = pending.clone();
        let writer = match format {
            Format::Json => Writer::Json(Box::new(
                arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out),
            )),
            Format::Csv => {
                if let Some(field) = schema.fields().iter().find(|field| is_nested(field.data_type())) {
                    return Err(Refusal::statement(format!(
                        "CSV holds no lists or groups of values, as in column {}; unnest it, or ask for json or arrow",
                        field.name()
                    )));
                }
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
                // An answer without rows has a header too.
                writer.write(&RecordBatch::new_empty(Arc::new(schema.clone()))).map_err(failed)?;
                Writer::Csv(Box::new(writer))
            }
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(out, schema).map_err(failed)?)),
        };
        Ok(Encoder { writer, pending })
    }

    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Refusal> {
        match &mut self.writer {
            Writer::Json(writer) => writer.write(batch),
            Writer::Csv(writer) => writer.write(batch),
            Writer::Arrow(writer) => writer.write(batch),
        }
        .map_err(failed)?;
        Ok(self.pending.take())
    }

    pub fn end(&mut self) -> Result<Vec<u8>, Refusal> {
        match &mut self.writer {
            Writer::Json(writer) => writer.finish(),
            Writer::Csv(_) => Ok(()),
            Writer::Arrow(writer) => writer.finish(),
        }
        .map_err(failed)?;
        Ok(self.pending.take())
    }
}

fn is_nested(kind: &DataType) -> bool {
    kind.is_nested()
}

fn failed(error: ArrowError) -> Refusal {
    tracing::error!(%error, "an answer could not be written");
    Refusal::new(Reason::Internal, format!("a fault of the server: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_that_is_known_is_taken() {
        assert_eq!(Format::accepted("text/html, text/csv;q=0.9, application/json"), Some(Format::Csv));
        assert_eq!(Format::accepted("application/vnd.apache.arrow.stream"), Some(Format::Arrow));
        assert_eq!(Format::accepted("*/*"), None);
    }
}

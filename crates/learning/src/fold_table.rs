//! The table of folds as a file: one row per fold and image, columns `fold`, `part`, `file`, `participant_id`, `visible_total`.
//!
//! CSV or Parquet, told by the ending of the name. The same rows give the same bytes.

use crate::error::{Error, Result};
use crate::folds::{Assignment, Candidate, FOLDS_MAX, Part};
use crate::truth_table::TRUTH_ROWS_MAX;
use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const COLUMNS: [&str; 5] = ["fold", "part", "file", "participant_id", "visible_total"];

/// Most rows that are read: the rows of the longest truth in a few folds.
const ROWS_MAX: usize = 2 * TRUTH_ROWS_MAX;

/// Writes the table.
///
/// # Errors
/// [`Error::FoldTable`] for a name that ends neither in `.csv` nor in `.parquet`, [`Error::Io`].
pub fn write_folds(path: &Path, rows: &[Assignment]) -> Result<()> {
    let io = |source| Error::Io { action: "write", what: "the table of folds".into(), source };
    if is_csv(path)? {
        let fail = |error: csv::Error| io(std::io::Error::other(error));
        let mut writer = csv::Writer::from_path(path).map_err(fail)?;
        writer.write_record(COLUMNS).map_err(fail)?;
        for row in rows {
            let total = row.image.total.map_or(String::new(), |total| total.to_string());
            let record =
                [&row.fold.to_string(), row.part.name(), row.image.file.as_str(), &row.image.participant, &total];
            writer.write_record(record).map_err(fail)?;
        }
        return writer.flush().map_err(io);
    }
    let texts = |of: fn(&Assignment) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(of)));
    let batch = RecordBatch::try_from_iter_with_nullable([
        (COLUMNS[0], Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.fold as i32))) as _, false),
        (COLUMNS[1], texts(|r| r.part.name()) as _, false),
        (COLUMNS[2], texts(|r| &r.image.file) as _, false),
        (COLUMNS[3], texts(|r| &r.image.participant) as _, false),
        (COLUMNS[4], Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.image.total.map(i32::from)))) as _, true),
    ])
    .expect("columns of one length");
    let file = File::create(path).map_err(io)?;
    let properties = WriterProperties::builder().set_created_by("learning".to_owned()).build();
    ArrowWriter::try_new(file, batch.schema(), Some(properties))
        .and_then(|mut writer| writer.write(&batch).and_then(|()| writer.close()))
        .map_err(|error| io(std::io::Error::other(error)))?;
    Ok(())
}

/// Reads the table.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::FoldTable`] when it is no such table.
pub fn read_folds(path: &Path) -> Result<Vec<Assignment>> {
    let file =
        || File::open(path).map_err(|source| Error::Io { action: "read", what: "the table of folds".into(), source });
    let mut rows = Vec::new();
    if is_csv(path)? {
        let mut reader = csv::Reader::from_reader(file()?);
        if !reader.headers().is_ok_and(|header| header.iter().eq(COLUMNS)) {
            return Err(refused(format!("its first line is not {}", COLUMNS.join(","))));
        }
        for (line, record) in reader.records().enumerate() {
            let record = record.map_err(|error| refused(format!("row {}: {error}", line + 1)))?;
            let total = record[4].trim();
            let total = if total.is_empty() { Ok(None) } else { total.parse::<i64>().map(Some) };
            let numbers = record[0].parse::<i64>().ok().zip(total.ok());
            let (fold, total) = numbers.ok_or_else(|| refused(format!("row {} lacks numbers", line + 1)))?;
            push(&mut rows, fold, &record[1], (&record[2], &record[3]), total)?;
        }
        return Ok(rows);
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(file()?)
        .and_then(|builder| builder.build())
        .map_err(|error| refused(format!("is not a parquet file ({error})")))?;
    for batch in reader {
        let batch = batch.map_err(|error| refused(format!("cannot be read ({error})")))?;
        let column = |index: usize, kind: DataType| {
            let found = batch.column_by_name(COLUMNS[index]).filter(|column| *column.data_type() == kind);
            found.ok_or_else(|| refused(format!("lacks column `{}` of {kind}", COLUMNS[index])))
        };
        let fold = column(0, DataType::Int32)?.as_primitive::<Int32Type>();
        let total = column(4, DataType::Int32)?.as_primitive::<Int32Type>();
        let text = |index| Ok::<_, Error>(column(index, DataType::Utf8)?.as_string::<i32>());
        let (part, file, participant) = (text(1)?, text(2)?, text(3)?);
        for row in 0..batch.num_rows() {
            let total = (!total.is_null(row)).then(|| i64::from(total.value(row)));
            let names = (file.value(row), participant.value(row));
            push(&mut rows, i64::from(fold.value(row)), part.value(row), names, total)?;
        }
    }
    Ok(rows)
}

fn push(
    rows: &mut Vec<Assignment>,
    fold: i64,
    part: &str,
    (file, participant): (&str, &str),
    total: Option<i64>,
) -> Result<()> {
    let row = rows.len() + 1;
    if row > ROWS_MAX {
        return Err(refused(format!("has more than {ROWS_MAX} rows")));
    }
    let fold = usize::try_from(fold).ok().filter(|fold| *fold < FOLDS_MAX);
    let fold = fold.ok_or_else(|| refused(format!("row {row} has a fold beyond 0..{FOLDS_MAX}")))?;
    let part: Part = part.parse().map_err(|problem| refused(format!("row {row}: {problem}")))?;
    let total = total.map(|total| {
        u8::try_from(total)
            .ok()
            .filter(|t| *t <= 24)
            .ok_or_else(|| refused(format!("row {row} has a total beyond 0..=24")))
    });
    let image = Candidate { file: file.to_owned(), participant: participant.to_owned(), total: total.transpose()? };
    rows.push(Assignment { fold, part, image });
    Ok(())
}

fn is_csv(path: &Path) -> Result<bool> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Ok(true),
        Some("parquet") => Ok(false),
        _ => Err(refused("its name must end in .csv or .parquet".into())),
    }
}

fn refused(problem: String) -> Error {
    Error::FoldTable { problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folds::{FoldPlan, plan};

    fn rows() -> Vec<Assignment> {
        let image = |i: u8| Candidate {
            file: format!("images/a, b {i}.dcm"),
            participant: format!("P{}", i / 2),
            total: (!i.is_multiple_of(5)).then_some(i),
        };
        let images: Vec<Candidate> = (0..20).map(image).collect();
        plan(&images, FoldPlan { folds: 4, validation: 2, seed: 3 }).unwrap()
    }

    #[test]
    fn both_kinds_of_file_give_the_rows_back_and_the_same_bytes_again() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["folds.csv", "folds.parquet"] {
            let path = folder.path().join(name);
            write_folds(&path, &rows()).unwrap();
            assert_eq!(read_folds(&path).unwrap(), rows());
            let bytes = std::fs::read(&path).unwrap();
            write_folds(&path, &rows()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        assert!(write_folds(&folder.path().join("folds.xlsx"), &rows()).is_err());
    }

    #[test]
    fn what_is_no_table_of_folds_is_refused_with_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folds.csv");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_folds(&path).unwrap_err().to_string()
        };
        let header = COLUMNS.join(",");
        assert!(refused("fold,part\n1,test\n").contains("first line"));
        assert!(refused(&format!("{header}\n0,test,a,P,3\n0,testing,b,P,3\n")).contains("row 2: testing"));
        assert!(refused(&format!("{header}\n-1,test,a,P,3\n")).contains("row 1 has a fold"));
        assert!(refused(&format!("{header}\n0,test,a,P,25\n")).contains("row 1 has a total"));
    }
}

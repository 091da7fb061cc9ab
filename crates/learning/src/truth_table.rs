//! Reads `truth.parquet` and `human_readings.parquet`, as `aortica phantom` writes them, into rows that readings can be compared with.

use crate::error::{Error, Result};
use crate::evaluate::{HumanRow, TruthRow};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use domain::grade::NotAssessable;
use domain::{Grade, Landmark, Point, Segment, SegmentGrade};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// Most rows that are read; a row with its corners is under a kilobyte.
pub const TRUTH_ROWS_MAX: usize = 5_000_000;
/// `view` of the pictures that can be scored.
const LATERAL: &str = "lateral_lumbar";

/// Reads the truth of a simulated cohort. `pseudonym` turns the instance's UID into the `sop_id` of the lake (kind `instance` under
/// the study key); rows for which it has no answer are refused.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::TruthTable`] when it is no such table or is too long.
pub fn read_truth(path: &Path, pseudonym: impl Fn(&str) -> Option<String>) -> Result<Vec<TruthRow>> {
    let mut rows = Vec::new();
    let mut participants = HashMap::new();
    for batch in batches(path, "the truth table")? {
        append(&batch?, &pseudonym, &mut participants, &mut rows)?;
    }
    Ok(rows)
}

/// Reads the totals of simulated readers; `pseudonym` as for [`read_truth`].
///
/// # Errors
/// As those of [`read_truth`].
pub fn read_human_readings(path: &Path, pseudonym: impl Fn(&str) -> Option<String>) -> Result<Vec<HumanRow>> {
    let mut rows = Vec::new();
    for batch in batches(path, "the readings by people")? {
        let batch = batch?;
        let text = |name: &str| Ok::<_, Error>(column(&batch, name, &DataType::Utf8)?.as_string::<i32>());
        let (reader, uid) = (text("reader_id")?, text("sop_uid")?);
        let total = column(&batch, "aac24_total", &DataType::Int32)?.as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let known = uid.is_valid(row).then(|| pseudonym(uid.value(row))).flatten();
            let sop_id = known.ok_or_else(|| refused(format!("row {row} has no usable sop_uid")))?;
            let value = total.is_valid(row).then(|| u8::try_from(total.value(row)).ok().filter(|t| *t <= 24));
            let total = value.map(|t| t.ok_or_else(|| refused(format!("row {row} has a total beyond 0..=24"))));
            rows.push(HumanRow { sop_id, reader: reader.value(row).to_owned(), total: total.transpose()? });
        }
    }
    Ok(rows)
}

/// The batches of a file, at most [`TRUTH_ROWS_MAX`] rows together.
pub(crate) fn batches(path: &Path, what: &str) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let file = File::open(path).map_err(|source| Error::Io { action: "read", what: what.to_owned(), source })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|error| refused(format!("is not a parquet file ({error})")))?;
    let mut rows = 0;
    Ok(reader.map(move |batch| {
        let batch = batch.map_err(|error| refused(format!("cannot be read ({error})")))?;
        rows += batch.num_rows();
        if rows > TRUTH_ROWS_MAX {
            return Err(refused(format!("has more than {TRUTH_ROWS_MAX} rows")));
        }
        Ok(batch)
    }))
}

pub(crate) fn refused(problem: String) -> Error {
    Error::TruthTable { problem }
}

/// A column by name and type.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str, kind: &DataType) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| refused(format!("lacks column `{name}`")))?;
    if column.data_type() != kind {
        return Err(refused(format!("column `{name}` is {}, expected {kind}", column.data_type())));
    }
    Ok(column)
}

fn append(
    batch: &RecordBatch,
    pseudonym: &impl Fn(&str) -> Option<String>,
    participants: &mut HashMap<String, u64>,
    rows: &mut Vec<TruthRow>,
) -> Result<()> {
    let text = |name: &str| Ok::<_, Error>(column(batch, name, &DataType::Utf8)?.as_string::<i32>());
    let real = |name: &str| Ok::<_, Error>(column(batch, name, &DataType::Float64)?.as_primitive::<Float64Type>());
    let list = |name: &str| {
        let column = batch.column_by_name(name).ok_or_else(|| refused(format!("lacks column `{name}`")))?;
        let list = column.as_list_opt::<i32>().filter(|l| l.value_type() == DataType::Float64);
        list.ok_or_else(|| refused(format!("column `{name}` is {}, expected a list of reals", column.data_type())))
    };
    let (uid, view, patient, file) = (text("sop_uid")?, text("view")?, text("patient_id")?, text("file")?);
    let (site, maker, model) = (text("site")?, text("scanner_maker")?, text("scanner_model")?);
    let (row_mm, column_mm) = (real("row_mm")?, real("column_mm")?);
    let (corner_x, corner_y) = (list("corner_x")?, list("corner_y")?);
    let walls = [
        (list("aorta_anterior_x")?, list("aorta_anterior_y")?),
        (list("aorta_posterior_x")?, list("aorta_posterior_y")?),
    ];
    let mut grades = Vec::with_capacity(Segment::COUNT);
    for segment in Segment::all() {
        let name = format!("visible_{}", segment.column());
        let grade = column(batch, &name, &DataType::Int32)?.as_primitive::<Int32Type>();
        grades.push((grade, text(&format!("reason_{}", segment.column()))?));
    }
    for row in 0..batch.num_rows() {
        let value = |array: &dyn Array| (!array.is_null(row)).then_some(row);
        let id = value(uid).and_then(|i| pseudonym(uid.value(i)));
        let sop_id = id.ok_or_else(|| refused(format!("row {row} has no usable sop_uid")))?;
        let mut visible = [SegmentGrade::NotAssessable(NotAssessable::OutsideImage); Segment::COUNT];
        for (segment, (grade, why)) in visible.iter_mut().zip(&grades) {
            *segment = match (value(grade), value(why)) {
                (Some(i), _) => {
                    let grade = u8::try_from(grade.value(i)).ok().and_then(Grade::new);
                    SegmentGrade::Assessed(grade.ok_or_else(|| refused(format!("row {row} has a grade beyond 0..=3")))?)
                }
                (None, Some(i)) => SegmentGrade::NotAssessable(reason(why.value(i))?),
                // Other views have neither.
                (None, None) => continue,
            };
        }
        let (row_mm, column_mm) = match (value(row_mm), value(column_mm)) {
            (Some(r), Some(c)) if row_mm.value(r) > 0.0 && column_mm.value(c) > 0.0 => {
                (row_mm.value(r), column_mm.value(c))
            }
            _ => return Err(refused(format!("row {row} has no spacing above 0"))),
        };
        let axis = |list: &arrow::array::ListArray| -> Vec<f64> {
            value(list).map(|i| list.value(i).as_primitive::<Float64Type>().values().to_vec()).unwrap_or_default()
        };
        let (x, y) = (axis(corner_x), axis(corner_y));
        let complete = x.len() == Landmark::COUNT && y.len() == Landmark::COUNT;
        let named =
            |column: &arrow::array::StringArray| value(column).map_or("unknown", |i| column.value(i)).to_owned();
        let next = participants.len() as u64;
        rows.push(TruthRow {
            sop_id,
            participant: *participants.entry(named(patient)).or_insert(next),
            file: named(file),
            lateral_lumbar: value(view).is_some_and(|i| view.value(i) == LATERAL),
            site: named(site),
            scanner_maker: named(maker),
            scanner_model: named(model),
            corners: std::array::from_fn(|channel| complete.then(|| Point::new(x[channel], y[channel]))),
            walls: walls
                .iter()
                .flat_map(|(x, y)| axis(x).into_iter().zip(axis(y)).map(|(x, y)| Point::new(x, y)))
                .collect(),
            row_mm,
            column_mm,
            visible,
        });
    }
    Ok(())
}

fn reason(name: &str) -> Result<NotAssessable> {
    Ok(match name {
        "outside_image" => NotAssessable::OutsideImage,
        "masked" => NotAssessable::Masked,
        "implant" => NotAssessable::Implant,
        "level_uncertain" => NotAssessable::LevelUncertain,
        other => return Err(refused(format!("knows no reason `{other}`"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{MethodRows, ReadRow, ReadSegment, Reference, Status, evaluate};
    use domain::grade::CategoryCut;
    use phantom::{Cohort, Config, write_cohort};
    use statistics::Confidence;

    #[test]
    fn the_table_of_a_cohort_reads_back_and_a_perfect_reader_agrees_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.negatives.share = 0.3;
        config.sites.0.retain(|site| site.name == "A");
        let cohort = Cohort::new(config, 12, 8, 1).unwrap();
        write_cohort(&cohort, folder.path(), 2, &|_, _| ()).unwrap();
        let path = folder.path().join("truth.parquet");
        let truth = read_truth(&path, |uid| Some(format!("p-{uid}"))).unwrap();
        assert_eq!(truth.len(), cohort.len());
        for (index, row) in truth.iter().enumerate() {
            let simulated = cohort.simulate(index);
            assert_eq!(row.sop_id, format!("p-{}", simulated.header.sop_uid));
            assert_eq!(row.corners, simulated.truth.corners);
            assert_eq!(row.lateral_lumbar, simulated.truth.view == phantom::View::LateralLumbar);
            assert_eq!(row.is_assessable(), simulated.truth.assessable());
            if row.lateral_lumbar {
                assert_eq!(row.visible, simulated.truth.visible);
            }
        }
        let participants: std::collections::BTreeSet<u64> = truth.iter().map(|row| row.participant).collect();
        assert_eq!(participants.len() as u64, cohort.participants());
        let perfect: Vec<ReadRow> = truth
            .iter()
            .map(|row| ReadRow {
                corners: row
                    .corners
                    .iter()
                    .enumerate()
                    .filter_map(|(c, p)| Some((Landmark::from_channel(c), (*p)?)))
                    .collect(),
                segments: row.lateral_lumbar.then(|| row.visible.map(|grade| ReadSegment { grade, confidence: 1.0 })),
                ..ReadRow::unscored(
                    row.sop_id.clone(),
                    if row.lateral_lumbar { Status::Scored } else { Status::Excluded },
                )
            })
            .collect();
        let humans =
            read_human_readings(&folder.path().join("human_readings.parquet"), |uid| Some(format!("p-{uid}"))).unwrap();
        let reference = Reference {
            truth: &truth,
            humans: &humans,
            folder: Some(folder.path()),
            cut: CategoryCut::default(),
            confidence: Confidence::new(0.95).unwrap(),
        };
        let methods = [MethodRows { name: "perfect 1".into(), fingerprint: "f".into(), rows: perfect }];
        let result = evaluate(reference, &methods).unwrap();
        let method = &result.methods[0];
        assert_eq!((method.all.scored.estimate, method.negatives_excluded.estimate), (Some(1.0), Some(1.0)));
        assert_eq!(method.all.localisation.corner_error_pct.estimate, Some(0.0));
        assert_eq!(method.all.totals.difference.mae.estimate, Some(0.0));
        // no outline where there is plaque: nothing in common
        assert!(method.masks[0].images > 0 && method.masks[0].both_empty < method.masks[0].images);
        assert_eq!(method.masks[0].dice.estimate, Some(0.0));
        let readers = method.readers.as_ref().unwrap();
        assert_eq!((readers.reader.as_str(), readers.other.as_ref().unwrap().reader.as_str()), ("A", "B"));
        assert!(readers.totals.images > 0);

        let error = read_truth(&path, |_| None).unwrap_err();
        assert!(error.to_string().contains("no usable sop_uid"), "{error}");
        let readings = read_truth(&folder.path().join("human_readings.parquet"), |uid| Some(uid.into())).unwrap_err();
        assert!(readings.to_string().contains("lacks column `view`"), "{readings}");
        let text = read_truth(&folder.path().join("participants.csv"), |uid| Some(uid.into())).unwrap_err();
        assert_eq!(text.fault(), domain::Fault::InvalidInput);
    }
}

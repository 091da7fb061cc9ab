//! Writes a cohort to a folder: pictures, label masks, truth, participants, human readings.

use crate::cohort::{Cohort, Simulated};
use crate::dicom::write_dicom;
use crate::error::{Error, Result};
use crate::reader::Reader;
use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::Schema;
use domain::grade::Aac24;
use domain::{Landmark, Segment, SegmentGrade};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pictures whose table rows are held in memory at once; also the size of a Parquet row group.
const ROWS_AT_ONCE: usize = 1024;

/// Most worker threads of one call.
pub const THREADS_MAX: usize = 256;

/// Writes `out_dir/images/img_000001.dcm`.., `masks/img_000001.png`.. (8-bit labels, see [`crate::label`]), `truth.parquet`,
/// `participants.csv`, `human_readings.parquet` and `phantom.toml` (the configuration). The bytes do not depend on `threads`.
/// `progress(done, total)` is called from any thread after each picture.
///
/// # Errors
/// [`Error::Write`] when the folder cannot be written; files written before stay.
pub fn write_cohort(
    cohort: &Cohort,
    out_dir: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<()> {
    let folder = |name: &'static str| -> Result<std::path::PathBuf> {
        let path = out_dir.join(name);
        std::fs::create_dir_all(&path).map_err(|source| Error::Write { what: name, source })?;
        Ok(path)
    };
    let (images, masks) = (folder("images")?, folder("masks")?);
    std::fs::write(out_dir.join("phantom.toml"), cohort.config().to_toml())
        .map_err(|source| Error::Write { what: "phantom.toml", source })?;
    write_participants(cohort, &out_dir.join("participants.csv"))?;

    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.clamp(1, THREADS_MAX))
        .build()
        .map_err(|e| Error::Write { what: "a thread pool", source: std::io::Error::other(e) })?;
    let mut truth = Table::new("truth", out_dir.join("truth.parquet"));
    let mut readings = Table::new("human_readings", out_dir.join("human_readings.parquet"));
    let done = AtomicUsize::new(0);
    let total = cohort.len();
    let mut start = 0;
    while start < total {
        let end = (start + ROWS_AT_ONCE).min(total);
        let rows: Vec<Result<Row>> = pool.install(|| {
            (start..end)
                .into_par_iter()
                .map(|index| {
                    let simulated = cohort.simulate(index);
                    let stem = format!("img_{:06}", index + 1);
                    write_dicom(&simulated, &images.join(format!("{stem}.dcm")))?;
                    write_mask(&simulated, &masks.join(format!("{stem}.png")))?;
                    let row = Row::of(cohort, simulated, format!("images/{stem}.dcm"));
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                    Ok(row)
                })
                .collect()
        });
        let rows = rows.into_iter().collect::<Result<Vec<Row>>>()?;
        truth.append(truth_batch(&rows).map_err(|e| table("truth", e))?)?;
        readings.append(readings_batch(&rows).map_err(|e| table("human_readings", e))?)?;
        start = end;
    }
    truth.finish()?;
    readings.finish()
}

/// What the tables keep of a picture.
struct Row {
    file: String,
    simulated: Simulated,
    /// Grades, and how far the reader marks the same again.
    readings: Vec<(Reader, [SegmentGrade; Segment::COUNT], Option<f64>)>,
}

impl Row {
    fn of(cohort: &Cohort, mut simulated: Simulated, file: String) -> Row {
        let readings = Reader::ALL
            .into_iter()
            .filter_map(|reader| {
                let grades = cohort.human_reading(&simulated, reader, 0)?;
                Some((reader, grades, cohort.repeat_dice(&simulated, reader)))
            })
            .collect();
        // the pixels are on disk: drop them before the next picture
        simulated.truth.labels = Vec::new();
        simulated.truth.strip = None;
        simulated.raster = domain::Raster::new(1, 1, vec![0]);
        Row { file, simulated, readings }
    }
}

fn write_mask(simulated: &Simulated, path: &Path) -> Result<()> {
    let file = File::create(path).map_err(|source| Error::Write { what: "a mask", source })?;
    let encoder = image::codecs::png::PngEncoder::new_with_quality(
        std::io::BufWriter::new(file),
        image::codecs::png::CompressionType::Fast,
        image::codecs::png::FilterType::NoFilter,
    );
    let (width, height) = (simulated.raster.width(), simulated.raster.height());
    image::ImageEncoder::write_image(encoder, &simulated.truth.labels, width, height, image::ExtendedColorType::L8)
        .map_err(|e| Error::Write { what: "a mask", source: std::io::Error::other(e) })
}

fn write_participants(cohort: &Cohort, path: &Path) -> Result<()> {
    let fail = |source| Error::Write { what: "participants.csv", source };
    let mut out = std::io::BufWriter::new(File::create(path).map_err(fail)?);
    writeln!(out, "patient_id,sex,birth_date,birth_year,age_years,site,entry_date,followup_years,event,smoker")
        .map_err(fail)?;
    for index in 0..cohort.participants() {
        let p = cohort.participant(index);
        let follow_up = cohort.follow_up(&p);
        let (id, sex, birth, year) = (&p.raw_id, p.sex(), p.birth, p.birth.year());
        writeln!(
            out,
            "{id},{sex},{birth},{year},{:.1},{},{},{:.4},{},{}",
            p.age_at_entry,
            p.site_name,
            p.entry,
            follow_up.years,
            u8::from(follow_up.event),
            u8::from(p.smoker),
        )
        .map_err(fail)?;
    }
    out.flush().map_err(fail)
}

fn table(name: &'static str, problem: impl std::fmt::Display) -> Error {
    Error::Table { table: name, problem: problem.to_string() }
}

/// A Parquet file that grows by batches.
struct Table {
    name: &'static str,
    path: std::path::PathBuf,
    writer: Option<ArrowWriter<File>>,
}

impl Table {
    fn new(name: &'static str, path: std::path::PathBuf) -> Table {
        Table { name, path, writer: None }
    }

    fn append(&mut self, batch: RecordBatch) -> Result<()> {
        if self.writer.is_none() {
            let file = File::create(&self.path).map_err(|source| Error::Write { what: self.name, source })?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(Default::default()))
                .set_created_by("phantom".to_owned())
                .build();
            let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties));
            self.writer = Some(writer.map_err(|e| table(self.name, e))?);
        }
        let writer = self.writer.as_mut().expect("made above");
        writer.write(&batch).and_then(|()| writer.flush()).map_err(|e| table(self.name, e))
    }

    fn finish(self) -> Result<()> {
        match self.writer {
            Some(writer) => writer.close().map(|_| ()).map_err(|e| table(self.name, e)),
            None => Ok(()),
        }
    }
}

type Columns = Vec<(String, ArrayRef)>;

fn batch(columns: Columns) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    // every column may be NULL, so that batches agree whatever they hold
    let fields: Vec<arrow::datatypes::Field> = columns
        .iter()
        .map(|(name, array)| arrow::datatypes::Field::new(name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut b = StringBuilder::new();
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

fn integers(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    let mut b = Int32Builder::new();
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

fn reals(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut b = Float64Builder::new();
    values.for_each(|v| b.append_option(v));
    Arc::new(b.finish())
}

fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    let mut b = BooleanBuilder::new();
    values.for_each(|v| b.append_value(v));
    Arc::new(b.finish())
}

/// A list of reals per row; an empty one stands for "no such thing in this view".
fn lists(rows: &[Row], of: impl Fn(&Simulated) -> Vec<f64>) -> ArrayRef {
    let mut b = ListBuilder::new(Float64Builder::new());
    for row in rows {
        b.values().append_slice(&of(&row.simulated));
        b.append(true);
    }
    Arc::new(b.finish())
}

fn grade(segment: SegmentGrade) -> Option<i32> {
    segment.grade().map(|g| i32::from(g.value()))
}

fn total(segments: &[SegmentGrade; Segment::COUNT]) -> Option<i32> {
    Aac24::of(segments).total.map(i32::from)
}

fn reason(segment: SegmentGrade) -> Option<&'static str> {
    use domain::grade::NotAssessable;
    match segment {
        SegmentGrade::Assessed(_) => None,
        SegmentGrade::NotAssessable(NotAssessable::OutsideImage) => Some("outside_image"),
        SegmentGrade::NotAssessable(NotAssessable::Masked) => Some("masked"),
        SegmentGrade::NotAssessable(NotAssessable::Implant) => Some("implant"),
        SegmentGrade::NotAssessable(NotAssessable::LevelUncertain) => Some("level_uncertain"),
    }
}

fn truth_batch(rows: &[Row]) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let s = || rows.iter().map(|r| &r.simulated);
    let mut columns: Columns = vec![
        ("file".into(), texts(rows.iter().map(|r| Some(r.file.as_str())))),
        ("sop_uid".into(), texts(s().map(|s| Some(s.header.sop_uid.as_str())))),
        ("patient_id".into(), texts(s().map(|s| Some(s.header.patient_id.as_str())))),
        ("visit".into(), integers(s().map(|s| Some(s.header.visit as i32)))),
        ("site".into(), texts(s().map(|s| Some(s.participant.site_name.as_str())))),
        ("scanner_maker".into(), texts(s().map(|s| Some(s.header.maker)))),
        ("scanner_model".into(), texts(s().map(|s| Some(s.header.model)))),
        ("view".into(), texts(s().map(|s| Some(s.truth.view.name())))),
        ("assessable".into(), flags(s().map(|s| s.truth.assessable()))),
        ("anterior_right".into(), flags(s().map(|s| s.header.anterior_right))),
        ("row_mm".into(), reals(s().map(|s| s.spacing.row_mm))),
        ("column_mm".into(), reals(s().map(|s| s.spacing.column_mm))),
        ("geometric_total".into(), integers(s().map(|s| total(&s.truth.geometric)))),
        ("visible_total".into(), integers(s().map(|s| total(&s.truth.visible)))),
    ];
    for segment in Segment::all() {
        let (k, name) = (segment.index(), segment.column());
        columns.push((format!("geometric_{name}"), integers(s().map(|s| grade(s.truth.geometric[k])))));
        columns.push((format!("visible_{name}"), integers(s().map(|s| grade(s.truth.visible[k])))));
        columns.push((format!("rows_{name}"), integers(s().map(|s| Some(s.truth.calcified[k].1 as i32)))));
        columns.push((format!("reason_{name}"), texts(s().map(|s| reason(s.truth.visible[k])))));
    }
    // 26 landmarks by channel
    let corners = |s: &Simulated, axis: fn(domain::Point<domain::ImagePx>) -> f64| -> Vec<f64> {
        let found: Vec<f64> = s.truth.corners.iter().flatten().map(|p| axis(*p)).collect();
        if found.len() == Landmark::COUNT { found } else { Vec::new() }
    };
    columns.push(("corner_x".into(), lists(rows, |s| corners(s, |p| p.x))));
    columns.push(("corner_y".into(), lists(rows, |s| corners(s, |p| p.y))));
    let walls = |s: &Simulated, of: fn(&(domain::Point<domain::ImagePx>, domain::Point<domain::ImagePx>)) -> f64| {
        s.truth.aorta_at_discs.iter().flatten().map(of).collect::<Vec<f64>>()
    };
    columns.push(("aorta_anterior_x".into(), lists(rows, |s| walls(s, |(a, _)| a.x))));
    columns.push(("aorta_anterior_y".into(), lists(rows, |s| walls(s, |(a, _)| a.y))));
    columns.push(("aorta_posterior_x".into(), lists(rows, |s| walls(s, |(_, p)| p.x))));
    columns.push(("aorta_posterior_y".into(), lists(rows, |s| walls(s, |(_, p)| p.y))));
    batch(columns)
}

fn readings_batch(rows: &[Row]) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let all: Vec<(&Row, Reader, &[SegmentGrade; Segment::COUNT], Option<f64>)> = rows
        .iter()
        .flat_map(|row| row.readings.iter().map(move |(reader, grades, again)| (row, *reader, grades, *again)))
        .collect();
    let mut columns: Columns = vec![
        ("reader_id".into(), texts(all.iter().map(|(_, reader, ..)| Some(reader.name())))),
        ("file".into(), texts(all.iter().map(|(row, ..)| Some(row.file.as_str())))),
        ("sop_uid".into(), texts(all.iter().map(|(row, ..)| Some(row.simulated.header.sop_uid.as_str())))),
    ];
    for segment in Segment::all() {
        columns.push((segment.column(), integers(all.iter().map(|(_, _, grades, _)| grade(grades[segment.index()])))));
    }
    columns.push(("aac24_total".into(), integers(all.iter().map(|(_, _, grades, _)| total(grades)))));
    columns.push(("repeat_dice".into(), reals(all.iter().map(|(.., again)| *again))));
    batch(columns)
}

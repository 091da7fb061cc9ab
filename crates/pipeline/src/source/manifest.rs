//! A manifest: a CSV or Parquet table of addresses, with what is better known there than from the files.
//!
//! Columns `uri` (path, relative to the manifest; `file://`; `s3://bucket/key`, percent-encoded as in the ledger), and optionally
//! `pixel_spacing_mm` (distance of pixel centres both ways), `pixel_aspect` (height of a pixel over its width) and
//! `participant` (an identifier, replaced by its pseudonym at once).

use super::stores::{Place, Stores};
use super::uri::{self, Address};
use super::{VERSION_MISSING, file_version, object_version};
use crate::error::{Error, ErrorKind, Result, of_store};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use bytes::Bytes;
use domain::item::ItemHints;
use domain::{Item, StudyKey};
use futures::stream::{BoxStream, StreamExt};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const COLUMNS: [&str; 4] = ["uri", "pixel_spacing_mm", "pixel_aspect", "participant"];
/// A manifest from a bucket is held in memory whole.
const MAX_OBJECT_BYTES: u64 = 1 << 30;
const ROWS_AHEAD: usize = 1024;
const PARQUET_BATCH_ROWS: usize = 4096;
/// Objects that are looked up at the same time.
const LOOK_UPS: usize = 32;
/// Distances of pixel centres that a radiograph can have, mm.
const SPACING_MM: std::ops::RangeInclusive<f64> = 0.01..=5.0;
const ASPECT: std::ops::RangeInclusive<f64> = 0.1..=10.0;

/// One row, before its object was looked up.
#[derive(Debug, Default, PartialEq)]
struct Row {
    uri: String,
    pixel_spacing_mm: Option<f64>,
    pixel_aspect: Option<f64>,
    participant: Option<String>,
}

/// Reads rows one by one.
struct Rows {
    /// Where relative paths start; `None` for a manifest from a bucket.
    folder: Option<PathBuf>,
    key: Option<Arc<StudyKey>>,
    number: u64,
    send: mpsc::Sender<Result<Item>>,
}

pub(super) fn items(
    address: Address,
    stores: Arc<Stores>,
    key: Option<Arc<StudyKey>>,
) -> BoxStream<'static, Result<Item>> {
    let (send, receive) = mpsc::channel(ROWS_AHEAD);
    let opening = stores.clone();
    tokio::spawn(async move {
        let failed = send.clone();
        let read = async {
            let table = open(&address, &opening).await?;
            let rows = Rows { folder: table.folder(), key, number: 0, send };
            tokio::task::spawn_blocking(move || table.read(rows))
                .await
                .map_err(|e| Error::caused(ErrorKind::Bug, "reading the manifest ended abnormally", e))?
        };
        if let Err(error) = read.await {
            // a receiver that has gone wants no error either
            let _ = failed.send(Err(error)).await;
        }
    });
    let look_up = move |item: Result<Item>| {
        let stores = stores.clone();
        async move {
            match item {
                Ok(item) => look_up(item, &stores).await,
                Err(error) => Err(error),
            }
        }
    };
    ReceiverStream::new(receive).map(look_up).buffered(LOOK_UPS).boxed()
}

enum Table {
    Local(PathBuf),
    Fetched { bytes: Bytes, is_parquet: bool },
}

async fn open(address: &Address, stores: &Stores) -> Result<Table> {
    match stores.place(&uri::of(address))? {
        Place::File(path) => Ok(Table::Local(path)),
        Place::Object { store, key } => {
            let doing = "reading the manifest";
            let found = store.get(&key).await.map_err(|e| of_store(&e, doing))?;
            if found.meta.size > MAX_OBJECT_BYTES {
                let message = format!(
                    "the manifest has {} bytes, at most {MAX_OBJECT_BYTES} are read from a bucket; copy it to this machine",
                    found.meta.size
                );
                return Err(Error::new(ErrorKind::Source, message));
            }
            let bytes = found.bytes().await.map_err(|e| of_store(&e, doing))?;
            Ok(Table::Fetched { bytes, is_parquet: key.as_ref().to_ascii_lowercase().ends_with(".parquet") })
        }
    }
}

impl Table {
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Table::Local(path) => path.parent().map(Path::to_owned),
            Table::Fetched { .. } => None,
        }
    }

    fn read(self, rows: Rows) -> Result<()> {
        let unreadable = |e: std::io::Error| Error::new(ErrorKind::Source, format!("the manifest cannot be read: {e}"));
        match self {
            Table::Local(path) => {
                let file = std::fs::File::open(&path).map_err(unreadable)?;
                if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
                    rows.read_parquet(ParquetRecordBatchReaderBuilder::try_new(file))
                } else {
                    rows.read_csv(std::io::BufReader::new(file))
                }
            }
            Table::Fetched { bytes, is_parquet: true } => {
                rows.read_parquet(ParquetRecordBatchReaderBuilder::try_new(bytes))
            }
            Table::Fetched { bytes, is_parquet: false } => rows.read_csv(bytes.as_ref()),
        }
    }
}

/// Position of each known column, in the order of [`COLUMNS`].
fn columns(names: &[String]) -> Result<[Option<usize>; 4]> {
    let mut at = [None; 4];
    for (position, name) in names.iter().enumerate() {
        let known = COLUMNS.iter().position(|c| *c == name);
        let what = match known {
            Some(column) if at[column].is_none() => {
                at[column] = Some(position);
                continue;
            }
            Some(_) => "comes twice",
            None => "is not known",
        };
        let message = format!(
            "manifest: column {} ({name:?}) {what}; a manifest has uri and, where known, {}",
            position + 1,
            COLUMNS[1..].join(", ")
        );
        return Err(Error::new(ErrorKind::Source, message));
    }
    if at[0].is_none() {
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let message = format!("manifest: there is no column uri; its columns are {found}");
        return Err(Error::new(ErrorKind::Source, message));
    }
    Ok(at)
}

impl Rows {
    fn read_csv(mut self, input: impl Read) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let bad = |e: csv::Error| {
            let line = e.position().map_or(1, csv::Position::line);
            let what = match e.kind() {
                csv::ErrorKind::Utf8 { .. } => "is not UTF-8",
                csv::ErrorKind::UnequalLengths { .. } => "has another number of fields than the header",
                _ => "cannot be read",
            };
            Error::new(ErrorKind::Source, format!("manifest, line {line}: {what}"))
        };
        let header = reader.headers().map_err(bad)?;
        let names: Vec<String> = header.iter().map(|n| n.trim_start_matches('\u{feff}').to_ascii_lowercase()).collect();
        let at = columns(&names)?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(bad)? {
            self.number += 1;
            let field = |column: usize| at[column].and_then(|p| record.get(p)).filter(|text| !text.is_empty());
            let number = |column: usize| {
                let parsed = field(column).map(str::parse::<f64>).transpose();
                parsed.map_err(|_| self.wrong(&format!("{} is not a number", COLUMNS[column])))
            };
            let row = Row {
                uri: field(0).unwrap_or_default().to_owned(),
                pixel_spacing_mm: number(1)?,
                pixel_aspect: number(2)?,
                participant: field(3).map(str::to_owned),
            };
            if !self.give(row)? {
                break;
            }
        }
        Ok(())
    }

    fn read_parquet<T: parquet::file::reader::ChunkReader + 'static>(
        mut self,
        builder: parquet::errors::Result<ParquetRecordBatchReaderBuilder<T>>,
    ) -> Result<()> {
        let bad = |_| Error::new(ErrorKind::Source, "the manifest is not a readable Parquet file");
        let builder = builder.map_err(bad)?;
        let names: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
        let at = columns(&names)?;
        for batch in builder.with_batch_size(PARQUET_BATCH_ROWS).build().map_err(bad)? {
            let batch = batch
                .map_err(|_| Error::new(ErrorKind::Source, "the manifest's Parquet file is damaged or cut short"))?;
            if !self.batch(&batch, at)? {
                break;
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, at: [Option<usize>; 4]) -> Result<bool> {
        let column = |c: usize, kind: DataType| -> Result<Option<ArrayRef>> {
            let Some(position) = at[c] else { return Ok(None) };
            cast(batch.column(position), &kind).map(Some).map_err(|_| {
                let found = batch.column(position).data_type().clone();
                Error::new(ErrorKind::Source, format!("manifest: column {} is {found}, not {kind}", COLUMNS[c]))
            })
        };
        let (uris, participants) = (column(0, DataType::Utf8)?, column(3, DataType::Utf8)?);
        let (spacings, aspects) = (column(1, DataType::Float64)?, column(2, DataType::Float64)?);
        let text = |array: &Option<ArrayRef>, i: usize| {
            array.as_ref().filter(|a| a.is_valid(i)).map(|a| a.as_string::<i32>().value(i).trim().to_owned())
        };
        let number = |array: &Option<ArrayRef>, i: usize| {
            array.as_ref().filter(|a| a.is_valid(i)).map(|a| a.as_primitive::<Float64Type>().value(i))
        };
        for i in 0..batch.num_rows() {
            self.number += 1;
            let row = Row {
                uri: text(&uris, i).unwrap_or_default(),
                pixel_spacing_mm: number(&spacings, i),
                pixel_aspect: number(&aspects, i),
                participant: text(&participants, i).filter(|p| !p.is_empty()),
            };
            if !self.give(row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Source, format!("manifest, row {}: {what}", self.number))
    }

    /// Hands a row on. `false` when nobody listens any more.
    fn give(&mut self, row: Row) -> Result<bool> {
        let item = self.item(row)?;
        Ok(self.send.blocking_send(Ok(item)).is_ok())
    }

    fn item(&self, row: Row) -> Result<Item> {
        let address = match uri::parse(&row.uri) {
            Some(address) => address,
            None if row.uri.is_empty() => return Err(self.wrong("uri is empty")),
            None if row.uri.contains("://") => {
                return Err(self.wrong("uri is neither a path, file:///path nor s3://bucket/key"));
            }
            None => match &self.folder {
                Some(folder) => Address::File(folder.join(&row.uri)),
                None => return Err(self.wrong("uri is a local path, but the manifest lies in a bucket")),
            },
        };
        let in_range = |value: Option<f64>, range: std::ops::RangeInclusive<f64>, scale: f64, name: &str| match value {
            Some(v) if range.contains(&v) => Ok(Some((v * scale).round() as u32)),
            Some(_) => Err(self.wrong(&format!(
                "{name} is not in {} to {}; leave it empty if unknown",
                range.start(),
                range.end()
            ))),
            None => Ok(None),
        };
        let participant = match (&row.participant, &self.key) {
            (Some(id), Some(key)) => key.pseudonym("participant", id),
            (Some(_), None) => {
                let message = "the manifest names participants, but there is no study key to make pseudonyms with";
                return Err(Error::new(ErrorKind::Source, message));
            }
            (None, _) => None,
        };
        Ok(Item {
            uri: uri::of(&address),
            size_bytes: 0,
            version: String::new(),
            hints: ItemHints {
                pixel_spacing_um: in_range(row.pixel_spacing_mm, SPACING_MM, 1e3, COLUMNS[1])?,
                pixel_aspect_ppm: in_range(row.pixel_aspect, ASPECT, 1e6, COLUMNS[2])?,
                participant,
            },
        })
    }
}

/// Size and version of a row's object as it is now. One that is not there, or that we may not look at, stays an item.
async fn look_up(mut item: Item, stores: &Stores) -> Result<Item> {
    let found = match stores.place(&item.uri)? {
        Place::File(path) => {
            tokio::fs::metadata(&path).await.ok().filter(|f| f.is_file()).map(|f| (f.len(), file_version(&f)))
        }
        Place::Object { store, key } => match store.head(&key).await {
            Ok(meta) => Some((meta.size, object_version(&meta))),
            Err(object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }) => None,
            Err(error) => return Err(of_store(&error, "looking up an object of the manifest")),
        },
    };
    (item.size_bytes, item.version) = found.unwrap_or((0, VERSION_MISSING.to_owned()));
    Ok(item)
}

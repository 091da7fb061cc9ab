//! The log of what was told: every cohort with its members and the counts of it that were told. A later cohort is compared with all of them.
//!
//! A folder with `00001.json` (what, of how many, which counts) and `00001.parquet` (members with their cells) for each; the
//! JSON is written last, so that a cohort without it was never told. The members are digests of participants: whoever can read the
//! log and knows a participant's key learns that participant's strata. Keep it where the rows are kept.

use crate::error::{Error, Result};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{UInt32Type, UInt64Type};
use domain::Digest;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use statistics::disclosure::{Counts, Entry, Grid, Member, small_differences, suppress};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Cohorts of a log: each further one is compared with all.
pub const COHORTS_MAX: usize = 500;

/// How often, and how long apart, a log in use is asked for again.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Participant,
    Item,
}

/// One cohort that is to be told.
pub(crate) struct Telling<'a> {
    /// What it was told for: the name of a release, or `query`.
    pub occasion: &'a str,
    /// In words: which cohort.
    pub cohort: &'a str,
    pub unit: Unit,
    /// Names of the strata with their values, for people who read the log.
    pub strata: Vec<(String, Vec<String>)>,
    pub grid: &'a Grid,
    pub counts: &'a Counts,
    pub members: &'a [Member],
    pub threshold: u64,
}

/// A cohort of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    occasion: String,
    cohort: String,
    unit: Unit,
    members: u64,
    threshold: u64,
    strata: Vec<(String, Vec<String>)>,
    grid: Grid,
    /// Digest of members, grid and counts told.
    digest: String,
    /// Withheld because another cohort that was told differs by fewer than the threshold.
    refused: Vec<Entry>,
    /// Withheld in all.
    withheld: u64,
    told: BTreeSet<Entry>,
}

/// What may be told of a cohort.
#[derive(Debug)]
pub(crate) struct Told {
    pub entries: BTreeSet<Entry>,
    /// Counts withheld beyond those of this cohort by itself, because of what was told before.
    pub refused: usize,
}

impl Told {
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        self.entries.contains(entry)
    }
}

/// The log, held by this process alone until it is dropped.
#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    _lock: File,
}

impl Log {
    /// Opens a log, and makes it where there is none.
    ///
    /// # Errors
    /// The folder cannot be written, or another process keeps the log for ten seconds.
    pub(crate) async fn open(folder: &Path) -> Result<Log> {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        for _ in 0..LOCK_ATTEMPTS {
            match lock.try_lock() {
                Ok(()) => return Ok(Log { folder: folder.to_owned(), _lock: lock }),
                Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(std::fs::TryLockError::Error(error)) => return Err(failed(&path)(error)),
            }
        }
        Err(failed(&path)(std::io::Error::other("another process is using the log; try again")))
    }

    /// Works out what may be told of a cohort, in view of everything told before, and writes that down.
    ///
    /// # Errors
    /// The log cannot be read or written, or is full.
    pub(crate) fn tell(&self, telling: &Telling<'_>) -> Result<Told> {
        let mut refused = BTreeSet::new();
        let mut known = BTreeSet::new();
        let mut next = 1;
        while let Some(record) = self.record(next)? {
            if record.unit == telling.unit {
                let before = self.members(next)?;
                let (now, before) = ((telling.grid, telling.members), (&record.grid, before.as_slice()));
                refused.extend(small_differences(now, before, &record.told, telling.threshold.max(record.threshold)));
            }
            known.insert(record.digest);
            next += 1;
            if next > COHORTS_MAX {
                let problem = format!(
                    "the log {} has {COHORTS_MAX} cohorts, the most that are compared; keep it, and start another only if no one can \
                     compare what both tell",
                    self.folder.display()
                );
                return Err(Error::Policy { problem });
            }
        }
        let withheld = suppress(telling.grid, telling.counts, &refused, telling.threshold);
        let alone = suppress(telling.grid, telling.counts, &BTreeSet::new(), telling.threshold);
        let told: BTreeSet<Entry> = telling.grid.entries().into_iter().filter(|e| !withheld.contains(e)).collect();
        let mut record = Record {
            occasion: telling.occasion.to_owned(),
            cohort: telling.cohort.to_owned(),
            unit: telling.unit,
            members: telling.members.len() as u64,
            threshold: telling.threshold,
            strata: telling.strata.clone(),
            grid: telling.grid.clone(),
            digest: String::new(),
            refused: refused.iter().cloned().collect(),
            withheld: withheld.len() as u64,
            told,
        };
        record.digest = digest(&record, telling.members)?;
        if !known.contains(&record.digest) && !record.told.is_empty() {
            self.write(next, &record, telling.members)?;
        }
        Ok(Told { entries: record.told, refused: withheld.difference(&alone).count() })
    }

    fn path(&self, number: usize, extension: &str) -> PathBuf {
        self.folder.join(format!("{number:05}.{extension}"))
    }

    fn record(&self, number: usize) -> Result<Option<Record>> {
        let path = self.path(number, "json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path)(error)),
        };
        let record: Record = serde_json::from_slice(&text).map_err(|error| damaged(&path, &error))?;
        if record.grid.sizes().iter().any(|size| *size < 2) {
            return Err(damaged(&path, &"a stratum without values"));
        }
        Ok(Some(record))
    }

    fn members(&self, number: usize) -> Result<Vec<Member>> {
        let path = self.path(number, "parquet");
        let file = File::open(&path).map_err(failed(&path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        let mut members = Vec::new();
        for batch in reader.map_err(|error| damaged(&path, &error))? {
            let batch = batch.map_err(|error| damaged(&path, &error))?;
            let columns =
                (batch.column(0).as_primitive_opt::<UInt64Type>(), batch.column(1).as_primitive_opt::<UInt32Type>());
            let (Some(ids), Some(cells)) = columns else { return Err(damaged(&path, &"other columns than ours")) };
            members.extend(ids.values().iter().copied().zip(cells.values().iter().copied()));
        }
        Ok(members)
    }

    fn write(&self, number: usize, record: &Record, members: &[Member]) -> Result<()> {
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(members.iter().map(|m| m.0)));
        let cells: ArrayRef = Arc::new(UInt32Array::from_iter_values(members.iter().map(|m| m.1)));
        let batch =
            RecordBatch::try_from_iter([("member", ids), ("cell", cells)]).map_err(Error::arrow("writing the log"))?;
        let path = self.path(number, "parquet");
        let file = File::create(&path).map_err(failed(&path))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).map_err(Error::parquet("writing the log"))?;
        writer.write(&batch).map_err(Error::parquet("writing the log"))?;
        let file = writer.into_inner().map_err(Error::parquet("writing the log"))?;
        file.sync_all().map_err(failed(&path))?;
        let text = serde_json::to_vec(record).map_err(Error::json("writing the log"))?;
        let path = self.path(number, "json");
        let draft = self.path(number, "draft");
        std::fs::write(&draft, text).map_err(failed(&draft))?;
        std::fs::rename(&draft, &path).map_err(failed(&path))
    }
}

/// The same cohort, told in the same way, is written once.
fn digest(record: &Record, members: &[Member]) -> Result<String> {
    let told = serde_json::to_vec(&(record.unit, &record.grid, &record.told, record.threshold))
        .map_err(Error::json("writing the log"))?;
    let bytes: Vec<u8> =
        members.iter().flat_map(|(id, cell)| id.to_le_bytes().into_iter().chain(cell.to_le_bytes())).collect();
    Ok(Digest::of_fields([told.as_slice(), bytes.as_slice()]).to_hex())
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Log { path: path.clone(), source }
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::Policy {
        problem: format!(
            "{} of the log of what was told cannot be read ({problem}); restore it from a copy: nothing is told without the log",
            path.display()
        ),
    }
}

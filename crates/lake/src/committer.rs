//! Folds outcomes into the tables, exactly once.
//!
//! Messages come again, in other batches and another order, and two committers may run at once. So each batch is
//! compared with the keys that the table holds at one version, and what is new is committed on top of exactly that
//! version; whoever loses the race compares again with what the winner added. `results` is written before
//! `instances`, so that a scored instance always has its result.
//!
//! - `results`: the first row of a key stays.
//! - `instances`: a row is added when its outcome is better than the one at hand: scored over excluded over failed,
//!   then the later attempt. `revision` counts them, and the views show the highest. An outcome that is not better adds
//!   nothing. So the table tells the same whatever the order in which outcomes came.
//!
//! A second row of one outcome that differs by more than the tolerance is counted, and the record is kept under
//! `conflicts/`; the table keeps what it has.

use crate::compact::compact;
use crate::datafile;
use crate::error::{Error, Result};
use crate::keys::{KeyIndex, hashes, key_columns, key_hash};
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::record::{Cell, Refusal, Row, batch, check, instance_row, position, result_row};
use crate::rehearsal::CrashPoint;
use crate::table::{ActiveFile, Attempt, LakeTable, stats, write_schema};
use crate::tolerance::differences;
use arrow::array::RecordBatch;
use domain::Digest;
use domain::record::OutcomeRecord;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::collections::BTreeMap;

/// Records folded at a time: about 70 MB of rows.
pub const BATCH_RECORDS_MAX: usize = 16_384;
/// Races that one batch may lose. Each loss is another committer's success.
const RACES_MAX: u32 = 100;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct CommitReport {
    /// Rows added to `results`.
    pub results_added: usize,
    /// Rows added to `instances`.
    pub instances_added: usize,
    /// Rows that a table had already.
    pub duplicates: usize,
    /// Outcomes that were not better than the one at hand.
    pub superseded: usize,
    /// Rows that a table had already and otherwise.
    pub conflicts: usize,
    /// Races lost to other committers.
    pub races_lost: u32,
    /// Files that were replaced by fewer.
    pub files_compacted: usize,
    /// Records that did not become rows.
    pub refused: Vec<(OutcomeRecord, Refusal)>,
}

/// Writes to the tables of one lake.
pub struct Committer {
    location: Location,
    paths: LakePaths,
    results: Folder,
    instances: Folder,
}

struct Folder {
    table: LakeTable,
    index: KeyIndex,
    /// Somebody else committed last time: look before writing a file that would lose.
    contended: bool,
}

impl Folder {
    async fn open(location: &Location, paths: &LakePaths, table: Table) -> Result<Folder> {
        let mut table = LakeTable::create_if_absent(location, paths, table).await?;
        table.evolve().await?;
        let mut index = KeyIndex::default();
        index.follow(&table).await?;
        Ok(Folder { table, index, contended: false })
    }
}

impl Committer {
    pub(crate) async fn open(location: &Location, paths: &LakePaths) -> Result<Committer> {
        Ok(Committer {
            location: location.clone(),
            paths: paths.clone(),
            results: Folder::open(location, paths, Table::Results).await?,
            instances: Folder::open(location, paths, Table::Instances).await?,
        })
    }

    /// Rows in `results` and `instances` at the version last seen.
    pub fn rows(&self) -> (usize, usize) {
        (self.results.index.rows(), self.instances.index.rows())
    }

    /// Folds records in. When it returns, their rows are durable and their messages may be acknowledged, all but those of
    /// `refused`. After an error some may have been committed: give the same records again.
    ///
    /// # Errors
    /// The store fails; others write so much that a hundred races are lost.
    pub async fn commit(&mut self, records: Vec<OutcomeRecord>) -> Result<CommitReport> {
        let mut report = CommitReport::default();
        let mut accepted = Vec::with_capacity(records.len());
        for record in records {
            match check(&record) {
                Ok(()) => accepted.push(record),
                Err(refusal) => report.refused.push((record, refusal)),
            }
        }
        for chunk in accepted.chunks(BATCH_RECORDS_MAX) {
            self.fold(Table::Results, chunk, &mut report).await?;
            self.fold(Table::Instances, chunk, &mut report).await?;
        }
        Ok(report)
    }

    /// Deletes files that compaction replaced, or that a committer left behind when it died, more than seven days ago.
    /// Returns how many.
    pub async fn sweep(&mut self) -> Result<usize> {
        Ok(self.results.table.sweep().await? + self.instances.table.sweep().await?)
    }

    async fn fold(&mut self, table: Table, records: &[OutcomeRecord], report: &mut CommitReport) -> Result<()> {
        let incoming = Incoming::of(table, records);
        if incoming.is_empty() {
            return Ok(());
        }
        let folder = match table {
            Table::Results => &mut self.results,
            Table::Instances => &mut self.instances,
        };
        if folder.contended {
            let seen = folder.table.version();
            folder.table.reload().await?;
            folder.contended = folder.table.version() > seen;
        }
        let mut written: Option<Written> = None;
        for race in 0..=RACES_MAX {
            folder.index.follow(&folder.table).await?;
            let present = folder.index.rows_with(&folder.table, &incoming.hashes()).await?;
            let folded = incoming.against(present);
            folder.contended |= race > 0;
            if folded.rows.is_empty() {
                discard(folder, written.take()).await;
                return self.conclude(table, folded, records, race, report).await;
            }
            // The file of a lost race is used again when the winner took nothing from it.
            let file = match written.take() {
                Some(file) if file.rows == folded.rows => file,
                old => {
                    discard(folder, old).await;
                    Written::put(&folder.table, folded.rows.clone()).await?
                }
            };
            folder.table.reached(CrashPoint::FILE_WRITTEN).await;
            let bounds = file.stats(table);
            match folder.table.append(file.active.clone(), bounds).await? {
                Attempt::Landed => {
                    folder.table.reached(CrashPoint::COMMITTED).await;
                    let mut keys = Vec::with_capacity(file.rows.len());
                    hashes(table, &file.batch, &mut keys)?;
                    folder.index.insert(&file.active, keys);
                    // The rows are durable: that tidying up failed is no reason to have them delivered again.
                    match compact(&mut folder.table, &mut folder.index).await {
                        Ok(files) => report.files_compacted += files,
                        Err(error) => tracing::warn!(table = table.name(), %error, "compaction failed"),
                    }
                    return self.conclude(table, folded, records, race, report).await;
                }
                Attempt::Lost => written = Some(file),
            }
        }
        Err(Error::Contended { table: table.name(), attempts: RACES_MAX })
    }

    async fn conclude(
        &mut self,
        table: Table,
        folded: Folded,
        records: &[OutcomeRecord],
        races_lost: u32,
        report: &mut CommitReport,
    ) -> Result<()> {
        match table {
            Table::Results => report.results_added += folded.rows.len(),
            Table::Instances => report.instances_added += folded.rows.len(),
        }
        report.duplicates += folded.duplicates;
        report.superseded += folded.superseded;
        report.conflicts += folded.conflicts.len();
        report.races_lost += races_lost;
        for conflict in &folded.conflicts {
            tracing::warn!(
                table = table.name(),
                item = %records[conflict.record].item_id,
                columns = conflict.columns.join(","),
                "a second, differing result was kept apart"
            );
            self.keep_apart(table, conflict, &records[conflict.record]).await?;
        }
        Ok(())
    }

    /// The copy's name is its digest, so that a redelivered conflict is kept once.
    async fn keep_apart(&self, table: Table, conflict: &Conflict, record: &OutcomeRecord) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(Error::json("keeping a differing result"))?;
        let path = self.paths.conflict(table.name(), &conflict.key, Digest::of(&bytes));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.location.store.put_opts(&path, PutPayload::from(bytes), create).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(Error::Store { what: "keeping a differing result", source }),
        }
    }
}

/// A file that is in the store and not yet in the table.
struct Written {
    active: ActiveFile,
    rows: Vec<Row>,
    batch: RecordBatch,
}

impl Written {
    async fn put(table: &LakeTable, rows: Vec<Row>) -> Result<Written> {
        let schema = write_schema(table.table);
        let batch = batch(table.table, &schema, &rows)?;
        let bytes = datafile::encode(&schema, std::slice::from_ref(&batch))?;
        let path = table.new_file();
        let size = datafile::put(table.store().as_ref(), &path, bytes).await?;
        Ok(Written { active: ActiveFile { path, size, rows: rows.len() as u64 }, rows, batch })
    }

    fn stats(&self, table: Table) -> serde_json::Value {
        let fingerprint = position(table, "fingerprint");
        let texts = || self.rows.iter().map(|row| row[fingerprint].as_text());
        let (least, most) = (texts().min().unwrap_or(""), texts().max().unwrap_or(""));
        stats(self.rows.len(), &[("fingerprint", least.into(), most.into())])
    }
}

/// Deletes a file that lost its race. That failing is no harm: nothing names the file.
async fn discard(folder: &Folder, file: Option<Written>) {
    if let Some(file) = file
        && let Err(error) = folder.table.store().delete(&file.active.path).await
    {
        tracing::debug!(%error, "a file that lost its race was left behind");
    }
}

struct Candidate {
    record: usize,
    row: Row,
}

/// The rows of a batch by key, in the order of the records.
struct Incoming {
    table: Table,
    by_key: BTreeMap<(String, String), Vec<Candidate>>,
}

struct Conflict {
    record: usize,
    key: String,
    columns: Vec<&'static str>,
}

/// A batch compared with the table.
#[derive(Default)]
struct Folded {
    rows: Vec<Row>,
    duplicates: usize,
    superseded: usize,
    conflicts: Vec<Conflict>,
}

impl Incoming {
    fn of(table: Table, records: &[OutcomeRecord]) -> Incoming {
        let mut by_key: BTreeMap<_, Vec<Candidate>> = BTreeMap::new();
        let [id, fingerprint] = key_columns(table).map(|name| position(table, name));
        for (record, outcome) in records.iter().enumerate() {
            let row = match table {
                Table::Results => result_row(outcome),
                Table::Instances => Some(instance_row(outcome)),
            };
            if let Some(row) = row {
                let key = (row[id].as_text().to_owned(), row[fingerprint].as_text().to_owned());
                by_key.entry(key).or_default().push(Candidate { record, row });
            }
        }
        Incoming { table, by_key }
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn hashes(&self) -> Vec<u64> {
        self.by_key.keys().map(|(id, fingerprint)| key_hash(id, fingerprint)).collect()
    }

    /// What is left to add, given the rows of the table that may have the same keys.
    fn against(&self, present: Vec<Row>) -> Folded {
        let [id, fingerprint] = key_columns(self.table).map(|name| position(self.table, name));
        let mut known: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
        for row in &present {
            known.entry((row[id].as_text(), row[fingerprint].as_text())).or_default().push(row);
        }
        let mut folded = Folded::default();
        for (key, candidates) in &self.by_key {
            let mut seen = known.get(&(key.0.as_str(), key.1.as_str())).cloned().unwrap_or_default();
            let first_new = seen.len();
            for candidate in candidates {
                let twin = seen.iter().find(|row| same_outcome(self.table, row, &candidate.row));
                let Some(twin) = twin else {
                    seen.push(&candidate.row);
                    continue;
                };
                let columns = differences(self.table, twin, &candidate.row);
                if columns.is_empty() {
                    folded.duplicates += 1;
                } else {
                    let key = format!("{}-{}", key.0, key.1);
                    folded.conflicts.push(Conflict { record: candidate.record, key, columns });
                }
            }
            self.add_best(&seen, first_new, &mut folded);
        }
        folded
    }

    /// Adds the best of the new rows (from `first_new` on) if it is better than all old ones.
    fn add_best(&self, seen: &[&Row], first_new: usize, folded: &mut Folded) {
        let (old, new) = seen.split_at(first_new);
        let Some(best) = new.iter().max_by_key(|row| merit(self.table, row)) else { return };
        let at_hand = old.iter().map(|row| merit(self.table, row)).max();
        if at_hand.is_some_and(|at_hand| at_hand >= merit(self.table, best)) {
            folded.superseded += new.len();
            return;
        }
        folded.superseded += new.len() - 1;
        let mut row = (*best).clone();
        if self.table == Table::Instances {
            let revision = position(Table::Instances, "revision");
            let last = old.iter().map(|row| row[revision].as_integer()).max();
            row[revision] = Cell::Integer(last.map_or(0, |last| last + 1));
        }
        folded.rows.push(row);
    }
}

/// Order of outcomes of one item: scored over excluded over failed, then the later attempt. Results have no order.
fn merit(table: Table, row: &Row) -> (u8, i32) {
    match table {
        Table::Results => (0, 0),
        Table::Instances => {
            let rank = match row[position(table, "status")].as_text() {
                "scored" => 2,
                "excluded" => 1,
                _ => 0,
            };
            (rank, row[position(table, "attempt")].as_integer())
        }
    }
}

/// Whether two rows of one key tell of the same event, and so must say the same.
fn same_outcome(table: Table, one: &Row, other: &Row) -> bool {
    merit(table, one) == merit(table, other)
}

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

use crate::apart::computed;
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
use std::ops::Range;
use std::sync::Arc;

/// Records folded at a time: about 70 MB of rows.
pub const BATCH_RECORDS_MAX: usize = 16_384;
/// So few rows are made sooner than a thread is woken.
const WORTH_A_THREAD: usize = 64;
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

/// Records of one batch.
#[derive(Clone)]
struct Records {
    all: Arc<Vec<OutcomeRecord>>,
    range: Range<usize>,
}

impl Records {
    fn as_slice(&self) -> &[OutcomeRecord] {
        &self.all[self.range.clone()]
    }
}

/// A batch compared with the table at one version, its file in the store if it adds anything.
struct Ready {
    incoming: Incoming,
    folded: Folded,
    file: Option<Written>,
}

/// A batch that the table has.
struct Landed {
    /// Rows that it added.
    rows: usize,
    folded: Folded,
    races_lost: u32,
}

impl Folder {
    async fn begin(&mut self, records: Records) -> Result<Ready> {
        let (table, records_in_hand) = (self.table.table, records.range.len());
        let rows = move || Incoming::of(table, records.as_slice());
        let incoming = if records_in_hand < WORTH_A_THREAD {
            rows()
        } else {
            computed(self.table.rehearsed(), "making rows", rows).await?
        };
        if incoming.is_empty() {
            return Ok(Ready { incoming, folded: Folded::default(), file: None });
        }
        if self.contended {
            let seen = self.table.version();
            self.table.reload().await?;
            self.contended = self.table.version() > seen;
        }
        self.prepare(incoming, None).await
    }

    /// Compares a batch with the table at the version at hand, and writes what it adds to a file.
    async fn prepare(&mut self, incoming: Incoming, written: Option<Written>) -> Result<Ready> {
        self.index.follow(&self.table).await?;
        let present = self.index.rows_with(&self.table, &incoming.hashes()).await?;
        let mut folded = incoming.against(present);
        // The file of a lost race is used again when the winner took nothing from it.
        let file = match written {
            Some(file) if *file.rows == folded.rows => Some(file),
            old => {
                self.discard(old).await;
                let rows = std::mem::take(&mut folded.rows);
                if rows.is_empty() { None } else { Some(Written::put(&self.table, rows).await?) }
            }
        };
        Ok(Ready { incoming, folded, file })
    }

    /// Commits on top of exactly the version that the batch was compared with; whoever loses the race compares again.
    async fn land(&mut self, mut ready: Ready) -> Result<Landed> {
        for races_lost in 0..=RACES_MAX {
            self.contended |= races_lost > 0;
            let Some(file) = ready.file else { return Ok(Landed { rows: 0, folded: ready.folded, races_lost }) };
            self.table.reached(CrashPoint::FILE_WRITTEN).await;
            let bounds = file.stats(self.table.table);
            match self.table.append(file.active.clone(), bounds).await? {
                Attempt::Landed => {
                    self.table.reached(CrashPoint::COMMITTED).await;
                    let mut keys = Vec::with_capacity(file.rows.len());
                    hashes(self.table.table, &file.batch, &mut keys)?;
                    self.index.insert(&file.active, keys);
                    return Ok(Landed { rows: file.rows.len(), folded: ready.folded, races_lost });
                }
                Attempt::Lost => ready = self.prepare(ready.incoming, Some(file)).await?,
            }
        }
        self.discard(ready.file).await;
        Err(Error::Contended { table: self.table.table.name(), attempts: RACES_MAX })
    }

    /// Makes few files of many; returns how many were replaced.
    async fn compact(&mut self) -> usize {
        // The rows are durable: that tidying up failed is no reason to have them delivered again.
        compact(&mut self.table, &mut self.index).await.unwrap_or_else(|error| {
            tracing::warn!(table = self.table.table.name(), %error, "compaction failed");
            0
        })
    }

    /// Deletes a file that lost its race. That failing is no harm: nothing names the file.
    async fn discard(&self, file: Option<Written>) {
        if let Some(file) = file
            && let Err(error) = self.table.store().delete(&file.active.path).await
        {
            tracing::debug!(%error, "a file that lost its race was left behind");
        }
    }
}

impl Committer {
    pub(crate) async fn open(location: &Location, paths: &LakePaths) -> Result<Committer> {
        let (results, instances) = futures::join!(
            Folder::open(location, paths, Table::Results),
            Folder::open(location, paths, Table::Instances)
        );
        Ok(Committer { location: location.clone(), paths: paths.clone(), results: results?, instances: instances? })
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
        self.commit_shared(Arc::new(records)).await
    }

    /// The same, of records that the caller keeps.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub async fn commit_shared(&mut self, records: Arc<Vec<OutcomeRecord>>) -> Result<CommitReport> {
        let refused = |record: &OutcomeRecord| check(record).err().map(|why| (record.clone(), why));
        let mut report =
            CommitReport { refused: records.iter().filter_map(refused).collect(), ..CommitReport::default() };
        let accepted = match report.refused.len() {
            0 => records,
            _ => Arc::new(records.iter().filter(|record| check(record).is_ok()).cloned().collect()),
        };
        for from in (0..accepted.len()).step_by(BATCH_RECORDS_MAX) {
            let to = (from + BATCH_RECORDS_MAX).min(accepted.len());
            self.fold(Records { all: Arc::clone(&accepted), range: from..to }, &mut report).await?;
        }
        Ok(report)
    }

    /// Deletes files that compaction replaced, or that a committer left behind when it died, more than seven days ago.
    /// Returns how many.
    pub async fn sweep(&mut self) -> Result<usize> {
        Ok(self.results.table.sweep().await? + self.instances.table.sweep().await?)
    }

    async fn fold(&mut self, records: Records, report: &mut CommitReport) -> Result<()> {
        // Both files are made at the same time; `results` is named first, so that a scored instance always has its result.
        let (results, instances) =
            futures::join!(self.results.begin(records.clone()), self.instances.begin(records.clone()));
        let landed = match results {
            Ok(ready) => self.results.land(ready).await,
            Err(error) => Err(error),
        };
        let results = match landed {
            Ok(landed) => landed,
            Err(error) => {
                if let Ok(ready) = instances {
                    self.instances.discard(ready.file).await;
                }
                return Err(error);
            }
        };
        self.conclude(Table::Results, results, records.as_slice(), report).await?;
        let instances = self.instances.land(instances?).await?;
        self.conclude(Table::Instances, instances, records.as_slice(), report).await?;
        // Both tables have as many batches behind them, so that their files fill up together.
        let (results, instances) = futures::join!(self.results.compact(), self.instances.compact());
        report.files_compacted += results + instances;
        Ok(())
    }

    async fn conclude(
        &mut self,
        table: Table,
        landed: Landed,
        records: &[OutcomeRecord],
        report: &mut CommitReport,
    ) -> Result<()> {
        let Landed { rows, folded, races_lost } = landed;
        match table {
            Table::Results => report.results_added += rows,
            Table::Instances => report.instances_added += rows,
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
    rows: Arc<Vec<Row>>,
    batch: RecordBatch,
}

impl Written {
    async fn put(table: &LakeTable, rows: Vec<Row>) -> Result<Written> {
        let (kind, count, rows) = (table.table, rows.len(), Arc::new(rows));
        let encoding = {
            let rows = Arc::clone(&rows);
            move || -> Result<_> {
                let schema = write_schema(kind);
                let batch = batch(kind, &schema, &rows)?;
                Ok((datafile::encode(&schema, std::slice::from_ref(&batch))?, batch))
            }
        };
        let encoded = if count < WORTH_A_THREAD {
            encoding()
        } else {
            computed(table.rehearsed(), "encoding rows", encoding).await?
        };
        let (bytes, batch) = encoded?;
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

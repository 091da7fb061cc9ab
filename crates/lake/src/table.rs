//! One Delta table: its log through deltalake, its files through our own store.
//!
//! deltalake keeps the log (snapshots, checkpoints, commits by conditional put); rows are written and read with the
//! parquet crate. A commit succeeds only on top of exactly the version that was read: whoever lost the race reloads,
//! looks again at what is new, and tries once more.

use crate::error::{Error, Result};
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::rehearsal::{CrashPoint, Rehearsed};
use crate::schema::{arrow_schema, columns};
use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake_core::kernel::{Action, Add, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError, TableProperty};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The one application id of all committers. Each commit of rows carries version last + 1 of it.
pub(crate) const APPLICATION_ID: &str = "aortica-commit";
/// A checkpoint every so many commits: bounds what a reader replays.
const CHECKPOINT_EVERY: u32 = 20;
/// How long files that compaction replaced stay, for readers of older versions.
const REPLACED_FILES_KEPT: &str = "interval 7 days";

/// A file that belongs to the current version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActiveFile {
    /// Within the store.
    pub path: Path,
    pub size: u64,
    pub rows: u64,
}

/// How an attempt to commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Landed,
    /// Another commit took the version. The table is reloaded.
    Lost,
}

/// An open table at one version.
pub(crate) struct LakeTable {
    pub(crate) table: Table,
    paths: LakePaths,
    root: Path,
    store: Arc<dyn ObjectStore>,
    rehearsed: Rehearsed,
    delta: DeltaTable,
    /// The table's version and the fence there, after a commit of ours: to read it anew means to read the log back to the last
    /// checkpoint, each time.
    fence: Option<(u64, i64)>,
}

impl LakeTable {
    /// Opens the newest version. `None` when there is no such table.
    pub(crate) async fn open(location: &Location, paths: &LakePaths, table: Table) -> Result<Option<LakeTable>> {
        // Asked for by listing, since a folder that is not there is an error of its own to deltalake.
        let log = paths.table(table).join("_delta_log");
        let first = location.store.list(Some(&log)).next().await;
        if first.transpose().map_err(Error::store("looking for a lake"))?.is_none() {
            return Ok(None);
        }
        let mut delta = DeltaTable::new(log_store(location, paths, table));
        match location.rehearsed.on_threads(delta.load()).await {
            Ok(()) => {}
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            Err(source) => return Err(Error::delta("opening a table of the lake")(source)),
        }
        let opened = LakeTable {
            table,
            paths: paths.clone(),
            root: paths.table(table),
            store: Arc::clone(&location.store),
            rehearsed: location.rehearsed.clone(),
            delta,
            fence: None,
        };
        opened.check_shape()?;
        Ok(Some(opened))
    }

    /// Creates the table unless it exists, however many processes do so at once.
    pub(crate) async fn create_if_absent(location: &Location, paths: &LakePaths, table: Table) -> Result<LakeTable> {
        if let Some(open) = LakeTable::open(location, paths, table).await? {
            return Ok(open);
        }
        let creating = CreateBuilder::new()
            .with_log_store(log_store(location, paths, table))
            .with_table_name(table.name())
            .with_columns(columns(table).iter().map(|c| c.delta_field()))
            .with_save_mode(SaveMode::Ignore)
            .with_configuration_property(TableProperty::AppendOnly, Some("true"))
            .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_EVERY.to_string()))
            .with_configuration_property(TableProperty::DeletedFileRetentionDuration, Some(REPLACED_FILES_KEPT));
        let created = location.rehearsed.on_threads(creating.into_future()).await;
        // Whether we made it or lost to another who did shows when it is opened.
        match (LakeTable::open(location, paths, table).await?, created) {
            (Some(open), _) => Ok(open),
            (None, Err(source)) => Err(Error::delta("creating a table of the lake")(source)),
            (None, Ok(_)) => {
                Err(Error::TableShape { table: table.name(), problem: "it was created and is not there".to_owned() })
            }
        }
    }

    /// The columns that this version knows must be there with their types; those of newer versions may be too.
    fn check_shape(&self) -> Result<()> {
        let present = self.file_schema()?;
        for column in columns(self.table) {
            match present.field_with_name(&column.name) {
                Ok(field) if *field.data_type() == column.kind.arrow() => {}
                Ok(field) => {
                    let problem =
                        format!("column {} is {}, not {}", column.name, field.data_type(), column.kind.arrow());
                    return Err(Error::TableShape { table: self.table.name(), problem });
                }
                Err(_) => {} // added by `evolve` before the first row is written; NULL until then
            }
        }
        Ok(())
    }

    /// Adds the columns that the table does not have yet.
    pub(crate) async fn evolve(&mut self) -> Result<()> {
        let present = self.file_schema()?;
        let missing: Vec<_> =
            columns(self.table).iter().filter(|c| present.field_with_name(&c.name).is_err()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> = missing.iter().map(|c| c.delta_field()).collect();
        let adding = self.delta.clone().add_columns().with_fields(fields);
        let added = self.rehearsed.on_threads(adding.into_future()).await;
        self.reload().await?;
        let present = self.file_schema()?;
        match (missing.iter().all(|c| present.field_with_name(&c.name).is_ok()), added) {
            (true, _) => Ok(()),
            (false, Err(source)) => Err(Error::delta("adding columns to a table of the lake")(source)),
            (false, Ok(_)) => Err(Error::TableShape {
                table: self.table.name(),
                problem: "columns were added and are not there".to_owned(),
            }),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn version(&self) -> u64 {
        self.delta.version().unwrap_or(0)
    }

    fn state(&self) -> Result<&DeltaTableState> {
        self.delta.snapshot().map_err(Error::delta("reading the state of a table"))
    }

    /// Schema of the table at this version, with its metadata, newer columns included.
    pub(crate) fn file_schema(&self) -> Result<SchemaRef> {
        Ok(self.state()?.snapshot().arrow_schema())
    }

    /// What a reader of this version sees: the table's columns, and those that it has not got yet, which are NULL.
    pub(crate) fn read_schema(&self) -> Result<SchemaRef> {
        let present = self.file_schema()?;
        let own = arrow_schema(self.table);
        let missing = own.fields().iter().filter(|field| present.field_with_name(field.name()).is_err());
        let fields: Vec<_> = present.fields().iter().chain(missing).cloned().collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Files at this version, by path.
    pub(crate) fn files(&self) -> Result<BTreeMap<Path, ActiveFile>> {
        let files = self.state()?.log_data();
        let files = files.iter().map(|file| {
            let path = self.within_store(&file.object_store_path());
            let rows = file.num_records().unwrap_or(0) as u64;
            (path.clone(), ActiveFile { path, size: file.size() as u64, rows })
        });
        Ok(files.collect())
    }

    fn within_store(&self, path: &Path) -> Path {
        path.parts().fold(self.root.clone(), |path, part| path.join(part))
    }

    /// A name that no other file has.
    pub(crate) fn new_file(&self) -> Path {
        self.paths.part(self.table, &self.rehearsed.token(self.table.name()))
    }

    /// See [`Rehearsed::reached`].
    pub(crate) async fn reached(&self, point: CrashPoint) {
        self.rehearsed.reached(point, self.table.name()).await;
    }

    /// The simulation that the table is part of, if any.
    pub(crate) fn rehearsed(&self) -> &Rehearsed {
        &self.rehearsed
    }

    /// The newest version.
    pub(crate) async fn reload(&mut self) -> Result<()> {
        let reloaded = self.rehearsed.on_threads(self.delta.update_incremental(None)).await;
        reloaded.map_err(Error::delta("reloading a table of the lake"))
    }

    /// Commits added rows on top of exactly the version at hand, behind the fence.
    pub(crate) async fn append(&mut self, file: ActiveFile, stats: serde_json::Value) -> Result<Attempt> {
        let read_version = self.version();
        let fence = self.fence().await? + 1;
        let properties =
            CommitProperties::default().with_application_transaction(Transaction::new(APPLICATION_ID, fence));
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let add = self.add_action(&file, stats, true);
        let attempt = self.commit(vec![add], properties, operation, &file.path).await?;
        // a landed commit that was found again only after reloading may lie below the newest version
        self.fence = None;
        if attempt == Attempt::Landed && self.version() == read_version + 1 {
            self.fence = Some((self.version(), fence));
        }
        Ok(attempt)
    }

    /// The version of our application id at the table's version; 0 before the first commit of rows.
    async fn fence(&self) -> Result<i64> {
        if let Some((version, fence)) = self.fence
            && version == self.version()
        {
            return Ok(fence);
        }
        let log = self.delta.log_store();
        let reading = self.state()?.transaction_version(&log, APPLICATION_ID);
        let read = self.rehearsed.on_threads(reading).await;
        Ok(read.map_err(Error::delta("reading the fence"))?.unwrap_or(0))
    }

    /// Replaces files by one that holds the same rows.
    pub(crate) async fn replace(
        &mut self,
        old: &[ActiveFile],
        new: ActiveFile,
        stats: serde_json::Value,
    ) -> Result<Attempt> {
        let mut actions: Vec<Action> = self
            .state()?
            .log_data()
            .iter()
            .filter(|view| old.iter().any(|file| file.path == self.within_store(&view.object_store_path())))
            .map(|view| Action::Remove(view.remove_action(false)))
            .collect();
        actions.push(self.add_action(&new, stats, false));
        let operation = DeltaOperation::Optimize { predicate: None, target_size: new.size as i64 };
        let read_version = self.version();
        let attempt = self.commit(actions, CommitProperties::default(), operation, &new.path).await?;
        // it has no fence of its own, so that the last one holds
        let version = self.version();
        let directly = attempt == Attempt::Landed && version == read_version + 1;
        self.fence = self.fence.filter(|(at, _)| directly && *at == read_version).map(|(_, fence)| (version, fence));
        Ok(attempt)
    }

    fn add_action(&self, file: &ActiveFile, stats: serde_json::Value, data_change: bool) -> Action {
        let name = file.path.filename().unwrap_or_default().to_owned();
        Action::Add(Add {
            path: name,
            size: file.size as i64,
            // The protocol gives this to readers as a hint only; the clock is not ours to read.
            modification_time: 0,
            data_change,
            stats: Some(stats.to_string()),
            ..Add::default()
        })
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
        new_file: &Path,
    ) -> Result<Attempt> {
        let read_version = self.version();
        // No retries inside deltalake: they would keep the rows and skip the look at what others added meanwhile.
        let properties = properties.with_max_retries(0).with_cleanup_expired_logs(Some(false));
        let committing = CommitBuilder::from(properties).with_actions(actions).build(
            Some(self.state()? as &dyn TableReference),
            self.delta.log_store(),
            operation,
        );
        let committed = self.rehearsed.on_threads(committing.into_future()).await;
        let error = match committed {
            Ok(done) => {
                self.delta.state = Some(done.snapshot());
                return Ok(Attempt::Landed);
            }
            Err(error) => error,
        };
        // The error does not tell: a put may have landed and been reported as failed or as "already exists", and what
        // follows a landed commit (checkpoints) may fail. The log tells.
        self.reload().await?;
        if self.files()?.contains_key(new_file) {
            return Ok(Attempt::Landed);
        }
        if self.version() > read_version || lost_race(&error) {
            return Ok(Attempt::Lost);
        }
        Err(Error::delta("committing to a table of the lake")(error))
    }

    /// Deletes files of rows that are no part of this version and were written or replaced longer ago than
    /// [`REPLACED_FILES_KEPT`]: those that compaction replaced, which readers of older versions need till then, and those
    /// of committers that died before their commit, which until then might be a commit in flight. Returns how many were
    /// deleted.
    pub(crate) async fn sweep(&mut self) -> Result<usize> {
        let sweeping = self.delta.clone().vacuum().with_mode(VacuumMode::Full);
        let swept = self.rehearsed.on_threads(sweeping.into_future()).await;
        let (_, swept) = swept.map_err(Error::delta("deleting replaced files"))?;
        self.reload().await?;
        Ok(swept.files_deleted.len())
    }
}

fn lost_race(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::VersionAlreadyExists(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::CommitConflict(_)
        ),
        _ => false,
    }
}

fn log_store(location: &Location, paths: &LakePaths, table: Table) -> LogStoreRef {
    let root = paths.table(table);
    let prefixed: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&location.store), root.clone()));
    default_logstore(prefixed, Arc::clone(&location.store), &location.url_of(&root), &StorageConfig::default())
}

/// Statistics of a file for its Add action.
pub(crate) fn stats(rows: usize, bounds: &[(&str, serde_json::Value, serde_json::Value)]) -> serde_json::Value {
    let side = |pick: fn(&(&str, serde_json::Value, serde_json::Value)) -> serde_json::Value| {
        bounds.iter().map(|b| (b.0.to_owned(), pick(b))).collect::<serde_json::Map<_, _>>()
    };
    serde_json::json!({
        "numRecords": rows,
        "minValues": side(|b| b.1.clone()),
        "maxValues": side(|b| b.2.clone()),
        "nullCount": {},
    })
}

/// Arrow schema in which rows of this version are written.
pub(crate) fn write_schema(table: Table) -> SchemaRef {
    arrow_schema(table)
}

//! Makes one file of many small ones.
//!
//! Files are classed by size in powers of sixteen rows; sixteen of a class become one of the next. So a row is rewritten
//! two or three times in its life, which is what the committer's rate depends on, and a table of 10^7 rows has some tens of
//! files however small the batches were.

use crate::apart::worked;
use crate::datafile::{self, StreamedFile};
use crate::error::Result;
use crate::keys::{KeyIndex, hashes};
use crate::paths::Table;
use crate::rehearsal::CrashPoint;
use crate::table::{ActiveFile, Attempt, LakeTable, stats, write_schema};
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files of a class that become one.
const FAN_IN: usize = 16;
/// Rows of the largest file that compaction makes; larger files are left alone.
const FILE_ROWS_MAX: u64 = 4_194_304;

fn class(rows: u64) -> u32 {
    rows.max(1).ilog(FAN_IN as u64)
}

/// The files that should become one, smallest class first.
fn pick(files: impl Iterator<Item = ActiveFile>) -> Option<Vec<ActiveFile>> {
    let mut classes: BTreeMap<u32, Vec<ActiveFile>> = BTreeMap::new();
    for file in files {
        classes.entry(class(file.rows)).or_default().push(file);
    }
    classes.into_values().find_map(|mut files| {
        files.truncate(FAN_IN);
        let rows: u64 = files.iter().map(|f| f.rows).sum();
        (files.len() == FAN_IN && rows <= FILE_ROWS_MAX).then_some(files)
    })
}

/// Compacts until no class is full. A race lost to another committer ends it for this time: it will be tried again.
/// Returns how many files were replaced.
pub(crate) async fn compact(table: &mut LakeTable, index: &mut KeyIndex) -> Result<usize> {
    let mut replaced = 0;
    while let Some(old) = pick(table.files()?.into_values()) {
        // The table's schema, not ours: columns that a newer committer added must survive.
        let merge = Merge {
            table: table.table,
            store: Arc::clone(table.store()),
            schema: with_own_metadata(table)?,
            path: table.new_file(),
            old: old.clone(),
        };
        // of its own task, so that both tables are compacted at the same time
        let (new, keys) = worked(table.rehearsed(), "compacting rows", merge.run()).await?;
        table.reached(CrashPoint::FILES_MERGED).await;
        let numbers = stats(new.rows as usize, &[]);
        match table.replace(&old, new.clone(), numbers).await? {
            Attempt::Landed => {
                index.insert(&new, keys);
                replaced += old.len();
            }
            Attempt::Lost => {
                if let Err(error) = table.store().delete(&new.path).await {
                    tracing::debug!(%error, "a file that lost its race was left behind");
                }
                break;
            }
        }
    }
    if replaced > 0 {
        index.follow(table).await?;
    }
    Ok(replaced)
}

/// The rows of some files, to be written to one.
struct Merge {
    table: Table,
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    path: Path,
    old: Vec<ActiveFile>,
}

impl Merge {
    /// Holds one row group. Returns the file and the keys of its rows in their order.
    async fn run(self) -> Result<(ActiveFile, Vec<u64>)> {
        let mut file = StreamedFile::create(&self.store, &self.path, &self.schema, datafile::ROW_GROUP_ROWS)?;
        let mut keys = Vec::with_capacity(self.old.iter().map(|f| f.rows as usize).sum());
        for part in &self.old {
            let mut batches = datafile::read(&self.store, &part.path, part.size, &[]).await?;
            while let Some(batch) = batches.try_next().await? {
                let batch = in_schema(&self.schema, &batch)?;
                hashes(self.table, &batch, &mut keys)?;
                file.write(&batch).await?;
            }
        }
        let rows = file.rows() as u64;
        let size = file.finish().await?;
        Ok((ActiveFile { path: self.path, size, rows }, keys))
    }
}

/// The schema of the table at its version; where it is the one of this version, with our metadata.
fn with_own_metadata(table: &LakeTable) -> Result<SchemaRef> {
    let (present, own) = (table.file_schema()?, write_schema(table.table));
    let same = present.fields().len() == own.fields().len()
        && present
            .fields()
            .iter()
            .zip(own.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    Ok(if same { own } else { present })
}

fn in_schema(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let arrays: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(array) if array.data_type() == field.data_type() => Arc::clone(array),
            _ => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(crate::Error::arrow("compacting rows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: usize, rows: u64) -> ActiveFile {
        ActiveFile { path: Path::from(format!("f{name}")), size: 1, rows }
    }

    #[test]
    fn only_a_full_class_is_compacted() {
        let small = (0..15).map(|n| file(n, 3));
        let medium = (20..36).map(|n| file(n, 100));
        assert_eq!(pick(small.clone()), None);
        assert_eq!(pick(small.clone().chain(medium)).unwrap().len(), FAN_IN);
        assert!(pick(small.chain([file(99, 1)])).unwrap().iter().all(|f| f.rows < 16));
        assert_eq!(pick((0..16).map(|n| file(n, FILE_ROWS_MAX / 8))), None, "large files stay");
    }

    #[test]
    fn ten_million_rows_are_some_tens_of_files_however_small_the_batches() {
        for batch_rows in [500, 1_000, 4_000, 10_000] {
            let mut files: Vec<ActiveFile> = Vec::new();
            let (mut rewritten, mut most) = (0, 0);
            for batch in 0..10_000_000 / batch_rows {
                files.push(file(batch, batch_rows as u64));
                while let Some(old) = pick(files.iter().cloned()) {
                    files.retain(|f| !old.contains(f));
                    let rows = old.iter().map(|f| f.rows).sum();
                    rewritten += rows;
                    files.push(file(1_000_000 + files.len() * 7 + batch * 100, rows));
                }
                most = most.max(files.len());
            }
            assert_eq!(files.iter().map(|f| f.rows).sum::<u64>(), 10_000_000);
            assert!(most <= 70, "{most} files of batches of {batch_rows}");
            assert!(rewritten <= 4 * 10_000_000, "a row is rewritten {} times", rewritten / 10_000_000);
        }
    }
}

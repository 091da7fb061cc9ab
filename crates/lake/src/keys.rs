//! Which keys a table holds, and where.
//!
//! The anti-join of the committer asks, for each key of a batch, which rows of the table have it. The index keeps 64 bits
//! of each row's key and its row number, 12 bytes a row (120 MB at 10^7 rows), sorted by file; keys that agree in 64 bits
//! are told apart by reading the rows. It follows the table by reading the key columns of files that are new.

use crate::datafile;
use crate::error::{Error, Result};
use crate::paths::Table;
use crate::record::Row;
use crate::table::{ActiveFile, LakeTable};
use arrow::array::{AsArray, RecordBatch};
use futures::TryStreamExt;
use object_store::path::Path;
use std::collections::BTreeMap;

/// Most rows that an index takes in: 1.2 GB.
pub(crate) const INDEX_ROWS_MAX: usize = 100_000_000;

/// The columns that are a table's key, first the random one.
pub(crate) fn key_columns(table: Table) -> [&'static str; 2] {
    match table {
        Table::Results => ["image_id", "fingerprint"],
        Table::Instances => ["item_id", "fingerprint"],
    }
}

/// 64 bits of a key. Both parts are hexadecimal digits of digests, so that their first 64 bits are spread out already;
/// the second is multiplied by an odd number so that equal parts do not cancel.
pub(crate) fn key_hash(id: &str, fingerprint: &str) -> u64 {
    first_bits(id) ^ first_bits(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn first_bits(hex: &str) -> u64 {
    hex.bytes().take(16).fold(0, |bits, digit| bits << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0)))
}

/// Keys of one file: `keys` ascend, `rows[i]` is the row of `keys[i]`.
#[derive(Debug, Default)]
struct FileKeys {
    size: u64,
    keys: Vec<u64>,
    rows: Vec<u32>,
}

impl FileKeys {
    /// `keys` in file order.
    fn of(size: u64, keys: Vec<u64>) -> FileKeys {
        let mut order: Vec<(u64, u32)> = keys.into_iter().zip(0u32..).collect();
        order.sort_unstable();
        FileKeys { size, keys: order.iter().map(|o| o.0).collect(), rows: order.iter().map(|o| o.1).collect() }
    }

    fn find(&self, key: u64) -> &[u32] {
        let from = self.keys.partition_point(|&k| k < key);
        let to = from + self.keys[from..].partition_point(|&k| k == key);
        &self.rows[from..to]
    }
}

/// Keys of all files at the table's version.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    files: BTreeMap<Path, FileKeys>,
}

impl KeyIndex {
    pub(crate) fn rows(&self) -> usize {
        self.files.values().map(|f| f.keys.len()).sum()
    }

    /// Brings the index to the table's version. Returns how many files had to be read.
    pub(crate) async fn follow(&mut self, table: &LakeTable) -> Result<usize> {
        let active = table.files()?;
        self.files.retain(|path, _| active.contains_key(path));
        let mut read = 0;
        for file in active.values() {
            if self.files.contains_key(&file.path) {
                continue;
            }
            if self.rows() + file.rows as usize > INDEX_ROWS_MAX {
                return Err(Error::TooManyKeys { table: table.table.name(), limit: INDEX_ROWS_MAX });
            }
            let columns = key_columns(table.table);
            let mut batches = datafile::read(table.store(), &file.path, file.size, &columns).await?;
            let mut keys = Vec::with_capacity(file.rows as usize);
            while let Some(batch) = batches.try_next().await? {
                hashes(table.table, &batch, &mut keys)?;
            }
            self.files.insert(file.path.clone(), FileKeys::of(file.size, keys));
            read += 1;
        }
        Ok(read)
    }

    /// Takes in a file whose rows are at hand, after its commit.
    pub(crate) fn insert(&mut self, file: &ActiveFile, keys: Vec<u64>) {
        self.files.insert(file.path.clone(), FileKeys::of(file.size, keys));
    }

    /// Rows that may have one of the keys, from the files.
    pub(crate) async fn rows_with(&self, table: &LakeTable, keys: &[u64]) -> Result<Vec<Row>> {
        let mut found = Vec::new();
        for (path, file) in &self.files {
            let mut rows: Vec<u32> = keys.iter().flat_map(|&key| file.find(key)).copied().collect();
            if rows.is_empty() {
                continue;
            }
            rows.sort_unstable();
            rows.dedup();
            for batch in datafile::read_rows(table.store(), path, file.size, &rows).await? {
                found.extend(crate::record::rows_of(table.table, &batch));
            }
        }
        Ok(found)
    }
}

/// Appends the key hashes of a batch.
pub(crate) fn hashes(table: Table, batch: &RecordBatch, keys: &mut Vec<u64>) -> Result<()> {
    let text = |name: &str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(|| Error::TableShape { table: table.name(), problem: format!("a file has no text {name}") })
    };
    let [id, fingerprint] = key_columns(table);
    let (id, fingerprint) = (text(id)?, text(fingerprint)?);
    keys.extend(id.iter().zip(fingerprint).map(|(id, fp)| key_hash(id.unwrap_or(""), fp.unwrap_or(""))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_finds_all_rows_of_a_key() {
        let file = FileKeys::of(1, vec![7, 3, 7, u64::MAX, 0, 7]);
        assert_eq!(file.find(7), [0, 2, 5]);
        assert_eq!(file.find(0), [4]);
        assert_eq!(file.find(u64::MAX), [3]);
        assert!(file.find(5).is_empty());
    }

    #[test]
    fn hashes_tell_swapped_and_equal_parts_apart() {
        let (a, b) = ("0123456789abcdef0000000000000000", "fedcba98765432100000000000000000");
        assert_ne!(key_hash(a, b), key_hash(b, a));
        assert_ne!(key_hash(a, a), key_hash(b, b));
        assert_ne!(key_hash(a, a), 0);
    }
}

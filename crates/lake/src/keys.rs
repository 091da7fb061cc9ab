//! Which keys a table holds, and where.
//!
//! The anti-join of the committer asks, for each key of a batch, which rows of the table have it. The index keeps 64 bits
//! of each row's key and its row number, 12.5 bytes a row (125 MB at 10^7 rows), sorted by file; keys that agree in 64 bits
//! are told apart by reading the rows. It follows the table by reading the key columns of files that are new.

use crate::apart::worked;
use crate::datafile;
use crate::error::{Error, Result};
use crate::paths::Table;
use crate::record::Row;
use crate::table::{ActiveFile, LakeTable};
use arrow::array::{AsArray, RecordBatch};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

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
    hex.bytes().take(16).fold(0, |bits, digit| bits << 4 | u64::from(DIGITS[usize::from(digit)]))
}

/// What a hexadecimal digit stands for; 0 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// The number that 32 hexadecimal digits stand for; `None` for other text.
pub(crate) fn id_of_hex(hex: &str) -> Option<u128> {
    let digits = hex.len() == 32 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u128::from(first_bits(hex)) << 64 | u128::from(first_bits(&hex[16..])))
}

/// Where among ascending keys those with the same first bits begin. Keys are digests, spread evenly over 64 bits, so that a bucket
/// holds some eight of them whatever their number: a look here and one there, where halving four million keys is 22 looks all over
/// the memory. Half a byte a key.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    shift: u32,
    /// One more than there are buckets.
    starts: Vec<u32>,
}

impl Directory {
    const BUCKET_KEYS: usize = 8;

    /// `keys` ascend; at most 2^32 of them.
    pub(crate) fn of(keys: impl ExactSizeIterator<Item = u64>) -> Directory {
        let bits = (keys.len() / Self::BUCKET_KEYS).max(1).ilog2();
        let mut directory = Directory { shift: u64::BITS - bits, starts: vec![0; (1 << bits) + 1] };
        for key in keys {
            let bucket = directory.bucket(key);
            directory.starts[bucket + 1] += 1;
        }
        let mut before = 0;
        for start in &mut directory.starts {
            before += *start;
            *start = before;
        }
        directory
    }

    fn bucket(&self, key: u64) -> usize {
        key.checked_shr(self.shift).unwrap_or(0) as usize
    }

    /// Indices of the keys that share their first bits with this one.
    pub(crate) fn around(&self, key: u64) -> Range<usize> {
        if self.starts.is_empty() {
            return 0..0;
        }
        let bucket = self.bucket(key);
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }
}

/// Keys of one file: `keys` ascend, `rows[i]` is the row of `keys[i]`.
#[derive(Debug, Default)]
struct FileKeys {
    size: u64,
    directory: Directory,
    keys: Vec<u64>,
    rows: Vec<u32>,
}

impl FileKeys {
    /// `keys` in file order.
    fn of(size: u64, keys: Vec<u64>) -> FileKeys {
        let mut order: Vec<(u64, u32)> = keys.into_iter().zip(0u32..).collect();
        order.sort_unstable();
        FileKeys {
            size,
            directory: Directory::of(order.iter().map(|o| o.0)),
            keys: order.iter().map(|o| o.0).collect(),
            rows: order.iter().map(|o| o.1).collect(),
        }
    }

    fn find(&self, key: u64) -> &[u32] {
        let near = self.directory.around(key);
        let from = near.start + self.keys[near.clone()].partition_point(|&k| k < key);
        let to = from + self.keys[from..near.end].partition_point(|&k| k == key);
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
            let keys = read_keys(table.table, Arc::clone(table.store()), file.clone());
            // of its own task, so that the keys of both tables are read at the same time
            self.files.insert(file.path.clone(), worked(table.rehearsed(), "reading keys", keys).await?);
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

async fn read_keys(table: Table, store: Arc<dyn ObjectStore>, file: ActiveFile) -> Result<FileKeys> {
    let mut batches = datafile::read(&store, &file.path, file.size, &key_columns(table)).await?;
    let mut keys = Vec::with_capacity(file.rows as usize);
    while let Some(batch) = batches.try_next().await? {
        hashes(table, &batch, &mut keys)?;
    }
    Ok(FileKeys::of(file.size, keys))
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
    fn keys_are_found_however_they_are_spread() {
        let even: Vec<u64> = (0..5_000u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let crowded: Vec<u64> = (0..5_000u64).map(|n| n * n).collect();
        let high: Vec<u64> = (0..5_000u64).map(|n| u64::MAX - n).collect();
        for keys in [even, crowded, high, vec![7; 300], vec![], vec![0, u64::MAX]] {
            let file = FileKeys::of(1, keys.clone());
            let near = keys.iter().step_by(7).flat_map(|k| [k.wrapping_sub(1), *k, k.wrapping_add(1)]);
            for key in near.chain([0, 1, u64::MAX / 2, u64::MAX]) {
                let by_hand: Vec<u32> = (0u32..).zip(&keys).filter(|(_, k)| **k == key).map(|(row, _)| row).collect();
                assert_eq!(file.find(key), by_hand, "{key} in {} keys", keys.len());
            }
        }
        assert!(FileKeys::default().find(3).is_empty());
    }

    #[test]
    fn only_a_whole_id_is_a_number() {
        let hex = "00112233445566778899aabbccddeeff";
        assert_eq!(id_of_hex(hex), u128::from_str_radix(hex, 16).ok());
        for wrong in [
            "",
            "0011",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeefg",
            "\u{e9}".repeat(16).as_str(),
        ] {
            assert_eq!(id_of_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hashes_tell_swapped_and_equal_parts_apart() {
        let (a, b) = ("0123456789abcdef0000000000000000", "fedcba98765432100000000000000000");
        assert_ne!(key_hash(a, b), key_hash(b, a));
        assert_ne!(key_hash(a, a), key_hash(b, b));
        assert_ne!(key_hash(a, a), 0);
    }
}

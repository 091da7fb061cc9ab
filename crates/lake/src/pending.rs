//! Which items of a submission are still to be read.
//!
//! The ledger is compared with the ids of the submission, 2^21 of them at a time, and leaves one bit an item; only then
//! are the items themselves read, and only those that are open come out. So memory is about 110 MB and a bit an item
//! however long the list is, and nothing but the lake is read.

use crate::datafile;
use crate::error::{Error, Result};
use crate::items::{ItemManifests, Submission, id_bits};
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::table::LakeTable;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use domain::{FailReason, Item};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use std::collections::HashMap;

/// Ids compared in one pass over the ledger.
const CHUNK_IDS: usize = 1 << 21;

/// An item to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub item: Item,
    /// 1 for the first try.
    pub attempt: u32,
}

/// What a submission still needs.
pub struct OpenItems {
    manifests: ItemManifests,
    submission: Submission,
    done: Bits,
    /// Attempts of items that are tried again, by place in the manifest.
    again: HashMap<u64, u32>,
    open: u64,
}

impl OpenItems {
    /// Compares the submission with the ledger. Scored and excluded items are done, failed ones too unless their reason is
    /// in `retry`.
    pub(crate) async fn find(
        location: &Location,
        paths: &LakePaths,
        submission: &Submission,
        retry: &[FailReason],
    ) -> Result<OpenItems> {
        let manifests = ItemManifests::new(location, paths);
        let ledger = LakeTable::open(location, paths, Table::Instances)
            .await?
            .ok_or_else(|| Error::NotALake { address: location.url.to_string() })?;
        let mut found = OpenItems {
            manifests: manifests.clone(),
            submission: submission.clone(),
            done: Bits::new(submission.items),
            again: HashMap::new(),
            open: submission.items,
        };
        let mut ids = manifests.read_ids(submission).await?;
        let mut chunk = Chunk::default();
        while let Some(batch) = ids.try_next().await? {
            for id in batch {
                chunk.ids.push((id, chunk.ids.len() as u32));
            }
            if chunk.ids.len() >= CHUNK_IDS {
                chunk = found.settle(chunk, &ledger, retry).await?;
            }
        }
        found.settle(chunk, &ledger, retry).await?;
        Ok(found)
    }

    /// Items that are open.
    pub fn len(&self) -> u64 {
        self.open
    }

    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The open items, sorted by uri.
    pub async fn into_stream(self) -> Result<BoxStream<'static, Result<Work>>> {
        let items = self.manifests.read(&self.submission).await?;
        let (done, again) = (self.done, self.again);
        Ok(items
            .enumerate()
            .filter_map(move |(place, item)| {
                let place = place as u64;
                let attempt = again.get(&place).copied().unwrap_or(1);
                let open = item.is_err() || !done.get(place);
                std::future::ready(open.then(|| item.map(|item| Work { item, attempt })))
            })
            .boxed())
    }

    /// Looks a chunk of ids up in the ledger, notes what is done, and gives the empty chunk that follows.
    async fn settle(&mut self, mut chunk: Chunk, ledger: &LakeTable, retry: &[FailReason]) -> Result<Chunk> {
        let next = Chunk { first: chunk.first + chunk.ids.len() as u64, ..Chunk::default() };
        if chunk.ids.is_empty() {
            return Ok(next);
        }
        chunk.ids.sort_unstable();
        chunk.found = vec![None; chunk.ids.len()];
        let columns = ["item_id", "fingerprint", "revision", "status", "fail_reason", "attempt"];
        for file in ledger.files()?.into_values() {
            let mut batches = datafile::read(ledger.store(), &file.path, file.size, &columns).await?;
            while let Some(batch) = batches.try_next().await? {
                chunk.take_in(&batch, self.submission.fingerprint.as_str(), retry)?;
            }
        }
        for ((_, place), found) in chunk.ids.iter().zip(&chunk.found) {
            let place = chunk.first + u64::from(*place);
            match found {
                Some(Found { again: None, .. }) => {
                    self.done.set(place);
                    self.open -= 1;
                }
                Some(Found { again: Some(attempt), .. }) => {
                    self.again.insert(place, *attempt);
                }
                None => {}
            }
        }
        Ok(next)
    }
}

/// The newest outcome of an item in the ledger.
#[derive(Debug, Clone, Copy)]
struct Found {
    revision: i32,
    /// The attempt that is due, for an item that is tried again.
    again: Option<u32>,
}

#[derive(Default)]
struct Chunk {
    /// Place in the manifest of the first id.
    first: u64,
    /// Ids with their places after `first`, sorted before they are looked up.
    ids: Vec<(u128, u32)>,
    /// By position in `ids`.
    found: Vec<Option<Found>>,
}

impl Chunk {
    fn take_in(&mut self, batch: &RecordBatch, fingerprint: &str, retry: &[FailReason]) -> Result<()> {
        let lacks = |name: &str| Error::TableShape { table: "instances", problem: format!("a file has no {name}") };
        let text = |name: &str| -> Result<&StringArray> {
            batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| lacks(name))
        };
        let number = |name: &str| {
            batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int32Type>()).ok_or_else(|| lacks(name))
        };
        let ids = id_bits(batch.column_by_name("item_id").ok_or_else(|| lacks("item_id"))?);
        let (fingerprints, status, reason) = (text("fingerprint")?, text("status")?, text("fail_reason")?);
        let (revisions, attempts) = (number("revision")?, number("attempt")?);
        for (row, id) in ids.into_iter().enumerate() {
            if fingerprints.value(row) != fingerprint {
                continue;
            }
            let Ok(at) = self.ids.binary_search_by_key(&id, |entry| entry.0) else { continue };
            let revision = revisions.value(row);
            if self.found[at].is_some_and(|found| found.revision >= revision) {
                continue;
            }
            let again = status.value(row) == "failed"
                && reason.is_valid(row)
                && retry.iter().any(|wanted| wanted.name() == reason.value(row));
            let due = u32::try_from(attempts.value(row)).unwrap_or(0).saturating_add(1);
            self.found[at] = Some(Found { revision, again: again.then_some(due) });
        }
        Ok(())
    }
}

struct Bits(Vec<u64>);

impl Bits {
    fn new(len: u64) -> Bits {
        Bits(vec![0; len.div_ceil(64) as usize])
    }

    fn get(&self, at: u64) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn set(&mut self, at: u64) {
        if let Some(word) = self.0.get_mut((at / 64) as usize) {
            *word |= 1 << (at % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::samples::{attempt, excluded, failed, fingerprint, item, scored};
    use crate::tests::{lake, number, text};
    use crate::{Lake, Submission, Work};
    use domain::{ExcludeReason, FailReason, Item};
    use futures::{TryStreamExt, stream};

    async fn submit(lake: &Lake, items: Vec<Item>) -> Submission {
        let list = stream::iter(items.into_iter().map(Ok::<_, crate::Error>));
        lake.items().write(&fingerprint("f"), list).await.unwrap()
    }

    async fn open(lake: &Lake, submission: &Submission, retry: &[FailReason]) -> Vec<Work> {
        let open = lake.open_items(submission, retry).await.unwrap();
        let announced = open.len();
        let work: Vec<Work> = open.into_stream().await.unwrap().try_collect().await.unwrap();
        assert_eq!(work.len() as u64, announced);
        work
    }

    #[tokio::test]
    async fn only_what_is_new_changed_or_asked_for_again_is_open() {
        let lake = lake().await;
        let submission = submit(&lake, (0..6).rev().map(item).collect()).await;
        let all = open(&lake, &submission, &[]).await;
        assert_eq!(all.iter().map(|w| w.item.clone()).collect::<Vec<_>>(), (0..6).map(item).collect::<Vec<_>>());

        let mut committer = lake.committer().await.unwrap();
        let outcomes = vec![
            scored(0, [1; 8]),
            excluded(1, ExcludeReason::Blank),
            failed(2, FailReason::Truncated),
            failed(3, FailReason::StageFailed),
            attempt(2, failed(3, FailReason::Internal)),
        ];
        committer.commit(outcomes).await.unwrap();
        assert_eq!(open(&lake, &submission, &[]).await, all[4..]);
        let again = open(&lake, &submission, &[FailReason::Internal]).await;
        assert_eq!(again[0], Work { item: item(3), attempt: 3 });
        assert_eq!(again[1..], all[4..]);
        let superseded_reason = open(&lake, &submission, &[FailReason::StageFailed]).await;
        assert_eq!(superseded_reason, all[4..], "the newest failure had another reason");

        // Item 0 changed; the others are known under the new list too.
        let changed = Item { version: "v2".to_owned(), ..item(0) };
        let resubmitted = submit(&lake, (1..6).map(item).chain([changed.clone()]).collect()).await;
        assert_ne!(resubmitted.submission, submission.submission);
        let now: Vec<Item> = open(&lake, &resubmitted, &[]).await.into_iter().map(|w| w.item).collect();
        assert_eq!(now, [changed, item(4), item(5)]);
    }

    #[tokio::test]
    async fn the_ledger_adds_up() {
        let lake = lake().await;
        let first = submit(&lake, (0..10).map(item).collect()).await;
        let second = submit(&lake, (5..12).map(item).collect()).await;
        let mut committer = lake.committer().await.unwrap();
        let outcomes = vec![
            scored(0, [0; 8]),
            scored(6, [0; 8]),
            failed(7, FailReason::Truncated),
            attempt(2, scored(7, [1; 8])),
            excluded(8, ExcludeReason::WrongView),
            failed(11, FailReason::TooLarge),
        ];
        committer.commit(outcomes).await.unwrap();
        for (submission, sums) in [(first, [6, 3, 1, 0]), (second, [3, 2, 1, 1])] {
            for (status, sum) in ["pending", "scored", "excluded", "failed"].iter().zip(sums) {
                let sql = format!(
                    "SELECT count(*) FROM ledger WHERE submission = '{}' AND status = '{status}'",
                    submission.submission
                );
                assert_eq!(number(&lake, &sql).await, sum, "{status}");
            }
            assert_eq!(sums.iter().sum::<i64>() as u64, submission.items);
        }
        let columns = text(&lake, "SELECT * FROM ledger LIMIT 1").await;
        assert!(!columns.contains("uri"), "{columns}");
    }
}

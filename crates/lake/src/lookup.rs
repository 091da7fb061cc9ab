//! What the ledger says of the items of submissions, a chunk of items at a time.
//!
//! 2^22 ids are held and looked up in one pass over the ledger, so that memory is about 250 MB however long the lists and
//! the ledger are. Several submissions share the passes. One core reads the ledger, another looks its rows up.

use crate::apart::worked;
use crate::datafile;
use crate::error::{Error, Result};
use crate::items::{ItemManifests, Submission, id_bits};
use crate::keys::Directory;
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::table::{ActiveFile, LakeTable};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use domain::Reason;
use futures::TryStreamExt;
use object_store::ObjectStore;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Items looked up in one pass over the ledger.
const CHUNK_ITEMS: usize = 1 << 22;
/// Batches of the ledger that are read ahead.
const BATCHES_AHEAD: usize = 4;

/// The newest outcome of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Scored,
    /// `None` for a reason that only a newer version knows.
    Excluded(Option<Reason>),
    Failed(Option<Reason>),
}

impl Standing {
    fn of(status: &str, reason: Option<&str>) -> Standing {
        let reason = || reason.and_then(|name| name.parse().ok());
        match status {
            "scored" => Standing::Scored,
            "excluded" => Standing::Excluded(reason()),
            _ => Standing::Failed(reason()),
        }
    }

    pub(crate) fn reason(self) -> Option<Reason> {
        match self {
            Standing::Scored => None,
            Standing::Excluded(reason) | Standing::Failed(reason) => reason,
        }
    }
}

/// The newest row of an item in the ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) standing: Standing,
    /// The try that gave it.
    pub(crate) attempt: u32,
    /// Microseconds since 1970 UTC.
    pub(crate) scored_at_us: i64,
    /// Whether its image is one of those asked about.
    pub(crate) image_meant: bool,
    revision: i32,
}

/// An item in the list of its submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index into the submissions asked about.
    pub(crate) submission: u32,
    /// Place in its manifest; manifests have at most 10^8 items.
    pub(crate) item: u32,
}

/// Looks items up at the version of the ledger at which it was opened.
pub(crate) struct Lookup<'a> {
    manifests: ItemManifests,
    ledger: LakeTable,
    images: &'a HashSet<u128>,
}

impl<'a> Lookup<'a> {
    /// `images`: the ids whose rows get [`Found::image_meant`]; mostly none.
    pub(crate) async fn open(location: &Location, paths: &LakePaths, images: &'a HashSet<u128>) -> Result<Lookup<'a>> {
        let ledger = LakeTable::open(location, paths, Table::Instances)
            .await?
            .ok_or_else(|| Error::NotALake { address: location.url.to_string() })?;
        Ok(Lookup { manifests: ItemManifests::new(location, paths), ledger, images })
    }

    /// Tells of every item of the submissions once, in no order; `None` for one without a row.
    pub(crate) async fn each(
        &self,
        submissions: &[Submission],
        mut tell: impl FnMut(Place, Option<&Found>),
    ) -> Result<()> {
        let mut chunk = Chunk::default();
        for (number, submission) in (0u32..).zip(submissions) {
            let mut ids = self.manifests.read_ids(submission).await?;
            let mut item = 0;
            while let Some(batch) = ids.try_next().await? {
                for id in batch {
                    chunk.items.push((id, Place { submission: number, item }));
                    item += 1;
                }
                if chunk.items.len() >= CHUNK_ITEMS {
                    self.settle(&mut chunk, submissions, &mut tell).await?;
                }
            }
        }
        self.settle(&mut chunk, submissions, &mut tell).await
    }

    /// Looks a chunk up, tells of it and empties it.
    async fn settle(
        &self,
        chunk: &mut Chunk,
        submissions: &[Submission],
        tell: &mut impl FnMut(Place, Option<&Found>),
    ) -> Result<()> {
        if chunk.items.is_empty() {
            return Ok(());
        }
        chunk.items.sort_unstable();
        chunk.found.clear();
        chunk.found.resize(chunk.items.len(), None);
        let mut columns = vec!["item_id", "fingerprint", "revision", "status", "fail_reason", "attempt", "scored_at"];
        if !self.images.is_empty() {
            columns.push("image_id");
        }
        chunk.directory = Directory::of(chunk.items.iter().map(|(id, _)| first_bits(*id)));
        let (send, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let files = self.ledger.files()?.into_values().collect();
        let reading = read(Arc::clone(self.ledger.store()), files, columns, send);
        let reading = worked(self.ledger.rehearsed(), "reading the ledger", reading);
        let taking = async {
            while let Some((ids, batch)) = batches.recv().await {
                chunk.take_in(&ids, &batch, submissions, self.images)?;
            }
            Ok::<(), Error>(())
        };
        futures::try_join!(reading, taking)?;
        for ((_, place), found) in chunk.items.iter().zip(&chunk.found) {
            tell(*place, found.as_ref());
        }
        chunk.items.clear();
        Ok(())
    }
}

/// Sends the rows of files with their ids.
async fn read(
    store: Arc<dyn ObjectStore>,
    files: Vec<ActiveFile>,
    columns: Vec<&'static str>,
    to: mpsc::Sender<(Vec<u128>, RecordBatch)>,
) -> Result<()> {
    for file in files {
        let mut batches = datafile::read(&store, &file.path, file.size, &columns).await?;
        while let Some(batch) = batches.try_next().await? {
            let ids = id_bits(batch.column_by_name("item_id").ok_or_else(|| lacks("item_id"))?);
            if to.send((ids, batch)).await.is_err() {
                return Ok(()); // whoever took them has failed
            }
        }
    }
    Ok(())
}

fn lacks(column: &str) -> Error {
    Error::TableShape { table: "instances", problem: format!("a file has no {column}") }
}

/// The half of an id by which ids are found.
fn first_bits(id: u128) -> u64 {
    (id >> 64) as u64
}

#[derive(Default)]
struct Chunk {
    /// Sorted before they are looked up. An item of several submissions stands here several times.
    items: Vec<(u128, Place)>,
    /// Of the ids in `items`.
    directory: Directory,
    /// By position in `items`.
    found: Vec<Option<Found>>,
}

impl Chunk {
    fn take_in(
        &mut self,
        ids: &[u128],
        batch: &RecordBatch,
        submissions: &[Submission],
        images: &HashSet<u128>,
    ) -> Result<()> {
        let text = |name: &str| -> Result<&StringArray> {
            batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| lacks(name))
        };
        let number = |name: &str| {
            batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int32Type>()).ok_or_else(|| lacks(name))
        };
        let (fingerprints, status, reason) = (text("fingerprint")?, text("status")?, text("fail_reason")?);
        let (revisions, attempts) = (number("revision")?, number("attempt")?);
        let scored_at = batch
            .column_by_name("scored_at")
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| lacks("scored_at"))?;
        let image_ids = batch.column_by_name("image_id").map(id_bits);
        for (row, id) in ids.iter().enumerate() {
            let near = self.directory.around(first_bits(*id));
            let first = near.start + self.items[near.clone()].partition_point(|entry| entry.0 < *id);
            for at in first..near.end {
                let (item, place) = self.items[at];
                if item != *id {
                    break;
                }
                let wanted = submissions[place.submission as usize].fingerprint.as_str();
                let revision = revisions.value(row);
                if fingerprints.value(row) != wanted || self.found[at].is_some_and(|found| found.revision >= revision) {
                    continue;
                }
                let reason = reason.is_valid(row).then(|| reason.value(row));
                let image = image_ids.as_ref().map_or(0, |images| images[row]);
                self.found[at] = Some(Found {
                    standing: Standing::of(status.value(row), reason),
                    attempt: u32::try_from(attempts.value(row)).unwrap_or(0),
                    scored_at_us: scored_at.value(row),
                    image_meant: image != 0 && images.contains(&image),
                    revision,
                });
            }
        }
        Ok(())
    }
}

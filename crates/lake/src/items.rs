//! Item manifests: what a submission consists of, written before any of it is read.
//!
//! A submission is a list of items under one fingerprint; its id is their digest, so that the same list under the same
//! pipeline is the same submission, whoever lists it and however often. Lists may be longer than memory and in any
//! order: sorted runs of [`RUN_ITEMS`] go to the store and are merged from there.

use crate::datafile::{self, StreamedFile};
use crate::error::{Error, Result};
use crate::keys::id_of_hex;
use crate::location::Location;
use crate::paths::LakePaths;
use crate::table::ActiveFile;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use domain::item::ItemHints;
use domain::{Digest, Fingerprint, Item, ItemId};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use std::collections::BinaryHeap;
use std::sync::{Arc, LazyLock};
use tokio::task::{JoinError, JoinSet};

/// Items sorted in memory at a time: about 90 MB, twice, since one run is listed while the one before is written.
pub const RUN_ITEMS: usize = 262_144;
/// Items of one part of a manifest.
const PART_ITEMS: u64 = 1_048_576;
/// Most items of a submission: 382 runs, of which a merge holds one row group each.
pub const ITEMS_MAX: u64 = 100_000_000;
/// Rows of a row group of a run: small, since a merge holds one of every run.
const RUN_GROUP_ROWS: usize = 8_192;
/// Version of `submission.json`.
const SUBMISSION_SCHEMA_VERSION: u32 = 1;

/// Columns of a manifest part. `sources` and `ledger` are made of them.
static MANIFEST: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let number = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("submission"),
        text("item_id"),
        text("fingerprint"),
        text("uri"),
        number("size_bytes"),
        text("version"),
        number("pixel_spacing_um"),
        number("pixel_aspect_ppm"),
        text("participant"),
    ]))
});

/// The columns of a manifest that name no object: what the ledger sees.
pub(crate) fn ledger_schema() -> SchemaRef {
    Arc::new(MANIFEST.project(&[0, 1, 2]).expect("the manifest has these columns"))
}

/// With the uri, for `sources`.
pub(crate) fn sources_schema() -> SchemaRef {
    Arc::new(MANIFEST.project(&[0, 1, 3]).expect("the manifest has these columns"))
}

/// A manifest in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    schema_version: u32,
    /// 32 hexadecimal digits: digest of fingerprint and items.
    pub submission: String,
    pub fingerprint: Fingerprint,
    /// How many items.
    pub items: u64,
    /// Items that the list named more than once; each counts once above.
    pub repeated: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    rows: u64,
    size_bytes: u64,
}

/// The manifests of a lake.
#[derive(Debug, Clone)]
pub struct ItemManifests {
    location: Location,
    paths: LakePaths,
    /// Items of a sorted run. [`RUN_ITEMS`], but for tests.
    run_items: usize,
}

impl ItemManifests {
    pub(crate) fn new(location: &Location, paths: &LakePaths) -> ItemManifests {
        ItemManifests { location: location.clone(), paths: paths.clone(), run_items: RUN_ITEMS }
    }

    /// Writes a manifest of items in any order. Writing the same list again finds it there.
    ///
    /// # Errors
    /// Those of the list; one object named twice with different sizes, versions or hints; more than [`ITEMS_MAX`] items.
    pub async fn write<E: From<Error>>(
        &self,
        fingerprint: &Fingerprint,
        items: impl Stream<Item = Result<Item, E>>,
    ) -> Result<Submission, E> {
        let sorted = self.sort(items, Some(Chain::of(fingerprint))).await?;
        let written = self.write_sorted(fingerprint, &sorted).await;
        self.tidy(&sorted).await;
        Ok(written?)
    }

    /// Sorts items in any order, through the store where they are more than memory should hold.
    ///
    /// # Errors
    /// Those of the list; more than [`ITEMS_MAX`] items.
    pub async fn sorted<E: From<Error>>(&self, items: impl Stream<Item = Result<Item, E>>) -> Result<SortedItems, E> {
        Ok(SortedItems { manifests: self.clone(), sorted: self.sort(items, None).await? })
    }

    /// The items of all submissions of a fingerprint, sorted by uri.
    pub async fn known(&self, fingerprint: &Fingerprint) -> Result<SortedItems> {
        let submissions = self.submissions().await?.into_iter().filter(|s| s.fingerprint == *fingerprint);
        // one after the other: of many submissions a merge would hold a piece of each
        let items = stream::iter(submissions).then(|s| async move { self.read(&s).await }).try_flatten();
        self.sorted(items).await
    }

    /// The manifest with this id.
    pub async fn submission(&self, submission: &str) -> Result<Submission> {
        self.marker(submission).await?.ok_or_else(|| Error::Submission {
            submission: submission.to_owned(),
            problem: "there is none of this id in the lake".to_owned(),
        })
    }

    /// All submissions, by id.
    pub async fn submissions(&self) -> Result<Vec<Submission>> {
        let mut found: Vec<Submission> =
            self.with_times().await?.into_iter().map(|(submission, _)| submission).collect();
        found.sort_by(|a, b| a.submission.cmp(&b.submission));
        Ok(found)
    }

    /// All submissions with the time of their writing by the store's clock, microseconds since 1970 UTC; the newest first.
    pub(crate) async fn with_times(&self) -> Result<Vec<(Submission, i64)>> {
        let mut listed = self.location.store.list(Some(&self.paths.items()));
        let mut found = Vec::new();
        while let Some(object) = listed.try_next().await.map_err(Error::store("listing submissions"))? {
            if let Some(id) = self.paths.parse_submission(&object.location) {
                found.push((self.submission(&id).await?, object.last_modified.timestamp_micros()));
            }
        }
        found.sort_by(|(a, a_us), (b, b_us)| b_us.cmp(a_us).then_with(|| a.submission.cmp(&b.submission)));
        Ok(found)
    }

    /// The items of a submission, sorted by uri.
    pub async fn read(&self, submission: &Submission) -> Result<BoxStream<'static, Result<Item>>> {
        let parts = self.parts(submission);
        let store = Arc::clone(&self.location.store);
        Ok(stream::iter(parts)
            .then(move |part| {
                let store = Arc::clone(&store);
                async move { datafile::read(&store, &part.path, part.size, &[]).await }
            })
            .try_flatten()
            .map(|batch| batch.and_then(|batch| items_of(&batch)))
            .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
            .try_flatten()
            .boxed())
    }

    /// The ids of a submission in the order of [`ItemManifests::read`], a batch at a time.
    pub(crate) async fn read_ids(&self, submission: &Submission) -> Result<BoxStream<'static, Result<Vec<u128>>>> {
        let parts = self.parts(submission);
        let store = Arc::clone(&self.location.store);
        Ok(stream::iter(parts)
            .then(move |part| {
                let store = Arc::clone(&store);
                async move { datafile::read(&store, &part.path, part.size, &["item_id"]).await }
            })
            .try_flatten()
            .map(|batch| batch.map(|batch| id_bits(batch.column(0))))
            .boxed())
    }

    /// The files of a submission.
    pub(crate) fn parts(&self, submission: &Submission) -> Vec<ActiveFile> {
        submission
            .parts
            .iter()
            .enumerate()
            .map(|(number, part)| ActiveFile {
                path: self.paths.item_part(&submission.submission, number),
                size: part.size_bytes,
                rows: part.rows,
            })
            .collect()
    }

    async fn marker(&self, submission: &str) -> Result<Option<Submission>> {
        let path = self.paths.submission(submission);
        let bytes = match self.location.store.get(&path).await {
            Ok(object) => datafile::whole(object).await.map_err(Error::store("reading a submission"))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(Error::Store { what: "reading a submission", source }),
        };
        let marker: Submission = serde_json::from_slice(&bytes).map_err(Error::json("reading a submission"))?;
        if marker.schema_version > SUBMISSION_SCHEMA_VERSION {
            return Err(Error::Submission {
                submission: submission.to_owned(),
                problem: "it was written by a newer version; upgrade this one".to_owned(),
            });
        }
        Ok(Some(marker))
    }

    /// Sorts the list into memory, or into runs in the store. One run is sorted and written while the next is listed. `chain`: the
    /// beginning of the id of the list, where that is asked for.
    async fn sort<E: From<Error>>(
        &self,
        items: impl Stream<Item = Result<Item, E>>,
        chain: Option<Chain>,
    ) -> Result<Sorted, E> {
        let token = self.location.rehearsed.token("runs");
        let mut items = std::pin::pin!(items);
        let mut runs = Runs { files: Vec::new(), chain };
        let mut writing = JoinSet::new();
        let (mut run, mut begun): (Vec<Item>, usize) = (Vec::new(), 0);
        while let Some(item) = items.try_next().await? {
            if run.len() == self.run_items {
                runs.take(writing.join_next().await)?;
                writing.spawn(self.clone().spool(token.clone(), begun, std::mem::take(&mut run), runs.chain.is_some()));
                begun += 1;
            }
            run.push(item);
            if begun as u64 * self.run_items as u64 + run.len() as u64 > ITEMS_MAX {
                let problem = format!("it has more than {ITEMS_MAX} items; submit it in pieces");
                return Err(Error::Items { problem }.into());
            }
        }
        if begun == 0 {
            run.sort_unstable();
            return Ok(Sorted::Memory(run));
        }
        runs.take(writing.join_next().await)?;
        writing.spawn(self.clone().spool(token, begun, run, runs.chain.is_some()));
        runs.take(writing.join_next().await)?;
        Ok(Sorted::Runs(runs))
    }

    /// Sorts items and writes them to the store; with their ids where those are asked for.
    async fn spool(self, token: String, number: usize, mut items: Vec<Item>, with_ids: bool) -> Result<Run> {
        // one pass where the list is in order already, as that of a bucket is
        items.sort_unstable();
        let path = self.paths.item_run(&token, number);
        let mut file = StreamedFile::create(&self.location.store, &path, &MANIFEST, RUN_GROUP_ROWS)?;
        for items in items.chunks(RUN_GROUP_ROWS) {
            file.write(&manifest_batch(None, items)?).await?;
        }
        let rows = file.rows() as u64;
        let file = ActiveFile { path, size: file.finish().await?, rows };
        let ids = if with_ids { items.iter().map(Item::id).collect() } else { Vec::new() };
        Ok(Run { file, items, ids })
    }

    async fn merged(&self, sorted: &Sorted) -> Result<BoxStream<'static, Result<Item>>> {
        match sorted {
            Sorted::Memory(items) => Ok(stream::iter(items.clone().into_iter().map(Ok)).boxed()),
            Sorted::Runs(runs) => {
                let mut streams = Vec::with_capacity(runs.files.len());
                for run in &runs.files {
                    let batches = datafile::read(&self.location.store, &run.path, run.size, &[]).await?;
                    let items = batches
                        .map(|batch| batch.and_then(|batch| items_of(&batch)))
                        .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
                        .try_flatten()
                        .boxed();
                    streams.push(items);
                }
                // runs that follow each other need no comparing
                if runs.chain.is_some() { Ok(stream::iter(streams).flatten().boxed()) } else { merge(streams).await }
            }
        }
    }

    async fn write_sorted(&self, fingerprint: &Fingerprint, sorted: &Sorted) -> Result<Submission> {
        // The id is in the key of the parts, so that a list is read once for the id and once for the parts; the id of one that came in
        // order is known already.
        let chain = match sorted {
            Sorted::Runs(Runs { chain: Some(chain), .. }) => chain.clone(),
            Sorted::Runs(_) | Sorted::Memory(_) => {
                let mut chain = Chain::of(fingerprint);
                let mut list = self.merged(sorted).await?;
                while let Some(item) = list.try_next().await? {
                    let id = item.id();
                    chain.add(item, &id)?;
                }
                chain
            }
        };
        let Chain { digest, items, repeated, .. } = chain;
        let id = digest.short(32);
        if let Some(written) = self.marker(&id).await? {
            return Ok(written);
        }
        let parts = self.write_parts(&id, fingerprint, self.merged(sorted).await?).await?;
        let submission = Submission {
            schema_version: SUBMISSION_SCHEMA_VERSION,
            submission: id,
            fingerprint: fingerprint.clone(),
            items,
            repeated,
            parts,
        };
        let bytes = serde_json::to_vec_pretty(&submission).map_err(Error::json("writing a submission"))?;
        let path = self.paths.submission(&submission.submission);
        self.location.store.put(&path, PutPayload::from(bytes)).await.map_err(Error::store("writing a submission"))?;
        Ok(submission)
    }

    async fn write_parts(
        &self,
        id: &str,
        fingerprint: &Fingerprint,
        items: BoxStream<'static, Result<Item>>,
    ) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut open: Option<StreamedFile> = None;
        let mut last: Option<Item> = None;
        let mut chunks = items.try_chunks(RUN_GROUP_ROWS);
        while let Some(chunk) = chunks.try_next().await.map_err(|e| e.1)? {
            let mut fresh = Vec::with_capacity(chunk.len());
            for item in chunk {
                if last.as_ref() != Some(&item) {
                    last = Some(item.clone());
                    fresh.push(item);
                }
            }
            let file = match &mut open {
                Some(file) => file,
                None => {
                    let path = self.paths.item_part(id, parts.len());
                    let file = StreamedFile::create(&self.location.store, &path, &MANIFEST, datafile::ROW_GROUP_ROWS)?;
                    open.insert(file)
                }
            };
            file.write(&manifest_batch(Some((id, fingerprint)), &fresh)?).await?;
            if file.rows() as u64 >= PART_ITEMS {
                parts.push(close(open.take()).await?);
            }
        }
        if open.is_some() {
            parts.push(close(open).await?);
        }
        Ok(parts)
    }

    /// Runs left behind by a crash stay as `_incoming-..`; they are not read again and may be deleted.
    async fn tidy(&self, sorted: &Sorted) {
        if let Sorted::Runs(runs) = sorted {
            for run in &runs.files {
                if let Err(error) = self.location.store.delete(&run.path).await {
                    tracing::debug!(%error, "a run of a list was left behind");
                }
            }
        }
    }

    /// All parts of all submissions.
    pub(crate) async fn all_parts(&self) -> Result<Vec<ActiveFile>> {
        Ok(self.submissions().await?.iter().flat_map(|s| self.parts(s)).collect())
    }
}

async fn close(file: Option<StreamedFile>) -> Result<Part> {
    let file = file.ok_or_else(|| Error::Items { problem: "a part ended before it began".to_owned() })?;
    let rows = file.rows() as u64;
    Ok(Part { rows, size_bytes: file.finish().await? })
}

/// A sorted list, part of it perhaps in the store.
pub struct SortedItems {
    manifests: ItemManifests,
    sorted: Sorted,
}

impl SortedItems {
    /// The items by uri, then size and version; repeated ones are repeated.
    pub async fn stream(&self) -> Result<BoxStream<'static, Result<Item>>> {
        self.manifests.merged(&self.sorted).await
    }

    /// Takes what lies in the store away.
    pub async fn discard(self) {
        self.manifests.tidy(&self.sorted).await;
    }
}

enum Sorted {
    Memory(Vec<Item>),
    Runs(Runs),
}

/// Sorted pieces of a list in the store.
struct Runs {
    files: Vec<ActiveFile>,
    /// The id of the list so far, while each piece begins where the one before ended.
    chain: Option<Chain>,
}

/// A sorted piece of a list.
struct Run {
    file: ActiveFile,
    items: Vec<Item>,
    ids: Vec<ItemId>,
}

impl Runs {
    /// Takes in what became of a piece; pieces come in the order in which they were listed.
    fn take(&mut self, written: Option<Result<Result<Run>, JoinError>>) -> Result<()> {
        let Some(written) = written else { return Ok(()) };
        let Run { file, items, ids } = written.map_err(|source| Error::Task { what: "sorting a list", source })??;
        self.files.push(file);
        if let Some(mut chain) = self.chain.take() {
            let follows = items.first().is_none_or(|first| chain.last.as_ref().is_none_or(|last| last <= first));
            // an object that is two things is told when the whole list is read
            let added = follows && items.into_iter().zip(&ids).try_for_each(|(item, id)| chain.add(item, id)).is_ok();
            self.chain = added.then_some(chain);
        }
        Ok(())
    }
}

/// The id of a list, item after item in order: digest of the fingerprint and of the ids.
#[derive(Clone)]
struct Chain {
    digest: Digest,
    items: u64,
    repeated: u64,
    last: Option<Item>,
}

impl Chain {
    fn of(fingerprint: &Fingerprint) -> Chain {
        let digest = Digest::of_fields([&b"submission"[..], fingerprint.as_str().as_bytes()]);
        Chain { digest, items: 0, repeated: 0, last: None }
    }

    fn add(&mut self, item: Item, id: &ItemId) -> Result<()> {
        if let Some(last) = &self.last {
            if *last == item {
                self.repeated += 1;
                return Ok(());
            }
            if last.uri == item.uri {
                let problem = format!(
                    "the object in place {} of the sorted list is named twice, with different sizes, versions or hints",
                    self.items
                );
                return Err(Error::Items { problem });
            }
        }
        self.digest = Digest::of_fields([&self.digest.0[..], id.as_str().as_bytes()]);
        self.items += 1;
        self.last = Some(item);
        Ok(())
    }
}

/// Merges sorted streams; holds what each has decoded.
async fn merge(mut runs: Vec<BoxStream<'static, Result<Item>>>) -> Result<BoxStream<'static, Result<Item>>> {
    let mut heads = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        if let Some(item) = run.try_next().await? {
            heads.push(std::cmp::Reverse((item, number)));
        }
    }
    Ok(stream::try_unfold((heads, runs), |(mut heads, mut runs)| async move {
        let Some(std::cmp::Reverse((item, number))) = heads.pop() else { return Ok(None) };
        if let Some(next) = runs[number].try_next().await? {
            heads.push(std::cmp::Reverse((next, number)));
        }
        Ok(Some((item, (heads, runs))))
    })
    .boxed())
}

/// Rows of a manifest; those of a run, which belong to no submission yet, have no ids.
fn manifest_batch(of: Option<(&str, &Fingerprint)>, items: &[Item]) -> Result<RecordBatch> {
    fn text<'a>(items: &'a [Item], of: impl Fn(&'a Item) -> Option<&'a str>) -> ArrayRef {
        Arc::new(items.iter().map(of).collect::<StringArray>())
    }
    let number = |of: fn(&Item) -> Option<i64>| -> ArrayRef { Arc::new(items.iter().map(of).collect::<Int64Array>()) };
    let id = |item: &Item| of.is_some().then(|| item.id().to_string());
    let columns = vec![
        text(items, |_| of.map(|(submission, _)| submission)),
        Arc::new(items.iter().map(id).collect::<StringArray>()),
        text(items, |_| of.map(|(_, fingerprint)| fingerprint.as_str())),
        text(items, |item| Some(&item.uri)),
        number(|item| i64::try_from(item.size_bytes).ok()),
        text(items, |item| Some(&item.version)),
        number(|item| item.hints.pixel_spacing_um.map(i64::from)),
        number(|item| item.hints.pixel_aspect_ppm.map(i64::from)),
        text(items, |item| item.hints.participant.as_deref()),
    ];
    RecordBatch::try_new(Arc::clone(&MANIFEST), columns).map_err(Error::arrow("building a manifest"))
}

fn items_of(batch: &RecordBatch) -> Result<Vec<Item>> {
    let column = |name: &'static str| {
        batch.column_by_name(name).ok_or_else(|| Error::TableShape { table: "items", problem: format!("no {name}") })
    };
    let wrong = |name: &'static str| Error::TableShape { table: "items", problem: format!("{name} has another type") };
    let text = |name| column(name)?.as_string_opt::<i32>().ok_or_else(|| wrong(name));
    let number = |name| column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(name));
    let (uri, size, version) = (text("uri")?, number("size_bytes")?, text("version")?);
    let (spacing, aspect) = (number("pixel_spacing_um")?, number("pixel_aspect_ppm")?);
    let participant = text("participant")?;
    Ok((0..batch.num_rows())
        .map(|row| Item {
            uri: uri.value(row).to_owned(),
            size_bytes: size.value(row) as u64,
            version: version.value(row).to_owned(),
            hints: ItemHints {
                pixel_spacing_um: spacing.is_valid(row).then(|| spacing.value(row) as u32),
                pixel_aspect_ppm: aspect.is_valid(row).then(|| aspect.value(row) as u32),
                participant: participant.is_valid(row).then(|| participant.value(row).to_owned()),
            },
        })
        .collect())
}

/// The 128 bits of ids; 0 for what is none.
pub(crate) fn id_bits(array: &ArrayRef) -> Vec<u128> {
    match array.as_string_opt::<i32>() {
        Some(ids) => ids.iter().map(|id| id.and_then(id_of_hex).unwrap_or(0)).collect(),
        None => vec![0; array.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{fingerprint, item};
    use crate::tests::lake;

    async fn write(manifests: &ItemManifests, items: Vec<Item>) -> Result<Submission> {
        manifests.write(&fingerprint("f"), stream::iter(items.into_iter().map(Ok::<_, Error>))).await
    }

    async fn read(manifests: &ItemManifests, submission: &Submission) -> Vec<Item> {
        manifests.read(submission).await.unwrap().try_collect().await.unwrap()
    }

    /// 0 .. n in an order of its own.
    fn shuffled(n: u64) -> Vec<Item> {
        (0..n).map(|i| item(i * 7919 % n)).collect()
    }

    #[tokio::test]
    async fn a_list_longer_than_memory_is_sorted_through_the_store() {
        let lake = lake().await;
        let small = ItemManifests { run_items: 100, ..lake.items() };
        let mut list = shuffled(1_009);
        list.extend([item(5), item(1_000)]);
        let submission = write(&small, list.clone()).await.unwrap();
        assert_eq!((submission.items, submission.repeated), (1_009, 2));
        assert_eq!(read(&small, &submission).await, (0..1_009).map(item).collect::<Vec<_>>());
        let left: Vec<_> = lake.location().store.list(Some(&lake.paths().items())).try_collect().await.unwrap();
        assert_eq!(left.len(), 2, "one part and the marker; the runs are gone: {left:?}");

        list.reverse();
        assert_eq!(write(&lake.items(), list).await.unwrap(), submission, "sorted in memory it is the same submission");
        assert_eq!(lake.items().submissions().await.unwrap(), std::slice::from_ref(&submission));
        assert_eq!(lake.items().submission(&submission.submission).await.unwrap(), submission);
    }

    #[tokio::test]
    async fn a_list_in_order_is_the_same_submission_and_so_is_one_nearly_in_order() {
        let lake = lake().await;
        let small = ItemManifests { run_items: 100, ..lake.items() };
        let expected = write(&lake.items(), shuffled(350)).await.unwrap();
        // told again, also across the end of a run and at its beginning
        let mut in_order: Vec<Item> = (0..350).map(item).collect();
        for at in [50, 99, 100, 200] {
            in_order.insert(at, in_order[at].clone());
        }
        let mut one_late = in_order.clone();
        let late = one_late.remove(10);
        one_late.push(late);
        for list in [in_order, one_late] {
            assert_eq!(write(&small, list).await.unwrap(), expected);
        }
        let other = ItemManifests { run_items: 100, ..crate::tests::lake().await.items() };
        let elsewhere = write(&other, (0..350).map(item).collect()).await.unwrap();
        assert_eq!((elsewhere.submission, elsewhere.repeated), (expected.submission, 0), "written from runs in order");

        let mut two_things: Vec<Item> = (0..350).map(item).collect();
        two_things.insert(100, Item { version: "v0".to_owned(), ..item(100) });
        let error = write(&small, two_things).await.unwrap_err();
        assert!(error.to_string().contains("place 101 of the sorted list is named twice"), "{error}");
        let left: Vec<_> = lake.location().store.list(Some(&lake.paths().items())).try_collect().await.unwrap();
        assert_eq!(left.len(), 2, "one part and the marker: {left:?}");
    }

    #[tokio::test]
    async fn hints_are_kept_and_make_another_submission() {
        let lake = lake().await;
        let mut hinted = item(1);
        hinted.hints = ItemHints {
            pixel_spacing_um: Some(150),
            pixel_aspect_ppm: Some(1_200_000),
            participant: Some("p".to_owned()),
        };
        let plain = write(&lake.items(), vec![item(1)]).await.unwrap();
        let other = write(&lake.items(), vec![hinted.clone()]).await.unwrap();
        assert_ne!(plain.submission, other.submission);
        assert_eq!(read(&lake.items(), &other).await, [hinted]);
        let elsewhere = lake.items().write(&fingerprint("g"), stream::iter([Ok::<_, Error>(item(1))])).await.unwrap();
        assert_ne!(plain.submission, elsewhere.submission, "another fingerprint, another submission");
    }

    #[tokio::test]
    async fn an_object_that_is_two_things_is_refused_without_its_name() {
        let lake = lake().await;
        let twice = Item { version: "v2".to_owned(), ..item(3) };
        let error = write(&lake.items(), vec![item(2), item(3), twice]).await.unwrap_err();
        assert!(error.to_string().contains("named twice") && !error.to_string().contains("dcm"), "{error}");
        assert_eq!(error.fault(), domain::Fault::InvalidInput);
    }

    #[tokio::test]
    async fn an_empty_list_is_a_submission_and_a_failing_one_is_none() {
        let lake = lake().await;
        let empty = write(&lake.items(), Vec::new()).await.unwrap();
        assert_eq!((empty.items, read(&lake.items(), &empty).await.len()), (0, 0));
        let broken = stream::iter([Ok(item(1)), Err(Error::Query("the listing died".to_owned()))]);
        assert!(lake.items().write(&fingerprint("f"), broken).await.is_err());
        assert_eq!(lake.items().submissions().await.unwrap(), [empty]);
    }
}

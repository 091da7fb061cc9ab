//! The tables from the artifacts: after `results/` and `instances/` are lost, or rows of them.
//!
//! Every outcome object becomes its record again, with its reading, and is folded by the committer as the first time; rows
//! that a table has already stay as they are. So it may be stopped and started again, and run beside other committers. What
//! is read is bounded by a chunk of records; the committer's index of keys is what a committer always holds.

use crate::committer::CommitReport;
use crate::error::{Error, Result};
use crate::lake::Lake;
use domain::Fingerprint;
use domain::record::OutcomeRecord;
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;

/// Objects read at once.
const READS: usize = 32;
/// Records folded at a time: with their readings about 50 MB.
const CHUNK_RECORDS: usize = 1_000;

/// What was made of the artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rebuilt {
    /// Outcome objects found.
    pub outcomes: u64,
    /// Rows added to `results`.
    pub results_added: u64,
    /// Rows added to `instances`.
    pub instances_added: u64,
    /// Scored outcomes whose reading is not among the artifacts: their items stay pending.
    pub without_reading: u64,
    /// Objects that this version cannot read.
    pub unreadable: u64,
    /// Rows that a table had otherwise; copies are kept under `conflicts/`.
    pub conflicts: u64,
}

impl Rebuilt {
    fn add(&mut self, report: &CommitReport) {
        self.results_added += report.results_added as u64;
        self.instances_added += report.instances_added as u64;
        self.conflicts += report.conflicts as u64;
        self.unreadable += report.refused.len() as u64;
    }
}

/// An outcome object as it came.
enum Read {
    Record(Box<OutcomeRecord>),
    WithoutReading,
    Unreadable,
}

impl Lake {
    /// Folds every outcome among the artifacts into the tables. `done` is told of the outcomes read so far.
    ///
    /// # Errors
    /// The store fails; what was folded stays. An object that cannot be read is counted, not an error.
    pub async fn rebuild(&self, mut done: impl FnMut(u64)) -> Result<Rebuilt> {
        let listed = self.outcomes_below(&self.paths().artifacts());
        let mut rebuilt = Rebuilt::default();
        self.fold_outcomes(listed, &mut rebuilt, &mut done).await?;
        Ok(rebuilt)
    }

    /// Every outcome of a fingerprint among the artifacts, in no order; `None` for one that cannot be read, or whose
    /// reading is gone.
    pub fn outcomes(&self, fingerprint: &Fingerprint) -> impl Stream<Item = Result<Option<OutcomeRecord>>> + '_ {
        let keys = self.outcomes_below(&self.paths().artifacts().join(fingerprint.as_str()));
        let reads = keys.map(move |key| async move { self.read_outcome(&key?).await }).buffer_unordered(READS);
        reads.map_ok(|read| match read {
            Read::Record(record) => Some(*record),
            Read::WithoutReading | Read::Unreadable => None,
        })
    }

    /// Keys of the outcome objects below a prefix.
    pub(crate) fn outcomes_below(&self, prefix: &Path) -> BoxStream<'static, Result<Path>> {
        let paths = self.paths().clone();
        let listed = self.location().store.list(Some(prefix)).map_err(Error::store("listing artifacts"));
        listed
            .try_filter_map(move |object| {
                let is_outcome = paths.parse_item_outcome(&object.location).is_some();
                std::future::ready(Ok(is_outcome.then_some(object.location)))
            })
            .boxed()
    }

    /// Reads outcome objects and folds what they say.
    pub(crate) async fn fold_outcomes(
        &self,
        keys: impl Stream<Item = Result<Path>>,
        rebuilt: &mut Rebuilt,
        done: &mut impl FnMut(u64),
    ) -> Result<()> {
        let mut committer = self.committer().await?;
        let reads = keys.map(|key| async move { self.read_outcome(&key?).await }).buffer_unordered(READS);
        let mut chunks = std::pin::pin!(reads.chunks(CHUNK_RECORDS));
        while let Some(chunk) = chunks.next().await {
            let mut records = Vec::with_capacity(chunk.len());
            for read in chunk {
                rebuilt.outcomes += 1;
                match read? {
                    Read::Record(record) => records.push(*record),
                    Read::WithoutReading => rebuilt.without_reading += 1,
                    Read::Unreadable => rebuilt.unreadable += 1,
                }
            }
            rebuilt.add(&committer.commit(records).await?);
            done(rebuilt.outcomes);
        }
        Ok(())
    }

    async fn read_outcome(&self, key: &Path) -> Result<Read> {
        let artifacts = self.artifacts();
        let read = async {
            match artifacts.outcome_at(key).await? {
                Some(outcome) => artifacts.record_of(outcome).await,
                None => Ok(None),
            }
        };
        match read.await {
            Ok(Some(record)) => Ok(Read::Record(Box::new(record))),
            Ok(None) => Ok(Read::WithoutReading),
            Err(error @ Error::Artifact { .. }) => {
                tracing::warn!("an artifact cannot be used: {error}");
                Ok(Read::Unreadable)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies the artifacts and the item manifests of another lake that are not here yet. `done` is told of the objects
    /// looked at so far. Returns how many were copied.
    ///
    /// # Errors
    /// Either store fails; what was copied stays, and the next call goes on.
    pub async fn copy_evidence_from(&self, other: &Lake, mut done: impl FnMut(u64)) -> Result<u64> {
        let (mut seen, mut copied) = (0, 0);
        let artifacts = other.paths().artifacts();
        // manifests: their marker is what makes them count, so that it comes last
        for (prefix, markers) in [(artifacts, false), (other.paths().items(), false), (other.paths().items(), true)] {
            let listed = other.location().store.list(Some(&prefix)).map_err(Error::store("listing the other lake"));
            let wanted = listed.try_filter_map(|object| {
                let key = object.location;
                let marker = other.paths().parse_submission(&key).is_some();
                let run = key.filename().is_some_and(|name| name.starts_with('_'));
                std::future::ready(Ok((marker == markers && !run).then_some(key)))
            });
            let copies = wanted.map(|key| async move { self.copy(other, &key?).await }).buffer_unordered(if markers {
                1
            } else {
                READS
            });
            let mut copies = std::pin::pin!(copies);
            while let Some(new) = copies.try_next().await? {
                seen += 1;
                copied += u64::from(new);
                done(seen);
            }
        }
        Ok(copied)
    }

    /// Copies one object unless it is here. Returns whether it was not.
    async fn copy(&self, other: &Lake, key: &Path) -> Result<bool> {
        let below = key.prefix_match(&other.location().root).map(|parts| parts.collect::<Vec<_>>());
        let parts = below.unwrap_or_default();
        let here = parts.into_iter().fold(self.location().root.clone(), |path, part| path.join(part));
        if self.location().store.head(&here).await.is_ok() {
            return Ok(false);
        }
        let object = other.location().store.get(key).await.map_err(Error::store("reading the other lake"))?;
        let bytes = crate::datafile::whole(object).await.map_err(Error::store("reading the other lake"))?;
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.location().store.put_opts(&here, PutPayload::from_bytes(bytes), create).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(source) => Err(Error::Store { what: "writing to the lake", source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{attempt, excluded, failed, fingerprint, grades, item, scored};
    use crate::tests::{lake, text};
    use domain::{ExcludeReason, FailReason, Outcome};
    use futures::stream;

    /// Puts what workers put, and commits it.
    async fn filled() -> Lake {
        let lake = lake().await;
        let items = stream::iter((0..60).map(|n| Ok::<_, Error>(item(n))));
        lake.items().write(&fingerprint("f"), items).await.unwrap();
        let mut records: Vec<OutcomeRecord> = (0..50).map(|n| scored(n, grades(n))).collect();
        // another object with the pixels of item 3
        records.push(OutcomeRecord { item_id: item(50).id(), ..scored(3, grades(3)) });
        records.extend([failed(51, FailReason::StageFailed), excluded(52, ExcludeReason::Blank)]);
        records.extend([attempt(2, scored(51, [1; 8])), attempt(2, failed(52, FailReason::Internal))]);
        let mut committer = lake.committer().await.unwrap();
        for chunk in records.chunks(7) {
            for record in chunk {
                if let Outcome::Scored { reading } = &record.outcome {
                    lake.artifacts().put(reading).await.unwrap();
                }
                lake.artifacts().put_outcome(record.clone()).await.unwrap();
            }
            committer.commit(chunk.to_vec()).await.unwrap();
        }
        lake
    }

    async fn tables(lake: &Lake) -> Vec<String> {
        let mut tables = Vec::new();
        for (table, order) in [
            ("readings", "item_id"),
            ("segments", "item_id, segment"),
            ("ledger", "submission, item_id"),
            ("latest_by_image_date", "item_id"),
            ("latest_by_scored_at", "item_id"),
            ("results", "image_id"),
        ] {
            tables.push(text(lake, &format!("SELECT * FROM {table} ORDER BY {order}")).await);
        }
        tables
    }

    #[tokio::test]
    async fn a_lake_rebuilt_from_its_artifacts_equals_the_lost_one() {
        let lost = filled().await;
        let new = crate::tests::lake().await;
        let copied = new.copy_evidence_from(&lost, |_| {}).await.unwrap();
        // 51 readings, 55 outcomes, a part and a marker
        assert_eq!(copied, 51 + 55 + 2);
        let rebuilt = new.rebuild(|_| {}).await.unwrap();
        assert_eq!((rebuilt.outcomes, rebuilt.results_added, rebuilt.instances_added), (55, 51, 53));
        assert_eq!((rebuilt.without_reading, rebuilt.unreadable, rebuilt.conflicts), (0, 0, 0));
        assert_eq!(tables(&new).await, tables(&lost).await);

        assert_eq!(new.copy_evidence_from(&lost, |_| {}).await.unwrap(), 0);
        let again = new.rebuild(|_| {}).await.unwrap();
        assert_eq!((again.outcomes, again.results_added, again.instances_added, again.conflicts), (55, 0, 0, 0));
    }

    #[tokio::test]
    async fn lost_readings_and_spoilt_outcomes_are_counted_and_cost_only_their_items() {
        let lost = filled().await;
        let new = crate::tests::lake().await;
        new.copy_evidence_from(&lost, |_| {}).await.unwrap();
        let store = &new.location().store;
        let of = |record: &OutcomeRecord| {
            new.paths().item_outcome(&record.fingerprint, &record.item_id, record.attempt, record.outcome.status())
        };
        store.put(&of(&scored(5, [0; 8])), "{}".into()).await.unwrap();
        let image = scored(6, [0; 8]).image_id.unwrap();
        store.delete(&new.paths().artifact(&fingerprint("f"), &image)).await.unwrap();
        let rebuilt = new.rebuild(|_| {}).await.unwrap();
        assert_eq!((rebuilt.unreadable, rebuilt.without_reading, rebuilt.instances_added), (1, 1, 51));
        let pending = text(&new, "SELECT count(*) FROM ledger WHERE status = 'pending'").await;
        // 60 items less the 53 that the lost lake had rows of, and two more
        assert!(pending.contains("| 9 "), "{pending}");
    }
}

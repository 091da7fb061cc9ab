//! The artifacts of one fingerprint held against the rows of the tables, in both directions.
//!
//! Ids are digests, so that they spread evenly over the 256 folders of artifacts. As many folders as give 2^20 ids are
//! listed at a time, and one pass over each table finds their rows: memory is about 50 MB however large the lake is.

use crate::datafile;
use crate::error::{Error, Result};
use crate::item_outcome::Came;
use crate::items::id_bits;
use crate::lake::Lake;
use crate::paths::Table;
use crate::rebuild::Rebuilt;
use crate::table::LakeTable;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use domain::{Fingerprint, ImageId};
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Ids of one kind held at a time.
const RANGE_IDS: usize = 1 << 20;
/// Folders of artifacts: two hexadecimal digits.
const FOLDERS: u32 = 256;
/// Images without their reading that one comparison names; more are counted, and found by the next one.
pub const LOST_IMAGES_MAX: usize = 100_000;

/// Where artifacts and rows differ.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EvidenceDifferences {
    /// Items whose best outcome among the artifacts no row tells: their records were lost.
    pub outcomes_without_rows: u64,
    /// Readings that no row of `results` tells: their worker died before it told the outcome, or its record was lost.
    pub readings_without_rows: u64,
    /// Rows of `results` whose reading is gone.
    pub rows_without_readings: u64,
    /// Rows of `instances` whose outcome is not among the artifacts: from before outcomes were kept, or it is gone.
    pub rows_without_outcomes: u64,
    /// The images of `rows_without_readings`, at most [`LOST_IMAGES_MAX`].
    #[serde(skip)]
    pub lost_images: HashSet<ImageId>,
}

/// Rank and attempt of an outcome: what is better is greater, as in the committer.
type Merit = (u8, u32);

fn rank(status: &str) -> u8 {
    match status {
        "scored" => 2,
        "excluded" => 1,
        _ => 0,
    }
}

impl Lake {
    /// Compares the artifacts of a fingerprint with the tables at their newest version. With `repair`, outcomes without
    /// rows are folded into the tables on the way, and outcomes are written for rows that have none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn compare_evidence(
        &self,
        fingerprint: &Fingerprint,
        mut repair: Option<&mut Rebuilt>,
    ) -> Result<EvidenceDifferences> {
        let mut differences = EvidenceDifferences::default();
        let mut next = 0;
        while next < FOLDERS {
            let mut folders = next..next;
            let (mut outcomes, mut readings) = (HashMap::new(), HashMap::new());
            while folders.end < FOLDERS && outcomes.len().max(readings.len()) < RANGE_IDS {
                self.list_outcomes(fingerprint, folders.end, &mut outcomes).await?;
                self.list_readings(fingerprint, folders.end, &mut readings).await?;
                folders.end += 1;
            }
            next = folders.end;
            self.compare_readings(fingerprint, &folders, readings, &mut differences).await?;
            self.compare_outcomes(fingerprint, &folders, outcomes, repair.as_deref_mut(), &mut differences).await?;
        }
        Ok(differences)
    }

    /// The best outcome of each item of a folder.
    async fn list_outcomes(
        &self,
        fingerprint: &Fingerprint,
        folder: u32,
        found: &mut HashMap<u128, Merit>,
    ) -> Result<()> {
        let mut keys = self.outcomes_below(&self.paths().outcomes_folder(fingerprint, folder));
        while let Some(key) = keys.try_next().await? {
            if let Some((item, merit)) = self.outcome_of_key(&key) {
                let best = found.entry(item).or_insert(merit);
                *best = merit.max(*best);
            }
        }
        Ok(())
    }

    fn outcome_of_key(&self, key: &Path) -> Option<(u128, Merit)> {
        let (_, item, attempt, status) = self.paths().parse_item_outcome(key)?;
        Some((u128::from_str_radix(item.as_str(), 16).ok()?, (rank(status), attempt)))
    }

    /// The readings of a folder, none of them seen in a table yet.
    async fn list_readings(
        &self,
        fingerprint: &Fingerprint,
        folder: u32,
        found: &mut HashMap<u128, bool>,
    ) -> Result<()> {
        let prefix = self.paths().readings_folder(fingerprint, folder);
        let mut listed = self.location().store.list(Some(&prefix)).map_err(Error::store("listing artifacts"));
        while let Some(object) = listed.try_next().await? {
            let image = self.paths().parse_artifact(&object.location).map(|(_, image)| image);
            if let Some(bits) = image.and_then(|image| u128::from_str_radix(image.as_str(), 16).ok()) {
                found.insert(bits, false);
            }
        }
        Ok(())
    }

    async fn compare_outcomes(
        &self,
        fingerprint: &Fingerprint,
        folders: &Range<u32>,
        mut outcomes: HashMap<u128, Merit>,
        repair: Option<&mut Rebuilt>,
        differences: &mut EvidenceDifferences,
    ) -> Result<()> {
        let mut without_outcome: HashSet<(u128, Merit)> = HashSet::new();
        let columns = ["item_id", "fingerprint", "status", "attempt"];
        self.rows_of(Table::Instances, &columns, |batch| {
            let lacks = || Error::TableShape { table: "instances", problem: "a file lacks a column".to_owned() };
            let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            let (fingerprints, status) = (text("fingerprint").ok_or_else(lacks)?, text("status").ok_or_else(lacks)?);
            let attempts = batch.column_by_name("attempt").and_then(|c| c.as_primitive_opt::<Int32Type>());
            let attempts = attempts.ok_or_else(lacks)?;
            let ids = id_bits(batch.column_by_name("item_id").ok_or_else(lacks)?);
            for (row, id) in ids.into_iter().enumerate() {
                if fingerprints.value(row) != fingerprint.as_str() || !folders.contains(&folder_of(id)) {
                    continue;
                }
                let merit = (rank(status.value(row)), u32::try_from(attempts.value(row)).unwrap_or(0));
                // rows of better outcomes may follow; an outcome that any row reaches is told
                match outcomes.get(&id).copied() {
                    Some(best) if best <= merit => {
                        outcomes.insert(id, (0, 0));
                        if best < merit && best != (0, 0) {
                            without_outcome.insert((id, merit));
                        }
                    }
                    Some(_) => {}
                    None => {
                        without_outcome.insert((id, merit));
                    }
                }
            }
            Ok(())
        })
        .await?;
        outcomes.retain(|_, merit| *merit != (0, 0));
        differences.outcomes_without_rows += outcomes.len() as u64;
        differences.rows_without_outcomes += without_outcome.len() as u64;
        let Some(rebuilt) = repair else { return Ok(()) };
        if !without_outcome.is_empty() {
            self.write_outcomes(fingerprint, &without_outcome).await?;
        }
        if !outcomes.is_empty() {
            let keys = stream::iter(folders.clone())
                .flat_map(|folder| self.outcomes_below(&self.paths().outcomes_folder(fingerprint, folder)))
                .try_filter(|key| {
                    let untold = self.outcome_of_key(key).is_some_and(|(item, _)| outcomes.contains_key(&item));
                    std::future::ready(untold)
                });
            self.fold_outcomes(keys, rebuilt, &mut |_| {}).await?;
        }
        Ok(())
    }

    /// Writes the outcomes of rows that have none: rows of `instances` say all that an outcome says.
    async fn write_outcomes(&self, fingerprint: &Fingerprint, wanted: &HashSet<(u128, Merit)>) -> Result<()> {
        let Some(table) = LakeTable::open(self.location(), self.paths(), Table::Instances).await? else {
            return Ok(());
        };
        let artifacts = self.artifacts();
        for file in table.files()?.into_values() {
            let mut batches = datafile::read(table.store(), &file.path, file.size, &[]).await?;
            while let Some(batch) = batches.try_next().await? {
                for row in crate::record::rows_of(Table::Instances, &batch) {
                    let Some(outcome) = crate::record::outcome_of_row(&row) else { continue };
                    let merit = match outcome.outcome {
                        Came::Scored => (2, outcome.attempt),
                        Came::Excluded { .. } => (1, outcome.attempt),
                        Came::Failed { .. } => (0, outcome.attempt),
                    };
                    let bits = u128::from_str_radix(outcome.item_id.as_str(), 16).unwrap_or(0);
                    if outcome.fingerprint == *fingerprint && wanted.contains(&(bits, merit)) {
                        artifacts.create_outcome(&outcome).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn compare_readings(
        &self,
        fingerprint: &Fingerprint,
        folders: &Range<u32>,
        mut readings: HashMap<u128, bool>,
        differences: &mut EvidenceDifferences,
    ) -> Result<()> {
        self.rows_of(Table::Results, &["image_id", "fingerprint"], |batch| {
            let lacks = || Error::TableShape { table: "results", problem: "a file lacks a column".to_owned() };
            let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            let (images, fingerprints) = (text("image_id").ok_or_else(lacks)?, text("fingerprint").ok_or_else(lacks)?);
            let ids = id_bits(batch.column_by_name("image_id").ok_or_else(lacks)?);
            for (row, id) in ids.into_iter().enumerate() {
                if fingerprints.value(row) != fingerprint.as_str() || !folders.contains(&folder_of(id)) {
                    continue;
                }
                if let Some(told) = readings.get_mut(&id) {
                    *told = true;
                    continue;
                }
                differences.rows_without_readings += 1;
                if let Some(image) = ImageId::parse(images.value(row))
                    && differences.lost_images.len() < LOST_IMAGES_MAX
                {
                    differences.lost_images.insert(image);
                }
            }
            Ok(())
        })
        .await?;
        differences.readings_without_rows += readings.values().filter(|told| !**told).count() as u64;
        Ok(())
    }

    /// Some columns of all rows of a table, a batch at a time.
    async fn rows_of(
        &self,
        table: Table,
        columns: &[&str],
        mut tell: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let open = LakeTable::open(self.location(), self.paths(), table).await?;
        let open = open.ok_or_else(|| Error::NotALake { address: self.location().url.to_string() })?;
        for file in open.files()?.into_values() {
            let mut batches = datafile::read(open.store(), &file.path, file.size, columns).await?;
            while let Some(batch) = batches.try_next().await? {
                tell(&batch)?;
            }
        }
        Ok(())
    }
}

/// The folder of an id: its first two hexadecimal digits.
fn folder_of(id: u128) -> u32 {
    (id >> 120) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{attempt, excluded, failed, fingerprint, grades, scored};
    use crate::tests::{lake, number};
    use domain::record::OutcomeRecord;
    use domain::{ExcludeReason, FailReason, Outcome};
    use object_store::ObjectStoreExt;

    async fn keep(lake: &Lake, records: &[OutcomeRecord]) {
        for record in records {
            if let Outcome::Scored { reading } = &record.outcome {
                lake.artifacts().put(reading).await.unwrap();
            }
            lake.artifacts().put_outcome(record.clone()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn records_that_were_lost_become_rows_and_nothing_else_changes() {
        let lake = lake().await;
        let mut records: Vec<OutcomeRecord> = (0..40).map(|n| scored(n, grades(n))).collect();
        records.extend([failed(40, FailReason::StageFailed), excluded(41, ExcludeReason::Blank)]);
        // replays: one bettered the row, one did not
        let replays = [attempt(2, scored(40, [1; 8])), attempt(2, failed(41, FailReason::Internal))];
        keep(&lake, &records).await;
        keep(&lake, &replays).await;
        // lost on the way: items 0 to 9, and the replay of 40
        lake.committer().await.unwrap().commit(records[10..].to_vec()).await.unwrap();
        let f = fingerprint("f");
        let expected = EvidenceDifferences {
            outcomes_without_rows: 11,
            readings_without_rows: 11,
            ..EvidenceDifferences::default()
        };
        assert_eq!(lake.compare_evidence(&f, None).await.unwrap(), expected);
        assert_eq!(lake.compare_evidence(&fingerprint("g"), None).await.unwrap(), EvidenceDifferences::default());

        let mut rebuilt = Rebuilt::default();
        assert_eq!(lake.compare_evidence(&f, Some(&mut rebuilt)).await.unwrap(), expected);
        assert_eq!((rebuilt.instances_added, rebuilt.results_added, rebuilt.conflicts), (11, 11, 0));
        assert_eq!(lake.compare_evidence(&f, None).await.unwrap(), EvidenceDifferences::default());
        assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE status = 'scored'").await, 41);
    }

    #[tokio::test]
    async fn rows_whose_evidence_is_gone_are_named_and_outcomes_are_written_again() {
        let lake = lake().await;
        let records: Vec<OutcomeRecord> =
            (0..6).map(|n| scored(n, grades(n))).chain([failed(6, FailReason::TooLarge)]).collect();
        keep(&lake, &records).await;
        lake.committer().await.unwrap().commit(records.clone()).await.unwrap();
        let gone = |record: &OutcomeRecord| {
            lake.paths().item_outcome(&record.fingerprint, &record.item_id, 1, record.outcome.status())
        };
        let store = &lake.location().store;
        for record in [&records[2], &records[6]] {
            store.delete(&gone(record)).await.unwrap();
        }
        let image = records[4].image_id.clone().unwrap();
        store.delete(&lake.paths().artifact(&fingerprint("f"), &image)).await.unwrap();
        let found = lake.compare_evidence(&fingerprint("f"), Some(&mut Rebuilt::default())).await.unwrap();
        assert_eq!((found.rows_without_readings, found.rows_without_outcomes, found.outcomes_without_rows), (1, 2, 0));
        assert_eq!(found.lost_images, HashSet::from([image]));
        // an outcome made of its row is the one that was lost
        for record in [&records[2], &records[6]] {
            let outcome = lake.artifacts().outcome_at(&gone(record)).await.unwrap().unwrap();
            assert_eq!(lake.artifacts().record_of(outcome).await.unwrap().as_ref(), Some(record));
        }
        let left = lake.compare_evidence(&fingerprint("f"), None).await.unwrap();
        assert_eq!((left.rows_without_readings, left.rows_without_outcomes), (1, 0));
    }
}

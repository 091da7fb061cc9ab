//! What became of one item in one attempt, kept beside the readings: an outcome record without its reading
//! (schemas/item_outcome.schema.json). With them a lake can be rebuilt from its artifacts alone, and records that a broker
//! lost are not lost.
//!
//! The first durable outcome of an item, attempt and status is the outcome: who comes second publishes the first one's
//! record again, so that the table says what the artifacts say, whatever was delivered how often.

use crate::artifact::Artifacts;
use crate::error::{Error, Result};
use crate::paths::artifact_key;
use domain::record::OutcomeRecord;
use domain::{Fingerprint, ImageId, InstanceFacts, ItemId, Outcome};
use serde::{Deserialize, Serialize};

/// Version of the object. Newer ones only add optional fields.
pub const ITEM_OUTCOME_SCHEMA_VERSION: u32 = 1;

/// The object behind a row of `instances`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemOutcome {
    pub schema_version: u32,
    pub submission_id: String,
    pub item_id: ItemId,
    /// 1 for the first try; a replay counts on.
    pub attempt: u32,
    pub fingerprint: Fingerprint,
    /// `name version`.
    pub pipeline: String,
    pub image_id: Option<ImageId>,
    pub facts: InstanceFacts,
    pub outcome: Came,
    /// Microseconds since 1970 UTC.
    pub scored_at_us: i64,
}

/// An outcome without its evidence. A scored one's reading is the artifact of its image and fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Came {
    Scored,
    Excluded { reason: domain::ExcludeReason },
    Failed { reason: domain::FailReason },
}

impl Came {
    pub(crate) fn of(outcome: &Outcome) -> Came {
        match outcome {
            Outcome::Scored { .. } => Came::Scored,
            Outcome::Excluded { reason } => Came::Excluded { reason: *reason },
            Outcome::Failed { reason } => Came::Failed { reason: *reason },
        }
    }
}

impl ItemOutcome {
    fn of(record: &OutcomeRecord) -> ItemOutcome {
        ItemOutcome {
            schema_version: ITEM_OUTCOME_SCHEMA_VERSION,
            submission_id: record.submission_id.clone(),
            item_id: record.item_id.clone(),
            attempt: record.attempt,
            fingerprint: record.fingerprint.clone(),
            pipeline: record.pipeline.clone(),
            image_id: record.image_id.clone(),
            facts: record.facts.clone(),
            outcome: Came::of(&record.outcome),
            scored_at_us: record.scored_at_us,
        }
    }

    fn decode(key: &str, bytes: &[u8]) -> Result<ItemOutcome> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let wrong = |problem: String| Error::Artifact { key: key.to_owned(), problem };
        let version: Version = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        if version.schema_version > ITEM_OUTCOME_SCHEMA_VERSION {
            let found = version.schema_version;
            return Err(wrong(format!(
                "it has schema version {found}, this program knows {ITEM_OUTCOME_SCHEMA_VERSION}; upgrade it"
            )));
        }
        serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))
    }

    /// The record that was published with this outcome; `outcome` is it with its reading.
    fn into_record(self, outcome: Outcome) -> OutcomeRecord {
        let scored = self.outcome == Came::Scored;
        let key = self.image_id.as_ref().filter(|_| scored).map(|image| artifact_key(&self.fingerprint, image));
        OutcomeRecord {
            schema_version: domain::record::RECORD_SCHEMA_VERSION,
            submission_id: self.submission_id,
            item_id: self.item_id,
            attempt: self.attempt,
            fingerprint: self.fingerprint,
            pipeline: self.pipeline,
            image_id: self.image_id,
            facts: self.facts,
            outcome,
            artifact_key: key,
            scored_at_us: self.scored_at_us,
        }
    }
}

impl Artifacts {
    /// Keeps the outcome of a record, unless the same item, attempt and status has one. Returns the record to be published:
    /// this one, or what the first one said.
    ///
    /// # Errors
    /// The store fails.
    pub async fn put_outcome(&self, record: OutcomeRecord) -> Result<OutcomeRecord> {
        let (path, created) = self.create_outcome(&ItemOutcome::of(&record)).await?;
        if created {
            return Ok(record);
        }
        let name = path.filename().unwrap_or_default().to_owned();
        let present = self.present(&path).await?;
        let first = ItemOutcome::decode(&name, &present)?;
        if first.image_id != record.image_id {
            tracing::warn!(item = %record.item_id, "a second outcome of one attempt is of other pixels; both are told");
            return Ok(record);
        }
        let outcome = match first.outcome {
            Came::Scored => record.outcome,
            Came::Excluded { reason } => Outcome::Excluded { reason },
            Came::Failed { reason } => Outcome::Failed { reason },
        };
        Ok(first.into_record(outcome))
    }

    /// Writes an outcome unless the same item, attempt and status has one. Returns its key and whether it was written.
    pub(crate) async fn create_outcome(&self, outcome: &ItemOutcome) -> Result<(object_store::path::Path, bool)> {
        let status = match outcome.outcome {
            Came::Scored => "scored",
            Came::Excluded { .. } => "excluded",
            Came::Failed { .. } => "failed",
        };
        let path = self.paths().item_outcome(&outcome.fingerprint, &outcome.item_id, outcome.attempt, status);
        let mut bytes = serde_json::to_vec(outcome).map_err(Error::json("encoding an outcome"))?;
        bytes.push(b'\n');
        let created = self.create(&path, &bytes).await?;
        Ok((path, created))
    }

    /// The outcome object at a key of the store; `None` when there is none.
    pub(crate) async fn outcome_at(&self, path: &object_store::path::Path) -> Result<Option<ItemOutcome>> {
        let Some(bytes) = self.bytes(path).await? else { return Ok(None) };
        ItemOutcome::decode(path.filename().unwrap_or_default(), &bytes).map(Some)
    }

    /// The record that an outcome object stands for, with its reading; `None` when the reading is not there.
    pub(crate) async fn record_of(&self, outcome: ItemOutcome) -> Result<Option<OutcomeRecord>> {
        let told = match (outcome.outcome, &outcome.image_id) {
            (Came::Excluded { reason }, _) => Outcome::Excluded { reason },
            (Came::Failed { reason }, _) => Outcome::Failed { reason },
            (Came::Scored, None) => return Ok(None),
            (Came::Scored, Some(image)) => match self.get(&outcome.fingerprint, image).await? {
                Some(reading) => Outcome::Scored { reading: Box::new(reading) },
                None => return Ok(None),
            },
        };
        Ok(Some(outcome.into_record(told)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{attempt, excluded, failed, fingerprint, item, scored};
    use crate::tests::lake;
    use domain::{ExcludeReason, FailReason};

    #[tokio::test]
    async fn the_first_outcome_of_an_attempt_is_the_outcome() {
        let artifacts = lake().await.artifacts();
        let first = failed(1, FailReason::StageFailed);
        assert_eq!(artifacts.put_outcome(first.clone()).await.unwrap(), first);
        let again = OutcomeRecord {
            scored_at_us: 5,
            submission_id: "another".to_owned(),
            outcome: Outcome::Failed { reason: FailReason::Internal },
            ..first.clone()
        };
        assert_eq!(
            artifacts.put_outcome(again).await.unwrap(),
            first,
            "whoever comes second tells what the first said"
        );

        let better = scored(1, [1; 8]);
        assert_eq!(artifacts.put_outcome(better.clone()).await.unwrap(), better, "another status is another outcome");
        let later = OutcomeRecord { scored_at_us: 7, ..better.clone() };
        assert_eq!(artifacts.put_outcome(later).await.unwrap(), better);
        let replay = attempt(2, excluded(1, ExcludeReason::Blank));
        assert_eq!(artifacts.put_outcome(replay.clone()).await.unwrap(), replay);
        let other_pixels = OutcomeRecord { image_id: scored(2, [1; 8]).image_id, ..better };
        assert_eq!(artifacts.put_outcome(other_pixels.clone()).await.unwrap(), other_pixels);
    }

    #[tokio::test]
    async fn an_outcome_reads_back_as_its_record() {
        let lake = lake().await;
        let artifacts = lake.artifacts();
        for record in [scored(1, [2; 8]), excluded(2, ExcludeReason::Blank), failed(3, FailReason::TooLarge)] {
            artifacts.put_outcome(record.clone()).await.unwrap();
            let path = lake.paths().item_outcome(&record.fingerprint, &record.item_id, 1, record.outcome.status());
            let outcome = artifacts.outcome_at(&path).await.unwrap().unwrap();
            if let Outcome::Scored { reading } = &record.outcome {
                assert_eq!(artifacts.record_of(outcome.clone()).await.unwrap(), None, "its reading is not there");
                artifacts.put(reading).await.unwrap();
            }
            assert_eq!(artifacts.record_of(outcome).await.unwrap(), Some(record));
        }
        let nowhere = lake.paths().item_outcome(&fingerprint("f"), &item(9).id(), 1, "scored");
        assert_eq!(artifacts.outcome_at(&nowhere).await.unwrap(), None);
    }

    #[test]
    fn a_newer_outcome_is_not_half_read() {
        let mut json = serde_json::to_value(ItemOutcome::of(&scored(1, [0; 8]))).unwrap();
        assert!(ItemOutcome::decode("k", json.to_string().as_bytes()).is_ok());
        json["schema_version"] = 2.into();
        let error = ItemOutcome::decode("k", json.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

//! How submissions stand: items by outcome and reason, in bounded memory however many there are.

use crate::datafile;
use crate::error::{Error, Result};
use crate::items::{ItemManifests, Submission};
use crate::location::Location;
use crate::lookup::{Found, Lookup, Place, Standing};
use crate::paths::{LakePaths, Table};
use crate::table::LakeTable;
use arrow::array::{Array, AsArray};
use domain::{Fingerprint, Reason};
use futures::TryStreamExt;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// A reason that only a newer version knows.
const UNKNOWN_REASON: &str = "unknown";

/// How one submission stands. `items == scored + excluded + failed + pending` (invariant 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub submission: String,
    pub fingerprint: Fingerprint,
    /// When its manifest was written, by the store's clock, microseconds since 1970 UTC.
    pub submitted_us: i64,
    pub items: u64,
    pub scored: u64,
    /// By reason.
    pub excluded: BTreeMap<&'static str, u64>,
    /// By reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Without a row.
    pub pending: u64,
    /// Rows made since the time that was asked about.
    pub recent: u64,
    /// When the last row was made, microseconds since 1970 UTC.
    pub last_row_us: Option<i64>,
}

impl Tally {
    fn of(submission: &Submission, submitted_us: i64) -> Tally {
        Tally {
            submission: submission.submission.clone(),
            fingerprint: submission.fingerprint.clone(),
            submitted_us,
            items: submission.items,
            scored: 0,
            excluded: BTreeMap::new(),
            failed: BTreeMap::new(),
            pending: 0,
            recent: 0,
            last_row_us: None,
        }
    }

    fn count(&mut self, found: Option<&Found>, since_us: i64) {
        let Some(found) = found else {
            self.pending += 1;
            return;
        };
        let name = |reason: Option<Reason>| reason.map_or(UNKNOWN_REASON, Reason::name);
        match found.standing {
            Standing::Scored => self.scored += 1,
            Standing::Excluded(reason) => *self.excluded.entry(name(reason)).or_default() += 1,
            Standing::Failed(reason) => *self.failed.entry(name(reason)).or_default() += 1,
        }
        self.recent += u64::from(found.scored_at_us >= since_us);
        self.last_row_us = self.last_row_us.max(Some(found.scored_at_us));
    }

    /// Items of a reason, whichever kind it is.
    pub fn with_reason(&self, reason: Reason) -> u64 {
        let by_reason = match reason {
            Reason::Excluded(_) => &self.excluded,
            Reason::Failed(_) => &self.failed,
        };
        by_reason.get(reason.name()).copied().unwrap_or(0)
    }
}

/// Counts the submissions with these ids, or all; the newest first.
pub(crate) async fn census(
    location: &Location,
    paths: &LakePaths,
    ids: &[String],
    since_us: i64,
) -> Result<Vec<Tally>> {
    let mut known = ItemManifests::new(location, paths).with_times().await?;
    if !ids.is_empty() {
        if let Some(id) = ids.iter().find(|id| known.iter().all(|(s, _)| s.submission != **id)) {
            let problem = "there is none of this id in the lake".to_owned();
            return Err(Error::Submission { submission: id.clone(), problem });
        }
        known.retain(|(submission, _)| ids.contains(&submission.submission));
    }
    let mut tallies: Vec<Tally> = known.iter().map(|(submission, us)| Tally::of(submission, *us)).collect();
    let submissions: Vec<Submission> = known.into_iter().map(|(submission, _)| submission).collect();
    let none = HashSet::new();
    let count = |place: Place, found: Option<&Found>| tallies[place.submission as usize].count(found, since_us);
    Lookup::open(location, paths, &none).await?.each(&submissions, count).await?;
    Ok(tallies)
}

/// `name version` of the pipeline behind a fingerprint, from the first row that it made.
pub(crate) async fn pipeline_of(
    location: &Location,
    paths: &LakePaths,
    fingerprint: &Fingerprint,
) -> Result<Option<String>> {
    let Some(ledger) = LakeTable::open(location, paths, Table::Instances).await? else {
        return Err(Error::NotALake { address: location.url.to_string() });
    };
    for file in ledger.files()?.into_values() {
        let columns = ["fingerprint", "pipeline"];
        let mut batches = datafile::read(ledger.store(), &file.path, file.size, &columns).await?;
        while let Some(batch) = batches.try_next().await? {
            let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            let (Some(fingerprints), Some(pipelines)) = (text("fingerprint"), text("pipeline")) else { continue };
            let row = (0..batch.num_rows())
                .find(|&row| fingerprints.value(row) == fingerprint.as_str() && pipelines.is_valid(row));
            if let Some(row) = row {
                return Ok(Some(pipelines.value(row).to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{attempt, excluded, failed, fingerprint, item, scored};
    use crate::tests::lake;
    use domain::{ExcludeReason, FailReason};
    use futures::stream;

    #[tokio::test]
    async fn every_item_of_every_submission_is_counted_once() {
        let lake = lake().await;
        let submit = async |from: u64, to: u64, name: &str| {
            let items = stream::iter((from..to).map(|n| Ok::<_, Error>(item(n))));
            lake.items().write(&fingerprint(name), items).await.unwrap().submission
        };
        let (first, second, other) = (submit(0, 10, "f").await, submit(5, 12, "f").await, submit(0, 10, "g").await);
        assert_eq!(lake.pipeline_of(&fingerprint("f")).await.unwrap(), None);
        let outcomes = vec![
            scored(0, [0; 8]),
            scored(6, [0; 8]),
            failed(7, FailReason::Truncated),
            attempt(2, failed(7, FailReason::TooLarge)),
            excluded(8, ExcludeReason::WrongView),
            excluded(11, ExcludeReason::WrongView),
        ];
        lake.committer().await.unwrap().commit(outcomes).await.unwrap();

        // rows are made at 1,700,000,000,000,000 us + their number
        let tallies = lake.census(&[], 1_700_000_000_000_007).await.unwrap();
        assert_eq!(tallies.len(), 3);
        let of = |id: &str| tallies.iter().find(|t| t.submission == id).unwrap();
        let wrong_view = Reason::Excluded(ExcludeReason::WrongView);
        assert_eq!((of(&first).scored, of(&first).pending, of(&first).with_reason(wrong_view)), (2, 6, 1));
        assert_eq!((of(&second).scored, of(&second).pending, of(&second).with_reason(wrong_view)), (1, 3, 2));
        assert_eq!(of(&first).failed, BTreeMap::from([("too_large", 1)]), "the newest failure counts");
        assert_eq!((of(&first).recent, of(&second).recent), (2, 3));
        assert_eq!(of(&second).last_row_us, Some(1_700_000_000_000_011));
        assert_eq!((of(&other).pending, of(&other).last_row_us), (10, None), "another fingerprint has no rows");
        for tally in &tallies {
            let sum = tally.scored
                + tally.pending
                + [&tally.excluded, &tally.failed].map(|m| m.values().sum::<u64>()).iter().sum::<u64>();
            assert_eq!(sum, tally.items);
        }
        let one = lake.census(std::slice::from_ref(&second), i64::MAX).await.unwrap();
        assert_eq!((one.len(), &one[0].submission, one[0].recent), (1, &second, 0));
        let unknown = lake.census(&["ab".to_owned()], 0).await.unwrap_err();
        assert_eq!(unknown.fault(), domain::Fault::InvalidInput);
        assert_eq!(lake.pipeline_of(&fingerprint("f")).await.unwrap().as_deref(), Some("vfa-unet 1.0.0"));
    }
}

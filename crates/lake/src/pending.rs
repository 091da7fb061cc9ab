//! Which items of a submission are still to be read, or are to be read again.
//!
//! The ledger is compared with the ids of the submission (see `lookup`), which leaves one bit an item and eight bytes for
//! each that is tried again; only then are the items themselves read, and only those that are open come out. So memory is
//! about 250 MB and a bit an item however long the list is, and nothing but the lake is read.

use crate::error::Result;
use crate::items::{ItemManifests, Submission};
use crate::location::Location;
use crate::lookup::{Found, Lookup};
use crate::paths::LakePaths;
use domain::{ImageId, Item, Reason};
use futures::{StreamExt, stream::BoxStream};
use std::collections::HashSet;

/// An item to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub item: Item,
    /// 1 for the first try.
    pub attempt: u32,
}

/// Which items are open.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those without a row.
    pub pending: bool,
    /// Those whose newest outcome has one of these reasons.
    pub reasons: Vec<Reason>,
    /// Scored ones whose image is one of these: their evidence was lost.
    pub images: HashSet<ImageId>,
}

impl Wanted {
    /// The try that is due, for an item that is open.
    fn due(&self, found: Option<&Found>) -> Option<u32> {
        match found {
            None => self.pending.then_some(1),
            Some(found) => {
                let again = found.image_meant || found.standing.reason().is_some_and(|r| self.reasons.contains(&r));
                again.then(|| found.attempt.saturating_add(1))
            }
        }
    }
}

/// What a submission still needs.
pub struct OpenItems {
    manifests: ItemManifests,
    submission: Submission,
    open: Bits,
    /// Place and attempt of the items that are tried again, by place.
    again: Vec<(u32, u32)>,
    count: u64,
}

impl OpenItems {
    /// Compares the submission with the ledger.
    pub(crate) async fn find(
        location: &Location,
        paths: &LakePaths,
        submission: &Submission,
        wanted: &Wanted,
    ) -> Result<OpenItems> {
        let mut found = OpenItems {
            manifests: ItemManifests::new(location, paths),
            submission: submission.clone(),
            open: Bits::new(submission.items),
            again: Vec::new(),
            count: 0,
        };
        let images = wanted.images.iter().filter_map(|id| u128::from_str_radix(id.as_str(), 16).ok()).collect();
        let lookup = Lookup::open(location, paths, &images).await?;
        let tell = |place: crate::lookup::Place, row: Option<&Found>| {
            if let Some(attempt) = wanted.due(row) {
                found.open.set(u64::from(place.item));
                found.count += 1;
                if attempt > 1 {
                    found.again.push((place.item, attempt));
                }
            }
        };
        lookup.each(std::slice::from_ref(submission), tell).await?;
        found.again.sort_unstable();
        Ok(found)
    }

    /// Items that are open.
    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The open items, sorted by uri.
    pub async fn into_stream(self) -> Result<BoxStream<'static, Result<Work>>> {
        let items = self.manifests.read(&self.submission).await?;
        let (open, again) = (self.open, self.again);
        Ok(items
            .enumerate()
            .filter_map(move |(place, item)| {
                let attempt = || {
                    let known = again.binary_search_by_key(&(place as u64), |entry| u64::from(entry.0));
                    known.map_or(1, |at| again[at].1)
                };
                let work = (item.is_err() || open.get(place as u64))
                    .then(|| item.map(|item| Work { item, attempt: attempt() }));
                std::future::ready(work)
            })
            .boxed())
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
    use crate::samples::{attempt, excluded, failed, fingerprint, image, item, scored};
    use crate::tests::{lake, number, text};
    use crate::{Lake, Submission, Wanted, Work};
    use domain::{ExcludeReason, FailReason, Item, Reason};
    use futures::{TryStreamExt, stream};
    use std::collections::HashSet;

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
    async fn what_has_a_reason_or_has_lost_its_evidence_is_open_again_and_nothing_else() {
        let lake = lake().await;
        let submission = submit(&lake, (0..7).map(item).collect()).await;
        let mut committer = lake.committer().await.unwrap();
        let outcomes = vec![
            scored(0, [1; 8]),
            scored(1, [1; 8]),
            excluded(2, ExcludeReason::WrongView),
            excluded(3, ExcludeReason::Blank),
            failed(4, FailReason::StageFailed),
            attempt(7, failed(5, FailReason::Internal)),
        ];
        committer.commit(outcomes).await.unwrap();
        let wanted = Wanted {
            pending: false,
            reasons: vec![Reason::Excluded(ExcludeReason::Blank), Reason::Failed(FailReason::Internal)],
            images: HashSet::from([image(1)]),
        };
        let open = lake.items_again(&submission, &wanted).await.unwrap();
        let work: Vec<Work> = open.into_stream().await.unwrap().try_collect().await.unwrap();
        let due = |number, attempt| Work { item: item(number), attempt };
        assert_eq!(work, [due(1, 2), due(3, 2), due(5, 8)]);
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

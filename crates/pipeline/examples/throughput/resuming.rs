//! A lake of ten million items, and what it takes to take it up again.

use crate::committing::tables;
use crate::meter::{Meter, peak_mib};
use crate::synthetic::Population;
use crate::{Options, Result};
use domain::record::OutcomeRecord;
use futures::stream::{self, TryStreamExt};
use lake::{Lake, store_for};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

const BATCH: u64 = 10_000;
/// Batches after which files that compaction replaced are deleted at once; a lake that others read keeps them for seven days.
const BATCHES_TIDIED: u64 = 64;
/// Items that are still open: of the end of the list.
const OPEN: u64 = 1_000;

fn items(rows: u64) -> impl futures::Stream<Item = lake::Result<domain::Item>> {
    stream::iter((0..rows).map(|number| Ok(Population::item(number))))
}

/// Writes the manifest and folds the records of all but the last items, as `score` does it, without a broker.
pub async fn fill(options: &Options) -> Result<Value> {
    let rows = options.number("rows", 1_000_000)?;
    let lake = Lake::create_if_absent(store_for(options.needed("lake")?, &options.store)?).await?;
    let population = Population::new()?;
    let meter = Meter::start(None)?;
    let submission = lake.items().write(population.fingerprint(), items(rows)).await?;
    let listed = meter.stop(rows)?;

    let scored = rows.saturating_sub(OPEN);
    let (send, mut batches) = mpsc::channel::<Vec<OutcomeRecord>>(2);
    let making = tokio::task::spawn_blocking(move || {
        for from in (0..scored).step_by(BATCH as usize) {
            let record = |number| population.record(&Population::item(number), &submission.submission);
            let batch = (from..(from + BATCH).min(scored)).map(record).map(OutcomeRecord::without_evidence).collect();
            if send.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    let mut committer = lake.committer().await?;
    let (mut number, mut most_files, mut tidying_s) = (0_u64, 0, 0.0);
    let meter = Meter::start(None)?;
    while let Some(batch) = batches.recv().await {
        committer.commit_shared(Arc::new(batch)).await?;
        number += 1;
        if number.is_multiple_of(BATCHES_TIDIED) {
            let began = Instant::now();
            most_files = most_files.max(tidy(&lake).await?);
            tidying_s += began.elapsed().as_secs_f64();
        }
    }
    making.await?;
    let folded = meter.stop(scored)?;
    tidy(&lake).await?;
    Ok(json!({
        "rows": rows, "listing": listed, "folding": folded, "tidying_s": tidying_s, "batch_rows": BATCH,
        "tables": tables(&lake).await?, "files_at_most": most_files,
    }))
}

/// Deletes the files that no version of now names. Returns how many it does name.
async fn tidy(lake: &Lake) -> Result<usize> {
    let named: HashSet<_> = lake.files().await?.into_iter().map(|(path, _)| path).collect();
    let location = lake.location();
    let all: Vec<_> = location.store.list(Some(&location.root)).try_collect().await?;
    for object in all {
        let path = object.location;
        let data = path.filename().is_some_and(|name| name.starts_with("part-")) && !path.as_ref().contains("/items/");
        if data && !named.contains(&path) {
            location.store.delete(&path).await?;
        }
    }
    Ok(named.len())
}

/// What `score` does before it reads the first image: listing, manifest, ledger, keys. The listing comes from memory.
pub async fn resume(options: &Options) -> Result<Value> {
    let rows = options.number("rows", 1_000_000)?;
    let meter = Meter::start(None)?;
    let lake = Lake::open(store_for(options.needed("lake")?, &options.store)?).await?;
    let population = Population::new()?;
    let mut took = Vec::new();
    let mut last = Instant::now();
    let mut lap = |what: &str| -> Result<()> {
        took.push(json!({ "what": what, "s": last.elapsed().as_secs_f64(), "peak_mib": peak_mib()? }));
        last = Instant::now();
        Ok(())
    };
    let submission = lake.items().write(population.fingerprint(), items(rows)).await?;
    lap("list, sort and know the submission")?;
    let open = lake.open_items(&submission, &[]).await?;
    let pending = open.len();
    lap("compare with the ledger")?;
    let committer = lake.committer().await?;
    let known = committer.rows().1;
    lap("read the keys of both tables")?;
    let first = open.into_stream().await?.try_next().await?.ok_or("there is nothing left to read")?;
    lap("find the first open item")?;
    let all = meter.stop(rows)?;
    let expected = Population::item(rows.saturating_sub(OPEN));
    if pending != OPEN.min(rows) || first.item != expected || known as u64 != rows.saturating_sub(OPEN) {
        return Err(format!("{pending} items are open, the first is {:?}, {known} rows are known", first.item).into());
    }
    Ok(
        json!({ "items": rows, "open": pending, "until_the_first_item": all, "steps": took, "tables": tables(&lake).await? }),
    )
}

//! The lake as a whole: what is committed is what is read, once, whoever commits and in whatever order.

use crate::samples::{attempt, excluded, failed, grades, item, scored};
use crate::{Lake, Location, SessionOptions, store_for};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use domain::record::OutcomeRecord;
use domain::{ExcludeReason, FailReason};
use futures::future::try_join_all;

pub(crate) async fn lake() -> Lake {
    Lake::create_if_absent(Location::in_memory()).await.unwrap()
}

pub(crate) async fn rows(lake: &Lake, sql: &str) -> Vec<RecordBatch> {
    lake.session(SessionOptions::default()).await.unwrap().collect(sql).await.unwrap()
}

pub(crate) async fn text(lake: &Lake, sql: &str) -> String {
    pretty_format_batches(&rows(lake, sql).await).unwrap().to_string()
}

pub(crate) async fn number(lake: &Lake, sql: &str) -> i64 {
    let batches = rows(lake, sql).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// The files hold one row per key, whatever the views make of it.
async fn assert_one_row_per_key(lake: &Lake) {
    let twice = number(
        lake,
        "SELECT count(*) FROM (SELECT image_id, fingerprint FROM results GROUP BY image_id, fingerprint HAVING count(*) > 1)",
    );
    assert_eq!(twice.await, 0, "a key of results has two rows");
    let twice = number(
        lake,
        "SELECT count(*) FROM (SELECT item_id FROM instances GROUP BY item_id, fingerprint, revision HAVING count(*) > 1)",
    );
    assert_eq!(twice.await, 0, "a key of instances has two rows");
}

#[tokio::test]
async fn what_is_committed_can_be_queried_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = || store_for(folder.path().join("a lake").to_str().unwrap(), &[]).unwrap();
    let nothing = Lake::open(place()).await.unwrap_err();
    assert!(matches!(nothing, crate::Error::NotALake { .. }), "{nothing}");
    let lake = Lake::create_if_absent(place()).await.unwrap();
    let mut committer = lake.committer().await.unwrap();
    let report = committer
        .commit(vec![
            scored(1, [0, 1, 0, 2, 0, 3, 1, 3]),
            failed(2, FailReason::Truncated),
            excluded(3, ExcludeReason::WrongView),
        ])
        .await
        .unwrap();
    assert_eq!((report.results_added, report.instances_added), (1, 3));

    let lake = Lake::open(place()).await.unwrap();
    let answer = text(
        &lake,
        "SELECT status, fail_reason, aac24_total, aac_l3_post, aac24_cat_label, image_date, age_years, primary_image
         FROM readings ORDER BY item_id",
    )
    .await;
    for line in [
        "| scored   |             | 10          | 3           | high            | 2020-05-17 | 61        | true          |",
        "| failed   | truncated   |             |             |                 | 2020-05-17 | 62        | false         |",
        "| excluded | wrong_view  |             |             |                 | 2020-05-17 | 63        | false         |",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_committers_with_reordered_duplicates_leave_one_row_each() {
    let lake = lake().await;
    let records: Vec<OutcomeRecord> = (0..40).map(|n| scored(n, grades(n))).collect();
    let committers = (0..5usize).map(|worker| {
        let (lake, mut mine) = (lake.clone(), records.clone());
        async move {
            let mut committer = lake.committer().await?;
            // Each delivers everything, from another place on, in batches of another size.
            mine.rotate_left(worker * 8);
            if worker % 2 == 1 {
                mine.reverse();
            }
            let (mut added, mut duplicates) = ((0, 0), 0);
            for batch in mine.chunks(7 + worker) {
                let mut batch = batch.to_vec();
                batch.push(batch[0].clone());
                let report = committer.commit(batch).await?;
                assert_eq!(report.conflicts, 0);
                added = (added.0 + report.results_added, added.1 + report.instances_added);
                duplicates += report.duplicates;
            }
            Ok::<_, crate::Error>((added, duplicates))
        }
    });
    let reports = try_join_all(committers.map(|c| async { tokio::spawn(c).await.expect("no panic") })).await.unwrap();
    assert_eq!(reports.iter().map(|r| r.0.0).sum::<usize>(), 40);
    assert_eq!(reports.iter().map(|r| r.0.1).sum::<usize>(), 40);
    assert_one_row_per_key(&lake).await;
    assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 40);
    assert_eq!(number(&lake, "SELECT count(DISTINCT item_id) FROM instances").await, 40);

    let mut late = lake.committer().await.unwrap();
    let again = late.commit(records).await.unwrap();
    assert_eq!((again.results_added, again.instances_added, again.duplicates), (0, 0, 80));
}

#[tokio::test]
async fn the_best_outcome_shows_whatever_the_order() {
    let tries = [
        failed(1, FailReason::StageFailed),
        attempt(2, failed(1, FailReason::Internal)),
        attempt(3, scored(1, [1; 8])),
        attempt(4, failed(1, FailReason::CrashLoop)),
    ];
    for (order, together) in [([0, 1, 2, 3], false), ([3, 2, 1, 0], false), ([1, 3, 0, 2], false), ([2, 0, 3, 1], true)]
    {
        {
            let lake = lake().await;
            let mut committer = lake.committer().await.unwrap();
            let batch: Vec<_> = order.iter().map(|&i| tries[i].clone()).collect();
            for batch in batch.chunks(if together { 4 } else { 1 }) {
                let report = committer.commit(batch.to_vec()).await.unwrap();
                assert_eq!(report.conflicts, 0);
            }
            let answer = text(&lake, "SELECT status, attempt, aac24_total FROM readings").await;
            assert!(answer.contains("| scored | 3       | 8           |"), "{order:?}: {answer}");
            assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 1, "{order:?}");
            assert_one_row_per_key(&lake).await;
        }
    }
}

#[tokio::test]
async fn a_second_differing_result_is_kept_apart_and_changes_nothing() {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let lake = lake().await;
    let mut committer = lake.committer().await.unwrap();
    committer.commit(vec![scored(1, [0; 8])]).await.unwrap();
    for _redelivery in 0..2 {
        let report = committer.commit(vec![scored(1, [1; 8])]).await.unwrap();
        assert_eq!((report.results_added, report.conflicts, report.duplicates), (0, 1, 1));
    }
    assert_eq!(number(&lake, "SELECT CAST(sum(aac24_total) AS BIGINT) FROM readings").await, 0);
    let conflicts = lake.location().root.clone().join("conflicts");
    let kept: Vec<_> = lake.location().store.list(Some(&conflicts)).try_collect().await.unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test]
async fn records_of_a_newer_version_and_contradictions_are_handed_back() {
    use crate::Refusal;
    let lake = lake().await;
    let mut committer = lake.committer().await.unwrap();
    let newer = OutcomeRecord { schema_version: 99, ..scored(1, [0; 8]) };
    let mixed = OutcomeRecord { image_id: scored(9, [0; 8]).image_id, ..scored(2, [0; 8]) };
    let report = committer.commit(vec![newer, mixed, scored(3, [0; 8])]).await.unwrap();
    let refused: Vec<_> = report.refused.iter().map(|r| r.1).collect();
    assert_eq!(refused, [Refusal::NewerSchema, Refusal::Contradiction]);
    assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 1);
    assert_eq!(report.refused[0].0.item_id, item(1).id());
}

#[tokio::test]
async fn sweeping_leaves_what_is_in_use_and_what_was_replaced_just_now() {
    let lake = lake().await;
    let mut committer = lake.committer().await.unwrap();
    let mut compacted = 0;
    for n in 0..16 {
        compacted += committer.commit(vec![scored(n, grades(n))]).await.unwrap().files_compacted;
    }
    assert_eq!((compacted, committer.sweep().await.unwrap()), (32, 0));
    assert_eq!(committer.commit(vec![scored(16, grades(16))]).await.unwrap().results_added, 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 17);
}

#[tokio::test]
async fn sweeping_takes_away_what_a_committer_left_when_it_died_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create_if_absent(store_for(folder.path().to_str().unwrap(), &[]).unwrap()).await.unwrap();
    let mut committer = lake.committer().await.unwrap();
    committer.commit(vec![scored(1, [1; 8])]).await.unwrap();
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let results = folder.path().join("results");
    let now = results.metadata().unwrap().modified().unwrap();
    let aged = |path: &std::path::Path, age| {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(now - age).unwrap();
    };
    let in_use = std::fs::read_dir(&results).unwrap().map(|file| file.unwrap().path());
    let in_use = in_use.filter(|path| path.extension().is_some_and(|e| e == "parquet"));
    in_use.for_each(|path| aged(&path, 9 * week));
    let [dead, in_flight] = ["part-dead.parquet", "part-in-flight.parquet"].map(|name| results.join(name));
    for path in [&dead, &in_flight] {
        std::fs::write(path, b"PAR1").unwrap();
    }
    aged(&dead, week + std::time::Duration::from_secs(60));
    aged(&in_flight, week - std::time::Duration::from_secs(60));
    assert_eq!(committer.sweep().await.unwrap(), 1);
    assert_eq!((dead.exists(), in_flight.exists()), (false, true), "a commit may be in flight for a while");
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE aac24_total IS NOT NULL").await, 1);
}

#[tokio::test]
async fn small_files_are_compacted_and_nothing_is_lost() {
    let lake = lake().await;
    let mut committer = lake.committer().await.unwrap();
    let mut compacted = 0;
    for n in 0..34 {
        compacted += committer.commit(vec![scored(n, grades(n))]).await.unwrap().files_compacted;
    }
    assert_eq!(compacted, 2 * 32);
    assert_eq!(committer.rows(), (34, 34));
    let log = lake.paths().table(crate::paths::Table::Results).join("_delta_log").join("_last_checkpoint");
    object_store::ObjectStoreExt::head(&lake.location().store, &log).await.expect("a checkpoint was written");

    // A fresh committer reads the keys from the compacted files.
    let mut fresh = lake.committer().await.unwrap();
    assert_eq!(fresh.rows(), (34, 34));
    let again = fresh.commit((0..34).map(|n| scored(n, grades(n))).collect()).await.unwrap();
    assert_eq!((again.duplicates, again.conflicts), (68, 0));
    assert_one_row_per_key(&lake).await;
    let total: i64 = (0..34).flat_map(grades).map(i64::from).sum();
    assert_eq!(number(&lake, "SELECT CAST(sum(aac24_total) AS BIGINT) FROM readings").await, total);
}

/// `cargo test -p lake -- --ignored --nocapture fold_rate` prints the rate at which rows are folded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a rate; needs a quiet machine"]
async fn fold_rate() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create_if_absent(store_for(folder.path().to_str().unwrap(), &[]).unwrap()).await.unwrap();
    let mut committer = lake.committer().await.unwrap();
    for (batch_size, batches) in [(100, 40), (1_000, 20), (10_000, 4)] {
        let first = committer.rows().1 as u64;
        let records: Vec<Vec<OutcomeRecord>> = (0..batches)
            .map(|b| (0..batch_size).map(|n| scored(first + b * batch_size + n, grades(n))).collect())
            .collect();
        let start = std::time::Instant::now();
        for batch in records {
            committer.commit(batch).await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{batches} batches of {batch_size}: {:.0} records/s, {:.0} ms a batch",
            (batches * batch_size) as f64 / seconds,
            1e3 * seconds / batches as f64
        );
    }
    let start = std::time::Instant::now();
    let fresh = lake.committer().await.unwrap();
    println!("opening a committer on {} rows: {:.2} s", fresh.rows().1, start.elapsed().as_secs_f64());
    let start = std::time::Instant::now();
    let session = lake.session(SessionOptions::default()).await.unwrap();
    println!("opening a session: {:.3} s", start.elapsed().as_secs_f64());
    for sql in [
        "SELECT count(*) FROM readings WHERE status = 'scored'",
        "SELECT sex, avg(aac24_total) FROM readings GROUP BY sex",
        "SELECT count(*), avg(aac24_total) FROM readings WHERE primary_image",
    ] {
        let start = std::time::Instant::now();
        session.collect(sql).await.unwrap();
        println!("{:.3} s: {sql}", start.elapsed().as_secs_f64());
    }
}

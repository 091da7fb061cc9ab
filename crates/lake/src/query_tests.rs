//! What people see: tables, views, metadata, refusals and hints.

use crate::samples::{attempt, excluded, failed, fingerprint, grades, item, reading, scored};
use crate::tests::{lake, number, text};
use crate::{Error, Lake, SessionOptions};
use domain::outcome::Outcome;
use domain::record::OutcomeRecord;
use domain::{ExcludeReason, FailReason, Fault};
use futures::stream;

async fn filled(records: Vec<OutcomeRecord>) -> Lake {
    let lake = lake().await;
    lake.committer().await.unwrap().commit(records).await.unwrap();
    lake
}

async fn refusal(lake: &Lake, sql: &str) -> String {
    let session = lake.session(SessionOptions::default()).await.unwrap();
    let error = match session.query(sql).await {
        Err(error) => error,
        Ok(mut answer) => loop {
            match answer.next().await {
                Err(error) => break error,
                Ok(Some(_)) => {}
                Ok(None) => panic!("{sql} was answered"),
            }
        },
    };
    assert_eq!(error.fault(), Fault::InvalidInput, "{sql}: {error:?}");
    error.to_string()
}

#[tokio::test]
async fn nothing_can_be_written_and_nothing_outside_be_read() {
    let lake = filled(vec![scored(1, [0; 8])]).await;
    for sql in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE results",
        "INSERT INTO results SELECT * FROM results",
        "DELETE FROM results",
        "UPDATE instances SET status = 'scored'",
        "COPY results TO '/tmp/stolen.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE COPY results TO '/tmp/stolen.parquet'",
    ] {
        assert!(refusal(&lake, sql).await.contains("only be read"), "{sql}");
    }
    for sql in ["SELECT * FROM '/etc/passwd'", "SELECT * FROM \"/etc/passwd\"", "SELECT * FROM sources"] {
        assert!(refusal(&lake, sql).await.contains("tables: readings, segments, ledger"), "{sql}");
    }
    assert!(refusal(&lake, "SELEC 1").await.contains("no SQL"));
    assert_eq!(number(&lake, "SELECT count(*) FROM results").await, 1);
}

#[tokio::test]
async fn steps_that_look_alike_are_each_taken() {
    let lake = filled(vec![scored(1, [0; 8]), scored(2, [1; 8])]).await;
    let step = |inner: &str| format!("SELECT s + s AS s FROM ({inner})");
    let one = "SELECT 1 AS s";
    assert_eq!(number(&lake, &step(&step(one))).await, 4);
    assert_eq!(number(&lake, &step(&step(&step(&step(one))))).await, 16);
    // a filter between them is moved through; a name that nothing is computed from stays what it was
    let counted = "SELECT count(*) AS s, 7 AS kept FROM readings";
    let filtered = format!(
        "SELECT s + s AS s, kept FROM (SELECT s + s AS s, kept FROM ({counted}) WHERE s > 0) WHERE s > 1 ORDER BY s LIMIT 1"
    );
    assert_eq!(number(&lake, &filtered).await, 8);
    assert_eq!(number(&lake, &format!("SELECT kept FROM ({filtered})")).await, 7);
    let totals = "SELECT aac24_total AS s FROM readings";
    assert_eq!(number(&lake, &format!("SELECT CAST(sum(s) AS BIGINT) FROM ({})", step(&step(totals)))).await, 32);
    let names = text(&lake, "SELECT s + 1 FROM (SELECT s + 1 AS s FROM (SELECT 1 AS s))").await;
    assert!(names.contains("s + Int64(1)") && names.contains("| 3 "), "{names}");
}

#[tokio::test]
async fn a_wrong_name_says_what_there_is() {
    let lake = filled(vec![scored(1, [0; 8])]).await;
    let column = refusal(&lake, "SELECT avg(aac24) FROM readings").await;
    assert!(
        column.starts_with("no column aac24; did you mean aac24_total? columns of readings: participant_id, "),
        "{column}"
    );
    let qualified = refusal(&lake, "SELECT s.grad FROM segments s JOIN readings r ON r.item_id = s.item_id").await;
    assert!(
        qualified.contains("did you mean grade? columns of s: ") && !qualified.contains("aac24_total"),
        "{qualified}"
    );
    let table = refusal(&lake, "SELECT * FROM reading").await;
    assert!(table.starts_with("no table reading; did you mean readings? tables: readings, "), "{table}");
    assert!(refusal(&lake, "SELECT no_such_function(1)").await.contains("no_such_function"));
    assert!(refusal(&lake, "SELECT CAST(status AS INT) FROM readings").await.contains("scored"));
}

#[tokio::test]
async fn a_query_beyond_its_memory_says_so() {
    let lake = lake().await;
    let options = SessionOptions { memory_mib: 1, threads: 1, ..SessionOptions::default() };
    let session = lake.session(options).await.unwrap();
    let sql = "SELECT max(array_length(a)) FROM (SELECT array_agg(value) AS a FROM range(2000000))";
    let error = session.collect(sql).await.unwrap_err();
    assert!(matches!(error, Error::QueryMemory { limit_mib: 1 }), "{error:?}");
}

#[tokio::test]
async fn segments_are_the_eight_grades_with_their_details() {
    let mut partly = scored(2, [0; 8]);
    let mut grades = [Some(3); 8];
    grades[5] = None;
    partly.outcome = Outcome::Scored { reading: Box::new(reading(2, &fingerprint("f"), grades)) };
    let lake = filled(vec![scored(1, [0, 1, 2, 3, 0, 1, 2, 3]), partly, failed(3, FailReason::Truncated)]).await;
    assert_eq!(number(&lake, "SELECT count(*) FROM segments").await, 16);
    let one = text(
        &lake,
        "SELECT level, wall, segment, grade, length_mm, not_assessable FROM segments s
         WHERE participant_id LIKE '%1' AND grade = 3 ORDER BY segment",
    )
    .await;
    assert!(one.contains("| L2    | posterior | aac_l2_post | 3     | 30.0      |                |"), "{one}");
    assert!(one.contains("| L4    | posterior | aac_l4_post | 3     | 30.0      |                |"), "{one}");
    let missing =
        text(&lake, "SELECT segment, grade, length_mm, not_assessable FROM segments WHERE grade IS NULL").await;
    assert!(missing.contains("| aac_l3_post |       |           | masked         |"), "{missing}");
    let wide = text(
        &lake,
        "SELECT aac24_total, aac_n_segments, aac24_min, aac24_max, aac_l3_post FROM readings WHERE aac_n_segments = 7",
    )
    .await;
    assert!(
        wide.contains("|             | 7              | 21        | 24        |             |"),
        "not assessable is never 0: {wide}"
    );
}

#[tokio::test]
async fn one_image_a_visit_is_primary_and_the_latest_visit_is_the_latest() {
    let at = |number: u64, day: &str, confidence: f64, mut record: OutcomeRecord| {
        record.facts.participant_id = Some("p".to_owned());
        record.facts.image_date = Some(day.to_owned());
        if let Outcome::Scored { reading } = &mut record.outcome {
            reading.summary.confidence = confidence;
        }
        record.scored_at_us = number as i64;
        record
    };
    let lake = filled(vec![
        at(9, "2020-01-01", 0.7, scored(1, grades(1))),
        at(8, "2020-01-01", 0.9, scored(2, grades(2))),
        at(7, "2020-01-01", 0.0, excluded(3, ExcludeReason::WrongView)),
        at(6, "2021-06-30", 0.6, scored(4, grades(4))),
        at(5, "2022-01-01", 0.0, failed(5, FailReason::Truncated)),
        scored(6, grades(6)),
    ])
    .await;
    let primary =
        text(&lake, "SELECT image_date, confidence FROM readings WHERE primary_image ORDER BY image_date, confidence")
            .await;
    for line in ["| 2020-01-01 | 0.9        |", "| 2021-06-30 | 0.6        |", "| 2020-05-17 | 0.56       |"] {
        assert!(primary.contains(line), "{primary}");
    }
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE primary_image").await, 3);
    let latest = text(&lake, "SELECT image_date FROM latest_by_image_date WHERE participant_id = 'p'").await;
    assert!(latest.contains("2021-06-30") && !latest.contains("2020-01-01"), "{latest}");
    assert_eq!(number(&lake, "SELECT count(*) FROM latest_by_image_date").await, 2);
}

#[tokio::test]
async fn the_newest_reading_of_an_item_shows_over_fingerprints() {
    let newer = |number: u64| {
        let mut record = scored(number, [2; 8]);
        record.fingerprint = fingerprint("g");
        record.outcome = Outcome::Scored { reading: Box::new(reading(number, &record.fingerprint, [Some(2); 8])) };
        record.scored_at_us += 1_000_000;
        record
    };
    let lake = filled(vec![scored(1, [1; 8]), newer(1), scored(2, [1; 8])]).await;
    assert_eq!(number(&lake, "SELECT count(*) FROM readings").await, 3);
    let newest = text(&lake, "SELECT aac24_total FROM latest_by_scored_at ORDER BY 1").await;
    assert!(newest.contains("| 8           |\n| 16          |"), "{newest}");
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE primary_image").await, 3, "one for each fingerprint");
}

#[tokio::test]
async fn the_same_picture_under_two_participants_is_flagged_and_scored_once() {
    let mut copy = scored(1, grades(1));
    copy.item_id = item(77).id();
    copy.facts.participant_id = Some("someone else".to_owned());
    let mut same = scored(2, grades(2));
    same.item_id = item(78).id();
    let lake = filled(vec![scored(1, grades(1)), copy, scored(2, grades(2)), same]).await;
    assert_eq!(number(&lake, "SELECT count(*) FROM results").await, 2);
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE image_shared").await, 2);
    assert_eq!(number(&lake, "SELECT count(*) FROM readings WHERE primary_image").await, 3);
}

#[tokio::test]
async fn a_failed_copy_of_a_scored_image_has_no_score() {
    let mut copy = failed(1, FailReason::StageFailed);
    copy.item_id = item(50).id();
    let lake = filled(vec![scored(1, [3; 8]), copy]).await;
    let rows =
        text(&lake, "SELECT status, aac24_total, confidence IS NULL AS nothing FROM readings ORDER BY status").await;
    assert!(rows.contains("| failed |             | true    |"), "{rows}");
    assert!(rows.contains("| scored | 24          | false   |"), "{rows}");
}

#[tokio::test]
async fn sources_are_there_only_when_asked_for() {
    let lake = filled(vec![attempt(1, scored(1, [0; 8]))]).await;
    let items = stream::iter([1, 2].map(|n| Ok::<_, Error>(item(n))));
    lake.items().write(&fingerprint("f"), items).await.unwrap();
    let session = lake.session(SessionOptions { sources: true, ..SessionOptions::default() }).await.unwrap();
    let sql = "SELECT s.uri FROM sources s JOIN readings r ON r.item_id = s.item_id";
    let batches = session.collect(sql).await.unwrap();
    assert!(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string().contains("00000001.dcm"));
    assert!(session.tables().contains(&"sources"));

    let plain = lake.session(SessionOptions::default()).await.unwrap();
    let all = plain.collect("SELECT table_name, column_name FROM information_schema.columns").await.unwrap();
    let all = arrow::util::pretty::pretty_format_batches(&all).unwrap().to_string();
    assert!(all.contains("aac24_total") && !all.contains("uri"), "no table shows where files are");
}

#[tokio::test]
async fn a_statistic_never_mixes_fingerprints_unseen() {
    let under = |number: u64, name: &str| {
        let mut record = scored(number, [1; 8]);
        record.fingerprint = fingerprint(name);
        record.outcome = Outcome::Scored { reading: Box::new(reading(number, &record.fingerprint, [Some(1); 8])) };
        record
    };
    let one = filled(vec![under(1, "f"), under(2, "f")]).await;
    assert_eq!(number(&one, "SELECT CAST(aac_mean(aac_hist(aac24_total))['n'] AS BIGINT) FROM readings").await, 2);

    let both = filled(vec![under(1, "f"), under(2, "g"), under(3, "g")]).await;
    let g = fingerprint("g");
    let n = "CAST(aac_mean(aac_hist(aac24_total))['n'] AS BIGINT)";
    for sql in [
        format!("SELECT {n} FROM readings"),
        format!("SELECT {n} FROM latest_by_scored_at"),
        format!("SELECT {n} FROM readings WHERE fingerprint = '{g}' OR sex IS NULL"),
        format!("SELECT {n} FROM readings a JOIN readings b USING (item_id) WHERE a.fingerprint = '{g}'")
            .replace("aac24_total", "b.aac24_total"),
        "SELECT aac_hist(aac24_total) OVER (ORDER BY item_id) FROM readings".to_owned(),
        "SELECT 1 WHERE (SELECT median_survival(aac24_total, true)['n'] FROM results) > 0".to_owned(),
        "SELECT km(aac24_total, true) FROM results".to_owned(),
    ] {
        let said = refusal(&both, &sql).await;
        assert!(said.contains("fingerprint = '") && said.contains(&g.to_string()), "{sql}: {said}");
    }
    assert_eq!(number(&both, &format!("SELECT {n} FROM readings WHERE fingerprint = '{g}'")).await, 2);
    let alone =
        format!("SELECT {n} FROM (SELECT * FROM readings WHERE sex IS NULL OR true) r WHERE '{g}' = r.fingerprint");
    assert_eq!(number(&both, &alone).await, 2);
    let each = format!("SELECT sum(n) FROM (SELECT fingerprint, {n} AS n FROM readings GROUP BY fingerprint)");
    assert_eq!(number(&both, &each).await, 3);
    assert_eq!(number(&both, "SELECT count(aac24_total) FROM readings").await, 3, "a count is no statistic of ours");
    let told = SessionOptions { mixed_fingerprints: true, ..SessionOptions::default() };
    let batches = both.session(told).await.unwrap().collect(&format!("SELECT {n} FROM readings")).await.unwrap();
    assert!(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string().contains("| 3 "));
}

#[tokio::test]
async fn the_flow_counts_every_item_once_and_then_participants() {
    let mut open = scored(2, [0; 8]);
    open.outcome = Outcome::Scored { reading: Box::new(reading(2, &fingerprint("f"), [None; 8])) };
    let records =
        vec![scored(1, [1; 8]), open, excluded(3, ExcludeReason::WrongView), failed(4, FailReason::Truncated)];
    let lake = filled(records).await;
    let items = stream::iter([1, 2, 3, 4, 5].map(|n| Ok::<_, Error>(item(n))));
    lake.items().write(&fingerprint("f"), items).await.unwrap();
    let shown = text(&lake, "SELECT step, n FROM flow ORDER BY place, step").await;
    let lines: Vec<String> = shown
        .lines()
        .filter(|l| l.starts_with("| "))
        .skip(1)
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "| items received | 5 |",
        "| failed: truncated | 1 |",
        "| excluded: wrong_view | 1 |",
        "| pending | 1 |",
        "| scored | 2 |",
        "| participants with a primary image | 2 |",
        "| participants with a known category | 1 |",
        "| participants with all segments assessed | 1 |",
    ];
    assert_eq!(lines, expected, "{shown}");
}

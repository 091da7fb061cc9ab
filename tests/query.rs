//! SQL on the lake: read only, in every format, with errors that help.

use tests::{cohort, query, run, stdout, text};

#[test]
fn the_lake_answers_in_every_format_and_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    run(&["score", text(&cohort().join("images")), "--lake", text(&lake), "--limit", "6"], 0);

    assert_eq!(query(&lake, "SELECT count(*) AS n FROM readings"), "n\n6\n");
    let segments = query(&lake, "SELECT count(*) AS n FROM segments");
    let scored = query(&lake, "SELECT count(*) * 8 AS n FROM readings WHERE status = 'scored'");
    assert_eq!(segments, scored, "eight segments an image");
    let json = stdout(&[
        "query",
        "--lake",
        text(&lake),
        "--format",
        "json",
        "SELECT item_id, status FROM ledger WHERE status <> 'pending'",
    ]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 6);
    let parquet = run(&["query", "--lake", text(&lake), "--format", "parquet", "SELECT * FROM readings"], 0).stdout;
    assert_eq!((&parquet[..4], &parquet[parquet.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    for view in ["latest_by_image_date", "latest_by_scored_at"] {
        query(&lake, &format!("SELECT * FROM {view}"));
    }

    let wrong = run(&["query", "--lake", text(&lake), "SELECT aac24 FROM readings"], 2);
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert!(message.contains("aac24_total"), "what exists is said: {message}");
    let file = folder.path().join("x.csv");
    for sql in [
        "DROP TABLE readings",
        "INSERT INTO readings SELECT * FROM readings",
        "CREATE TABLE t AS SELECT 1",
        &format!("COPY readings TO '{}'", text(&file)),
    ] {
        run(&["query", "--lake", text(&lake), sql], 2);
    }
    assert!(!file.exists());
}

#[test]
fn a_wrong_path_is_told_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder");
    let output = run(&["score", text(&missing), "--lake", text(&folder.path().join("lake"))], 2);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no/such/folder"), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    run(&["query", "--lake", text(&missing), "SELECT 1"], 2);
}

//! Killed and started again, a run gives the same table; a finished run opens nothing again.

use std::path::Path;
use tests::{cohort, run, start, stdout, table, text};

fn score_arguments<'a>(images: &'a str, lake: &'a str, key: &'a str) -> Vec<&'a str> {
    vec!["--settings", key, "score", images, "--lake", lake]
}

fn settings(folder: &Path) -> String {
    let path = folder.join("settings.toml");
    let key = folder.join("study.key");
    std::fs::write(
        &path,
        format!("[study]\nkey_file = {:?}\n[run]\ncommit_rows = 4\ncommit_after_s = 1\n", text(&key)),
    )
    .unwrap();
    text(&path).to_owned()
}

#[test]
fn a_run_killed_at_any_moment_and_started_again_gives_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let images = cohort().join("images");
    let undisturbed = folder.path().join("undisturbed");
    run(&score_arguments(text(&images), text(&undisturbed), &settings), 0);
    let expected = table(&undisturbed);
    assert_eq!(expected.lines().count(), 25, "a row for each image and the header");

    // The kill comes when k artifacts have been put: counted, not timed.
    for k in [1, 7, 15] {
        let lake = folder.path().join(format!("killed-{k}"));
        let mut child = start(&score_arguments(text(&images), text(&lake), &settings));
        while count_files(&lake.join("artifacts")) < k && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(&score_arguments(text(&images), text(&lake), &settings), 0);
        assert_eq!(table(&lake), expected, "killed after {k} artifacts");
    }
}

#[test]
fn a_second_run_opens_only_what_is_new_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let mut sources: Vec<_> = std::fs::read_dir(cohort().join("images")).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    for source in &sources[..5] {
        std::fs::copy(source, images.join(source.file_name().unwrap())).unwrap();
    }
    let lake = folder.path().join("lake");
    let report = |expected_new: u64| {
        let mut arguments = score_arguments(text(&images), text(&lake), &settings);
        arguments.push("--json");
        let report: serde_json::Value = serde_json::from_str(&stdout(&arguments)).unwrap();
        assert_eq!(report["opened"], expected_new, "{report}");
        let sum = |v: &serde_json::Value| v.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
        let (items, scored) = (report["items"].as_u64().unwrap(), report["scored"].as_u64().unwrap());
        assert_eq!(items, scored + sum(&report["failed"]) + sum(&report["excluded"]), "the ledger adds up: {report}");
        items
    };
    assert_eq!(report(5), 5);
    assert_eq!(report(0), 5);
    std::fs::copy(&sources[5], images.join("new.dcm")).unwrap();
    std::fs::copy(&sources[6], images.join(sources[0].file_name().unwrap())).unwrap();
    assert_eq!(report(2), 6);
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

//! The roles that look after a lake, as a user runs them: no broker, no network.

use std::path::Path;
use std::process::Stdio;
use tests::{aortica, cohort, query, run, stdout, table, text};

const LEDGER: &str = "SELECT * FROM ledger ORDER BY submission, item_id";

/// A lake with the cohort and two objects that are no images.
fn scored(folder: &Path) -> std::path::PathBuf {
    let images = folder.join("images");
    std::fs::create_dir(&images).unwrap();
    let mut sources: Vec<_> = std::fs::read_dir(cohort().join("images")).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    for source in &sources[..4] {
        std::fs::copy(source, images.join(source.file_name().unwrap())).unwrap();
    }
    std::fs::write(images.join("a.dcm"), b"no image").unwrap();
    let whole = std::fs::read(&sources[4]).unwrap();
    std::fs::write(images.join("b.dcm"), &whole[..whole.len() - 1000]).unwrap();
    let lake = folder.join("lake");
    run(&["score", text(&images), "--lake", text(&lake)], 0);
    lake
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

#[test]
fn status_and_a_dry_replay_need_no_broker() {
    let folder = tempfile::tempdir().unwrap();
    let lake = scored(folder.path());
    let status = json(&["status", "--lake", text(&lake), "--json"]);
    let told = &status["submissions"][0];
    assert_eq!((&told["items"], &told["pending"]), (&6.into(), &0.into()), "{status}");
    assert_eq!(told["excluded"]["not_an_image"], 1, "{status}");
    assert_eq!(told["failed"]["truncated"], 1, "{status}");
    assert!(status["broker"]["unknown"].as_str().unwrap().contains("AORTICA_AMQP_URL"), "{status}");
    // complete, so that watching ends at once
    let page = stdout(&["status", "--lake", text(&lake), "--watch"]);
    assert!(page.contains("truncated") && page.contains("queues unknown"), "{page}");

    let dry = json(&["replay", "--lake", text(&lake), "--reason", "failed,not_an_image", "--dry-run", "--json"]);
    assert_eq!(dry["by_reason"], serde_json::json!({"not_an_image": 1, "truncated": 1}));
    assert_eq!(dry["published"], 0);

    let wrong = run(&["replay", "--lake", text(&lake), "--reason", "slow", "--dry-run"], 2);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("crash_loop"), "the reasons are named");
    run(&["status", "--lake", text(&lake), "--submission", "00"], 2);
    run(&["status", "--lake", text(&folder.path().join("nowhere"))], 2);
    let brokerless = run(&["replay", "--lake", text(&lake), "--reason", "failed"], 3);
    assert!(String::from_utf8_lossy(&brokerless.stderr).contains("AORTICA_AMQP_URL"));
}

#[test]
fn tables_that_are_lost_are_made_anew_from_the_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let lake = scored(folder.path());
    let before = (table(&lake), query(&lake, LEDGER));
    for lost in ["results", "instances"] {
        std::fs::remove_dir_all(lake.join(lost)).unwrap();
    }
    run(&["query", "--lake", text(&lake), "SELECT 1"], 2);

    let elsewhere = folder.path().join("elsewhere");
    let report = json(&["rebuild", "--lake", text(&elsewhere), "--from", text(&lake), "--json"]);
    assert_eq!((&report["rebuilt"]["outcomes"], &report["rebuilt"]["instances_added"]), (&6.into(), &6.into()));
    assert_eq!((table(&elsewhere), query(&elsewhere, LEDGER)), before);

    assert!(stdout(&["rebuild", "--lake", text(&lake)]).contains("6 rows added to instances"));
    assert_eq!((table(&lake), query(&lake, LEDGER)), before);
    assert!(stdout(&["rebuild", "--lake", text(&lake)]).contains("0 rows added to instances"));
    // an item whose row came back is not opened again
    let again = json(&["score", text(&folder.path().join("images")), "--lake", text(&lake), "--json"]);
    assert_eq!(again["opened"], 0, "{again}");
}

#[test]
fn reconcile_tells_what_differs_and_changes_nothing_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let lake = scored(folder.path());
    let images = folder.path().join("images");
    let reconcile = || json(&["reconcile", text(&images), "--lake", text(&lake), "--json"]);
    let report = reconcile();
    assert_eq!((&report["listing"]["listed"], &report["evidence"]["outcomes_without_rows"]), (&6.into(), &0.into()));
    assert!(stdout(&["reconcile", text(&images), "--lake", text(&lake)]).contains("all is in order"));

    std::fs::write(images.join("new.dcm"), b"new").unwrap();
    std::fs::remove_file(images.join("a.dcm")).unwrap();
    std::fs::remove_dir_all(lake.join("instances")).unwrap();
    std::fs::remove_dir_all(lake.join("results")).unwrap();
    run(&["rebuild", "--lake", text(&lake)], 0);
    let report = reconcile();
    assert_eq!(report["listing"]["never_submitted"]["objects"], 1, "{report}");
    assert_eq!(report["listing"]["gone"]["objects"], 1, "{report}");
    assert_eq!(report, reconcile(), "looking changes nothing");
    run(&["reconcile", text(&images), "--lake", text(&lake), "--repair"], 3);
}

#[test]
fn readings_get_other_bands_without_their_images() {
    let folder = tempfile::tempdir().unwrap();
    let lake = scored(folder.path());
    std::fs::remove_dir_all(folder.path().join("images")).unwrap();
    let pipelines = tests::repository().join("pipelines");
    let (bands, rule) = (folder.path().join("bands"), folder.path().join("rule"));
    for (copy, from, to) in
        [(&bands, "moderate_from = 2.0", "moderate_from = 0.5"), (&rule, "\"kauppila\"", "\"manitoba\"")]
    {
        std::fs::create_dir(copy).unwrap();
        for file in ["pipeline.toml", "certainty.json"] {
            let text = std::fs::read_to_string(pipelines.join("aortica").join(file)).unwrap();
            std::fs::write(copy.join(file), text.replacen(from, to, 1)).unwrap();
        }
    }
    // what both name beside themselves
    let networks = folder.path().join("vfa-unet");
    std::fs::create_dir(&networks).unwrap();
    for file in ["locate.toml", "locate.int8.toml", "segment.toml", "segment.int8.toml", "shape.json"] {
        std::fs::copy(pipelines.join("vfa-unet").join(file), networks.join(file)).unwrap();
    }
    let rescore = ["rescore", "--lake", text(&lake), "--from", "aortica", "--pipeline"];
    let refused = run(&[&rescore[..], &[text(&rule)]].concat(), 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rule differs"));
    let report = json(&[&rescore[..], &[text(&bands), "--json"]].concat());
    assert_eq!((&report["outcomes"], &report["rows_added"]), (&6.into(), &6.into()), "{report}");
    let moved = query(&lake, "SELECT count(DISTINCT fingerprint), count(*) FROM readings");
    assert!(moved.contains("2,12"), "{moved}");
    let wrong = query(
        &lake,
        &format!(
            "SELECT count(*) FROM readings WHERE fingerprint = '{}' AND aac24_min >= 1 AND aac24_cat_label = 'low'",
            report["to"].as_str().unwrap()
        ),
    );
    assert!(wrong.ends_with("0\n"), "{wrong}");
}

#[test]
fn a_role_that_waits_for_its_broker_leaves_at_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    // Something that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://guest:guest@{}", silent.local_addr().unwrap());
    let mut role = aortica(&["commit", "--lake", text(&lake)])
        .env("AORTICA_AMQP_URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (_connection, _) = silent.accept().unwrap();
    let signalled =
        std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", role.id())]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(role.wait().unwrap().code(), Some(130));
}

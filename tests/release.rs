//! Releases and the aggregate role as a user runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tests::{cohort, query, run, stdout, text};

/// A lake of the shared cohort, scored once for the tests of this file.
fn lake() -> &'static Path {
    static LAKE: std::sync::OnceLock<(tempfile::TempDir, PathBuf)> = std::sync::OnceLock::new();
    let (_, lake) = LAKE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lake = folder.path().join("lake");
        run(&["score", text(&cohort().join("images")), "--lake", text(&lake)], 0);
        (folder, lake)
    });
    lake
}

/// A policy with a low threshold, as the cohort has 24 participants, and a log of its own.
fn policy(folder: &Path) -> PathBuf {
    let path = folder.join("study.toml");
    let strata = "[[strata]]\nname = \"sex\"\nvalues = [\"F\", \"M\"]\n[[strata]]\nname = \"age_band\"\ncolumn = \"age_years\"\nfrom = [65]\n";
    std::fs::write(&path, format!("threshold = 3\nscore_cuts = [1, 6]\n{strata}")).unwrap();
    path
}

/// All files of a folder by their paths.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for path in std::fs::read_dir(next).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn said(arguments: &[&str], code: i32) -> String {
    String::from_utf8(run(arguments, code).stderr).unwrap()
}

#[test]
fn the_same_lake_gives_the_same_bytes_and_changes_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path());
    let make = |out: &Path, rows: bool| {
        let mut arguments =
            vec!["release", "--lake", text(lake()), "--name", "Spine \"A\"", "--policy", text(&policy), "-o"];
        arguments.push(text(out).to_owned().leak());
        arguments.extend(rows.then_some("--rows"));
        stdout(&arguments)
    };
    let (first, second, rows) = (folder.path().join("first"), folder.path().join("second"), folder.path().join("rows"));
    let printed = make(&first, false);
    assert!(printed.contains("counts withheld"), "{printed}");
    make(&second, false);
    let (files, again) = (contents(&first), contents(&second));
    assert_eq!(files.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    for (name, bytes) in &files {
        assert!(again[name] == *bytes, "{name} differs between two runs");
    }
    for name in [
        "CITATION.cff",
        "SHA256SUMS",
        "codebook.csv",
        "labels.R",
        "labels.do",
        "labels.sas",
        "provenance.json",
        "tables.xlsx",
    ] {
        assert!(files.contains_key(name), "{name} is missing");
    }
    assert!(!files.keys().any(|name| name.starts_with("rows/")), "rows are asked for");

    // Nothing of it names a participant; with --rows the rows do.
    let ids = query(lake(), "SELECT DISTINCT participant_id FROM readings WHERE participant_id IS NOT NULL");
    let named = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        let holds = |bytes: &[u8]| ids.lines().skip(1).any(|id| memchr::memmem::find(bytes, id.as_bytes()).is_some());
        files.iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name.clone()).collect()
    };
    assert!(ids.lines().count() > 20);
    assert_eq!(named(&files), Vec::<String>::new());
    make(&rows, true);
    assert!(named(&contents(&rows)).contains(&"rows/readings.csv".to_owned()));

    // What is told is what the rows say, and adds up.
    let provenance: serde_json::Value = serde_json::from_slice(&files["provenance.json"]).unwrap();
    assert_eq!(provenance["disclosure_control"]["threshold"], 3);
    assert_eq!(provenance["source"]["models"].as_array().unwrap().len(), 2);
    let newest = query(lake(), "SELECT CAST(CAST(max(scored_at) AS DATE) AS VARCHAR) FROM latest_by_image_date");
    assert_eq!(provenance["date"], newest.lines().nth(1).unwrap());
    let participants = String::from_utf8(files["tables/participants.csv"].clone()).unwrap();
    let total = query(lake(), "SELECT count(aac24_total) FROM latest_by_image_date");
    assert!(
        participants.contains(&format!("participants,all,all,{},", total.lines().nth(1).unwrap())),
        "{participants}"
    );

    // The list is that of sha256sum, and a change is named.
    assert!(stdout(&["release", "verify", text(&first)]).contains("as they were released"));
    let mut table = files["tables/prevalence.csv"].clone();
    table[40] ^= 1;
    std::fs::write(first.join("tables/prevalence.csv"), table).unwrap();
    let message = said(&["release", "verify", text(&first)], 2);
    assert!(message.contains("tables/prevalence.csv differs") && !message.contains("score.csv"), "{message}");
    let message =
        said(&["release", "--lake", text(lake()), "--name", "B", "--policy", text(&policy), "-o", text(&second)], 2);
    assert!(message.contains("not empty"), "{message}");
}

#[test]
fn the_aggregate_role_gets_numbers_of_groups_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path());
    let aggregate = |sql: &'static str| {
        vec!["query", "--lake", text(lake()), "--role", "aggregate", "--policy", text(&policy), "--format", "csv", sql]
    };
    let by_sex = stdout(&aggregate("SELECT sex, n, suppressed FROM participants('sex') ORDER BY sex"));
    let truth = query(
        lake(),
        "SELECT sex, count(*), false FROM latest_by_image_date WHERE aac24_total IS NOT NULL GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(by_sex.lines().skip(1).collect::<Vec<_>>(), truth.lines().skip(1).collect::<Vec<_>>());
    for sql in [
        "SELECT * FROM readings",
        "SELECT max(aac24_total) FROM latest_by_image_date",
        "SELECT CAST(participant_id AS INT) FROM instances",
        "COPY (SELECT 1) TO '/tmp/aortica-stolen.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
    ] {
        said(&aggregate(sql), 2);
    }
    let sources = ["query", "--lake", text(lake()), "--role", "aggregate", "--with-sources", "SELECT 1"];
    assert!(said(&sources, 2).contains("does not see"));
    let rows = ["query", "--lake", text(lake()), "--policy", text(&policy), "SELECT 1"];
    assert!(said(&rows, 2).contains("--role aggregate"));

    // The same by `stats`, where the ones that need rows are refused, and so is a file that nobody registered.
    let stats = |name: &'static str, more: &[&str]| -> Vec<String> {
        let fixed = [
            "stats",
            name,
            "--lake",
            text(lake()),
            "--role",
            "aggregate",
            "--policy",
            text(&policy),
            "--format",
            "csv",
        ];
        fixed.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    };
    let run_stats = |arguments: Vec<String>, code: i32| {
        let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code);
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (prevalence, _) = run_stats(stats("prevalence", &["--by", "sex,age_band"]), 0);
    assert!(
        prevalence.starts_with("statistic,sex,age_band,n,estimate,") && prevalence.contains(",suppressed"),
        "{prevalence}"
    );
    let hidden: Vec<&str> = prevalence.lines().filter(|line| line.ends_with(",true")).collect();
    assert!(hidden.iter().all(|line| line.ends_with(",,,,,,,true")), "what is suppressed has no numbers: {hidden:?}");
    assert!(run_stats(stats("cox", &["--event", "died"]), 2).1.contains("--role rows"));
    for (name, more) in [
        ("score", &["--by", "participant_id"][..]),
        ("score", &["--by", "sop_id"]),
        ("prevalence", &["--by", "sex,sex"]),
        ("prevalence", &["--by", "sex'); SELECT * FROM readings --"]),
        ("prevalence", &["--visit", "first"]),
        ("standardised", &["--standard", "/etc/passwd"]),
        ("agreement", &["--human", "/etc/passwd"]),
        ("table1", &["--of", "participant_id"]),
        ("transitions", &[]),
        ("clustered", &[]),
        ("roc", &["--event", "died"]),
        ("survival", &["--event", "died", "--time", "t"]),
        ("drift", &["--split", "2020-01-01"]),
    ] {
        let (told, said) = run_stats(stats(name, more), 2);
        assert!(told.is_empty() && !said.contains("root:"), "{name} {more:?}: {told}{said}");
    }
    let chosen = folder.path().join("chosen.csv");
    std::fs::write(&chosen, query(lake(), "SELECT participant_id FROM latest_by_image_date LIMIT 12")).unwrap();
    let (_, message) = run_stats(stats("score", &["--with", text(&chosen)]), 2);
    assert!(message.contains("`files`"), "{message}");
}

/// Every number of the page is one that the release tells too; what is withheld there is withheld here.
#[test]
fn the_page_of_the_aggregate_role_tells_what_a_release_tells() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path());
    let (out, page) = (folder.path().join("release"), folder.path().join("page.html"));
    stdout(&["release", "--lake", text(lake()), "--name", "A", "--policy", text(&policy), "-o", text(&out)]);
    let report = ["report", "--lake", text(lake()), "--role", "aggregate", "--policy", text(&policy)];
    let made = |more: &[&str], code| run(&[&report[..], &["--json", "-o", text(&page)], more].concat(), code);
    made(&[], 0);
    let html = std::fs::read_to_string(&page).unwrap();
    let numbers: BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>> =
        serde_json::from_slice(&std::fs::read(page.with_extension("json")).unwrap()).unwrap();

    let mut withheld = 0;
    for (name, strata) in
        [("prevalence", None), ("prevalence_by_sex", Some("sex")), ("prevalence_by_age_band", Some("age_band"))]
    {
        let released = std::fs::read_to_string(out.join("tables/prevalence.csv")).unwrap();
        let mut lines = released.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let head = lines.next().unwrap();
        let at = |column: &str| head.iter().position(|h| h == column).unwrap();
        let of = |stratum: &str, line: &Vec<String>| (strata == Some(stratum)) != (line[at(stratum)] == "all");
        let lines: Vec<Vec<String>> = lines.filter(|line| of("sex", line) && of("age_band", line)).collect();
        assert_eq!(numbers[name].len(), lines.len(), "{name}");
        for (row, line) in numbers[name].iter().zip(&lines) {
            let number = |column: &str| row[column].as_f64();
            assert_eq!(number("n"), line[at("n")].parse().ok(), "{name} {row:?}");
            assert_eq!(number("estimate"), line[at("estimate")].parse().ok(), "{name} {row:?}");
            withheld += u32::from(row["suppressed"] == true);
        }
    }
    assert!(withheld == 0 || html.contains("<td>withheld</td>"));
    assert!(html.contains("Counts from 1 to 2 are withheld") && html.contains("Under disclosure control"), "{html}");
    let ids = query(lake(), "SELECT DISTINCT participant_id FROM readings WHERE participant_id IS NOT NULL");
    assert!(ids.lines().skip(1).all(|id| !html.contains(id)), "the page names a participant");

    for (option, value) in [("--human", "x.parquet"), ("--event", "died"), ("--visit", "first"), ("--site", "s")] {
        let message = String::from_utf8(made(&[option, value], 2).stderr).unwrap();
        assert!(message.contains(option) && message.contains("--role rows"), "{message}");
    }
}

#[test]
fn participants_chosen_one_by_one_are_not_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let ids = query(lake(), "SELECT participant_id FROM latest_by_image_date WHERE aac24_total IS NOT NULL ORDER BY 1");
    let ids: Vec<&str> = ids.lines().skip(1).collect();
    let release = |name: &str, people: &[&str]| {
        let file = folder.path().join(format!("{name}.csv"));
        std::fs::write(&file, format!("participant_id\n{}\n", people.join("\n"))).unwrap();
        let out = folder.path().join(name);
        run(
            &[
                "release",
                "--lake",
                text(lake()),
                "--name",
                name,
                "--with",
                text(&file),
                "--policy",
                text(&policy(folder.path())),
                "-o",
                text(&out),
            ],
            0,
        );
        std::fs::read_to_string(out.join("tables/score.csv")).unwrap()
    };
    let all = release("all", &ids);
    assert!(all.lines().any(|line| line.starts_with("mean,all,all,") && line.ends_with(",false")), "{all}");
    // Without one participant: the difference of both would be that participant's score.
    let without_one = release("without-one", &ids[1..]);
    assert!(
        without_one.lines().any(|line| line.starts_with("mean,all,all,") && line.ends_with(",true")),
        "{without_one}"
    );
}

#[test]
fn a_policy_is_checked_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = policy(folder.path());
    assert!(stdout(&["policy", "check", text(&path)]).contains("counts under 3 are withheld"));
    let printed = folder.path().join("printed.toml");
    std::fs::write(&printed, stdout(&["policy", "print"])).unwrap();
    stdout(&["policy", "check", text(&printed)]);
    std::fs::write(&path, "threshold = 3\ntreshold = 4\n").unwrap();
    let message = said(&["policy", "check", text(&path)], 2);
    assert!(message.contains("line 2") && message.contains("treshold"), "{message}");
}

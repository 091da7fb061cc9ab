//! The report: it says what `stats` says, is whole without inputs and with them, well-formed, the same bytes again, and names nobody.

use std::path::{Path, PathBuf};
use tests::{cohort, query, repository, run, sound_page, stdout, text};

/// Ids of all sections.
const SECTIONS: [&str; 12] = [
    "flow",
    "table1",
    "distribution",
    "prevalence",
    "agreement",
    "places",
    "progression",
    "survival",
    "failures",
    "methods",
    "limits",
    "checklists",
];

fn check(page: &Path, drawings: usize) -> String {
    let html = std::fs::read_to_string(page).unwrap();
    let seen = sound_page(page);
    assert_eq!((seen.sections.as_str(), seen.drawings, seen.images), (SECTIONS.join(" ").as_str(), drawings, 0));
    html
}

fn statistic(rows: &serde_json::Value, name: &str) -> serde_json::Value {
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["statistic"] == name).unwrap_or_else(|| panic!("no {name} in {rows:?}")).clone()
}

#[test]
fn the_report_says_what_stats_says_and_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let (lake, key, images) = (at("lake"), at("lake.key"), cohort().join("images"));
    run(&["score", text(&images), "--lake", text(&lake)], 0);
    let participants = cohort().join("participants.csv");
    let outcomes = at("outcomes.csv");
    run(
        &["pseudonymise", text(&participants), "--column", "patient_id", "--key", text(&key), "-o", text(&outcomes)],
        0,
    );
    let human = cohort().join("human_readings.parquet");

    // Without files: every section is there and says what to give.
    let bare = at("bare.html");
    run(&["report", "--lake", text(&lake), "-o", text(&bare)], 0);
    let html = check(&bare, 6);
    for option in ["--human FILE", "--event COLUMN"] {
        assert!(html.contains(option), "{option}");
    }
    assert!(!at("bare.json").exists());

    // With all: more drawings, and the same bytes again.
    let whole = at("whole.html");
    let with =
        ["--with", text(&outcomes), "--event", "event", "--time", "followup_years", "--covariates", "age_years,smoker"];
    let with = [&with[..], &["--human", text(&human)]].concat();
    let report = |out: &Path| {
        let own = [
            "report",
            "--lake",
            text(&lake),
            "--json",
            "-o",
            text(out),
            "--title",
            "A <study> & more",
            "--site",
            "site",
        ];
        run(&[&own[..], &with].concat(), 0);
    };
    report(&whole);
    let html = check(&whole, 9);
    assert!(
        html.contains("A &lt;study&gt; &amp; more")
            && html.contains("Bland-Altman")
            && !html.contains("--event COLUMN")
    );
    let again = at("again.html");
    report(&again);
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&again).unwrap(), "the same inputs, the same bytes");
    run(&["report", "--lake", text(&lake), "--date", "today", "-o", text(&again)], 2);
    run(&["report", "--lake", text(&lake), "--site", "no_such_column", "-o", text(&again)], 2);

    // The numbers of the page are those that `stats` prints.
    let numbers: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(at("whole.json")).unwrap()).unwrap();
    let stats = |name: &str, more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(
            &[&["stats", name, "--lake", text(&lake), "--format", "json"][..], more, &with].concat(),
        ))
        .unwrap()
    };
    assert_eq!(numbers["prevalence"], stats("prevalence", &[]));
    assert_eq!(numbers["score"], stats("score", &[]));
    assert_eq!(numbers["flow"], stats("flow", &[]));
    assert_eq!(numbers["prevalence_by_sex"], stats("prevalence", &["--by", "sex"]));
    assert_eq!(numbers["survival"], stats("survival", &[]));
    assert_eq!(numbers["c_index"], stats("cindex", &[]));
    assert_eq!(numbers["trend_over_age"], stats("trend", &[]));
    let any = statistic(&numbers["prevalence"], "aac24 >= 1");
    assert!(html.contains(&format!("{:.1} % (", 100.0 * any["estimate"].as_f64().unwrap())));
    let share = |name: &str| {
        format!("{:.1} % (", 100.0 * statistic(&numbers["prevalence"], name)["estimate"].as_f64().unwrap())
    };
    let (counted, expected) = (share("aac24 >= 1, complete readings"), share("aac24 >= 1, expected"));
    let n = statistic(&numbers["prevalence"], "aac24 >= 1, expected")["n"].to_string();
    let sentence =
        html.split("Of the ").nth(1).and_then(|rest| rest.split("probabilities of the readings").next()).unwrap();
    for part in [&format!("{n} participants"), &counted, &expected] {
        assert!(sentence.contains(part.as_str()), "{part}: {sentence}");
    }
    let agreement = stats("agreement", &[]);
    let rows = |reader: &str, of: &serde_json::Value| {
        let rows = of.as_array().unwrap().iter().filter(|row| row["reader"] == reader);
        rows.map(|row| (row["statistic"].to_string(), row.to_string())).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(rows("A", &numbers["agreement"]), rows("A", &agreement));
    assert!(rows("B", &agreement).len() > 15);

    // Nobody is named: neither in the page nor in the numbers.
    let json = std::fs::read_to_string(at("whole.json")).unwrap();
    let known = std::fs::read_to_string(&participants).unwrap();
    let keyed = std::fs::read_to_string(&outcomes).unwrap();
    let planted = known.lines().chain(keyed.lines()).filter(|line| !line.contains("_id,")).flat_map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        [fields[0].to_owned(), fields[2].to_owned(), fields[6].to_owned()]
    });
    for name in planted.chain([text(folder.path()).to_owned(), text(&repository()).to_owned()]) {
        assert!(!name.is_empty() && !html.contains(&name) && !json.contains(&name), "{name} is in the report");
    }
}

#[test]
fn repeat_visits_show_progression_and_the_first_or_the_latest_stands() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let (simulated, lake, page) = (at("cohort"), at("lake"), at("report.html"));
    run(&["phantom", "--participants", "8", "--visits", "2", "--seed", "5", "--out", text(&simulated)], 0);
    run(&["score", text(&simulated.join("images")), "--lake", text(&lake)], 0);
    let visits = "FROM (SELECT first_value(aac24_total ORDER BY image_date) AS first, last_value(aac24_total ORDER BY image_date) AS last,
        count(DISTINCT image_date) AS days FROM readings WHERE primary_image AND aac24_total IS NOT NULL GROUP BY participant_id)";
    let number = |sql: &str| -> f64 { query(&lake, sql).lines().nth(1).unwrap().parse().unwrap() };
    let n = number(&format!("SELECT count(*) {visits} WHERE days > 1"));
    assert!(n >= 2.0, "the cohort has participants with two totals");
    run(&["report", "--lake", text(&lake), "--json", "--detectable", "2", "-o", text(&page)], 0);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("progression-chart") && html.contains("Rise beyond 2 points"));
    let numbers: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(at("report.json")).unwrap()).unwrap();
    let change = statistic(&numbers["progression"], "change");
    let mean = number(&format!("SELECT avg(last - first) {visits} WHERE days > 1"));
    assert!(
        (change["n"].as_f64().unwrap() - n).abs() < 0.5 && (change["estimate"].as_f64().unwrap() - mean).abs() < 1e-9
    );
    let mean_of = |visit: &str| {
        let json = stdout(&["stats", "score", "--lake", text(&lake), "--format", "json", "--visit", visit]);
        statistic(&serde_json::from_str(&json).unwrap(), "mean")["estimate"].as_f64().unwrap()
    };
    let by_day = |order: &str| {
        number(&format!(
            "SELECT avg(total) FROM (SELECT first_value(aac24_total ORDER BY image_date {order}) AS total FROM readings
             WHERE primary_image GROUP BY participant_id)"
        ))
    };
    assert!((mean_of("first") - by_day("ASC")).abs() < 1e-9 && (mean_of("latest") - by_day("DESC")).abs() < 1e-9);
}

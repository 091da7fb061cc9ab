//! Statistics from the command line: they add up, group, join with a file, and refuse what would mislead.

use std::collections::BTreeMap;
use std::path::Path;
use tests::{cohort, query, run, stdout, text};

/// Rows of an answer by column.
fn answer(arguments: &[&str]) -> Vec<BTreeMap<String, String>> {
    let json = stdout(&[arguments, &["--format", "json"]].concat());
    let rows: Vec<BTreeMap<String, serde_json::Value>> = serde_json::from_str(&json).unwrap();
    let plain = |v: serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    rows.into_iter().map(|row| row.into_iter().map(|(k, v)| (k, plain(v))).collect()).collect()
}

fn find<'a>(rows: &'a [BTreeMap<String, String>], column: &str, value: &str) -> &'a BTreeMap<String, String> {
    rows.iter().find(|r| r[column] == value).unwrap_or_else(|| panic!("no {value} in {rows:?}"))
}

fn refused(arguments: &[&str], reason: &str) {
    let said = String::from_utf8(run(arguments, 2).stderr).unwrap();
    assert!(said.contains(reason), "{arguments:?}: {said}");
}

/// The only number of a query.
fn count(lake: &Path, sql: &str) -> String {
    query(lake, sql).lines().nth(1).unwrap().to_owned()
}

#[test]
fn the_cohort_is_counted_compared_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (lake, key) = (at("lake"), at("lake.key"));
    let settings = at("aortica.toml");
    std::fs::write(&settings, format!("[study]\nkey_file = {:?}\n", text(&key))).unwrap();
    run(&["--settings", text(&settings), "score", text(&cohort().join("images")), "--lake", text(&lake)], 0);
    let of = |name: &'static str| vec!["stats", name, "--lake", text(&lake)];

    let flow = answer(&of("flow"));
    let n = |step: &str| find(&flow, "step", step)["n"].clone();
    assert_eq!(n("items received"), count(&lake, "SELECT count(*) FROM ledger"));
    let parts =
        flow.iter().filter(|r| ["scored", "failed", "excluded", "pending"].iter().any(|s| r["step"].starts_with(s)));
    assert_eq!(parts.map(|r| r["n"].parse::<u64>().unwrap()).sum::<u64>().to_string(), n("items received"));
    let analysed = count(&lake, "SELECT count(aac24_total) FROM latest_by_image_date");
    assert_eq!(n("participants analysed"), analysed);

    let prevalence = answer(&of("prevalence"));
    let any = find(&prevalence, "statistic", "aac24 >= 1");
    let share = count(
        &lake,
        "SELECT avg(CAST(aac24_total >= 1 AS INT)) FROM latest_by_image_date WHERE aac24_total IS NOT NULL",
    );
    assert_eq!((&any["n"], any["estimate"].parse::<f64>().unwrap()), (&analysed, share.parse().unwrap()));
    let by_sex = answer(&[of("prevalence"), vec!["--by", "sex"]].concat());
    let by_sex = by_sex.iter().filter(|r| r["statistic"] == "aac24 >= 1").map(|r| r["n"].parse::<u64>().unwrap());
    assert_eq!(by_sex.sum::<u64>().to_string(), analysed);
    let mean = find(&answer(&of("score")), "statistic", "mean")["estimate"].parse::<f64>().unwrap();
    let of_sql = count(&lake, "SELECT avg(aac24_total) FROM latest_by_image_date").parse::<f64>().unwrap();
    assert!((mean - of_sql).abs() <= 1e-12 * of_sql, "{mean} and {of_sql}");
    answer(&of("standardised"));
    assert!(answer(&of("functions")).len() > 40);

    // A reader who always sees one point less than the model, so that the bias, model - reference, is 1 without any spread
    let readers = at("readers.csv");
    let rows =
        query(&lake, "SELECT participant_id, aac24_total - 1 AS score FROM latest_by_image_date WHERE aac24_total > 0");
    std::fs::write(&readers, rows).unwrap();
    let agreement = answer(&[of("agreement"), vec!["--with", text(&readers), "--score", "score"]].concat());
    for (statistic, value) in
        [("bias", 1.0), ("mae", 1.0), ("pearson", 1.0), ("sd_difference", 0.0), ("hodges_lehmann", 1.0)]
    {
        let estimate = find(&agreement, "statistic", statistic)["estimate"].parse::<f64>().unwrap();
        assert!((estimate - value).abs() < 1e-12, "{statistic}: {estimate}");
    }
    answer(&[of("classes"), vec!["--with", text(&readers), "--score", "score"]].concat());

    // The outcomes of the simulated cohort, by the study's key
    let outcomes = at("outcomes.csv");
    let participants = cohort().join("participants.csv");
    let keyed =
        ["pseudonymise", text(&participants), "--column", "patient_id", "--key", text(&key), "-o", text(&outcomes)];
    run(&keyed, 0);
    let with = ["--with", text(&outcomes), "--event", "event", "--time", "followup_years"];
    let curve = answer(&[of("survival"), with.to_vec()].concat());
    let events: u64 = curve.iter().map(|r| r["events"].parse::<u64>().unwrap()).sum();
    let cox = answer(&[of("cox"), with.to_vec(), vec!["--covariates", "age_years"]].concat());
    assert!(cox.iter().any(|r| r["statistic"] == "hazard ratio high"), "{cox:?}");
    assert!(events > 0 && answer(&[of("logrank"), with.to_vec()].concat())[0]["test"] == "log_rank");
    answer(&[of("auc"), vec!["--with", text(&outcomes), "--event", "event"]].concat());
    let linked = answer(&[of("flow"), vec!["--with", text(&outcomes)]].concat());
    assert_eq!(find(&linked, "step", "participants analysed")["n"], analysed);

    // What would mislead is refused, with counts.
    let lines = std::fs::read_to_string(&readers).unwrap();
    let wrong = |name: &str, content: &str| {
        std::fs::write(at(name), content).unwrap();
        at(name)
    };
    let twice = wrong("twice.csv", &format!("{lines}{}\n", lines.lines().nth(1).unwrap()));
    let score =
        |file: &Path| [of("agreement"), vec!["--with", text(file).to_owned().leak(), "--score", "score"]].concat();
    refused(&score(&twice), "1 rows with a key that came before");
    let strangers = wrong("strangers.csv", "participant_id,score\nPAT-1,3\n");
    refused(&score(&strangers), "aortica pseudonymise");
    let continuous =
        wrong("continuous.csv", &lines.replace(",0\n", ",0.5\n").replace(",3\n", ",3.5\n").replace(",1\n", ",1.5\n"));
    refused(&score(&continuous), "not whole scores of 0..24");
    refused(&of("agreement"), "--with FILE");
    refused(&[of("prevalence"), vec!["--fingerprint", "0000"]].concat(), "do not mix");
}

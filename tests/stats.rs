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
    // A total that is missing counts where the segments that were assessed decide.
    let decided =
        "FROM latest_by_image_date WHERE aac24_total IS NOT NULL OR aac_walls >= 1 OR (aac_walls IS NULL AND 0 <
        coalesce(aac_l1_ant, 0) + coalesce(aac_l1_post, 0) + coalesce(aac_l2_ant, 0) + coalesce(aac_l2_post, 0) +
        coalesce(aac_l3_ant, 0) + coalesce(aac_l3_post, 0) + coalesce(aac_l4_ant, 0) + coalesce(aac_l4_post, 0))";
    let share = count(&lake, &format!("SELECT avg(CAST(coalesce(aac24_total, 1) >= 1 AS INT)) {decided}"));
    let decided = count(&lake, &format!("SELECT count(*) {decided}"));
    assert_eq!((&any["n"], any["estimate"].parse::<f64>().unwrap()), (&decided, share.parse().unwrap()));
    let bound = |edge: &str| {
        let row = find(&prevalence, "statistic", &format!("aac24 >= 1, undecided all {edge}"));
        (row["n"].clone(), row["estimate"].parse::<f64>().unwrap())
    };
    let everyone = count(&lake, "SELECT count(*) FROM latest_by_image_date");
    assert_eq!((bound("below").0, bound("above").0), (everyone.clone(), everyone));
    let shared = any["estimate"].parse::<f64>().unwrap();
    assert!(bound("below").1 <= shared && shared <= bound("above").1);
    let expected = find(&prevalence, "statistic", "aac24 >= 1, expected");
    let complete = "FROM latest_by_image_date WHERE aac24_total IS NOT NULL";
    let mean = count(&lake, &format!("SELECT avg(aac24_p_above_0) {complete}")).parse::<f64>().unwrap();
    assert_eq!(expected["n"], count(&lake, &format!("SELECT count(*) {complete}")));
    assert!((expected["estimate"].parse::<f64>().unwrap() - mean).abs() <= 1e-12 && mean > 0.0, "{expected:?}");
    let counted = find(&prevalence, "statistic", "aac24 >= 1, complete readings");
    let share = count(&lake, &format!("SELECT avg(CAST(aac24_total >= 1 AS INT)) {complete}"));
    assert_eq!((&counted["n"], counted["estimate"].parse::<f64>().unwrap()), (&expected["n"], share.parse().unwrap()));
    let by_sex = answer(&[of("prevalence"), vec!["--by", "sex"]].concat());
    let by_sex = by_sex.iter().filter(|r| r["statistic"] == "aac24 >= 1").map(|r| r["n"].parse::<u64>().unwrap());
    assert_eq!(by_sex.sum::<u64>().to_string(), decided);
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
    let scored = ["--with", text(&readers), "--score", "score"];
    answer(&[of("classes"), scored.to_vec()].concat());
    let (wilson, exact) = (
        answer(&[of("classes"), scored.to_vec()].concat()),
        answer(&[of("classes"), scored.to_vec(), vec!["--exact"]].concat()),
    );
    let low = |rows: &[BTreeMap<String, String>]| find(rows, "statistic", "accuracy")["conf_low"].clone();
    assert_eq!(wilson.len(), exact.len());
    assert_ne!(low(&wilson), low(&exact));
    assert!(find(&exact, "statistic", "accuracy")["method"].contains("clopper-pearson"), "{exact:?}");
    let limits = answer(&[of("bland-altman"), scored.to_vec()].concat());
    assert_eq!((limits.len(), find(&limits, "statistic", "upper_limit")["estimate"].parse::<f64>().unwrap()), (4, 1.0));
    // All differences are 1: of n equal ranks all are positive.
    let tests = answer(&[of("paired"), scored.to_vec()].concat());
    let (n, v) =
        (|row: &BTreeMap<String, String>| row["n"].parse::<f64>().unwrap(), find(&tests, "test", "signed_rank"));
    assert_eq!(v["statistic"].parse::<f64>().unwrap(), n(v) * (n(v) + 1.0) / 2.0);
    // Table 1 counts the same people.
    let table1 = answer(&[of("table1"), vec!["--by", "sex", "--of", "age_years,scanner_maker"]].concat());
    let ages = table1.iter().filter(|r| r["variable"] == "age_years" && r["statistic"] == "mean" && r["grp"] != "null");
    let known = count(&lake, "SELECT count(age_years) FROM latest_by_image_date WHERE sex IS NOT NULL");
    assert_eq!(ages.map(|r| r["n"].parse::<u64>().unwrap()).sum::<u64>().to_string(), known);
    let trend = answer(&of("trend"));
    assert_eq!((trend.len(), &find(&trend, "test", "jonckheere_terpstra, aac24")["n"]), (4, &analysed));
    let clustered = find(&answer(&of("clustered")), "statistic", "mean")["estimate"].parse::<f64>().unwrap();
    assert!((clustered - mean).abs() <= 1e-9, "one visit each: {clustered} and {mean}");
    let drift = answer(&[of("drift"), vec!["--split", "1900-01-01"]].concat());
    assert_eq!(find(&drift, "statistic", "psi")["estimate"], "null", "there is no earlier period");
    let progression = answer(&of("progression"));
    assert_eq!((progression.len(), &find(&progression, "statistic", "scanner_changed")["n"]), (4, &"0".to_owned()));
    assert!(answer(&of("transitions")).is_empty(), "one visit each");

    // A standard of the user's own: with all its weight on one band, the prevalence in that band
    let standard = at("standard.csv");
    std::fs::write(&standard, "age_from,weight\n60,1\n65,1e-12\n").unwrap();
    let own = answer(&[of("standardised"), vec!["--standard", text(&standard)]].concat());
    let in_band = "FROM latest_by_image_date WHERE aac24_total IS NOT NULL AND age_years BETWEEN 60 AND 64";
    let share = count(&lake, &format!("SELECT avg(CAST(aac24_total >= 1 AS INT)) {in_band}"));
    let own = find(&own, "statistic", "own standard");
    if own["estimate"] == "null" {
        assert!(own["method"].contains("refused: "), "{own:?}");
    } else {
        assert!((own["estimate"].parse::<f64>().unwrap() - share.parse::<f64>().unwrap()).abs() < 1e-9, "{own:?}");
    }
    for (content, reason) in [
        ("age_from,weight\n60,1\n63,2\n", "line 3: \"63\""),
        ("age_from,weight\n60,many\n", "line 2: \"many\" is no weight"),
        ("age,weight\n60,1\n", "there is no column age_from"),
        ("age_from,weight\n60,1\n50,1\n", "ascending ages"),
        ("age_from,weight\n", "ascending ages"),
        ("age_from,weight\n90,1\n", "begins above 85"),
    ] {
        std::fs::write(&standard, content).unwrap();
        refused(&[of("standardised"), vec!["--standard", text(&standard)]].concat(), reason);
    }

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
    let event = ["--with", text(&outcomes), "--event", "event"];
    let auc = answer(&[of("auc"), event.to_vec()].concat())[0]["estimate"].parse::<f64>().unwrap();
    // The trapezoids under the points are the AUC.
    let roc = answer(&[of("roc"), event.to_vec()].concat());
    let point = |row: &BTreeMap<String, String>| {
        (1.0 - row["specificity"].parse::<f64>().unwrap(), row["sensitivity"].parse::<f64>().unwrap())
    };
    let area =
        |w: &[BTreeMap<String, String>]| (point(&w[1]).0 - point(&w[0]).0) * (point(&w[1]).1 + point(&w[0]).1) / 2.0;
    assert!((roc.windows(2).map(area).sum::<f64>() - auc).abs() < 1e-9);
    let c = answer(&[of("cindex"), with.to_vec()].concat())[0]["estimate"].parse::<f64>().unwrap();
    assert!((0.0..=1.0).contains(&c));
    // Days until the end of observation, as days and as a date: the same follow-up.
    let dated = at("dated.csv");
    let days = "100 * row_number() OVER (ORDER BY participant_id)";
    let rows = query(
        &lake,
        &format!(
            "SELECT participant_id, CAST(row_number() OVER (ORDER BY participant_id) % 2 = 0 AS INT) AS died, {days} AS days,
             CAST(CAST(CAST(image_date AS INT) + {days} AS INT) AS DATE) AS last_seen FROM latest_by_image_date
             WHERE image_date IS NOT NULL"
        ),
    );
    std::fs::write(&dated, rows).unwrap();
    for name in ["survival", "logrank", "cindex"] {
        let by = |column: &'static str, value: &'static str| {
            answer(&[of(name), vec!["--with", text(&dated), "--event", "died", column, value]].concat())
        };
        let until = by("--until", "last_seen");
        assert!(!until.is_empty());
        assert_eq!(until, by("--time", "days"), "{name}");
    }
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
    refused(&of("agreement"), "--human FILE");
    refused(&[of("table1"), vec!["--of", "hight"]].concat(), "no column hight");
    refused(&of("drift"), "--split YYYY-MM-DD");
    refused(&[of("agreement"), vec!["--human", text(&readers)]].concat(), "needs the columns aac24_total");
    refused(&[of("prevalence"), vec!["--fingerprint", "0000"]].concat(), "do not mix");
}

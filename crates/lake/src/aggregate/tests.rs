//! Ways round disclosure control, tried as the aggregate role.

use super::{AggregateSession, Door, Function, Policy, Role};
use crate::samples::{excluded, failed, grades, scored};
use crate::tests::lake;
use crate::{Error, Lake, SessionOptions};
use arrow::util::pretty::pretty_format_batches;
use domain::record::OutcomeRecord;
use domain::{ExcludeReason, FailReason, Fault};
use std::path::Path;
use std::sync::Arc;

/// Participant `number` with a sex and a scanner.
fn participant(number: u64, sex: &str, scanner: &str) -> OutcomeRecord {
    let mut record = scored(number, grades(number));
    record.facts.sex = Some(sex.to_owned());
    record.facts.scanner_maker = Some(scanner.to_owned());
    record
}

/// 120 women and 100 men; 3 of the men on a scanner of their own.
fn many() -> Vec<OutcomeRecord> {
    let sex = |n: u64| if n < 120 { "F" } else { "M" };
    let scanner = |n: u64| match n {
        217.. => "Rare",
        n if n.is_multiple_of(2) => "Acme",
        _ => "Bolt",
    };
    (0..220).map(|n| participant(n, sex(n), scanner(n))).collect()
}

/// So many women and men on two scanners that no count of them is small.
fn plain() -> Vec<OutcomeRecord> {
    let sex = |n: u64| if n < 4_800 { "F" } else { "M" };
    (0..8_800).map(|n| participant(n, sex(n), if (n / 30).is_multiple_of(2) { "Acme" } else { "Bolt" })).collect()
}

async fn filled(records: Vec<OutcomeRecord>) -> Lake {
    let lake = lake().await;
    lake.committer().await.unwrap().commit(records).await.unwrap();
    lake
}

fn policy(log: &Path) -> Policy {
    let mut policy = Policy { log: Some(log.to_owned()), score_cuts: vec![1, 6], ..Policy::default() };
    policy.strata[2].values = Some(["Acme", "Bolt", "Rare"].map(str::to_owned).to_vec());
    policy
}

async fn open(lake: &Lake, policy: Policy) -> AggregateSession {
    let role = Role::Aggregate(Arc::new(policy));
    match lake.door(SessionOptions::default(), &role, None, "test").await.unwrap() {
        Door::Aggregate(session) => session,
        Door::Rows(_) => panic!("the aggregate role has a door of its own"),
    }
}

/// The answer as text, or what was said instead.
async fn answer(session: &AggregateSession, sql: &str) -> Result<String, Error> {
    let batches = session.query(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

async fn told(session: &AggregateSession, sql: &str) -> String {
    answer(session, sql).await.unwrap()
}

/// The numbers of a query of one column.
async fn rows_of(lake: &Lake, sql: &str) -> String {
    crate::tests::text(lake, sql).await
}

#[tokio::test]
async fn what_is_told_is_what_the_rows_say() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(plain()).await;
    let session = open(&lake, policy(folder.path())).await;
    let truth = rows_of(
        &lake,
        "SELECT sex, e['n'] AS n, e['estimate'] AS estimate, e['conf_low'] AS conf_low FROM
         (SELECT sex, aac_prevalence(aac_hist(aac24_total), 1) AS e FROM latest_by_image_date GROUP BY sex) ORDER BY sex",
    )
    .await;
    let sql = "SELECT sex, n, estimate, conf_low FROM prevalence('sex') WHERE statistic = 'aac24 >= 1' ORDER BY sex";
    assert_eq!(told(&session, sql).await, truth);
    let truth = rows_of(
        &lake,
        "SELECT e['estimate'] AS estimate FROM (SELECT aac_mean(aac_hist(aac24_total)) AS e FROM latest_by_image_date)",
    )
    .await;
    assert_eq!(told(&session, "SELECT estimate FROM score() WHERE statistic = 'mean'").await, truth);
    let truth = rows_of(
        &lake,
        "SELECT round(e['estimate'], 3) AS estimate FROM (SELECT standardise_esp2013(age_from, events, persons) AS e FROM
         (SELECT least(floor(age_years / 5) * 5, 85) AS age_from, count(*) FILTER (WHERE aac24_total >= 1) AS events,
             count(*) AS persons FROM latest_by_image_date GROUP BY 1))",
    )
    .await;
    let sql = "SELECT estimate FROM standardised() WHERE statistic = 'standardise_esp2013'";
    assert_eq!(told(&session, sql).await, truth);
    let joined = "SELECT a.sex, a.n, b.estimate FROM participants('sex') a JOIN score('sex') b ON a.sex = b.sex AND b.statistic = 'median'";
    assert!(told(&session, joined).await.contains("| F   | 4800 |"), "SQL over what is told is free");
}

/// The same that are tried over PostgreSQL's protocol, over HTTP and by `stats`.
fn attacks() -> impl Iterator<Item = &'static str> {
    include_str!("attacks.sql").lines().filter(|line| !line.starts_with("--"))
}

#[tokio::test]
async fn there_are_no_rows_on_any_way() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let session = open(&lake, policy(folder.path())).await;
    let file = folder.path().join("stolen.csv");
    let copy = format!("COPY (SELECT * FROM readings) TO '{}'", file.display());
    for sql in attacks().map(str::to_owned).chain([copy]) {
        let sql = &sql;
        let error = match answer(&session, sql).await {
            Ok(rows) => panic!("{sql} was answered:\n{rows}"),
            Err(error) => error,
        };
        assert_eq!(error.fault(), Fault::InvalidInput, "{sql}: {error:?}");
        assert!(!error.to_string().contains("00000000000000000"), "{sql}: {error}");
    }
    assert!(!file.exists());
    let help = answer(&session, "SELECT * FROM readings").await.unwrap_err().to_string();
    assert!(help.contains("prevalence('sex')") && help.contains("strata"), "{help}");

    // What describes the session describes no rows, and no value of one.
    for sql in [
        "SHOW TABLES",
        "SHOW ALL",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM information_schema.views",
        "DESCRIBE strata",
        "EXPLAIN ANALYZE SELECT * FROM prevalence('scanner_maker')",
        "EXPLAIN VERBOSE SELECT * FROM score('sex', 'scanner_maker') WHERE estimate > 3",
        "SELECT * FROM aggregate_functions",
    ] {
        let text = answer(&session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        for leak in ["participant_id", "00000000000000000", "readings", "aac24_total", "parts."] {
            assert!(!text.contains(leak), "{sql} shows {leak}:\n{text}");
        }
    }
    assert!(told(&session, "SELECT * FROM strata").await.contains("| age_band"), "the strata can be looked up");
}

#[tokio::test]
async fn rare_strata_are_withheld_and_do_not_follow_from_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let session = open(&lake, policy(folder.path())).await;
    let rare =
        told(&session, "SELECT n, suppressed FROM participants('scanner_maker') WHERE scanner_maker = 'Rare'").await;
    assert!(rare.contains("|   | true       |"), "{rare}");
    // The total is told, so a second scanner is withheld, and by sex at least one more cell for each.
    let hidden = told(&session, "SELECT count(*) AS n FROM participants('scanner_maker') WHERE suppressed").await;
    assert!(hidden.contains("| 2 |"), "{hidden}");
    let women =
        told(&session, "SELECT count(*) AS n FROM participants('sex', 'scanner_maker') WHERE suppressed AND sex = 'M'")
            .await;
    assert!(women.contains("| 2 |") || women.contains("| 3 |"), "{women}");
    for function in ["participants", "score_bands", "prevalence", "score", "standardised"] {
        let sql = format!(
            "SELECT count(*) AS shown FROM {function}('scanner_maker') WHERE scanner_maker = 'Rare'
             AND (n IS NOT NULL OR estimate IS NOT NULL OR std_error IS NOT NULL OR conf_low IS NOT NULL OR conf_high IS NOT NULL OR NOT suppressed)"
        );
        assert!(told(&session, &sql).await.contains("| 0     |"), "{function}");
    }
}

/// Two standards are two equations for the two halves of ten years, and sixteen digits of a weighted sum name its parts. What is small in
/// one group follows from the other groups and all.
#[tokio::test]
async fn five_years_of_age_do_not_follow_from_two_standards() {
    let shown =
        |by: &str| format!("SELECT estimate FROM standardised({by}) WHERE n IS NOT NULL OR estimate IS NOT NULL");
    let folder = tempfile::tempdir().unwrap();
    let session = open(&filled(plain()).await, policy(folder.path())).await;
    for (by, told) in [("", 2), ("'sex'", 4), ("'age_band'", 0), ("'sex', 'age_band'", 0)] {
        assert_eq!(session_rows(&session, &shown(by)).await, told, "{by}");
    }
    let finer = "SELECT estimate FROM standardised('sex') WHERE abs(estimate * 1000 - round(estimate * 1000)) > 1e-9
                 OR abs(std_error * 1000 - round(std_error * 1000)) > 1e-9";
    assert_eq!(session_rows(&session, finer).await, 0);

    let mut records = plain();
    records.extend((9_000..9_003).map(|number| {
        let mut young = participant(number, "M", "Acme");
        young.facts.age_years = Some(45);
        young
    }));
    let folder = tempfile::tempdir().unwrap();
    let session = open(&filled(records).await, policy(folder.path())).await;
    for by in ["", "'sex'", "'scanner_maker'"] {
        assert_eq!(session_rows(&session, &shown(by)).await, 0, "{by}");
    }
}

#[tokio::test]
async fn quantiles_and_moments_of_few_are_withheld() {
    let folder = tempfile::tempdir().unwrap();
    // 30 women without calcium but one; 12 men all over the scale
    let mut records: Vec<OutcomeRecord> = (0..30)
        .map(|n| {
            let mut record = participant(3 * n, "F", "Acme");
            if n == 7 {
                record = OutcomeRecord { facts: record.facts, item_id: record.item_id, ..scored(3 * n, [3; 8]) };
            }
            record
        })
        .collect();
    records.extend((0..12).map(|n| participant(1000 + 3 * n + 1, "M", "Acme")));
    let lake = filled(records).await;
    let session = open(&lake, policy(folder.path())).await;
    let women =
        told(&session, "SELECT statistic, suppressed FROM score('sex') WHERE sex = 'F' AND NOT suppressed").await;
    assert!(!women.contains("mean") && !women.contains("q3"), "the mean would name the one: {women}");
    let men = told(&session, "SELECT statistic FROM score('sex') WHERE sex = 'M' AND NOT suppressed").await;
    assert!(!men.contains("q1") && !men.contains("q3"), "3 of 12 lie beyond a quartile: {men}");
}

#[tokio::test]
async fn one_participant_more_does_not_follow_from_two_tellings() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let before = open(&lake, policy(folder.path())).await;
    assert_eq!(before.refused(), 0);
    let again = open(&lake, policy(folder.path())).await;
    let all = "SELECT * FROM prevalence('sex', 'age_band') ORDER BY sex, age_band, statistic";
    assert_eq!(told(&before, all).await, told(&again, all).await, "the same cohort may be told again");
    let records = || {
        std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .filter(|f| f.path().extension().is_some_and(|e| e == "json"))
            .count()
    };
    let written = records();
    assert_eq!(written, 3, "participants, items, participants with an image");

    lake.committer().await.unwrap().commit(vec![participant(500, "F", "Acme")]).await.unwrap();
    let more = open(&lake, policy(folder.path())).await;
    assert!(more.refused() > 0);
    for sql in [
        "SELECT n FROM participants() WHERE n IS NOT NULL",
        "SELECT n FROM participants('sex') WHERE sex = 'F' AND n IS NOT NULL",
        "SELECT estimate FROM score('sex') WHERE sex = 'F' AND estimate IS NOT NULL",
        "SELECT n FROM flow() WHERE step IN ('participants with a primary image', 'participants analysed') AND n IS NOT NULL",
    ] {
        assert_eq!(session_rows(&more, sql).await, 0, "{sql}");
    }
    // The men did not change. They may be told as before.
    assert_eq!(
        told(&more, "SELECT n FROM participants('sex') WHERE sex = 'M'").await,
        told(&before, "SELECT n FROM participants('sex') WHERE sex = 'M'").await
    );

    let enough = (501..521).map(|n| participant(n, "F", "Acme")).collect();
    lake.committer().await.unwrap().commit(enough).await.unwrap();
    let grown = open(&lake, policy(folder.path())).await;
    assert!(told(&grown, "SELECT n FROM participants()").await.contains("241"), "21 more are told");
}

async fn session_rows(session: &AggregateSession, sql: &str) -> usize {
    session.query(sql).await.unwrap().collect().await.unwrap().iter().map(|b| b.num_rows()).sum()
}

/// Another policy draws the bands of age a year further: the difference would be those of one age.
#[tokio::test]
async fn overlapping_strata_of_another_policy_are_compared_too() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let at = |from: i64| {
        let mut policy = policy(folder.path());
        policy.strata[1].from = Some(vec![from]);
        policy
    };
    let first = open(&lake, at(75)).await;
    let sql = "SELECT n FROM participants('age_band') WHERE n IS NOT NULL";
    assert_eq!(session_rows(&first, sql).await, 2);
    // 7 or 8 of 220 have each age from 60 to 89
    let second = open(&lake, at(76)).await;
    assert_eq!(session_rows(&second, sql).await, 0);
    let third = open(&lake, at(80)).await;
    assert_eq!(session_rows(&third, sql).await, 2, "five years apart are enough people");
}

#[tokio::test]
async fn rounding_is_of_every_number() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let session = open(&lake, Policy { rounding: 5, ..policy(folder.path()) }).await;
    for function in ["participants", "score_bands", "prevalence", "score", "standardised"] {
        let sql = format!("SELECT n FROM {function}('sex', 'age_band') WHERE n % 5 <> 0");
        assert_eq!(session_rows(&session, &sql).await, 0, "{function}");
    }
    let sql = "SELECT estimate FROM prevalence('sex') WHERE abs(estimate * n / 5 - round(estimate * n / 5)) > 1e-9";
    assert_eq!(session_rows(&session, sql).await, 0, "shares are of rounded counts");
    assert_eq!(session_rows(&session, "SELECT n FROM flow() WHERE n % 5 <> 0").await, 0);
}

#[tokio::test]
async fn the_flow_withholds_small_steps_and_what_gives_them_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = many();
    records.extend((300..304).map(|n| failed(n, FailReason::Truncated)));
    records.extend((400..420).map(|n| excluded(n, ExcludeReason::WrongView)));
    let lake = filled(records).await;
    let items: Vec<_> = (0..420).filter(|n| *n < 220 || (300..304).contains(n) || *n >= 400).collect();
    let stream = futures::stream::iter(items.into_iter().map(|n| Ok::<_, Error>(crate::samples::item(n))));
    lake.items().write(&crate::samples::fingerprint("f"), stream).await.unwrap();
    let session = open(&lake, policy(folder.path())).await;
    let flow = told(&session, "SELECT * FROM flow()").await;
    assert!(flow.contains("| failed: truncated                 |     | true       |"), "{flow}");
    assert!(
        flow.contains("| excluded: wrong_view              |     | true       |"),
        "the smallest other step: {flow}"
    );
    assert!(flow.contains("| items received                    | 244 | false      |"), "{flow}");
    assert!(flow.contains("| participants analysed             | 220 | false      |"), "{flow}");
}

#[tokio::test]
async fn the_policy_says_what_may_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    let session = open(&lake, Policy { functions: vec![Function::Participants], ..policy(folder.path()) }).await;
    assert!(answer(&session, "SELECT * FROM score('sex')").await.is_err());
    assert!(session.table(Function::Score, &[]).unwrap_err().to_string().contains("it allows participants"));
    let mut wrong = policy(folder.path());
    wrong.strata[0].column = Some("gender".to_owned());
    let role = Role::Aggregate(Arc::new(wrong));
    let error = lake.door(SessionOptions::default(), &role, None, "test").await.err().unwrap();
    assert!(error.to_string().contains("stratum sex: there is no column gender"), "{error}");
    let role = Role::Aggregate(Arc::new(Policy { log: None, ..policy(folder.path()) }));
    assert!(lake.door(SessionOptions::default(), &role, None, "test").await.is_err(), "nothing is told unwritten");
}

#[tokio::test]
async fn a_damaged_log_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(many()).await;
    open(&lake, policy(folder.path())).await;
    std::fs::write(folder.path().join("00001.json"), "{}").unwrap();
    let role = Role::Aggregate(Arc::new(policy(folder.path())));
    let error = lake.door(SessionOptions::default(), &role, None, "test").await.err().unwrap();
    assert!(error.to_string().contains("restore it"), "{error}");
}

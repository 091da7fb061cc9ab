//! `aortica stats`: the statistics of the cohort, as SQL over the participants of one fingerprint, joined with a file.

use super::query::{answer, check_terminal, write};
use crate::cli::{StatsArgs, StatsName};
use crate::exit::usage;
use crate::wiring;
use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use domain::grade::CategoryCut;
use lake::{AggregateSession, Function, LakeSession, Policy, Population, Role, SessionOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Largest file that is joined: it is held in memory.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Columns of an estimate, after its name and groups.
const ESTIMATE: [&str; 7] = ["n", "estimate", "std_error", "conf_low", "conf_high", "conf_level", "method"];

pub fn run(args: &StatsArgs) -> anyhow::Result<()> {
    check_terminal(args.format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let session = lake.session(SessionOptions::default()).await?;
        if args.name == StatsName::Functions {
            return answer(&session, "SELECT * FROM statistics_functions", args.format.into()).await;
        }
        let role = wiring::role(&args.role, &args.lake.lake)?;
        let fingerprint = session.fingerprint(args.fingerprint.as_deref()).await?;
        let link = Link { file: args.with.as_deref(), key: &args.key };
        if let Role::Aggregate(policy) = role {
            return protected(&session, args, &fingerprint, &policy).await;
        }
        if let Some(counts) = participants(&session, link, &fingerprint).await? {
            eprintln!("{counts}");
        }
        let sql = statement(&session, args, &fingerprint).await?;
        answer(&session, &sql, args.format.into()).await
    })
}

/// What the aggregate role may be told: the same tables with what is withheld empty, and a column that says so.
async fn protected(session: &LakeSession, args: &StatsArgs, fingerprint: &str, policy: &Policy) -> anyhow::Result<()> {
    let function = match args.name {
        StatsName::Flow => Function::Flow,
        StatsName::Score => Function::Score,
        StatsName::Prevalence => Function::Prevalence,
        StatsName::Standardised => Function::Standardised,
        _ => {
            return Err(usage(
                "the aggregate role may ask for flow, score, prevalence and standardised; the others need --role rows",
            ));
        }
    };
    if let Some(path) = &args.with {
        let digest = digest_of(path)?;
        if !policy.files.contains(&digest) {
            return Err(usage(format!(
                "{} is none of the files that the policy lets the aggregate role join; who keeps the policy can add its SHA-256 to `files`: {digest}",
                path.display()
            )));
        }
    }
    let link = Link { file: args.with.as_deref(), key: &args.key };
    participants(session, link, fingerprint).await?;
    let of = Population { table: "participants", imaged: "scored_participants", fingerprint, occasion: "stats" };
    let session = AggregateSession::open(session, of, policy, &SessionOptions::default()).await?;
    let strata: Vec<String> = args.by.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let answer = session.query(&format!("SELECT * FROM {}({})", function.name(), strata.join(", "))).await?;
    write(answer, args.format.into()).await
}

/// SHA-256 of a file that is joined.
pub fn digest_of(path: &Path) -> anyhow::Result<String> {
    check_size(path)?;
    Ok(domain::Digest::of(&std::fs::read(path).with_context(|| format!("{}", path.display()))?).to_hex())
}

/// The file that is joined, and the column with its keys.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub file: Option<&'a Path>,
    pub key: &'a str,
}

/// The view `participants`: one row each, with the columns of the file where there is one; how that joins, in words. Beside it the view
/// `scored_participants` without the file.
pub async fn participants(session: &LakeSession, link: Link<'_>, fingerprint: &str) -> anyhow::Result<Option<String>> {
    let context = session.context();
    let own = format!(
        "SELECT *, CAST(least(floor(age_years / 5) * 5, 85) AS INT) AS age_from FROM latest_by_image_date
         WHERE fingerprint = '{fingerprint}'"
    );
    let scored = context.sql(&own).await?;
    let columns: Vec<String> = scored.schema().fields().iter().map(|f| f.name().clone()).collect();
    context.register_table("scored_participants", scored.into_view())?;
    let mut counts = None;
    let joined = match link.file {
        None => "SELECT * FROM scored_participants".to_owned(),
        Some(path) => {
            let (schema, batches) = read(path)?;
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            if !names.iter().any(|name| name == link.key) {
                return Err(usage(format!(
                    "{} has no column {}; it has {}",
                    path.display(),
                    link.key,
                    names.join(", ")
                )));
            }
            context.register_table("with_file", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
            counts = Some(check_keys(session, link.key, path).await?);
            // A column that both have is that of the readings; the file's has the prefix file_.
            let others = names.iter().filter(|name| *name != link.key).map(|name| {
                let shown = if columns.contains(name) { format!("file_{name}") } else { name.clone() };
                format!(", w.{} AS {}", quoted(name), quoted(&shown))
            });
            format!(
                "SELECT s.*{} FROM scored_participants s JOIN with_file w ON s.participant_id = CAST(w.{} AS VARCHAR)",
                others.collect::<String>(),
                quoted(link.key)
            )
        }
    };
    let view = context.sql(&joined).await?.into_view();
    context.register_table("participants", view)?;
    Ok(counts)
}

/// Says how the file joins, and refuses what would join wrongly.
async fn check_keys(session: &LakeSession, key: &str, path: &Path) -> anyhow::Result<String> {
    let key = format!("CAST({} AS VARCHAR)", quoted(key));
    let counts = format!(
        "SELECT count(*) AS all_rows, count({key}) AS keyed, count(DISTINCT {key}) AS keys,
             (SELECT count(*) FROM scored_participants) AS participants,
             (SELECT count(DISTINCT participant_id) FROM scored_participants
                 WHERE participant_id IN (SELECT {key} FROM with_file)) AS found
         FROM with_file"
    );
    let batches = session.collect(&counts).await?;
    let at =
        |column: usize| batches.first().map_or(0, |batch| batch.column(column).as_primitive::<Int64Type>().value(0));
    let (rows, keyed, distinct, participants, found) = (at(0), at(1), at(2), at(3), at(4));
    let file = path.display();
    let counts = format!(
        "{file}: {rows} rows, {} without a key, {found} of {distinct} keys among the {participants} scored participants",
        rows - keyed
    );
    if distinct < keyed {
        return Err(usage(format!(
            "{file} has {} rows with a key that came before: one row a participant",
            keyed - distinct
        )));
    }
    if found == 0 {
        return Err(usage(format!(
            "no key of {file} is a participant of the lake; `aortica pseudonymise` turns identifiers into keys, with the study's key"
        )));
    }
    Ok(counts)
}

fn check_size(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let bytes = std::fs::metadata(path).with_context(|| format!("{name}"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(usage(format!("{name} has {bytes} bytes; at most {FILE_BYTES_MAX} are joined")));
    }
    Ok(())
}

/// All columns of a CSV file are text: what looks like a number may be a key.
fn read(path: &Path) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
    let name = path.display();
    check_size(path)?;
    let file = File::open(path).with_context(|| format!("{name}"))?;
    let parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let wrong = |error: &dyn std::fmt::Display| usage(format!("{name} cannot be read: {error}"));
    if parquet {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| wrong(&e))?;
        let schema = Arc::clone(builder.schema());
        let batches = builder.build().map_err(|e| wrong(&e))?.collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        return Ok((schema, batches));
    }
    let header = csv::Reader::from_path(path)?.headers()?.clone();
    let fields: Vec<Field> = header.iter().map(|h| Field::new(h.trim(), DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let reader =
        arrow::csv::ReaderBuilder::new(Arc::clone(&schema)).with_header(true).build(file).map_err(|e| wrong(&e))?;
    Ok((schema, reader.collect::<Result<_, _>>().map_err(|e| wrong(&e))?))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A needed option and the column that it names.
fn needed<'a>(option: &'a Option<String>, flag: &str, args: &StatsArgs) -> anyhow::Result<&'a str> {
    if args.with.is_none() {
        return Err(usage("give the file that is compared with (--with FILE)"));
    }
    option.as_deref().ok_or_else(|| usage(format!("name the column of the file with {flag} COLUMN")))
}

/// 1 and 0, true and false, yes and no, as a truth.
fn truth(column: &str) -> String {
    let text = format!("lower(trim(CAST({} AS VARCHAR)))", quoted(column));
    format!(
        "CASE WHEN {text} IN ('1', '1.0', 'true', 'yes') THEN true WHEN {text} IN ('0', '0.0', 'false', 'no') THEN false END"
    )
}

fn number(column: &str) -> String {
    format!("TRY_CAST({} AS DOUBLE)", quoted(column))
}

/// Refuses a column in which values are not what they should be, rather than taking them for missing.
async fn check_values(session: &LakeSession, column: &str, value: &str, what: &str) -> anyhow::Result<()> {
    let name = quoted(column);
    let sql =
        format!("SELECT count(*) FROM participants WHERE {name} IS NOT NULL AND coalesce({value}, false) IS FALSE");
    let batches = session.collect(&sql).await?;
    let wrong = batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    if wrong > 0 {
        return Err(usage(format!("column {column} has {wrong} values that are not {what}; leave missing ones empty")));
    }
    Ok(())
}

async fn statement(session: &LakeSession, args: &StatsArgs, fingerprint: &str) -> anyhow::Result<String> {
    let groups: Vec<String> = args.by.iter().map(|name| quoted(name)).collect();
    let by = groups.iter().map(|g| format!("{g}, ")).collect::<String>();
    let long = Long { by: by.clone(), groups };
    let cut = CategoryCut::default();
    let joint = |score: &str| format!("aac_joint(CAST({} AS BIGINT), aac24_total)", number(score));
    Ok(match args.name {
        StatsName::Flow => flow(args, fingerprint),
        StatsName::Score => long.estimates(
            "aac_hist(aac24_total)",
            &[
                ("mean", "aac_mean(state)".to_owned()),
                ("sd", "aac_sd(state)".to_owned()),
                ("q1", "aac_quantile(state, 0.25)".to_owned()),
                ("median", "aac_median(state)".to_owned()),
                ("q3", "aac_quantile(state, 0.75)".to_owned()),
            ],
        ),
        StatsName::Prevalence => {
            let cuts = [1.0, cut.moderate_from, cut.high_from];
            let names = cuts.map(|c| format!("aac24 >= {c}"));
            let of = |i: usize| (names[i].as_str(), format!("aac_prevalence(state, {})", cuts[i]));
            long.estimates("aac_hist(aac24_total)", &[of(0), of(1), of(2)])
        }
        StatsName::Standardised => standardised(&by, &long),
        StatsName::Agreement | StatsName::Classes => {
            let score = needed(&args.score, "--score", args)?;
            let value = number(score);
            check_values(
                session,
                score,
                &format!("{value} = floor({value}) AND {value} BETWEEN 0 AND 24"),
                "whole scores of 0..24",
            )
            .await?;
            let table = match args.name {
                StatsName::Agreement => "agreement(state)".to_owned(),
                _ => format!("aac_classes(state, {}, {})", cut.moderate_from, cut.high_from),
            };
            long.table(&joint(score), &table)
        }
        StatsName::Auc => {
            let event = needed(&args.event, "--event", args)?;
            check_values(session, event, &format!("({}) IS NOT NULL", truth(event)), "true or false, 1 or 0").await?;
            long.estimates(
                &format!("aac_joint_outcome({}, aac24_total)", truth(event)),
                &[("auc", "aac_auc(state)".to_owned())],
            )
        }
        StatsName::Survival | StatsName::Logrank | StatsName::Cox => {
            let event = needed(&args.event, "--event", args)?;
            check_values(session, event, &format!("({}) IS NOT NULL", truth(event)), "true or false, 1 or 0").await?;
            let time = match (&args.until, &args.time) {
                (Some(day), _) => {
                    let date = format!("TRY_CAST({} AS DATE)", quoted(day));
                    check_values(session, day, &format!("{date} IS NOT NULL"), "days (YYYY-MM-DD)").await?;
                    format!("CAST({date} AS INT) - CAST(CAST(image_date AS DATE) AS INT)")
                }
                (None, Some(time)) => {
                    check_values(session, time, &format!("{} >= 0", number(time)), "times from 0").await?;
                    number(time)
                }
                (None, None) => {
                    return Err(usage("when did observation end? give --until COLUMN (a day) or --time COLUMN"));
                }
            };
            let event = truth(event);
            match args.name {
                StatsName::Survival => survival(&by, &time, &event),
                StatsName::Logrank => log_rank(&long, &time, &event),
                _ => {
                    let covariates = args.covariates.iter().map(|c| format!(", {}", number(c))).collect::<String>();
                    cox(&long, args, &format!("cox({time}, {event}, aac24_cat = 1, aac24_cat = 2{covariates})"))
                }
            }
        }
        StatsName::Functions => "SELECT * FROM statistics_functions".to_owned(),
    })
}

/// Statements whose answers are long tables.
struct Long {
    /// Group columns, each with a comma behind.
    by: String,
    groups: Vec<String>,
}

impl Long {
    fn group_by(&self) -> String {
        if self.groups.is_empty() { String::new() } else { format!(" GROUP BY {}", self.groups.join(", ")) }
    }

    fn order_by(&self, last: &str) -> String {
        format!(" ORDER BY {}{last}", self.by)
    }

    fn columns() -> String {
        ESTIMATE.map(|name| format!("e['{name}'] AS {name}")).join(", ")
    }

    /// A row for each named estimate of a state, in the order given.
    fn estimates(&self, state: &str, estimates: &[(&str, String)]) -> String {
        let by = &self.by;
        let parts: Vec<String> = estimates
            .iter()
            .enumerate()
            .map(|(place, (name, call))| {
                format!(
                    "SELECT {place} AS place, '{name}' AS statistic, {by}{} FROM (SELECT {by}{call} AS e FROM
                     (SELECT {by}{state} AS state FROM participants{}))",
                    Long::columns(),
                    self.group_by()
                )
            })
            .collect();
        format!("SELECT * EXCLUDE (place) FROM ({}){}", parts.join(" UNION ALL "), self.order_by("place"))
    }

    /// The rows of a list of named estimates.
    fn table(&self, state: &str, call: &str) -> String {
        let by = &self.by;
        format!(
            "SELECT e['statistic'] AS statistic, {by}{} FROM (SELECT {by}unnest({call}) AS e FROM
             (SELECT {by}{state} AS state FROM participants{})){}",
            Long::columns(),
            self.group_by(),
            if self.groups.is_empty() { String::new() } else { format!(" ORDER BY {}", self.groups.join(", ")) }
        )
    }
}

fn standardised(by: &str, long: &Long) -> String {
    let bands = format!(
        "SELECT {by}age_from, count(*) FILTER (WHERE aac24_total >= 1) AS events, count(*) AS persons FROM participants
         WHERE aac24_total IS NOT NULL AND age_from IS NOT NULL GROUP BY {by}age_from"
    );
    let parts: Vec<String> = ["standardise_esp2013", "standardise_who2000"]
        .iter()
        .map(|name| {
            format!(
                "SELECT '{name}' AS statistic, {by}{} FROM (SELECT {by}{name}(age_from, events, persons) AS e FROM ({bands}){})",
                Long::columns(),
                long.group_by()
            )
        })
        .collect();
    format!("{}{}", parts.join(" UNION ALL "), long.order_by("statistic"))
}

fn survival(by: &str, time: &str, event: &str) -> String {
    format!(
        "SELECT aac24_cat_label AS category, {by}e['time'] AS time, e['at_risk'] AS at_risk, e['events'] AS events,
             e['censored'] AS censored, {}
         FROM (SELECT aac24_cat, aac24_cat_label, {by}unnest(kaplan_meier({time}, {event})) AS e FROM participants
             WHERE aac24_cat IS NOT NULL GROUP BY {by}aac24_cat, aac24_cat_label)
         ORDER BY {by}aac24_cat, time",
        Long::columns()
    )
}

fn log_rank(long: &Long, time: &str, event: &str) -> String {
    let by = &long.by;
    let order = if long.groups.is_empty() { String::new() } else { format!(" ORDER BY {}", long.groups.join(", ")) };
    format!(
        "SELECT 'log_rank' AS test, {by}t['n'] AS n, t['statistic'] AS statistic, t['df'] AS df, t['p_value'] AS p_value,
             t['method'] AS method
         FROM (SELECT {by}log_rank({time}, {event}, aac24_cat) AS t FROM participants{}){order}",
        long.group_by()
    )
}

fn cox(long: &Long, args: &StatsArgs, call: &str) -> String {
    let by = &long.by;
    let names = ["moderate", "high"].into_iter().chain(args.covariates.iter().map(String::as_str));
    let cases = names.enumerate().map(|(i, name)| {
        let (place, name) = (i + 1, name.replace('\'', "''"));
        format!(
            " WHEN 'log_hazard_ratio_{place}' THEN 'log hazard ratio {name}' WHEN 'hazard_ratio_{place}' THEN 'hazard ratio {name}'"
        )
    });
    format!(
        "SELECT CASE e['statistic']{} ELSE e['statistic'] END AS statistic, {by}{} FROM
         (SELECT {by}unnest({call}) AS e FROM participants{})",
        cases.collect::<String>(),
        Long::columns(),
        long.group_by()
    )
}

/// Items of the ledger with one reason each, then participants.
fn flow(args: &StatsArgs, fingerprint: &str) -> String {
    let items = format!("FROM ledger WHERE fingerprint = '{fingerprint}'");
    let linked = match args.with {
        Some(_) => " UNION ALL SELECT 7, 'participants linked to the file', count(*) FROM participants",
        None => "",
    };
    format!(
        "SELECT step, n FROM (
             SELECT 0 AS place, 'items received' AS step, count(*) AS n {items}
             UNION ALL SELECT CASE status WHEN 'failed' THEN 1 WHEN 'excluded' THEN 2 ELSE 3 END,
                 CASE WHEN fail_reason IS NULL THEN status ELSE concat(status, ': ', fail_reason) END, count(*) {items} GROUP BY status, fail_reason
             UNION ALL SELECT 5, 'participants with a primary image', count(*) FROM scored_participants
             UNION ALL SELECT 6, 'participants with all segments assessed', count(aac24_total) FROM scored_participants{linked}
             UNION ALL SELECT 8, 'participants analysed', count(aac24_total) FROM participants)
         ORDER BY place, step"
    )
}

//! The participants of one fingerprint as tables that statistics are asked of, joined with what files know of them.
//!
//! | table | one row |
//! |---|---|
//! | `participants` | participant: the primary image of the latest (or first) visit, with the columns of the file; those of the file only |
//! | `visits` | participant and visit: its primary image; of the participants above |
//! | `repeat_visits` | participant with a total at two visits or more: the last of `visits`, `first_total`, `last_total`, `days`, .. |
//! | `human_pairs` | participant and human reader: `participants` with `reader` and `human_total` |

use crate::cli::{CohortArgs, Visit};
use crate::exit::usage;
use crate::settings::Settings;
use crate::{study_key, wiring};
use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use lake::{AggregateSession, Lake, LakeSession, Policy, Population, SessionOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Largest file that is joined: it is held in memory.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Rows of a table that is held in memory: some 300 MB. Larger ones stay views and are read again for each question.
const HELD_ROWS_MAX: i64 = 2_000_000;
/// Columns of the tables that a report asks for, beside those that its options name.
const HELD_COLUMNS: [&str; 32] = [
    "participant_id",
    "item_id",
    "sop_id",
    "fingerprint",
    "image_date",
    "site_id",
    "scanner_maker",
    "scanner_model",
    "modality",
    "sex",
    "age_years",
    "age_from",
    "aac24_total",
    "aac24_min",
    "aac24_max",
    "aac24_p_above_0",
    "aac24_cat",
    "aac24_cat_label",
    "aac8_total",
    "aac_n_segments",
    "aac_length_mm",
    "confidence",
    "first_total",
    "last_total",
    "days",
    "first_cat",
    "first_cat_label",
    "last_cat",
    "last_cat_label",
    "scanner_changed",
    "reader",
    "human_total",
];
/// Names that a file of human readings may give its columns.
const IMAGE_COLUMNS: [&str; 2] = ["sop_id", "sop_uid"];
const READER_COLUMNS: [&str; 3] = ["rater_id", "reader_id", "reader"];
/// As many different numbers in a text column may still be codes of classes.
const CLASSES_MAX: i64 = 10;
const TOTAL_COLUMN: &str = "aac24_total";

/// A row of an answer, by column.
pub type Row = serde_json::Map<String, serde_json::Value>;

/// Batches as rows, with every column in each.
pub fn rows_of(batches: &[RecordBatch]) -> anyhow::Result<Vec<Row>> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text = writer.into_inner();
    Ok(if text.is_empty() { Vec::new() } else { serde_json::from_slice(&text)? })
}

/// The cohort as the aggregate role sees it, and the fingerprint of its readings. `occasion` goes into the log of what was told.
///
/// # Errors
/// No lake; another visit than the latest; a file that the policy does not list; readings of several fingerprints and no choice.
pub async fn aggregate(
    args: &CohortArgs,
    policy: &Policy,
    occasion: &str,
) -> anyhow::Result<(AggregateSession, String)> {
    if args.visit != Visit::Latest {
        return Err(usage("the aggregate role is told of the latest visit only; --visit first needs --role rows"));
    }
    if let Some(path) = &args.with {
        let digest = digest_of(path)?;
        if !policy.files.contains(&digest) {
            return Err(usage(format!(
                "{} is none of the files that the policy lets the aggregate role join; who keeps the policy can add its SHA-256 to `files`: {digest}",
                path.display()
            )));
        }
    }
    let lake = wiring::open_lake(&args.lake.lake).await?;
    let session = lake.session(SessionOptions::default()).await?;
    let fingerprint = session.fingerprint(args.fingerprint.as_deref()).await?;
    // How the file joins is not said to this role.
    participants(&session, Link { file: args.with.as_deref(), key: &args.key, visit: args.visit }, &fingerprint)
        .await?;
    let of = Population { table: "participants", imaged: "scored_participants", fingerprint: &fingerprint, occasion };
    Ok((AggregateSession::open(&session, of, policy, &SessionOptions::default()).await?, fingerprint))
}

/// An open lake with the tables above.
pub struct Cohort {
    pub lake: Lake,
    pub session: LakeSession,
    pub fingerprint: String,
    pub has_file: bool,
    pub has_human: bool,
}

impl Cohort {
    /// # Errors
    /// No lake, readings of several fingerprints without a choice, a file that cannot be read or does not join.
    pub async fn open(args: &CohortArgs, settings: &Settings) -> anyhow::Result<Cohort> {
        let lake = wiring::open_lake(&args.lake.lake).await?;
        let session = lake.session(SessionOptions::default()).await?;
        let fingerprint = session.fingerprint(args.fingerprint.as_deref()).await?;
        let cohort =
            Cohort { lake, session, fingerprint, has_file: args.with.is_some(), has_human: args.human.is_some() };
        let link = Link { file: args.with.as_deref(), key: &args.key, visit: args.visit };
        if let Some(counts) = participants(&cohort.session, link, &cohort.fingerprint).await? {
            eprintln!("{counts}");
        }
        cohort.visits().await?;
        if let Some(path) = &args.human {
            cohort.human_pairs(args, settings, path).await?;
        }
        Ok(cohort)
    }

    /// Works the tables out once and holds them in memory, with the columns of a report and those of `more`: many questions follow.
    ///
    /// # Errors
    /// Those of the lake.
    pub async fn hold(&self, more: &[String]) -> anyhow::Result<()> {
        let context = self.session.context();
        let mut held = Vec::new();
        for table in ["scored_participants", "participants", "visits", "repeat_visits", "human_pairs"] {
            if !context.table_exist(table)?
                || self.count(&format!("SELECT count(*) FROM {table}")).await? > HELD_ROWS_MAX
            {
                continue;
            }
            let schema = context.table(table).await?.schema().clone();
            let wanted = |name: &str| HELD_COLUMNS.contains(&name) || more.iter().any(|column| column == name);
            let columns: Vec<String> =
                schema.fields().iter().filter(|f| wanted(f.name())).map(|f| quoted(f.name())).collect();
            let frame = context.sql(&format!("SELECT {} FROM {table}", columns.join(", "))).await?;
            let columns: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await?;
            let columns = batches.first().map_or(columns, RecordBatch::schema);
            held.push((table, MemTable::try_new(columns, vec![batches])?));
        }
        // All are worked out before the first gives way: they are made of each other.
        for (table, rows) in held {
            context.deregister_table(table)?;
            context.register_table(table, Arc::new(rows))?;
        }
        Ok(())
    }

    /// All rows of an answer that is known to be small.
    pub async fn rows(&self, sql: &str) -> anyhow::Result<Vec<Row>> {
        rows_of(&self.session.collect(sql).await?)
    }

    /// The only number of an answer; 0 of nothing.
    pub async fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let batches = self.session.collect(sql).await?;
        Ok(batches
            .iter()
            .find(|b| b.num_rows() > 0)
            .map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0)))
    }

    async fn view(&self, name: &str, sql: &str) -> anyhow::Result<()> {
        let context = self.session.context();
        let view = context.sql(sql).await?.into_view();
        context.register_table(name, view)?;
        Ok(())
    }

    /// Days and scanners of repeat visits; a visit without a total gives no change.
    async fn visits(&self) -> anyhow::Result<()> {
        let visits = format!(
            "SELECT r.*, CAST(least(floor(r.age_years / 5) * 5, 85) AS INT) AS age_from FROM readings r
             WHERE r.fingerprint = '{}' AND r.primary_image AND r.participant_id IS NOT NULL
                 AND r.participant_id IN (SELECT participant_id FROM participants)",
            self.fingerprint
        );
        self.view("visits", &visits).await?;
        let repeats = "
            SELECT l.* EXCLUDE (place), f.aac24_total AS first_total, l.aac24_total AS last_total,
                CAST(l.image_date AS INT) - CAST(f.image_date AS INT) AS days,
                f.aac24_cat AS first_cat, f.aac24_cat_label AS first_cat_label,
                l.aac24_cat AS last_cat, l.aac24_cat_label AS last_cat_label,
                f.scanner_model IS DISTINCT FROM l.scanner_model AS scanner_changed
            FROM (SELECT *, row_number() OVER (PARTITION BY participant_id ORDER BY image_date, image_id, item_id) AS place
                FROM visits WHERE aac24_total IS NOT NULL AND image_date IS NOT NULL) f
            JOIN (SELECT *, row_number() OVER (PARTITION BY participant_id ORDER BY image_date DESC, image_id, item_id) AS place
                FROM visits WHERE aac24_total IS NOT NULL AND image_date IS NOT NULL) l
            ON f.participant_id = l.participant_id
            WHERE f.place = 1 AND l.place = 1 AND f.image_date < l.image_date";
        self.view("repeat_visits", repeats).await
    }

    /// Readings by people of the images that stand for the participants.
    async fn human_pairs(&self, args: &CohortArgs, settings: &Settings, path: &Path) -> anyhow::Result<()> {
        let name = path.display();
        let (schema, batches) = read(path)?;
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let find = |known: &[&'static str]| known.iter().copied().find(|known| names.contains(known));
        let (Some(image), Some(_)) = (find(&IMAGE_COLUMNS), find(&[TOTAL_COLUMN])) else {
            return Err(usage(format!(
                "{name} needs the columns {TOTAL_COLUMN} and {}; it has {}",
                IMAGE_COLUMNS.join(" or "),
                names.join(", ")
            )));
        };
        let texts = |column: &str| -> anyhow::Result<Vec<Option<String>>> {
            let mut texts = Vec::new();
            for batch in &batches {
                let array = batch.column_by_name(column).with_context(|| format!("column {column} of {name}"))?;
                let array = arrow::compute::cast(array, &DataType::Utf8)?;
                texts.extend(array.as_string::<i32>().iter().map(|text| text.map(|t| t.trim().to_owned())));
            }
            Ok(texts)
        };
        let mut images = texts(image)?;
        if image == "sop_uid" {
            let key = args.study_key.clone().unwrap_or_else(|| settings.key_path(&args.lake.lake));
            if !key.exists() {
                return Err(usage(format!(
                    "{name} names images by their uid, and the study key {} does not exist; give the key that the lake was scored \
                     with (--study-key)",
                    key.display()
                )));
            }
            let key = study_key::load_or_create(&key)?;
            images = images.into_iter().map(|uid| uid.and_then(|uid| key.pseudonym("instance", &uid))).collect();
        }
        let readers = match find(&READER_COLUMNS) {
            Some(column) => texts(column)?,
            None => vec![Some("human".to_owned()); images.len()],
        };
        let columns: [(&str, Vec<Option<String>>); 3] =
            [("sop_id", images), ("reader", readers), ("human_total", texts(TOTAL_COLUMN)?)];
        let columns = columns.map(|(name, texts)| (name, Arc::new(StringArray::from(texts)) as ArrayRef, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        let context = self.session.context();
        context.register_table("human_readings", Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
        let twice = "SELECT count(*) FROM (SELECT sop_id, reader FROM human_readings
            WHERE sop_id IS NOT NULL GROUP BY sop_id, reader HAVING count(*) > 1)";
        let twice = self.count(twice).await?;
        if twice > 0 {
            return Err(usage(format!("{name}: {twice} images have two readings of one reader; keep one of each")));
        }
        self.view(
            "human_pairs",
            "SELECT p.*, h.reader, h.human_total FROM participants p JOIN human_readings h ON p.sop_id = h.sop_id",
        )
        .await?;
        let found = self.count("SELECT count(*) FROM human_pairs").await?;
        if found == 0 {
            return Err(usage(format!(
                "no image of {name} stands for a participant of the lake; was the lake scored with another study key?"
            )));
        }
        self.check_scores("human_pairs", "human_total").await
    }

    /// Refuses a column in which values are not whole scores.
    ///
    /// # Errors
    /// With how many are not.
    pub async fn check_scores(&self, table: &str, column: &str) -> anyhow::Result<()> {
        let value = number(column);
        let whole = format!("{value} = floor({value}) AND {value} BETWEEN 0 AND 24");
        self.check_values(table, column, &whole, "whole scores of 0..24").await
    }

    /// Refuses a column in which values are not what they should be, rather than taking them for missing.
    ///
    /// # Errors
    /// With how many are not.
    pub async fn check_values(&self, table: &str, column: &str, value: &str, what: &str) -> anyhow::Result<()> {
        let name = quoted(column);
        let sql =
            format!("SELECT count(*) FROM {table} WHERE {name} IS NOT NULL AND coalesce({value}, false) IS FALSE");
        let wrong = self.count(&sql).await?;
        if wrong > 0 {
            return Err(usage(format!(
                "column {column} has {wrong} values that are not {what}; leave missing ones empty"
            )));
        }
        Ok(())
    }

    /// Columns of a table as variables of Table 1. The columns of a CSV file are text: one that holds more than
    /// [`CLASSES_MAX`] different numbers and nothing else is taken as numbers.
    ///
    /// # Errors
    /// A column is not there.
    pub async fn variables(&self, table: &str, columns: &[String]) -> anyhow::Result<Vec<Variable>> {
        let frame = self.session.context().table(table).await?;
        let mut variables = Vec::new();
        for column in columns {
            let Some(field) = frame.schema().fields().iter().find(|f| f.name() == column) else {
                let known: Vec<&str> = frame.schema().fields().iter().map(|f| f.name().as_str()).collect();
                return Err(usage(format!("there is no column {column}; there are {}", known.join(", "))));
            };
            let (name, value) = (quoted(column), number(column));
            let mut expression = name.clone();
            if matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
                let sql = format!(
                    "SELECT count(DISTINCT value), count(*) FILTER (WHERE known AND value IS NULL) FROM
                     (SELECT {name} IS NOT NULL AS known, {value} AS value FROM {table})"
                );
                let batches = self.session.collect(&sql).await?;
                let at = |i: usize| batches.first().map_or(0, |b| b.column(i).as_primitive::<Int64Type>().value(0));
                if at(0) > CLASSES_MAX && at(1) == 0 {
                    expression = value;
                }
            }
            variables.push(Variable { name: column.clone(), expression });
        }
        Ok(variables)
    }

    /// Time and event of the follow-up as SQL of `participants`, once both are known to hold what they should.
    ///
    /// # Errors
    /// An option is missing, or a column holds something else.
    pub async fn follow_up(&self, args: &CohortArgs) -> anyhow::Result<FollowUp> {
        let event = needed(&args.event, "--event", args)?;
        self.check_event(event).await?;
        let time = match (&args.until, &args.time) {
            (Some(day), _) => {
                let date = format!("TRY_CAST({} AS DATE)", quoted(day));
                self.check_values("participants", day, &format!("{date} IS NOT NULL"), "days (YYYY-MM-DD)").await?;
                format!("CAST({date} AS INT) - CAST(CAST(image_date AS DATE) AS INT)")
            }
            (None, Some(time)) => {
                self.check_values("participants", time, &format!("{} >= 0", number(time)), "times from 0").await?;
                number(time)
            }
            (None, None) => {
                return Err(usage("when did observation end? give --until COLUMN (a day) or --time COLUMN"));
            }
        };
        Ok(FollowUp { time, event: truth(event) })
    }

    /// # Errors
    /// The column holds something else than yes and no.
    pub async fn check_event(&self, event: &str) -> anyhow::Result<()> {
        let known = format!("({}) IS NOT NULL", truth(event));
        self.check_values("participants", event, &known, "true or false, 1 or 0").await
    }
}

/// A variable of Table 1: its name, and the expression of SQL that gives its values.
pub struct Variable {
    pub name: String,
    pub expression: String,
}

/// Expressions of SQL.
pub struct FollowUp {
    pub time: String,
    pub event: String,
}

/// The file that is joined, the column with its keys, and the images it is joined to.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub file: Option<&'a Path>,
    pub key: &'a str,
    pub visit: Visit,
}

/// Of each participant and fingerprint the primary image of the first visit; ties as in `latest_by_image_date`.
const FIRST_BY_IMAGE_DATE: &str = "(SELECT * EXCLUDE (place) FROM (
    SELECT *, row_number() OVER (
        PARTITION BY coalesce(participant_id, item_id), fingerprint
        ORDER BY image_date NULLS LAST, confidence DESC NULLS LAST, image_id, item_id) AS place
    FROM readings WHERE primary_image)
    WHERE place = 1)";

/// The table `participants`: one row each, with the columns of the file where there is one; how that joins, in words. Beside it the
/// table `scored_participants` without the file.
///
/// # Errors
/// The file cannot be read, has no such column, or does not join one row to a participant.
pub async fn participants(session: &LakeSession, link: Link<'_>, fingerprint: &str) -> anyhow::Result<Option<String>> {
    let context = session.context();
    let own = format!(
        "SELECT *, CAST(least(floor(age_years / 5) * 5, 85) AS INT) AS age_from FROM {}
         WHERE fingerprint = '{fingerprint}'",
        match link.visit {
            Visit::Latest => "latest_by_image_date",
            Visit::First => FIRST_BY_IMAGE_DATE,
        }
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
            "no key of {file} is a participant of the lake: {rows} rows, {distinct} keys, {participants} scored participants; \
             `aortica pseudonymise` turns identifiers into keys, with the study's key"
        )));
    }
    Ok(counts)
}

/// SHA-256 of a file that is joined.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn digest_of(path: &Path) -> anyhow::Result<String> {
    check_size(path)?;
    Ok(domain::Digest::of(&std::fs::read(path).with_context(|| format!("{}", path.display()))?).to_hex())
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

/// A column as SQL names it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A needed option and the column that it names.
///
/// # Errors
/// It is not given, or there is no file.
pub fn needed<'a>(option: &'a Option<String>, flag: &str, args: &CohortArgs) -> anyhow::Result<&'a str> {
    if args.with.is_none() {
        return Err(usage("give the file that is compared with (--with FILE)"));
    }
    option.as_deref().ok_or_else(|| usage(format!("name the column of the file with {flag} COLUMN")))
}

/// 1 and 0, true and false, yes and no, as a truth.
pub fn truth(column: &str) -> String {
    let text = format!("lower(trim(CAST({} AS VARCHAR)))", quoted(column));
    format!(
        "CASE WHEN {text} IN ('1', '1.0', 'true', 'yes') THEN true WHEN {text} IN ('0', '0.0', 'false', 'no') THEN false END"
    )
}

/// A column as a number; NULL where it is none.
pub fn number(column: &str) -> String {
    format!("TRY_CAST({} AS DOUBLE)", quoted(column))
}

//! An outcome as rows: one of `instances`, and one of `results` when the item was scored.

use crate::error::{Error, Result};
use crate::item_outcome::{Came, ITEM_OUTCOME_SCHEMA_VERSION, ItemOutcome};
use crate::paths::Table;
use crate::schema::{Column, Kind, columns};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, SchemaRef, TimestampMicrosecondType};
use domain::outcome::Outcome;
use domain::reading::{Certainty, SegmentReading};
use domain::record::{OutcomeRecord, RECORD_SCHEMA_VERSION};
use domain::{Extent, Fingerprint, ImageId, InstanceFacts, ItemId, Reading, Segment, SegmentGrade};
use std::sync::{Arc, LazyLock};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Integer(i32),
    Real(f64),
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 UTC.
    Instant(i64),
}

impl Cell {
    fn text(value: Option<impl Into<String>>) -> Cell {
        value.map_or(Cell::Null, |v| Cell::Text(v.into()))
    }

    fn integer(value: Option<impl TryInto<i32>>) -> Cell {
        value.and_then(|v| v.try_into().ok()).map_or(Cell::Null, Cell::Integer)
    }

    /// What is not a number is missing.
    fn real(value: Option<f64>) -> Cell {
        value.filter(|v| v.is_finite()).map_or(Cell::Null, Cell::Real)
    }

    pub(crate) fn as_text(&self) -> &str {
        if let Cell::Text(text) = self { text } else { "" }
    }

    pub(crate) fn as_integer(&self) -> i32 {
        if let Cell::Integer(value) = self { *value } else { 0 }
    }
}

/// The values of one row in the order of [`columns`].
pub(crate) type Row = Vec<Cell>;

/// Position of a column in the rows of a table.
///
/// # Panics
/// If the table has no such column: the callers name constants.
pub(crate) fn position(table: Table, name: &str) -> usize {
    columns(table).iter().position(|c| c.name == name).unwrap_or_else(|| panic!("{} has {name}", table.name()))
}

/// Why a record does not become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Written by a newer version: keep it until this committer is upgraded.
    NewerSchema,
    /// The reading is about another image or fingerprint than the record says.
    Contradiction,
}

pub(crate) fn check(record: &OutcomeRecord) -> Result<(), Refusal> {
    if record.schema_version > RECORD_SCHEMA_VERSION {
        return Err(Refusal::NewerSchema);
    }
    match &record.outcome {
        Outcome::Scored { reading }
            if reading.fingerprint != record.fingerprint || record.image_id.as_ref() != Some(&reading.image_id) =>
        {
            Err(Refusal::Contradiction)
        }
        Outcome::Scored { .. } | Outcome::Excluded { .. } | Outcome::Failed { .. } => Ok(()),
    }
}

/// How the cell of a column comes from a record.
type Fill<S> = Box<dyn Fn(&OutcomeRecord, &S) -> Cell + Send + Sync>;

/// The columns of a table with how each is filled: names are looked up once, not for every row.
static INSTANCE_CELLS: LazyLock<Vec<Fill<InstanceFacts>>> =
    LazyLock::new(|| columns(Table::Instances).iter().map(|column| instance_cell(&column.name)).collect());
static RESULT_CELLS: LazyLock<Vec<Fill<Reading>>> =
    LazyLock::new(|| columns(Table::Results).iter().map(|column| result_cell(&column.name)).collect());

/// The row of `instances`, with revision 0.
pub(crate) fn instance_row(record: &OutcomeRecord) -> Row {
    INSTANCE_CELLS.iter().map(|cell| cell(record, &record.facts)).collect()
}

fn instance_cell(column: &str) -> Fill<InstanceFacts> {
    match column {
        "item_id" => Box::new(|record, _| Cell::Text(record.item_id.to_string())),
        "fingerprint" => Box::new(|record, _| Cell::Text(record.fingerprint.to_string())),
        "revision" => Box::new(|_, _| Cell::Integer(0)),
        "submission" => Box::new(|record, _| Cell::Text(record.submission_id.clone())),
        "attempt" => Box::new(|record, _| Cell::integer(Some(record.attempt))),
        "status" => Box::new(|record, _| Cell::Text(record.outcome.status().to_owned())),
        "fail_reason" => Box::new(|record, _| Cell::text(record.outcome.reason())),
        "image_id" => Box::new(|record, _| Cell::text(record.image_id.as_ref().map(|id| id.as_str()))),
        "pipeline" => Box::new(|record, _| Cell::Text(record.pipeline.clone())),
        "participant_id" => Box::new(|_, facts| Cell::text(facts.participant_id.as_deref())),
        "study_id" => Box::new(|_, facts| Cell::text(facts.study_id.as_deref())),
        "series_id" => Box::new(|_, facts| Cell::text(facts.series_id.as_deref())),
        "sop_id" => Box::new(|_, facts| Cell::text(facts.sop_id.as_deref())),
        "key_name" => Box::new(|_, facts| Cell::text(facts.key_name.as_deref())),
        "site_id" => Box::new(|_, facts| Cell::text(facts.site_id.as_deref())),
        "modality" => Box::new(|_, facts| Cell::text(facts.modality.as_deref())),
        "body_part" => Box::new(|_, facts| Cell::text(facts.body_part.as_deref())),
        "view_position" => Box::new(|_, facts| Cell::text(facts.view_position.as_deref())),
        "scanner_maker" => Box::new(|_, facts| Cell::text(facts.scanner_maker.as_deref())),
        "scanner_model" => Box::new(|_, facts| Cell::text(facts.scanner_model.as_deref())),
        "image_date" => {
            Box::new(|_, facts| facts.image_date.as_deref().and_then(days_since_1970).map_or(Cell::Null, Cell::Date))
        }
        "sex" => Box::new(|_, facts| Cell::text(facts.sex.as_deref())),
        "age_years" => Box::new(|_, facts| Cell::integer(facts.age_years)),
        "rows_px" => Box::new(|_, facts| Cell::integer(facts.rows_px)),
        "columns_px" => Box::new(|_, facts| Cell::integer(facts.columns_px)),
        "transfer_syntax" => Box::new(|_, facts| Cell::text(facts.transfer_syntax.as_deref())),
        "burned_in" => Box::new(|_, facts| facts.burned_in_annotation.map_or(Cell::Null, Cell::Boolean)),
        "artifact_key" => Box::new(|record, _| Cell::text(record.artifact_key.as_deref())),
        "scored_at" => Box::new(|record, _| Cell::Instant(record.scored_at_us)),
        other => unreachable!("column {other} of instances has a value here"),
    }
}

/// The outcome behind a row of `instances`; `None` for a row that only a newer version understands.
pub(crate) fn outcome_of_row(row: &Row) -> Option<ItemOutcome> {
    let cell = |name: &str| &row[position(Table::Instances, name)];
    let text = |name: &str| match cell(name) {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    };
    let integer = |name: &str| match cell(name) {
        Cell::Integer(value) => Some(*value),
        _ => None,
    };
    let size = |name: &str| integer(name).and_then(|value| u32::try_from(value).ok());
    let outcome = match text("status")?.as_str() {
        "scored" => Came::Scored,
        "excluded" => Came::Excluded { reason: text("fail_reason")?.parse().ok()? },
        "failed" => Came::Failed { reason: text("fail_reason")?.parse().ok()? },
        _ => return None,
    };
    let facts = InstanceFacts {
        participant_id: text("participant_id"),
        study_id: text("study_id"),
        series_id: text("series_id"),
        sop_id: text("sop_id"),
        key_name: text("key_name"),
        site_id: text("site_id"),
        modality: text("modality"),
        body_part: text("body_part"),
        view_position: text("view_position"),
        scanner_maker: text("scanner_maker"),
        scanner_model: text("scanner_model"),
        image_date: match cell("image_date") {
            Cell::Date(days) => day_of(*days),
            _ => None,
        },
        sex: text("sex"),
        age_years: integer("age_years").and_then(|years| u16::try_from(years).ok()),
        rows_px: size("rows_px"),
        columns_px: size("columns_px"),
        transfer_syntax: text("transfer_syntax"),
        burned_in_annotation: match cell("burned_in") {
            Cell::Boolean(value) => Some(*value),
            _ => None,
        },
    };
    Some(ItemOutcome {
        schema_version: ITEM_OUTCOME_SCHEMA_VERSION,
        submission_id: text("submission")?,
        item_id: ItemId::parse(&text("item_id")?)?,
        attempt: size("attempt")?,
        fingerprint: Fingerprint::parse(&text("fingerprint")?)?,
        pipeline: text("pipeline")?,
        image_id: text("image_id").and_then(|id| ImageId::parse(&id)),
        facts,
        outcome,
        scored_at_us: match cell("scored_at") {
            Cell::Instant(us) => *us,
            _ => return None,
        },
    })
}

/// ISO 8601 day.
fn day_of(days_since_1970: i32) -> Option<String> {
    let day = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days_since_1970).ok()?);
    day.ok().map(|day| day.to_string())
}

/// The row of `results`, for a scored record.
pub(crate) fn result_row(record: &OutcomeRecord) -> Option<Row> {
    let Outcome::Scored { reading } = &record.outcome else { return None };
    Some(RESULT_CELLS.iter().map(|cell| cell(record, reading)).collect())
}

fn result_cell(column: &str) -> Fill<Reading> {
    match column {
        "image_id" => Box::new(|_, reading| Cell::Text(reading.image_id.to_string())),
        "fingerprint" => Box::new(|_, reading| Cell::Text(reading.fingerprint.to_string())),
        "pipeline" => Box::new(|_, reading| Cell::Text(reading.pipeline.clone())),
        "scoring_rule" => Box::new(|_, reading| Cell::Text(reading.rule.name().to_owned())),
        "scoring_extent" => Box::new(|_, reading| Cell::Text(extent_name(reading.extent).to_owned())),
        "aac24_total" => Box::new(|_, reading| Cell::integer(reading.summary.aac24.total)),
        "aac_n_segments" => Box::new(|_, reading| Cell::integer(Some(reading.summary.aac24.n_segments))),
        "aac24_min" => Box::new(|_, reading| Cell::integer(Some(reading.summary.aac24.min))),
        "aac24_max" => Box::new(|_, reading| Cell::integer(Some(reading.summary.aac24.max))),
        "aac8_total" => Box::new(|_, reading| Cell::integer(reading.summary.aac8_total)),
        "aac_levels" => Box::new(|_, reading| Cell::integer(reading.summary.affected_levels)),
        "aac_walls" => Box::new(|_, reading| Cell::integer(reading.summary.affected_walls)),
        "aac24_cat" => Box::new(|_, reading| Cell::integer(reading.summary.category.map(|c| c.code()))),
        "aac24_cat_label" => Box::new(|_, reading| Cell::text(reading.summary.category.map(|c| c.name()))),
        "aac_length_mm" => Box::new(|_, reading| Cell::real(reading.summary.length_mm)),
        "aac_length_pct" => Box::new(|_, reading| Cell::real(reading.summary.length_pct)),
        "confidence" => Box::new(|_, reading| Cell::real(Some(reading.summary.confidence))),
        "level_confidence" => Box::new(|_, reading| Cell::real(Some(reading.summary.level_confidence))),
        "quality_flags" => Box::new(|_, reading| Cell::Text(flag_names(reading))),
        "flag_review" => Box::new(|_, reading| Cell::Boolean(reading.summary.flag_review)),
        "aac24_low" => certain(|of| Cell::integer(Some(of.total_low))),
        "aac24_high" => certain(|of| Cell::integer(Some(of.total_high))),
        "aac24_mean" => certain(|of| Cell::real(of.total_mean)),
        "aac24_p_above_0" => certain(|of| Cell::real(of.total_above_0)),
        "aac24_p_low" => certain(|of| Cell::real(of.categories.map(|p| p[0]))),
        "aac24_p_moderate" => certain(|of| Cell::real(of.categories.map(|p| p[1]))),
        "aac24_p_high" => certain(|of| Cell::real(of.categories.map(|p| p[2]))),
        "artifact_schema" => Box::new(|_, reading| Cell::integer(Some(reading.schema_version))),
        "scored_at" => Box::new(|record, _| Cell::Instant(record.scored_at_us)),
        segment => segment_cell(segment),
    }
}

/// A column of a calibrated pipeline; NULL where it is not.
fn certain(cell: fn(&Certainty) -> Cell) -> Fill<Reading> {
    Box::new(move |_, reading| reading.summary.certainty.as_ref().map_or(Cell::Null, cell))
}

/// The columns `aac_l1_ant`, `aac_l1_ant_pct`, .. : all that are left.
fn segment_cell(column: &str) -> Fill<Reading> {
    let (segment, detail) = Segment::all()
        .into_iter()
        .find_map(|segment| Some((segment, column.strip_prefix(segment.column().as_str())?)))
        .unwrap_or_else(|| unreachable!("column {column} of results has a value"));
    let cell: fn(&SegmentReading) -> Cell = match detail {
        "" => |read| Cell::integer(read.grade.grade().map(|g| g.value())),
        "_pct" => |read| Cell::real(read.length_pct),
        "_mm" => |read| Cell::real(read.length_mm),
        "_conf" => |read| Cell::real(Some(read.confidence)),
        "_na" => |read| match read.grade {
            SegmentGrade::Assessed(_) => Cell::Null,
            SegmentGrade::NotAssessable(why) => Cell::Text(not_assessable_name(why).to_owned()),
        },
        "_p1" => |read| Cell::real(read.exceeds.map(|p| p[0])),
        "_p2" => |read| Cell::real(read.exceeds.map(|p| p[1])),
        "_p3" => |read| Cell::real(read.exceeds.map(|p| p[2])),
        other => unreachable!("detail {other} of a segment has a value"),
    };
    Box::new(move |_, reading| {
        let read = reading.segments.iter().find(|s| s.level == segment.level && s.wall == segment.wall);
        read.map_or(Cell::Null, cell)
    })
}

fn not_assessable_name(why: domain::grade::NotAssessable) -> &'static str {
    use domain::grade::NotAssessable::*;
    match why {
        OutsideImage => "outside_image",
        Masked => "masked",
        Implant => "implant",
        LevelUncertain => "level_uncertain",
    }
}

fn extent_name(extent: Extent) -> &'static str {
    match extent {
        Extent::MidDisc => "mid_disc",
        Extent::VertebralHeight => "vertebral_height",
    }
}

fn flag_names(reading: &Reading) -> String {
    let mut flags = reading.flags.clone();
    flags.sort();
    flags.dedup();
    flags.iter().map(|flag| flag.name()).collect::<Vec<_>>().join(";")
}

/// `None` for what is no ISO 8601 day.
fn days_since_1970(text: &str) -> Option<i32> {
    let day: jiff::civil::Date = text.parse().ok()?;
    day.since(jiff::civil::date(1970, 1, 1)).ok().map(|span| span.get_days())
}

/// Rows as one Arrow batch in the table's schema.
pub(crate) fn batch(table: Table, schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let arrays = columns(table).iter().enumerate().map(|(at, column)| array(column, at, rows)).collect();
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(Error::arrow("building rows"))
}

fn array(column: &Column, at: usize, rows: &[Row]) -> ArrayRef {
    macro_rules! build {
        ($builder:expr, $variant:ident) => {
            build!($builder, $variant, Clone::clone)
        };
        ($builder:expr, $variant:ident, $given:expr) => {{
            let mut builder = $builder;
            for row in rows {
                match &row[at] {
                    Cell::$variant(value) => builder.append_value($given(value)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    match column.kind {
        Kind::Text => build!(StringBuilder::new(), Text, String::as_str),
        Kind::Integer => build!(Int32Builder::with_capacity(rows.len()), Integer),
        Kind::Real => build!(Float64Builder::with_capacity(rows.len()), Real),
        Kind::Boolean => build!(BooleanBuilder::with_capacity(rows.len()), Boolean),
        Kind::Date => build!(Date32Builder::with_capacity(rows.len()), Date),
        Kind::Instant => {
            build!(TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC"), Instant)
        }
    }
}

/// Rows of a batch read from a file of the table; columns that the file does not have are NULL.
pub(crate) fn rows_of(table: Table, batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Vec::with_capacity(columns(table).len()); batch.num_rows()];
    for column in columns(table) {
        let array = batch.column_by_name(&column.name);
        for (index, row) in rows.iter_mut().enumerate() {
            row.push(array.filter(|a| a.is_valid(index)).map_or(Cell::Null, |a| cell(column.kind, a, index)));
        }
    }
    rows
}

fn cell(kind: Kind, array: &ArrayRef, index: usize) -> Cell {
    if *array.data_type() != kind.arrow() {
        return Cell::Null;
    }
    match kind {
        Kind::Text => Cell::Text(array.as_string::<i32>().value(index).to_owned()),
        Kind::Integer => Cell::Integer(array.as_primitive::<Int32Type>().value(index)),
        Kind::Real => Cell::Real(array.as_primitive::<Float64Type>().value(index)),
        Kind::Boolean => Cell::Boolean(array.as_boolean().value(index)),
        Kind::Date => Cell::Date(array.as_primitive::<Date32Type>().value(index)),
        Kind::Instant => Cell::Instant(array.as_primitive::<TimestampMicrosecondType>().value(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{grades, scored};
    use domain::Point;
    use domain::reading::WallLine;

    #[test]
    fn the_rows_of_a_record_need_no_evidence() {
        let mut record = scored(7, grades(7));
        let Outcome::Scored { reading } = &mut record.outcome else { panic!("it was scored") };
        reading.midline = vec![Point::new(1.0, 2.0)];
        reading.walls = vec![WallLine { wall: domain::Wall::Anterior, points: Vec::new(), sd_px: Vec::new() }];
        let bare = record.clone().without_evidence();
        assert_ne!(record, bare);
        assert_eq!(result_row(&record), result_row(&bare));
        assert_eq!(instance_row(&record), instance_row(&bare));
        let grade = |segment: Segment| result_row(&bare).unwrap()[position(Table::Results, &segment.column())].clone();
        let expected = grades(7).map(|grade| Cell::Integer(i32::from(grade)));
        assert_eq!(Segment::all().map(grade), expected, "each segment in its own column");
    }
}

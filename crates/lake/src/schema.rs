//! The columns of the tables, declared and documented once. `aortica codebook` prints this list, Delta and Arrow carry
//! label, unit and values in the field metadata, and the rows are built in this order.
//!
//! Newer versions only add columns, and every column is nullable: older files stay readable, and a committer of this
//! version leaves the columns that it does not know NULL.

use crate::paths::Table;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake_core::kernel::{DataType as DeltaType, MetadataValue, StructField};
use domain::Segment;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// 32 bit.
    Integer,
    /// 64 bit floating point.
    Real,
    Boolean,
    /// Day, as days since 1970-01-01.
    Date,
    /// Microseconds since 1970-01-01 UTC.
    Instant,
}

impl Kind {
    pub fn arrow(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int32,
            Kind::Real => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
            Kind::Date => DataType::Date32,
            Kind::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    fn delta(self) -> DeltaType {
        match self {
            Kind::Text => DeltaType::STRING,
            Kind::Integer => DeltaType::INTEGER,
            Kind::Real => DeltaType::DOUBLE,
            Kind::Boolean => DeltaType::BOOLEAN,
            Kind::Date => DeltaType::DATE,
            Kind::Instant => DeltaType::TIMESTAMP,
        }
    }

    /// As the codebook calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Integer => "integer",
            Kind::Real => "real",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::Instant => "timestamp (UTC)",
        }
    }
}

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Snake case, at most 32 characters (the limit of Stata and SAS names).
    pub name: Cow<'static, str>,
    pub kind: Kind,
    /// Empty where there is none.
    pub unit: &'static str,
    pub label: Cow<'static, str>,
    /// What the values mean; empty where the label says it all.
    pub values: Cow<'static, str>,
}

impl Column {
    /// Field metadata: `label`, and `unit` and `values` where there are any.
    pub fn metadata(&self) -> HashMap<String, String> {
        [("label", &*self.label), ("unit", self.unit), ("values", &*self.values)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| (key.to_owned(), text.to_owned()))
            .collect()
    }

    pub(crate) fn field(&self) -> Field {
        Field::new(&*self.name, self.kind.arrow(), true).with_metadata(self.metadata())
    }

    pub(crate) fn delta_field(&self) -> StructField {
        StructField::nullable(&*self.name, self.kind.delta())
            .with_metadata(self.metadata().into_iter().map(|(key, text)| (key, MetadataValue::String(text))))
    }
}

pub(crate) const fn column(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    label: &'static str,
    values: &'static str,
) -> Column {
    Column { name: Cow::Borrowed(name), kind, unit, label: Cow::Borrowed(label), values: Cow::Borrowed(values) }
}

const IMAGE_ID: Column = column(
    "image_id",
    Kind::Text,
    "",
    "Digest of the encoded pixels: the same picture has the same id wherever it lies",
    "32 hexadecimal digits; NULL when the object could not be decoded so far",
);
const FINGERPRINT: Column = column(
    "fingerprint",
    Kind::Text,
    "",
    "Digest of how the pixels are read: pipeline, models, method, precision, hardware class",
    "32 hexadecimal digits",
);
const PIPELINE: Column = column("pipeline", Kind::Text, "", "Pipeline that read the image", "name version");
const SCORED_AT: Column = column("scored_at", Kind::Instant, "UTC", "When the pixels were read", "");

/// Columns of `instances`: one object of a submission, and what became of it.
static INSTANCES: LazyLock<Vec<Column>> = LazyLock::new(|| {
    use Kind::*;
    vec![
        column("item_id", Text, "", "The object: digest of its uri, size and version", "32 hexadecimal digits"),
        FINGERPRINT,
        column(
            "revision",
            Integer,
            "",
            "How often a better outcome of this item and fingerprint has replaced an earlier one",
            "0 the first; only the highest counts",
        ),
        column("submission", Text, "", "Item manifest under which the outcome was found", "digest"),
        column("attempt", Integer, "", "Try that gave the outcome", "1 the first; a replay counts on"),
        column("status", Text, "", "What became of the item", "scored, excluded, failed"),
        column("fail_reason", Text, "", "Why the item has no score", "NULL when scored; see ExcludeReason, FailReason"),
        IMAGE_ID,
        PIPELINE,
        column("participant_id", Text, "", "Participant, as a keyed pseudonym", "20 hexadecimal digits"),
        column("study_id", Text, "", "Study (examination), as a keyed pseudonym", "20 hexadecimal digits"),
        column("series_id", Text, "", "Series, as a keyed pseudonym", "20 hexadecimal digits"),
        column("sop_id", Text, "", "SOP instance, as a keyed pseudonym", "20 hexadecimal digits"),
        column("key_name", Text, "", "Version of the study key that made the pseudonyms", ""),
        column("site_id", Text, "", "Site that took the image", ""),
        column("modality", Text, "", "DICOM modality", "DX, CR, RG, RF, BMD, OT"),
        column("body_part", Text, "", "DICOM body part examined", ""),
        column("view_position", Text, "", "DICOM view position", ""),
        column("scanner_maker", Text, "", "Manufacturer of the scanner", ""),
        column("scanner_model", Text, "", "Model of the scanner", ""),
        column("image_date", Date, "", "Day of the image, shifted where the study asks for it", ""),
        column("sex", Text, "", "Sex", "F, M, O"),
        column("age_years", Integer, "years", "Age at imaging, whole years", "90 stands for 90 and over"),
        column("rows_px", Integer, "pixel", "Height of the stored image", ""),
        column("columns_px", Integer, "pixel", "Width of the stored image", ""),
        column("transfer_syntax", Text, "", "DICOM transfer syntax", "uid"),
        column("burned_in", Boolean, "", "The header says that text is burned into the pixels", ""),
        column("artifact_key", Text, "", "Key of the evidence within the lake", "NULL unless scored"),
        SCORED_AT,
    ]
});

const PROBABLE: &str = "NULL unless the pipeline is calibrated and all 8 segments were assessed";

/// Columns of `results`: what the pixels of one image say under one fingerprint. Only scored images have a row.
static RESULTS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    use Kind::*;
    let mut columns = vec![
        IMAGE_ID,
        FINGERPRINT,
        PIPELINE,
        column("scoring_rule", Text, "", "Rule at exactly 1/3 and 2/3 of the wall", "kauppila, manitoba"),
        column("scoring_extent", Text, "", "Stretch of wall that a segment is", "mid_disc, vertebral_height"),
    ];
    for segment in Segment::all() {
        columns.push(Column {
            name: segment.column().into(),
            kind: Integer,
            unit: "grade",
            label: format!("AAC grade, {}", in_words(segment)).into(),
            values: "0 none, 1 up to 1/3, 2 up to 2/3, 3 more of the wall; NULL not assessable (never 0)".into(),
        });
    }
    columns.extend([
        column("aac24_total", Integer, "points", "AAC-24 total", "0..24; NULL unless all 8 segments were assessed"),
        column("aac_n_segments", Integer, "segments", "Segments assessed", "0..8"),
        column("aac24_min", Integer, "points", "AAC-24 if every segment not assessed were 0", "0..24"),
        column("aac24_max", Integer, "points", "AAC-24 if every segment not assessed were 3", "0..24"),
        column("aac8_total", Integer, "points", "AAC-8 total", "0..8; NULL unless all 8 segments were assessed"),
        column("aac_levels", Integer, "levels", "Levels with calcium on either wall", "0..4"),
        column("aac_walls", Integer, "segments", "Segments with calcium", "0..8"),
        column(
            "aac24_cat",
            Integer,
            "",
            "AAC-24 category",
            "0 low, 1 moderate, 2 high; NULL when the segments not assessed leave it open",
        ),
        column("aac24_cat_label", Text, "", "AAC-24 category in words", "low, moderate, high"),
        column("aac_length_mm", Real, "mm", "Calcified length of both walls", "NULL when the pixel spacing is unknown"),
        column("aac_length_pct", Real, "percent", "Calcified share of the length of both walls", "0..100"),
        column("confidence", Real, "", "Worst of localisation and segmentation", "0..1"),
        column("level_confidence", Real, "", "Confidence that the levels carry their right names", "0..1"),
        column(
            "quality_flags",
            Text,
            "",
            "What to know of the reading",
            "names joined by ';', empty when there are none; see QualityFlag",
        ),
        column("flag_review", Boolean, "", "A person should look at the reading", ""),
        column(
            "aac24_low",
            Integer,
            "points",
            "Lower end of the 95 % interval for the AAC-24 total",
            "0..24; NULL unless the pipeline is calibrated",
        ),
        column(
            "aac24_high",
            Integer,
            "points",
            "Upper end of the 95 % interval for the AAC-24 total",
            "0..24; NULL unless the pipeline is calibrated",
        ),
        column("aac24_mean", Real, "points", "Expectation of the AAC-24 total", PROBABLE),
        column("aac24_p_above_0", Real, "", "Probability that the total is above 0", PROBABLE),
        column("aac24_p_low", Real, "", "Probability that the total is in category low", PROBABLE),
        column("aac24_p_moderate", Real, "", "Probability that the total is in category moderate", PROBABLE),
        column("aac24_p_high", Real, "", "Probability that the total is in category high", PROBABLE),
    ]);
    for segment in Segment::all() {
        let name = segment.column();
        let words = in_words(segment);
        columns.extend([
            Column {
                name: format!("{name}_pct").into(),
                kind: Real,
                unit: "percent",
                label: format!("Calcified share of the wall, {words}").into(),
                values: "0..100".into(),
            },
            Column {
                name: format!("{name}_mm").into(),
                kind: Real,
                unit: "mm",
                label: format!("Calcified length of the wall, {words}").into(),
                values: "NULL when the pixel spacing is unknown".into(),
            },
            Column {
                name: format!("{name}_conf").into(),
                kind: Real,
                unit: "",
                label: format!("Confidence of the grade, {words}").into(),
                values: "0..1".into(),
            },
            Column {
                name: format!("{name}_na").into(),
                kind: Text,
                unit: "",
                label: format!("Why there is no grade, {words}").into(),
                values: "outside_image, masked, implant, level_uncertain; NULL when assessed".into(),
            },
        ]);
        columns.extend((0..3).map(|k| Column {
            name: format!("{name}_p{}", k + 1).into(),
            kind: Real,
            unit: "",
            label: format!("Probability that the grade is above {k}, {words}").into(),
            values: "0..1; NULL unless the pipeline is calibrated or its network grades".into(),
        }));
    }
    columns.push(column("artifact_schema", Integer, "", "Version of the artifact's schema", ""));
    columns.push(SCORED_AT);
    columns
});

/// Columns that the views compute.
static DERIVED: LazyLock<Vec<Column>> = LazyLock::new(|| {
    use Kind::*;
    vec![
        column(
            "primary_image",
            Boolean,
            "",
            "The one image of its participant, visit and fingerprint that analyses should use",
            "scored, most segments assessed, highest confidence; ties by image_id, item_id",
        ),
        column(
            "image_shared",
            Boolean,
            "",
            "The same pixels stand under more than one participant: one of them is wrong",
            "",
        ),
    ]
});

fn in_words(segment: Segment) -> String {
    let wall = match segment.wall {
        domain::Wall::Anterior => "anterior",
        domain::Wall::Posterior => "posterior",
    };
    format!("{} {wall} wall", segment.level.vertebra().name())
}

/// The columns of a table in their order.
pub fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Results => &RESULTS,
        Table::Instances => &INSTANCES,
    }
}

/// The columns that views compute, beside those of the tables.
pub fn derived_columns() -> &'static [Column] {
    &DERIVED
}

/// Columns of the table `readings`, in its order. All but the details of the segments, which `segments` has.
pub const READINGS: &[&str] = &[
    "participant_id",
    "study_id",
    "series_id",
    "sop_id",
    "image_id",
    "site_id",
    "scanner_maker",
    "scanner_model",
    "image_date",
    "sex",
    "age_years",
    "status",
    "fail_reason",
    "aac_l1_ant",
    "aac_l1_post",
    "aac_l2_ant",
    "aac_l2_post",
    "aac_l3_ant",
    "aac_l3_post",
    "aac_l4_ant",
    "aac_l4_post",
    "aac24_total",
    "aac_n_segments",
    "aac24_min",
    "aac24_max",
    "aac8_total",
    "aac_levels",
    "aac_walls",
    "aac24_cat",
    "aac24_cat_label",
    "aac_length_mm",
    "aac_length_pct",
    "confidence",
    "level_confidence",
    "quality_flags",
    "flag_review",
    "aac24_low",
    "aac24_high",
    "aac24_mean",
    "aac24_p_above_0",
    "aac24_p_low",
    "aac24_p_moderate",
    "aac24_p_high",
    "primary_image",
    "image_shared",
    "pipeline",
    "fingerprint",
    "scoring_rule",
    "scoring_extent",
    "scored_at",
    "item_id",
    "attempt",
    "submission",
    "key_name",
    "modality",
    "body_part",
    "view_position",
    "rows_px",
    "columns_px",
    "transfer_syntax",
    "burned_in",
    "artifact_key",
];

/// The declaration behind a column of `readings` or of the tables.
pub fn describe(name: &str) -> Option<&'static Column> {
    INSTANCES.iter().chain(RESULTS.iter()).chain(DERIVED.iter()).find(|column| column.name == name)
}

/// Arrow schema of a table's files, with the metadata.
pub fn arrow_schema(table: Table) -> SchemaRef {
    Arc::new(Schema::new(columns(table).iter().map(Column::field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn everything() -> impl Iterator<Item = &'static Column> {
        INSTANCES.iter().chain(RESULTS.iter()).chain(DERIVED.iter())
    }

    #[test]
    fn names_suit_every_statistics_package() {
        for column in everything() {
            let name = &column.name;
            assert!(name.len() <= 32, "{name} is longer than 32");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            assert!(!column.label.is_empty(), "{name} has no label");
        }
        for table in [Table::Results, Table::Instances] {
            let names: HashSet<_> = columns(table).iter().map(|c| &c.name).collect();
            assert_eq!(names.len(), columns(table).len(), "{} names a column twice", table.name());
        }
    }

    #[test]
    fn readings_are_made_of_declared_columns() {
        for name in READINGS {
            assert!(describe(name).is_some(), "{name} is not declared");
        }
        assert_eq!(READINGS.iter().collect::<HashSet<_>>().len(), READINGS.len());
        for segment in Segment::all() {
            assert!(READINGS.contains(&segment.column().as_str()));
        }
    }

    #[test]
    fn a_unit_in_the_name_is_the_unit() {
        for column in everything() {
            let suffix = column.name.rsplit('_').next().unwrap();
            let expected = match suffix {
                "mm" => "mm",
                "pct" => "percent",
                "years" => "years",
                "px" => "pixel",
                _ => continue,
            };
            assert_eq!(column.unit, expected, "{}", column.name);
        }
    }
}

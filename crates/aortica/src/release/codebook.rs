//! The codebook of a release in the form of a REDCap data dictionary, a row for each column of each table.

use super::tables::{Meaning, Table};
use arrow::datatypes::DataType;

const HEADER: [&str; 18] = [
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
];

/// CSV; choices are `code, label | code, label` in their order.
pub fn codebook(tables: &[Table]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for table in tables {
        for (meaning, column) in table.columns.iter().zip(table.batch.columns()) {
            let mut row = [""; 18].map(str::to_owned);
            row[0].clone_from(&meaning.name);
            row[1].clone_from(&table.name);
            row[3] = (if meaning.choices.is_empty() { "text" } else { "dropdown" }).to_owned();
            row[4].clone_from(&meaning.label);
            row[5] = choices(meaning);
            row[6] = [&meaning.unit, &meaning.note]
                .into_iter()
                .filter(|t| !t.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join("; ");
            row[7] = validation(meaning, column.data_type()).to_owned();
            row[10] = (if meaning.identifies { "y" } else { "" }).to_owned();
            writer.write_record(row)?;
        }
    }
    Ok(writer.into_inner()?)
}

fn choices(meaning: &Meaning) -> String {
    let plain = |text: &str| text.replace('|', "/");
    let choices = meaning.choices.iter().map(|(code, label)| format!("{}, {}", plain(code), plain(label)));
    choices.collect::<Vec<_>>().join(" | ")
}

fn validation(meaning: &Meaning, kind: &DataType) -> &'static str {
    match kind {
        _ if !meaning.choices.is_empty() => "",
        DataType::Date32 => "date_ymd",
        kind if kind.is_integer() => "integer",
        kind if kind.is_numeric() => "number",
        _ => "",
    }
}

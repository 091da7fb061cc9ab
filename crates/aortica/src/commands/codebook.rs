//! `aortica codebook`: every column of the lake, its unit, its values, what it means.

use crate::cli::{CodebookArgs, TableFormat};
use crate::exit::usage;
use lake::schema::{READINGS, describe};

pub fn run(args: &CodebookArgs) -> anyhow::Result<()> {
    let columns: Vec<_> = READINGS.iter().filter_map(|name| describe(name)).collect();
    match args.format {
        TableFormat::Table => {
            for column in columns {
                let unit = if column.unit.is_empty() { String::new() } else { format!(" [{}]", column.unit) };
                println!("{:<24} {}{unit}", column.name, column.label);
                if !column.values.is_empty() {
                    println!("{:<24} {}", "", column.values);
                }
            }
        }
        TableFormat::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(["column", "type", "unit", "label", "values"])?;
            for column in columns {
                writer.write_record([
                    &*column.name,
                    column.kind.name(),
                    column.unit,
                    &*column.label,
                    &*column.values,
                ])?;
            }
            writer.flush()?;
        }
        TableFormat::Json => {
            let rows: Vec<_> = columns
                .iter()
                .map(|c| {
                    serde_json::json!({"column": c.name, "type": c.kind.name(), "unit": c.unit,
                        "label": c.label, "values": c.values})
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        TableFormat::Parquet => return Err(usage("the codebook is a text: choose table, csv or json")),
    }
    Ok(())
}

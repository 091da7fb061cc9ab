//! All tables as one workbook, a sheet each.

use super::papers::Edition;
use super::tables::Table;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet};

/// Rows of a sheet, the header included.
const SHEET_ROWS_MAX: usize = 1 << 20;

/// A workbook of the tables that fit a sheet, after one that says what they are. Its date is that of the release, so that the same tables
/// give the same bytes.
pub fn workbook(edition: &Edition, tables: &[Table]) -> anyhow::Result<Vec<u8>> {
    let mut book = Workbook::new();
    let date = ExcelDateTime::parse_from_str(&edition.date)?;
    book.set_properties(&DocProperties::new().set_title(&edition.name).set_creation_datetime(&date));
    let bold = Format::new().set_bold();
    let sheet = book.add_worksheet().set_name("about")?;
    sheet.write_string(0, 0, &edition.name)?;
    sheet.write_string(1, 0, format!("released {}", edition.date))?;
    for (row, table) in (3_u32..).zip(tables) {
        sheet.write_string(row, 0, &table.name)?;
        let missing =
            if table.batch.num_rows() >= SHEET_ROWS_MAX { " (too long for a sheet: see CSV and Parquet)" } else { "" };
        sheet.write_string(row, 1, format!("{}{missing}", table.about))?;
    }
    sheet.set_column_width(0, 24)?;
    for table in tables.iter().filter(|table| table.batch.num_rows() < SHEET_ROWS_MAX) {
        fill(book.add_worksheet().set_name(&table.name)?, table, &bold)?;
    }
    Ok(book.save_to_buffer()?)
}

fn fill(sheet: &mut Worksheet, table: &Table, bold: &Format) -> anyhow::Result<()> {
    sheet.set_freeze_panes(1, 0)?;
    for (place, meaning) in table.columns.iter().enumerate() {
        let at = u16::try_from(place)?;
        sheet.write_string_with_format(0, at, &meaning.name, bold)?;
        let column = table.batch.column(place);
        let text = ArrayFormatter::try_new(column, &FormatOptions::default())?;
        let numbers =
            column.data_type().is_numeric().then(|| arrow::compute::cast(column, &DataType::Float64)).transpose()?;
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            let line = u32::try_from(row + 1)?;
            if let Some(numbers) = &numbers {
                sheet.write_number(line, at, numbers.as_primitive::<Float64Type>().value(row))?;
            } else if let Some(truths) = column.as_boolean_opt() {
                sheet.write_boolean(line, at, truths.value(row))?;
            } else {
                sheet.write_string(line, at, text.value(row).to_string())?;
            }
        }
    }
    Ok(())
}

//! Tables as CSV and Parquet.

use super::tables::Table;
use arrow::csv::WriterBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// With a header line; missing values are empty.
pub fn csv(table: &Table) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    WriterBuilder::new().with_header(true).build(&mut bytes).write(&table.batch)?;
    Ok(bytes)
}

/// With labels, units and values in the metadata of the columns.
pub fn parquet(table: &Table) -> anyhow::Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), table.batch.schema(), Some(properties))?;
    writer.write(&table.batch)?;
    Ok(writer.into_inner()?)
}

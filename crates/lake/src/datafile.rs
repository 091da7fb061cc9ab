//! Parquet files in the store: written whole or as a stream, read by row groups or by single rows.

use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{
    GetResult, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, ObjectStoreExt, PutPayload, coalesce_ranges,
};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ArrowWriter, AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a row group: what a reader holds of one column at a time, and what a writer holds of all.
pub(crate) const ROW_GROUP_ROWS: usize = 65_536;
/// Rows read at a time.
pub(crate) const READ_ROWS: usize = 8_192;
/// The last bytes of a file are fetched at once; footers of our files fit.
const FOOTER_BYTES: usize = 64 * 1024;

/// Columns in which no value comes twice: to look for repeated ones takes time and finds none.
const UNIQUE: [&str; 5] = ["item_id", "image_id", "sop_id", "artifact_key", "uri"];

pub(crate) fn writer_properties(row_group_rows: usize) -> WriterProperties {
    let builder = UNIQUE.iter().fold(WriterProperties::builder(), |builder, column| {
        builder.set_column_dictionary_enabled(ColumnPath::from(*column), false)
    });
    builder
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a zstd level")))
        .set_max_row_group_row_count(Some(row_group_rows))
        .set_created_by("aortica".to_owned())
        .build()
}

/// A Parquet file in memory.
pub(crate) fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes> {
    let mut out = Vec::new();
    let mut write = || -> Result<(), ParquetError> {
        let mut writer = ArrowWriter::try_new(&mut out, Arc::clone(schema), Some(writer_properties(ROW_GROUP_ROWS)))?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.close()?;
        Ok(())
    };
    write().map_err(Error::parquet("encoding rows"))?;
    Ok(out.into())
}

/// Writes one object at once. Returns its size in bytes.
pub(crate) async fn put(store: &dyn ObjectStore, path: &Path, bytes: Bytes) -> Result<u64> {
    let size = bytes.len() as u64;
    store.put(path, PutPayload::from_bytes(bytes)).await.map_err(Error::store("writing a file of the lake"))?;
    Ok(size)
}

/// The bytes of an answer, as many as it announced. What ends early is the store's fault and may be asked for again; taken
/// for the object, it would be one that cannot be read, which is nobody's to mend.
pub(crate) async fn whole(answer: GetResult) -> object_store::Result<Bytes> {
    let announced = answer.range.clone();
    as_long_as(&announced, answer.bytes().await?)
}

fn as_long_as(range: &Range<u64>, bytes: Bytes) -> object_store::Result<Bytes> {
    if bytes.len() as u64 == range.end - range.start {
        return Ok(bytes);
    }
    let source = "the answer ended early".to_owned().into();
    Err(object_store::Error::Generic { store: "lake", source })
}

/// Writes batches as they come; at most one row group and one part of an upload are held.
pub(crate) struct StreamedFile {
    writer: AsyncArrowWriter<BufWriter>,
    rows: usize,
}

impl StreamedFile {
    pub(crate) fn create(
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        schema: &SchemaRef,
        row_group_rows: usize,
    ) -> Result<StreamedFile> {
        let sink = BufWriter::new(Arc::clone(store), path.clone());
        let writer = AsyncArrowWriter::try_new(sink, Arc::clone(schema), Some(writer_properties(row_group_rows)))
            .map_err(Error::parquet("beginning a file"))?;
        Ok(StreamedFile { writer, rows: 0 })
    }

    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        self.writer.write(batch).await.map_err(Error::parquet("writing a file"))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the size in bytes.
    pub(crate) async fn finish(mut self) -> Result<u64> {
        self.writer.finish().await.map_err(Error::parquet("ending a file"))?;
        Ok(self.writer.bytes_written() as u64)
    }
}

/// A file of the store as the Parquet reader wants it.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let bytes = self.store.get_range(&self.path, range.clone()).await;
            bytes.and_then(|bytes| as_long_as(&range, bytes)).map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            // not the store's own `get_ranges`, which cuts its answer up before anybody could look at its length
            let (store, path) = (&self.store, &self.path);
            let fetch =
                |range: Range<u64>| async move { as_long_as(&range, store.get_range(path, range.clone()).await?) };
            let whole = coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await;
            whole.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let pages = options.map_or(PageIndexPolicy::Skip, |o| o.offset_index_policy());
        let size = self.size;
        async move {
            let reader = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(FOOTER_BYTES))
                .with_offset_index_policy(pages)
                .with_column_index_policy(PageIndexPolicy::Skip);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// Batches of some columns (all, where `columns` is empty) of a file, in file order.
pub(crate) async fn read(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    columns: &[&str],
) -> Result<impl futures::Stream<Item = Result<RecordBatch>> + Send + Unpin + use<>> {
    let stream = open(store, path, size, columns, None).await?;
    Ok(stream.map_err(Error::parquet("reading a file of the lake")).boxed())
}

/// The rows of a file with these numbers, which ascend.
pub(crate) async fn read_rows(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    rows: &[u32],
) -> Result<Vec<RecordBatch>> {
    let stream = open(store, path, size, &[], Some(rows)).await?;
    stream.try_collect().await.map_err(Error::parquet("reading rows of the lake"))
}

async fn open(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    columns: &[&str],
    rows: Option<&[u32]>,
) -> Result<ParquetRecordBatchStream<StoredFile>> {
    let build = async || -> Result<_, ParquetError> {
        let file = StoredFile { store: Arc::clone(store), path: path.clone(), size };
        // The page index lets single rows be read without the pages around them.
        let pages = if rows.is_some() { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let options = ArrowReaderOptions::new().with_offset_index_policy(pages);
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_options(file, options).await?.with_batch_size(READ_ROWS);
        if !columns.is_empty() {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        if let Some(rows) = rows {
            let total = builder.metadata().file_metadata().num_rows() as usize;
            let ranges = rows.iter().map(|&row| row as usize..row as usize + 1);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(ranges, total));
        }
        builder.build()
    };
    build().await.map_err(Error::parquet("opening a file of the lake"))
}

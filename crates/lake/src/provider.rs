//! A set of Parquet files as a table of DataFusion: exactly the files of one version, without listing or asking the
//! store for their sizes.

use crate::table::ActiveFile;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// The store of the lake within a session. A scheme of our own: no statement can name a file by it.
pub(crate) const STORE_URL: &str = "lake://files/";

#[derive(Debug)]
pub(crate) struct Files {
    schema: SchemaRef,
    files: Vec<ActiveFile>,
}

impl Files {
    /// Files that lack a column of `schema` give NULL for it; columns beyond it are not seen.
    pub(crate) fn new(schema: SchemaRef, files: Vec<ActiveFile>) -> Files {
        Files { schema, files }
    }
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Row groups are skipped by their statistics; the rows are filtered above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(self.files.iter().map(|f| f.rows as usize).sum());
        Some(statistics)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = ParquetSource::new(Arc::clone(&self.schema));
        let schema = datafusion::common::DFSchema::try_from(Arc::clone(&self.schema))?;
        if let Some(filter) = datafusion::logical_expr::utils::conjunction(filters.iter().cloned()) {
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let groups = self.groups(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.statistics().unwrap_or_else(|| Statistics::new_unknown(&self.schema)))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl Files {
    /// Files dealt out to partitions, largest first to the emptiest.
    fn groups(&self, partitions: usize) -> Vec<FileGroup> {
        let mut files: Vec<&ActiveFile> = self.files.iter().collect();
        files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        let mut groups: Vec<(u64, Vec<PartitionedFile>)> =
            vec![(0, Vec::new()); partitions.clamp(1, files.len().max(1))];
        for file in files {
            let emptiest = groups.iter_mut().min_by_key(|g| g.0).expect("there is a group");
            emptiest.0 += file.size;
            emptiest.1.push(PartitionedFile::new(file.path.to_string(), file.size));
        }
        groups.into_iter().map(|g| FileGroup::new(g.1)).collect()
    }
}

//! SQL over one version of the lake. Nothing can be written, and nothing outside the lake be read.

use crate::codebook::{TableEntry, codebook};
use crate::error::{Error, Result};
use crate::explain::explain;
use crate::fingerprints;
use crate::items::{ItemManifests, ledger_schema, sources_schema};
use crate::layers::NamedLayers;
use crate::location::Location;
use crate::paths::{LakePaths, Table};
use crate::provider::{Files, STORE_URL};
use crate::table::{ActiveFile, LakeTable};
use crate::views;
use crate::{few_groups, unnest_keys};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::metadata::FieldMetadata;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{Expr, SQLOptions, SessionConfig, SessionContext, ident};
use futures::TryStreamExt;
use std::sync::Arc;

/// What a session may use and show.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Memory of all operators of all queries together, MiB; sorts and aggregates beyond it use temporary files.
    pub memory_mib: usize,
    /// Partitions that are worked on at once.
    pub threads: usize,
    /// Whether there is a table `sources` (submission, item_id, uri). File names may identify people.
    pub sources: bool,
    /// Whether a statistic may gather readings of several fingerprints.
    pub mixed_fingerprints: bool,
}

impl Default for SessionOptions {
    /// 1 GiB, two threads, no sources, no mixture.
    fn default() -> Self {
        SessionOptions { memory_mib: 1024, threads: 2, sources: false, mixed_fingerprints: false }
    }
}

/// Schema of what the views are made of. Not listed among the tables.
const PARTS: &str = "parts";
const CATALOG: &str = "lake";

/// A read-only view of the lake at the version at which it was opened.
pub struct LakeSession {
    context: SessionContext,
    memory_mib: usize,
    tables: Vec<&'static str>,
    mixed_fingerprints: bool,
}

/// The rows of an answer, as they come.
pub struct Answer {
    stream: SendableRecordBatchStream,
    memory_mib: usize,
}

impl Answer {
    pub(crate) fn of(stream: SendableRecordBatchStream, memory_mib: usize) -> Answer {
        Answer { stream, memory_mib }
    }

    /// All rows that are left.
    ///
    /// # Errors
    /// As [`Answer::next`].
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Columns with their metadata (`label`, `unit`, `values`).
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// # Errors
    /// The query fails on the way.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.stream.try_next().await.map_err(|error| explain(error, self.memory_mib, &[]))
    }
}

impl LakeSession {
    pub(crate) async fn open(location: &Location, paths: &LakePaths, options: SessionOptions) -> Result<LakeSession> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, "public")
            .with_information_schema(true)
            .with_target_partitions(options.threads.max(1));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_mib.max(1) << 20)))
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.add_analyzer_rule(Arc::new(NamedLayers));
        let url = url::Url::parse(STORE_URL).expect("a valid url");
        context.register_object_store(&url, Arc::clone(&location.store));

        let mixed_fingerprints = options.mixed_fingerprints;
        let mut session =
            LakeSession { context, memory_mib: options.memory_mib, tables: Vec::new(), mixed_fingerprints };
        session.register(location, paths, &options).await?;
        statistics::sql::register(&session.context).map_err(failed)?;
        few_groups::register(&session.context);
        unnest_keys::register(&session.context);
        session.tables.push(statistics::sql::LISTING);
        Ok(session)
    }

    async fn register(&mut self, location: &Location, paths: &LakePaths, options: &SessionOptions) -> Result<()> {
        let parts = Arc::new(datafusion::catalog::MemorySchemaProvider::new());
        let catalog = self.context.catalog(CATALOG).expect("the default catalog exists");
        catalog.register_schema(PARTS, parts).map_err(failed)?;

        // `instances` before `results`: a scored instance is written after its result, so that it finds it.
        for table in [Table::Instances, Table::Results] {
            let open = LakeTable::open(location, paths, table).await?;
            let open = open.ok_or_else(|| Error::NotALake { address: location.url.to_string() })?;
            let files = open.files()?.into_values().collect();
            self.files(None, table.name(), open.read_schema()?, files)?;
        }
        let manifests = ItemManifests::new(location, paths).all_parts().await?;
        self.files(Some(PARTS), "items", ledger_schema(), manifests.clone())?;

        self.view("current_instances", views::CURRENT_INSTANCES).await?;
        self.view("readings_wide", &views::readings()).await?;
        for table in codebook() {
            self.documented(&table, &views::definition(table.name)).await?;
            self.tables.push(table.name);
        }
        if options.sources {
            self.files(None, "sources", sources_schema(), manifests)?;
        }
        self.tables.extend(["results", "instances"]);
        self.tables.extend(options.sources.then_some("sources"));
        Ok(())
    }

    fn files(&self, schema: Option<&str>, name: &str, columns: SchemaRef, files: Vec<ActiveFile>) -> Result<()> {
        let provider = Arc::new(Files::new(columns, files));
        self.context.register_table(reference(schema, name), provider).map_err(failed)?;
        Ok(())
    }

    /// A part of other views.
    async fn view(&self, name: &str, sql: &str) -> Result<()> {
        let frame = self.context.sql(sql).await.map_err(failed)?;
        self.context.register_table(reference(Some(PARTS), name), frame.into_view()).map_err(failed)?;
        Ok(())
    }

    /// A table of the codebook: a view with its columns' metadata, computed ones included.
    async fn documented(&self, table: &TableEntry, sql: &str) -> Result<()> {
        let columns = table.columns.iter().map(|column| {
            let metadata = Some(FieldMetadata::from(column.metadata()));
            ident(&*column.name).alias_with_metadata(&*column.name, metadata)
        });
        let frame =
            self.context.sql(sql).await.map_err(failed)?.select(columns.collect::<Vec<Expr>>()).map_err(failed)?;
        self.context.register_table(reference(None, table.name), frame.into_view()).map_err(failed)?;
        Ok(())
    }

    /// The names that a query may use.
    pub fn tables(&self) -> &[&'static str] {
        &self.tables
    }

    /// For those who add tables of their own (covariates) or serve queries: statements must go through
    /// [`LakeSession::read_only`] options.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Options that refuse everything but reading.
    pub fn read_only() -> SQLOptions {
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
    }

    /// Answers one statement.
    ///
    /// # Errors
    /// [`Error::Query`] says what is wrong with the statement and which tables or columns there are, or that a statistic would mix
    /// readings of several fingerprints.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        let frame = self.plan(sql).await?;
        let stream = frame.execute_stream().await.map_err(|e| explain(e, self.memory_mib, &self.tables))?;
        Ok(Answer { stream, memory_mib: self.memory_mib })
    }

    /// All rows of an answer that is known to be small.
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query(sql).await?.collect().await
    }

    pub(crate) fn explain(&self, error: DataFusionError, memory_mib: usize) -> Error {
        explain(error, memory_mib, &self.tables)
    }

    async fn plan(&self, sql: &str) -> Result<DataFrame> {
        let planned = self.context.sql_with_options(sql, LakeSession::read_only()).await;
        let frame = planned.map_err(|error| explain(error, self.memory_mib, &self.tables))?;
        self.refuse_mixture(frame.logical_plan()).await?;
        Ok(frame)
    }

    pub(crate) async fn refuse_mixture(&self, plan: &LogicalPlan) -> Result<()> {
        if self.mixed_fingerprints {
            return Ok(());
        }
        fingerprints::refuse_mixture(&self.context, plan).await
    }
}

fn reference(schema: Option<&str>, name: &str) -> TableReference {
    match schema {
        Some(schema) => TableReference::partial(schema.to_owned(), name.to_owned()),
        None => TableReference::bare(name.to_owned()),
    }
}

fn failed(error: DataFusionError) -> Error {
    Error::QueryFailed(Box::new(error))
}

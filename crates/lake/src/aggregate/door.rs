//! The one door: a statement under a role.

use super::policy::Policy;
use super::session::{AggregateSession, Population};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::session::{Answer, LakeSession, SessionOptions};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Role {
    /// Trusted with rows: equal to access to the files.
    Rows,
    /// Is told what the policy allows.
    Aggregate(Arc<Policy>),
}

/// The lake as a role sees it. Command line and servers run their statements here.
#[derive(Clone)]
pub enum Door {
    Rows(Arc<LakeSession>),
    Aggregate(AggregateSession),
}

impl Lake {
    /// The newest version as a role sees it. The aggregate role counts the participants of one fingerprint, which must be named where the
    /// lake has several; `occasion` goes into the log of what was told.
    ///
    /// # Errors
    /// Those of a session; [`Error::Policy`]; readings of several pipelines or versions and no choice among them.
    pub async fn door(
        &self,
        options: SessionOptions,
        role: &Role,
        fingerprint: Option<&str>,
        occasion: &str,
    ) -> Result<Door> {
        let policy = match role {
            Role::Rows => return Ok(Door::Rows(Arc::new(self.session(options).await?))),
            Role::Aggregate(policy) => policy,
        };
        let rows = self.session(SessionOptions { sources: false, ..options.clone() }).await?;
        let fingerprint = rows.fingerprint(fingerprint).await?;
        rows.register_participants(&fingerprint).await?;
        let of = Population { table: "participants", imaged: "participants", fingerprint: &fingerprint, occasion };
        Ok(Door::Aggregate(AggregateSession::open(&rows, of, policy, &options).await?))
    }
}

impl LakeSession {
    /// The fingerprint whose readings are counted: the wanted one, or the only one. Readings of different pipelines or versions are not mixed.
    ///
    /// # Errors
    /// [`Error::Query`] names those that there are.
    pub async fn fingerprint(&self, wanted: Option<&str>) -> Result<String> {
        let mut known = Vec::new();
        for batch in self.collect("SELECT DISTINCT fingerprint FROM readings ORDER BY 1").await? {
            let texts =
                arrow::compute::cast(batch.column(0), &DataType::Utf8).map_err(Error::arrow("reading an answer"))?;
            known.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        match (wanted, known.as_slice()) {
            (_, []) => Err(Error::Query("the lake has no readings".to_owned())),
            (Some(wanted), _) if known.iter().any(|k| k == wanted) => Ok(wanted.to_owned()),
            (None, [only]) => Ok(only.clone()),
            _ => Err(Error::Query(format!(
                "the lake holds readings of {} pipelines or versions, which do not mix: choose one with --fingerprint, of {}",
                known.len(),
                known.join(", ")
            ))),
        }
    }

    /// The table `participants`: of each participant of a fingerprint the primary image of the latest visit.
    async fn register_participants(&self, fingerprint: &str) -> Result<()> {
        let sql =
            format!("SELECT * FROM latest_by_image_date WHERE fingerprint = '{}'", fingerprint.replace('\'', "''"));
        let failed = |error| Error::QueryFailed(Box::new(error));
        let view = self.context().sql(&sql).await.map_err(failed)?.into_view();
        self.context().register_table("participants", view).map_err(failed)?;
        Ok(())
    }
}

impl Door {
    /// Answers one statement.
    ///
    /// # Errors
    /// [`Error::Query`] says what is wrong with the statement and what there is.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        match self {
            Door::Rows(session) => session.query(sql).await,
            Door::Aggregate(session) => session.query(sql).await,
        }
    }

    /// All rows of an answer that is known to be small.
    ///
    /// # Errors
    /// As [`Door::query`].
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query(sql).await?.collect().await
    }

    /// The names that a query may use.
    pub fn tables(&self) -> &[&'static str] {
        match self {
            Door::Rows(session) => session.tables(),
            Door::Aggregate(session) => session.tables(),
        }
    }

    /// Lets a plan pass that [`Door::query`] would run. For servers that plan statements over [`Door::context`] themselves.
    ///
    /// # Errors
    /// [`Error::Query`] where the plan would write, or a statistic mix readings of several pipelines or versions.
    pub async fn admit(&self, plan: &LogicalPlan, memory_mib: usize) -> Result<()> {
        LakeSession::read_only().verify_plan(plan).map_err(|error| self.explain(error, memory_mib))?;
        match self {
            Door::Rows(session) => session.refuse_mixture(plan).await,
            Door::Aggregate(_) => Ok(()),
        }
    }

    /// An error that a statement met, in words that help whoever has this role. `memory_mib`: what the statement might have.
    pub fn explain(&self, error: DataFusionError, memory_mib: usize) -> Error {
        match self {
            Door::Rows(session) => session.explain(error, memory_mib),
            Door::Aggregate(session) => session.explain(error, memory_mib),
        }
    }

    /// For servers that plan statements themselves: with [`Door::admit`] whatever the role.
    pub fn context(&self) -> &SessionContext {
        match self {
            Door::Rows(session) => session.context(),
            Door::Aggregate(session) => session.context(),
        }
    }
}

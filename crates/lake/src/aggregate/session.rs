//! The session of the aggregate role: SQL over what may be told, and nothing else.

use super::cohort::{self, Cohort};
use super::functions::{ProtectedFunction, memory};
use super::policy::{Function, Policy};
use super::released::{Log, Telling, Told, Unit};
use super::tables::{Protected, Step, batch};
use crate::error::{Error, Result};
use crate::explain::explain;
use crate::session::{Answer, LakeSession, SessionOptions};
use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use statistics::disclosure::{Counts, Entry, Grid, Member};
use std::sync::Arc;

/// Tables of every session of the role.
const STRATA: &str = "strata";
const FUNCTIONS: &str = "aggregate_functions";
const TABLES: [&str; 3] = [FUNCTIONS, STRATA, statistics::sql::LISTING];

/// Which participants are counted.
#[derive(Debug, Clone, Copy)]
pub struct Population<'a> {
    /// Table of the session with one row a participant and the columns of `latest_by_image_date`: those who are analysed, once they
    /// have a total.
    pub table: &'a str,
    /// Table of the session with all participants who have a primary image.
    pub imaged: &'a str,
    /// Of the readings: for the flow of the items.
    pub fingerprint: &'a str,
    /// What the log says the numbers were told for: the name of a release, or `query`.
    pub occasion: &'a str,
}

/// What the aggregate role may be told of one version of the lake, in SQL.
#[derive(Clone)]
pub struct AggregateSession {
    context: SessionContext,
    protected: Arc<Protected>,
    functions: Vec<Function>,
    memory_mib: usize,
}

impl AggregateSession {
    /// Counts a population, works out what may be told of it and writes that into the log of the policy.
    ///
    /// # Errors
    /// [`Error::Policy`] where the policy does not fit the columns or has no log; those of the log.
    pub async fn open(
        rows: &LakeSession,
        of: Population<'_>,
        policy: &Policy,
        options: &SessionOptions,
    ) -> Result<AggregateSession> {
        let folder = policy.log.as_ref().ok_or_else(|| Error::Policy {
            problem: "the policy names no folder as `log`, and nothing is told that is not written down".to_owned(),
        })?;
        let (cohort, members) = Cohort::read(rows, of.table, policy).await?;
        let items = cohort::items(rows, of.fingerprint).await?;
        let imaged = cohort::participants(rows, of.imaged).await?;
        let log = Log::open(folder).await?;
        let told = log.tell(&Telling {
            occasion: of.occasion,
            cohort: "participants with a total",
            unit: Unit::Participant,
            strata: cohort.strata.iter().map(|s| (s.name.clone(), s.values.clone())).collect(),
            grid: &cohort.grid,
            counts: &counts(&members),
            members: &members,
            threshold: policy.threshold,
        })?;
        let analysed = told.has(&Entry::of(&vec![None; cohort.grid.sizes().len()])).then_some(members.len() as u64);
        let flow = flow(&log, &of, policy, (items, imaged, analysed))?;
        let protected = Protected { cohort, told, flow, threshold: policy.threshold, rounding: policy.rounding };
        AggregateSession::over(Arc::new(protected), policy, options)
    }

    fn over(protected: Arc<Protected>, policy: &Policy, options: &SessionOptions) -> Result<AggregateSession> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema("lake", "public")
            .with_information_schema(true)
            .with_target_partitions(1);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_mib.max(1) << 20)))
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        statistics::sql::register(&context).map_err(failed)?;
        let functions: Vec<Function> = Function::ALL.into_iter().filter(|f| policy.functions.contains(f)).collect();
        for function in &functions {
            let call = ProtectedFunction { protected: Arc::clone(&protected), function: *function };
            context.register_udtf(function.name(), Arc::new(call));
        }
        let session = AggregateSession { context, protected, functions, memory_mib: options.memory_mib };
        session.list(FUNCTIONS, session.functions_table()?)?;
        session.list(STRATA, session.strata_table()?)?;
        Ok(session)
    }

    fn list(&self, name: &str, table: RecordBatch) -> Result<()> {
        let provider = memory(table).map_err(failed)?;
        self.context.register_table(name, provider).map_err(failed)?;
        Ok(())
    }

    fn functions_table(&self) -> Result<RecordBatch> {
        let stratum = self.protected.cohort.strata.first().map_or(String::new(), |s| format!("'{}'", s.name));
        let rows = |of: &dyn Fn(&Function) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(self.functions.iter().map(of)))
        };
        let arguments = |f: &Function| if *f == Function::Flow { "" } else { "stratum, ..." };
        let example = |f: &Function| if *f == Function::Flow { "" } else { &stratum };
        batch(vec![
            ("name", rows(&|f| f.name().to_owned())),
            ("usage", rows(&|f| format!("{}({})", f.name(), arguments(f)))),
            ("about", rows(&|f| f.about().to_owned())),
            ("example", rows(&|f| format!("SELECT * FROM {}({})", f.name(), example(f)))),
        ])
    }

    fn strata_table(&self) -> Result<RecordBatch> {
        let values = self
            .protected
            .cohort
            .strata
            .iter()
            .flat_map(|s| s.values.iter().enumerate().map(move |(i, v)| (&s.name, i, v)));
        let values: Vec<(&String, usize, &String)> = values.collect();
        batch(vec![
            ("stratum", Arc::new(StringArray::from_iter_values(values.iter().map(|v| v.0))) as ArrayRef),
            ("place", Arc::new(UInt32Array::from_iter_values(values.iter().map(|v| v.1 as u32)))),
            ("value", Arc::new(StringArray::from_iter_values(values.iter().map(|v| v.2)))),
        ])
    }

    /// Answers one statement over what may be told.
    ///
    /// # Errors
    /// [`Error::Query`] says what is wrong and what may be asked for.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        let told = |error| self.explain(error, self.memory_mib);
        let frame = self.context.sql_with_options(sql, LakeSession::read_only()).await.map_err(told)?;
        let stream = frame.execute_stream().await.map_err(told)?;
        Ok(Answer::of(stream, self.memory_mib))
    }

    /// The answer of one function by some strata, as [`AggregateSession::query`] gives it.
    ///
    /// # Errors
    /// The policy has no such function or stratum, or crosses fewer.
    pub fn table(&self, function: Function, strata: &[String]) -> Result<RecordBatch> {
        if !self.functions.contains(&function) {
            return Err(Error::Query(format!(
                "the policy does not allow {}; it allows {}",
                function.name(),
                self.allowed()
            )));
        }
        self.protected.table(function, &self.protected.strata(strata)?)
    }

    /// For servers. The context holds no rows, so that any statement that only reads may be run in it:
    /// [`LakeSession::read_only`].
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The names that a query may use, beside the functions.
    pub fn tables(&self) -> &[&'static str] {
        &TABLES
    }

    /// What may be asked for.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The strata with their values in order.
    pub fn strata(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.protected.cohort.strata.iter().map(|s| (s.name.as_str(), s.values.as_slice()))
    }

    /// Names of the bands of the score in order: `0`, `1`, `2-5`, `6-24`.
    pub fn bands(&self) -> Vec<String> {
        let cohort = &self.protected.cohort;
        (0..cohort.bands.len()).map(|band| cohort.band_name(band)).collect()
    }

    /// Strata that may be crossed.
    pub fn strata_at_once(&self) -> usize {
        self.protected.cohort.grid.at_once()
    }

    /// Counts that are withheld, and all.
    pub fn withheld(&self) -> (usize, usize) {
        self.protected.withheld()
    }

    /// Counts that are withheld only because they differ too little from what was told of another cohort.
    pub fn refused(&self) -> usize {
        self.protected.told.refused
    }

    fn allowed(&self) -> String {
        self.functions.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn explain(&self, error: DataFusionError, memory_mib: usize) -> Error {
        match explain(error, memory_mib, &TABLES) {
            Error::Query(problem) if problem.contains("no table") => Error::Query(format!(
                "{problem}; the aggregate role sees no rows: ask functions ({}), as in SELECT * FROM prevalence('sex'); \
                 SELECT * FROM {FUNCTIONS} lists them, SELECT * FROM {STRATA} their strata",
                self.allowed()
            )),
            other => other,
        }
    }
}

fn counts(members: &[Member]) -> Counts {
    let mut counts = Counts::new();
    for (_, cell) in members {
        *counts.entry(*cell).or_default() += 1;
    }
    counts
}

type Items = (cohort::Values, Grid, Counts, Vec<Member>);

/// The flow: items by their outcome, then participants, each compared with what was told before.
fn flow(
    log: &Log,
    of: &Population<'_>,
    policy: &Policy,
    counted: (Items, Vec<Member>, Option<u64>),
) -> Result<Vec<Step>> {
    let ((steps, grid, counts, members), imaged, analysed) = counted;
    let telling = Telling {
        occasion: of.occasion,
        cohort: "items",
        unit: Unit::Item,
        strata: vec![(steps.name.clone(), steps.values.clone())],
        grid: &grid,
        counts: &counts,
        members: &members,
        threshold: policy.threshold,
    };
    let items: Told = log.tell(&telling)?;
    let n = |entry: Entry, n: u64| items.has(&entry).then_some(n);
    let mut flow = vec![Step { step: "items received".to_owned(), n: n(Entry::of(&[None]), counts.values().sum()) }];
    for (place, step) in steps.values.into_iter().enumerate() {
        let count = counts.get(&(place as u32)).copied().unwrap_or_default();
        flow.push(Step { step, n: n(Entry::of(&[Some(place)]), count) });
    }
    let all = Grid::new(&[2], 0, None)?;
    let participants = log.tell(&Telling {
        cohort: "participants with a primary image",
        unit: Unit::Participant,
        strata: Vec::new(),
        grid: &all,
        counts: &Counts::from([(0, imaged.len() as u64)]),
        members: &imaged,
        ..telling
    })?;
    let with_image = participants.has(&Entry::of(&[None])).then_some(imaged.len() as u64);
    flow.push(Step { step: "participants with a primary image".to_owned(), n: with_image });
    flow.push(Step { step: "participants analysed".to_owned(), n: analysed });
    Ok(flow)
}

fn failed(error: DataFusionError) -> Error {
    Error::QueryFailed(Box::new(error))
}

//! Jobs to committed rows: worker and committer in one process beside a real broker, the artifacts and tables in memory or in a
//! store. All that a worker does is done but for fetching and pixels: a reading is made up at once, kept as an artifact, published with confirm.

use crate::committing::{commit_all, connect, publish_all, tables};
use crate::meter::Meter;
use crate::synthetic::Population;
use crate::{Options, Result};
use async_trait::async_trait;
use domain::record::OutcomeRecord;
use domain::{FailReason, Fingerprint, Item, Outcome};
use lake::{Lake, Location, store_for};
use pipeline::job::Message;
use pipeline::metrics::Metrics;
use pipeline::queue::Broker;
use pipeline::queue::topology::Lane;
use pipeline::steps::Errand;
use pipeline::worker::{Reads, WorkerOptions, work};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Instant stages: every item is a lateral spine that was read already.
struct Instant {
    population: Population,
    lake: Lake,
    metrics: Metrics,
    read: Arc<AtomicU64>,
}

#[async_trait]
impl Reads for Instant {
    fn fingerprint(&self) -> &Fingerprint {
        self.population.fingerprint()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn read(&self, item: &Item, errand: Errand<'_>) -> pipeline::Result<OutcomeRecord> {
        let record = self.population.record(item, errand.submission);
        if let Outcome::Scored { reading } = &record.outcome {
            self.lake.artifacts().put(reading).await?;
        }
        let record = self.lake.artifacts().put_outcome(record).await?;
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(record)
    }

    async fn give_up(&self, item: &Item, errand: Errand<'_>, reason: FailReason) -> pipeline::Result<OutcomeRecord> {
        let record = self.population.record(item, errand.submission);
        let record = OutcomeRecord { outcome: Outcome::Failed { reason }, artifact_key: None, ..record };
        Ok(self.lake.artifacts().put_outcome(record).await?)
    }
}

pub async fn run(options: &Options) -> Result<Value> {
    let (jobs, prefetch) = (options.number("jobs", 30_000)?, options.number("prefetch", 256)?);
    let location =
        options.text("lake").map_or_else(|| Ok(Location::in_memory()), |at| store_for(at, &options.store))?;
    let lake = Lake::create_if_absent(location).await?;
    let population = Population::new()?;
    let amqp = connect(options.needed("amqp")?).await?;
    let broker: Arc<dyn Broker> = Arc::new(amqp.clone());
    let payloads = (0..jobs).map(|number| Ok::<_, crate::Error>(population.job(number).encode()?));
    publish_all(&broker, Lane::Jobs, payloads).await?;

    let meter = Meter::start(options.broker_pid()?)?;
    let (leave, read) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let working = {
        let reads = Instant { population, lake: lake.clone(), metrics: Metrics::unread(), read: Arc::clone(&read) };
        let options = WorkerOptions { prefetch: u16::try_from(prefetch)?, grace: Duration::from_secs(60) };
        let (broker, leave) = (broker.clone(), leave.clone());
        tokio::spawn(async move { work(&reads, broker, options, &leave).await })
    };
    // It finishes what is in hand before it leaves.
    let worked = async {
        while read.load(Ordering::Relaxed) < jobs && !working.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        leave.cancel();
        Ok::<_, crate::Error>(working.await??)
    };
    let (committed, worked) = commit_all(&lake, &broker, jobs, worked).await?;
    let rate = meter.stop(jobs)?;
    amqp.close().await;
    if worked.acknowledged != jobs || committed.instances_added != jobs {
        return Err(format!("{jobs} jobs gave {worked:?} and {committed:?}").into());
    }
    let where_to = options.text("lake").map_or("memory", |at| at.split("://").next().unwrap_or(at));
    Ok(json!({
        "store": where_to, "prefetch": prefetch, "jobs_to_rows": rate, "commits": committed.commits, "tables": tables(&lake).await?,
    }))
}

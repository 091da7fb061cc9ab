//! Records to rows: the committer on a lane that is full, in memory or on a broker.

use crate::meter::Meter;
use crate::synthetic::Population;
use crate::{Options, Result};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use lake::{Lake, store_for};
use pipeline::BatchLimits;
use pipeline::commit::{CommitOptions, CommitterReport, commit};
use pipeline::job::Message;
use pipeline::metrics::Metrics;
use pipeline::queue::amqp::{AmqpBroker, AmqpSettings};
use pipeline::queue::memory::MemoryBroker;
use pipeline::queue::topology::{DELIVERY_LIMIT, Lane};
use pipeline::queue::{Broker, Parcel};
use prometheus::Registry;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Messages that are published at the same time.
const PUBLISHED_AT_ONCE: usize = 512;

pub async fn connect(url: &str) -> Result<AmqpBroker> {
    let settings = AmqpSettings {
        url: url.to_owned(),
        namespace: format!("throughput-{}", std::process::id()),
        delivery_limit: DELIVERY_LIMIT,
        connection_name: "throughput".into(),
        reconnect_within: Duration::from_secs(30),
        metrics: Metrics::unread(),
    };
    Ok(AmqpBroker::connect(settings).await?)
}

pub async fn publish_all(
    broker: &Arc<dyn Broker>,
    lane: Lane,
    payloads: impl Iterator<Item = Result<Bytes>>,
) -> Result<()> {
    let sending = stream::iter(payloads).map(|payload| async move {
        broker.publish(lane, Parcel { payload: payload?, ..Parcel::default() }).await?;
        Ok::<(), crate::Error>(())
    });
    sending.buffer_unordered(PUBLISHED_AT_ONCE).try_collect().await
}

/// Commits what is and what comes on the lane of records until `others` are done and so many records are folded. A broker's counts
/// lag, and do not tell what is on its way; the committer's own metric does.
pub async fn commit_all<T>(
    lake: &Lake,
    broker: &Arc<dyn Broker>,
    records: u64,
    others: impl Future<Output = Result<T>>,
) -> Result<(CommitterReport, T)> {
    let leave = CancellationToken::new();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let committing = {
        let options = CommitOptions {
            batch: BatchLimits { age: Duration::from_secs(1), ..BatchLimits::default() },
            until_complete: None,
            now_us: Arc::new(|| 1_700_000_000_000_000),
            metrics,
        };
        let (lake, broker, leave) = (lake.clone(), broker.clone(), leave.clone());
        tokio::spawn(async move { commit(&lake, broker, &options, &leave).await })
    };
    let others = others.await?;
    while folded(&registry) < records && !committing.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    leave.cancel();
    Ok((committing.await??, others))
}

/// Records of all commits so far.
fn folded(registry: &Registry) -> u64 {
    let families = registry.gather();
    let commits = families.iter().find(|family| family.name() == "aortica_commit_records");
    let sum = |metric: &prometheus::proto::Metric| metric.get_histogram().get_sample_sum();
    commits.and_then(|family| family.get_metric().first()).map_or(0, |metric| sum(metric) as u64)
}

/// Files and bytes of both tables.
pub async fn tables(lake: &Lake) -> Result<Value> {
    let files = lake.files().await?;
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    Ok(json!({ "files": files.len(), "mib": bytes as f64 / (1 << 20) as f64 }))
}

pub async fn run(options: &Options) -> Result<Value> {
    let rows = options.number("rows", 200_000)?;
    let lake = Lake::create_if_absent(store_for(options.needed("lake")?, &options.store)?).await?;
    let population = Population::new()?;
    let amqp = match options.text("amqp") {
        Some(url) => Some(connect(url).await?),
        None => None,
    };
    let broker: Arc<dyn Broker> = match &amqp {
        Some(amqp) => Arc::new(amqp.clone()),
        None => Arc::new(MemoryBroker::default()),
    };
    let before = lake.committer().await?.rows().1 as u64;
    let record = |number| population.record(&Population::item(number), &population.submission).without_evidence();
    let payloads = (before..before + rows).map(|number| Ok::<_, crate::Error>(record(number).encode()?));
    publish_all(&broker, Lane::Records, payloads).await?;

    let meter = Meter::start(options.broker_pid()?)?;
    let (committed, ()) = commit_all(&lake, &broker, rows, async { Ok(()) }).await?;
    let rate = meter.stop(rows)?;
    if let Some(amqp) = amqp {
        amqp.close().await;
    }
    if committed.instances_added != rows || committed.results_added != rows {
        return Err(format!("{rows} records gave {committed:?}").into());
    }
    Ok(json!({
        "from": options.text("amqp").map_or("memory", |_| "amqp"), "rows_before": before, "records_to_rows": rate,
        "commits": committed.commits, "tables": tables(&lake).await?,
    }))
}

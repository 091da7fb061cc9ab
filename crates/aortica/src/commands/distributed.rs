//! `aortica submit`, `worker`, `commit`: the same steps as `score`, through RabbitMQ.

use crate::cli::{CommitArgs, SubmitArgs, WorkerArgs};
use crate::exit::{EXIT_STOPPED, Stopped, misconfigured};
use crate::settings::Settings;
use crate::wiring::{self, StepParts};
use crate::{environment, health, signals};
use pipeline::commit::CommitOptions;
use pipeline::events::EventOptions;
use pipeline::metrics::Metrics;
use pipeline::queue::amqp::{AmqpBroker, AmqpSettings};
use pipeline::queue::{Queue, topology::Lane};
use pipeline::submit::SubmitOptions;
use pipeline::worker::WorkerOptions;
use pipeline::{BatchLimits, Source};
use prometheus::Registry;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a committer looks at the depths of the queues, for its metrics.
const DEPTHS_EVERY: Duration = Duration::from_secs(15);

/// The broker, waited for while it is away, or until a signal says to stop.
pub(super) async fn broker(
    settings: &Settings,
    role: &str,
    cancel: &CancellationToken,
    metrics: &Metrics,
) -> anyhow::Result<Arc<AmqpBroker>> {
    let within = Duration::from_secs(settings.queue.reconnect_within_s.into());
    let amqp = amqp_settings(settings, role, within, metrics)?.ok_or_else(no_broker)?;
    tokio::select! {
        connected = AmqpBroker::connect(amqp) => Ok(Arc::new(connected?)),
        () = cancel.cancelled() => Err(Stopped.into()),
    }
}

fn no_broker() -> anyhow::Error {
    misconfigured(
        "no broker: set AORTICA_AMQP_URL=amqp://user:password@host:5672/vhost, or AORTICA_AMQP_URL_FILE to a file that holds it",
    )
}

/// `None` where the environment names no broker.
pub(super) fn amqp_settings(
    settings: &Settings,
    role: &str,
    reconnect_within: Duration,
    metrics: &Metrics,
) -> anyhow::Result<Option<AmqpSettings>> {
    Ok(environment::amqp_url()?.map(|url| AmqpSettings {
        url,
        namespace: settings.queue.name.clone(),
        delivery_limit: u32::from(settings.queue.delivery_limit),
        connection_name: format!("aortica {role}"),
        reconnect_within,
        metrics: metrics.clone(),
    }))
}

pub(super) fn block_on<T>(threads: usize, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(1, 4))
        .enable_all()
        .build()?
        .block_on(future)
}

pub fn submit(args: &SubmitArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    wiring::choose_readers(&mut settings, &args.readers);
    let settings = &settings;
    if args.events {
        return block_on(2, follow(args, settings));
    }
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let pipeline = wiring::pipeline(&args.pipeline, settings)?;
        Source::open(&args.source, wiring::stores()?, None).await?;
        let jobs = Queue::new(broker(settings, "submit", &cancel, &Metrics::unread()).await?, Lane::Jobs);
        let key = wiring::key(settings, &args.lake.lake)?;
        let source = Source::open(&args.source, wiring::stores()?, Some(Arc::new(key))).await?;
        let lake = wiring::create_lake(&args.lake.lake).await?;
        let options = SubmitOptions {
            pipeline: pipeline.definition().label(),
            fingerprint: wiring::fingerprint(&pipeline, settings)?,
            limit: args.limit,
            retry: Vec::new(),
            metrics: Metrics::unread(),
        };
        let (send, _receive) = watch::channel(Default::default());
        let report = ::pipeline::submit::submit(&source, &lake, &jobs, &options, &send, &cancel).await?;
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("submission {}", report.submission);
            println!("{:>9} items", report.items);
            println!("{:>9} had their row", report.found_done);
            println!("{:>9} jobs on the queue", report.published);
        }
        Ok(if report.cancelled { EXIT_STOPPED } else { 0 })
    })
}

/// `submit --events`: what a bucket tells, until stopped.
async fn follow(args: &SubmitArgs, settings: &Settings) -> anyhow::Result<u8> {
    let cancel = signals::stop_on_signal();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let served = health::serve(args.http, registry, cancel.clone()).await?;
    let pipeline = wiring::pipeline(&args.pipeline, settings)?;
    let source = Source::open(&args.source, wiring::stores()?, None).await?;
    let broker = broker(settings, "submit", &cancel, &metrics).await?;
    if let Some(exchange) = &args.exchange {
        broker.bind_events(exchange, &args.routing_key).await?;
    }
    let lake = wiring::create_lake(&args.lake.lake).await?;
    served.ready();
    let options = EventOptions {
        pipeline: pipeline.definition().label(),
        fingerprint: wiring::fingerprint(&pipeline, settings)?,
        every: Duration::from_secs(args.every),
        metrics,
    };
    let report = ::pipeline::events::follow(&source, &lake, broker, &options, &cancel).await?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(0)
}

pub fn worker(args: &WorkerArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    wiring::choose_device(&mut settings, &args.device);
    let settings = &settings;
    let threads = settings.threads(args.threads);
    block_on(threads, async {
        let cancel = signals::stop_on_signal();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let served = health::serve(args.http, registry, cancel.clone()).await?;
        let pipeline = wiring::pipeline(&args.pipeline, settings)?;
        let broker = broker(settings, "worker", &cancel, &metrics).await?;
        let networks = wiring::networks(pipeline, &args.stages, threads, settings).await?;
        let key = wiring::key(settings, &args.lake.lake)?;
        let lake = wiring::create_lake(&args.lake.lake).await?;
        let parts = StepParts { networks, lake, key, threads, overlays: None, metrics };
        let steps = wiring::steps(parts, settings)?;
        served.ready();
        let options = WorkerOptions { prefetch: settings.queue.prefetch, ..WorkerOptions::default() };
        let report = ::pipeline::worker::work(&steps, broker, options, &cancel).await?;
        println!("{}", serde_json::to_string(&report)?);
        Ok(0)
    })
}

pub fn commit(args: &CommitArgs, settings: &Settings) -> anyhow::Result<u8> {
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let served = health::serve(args.http, registry, cancel.clone()).await?;
        let lake = wiring::create_lake(&args.lake.lake).await?;
        let broker = broker(settings, "commit", &cancel, &metrics).await?;
        served.ready();
        let options = CommitOptions {
            batch: BatchLimits {
                rows: settings.run.commit_rows as usize,
                age: Duration::from_secs(u64::from(settings.run.commit_after_s)),
            },
            until_complete: args.until_complete.clone(),
            now_us: Arc::new(environment::now_us),
            metrics: metrics.clone(),
        };
        let (looking, stop_looking) = (broker.clone(), cancel.child_token());
        let _stop = stop_looking.clone().drop_guard();
        tokio::spawn(async move {
            ::pipeline::commit::watch_depths(looking.as_ref(), &metrics, DEPTHS_EVERY, &stop_looking).await;
        });
        let report = ::pipeline::commit::commit(&lake, broker, &options, &cancel).await?;
        println!("{}", serde_json::to_string(&report)?);
        Ok(if report.pending.is_some_and(|pending| pending > 0) { EXIT_STOPPED } else { 0 })
    })
}

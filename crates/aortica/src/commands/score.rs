//! `aortica score`: the whole pipeline in one process.

use crate::cli::ScoreArgs;
use crate::exit::EXIT_STOPPED;
use crate::progress::{self, Progress};
use crate::settings::Settings;
use crate::signals;
use crate::wiring::{self, StepParts};
use lake::{CohortSummary, SessionOptions};
use pipeline::metrics::Metrics;
use pipeline::progress::{Phase, RunReport};
use pipeline::run::{ScoreOptions, score};
use pipeline::{BatchLimits, Source};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub fn run(args: &ScoreArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    wiring::choose_device(&mut settings, &args.device);
    let settings = &settings;
    let threads = settings.threads(args.threads);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads.min(4)).enable_all().build()?;
    runtime.block_on(run_async(args, settings, threads))
}

async fn run_async(args: &ScoreArgs, settings: &Settings, threads: usize) -> anyhow::Result<u8> {
    let cancel = signals::stop_on_signal();
    let pipeline = wiring::pipeline(&args.pipeline, settings)?;
    // What can be wrong comes first: a wrong path or a missing library should leave no key file and no empty lake behind.
    Source::open(&args.source, wiring::stores()?, None).await?;
    let networks = wiring::networks(pipeline, &args.stages, threads, settings).await?;
    let key = wiring::key(settings, &args.lake.lake)?;
    let source = Source::open(&args.source, wiring::stores()?, Some(Arc::new(key.clone()))).await?;
    let lake = wiring::create_lake(&args.lake.lake).await?;
    let parts = StepParts {
        networks,
        lake: lake.clone(),
        key,
        threads,
        overlays: args.overlays.clone(),
        metrics: Metrics::unread(),
    };
    let steps = wiring::steps(parts, settings)?;
    let options = ScoreOptions {
        limit: args.limit,
        batch: BatchLimits {
            rows: settings.run.commit_rows as usize,
            age: Duration::from_secs(u64::from(settings.run.commit_after_s)),
        },
        ..ScoreOptions::default()
    };
    let (send, receive) = watch::channel(Default::default());
    let shown = tokio::spawn(show(receive, args.json));
    let report = score(&steps, &lake, &source, &options, &send, &cancel).await;
    drop(send);
    shown.await?;
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&report))?);
    } else {
        let session = lake.session(SessionOptions::default()).await?;
        let submission = lake.items().submission(&report.submission).await?;
        print(&report, &CohortSummary::of(&session, Some(&submission)).await?, args);
    }
    Ok(if report.cancelled { EXIT_STOPPED } else { 0 })
}

async fn show(mut receive: watch::Receiver<pipeline::progress::Progress>, quiet: bool) {
    let mut bar = None;
    while receive.changed().await.is_ok() {
        let now = receive.borrow_and_update().clone();
        if now.phase == Phase::Reading && bar.is_none() {
            bar = Some(Progress::start("images", now.to_read, quiet));
        }
        if let Some(bar) = &mut bar {
            let other = now.read.total() - now.read.scored;
            let note = if other > 0 { format!("{other} not scored") } else { String::new() };
            bar.update(now.read.total(), now.to_read, &note);
        }
        // Updates come with every image; a person needs a few a second.
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    if let Some(bar) = bar {
        bar.finish();
    }
}

fn as_json(report: &RunReport) -> serde_json::Value {
    serde_json::json!({
        "submission": report.submission,
        "fingerprint": report.fingerprint,
        "items": report.items,
        "opened": report.read.total(),
        "scored": report.outcomes.scored,
        "excluded": report.outcomes.excluded,
        "failed": report.outcomes.failed,
        "pending": report.pending,
        "postponed": report.postponed,
        "overlays_failed": report.overlays_failed,
        "conflicts": report.conflicts,
        "cancelled": report.cancelled,
        "seconds": report.seconds,
        "images_per_second": report.rate(),
    })
}

fn print(report: &RunReport, summary: &CohortSummary, args: &ScoreArgs) {
    let opened = report.read.total();
    if opened == 0 {
        println!("nothing new: all {} items had their row\n", report.items - report.pending);
    } else {
        let took = progress::plain_duration(Duration::from_secs_f64(report.seconds));
        println!("{opened} images read in {took} ({:.1}/s)\n", report.rate());
    }
    println!("{summary}");
    let mut notes = Vec::new();
    if report.pending > 0 {
        notes.push(format!("{} items are pending: run the same command again", report.pending));
    }
    if report.conflicts > 0 {
        let kept = format!("{}/conflicts", args.lake.lake);
        notes.push(format!(
            "{} readings differ from earlier ones of the same pipeline; copies are in {kept}",
            report.conflicts
        ));
    }
    if report.overlays_failed > 0 {
        notes.push(format!("{} overlays could not be written (is there room on the disk?)", report.overlays_failed));
    }
    if report.cancelled {
        notes.push("stopped; what is finished is kept, the same command resumes".to_owned());
    }
    for note in notes {
        println!("{note}");
    }
}

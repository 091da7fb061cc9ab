//! `aortica reconcile`: SRC, submissions, rows and artifacts held against each other.

use crate::cli::ReconcileArgs;
use crate::commands::distributed::{block_on, broker};
use crate::exit::EXIT_STOPPED;
use crate::settings::Settings;
use crate::{environment, signals, wiring};
use pipeline::Source;
use pipeline::metrics::Metrics;
use pipeline::queue::{Queue, topology::Lane};
use pipeline::reconcile::{Objects, ReconcileOptions, ReconcileReport, reconcile};
use std::sync::Arc;

pub fn run(args: &ReconcileArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = settings.clone();
    wiring::choose_readers(&mut settings, &args.readers);
    let settings = &settings;
    block_on(2, async {
        let cancel = signals::stop_on_signal();
        let pipeline = wiring::pipeline(&args.pipeline, settings)?;
        let lake = wiring::open_lake(&args.lake.lake).await?;
        // looking makes no key
        let has_key = settings.key_path(&args.lake.lake).exists();
        let key = has_key.then(|| wiring::key(settings, &args.lake.lake)).transpose()?.map(Arc::new);
        let source = Source::open(&args.source, wiring::stores()?, key).await?;
        let jobs = match args.repair {
            true => Some(Queue::new(broker(settings, "reconcile", &cancel, &Metrics::unread()).await?, Lane::Jobs)),
            false => None,
        };
        let options = ReconcileOptions {
            pipeline: pipeline.definition().label(),
            fingerprint: wiring::fingerprint(&pipeline, settings)?,
            pending_after_s: args.older_than,
            now_us: environment::now_us(),
            metrics: Metrics::unread(),
        };
        let report = reconcile(&source, &lake, jobs.as_ref(), &options, &cancel).await?;
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
        Ok(if report.cancelled { EXIT_STOPPED } else { 0 })
    })
}

fn print(report: &ReconcileReport) {
    let (listing, evidence) = (&report.listing, &report.evidence);
    println!("{:>9} objects in SRC", listing.listed);
    for (objects, what) in [
        (&listing.never_submitted, "never submitted"),
        (&listing.changed, "changed since they were submitted"),
        (&listing.gone, "submitted, and gone since"),
    ] {
        let Objects { objects, examples } = objects;
        let examples: Vec<String> = examples.iter().map(ToString::to_string).collect();
        let shown = if examples.is_empty() { String::new() } else { format!("  (items {} ..)", examples.join(", ")) };
        println!("{objects:>9} {what}{shown}");
    }
    for (n, what) in [
        (report.pending_too_long, "items pending too long"),
        (report.pending, "items pending for a shorter time"),
        (evidence.outcomes_without_rows, "outcomes without rows"),
        (evidence.rows_without_outcomes, "rows without outcomes"),
        (evidence.rows_without_readings, "rows without readings"),
        (evidence.readings_without_rows, "readings without rows"),
    ] {
        println!("{n:>9} {what}");
    }
    match &report.repaired {
        Some(done) => {
            println!("repaired:");
            println!("{:>9} rows made of artifacts", done.rows.instances_added);
            println!("{:>9} jobs of pending items", done.republished);
            println!("{:>9} jobs of items whose reading is gone", done.read_again);
            println!("{:>9} jobs of new and changed objects", done.submitted);
            if let Some(submission) = &done.submission {
                println!("          as submission {submission}");
            }
        }
        None if report.is_in_order() => println!("all is in order"),
        None => println!("--repair mends what can be mended"),
    }
}

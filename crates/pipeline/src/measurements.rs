//! Measurements, not tests: `cargo test -p pipeline measurements -- --ignored --nocapture --test-threads 1`.

use crate::batches::BatchLimits;
use crate::commit::{CommitOptions, commit};
use crate::job::Job;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::queue::amqp::AmqpBroker;
use crate::queue::topology::Lane;
use crate::queue::{Broker, Queue};
use crate::run::{ScoreOptions, score};
use crate::submit::{SubmitOptions, submit};
use crate::testing::{Shows, Study, amqp_settings, broker_of_the_harness, lake, picture};
use crate::worker::{WorkerOptions, work};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Many names for few pictures: every name is an item of its own.
fn link_many(study: &Study, pictures: &[Vec<u8>], names: usize) {
    for (n, content) in pictures.iter().enumerate() {
        study.add(&format!(".content{n}"), content);
    }
    for name in 0..names {
        let content = study.folder.path().join(format!(".content{}", name % pictures.len()));
        std::fs::hard_link(content, study.folder.path().join(format!("{name:06}"))).unwrap();
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn memory_and_rate_of_score_with_instant_networks() {
    for (what, pictures, names) in [
        ("200 x 400 PNG", (0..8).map(|seed| picture(Shows::LateralSpine, seed)).collect::<Vec<_>>(), 10_000),
        ("2,400 x 4,800 PNG", vec![large_picture()], 150),
    ] {
        let study = Study::new();
        link_many(&study, &pictures, names);
        let lake = lake().await;
        let (progress, _) = watch::channel(Progress::default());
        let (steps, source, cancel) = (study.steps(&lake), study.source().await, CancellationToken::new());
        let report = score(&steps, &lake, &source, &ScoreOptions::default(), &progress, &cancel).await.unwrap();
        println!(
            "score, {what}: {} items in {:.1} s = {:.0}/s, peak memory so far {} MiB",
            report.items,
            report.seconds,
            report.rate(),
            peak_mib()
        );
        let began = Instant::now();
        let again = score(&steps, &lake, &source, &ScoreOptions::default(), &progress, &cancel).await.unwrap();
        println!("  again: {} read, {:.2} s", again.read.total() - report.read.total(), began.elapsed().as_secs_f64());
    }
}

fn large_picture() -> Vec<u8> {
    let small = image::load_from_memory(&picture(Shows::LateralSpine, 0)).unwrap();
    let large = small.resize_exact(2400, 4800, image::imageops::FilterType::Triangle).into_luma16();
    let mut bytes = std::io::Cursor::new(Vec::new());
    large.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn jobs_a_second_through_rabbitmq() {
    let Some(url) = broker_of_the_harness("jobs_a_second_through_rabbitmq") else { return };
    let study = Study::new();
    link_many(&study, &[b"not an image".to_vec()], 10_000);
    let amqp = AmqpBroker::connect(amqp_settings(&url, "rate")).await.unwrap();
    let (lake, broker): (_, Arc<dyn Broker>) = (lake().await, Arc::new(amqp.clone()));
    let jobs: Queue<Job> = Queue::new(broker.clone(), Lane::Jobs);
    let options = SubmitOptions {
        pipeline: study.pipeline.definition().label(),
        fingerprint: study.pipeline.fingerprint("cpu"),
        limit: None,
        retry: Vec::new(),
        metrics: Metrics::unread(),
    };
    let (progress, _) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    let (began, source) = (Instant::now(), study.source().await);
    let report = submit(&source, &lake, &jobs, &options, &progress, &cancel).await.unwrap();
    println!("submit: {} jobs, {:.0}/s", report.published, report.published as f64 / began.elapsed().as_secs_f64());

    let began = Instant::now();
    let steps = study.steps(&lake);
    let published = async {
        while broker.depth(Lane::Records).await.unwrap() < report.published {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cancel.cancel();
    };
    let options = WorkerOptions { prefetch: 128, ..WorkerOptions::default() };
    let (worked, ()) = tokio::join!(work(&steps, broker.clone(), options, &cancel), published);
    let rate = worked.unwrap().acknowledged as f64 / began.elapsed().as_secs_f64();
    println!("worker, instant steps: {rate:.0} jobs/s to durable records");

    let began = Instant::now();
    let options = CommitOptions {
        batch: BatchLimits { rows: 2000, age: Duration::from_secs(1) },
        until_complete: Some(report.submission),
        now_us: Arc::new(|| 0),
        metrics: Metrics::unread(),
    };
    let committed = commit(&lake, broker.clone(), &options, &CancellationToken::new()).await.unwrap();
    println!("commit: {:.0} records/s to rows", committed.records as f64 / began.elapsed().as_secs_f64());
    amqp.delete_queues().await;
}

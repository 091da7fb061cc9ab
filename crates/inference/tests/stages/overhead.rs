//! What a call costs around a network, measured on the identity model; run with `--ignored --nocapture overhead`.

use crate::service::Service;
use crate::{manifest, pictures, prompt, runtime, session};
use inference::{ClientConfig, ServerConfig, Stage, StageClient, Tensor};
use std::time::{Duration, Instant};

/// Processor time of this process, user and system; the kernel counts it in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Calls one after the other, the first tenth not counted: median, 99th percentile.
async fn latencies(stage: &dyn Stage, frame: &Tensor, calls: usize) -> (Duration, Duration) {
    let mut took = Vec::new();
    for call in 0..calls {
        let begun = Instant::now();
        let outputs = stage.infer(frame.clone().into()).await.unwrap();
        if call >= calls / 10 {
            took.push(begun.elapsed());
        }
        assert_eq!(outputs[0].bytes(), frame.bytes());
    }
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn overhead() {
    let Some(runtime) = runtime() else { return };
    let local = session(&runtime, "identity");
    let service = Service::start(vec![(manifest("identity"), prompt())], ServerConfig::default()).await.unwrap();
    let config = ClientConfig { endpoints: vec![service.endpoint()], ..ClientConfig::default() };
    let remote = StageClient::new(manifest("identity"), config).unwrap();
    remote.verify().await.unwrap();
    for (what, stage) in [("session", &local as &dyn Stage), ("service over loopback", &remote)] {
        for rows in [1, 8] {
            let begun = cpu_time();
            let (median, p99) = latencies(stage, &pictures(rows, &[1, 512, 256], 1), 1000).await;
            let cpu = (cpu_time() - begun) / 1000;
            println!(
                "{what}, {rows} rows of 131,072 bytes, one caller: median {median:?}, p99 {p99:?}, processor {cpu:?} \
                 a call, caller included"
            );
        }
    }
}

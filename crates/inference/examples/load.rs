//! Load on a stage service, each answer checked against its own request: what a call costs, and whether a million of them
//! leave anything behind.
//!
//! ```text
//! load latency --grpc http://HOST:PORT --requests N [--clients N] [--rows N] [--model NAME --input NAME --shape 1,512,256]
//! load soak    --grpc http://HOST:PORT --requests N [--clients N] [--rows N] --pid PID
//! ```
//!
//! The model is `identity` of `tests/models` unless another is named: frames of 512 x 256 bytes come back as they were sent, so
//! that an answer which is lost, late or somebody else's is noticed, and what is measured is the service and not a network. Of
//! other models, the id of each answer is checked. Prints one JSON object. `soak` also watches the resident memory of the service PID, and fits a line to the second half of the run.

use inference::protocol::message::ModelInferRequest;
use inference::protocol::message::grpc_inference_service_client::GrpcInferenceServiceClient;
use inference::protocol::message::model_infer_request::InferInputTensor;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const IDENTITY: &str = "identity";
const MESSAGE_BYTES: usize = 64 << 20;
const WINDOW_BYTES: u32 = 4 << 20;
/// Points of the memory curve.
const SAMPLES: u64 = 200;
const USAGE: &str = "load latency|soak --grpc URL --requests N [--clients N] [--rows N] [--pid PID] [--model NAME --input NAME --shape N,..]";

struct Options {
    soak: bool,
    grpc: String,
    requests: u64,
    clients: u64,
    rows: usize,
    pid: Option<u32>,
    model: String,
    input: String,
    /// Of one row.
    shape: Vec<i64>,
}

impl Options {
    fn row_bytes(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
        let soak = match words.next().as_deref() {
            Some("latency") => false,
            Some("soak") => true,
            _ => return Err(USAGE.into()),
        };
        let mut options = Options {
            soak,
            grpc: String::new(),
            requests: 0,
            clients: 1,
            rows: 1,
            pid: None,
            model: IDENTITY.into(),
            input: "image".into(),
            shape: vec![1, 512, 256],
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match word.as_str() {
                "--grpc" => options.grpc = value,
                "--requests" => options.requests = value.parse()?,
                "--clients" => options.clients = value.parse()?,
                "--rows" => options.rows = value.parse()?,
                "--model" => options.model = value,
                "--input" => options.input = value,
                "--shape" => options.shape = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--pid" => options.pid = Some(value.parse()?),
                _ => return Err(USAGE.into()),
            }
        }
        if options.grpc.is_empty() || options.requests == 0 || options.clients == 0 || options.rows == 0 {
            return Err(USAGE.into());
        }
        Ok(options)
    }
}

/// The frame of request `number`: no two are alike, and each row is told apart.
fn fill(frame: &mut [u8], row_bytes: usize, number: u64) {
    for (row, pixels) in frame.chunks_exact_mut(row_bytes).enumerate() {
        let mark = (number << 8 | row as u64).to_le_bytes();
        // at both ends and in between, so that frames that are cut or joined wrongly do not pass
        for at in [0, row_bytes / 2, row_bytes - mark.len()] {
            pixels[at..at + mark.len()].copy_from_slice(&mark);
        }
    }
}

fn resident_kib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}

/// Slope of the line through points (x, y) with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let sxx: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    if sxx > 0.0 { sxy / sxx } else { 0.0 }
}

/// One caller on a connection of its own. Returns how long each call took, microseconds.
async fn call(options: Arc<Options>, next: Arc<AtomicU64>, mixed_up: Arc<AtomicU64>) -> Result<Vec<u32>> {
    let channel = Endpoint::from_shared(options.grpc.clone())?
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect()
        .await?;
    let mut client = GrpcInferenceServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let row_bytes = options.row_bytes();
    let mut frame = vec![0_u8; options.rows * row_bytes];
    frame.iter_mut().enumerate().for_each(|(at, pixel)| *pixel = (at * 31 % 251) as u8);
    let shape: Vec<i64> = std::iter::once(options.rows as i64).chain(options.shape.iter().copied()).collect();
    let mut took = Vec::new();
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= options.requests {
            return Ok(took);
        }
        fill(&mut frame, row_bytes, number);
        let input = InferInputTensor {
            name: options.input.clone(),
            datatype: "UINT8".into(),
            shape: shape.clone(),
            ..Default::default()
        };
        let request = ModelInferRequest {
            model_name: options.model.clone(),
            id: number.to_string(),
            inputs: vec![input],
            raw_input_contents: vec![bytes::Bytes::copy_from_slice(&frame)],
            ..Default::default()
        };
        let begun = Instant::now();
        let answer = client.model_infer(request).await?.into_inner();
        took.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        let is_other = |bytes: &bytes::Bytes| options.model == IDENTITY && **bytes != *frame;
        if answer.id != number.to_string() || answer.raw_output_contents.first().is_none_or(is_other) {
            mixed_up.fetch_add(1, Relaxed);
        }
    }
}

async fn run(options: Options) -> Result<serde_json::Value> {
    let options = Arc::new(options);
    let (next, mixed_up) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let callers: Vec<_> =
        (0..options.clients).map(|_| tokio::spawn(call(options.clone(), next.clone(), mixed_up.clone()))).collect();
    let mut memory = Vec::new();
    if let Some(pid) = options.pid.filter(|_| options.soak) {
        let step = (options.requests / SAMPLES).max(1);
        while callers.iter().any(|caller| !caller.is_finished()) {
            let done = next.load(Relaxed).min(options.requests);
            if done >= memory.len() as u64 * step {
                memory.push((done as f64, resident_kib(pid)?));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let share = |share: f64| f64::from(took[((took.len() - 1) as f64 * share) as usize]) / 1000.0;
    let mut report = serde_json::json!({
        "model": options.model, "requests": options.requests, "clients": options.clients, "rows": options.rows,
        "answers": took.len(), "mixed_up": mixed_up.load(Relaxed),
        "requests_per_s": took.len() as f64 / seconds,
        "median_ms": share(0.5), "p99_ms": share(0.99), "seconds": seconds,
    });
    if memory.len() >= 4 {
        let half = &memory[memory.len() / 2..];
        report["memory"] = serde_json::json!({
            "first_mib": memory[0].1 / 1024.0,
            "halfway_mib": half[0].1 / 1024.0,
            "last_mib": memory[memory.len() - 1].1 / 1024.0,
            "most_mib": memory.iter().map(|(_, kib)| *kib).fold(0.0, f64::max) / 1024.0,
            "slope_bytes_per_request": slope(half) * 1024.0,
        });
    }
    Ok(report)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let report = run(Options::parse(std::env::args().skip(1))?).await?;
    println!("{report}");
    if report["mixed_up"] != 0 || report["answers"] != report["requests"] {
        return Err("answers were lost or mixed up".into());
    }
    Ok(())
}

//! A network in this process: one model on threads of its own.

use crate::batcher::{self, Compute, Policy, Queue};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{BATCH_ROWS_MAX, ModelManifest};
use crate::runtime::Runtime;
use crate::stage::Stage;
use crate::statistics::Statistics;
use crate::tensor::{Tensor, TensorBatch};
use crate::turns::Turns;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most rows that a queue may be set to hold.
pub const QUEUE_ROWS_MAX: usize = 1 << 16;
/// Most threads of one session.
pub const THREADS_MAX: usize = 256;
/// Longest delay that a row may be made to wait for others.
pub const DELAY_MAX: Duration = Duration::from_secs(10);

/// Where a network is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Device {
    #[default]
    Cpu,
    /// The NVIDIA GPU of this ordinal; needs the CUDA build of the library.
    Cuda(u32),
}

impl Device {
    /// The execution provider's name, a part of a reading's fingerprint.
    pub fn provider(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

/// `cpu`, `cuda` or `cuda:N`.
impl std::str::FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        match text {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => {
                text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()).map(Device::Cuda).ok_or_else(|| {
                    Error::new(ErrorKind::Settings, format!("device `{text}`: `cpu`, `cuda` or `cuda:N` is expected"))
                })
            }
        }
    }
}

/// How a session computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    pub device: Device,
    /// Runners on the CPU, with a warning, for a model whose GPU cannot be had. Default none: an error.
    pub fall_back: Option<usize>,
    /// Runners, 1 to 256: batches that are computed at the same time, each by a session of its own with its own copy of the
    /// weights. On a CPU, as many as the cores that this model may use: runners of one thread never wait for each other.
    /// Default 1.
    pub runners: usize,
    /// Threads that work together on one batch, 1 to 256. Default 1; more make one answer come sooner, at the cost of the
    /// number of answers.
    pub threads: usize,
    /// Threads that work together on a batch that has a device to itself, 1 to 256: one caller alone waits less, many lose nothing. Takes
    /// a further copy of the weights. Only on a CPU with turns ([`Session::start_beside`]), and only for a model that gives the same bytes on
    /// any number of threads, which is tried when it is loaded. Default 1.
    pub alone_threads: usize,
    /// Whether threads that wait within a run spin for a while instead of sleeping: a little faster alone on a machine, much slower
    /// beside other work on the same cores. Default false.
    pub spin: bool,
    /// Rows of the one shape that is executed; `None` (default) takes the manifest's preferred rows on a CPU, and its most
    /// rows on a GPU. Part of what
    /// decides the last digits of an answer, so that it must be the same where answers are to be the same.
    pub batch_rows: Option<usize>,
    /// How long a row waits for others while the device is free, at most 10 s. Default 2 ms; 0 for none.
    pub longest_delay: Duration,
    /// Most rows waiting or being computed, from the manifest's `batch.max` to 65,536; more are refused as `Overloaded`.
    /// Default 256.
    pub queue_rows: usize,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            device: Device::Cpu,
            fall_back: None,
            runners: 1,
            threads: 1,
            alone_threads: 1,
            spin: false,
            batch_rows: None,
            longest_delay: Duration::from_millis(2),
            queue_rows: 256,
        }
    }
}

impl SessionConfig {
    fn check(&self, manifest: &ModelManifest) -> Result<usize> {
        let refuse = |message: String| {
            Err(Error::new(ErrorKind::Settings, format!("session of model `{}`: {message}", manifest.name())))
        };
        let rows = self.batch_rows.unwrap_or(match self.device {
            Device::Cpu => manifest.batch().preferred,
            Device::Cuda(_) => manifest.batch().max,
        });
        for (name, value) in
            [("runners", self.runners), ("threads", self.threads), ("alone_threads", self.alone_threads)]
        {
            if !(1..=THREADS_MAX).contains(&value) {
                return refuse(format!("{name} must be 1 to {THREADS_MAX}, not {value}"));
            }
        }
        if !(1..=BATCH_ROWS_MAX).contains(&rows) {
            return refuse(format!("batch_rows must be 1 to {BATCH_ROWS_MAX}, not {rows}"));
        }
        let longest = manifest.batch().max;
        if !(longest..=QUEUE_ROWS_MAX).contains(&self.queue_rows) {
            return refuse(format!(
                "queue_rows must be {longest} (the longest request) to {QUEUE_ROWS_MAX}, not {}",
                self.queue_rows
            ));
        }
        if self.longest_delay > DELAY_MAX {
            return refuse(format!("longest_delay must be at most {DELAY_MAX:?}, not {:?}", self.longest_delay));
        }
        Ok(rows)
    }
}

/// A loaded model, shared by reference. Dropping it ends its threads and waits for that, which takes no longer than the
/// batches that are being computed: nobody waits for what else is inside.
pub struct Session {
    manifest: ModelManifest,
    config: SessionConfig,
    batch_rows: usize,
    /// `None` only while being dropped: closing it ends the threads.
    queue: Option<Queue>,
    statistics: Arc<Statistics>,
    alone: Option<Arc<Alone>>,
    threads: Vec<JoinHandle<()>>,
}

impl Session {
    /// Loads the model of `manifest`, checks it against the manifest, and runs it once to warm it up. Blocks until all
    /// of that is done, so that a returned session is ready; call it off the async threads.
    ///
    /// # Errors
    /// `Settings` for a setting out of range or a device that the library lacks, `Digest` when the file is not the one
    /// that the manifest names, `Model` when it cannot be loaded, has other tensors than the manifest says, or fails on
    /// a batch of zeros.
    pub fn start(runtime: &Runtime, manifest: ModelManifest, config: SessionConfig) -> Result<Session> {
        Session::start_beside(runtime, manifest, config, None)
    }

    /// [`Session::start`] on a device that other models use as well: batches wait for their turn.
    pub fn start_beside(
        runtime: &Runtime,
        manifest: ModelManifest,
        config: SessionConfig,
        turns: Option<&Turns>,
    ) -> Result<Session> {
        let wanted = config.device;
        let mut config = config;
        let mut read = None;
        if wanted != Device::Cpu
            && let Some(runners) = config.fall_back
        {
            // Whether there is a device shows when a model is put on it; a library without CUDA shows earlier.
            let (rows, bytes) = (config.check(&manifest)?, manifest.read_model()?);
            if let Err(reason) = Engine::load(runtime, &manifest, &bytes, &config, rows) {
                tracing::warn!(%reason, "the model is computed on the CPU instead");
                config.device = Device::Cpu;
                config.runners = runners;
            }
            read = Some(bytes);
        }
        // Turns of a device that is not used after all would hold nobody up; those of the CPU are the system's then.
        let place = turns.filter(|_| config.device == wanted).map(Turns::place);
        let batch_rows = config.check(&manifest)?;
        let bytes = read.map_or_else(|| manifest.read_model(), Ok)?;
        let statistics = Arc::new(Statistics::default());
        let (queue, jobs) = batcher::queue(config.queue_rows, Arc::clone(&statistics));
        let policy = Policy { rows: batch_rows, longest_delay: config.longest_delay };
        let (ready, loaded) = std::sync::mpsc::channel::<Result<()>>();
        let mut session = Session {
            manifest,
            config,
            batch_rows,
            queue: Some(queue),
            statistics: Arc::clone(&statistics),
            alone: None,
            threads: Vec::new(),
        };
        let Session { manifest, config, alone, threads, .. } = &mut session;
        if place.is_some() && config.device == Device::Cpu && config.alone_threads > config.threads {
            *alone = Some(Arc::new(Alone::load(runtime, manifest, &bytes, config, batch_rows)?));
        }
        let bytes = Arc::new(bytes);
        for runner in 0..config.runners {
            let work = {
                let (runtime, manifest, config) = (runtime.clone(), manifest.clone(), config.clone());
                let (bytes, jobs, ready) = (Arc::clone(&bytes), jobs.clone(), ready.clone());
                let (statistics, place, alone) = (Arc::clone(&statistics), place.clone(), alone.clone());
                move || {
                    let prepared =
                        Engine::load(&runtime, &manifest, &bytes, &config, batch_rows).and_then(|mut own| {
                            own.warm_up()?;
                            if let Some(alone) = alone.as_ref().filter(|_| runner == 0) {
                                alone.try_against(&mut own, manifest.name());
                            }
                            Ok((Runner { own, alone }, batching_runtime()?))
                        });
                    drop(bytes);
                    // Nobody listening means that `start` was given up; the closed queue then ends `serve`.
                    match prepared {
                        Ok((mut runner, batching)) => {
                            let _ = ready.send(Ok(()));
                            drop(ready);
                            batching.block_on(batcher::serve(jobs, policy, place.as_ref(), &mut runner, &statistics));
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("model {} {runner}", manifest.name()))
                .spawn(work)
                .map_err(|error| Error::caused(ErrorKind::Settings, "no thread could be started for a model", error))?;
            threads.push(thread);
        }
        drop((ready, jobs, bytes));
        for _ in 0..config.runners {
            loaded
                .recv()
                .map_err(|_| Error::new(ErrorKind::Bug, format!("loading model `{}` panicked", manifest.name())))??;
        }
        let Session { manifest, config, .. } = &session;
        tracing::info!(
            model = manifest.name(),
            version = manifest.version(),
            sha256 = %manifest.digest(),
            device = ?config.device,
            runners = config.runners,
            threads = config.threads,
            alone_threads = session.alone_threads(),
            batch_rows,
            "model loaded"
        );
        Ok(session)
    }

    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The execution provider that computes the model: `cpu` or `cuda`.
    pub fn provider(&self) -> &'static str {
        self.config.device.provider()
    }

    /// Threads that work together on a batch that has the device to itself.
    pub fn alone_threads(&self) -> usize {
        let trusted = self.alone.as_ref().is_some_and(|alone| alone.trusted.load(Ordering::Relaxed));
        if trusted { self.config.alone_threads } else { self.config.threads }
    }

    /// Rows of the one shape that is executed.
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Rows that wait or are being computed.
    pub fn pending_rows(&self) -> usize {
        self.queue.as_ref().map_or(0, Queue::pending_rows)
    }

    /// Whether requests are taken: false while draining and after the thread has died.
    pub fn is_ready(&self) -> bool {
        self.queue.as_ref().is_some_and(Queue::is_open)
    }

    /// From now on no row waits for others: what is inside is to be answered soon, because the service is stopping.
    pub fn hurry(&self) {
        if let Some(queue) = &self.queue {
            queue.hurry();
        }
    }

    /// Refuses further requests as `Unavailable`, and returns when all that were accepted are answered.
    pub async fn drain(&self) {
        if let Some(queue) = &self.queue {
            queue.drain().await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(model = self.manifest.name(), "a thread of a model panicked");
            }
        }
    }
}

/// What computes on one thread of a model.
struct Runner {
    own: Engine,
    alone: Option<Arc<Alone>>,
}

impl Compute for Runner {
    fn compute(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>> {
        self.own.compute(inputs, rows)
    }

    fn compute_alone(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>> {
        let shared = self.alone.as_ref().filter(|alone| alone.trusted.load(Ordering::Relaxed));
        // taken only where a batch of before, which was alone as well, is just being ended
        match shared.and_then(|alone| alone.engine.try_lock().ok()) {
            Some(mut engine) => engine.compute(inputs, rows),
            None => self.own.compute(inputs, rows),
        }
    }
}

/// The engine of more threads that the runners of a model share for batches that have the device to themselves.
struct Alone {
    engine: Mutex<Engine>,
    /// Whether it gives the bytes that the runners' own give.
    trusted: AtomicBool,
}

impl Alone {
    fn load(
        runtime: &Runtime,
        manifest: &ModelManifest,
        bytes: &[u8],
        config: &SessionConfig,
        batch_rows: usize,
    ) -> Result<Alone> {
        // who is alone may spin: nobody else wants the cores
        let config = SessionConfig { threads: config.alone_threads, spin: true, ..config.clone() };
        let mut engine = Engine::load(runtime, manifest, bytes, &config, batch_rows)?;
        engine.warm_up()?;
        Ok(Alone { engine: Mutex::new(engine), trusted: AtomicBool::new(false) })
    }

    /// An answer must not depend on how busy the service is.
    fn try_against(&self, own: &mut Engine, model: &str) {
        let Ok(mut engine) = self.engine.try_lock() else { return };
        // a model that fails on noise is not refused for it
        let agrees = engine.agrees_with(own).unwrap_or(false);
        if !agrees {
            tracing::info!(
                model,
                "the model's last digits depend on the number of threads: a batch alone gets no more of them"
            );
        }
        self.trusted.store(agrees, Ordering::Relaxed);
    }
}

/// Timers for the batching delay; nothing else runs in it.
fn batching_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Error::caused(ErrorKind::Settings, "no timer could be made for a model", error))
}

#[async_trait]
impl Stage for Session {
    fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    async fn infer(&self, batch: TensorBatch) -> Result<Vec<Tensor>> {
        let deadline = batch.deadline();
        let arranged = self.manifest.arrange_inputs(batch);
        let (inputs, rows) = arranged.inspect_err(|error| self.statistics.failed(error.kind()))?;
        let inputs = inputs.into_iter().map(Tensor::into_bytes).collect();
        let queue = self.queue.as_ref().ok_or_else(|| Error::new(ErrorKind::Bug, "a dropped session was asked"))?;
        let outputs = queue.ask(inputs, rows, deadline).await?;
        self.manifest
            .outputs()
            .iter()
            .zip(outputs)
            .map(|(spec, bytes)| Tensor::from_bytes(spec.name.as_str(), spec.dtype, &spec.shape(rows), bytes))
            .collect()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} {:?})", self.manifest.name(), self.config.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_on_the_command_line() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        assert_eq!("cuda:3".parse::<Device>().unwrap(), Device::Cuda(3));
        assert!("gpu".parse::<Device>().unwrap_err().to_string().contains("`cuda:N`"));
    }
}

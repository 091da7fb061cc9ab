//! The way of one image, step by step; `score` and the worker both walk it, so that they write the same rows.
//!
//! ```text
//! Item -fetch-> FetchedObject -decode-> Radiograph -locate-> LocatedSpine -segment-> MarkedRegion -score-> Reading
//!      -publish-> artifact in the lake, OutcomeRecord
//! ```
//!
//! A pipeline whose network grades by itself goes `Radiograph [-locate-> LocatedSpine] -grade-> GradedImage -score-> Reading` instead.
//!
//! Each step is one file. A bad image leaves the way with an outcome, at whatever step; an error means that we failed, and
//! the image has no outcome yet. Many images are on their way at once: pixels are worked on by a fixed number of threads,
//! the networks gather rows of several images by themselves, and memory is bounded by a budget of bytes.

mod budget;
mod cpu;
mod decode;
mod fetch;
pub(crate) mod grade;
mod locate;
mod publish;
mod score;
mod segment;

pub use cpu::MAX_THREADS;
pub use segment::mark_region;

use crate::crash;
use crate::definition::place;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Step};
use crate::pipeline::Pipeline;
use crate::source::stores::Stores;
use budget::{Budget, WITHOUT_PIXELS_BYTES};
use cpu::Cpu;
use domain::record::RECORD_SCHEMA_VERSION;
use domain::{
    ExcludeReason, FailReason, Fault, Fingerprint, ImageId, InstanceFacts, Item, ItemId, Outcome, OutcomeRecord,
    Radiograph, Reading,
};
use imaging::{Accept, DecodeContext, Deidentify, Limits};
use inference::{Dtype, Stage, Tensor, TensorBatch, Trace};
use lake::{CrashPoint, Lake};
use locate::Prepared;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes of the images in flight unless told otherwise: with networks and tables, a process stays under 1.5 GiB.
pub const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;

/// Probabilities, which a network gives as they are or as 0..255: a quarter of the bytes from a stage service.
fn probabilities(tensor: &Tensor) -> inference::Result<Cow<'_, [f32]>> {
    match tensor.dtype() {
        Dtype::U8 => Ok(tensor.values::<u8>()?.iter().map(|step| f32::from(*step) * (1.0 / 255.0)).collect()),
        Dtype::I8 | Dtype::F16 | Dtype::F32 => tensor.values(),
    }
}

/// Draws the picture that a person checks, for one scored image. Called on a pixel thread.
pub type Overlay =
    Arc<dyn Fn(&ItemId, &Radiograph, &Reading) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// The clock: microseconds since 1970 UTC. Passed in, so that the program reads it in one place.
pub type NowUs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What computes the networks of a pipeline, in the order of [`Pipeline::networks`].
#[derive(Clone)]
pub struct Stages(pub Vec<Arc<dyn Stage>>);

/// What an image is that the store does not show.
const DENIED: Outcome = Outcome::Failed { reason: FailReason::AccessDenied };

/// All that the steps need.
pub struct StepSettings {
    pub pipeline: Arc<Pipeline>,
    pub stages: Stages,
    /// Execution provider of the networks, as in the fingerprint: `cpu`, `cuda`.
    pub provider: String,
    pub stores: Arc<Stores>,
    /// Takes the artifacts.
    pub lake: Lake,
    pub deidentify: Deidentify,
    pub limits: Limits,
    /// Threads for pixels, 1..=256.
    pub threads: usize,
    /// Bytes that the images in flight may take.
    pub memory_bytes: u64,
    pub overlay: Option<Overlay>,
    pub now_us: NowUs,
    pub metrics: Metrics,
}

/// The steps, ready to be walked by many images at once.
pub struct Steps {
    settings: StepSettings,
    fingerprint: Fingerprint,
    cpu: Cpu,
    budget: Budget,
    overlays_failed: AtomicU64,
}

/// What a reading is for.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    pub submission: &'a str,
    /// 1 for the first try; a replay counts on.
    pub attempt: u32,
    /// Whether an object that the store refuses to show is an error (the bucket's policy may be wrong, and a person mends it
    /// while the job waits) rather than the outcome access_denied.
    pub denied_waits: bool,
}

/// Why an image leaves the way early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something is wrong with the image: a row.
    Outcome(Box<Ended>),
    /// Something is wrong with us: no row yet.
    Error(Error),
}

/// An outcome, with what was known of the image by then.
#[derive(Debug)]
pub(crate) struct Ended {
    pub outcome: Outcome,
    pub image_id: Option<ImageId>,
    pub facts: InstanceFacts,
}

pub(crate) type Way<T> = std::result::Result<T, Stop>;

impl Stop {
    fn outcome(outcome: Outcome) -> Stop {
        Stop::Outcome(Box::new(Ended { outcome, image_id: None, facts: InstanceFacts::default() }))
    }

    pub fn failed(reason: FailReason) -> Stop {
        Stop::outcome(Outcome::Failed { reason })
    }

    pub fn excluded(reason: ExcludeReason) -> Stop {
        Stop::outcome(Outcome::Excluded { reason })
    }

    /// The same, with what is known of the image, where the step that stopped did not know it.
    fn about(self, known: &Known) -> Stop {
        match self {
            Stop::Outcome(ended) if ended.image_id.is_none() => Stop::Outcome(Box::new(Ended {
                outcome: ended.outcome,
                image_id: Some(known.image_id.clone()),
                facts: known.facts.clone(),
            })),
            other => other,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// What stays known of an image when its pixels are gone.
struct Known {
    image_id: ImageId,
    facts: InstanceFacts,
}

impl Steps {
    /// # Errors
    /// [`ErrorKind::Definition`] when a stage is not the model that the pipeline names.
    pub fn new(settings: StepSettings) -> Result<Steps> {
        let cpu = Cpu::new(settings.threads)?;
        Steps::on(cpu, settings)
    }

    /// The same without threads of its own.
    #[cfg(test)]
    pub(crate) fn here(settings: StepSettings) -> Result<Steps> {
        Steps::on(Cpu::here(), settings)
    }

    fn on(cpu: Cpu, settings: StepSettings) -> Result<Steps> {
        let Stages(stages) = &settings.stages;
        let wanted: Vec<_> = settings.pipeline.networks().collect();
        if stages.len() != wanted.len() {
            let message = format!("the pipeline has {} networks, but {} stages are there", wanted.len(), stages.len());
            return Err(Error::new(ErrorKind::Definition, message));
        }
        for (stage, wanted) in stages.iter().zip(wanted) {
            let found = stage.manifest();
            if found.name() != wanted.name() || found.digest() != wanted.digest() {
                let message = format!(
                    "the stage for {} serves {} with digest {}, but the pipeline names digest {}; deploy the same models",
                    wanted.name(),
                    found.name(),
                    found.digest().short(12),
                    wanted.digest().short(12)
                );
                return Err(Error::new(ErrorKind::Definition, message));
            }
        }
        Ok(Steps {
            fingerprint: settings.pipeline.fingerprint(&settings.provider),
            cpu,
            budget: Budget::new(settings.memory_bytes),
            overlays_failed: AtomicU64::new(0),
            settings,
        })
    }

    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.settings.pipeline
    }

    pub fn metrics(&self) -> &Metrics {
        &self.settings.metrics
    }

    /// Overlays that could not be written; the readings are unharmed.
    pub fn overlays_failed(&self) -> u64 {
        self.overlays_failed.load(Ordering::Relaxed)
    }

    /// Walks one item to its end. When this returns a record, its artifacts are durable: the reading of a scored item, and
    /// what became of the item. Dropping the future gives the item up without a trace but perhaps the artifacts; the next
    /// walk writes the reading again, byte by byte the same, and tells the first outcome again.
    ///
    /// # Errors
    /// We failed, and the item has no outcome: see [`Error::fault`] for what to do.
    pub async fn read(&self, item: &Item, errand: Errand<'_>) -> Result<OutcomeRecord> {
        let _in_flight = self.settings.metrics.in_flight();
        let walked = self.walk(item).await;
        let item_id = item.id();
        let (ended, artifact_key) = match walked {
            Ok((ended, artifact_key)) => (ended, Some(artifact_key)),
            Err(Stop::Outcome(ended)) if errand.denied_waits && ended.outcome == DENIED => {
                let message =
                    "fetching an image: the object store refused access; check credentials and the bucket's policy";
                let error = Error::new(ErrorKind::Refused, message);
                self.settings.metrics.fault(error.fault());
                return Err(error);
            }
            Err(Stop::Outcome(ended)) => (*ended, None),
            Err(Stop::Error(error)) => {
                self.settings.metrics.fault(error.fault());
                return Err(error);
            }
        };
        let kept = self.keep(self.record(item_id, errand, ended, artifact_key)).await;
        kept.inspect(|record| self.settings.metrics.outcome(&record.outcome))
            .inspect_err(|error| self.settings.metrics.fault(error.fault()))
    }

    /// The record of an item that we could not read and will not try again: failed(internal).
    ///
    /// # Errors
    /// The lake's store fails.
    pub async fn give_up(&self, item: &Item, errand: Errand<'_>, reason: FailReason) -> Result<OutcomeRecord> {
        let outcome = Outcome::Failed { reason };
        let ended = Ended { outcome, image_id: None, facts: InstanceFacts::default() };
        let kept = self.keep(self.record(item.id(), errand, ended, None)).await?;
        self.settings.metrics.outcome(&kept.outcome);
        Ok(kept)
    }

    /// Makes the outcome durable beside the readings, so that the row survives the queue and the tables.
    async fn keep(&self, record: OutcomeRecord) -> Result<OutcomeRecord> {
        let kept = self.settings.lake.artifacts().put_outcome(record).await?;
        self.reached(crash::OUTCOME_PUT).await;
        Ok(kept)
    }

    fn record(&self, item_id: ItemId, errand: Errand<'_>, ended: Ended, artifact_key: Option<String>) -> OutcomeRecord {
        OutcomeRecord {
            schema_version: RECORD_SCHEMA_VERSION,
            submission_id: errand.submission.to_owned(),
            item_id,
            attempt: errand.attempt,
            fingerprint: self.fingerprint.clone(),
            pipeline: self.settings.pipeline.definition().label(),
            image_id: ended.image_id,
            facts: ended.facts,
            outcome: ended.outcome,
            artifact_key,
            scored_at_us: (self.settings.now_us)(),
        }
    }

    async fn walk(&self, item: &Item) -> Way<(Ended, String)> {
        let settings = &self.settings;
        let mut share = self.budget.for_image(item.size_bytes).await;
        let fetched =
            self.timed(Step::Fetch, fetch::fetch(item, &settings.stores, settings.limits.max_file_bytes)).await?;
        settings.metrics.bytes_read(fetched.bytes.len() as u64);

        let trace = self.trace();
        if let Some(trace) = trace {
            // The one place that ties a trace to an item: services are told the trace alone (invariant 2).
            tracing::debug!(item = %item.id(), %trace, "reading");
        }
        let context = self.decode_context(item);
        // one task from bytes to the network's input: each change of threads costs, and the pixels are at hand
        let is_located = settings.pipeline.definition().locate.is_some();
        // Without vertebrae there is nothing to tell proportions by.
        let looks_max = if is_located { usize::MAX } else { 1 };
        let decoding = self.on_threads(move || Ok(Prepared::of(*decode::decode(&fetched, &context)?, looks_max)));
        let prepared = self.timed(Step::Decode, decoding).await?;
        let radiograph = &prepared.radiograph;
        share.shrink_to(radiograph.raster.pixels().len() as u64 * 2 + WITHOUT_PIXELS_BYTES);
        let known = Known { image_id: radiograph.image_id.clone(), facts: radiograph.facts.clone() };

        let reading = self.read_pixels(item, prepared, trace, &mut share).await.map_err(|stop| stop.about(&known))?;
        let publishing = publish::publish(&settings.lake, &reading);
        let artifact_key = self.timed(Step::Publish, publishing).await?;
        let outcome = Outcome::Scored { reading: Box::new(reading) };
        Ok((Ended { outcome, image_id: Some(known.image_id), facts: known.facts }, artifact_key))
    }

    /// From a prepared radiograph to its reading.
    async fn read_pixels(
        &self,
        item: &Item,
        prepared: Prepared,
        trace: Option<Trace>,
        share: &mut budget::Share,
    ) -> Way<Reading> {
        let definition = self.settings.pipeline.definition();
        let is_drawn = self.settings.overlay.is_some();
        if let Some(marking) = &definition.segment {
            let located = self.timed(Step::Locate, locate::locate(self, prepared, trace)).await?;
            let mut marked = self.timed(Step::Segment, segment::segment(self, marking, located, trace)).await?;
            if !is_drawn {
                marked.drop_pixels();
                share.shrink_to(WITHOUT_PIXELS_BYTES);
            }
            return self.timed(Step::Score, score::score(self, item, marked)).await;
        }
        let Some(grading) = &definition.grade else {
            return Err(Error::new(ErrorKind::Definition, "the pipeline neither marks nor grades").into());
        };
        let mut graded = if grading.input.is_located() {
            let located = self.timed(Step::Locate, locate::locate(self, prepared, trace)).await?;
            self.timed(Step::Grade, grade::grade_spine(self, grading, located, trace)).await?
        } else {
            self.timed(Step::Grade, grade::grade_image(self, grading, prepared, trace)).await?
        };
        if !is_drawn {
            graded.drop_pixels();
            share.shrink_to(WITHOUT_PIXELS_BYTES);
        }
        self.timed(Step::Score, grade::score_graded(self, item, graded)).await
    }

    /// The stage that computes a network of the pipeline.
    fn stage(&self, model: &str) -> Way<&dyn Stage> {
        let Stages(stages) = &self.settings.stages;
        // By its own name, whichever pipeline's folder it lies in.
        let (_, own) = place(model);
        let found = stages.iter().find(|stage| stage.manifest().name() == own);
        let message = || Error::new(ErrorKind::Definition, format!("no stage computes {model}"));
        Ok(found.ok_or_else(message)?.as_ref())
    }

    /// A trace for one reading: random, so that it says nothing of the image, and another for each try.
    fn trace(&self) -> Option<Trace> {
        let (trace, span) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Trace::new(trace.as_u128(), span.as_u64_pair().0)
    }

    fn decode_context(&self, item: &Item) -> DecodeContext {
        DecodeContext {
            limits: self.settings.limits,
            accept: Accept { modalities: self.settings.pipeline.definition().accept.modalities.clone() },
            deidentify: self.settings.deidentify.clone(),
            hints: item.hints.clone(),
        }
    }

    /// For the simulation that may end the process here.
    pub(crate) async fn reached(&self, point: CrashPoint) {
        self.settings.lake.location().rehearsed.reached(point, "").await;
    }

    /// Measures a step, and says that it has ended.
    async fn timed<T>(&self, step: Step, work: impl Future<Output = Way<T>>) -> Way<T> {
        let began = Instant::now();
        let done = work.await;
        self.settings.metrics.step(step, began.elapsed());
        self.reached(crash::after(step)).await;
        done
    }

    /// Works on pixels on a thread of the pool. A panic there is a fault of ours that costs this image only.
    async fn on_threads<T: Send + 'static>(&self, task: impl FnOnce() -> Way<T> + Send + 'static) -> Way<T> {
        self.cpu.run(task).await?.unwrap_or_else(|cpu::Panicked| {
            tracing::error!("a step panicked on an image; the image is failed(internal)");
            Err(Stop::failed(FailReason::Internal))
        })
    }

    /// Asks a network about one image. Rows of several images are gathered on its side; how long an answer may take, and
    /// how often a service that is away or busy is asked again, is the stage's own setting.
    async fn ask(&self, stage: &dyn Stage, input: Tensor, trace: Option<Trace>) -> Way<Vec<Tensor>> {
        match stage.infer(TensorBatch::from(input).with_trace(trace)).await {
            Ok(outputs) => Ok(outputs),
            // the network cannot compute this row, alone in its batch
            Err(error) if error.kind() == inference::ErrorKind::Compute => {
                tracing::warn!(stage = stage.manifest().name(), "the network failed on one image: {error}");
                Err(Stop::failed(FailReason::StageFailed))
            }
            Err(error) => Err(of_stage(stage, error).into()),
        }
    }
}

fn of_stage(stage: &dyn Stage, error: inference::Error) -> Error {
    let fault: Fault = error.fault();
    Error::caused(ErrorKind::Below(fault), format!("asking the stage {}", stage.manifest().name()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of 255 lies between two steps: what a network rounds to the upper one is calcified, as it was before.
    #[test]
    fn steps_of_255_are_probabilities() {
        let tensor = Tensor::new("calcification", &[1, 4], vec![0u8, 127, 128, 255]).unwrap();
        let values = probabilities(&tensor).unwrap();
        assert!(
            values[0] == 0.0 && values[1] < 0.5 && values[2] >= 0.5 && (values[3] - 1.0).abs() < 1e-6,
            "{values:?}"
        );
        let tensor = Tensor::new("calcification", &[1, 2], vec![0.25_f32, 0.75]).unwrap();
        assert!(matches!(probabilities(&tensor).unwrap(), Cow::Borrowed([0.25, 0.75])));
        assert!(probabilities(&Tensor::new("calcification", &[1, 1], vec![1i8]).unwrap()).is_err());
    }
}

//! What is submitted, and the networks that read it: made once for all seeds, since none of it is under test.

use super::fate::{Fate, Fault};
use super::plan::COHORTS;
use super::store::KILLER;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::steps::{Stages, StepSettings};
use crate::testing::{Shows, Study, picture};
use async_trait::async_trait;
use domain::Digest;
use inference::{Error, ErrorKind, ModelManifest, Result, Stage, Tensor, TensorBatch};
use lake::{Lake, Location};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(super) struct Cohorts {
    study: Study,
    pub metrics: Metrics,
    films: Arc<InMemory>,
    lake: InMemory,
    stages: Stages,
    /// By network, in the order of the stages.
    known: Vec<Arc<Known>>,
}

/// Answers of a network, by its input.
type Known = Mutex<HashMap<Digest, Vec<Tensor>>>;

impl Cohorts {
    pub fn new() -> Cohorts {
        let study = Study::new();
        let (films, lake) = (Arc::new(InMemory::new()), InMemory::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (cohort, objects) in cohorts().into_iter().enumerate() {
                for (name, content) in objects {
                    films.put(&Path::from(format!("{cohort}/{name}")), content.into()).await.unwrap();
                }
            }
            let location = Location::in_memory().with_store(|_| Arc::new(lake.clone()));
            Lake::create_if_absent(location).await.unwrap();
        });
        let nowhere = Lake::remains(Location::in_memory());
        let StepSettings { stages, metrics, .. } = study.settings(&nowhere);
        let known = stages.0.iter().map(|_| Arc::default()).collect();
        Cohorts { study, metrics, films, lake, stages, known }
    }

    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.study.pipeline
    }

    pub fn source(&self, cohort: usize) -> String {
        format!("s3://films/{cohort}/")
    }

    pub fn films(&self) -> Arc<dyn ObjectStore> {
        self.films.clone()
    }

    /// A lake without rows, of one's own.
    pub fn empty_lake(&self) -> Location {
        Location::in_memory().with_store(|_| Arc::new(self.lake.fork()))
    }

    pub fn settings(&self, lake: &Lake) -> StepSettings {
        StepSettings { metrics: self.metrics.clone(), ..self.study.settings(lake) }
    }

    /// The networks as a worker reaches them.
    pub fn stages(&self, fate: &Arc<Fate>) -> Stages {
        let faulty = |(inner, known): (&Arc<dyn Stage>, &Arc<Known>)| -> Arc<dyn Stage> {
            Arc::new(FaultyStage { inner: inner.clone(), known: known.clone(), fate: fate.clone() })
        };
        Stages(self.stages.0.iter().zip(&self.known).map(faulty).collect())
    }
}

/// Scored, excluded and failed ones, those that are soon done and make many commits, and those that kill.
fn cohorts() -> [Vec<(String, Vec<u8>)>; COHORTS] {
    let spine = |n: u64| (format!("{n:02}.png"), picture(Shows::LateralSpine, n));
    let text = |n: u64| (format!("text-{n}"), format!("no image, number {n}").into_bytes());
    let copy = || ("copy of 00.png".to_owned(), picture(Shows::LateralSpine, 0));
    let frontal = || ("frontal.png".to_owned(), picture(Shows::FrontalSpine, 1));
    let poison = || ("poison.png".to_owned(), picture(Shows::Poison, 1));
    let cut = || ("cut.png".to_owned(), picture(Shows::LateralSpine, 99)[..9_000].to_vec());
    let killer = || (KILLER.to_owned(), b"kills whoever reads it".to_vec());
    [
        vec![spine(0), spine(1), copy(), frontal(), text(0)],
        (0..30).map(text).chain([spine(0)]).collect(),
        vec![spine(0), spine(1), cut(), poison(), text(0), text(1)],
        (0..4).map(spine).chain((0..6).map(text)).chain([frontal()]).collect(),
        vec![spine(0), frontal(), killer(), spine(2), text(0)],
        (0..4).map(text).chain([killer(), spine(3), cut()]).collect(),
    ]
}

struct FaultyStage {
    inner: Arc<dyn Stage>,
    known: Arc<Known>,
    fate: Arc<Fate>,
}

#[async_trait]
impl Stage for FaultyStage {
    fn manifest(&self) -> &ModelManifest {
        self.inner.manifest()
    }

    async fn infer(&self, batch: TensorBatch) -> Result<Vec<Tensor>> {
        let what = format!("ask {}", self.manifest().name());
        self.fate.pause(&what).await;
        for (fault, kind) in [(Fault::StageAway, ErrorKind::Unavailable), (Fault::StageBusy, ErrorKind::Overloaded)] {
            if self.fate.happens(fault, &what) {
                return Err(Error::new(kind, "as the simulation wants it"));
            }
        }
        let key = Digest::of(&batch.tensors()[0].values::<u8>()?);
        let known = self.known.lock().unwrap().get(&key).cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let answer = self.inner.infer(batch).await?;
        self.known.lock().unwrap().insert(key, answer.clone());
        Ok(answer)
    }
}

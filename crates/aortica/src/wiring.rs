//! What several roles need put together: the pipeline, its networks, the stores, the lake, the study key.

use crate::cli::PipelineChoice;
use crate::exit::{misconfigured, usage};
use crate::settings::Settings;
use crate::{environment, overlay, study_key};
use anyhow::Context;
use domain::{ItemId, Radiograph, Reading, StudyKey};
use imaging::{Deidentify, Limits};
use inference::{ClientConfig, ModelManifest, Runtime, Session, SessionConfig, Stage, StageClient};
use lake::Lake;
use pipeline::Pipeline;
use pipeline::metrics::Metrics;
use pipeline::source::stores::Stores;
use pipeline::steps::{Overlay, Stages, StepSettings, Steps};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The folder that holds the pipelines.
pub fn pipelines() -> anyhow::Result<PathBuf> {
    let candidates = environment::pipeline_folders();
    candidates.iter().find(|f| f.is_dir()).cloned().ok_or_else(|| {
        misconfigured("there is no folder `pipelines` here or beside the program; set AORTICA_PIPELINES to it")
    })
}

pub fn pipeline(choice: &PipelineChoice) -> anyhow::Result<Arc<Pipeline>> {
    let is_folder = Path::new(&choice.pipeline).join("pipeline.toml").is_file();
    let search = if is_folder { PathBuf::new() } else { pipelines()? };
    let folder = ::pipeline::pipeline::find(&choice.pipeline, &search).map_err(|e| usage(e.to_string()))?;
    Ok(Arc::new(Pipeline::load(&folder)?))
}

/// Broker and object store come with two implementations of TLS; without a choice, the first connection would panic.
pub fn choose_tls() {
    // an earlier choice stays
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Loads the ONNX Runtime library.
pub fn runtime() -> anyhow::Result<Runtime> {
    let candidates = environment::onnxruntime_candidates();
    let found = candidates.iter().find(|path| path.exists()).ok_or_else(|| {
        let first = candidates.first().map(|p| p.display().to_string()).unwrap_or_default();
        misconfigured(format!(
            "no ONNX Runtime library at {first}: run `make runtime`, or set ORT_DYLIB_PATH to libonnxruntime.so"
        ))
    })?;
    Ok(Runtime::load(found)?)
}

/// The networks of a pipeline: behind the services at `urls`, in the order locate, segment (one URL serves both), or in
/// this process with `threads` runners of one thread for each.
pub async fn stages(
    pipeline: &Pipeline,
    urls: &[String],
    threads: usize,
    settings: &Settings,
) -> anyhow::Result<Stages> {
    match urls {
        [] => {
            let (locate, segment) = (pipeline.locate().clone(), pipeline.segment().clone());
            tokio::task::spawn_blocking(move || {
                let runtime = runtime()?;
                let start = |manifest: ModelManifest| -> anyhow::Result<Arc<dyn Stage>> {
                    let config = SessionConfig { runners: threads, ..SessionConfig::default() };
                    Ok(Arc::new(Session::start(&runtime, manifest, config)?))
                };
                Ok(Stages { locate: start(locate)?, segment: start(segment)? })
            })
            .await?
        }
        [both] => remote(pipeline, both, both, settings).await,
        [locate, segment] => remote(pipeline, locate, segment, settings).await,
        more => Err(usage(format!(
            "--stages takes one URL for all networks or one each for locate and segment, not {}",
            more.len()
        ))),
    }
}

async fn remote(pipeline: &Pipeline, locate: &str, segment: &str, settings: &Settings) -> anyhow::Result<Stages> {
    let client = |manifest: &ModelManifest, url: &str| {
        let config = ClientConfig {
            endpoints: vec![url.to_owned()],
            deadline: Duration::from_millis(u64::from(settings.stages.deadline_ms)),
            ..ClientConfig::default()
        };
        StageClient::new(manifest.clone(), config)
    };
    let (locate, segment) = (client(pipeline.locate(), locate)?, client(pipeline.segment(), segment)?);
    locate.verify().await?;
    segment.verify().await?;
    Ok(Stages { locate: Arc::new(locate), segment: Arc::new(segment) })
}

pub fn stores() -> anyhow::Result<Arc<Stores>> {
    let mut options = Vec::new();
    for (name, value) in environment::store_options() {
        // Variables of the AWS tools that the store does not know (profiles, pagers) are not ours to judge.
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            options.push((key, value));
        }
    }
    Ok(Arc::new(Stores::new(options)))
}

fn location(address: &str) -> anyhow::Result<lake::Location> {
    let known = |name: &str| name.to_ascii_lowercase().parse::<object_store::aws::AmazonS3ConfigKey>().is_ok();
    let options: Vec<_> = environment::store_options().into_iter().filter(|(name, _)| known(name)).collect();
    Ok(lake::store_for(address, &options)?)
}

/// The lake, made where there is none.
pub async fn create_lake(address: &str) -> anyhow::Result<Lake> {
    Ok(Lake::create_if_absent(location(address)?).await?)
}

/// A lake that must exist.
pub async fn open_lake(address: &str) -> anyhow::Result<Lake> {
    Ok(Lake::open(location(address)?).await?)
}

pub fn key(settings: &Settings, lake: &str) -> anyhow::Result<StudyKey> {
    let path = settings.key_path(lake);
    if settings.study.key_file.is_none() && !path.exists() {
        eprintln!("new study key: {} (keep it apart from the lake, back it up)", path.display());
    }
    study_key::load_or_create(&path)
}

/// What the steps are built from.
pub struct StepParts {
    pub pipeline: Arc<Pipeline>,
    pub stages: Stages,
    pub lake: Lake,
    pub key: StudyKey,
    pub threads: usize,
    pub overlays: Option<PathBuf>,
    pub metrics: Metrics,
}

pub fn steps(parts: StepParts, settings: &Settings) -> anyhow::Result<Steps> {
    let mib = |value: u32| u64::from(value) << 20;
    let overlay = parts.overlays.as_deref().map(overlay_writer).transpose()?;
    Ok(Steps::new(StepSettings {
        pipeline: parts.pipeline,
        stages: parts.stages,
        provider: "cpu".to_owned(),
        stores: stores()?,
        lake: parts.lake,
        deidentify: Deidentify {
            key: parts.key,
            site: settings.study.site.clone(),
            shift_dates: settings.study.shift_dates,
        },
        limits: Limits {
            max_file_bytes: mib(settings.limits.max_file_mib),
            max_pixels: u64::from(settings.limits.max_megapixels) * 1_000_000,
            max_decompressed_bytes: mib(settings.limits.max_decompressed_mib),
        },
        threads: parts.threads,
        memory_bytes: mib(settings.run.in_flight_mib),
        overlay,
        now_us: Arc::new(environment::now_us),
        metrics: parts.metrics,
    })?)
}

/// Overlays are named by item id, never by file (invariant 9).
fn overlay_writer(folder: &Path) -> anyhow::Result<Overlay> {
    std::fs::create_dir_all(folder).with_context(|| format!("folder for overlays {}", folder.display()))?;
    let folder = folder.to_owned();
    Ok(Arc::new(move |item: &ItemId, radiograph: &Radiograph, reading: &Reading| {
        overlay::write(radiograph, reading, &folder.join(format!("{item}.png"))).map_err(Into::into)
    }))
}

#[cfg(test)]
mod tests {
    /// Without a choice between the two implementations, this panics, and so would the first `amqps://`.
    #[test]
    fn tls_is_ready_for_use() {
        super::choose_tls();
        super::choose_tls();
        let _ = rustls::ClientConfig::builder();
    }
}

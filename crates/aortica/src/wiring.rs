//! What several roles need put together: the pipeline, its networks, the stores, the lake, the study key.

use crate::cli::{DeviceChoice, PipelineChoice, ReaderChoice, RoleChoice};
use crate::cli_disclosure::RoleName;
use crate::exit::{misconfigured, usage};
use crate::settings::Settings;
use crate::{environment, overlay, study_key};
use anyhow::Context;
use domain::{Fingerprint, ItemId, Radiograph, Reading, StudyKey};
use imaging::{Deidentify, Limits};
use inference::{
    ClientConfig, ErrorKind, Forms, ModelManifest, Runtime, Session, SessionConfig, Stage, StageClient, Token, Turns,
};
use lake::{Lake, Policy, Role};
use pipeline::Pipeline;
use pipeline::definition::PipelineDefinition;
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

/// The folder of a pipeline.
fn pipeline_folder(choice: &PipelineChoice) -> anyhow::Result<PathBuf> {
    let is_folder = Path::new(&choice.pipeline).join("pipeline.toml").is_file();
    let search = if is_folder { PathBuf::new() } else { pipelines()? };
    ::pipeline::pipeline::find(&choice.pipeline, &search).map_err(|e| usage(e.to_string()))
}

/// What a pipeline is said to be, whether its other files are there or not.
pub fn definition(choice: &PipelineChoice) -> anyhow::Result<PipelineDefinition> {
    Ok(PipelineDefinition::load(&pipeline_folder(choice)?)?)
}

/// The pipeline, its networks in the form that the settings want.
pub fn pipeline(choice: &PipelineChoice, settings: &Settings) -> anyhow::Result<Arc<Pipeline>> {
    let folder = pipeline_folder(choice)?;
    Ok(Arc::new(Pipeline::load_as(&folder, |model| settings.networks.form(model))?))
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

/// What the command line says of the device goes before the settings.
pub fn choose_device(settings: &mut Settings, choice: &DeviceChoice) {
    if let Some(device) = &choice.device {
        settings.networks.device.clone_from(device);
        settings.networks.models.values_mut().for_each(|model| model.device = None);
    }
    if let Some(when_missing) = choice.when_missing {
        settings.networks.when_missing = when_missing;
    }
    if choice.precision.is_some() {
        settings.networks.precision = choice.precision;
        settings.networks.models.values_mut().for_each(|model| model.precision = None);
    }
}

/// The same for what other processes compute.
pub fn choose_readers(settings: &mut Settings, choice: &ReaderChoice) {
    let ReaderChoice { device, precision } = choice.clone();
    choose_device(settings, &DeviceChoice { device, when_missing: None, precision });
}

pub fn stage_token(secret: Option<String>) -> anyhow::Result<Option<Token>> {
    Ok(secret.map(|text| Token::new(&text)).transpose()?)
}

/// A pipeline with what computes its networks.
pub struct Networks {
    /// With the forms of the networks that compute.
    pub pipeline: Arc<Pipeline>,
    pub stages: Stages,
    /// A part of the fingerprint: GPUs round differently.
    pub provider: String,
}

/// The networks of a pipeline: behind the services at `urls`, or in this process with `threads` runners of one thread for
/// each.
pub async fn networks(
    pipeline: Arc<Pipeline>,
    urls: &[String],
    threads: usize,
    settings: &Settings,
) -> anyhow::Result<Networks> {
    if urls.is_empty() {
        let networks = settings.networks.clone();
        return tokio::task::spawn_blocking(move || {
            let runtime = runtime()?;
            // A batch is never alone on cores that decode the next images.
            let configured = |manifest: &ModelManifest| {
                let config = SessionConfig { alone_threads: 1, ..networks.session(manifest.name(), threads)? };
                anyhow::Ok((manifest.clone(), config))
            };
            let models = pipeline.networks().map(configured).collect::<anyhow::Result<Vec<_>>>()?;
            // A core that goes to and fro between two networks finds its cache full of the other's numbers.
            // One batch more than cores, though: a core on which pixels are done would else be idle until the system moves
            // a batch there that waits behind another, which takes it milliseconds.
            let turns = Turns::of_devices(models.iter().map(|(_, config)| config), 1);
            let start = |(manifest, config): (ModelManifest, SessionConfig)| -> anyhow::Result<Arc<Session>> {
                let turns = turns.get(&config.device);
                Ok(Arc::new(Session::start_beside(&runtime, manifest, config, turns)?))
            };
            let sessions = models.into_iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
            let provider = joined(sessions.iter().map(|session| session.provider()));
            let stages = Stages(sessions.into_iter().map(|session| session as Arc<dyn Stage>).collect());
            Ok(Networks { pipeline, stages, provider })
        })
        .await?;
    }
    let (mut clients, mut providers) = (Vec::new(), Vec::new());
    for (place, (forms, chosen)) in pipeline.forms().zip(pipeline.networks()).enumerate() {
        let (client, provider) = served(forms, chosen, urls, place == 1, settings).await?;
        clients.push(client);
        providers.push(provider);
    }
    let pipeline = Arc::new(pipeline.computed_by(clients.iter().map(|client| client.manifest().clone())));
    let stages = Stages(clients.into_iter().map(|client| client as Arc<dyn Stage>).collect());
    Ok(Networks { pipeline, stages, provider: joined(providers) })
}

/// The client of one network, and the provider behind it. Where no precision was asked for, what the services serve counts.
async fn served(
    forms: &Forms,
    chosen: &ModelManifest,
    urls: &[String],
    is_second: bool,
    settings: &Settings,
) -> anyhow::Result<(Arc<StageClient>, &'static str)> {
    let others = forms.all().iter().filter(|form| form.precision() != chosen.precision());
    let free = settings.networks.form(chosen.name())?.precision.is_none();
    let mut first_answer = None;
    for form in std::iter::once(chosen).chain(others.filter(|_| free)) {
        let config = ClientConfig {
            endpoints: endpoints(urls, form.name(), is_second)?,
            deadline: Duration::from_millis(settings.stages.deadline_ms.into()),
            attempts_max: settings.stages.attempts,
            message_bytes_max: (settings.stages.message_mib as usize) << 20,
            ca_certificate: settings.stages.ca_certificate.clone(),
            token: stage_token(environment::stage_token()?)?,
            ..ClientConfig::default()
        };
        let client = StageClient::new(form.clone(), config)?;
        match client.verify().await {
            Ok(provider) => return Ok((Arc::new(client), provider)),
            Err(other) if other.kind() == ErrorKind::Disagreement => {
                first_answer.get_or_insert(other);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(first_answer.map_or_else(|| misconfigured("a network has no form"), Into::into))
}

/// The provider of readings that are computed as the settings ask for.
pub fn provider(pipeline: &Pipeline, settings: &Settings) -> anyhow::Result<String> {
    let on = |manifest: &ModelManifest| settings.networks.form(manifest.name()).map(|choice| choice.device);
    Ok(joined(pipeline.networks().map(on).collect::<Result<Vec<_>, _>>()?))
}

/// Their fingerprint.
pub fn fingerprint(pipeline: &Pipeline, settings: &Settings) -> anyhow::Result<Fingerprint> {
    Ok(pipeline.fingerprint(&provider(pipeline, settings)?))
}

/// One name where all networks are computed alike: a part of the fingerprint, because GPUs round differently.
fn joined(providers: impl IntoIterator<Item = &'static str>) -> String {
    let mut names: Vec<&str> = providers.into_iter().collect();
    names.dedup();
    names.join("+")
}

/// The services of one network: those given for its name, or by place: one URL for all, or one each.
fn endpoints(urls: &[String], name: &str, is_second: bool) -> anyhow::Result<Vec<String>> {
    let named = |url: &'_ String| {
        url.split_once('=').filter(|(name, _)| !name.contains(':')).map(|(n, u)| (n.to_owned(), u.to_owned()))
    };
    let given: Vec<_> = urls.iter().map(named).collect();
    if given.iter().all(Option::is_some) {
        let of_name: Vec<String> = given.into_iter().flatten().filter(|(n, _)| n == name).map(|(_, url)| url).collect();
        if of_name.is_empty() {
            return Err(usage(format!("--stages names no service for {name}")));
        }
        return Ok(of_name);
    }
    if given.iter().any(Option::is_some) {
        return Err(usage("--stages takes plain URLs or NAME=URL, not both"));
    }
    match urls {
        [both] => Ok(vec![both.clone()]),
        [first, second] => Ok(vec![if is_second { second.clone() } else { first.clone() }]),
        more => Err(usage(format!(
            "--stages takes one URL for all networks, one each in the order of the pipeline (locate, then segment or grade), or \
             NAME=URL, not {} URLs",
            more.len()
        ))),
    }
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

/// What is left of a lake, its tables perhaps lost.
pub fn remains_of_lake(address: &str) -> anyhow::Result<Lake> {
    Ok(Lake::remains(location(address)?))
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
    pub networks: Networks,
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
        pipeline: parts.networks.pipeline,
        stages: parts.networks.stages,
        provider: parts.networks.provider,
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

/// The policy of disclosure control: that of the file, else the defaults with the log beside the lake.
pub fn policy(file: Option<&Path>, lake: &str) -> anyhow::Result<Arc<Policy>> {
    Ok(Arc::new(file.map_or_else(|| Policy::beside(lake), Policy::load)?))
}

/// The role that the command line chose.
pub fn role(choice: &RoleChoice, lake: &str) -> anyhow::Result<Role> {
    match (choice.role, &choice.policy) {
        (RoleName::Rows, None) => Ok(Role::Rows),
        (RoleName::Rows, Some(_)) => Err(usage("--policy is for --role aggregate; the rows role is not bound by it")),
        (RoleName::Aggregate, file) => Ok(Role::Aggregate(policy(file.as_deref(), lake)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::endpoints;

    #[test]
    fn services_are_given_by_place_or_by_name() {
        let of = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
            (endpoints(&urls, "locate", false), endpoints(&urls, "segment", true))
        };
        let (locate, segment) = of(&["http://a:1"]);
        assert_eq!((locate.unwrap(), segment.unwrap()), (vec!["http://a:1".to_owned()], vec!["http://a:1".to_owned()]));
        let (locate, segment) = of(&["http://a:1", "http://b:1"]);
        assert_eq!((locate.unwrap(), segment.unwrap()), (vec!["http://a:1".to_owned()], vec!["http://b:1".to_owned()]));
        let (locate, segment) = of(&["locate=http://a:1", "segment=http://c:1?x=y", "locate=http://b:1"]);
        assert_eq!(locate.unwrap(), ["http://a:1", "http://b:1"]);
        assert_eq!(segment.unwrap(), ["http://c:1?x=y"]);
        assert!(of(&["locate=http://a:1"]).1.unwrap_err().to_string().contains("no service for segment"));
        assert!(of(&["locate=http://a:1", "http://b:1"]).0.is_err());
        assert!(of(&["http://a:1", "http://b:1", "http://c:1"]).0.is_err());
    }

    /// Without a choice between the two implementations, this panics, and so would the first `amqps://`.
    #[test]
    fn tls_is_ready_for_use() {
        super::choose_tls();
        super::choose_tls();
        let _ = rustls::ClientConfig::builder();
    }
}

//! `aortica infer`: a stage service.

use crate::cli::InferArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::{environment, settings, signals, wiring};
use anyhow::Context;
use inference::{Forms, Identity, Listeners, ModelManifest, Precision, Runtime, Server, ServerConfig, repository};
use pipeline::Pipeline;
use pipeline::definition::DEFINITION_FILE;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

/// Manifests that a folder may hold.
const MANIFESTS_MAX: usize = 256;

pub fn run(args: &InferArgs, settings: &Settings) -> anyhow::Result<u8> {
    let mut settings = match &args.config {
        Some(file) => settings::load(Some(file))?,
        None => settings.clone(),
    };
    wiring::choose_device(&mut settings, &args.device);
    settings.infer.certificate = args.tls_certificate.clone().or(settings.infer.certificate);
    settings.infer.key = args.tls_key.clone().or(settings.infer.key);
    let threads = settings.threads(args.threads);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads.clamp(2, 8)).enable_all().build()?;
    runtime.block_on(async {
        let cancel = signals::stop_on_signal();
        let library = tokio::task::spawn_blocking(wiring::runtime).await??;
        let models = Forms::choose_each(manifests(args, &library)?, |model| settings.networks.form(model))?
            .into_iter()
            .map(|manifest| {
                let config = settings.networks.session(manifest.name(), threads)?;
                Ok((manifest, config))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let config = config(&settings)?;
        let listen = async |address: std::net::SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
        };
        let (grpc, http) = (listen(args.grpc).await?, listen(args.http).await?);
        let addresses = serde_json::json!({"grpc": grpc.local_addr()?, "http": http.local_addr()?});
        println!("{addresses}");
        let server = Server { runtime: library, models, registry: prometheus::Registry::new(), config };
        server.run(Listeners { grpc, http: Some(http) }, cancel.cancelled_owned()).await?;
        Ok(0)
    })
}

fn config(settings: &Settings) -> anyhow::Result<ServerConfig> {
    let infer = &settings.infer;
    let identity = match (&infer.certificate, &infer.key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.clone(), key: key.clone() }),
        (None, None) => None,
        _ => return Err(usage("--tls-certificate and --tls-key go together".to_owned())),
    };
    let token = wiring::stage_token(environment::stage_token()?)?;
    if token.is_some() && identity.is_none() {
        tracing::warn!("callers send the token unencrypted, because no certificate is set");
    }
    Ok(ServerConfig {
        message_bytes_max: (infer.message_mib as usize) << 20,
        bodies_bytes_max: (infer.bodies_mib as usize) << 20,
        connections_max: infer.connections as usize,
        streams_max: infer.streams,
        drain_limit: Duration::from_secs(infer.drain_s.into()),
        identity,
        token,
    })
}

/// All models of the folders in all their forms, or those asked for: the networks of a pipeline, which may lie beside it; `<name>.toml` beside
/// `<name>.onnx` (other tables are passed over); or a repository in Triton's layout.
fn manifests(args: &InferArgs, library: &Runtime) -> anyhow::Result<Vec<ModelManifest>> {
    let mut found = Vec::new();
    let wanted = |name: &str| args.models.is_empty() || args.models.iter().any(|model| model == name);
    for folder in &args.folders {
        if folder.join(DEFINITION_FILE).is_file() {
            let pipeline = Pipeline::load(folder)?;
            let networks = pipeline.forms().flat_map(Forms::manifests);
            found.extend(networks.filter(|manifest| wanted(manifest.name())).cloned());
            continue;
        }
        let before = found.len();
        for path in tables(folder)? {
            let named = args.models.iter().any(|model| is_form_of(&path, model));
            let is_manifest = path.with_extension("onnx").exists();
            if if args.models.is_empty() { is_manifest } else { named } {
                found.push(ModelManifest::read(&path)?);
            }
        }
        if found.len() == before && repository::is_repository(folder) {
            found.extend(repository::read(library, folder, wanted)?);
        }
        if args.models.is_empty() && found.len() == before {
            return Err(usage(format!(
                "{} holds no model: a manifest <name>.toml lies beside <name>.onnx (`aortica model describe` writes one), or \
                 <name>/1/model.onnx in Triton's layout",
                folder.display()
            )));
        }
    }
    for name in &args.models {
        if !found.iter().any(|manifest| manifest.name() == name) {
            return Err(usage(format!("no model {name} in the folders given")));
        }
    }
    Ok(found)
}

/// `NAME.toml` or `NAME.PRECISION.toml`.
fn is_form_of(path: &Path, model: &str) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let rest = stem.strip_prefix(model);
    rest.is_some_and(|rest| rest.is_empty() || Precision::ALL.iter().any(|p| rest.strip_prefix('.') == Some(p.name())))
}

fn tables(folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("model folder {}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .take(MANIFESTS_MAX)
        .collect();
    paths.sort();
    Ok(paths)
}

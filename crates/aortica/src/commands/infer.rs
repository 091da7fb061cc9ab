//! `aortica infer`: a stage service.

use crate::cli::InferArgs;
use crate::exit::usage;
use crate::settings::Settings;
use crate::{signals, wiring};
use anyhow::Context;
use inference::{Listeners, ModelManifest, Server, ServerConfig, SessionConfig};
use std::path::Path;
use tokio::net::TcpListener;

/// Manifests that a folder may hold.
const MANIFESTS_MAX: usize = 256;

pub fn run(args: &InferArgs, settings: &Settings) -> anyhow::Result<u8> {
    let threads = settings.threads(args.threads);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let cancel = signals::stop_on_signal();
        let models = manifests(args)?
            .into_iter()
            .map(|manifest| (manifest, SessionConfig { runners: threads, ..SessionConfig::default() }))
            .collect();
        let listen = async |address: std::net::SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
        };
        let (grpc, http) = (listen(args.grpc).await?, listen(args.http).await?);
        let addresses = serde_json::json!({"grpc": grpc.local_addr()?, "http": http.local_addr()?});
        println!("{addresses}");
        let server = Server {
            runtime: tokio::task::spawn_blocking(wiring::runtime).await??,
            models,
            registry: prometheus::Registry::new(),
            config: ServerConfig::default(),
        };
        server.run(Listeners { grpc, http: Some(http) }, cancel.cancelled_owned()).await?;
        Ok(0)
    })
}

/// All model manifests of the folders (`<name>.toml` beside the model; other tables are passed over), or those asked for.
fn manifests(args: &InferArgs) -> anyhow::Result<Vec<ModelManifest>> {
    let mut found = Vec::new();
    for folder in &args.folders {
        let before = found.len();
        for path in tables(folder)? {
            let named = path.file_stem().is_some_and(|stem| args.models.iter().any(|m| stem == m.as_str()));
            let is_manifest = path.with_extension("onnx").exists();
            if if args.models.is_empty() { is_manifest } else { named } {
                found.push(ModelManifest::read(&path)?);
            }
        }
        if args.models.is_empty() && found.len() == before {
            return Err(usage(format!(
                "{} holds no model: a manifest <name>.toml lies beside <name>.onnx",
                folder.display()
            )));
        }
    }
    for name in &args.models {
        if !found.iter().any(|manifest| manifest.name() == name) {
            return Err(usage(format!("no manifest {name}.toml in the folders given")));
        }
    }
    Ok(found)
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

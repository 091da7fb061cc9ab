//! A stage service: models behind the Open Inference Protocol v2 over gRPC and HTTP, with health and metrics.

use crate::access::{self, Identity, Token};
use crate::connections::{self, ConnectionLimits, FIRST_BYTE_WITHIN};
use crate::error::{Error, ErrorKind, Result};
use crate::grpc::Grpc;
use crate::manifest::ModelManifest;
use crate::metrics;
use crate::protocol::message::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::rest;
use crate::room::{self, Room};
use crate::runtime::Runtime;
use crate::session::{Session, SessionConfig};
use crate::turns::Turns;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Largest message that can be set, 1 GiB.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Limits of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Largest message taken or given, in bytes; gRPC's own limit of 4 MiB is less than a batch. Default 64 MiB, at most
    /// 1 GiB.
    pub message_bytes_max: usize,
    /// What the bodies of all requests at once may hold, in bytes; no less than one message. Default 512 MiB.
    pub bodies_bytes_max: usize,
    /// Most connections on one socket. Default 256.
    pub connections_max: usize,
    /// Most requests at once on one connection. Default 256.
    pub streams_max: u32,
    /// Longest wait, after the signal to stop, for requests that were taken. Default 25 s, below the 30 s after which
    /// Kubernetes kills.
    pub drain_limit: Duration,
    /// Certificate and key: both sockets then speak TLS. Default none.
    pub identity: Option<Identity>,
    /// The token that callers must name; health and metrics are told to everybody. Default none.
    pub token: Option<Token>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            message_bytes_max: 64 << 20,
            bodies_bytes_max: 512 << 20,
            connections_max: 256,
            streams_max: 256,
            drain_limit: Duration::from_secs(25),
            identity: None,
            token: None,
        }
    }
}

/// Bound sockets. Port 0 is for tests, which read the port from the listener.
pub struct Listeners {
    pub grpc: TcpListener,
    pub http: Option<TcpListener>,
}

/// A service that has been described and can be run.
pub struct Server {
    pub runtime: Runtime,
    /// Models to serve, by name and version no two alike.
    pub models: Vec<(ModelManifest, SessionConfig)>,
    /// Where the counters of the models are registered, and what `/metrics` prints.
    pub registry: Registry,
    pub config: ServerConfig,
}

impl Server {
    /// Serves on `listeners` until `shutdown` completes. The sockets answer from the start: liveness at once, readiness
    /// when all models are loaded, `Unavailable` for a model until it is.
    ///
    /// At `shutdown` readiness ends and the sockets close; every request that was taken is answered, and then `run`
    /// returns. Requests that are not done within the drain limit are cut off, which is an error of kind `Unavailable`.
    ///
    /// # Errors
    /// The error of the first model that cannot be loaded, `Settings` for wrong settings or two models of one name and
    /// version.
    pub async fn run(self, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Server { runtime, models, registry, config } = self;
        config.check()?;
        let acceptors = config.acceptors()?;
        let served = Arc::new(Served::new(models.iter().map(|(manifest, _)| manifest))?);
        let collector = metrics::ModelCollector::new(&served);
        registry
            .register(Box::new(collector))
            .map_err(|error| Error::caused(ErrorKind::Bug, "the counters of the models are registered twice", error))?;

        let stop = CancellationToken::new();
        let sockets = serve_sockets(listeners, acceptors, &served, &registry, &config, &stop);
        let mut sockets = std::pin::pin!(sockets);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut load = std::pin::pin!(load(Arc::clone(&served), runtime, models));
        let mut loading = true;
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                loaded = &mut load, if loading => {
                    loaded?;
                    loading = false;
                }
                () = &mut sockets => return Err(Error::new(ErrorKind::Bug, "the sockets ended by themselves")),
            }
        }
        tracing::info!(pending_rows = served.pending_rows(), "stopping: answering what was taken");
        served.stop();
        stop.cancel();
        // The sockets first: requests still travel on open connections, and are taken until those are closed.
        if tokio::time::timeout(config.drain_limit, &mut sockets).await.is_err() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("requests were cut off after {:?}: {} rows", config.drain_limit, served.pending_rows()),
            ));
        }
        Ok(())
    }
}

impl ServerConfig {
    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Settings, message));
        if !(1024..=MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            return refuse(format!(
                "message_bytes_max must be 1024 to {MESSAGE_BYTES_MAX}, not {}",
                self.message_bytes_max
            ));
        }
        if self.bodies_bytes_max < self.message_bytes_max {
            return refuse(format!(
                "bodies_bytes_max must be at least message_bytes_max, {}, not {}",
                self.message_bytes_max, self.bodies_bytes_max
            ));
        }
        if !(1..=65_536).contains(&self.connections_max) {
            return refuse(format!("connections_max must be 1 to 65536, not {}", self.connections_max));
        }
        if !(1..=65_536).contains(&self.streams_max) {
            return refuse(format!("streams_max must be 1 to 65536, not {}", self.streams_max));
        }
        Ok(())
    }

    /// What accepts TLS for gRPC and for HTTP; none where no certificate is set.
    fn acceptors(&self) -> Result<[Option<TlsAcceptor>; 2]> {
        let of = |protocols: &[&str]| self.identity.as_ref().map(|identity| identity.acceptor(protocols)).transpose();
        Ok([of(&["h2"])?, of(&["h2", "http/1.1"])?])
    }
}

/// Loads one model after the other, each off the async threads.
async fn load(served: Arc<Served>, runtime: Runtime, models: Vec<(ModelManifest, SessionConfig)>) -> Result<()> {
    let turns = Turns::of_devices(models.iter().map(|(_, config)| config), 0);
    for (index, (manifest, config)) in models.into_iter().enumerate() {
        let (runtime, turns) = (runtime.clone(), turns.get(&config.device).cloned());
        let start = move || Session::start_beside(&runtime, manifest, config, turns.as_ref());
        let session = tokio::task::spawn_blocking(start)
            .await
            .map_err(|error| Error::caused(ErrorKind::Bug, "loading a model panicked", error))??;
        served.loaded(index, session);
    }
    Ok(())
}

async fn serve_sockets(
    listeners: Listeners,
    [grpc_tls, http_tls]: [Option<TlsAcceptor>; 2],
    served: &Arc<Served>,
    registry: &Registry,
    config: &ServerConfig,
    stop: &CancellationToken,
) {
    let service = GrpcInferenceServiceServer::new(Grpc::new(Arc::clone(served)))
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    let limits = ConnectionLimits {
        connections_max: config.connections_max,
        streams_max: config.streams_max,
        http2_only: true,
        first_byte_within: FIRST_BYTE_WITHIN,
    };
    let room = Room::of(config.bodies_bytes_max);
    let grpc = tonic::service::Routes::new(service).prepare().into_axum_router();
    // layers added later come first: who names no token finds no room
    let mut grpc = grpc.layer(middleware::from_fn_with_state(room.clone(), room::hold_grpc));
    if let Some(token) = &config.token {
        grpc = grpc.layer(middleware::from_fn_with_state(token.clone(), access::guard_grpc));
    }
    let grpc = connections::serve(listeners.grpc, grpc_tls, grpc, limits, stop.clone());
    let http = async {
        if let Some(listener) = listeners.http {
            let models = rest::routes(Arc::clone(served), config.message_bytes_max);
            let mut models = models.layer(middleware::from_fn_with_state(room, room::hold_http));
            if let Some(token) = &config.token {
                models = models.layer(middleware::from_fn_with_state(token.clone(), access::guard_http));
            }
            let router = health_router(Arc::clone(served), registry.clone()).merge(models);
            let limits = ConnectionLimits { http2_only: false, ..limits };
            connections::serve(listener, http_tls, router, limits, stop.clone()).await;
        }
    };
    tokio::join!(grpc, http);
}

/// The models of a service and how far each is.
pub(crate) struct Served {
    models: Vec<ServedModel>,
    stopping: AtomicBool,
}

pub(crate) struct ServedModel {
    pub manifest: ModelManifest,
    session: OnceLock<Arc<Session>>,
}

impl ServedModel {
    /// The loaded session; an error of kind `Unavailable` until there is one.
    pub fn session(&self) -> Result<&Arc<Session>> {
        self.session.get().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!("model `{}` is still being loaded; ask again later", self.manifest.name()),
            )
        })
    }

    pub fn is_ready(&self) -> bool {
        self.session.get().is_some_and(|session| session.is_ready())
    }
}

impl Served {
    fn new<'a>(manifests: impl Iterator<Item = &'a ModelManifest>) -> Result<Served> {
        let mut models: Vec<ServedModel> = Vec::new();
        for manifest in manifests {
            let (name, version) = (manifest.name(), manifest.version_order());
            if models.iter().any(|other| other.manifest.name() == name && other.manifest.version_order() == version) {
                return Err(Error::new(
                    ErrorKind::Settings,
                    format!("model `{name}` version {} is given twice", manifest.version()),
                ));
            }
            models.push(ServedModel { manifest: manifest.clone(), session: OnceLock::new() });
        }
        Ok(Served { models, stopping: AtomicBool::new(false) })
    }

    fn loaded(&self, index: usize, session: Session) {
        // Set once for each index by `load`.
        let _ = self.models[index].session.set(Arc::new(session));
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.models.iter().filter_map(|model| model.session.get()).for_each(|session| session.hurry());
    }

    pub fn models(&self) -> &[ServedModel] {
        &self.models
    }

    /// All models loaded and taking requests, and the service not stopping.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Acquire) && self.models.iter().all(ServedModel::is_ready)
    }

    pub fn pending_rows(&self) -> usize {
        self.models.iter().filter_map(|model| model.session.get()).map(|session| session.pending_rows()).sum()
    }

    /// Versions of a model, oldest first.
    pub fn versions(&self, name: &str) -> Vec<String> {
        let manifests = self.models.iter().map(|model| &model.manifest).filter(|manifest| manifest.name() == name);
        let mut versions: Vec<_> = manifests.map(|m| (m.version_order(), m.version().to_owned())).collect();
        versions.sort();
        versions.into_iter().map(|(_, version)| version).collect()
    }

    /// The model of this name, in this version or (empty) the newest; an error of kind `UnknownModel` says which exist.
    pub fn find(&self, name: &str, version: &str) -> Result<&ServedModel> {
        let found = self
            .models
            .iter()
            .filter(|model| model.manifest.name() == name)
            .filter(|model| version.is_empty() || model.manifest.version() == version)
            .max_by_key(|model| model.manifest.version_order());
        found.ok_or_else(|| {
            let known: Vec<String> = self
                .models
                .iter()
                .map(|model| format!("`{}` version {}", model.manifest.name(), model.manifest.version()))
                .collect();
            let version = if version.is_empty() { "in any version".into() } else { format!("version {version:.32}") };
            Error::new(
                ErrorKind::UnknownModel,
                format!("no model `{name:.100}` {version} is served here; there is {}", known.join(", ")),
            )
        })
    }
}

/// What everybody is told: Kubernetes and Prometheus bring no token.
fn health_router(served: Arc<Served>, registry: Registry) -> Router {
    async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, Json<Value>) {
        let ready = served.is_ready();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({"ready": ready})))
    }
    let print = move || {
        let registry = registry.clone();
        async move { print_metrics(&registry) }
    };
    Router::new()
        .route("/v2/health/live", get(|| async { Json(json!({"live": true})) }))
        .route("/v2/health/ready", get(ready))
        .route("/metrics", get(print))
        .with_state(served)
}

fn print_metrics(registry: &Registry) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be printed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

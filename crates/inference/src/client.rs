//! A network behind a service: the same trait as a session, over the Open Inference Protocol.

use crate::access::Token;
use crate::connections::FRAME_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::ModelManifest;
use crate::protocol::message::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::protocol::message::{
    ModelConfigRequest, ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse, model_instance_group,
};
use crate::protocol::{
    CONFIG_DIGEST_PARAMETER, decode_response, disagreement, encode_request, error_of, tensor_metadata,
};
use crate::stage::Stage;
use crate::tensor::{Tensor, TensorBatch};
use crate::trace::{HEADER as TRACE_HEADER, Trace};
use async_trait::async_trait;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

/// As on the server: a picture fits a window.
const WINDOW_BYTES: u32 = 4 << 20;
/// A service that does not answer a ping for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Most endpoints, most attempts, longest deadline that can be set.
const ENDPOINTS_MAX: usize = 64;
const ATTEMPTS_MAX: u32 = 100;
const DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// `http://host:port`, or `https://host:port` where the service speaks TLS; 1 to 64 of them; requests go round all.
    pub endpoints: Vec<String>,
    /// Longest wait for an answer, all attempts together, where the batch has no deadline of its own. Default 30 s, at
    /// most an hour.
    pub deadline: Duration,
    /// Most attempts for one batch, 1 to 100. Default 6. Only a full queue and a service out of reach are tried again.
    pub attempts_max: u32,
    /// Pause after all endpoints have refused once; doubles each time up to 5 s. Default 100 ms.
    pub backoff: Duration,
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Largest message taken or given, in bytes. Default 64 MiB.
    pub message_bytes_max: usize,
    /// Whether a service that does not say its model's digest is used all the same (its tensors are compared in any
    /// case). Default false. A Triton server says it when config.pbtxt has `parameters { key: "sha256" ... }`.
    pub allow_unknown_digest: bool,
    /// PEM file of the certificates that sign those of the services (`https`). Default none: the system's.
    pub ca_certificate: Option<PathBuf>,
    /// The token that the services want named. Default none.
    pub token: Option<Token>,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            endpoints: Vec::new(),
            deadline: Duration::from_secs(30),
            attempts_max: 6,
            backoff: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(5),
            message_bytes_max: 64 << 20,
            allow_unknown_digest: false,
            ca_certificate: None,
            token: None,
        }
    }
}

/// One model of one or several services.
#[derive(Debug)]
pub struct StageClient {
    manifest: ModelManifest,
    config: ClientConfig,
    services: Vec<Service>,
    /// Where the next request begins its round.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Service {
    endpoint: String,
    client: GrpcInferenceServiceClient<Channel>,
    /// Whether it has been found to serve the manifest's model.
    agreed: AtomicBool,
    /// Whether it knows our version. Triton numbers versions 1, 2, ..: it is asked for the newest, and what it serves is
    /// compared by digest.
    versioned: AtomicBool,
    /// Whether it says that a GPU computes the model.
    on_gpu: AtomicBool,
}

impl StageClient {
    /// A client for the model of `manifest`. Connects when it is first used; `verify` does so at once. Needs a tokio
    /// runtime around it.
    ///
    /// # Errors
    /// `Settings` for an address that is none or a limit out of range.
    pub fn new(manifest: ModelManifest, config: ClientConfig) -> Result<StageClient> {
        config.check()?;
        let services =
            config.endpoints.iter().map(|endpoint| Service::new(endpoint, &config)).collect::<Result<_>>()?;
        Ok(StageClient { manifest, config, services, next: AtomicUsize::new(0) })
    }

    /// Proves that every service is within reach and serves the model of the manifest: its tensors, its digest. Returns the
    /// execution provider that computes it, `cpu` or `cuda`, which is the same in all.
    ///
    /// # Errors
    /// `Disagreement`, which no waiting mends; `Unavailable` when the deadline passed before a service answered.
    pub async fn verify(&self) -> Result<&'static str> {
        let deadline = Instant::now() + self.config.deadline;
        for service in &self.services {
            // A service may still be starting: asked until the deadline.
            let mut attempts = Attempts::new(self, deadline, ATTEMPTS_MAX);
            loop {
                match timeout_at(deadline, self.agree(service, deadline)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(failed)) => attempts.pause(service, failed).await?,
                    Err(_) => return Err(self.late(service)),
                }
            }
        }
        let provider = |service: &Service| if service.on_gpu.load(Ordering::Acquire) { "cuda" } else { "cpu" };
        let first = provider(&self.services[0]);
        match self.services.iter().find(|service| provider(service) != first) {
            None => Ok(first),
            Some(other) => Err(disagreement(
                &self.manifest,
                format!(
                    "at {} computes on {first}, that at {} on {}, and rounds differently",
                    self.services[0].endpoint,
                    other.endpoint,
                    provider(other)
                ),
            )),
        }
    }

    fn late(&self, service: &Service) -> Error {
        Error::new(
            ErrorKind::Deadline,
            format!("{}: the deadline passed before model `{}` answered", service.endpoint, self.manifest.name()),
        )
    }

    /// Compares the service's model with the manifest, once for each service; afterwards every request names the digest.
    async fn agree(&self, service: &Service, deadline: Instant) -> Result<(), (Error, Option<Duration>)> {
        if service.agreed.load(Ordering::Acquire) {
            return Ok(());
        }
        let name = self.manifest.name().to_owned();
        let metadata = async |version: &str| {
            let request = ModelMetadataRequest { name: name.clone(), version: version.to_owned() };
            service.client.clone().model_metadata(self.timed(request, deadline, None)).await
        };
        let mut version = self.manifest.version().to_owned();
        let mut answer = metadata(&version).await;
        if answer.as_ref().is_err_and(|status| matches!(status.code(), Code::InvalidArgument | Code::NotFound)) {
            // The first answer says what is wrong, where the second is none either.
            if let Ok(newest) = metadata("").await {
                let numbered = newest.get_ref().versions.iter().all(|version| version.parse::<u64>().is_ok());
                if numbered {
                    (answer, version) = (Ok(newest), String::new());
                }
            }
        }
        let answer = answer.map_err(|status| error_of(&status))?;
        self.compare_tensors(&answer.into_inner()).map_err(|error| (error, None))?;
        service.versioned.store(!version.is_empty(), Ordering::Release);
        let request = self.timed(ModelConfigRequest { name: name.clone(), version }, deadline, None);
        let digest = match service.client.clone().model_config(request).await {
            Ok(answer) => {
                let config = answer.into_inner().config.unwrap_or_default();
                let gpu = config.instance_group.iter().any(|group| group.kind() == model_instance_group::Kind::Gpu);
                service.on_gpu.store(gpu, Ordering::Release);
                config.parameters.get(CONFIG_DIGEST_PARAMETER).map(|parameter| parameter.string_value.clone())
            }
            Err(status) if status.code() == Code::Unimplemented => None,
            Err(status) => return Err(error_of(&status)),
        };
        self.compare_digest(digest).map_err(|error| (error, None))?;
        service.agreed.store(true, Ordering::Release);
        Ok(())
    }

    /// `message` with the time that is left until `deadline`, so that the service knows when nobody waits any more, with
    /// the trace and with the token.
    fn timed<T>(&self, message: T, deadline: Instant, trace: Option<Trace>) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        // Both consist of characters that a header may have.
        if let Some(value) = trace.and_then(|trace| trace.header().parse().ok()) {
            request.metadata_mut().insert(TRACE_HEADER, value);
        }
        if let Some(mut value) =
            self.config.token.as_ref().and_then(|token| token.header().parse::<MetadataValue<Ascii>>().ok())
        {
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    fn compare_digest(&self, digest: Option<String>) -> Result<()> {
        let own = self.manifest.digest().to_hex();
        match digest {
            Some(digest) if digest.eq_ignore_ascii_case(&own) => Ok(()),
            Some(digest) => {
                Err(disagreement(&self.manifest, format!("serves sha256 {digest:.64}, the local manifest says {own}")))
            }
            None if self.config.allow_unknown_digest => Ok(()),
            None => Err(disagreement(
                &self.manifest,
                "does not say which file it serves (parameter `sha256` of its model configuration)".into(),
            )),
        }
    }

    fn compare_tensors(&self, answer: &ModelMetadataResponse) -> Result<()> {
        let sides =
            [("input", self.manifest.inputs(), &answer.inputs), ("output", self.manifest.outputs(), &answer.outputs)];
        for (what, specs, served) in sides {
            for spec in specs {
                let own = tensor_metadata(spec);
                match served.iter().find(|tensor| tensor.name == own.name) {
                    Some(tensor) if *tensor == own => {}
                    Some(tensor) => {
                        return Err(disagreement(
                            &self.manifest,
                            format!(
                                "has {what} `{}` as {:.32} {:?}, the local manifest says {spec}",
                                own.name, tensor.datatype, tensor.shape
                            ),
                        ));
                    }
                    None => {
                        return Err(disagreement(&self.manifest, format!("has no {what} `{}`", own.name)));
                    }
                }
            }
            if served.len() != specs.len() {
                return Err(disagreement(
                    &self.manifest,
                    format!("has {} {what}s, the local manifest {}", served.len(), specs.len()),
                ));
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        service: &Service,
        mut request: ModelInferRequest,
        rows: usize,
        deadline: Instant,
        trace: Option<Trace>,
    ) -> Result<Vec<Tensor>, (Error, Option<Duration>)> {
        self.agree(service, deadline).await?;
        if !service.versioned.load(Ordering::Acquire) {
            request.model_version.clear();
        }
        match service.client.clone().model_infer(self.timed(request, deadline, trace)).await {
            Ok(answer) => decode_response(&self.manifest, rows, answer.into_inner()).map_err(|error| (error, None)),
            Err(status) => Err(error_of(&status)),
        }
        .inspect_err(|(error, _)| {
            if error.kind() == ErrorKind::Disagreement {
                // Deployed anew, perhaps: compared again before it is next used.
                service.agreed.store(false, Ordering::Release);
            }
        })
    }
}

/// The attempts at one thing: how many, how long between. The one retry layer of this crate.
struct Attempts<'a> {
    client: &'a StageClient,
    deadline: Instant,
    attempts_max: u32,
    made: usize,
    backoff: Duration,
}

impl<'a> Attempts<'a> {
    fn new(client: &'a StageClient, deadline: Instant, attempts_max: u32) -> Attempts<'a> {
        Attempts { client, deadline, attempts_max, made: 0, backoff: client.config.backoff }
    }

    /// After a failed attempt: returns when the next may begin, or with the error when it is final or when the attempts
    /// or the time are spent.
    async fn pause(&mut self, service: &Service, (error, asked): (Error, Option<Duration>)) -> Result<()> {
        self.made += 1;
        let again = matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Unavailable);
        if !again || self.made >= self.attempts_max as usize {
            return Err(error.with_prefix(&format!("{} (attempt {})", service.endpoint, self.made)));
        }
        // Another endpoint is asked at once; a pause comes when all have refused.
        if self.made.is_multiple_of(self.client.services.len()) {
            let wait = self.backoff.max(asked.unwrap_or(Duration::ZERO)).min(BACKOFF_MAX);
            if Instant::now() + wait >= self.deadline {
                let prefix = format!("{} (attempt {}, no time for more)", service.endpoint, self.made);
                return Err(error.with_prefix(&prefix));
            }
            tracing::debug!(%error, attempt = self.made, ?wait, "a stage service is asked again");
            sleep(wait).await;
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
        Ok(())
    }
}

impl ClientConfig {
    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Settings, message));
        if !(1..=ENDPOINTS_MAX).contains(&self.endpoints.len()) {
            return refuse(format!("1 to {ENDPOINTS_MAX} stage endpoints are expected, not {}", self.endpoints.len()));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts_max) {
            return refuse(format!("attempts_max must be 1 to {ATTEMPTS_MAX}, not {}", self.attempts_max));
        }
        if self.deadline.is_zero() || self.deadline > DEADLINE_MAX {
            return refuse(format!(
                "deadline must be more than 0 and at most {DEADLINE_MAX:?}, not {:?}",
                self.deadline
            ));
        }
        if !(1024..=crate::server::MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            return refuse(format!("message_bytes_max {} is out of range", self.message_bytes_max));
        }
        Ok(())
    }
}

impl Service {
    fn new(address: &str, config: &ClientConfig) -> Result<Service> {
        let wrong = |reason: String| {
            Error::new(
                ErrorKind::Settings,
                format!("stage endpoint `{address}`: {reason}; `http://host:port` or `https://host:port` is expected"),
            )
        };
        let mut endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(error.to_string()))?;
        if address.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            tls = match &config.ca_certificate {
                None => tls.with_native_roots(),
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|error| {
                        Error::caused(
                            ErrorKind::Settings,
                            format!("certificates {} cannot be read", path.display()),
                            error,
                        )
                    })?;
                    tls.ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(chain(&error)))?;
        } else if !address.starts_with("http://") {
            return Err(wrong("the scheme is neither http nor https".into()));
        } else if config.token.is_some() && !is_loopback(endpoint.uri().host()) {
            return Err(wrong("a token would travel unencrypted; use https".into()));
        }
        let channel = endpoint
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .connect_lazy();
        let client = GrpcInferenceServiceClient::new(channel)
            .max_decoding_message_size(config.message_bytes_max)
            .max_encoding_message_size(config.message_bytes_max);
        Ok(Service {
            endpoint: address.to_owned(),
            client,
            agreed: AtomicBool::new(false),
            versioned: AtomicBool::new(true),
            on_gpu: AtomicBool::new(false),
        })
    }
}

fn is_loopback(host: Option<&str>) -> bool {
    host.is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[async_trait]
impl Stage for StageClient {
    fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    async fn infer(&self, batch: TensorBatch) -> Result<Vec<Tensor>> {
        let now = Instant::now();
        let deadline = batch.deadline().unwrap_or(now + self.config.deadline);
        let trace = batch.trace();
        // Refused here as a session would, before anything is sent.
        let (tensors, rows) = self.manifest.arrange_inputs(batch)?;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let pick = |attempt: usize| &self.services[first.wrapping_add(attempt) % self.services.len()];
        if deadline <= now {
            return Err(self.late(pick(0)));
        }
        let request = encode_request(&self.manifest, self.manifest.version(), &TensorBatch::new(tensors));
        let mut attempts = Attempts::new(self, deadline, self.config.attempts_max);
        loop {
            let service = pick(attempts.made);
            match timeout_at(deadline, self.ask(service, request.clone(), rows, deadline, trace)).await {
                Ok(Ok(outputs)) => return Ok(outputs),
                Ok(Err(failed)) => attempts.pause(service, failed).await?,
                Err(_) => return Err(self.late(service)),
            }
        }
    }
}

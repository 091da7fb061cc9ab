//! A service on loopback, asked by the client of this crate and by bare protocol messages.

use crate::rest::ask;
use crate::{changed, manifest, pictures, prompt, runtime};
use bytes::Bytes;
use inference::protocol::message::grpc_inference_service_client::GrpcInferenceServiceClient;
use inference::protocol::message::infer_parameter::ParameterChoice;
use inference::protocol::message::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use inference::protocol::message::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest, ModelMetadataRequest,
    ModelReadyRequest, ModelStatisticsRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};
use inference::{
    ClientConfig, ErrorKind, Listeners, ModelManifest, Result, Server, ServerConfig, Session, SessionConfig, Stage,
    StageClient, Tensor, TensorBatch, conformance, golden,
};
use ndarray::Array;
use ndarray_npy::NpzWriter;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

pub struct Service {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<()>>,
}

impl Service {
    /// A service of these models that is ready; `None` without the library.
    pub async fn start(models: Vec<(ModelManifest, SessionConfig)>, config: ServerConfig) -> Option<Service> {
        let service = Service::begin(models, config).await?;
        while !get(service.http, "/v2/health/ready").await.starts_with("HTTP/1.1 200") {
            assert!(!service.ended.is_finished(), "the service ended while loading");
            tokio::task::yield_now().await;
        }
        Some(service)
    }

    pub async fn begin(models: Vec<(ModelManifest, SessionConfig)>, config: ServerConfig) -> Option<Service> {
        let runtime = runtime()?;
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc_address, http_address) = (grpc.local_addr().unwrap(), http.local_addr().unwrap());
        let server = Server { runtime, models, registry: prometheus::Registry::new(), config };
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { grpc, http: Some(http) };
        let ended = tokio::spawn(server.run(listeners, async {
            // A dropped sender stops the service, too.
            let _ = stopped.await;
        }));
        Some(Service { grpc: grpc_address, http: http_address, stop, ended })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    async fn bare(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::connect(self.endpoint()).await.unwrap()
    }

    /// How a service ended that ends by itself.
    pub async fn ended(self) -> Result<()> {
        self.ended.await.unwrap()
    }

    pub async fn stop(self) -> Result<()> {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap()
    }
}

/// Answer to an HTTP request, head and body.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub fn one(name: &str) -> Vec<(ModelManifest, SessionConfig)> {
    vec![(manifest(name), prompt())]
}

pub fn client_of(manifest: ModelManifest, service: &Service) -> StageClient {
    StageClient::new(manifest, ClientConfig { endpoints: vec![service.endpoint()], ..ClientConfig::default() }).unwrap()
}

fn scale_request(rows: usize) -> ModelInferRequest {
    let image = pictures(rows, &[1, 4, 8], 5);
    ModelInferRequest {
        model_name: "scale".into(),
        inputs: vec![InferInputTensor {
            name: "image".into(),
            datatype: "UINT8".into(),
            shape: vec![rows as i64, 1, 4, 8],
            ..Default::default()
        }],
        raw_input_contents: vec![image.bytes().clone()],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_session_conforms() {
    let Some(runtime) = runtime() else { return };
    let session = crate::session(&runtime, "scale");
    conformance::check(&session).await;
    assert_eq!(session.pending_rows(), 0);
}

#[tokio::test]
async fn a_client_before_a_service_conforms() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let client = client_of(manifest("scale"), &service);
    client.verify().await.unwrap();
    conformance::check(&client).await;
    drop(client);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn golden_answers_are_reproduced_here_and_there() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let local = crate::session(&runtime().unwrap(), "scale");
    let remote = client_of(manifest("scale"), &service);
    for stage in [&local as &dyn Stage, &remote] {
        let report = golden::check(stage).await.unwrap().expect("the manifest has golden answers");
        assert_eq!(report.rows, 3);
        assert_eq!(report.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["scaled", "mean"]);
        assert!(report.outputs.iter().all(|output| output.of_tolerance_max <= 1.0));
    }
    assert_eq!(golden::check(&crate::session(&runtime().unwrap(), "conv")).await.unwrap(), None);
}

/// The networks in pipelines/ load here as their manifests say, and compute what they computed when they were made.
#[tokio::test]
async fn the_shipped_networks_reproduce_their_golden_answers() {
    let Some(runtime) = runtime() else { return };
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut reproduced = 0;
    let folders = ["vfa-unet", "vfa-unet-paper", "vfa-unet-binary", "lvlcrnet", "lvlnet", "baseline"];
    let folders = folders.map(|name| pipelines.join(name));
    for manifest in folders.iter().flat_map(|folder| ModelManifest::read_folder(folder).unwrap()) {
        let name = manifest.name().to_owned();
        let session = Session::start(&runtime, manifest, SessionConfig { threads: 2, ..prompt() }).unwrap();
        let report = golden::check(&session).await.unwrap().expect("a shipped network has golden answers");
        assert!(report.rows > 0, "{name}");
        reproduced += 1;
    }
    assert!(reproduced >= 7, "locate and segment, and one network of each of the others");
}

#[tokio::test]
async fn golden_answers_that_differ_are_told() {
    let Some(runtime) = runtime() else { return };
    let (folder, manifest) = changed("scale", "absolute_tolerance", "absolute_tolerance");
    let image = pictures(2, &[1, 4, 8], 9);
    let pixels = Array::from_shape_vec((2, 1, 4, 8), image.values::<u8>().unwrap().into_owned()).unwrap();
    let mut scaled = pixels.mapv(|grey| f32::from(grey) / 255.0);
    scaled[[1, 0, 2, 3]] += 1e-3;
    let mean = Array::<f32, _>::zeros((2, 1));
    let file = std::fs::File::create(folder.path().join("scale.golden.npz")).unwrap();
    let mut archive = NpzWriter::new(file);
    archive.add_array("image", &pixels).unwrap();
    archive.add_array("scaled", &scaled).unwrap();
    archive.add_array("mean", &mean).unwrap();
    archive.finish().unwrap();
    let session = Session::start(&runtime, manifest, prompt()).unwrap();
    let error = golden::check(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Golden);
    assert!(error.to_string().contains("output `scaled`, element 51"), "{error}");

    std::fs::write(folder.path().join("scale.golden.npz"), "no archive").unwrap();
    assert_eq!(golden::check(&session).await.unwrap_err().kind(), ErrorKind::Manifest);
}

#[tokio::test]
async fn the_protocol_is_answered() {
    let (_folder, newer) = changed("scale", "version = \"1\"", "version = \"10\"");
    let (_other, older) = changed("scale", "version = \"1\"", "version = \"9.5\"");
    let models = vec![(newer, prompt()), (older, prompt()), (manifest("types"), prompt())];
    let Some(service) = Service::start(models, ServerConfig::default()).await else { return };
    let mut bare = service.bare().await;

    assert!(bare.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(bare.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let server = bare.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(server.name, "aortica");
    let mut ready = async |name: &str, version: &str| {
        let request = ModelReadyRequest { name: name.into(), version: version.into() };
        bare.model_ready(request).await.unwrap().into_inner().ready
    };
    assert!(ready("scale", "").await && ready("scale", "9.5").await && !ready("scale", "3").await);
    assert!(!ready("nothing", "").await);

    let request = ModelMetadataRequest { name: "scale".into(), version: String::new() };
    let metadata = bare.model_metadata(request).await.unwrap().into_inner();
    assert_eq!(metadata.versions, ["9.5", "10"]);
    assert_eq!((metadata.inputs[0].datatype.as_str(), &metadata.inputs[0].shape[..]), ("UINT8", &[-1, 1, 4, 8][..]));

    let request = ModelConfigRequest { name: "scale".into(), version: String::new() };
    let config = bare.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!(config.max_batch_size, 16);
    assert_eq!(config.input[0].dims, [1, 4, 8]);
    assert_eq!(config.parameters["sha256"].string_value, manifest("scale").digest().to_hex());

    let request = ModelInferRequest { id: "seven".into(), ..scale_request(2) };
    let answer = bare.model_infer(request).await.unwrap().into_inner();
    assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("seven", "10"));
    assert_eq!(answer.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["scaled", "mean"]);
    assert_eq!(answer.raw_output_contents[0].len(), 2 * 32 * 4);

    // Typed contents, an older version, and one output of two.
    let mut request = ModelInferRequest { model_version: "9.5".into(), ..scale_request(2) };
    let raw = std::mem::take(&mut request.raw_input_contents);
    let contents = raw[0].iter().map(|&byte| byte.into()).collect();
    request.inputs[0].contents = Some(InferTensorContents { uint_contents: contents, ..Default::default() });
    request.outputs = vec![InferRequestedOutputTensor { name: "mean".into(), ..Default::default() }];
    let typed = bare.model_infer(request).await.unwrap().into_inner();
    assert_eq!(typed.model_version, "9.5");
    assert_eq!(typed.raw_output_contents, [answer.raw_output_contents[1].clone()]);

    let request = ModelStatisticsRequest { name: "scale".into(), version: "10".into() };
    let statistics = bare.model_statistics(request).await.unwrap().into_inner().model_stats.remove(0);
    assert_eq!((statistics.inference_count, statistics.execution_count), (2, 1));
    assert_eq!(statistics.inference_stats.unwrap().success.unwrap().count, 1);
    let all = bare.model_statistics(ModelStatisticsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.model_stats.len(), 3);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_calls_get_the_code_that_says_why() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let mut bare = service.bare().await;
    let mut code = async |request: ModelInferRequest| {
        let status = bare.model_infer(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let (unknown, message) = code(ModelInferRequest { model_name: "nothing".into(), ..scale_request(1) }).await;
    assert_eq!(unknown, Code::NotFound);
    assert!(message.contains("there is `scale` version 1"), "{message}");
    let (wrong_version, _) = code(ModelInferRequest { model_version: "2".into(), ..scale_request(1) }).await;
    assert_eq!(wrong_version, Code::NotFound);

    let mut request = scale_request(1);
    request.inputs[0].shape = vec![1, 1, 8, 4];
    let (shape, message) = code(request).await;
    assert_eq!(shape, Code::InvalidArgument);
    assert!(message.contains("tensor `image`: expected UINT8 [N, 1, 4, 8]"), "{message}");

    for shape in [vec![], vec![-1, 1, 4, 8], vec![i64::MAX, i64::MAX, 4, 8], vec![i64::MIN], vec![0, 1, 4, 8]] {
        let mut request = scale_request(1);
        request.inputs[0].shape = shape.clone();
        assert_eq!(code(request).await.0, Code::InvalidArgument, "{shape:?}");
    }
    let mut request = scale_request(1);
    request.raw_input_contents = vec![Bytes::from_static(&[0; 31])];
    assert_eq!(code(request).await.0, Code::InvalidArgument);

    let mut request = scale_request(1);
    request.outputs = vec![InferRequestedOutputTensor { name: "median".into(), ..Default::default() }];
    assert!(code(request).await.1.contains("no output `median`"));

    let mut request = scale_request(1);
    let other = InferParameter { parameter_choice: Some(ParameterChoice::StringParam("00".repeat(32))) };
    request.parameters.insert("model_sha256".into(), other);
    let (digest, message) = code(request).await;
    assert_eq!(digest, Code::FailedPrecondition);
    assert!(message.contains("the caller expects 0000"), "{message}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn client_and_service_must_agree_on_the_model() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    let digest = manifest("scale").digest().to_hex();
    let cases = [
        (digest.as_str(), "00".repeat(32), "serves sha256"),
        ("name = \"mean\"", "name = \"median\"".into(), "has no output `median`"),
        ("{ axis = \"column\", size = 8 }", "{ axis = \"column\", size = 9 }".into(), "has input `image` as UINT8"),
    ];
    for (from, to, expected) in cases {
        let (_folder, other) = changed("scale", from, &to);
        let client = client_of(other.clone(), &service);
        let verified = client.verify().await.unwrap_err();
        assert_eq!(verified.kind(), ErrorKind::Disagreement);
        assert!(verified.to_string().contains(expected), "{verified}");
        assert_eq!(verified.fault(), domain::Fault::Misconfigured);
        // Unverified, the first request finds out.
        let spec = &other.inputs()[0];
        let image = Tensor::new("image", &spec.shape(1), vec![0_u8; spec.row_bytes()]).unwrap();
        assert_eq!(client.infer(image.into()).await.unwrap_err().kind(), ErrorKind::Disagreement);
    }
    let (_folder, absent) = changed("scale", "name = \"scale\"", "name = \"other\"");
    assert_eq!(client_of(absent, &service).verify().await.unwrap_err().kind(), ErrorKind::UnknownModel);
    service.stop().await.unwrap();
}

/// Requests wait in the queue when the signal comes; all are answered before the service ends, and no more are taken.
#[tokio::test]
async fn nothing_that_was_accepted_is_lost_at_shutdown() {
    // Far longer than the test: the signal ends the wait for company.
    let config = SessionConfig { longest_delay: Duration::from_secs(10), ..prompt() };
    let Some(service) = Service::start(vec![(manifest("scale"), config)], ServerConfig::default()).await else {
        return;
    };
    let client = std::sync::Arc::new(client_of(manifest("scale"), &service));
    client.verify().await.unwrap();
    let asked: Vec<_> = (0..3)
        .map(|seed| {
            let client = std::sync::Arc::clone(&client);
            tokio::spawn(async move { client.infer(pictures(1, &[1, 4, 8], seed).into()).await })
        })
        .collect();
    let pending = "aortica_inference_pending_rows{model=\"scale\",version=\"1\"} 3";
    while !get(service.http, "/metrics").await.contains(pending) {
        assert!(asked.iter().all(|task| !task.is_finished()), "answered before the signal");
        tokio::task::yield_now().await;
    }
    let endpoint = service.grpc;
    service.stop().await.unwrap();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap()[0].rows(), 1);
    }
    assert!(TcpStream::connect(endpoint).await.is_err(), "the socket is closed");
}

/// Under load from several connections: each request is answered or refused as retryable; the service counts as many
/// answers as the clients have.
#[tokio::test]
async fn stopping_under_load_answers_or_refuses() {
    let Some(service) = Service::start(one("conv"), ServerConfig::default()).await else { return };
    let config = ClientConfig { endpoints: vec![service.endpoint()], attempts_max: 1, ..ClientConfig::default() };
    let load: Vec<_> = (0..4)
        .map(|seed| {
            let client = StageClient::new(manifest("conv"), config.clone()).unwrap();
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    match client.infer(pictures(1, &[1, 24, 16], seed).into()).await {
                        Ok(outputs) => {
                            assert_eq!(outputs[0].rows(), 1);
                            answered += 1;
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                            return answered;
                        }
                    }
                }
            })
        })
        .collect();
    while !get(service.http, "/metrics").await.contains("nv_inference_request_success{model=\"conv\",version=\"1\"} 4")
    {
        tokio::task::yield_now().await;
    }
    service.stop().await.unwrap();
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_ends_the_service_with_the_reason() {
    let (_folder, wrong) = changed("scale", "name = \"mean\"", "name = \"median\"");
    let Some(service) = Service::begin(vec![(wrong, prompt())], ServerConfig::default()).await else { return };
    let error = service.ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.to_string().contains("output `mean`"), "{error}");
    let twice = Service::begin([one("scale"), one("scale")].concat(), ServerConfig::default()).await.unwrap();
    let error = twice.ended.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
}

#[tokio::test]
async fn health_and_metrics_are_told_over_http() {
    let Some(service) = Service::start([one("scale"), one("conv")].concat(), ServerConfig::default()).await else {
        return;
    };
    assert!(get(service.http, "/v2/health/live").await.starts_with("HTTP/1.1 200"));
    assert!(get(service.http, "/v2/models").await.starts_with("HTTP/1.1 404"));
    let client = client_of(manifest("scale"), &service);
    client.infer(pictures(3, &[1, 4, 8], 1).into()).await.unwrap();
    client.infer(pictures(17, &[1, 4, 8], 1).into()).await.unwrap_err();
    service.bare().await.model_infer(scale_request(17)).await.unwrap_err();
    let metrics = get(service.http, "/metrics").await;
    for line in [
        "nv_inference_request_success{model=\"scale\",version=\"1\"} 1",
        "nv_inference_request_success{model=\"conv\",version=\"1\"} 0",
        "nv_inference_count{model=\"scale\",version=\"1\"} 3",
        "nv_inference_exec_count{model=\"scale\",version=\"1\"} 1",
        "nv_inference_request_failure{model=\"scale\",reason=\"OTHER\",version=\"1\"} 1",
        "aortica_inference_batches{model=\"scale\",rows=\"3\",version=\"1\"} 1",
        "aortica_inference_pending_rows{model=\"scale\",version=\"1\"} 0",
        "aortica_inference_model_ready{model=\"conv\",version=\"1\"} 1",
    ] {
        assert!(metrics.lines().any(|printed| printed == line), "{line} is not in\n{metrics}");
    }
    service.stop().await.unwrap();
}

/// A body that stays unfinished fills the room until its caller hangs up.
#[tokio::test]
async fn who_finds_no_room_is_told_to_ask_again() {
    let config = ServerConfig { message_bytes_max: 4096, bodies_bytes_max: 4096, ..ServerConfig::default() };
    let Some(service) = Service::start(one("scale"), config).await else { return };
    let (mut bare, request) = (service.bare().await, scale_request(10));
    bare.model_infer(request.clone()).await.unwrap();
    let mut slow = TcpStream::connect(service.http).await.unwrap();
    slow.write_all(b"POST /v2/models/scale/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4090\r\n\r\n").await.unwrap();
    slow.write_all(&[b' '; 4000]).await.unwrap();
    let refused = loop {
        if let Err(refused) = bare.model_infer(request.clone()).await {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"), "{refused:?}");
    let body = serde_json::json!({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 4, 8], "data": vec![7; 32]}]});
    let infer = "/v2/models/scale/infer";
    let full = ask(service.http, "POST", infer, &[], body.to_string().as_bytes()).await;
    assert!(full.status == 429 && full.header("retry-after").is_some(), "{}", full.status);
    drop(slow);
    while bare.model_infer(request.clone()).await.is_err() {}
    assert_eq!(ask(service.http, "POST", infer, &[], body.to_string().as_bytes()).await.status, 200);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn large_messages_pass_up_to_the_limit() {
    let config = ServerConfig { message_bytes_max: 6 << 20, ..ServerConfig::default() };
    let Some(service) = Service::start(one("identity"), config).await else { return };
    let client = client_of(manifest("identity"), &service);
    let frame = pictures(40, &[1, 512, 256], 1);
    let outputs = client.infer(frame.clone().into()).await.unwrap();
    assert_eq!(outputs[0].bytes(), frame.bytes());
    let error = client.infer(pictures(60, &[1, 512, 256], 1).into()).await.unwrap_err();
    assert!(!error.fault().is_retryable(), "{error}");
    assert!(error.to_string().contains("message"), "{error}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_costs_nothing() {
    let config = SessionConfig { longest_delay: Duration::from_millis(200), ..prompt() };
    let Some(service) = Service::start(vec![(manifest("scale"), config)], ServerConfig::default()).await else {
        return;
    };
    let client = client_of(manifest("scale"), &service);
    client.verify().await.unwrap();
    let batch = TensorBatch::from(pictures(1, &[1, 4, 8], 1)).with_deadline(Instant::now() + Duration::from_millis(30));
    let error = client.infer(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    // The next request computes a batch of one: the first is not in it.
    client.infer(pictures(1, &[1, 4, 8], 2).into()).await.unwrap();
    assert!(get(service.http, "/metrics").await.contains("nv_inference_count{model=\"scale\",version=\"1\"} 1\n"));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_on_the_sockets_does_no_harm() {
    let Some(service) = Service::start(one("scale"), ServerConfig::default()).await else { return };
    for address in [service.grpc, service.http] {
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 200], &[255; 5000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff"]
        {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The other side may hang up at any byte.
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        }
    }
    client_of(manifest("scale"), &service).infer(pictures(2, &[1, 4, 8], 2).into()).await.unwrap();
    service.stop().await.unwrap();
}

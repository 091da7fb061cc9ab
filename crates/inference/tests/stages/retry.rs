//! The client before services that refuse, vanish or lie. Needs no library.

use crate::{manifest, pictures};
use bytes::Bytes;
use inference::protocol::message::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use inference::protocol::message::model_infer_response::InferOutputTensor;
use inference::protocol::message::*;
use inference::{ClientConfig, ErrorKind, Stage, StageClient, TensorBatch};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

/// Serves `scale` by the letter of its manifest, but answers `ModelInfer` from a script.
struct Scripted {
    script: Mutex<VecDeque<Result<Answer, Status>>>,
    calls: Arc<Mutex<usize>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Right,
    /// One row short.
    Short,
    /// Of another model.
    OtherDigest,
    Never,
}

fn metadata(specs: &[inference::TensorSpec]) -> Vec<model_metadata_response::TensorMetadata> {
    specs
        .iter()
        .map(|spec| model_metadata_response::TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.dtype.protocol_name().into(),
            shape: spec.protocol_shape(),
        })
        .collect()
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Scripted {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answered<ServerLiveResponse> {
        Err(Status::unimplemented(""))
    }
    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answered<ServerReadyResponse> {
        Err(Status::unimplemented(""))
    }
    async fn model_ready(&self, _: Request<ModelReadyRequest>) -> Answered<ModelReadyResponse> {
        Err(Status::unimplemented(""))
    }
    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answered<ServerMetadataResponse> {
        Err(Status::unimplemented(""))
    }
    async fn model_statistics(&self, _: Request<ModelStatisticsRequest>) -> Answered<ModelStatisticsResponse> {
        Err(Status::unimplemented(""))
    }
    /// A server without Triton's extension.
    async fn model_config(&self, _: Request<ModelConfigRequest>) -> Answered<ModelConfigResponse> {
        Err(Status::unimplemented(""))
    }

    async fn model_metadata(&self, _: Request<ModelMetadataRequest>) -> Answered<ModelMetadataResponse> {
        let manifest = manifest("scale");
        Ok(Response::new(ModelMetadataResponse {
            name: "scale".into(),
            inputs: metadata(manifest.inputs()),
            outputs: metadata(manifest.outputs()),
            ..Default::default()
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answered<ModelInferResponse> {
        *self.calls.lock().unwrap() += 1;
        let answer = self.script.lock().unwrap().pop_front().expect("the script is long enough")?;
        let rows = request.into_inner().inputs[0].shape[0] as usize;
        let rows = match answer {
            Answer::Right | Answer::OtherDigest => rows,
            Answer::Short => rows - 1,
            Answer::Never => return std::future::pending().await,
        };
        let manifest = manifest("scale");
        let outputs = manifest.outputs().iter().map(|spec| InferOutputTensor {
            name: spec.name.clone(),
            datatype: spec.dtype.protocol_name().into(),
            shape: spec.shape(rows).into_iter().map(|size| size as i64).collect(),
            ..Default::default()
        });
        let raw = manifest.outputs().iter().map(|spec| Bytes::from(vec![0; spec.row_bytes() * rows]));
        let mut response =
            ModelInferResponse { outputs: outputs.collect(), raw_output_contents: raw.collect(), ..Default::default() };
        if let Answer::OtherDigest = answer {
            let choice = infer_parameter::ParameterChoice::StringParam("ab".repeat(32));
            response.parameters.insert("model_sha256".into(), InferParameter { parameter_choice: Some(choice) });
        }
        Ok(Response::new(response))
    }
}

struct Fake {
    endpoint: String,
    calls: Arc<Mutex<usize>>,
}

impl Fake {
    async fn start(script: Vec<Result<Answer, Status>>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(0));
        let scripted = Scripted { script: Mutex::new(script.into()), calls: Arc::clone(&calls) };
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = GrpcInferenceServiceServer::new(scripted);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Fake { endpoint, calls }
    }

    fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }
}

fn client(endpoints: &[&str], attempts_max: u32) -> StageClient {
    let config = ClientConfig {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        attempts_max,
        backoff: Duration::from_millis(1),
        allow_unknown_digest: true,
        ..ClientConfig::default()
    };
    StageClient::new(manifest("scale"), config).unwrap()
}

fn batch() -> TensorBatch {
    pictures(2, &[1, 4, 8], 1).into()
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn retryable_refusals_are_tried_again_and_no_others() {
    for (code, tries) in [
        (Code::Unavailable, 3),
        (Code::ResourceExhausted, 3),
        (Code::InvalidArgument, 1),
        (Code::NotFound, 1),
        (Code::FailedPrecondition, 1),
        (Code::DeadlineExceeded, 1),
        (Code::Internal, 1),
        (Code::Unknown, 1),
        (Code::Unauthenticated, 1),
    ] {
        let refusal = || Err(Status::new(code, "no"));
        let fake = Fake::start(vec![refusal(), refusal(), Ok(Answer::Right)]).await;
        let answer = client(&[&fake.endpoint], 6).infer(batch()).await;
        assert_eq!(fake.calls(), tries, "{code:?}");
        assert_eq!(answer.is_ok(), tries == 3, "{code:?}");
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let fake = Fake::start((0..9).map(|_| Err(Status::unavailable("no"))).collect()).await;
    let error = client(&[&fake.endpoint], 4).infer(batch()).await.unwrap_err();
    assert_eq!((fake.calls(), error.kind()), (4, ErrorKind::Unavailable));
    assert!(error.to_string().contains("attempt 4"), "{error}");
}

#[tokio::test]
async fn the_wait_that_a_full_service_asks_for_is_kept() {
    let mut full = Status::resource_exhausted("full");
    full.metadata_mut().insert("grpc-retry-pushback-ms", "40".parse().unwrap());
    let fake = Fake::start(vec![Err(full), Ok(Answer::Right)]).await;
    let begun = Instant::now();
    client(&[&fake.endpoint], 2).infer(batch()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn another_endpoint_takes_over_from_one_that_is_gone() {
    let fake = Fake::start((0..8).map(|_| Ok(Answer::Right)).collect()).await;
    let gone = nobody().await;
    let client = client(&[&gone, &fake.endpoint], 2);
    for _ in 0..4 {
        client.infer(batch()).await.unwrap();
    }
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn requests_go_round_all_endpoints() {
    let right = || (0..6).map(|_| Ok(Answer::Right)).collect();
    let (one, two) = (Fake::start(right()).await, Fake::start(right()).await);
    let client = client(&[&one.endpoint, &two.endpoint], 1);
    for _ in 0..6 {
        client.infer(batch()).await.unwrap();
    }
    assert_eq!((one.calls(), two.calls()), (3, 3));
}

#[tokio::test]
async fn a_service_that_never_answers_ends_at_the_deadline() {
    let fake = Fake::start(vec![Ok(Answer::Never)]).await;
    let client = client(&[&fake.endpoint], 6);
    client.verify().await.unwrap();
    let soon = Instant::now() + Duration::from_millis(100);
    let error = client.infer(batch().with_deadline(soon)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert!(Instant::now() >= soon);
    // Not tried again; on a busy machine the time may be up before the first call.
    assert!(fake.calls() <= 1);
}

#[tokio::test]
async fn answers_that_are_not_the_models_are_refused() {
    for (answer, kind) in [(Answer::Short, ErrorKind::Remote), (Answer::OtherDigest, ErrorKind::Disagreement)] {
        let fake = Fake::start(vec![Ok(answer)]).await;
        let error = client(&[&fake.endpoint], 6).infer(batch()).await.unwrap_err();
        assert_eq!((fake.calls(), error.kind()), (1, kind), "{error}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_say_its_digest_is_refused_unless_allowed() {
    let fake = Fake::start(vec![]).await;
    let config = ClientConfig { endpoints: vec![fake.endpoint.clone()], ..ClientConfig::default() };
    let strict = StageClient::new(manifest("scale"), config).unwrap();
    let error = strict.verify().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disagreement);
    assert!(error.to_string().contains("does not say which file it serves"), "{error}");
    client(&[&fake.endpoint], 1).verify().await.unwrap();
}

#[tokio::test]
async fn nobody_at_the_address_is_a_fault_that_may_pass() {
    let gone = nobody().await;
    let error = client(&[&gone], 2).infer(batch()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.fault().is_retryable());
    assert!(error.to_string().contains(&gone), "{error}");
}

#[tokio::test]
async fn addresses_and_limits_are_checked() {
    let wrong = |config: ClientConfig| {
        let error = StageClient::new(manifest("scale"), config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        error.to_string()
    };
    let endpoints = vec!["http://127.0.0.1:1".to_owned()];
    assert!(wrong(ClientConfig::default()).contains("1 to 64 stage endpoints"));
    let no_scheme = vec!["127.0.0.1:1".to_owned()];
    assert!(wrong(ClientConfig { endpoints: no_scheme, ..ClientConfig::default() }).contains("`http://host:port`"));
    let attempts = ClientConfig { endpoints: endpoints.clone(), attempts_max: 0, ..ClientConfig::default() };
    assert!(wrong(attempts).contains("attempts_max"));
    let deadline = ClientConfig { endpoints, deadline: Duration::ZERO, ..ClientConfig::default() };
    assert!(wrong(deadline).contains("deadline"));
}

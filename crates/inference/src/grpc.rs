//! The calls of the Open Inference Protocol, answered.

use crate::answer::Asked;
use crate::error::Result;
use crate::manifest::TensorSpec;
use crate::protocol::message::grpc_inference_service_server::GrpcInferenceService;
use crate::protocol::message::{
    DataType, InferBatchStatistics, InferStatistics, ModelConfig, ModelConfigRequest, ModelConfigResponse,
    ModelDynamicBatching, ModelInferRequest, ModelInferResponse, ModelInput, ModelInstanceGroup, ModelMetadataRequest,
    ModelMetadataResponse, ModelOutput, ModelParameter, ModelReadyRequest, ModelReadyResponse, ModelStatistics,
    ModelStatisticsRequest, ModelStatisticsResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse, StatisticDuration, model_instance_group,
};
use crate::protocol::{
    CONFIG_DIGEST_PARAMETER, DIGEST_PARAMETER, TIMEOUT_PARAMETER, decode_inputs, encode_response, parameter_number,
    parameter_text, parse_timeout, status_of, tensor_metadata,
};
use crate::server::{Served, ServedModel};
use crate::session::{Device, Session};
use crate::stage::Stage;
use crate::statistics::FailureReason;
use crate::tensor::Dtype;
use crate::trace::{HEADER as TRACE_HEADER, Trace};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// What the server calls itself.
pub(crate) const SERVER_NAME: &str = "aortica";
/// As Triton names a model file of this kind.
pub(crate) const PLATFORM: &str = "onnxruntime_onnx";
const BACKEND: &str = "onnxruntime";
pub(crate) const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_configuration", "statistics"];

pub(crate) struct Grpc {
    served: Arc<Served>,
}

impl Grpc {
    pub fn new(served: Arc<Served>) -> Grpc {
        Grpc { served }
    }

    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<ModelInferResponse> {
        let header = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let announced = header("grpc-timeout").and_then(parse_timeout);
        let trace = header(TRACE_HEADER).and_then(Trace::parse);
        let mut request = request.into_inner();
        let limit = parameter_number(request.parameters.get(TIMEOUT_PARAMETER)).filter(|us| *us > 0);
        let limit = limit.map(Duration::from_micros);
        let asked = Asked {
            model: std::mem::take(&mut request.model_name),
            version: std::mem::take(&mut request.model_version),
            digest: parameter_text(request.parameters.get(DIGEST_PARAMETER)).map(str::to_owned),
            outputs: std::mem::take(&mut request.outputs).into_iter().map(|output| output.name).collect(),
            timeout: announced.into_iter().chain(limit).min(),
            trace,
        };
        let id = std::mem::take(&mut request.id);
        let (manifest, outputs) = self.served.answer(asked, || decode_inputs(request)).await?;
        Ok(encode_response(manifest, id, outputs))
    }

    fn model(&self, name: &str, version: &str) -> Result<&ServedModel, Status> {
        self.served.find(name, version).map_err(|error| status_of(&error))
    }
}

#[async_trait]
impl GrpcInferenceService for Grpc {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.served.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = self.served.find(&name, &version).is_ok_and(ServedModel::is_ready);
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: SERVER_NAME.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: EXTENSIONS.map(String::from).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let manifest = &self.model(&name, &version)?.manifest;
        Ok(Response::new(ModelMetadataResponse {
            name: manifest.name().into(),
            versions: self.served.versions(manifest.name()),
            platform: PLATFORM.into(),
            inputs: manifest.inputs().iter().map(tensor_metadata).collect(),
            outputs: manifest.outputs().iter().map(tensor_metadata).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        self.infer(request).await.map(Response::new).map_err(|error| status_of(&error))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let model = self.model(&name, &version)?;
        let session = model.session().map_err(|error| status_of(&error))?;
        Ok(Response::new(ModelConfigResponse { config: Some(model_config(session)) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let model_stats = if name.is_empty() {
            self.served.models().iter().filter_map(|model| model.session().ok()).map(model_statistics).collect()
        } else {
            let session = self.model(&name, &version)?.session().map_err(|error| status_of(&error))?;
            vec![model_statistics(session)]
        };
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }
}

fn data_type(dtype: Dtype) -> i32 {
    let data_type = match dtype {
        Dtype::U8 => DataType::TypeUint8,
        Dtype::I8 => DataType::TypeInt8,
        Dtype::F16 => DataType::TypeFp16,
        Dtype::F32 => DataType::TypeFp32,
    };
    data_type.into()
}

fn dims(spec: &TensorSpec) -> Vec<i64> {
    spec.row_shape().into_iter().map(|size| size as i64).collect()
}

/// A kind of device as the protocol's JSON names it.
pub(crate) fn kind_name(group: &ModelInstanceGroup) -> &'static str {
    if group.kind() == model_instance_group::Kind::Gpu { "KIND_GPU" } else { "KIND_CPU" }
}

pub(crate) fn model_config(session: &Session) -> ModelConfig {
    let manifest = session.manifest();
    let (kind, gpus) = match session.config().device {
        Device::Cpu => (model_instance_group::Kind::Cpu, vec![]),
        Device::Cuda(ordinal) => (model_instance_group::Kind::Gpu, vec![ordinal as i32]),
    };
    let delay = session.config().longest_delay;
    ModelConfig {
        name: manifest.name().into(),
        platform: PLATFORM.into(),
        backend: BACKEND.into(),
        max_batch_size: manifest.batch().max as i32,
        input: manifest
            .inputs()
            .iter()
            .map(|spec| ModelInput { name: spec.name.clone(), data_type: data_type(spec.dtype), dims: dims(spec) })
            .collect(),
        output: manifest
            .outputs()
            .iter()
            .map(|spec| ModelOutput { name: spec.name.clone(), data_type: data_type(spec.dtype), dims: dims(spec) })
            .collect(),
        instance_group: vec![ModelInstanceGroup {
            name: manifest.name().into(),
            count: session.config().runners as i32,
            gpus,
            kind: kind.into(),
        }],
        default_model_filename: "model.onnx".into(),
        dynamic_batching: Some(ModelDynamicBatching {
            preferred_batch_size: vec![session.batch_rows() as i32],
            max_queue_delay_microseconds: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
        }),
        parameters: [
            (CONFIG_DIGEST_PARAMETER, manifest.digest().to_hex()),
            ("precision", manifest.precision().name().into()),
        ]
        .map(|(name, value)| (name.into(), ModelParameter { string_value: value }))
        .into(),
    }
}

pub(crate) fn model_statistics(session: &Arc<Session>) -> ModelStatistics {
    let statistics = session.statistics();
    let duration = |count: u64, duration: Duration| {
        Some(StatisticDuration { count, ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) })
    };
    let succeeded = statistics.requests_succeeded();
    let failed = FailureReason::ALL.into_iter().map(|reason| statistics.requests_failed(reason)).sum();
    let [request, queue, compute] = statistics.durations();
    let executions = statistics.executions();
    ModelStatistics {
        name: session.manifest().name().into(),
        version: session.manifest().version().into(),
        last_inference: 0,
        inference_count: statistics.rows_computed(),
        execution_count: executions.values().map(|execution| execution.count).sum(),
        inference_stats: Some(InferStatistics {
            success: duration(succeeded, request),
            fail: duration(failed, Duration::ZERO),
            queue: duration(succeeded, queue),
            compute_input: duration(succeeded, Duration::ZERO),
            compute_infer: duration(succeeded, compute),
            compute_output: duration(succeeded, Duration::ZERO),
        }),
        batch_stats: executions
            .into_iter()
            .map(|(rows, execution)| InferBatchStatistics {
                batch_size: rows as u64,
                compute_input: duration(execution.count, Duration::ZERO),
                compute_infer: duration(execution.count, execution.compute),
                compute_output: duration(execution.count, Duration::ZERO),
            })
            .collect(),
    }
}

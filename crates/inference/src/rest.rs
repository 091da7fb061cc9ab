//! The Open Inference Protocol v2 over HTTP: JSON, with Triton's extension for tensors as raw bytes after the JSON.

use crate::answer::Asked;
use crate::error::{Error, ErrorKind, OVERLOADED_RETRY_AFTER, Result};
use crate::grpc;
use crate::manifest::{ModelManifest, TensorSpec};
use crate::protocol::{DIGEST_PARAMETER, described};
use crate::server::{Served, ServedModel};
use crate::session::Session;
use crate::tensor::{Dtype, Tensor, TensorBatch, bytes_of};
use crate::trace::{HEADER as TRACE_HEADER, Trace};
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use half::f16;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Length of the JSON in front of raw bytes (extension `binary_tensor_data`).
const JSON_LENGTH: &str = "inference-header-content-length";

/// Largest JSON that is read: numbers take more room in memory than in text, and larger tensors travel as bytes.
const JSON_BYTES_MAX: usize = 8 << 20;
/// Largest number of values that an answer writes as JSON.
const JSON_VALUES_MAX: usize = 1 << 20;

type App = Arc<Served>;

/// Metadata, readiness, configuration, statistics and inference under `/v2`.
pub(crate) fn routes(served: Arc<Served>, message_bytes_max: usize) -> Router {
    let model = |path: &str| {
        [format!("/v2/models/{{model}}{path}"), format!("/v2/models/{{model}}/versions/{{version}}{path}")]
    };
    let mut router = Router::new()
        .route("/v2", get(server_metadata))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/repository/index", post(index));
    for path in model("") {
        router = router.route(&path, get(model_metadata));
    }
    for path in model("/ready") {
        router = router.route(&path, get(model_ready));
    }
    for path in model("/config") {
        router = router.route(&path, get(model_config));
    }
    for path in model("/stats") {
        router = router.route(&path, get(model_statistics));
    }
    for path in model("/infer") {
        router = router.route(&path, post(infer));
    }
    router
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "no such path; the protocol's are under /v2, e.g. /v2/models/NAME/infer")
        })
        .layer(DefaultBodyLimit::max(message_bytes_max))
        .with_state(served)
}

/// Which model a path names.
#[derive(Debug, Deserialize)]
struct ModelPath {
    model: String,
    #[serde(default)]
    version: String,
}

fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self.kind() {
            ErrorKind::Request => StatusCode::BAD_REQUEST,
            ErrorKind::UnknownModel => StatusCode::NOT_FOUND,
            ErrorKind::Disagreement => StatusCode::CONFLICT,
            ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Library
            | ErrorKind::Manifest
            | ErrorKind::Digest
            | ErrorKind::Model
            | ErrorKind::Settings
            | ErrorKind::Compute
            | ErrorKind::Remote
            | ErrorKind::Golden
            | ErrorKind::Listen
            | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = refusal(status, self.to_string());
        if self.kind() == ErrorKind::Overloaded {
            // whole seconds are all that the header can say
            let seconds = OVERLOADED_RETRY_AFTER.as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

async fn server_metadata() -> Json<Value> {
    Json(json!({
        "name": grpc::SERVER_NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": grpc::EXTENSIONS,
    }))
}

async fn index(State(served): State<App>) -> Json<Value> {
    let state = |model: &ServedModel| {
        let (state, reason) = if model.is_ready() { ("READY", "") } else { ("UNAVAILABLE", "loading or stopping") };
        json!({"name": model.manifest.name(), "version": model.manifest.version(), "state": state, "reason": reason})
    };
    Json(served.models().iter().map(state).collect())
}

async fn model_ready(State(served): State<App>, Path(path): Path<ModelPath>) -> Result<Response> {
    let ready = served.find(&path.model, &path.version)?.is_ready();
    Ok(if ready {
        Json(json!({"name": path.model, "ready": true})).into_response()
    } else {
        refusal(StatusCode::SERVICE_UNAVAILABLE, format!("model `{:.100}` is not ready", path.model))
    })
}

fn tensor_metadata(spec: &TensorSpec) -> Value {
    json!({"name": spec.name, "datatype": spec.dtype.protocol_name(), "shape": spec.protocol_shape()})
}

async fn model_metadata(State(served): State<App>, Path(path): Path<ModelPath>) -> Result<Json<Value>> {
    let manifest = &served.find(&path.model, &path.version)?.manifest;
    Ok(Json(json!({
        "name": manifest.name(),
        "versions": served.versions(manifest.name()),
        "platform": grpc::PLATFORM,
        "inputs": manifest.inputs().iter().map(tensor_metadata).collect::<Value>(),
        "outputs": manifest.outputs().iter().map(tensor_metadata).collect::<Value>(),
    })))
}

async fn model_config(State(served): State<App>, Path(path): Path<ModelPath>) -> Result<Json<Value>> {
    let session = served.find(&path.model, &path.version)?.session()?;
    let config = grpc::model_config(session);
    let tensor = |spec: &TensorSpec| {
        json!({
            "name": spec.name, "dims": spec.row_shape(),
            "data_type": format!("TYPE_{}", spec.dtype.protocol_name()),
        })
    };
    let manifest = &served.find(&path.model, &path.version)?.manifest;
    let parameters: serde_json::Map<String, Value> = config
        .parameters
        .into_iter()
        .map(|(name, value)| (name, json!({"string_value": value.string_value})))
        .collect();
    let batching = config.dynamic_batching.unwrap_or_default();
    Ok(Json(json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "max_batch_size": config.max_batch_size,
        "input": manifest.inputs().iter().map(tensor).collect::<Value>(),
        "output": manifest.outputs().iter().map(tensor).collect::<Value>(),
        "default_model_filename": config.default_model_filename,
        "dynamic_batching": {
            "preferred_batch_size": batching.preferred_batch_size,
            "max_queue_delay_microseconds": batching.max_queue_delay_microseconds,
        },
        "instance_group": config.instance_group.iter().map(|group| json!({
            "name": group.name, "count": group.count, "gpus": group.gpus, "kind": grpc::kind_name(group),
        })).collect::<Value>(),
        "parameters": parameters,
    })))
}

fn statistics_of(session: &Arc<Session>) -> Value {
    let all = grpc::model_statistics(session);
    let duration = |value: Option<crate::protocol::message::StatisticDuration>| {
        let value = value.unwrap_or_default();
        json!({"count": value.count, "ns": value.ns})
    };
    let times = all.inference_stats.unwrap_or_default();
    json!({
        "name": all.name,
        "version": all.version,
        "last_inference": all.last_inference,
        "inference_count": all.inference_count,
        "execution_count": all.execution_count,
        "inference_stats": {
            "success": duration(times.success),
            "fail": duration(times.fail),
            "queue": duration(times.queue),
            "compute_input": duration(times.compute_input),
            "compute_infer": duration(times.compute_infer),
            "compute_output": duration(times.compute_output),
        },
        "batch_stats": all.batch_stats.into_iter().map(|batch| json!({
            "batch_size": batch.batch_size,
            "compute_input": duration(batch.compute_input),
            "compute_infer": duration(batch.compute_infer),
            "compute_output": duration(batch.compute_output),
        })).collect::<Value>(),
    })
}

async fn model_statistics(State(served): State<App>, Path(path): Path<ModelPath>) -> Result<Json<Value>> {
    let session = served.find(&path.model, &path.version)?.session()?;
    Ok(Json(json!({"model_stats": [statistics_of(session)]})))
}

async fn all_statistics(State(served): State<App>) -> Json<Value> {
    let stats: Value = served.models().iter().filter_map(|model| model.session().ok()).map(statistics_of).collect();
    Json(json!({"model_stats": stats}))
}

async fn infer(
    State(served): State<App>,
    Path(path): Path<ModelPath>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let status = rejection.status();
            return refusal(status, rejection.body_text());
        }
    };
    match answer(&served, path, &headers, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(served: &Served, path: ModelPath, headers: &HeaderMap, body: Bytes) -> Result<Response> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Error::new(ErrorKind::Request, "compressed bodies are not read; send it as it is"));
    }
    // Before anything is parsed: a model that is not there costs nothing.
    served.find(&path.model, &path.version)?.session()?;
    let (request, raw) = InferRequest::read(headers, body)?;
    let trace = headers.get(TRACE_HEADER).and_then(|value| Trace::parse(value.to_str().ok()?));
    let asked = Asked {
        model: path.model,
        version: path.version,
        digest: request.parameters.model_sha256.clone(),
        outputs: request.outputs.iter().map(|output| output.name.clone()).collect(),
        timeout: request.parameters.timeout.filter(|us| *us > 0).map(Duration::from_micros),
        trace,
    };
    let InferRequest { id, parameters, inputs, outputs: wanted } = request;
    let (manifest, outputs) = served.answer(asked, || decode(inputs, raw)).await?;
    let as_bytes = |place: usize| {
        wanted
            .get(place)
            .and_then(|output| output.parameters.binary_data)
            .or(parameters.binary_data_output)
            .unwrap_or(false)
    };
    encode(manifest, &id, outputs, as_bytes)
}

/// The JSON of a request. Fields that others know are passed over.
#[derive(Debug, Deserialize)]
struct InferRequest {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    /// Microseconds that the caller waits, as in Triton.
    timeout: Option<u64>,
    model_sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

impl InferRequest {
    /// The JSON, and the raw bytes behind it.
    fn read(headers: &HeaderMap, mut body: Bytes) -> Result<(InferRequest, Bytes)> {
        let refuse = |message: String| Error::new(ErrorKind::Request, message);
        let raw = match headers.get(JSON_LENGTH) {
            None => Bytes::new(),
            Some(length) => {
                let length = length.to_str().ok().and_then(|text| text.parse::<usize>().ok());
                let length = length.filter(|length| *length <= body.len()).ok_or_else(|| {
                    refuse(format!("header {JSON_LENGTH} must be a length within the body of {} bytes", body.len()))
                })?;
                body.split_off(length)
            }
        };
        if body.len() > JSON_BYTES_MAX {
            let message =
                format!("{} bytes of JSON, at most {JSON_BYTES_MAX} are read; send tensors as binary data", body.len());
            return Err(refuse(message));
        }
        let request = serde_json::from_slice(&body)
            .map_err(|error| refuse(format!("the body is not the JSON of an inference request: {error}")))?;
        Ok((request, raw))
    }
}

/// Numbers of a flat or nested list, in the order in which they are written.
struct Numbers(Vec<f64>);

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Numbers, D::Error> {
        let mut numbers = Vec::new();
        Flatten(&mut numbers).deserialize(deserializer)?;
        Ok(Numbers(numbers))
    }
}

/// Appends what it finds; the parser bounds how deep lists may nest.
struct Flatten<'a>(&'a mut Vec<f64>);

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of numbers")
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<(), E> {
        self.0.push(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while list.next_element_seed(Flatten(self.0))?.is_some() {}
        Ok(())
    }
}

/// The tensors of a request: numbers in the JSON, or the next bytes of `raw`.
fn decode(inputs: Vec<Input>, mut raw: Bytes) -> Result<TensorBatch> {
    let mut tensors = Vec::with_capacity(inputs.len().min(64));
    for input in inputs {
        let refuse =
            |message: String| Err(Error::new(ErrorKind::Request, format!("tensor `{:.100}`: {message}", input.name)));
        let (dtype, shape) = described(&input.name, &input.datatype, &input.shape)?;
        let bytes = match (input.parameters.binary_data_size, &input.data) {
            (Some(_), Some(_)) => return refuse("has data beside binary_data_size; use one of the two".into()),
            (None, None) => return refuse("has neither data nor binary_data_size".into()),
            (Some(size), None) if size > raw.len() => {
                return refuse(format!("{size} bytes are announced, {} are left in the body", raw.len()));
            }
            (Some(size), None) => raw.split_to(size),
            (None, Some(numbers)) => match numbers_as_bytes(dtype, &numbers.0) {
                Ok(bytes) => bytes,
                Err(message) => return refuse(message),
            },
        };
        tensors.push(Tensor::from_bytes(input.name, dtype, &shape, bytes)?);
    }
    if !raw.is_empty() {
        let message = format!("{} bytes are left in the body that no input announces", raw.len());
        return Err(Error::new(ErrorKind::Request, message));
    }
    Ok(TensorBatch::new(tensors))
}

fn numbers_as_bytes(dtype: Dtype, numbers: &[f64]) -> Result<Bytes, String> {
    let whole = |low: f64, high: f64| {
        let fits = |value: &f64| value.fract() == 0.0 && (low..=high).contains(value);
        if numbers.iter().all(fits) { Ok(()) } else { Err(format!("a number does not fit {dtype}")) }
    };
    match dtype {
        Dtype::U8 => {
            whole(0.0, 255.0)?;
            Ok(numbers.iter().map(|value| *value as u8).collect())
        }
        Dtype::I8 => {
            whole(-128.0, 127.0)?;
            Ok(numbers.iter().map(|value| *value as i8 as u8).collect())
        }
        Dtype::F32 => {
            let values: Vec<f32> = numbers.iter().map(|value| *value as f32).collect();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(format!("a number does not fit {dtype}"));
            }
            Ok(Bytes::copy_from_slice(bytes_of(&values)))
        }
        Dtype::F16 => Err("FP16 travels as binary data only".into()),
    }
}

/// The answer: outputs for which `as_bytes` says so as raw bytes after the JSON, the others as numbers in it.
fn encode(
    manifest: &ModelManifest,
    id: &str,
    outputs: Vec<Tensor>,
    as_bytes: impl Fn(usize) -> bool,
) -> Result<Response> {
    let is_number = |place: &usize| !as_bytes(*place);
    let values: usize =
        (0..outputs.len()).filter(is_number).map(|at| outputs[at].shape().iter().product::<usize>()).sum();
    if values > JSON_VALUES_MAX {
        let message = format!(
            "the answer has {values} numbers, at most {JSON_VALUES_MAX} are written as JSON; ask for binary data"
        );
        return Err(Error::new(ErrorKind::Request, message));
    }
    let mut raw = Vec::new();
    let mut described = Vec::with_capacity(outputs.len());
    for (place, output) in outputs.into_iter().enumerate() {
        let mut tensor = json!({
            "name": output.name(), "datatype": output.dtype().protocol_name(), "shape": output.shape(),
        });
        if as_bytes(place) {
            tensor["parameters"] = json!({"binary_data_size": output.bytes().len()});
            raw.push(output.into_bytes());
        } else {
            tensor["data"] = numbers_of(&output)?;
        }
        described.push(tensor);
    }
    let mut answer = json!({
        "model_name": manifest.name(),
        "model_version": manifest.version(),
        "parameters": {DIGEST_PARAMETER: manifest.digest().to_hex()},
        "outputs": described,
    });
    if !id.is_empty() {
        answer["id"] = id.into();
    }
    let head = serde_json::to_vec(&answer)
        .map_err(|error| Error::caused(ErrorKind::Bug, "an answer could not be written as JSON", error))?;
    if raw.is_empty() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], head).into_response());
    }
    let mut body = BytesMut::with_capacity(head.len() + raw.iter().map(Bytes::len).sum::<usize>());
    body.extend_from_slice(&head);
    raw.iter().for_each(|bytes| body.extend_from_slice(bytes));
    let headers =
        [(header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()), (JSON_LENGTH, head.len().to_string())];
    Ok((headers, Body::from(body.freeze())).into_response())
}

fn numbers_of(output: &Tensor) -> Result<Value> {
    fn floats(values: impl Iterator<Item = f32>, name: &str) -> Result<Value> {
        values
            .map(|value| serde_json::Number::from_f64(shortest(value)).map(Value::Number))
            .collect::<Option<Value>>()
            .ok_or_else(|| {
                let message =
                    format!("output `{name}` holds what is no number, which JSON cannot say; ask for binary data");
                Error::new(ErrorKind::Request, message)
            })
    }
    Ok(match output.dtype() {
        Dtype::U8 => output.values::<u8>()?.iter().copied().collect(),
        Dtype::I8 => output.values::<i8>()?.iter().copied().collect(),
        Dtype::F32 => floats(output.values::<f32>()?.iter().copied(), output.name())?,
        Dtype::F16 => floats(output.values::<f16>()?.iter().map(|value| value.to_f32()), output.name())?,
    })
}

/// The number whose shortest decimal form is that of `value`: .1 and not .10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &Value, raw: &'static [u8]) -> Result<TensorBatch> {
        let head = json.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(JSON_LENGTH, head.len().to_string().parse().unwrap());
        let body = Bytes::from([head.as_bytes(), raw].concat());
        let (request, raw) = InferRequest::read(&headers, body)?;
        decode(request.inputs, raw)
    }

    fn input(datatype: &str, shape: &[i64], rest: Value) -> Value {
        let mut input = json!({"name": "x", "datatype": datatype, "shape": shape});
        for (key, value) in rest.as_object().unwrap() {
            input[key] = value.clone();
        }
        json!({"inputs": [input]})
    }

    #[test]
    fn nested_flat_and_raw_say_the_same() {
        let flat = read(&input("UINT8", &[2, 2], json!({"data": [1, 2, 3, 255]})), b"").unwrap();
        let nested = read(&input("UINT8", &[2, 2], json!({"data": [[1, 2], [3, 255]]})), b"").unwrap();
        let raw = read(&input("UINT8", &[2, 2], json!({"parameters": {"binary_data_size": 4}})), b"\x01\x02\x03\xff")
            .unwrap();
        for batch in [&nested, &raw] {
            assert_eq!(batch.tensors()[0].bytes(), flat.tensors()[0].bytes());
        }
        let signed = read(&input("INT8", &[1, 2], json!({"data": [-128, 127]})), b"").unwrap();
        assert_eq!(signed.tensors()[0].values::<i8>().unwrap().as_ref(), [-128, 127]);
        let float = read(&input("FP32", &[1, 2], json!({"data": [0.5, -3]})), b"").unwrap();
        assert_eq!(float.tensors()[0].values::<f32>().unwrap().as_ref(), [0.5, -3.0]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_tensor_named() {
        let cases = [
            (input("UINT8", &[1, 2], json!({"data": [1, 256]})), &b""[..], "tensor `x`: a number does not fit UINT8"),
            (input("UINT8", &[1, 2], json!({"data": [1, 0.5]})), b"", "does not fit UINT8"),
            (input("INT8", &[1, 1], json!({"data": [-129]})), b"", "does not fit INT8"),
            (input("FP32", &[1, 1], json!({"data": [1e60]})), b"", "does not fit FP32"),
            (input("FP16", &[1, 1], json!({"data": [1]})), b"", "binary data only"),
            (input("BYTES", &[1, 1], json!({"data": [1]})), b"", "datatype `BYTES` is not one of"),
            (input("UINT8", &[1, 2], json!({"data": [1]})), b"", "1 bytes do not fill UINT8 [1, 2]"),
            (input("UINT8", &[-1, 2], json!({"data": [1, 2]})), b"", "is not a shape that can be"),
            (input("UINT8", &[1, 2], json!({})), b"", "neither data nor binary_data_size"),
            (
                input("UINT8", &[1, 2], json!({"data": [1, 2], "parameters": {"binary_data_size": 2}})),
                b"ab",
                "use one of the two",
            ),
            (
                input("UINT8", &[1, 2], json!({"parameters": {"binary_data_size": 2}})),
                b"a",
                "2 bytes are announced, 1 are left",
            ),
            (input("UINT8", &[1, 2], json!({"parameters": {"binary_data_size": 2}})), b"abc", "1 bytes are left"),
            (input("UINT8", &[1, 1], json!({"data": ["1"]})), b"", "a number or a list of numbers"),
            (json!({"outputs": []}), b"", "missing field `inputs`"),
        ];
        for (request, raw, expected) in cases {
            let error = read(&request, raw).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request);
            assert!(error.to_string().contains(expected), "{error} / {expected}");
        }
    }

    #[test]
    fn floats_are_written_as_short_as_they_are() {
        let output = Tensor::new("y", &[1, 3], vec![0.1_f32, -2.5, 1e-7]).unwrap();
        assert_eq!(numbers_of(&output).unwrap().to_string(), "[0.1,-2.5,1e-7]");
        let nan = Tensor::new("y", &[1, 1], vec![f32::NAN]).unwrap();
        assert!(numbers_of(&nan).unwrap_err().to_string().contains("ask for binary data"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, length in prop::option::of(0usize..300)) {
            let mut headers = HeaderMap::new();
            if let Some(length) = length {
                headers.insert(JSON_LENGTH, length.to_string().parse().unwrap());
            }
            if let Ok((request, raw)) = InferRequest::read(&headers, Bytes::from(body)) {
                let _ = decode(request.inputs, raw);
            }
        }

        #[test]
        fn no_request_makes_it_panic(
            datatype in prop::sample::select(vec!["UINT8", "INT8", "FP16", "FP32", "INT64", ""]),
            shape: Vec<i64>,
            data: Vec<f64>,
            size in prop::option::of(any::<usize>()),
            raw: Vec<u8>,
        ) {
            let data: Vec<f64> = data.into_iter().filter(|value| value.is_finite()).collect();
            let mut input = json!({"name": "x", "datatype": datatype, "shape": shape, "data": data});
            if let Some(size) = size {
                input["parameters"] = json!({"binary_data_size": size});
            }
            let request: InferRequest = serde_json::from_value(json!({"inputs": [input]})).unwrap();
            let _ = decode(request.inputs, Bytes::from(raw));
        }
    }
}

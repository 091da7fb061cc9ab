//! The Open Inference Protocol v2 in words of this crate: messages to tensors and back, errors to status codes and back.

use crate::error::{Error, ErrorKind, OVERLOADED_RETRY_AFTER, Result};
use crate::manifest::{ModelManifest, TensorSpec};
use crate::tensor::{Dtype, Tensor, TensorBatch, size_bytes};
use bytes::Bytes;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Generated from schemas/open_inference_v2.proto.
#[allow(clippy::all, missing_docs)]
pub mod message {
    tonic::include_proto!("inference");
}

use message::infer_parameter::ParameterChoice;
use message::model_infer_request::InferInputTensor;
use message::model_infer_response::InferOutputTensor;
use message::model_metadata_response::TensorMetadata;
use message::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};

/// Parameter of requests and answers that names the model by digest.
pub const DIGEST_PARAMETER: &str = "model_sha256";
/// Parameter of the model's configuration that holds its digest.
pub const CONFIG_DIGEST_PARAMETER: &str = "sha256";
/// Parameter of requests: microseconds that the caller waits, as in Triton.
pub(crate) const TIMEOUT_PARAMETER: &str = "timeout";
/// gRPC's own name for "not before so many milliseconds" (gRPC proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

pub(crate) fn text_parameter(text: String) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text)) }
}

pub(crate) fn parameter_text(parameter: Option<&InferParameter>) -> Option<&str> {
    match parameter?.parameter_choice.as_ref()? {
        ParameterChoice::StringParam(text) => Some(text),
        ParameterChoice::BoolParam(_)
        | ParameterChoice::Int64Param(_)
        | ParameterChoice::DoubleParam(_)
        | ParameterChoice::Uint64Param(_) => None,
    }
}

pub(crate) fn parameter_number(parameter: Option<&InferParameter>) -> Option<u64> {
    match parameter?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(number) => u64::try_from(*number).ok(),
        ParameterChoice::Uint64Param(number) => Some(*number),
        ParameterChoice::StringParam(text) => text.parse().ok(),
        ParameterChoice::BoolParam(_) | ParameterChoice::DoubleParam(_) => None,
    }
}

pub(crate) fn tensor_metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.dtype.protocol_name().into(),
        shape: spec.protocol_shape(),
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Request, message))
}

/// The tensors of a request. Raw or typed contents, for all inputs alike; otherwise an error of kind `Request`.
pub(crate) fn decode_inputs(request: ModelInferRequest) -> Result<TensorBatch> {
    let ModelInferRequest { inputs, raw_input_contents, .. } = request;
    let raw = !raw_input_contents.is_empty();
    if raw && raw_input_contents.len() != inputs.len() {
        return refuse(format!(
            "{} entries in raw_input_contents for {} inputs; one for each is expected",
            raw_input_contents.len(),
            inputs.len()
        ));
    }
    let mut raw_input_contents = raw_input_contents.into_iter();
    let tensors = inputs
        .into_iter()
        .map(|input| {
            let (dtype, shape) = described(&input.name, &input.datatype, &input.shape)?;
            let bytes = match (raw_input_contents.next(), input.contents) {
                (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
                    return refuse(format!(
                        "tensor `{:.100}` has contents beside raw_input_contents; use one of the two",
                        input.name
                    ));
                }
                (Some(bytes), _) => bytes,
                (None, Some(contents)) => typed_bytes(&input.name, dtype, contents)?,
                (None, None) => return refuse(format!("tensor `{:.100}` has no contents", input.name)),
            };
            Tensor::from_bytes(input.name, dtype, &shape, bytes)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(TensorBatch::new(tensors))
}

pub(crate) fn described(name: &str, datatype: &str, shape: &[i64]) -> Result<(Dtype, Vec<usize>)> {
    let Some(dtype) = Dtype::from_protocol_name(datatype) else {
        let known = Dtype::ALL.map(Dtype::protocol_name).join(", ");
        // What an unknown caller wrote is cut short before it is repeated.
        let datatype: String = datatype.chars().take(32).collect();
        return refuse(format!("tensor `{name:.100}`: datatype `{datatype}` is not one of {known}"));
    };
    let sizes: Option<Vec<usize>> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
    match sizes {
        Some(sizes) if size_bytes(dtype, &sizes).is_some() && !sizes.is_empty() => Ok((dtype, sizes)),
        _ => refuse(format!("tensor `{name:.100}`: shape {shape:?} is not a shape that can be")),
    }
}

/// Typed contents as little-endian bytes. Other kinds than that of `dtype` must be empty.
fn typed_bytes(name: &str, dtype: Dtype, mut contents: InferTensorContents) -> Result<Bytes> {
    let bytes = match dtype {
        Dtype::U8 => narrowed::<u32, u8>(name, dtype, &std::mem::take(&mut contents.uint_contents))?,
        Dtype::I8 => narrowed::<i32, i8>(name, dtype, &std::mem::take(&mut contents.int_contents))?,
        Dtype::F32 => {
            let values = std::mem::take(&mut contents.fp32_contents);
            Bytes::from_owner(FloatBytes(values))
        }
        Dtype::F16 => return refuse(format!("tensor `{name:.100}`: FP16 travels in raw_input_contents only")),
    };
    if contents != InferTensorContents::default() {
        return refuse(format!("tensor `{name:.100}`: contents of another type than {dtype}"));
    }
    Ok(bytes)
}

struct FloatBytes(Vec<f32>);

impl AsRef<[u8]> for FloatBytes {
    fn as_ref(&self) -> &[u8] {
        crate::tensor::bytes_of(&self.0)
    }
}

fn narrowed<W, N>(name: &str, dtype: Dtype, wide: &[W]) -> Result<Bytes>
where
    W: Copy,
    N: TryFrom<W> + crate::tensor::Element,
{
    let narrow: Option<Vec<N>> = wide.iter().map(|&value| N::try_from(value).ok()).collect();
    match narrow {
        Some(values) => Ok(Bytes::copy_from_slice(crate::tensor::bytes_of(&values))),
        None => refuse(format!("tensor `{name:.100}`: a value does not fit {dtype}")),
    }
}

/// The request for `batch`, to the model of this version (empty: the newest).
pub(crate) fn encode_request(manifest: &ModelManifest, version: &str, batch: &TensorBatch) -> ModelInferRequest {
    let tensors = batch.tensors();
    ModelInferRequest {
        model_name: manifest.name().into(),
        model_version: version.into(),
        id: String::new(),
        parameters: [(DIGEST_PARAMETER.into(), text_parameter(manifest.digest().to_hex()))].into(),
        inputs: tensors
            .iter()
            .map(|tensor| InferInputTensor {
                name: tensor.name().into(),
                datatype: tensor.dtype().protocol_name().into(),
                shape: protocol_shape(tensor),
                ..Default::default()
            })
            .collect(),
        outputs: Vec::new(),
        raw_input_contents: tensors.iter().map(|tensor| tensor.bytes().clone()).collect(),
    }
}

/// The answer that holds `outputs`.
pub(crate) fn encode_response(manifest: &ModelManifest, id: String, outputs: Vec<Tensor>) -> ModelInferResponse {
    ModelInferResponse {
        model_name: manifest.name().into(),
        model_version: manifest.version().into(),
        id,
        parameters: [(DIGEST_PARAMETER.into(), text_parameter(manifest.digest().to_hex()))].into(),
        outputs: outputs
            .iter()
            .map(|tensor| InferOutputTensor {
                name: tensor.name().into(),
                datatype: tensor.dtype().protocol_name().into(),
                shape: protocol_shape(tensor),
                ..Default::default()
            })
            .collect(),
        raw_output_contents: outputs.into_iter().map(Tensor::into_bytes).collect(),
    }
}

fn protocol_shape(tensor: &Tensor) -> Vec<i64> {
    tensor.shape().iter().map(|&size| size as i64).collect()
}

/// The outputs of an answer to a request of `rows` rows, in the manifest's order. A server may answer raw or typed; what
/// does not match the manifest is an error of kind `Remote`, another digest one of kind `Disagreement`.
pub(crate) fn decode_response(
    manifest: &ModelManifest,
    rows: usize,
    response: ModelInferResponse,
) -> Result<Vec<Tensor>> {
    let digest = manifest.digest().to_hex();
    if let Some(other) = parameter_text(response.parameters.get(DIGEST_PARAMETER))
        && other != digest
    {
        return Err(disagreement(manifest, format!("answered with sha256 {other}, not {digest}")));
    }
    let wrong = |message: String| {
        Error::new(ErrorKind::Remote, format!("the service's answer for model `{}`: {message}", manifest.name()))
    };
    let raw = response.raw_output_contents;
    if !raw.is_empty() && raw.len() != response.outputs.len() {
        return Err(wrong(format!("{} raw contents for {} outputs", raw.len(), response.outputs.len())));
    }
    let mut raw = raw.into_iter();
    let tensors = response
        .outputs
        .into_iter()
        .map(|output| {
            let (dtype, shape) = described(&output.name, &output.datatype, &output.shape)?;
            let bytes = match (raw.next(), output.contents) {
                (Some(bytes), _) => bytes,
                (None, contents) => typed_bytes(&output.name, dtype, contents.unwrap_or_default())?,
            };
            Tensor::from_bytes(output.name, dtype, &shape, bytes)
        })
        .collect::<Result<Vec<Tensor>>>()
        .map_err(|error| wrong(error.to_string()))?;
    manifest
        .outputs()
        .iter()
        .map(|spec| {
            let tensor = tensors.iter().find(|tensor| tensor.name() == spec.name);
            let tensor = tensor.ok_or_else(|| wrong(format!("output `{}` is missing", spec.name)))?;
            if tensor.dtype() != spec.dtype || tensor.shape() != spec.shape(rows) {
                return Err(wrong(format!(
                    "output `{}` should be {spec} for {rows} rows, it is {tensor:?}",
                    spec.name
                )));
            }
            Ok(tensor.clone())
        })
        .collect()
}

pub(crate) fn disagreement(manifest: &ModelManifest, message: String) -> Error {
    Error::new(
        ErrorKind::Disagreement,
        format!("model `{}`: the service {message}; deploy the same pipeline on both sides", manifest.name()),
    )
}

/// The status that tells a caller of `error`.
pub(crate) fn status_of(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Request => Code::InvalidArgument,
        ErrorKind::UnknownModel => Code::NotFound,
        ErrorKind::Deadline => Code::DeadlineExceeded,
        ErrorKind::Overloaded
        | ErrorKind::Unavailable
        | ErrorKind::Library
        | ErrorKind::Manifest
        | ErrorKind::Digest
        | ErrorKind::Model
        | ErrorKind::Settings
        | ErrorKind::Disagreement
        | ErrorKind::Golden
        | ErrorKind::Listen
        | ErrorKind::Compute
        | ErrorKind::Remote
        | ErrorKind::Bug => Code::from_i32(error.fault().grpc_code()),
    };
    let mut metadata = MetadataMap::new();
    if error.kind() == ErrorKind::Overloaded
        && let Ok(hint) = MetadataValue::try_from(OVERLOADED_RETRY_AFTER.as_millis().to_string())
    {
        metadata.insert(PUSHBACK, hint);
    }
    Status::with_metadata(code, error.to_string(), metadata)
}

/// What a status means for the caller, and how long the service asks to wait.
pub(crate) fn error_of(status: &Status) -> (Error, Option<Duration>) {
    // A status with a cause was made on this side, of a connection that broke: nobody knows whether the request
    // arrived. Computing it twice does no harm, so that it may be tried again.
    let cause = std::error::Error::source(status);
    let broken = cause.is_some();
    let timed_out =
        std::iter::successors(cause, |cause| cause.source()).any(|cause| cause.is::<tonic::TimeoutExpired>());
    let kind = match status.code() {
        _ if timed_out => ErrorKind::Deadline,
        Code::InvalidArgument => ErrorKind::Request,
        Code::NotFound => ErrorKind::UnknownModel,
        Code::DeadlineExceeded => ErrorKind::Deadline,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::FailedPrecondition => ErrorKind::Disagreement,
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Aborted if broken => ErrorKind::Unavailable,
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::OutOfRange => ErrorKind::Settings,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => ErrorKind::Remote,
    };
    let wait = status.metadata().get(PUSHBACK).and_then(|hint| hint.to_str().ok()?.parse().ok());
    let what = match status.code() {
        _ if timed_out => "the deadline passed before the service answered".to_owned(),
        code if broken => format!("the service cannot be reached ({code:?}: {})", status.message()),
        code => format!("the service answered {code:?}: {}", status.message()),
    };
    let error = Error::new(kind, what);
    (error, wait.map(Duration::from_millis))
}

/// What the header `grpc-timeout` says: up to eight digits and a unit. `None` for anything else.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
        InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
            ..Default::default()
        }
    }

    fn request(inputs: Vec<InferInputTensor>, raw: Vec<&'static [u8]>) -> ModelInferRequest {
        let raw_input_contents = raw.into_iter().map(Bytes::from_static).collect();
        ModelInferRequest { inputs, raw_input_contents, ..Default::default() }
    }

    fn refused(request: ModelInferRequest) -> String {
        let error = decode_inputs(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        error.to_string()
    }

    #[test]
    fn typed_and_raw_contents_mean_the_same() {
        let typed = |contents| Some(contents);
        let floats = InferTensorContents { fp32_contents: vec![1.5, -2.0], ..Default::default() };
        let batch = decode_inputs(request(vec![input("FP32", &[1, 2], typed(floats))], vec![])).unwrap();
        assert_eq!(batch.tensors()[0].values::<f32>().unwrap().as_ref(), [1.5, -2.0]);
        let bytes = InferTensorContents { uint_contents: vec![0, 255], ..Default::default() };
        let typed_bytes = decode_inputs(request(vec![input("UINT8", &[2, 1], typed(bytes))], vec![])).unwrap();
        let raw = decode_inputs(request(vec![input("UINT8", &[2, 1], None)], vec![&[0, 255]])).unwrap();
        assert_eq!(typed_bytes.tensors(), raw.tensors());
        let signed = InferTensorContents { int_contents: vec![-128, 127], ..Default::default() };
        let batch = decode_inputs(request(vec![input("INT8", &[2, 1], typed(signed))], vec![])).unwrap();
        assert_eq!(batch.tensors()[0].values::<i8>().unwrap().as_ref(), [-128, 127]);
    }

    #[test]
    fn contents_that_cannot_be_are_refused() {
        let contents = |uint: Vec<u32>| Some(InferTensorContents { uint_contents: uint, ..Default::default() });
        assert!(
            refused(request(vec![input("UINT8", &[1, 1], contents(vec![256]))], vec![])).contains("does not fit UINT8")
        );
        assert!(
            refused(request(vec![input("UINT8", &[1, 1], contents(vec![1]))], vec![&[1]])).contains("one of the two")
        );
        assert!(refused(request(vec![input("FP32", &[1, 1], contents(vec![1]))], vec![])).contains("another type"));
        assert!(refused(request(vec![input("UINT8", &[1, 1], None)], vec![])).contains("no contents"));
        assert!(refused(request(vec![input("UINT8", &[1, 1], None)], vec![&[1], &[2]])).contains("2 entries"));
        assert!(
            refused(request(vec![input("FP16", &[1, 1], contents(vec![1]))], vec![]))
                .contains("raw_input_contents only")
        );
        assert!(
            refused(request(vec![input("STRING", &[1, 1], None)], vec![&[1]])).contains("`STRING` is not one of UINT8")
        );
        assert!(refused(request(vec![input("UINT8", &[-1, 1], None)], vec![&[1]])).contains("[-1, 1]"));
        assert!(refused(request(vec![input("UINT8", &[], None)], vec![&[1]])).contains("[]"));
        assert!(refused(request(vec![input("FP32", &[i64::MAX, 4], None)], vec![&[1]])).contains("not a shape"));
        assert!(refused(request(vec![input("FP32", &[1, 4], None)], vec![&[1, 2, 3]])).contains("3 bytes do not fill"));
    }

    #[test]
    fn errors_keep_their_kind_over_the_wire() {
        for kind in [
            ErrorKind::Request,
            ErrorKind::UnknownModel,
            ErrorKind::Deadline,
            ErrorKind::Overloaded,
            ErrorKind::Unavailable,
            ErrorKind::Disagreement,
        ] {
            let error = Error::new(kind, "because");
            let (back, wait) = error_of(&status_of(&error));
            assert_eq!(back.kind(), kind);
            assert!(back.to_string().contains("because"));
            assert_eq!(wait, (kind == ErrorKind::Overloaded).then_some(OVERLOADED_RETRY_AFTER));
        }
        assert_eq!(status_of(&Error::new(ErrorKind::Compute, "row 3")).code(), Code::Internal);
        assert_eq!(error_of(&Status::internal("x")).0.kind(), ErrorKind::Remote);
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "m", "123456789m", "5", "-1S", "5ß", "1.5S"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_it_panic(
            bytes: Vec<u8>,
            datatypes in proptest::collection::vec("UINT8|INT8|FP16|FP32|INT64|BYTES|[a-z]{0,3}", 0..4),
            shapes in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<i64>(), 0..5), 0..4),
            raw in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..4),
            floats: Vec<f32>,
            numbers: Vec<u32>,
        ) {
            use prost::Message;
            if let Ok(request) = ModelInferRequest::decode(&bytes[..]) {
                let _ = decode_inputs(request);
            }
            let contents = InferTensorContents { fp32_contents: floats, uint_contents: numbers, ..Default::default() };
            let inputs: Vec<InferInputTensor> = std::iter::zip(&datatypes, &shapes)
                .enumerate()
                .map(|(place, (datatype, shape))| input(datatype, shape, (place % 2 == 0).then(|| contents.clone())))
                .collect();
            let raw: Vec<Bytes> = raw.into_iter().map(Bytes::from).collect();
            for raw_input_contents in [raw, Vec::new()] {
                let _ = decode_inputs(ModelInferRequest { inputs: inputs.clone(), raw_input_contents, ..Default::default() });
            }
        }

        #[test]
        fn only_timeouts_of_the_standard_are_read(text: String) {
            let digits = text.len().checked_sub(1).and_then(|end| text.get(..end)).unwrap_or_default();
            let good = (1..=8).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
                && text.ends_with(['H', 'M', 'S', 'm', 'u', 'n']);
            proptest::prop_assert_eq!(parse_timeout(&text).is_some(), good);
        }
    }
}

//! One ONNX Runtime session and the buffers around it.

use crate::batcher::Compute;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{BatchRows, Described, Dim, ModelManifest, TensorSpec};
use crate::runtime::Runtime;
use crate::session::{Device, SessionConfig};
use crate::tensor::{Dtype, Element, elements};
use bytes::Bytes;
use half::f16;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use std::borrow::Cow;

/// A model that computes batches of one shape.
pub(crate) struct Engine {
    session: ort::session::Session,
    inputs: Vec<Staging>,
    outputs: Vec<TensorSpec>,
    batch_rows: usize,
    model: String,
}

/// Where the rows of one input are brought together, padding included.
struct Staging {
    spec: TensorSpec,
    buffer: Buffer,
}

struct Buffer {
    /// Eight-byte words, so that every element type is aligned.
    words: Vec<u64>,
    bytes: usize,
}

impl Engine {
    /// Loads `bytes`, and proves that the model has the tensors of `manifest`.
    pub fn load(
        runtime: &Runtime,
        manifest: &ModelManifest,
        bytes: &[u8],
        config: &SessionConfig,
        batch_rows: usize,
    ) -> Result<Engine> {
        let model = manifest.name().to_owned();
        let session = options(runtime, config, &model)?.commit_from_memory(bytes).map_err(|error| {
            let device = match config.device {
                Device::Cpu => String::new(),
                Device::Cuda(ordinal) => format!(" on CUDA device {ordinal} (is there one? nvidia-smi lists them)"),
            };
            Error::new(
                ErrorKind::Model,
                format!("model `{model}` ({}) cannot be loaded{device}: {error}", manifest.model_path().display()),
            )
        })?;
        compare("input", manifest, manifest.inputs(), session.inputs(), batch_rows)?;
        compare("output", manifest, manifest.outputs(), session.outputs(), batch_rows)?;
        let inputs = manifest.inputs().iter().map(|spec| Staging::new(spec, batch_rows)).collect();
        Ok(Engine { session, inputs, outputs: manifest.outputs().to_vec(), batch_rows, model })
    }

    /// Whether another engine of the model gives the very same bytes for a batch of noise.
    pub fn agrees_with(&mut self, other: &mut Engine) -> Result<bool> {
        let pieces: Vec<Vec<Bytes>> =
            self.inputs.iter().map(|input| vec![noise(input.spec.dtype, input.buffer.bytes)]).collect();
        let rows = self.batch_rows;
        Ok(self.compute(&pieces, rows)? == other.compute(&pieces, rows)?)
    }

    /// Runs a batch of zeros, so that the first request does not pay for memory and kernels being set up.
    pub fn warm_up(&mut self) -> Result<()> {
        let pieces: Vec<Vec<Bytes>> =
            self.inputs.iter().map(|input| vec![Bytes::from(vec![0; input.buffer.bytes])]).collect();
        let rows = self.batch_rows;
        match self.compute(&pieces, rows) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::caused(
                ErrorKind::Model,
                format!("model `{}` fails on a batch of zeros, with which batches are padded", self.model),
                error,
            )),
        }
    }
}

fn options(runtime: &Runtime, config: &SessionConfig, model: &str) -> Result<SessionBuilder> {
    fn set_up(runtime: &Runtime, config: &SessionConfig, model: &str) -> ort::Result<SessionBuilder> {
        let builder = ort::session::Session::builder(runtime.environment())?
            .with_log_id(model)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(config.threads)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(config.spin)?
            // between runs threads sleep: others may have the cores then
            .with_config_entry("session.force_spinning_stop", "1")?
            .with_env_allocators()?;
        Ok(builder)
    }
    let builder = set_up(runtime, config, model).map_err(|error| {
        Error::new(ErrorKind::Settings, format!("session of model `{model}` cannot be set up: {error}"))
    })?;
    match config.device {
        Device::Cpu => Ok(builder),
        Device::Cuda(ordinal) => on_cuda(builder, ordinal, runtime, model),
    }
}

fn on_cuda(builder: SessionBuilder, ordinal: u32, runtime: &Runtime, model: &str) -> Result<SessionBuilder> {
    use ort::ep::cuda::ConvAlgorithmSearch;
    use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProvider};
    let lacking = |reason: String| {
        Error::new(
            ErrorKind::Settings,
            format!(
                "model `{model}` cannot use CUDA device {ordinal}: {reason}; install the NVIDIA driver and point \
                 ORT_DYLIB_PATH at the CUDA build of ONNX Runtime, or use `--device cpu`"
            ),
        )
    };
    match CUDA::is_available() {
        Ok(true) => {}
        Ok(false) => return Err(lacking(format!("{} is built without it", runtime.library().display()))),
        Err(error) => return Err(lacking(error.to_string())),
    }
    let provider = CUDA::default()
        .with_device_id(i32::try_from(ordinal).unwrap_or(i32::MAX))
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        // Chosen by rule and not by timing, so that two runs compute the same.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        .with_tf32(false)
        .build()
        .error_on_failure();
    builder.with_execution_providers([provider]).map_err(|error| lacking(error.to_string()))
}

/// So many bytes of the type: whole numbers over all their range, others from 0 to 1. Always the same.
fn noise(dtype: Dtype, bytes: usize) -> Bytes {
    // a linear congruential generator (Knuth), of which the high bits are good enough
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let count = bytes / dtype.size_bytes();
    let mut out = Vec::with_capacity(bytes);
    for _ in 0..count {
        let value = draw();
        let share = f32::from(value) / 255.0;
        match dtype {
            Dtype::U8 | Dtype::I8 => out.push(value),
            Dtype::F16 => out.extend_from_slice(&f16::from_f32(share).to_le_bytes()),
            Dtype::F32 => out.extend_from_slice(&share.to_le_bytes()),
        }
    }
    out.into()
}

fn element_type(dtype: Dtype) -> TensorElementType {
    match dtype {
        Dtype::U8 => TensorElementType::Uint8,
        Dtype::I8 => TensorElementType::Int8,
        Dtype::F16 => TensorElementType::Float16,
        Dtype::F32 => TensorElementType::Float32,
    }
}

/// What the model says of its tensors. Its first axis counts rows: open, or one number for all tensors.
pub(crate) fn describe(runtime: &Runtime, bytes: &[u8]) -> Result<Described> {
    let wrong = |message: String| Error::new(ErrorKind::Model, message);
    let config = SessionConfig::default();
    let session = options(runtime, &config, "described")?
        .commit_from_memory(bytes)
        .map_err(|error| wrong(format!("the model cannot be loaded: {error}")))?;
    let mut fixed: Vec<usize> = Vec::new();
    let mut of = |outlets: &[Outlet]| {
        outlets
            .iter()
            .map(|outlet| {
                let name = outlet.name();
                let refuse = |message: String| wrong(format!("tensor `{name:.100}` {message}"));
                let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
                    return Err(refuse(format!("is no tensor but {}", outlet.dtype())));
                };
                let dtype = Dtype::ALL.into_iter().find(|dtype| element_type(*dtype) == *ty);
                let dtype = dtype.ok_or_else(|| {
                    let known = Dtype::ALL.map(Dtype::protocol_name).join(", ");
                    refuse(format!("is of type {ty}; served are {known}"))
                })?;
                let Some((first, rest)) = shape.split_first() else {
                    return Err(refuse("has no axes; the first must count rows".into()));
                };
                fixed.extend(usize::try_from(*first));
                let batch = Dim { axis: "batch".into(), size: None, meaning: None };
                let rest = rest.iter().enumerate().map(|(place, size)| {
                    let size = usize::try_from(*size).ok().filter(|size| *size > 0);
                    let size = size.ok_or_else(|| {
                        refuse(format!("leaves the size of axis {} open; export the model with a fixed one", place + 1))
                    })?;
                    Ok(Dim { axis: format!("axis {}", place + 1), size: Some(size), meaning: None })
                });
                let dims = std::iter::once(Ok(batch)).chain(rest).collect::<Result<Vec<Dim>>>()?;
                let meaning = "not described".to_owned();
                Ok(TensorSpec { name: name.to_owned(), dtype, meaning, dims, range: None, channels: Vec::new() })
            })
            .collect::<Result<Vec<TensorSpec>>>()
    };
    let (inputs, outputs) = (of(session.inputs())?, of(session.outputs())?);
    let batch = match fixed[..] {
        [] => BatchRows::default(),
        [rows, ref others @ ..] if rows > 0 && others.iter().all(|other| *other == rows) => {
            BatchRows { preferred: rows, max: rows }
        }
        _ => return Err(wrong("the tensors have first axes of different sizes; the first must count rows".into())),
    };
    Ok(Described { batch, inputs, outputs })
}

/// Proves that the model's tensors are those of the manifest.
fn compare(
    what: &str,
    manifest: &ModelManifest,
    specs: &[TensorSpec],
    outlets: &[Outlet],
    batch_rows: usize,
) -> Result<()> {
    let differs = |message: String| {
        Err(Error::new(
            ErrorKind::Model,
            format!("model `{}` is not what its manifest says: {message}", manifest.name()),
        ))
    };
    if let Some(extra) = outlets.iter().find(|outlet| specs.iter().all(|spec| spec.name != outlet.name())) {
        return differs(format!("{what} `{}` ({}) is not in the manifest", extra.name(), extra.dtype()));
    }
    for spec in specs {
        let Some(outlet) = outlets.iter().find(|outlet| outlet.name() == spec.name) else {
            return differs(format!("{what} `{}` is not in the model", spec.name));
        };
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return differs(format!("{what} `{}` is not a tensor but {}", spec.name, outlet.dtype()));
        };
        // A model leaves an axis open with -1; the manifest then decides.
        let fits = |model: i64, wanted: usize| model < 0 || usize::try_from(model) == Ok(wanted);
        let wanted = spec.shape(batch_rows);
        if *ty != element_type(spec.dtype)
            || shape.len() != wanted.len()
            || shape.iter().zip(&wanted).skip(1).any(|(&model, &wanted)| !fits(model, wanted))
        {
            return differs(format!("{what} `{}` is {ty} {shape} in the model and {spec} in the manifest", spec.name));
        }
        if !fits(shape[0], batch_rows) {
            return differs(format!(
                "{what} `{}` has a fixed batch of {} rows, but batches of {batch_rows} are to run; set batch.preferred \
                 to {} or export the model with an open first axis",
                spec.name, shape[0], shape[0]
            ));
        }
    }
    Ok(())
}

impl Staging {
    fn new(spec: &TensorSpec, batch_rows: usize) -> Staging {
        let bytes = spec.row_bytes() * batch_rows;
        Staging { spec: spec.clone(), buffer: Buffer { words: vec![0; bytes.div_ceil(8)], bytes } }
    }
}

impl Buffer {
    /// The whole input of the shape: `pieces` as they are when they fill it and are aligned, else copied together and
    /// padded with zeros.
    fn fill<'a>(&'a mut self, dtype: Dtype, pieces: &'a [Bytes]) -> &'a [u8] {
        if let [only] = pieces
            && only.len() == self.bytes
            && (only.as_ptr() as usize).is_multiple_of(dtype.size_bytes())
        {
            return only;
        }
        // SAFETY: the words are initialised memory of at least `self.bytes` bytes.
        let buffer = unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast::<u8>(), self.bytes) };
        let mut end = 0;
        for piece in pieces {
            buffer[end..end + piece.len()].copy_from_slice(piece);
            end += piece.len();
        }
        buffer[end..].fill(0);
        buffer
    }
}

/// `bytes` as an input value of the runtime, without a copy.
fn input_value<'a>(spec: &TensorSpec, rows: usize, bytes: &'a [u8]) -> Result<SessionInputValue<'a>> {
    fn view<'a, T>(shape: Vec<usize>, bytes: &'a [u8]) -> Result<SessionInputValue<'a>>
    where
        T: Element + ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone,
    {
        let values: &[T] = elements(bytes)
            .ok_or_else(|| Error::new(ErrorKind::Bug, "an input was handed to the runtime unaligned"))?;
        let tensor = TensorRef::from_array_view((shape, values))
            .map_err(|error| Error::new(ErrorKind::Bug, format!("an input was refused: {error}")))?;
        Ok(tensor.into())
    }
    let shape = spec.shape(rows);
    match spec.dtype {
        Dtype::U8 => view::<u8>(shape, bytes),
        Dtype::I8 => view::<i8>(shape, bytes),
        Dtype::F16 => view::<f16>(shape, bytes),
        Dtype::F32 => view::<f32>(shape, bytes),
    }
}

/// An output of the runtime, kept alive behind its bytes.
struct OutputBytes {
    value: DynValue,
    dtype: Dtype,
}

impl OutputBytes {
    fn view(&self) -> ort::Result<&[u8]> {
        fn bytes<T: Element + ort::value::PrimitiveTensorElementType>(value: &DynValue) -> ort::Result<&[u8]> {
            value.try_extract_tensor::<T>().map(|(_, values)| crate::tensor::bytes_of(values))
        }
        match self.dtype {
            Dtype::U8 => bytes::<u8>(&self.value),
            Dtype::I8 => bytes::<i8>(&self.value),
            Dtype::F16 => bytes::<f16>(&self.value),
            Dtype::F32 => bytes::<f32>(&self.value),
        }
    }
}

impl AsRef<[u8]> for OutputBytes {
    /// Empty when the value is not a tensor of this type; `output` has excluded that.
    fn as_ref(&self) -> &[u8] {
        self.view().unwrap_or(&[])
    }
}

/// The first `rows` rows of output `spec`.
fn output(outputs: &mut SessionOutputs<'_>, spec: &TensorSpec, rows: usize, batch_rows: usize) -> Result<Bytes> {
    let wrong =
        |message: String| Error::new(ErrorKind::Compute, format!("output `{}`: expected {spec}, {message}", spec.name));
    let value = outputs.remove(&spec.name).ok_or_else(|| wrong("got none".into()))?;
    let shape = spec.shape(batch_rows);
    match value.dtype() {
        ValueType::Tensor { ty, shape: got, .. }
            if *ty == element_type(spec.dtype)
                && got.iter().map(|&size| usize::try_from(size).ok()).eq(shape.into_iter().map(Some)) => {}
        other => return Err(wrong(format!("got {other}"))),
    }
    let owner = OutputBytes { value, dtype: spec.dtype };
    owner.view().map_err(|error| wrong(error.to_string()))?;
    Ok(Bytes::from_owner(owner).slice(..rows * spec.row_bytes()))
}

impl Compute for Engine {
    fn compute(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>> {
        let Engine { session, inputs: stagings, outputs: specs, batch_rows, model } = self;
        let values = stagings
            .iter_mut()
            .zip(inputs)
            .map(|(staging, pieces)| {
                let Staging { spec, buffer } = staging;
                let value = input_value(spec, *batch_rows, buffer.fill(spec.dtype, pieces))?;
                Ok((Cow::Borrowed(spec.name.as_str()), value))
            })
            .collect::<Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>>>()?;
        let mut outputs = session
            .run(values)
            .map_err(|error| Error::new(ErrorKind::Compute, format!("model `{model}` failed: {error}")))?;
        specs.iter().map(|spec| output(&mut outputs, spec, rows, *batch_rows)).collect()
    }
}

//! Golden answers: what a model said when it was made, asked again of whatever runs it now.

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{GoldenSpec, ModelManifest, TensorSpec};
use crate::stage::Stage;
use crate::tensor::{Dtype, Element, Tensor, TensorBatch};
use half::f16;
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadableElement};
use std::fs::File;

/// How near the answers came.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenReport {
    pub rows: usize,
    pub outputs: Vec<OutputDifference>,
}

/// The largest differences of one output, over all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputDifference {
    pub name: String,
    pub absolute_max: f64,
    /// Largest difference as a part of what is allowed for its value; at most 1 when the answer is reproduced.
    pub of_tolerance_max: f64,
}

/// Asks `stage` for the golden inputs of its manifest and compares the answers within the manifest's tolerances.
/// `None` when the manifest has no golden answers.
///
/// # Errors
/// `Manifest` when the archive cannot be read or does not fit the manifest, `Golden` when an answer is further off than
/// allowed (naming the output, the element and both values), or the error of the stage.
pub async fn check(stage: &dyn Stage) -> Result<Option<GoldenReport>> {
    let manifest = stage.manifest();
    let Some(golden) = manifest.golden() else { return Ok(None) };
    let mut archive = Archive::open(manifest)?;
    let inputs = manifest.inputs().iter().map(|spec| archive.tensor(spec)).collect::<Result<Vec<_>>>()?;
    let rows = inputs[0].rows();
    let got = stage.infer(TensorBatch::new(inputs)).await?;
    let outputs = manifest
        .outputs()
        .iter()
        .zip(&got)
        .map(|(spec, got)| compare(manifest, golden, spec, &archive.tensor(spec)?, got))
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(GoldenReport { rows, outputs }))
}

struct Archive {
    reader: NpzReader<File>,
    path: String,
}

impl Archive {
    fn open(manifest: &ModelManifest) -> Result<Archive> {
        let path = manifest.golden_path().unwrap_or_default();
        let cannot = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused(ErrorKind::Manifest, format!("golden answers {} cannot be read", path.display()), error)
        };
        let file = File::open(&path).map_err(|error| cannot(error.into()))?;
        let reader = NpzReader::new(file).map_err(|error| cannot(error.into()))?;
        Ok(Archive { reader, path: path.display().to_string() })
    }

    /// The array of this name as a tensor of the type of `spec`. Half precision is kept as FP32 in the archive.
    fn tensor(&mut self, spec: &TensorSpec) -> Result<Tensor> {
        match spec.dtype {
            Dtype::U8 => self.array::<u8, u8>(spec, |value| value),
            Dtype::I8 => self.array::<i8, i8>(spec, |value| value),
            Dtype::F16 => self.array::<f32, f16>(spec, f16::from_f32),
            Dtype::F32 => self.array::<f32, f32>(spec, |value| value),
        }
    }

    fn array<T, E>(&mut self, spec: &TensorSpec, convert: impl Fn(T) -> E) -> Result<Tensor>
    where
        T: ReadableElement + Clone,
        E: Element,
    {
        let array: ArrayD<T> = self.reader.by_name::<OwnedRepr<T>, IxDyn>(&spec.name).map_err(|error| {
            Error::caused(ErrorKind::Manifest, format!("golden answers {}: array `{}`", self.path, spec.name), error)
        })?;
        let shape = array.shape().to_vec();
        if shape.get(1..) != Some(&spec.row_shape()[..]) {
            return Err(Error::new(
                ErrorKind::Manifest,
                format!("golden answers {}: array `{}` is {shape:?}, expected {spec}", self.path, spec.name),
            ));
        }
        Tensor::new(spec.name.as_str(), &shape, array.iter().cloned().map(convert).collect())
    }
}

/// What a tolerance of 1 means: of whole numbers their range, so that an output which was 0..1 keeps its tolerance as 0..255.
fn unit(spec: &TensorSpec) -> f64 {
    match spec.dtype {
        Dtype::U8 | Dtype::I8 => spec.range.map_or(255.0, |[low, high]| high - low),
        Dtype::F16 | Dtype::F32 => 1.0,
    }
}

fn compare(
    manifest: &ModelManifest,
    golden: &GoldenSpec,
    spec: &TensorSpec,
    want: &Tensor,
    got: &Tensor,
) -> Result<OutputDifference> {
    if got.shape() != want.shape() || got.dtype() != want.dtype() {
        return Err(Error::new(
            ErrorKind::Manifest,
            format!("golden answers of model `{}`: {want:?} is expected, {got:?} was answered", manifest.name()),
        ));
    }
    let mut difference = OutputDifference { name: got.name().into(), absolute_max: 0.0, of_tolerance_max: 0.0 };
    for (index, (want, got)) in numbers(want)?.into_iter().zip(numbers(got)?).enumerate() {
        // NaN where NaN was is no difference; anywhere else it is beyond any tolerance.
        if want == got || (want.is_nan() && got.is_nan()) {
            continue;
        }
        let absolute = (got - want).abs();
        let tolerance = golden.absolute_tolerance * unit(spec) + golden.relative_tolerance * want.abs();
        if absolute.is_nan() || absolute > tolerance {
            return Err(Error::new(
                ErrorKind::Golden,
                format!(
                    "model `{}`, output `{}`, element {index}: {got} was answered, {want} is the golden answer, \
                     {tolerance} is allowed; this library, device or setting computes something else",
                    manifest.name(),
                    difference.name
                ),
            ));
        }
        difference.absolute_max = difference.absolute_max.max(absolute);
        difference.of_tolerance_max = difference.of_tolerance_max.max(absolute / tolerance);
    }
    Ok(difference)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        Dtype::U8 => tensor.values::<u8>()?.iter().map(|&value| value.into()).collect(),
        Dtype::I8 => tensor.values::<i8>()?.iter().map(|&value| value.into()).collect(),
        Dtype::F16 => tensor.values::<f16>()?.iter().map(|&value| value.into()).collect(),
        Dtype::F32 => tensor.values::<f32>()?.iter().map(|&value| value.into()).collect(),
    })
}

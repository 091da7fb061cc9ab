//! What a model file is: its tensors with axes, ranges and meanings, its digest, its golden answers.
//!
//! A manifest is a TOML file beside the model:
//!
//! ```toml
//! name = "locate"
//! version = "1"
//! file = "locate.onnx"
//! sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
//! summary = "named vertebral corners as heatmaps, and the kind of view"
//! precision = "fp32"
//! gflop_per_row = 2.9
//!
//! [batch]
//! preferred = 4
//! max = 16
//!
//! [[inputs]]
//! name = "image"
//! dtype = "UINT8"
//! meaning = "picture centred in the frame, 0.5 % to 99.5 % of its grey values stretched to 0..255, padding 0"
//! range = [0.0, 255.0]
//! dims = [
//!     { axis = "batch" },
//!     { axis = "channel", size = 1 },
//!     { axis = "row", size = 512, meaning = "head to foot" },
//!     { axis = "column", size = 256, meaning = "as displayed, left to right" },
//! ]
//!
//! [[outputs]]
//! name = "view"
//! dtype = "FP32"
//! meaning = "probability of each kind of view"
//! range = [0.0, 1.0]
//! dims = [{ axis = "batch" }, { axis = "channel", size = 3 }]
//! channels = ["lateral lumbar spine", "frontal spine", "anything else"]
//!
//! [golden]
//! file = "locate.golden.npz"
//! absolute_tolerance = 1e-4
//! relative_tolerance = 1e-3
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, Tensor, TensorBatch, size_bytes};
use domain::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Largest model that is read into memory.
pub(crate) const MODEL_BYTES_MAX: u64 = 2 << 30;
/// Most rows of one request that a manifest may allow.
pub const BATCH_ROWS_MAX: usize = 4096;
/// Largest tensor of one row.
const ROW_BYTES_MAX: usize = 1 << 30;

/// Description of one model, proven to agree with itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelManifest {
    contents: Contents,
    /// Folder of the manifest, from which its file names count.
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// Letters, digits, `-`, `_` and `.`; the name in the protocol.
    name: String,
    /// Dotted numbers; the newest is served where a request names none.
    version: String,
    /// The model, beside the manifest.
    file: String,
    /// SHA-256 of the model file, hexadecimal.
    sha256: Digest,
    /// One sentence: what goes in and what comes out.
    summary: String,
    #[serde(default)]
    precision: Precision,
    /// Devices (`cpu`, `cuda`) on which this form of the network is taken where no precision is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    preferred_on: Vec<String>,
    /// Multiplications and additions for one row, in thousand millions; for planning and for the bench.
    #[serde(default)]
    gflop_per_row: Option<f64>,
    #[serde(default)]
    batch: BatchRows,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    #[serde(default)]
    golden: Option<GoldenSpec>,
}

/// Arithmetic inside the network. A part of a reading's fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    Fp32,
    Fp16,
    Int8,
}

impl Precision {
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Fp16, Precision::Int8];

    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8 => "int8",
        }
    }
}

/// How many rows run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRows {
    /// Rows of the one shape that is executed; smaller batches are padded to it. Default 1.
    pub preferred: usize,
    /// Most rows of one request; more are refused, more than `preferred` are split. Default 64.
    pub max: usize,
}

impl Default for BatchRows {
    fn default() -> BatchRows {
        BatchRows { preferred: 1, max: 64 }
    }
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: Dtype,
    /// What the values are, how they were scaled, and what was not done to them.
    pub meaning: String,
    /// Axes from the outermost; the first is `batch` and has no size, all others have one.
    pub dims: Vec<Dim>,
    /// Lowest and highest value.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Meaning of each index of the axis `channel`.
    #[serde(default)]
    pub channels: Vec<String>,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dim {
    pub axis: String,
    #[serde(default)]
    pub size: Option<usize>,
    #[serde(default)]
    pub meaning: Option<String>,
}

/// Where the expected answers are and how far off an answer may be: `|got - want| <= absolute + relative * |want|`. For an output of whole
/// numbers `absolute` is a share of its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSpec {
    /// NumPy archive (.npz) with one array for each input and output, by name, all with the same number of rows.
    pub file: String,
    pub absolute_tolerance: f64,
    pub relative_tolerance: f64,
}

/// What a model file says of its tensors.
#[derive(Debug)]
pub(crate) struct Described {
    pub batch: BatchRows,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

impl TensorSpec {
    /// Sizes of the axes after `batch`.
    pub fn row_shape(&self) -> Vec<usize> {
        self.dims.iter().skip(1).filter_map(|dim| dim.size).collect()
    }

    /// Sizes of all axes for `rows` rows.
    pub fn shape(&self, rows: usize) -> Vec<usize> {
        std::iter::once(rows).chain(self.row_shape()).collect()
    }

    /// The shape in the protocol: -1 for `batch`.
    pub fn protocol_shape(&self) -> Vec<i64> {
        std::iter::once(-1).chain(self.row_shape().into_iter().map(|size| size as i64)).collect()
    }

    pub fn row_bytes(&self) -> usize {
        size_bytes(self.dtype, &self.row_shape()).unwrap_or(usize::MAX)
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() {
            return Err("a tensor has an empty name".into());
        }
        let Some((first, rest)) = self.dims.split_first() else {
            return Err(format!("tensor `{name}` has no axes"));
        };
        if first.axis != "batch" || first.size.is_some() {
            return Err(format!("tensor `{name}`: the first axis must be `batch`, without a size"));
        }
        if let Some(dim) = rest.iter().find(|dim| dim.size.is_none_or(|size| size == 0)) {
            return Err(format!("tensor `{name}`: axis `{}` needs a size of at least 1", dim.axis));
        }
        if size_bytes(self.dtype, &self.row_shape()).is_none_or(|bytes| bytes > ROW_BYTES_MAX) {
            return Err(format!("tensor `{name}`: one row is larger than {ROW_BYTES_MAX} bytes"));
        }
        if let Some([low, high]) = self.range
            && (low.is_nan() || high.is_nan() || low > high)
        {
            return Err(format!("tensor `{name}`: range [{low}, {high}] is not in order"));
        }
        if !self.channels.is_empty() {
            let size = rest.iter().find(|dim| dim.axis == "channel").and_then(|dim| dim.size);
            if size != Some(self.channels.len()) {
                return Err(format!(
                    "tensor `{name}`: {} channel meanings, but the axis `channel` has size {}",
                    self.channels.len(),
                    size.map_or("none".into(), |size| size.to_string())
                ));
            }
        }
        Ok(())
    }
}

/// As in messages: `UINT8 [N, 1, 512, 256]`.
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [N", self.dtype)?;
        for size in self.row_shape() {
            write!(f, ", {size}")?;
        }
        f.write_str("]")
    }
}

impl ModelManifest {
    /// Reads and checks `path`. Errors of kind `Manifest` name the file and the line.
    pub fn read(path: &Path) -> Result<ModelManifest> {
        let text = read_limited(path, MANIFEST_BYTES_MAX, ErrorKind::Manifest)?;
        let text = String::from_utf8(text).map_err(|error| {
            Error::caused(ErrorKind::Manifest, format!("manifest {} is not text", path.display()), error)
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        ModelManifest::parse(&text, &folder).map_err(|error| error.with_prefix(&format!("manifest {}", path.display())))
    }

    /// The manifests of all models in `folder`, in the order of their file names: for each `NAME.onnx` there is `NAME.toml`.
    ///
    /// # Errors
    /// Kind `Manifest` when the folder cannot be read, holds no model, or when a manifest is missing or wrong.
    pub fn read_folder(folder: &Path) -> Result<Vec<ModelManifest>> {
        let cannot = |error: std::io::Error| {
            Error::caused(ErrorKind::Manifest, format!("model folder {} cannot be read", folder.display()), error)
        };
        let mut models = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "onnx") {
                models.push(path);
            }
        }
        if models.is_empty() {
            let message = format!("model folder {} holds no .onnx file", folder.display());
            return Err(Error::new(ErrorKind::Manifest, message));
        }
        models.sort();
        models.into_iter().map(|model| ModelManifest::read(&model.with_extension("toml"))).collect()
    }

    /// Checks the text of a manifest that lies in `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<ModelManifest> {
        let contents: Contents =
            toml::from_str(text).map_err(|error| Error::new(ErrorKind::Manifest, error.to_string()))?;
        contents.check().map_err(|message| Error::new(ErrorKind::Manifest, message))?;
        Ok(ModelManifest { contents, folder: folder.to_path_buf() })
    }

    /// The manifest of a model of which only the file itself speaks: the shapes of its tensors, the first axis counting rows.
    pub(crate) fn of_description(
        folder: &Path,
        file: &str,
        sha256: Digest,
        name: &str,
        version: &str,
        described: Described,
    ) -> Result<ModelManifest> {
        let contents = Contents {
            name: name.to_owned(),
            version: version.to_owned(),
            file: file.to_owned(),
            sha256,
            summary: "described by its file alone".to_owned(),
            precision: Precision::default(),
            preferred_on: Vec::new(),
            gflop_per_row: None,
            batch: described.batch,
            inputs: described.inputs,
            outputs: described.outputs,
            golden: None,
        };
        contents.check().map_err(|message| Error::new(ErrorKind::Manifest, message))?;
        Ok(ModelManifest { contents, folder: folder.to_path_buf() })
    }

    /// The manifest as a file's text.
    pub fn text(&self) -> Result<String> {
        toml::to_string(&self.contents)
            .map_err(|error| Error::caused(ErrorKind::Bug, "a manifest could not be written", error))
    }

    /// The manifest's text for copies of its files under other names.
    pub(crate) fn text_for(&self, model: &str, golden: &str) -> Result<String> {
        let mut contents = self.contents.clone();
        contents.file = model.to_owned();
        if let Some(spec) = &mut contents.golden {
            spec.file = golden.to_owned();
        }
        ModelManifest { contents, folder: PathBuf::new() }.text()
    }

    pub fn name(&self) -> &str {
        &self.contents.name
    }

    pub fn version(&self) -> &str {
        &self.contents.version
    }

    /// Numbers of the version, for "newest".
    pub fn version_order(&self) -> Vec<u64> {
        version_numbers(&self.contents.version).unwrap_or_default()
    }

    pub fn summary(&self) -> &str {
        &self.contents.summary
    }

    /// SHA-256 of the model file.
    pub fn digest(&self) -> Digest {
        self.contents.sha256
    }

    pub fn precision(&self) -> Precision {
        self.contents.precision
    }

    /// Whether this form is taken on `device` (`cpu`, `cuda`) where no precision is asked for.
    pub fn is_preferred_on(&self, device: &str) -> bool {
        self.contents.preferred_on.iter().any(|preferred| preferred == device)
    }

    pub fn gflop_per_row(&self) -> Option<f64> {
        self.contents.gflop_per_row
    }

    pub fn batch(&self) -> BatchRows {
        self.contents.batch
    }

    pub fn inputs(&self) -> &[TensorSpec] {
        &self.contents.inputs
    }

    pub fn outputs(&self) -> &[TensorSpec] {
        &self.contents.outputs
    }

    pub fn golden(&self) -> Option<&GoldenSpec> {
        self.contents.golden.as_ref()
    }

    pub fn model_path(&self) -> PathBuf {
        self.folder.join(&self.contents.file)
    }

    pub fn golden_path(&self) -> Option<PathBuf> {
        self.golden().map(|golden| self.folder.join(&golden.file))
    }

    /// The bytes of the model file, which have the digest of the manifest (kind `Digest` otherwise).
    pub fn read_model(&self) -> Result<Vec<u8>> {
        let path = self.model_path();
        let bytes = read_limited(&path, MODEL_BYTES_MAX, ErrorKind::Model)?;
        let digest = Digest::of(&bytes);
        if digest != self.digest() {
            return Err(Error::new(
                ErrorKind::Digest,
                format!(
                    "model file {} has sha256 {digest}, its manifest says {}; restore the file, or write a new \
                     manifest if the model was meant to change",
                    path.display(),
                    self.digest()
                ),
            ));
        }
        Ok(bytes)
    }

    /// The tensors of a request in the order of `inputs`, and the number of rows; an error of kind `Request` names the
    /// tensor and what it should be.
    pub fn arrange_inputs(&self, batch: TensorBatch) -> Result<(Vec<Tensor>, usize)> {
        let refuse =
            |message: String| Err(Error::new(ErrorKind::Request, format!("model `{}`: {message}", self.name())));
        let mut given = batch.into_tensors();
        let mut arranged = Vec::with_capacity(given.len());
        for spec in self.inputs() {
            let Some(index) = given.iter().position(|tensor| tensor.name() == spec.name) else {
                return refuse(format!("tensor `{}` is missing; expected {spec}", spec.name));
            };
            let tensor = given.swap_remove(index);
            if tensor.dtype() != spec.dtype || tensor.shape()[1..] != spec.row_shape() {
                return refuse(format!(
                    "tensor `{}`: expected {spec}, got {} {:?}",
                    spec.name,
                    tensor.dtype(),
                    tensor.shape()
                ));
            }
            arranged.push(tensor);
        }
        if let Some(extra) = given.first() {
            return refuse(format!("tensor `{}` is not an input of this model, or is given twice", extra.name()));
        }
        let rows = arranged[0].rows();
        if let Some(other) = arranged.iter().find(|tensor| tensor.rows() != rows) {
            return refuse(format!(
                "tensor `{}` has {} rows, tensor `{}` has {rows}; all inputs must have as many",
                other.name(),
                other.rows(),
                arranged[0].name()
            ));
        }
        let max = self.batch().max;
        if rows == 0 || rows > max {
            return refuse(format!("a request has 1 to {max} rows, this one has {rows}; split it"));
        }
        Ok((arranged, rows))
    }
}

impl Contents {
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 100
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                && !text.starts_with('.')
        };
        if !plain(&self.name) {
            return Err(format!("name `{}`: letters, digits, `-`, `_` and `.` are allowed", self.name));
        }
        if version_numbers(&self.version).is_none() {
            return Err(format!("version `{}`: one to four numbers with dots between are expected", self.version));
        }
        let files = std::iter::once(&self.file).chain(self.golden.iter().map(|golden| &golden.file));
        for file in files {
            if !plain(file) {
                return Err(format!("file `{file}` must be the name of a file beside the manifest"));
            }
        }
        let BatchRows { preferred, max } = self.batch;
        if preferred == 0 || preferred > max || max > BATCH_ROWS_MAX {
            return Err(format!(
                "batch: 1 <= preferred ({preferred}) <= max ({max}) <= {BATCH_ROWS_MAX} does not hold"
            ));
        }
        if let Some(device) = self.preferred_on.iter().find(|device| !matches!(device.as_str(), "cpu" | "cuda")) {
            return Err(format!("preferred_on: `{device}` is no device; `cpu` and `cuda` are"));
        }
        if self.gflop_per_row.is_some_and(|gflop| !gflop.is_finite() || gflop < 0.0) {
            return Err("gflop_per_row must be a number of at least 0".into());
        }
        for (what, tensors) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            if tensors.is_empty() {
                return Err(format!("{what}: at least one tensor is expected"));
            }
            for (index, tensor) in tensors.iter().enumerate() {
                tensor.check()?;
                if tensors[..index].iter().any(|other| other.name == tensor.name) {
                    return Err(format!("{what}: tensor `{}` is listed twice", tensor.name));
                }
            }
        }
        if let Some(golden) = &self.golden
            && ![golden.absolute_tolerance, golden.relative_tolerance].iter().all(|t| t.is_finite() && *t >= 0.0)
        {
            return Err("golden: tolerances must be numbers of at least 0".into());
        }
        Ok(())
    }
}

fn version_numbers(version: &str) -> Option<Vec<u64>> {
    let parts: Vec<&str> = version.split('.').collect();
    if parts.len() > 4 || parts.iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    parts.into_iter().map(|part| part.parse().ok()).collect()
}

pub(crate) fn read_limited(path: &Path, bytes_max: u64, kind: ErrorKind) -> Result<Vec<u8>> {
    let cannot = |error: std::io::Error| Error::caused(kind, format!("{} cannot be read", path.display()), error);
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > bytes_max {
        return Err(Error::new(kind, format!("{} has {size} bytes, at most {bytes_max} are read", path.display())));
    }
    std::fs::read(path).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "locate"
        version = "1.2"
        file = "locate.onnx"
        sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        summary = "corners"
        [batch]
        preferred = 2
        max = 4
        [[inputs]]
        name = "image"
        dtype = "UINT8"
        meaning = "grey"
        range = [0.0, 255.0]
        dims = [{ axis = "batch" }, { axis = "channel", size = 1 }, { axis = "row", size = 3, meaning = "head to foot" }]
        [[outputs]]
        name = "view"
        dtype = "FP32"
        meaning = "probability"
        dims = [{ axis = "batch" }, { axis = "channel", size = 2 }]
        channels = ["lateral", "other"]
    "#;

    fn parse(text: &str) -> Result<ModelManifest> {
        ModelManifest::parse(text, Path::new("models"))
    }

    #[test]
    fn a_manifest_says_shapes_and_paths() {
        let manifest = parse(GOOD).unwrap();
        assert_eq!(manifest.inputs()[0].shape(2), [2, 1, 3]);
        assert_eq!(manifest.inputs()[0].protocol_shape(), [-1, 1, 3]);
        assert_eq!(manifest.outputs()[0].row_bytes(), 8);
        assert_eq!(manifest.inputs()[0].to_string(), "UINT8 [N, 1, 3]");
        assert_eq!(manifest.model_path(), Path::new("models/locate.onnx"));
        assert_eq!(manifest.version_order(), [1, 2]);
        assert_eq!(manifest.precision().name(), "fp32");
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let cases = [
            ("version = \"1.2\"", "version = \"one\"", "version `one`"),
            ("\"locate.onnx\"", "\"../locate.onnx\"", "beside the manifest"),
            ("preferred = 2", "preferred = 5", "preferred (5) <= max (4)"),
            ("{ axis = \"row\", size = 3, meaning", "{ axis = \"row\", meaning", "axis `row` needs a size"),
            ("range = [0.0, 255.0]", "range = [255.0, 0.0]", "not in order"),
            ("\"lateral\", \"other\"", "\"lateral\"", "1 channel meanings"),
            ("UINT8", "UINT16", "unknown variant `UINT16`"),
            ("meaning = \"grey\"", "meaning = \"grey\"\ncolour = 1", "unknown field `colour`"),
            ("2c26", "2c2", "64 hexadecimal digits"),
            ("name = \"view\"", "name = \"\"", "empty name"),
            ("summary = ", "preferred_on = [\"gpu\"]\nsummary = ", "`gpu` is no device"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Manifest);
            assert!(error.to_string().contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_missing_manifest_names_the_file() {
        let error = ModelManifest::read(Path::new("no/such/model.toml")).unwrap_err();
        assert!(error.to_string().contains("no/such/model.toml"), "{error}");
    }

    #[test]
    fn a_folder_of_models_has_a_manifest_for_each() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
        let manifests = ModelManifest::read_folder(&models).unwrap();
        let names: Vec<&str> = manifests.iter().map(ModelManifest::name).collect();
        assert_eq!(names, ["conv", "fixed", "identity", "picky", "scale", "types"]);
        let folder = tempfile::tempdir().unwrap();
        let error = ModelManifest::read_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("holds no .onnx file"), "{error}");
        std::fs::write(folder.path().join("alone.onnx"), "").unwrap();
        let error = ModelManifest::read_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("alone.toml"), "{error}");
    }

    fn image(rows: usize) -> Tensor {
        Tensor::new("image", &[rows, 1, 3], vec![0_u8; rows * 3]).unwrap()
    }

    #[test]
    fn requests_are_checked_against_the_inputs() {
        let manifest = parse(GOOD).unwrap();
        assert_eq!(manifest.arrange_inputs(image(3).into()).unwrap().1, 3);
        let wrong = |batch: TensorBatch| {
            let error = manifest.arrange_inputs(batch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request);
            error.to_string()
        };
        assert!(wrong(image(5).into()).contains("1 to 4 rows, this one has 5"));
        assert!(wrong(image(0).into()).contains("has 0"));
        assert!(wrong(TensorBatch::new(vec![])).contains("`image` is missing; expected UINT8 [N, 1, 3]"));
        assert!(wrong(TensorBatch::new(vec![image(1), image(1)])).contains("given twice"));
        let transposed = Tensor::new("image", &[1, 3, 1], vec![0_u8; 3]).unwrap();
        assert!(wrong(transposed.into()).contains("expected UINT8 [N, 1, 3], got UINT8 [1, 3, 1]"));
        let signed = Tensor::new("image", &[1, 1, 3], vec![0_i8; 3]).unwrap();
        assert!(wrong(signed.into()).contains("got INT8"));
    }
}

//! Model repositories in the layout of the Triton Inference Server, so that either server can serve the same folder.
//!
//! ```text
//! REPOSITORY/locate/config.pbtxt       tensors, batching and the digest, for Triton
//! REPOSITORY/locate/1/model.onnx
//! REPOSITORY/locate/1/model.toml       the manifest; Triton passes it over
//! REPOSITORY/locate/1/model.golden.npz
//! ```
//!
//! A model of somebody else that has no manifest is described by what its file says of itself.

use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{ModelManifest, TensorSpec};
use crate::protocol::CONFIG_DIGEST_PARAMETER;
use crate::runtime::Runtime;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.pbtxt";
const MODEL: &str = "model.onnx";
const MANIFEST: &str = "model.toml";
const GOLDEN: &str = "model.golden.npz";
/// Triton numbers versions; what is written has one.
const WRITTEN_VERSION: &str = "1";
/// Models and versions that a repository may hold.
const MODELS_MAX: usize = 256;

/// Writes `models` as a repository into `folder`, which is made. Files that are there are written over, so that the same
/// command brings a repository up to date.
///
/// # Errors
/// `Settings` for two models of one name, `Digest` or `Model` when a model file is not what its manifest says, `Settings` when
/// a file cannot be written.
pub fn write(folder: &Path, models: &[ModelManifest]) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (place, manifest) in models.iter().enumerate() {
        if models[..place].iter().any(|other| other.name() == manifest.name()) {
            let message =
                format!("two models are called `{}`; a repository numbers the versions of one", manifest.name());
            return Err(Error::new(ErrorKind::Settings, message));
        }
        let model = folder.join(manifest.name());
        let version = model.join(WRITTEN_VERSION);
        let cannot = |path: &Path, error: std::io::Error| {
            Error::caused(ErrorKind::Settings, format!("{} cannot be written", path.display()), error)
        };
        std::fs::create_dir_all(&version).map_err(|error| cannot(&version, error))?;
        let mut put = |path: PathBuf, bytes: &[u8]| {
            std::fs::write(&path, bytes).map_err(|error| cannot(&path, error))?;
            written.push(path);
            Ok::<(), Error>(())
        };
        put(version.join(MODEL), &manifest.read_model()?)?;
        if let Some(golden) = manifest.golden_path() {
            let bytes = std::fs::read(&golden).map_err(|error| {
                Error::caused(ErrorKind::Golden, format!("golden answers {} cannot be read", golden.display()), error)
            })?;
            put(version.join(GOLDEN), &bytes)?;
        }
        put(version.join(MANIFEST), manifest.text_for(MODEL, GOLDEN)?.as_bytes())?;
        put(model.join(CONFIG), config(manifest).as_bytes())?;
    }
    Ok(written)
}

/// The text of `config.pbtxt`.
pub fn config(manifest: &ModelManifest) -> String {
    let mut text = String::new();
    let tensors = |text: &mut String, what: &str, specs: &[TensorSpec]| {
        for spec in specs {
            let dims = match &spec.row_shape()[..] {
                // Triton wants one size at least, and is told that it is none
                [] => "dims: [ 1 ] reshape { shape: [ ] }".to_owned(),
                sizes => format!("dims: [ {} ]", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
            };
            let name = quoted(&spec.name);
            let dtype = spec.dtype.protocol_name();
            // Writing to a string does not fail.
            let _ = writeln!(text, "{what} {{ name: \"{name}\" data_type: TYPE_{dtype} {dims} }}");
        }
    };
    let batch = manifest.batch();
    let _ = writeln!(text, "name: \"{}\"", manifest.name());
    let _ = writeln!(text, "backend: \"onnxruntime\"");
    let _ = writeln!(text, "max_batch_size: {}", batch.max);
    tensors(&mut text, "input", manifest.inputs());
    tensors(&mut text, "output", manifest.outputs());
    let _ = writeln!(text, "dynamic_batching {{ preferred_batch_size: [ {} ] }}", batch.preferred);
    for (key, value) in [
        (CONFIG_DIGEST_PARAMETER, manifest.digest().to_hex()),
        ("version", manifest.version().to_owned()),
        ("precision", manifest.precision().name().to_owned()),
    ] {
        let _ = writeln!(text, "parameters {{ key: \"{key}\" value: {{ string_value: \"{value}\" }} }}");
    }
    text
}

/// Text within quotes as protocol buffers write it: what is not plain as octal bytes.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\'') || byte == b' ';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\{byte:03o}") }).collect()
}

/// Whether a folder is a repository: it has a folder with a numbered version in it.
pub fn is_repository(folder: &Path) -> bool {
    folders(folder).iter().any(|model| !versions(model).is_empty())
}

/// The models of a repository that `wanted` takes by name, all versions, in order of name and version. Others are not
/// looked at.
///
/// # Errors
/// As [`ModelManifest::read`] and [`describe`]; `Manifest` when the folder holds no model.
pub fn read(runtime: &Runtime, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<ModelManifest>> {
    let mut models = Vec::new();
    for model in folders(folder) {
        let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (number, version) in versions(&model).into_iter().filter(|_| wanted(&name)) {
            let manifest = version.join(MANIFEST);
            models.push(if manifest.is_file() {
                ModelManifest::read(&manifest)?
            } else {
                describe(runtime, &version.join(MODEL), &name, &number.to_string())?
            });
        }
    }
    if models.len() > MODELS_MAX {
        let message =
            format!("repository {} holds more than {MODELS_MAX} models; name those to be served", folder.display());
        return Err(Error::new(ErrorKind::Manifest, message));
    }
    if models.is_empty() {
        let message = format!("repository {} holds no model (NAME/1/{MODEL})", folder.display());
        return Err(Error::new(ErrorKind::Manifest, message));
    }
    Ok(models)
}

/// A manifest for a model that has none, made of what its file says: names, types and sizes of its tensors.
///
/// # Errors
/// `Model` when the file cannot be loaded, has tensors that are not served here, or sizes open beside the first.
pub fn describe(runtime: &Runtime, model: &Path, name: &str, version: &str) -> Result<ModelManifest> {
    let bytes = crate::manifest::read_limited(model, crate::manifest::MODEL_BYTES_MAX, ErrorKind::Model)?;
    let described =
        engine::describe(runtime, &bytes).map_err(|error| error.with_prefix(&model.display().to_string()))?;
    let folder = model.parent().unwrap_or(Path::new(""));
    let file = model.file_name().unwrap_or_default().to_string_lossy();
    ModelManifest::of_description(folder, &file, domain::Digest::of(&bytes), name, version, described)
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Numbered folders with a model in them, lowest first.
fn versions(model: &Path) -> Vec<(u64, PathBuf)> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
    let mut versions: Vec<(u64, PathBuf)> = folders(model)
        .into_iter()
        .filter(|path| path.join(MODEL).is_file())
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    versions.sort();
    versions
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_quoted_as_protocol_buffers_want_it() {
        assert_eq!(super::quoted("images:0 b"), "images:0 b");
        assert_eq!(super::quoted("a\"\u{e9}\n"), "a\\042\\303\\251\\012");
    }
}

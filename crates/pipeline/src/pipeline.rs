//! A pipeline that can run: its definition with the shape model and the model manifests that it names.

use crate::definition::{DEFINITION_FILE, Marking, PipelineDefinition, place, read_limited};
use crate::error::{Error, ErrorKind, Result};
use crate::steps::grade::{ASSESSABLE, EXCEEDS, VIEW};
use domain::{Digest, Fingerprint, Segment};
use inference::{Dtype, FormChoice, Forms, ModelManifest, TensorSpec};
use scoring::certainty::Calibration;
use scoring::forest::{FOREST_BYTES_MAX, Forest};
use scoring::grade::THRESHOLDS;
use scoring::rules::{METHOD_REVISION, ScoringRules};
use scoring::shape::ShapeModel;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shape model of 30 points and some ten modes has some 30 kB.
const MAX_SHAPE_BYTES: u64 = 4 << 20;
/// A calibration of some fifty numbers has under 4 kB.
const MAX_CALIBRATION_BYTES: u64 = 64 << 10;
/// Revision of the decoding. It enters the fingerprint: raise it whenever a file that was decoded before gives other pixels.
const IMAGING_REVISION: u32 = 1;
/// Pipelines that `pipeline list` looks at.
const MAX_LISTED: usize = 256;

/// A definition whose files are all there and agree.
#[derive(Debug, Clone)]
pub struct Pipeline {
    definition: PipelineDefinition,
    directory: PathBuf,
    rules: ScoringRules,
    /// Missing where nothing is located.
    shape: Option<(ShapeModel, Digest)>,
    /// In the order in which images meet them.
    networks: Vec<Network>,
    /// Marks calcium where no network does.
    forest: Option<(Arc<Forest>, Digest)>,
    calibration: Option<(Calibration, Digest)>,
}

/// A network in all its forms, and the one that computes readings.
#[derive(Debug, Clone)]
struct Network {
    forms: Forms,
    chosen: ModelManifest,
}

impl Pipeline {
    /// Reads `directory/pipeline.toml` and what it names; not the networks themselves, which are taken as they are preferred
    /// on a CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Definition`], naming the file, and in the definition line and key.
    pub fn load(directory: &Path) -> Result<Pipeline> {
        Pipeline::load_as(directory, |_| Ok(FormChoice::default()))
    }

    /// The same, each network (by name) in the form that `choose` wants.
    ///
    /// # Errors
    /// As [`Pipeline::load`], and when a form is not there.
    pub fn load_as(directory: &Path, choose: impl Fn(&str) -> inference::Result<FormChoice>) -> Result<Pipeline> {
        let definition = PipelineDefinition::load(directory)?;
        let rules = definition.rules().validated().map_err(|e| {
            let file = directory.join(DEFINITION_FILE);
            Error::new(ErrorKind::Definition, format!("{}: {e}", file.display()))
        })?;
        let file = |name: &str| {
            let (folder, own) = resolve(directory, name);
            folder.join(own)
        };
        let shape = definition.region.as_ref().map(|region| read_shape(&file(&region.shape_model))).transpose()?;
        let network = |name: &str| -> Result<Network> {
            let refuse = |e: inference::Error| {
                Error::new(ErrorKind::Definition, format!("{}: {e}", directory.join(DEFINITION_FILE).display()))
            };
            let (folder, own) = resolve(directory, name);
            let forms = Forms::read(&folder, own).map_err(refuse)?;
            let chosen = choose(own).and_then(|choice| forms.choose(choice)).map_err(refuse)?;
            Ok(Network { forms, chosen })
        };
        let networks = definition.models().map(network).collect::<Result<Vec<Network>>>()?;
        let forest = match definition.segment.as_ref().map(|segment| &segment.by) {
            Some(Marking::Forest(name)) => Some(read_forest(&file(name))?),
            Some(Marking::Model(_)) | None => None,
        };
        let calibration =
            definition.review.calibration.as_ref().map(|name| read_calibration(&file(name))).transpose()?;
        let directory = directory.to_owned();
        let pipeline = Pipeline { directory, rules, shape, networks, forest, calibration, definition };
        pipeline.check_grade()?;
        Ok(pipeline)
    }

    pub fn definition(&self) -> &PipelineDefinition {
        &self.definition
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn rules(&self) -> &ScoringRules {
        &self.rules
    }

    /// `None` where nothing is located.
    pub fn shape(&self) -> Option<&ShapeModel> {
        self.shape.as_ref().map(|(shape, _)| shape)
    }

    pub fn shape_digest(&self) -> Option<Digest> {
        self.shape.as_ref().map(|(_, digest)| *digest)
    }

    /// The forest that marks calcium; `None` where a network does, or where one grades.
    pub fn forest(&self) -> Option<&Arc<Forest>> {
        self.forest.as_ref().map(|(forest, _)| forest)
    }

    /// What makes probabilities of the marks; `None` where the pipeline is not calibrated.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref().map(|(calibration, _)| calibration)
    }

    /// Manifests of the networks, in the order in which images meet them: `locate`, then the one that marks calcium or grades.
    pub fn networks(&self) -> impl Iterator<Item = &ModelManifest> {
        self.networks.iter().map(|network| &network.chosen)
    }

    /// A network by the name that the definition calls it.
    pub fn network(&self, name: &str) -> Option<&ModelManifest> {
        let (_, own) = place(name);
        self.networks().find(|manifest| manifest.name() == own)
    }

    /// The networks in all their forms, in the order of [`Pipeline::networks`].
    pub fn forms(&self) -> impl Iterator<Item = &Forms> {
        self.networks.iter().map(|network| &network.forms)
    }

    /// This pipeline with forms of its networks that services were found to compute, in the order of [`Pipeline::networks`]. A forest
    /// stays as it is.
    #[must_use]
    pub fn computed_by(&self, found: impl IntoIterator<Item = ModelManifest>) -> Pipeline {
        let mut pipeline = self.clone();
        for (network, form) in pipeline.networks.iter_mut().zip(found) {
            network.chosen = form;
        }
        pipeline
    }

    /// Digests of the models by stage name, as readings carry them.
    pub fn models(&self) -> Vec<(String, Digest)> {
        let networks = self.networks().map(|m| (m.name().to_owned(), m.digest()));
        let forest = self.forest.iter().map(|(_, digest)| ("forest".to_owned(), *digest));
        networks.chain(forest).collect()
    }

    /// A network that grades has the tensors that its input asks for.
    fn check_grade(&self) -> Result<()> {
        let Some(grade) = &self.definition.grade else { return Ok(()) };
        let Some(manifest) = self.network(&grade.model) else { return Ok(()) };
        let [rows, columns] = grade.input.shape();
        let mut outputs = vec![(EXCEEDS, vec![Segment::COUNT, THRESHOLDS])];
        if !grade.input.is_located() {
            outputs.extend([(ASSESSABLE, vec![Segment::COUNT]), (VIEW, vec![3])]);
        }
        let fits = |spec: &TensorSpec, dtype, shape: &[usize]| spec.dtype == dtype && spec.row_shape() == shape;
        let input = manifest
            .inputs()
            .iter()
            .any(|spec| spec.name == grade.input.name() && fits(spec, Dtype::U8, &[1, rows, columns]));
        let refuse = |what: String| {
            let (folder, own) = resolve(&self.directory, &grade.model);
            let file = folder.join(format!("{own}.toml"));
            let message = format!("{}: a network for grade.input = \"{}\" {what}", file.display(), grade.input.name());
            Err(Error::new(ErrorKind::Definition, message))
        };
        if !input || manifest.inputs().len() != 1 {
            let name = grade.input.name();
            return refuse(format!("has one input `{name}`, UINT8 [batch, 1, {rows}, {columns}]"));
        }
        for (name, shape) in outputs {
            let found = manifest.outputs().iter().any(|spec| spec.name == name && fits(spec, Dtype::F32, &shape));
            if !found {
                return refuse(format!("has an output `{name}`, FP32, of shape {shape:?} a row"));
            }
        }
        Ok(())
    }

    /// How this pipeline reads under an execution provider (`cpu`, `cuda`): digest of the definition, the shape model,
    /// the models with their precision, the provider, and the revisions of the code that makes pixels and grades.
    pub fn fingerprint(&self, provider: &str) -> Fingerprint {
        let revisions = [METHOD_REVISION, IMAGING_REVISION].map(u32::to_le_bytes);
        let mut fields: Vec<Vec<u8>> = vec![b"aortica fingerprint 1".to_vec(), self.definition.digest().0.to_vec()];
        fields.extend(self.shape_digest().map(|digest| digest.0.to_vec()));
        for manifest in self.networks() {
            fields.extend([manifest.digest().0.to_vec(), manifest.precision().name().as_bytes().to_vec()]);
        }
        if let Some((_, digest)) = &self.forest {
            // Integer arithmetic, the same wherever it is walked: no precision to tell apart.
            fields.extend([digest.0.to_vec(), b"forest".to_vec()]);
        }
        if let Some((_, digest)) = &self.calibration {
            fields.extend([digest.0.to_vec(), b"calibration".to_vec()]);
        }
        fields.push(provider.as_bytes().to_vec());
        fields.extend(revisions.map(|revision| revision.to_vec()));
        Fingerprint::from_digest(Digest::of_fields(fields.iter().map(Vec::as_slice)))
    }
}

/// Where a model or file lies that a definition in `directory` names, and what it is called there: what belongs to another pipeline lies in
/// its folder, beside this one.
fn resolve<'a>(directory: &Path, name: &'a str) -> (PathBuf, &'a str) {
    let (pipeline, own) = place(name);
    (pipeline.map_or_else(|| directory.to_owned(), |p| directory.join("..").join(p)), own)
}

fn read_forest(path: &Path) -> Result<(Arc<Forest>, Digest)> {
    let bytes = read_limited(path, FOREST_BYTES_MAX)?;
    let forest = Forest::from_bytes(&bytes)
        .map_err(|e| Error::caused(ErrorKind::Definition, format!("{}: no forest", path.display()), e))?;
    Ok((Arc::new(forest), Digest::of(&bytes)))
}

fn read_calibration(path: &Path) -> Result<(Calibration, Digest)> {
    let text = read_limited(path, MAX_CALIBRATION_BYTES)?;
    let digest = Digest::of(&text);
    let calibration = std::str::from_utf8(&text).ok().map(Calibration::from_json);
    let calibration = calibration
        .ok_or_else(|| Error::new(ErrorKind::Definition, format!("{}: not UTF-8 text", path.display())))?
        .map_err(|e| Error::caused(ErrorKind::Definition, format!("{}: no calibration", path.display()), e))?;
    Ok((calibration, digest))
}

fn read_shape(path: &Path) -> Result<(ShapeModel, Digest)> {
    let text = read_limited(path, MAX_SHAPE_BYTES)?;
    let digest = Digest::of(&text);
    let shape = std::str::from_utf8(&text).ok().map(ShapeModel::from_json);
    let shape = shape
        .ok_or_else(|| Error::new(ErrorKind::Definition, format!("{}: not UTF-8 text", path.display())))?
        .map_err(|e| Error::caused(ErrorKind::Definition, format!("{}: no shape model", path.display()), e))?;
    Ok((shape, digest))
}

/// The directory of a pipeline given by name (a folder of `search`) or by its own path.
///
/// # Errors
/// [`ErrorKind::Definition`], saying which pipelines there are.
pub fn find(name_or_directory: &str, search: &Path) -> Result<PathBuf> {
    let plain = !name_or_directory.contains(['/', '\\']) && !name_or_directory.starts_with('.');
    let candidates = [plain.then(|| search.join(name_or_directory)), Some(PathBuf::from(name_or_directory))];
    let found = candidates.into_iter().flatten().find(|d| d.join(DEFINITION_FILE).is_file());
    found.ok_or_else(|| {
        let known: Vec<String> =
            directories(search).iter().filter_map(|d| Some(d.file_name()?.to_string_lossy().into_owned())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!(
            "no pipeline {name_or_directory}: neither a folder with {DEFINITION_FILE} nor one of those in {} ({known})",
            search.display()
        );
        Error::new(ErrorKind::Definition, message)
    })
}

/// All pipelines below a folder, by name; each with what is wrong with it, if it is.
pub fn list(search: &Path) -> Vec<(PathBuf, Result<Pipeline>)> {
    directories(search).into_iter().map(|d| (d.clone(), Pipeline::load(&d))).collect()
}

fn directories(search: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(search) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|d| d.join(DEFINITION_FILE).is_file()).take(MAX_LISTED).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pipeline_directory;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
    }

    #[test]
    fn the_shipped_pipeline_loads_by_name_and_is_listed() {
        let directory = find("aortica", &shipped()).unwrap();
        let pipeline = Pipeline::load(&directory).unwrap();
        assert_eq!(pipeline.definition().name, "aortica");
        assert_eq!(find(directory.to_str().unwrap(), Path::new("/nowhere")).unwrap(), directory, "also by its path");
        let listed = list(&shipped());
        assert!(listed.iter().any(|(d, loaded)| *d == directory && loaded.is_ok()), "{listed:?}");
        let unknown = find("aortika", &shipped()).unwrap_err().to_string();
        assert!(unknown.contains("aortika") && unknown.contains("aortica"), "{unknown}");
    }

    #[test]
    fn a_pipeline_with_a_wrong_file_names_it() {
        let folder = pipeline_directory();
        let refused = |file: &str, text: Option<&str>| {
            let path = folder.path().join(file);
            let whole = std::fs::read_to_string(&path).unwrap();
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let error = Pipeline::load(folder.path()).unwrap_err();
            std::fs::write(&path, whole).unwrap();
            assert_eq!(error.fault(), domain::Fault::Misconfigured);
            error.to_string()
        };
        assert!(refused("shape.json", None).contains("shape.json"));
        assert!(refused("shape.json", Some("{}")).contains("shape.json"));
        assert!(refused("segment.toml", None).contains("segment.toml"));
        let swapped = std::fs::read_to_string(folder.path().join("segment.toml")).unwrap();
        let message = refused("locate.toml", Some(&swapped));
        assert!(message.contains("locate.toml") && message.contains("segment"), "{message}");
        Pipeline::load(folder.path()).unwrap();
    }

    #[test]
    fn a_forest_is_read_checked_and_part_of_the_fingerprint() {
        let folder = crate::testing::forest_directory();
        let pipeline = Pipeline::load(folder.path()).unwrap();
        assert!(pipeline.forest().is_some());
        assert_eq!((pipeline.networks().count(), pipeline.forms().count()), (1, 1));
        let models: Vec<String> = pipeline.models().into_iter().map(|(name, _)| name).collect();
        assert_eq!(models, ["locate", "forest"]);
        let path = folder.path().join("forest.bin");
        std::fs::write(&path, crate::testing::forest(0.7).to_bytes()).unwrap();
        assert_ne!(Pipeline::load(folder.path()).unwrap().fingerprint("cpu"), pipeline.fingerprint("cpu"));
        std::fs::write(&path, b"trees").unwrap();
        let error = Pipeline::load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("forest.bin: no forest"), "{error}");
        assert_eq!(error.fault(), domain::Fault::Misconfigured);
    }

    #[test]
    fn a_calibration_is_read_checked_and_part_of_the_fingerprint() {
        let folder = pipeline_directory();
        let pipeline = Pipeline::load(folder.path()).unwrap();
        let path = folder.path().join("certainty.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let other = Calibration { flag_from: 0.5, ..pipeline.calibration().unwrap().clone() };
        std::fs::write(&path, other.to_json()).unwrap();
        let changed = Pipeline::load(folder.path()).unwrap();
        assert_eq!(changed.calibration(), Some(&other));
        assert_ne!(changed.fingerprint("cpu"), pipeline.fingerprint("cpu"));
        std::fs::write(&path, text.replace("shared_sd", "share")).unwrap();
        let error = Pipeline::load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("certainty.json: no calibration"), "{error}");
        assert_eq!(error.fault(), domain::Fault::Misconfigured);
    }

    #[test]
    fn whatever_changes_readings_changes_the_fingerprint() {
        let folder = pipeline_directory();
        let fingerprint = || Pipeline::load(folder.path()).unwrap().fingerprint("cpu");
        let first = fingerprint();
        let replace = |file: &str, from: &str, to: &str| {
            let path = folder.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        };
        let mut seen = std::collections::BTreeSet::from([first.clone()]);
        replace("pipeline.toml", "summary = \"", "summary = \"The ");
        assert_eq!(fingerprint(), first, "words do not count");
        for (file, from, to) in [
            ("pipeline.toml", "threshold = 0.5", "threshold = 0.55"),
            ("locate.toml", "sha256 = \"", "precision = \"int8\"\nsha256 = \""),
            ("shape.json", "\"n_shapes\":60", "\"n_shapes\":61"),
        ] {
            replace(file, from, to);
            assert!(seen.insert(fingerprint()), "{file}");
        }
        assert_ne!(Pipeline::load(folder.path()).unwrap().fingerprint("cuda"), fingerprint());
    }
}

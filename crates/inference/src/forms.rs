//! The forms of one network: the same weights in other arithmetic, each a model file with its own manifest and digest.
//!
//! `NAME.toml` is the network as it was trained (fp32), `NAME.int8.toml` and `NAME.fp16.toml` are made of it. A form is taken
//! because it is asked for, or because its manifest prefers the device; which form computed a reading enters the fingerprint.

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{ModelManifest, Precision};
use std::path::Path;

/// What is wanted of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormChoice {
    /// The arithmetic; `None`: what the manifests prefer on the device, else fp32.
    pub precision: Option<Precision>,
    /// `cpu` or `cuda`.
    pub device: &'static str,
}

impl Default for FormChoice {
    fn default() -> FormChoice {
        FormChoice { precision: None, device: "cpu" }
    }
}

/// The manifests of one network; at least one, each of another precision, all with the same tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Forms {
    manifests: Vec<ModelManifest>,
}

impl Forms {
    /// `folder/NAME.toml` and, where they are there, `folder/NAME.PRECISION.toml`.
    ///
    /// # Errors
    /// Kind `Manifest`, naming the file: one cannot be read, names another network, or differs in its tensors.
    pub fn read(folder: &Path, name: &str) -> Result<Forms> {
        let read = |path: &Path| {
            let manifest = ModelManifest::read(path)?;
            if manifest.name() == name {
                return Ok(manifest);
            }
            let message = format!("manifest {}: names itself {}, not {name}", path.display(), manifest.name());
            Err(Error::new(ErrorKind::Manifest, message))
        };
        let mut manifests = vec![read(&folder.join(format!("{name}.toml")))?];
        for precision in Precision::ALL {
            let path = folder.join(format!("{name}.{}.toml", precision.name()));
            if path.exists() {
                let form = read(&path)?;
                if form.precision() != precision {
                    let message = format!("manifest {}: its precision is {}", path.display(), form.precision().name());
                    return Err(Error::new(ErrorKind::Manifest, message));
                }
                manifests.push(form);
            }
        }
        Forms::of(manifests)
    }

    /// Manifests of one network, fp32 first.
    fn of(mut manifests: Vec<ModelManifest>) -> Result<Forms> {
        manifests.sort_by_key(ModelManifest::precision);
        let refuse = |message: String| Err(Error::new(ErrorKind::Manifest, message));
        let Some(first) = manifests.first() else { return refuse("no manifest was given".to_owned()) };
        for (index, form) in manifests.iter().enumerate().skip(1) {
            let precision = form.precision().name();
            if form.precision() == manifests[index - 1].precision() {
                return refuse(format!("model `{}`: there are two forms in {precision}", form.name()));
            }
            if (form.inputs(), form.outputs(), form.version()) != (first.inputs(), first.outputs(), first.version()) {
                return refuse(format!(
                    "model `{}`: the form in {precision} has another version or other tensors than that in {}",
                    form.name(),
                    first.precision().name()
                ));
            }
        }
        Ok(Forms { manifests })
    }

    /// One form of each network, in the order of first appearance: of those of one name and version, the one that `choose`
    /// wants; networks of one name and several versions are all kept.
    ///
    /// # Errors
    /// As [`Forms::choose`]; kind `Manifest` when forms of one network contradict each other.
    pub fn choose_each(
        manifests: Vec<ModelManifest>,
        choose: impl Fn(&str) -> Result<FormChoice>,
    ) -> Result<Vec<ModelManifest>> {
        let mut networks: Vec<Vec<ModelManifest>> = Vec::new();
        for manifest in manifests {
            let same = |n: &&mut Vec<ModelManifest>| {
                n.iter().all(|m| (m.name(), m.version()) == (manifest.name(), manifest.version()))
            };
            match networks.iter_mut().find(same) {
                Some(network) => network.push(manifest),
                None => networks.push(vec![manifest]),
            }
        }
        let one = |forms: Vec<ModelManifest>| {
            let forms = Forms::of(forms)?;
            forms.choose(choose(forms.manifests[0].name())?)
        };
        networks.into_iter().map(one).collect()
    }

    /// All of them, fp32 first.
    pub fn manifests(&self) -> &[ModelManifest] {
        &self.manifests
    }

    /// The form that is wanted.
    ///
    /// # Errors
    /// Kind `Settings` when the precision asked for is not there, naming those that are.
    pub fn choose(&self, choice: FormChoice) -> Result<ModelManifest> {
        let found = match choice.precision {
            Some(precision) => self.manifests.iter().find(|form| form.precision() == precision),
            None => self
                .manifests
                .iter()
                .find(|form| form.is_preferred_on(choice.device))
                .or_else(|| self.manifests.iter().find(|form| form.precision() == Precision::Fp32))
                .or(self.manifests.first()),
        };
        found.cloned().ok_or_else(|| {
            let there: Vec<&str> = self.manifests.iter().map(|form| form.precision().name()).collect();
            let wanted = choice.precision.unwrap_or_default().name();
            let name = self.manifests[0].name();
            Error::new(
                ErrorKind::Settings,
                format!("model `{name}` is not there in {wanted}, but in {}", there.join(", ")),
            )
        })
    }

    /// All forms, fp32 first.
    pub fn all(&self) -> &[ModelManifest] {
        &self.manifests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, precision: &str, extra: &str, channels: usize) {
        let text = format!(
            "name = \"n\"\nversion = \"1\"\nfile = \"{file}.onnx\"\nsha256 = \"{}\"\nsummary = \"s\"\nprecision = \"{precision}\"\n{extra}\n\
             [[inputs]]\nname = \"a\"\ndtype = \"FP32\"\nmeaning = \"m\"\n\
             dims = [{{ axis = \"batch\" }}, {{ axis = \"channel\", size = {channels} }}]\n\
             [[outputs]]\nname = \"b\"\ndtype = \"FP32\"\nmeaning = \"m\"\ndims = [{{ axis = \"batch\" }}]\n",
            "ab".repeat(32)
        );
        std::fs::write(folder.join(format!("{file}.toml")), text).unwrap();
    }

    fn choice(precision: Option<Precision>, device: &'static str) -> FormChoice {
        FormChoice { precision, device }
    }

    #[test]
    fn the_device_or_the_wish_decides() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "n", "fp32", "", 2);
        let alone = Forms::read(folder.path(), "n").unwrap();
        assert_eq!(alone.choose(FormChoice::default()).unwrap().precision(), Precision::Fp32);
        let missing = alone.choose(choice(Some(Precision::Int8), "cpu")).unwrap_err();
        assert!(
            missing.kind() == ErrorKind::Settings && missing.to_string().contains("in int8, but in fp32"),
            "{missing}"
        );

        write(folder.path(), "n.int8", "int8", "preferred_on = [\"cpu\"]", 2);
        write(folder.path(), "n.fp16", "fp16", "", 2);
        let forms = Forms::read(folder.path(), "n").unwrap();
        let chosen = |precision, device| forms.choose(choice(precision, device)).unwrap().precision();
        assert_eq!(chosen(None, "cpu"), Precision::Int8);
        assert_eq!(chosen(None, "cuda"), Precision::Fp32, "nothing is preferred there");
        assert_eq!(chosen(Some(Precision::Fp16), "cpu"), Precision::Fp16);
        assert_eq!(chosen(Some(Precision::Fp32), "cpu"), Precision::Fp32);
    }

    #[test]
    fn of_a_folder_one_form_of_each_network_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "n.int8", "int8", "preferred_on = [\"cpu\"]", 2);
        write(folder.path(), "n", "fp32", "", 2);
        let read = |file: &str| ModelManifest::read(&folder.path().join(file)).unwrap();
        let both = || vec![read("n.int8.toml"), read("n.toml")];
        let taken = |device| Forms::choose_each(both(), |_| Ok(choice(None, device))).unwrap();
        assert_eq!(taken("cpu").iter().map(ModelManifest::precision).collect::<Vec<_>>(), [Precision::Int8]);
        assert_eq!(taken("cuda").iter().map(ModelManifest::precision).collect::<Vec<_>>(), [Precision::Fp32]);
    }

    #[test]
    fn forms_that_contradict_each_other_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "n", "fp32", "", 2);
        write(folder.path(), "n.int8", "int8", "", 3);
        let refused = || Forms::read(folder.path(), "n").unwrap_err().to_string();
        assert!(refused().contains("other tensors"), "{}", refused());
        write(folder.path(), "n.int8", "fp16", "", 2);
        assert!(refused().contains("n.int8.toml: its precision is fp16"), "{}", refused());
    }
}

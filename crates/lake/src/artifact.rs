//! Artifacts: the evidence behind a row, one JSON object per image and fingerprint.

use crate::datafile::whole;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::paths::{LakePaths, artifact_key};
use crate::tolerance::close;
use domain::reading::READING_SCHEMA_VERSION;
use domain::{Digest, Fingerprint, ImageId, Reading};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::Value;

/// Largest artifact that is read.
pub const ARTIFACT_BYTES_MAX: u64 = 16 << 20;

/// How a put ended. In all three cases an artifact is durable under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactPut {
    Stored,
    /// It was there already and says the same, within the tolerance.
    Present,
    /// Another was there already. It stays, and this one is kept under `conflicts/`.
    Differs,
}

/// The artifacts of a lake.
#[derive(Debug, Clone)]
pub struct Artifacts {
    location: Location,
    paths: LakePaths,
}

impl Artifacts {
    pub(crate) fn new(location: &Location, paths: &LakePaths) -> Artifacts {
        Artifacts { location: location.clone(), paths: paths.clone() }
    }

    /// Puts the artifact of a reading unless there is one. Returns its key, relative to the lake.
    ///
    /// # Errors
    /// The reading holds what is no number; the store fails.
    pub async fn put(&self, reading: &Reading) -> Result<(String, ArtifactPut)> {
        let key = artifact_key(&reading.fingerprint, &reading.image_id);
        let path = self.paths.artifact(&reading.fingerprint, &reading.image_id);
        let bytes = encode(reading)?;
        if self.create(&path, &bytes).await? {
            return Ok((key, ArtifactPut::Stored));
        }
        // Another put of the same, also one of ours that was reported as failed after it had landed.
        let present = self.present(&path).await?;
        if present == bytes || alike(&present, &bytes) {
            return Ok((key, ArtifactPut::Present));
        }
        let name = format!("{}-{}", reading.image_id, reading.fingerprint);
        self.create(&self.paths.conflict("artifacts", &name, Digest::of(&bytes)), &bytes).await?;
        tracing::warn!(image = %reading.image_id, "a second, differing artifact was kept apart");
        Ok((key, ArtifactPut::Differs))
    }

    /// The artifact of an image under a fingerprint.
    pub async fn get(&self, fingerprint: &Fingerprint, image: &ImageId) -> Result<Option<Reading>> {
        let Some(bytes) = self.bytes(&self.paths.artifact(fingerprint, image)).await? else { return Ok(None) };
        decode(&artifact_key(fingerprint, image), &bytes).map(Some)
    }

    pub(crate) fn paths(&self) -> &LakePaths {
        &self.paths
    }

    /// Whether the object was created; `false` when there is one.
    pub(crate) async fn create(&self, path: &Path, bytes: &[u8]) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.location.store.put_opts(path, PutPayload::from(bytes.to_vec()), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(source) => Err(Error::Store { what: "putting an artifact", source }),
        }
    }

    /// The bytes of an object that a put said is there.
    pub(crate) async fn present(&self, path: &Path) -> Result<Vec<u8>> {
        self.bytes(path).await?.ok_or_else(|| {
            // Artifacts are never deleted; but some stores answer so where two put at once and neither won. The next try
            // puts it.
            let source = "it refused an object as existing that is not there".to_owned().into();
            let source = object_store::Error::Generic { store: "lake", source };
            Error::Store { what: "putting an artifact", source }
        })
    }

    pub(crate) async fn bytes(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let object = match self.location.store.get(path).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(Error::Store { what: "getting an artifact", source }),
        };
        if object.meta.size > ARTIFACT_BYTES_MAX {
            let problem = format!("{} bytes, more than {ARTIFACT_BYTES_MAX}", object.meta.size);
            return Err(Error::Artifact { key: path.filename().unwrap_or_default().to_owned(), problem });
        }
        Ok(Some(whole(object).await.map_err(Error::store("getting an artifact"))?.to_vec()))
    }
}

/// The bytes of an artifact: the same reading gives the same bytes.
///
/// # Errors
/// A number of the reading is none: JSON cannot hold it.
pub fn encode(reading: &Reading) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(reading).map_err(Error::json("encoding an artifact"))?;
    // JSON turns what is no number into null, and few readings have a null; what does not read back must not be kept as evidence.
    let has_null = bytes.windows(4).any(|word| word == b"null");
    if has_null && !serde_json::from_slice::<Reading>(&bytes).is_ok_and(|back| back == *reading) {
        let key = artifact_key(&reading.fingerprint, &reading.image_id);
        return Err(Error::Artifact { key, problem: "a number of the reading is infinite or none".to_owned() });
    }
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(key: &str, bytes: &[u8]) -> Result<Reading> {
    let wrong = |problem: String| Error::Artifact { key: key.to_owned(), problem };
    let version: Version = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    if version.schema_version > READING_SCHEMA_VERSION {
        return Err(wrong(format!(
            "it has schema version {}, this program knows {READING_SCHEMA_VERSION}",
            version.schema_version
        )));
    }
    serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))
}

#[derive(serde::Deserialize)]
struct Version {
    schema_version: u32,
}

/// Whether two artifacts say the same, numbers within the tolerance of the tables.
fn alike(one: &[u8], other: &[u8]) -> bool {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    matches!((parse(one), parse(other)), (Some(one), Some(other)) if same(&one, &other))
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| close(a, b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{fingerprint, image, reading};
    use crate::tests::lake;

    #[tokio::test]
    async fn an_artifact_is_put_once_and_reads_back() {
        let artifacts = lake().await.artifacts();
        let fingerprint = fingerprint("f");
        let first = reading(1, &fingerprint, [Some(1); 8]);
        let (key, put) = artifacts.put(&first).await.unwrap();
        assert_eq!((key.as_str(), put), (artifact_key(&fingerprint, &image(1)).as_str(), ArtifactPut::Stored));
        assert_eq!(artifacts.put(&first).await.unwrap().1, ArtifactPut::Present);

        let mut close = first.clone();
        close.summary.length_mm = close.summary.length_mm.map(|mm| mm + 1e-6);
        assert_eq!(artifacts.put(&close).await.unwrap().1, ArtifactPut::Present);
        let other = reading(1, &fingerprint, [Some(2); 8]);
        assert_eq!(artifacts.put(&other).await.unwrap().1, ArtifactPut::Differs);
        assert_eq!(artifacts.get(&fingerprint, &image(1)).await.unwrap(), Some(first));
        assert_eq!(artifacts.get(&fingerprint, &image(2)).await.unwrap(), None);
    }

    #[test]
    fn what_is_no_number_is_no_evidence() {
        let mut reading = reading(1, &fingerprint("f"), [Some(1); 8]);
        assert_eq!(encode(&reading).unwrap(), encode(&reading).unwrap());
        reading.summary.confidence = f64::NAN;
        assert_eq!(encode(&reading).unwrap_err().fault(), domain::Fault::Bug);
    }
}

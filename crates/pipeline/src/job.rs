//! The messages between roles: a job to read one item, a record of what became of it (schemas/job.schema.json,
//! schemas/outcome_record.schema.json).
//!
//! Newer schemas only add fields, which older readers would drop; a reader therefore parks what is newer than itself
//! instead of working on half of it.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use domain::record::RECORD_SCHEMA_VERSION;
use domain::{Fingerprint, Item, OutcomeRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the job message.
pub const JOB_SCHEMA_VERSION: u32 = 1;
/// A job is an address and a few ids.
pub const MAX_JOB_BYTES: usize = 64 * 1024;
/// A record carries a whole reading.
pub const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;

/// One item to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub schema_version: u32,
    /// Digest of the item manifest that the item belongs to.
    pub submission_id: String,
    pub item: Item,
    /// 1 for the first try; a replay counts on.
    pub attempt: u32,
    /// `name version` of the pipeline that shall read.
    pub pipeline: String,
    /// A worker with another fingerprint hands the job back: it would write other rows than were asked for.
    pub fingerprint: Fingerprint,
}

/// Something that travels as one JSON message with a `schema_version`.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    const NAME: &'static str;
    const SCHEMA_VERSION: u32;
    const MAX_BYTES: usize;

    /// # Errors
    /// [`ErrorKind::Message`] when it is larger than a message may be.
    fn encode(&self) -> Result<Bytes> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::caused(ErrorKind::Bug, format!("a {} cannot be written as JSON", Self::NAME), e))?;
        check_size::<Self>(bytes.len())?;
        Ok(bytes.into())
    }

    /// Version that the message says it has.
    fn schema_version(&self) -> u32;

    /// # Errors
    /// [`ErrorKind::NewerMessage`] when the schema is newer than ours, [`ErrorKind::Message`] when it is not what it says.
    fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        check_size::<Self>(bytes.len())?;
        // read once: only what cannot be read is looked at again, since a newer message may be of another form
        let read = serde_json::from_slice::<Self>(bytes);
        let found = match &read {
            Ok(message) => Some(message.schema_version()),
            Err(_) => serde_json::from_slice::<Version>(bytes).ok().map(|version| version.schema_version),
        };
        if let Some(found) = found.filter(|found| *found > Self::SCHEMA_VERSION) {
            let what = format!(
                "a {} of schema {found} is newer than this program, which knows {}; upgrade this role",
                Self::NAME,
                Self::SCHEMA_VERSION
            );
            return Err(Error::new(ErrorKind::NewerMessage, what));
        }
        // serde's own message would quote what it found, so that only the place is told
        read.map_err(|e| {
            let what = format!("a {} is not valid at byte {} of line {}", Self::NAME, e.column(), e.line());
            Error::new(ErrorKind::Message, what)
        })
    }
}

fn check_size<M: Message>(bytes: usize) -> Result<()> {
    if bytes > M::MAX_BYTES {
        let what = format!("a {} of {bytes} bytes is over the limit of {}", M::NAME, M::MAX_BYTES);
        return Err(Error::new(ErrorKind::Message, what));
    }
    Ok(())
}

impl Message for Job {
    const NAME: &'static str = "job";
    const SCHEMA_VERSION: u32 = JOB_SCHEMA_VERSION;
    const MAX_BYTES: usize = MAX_JOB_BYTES;

    fn schema_version(&self) -> u32 {
        self.schema_version
    }
}

impl Message for OutcomeRecord {
    const NAME: &'static str = "outcome record";
    const SCHEMA_VERSION: u32 = RECORD_SCHEMA_VERSION;
    const MAX_BYTES: usize = MAX_RECORD_BYTES;

    fn schema_version(&self) -> u32 {
        self.schema_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    pub(crate) fn job() -> Job {
        Job {
            schema_version: JOB_SCHEMA_VERSION,
            submission_id: "s".into(),
            item: Item { uri: "s3://b/k".into(), size_bytes: 7, version: "e".into(), hints: Default::default() },
            attempt: 1,
            pipeline: "vfa-unet 1.0.0".into(),
            fingerprint: Fingerprint::from_digest(Digest::of(b"f")),
        }
    }

    #[test]
    fn a_job_comes_back_and_a_newer_one_is_told_apart_from_a_wrong_one() {
        let bytes = job().encode().unwrap();
        assert_eq!(Job::decode(&bytes).unwrap(), job());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let newer = text.replace("\"schema_version\":1", "\"schema_version\":2,\"purpose\":\"unknown\"");
        assert_eq!(Job::decode(newer.as_bytes()).unwrap_err().kind(), ErrorKind::NewerMessage);
        let wrong = text.replace("\"attempt\":1", "\"attempt\":\"Doe^Jane\"");
        let error = Job::decode(wrong.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Message);
        assert!(!format!("{error:?}").contains("Doe"), "what was found is not quoted");
        assert_eq!(Job::decode(b"\xff\x00").unwrap_err().kind(), ErrorKind::Message);
        assert_eq!(Job::decode(&vec![b' '; MAX_JOB_BYTES + 1]).unwrap_err().kind(), ErrorKind::Message);
    }

    #[test]
    fn an_unknown_field_of_the_same_version_is_left_aside() {
        let text = String::from_utf8(job().encode().unwrap().to_vec()).unwrap();
        let more = text.replacen('{', "{\"note\":null,", 1);
        assert_eq!(Job::decode(more.as_bytes()).unwrap(), job());
    }
}

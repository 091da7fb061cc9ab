//! Settings: a TOML file, read strictly, checked before anything runs. Secrets are not settings: they come by environment
//! or file (`environment.rs`).

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings, with defaults for what the file leaves out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub study: Study,
    pub limits: Limits,
    pub run: Run,
    pub queue: Queue,
    pub stages: Stages,
}

/// Pseudonyms and dates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Study {
    /// File of the study's secret key, made at the first run. Default: beside a local lake, named `<lake>.key`; for a lake on
    /// S3, `aortica-study.key` in the working folder. Never inside the lake, which others may read.
    pub key_file: Option<PathBuf>,
    /// Name of the site for all images. Default: a pseudonym of the InstitutionName of each file.
    pub site: Option<String>,
    /// Shift all dates of a participant by one draw of -182..=182 days. Default false; intervals stay true either way.
    pub shift_dates: bool,
}

/// Largest things that are read; whatever is over one of them is failed(too_large).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Length of a file, MiB. Default 256: an uncompressed film of 64 megapixels has 128.
    pub max_file_mib: u32,
    /// Rows times columns, millions. Default 64: stitched whole-spine films have about 40.
    pub max_megapixels: u32,
    /// Any buffer that decompression fills, MiB. Default 256.
    pub max_decompressed_mib: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_file_mib: 256, max_megapixels: 64, max_decompressed_mib: 256 }
    }
}

/// The run of `score` and of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Threads for decoding, networks and scoring. Default 0: the cores of the machine.
    pub threads: u32,
    /// Bytes of images in flight, MiB. Default 384: enough for 30 films at once, and memory stays far under 1.5 GiB.
    pub in_flight_mib: u32,
    /// Rows that are committed together. Default 500: a kill loses at most the work of about a minute.
    pub commit_rows: u32,
    /// Age at which rows are committed, seconds. Default 30.
    pub commit_after_s: u32,
}

impl Default for Run {
    fn default() -> Run {
        Run { threads: 0, in_flight_mib: 384, commit_rows: 500, commit_after_s: 30 }
    }
}

/// RabbitMQ. The URL with its credentials comes from AORTICA_AMQP_URL or AORTICA_AMQP_URL_FILE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// First part of the names of queues and exchanges. Default `aortica`; studies that share a broker need different ones.
    pub name: String,
    /// Jobs that a worker holds unacknowledged. Default 16: enough to fill batches, few to lose at a crash.
    pub prefetch: u16,
    /// Deliveries after which a job goes to the dead letters. Default 3.
    pub delivery_limit: u16,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { name: "aortica".to_owned(), prefetch: 16, delivery_limit: 3 }
    }
}

/// Stage services as clients see them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stages {
    /// Longest wait for one answer, milliseconds. Default 30,000.
    pub deadline_ms: u32,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages { deadline_ms: 30_000 }
    }
}

/// Reads a settings file, or takes the defaults where none is given.
pub fn load(path: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(path) = path else { return Ok(Settings::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("settings file {}", path.display()))?;
    // The parser's message names line and column and shows the line; settings hold no secrets.
    let settings: Settings = toml::from_str(&text).with_context(|| format!("settings file {}", path.display()))?;
    settings.check().with_context(|| format!("settings file {}", path.display()))?;
    Ok(settings)
}

impl Settings {
    fn check(&self) -> anyhow::Result<()> {
        let within = |name: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                bail!("{name} is {value}, but must be from {low} to {high}")
            }
        };
        within("limits.max_file_mib", self.limits.max_file_mib, 1, 16_384)?;
        within("limits.max_megapixels", self.limits.max_megapixels, 1, 4_096)?;
        within("limits.max_decompressed_mib", self.limits.max_decompressed_mib, 1, 16_384)?;
        within("run.threads", self.run.threads, 0, 1_024)?;
        within("run.in_flight_mib", self.run.in_flight_mib, 16, 1_048_576)?;
        within("run.commit_rows", self.run.commit_rows, 1, 10_000)?;
        within("run.commit_after_s", self.run.commit_after_s, 1, 3_600)?;
        within("queue.prefetch", u32::from(self.queue.prefetch), 1, 1_000)?;
        within("queue.delivery_limit", u32::from(self.queue.delivery_limit), 1, 100)?;
        within("stages.deadline_ms", self.stages.deadline_ms, 100, 600_000)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.queue.name.is_empty() || self.queue.name.len() > 64 || !self.queue.name.bytes().all(plain) {
            bail!("queue.name must be 1 to 64 letters, digits, dots, hyphens or underscores");
        }
        Ok(())
    }

    /// Where the study key is: as set, else beside a local lake, else in the working folder.
    pub fn key_path(&self, lake: &str) -> PathBuf {
        if let Some(path) = &self.study.key_file {
            return path.clone();
        }
        let local = lake.strip_prefix("file://").unwrap_or(lake);
        if local.contains("://") {
            return PathBuf::from("aortica-study.key");
        }
        PathBuf::from(format!("{}.key", local.trim_end_matches('/')))
    }

    pub fn threads(&self, asked: Option<usize>) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        asked
            .or_else(|| (self.run.threads > 0).then_some(self.run.threads as usize))
            .unwrap_or_else(cores)
            .clamp(1, 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aortica.toml");
        std::fs::write(&path, text).unwrap();
        format!("{:#}", load(Some(&path)).unwrap_err())
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let message = refused("[run]\nthreads = 2\ncommit_row = 5\n");
        assert!(message.contains("line 3") && message.contains("commit_row"), "{message}");
        assert!(refused("[run]\ncommit_rows = 0\n").contains("run.commit_rows is 0"));
        assert!(refused("[queue]\nname = \"a b\"\n").contains("queue.name"));
    }

    #[test]
    fn the_defaults_print_and_read_back() {
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), Settings::default());
        Settings::default().check().unwrap();
    }

    #[test]
    fn the_key_lies_beside_the_lake_never_in_it() {
        let settings = Settings::default();
        assert_eq!(settings.key_path("work/lake/"), PathBuf::from("work/lake.key"));
        assert_eq!(settings.key_path("s3://bucket/lake"), PathBuf::from("aortica-study.key"));
    }
}

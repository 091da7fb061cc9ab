//! Settings: a TOML file, read strictly, checked before anything runs. Secrets are not settings: they come by environment
//! or file (`environment.rs`).

use anyhow::{Context, bail};
use inference::{Device, FormChoice, SessionConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All settings, with defaults for what the file leaves out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub study: Study,
    pub limits: Limits,
    pub run: Run,
    pub queue: Queue,
    pub networks: Networks,
    pub infer: Infer,
    pub stages: Stages,
    pub serve: Serve,
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
    /// How long a role waits for a broker that is away before it ends with exit code 4, seconds. Default 300: longer than a
    /// node of the broker takes to start, and whoever restarts the role begins the next wait.
    pub reconnect_within_s: u32,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { name: "aortica".to_owned(), prefetch: 16, delivery_limit: 3, reconnect_within_s: 300 }
    }
}

/// How networks are computed in this process: by `infer`, and by `score` and `worker` where no stage service is named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// `cpu`, `cuda` or `cuda:N`. Default `cpu`.
    pub device: String,
    /// What to do where the device cannot be had. Default `fail`.
    pub when_missing: WhenMissing,
    /// Arithmetic of the networks: `fp32`, `fp16` or `int8`. A part of a reading's fingerprint. Default: what the manifests
    /// prefer on the device (on a CPU `int8`, whose readings agree with fp32 in more than 99 % of segments), else fp32; where
    /// stage services compute, what they serve.
    pub precision: Option<NetworkPrecision>,
    /// Batches that a model computes at the same time, each with its own copy of the weights. Default 0: on a CPU the
    /// threads of the run, on a GPU 1.
    pub runners: u32,
    /// Threads that work together on one batch. Default 1: more answer sooner but answer fewer.
    pub threads: u32,
    /// Threads that work together on a batch while nothing else waits or is computed: in a stage service on a CPU only, and only where the
    /// answer stays the same to the last digit. Default 0: as many as there are runners; 1 saves the memory of a further copy of the weights.
    pub alone_threads: u32,
    /// Rows of the one shape that is executed. Default 0: as the model's manifest says.
    pub batch_rows: u32,
    /// How long a row waits for others while the device is free, microseconds. Default 2,000.
    pub longest_delay_us: u32,
    /// Rows that may wait or be computed; more are refused, to be asked again. Default 256.
    pub queue_rows: u32,
    /// Other values for single models, by name.
    pub models: BTreeMap<String, Network>,
}

/// Values for one model; what is left out is as for all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    pub device: Option<String>,
    pub precision: Option<NetworkPrecision>,
    pub runners: Option<u32>,
    pub threads: Option<u32>,
    pub alone_threads: Option<u32>,
    pub batch_rows: Option<u32>,
    pub longest_delay_us: Option<u32>,
    pub queue_rows: Option<u32>,
}

/// Arithmetic of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPrecision {
    Fp32,
    Fp16,
    Int8,
}

impl From<NetworkPrecision> for inference::Precision {
    fn from(precision: NetworkPrecision) -> inference::Precision {
        match precision {
            NetworkPrecision::Fp32 => inference::Precision::Fp32,
            NetworkPrecision::Fp16 => inference::Precision::Fp16,
            NetworkPrecision::Int8 => inference::Precision::Int8,
        }
    }
}

/// What to do where a device cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhenMissing {
    /// Say what is missing and leave.
    #[default]
    Fail,
    /// Warn, and compute on the CPU.
    Cpu,
}

impl Default for Networks {
    fn default() -> Networks {
        Networks {
            device: "cpu".to_owned(),
            when_missing: WhenMissing::default(),
            precision: None,
            runners: 0,
            threads: 1,
            alone_threads: 0,
            batch_rows: 0,
            longest_delay_us: 2_000,
            queue_rows: 256,
            models: BTreeMap::new(),
        }
    }
}

impl Networks {
    /// Which form of a model is wanted.
    pub fn form(&self, model: &str) -> inference::Result<FormChoice> {
        let own = self.models.get(model);
        let device: Device = own.and_then(|o| o.device.as_deref()).unwrap_or(&self.device).parse()?;
        let precision = own.and_then(|o| o.precision).or(self.precision).map(Into::into);
        Ok(FormChoice { precision, device: device.provider() })
    }

    /// How a model is computed. `threads`: those of the run.
    pub fn session(&self, model: &str, threads: usize) -> anyhow::Result<SessionConfig> {
        let own = self.models.get(model).cloned().unwrap_or_default();
        let device: Device = own.device.as_deref().unwrap_or(&self.device).parse()?;
        let runners = match own.runners.unwrap_or(self.runners) {
            0 if device == Device::Cpu => threads,
            0 => 1,
            runners => runners as usize,
        };
        let rows = own.batch_rows.unwrap_or(self.batch_rows) as usize;
        Ok(SessionConfig {
            device,
            fall_back: (self.when_missing == WhenMissing::Cpu).then_some(match own.runners.unwrap_or(self.runners) {
                0 => threads,
                runners => runners as usize,
            }),
            runners,
            threads: own.threads.unwrap_or(self.threads) as usize,
            alone_threads: match own.alone_threads.unwrap_or(self.alone_threads) {
                0 => runners,
                threads => threads as usize,
            },
            batch_rows: (rows > 0).then_some(rows),
            longest_delay: Duration::from_micros(own.longest_delay_us.unwrap_or(self.longest_delay_us).into()),
            queue_rows: own.queue_rows.unwrap_or(self.queue_rows) as usize,
            ..SessionConfig::default()
        })
    }
}

/// The sockets of a stage service. The token that callers must name comes from AORTICA_STAGE_TOKEN or
/// AORTICA_STAGE_TOKEN_FILE; without it everybody may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Infer {
    /// Largest message, MiB. Default 64.
    pub message_mib: u32,
    /// What the bodies of all requests at once may hold, MiB; no less than one message. Default 512.
    pub bodies_mib: u32,
    /// Connections on one socket. Default 256.
    pub connections: u32,
    /// Requests at once on one connection. Default 256.
    pub streams: u32,
    /// Longest wait for what was taken, after the signal to stop, seconds. Default 25: Kubernetes kills after 30.
    pub drain_s: u32,
    /// Certificate chain (PEM); both sockets then speak TLS.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
}

impl Default for Infer {
    fn default() -> Infer {
        Infer {
            message_mib: 64,
            bodies_mib: 512,
            connections: 256,
            streams: 256,
            drain_s: 25,
            certificate: None,
            key: None,
        }
    }
}

/// Stage services as clients see them. A token comes from AORTICA_STAGE_TOKEN or AORTICA_STAGE_TOKEN_FILE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stages {
    /// Longest wait for one answer, all attempts together, milliseconds. Default 30,000.
    pub deadline_ms: u32,
    /// Attempts for one answer; only a full queue and a service out of reach are tried again. Default 6.
    pub attempts: u32,
    /// Largest message, MiB. Default 64.
    pub message_mib: u32,
    /// Certificates (PEM) that sign those of the services. Default: the system's.
    pub ca_certificate: Option<PathBuf>,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages { deadline_ms: 30_000, attempts: 6, message_mib: 64, ca_certificate: None }
    }
}

/// Who may ask a served lake, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Users, made by `aortica serve user NAME`. Default: none; then only this machine is served, to whoever asks.
    pub users: Option<PathBuf>,
    /// Policy of disclosure control for users of the role aggregate. Default: as for `aortica query --role aggregate`.
    pub policy: Option<PathBuf>,
    /// Age beyond which participants are counted anew for the role aggregate, seconds. Default 86,400: counts that differ go into the
    /// policy's log and are compared with all before, of which there may be 500.
    pub aggregate_refresh_s: u32,
    /// Certificate chain (PEM); both sockets then speak TLS only.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// Connections at once, PostgreSQL and HTTP each. Default 256.
    pub connections: u32,
    /// Queries that are worked on at once; more wait. Default 4.
    pub queries: u32,
    /// Longest wait for a turn, seconds. Default 30.
    pub turn_s: u32,
    /// Longest work on one query, seconds; clients can lower it (`SET statement_timeout`). Default 120: a survival model over a
    /// million rows, and an end to what was not meant.
    pub query_s: u32,
    /// Memory of all queries together, MiB. Default 2,048.
    pub memory_mib: u32,
    /// Memory of one query, MiB; sorts and groups beyond it use temporary files. Default 512.
    pub query_memory_mib: u32,
    /// Temporary files of one query, MiB. Default 4,096.
    pub query_disk_mib: u32,
    /// Rows of one answer. Default 0: as many as there are.
    pub rows: u64,
    /// Length of a statement, KiB. Default 128: some thousand participants by name.
    pub statement_kib: u32,
    /// Longest startup of a connection, login included, seconds. Default 10.
    pub startup_s: u32,
    /// A connection on which nothing is asked for this long is closed, seconds. Default 3,600.
    pub idle_s: u32,
    /// A client that takes no byte of its answer for this long is cut off, seconds. Default 60.
    pub stall_s: u32,
    /// After the signal to stop, queries may go on for this long, seconds. Default 25: Kubernetes kills after 30.
    pub drain_s: u32,
    /// Age beyond which the tables are looked up anew before a query, milliseconds. Default 2,000: so old a new row may be before
    /// it is seen; 0 looks each time.
    pub refresh_ms: u32,
}

impl Default for Serve {
    fn default() -> Serve {
        Serve {
            users: None,
            policy: None,
            aggregate_refresh_s: 86_400,
            certificate: None,
            key: None,
            connections: 256,
            queries: 4,
            turn_s: 30,
            query_s: 120,
            memory_mib: 2_048,
            query_memory_mib: 512,
            query_disk_mib: 4_096,
            rows: 0,
            statement_kib: 128,
            startup_s: 10,
            idle_s: 3_600,
            stall_s: 60,
            drain_s: 25,
            refresh_ms: 2_000,
        }
    }
}

impl Serve {
    /// `threads`: those of the machine, or of the run.
    pub fn limits(&self, threads: usize) -> serve::Limits {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        serve::Limits {
            connections: self.connections as usize,
            queries: self.queries as usize,
            turn_within: seconds(self.turn_s),
            query_within: seconds(self.query_s),
            memory_bytes: (self.memory_mib as usize) << 20,
            query_memory_bytes: (self.query_memory_mib as usize) << 20,
            query_disk_bytes: u64::from(self.query_disk_mib) << 20,
            rows: (self.rows > 0).then_some(self.rows),
            statement_bytes: (self.statement_kib as usize) << 10,
            startup_within: seconds(self.startup_s),
            idle_within: seconds(self.idle_s),
            stall_within: seconds(self.stall_s),
            drain_within: seconds(self.drain_s),
            refresh_after: Duration::from_millis(self.refresh_ms.into()),
            threads,
        }
    }

    fn check(&self, within: impl Fn(&str, u32, u32, u32) -> anyhow::Result<()>) -> anyhow::Result<()> {
        within("serve.connections", self.connections, 1, 10_000)?;
        within("serve.queries", self.queries, 1, 1_024)?;
        within("serve.turn_s", self.turn_s, 1, 3_600)?;
        within("serve.query_s", self.query_s, 1, 86_400)?;
        within("serve.memory_mib", self.memory_mib, 16, 16_777_216)?;
        within("serve.query_memory_mib", self.query_memory_mib, 16, self.memory_mib)?;
        within("serve.query_disk_mib", self.query_disk_mib, 0, 16_777_216)?;
        within("serve.statement_kib", self.statement_kib, 1, serve::STATEMENT_KIB_MAX)?;
        within("serve.startup_s", self.startup_s, 1, 600)?;
        within("serve.idle_s", self.idle_s, 1, 604_800)?;
        within("serve.stall_s", self.stall_s, 1, 3_600)?;
        within("serve.drain_s", self.drain_s, 1, 3_600)?;
        within("serve.aggregate_refresh_s", self.aggregate_refresh_s, 1, 31_536_000)?;
        within("serve.refresh_ms", self.refresh_ms, 0, 3_600_000)?;
        if self.certificate.is_some() != self.key.is_some() {
            bail!("serve.certificate and serve.key go together; only one of them is set");
        }
        Ok(())
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
        within("queue.reconnect_within_s", self.queue.reconnect_within_s, 1, 86_400)?;
        within("stages.deadline_ms", self.stages.deadline_ms, 100, 600_000)?;
        within("stages.attempts", self.stages.attempts, 1, 100)?;
        within("stages.message_mib", self.stages.message_mib, 1, 1_024)?;
        within("infer.message_mib", self.infer.message_mib, 1, 1_024)?;
        within("infer.bodies_mib", self.infer.bodies_mib, self.infer.message_mib, 1_048_576)?;
        within("infer.connections", self.infer.connections, 1, 65_536)?;
        within("infer.streams", self.infer.streams, 1, 65_536)?;
        within("infer.drain_s", self.infer.drain_s, 1, 3_600)?;
        if self.infer.certificate.is_some() != self.infer.key.is_some() {
            bail!("infer.certificate and infer.key go together; only one of them is set");
        }
        self.serve.check(within)?;
        let all = Network::default();
        for (name, own) in std::iter::once(("", &all)).chain(self.networks.models.iter().map(|(n, m)| (n.as_str(), m)))
        {
            let at = |key: &str| {
                if name.is_empty() { format!("networks.{key}") } else { format!("networks.models.{name}.{key}") }
            };
            let or = |own: Option<u32>, all: u32| own.unwrap_or(all);
            within(&at("runners"), or(own.runners, self.networks.runners), 0, 256)?;
            within(&at("threads"), or(own.threads, self.networks.threads), 1, 256)?;
            within(&at("batch_rows"), or(own.batch_rows, self.networks.batch_rows), 0, 4_096)?;
            within(&at("longest_delay_us"), or(own.longest_delay_us, self.networks.longest_delay_us), 0, 10_000_000)?;
            within(&at("queue_rows"), or(own.queue_rows, self.networks.queue_rows), 1, 65_536)?;
            let device = own.device.as_ref().unwrap_or(&self.networks.device);
            device.parse::<Device>().with_context(|| at("device"))?;
        }
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
        assert!(refused("[networks]\ndevice = \"gpu\"\n").contains("networks.device"));
        assert!(refused("[networks.models.locate]\nthreads = 0\n").contains("networks.models.locate.threads is 0"));
        assert!(refused("[serve]\nquery_memory_mib = 4096\n").contains("serve.query_memory_mib is 4096"));
        assert!(refused("[infer]\nkey = \"a.pem\"\n").contains("go together"));
    }

    #[test]
    fn the_defaults_print_and_read_back() {
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), Settings::default());
        Settings::default().check().unwrap();
    }

    #[test]
    fn a_model_may_differ_from_the_others() {
        let text = "[networks]\nqueue_rows = 100\n[networks.models.locate]\nrunners = 3\nbatch_rows = 4\n";
        let networks = toml::from_str::<Settings>(text).unwrap().networks;
        let (locate, other) = (networks.session("locate", 8).unwrap(), networks.session("segment", 8).unwrap());
        assert_eq!((locate.runners, locate.batch_rows, locate.queue_rows), (3, Some(4), 100));
        assert_eq!((other.runners, other.batch_rows, other.queue_rows), (8, None, 100));
    }

    #[test]
    fn the_key_lies_beside_the_lake_never_in_it() {
        let settings = Settings::default();
        assert_eq!(settings.key_path("work/lake/"), PathBuf::from("work/lake.key"));
        assert_eq!(settings.key_path("s3://bucket/lake"), PathBuf::from("aortica-study.key"));
    }
}

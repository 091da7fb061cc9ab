//! The command line. Every role is a subcommand; `--help` of each teaches by example.

mod cohort;

pub use crate::cli_disclosure::{PolicyCommand, ReleaseArgs, ReleaseCommand, RoleChoice};
pub use cohort::{CohortArgs, ReportArgs, StatsArgs, StatsName, Visit};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; bad images are outcomes in the table, not errors
  2  the input or the command line is wrong (nothing was changed)
  3  settings, credentials, a missing library or a missing model: someone must act
  4  something outside failed or is overloaded (store, broker, stage service): run the same command again
  5  a fault of aortica: please report it
  130  stopped by Ctrl-C or SIGTERM; what was finished is kept, the same command resumes";

const STAGES: &str = "Run the networks on stage services instead of in this process: one URL for all, one each for locate and \
segment, or NAME=URL, several for one name to share the work, e.g. locate=http://a:8001,locate=http://b:8001,segment=http://c:8001";

/// Version with build facts.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit   ",
    env!("AORTICA_COMMIT"),
    "\ncompiler ",
    env!("AORTICA_RUSTC"),
    "\nprofile  ",
    env!("AORTICA_PROFILE"),
    "\ntarget   ",
    env!("AORTICA_TARGET"),
    "\nNot a medical device. The shipped models were trained on simulated images only."
);

#[derive(Parser)]
#[command(
    name = "aortica",
    version,
    long_version = LONG_VERSION,
    about = "Scores abdominal aortic calcification (Kauppila AAC-24) on lateral spine images, for whole populations",
    long_about = "aortica reads every lateral spine image of a folder or bucket, gives each the 24-point Kauppila score with \
evidence that a radiologist can check, and keeps one row per image in a lake that SQL can query.\n\n\
Not a medical device: the shipped models were trained on simulated images only.",
    after_help = "First steps:\n  aortica phantom --participants 20 --seed 1 --out cohort\n  \
aortica score cohort/images --lake lake --overlays overlays\n  \
aortica query --lake lake \"SELECT aac24_cat_label, count(*) FROM readings GROUP BY 1\"",
    after_long_help = EXIT_CODES
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Settings file (TOML); `aortica config print` shows every setting with its default.
    #[arg(long, global = true, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// What to log on stderr: error, warn, info, debug, or a filter such as `pipeline=debug,warn`.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// Log as JSON, one object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Score every image of a folder, bucket, file or manifest into a lake; run again to resume
    Score(ScoreArgs),
    /// Ask the lake in SQL, one statement or at a prompt
    Query(QueryArgs),
    /// Statistics of the cohort with confidence intervals, as a long table
    Stats(StatsArgs),
    /// One self-contained page for the study file: flow, Table 1, prevalence, agreement, survival, methods, checklists
    Report(ReportArgs),
    /// A frozen, checksummed snapshot of the cohort under disclosure control, to publish and to cite
    Release(ReleaseArgs),
    /// Check or print the policy of disclosure control
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Serve the lake to psql, R, Python, Excel and Grafana (PostgreSQL's protocol) and over HTTP
    Serve(ServeArgs),
    /// Simulate a cohort of radiographs with exact truth
    Phantom(PhantomArgs),
    /// Compare the readings of a lake with the truth of a simulated cohort
    Evaluate(EvaluateArgs),
    Folds(learning::command::FoldsArgs),
    TrainingSet(learning::command::TrainingSetArgs),
    #[command(subcommand)]
    Train(TrainCommand),
    /// Replace an identifier column of a CSV file by participant keys
    Pseudonymise(PseudonymiseArgs),
    /// Write the item manifest of a submission and put its jobs on the queue
    Submit(SubmitArgs),
    /// Take jobs from the queue, read images, publish readings
    Worker(WorkerArgs),
    /// Serve the models of a pipeline over the Open Inference Protocol v2
    Infer(InferArgs),
    /// Fold published readings into the lake
    Commit(CommitArgs),
    /// How far each submission is, what waits on the queues, what failed and why
    Status(StatusArgs),
    /// Give items that failed, or were excluded, for some reasons another try
    Replay(ReplayArgs),
    /// Hold SRC, submissions, rows and artifacts against each other, and mend what differs
    Reconcile(ReconcileArgs),
    /// New rules for readings that were made already, without images and networks
    Rescore(RescoreArgs),
    /// Make the tables of a lake anew from its artifacts
    Rebuild(RebuildArgs),
    /// Check, print or describe the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List or show the pipelines
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Describe a network to be served, or write networks as a repository for Triton
    #[command(subcommand)]
    Model(ModelCommand),
    /// Describe every column of the lake
    Codebook(CodebookArgs),
}

#[derive(Args)]
pub struct PipelineChoice {
    /// Pipeline by name, or the folder that holds its pipeline.toml.
    #[arg(long, value_name = "NAME|DIR", default_value = "aortica")]
    pub pipeline: String,
}

/// Where networks are computed.
#[derive(Args)]
pub struct DeviceChoice {
    /// Compute the networks of this process on `cpu`, `cuda` or `cuda:N` (the CUDA build of ONNX Runtime is needed).
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// What to do where that device cannot be had.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub when_missing: Option<crate::settings::WhenMissing>,
    /// Arithmetic of the networks, a part of a reading's fingerprint; default: what the models prefer on the device.
    #[arg(long, value_enum, value_name = "FORM")]
    pub precision: Option<crate::settings::NetworkPrecision>,
}

/// What the readings that are asked for are computed with, in other processes.
#[derive(Args, Clone)]
pub struct ReaderChoice {
    /// What computes the networks of the readings, `cpu` or `cuda`; default: as the settings say. GPUs round differently, so
    /// it is a part of the fingerprint, and workers leave jobs of another fingerprint alone.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// The form of their networks, likewise.
    #[arg(long, value_enum, value_name = "FORM")]
    pub precision: Option<crate::settings::NetworkPrecision>,
}

#[derive(Args)]
pub struct LakeChoice {
    /// The lake: a folder or s3://bucket/prefix; made where there is none.
    #[arg(long, value_name = "LAKE")]
    pub lake: String,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica score films/ --lake lake --overlays overlays\n  \
aortica score s3://study/images --lake s3://study/lake --threads 8\n  \
aortica score list.csv --lake lake        # columns: uri, optional pixel_spacing_mm, pixel_aspect, participant\n\n\
Run the same command again to resume: only what is new or changed is opened.\n\
S3 credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT, AWS_REGION).",
    after_long_help = EXIT_CODES)]
pub struct ScoreArgs {
    /// A folder, s3://bucket/prefix, a single file, or a manifest (.csv, .parquet).
    pub source: String,
    #[command(flatten)]
    pub lake: LakeChoice,
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    /// Write a PNG with vertebrae, walls, plaques and grades for every scored image into this folder.
    #[arg(long, value_name = "DIR")]
    pub overlays: Option<PathBuf>,
    /// Threads for everything; default: the cores of this machine.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Read at most this many new items.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    #[arg(long, value_name = "[NAME=]URL", value_delimiter = ',', help = STAGES)]
    pub stages: Vec<String>,
    #[command(flatten)]
    pub device: DeviceChoice,
    /// Print the end report as JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Csv,
    Json,
    Parquet,
}

#[derive(Args)]
#[command(
    after_help = "Tables: readings. Views: segments, ledger, flow, latest_by_image_date, latest_by_scored_at.\n\n\
Examples:\n  aortica query --lake lake \"SELECT status, fail_reason, count(*) FROM ledger GROUP BY ALL\"\n  \
aortica query --lake lake --format csv \"SELECT * FROM latest_by_image_date\" > readings.csv\n  \
aortica query --lake lake                 # a prompt; \\q leaves\n  \
aortica query --lake lake --role aggregate \"SELECT * FROM prevalence('sex', 'age_band')\"   # groups, no rows"
)]
pub struct QueryArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    #[command(flatten)]
    pub role: RoleChoice,
    /// Which readings the aggregate role counts, where the lake holds those of several pipelines or versions.
    #[arg(long, value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// How to print the answer; parquet goes to stdout as a file.
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Let statistics gather readings of several pipelines or versions (else such a statement is refused).
    #[arg(long)]
    pub mixed_fingerprints: bool,
    /// Also offer the view `sources` (item_id, uri). File names can identify people, so it is off by default.
    #[arg(long)]
    pub with_sources: bool,
    /// One SQL statement; without it, a prompt.
    pub sql: Option<String>,
}

#[derive(Args)]
#[command(
    after_help = "Writes DIR/images/*.dcm, truth.parquet, masks/, participants.csv and human_readings.parquet.\n\
The same seed and settings give the same bytes, whatever the number of threads."
)]
pub struct PhantomArgs {
    #[arg(long, value_name = "N")]
    pub participants: u32,
    /// Visits of each participant.
    #[arg(long, value_name = "V", default_value_t = 1)]
    pub visits: u32,
    /// What to simulate (TOML); without it, the default population.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration in force, every parameter explained, and leave.
    #[arg(long)]
    pub print_config: bool,
    #[arg(long, value_name = "S")]
    pub seed: u64,
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  aortica evaluate --lake lake --truth cohort\n  aortica score cohort/images --lake lake --pipeline vfa-forest && \
aortica evaluate --lake lake --truth cohort\n  \
aortica evaluate --lake lake --truth cohort --html comparison.html\n  \
aortica evaluate --lake folds-lake --truth track-a --only folds.csv --cross-validated\n\n\
Every pipeline that scored into the lake is a column. Numbers in brackets are confidence intervals. Agreement depends on the case mix: \
results on simulated images are no statement about patients."
)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// The folder that `aortica phantom` wrote.
    #[arg(long, value_name = "DIR")]
    pub truth: PathBuf,
    /// The study key that the lake was scored with; default: from the settings.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Level of the confidence intervals.
    #[arg(long, default_value_t = 0.95)]
    pub confidence: f64,
    /// Only the images that this table names (column `file`), as `aortica folds` writes it.
    #[arg(long, value_name = "FILE")]
    pub only: Option<PathBuf>,
    /// Take pipelines of one name and version as one method, as those of the folds of a cross-validation, each of which read the images
    /// of its own fold; an image that two of them read is refused.
    #[arg(long)]
    pub cross_validated: bool,
    /// Also write a page with the figures of the papers for every method: scatter, Bland-Altman, confusion, calibration and others.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Folder of the pictures, three of which the page shows by every method; default: images/ beside the truth.
    #[arg(long, value_name = "DIR", requires = "html")]
    pub images: Option<PathBuf>,
    /// Heading of the page.
    #[arg(long, value_name = "TEXT", default_value = "Methods side by side against truth", requires = "html")]
    pub title: String,
    /// Leave out what needs the cohort's masks (Dice, Jaccard, pixel accuracy, HD95), which takes most of the time.
    #[arg(long)]
    pub no_masks: bool,
    #[arg(long)]
    pub json: bool,
}

/// What is trained by this program itself; networks are trained by pipelines/training
#[derive(Subcommand)]
pub enum TrainCommand {
    #[command(flatten)]
    Learning(learning::command::TrainCommand),
    Threshold(ThresholdArgs),
    Calibration(CalibrationArgs),
}

/// Find the probability from which a pixel should be called calcified, on regions that the pipeline's network or forest was not trained on
#[derive(Args)]
#[command(after_help = "Example:\n  \
aortica training-set --truth mine --folds folds.csv --fold 0 --part validation --seed 1 --shape pipelines/vfa-unet/shape.json \\\n    \
--out mine/tensors/validation\n  \
aortica train threshold --pipeline mine --validation mine/tensors/validation\n\n\
Prints mean Dice and accuracy at .5 and at the threshold of best mean Dice, which belongs into [segment] of the pipeline; nothing is \
changed. Never choose by regions that a result is then reported on.")]
pub struct ThresholdArgs {
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    /// Folder of shards, each image once (`training-set --part validation`).
    #[arg(long, value_name = "DIR")]
    pub validation: PathBuf,
    /// Also print every threshold, as CSV.
    #[arg(long)]
    pub all: bool,
}

/// Fit probabilities, intervals and the flag for review to readings of a simulated cohort, for `[review] calibration = ".."` of a pipeline
#[derive(Args)]
#[command(after_help = "Example:\n  \
aortica phantom --participants 900 --seed 810001 --out calibration       # a population of its own: not of training, not of test\n  \
aortica score calibration/images --lake calibration-lake --pipeline aortica\n  \
aortica train calibration --lake calibration-lake --truth calibration --pipeline aortica --out pipelines/aortica/certainty.json\n\n\
Readings of the pipeline with or without a calibration serve: what they were marked with is the same. The same readings give the same \
bytes. What it prints is of the readings that it was fitted on; `aortica evaluate` on another population says what it is worth.")]
pub struct CalibrationArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// The folder that `aortica phantom` wrote.
    #[arg(long, value_name = "DIR")]
    pub truth: PathBuf,
    /// The study key that the lake was scored with; default: from the settings.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Pipeline whose readings and categories count, by name or folder.
    #[arg(long, value_name = "NAME|DIR", default_value = "aortica")]
    pub pipeline: String,
    /// Which readings, where the lake holds those of several pipelines or versions.
    #[arg(long)]
    pub fingerprint: Option<String>,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  aortica pseudonymise outcomes.csv --column patient_id --key study.key -o outcomes_keyed.csv\n\n\
The column becomes `participant_id` and joins with `readings.participant_id`."
)]
pub struct PseudonymiseArgs {
    /// CSV file with a header line.
    pub file: PathBuf,
    /// The column that holds the identifier as the images carry it (DICOM PatientID).
    #[arg(long)]
    pub column: String,
    /// Columns of dates (YYYY-MM-DD) to shift by the participant's own shift.
    #[arg(long, value_delimiter = ',')]
    pub shift_dates: Vec<String>,
    /// The study key; default: from the settings.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica submit s3://study/images --lake s3://study/lake\n  \
aortica submit s3://study/images --lake s3://study/lake --events --exchange bucket-events\n\n\
With --events nothing is listed: notifications that the store publishes (Ceph, MinIO, AWS in their common JSON form) are followed\n\
until Ctrl-C or SIGTERM. They come to the queue NAME.events of the broker (NAME: `queue.name` of the settings), which --exchange binds\n\
to the store's exchange (durable, topic; the store's operator makes it). Objects outside SRC are left aside, what was read\n\
already gets no job. Stores lose notifications when they restart: run `aortica reconcile SRC --repair` now and then.",
    after_long_help = EXIT_CODES)]
pub struct SubmitArgs {
    /// A folder, s3://bucket/prefix, a single file, or a manifest (.csv, .parquet).
    pub source: String,
    #[command(flatten)]
    pub lake: LakeChoice,
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    #[command(flatten)]
    pub readers: ReaderChoice,
    /// Publish at most this many jobs.
    #[arg(long, value_name = "N", conflicts_with = "events")]
    pub limit: Option<u64>,
    /// Follow the notifications of the bucket instead of listing it.
    #[arg(long)]
    pub events: bool,
    /// The exchange to which the store publishes; without it, the queue is bound by hand.
    #[arg(long, value_name = "NAME", requires = "events")]
    pub exchange: Option<String>,
    /// Routing key of the binding: `#` for all of a topic exchange.
    #[arg(long, value_name = "KEY", default_value = "#", requires = "exchange")]
    pub routing_key: String,
    /// Gather notifications for so many seconds, or 1,000 of them; each batch is a submission.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "events",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// Address for health and metrics, e.g. 127.0.0.1:9102.
    #[arg(long, value_name = "ADDR", requires = "events")]
    pub http: Option<std::net::SocketAddr>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    #[arg(long, value_name = "[NAME=]URL", value_delimiter = ',', help = STAGES)]
    pub stages: Vec<String>,
    #[command(flatten)]
    pub device: DeviceChoice,
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Address for health and metrics, e.g. 127.0.0.1:9100.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<std::net::SocketAddr>,
}

#[derive(Args)]
pub struct CommitArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// Leave when every item of this submission has its row.
    #[arg(long, value_name = "SUBMISSION")]
    pub until_complete: Option<String>,
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    /// Address for health and metrics, e.g. 127.0.0.1:9101.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<std::net::SocketAddr>,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica status --lake lake\n  \
aortica status --lake s3://study/lake --watch            # until nothing is pending\n  \
aortica status --lake lake --json | jq '.submissions[0].pending'\n\n\
The rate is that of the last ten minutes. The queues are shown when AORTICA_AMQP_URL[_FILE] names the broker; without one the\n\
lake is told of alone. Over AMQP a broker tells what waits (ready) and how many consumers there are, not how many messages are in\n\
their hands (unacknowledged): for that see its management page.",
    after_long_help = EXIT_CODES)]
pub struct StatusArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// Only these submissions; default: all.
    #[arg(long = "submission", value_name = "ID", value_delimiter = ',')]
    pub submissions: Vec<String>,
    /// Show it again every so many seconds until nothing is pending.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,
    /// Print JSON, one line each time.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica replay --lake lake --reason stage_failed,crash_loop --dry-run\n  \
aortica replay --lake lake --reason failed               # whatever failed\n  \
aortica replay --lake lake --reason spine_not_found      # excluded items too, by the name of their reason\n\n\
Reasons are those of the column fail_reason; `failed` and `excluded` stand for all of their kind.\n\
A job with the next attempt number is put on the queue for each item. The table shows scored over excluded over failed, then\n\
the later attempt, so that a replay can only better a row; doing it twice does no harm.\n\
The jobs are for workers that run the pipeline of the submission (its fingerprint is printed).",
    after_long_help = EXIT_CODES)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// Reasons, or `failed`, or `excluded`.
    #[arg(long = "reason", required = true, value_name = "REASON", value_delimiter = ',')]
    pub reasons: Vec<String>,
    /// Only these submissions; default: all.
    #[arg(long = "submission", value_name = "ID", value_delimiter = ',')]
    pub submissions: Vec<String>,
    /// Count by reason, publish nothing; needs no broker.
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  aortica reconcile s3://study/images --lake s3://study/lake            # look only\n  \
aortica reconcile s3://study/images --lake s3://study/lake --repair\n\n\
Differences, and what --repair does about them:\n  \
outcomes without rows     made rows, no image is read again\n  \
rows without outcomes     the outcome is written again from its row\n  \
rows without readings     read again (a job with the next attempt)\n  \
pending too long          the job is published again\n  \
never submitted, changed  a submission of their own, with jobs\n  \
gone                      nothing: the row stays\n\n\
A broker does not tell which jobs it holds, so that an item that is pending for longer than --older-than may get a second job;\n\
two jobs give one row. The default is longer than a job may wait for a service that is away.\n\
Only submissions and artifacts of the fingerprint of --pipeline are looked at. Memory does not grow with bucket or lake.",
    after_long_help = EXIT_CODES)]
pub struct ReconcileArgs {
    /// A folder, s3://bucket/prefix, a single file, or a manifest (.csv, .parquet).
    pub source: String,
    #[command(flatten)]
    pub lake: LakeChoice,
    #[command(flatten)]
    pub pipeline: PipelineChoice,
    #[command(flatten)]
    pub readers: ReaderChoice,
    /// Submissions older than so many seconds should have no pending item.
    #[arg(long, value_name = "SECONDS", default_value_t = 10_800)]
    pub older_than: u64,
    /// Mend what can be mended; needs the broker.
    #[arg(long)]
    pub repair: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  cp -r pipelines/aortica pipelines/aortica-bands      # then edit name, version and [category] of its pipeline.toml\n  \
aortica rescore --lake lake --from aortica --pipeline aortica-bands\n\n\
The new rows stand beside the old ones, under the fingerprint that a worker of the new pipeline would write; excluded and failed\n\
items are carried over. Submissions are written for the new fingerprint, so that `score` or `submit` open only what is new.\n\
Artifacts hold what was found, not the networks' probabilities: [category] and [review] can change; any other difference (tie rule,\n\
extent, midline, thresholds, networks) is refused with its reason, and needs the images to be scored again.",
    after_long_help = EXIT_CODES)]
pub struct RescoreArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// Pipeline that made the readings, by name or folder.
    #[arg(long, value_name = "NAME|DIR")]
    pub from: String,
    /// Pipeline whose rules they shall have, by name or folder.
    #[arg(long, value_name = "NAME|DIR")]
    pub pipeline: String,
    #[command(flatten)]
    pub readers: ReaderChoice,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  mv lake/results lake/instances /elsewhere && aortica rebuild --lake lake      # damaged tables\n  \
aortica rebuild --lake s3://study/lake2 --from s3://backup/lake              # another place, from a copy\n\n\
artifacts/ holds all that tables are made of: what the pixels of each image say, and what became of each item. Rows that a\n\
table has already stay, so that the command may be stopped and started again, and run beside a committer.\n\
items/ (which objects each submission has) is no table; --from copies it too. Where it is lost, submit the same SRC again:\n\
the same list is the same submission, and finds its rows.\n\
Outcomes that a better one replaced are not restored as rows of `instances`; readings, segments, results and ledger are as they were.",
    after_long_help = EXIT_CODES)]
pub struct RebuildArgs {
    #[command(flatten)]
    pub lake: LakeChoice,
    /// Copy artifacts and item manifests from this lake first, those that are not there yet.
    #[arg(long, value_name = "LAKE")]
    pub from: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  aortica infer pipelines/aortica --model locate --grpc 127.0.0.1:8001 --http 127.0.0.1:8002\n  \
aortica infer models/ --device cuda:0 --when-missing cpu --tls-certificate stage.pem --tls-key stage.key\n  \
curl http://127.0.0.1:8002/v2/models/locate\n\n\
gRPC and REST speak the Open Inference Protocol v2 (KServe, Triton), and Triton's clients work as they are.\n\
A token that callers must name (authorization: Bearer ..) comes from AORTICA_STAGE_TOKEN or AORTICA_STAGE_TOKEN_FILE.\n\
More settings: sections [networks] and [infer] of the settings file (`aortica config print`).\n\
Port 0 takes a free port; the addresses are printed on stdout as one JSON line once they are bound.\n\
Readiness, when all models are loaded: GET /v2/health/ready on the HTTP address."
)]
pub struct InferArgs {
    /// Folders of pipelines, or with models: NAME.onnx with its manifest NAME.toml beside it, or NAME/1/model.onnx in Triton's layout.
    #[arg(required = true, value_name = "MODEL_DIR")]
    pub folders: Vec<PathBuf>,
    /// Serve only these models; default: all of the folders.
    #[arg(long = "model", value_name = "NAME", value_delimiter = ',')]
    pub models: Vec<String>,
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    pub grpc: std::net::SocketAddr,
    /// REST, health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8002")]
    pub http: std::net::SocketAddr,
    #[command(flatten)]
    pub device: DeviceChoice,
    /// Settings file, as --settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Certificate chain (PEM); both sockets then speak TLS.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
aortica serve --lake lake --pg 127.0.0.1:5432                       # for yourself on this machine; no password\n  \
psql -h 127.0.0.1 -d lake -c \"SELECT aac24_cat_label, count(*) FROM readings GROUP BY 1\"\n  \
aortica serve user anna --users users.toml                          # asks for a password; keeps only what checks it\n  \
aortica serve --lake s3://study/lake --pg 0.0.0.0:5432 --http 0.0.0.0:8080 --users users.toml \\\n      \
--tls-certificate serve.pem --tls-key serve.key\n  \
curl -u anna https://host:8080/v1/query --json '{\"sql\": \"SELECT * FROM readings\", \"format\": \"csv\"}'\n\n\
Nothing can be written. Each query has its memory, temporary files, time and turns (section [serve] of `aortica config print`), and\n\
what is refused says why. A row is seen within 2 s of its commit (serve.refresh_ms). Other machines are served with --users and TLS only.\n\
Port 0 takes a free port; the addresses are printed on stdout as one JSON line once the lake is open.\n\
HTTP also has /openapi.json, /health/live, /health/ready and /metrics. How to connect from R, Python, Excel, DBeaver: docs/serving.md"
)]
pub struct ServeArgs {
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
    /// The lake: a folder or s3://bucket/prefix.
    #[arg(long, value_name = "LAKE")]
    pub lake: Option<String>,
    /// Speak PostgreSQL's protocol on this address.
    #[arg(long, value_name = "ADDR")]
    pub pg: Option<std::net::SocketAddr>,
    /// Answer HTTP on this address.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<std::net::SocketAddr>,
    /// Who may ask; without it, whoever reaches the socket. `aortica serve user NAME` writes it.
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Policy of disclosure control for users of the role aggregate (TOML); `aortica policy print` shows every key. Default: as for
    /// `aortica query --role aggregate`.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Which readings the aggregate role counts, where the lake holds those of several pipelines or versions.
    #[arg(long, value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// Certificate chain (PEM); both sockets then speak TLS only.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serve other machines although users or TLS are missing: EVERY ROW may be read by anyone on the network.
    #[arg(long)]
    pub unprotected: bool,
}

#[derive(Subcommand)]
pub enum ServeCommand {
    /// Put a user with a password into the users file, or change it; asks, or reads the first line of stdin
    User(UserArgs),
    /// Give a user a token for HTTP (Authorization: Bearer ..) in place of any before, and print it once
    Token(UserArgs),
}

#[derive(Args)]
pub struct UserArgs {
    /// 1 to 63 letters, digits and _ - . @
    pub name: String,
    /// The users file, made where there is none; it holds SCRAM verifiers and digests, no passwords.
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// What the user may see.
    #[arg(long, value_enum, default_value = "row")]
    pub role: ServeRole,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServeRole {
    /// Rows, which is as good as access to the files of the lake
    Row,
    /// Numbers over groups, under disclosure control
    Aggregate,
}

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Print a manifest for an ONNX model, made of what the file says of its tensors; mend it and keep it beside the model
    Describe {
        model: PathBuf,
        /// Name in the protocol; default: that of the file.
        #[arg(long)]
        name: Option<String>,
        #[arg(long, default_value = "1")]
        model_version: String,
    },
    /// Write models with their manifests as a repository that the Triton Inference Server and `aortica infer` both serve
    Repository {
        /// Folders with model manifests (*.toml beside *.onnx).
        #[arg(required = true, value_name = "MODEL_DIR")]
        folders: Vec<PathBuf>,
        /// Which form of each network; default: what the models prefer on a CPU.
        #[arg(long, value_enum, value_name = "FORM")]
        precision: Option<crate::settings::NetworkPrecision>,
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check a settings file; names the line of what is wrong
    Check { file: Option<PathBuf> },
    /// Print the settings in force, defaults included, secrets left out
    Print,
    /// Print the JSON Schema of the settings file
    Schema,
}

#[derive(Subcommand)]
pub enum PipelineCommand {
    /// The pipelines that can be run
    List {
        #[arg(long)]
        json: bool,
    },
    /// Definition, models, digests and fingerprint of one pipeline
    Show {
        /// Name or folder.
        #[arg(default_value = "aortica")]
        pipeline: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct CodebookArgs {
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

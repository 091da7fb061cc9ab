//! The command line of disclosure control: roles, policies, releases.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Trusted with rows: whoever can read the files of the lake
    Rows,
    /// Numbers of groups only, under the policy
    Aggregate,
}

#[derive(Args)]
pub struct RoleChoice {
    /// What may be seen.
    #[arg(long, value_enum, default_value = "rows")]
    pub role: RoleName,
    /// Policy of disclosure control for the aggregate role (TOML); `aortica policy print` shows every key. Default: counts under 10
    /// withheld, by sex, age band and scanner maker, with the log of what was told beside the lake.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file; names the line of what is wrong
    Check { file: PathBuf },
    /// Print a policy with every key, the defaults or those of a file
    Print { file: Option<PathBuf> },
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  aortica release --lake lake --name \"Spine study 2026-1\" -o release-2026-1\n  \
aortica release --lake lake --name \"Spine study 2026-1\" --with outcomes.csv --policy study.toml -o release-2026-1\n  \
aortica release verify release-2026-1\n\n\
DIR holds tables of counts, prevalences and scores (CSV, Parquet, one XLSX), a codebook, labels for R, Stata and SAS,\n\
provenance.json, CITATION.cff and SHA256SUMS. Counts under the policy's threshold are withheld, and so are those that would give\n\
them away, here or together with earlier releases: the log of the policy remembers. It is no differential privacy.\n\
The same lake, file and policy give the same bytes. --rows adds one row a participant: for those who may see rows only."
)]
pub struct ReleaseArgs {
    #[command(subcommand)]
    pub command: Option<ReleaseCommand>,
    #[command(flatten)]
    pub make: MakeRelease,
}

#[derive(Subcommand)]
pub enum ReleaseCommand {
    /// Check every file of a release against SHA256SUMS; names those that differ, lack or are not of it
    Verify { folder: PathBuf },
}

#[derive(Args)]
pub struct MakeRelease {
    /// The lake: a folder or s3://bucket/prefix.
    #[arg(long, value_name = "LAKE")]
    pub lake: Option<String>,
    /// Name of the release, as it is cited.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder to make; it must not exist, or be empty.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Count only the participants of this file, one row each (.csv or .parquet); the policy may make strata of its columns.
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// The column of FILE that holds the participant key.
    #[arg(long, value_name = "COLUMN", default_value = "participant_id")]
    pub key: String,
    /// Policy of disclosure control, as of `query --role aggregate`.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Add the rows, one a participant, as the lake has them. Not under disclosure control.
    #[arg(long)]
    pub rows: bool,
    /// Which readings, where the lake holds those of several pipelines or versions.
    #[arg(long, value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// Day of the release; default: of the newest reading in it.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<String>,
    /// Author for the citation; give it once for each. Default: the investigators of NAME.
    #[arg(long = "author", value_name = "NAME")]
    pub authors: Vec<String>,
}
